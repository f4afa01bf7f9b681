"""Hypothesis strategies that more than one test module draws from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

Image = npt.NDArray[np.float32]


@st.composite
def images(draw: st.DrawFn, min_side: int = 1, max_side: int = 64) -> Image:
    """Draw an image as every public function takes it: RGB, height x width x 3, float32 in [0, 1], C-contiguous.

    Flat, smooth, noisy and two-level images all occur. The pixels follow from four drawn numbers: drawing each pixel
    would be slow and would shrink badly.
    """
    height = draw(st.integers(min_side, max_side))
    width = draw(st.integers(min_side, max_side))
    kind = draw(st.sampled_from(["flat", "ramp", "noise", "levels"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    if kind == "flat":
        pixels = np.broadcast_to(rng.random(3), (height, width, 3))
    elif kind == "ramp":
        rows, columns = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
        pixels = (rows * rng.random(3) + columns * rng.random(3)) / 2
    elif kind == "noise":
        pixels = rng.random((height, width, 3))
    else:
        pixels = rng.integers(0, 2, (height, width, 3))
    return np.ascontiguousarray(pixels, dtype=np.float32)
