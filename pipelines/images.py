"""Sets of images that are judged: restored ones, their references, sharp faces; each read by place, in any process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from degrade_kit.errors import ConfigError, ImageError
from degrade_kit.image import Pixels, decode_image
from degrade_kit.reader import PairReader
from degrade_kit.shards import MANIFEST
from degrade_kit.sources import Sources, display_name, open_sources
from degrade_kit.store import open_store


class JudgedSet(Protocol):
    """A set of images with names."""

    @property
    def names(self) -> Sequence[str]:
        """Relative paths, with extension."""
        ...

    def read(self, place: int) -> Pixels:
        """Read the image at a place of `names`.

        Raises:
            ImageError: If it cannot be used.
        """
        ...


@dataclass(frozen=True, slots=True)
class FileSet:
    """A folder, list, zip or tar of images."""

    sources: Sources

    @property
    def names(self) -> Sequence[str]:
        """Relative paths; see `JudgedSet`."""
        return self.sources.names

    def read(self, place: int) -> Pixels:
        """Read an image; see `JudgedSet`."""
        return decode_image(self.sources.read(place), min_side=1).pixels


@dataclass(frozen=True, slots=True)
class ShardReferences:
    """Training targets of a data set of this toolkit."""

    reader: PairReader
    names: tuple[str, ...]
    """Names of the sources, or keys."""

    def read(self, place: int) -> Pixels:
        """Read an HQ image; see `JudgedSet`."""
        return self.reader.stored_pair(self.reader.read(place, 0), 0).hq


def open_set(place: str, what: str) -> FileSet:
    """Open the images in a place.

    Raises:
        ConfigError: If nothing is there, or something in it cannot be read.
    """
    try:
        sources = open_sources(place)
    except ConfigError as error:
        raise ConfigError(f"{what}: {error}") from error
    if sources.skipped:
        name, reason, detail = sources.skipped[0]
        raise ConfigError(
            f"{what}: {len(sources.skipped):,} files in {place} cannot be listed, such as {display_name(name)}: "
            f"{reason}, {detail}"
        )
    return FileSet(sources)


def open_references(place: str, restored: Sequence[str]) -> JudgedSet:
    """Open references: images, or the HQ images of a data set, named as restored ones are, by source or by key.

    Args:
        place: A data set, or whatever `open_sources` takes.
        restored: Names of the restored images.

    Raises:
        ConfigError: If nothing is there.
    """
    if not is_shards(place):
        return open_set(place, "--reference")
    reader = PairReader(place)
    raw = [reader.read(index, None) for index in range(len(reader))]
    keys = {entry.key for entry in raw}
    by_key = any(name.rpartition("/")[2][:9] in keys for name in restored)
    return ShardReferences(reader, tuple(f"{entry.key}.png" if by_key else entry.info["source"] for entry in raw))


def read_or_none(images: JudgedSet, place: int) -> Pixels | None:
    """Read an image for the pictures of a report, in which a damaged file is left out."""
    try:
        return images.read(place)
    except ImageError:
        return None


def is_shards(place: str) -> bool:
    """Whether a data set of this toolkit is there."""
    try:
        return open_store(place).size(MANIFEST) is not None
    except (ConfigError, OSError):
        return False
