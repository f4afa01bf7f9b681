"""All presets, from the photograph to the finished LQ image, against the naive chains of `tests/naive.py`.

The parts of this parity are tested beside what they test: kernels against basicsr's in `test_kernels.py`, runs of
blurs and resizes in `test_canvas.py`, chains with steady noise and against GFPGAN's own code in `test_degrade.py`.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from degrade_kit.degradation import degrade, finish
from degrade_kit.ops import PoissonNoise
from degrade_kit.presets import PRESETS
from degrade_kit.seeding import generator
from tests import naive
from tests.distinct import PLAIN_PRESETS


@pytest.mark.slow
def test_9_of_10_images_are_within_one_level_of_the_naive_ones(astronaut: npt.NDArray[np.uint8]) -> None:
    """With the same noise. What differs is a rounding in front of a JPEG, which may move one of its coefficients."""
    worst: dict[str, int] = {}
    for name, index in itertools.product(PLAIN_PRESETS, range(10)):
        record = PRESETS[name].draw(generator(11, "q", index))
        # Poisson noise counts photons: a rounding in front of it draws another count, so those chains cannot agree.
        if not any(isinstance(op, PoissonNoise) for op in record.steps):
            native = degrade(record, astronaut)
            lq = finish(native.pixels, native.tail, (512, 512))
            worst[f"{name} {index}"] = int(np.abs(lq.astype(int) - naive.lq(record, astronaut)).max())
    within = np.mean([difference <= 1 for difference in worst.values()])
    # 92 % on the machine where it was measured; which roundings fall differs with the processor.
    assert within >= 0.89, {key: value for key, value in worst.items() if value > 1}
    assert max(worst.values()) <= 24, worst
