"""Images by number, wherever they are, and how those of two sets belong together.

Restored images and their references, inputs of a restorer, sharp faces: each is a set with names that any process can
read from by place.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import posixpath
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final, Literal, Protocol

from degrade_kit.errors import ConfigError, ImageError
from degrade_kit.files import MAX_NAME
from degrade_kit.image import Pixels, decode_image
from degrade_kit.reader import PairReader
from degrade_kit.shards import MANIFEST
from degrade_kit.sources import UNSAFE_NAME, Sources, display_name, open_sources
from degrade_kit.store import is_safe_name, open_store
from degrade_kit.wording import first_few

log = logging.getLogger(__name__)


class Images(Protocol):
    """A set of images with names, read by their place."""

    @property
    def names(self) -> Sequence[str]:
        """Relative paths, with extension where they are files."""
        ...

    def read(self, place: int) -> Pixels:
        """Read the image at a place of `names`.

        Raises:
            ImageError: If it cannot be used.
            ShardError: If its shard is damaged.
        """
        ...


@dataclass(frozen=True, slots=True)
class FileImages:
    """A folder, list, zip or tar of images, or one file."""

    sources: Sources
    min_side: int = 1
    """Smaller ones cannot be used, pixels."""

    @property
    def names(self) -> Sequence[str]:
        """Relative paths; see `Images`."""
        return self.sources.names

    def read(self, place: int) -> Pixels:
        """Read an image; see `Images`."""
        return decode_image(self.sources.read(place), min_side=self.min_side).pixels


@dataclass(frozen=True, slots=True)
class ShardImages:
    """One image of each sample of a data set of this toolkit, at full size."""

    reader: PairReader
    names: Sequence[str]
    """Names of the sources, or keys."""
    side: Literal["hq", "lq"]
    """`hq` is the training target."""
    variant: int = 0
    """Number of the LQ image, or of the one whose target is taken."""

    def read(self, place: int) -> Pixels:
        """Read an image; see `Images`."""
        pair = self.reader.stored_pair(self.reader.read(place, self.variant), self.variant, lq_scale=1)
        return pair.hq if self.side == "hq" else pair.lq


def list_images(place: str | os.PathLike[str], *, include: str | None = None) -> Sources:
    """List the images of a place, and say in one line what of it is not taken.

    A command opens each of its places by this once, in the process that it runs in; what looks again, in its workers or
    later, calls `open_sources`.

    Args:
        place: Whatever `open_sources` takes.
        include: As there.

    Raises:
        ConfigError: As there.
    """
    sources = open_sources(os.fspath(place), include=include)
    warn_left_out(os.fspath(place), sources.summary())
    return sources


def warn_left_out(place: str, counts: Mapping[str, int]) -> None:
    """Say in one line what of a place is not taken, by cause; nothing where all is."""
    told = _told.get()
    if counts and (told is None or place not in told):
        causes = ", ".join(f"{count:,} {cause}" for cause, count in counts.items())
        log.warning("%s: left out %s", display_name(place), causes)
    if told is not None:
        told.add(place)


_told: ContextVar[set[str] | None] = ContextVar("told", default=None)
"""Places that `warn_left_out` was asked about in a block of `each_place_once`."""


@contextlib.contextmanager
def each_place_once() -> Generator[None]:
    """Say once within the block what is left out of a place, however many of its parts open that."""
    token = _told.set(set())
    try:
        yield
    finally:
        _told.reset(token)


def check_output(name: str) -> None:
    """Make sure that an image's result can have a name, so that a name which no file can have costs that image alone.

    Args:
        name: Relative to the output folder, with ending.

    Raises:
        ImageError: If it leads out of the folder, or a part of it is longer than file systems take.
    """
    if not is_safe_name(name):
        raise ImageError(UNSAFE_NAME, "it leads out of the output folder")
    if (longest := max(len(os.fsencode(part)) for part in name.split("/"))) > MAX_NAME:
        raise ImageError(UNSAFE_NAME, f"name too long: {longest} bytes, where a file's has {MAX_NAME} at most")


@contextlib.contextmanager
def output_named() -> Generator[None]:
    """Tell a name that the output's file system does not take, such as `a:b` on FAT, as a failure of that image alone.

    Raises:
        ImageError: If what is written within the block has such a name.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_SUCH_NAME:
            raise
        text = f"the output's file system takes no such name: {error.strerror}"
        raise ImageError(UNSAFE_NAME, text) from error


_NO_SUCH_NAME: Final = {errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG}


def is_shards(place: str) -> bool:
    """Find out whether a data set of this toolkit is there: a folder or URL that has a manifest.

    Raises:
        ConfigError: If it is a URL of a kind that cannot be opened here.
    """
    try:
        store = open_store(place)
    except ConfigError:  # an address that no store has
        return False
    try:
        return store.size(MANIFEST) is not None
    except OSError:  # a name that no file can have
        return False


def open_files(place: str, what: str) -> FileImages:
    """Images in a place that is no data set, every one of which must be readable.

    Args:
        place: Whatever `open_sources` takes.
        what: What they are, for messages, such as `--restored`.

    Raises:
        ConfigError: If nothing is there, or something in it cannot be listed.
    """
    try:
        sources = list_images(place)
    except ConfigError as error:
        raise ConfigError(f"{what}: {error}") from error
    if sources.skipped:
        name, reason, detail = sources.skipped[0]
        raise ConfigError(
            f"{what}: {len(sources.skipped):,} files in {place} cannot be listed, such as {display_name(name)}: "
            f"{reason}, {detail}"
        )
    return FileImages(sources)


