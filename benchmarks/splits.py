"""Which photographs and faces banks are fitted to, and which judge: `python -m benchmarks.splits --data DIR --out DIR`.

The rule: of the people of a folder, or of its source photographs where they hold several faces, in the order of their
names, every second from the first on is fitted to, and the others judge; what is published as a test set judges too.
LFW is split already: people of LFW-Test judge. Of HQ faces, likewise. Whom the FlipNets that ship have learned from,
by the list beside their weights, judges nothing. Of a photograph of a crowd six faces at most are taken: the largest
would stand for all. `--fold 1` fits to the other half, and lets the first judge. Writes NAME_fit.txt and NAME_test.txt,
lists that `--real`, `--hq` and `--held-out` take.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

import degrade_kit.flipnet
from benchmarks.harness import IMAGE_SUFFIXES

_NUMBERS: Final = re.compile(r"(?:_[a-z]?\d+)+$")
SETS: Final = {
    "lfw": (("lfw/train_250",), ("lfw/test_250",)),
    "web": (("faces/lq_real/web_rmfd_150",), ("faces/lq_real/webphoto_test_512",)),
    "crowd": (("faces/lq_real/wider_like_crops",), ("faces/lq_real/wider_test_512",)),
    "film": (("faces/lq_real/movie_imfdb",), ()),
    "hq": (("faces/hq_512", "faces/hq_1024"), ()),
}
"""Folders that are split, and folders that judge; of LFW, the first is fitted to."""
_MOST: Final = {"crowd": 6}
"""Images of one photograph, at most."""


def person(path: Path) -> str:
    """Name who, or which photograph, an image shows: the numbers behind its name are left out.

    >>> person(Path("web/0_0_aidai_0014.jpg")), person(Path("10_jpg_f000_s113.png")), person(Path("hq/00012.png"))
    ('aidai', '10_jpg', '00012')
    """
    found = _NUMBERS.sub("", path.stem) or path.stem
    return re.sub(r"^\d_\d_", "", found)


def learned() -> set[str]:
    """Name whom the FlipNets that ship were trained on, or which photographs."""
    lists = Path(degrade_kit.flipnet.__file__).parent.glob("*/pairs.jsonl")
    rows = [json.loads(line) for path in lists for line in path.read_text("utf-8").splitlines()]
    return {person(Path(row["source"])) for row in rows if "source" in row}


def images(root: Path, folders: Sequence[str]) -> list[Path]:
    """List the images of some folders, in order."""
    found = [path for folder in folders for path in sorted((root / folder).rglob("*"))]
    return [path for path in found if path.suffix.lower() in IMAGE_SUFFIXES]


def some(paths: Sequence[Path], most: int) -> list[Path]:
    """Take so many images of each person or photograph, at most, from all along the list.

    >>> [path.name for path in some([Path(f"crowd_f{number}.png") for number in range(5)], 3)]
    ['crowd_f0.png', 'crowd_f2.png', 'crowd_f4.png']
    """
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(person(path), []).append(path)
    places = {name: np.linspace(0, len(group) - 1, min(most, len(group))) for name, group in groups.items()}
    return [group[round(place)] for name, group in groups.items() for place in places[name]]


def split(name: str, root: Path, fold: int = 0) -> tuple[list[Path], list[Path]]:
    """Split a set into what is fitted to and what judges; in fold 1 the halves change places."""
    first, second = SETS[name]
    known = learned()
    judging = [path for path in images(root, second) if person(path) not in known]
    if name == "lfw":
        return images(root, first), judging
    paths = images(root, first)
    people = sorted({person(path) for path in paths})
    fitted = set(people[fold::2])
    others = [path for path in paths if person(path) not in fitted | known]
    first, second = [path for path in paths if person(path) in fitted], others + judging
    return (some(first, _MOST[name]), some(second, _MOST[name])) if name in _MOST else (first, second)


def main() -> None:
    """Write the lists."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the photographs")
    parser.add_argument("--out", type=Path, required=True, help="folder for the lists")
    parser.add_argument("--fold", type=int, choices=(0, 1), default=0, help="half that is fitted to")
    given = parser.parse_args()
    for line in write_lists(given.data, given.out, given.fold):
        print(line)


def write_lists(root: Path, folder: Path, fold: int = 0) -> Iterator[str]:
    """Write the lists of all sets, and say what is in each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SETS:
        for part, paths in zip(("fit", "test"), split(name, root, fold), strict=True):
            people = len({person(path) for path in paths})
            text = "".join(f"{path.resolve()}\n" for path in paths)
            (folder / f"{name}_{part}.txt").write_text(text, "utf-8")
            yield f"{name}_{part}.txt: {len(paths)} images of {people}"


if __name__ == "__main__":
    main()
