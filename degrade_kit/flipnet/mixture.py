"""What FlipNet's degradation mode learns from: real pairs and faces degraded on the fly, mixed and numbered.

    mixture = Mixture([RealPairs(pairs), FacePairs(open_sources("ffhq"), recipe)], seed=0)
    mixture.sample(123, 512)    # the 124th sample of the run, 512 x 512: a function of the seed and these two alone

Since a sample depends on nothing but its number and size, any number of data workers gives the same run, and a resumed
run goes on with the number at which it stopped.

Source: FlipNet (ICCV 2025), section 4: 2,555 real pairs and 4,000 FFHQ faces degraded on the fly. Their shares are
unstated; here each pair and each face is as likely as any other unless weights say otherwise.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np

from degrade_kit.degradation import make_lq, make_target
from degrade_kit.errors import ConfigError, ImageError
from degrade_kit.flipnet import severity
from degrade_kit.flipnet.captions import source_caption, template_caption
from degrade_kit.flipnet.crops import DEFAULT_POLICY, POLICIES, Crop, CropPolicy, apply_crop, draw_crop, read_pair
from degrade_kit.flipnet.pairs import Pair
from degrade_kit.hq import MAX_SIDE, HqConfig, prepare_pixels
from degrade_kit.image import Pixels
from degrade_kit.recipe import Recipe
from degrade_kit.record import Record
from degrade_kit.seeding import generator
from degrade_kit.sources import Sources, display_name

FACE: Final = "face"
"""Kind of faces degraded on the fly."""
PAPER_FACES: Final = 4000
"""Faces drawn from their source."""


class PairSample(NamedTuple):
    """One pair with its caption, as training reads it."""

    hq: Pixels
    """uint8 RGB, size x size x 3, C-contiguous."""
    lq: Pixels
    """The LQ crop, in the form of `hq` and registered to it."""
    caption: str
    kind: str
    fresh: bool = False
    """Whether `lq` was made for this sample, and will not come again."""
    description: tuple[float, ...] = ()
    """Says how `lq` is degraded, by another part of its photograph or another image that was degraded alike; empty
    where nobody asked for it."""


Describe = Callable[[Pixels], tuple[float, ...]]
"""Makes the description of an image; see `degrade_kit.flipnet.description.DescriptionSpace.describe`."""


class PairSource(Protocol):
    """A numbered set of pairs of one kind."""

    @property
    def kind(self) -> str:
        """The kind of degradation."""
        ...

    def __len__(self) -> int: ...

    def load(self, index: int, size: int, rng: np.random.Generator, crop_rng: np.random.Generator) -> PairSample:
        """Cut crops out of the pair at `index`, size x size pixels.

        Args:
            index: From 0.
            size: At least 16.
            rng: The degradation is drawn from it, where there is one to draw.
            crop_rng: The crop is.

        Raises:
            ImageError: If a file cannot be used; it names the file.
            ValueError: If the size is out of range.
        """
        ...


class ImageCache:
    """Decoded images by key, the least recently used dropped first. Safe to share between threads.

    A copy that is pickled, as data workers get one, starts empty: each worker has the limit for itself.

    Args:
        max_bytes: Memory for pixels; 0 keeps nothing. 6,555 pairs of 512 x 512 pixels take 10 GB.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._kept: OrderedDict[Hashable, tuple[Pixels, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[ImageCache], tuple[int]]:
        return type(self), (self.max_bytes,)

    def __len__(self) -> int:
        """Count the entries of the cache."""
        return len(self._kept)

    def get(self, key: Hashable, load: Callable[[], tuple[Pixels, ...]]) -> tuple[Pixels, ...]:
        """Return the images under `key`, read-only; `load` makes them where they are not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        images = load()  # outside of the lock, so that threads decode side by side
        for image in images:
            image.setflags(write=False)
        with self._lock:
            if key not in self._kept and _num_bytes(images) <= self.max_bytes:
                self._kept[key] = images
                self.num_bytes += _num_bytes(images)
                while self.num_bytes > self.max_bytes:
                    self.num_bytes -= _num_bytes(self._kept.popitem(last=False)[1])
        return images


def _num_bytes(images: Iterable[Pixels]) -> int:
    return sum(image.nbytes for image in images)


class RealPairs:
    """Crops of real pairs of one kind.

    Args:
        pairs: All of one kind; see `degrade_kit.flipnet.pairs`. Not the test split.
        captions: One for each pair; where None, the measured degradation of each crop in words.
        policy: How to crop; that of the kind where None.
        cache: May be shared between sources.
        source_words: Whether captions that tell the measured degradation end in the kind; see `source_caption`.
        describe: Describes another part of a pair's LQ image, at its own resolution, so that the content of the crop
            is not told; nothing is described where None.

    Raises:
        ConfigError: If there are no pairs, pairs of several kinds or of the test split, or captions for another number
            of pairs.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        *,
        captions: Sequence[str] | None = None,
        policy: CropPolicy | None = None,
        cache: ImageCache | None = None,
        source_words: bool = False,
        describe: Describe | None = None,
    ) -> None:
        kinds = {pair.kind for pair in pairs}
        if len(kinds) != 1:
            raise ConfigError(f"pairs: expected some of one kind, got {len(pairs)} of {sorted(kinds)}")
        if held_out := [pair.name for pair in pairs if pair.split != "train"]:
            raise ConfigError(
                f"pairs: expected training pairs, got {len(held_out)} of a test split, first {held_out[0]}"
            )
        _check_captions(captions, len(pairs))
        self.kind = kinds.pop()
        self._pairs = tuple(pairs)
        self._captions = captions
        self._policy = policy or POLICIES.get(self.kind, DEFAULT_POLICY)
        self._whole = dataclasses.replace(self._policy, native=1.0)
        self._cache = ImageCache(0) if cache is None else cache
        self._caption = source_caption if source_words else template_caption
        self._describe = describe

    def __len__(self) -> int:
        """Count the pairs of the source."""
        return len(self._pairs)

    def load(self, index: int, size: int, rng: np.random.Generator, crop_rng: np.random.Generator) -> PairSample:
        """Cut crops out of a pair; see `PairSource.load`."""
        del rng
        _check_size(size, MAX_SIDE)
        pair = self._pairs[index]
        hq, lq = self._cache.get((pair.hq_path, pair.lq_path, pair.tile), lambda: read_pair(pair))
        # A tile shows a part at native resolution already: enlarged, noise would be that of no camera.
        policy = self._policy if pair.tile is None else self._whole
        crop = draw_crop(hq.shape[0], hq.shape[1], size, policy, crop_rng)
        description = () if self._describe is None else self._describe(other_part(crop, lq, crop_rng))
        hq, lq = apply_crop(crop, hq), apply_crop(crop, lq)
        caption = self._caption(hq, lq, self.kind) if self._captions is None else self._captions[index]
        return PairSample(hq, lq, caption, self.kind, description=description)


