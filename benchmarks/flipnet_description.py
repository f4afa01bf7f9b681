"""Fit the space of descriptions of photographs, and say what a description tells.

    python -m benchmarks.flipnet_description --hq faces --write
    python -m benchmarks.flipnet_description --hq faces --real press=photographs --people

Records of `native-photo` degrade faces of 48 to 192 pixels; the directions are kept in which records lie farthest apart
for what faces differ within one record (Fisher). With `--write` they become `degrade_kit/flipnet/description.json`.
Then, on records and faces that were not fitted: how often the description of a face by a record is nearest to that of
another face by the same one. On photographs: how often the two halves of one are nearest to each other, and whether two
photographs of one person (`--people`, by the names of files) are nearer than those of two people, as chance has it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.harness import IMAGE_SUFFIXES, hq_images, print_machine
from degrade_kit.analysis.groups import read_groups
from degrade_kit.analysis.whitening import Whitening
from degrade_kit.degradation import make_lq
from degrade_kit.flipnet.description import SHIPPED_SPACE, DescriptionSpace, read_space, statistics
from degrade_kit.image import Pixels, read_image, to_pixels
from degrade_kit.recipe import Recipe, load_recipe
from degrade_kit.seeding import generator

SIZE: Final = 16
LEAST: Final = 2.0
"""What a direction must have of variance between records for that within one."""
SIDES: Final = (48, 192)
RECIPE: Final = Path(__file__).parents[1] / "pipelines" / "configs" / "native-photo.yaml"

Floats = npt.NDArray[np.float64]


def measured(recipe: Recipe, faces: Sequence[Pixels], records: int, each: int, seed: int) -> Floats:
    """Statistics of `each` faces by each of some records, (records, each, D); every image has a size of its own."""
    rows: list[list[Floats]] = []
    for number in range(records):
        record = recipe.draw(generator(seed, "description", number))
        rng = generator(seed, "description faces", number)
        chosen = rng.choice(len(faces), each, replace=False)
        row: list[Floats] = []
        for face in chosen:
            side = round(float(np.exp(rng.uniform(*np.log(SIDES)))))
            small = np.asarray(cv2.resize(faces[face], (side, side), interpolation=cv2.INTER_AREA), np.uint8)
            row.append(statistics(make_lq(record, small)))
        rows.append(row)
    return np.array(rows)


def fit(found: Floats) -> DescriptionSpace:
    """Directions in units of their own deviation, those alone in which records differ much more than faces do."""
    white = Whitening.fit(found, SIZE)
    kept = white.ratios > LEAST
    print("between over within:", " ".join(f"{ratio:.1f}" for ratio in white.ratios))
    matrix = white.matrix[:, kept]
    points = white.scaler(found.reshape(-1, found.shape[-1])) @ matrix
    matrix = matrix / points.std(0)
    # The mean of all is the origin, which the scaler's mean is but for what is clipped.
    return DescriptionSpace(white.scaler.mean, white.scaler.scale, matrix)


def nearest_is_partner(first: Floats, second: Floats) -> float:
    """Share of the rows of one whose nearest row of the other has its number."""
    distances = np.linalg.norm(first[:, None] - second[None], axis=-1)
    return float((distances.argmin(1) == np.arange(len(first))).mean())


def person_chance(points: Floats, people: Sequence[str]) -> float:
    """Chance that two photographs of one person are nearer than one of them and a stranger's; 0.5 tells nothing."""
    names = np.array(people)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    wins: list[float] = []
    for row in range(len(points)):
        same = (names == names[row]) & (np.arange(len(points)) != row)
        other = names != names[row]
        if same.any() and other.any():
            wins.append(float((distances[row, same][:, None] < distances[row, other][None]).mean()))
    return float(np.mean(wins)) if wins else float("nan")


def halves(pixels: Pixels) -> tuple[Pixels, Pixels]:
    """Left and right, cut at a whole block."""
    middle = pixels.shape[1] // 16 * 8
    return np.ascontiguousarray(pixels[:, :middle]), np.ascontiguousarray(pixels[:, middle:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hq", type=Path, required=True, help="folder of HQ faces")
    parser.add_argument("--records", type=int, default=400)
    parser.add_argument("--each", type=int, default=6, help="faces of each record")
    parser.add_argument("--real", action="append", default=[], metavar="NAME=DIR", help="photographs at their own size")
    parser.add_argument("--people", action="store_true", help="names of files tell people, as LFW's do")
    parser.add_argument("--write", action="store_true", help="keep the space")
    options = parser.parse_args()
    print_machine()
    every = list(hq_images(options.hq).values())
    recipe = load_recipe(RECIPE)
    if options.write:
        space = fit(measured(recipe, every[::2], options.records, options.each, 0))
        SHIPPED_SPACE.write_text(space.to_json(), "utf-8")
        print(f"{SHIPPED_SPACE}: {space.size} numbers")
    space = read_space(SHIPPED_SPACE.parent)
    pairs = measured(recipe, every[1::2], 100, 2, 1)
    points = np.array([[space.place(row) for row in record] for record in pairs])
    share = nearest_is_partner(points[:, 0], points[:, 1])
    print(f"of 100 records, on another face: nearest is the same record {share:.0%} (chance 1 %)")
    for name, place in (entry.split("=", 1) for entry in options.real):
        paths = sorted(path for path in Path(place).rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        photos = [to_pixels(read_image(path)) for path in paths]
        both = np.array([[space.describe(half) for half in halves(photo)] for photo in photos])
        share = nearest_is_partner(both[:, 0], both[:, 1])
        line = f"{name}, {len(photos)}: the halves of one are nearest {share:.0%} (chance {1 / len(photos):.1%})"
        if options.people:
            people = read_groups([path.name for path in paths]).names
            whole = np.array([space.describe(photo) for photo in photos])
            line += f"; one person's are nearer than a stranger's {person_chance(whole, people):.2f}"
        print(line)


if __name__ == "__main__":
    main()
