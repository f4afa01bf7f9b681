"""Two public-domain portraits that well-known packages carry: real faces for examples, with nothing to download.

Small ones: at 512 pixels both are enlarged, the astronaut 2.9 times and Grace Hopper 1.5 times. They show how things
work; they are no HQ images to train with.
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
