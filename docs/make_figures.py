"""Draw the sheets in docs/images, all of the portraits of the demo, which are in the public domain.

    python docs/make_figures.py --out docs/images

Without PyTorch `modes.jpg` is left as it is.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from degrade_kit.degradation import make_lq
from degrade_kit.demo import write_demo_faces
from degrade_kit.hq import HqConfig
from degrade_kit.image import Pixels, decode_image, encode_jpeg
from degrade_kit.pipelines.demo import COMPARED, draw_modes
from degrade_kit.pipelines.sheet import Tile, caption, contact_sheet
from degrade_kit.pipelines.synth.preview import draw_preview
from degrade_kit.presets import preset
from degrade_kit.scene_presets import SCENES
from degrade_kit.seeding import generator

SEED = 6
"""Seed of the first picture of the README: a usual draw of each recipe, neither its mildest nor its worst."""


def draw_pairs(faces: Path) -> Pixels:
    """Draw each portrait beside one LQ image by each of three banks and a published recipe."""
    rows: list[list[Tile]] = []
    for path in sorted(faces.glob("*.png")):
        hq = decode_image(path.read_bytes()).pixels
        row = [Tile(hq, ("HQ",))]
        for name in ("press-photo", "web-photo", "crowd", "gfpgan"):
            record = preset(name).draw(generator(SEED, path.name, 0))
            row.append(Tile(make_lq(record, hq), (name, *caption(record))))
        rows.append(row)
    title = f"LQ images like three kinds of photographs, and by gfpgan; seed {SEED}"
    return contact_sheet(rows, title=title, details=True)


def draw_recipes(faces: Path, names: Sequence[str], scratch: Path) -> Pixels:
    """Draw one portrait by each of these presets, as `degrade-kit preview` does."""
    draw_preview(str(faces), [preset(name) for name in names], scratch, images=1, variants=3, seed=0, image=HqConfig())
    return decode_image(scratch.read_bytes()).pixels


def draw_scenes(faces: Path) -> Pixels:
    """Draw the portraits by each preset for a kind of photograph, six times, at 256 pixels and full resolution."""
    rows: list[list[Tile]] = []
    images = [decode_image(path.read_bytes()).pixels for path in sorted(faces.glob("*.png"))]
    small = [np.asarray(cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA), np.uint8) for image in images]
    for name, recipe in SCENES.items():
        hqs = [small[number % len(small)] for number in range(6)]
        made = [make_lq(recipe.draw(generator(SEED, name, number)), hq) for number, hq in enumerate(hqs)]
        rows.append([Tile(lq, (name if number == 0 else "",)) for number, lq in enumerate(made)])
    return contact_sheet(rows, 256)


def main() -> None:
    """Draw and write all sheets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the figures")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        faces, scratch = Path(name) / "faces", Path(name) / "sheet.png"
        write_demo_faces(faces)
        figures = {
            "pairs.jpg": draw_pairs(faces),
            "scenes.jpg": draw_scenes(faces),
            "recipes.jpg": draw_recipes(faces, COMPARED, scratch),
            "fitted.jpg": draw_recipes(faces, ("flipnet-paper", "press-photo", "web-photo"), scratch),
        }
        for path in sorted(faces.glob("*.png"))[1:]:
            path.unlink()  # one portrait is enough for the slowest figure
        if draw_modes(faces, scratch):
            figures["modes.jpg"] = decode_image(scratch.read_bytes()).pixels
    for file, pixels in figures.items():
        (options.out / file).write_bytes(encode_jpeg(pixels, 80))


if __name__ == "__main__":
    main()
