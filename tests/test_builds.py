"""Pixels over releases of OpenCV, Pillow and NumPy, in environments of their own, as docs/evaluation.md says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from degrade_kit.demo import drawn_face
from tests.test_layers import ROOT

OLDEST = ("numpy==1.26.4", "opencv-python-headless==4.10.0.84", "pillow==10.4.0")
MIDDLE = ("numpy==2.2.6", "opencv-python-headless==4.12.0.88", "pillow==11.3.0")
NEWEST = ("numpy>=2.4", "opencv-python-headless>=5", "pillow>=13")
REST = ("click", "fsspec", "pyyaml", "threadpoolctl", "braceexpand")
WARPS = {"interlace", "aberration", "channel_shift", "reflection", "lens_distortion", "photo_frame", "bank"}
LETTERS, UNSHARP = {"watermark"}, {"sharpen"}
PRODUCTS = {"sinc_blur", "motion_blur", "defocus", "camera_shake", "denoise"}

Made = dict[str, npt.NDArray[np.generic]]


def test_the_picture_is_drawn_by_whole_numbers() -> None:
    picture = drawn_face(64)
    assert picture.dtype == np.uint8
    assert picture.shape == (64, 64, 3)
    # Known on every machine, since nothing is rounded.
    assert int(picture.astype(np.int64).sum()) == 1_425_014
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 500


def test_the_page_names_what_depends_on_the_build() -> None:
    page = (ROOT / "docs" / "evaluation.md").read_text("utf-8")
    section = page.split("## Pixels and builds", 1)[1].split("\n## ", 1)[0]
    named = set(re.findall(r"`(\w+)`", section))
    assert named >= WARPS | LETTERS | UNSHARP | PRODUCTS
    for package in (*OLDEST, *MIDDLE):
        assert package.split("==")[1].rsplit(".", 1)[0] in section


def made(folder: Path, packages: tuple[str, ...]) -> Made:
    """Make the images in an environment with these packages.

    Skips where the index does not have them for this Python.
    """
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    found = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "20", *packages, *REST],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        pytest.skip(f"{packages} cannot be installed: {found.stderr[-300:]}")
    out = folder / "made.npz"
    where = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([python, "-m", "benchmarks.builds", str(out)], check=True, cwd=ROOT, env=where)
    return dict(np.load(out))


def differing(first: Made, second: Made) -> dict[str, float]:
    """Mean difference of all images that differ, in levels, by their names."""
    return {
        name: float(np.abs(pixels.astype(int) - second[name].astype(int)).mean())
        for name, pixels in first.items()
        if not name.startswith(("record ", "versions")) and not np.array_equal(pixels, second[name])
    }


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(
    sys.version_info[:2] not in ((3, 11), (3, 12)), reason="Pythons that all these releases are made for"
)
def test_pixels_are_equal_over_releases_but_for_what_the_page_names(tmp_path: Path) -> None:
    sets = {name: made(tmp_path / name, packages) for name, packages in
            (("oldest", OLDEST), ("middle", MIDDLE), ("newest", NEWEST))}  # fmt: skip
    for name, pixels in sets["newest"].items():
        if name.startswith("record "):
            assert all(np.array_equal(pixels, other[name]) for other in sets.values()), f"{name}: what is drawn differs"
    framed = {f"preset {name}" for name in ("press-photo", "real-world", "old-print", "phone-night", "social-media",
                                            "screen-photo", "film", "web-photo", "crowd")}  # fmt: skip

    def steps(found: dict[str, float]) -> set[str]:
        return {name.removeprefix("step ").split(",")[0] for name in found if name.startswith("step ")}

    later = differing(sets["newest"], sets["middle"])
    assert steps(later) <= WARPS | LETTERS | UNSHARP
    assert {name for name in later if name.startswith("preset ")} <= framed, "recipes of papers are equal to the pixel"
    whole = differing(sets["middle"], sets["oldest"])
    assert steps(whole) <= PRODUCTS
    assert max(whole.values()) < 0.02, "a level in few pixels, or what a codec makes of it"