_PART: Final = 48
"""Least side of a part that is described, pixels, where the image has as many."""
_PARTS: Final = 8
"""Parts that are drawn, of which the one is taken that shares least with the crop."""


def other_part(crop: Crop, pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Cut another part out of the image that a crop is of, on its grid of 8 pixels: of some, that which shares least.

    Args:
        crop: Of the image.
        pixels: The image.
        rng: The same count of draws is taken from it whatever the sizes.
    """
    height, width = pixels.shape[:2]
    parts: list[tuple[float, tuple[int, int, int, int]]] = []
    for tall, wide, down, right in rng.random((_PARTS, 4)):
        rows, columns = (
            side if side <= _PART else _PART + int(share * ((side - _PART) // 8 + 1)) * 8
            for share, side in ((tall, height), (wide, width))
        )
        top, left = (
            int(share * (room // 8 + 1)) * 8 for share, room in ((down, height - rows), (right, width - columns))
        )
        shared = _shared(top, rows, crop.top, crop.side) * _shared(left, columns, crop.left, crop.side)
        parts.append((shared / (rows * columns), (top, left, rows, columns)))
    top, left, rows, columns = min(parts)[1]
    return np.ascontiguousarray(pixels[top : top + rows, left : left + columns])


def _shared(start: int, length: int, other: int, other_length: int) -> int:
    return max(0, min(start + length, other + other_length) - max(start, other))


class FacePairs:
    """Faces degraded anew by a recipe each time that they are loaded.

    Args:
        sources: From `degrade_kit.sources.open_sources`.
        recipe: Of any preset or file.
        face_size: Side to which faces are prepared before they are degraded, pixels. Crops of it are whole faces.
        limit: Number of faces to draw from the source; 0 takes all.
        seed: Of the draw, which depends on it and the names alone.
        captions: One for each face that `names` lists; where None, the measured degradation in words.
        policy: How to crop.
        cache: May be shared between sources; it holds faces, not what became of them.
        describe: Describes another face that is degraded by the same record; nothing is described where None.

    Raises:
        ConfigError: If `face_size` is outside of [16, 4096] pixels, or the captions are for another number of faces.
    """

    kind = FACE

    def __init__(
        self,
        sources: Sources,
        recipe: Recipe,
        *,
        face_size: int = 512,
        limit: int = PAPER_FACES,
        seed: int = 0,
        captions: Sequence[str] | None = None,
        policy: CropPolicy = POLICIES[FACE],
        cache: ImageCache | None = None,
        describe: Describe | None = None,
    ) -> None:
        self._config = HqConfig(size=face_size)
        order = sorted(range(len(sources)), key=lambda i: generator(seed, f"face\0{sources.names[i]}", 0).random())
        self._indices = sorted(order[:limit] if limit else order)
        _check_captions(captions, len(self._indices))
        self._sources = sources
        self._recipe = recipe
        self._captions = captions
        self._policy = policy
        self._cache = ImageCache(0) if cache is None else cache
        self._describe = describe
        self._last: tuple[tuple[int, Record], Pixels] | None = None
        self._token = object()  # so that faces of equal names from other places do not meet in a shared cache

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the faces that were drawn."""
        return tuple(self._sources.names[i] for i in self._indices)

    @property
    def num_listed(self) -> int:
        """Number of faces in the source."""
        return len(self._sources)

    @property
    def skipped(self) -> tuple[tuple[str, str, str], ...]:
        """Files that were not listed, as in `Sources.skipped`."""
        return self._sources.skipped

    @property
    def never_data(self) -> dict[str, int]:
        """What else the source holds that is no data, by cause."""
        return dict(self._sources.left_out)

    def __len__(self) -> int:
        """Count the faces that were drawn."""
        return len(self._indices)

    def read(self, index: int) -> bytes:
        """Read the file of a face, as it lies in the source.

        Raises:
            ImageError: If it cannot be read.
        """
        return self._sources.read(self._indices[index])

    def face(self, index: int) -> Pixels:
        """Read a face as prepared, uint8 RGB, read-only.

        Raises:
            ImageError: If it cannot be used; it names the source.
        """
        position = self._indices[index]
        name = self._sources.names[position]

        def read() -> tuple[Pixels]:
            try:
                return (prepare_pixels(self._sources.read(position), self._config),)
            except ImageError as error:
                raise ImageError(error.reason, f"{display_name(name)}: {error.detail}") from error

        return self._cache.get((self._token, position), read)[0]

    def load(self, index: int, size: int, rng: np.random.Generator, crop_rng: np.random.Generator) -> PairSample:
        """Degrade a face; see `PairSource.load`. The size is at most that of the faces."""
        _check_size(size, self._config.size)
        face = self.face(index)
        record = self._recipe.draw(rng)
        if self._last is None or self._last[0] != (index, record):  # several crops of one image come in a row
            self._last = (index, record), make_lq(record, face)
        lq = self._last[1]
        crop = draw_crop(face.shape[0], face.shape[1], size, self._policy, crop_rng)
        hq, lq = apply_crop(crop, make_target(record, face)), apply_crop(crop, lq)
        caption = template_caption(hq, lq, FACE) if self._captions is None else self._captions[index]
        description: tuple[float, ...] = ()
        if self._describe is not None:
            other = self.face((index + 1 + int(rng.integers(max(len(self) - 1, 1)))) % len(self))
            description = self._describe(make_lq(record, other))
        return PairSample(hq, lq, caption, FACE, fresh=True, description=description)


def _check_size(size: int, largest: int) -> None:
    if not severity.MIN_SIDE <= size <= largest:
        raise ValueError(f"size: expected {severity.MIN_SIDE} to {largest} px, got {size}")


def _check_captions(captions: Sequence[str] | None, count: int) -> None:
    if captions is not None and len(captions) != count:
        raise ConfigError(f"captions: expected one for each of {count} images, got {len(captions)}")


class Mixture:
    """An endless, numbered sequence of samples drawn with replacement from several sources.

    Args:
        sources: At least one.
        seed: Of the run.
        weights: Share of each kind in the samples, positive numbers in any unit; within a kind every pair is as likely.
            Where None every pair of all sources is.
        crops: Samples in a row that are crops of one image, which saves reading and degrading it anew for each.

    Raises:
        ConfigError: If there is nothing to draw from, or the weights name other kinds than the sources have.
    """

    def __init__(
        self,
        sources: Sequence[PairSource],
        *,
        seed: int,
        weights: Mapping[str, float] | None = None,
        crops: int = 1,
    ) -> None:
        if crops < 1:
            raise ConfigError(f"crops: expected 1 or more, got {crops}")
        counts = np.array([len(source) for source in sources], np.float64)
        if not counts.sum():
            raise ConfigError("mixture: expected at least one pair or face, got none")
        kinds = [source.kind for source in sources]
        if weights is not None:
            _check_weights(weights, set(kinds))
            of_kind = {kind: counts[[other == kind for other in kinds]].sum() for kind in kinds}
            counts *= [weights[kind] / max(of_kind[kind], 1) for kind in kinds]
        self.sources = tuple(sources)
        self.shares = tuple(float(share) for share in counts / counts.sum())
        """Probability of each source, in order."""
        self._seed, self._crops = seed, crops
        self._edges = np.cumsum(counts / counts.sum())

    def __len__(self) -> int:
        """Count the pairs and faces of all sources; numbers of samples go on beyond it."""
        return sum(len(source) for source in self.sources)

    def sample(self, number: int, size: int) -> PairSample:
        """Make the sample of this number; the same each time, in every process.

        Args:
            number: From 0. The pair depends on it and the seed alone, not on the size.
            size: Side of the crops, pixels.

        Raises:
            ImageError: If a file cannot be used; it names the file.
            ValueError: If an argument is out of range.
        """
        if number < 0:
            raise ValueError(f"number: expected 0 or more, got {number}")
        rng = generator(self._seed, "flipnet mixture", number // self._crops)
        which = int(np.searchsorted(self._edges, rng.random(), side="right"))
        source = self.sources[min(which, len(self.sources) - 1)]
        return source.load(int(rng.integers(len(source))), size, rng, generator(self._seed, "flipnet crop", number))


def _check_weights(weights: Mapping[str, float], kinds: set[str]) -> None:
    if set(weights) != kinds or not all(weight > 0 for weight in weights.values()):
        raise ConfigError(
            f"weights: expected a positive number for each of {', '.join(sorted(kinds))}; got {dict(weights)}"
        )