def open_references(place: str, restored: Sequence[str]) -> Images:
    """Open references: images, or the HQ images of a data set, named as restored ones are, by source or by key.

    Args:
        place: A data set, or whatever `open_sources` takes.
        restored: Names of the restored images.

    Raises:
        ConfigError: If nothing is there.
    """
    if not is_shards(place):
        return open_files(place, "--reference")
    reader = PairReader(place)
    keys = set(reader.keys)
    if any(name.rpartition("/")[2][:9] in keys for name in restored):
        names = [f"{key}.png" for key in reader.keys]
    else:
        names = [reader.read(index, None).info["source"] for index in range(len(reader))]
    return ShardImages(reader, names, "hq")


def open_inputs(place: str, *, variant: int, cache_dir: str | os.PathLike[str] | None, min_side: int) -> Images:
    """Open what a restorer is given: images, or an LQ image of each sample of a data set, named by its key.

    Args:
        place: A data set, or whatever `open_sources` takes; what of it cannot be listed is left out.
        variant: Number of the LQ image.
        cache_dir: Where shards of a URL are kept.
        min_side: Least side of an image file, pixels.

    Raises:
        ConfigError: If it holds no images, or no such variant.
        ShardError: If it is a data set that is not whole.
    """
    if not is_shards(place):
        return FileImages(open_sources(place), min_side)
    reader = PairReader(place, cache_dir=cache_dir)
    if not 0 <= variant < reader.num_variants:
        raise ConfigError(f"--variant: expected 0 to {reader.num_variants - 1}, which {place} has; got {variant}")
    return ShardImages(reader, reader.keys, "lq", variant)


def read_or_none(images: Images, place: int) -> Pixels | None:
    """Read an image for the pictures of a report, in which a damaged file is left out."""
    try:
        return images.read(place)
    except ImageError:
        return None


# -------------------------------------------------------------------------------------------------------------- pairing


@dataclass(frozen=True, slots=True)
class Pairing:
    """Which restored image belongs to which reference."""

    pairs: tuple[tuple[str, int, int], ...]
    """Stem, place of the restored image and of the reference, sorted by stem."""
    missing: tuple[str, ...] = field(default=())
    """References without a restored image."""
    extra: tuple[str, ...] = field(default=())
    """Restored images without a reference."""


def pair_by_stem(restored: Sequence[str], reference: Sequence[str], suffix: str = "") -> Pairing:
    """Pair names that are equal without extension and, on the restored side, without the suffix.

    Args:
        restored: Relative names.
        reference: The same.
        suffix: What a method appends to names, such as `_00`.

    Raises:
        ConfigError: If two names of a side have one stem.

    >>> pair_by_stem(["b_00.png", "a_00.png"], ["a.jpg", "b.jpg"], "_00").pairs
    (('a', 1, 0), ('b', 0, 1))
    """
    ours, foreign = stems(restored, suffix, "restored")
    theirs, _ = stems(reference, "", "reference")
    shared = sorted(ours.keys() & theirs.keys())
    return Pairing(
        tuple((stem, ours[stem], theirs[stem]) for stem in shared),
        tuple(sorted(theirs.keys() - ours.keys())),
        tuple(sorted([*(ours.keys() - theirs.keys()), *foreign])),
    )


def stems(names: Sequence[str], suffix: str, side: str) -> tuple[dict[str, int], list[str]]:
    """Places by stem, and the stems that lack the suffix.

    Raises:
        ConfigError: If two names have one stem.
    """
    places: dict[str, int] = {}
    foreign: list[str] = []
    for place, name in enumerate(names):
        stem = posixpath.splitext(name)[0]
        if not stem.endswith(suffix):
            foreign.append(stem)
            continue
        stem = stem[: len(stem) - len(suffix)]
        if stem in places:
            first, second = display_name(names[places[stem]]), display_name(name)
            raise ConfigError(f"{side}: {first} and {second} have one name but for their ending; rename one")
        places[stem] = place
    return places, foreign


def output_stems(names: Sequence[str]) -> tuple[str, ...]:
    """Names of results: each loses its ending, unless it would be another one's name by that.

    >>> output_stems(["a.jpg", "a.png", "b.jpg", "c"])
    ('a.jpg', 'a.png', 'b', 'c')
    """
    found = [str(PurePosixPath(name).with_suffix("")) if PurePosixPath(name).name else name for name in names]
    while twice := {stem for stem, uses in Counter(found).items() if uses > 1}:
        found = [name if stem in twice else stem for name, stem in zip(names, found, strict=True)]
    return tuple(found)


def explain_unpaired(pairing: Pairing, num_reference: int, num_restored: int) -> str:
    """Say of a pairing that is not complete what is missing, and what to do."""
    parts: list[str] = []
    if pairing.missing:
        parts.append(
            f"{len(pairing.missing):,} of {num_reference:,} references have no restored image: "
            f"{first_few(pairing.missing)}"
        )
    if pairing.extra:
        few = first_few(pairing.extra)
        parts.append(f"{len(pairing.extra):,} of {num_restored:,} restored images have no reference: {few}")
    hint = _suffix_hint(pairing)
    return (
        f"{'; '.join(parts)}. Names are compared without extension{hint}; --allow-missing counts them and measures the "
        f"{len(pairing.pairs):,} pairs"
    )


def _suffix_hint(pairing: Pairing) -> str:
    """Something that all restored names append to a reference's, if so."""
    if pairing.missing and pairing.extra:
        first = max((stem for stem in pairing.missing if pairing.extra[0].startswith(stem)), key=len, default=None)
        if first is not None and (suffix := pairing.extra[0][len(first) :]):
            return f": do the restored ones end in {suffix!r}? Give --suffix {suffix}"
    return "; --suffix takes away what a method appends"
