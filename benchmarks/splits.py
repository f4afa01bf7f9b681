"""Which photographs and faces banks are fitted to, and which judge: `python -m benchmarks.splits --data DIR --out DIR`.

The rule: of the people of a folder, or of its source photographs where they hold several faces, in the order of their
names, every second from the first on is fitted to, and the others judge; what is published as a test set judges too.
LFW is split already: people of LFW-Test judge. Of HQ faces, likewise. Whom the FlipNets that ship have learned from,
by the list beside their weights, judges nothing. Writes NAME_fit.txt and NAME_test.txt, lists that `--real`, `--hq` and
`--held-out` take.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

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


def split(name: str, root: Path) -> tuple[list[Path], list[Path]]:
    """Split a set into what is fitted to and what judges."""
    first, second = SETS[name]
    known = learned()
    judging = [path for path in images(root, second) if person(path) not in known]
    if name == "lfw":
        return images(root, first), judging
    paths = images(root, first)
    people = sorted({person(path) for path in paths})
    fitted = set(people[::2])
    others = [path for path in paths if person(path) not in fitted | known]
    return [path for path in paths if person(path) in fitted], others + judging


def main() -> None:
    """Write the lists."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the photographs")
    parser.add_argument("--out", type=Path, required=True, help="folder for the lists")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in SETS:
        for part, paths in zip(("fit", "test"), split(name, given.data), strict=True):
            people = len({person(path) for path in paths})
            print(f"{name}_{part}.txt: {len(paths)} images of {people}")
            text = "".join(f"{path.resolve()}\n" for path in paths)
            (given.out / f"{name}_{part}.txt").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
