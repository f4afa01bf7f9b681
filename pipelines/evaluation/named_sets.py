"""Test sets by name and version, such as `ffhq-press-photo@1`: the same draws for everyone, and digests to say so.

A name is that of faces, then of a recipe. named_sets.json beside this file has the recipes of all versions in full, so
that a set can be made when the preset of that name draws something else, and what is published:

    records   digest of all records of the set by their faces' numbers, which no build changes
    pixels    digest of what some of the records make of a drawn picture, and the builds that it was found on

`python docs/generate_testsets.py` writes both, and never another digest of records for a version that is there.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, cast

from degrade_kit.degradation import make_lq
from degrade_kit.demo import drawn_face
from degrade_kit.errors import ConfigError, RunError
from degrade_kit.files import read_json, sha256
from degrade_kit.hq import versions
from degrade_kit.pipelines.executor import limited_threads
from degrade_kit.recipe import Recipe, recipe_from_mapping
from degrade_kit.seeding import generator
from degrade_kit.wording import first_few

TABLE: Final = Path(__file__).parent / "named_sets.json"
"""The recipes of all versions, and the digests that are published."""
SIZE: Final = 512
"""Side of the images of every named set, pixels."""
SEED: Final = 0
"""Seed of the draws of every named set."""
_PROBED: Final = 24
"""Records of a set that are tried on the drawn picture."""
_NUMBERED: Final = re.compile(r"[A-Za-z_-]*(\d{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class FaceList:
    """Which faces of a public data set are in a test set: by their numbers, whatever folders and endings they have."""

    name: str
    """What the names of test sets begin with."""
    title: str
    """What the data set is called."""
    numbers: range

    def find(self, names: Sequence[str], where: str) -> dict[str, int]:
        """Find the files of the faces: their names in the order of `numbers`, with the numbers.

        The number of a face is the one that its file's name ends with: 60000 of `60000.png`, `60000/60000.png` and
        `img00060000.png`.

        Args:
            names: Relative paths.
            where: What they are in, for messages.

        Raises:
            ConfigError: If a face is missing, or there are two of one number.
        """
        found: dict[int, list[str]] = {number: [] for number in self.numbers}
        for name in names:
            number = _NUMBERED.fullmatch(PurePosixPath(name).stem)
            if number is not None and int(number[1]) in found:
                found[int(number[1])].append(name)
        if missing := [f"{number:05}" for number, files in found.items() if not files]:
            raise ConfigError(
                f"{where}: expected {self.words}, by the numbers that files are named by; "
                f"{len(missing):,} are missing: {first_few(missing)}"
            )
        for number, files in found.items():
            if len(files) > 1:
                raise ConfigError(
                    f"{where}: face {number:05} is there {len(files)} times, as {first_few(files)}; "
                    "give the folder of one of the layouts alone"
                )
        return {files[0]: number for number, files in found.items()}

    @property
    def words(self) -> str:
        """Say which faces those are."""
        first, second, last = self.numbers[0], self.numbers[1], self.numbers[-1]
        return f"{len(self.numbers):,} faces of {self.title}: {first:05}, {second:05} to {last:05}"


FACES: Final = {
    faces.name: faces
    for faces in (
        FaceList("ffhq", "FFHQ (every tenth of its last 10,000, which its authors leave to validation)",
                 range(60_000, 70_000, 10)),
        FaceList("celebahq", "CelebA-HQ (every thirtieth)", range(0, 30_000, 30)),
    )
}  # fmt: skip
"""Faces of the test sets, by what their names begin with."""


@dataclass(frozen=True, slots=True)
class NamedSet:
    """A test set whose draws are published."""

    name: str
    """With its version, as people cite it."""
    recipe: Recipe
    faces: FaceList
    records: str
    """Digest of all records, as published."""
    pixels: Mapping[str, tuple[str, ...]]
    """Builds by the digest of the drawn picture's LQ images on them."""

    def check_records(self) -> None:
        """Draw all records, and compare their digest with the published one.

        Raises:
            RunError: If it is another one.
        """
        self.compare(records_digest(self.recipe, self.faces))

    def compare(self, found: str) -> None:
        """Compare a digest of records with the published one.

        Raises:
            RunError: If it is another one.
        """
        if found != self.records:
            raise RunError(
                f"{self.name}: expected records with the published digest {self.records[:16]}, got {found[:16]}: this "
                "installation draws something else, so what it makes is not that set; please report it"
            )

    def builds(self, found: str) -> tuple[str, ...]:
        """List the published builds that make the same pixels of the drawn picture, by their digest; none if none."""
        return self.pixels.get(found, ())


def named_set(name: str) -> NamedSet:
    """Look up a test set by its name with version.

    Raises:
        ConfigError: If there is none; the message lists those that there are.
    """
    faces, _, rest = name.partition("-")
    entry = _entries().get(rest)
    if faces not in FACES or entry is None:
        known = set_names()
        same = [each for each in known if each.rpartition("@")[0] == name.rpartition("@")[0] != ""]
        asked = f"unknown test set `{name}`"
        if not same and (same := [each for each in known if each.rpartition("@")[0] == name]):
            raise ConfigError(f"{asked}: expected NAME@VERSION, such as {same[-1]}")
        if same:
            raise ConfigError(f"{asked}; known versions of it are {', '.join(same)}")
        raise ConfigError(f"{asked}; known are {', '.join(known)}")
    return NamedSet(
        name,
        recipe_from_mapping(entry["recipe"], name),
        FACES[faces],
        entry["records"][faces],
        {digest: tuple(builds) for digest, builds in entry["pixels"].items()},
    )


def set_names() -> list[str]:
    """List all test sets that have a name, with their versions."""
    return [f"{faces}-{recipe}" for faces in FACES for recipe in _entries()]


def record_line(number: int, record: str) -> str:
    """Say what counts of a pair in the digest of records: the face's number and the record."""
    return f"{number:05} {record}\n"


def lines_digest(lines: Iterable[str]) -> str:
    """Hash lines of `record_line`, in the order of the faces."""
    return sha256("".join(lines))


def face_key(number: int) -> str:
    """Name a face for the generator of its draws: by its number alone."""
    return f"{number:05}"


def records_digest(recipe: Recipe, faces: FaceList) -> str:
    """Draw the records of all faces, without one of them, and hash them."""
    return lines_digest(
        record_line(number, recipe.draw(generator(SEED, face_key(number), 0)).to_json()) for number in faces.numbers
    )


def pixels_digest(recipe: Recipe) -> str:
    """Hash what some records make of a picture that is drawn by whole numbers: it tells builds from one another.

    By one thread, as everything that commands make: sums of BLAS depend on how many share them.
    """
    picture = drawn_face(SIZE)
    records = [recipe.draw(generator(SEED, f"drawn/{face_key(number)}", 0)) for number in range(_PROBED)]
    with limited_threads(1):
        made = [sha256(make_lq(record, picture).tobytes()) for record in records]
    return lines_digest(itertools.starmap(record_line, enumerate(made)))


def build_words() -> str:
    """Name this build: what its pixels depend on."""
    found = versions()
    return f"OpenCV {found['opencv']}, Pillow {found['pillow']}, NumPy {found['numpy']}"


@functools.cache
def _entries() -> dict[str, dict[str, Any]]:
    return cast("dict[str, dict[str, Any]]", read_json(TABLE))
