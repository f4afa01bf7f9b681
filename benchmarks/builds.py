"""Which pixels depend on the build: `python -m benchmarks.builds OUT.npz`, then `... --compare OUT.npz OTHER.npz ...`.

Every recipe without video, and every step of docs/gallery.md that needs no network and no codec of an extra, makes LQ
images of a picture that is drawn by whole numbers alone. Run it in environments with other releases of
OpenCV, Pillow and NumPy; torch is not needed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from degrade_kit.degradation import make_lq
from degrade_kit.demo import drawn_face
from degrade_kit.errors import ConfigError
from degrade_kit.presets import LEARNED, preset, preset_names
from degrade_kit.recipe import Recipe, recipe_from_mapping
from degrade_kit.record import Record
from degrade_kit.seeding import generator

GALLERY = Path(__file__).resolve().parents[1] / "docs" / "generate_gallery.py"
SIDE = 256
DRAWS = 3
"""LQ images of each recipe."""
PACKAGES = ("opencv-python-headless", "opencv-python", "pillow", "numpy")


def recipes() -> Iterator[tuple[str, Recipe]]:
    """Yield what is compared, by name."""
    for name in preset_names():
        recipe = preset(name) if name not in LEARNED else None
        if recipe is not None and _is_plain(recipe):
            yield f"preset {name}", recipe
    strips: dict[str, Any] = runpy.run_path(str(GALLERY))["STRIPS"]
    for step, strip in strips.items():
        if strip.extra or step == "avif":
            continue
        for label, keys in strip.panels.items():
            steps = [{step: keys}, {"resize": {"scale": 1, "filter": "cubic"}}]
            yield f"step {step}, {label}", recipe_from_mapping({"name": "build", "steps": steps}, step)


def _is_plain(recipe: Recipe) -> bool:
    """Whether a recipe needs no codec beyond the base's, whose pixels are their own release's."""
    try:
        return not recipe.libraries()
    except ConfigError:
        return False


def main() -> None:
    """Make the images, or compare some."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.builds", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="written, or compared with the first")
    parser.add_argument("--compare", action="store_true", help="compare files that were written before")
    options = parser.parse_args()
    if options.compare:
        compare(options.files)
        return
    made: dict[str, Any] = {"versions": np.array(versions())}
    hq = drawn_face(SIDE)
    for name, recipe in recipes():
        count = DRAWS if name.startswith("preset") else 1
        records = [recipe.draw(generator(5, name, number)) for number in range(count)]
        made[name] = np.stack([make_lq(record, hq) for record in records])
        made[f"record {name}"] = np.array([record.to_json() for record in records])
    np.savez_compressed(options.files[0], **made)


def versions() -> str:
    """Say which releases these are."""
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def compare(files: list[Path]) -> None:
    """Print what differs from the first file, and by how much, with the operations that its records have."""
    sets = [dict(np.load(file)) for file in files]
    print(*(str(one["versions"]) for one in sets), sep="\n")
    names = [name for name in sets[0] if not name.startswith(("record ", "versions"))]
    for other in sets[1:]:
        print(f"\n{other['versions']}\n| | images that differ | mean | largest | operations |\n|---|---|---|---|---|")
        equal = 0
        for name in names:
            if not np.array_equal(sets[0][f"record {name}"], other[f"record {name}"]):
                print(f"| {name} | **records differ** | | | |")
                continue
            difference = np.abs(sets[0][name].astype(int) - other[name])
            differing = difference.max(axis=(1, 2, 3)) > 0
            equal += not differing.any()
            if differing.any():
                record = Record.from_json(str(sets[0][f"record {name}"][int(np.argmax(differing))]))
                ops = ", ".join(dict.fromkeys(op.name for op in record.steps))
                counted = f"{differing.sum()}/{len(differing)}"
                print(f"| {name} | {counted} | {difference.mean():.4f} | {difference.max()} | {ops} |")
        print(f"\n{equal} of {len(names)} are equal to the pixel")


if __name__ == "__main__":
    main()
