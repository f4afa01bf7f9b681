from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from degrade_kit.align import align_face
from degrade_kit.demo import DEMO_PHOTOS, DemoPhoto, demo_photo_path, read_demo_photo, write_demo_faces
from degrade_kit.errors import ConfigError
from degrade_kit.image import decode_image


def test_faces_are_written_at_the_asked_size(tmp_path: Path) -> None:
    paths = write_demo_faces(tmp_path / "new" / "folder", size=96)

    assert [path.name for path in paths] == ["astronaut.png", "grace_hopper.png"]
    for path in paths:
        decoded = decode_image(path.read_bytes())
        assert decoded.pixels.shape == (96, 96, 3)
        assert decoded.plain


@pytest.mark.parametrize("photo", DEMO_PHOTOS, ids=lambda photo: photo.name)
def test_the_square_is_inside_the_photo_and_the_eyes_are_level(photo: DemoPhoto) -> None:
    aligned = align_face(read_demo_photo(photo), photo.landmarks)

    assert aligned.padded == 0
    across = aligned.quad[3] - aligned.quad[0]
    eyes = photo.landmarks[1] - photo.landmarks[0]
    assert np.degrees(np.arccos(across @ eyes / np.hypot(*across) / np.hypot(*eyes))) < 3


@pytest.mark.parametrize("photo", DEMO_PHOTOS, ids=lambda photo: photo.name)
def test_eyes_are_darker_than_what_is_around_them(photo: DemoPhoto) -> None:
    grey = cv2.cvtColor(align_face(read_demo_photo(photo), photo.landmarks, 256).pixels, cv2.COLOR_RGB2GRAY)
    aligned = align_face(read_demo_photo(photo), photo.landmarks, 256)
    axes = np.stack([aligned.quad[3] - aligned.quad[0], aligned.quad[1] - aligned.quad[0]]) / aligned.scale**2 / 256

    for eye in photo.landmarks[:2]:
        x, y = ((eye - aligned.quad[0]) @ axes.T - 0.5).round().astype(int)
        assert grey[y - 3 : y + 4, x - 3 : x + 4].mean() < 0.75 * grey[y - 20 : y + 21, x - 20 : x + 21].mean()


def test_a_missing_package_is_a_config_error_with_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"skimage, which is not installed here: pip install 'degrade-kit\[demo\]'"):
        write_demo_faces(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_package_without_the_file_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="which has no such file here"):
        demo_photo_path(DemoPhoto("none", "skimage", "data/none.png", "", ()))


@pytest.mark.slow
def test_the_packages_are_found_without_importing_them() -> None:
    code = (
        "import sys; from degrade_kit.demo import *; "
        "[read_demo_photo(photo) for photo in DEMO_PHOTOS]; "
        "assert not {'skimage', 'matplotlib', 'scipy'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
