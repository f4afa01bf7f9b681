"""Two public-domain portraits that well-known packages carry: real faces for examples, with nothing to download.

Small ones: at 512 pixels both are enlarged, the astronaut 2.9 times and Grace Hopper 1.5 times. They show how things
work; they are no HQ images to train with. And a face that is drawn, where every machine must have the same pixels.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from degrade_kit.align import Landmarks, align_face
from degrade_kit.errors import ConfigError
from degrade_kit.files import write_whole
from degrade_kit.image import Pixels, decode_image, encode_png


@dataclass(frozen=True)
class DemoPhoto:
    """A photograph inside another package."""

    name: str
    package: str
    """Import name of the package; it is looked up, never imported."""
    file: str
    """Path inside the package."""
    credit: str
    points: tuple[tuple[float, float], ...]
    """Left eye, right eye, nose, left and right corner of the mouth: the packaged detector's, moved by eye where they
    were up to 4 pixels off."""

    @property
    def landmarks(self) -> Landmarks:
        """The five points in the form that `degrade_kit.align` reads."""
        return np.array(self.points, np.float64)


DEMO_PHOTOS = (
    DemoPhoto(
        name="astronaut",
        package="skimage",
        file="data/astronaut.png",
        credit="Eileen Collins, photographed by NASA; public domain",
        points=((202.9, 100.9), (246.4, 103.2), (223.6, 128.0), (203.1, 139.4), (244.9, 140.9)),
    ),
    DemoPhoto(
        name="grace_hopper",
        package="matplotlib",
        file="mpl-data/sample_data/grace_hopper.jpg",
        credit="Grace Hopper, photographed by the US Navy; public domain",
        points=((221.8, 189.6), (307.0, 186.8), (267.8, 238.9), (230.3, 280.7), (304.9, 276.4)),
    ),
)


def demo_photo_path(photo: DemoPhoto) -> Path:
    """Find where the installed package keeps the photograph.

    Raises:
        ConfigError: If the package is not installed, or no longer carries it.
    """
    spec = importlib.util.find_spec(photo.package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, photo.file)
        if path.is_file():
            return path
    found = "has no such file" if spec else "is not installed"
    raise ConfigError(
        f"the demo photograph {photo.file} comes with the package {photo.package}, which {found} here:"
        " pip install 'degrade-kit[demo]'"
    )


def read_demo_photo(photo: DemoPhoto) -> Pixels:
    """Read the whole photograph, uncropped."""
    return decode_image(demo_photo_path(photo).read_bytes()).pixels


def write_demo_faces(out_dir: Path, size: int = 512) -> list[Path]:
    """Write each photograph's face in FFHQ framing as `{name}.png`, size x size pixels.

    Raises:
        ConfigError: As `demo_photo_path`.
    """
    faces = [(photo, read_demo_photo(photo)) for photo in DEMO_PHOTOS]
    paths: list[Path] = []
    for photo, pixels in faces:
        path = out_dir / f"{photo.name}.png"
        write_whole(path, encode_png(align_face(pixels, photo.landmarks, size).pixels))
        paths.append(path)
    return paths


def drawn_face(side: int) -> Pixels:
    """Draw a head before a wall, with texture, in whole numbers: the same on every machine.

    Args:
        side: Of the picture, pixels.
    """
    y, x = np.mgrid[0:side, 0:side].astype(np.int64) * 512 // side
    wall = np.stack([40 + x // 6, 60 + y // 7, 120 + (x + y) // 12], 2)
    hair = ((x - 256) ** 2 * 9 + (y - 230) ** 2 * 7 < 9 * 190**2)[..., None]
    head = ((x - 256) ** 2 * 14 + (y - 270) ** 2 * 9 < 9 * 175**2)[..., None]
    skin = np.stack([226 - abs(x - 200) // 5, 176 - abs(x - 200) // 4, 150 - abs(x - 200) // 4], 2)
    found = np.where(hair, np.array([52, 38, 30]) + (x * 7 // 3 % 11)[..., None], wall)
    found = np.where(head, skin, found)
    for middle in (196, 316):
        eye = (x - middle) ** 2 + 3 * (y - 240) ** 2
        found = np.where((eye < 900)[..., None], 235, found)
        found = np.where((eye < 200)[..., None], np.array([40, 60, 70]), found)
    mouth = (x - 256) ** 2 + 9 * (y - 368) ** 2 < 50**2
    found = np.where(mouth[..., None], np.array([170, 70, 75]), found)
    # A linear congruence for each pixel: pores and weave.
    noise = ((x * 1103515245 + y * 12345 + x * y * 2654435761) >> 7) % 15 - 7
    return np.clip(found + noise[..., None], 0, 255).astype(np.uint8)
