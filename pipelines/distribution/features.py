"""Features of many images, in parallel and cached: from folders, data sets, and probes of HQ faces."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from degrade_kit.analysis.comparison import ImageSet, Kind
from degrade_kit.analysis.distances import Features
from degrade_kit.analysis.extractors import Extractor, Measure
from degrade_kit.canvas import Canvas
from degrade_kit.degradation import degrade_segments, finish, make_lq
from degrade_kit.errors import ImageError, ShardError
from degrade_kit.files import sha256
from degrade_kit.image import Pixels, decode_image, encode_jpeg
from degrade_kit.network_ops import Network, run_together
from degrade_kit.pipelines.effort import MODEL_SECONDS, NETWORK_SECONDS, Effort, seconds_each, spread
from degrade_kit.pipelines.executor import Stateful
from degrade_kit.pipelines.feature_cache import cached
from degrade_kit.pipelines.makers.networks import NetworkSettings, load_networks
from degrade_kit.record import Record, ops_from_json
from degrade_kit.shards import Sample, ShardSet, iterate_samples
from degrade_kit.sources import Sources, display_name
from degrade_kit.store import open_store

THUMBNAIL = 64
_FILES_IN_TASK = 48


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtractConfig:
    """How images are measured."""

    size: int
    """Side in pixels that all have."""
    allow_resize: bool
    """Whether others are cropped to their central square and resized."""
    cache: Path | None
    """Folder of features by content."""
    thumbnails: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """One image with its features."""

    label: str
    group: str
    features: npt.NDArray[np.float64]
    thumbnail: bytes
    record: str
    """JSON of its record; empty for photographs."""
    resized: bool
    key: str
    """Name of its features in the cache: content, size and extractor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredSet:
    """The images of a set that could be measured."""

    name: str
    kind: Kind
    place: str
    found: int
    """Images in the place; those measured are a subset where there are many."""
    rows: tuple[Row, ...]
    failures: tuple[tuple[str, str, str], ...]
    features: Features
    left_out: dict[str, int]
    """What the listing of the place did not take, by cause."""
    grouped: str
    """How it is known which images show the same face or person."""

    def as_points(self, points: Features) -> ImageSet:
        """Make the set that is compared, with points in some space."""
        labels, groups = tuple(row.label for row in self.rows), tuple(row.group for row in self.rows)
        return ImageSet(name=self.name, kind=self.kind, points=points, labels=labels, groups=groups)

    def digest(self) -> str:
        """Hash of contents, names and size."""
        text = "\n".join(sorted(f"{row.key} {row.label}" for row in self.rows))
        return sha256(text)


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of a task."""

    rows: list[Row]
    failures: list[tuple[str, str, str]]
    """Label, reason, detail."""
    wrong_size: list[tuple[str, int, int]]
    """Label, width and height."""


@dataclass(frozen=True, slots=True)
class FilesTask:
    """Some images of a folder, zip, tar or list."""

    owner: str
    """Name of the set."""
    sources: Sources
    config: ExtractConfig

    def images(self) -> Iterator[_Named]:
        """Read the images, one after the other."""
        for index, name in enumerate(self.sources.names):
            shown = display_name(name)
            try:
                data = self.sources.read(index)
            except ImageError as error:
                yield _Named(shown, shown, "", b"", "", lambda error=error: _fail(error))
                continue
            yield _Named(shown, shown, "", data, "", lambda data=data: decode_image(data).pixels)


@dataclass(frozen=True, slots=True)
class ShardMeasureTask:
    """Some LQ images of one shard."""

    owner: str
    """Name of the set."""
    url: str
    shard: str
    bytes: int
    picks: tuple[tuple[str, tuple[int, ...]], ...]
    """Key of a sample, and its variants."""
    config: ExtractConfig
    hq: bool = False
    """Whether the HQ images are taken, and not their variants."""

    def images(self) -> Iterator[_Named]:
        """Read the images, one after the other."""
        wanted = dict(self.picks)
        store = open_store(self.url)
        name = f"{self.shard}.tar"
        if store.size(name) != self.bytes:
            raise ShardError(
                f"{self.url}/{name}: not the size that the manifest says; `degrade-kit verify` lists what is wrong"
            )
        for sample in iterate_samples(store.local_copy(name)):
            for variant in wanted.get(sample.key, ()):
                yield _hq_of_sample(sample) if self.hq else _of_sample(sample, variant)


@dataclass(frozen=True, slots=True)
class ProbeTask:
    """Probe records applied to one HQ image.

    Where it is larger than the size of the configuration, the middle of the LQ image is cut out at that size: for
    photographs that show a part of what an aligner cuts out.
    """

    number: int
    """Number of the image."""
    hq: Pixels
    records: tuple[Record, ...]
    config: ExtractConfig
    models: tuple[tuple[str, str], ...] = ()
    """Digest and place of each FlipNet that the records need."""

    def images(self) -> Iterator[_Named]:
        """Degrade the face, once for each record."""
        digest = hashlib.sha256(self.hq.tobytes()).digest()
        # Those of a network are made together when the first of them is asked for.
        by_network = functools.cache(self._by_network)
        for number, record in enumerate(self.records):
            text = record.to_json()
            alone = functools.partial(make_lq, record, self.hq)
            made = functools.partial(_of_several, by_network, number) if record.by_model else alone
            yield _Named("", "", text, digest, text, functools.partial(_middle_of, made, self.config.size))

    def _by_network(self) -> dict[int, Pixels]:
        chosen = {number: record for number, record in enumerate(self.records) if record.by_model}
        canvas, network = Canvas(pixels=self.hq), loaded_networks(self.models)
        natives = run_together([degrade_segments(record, canvas) for record in chosen.values()], network)
        images = [finish(native.pixels, native.tail, canvas.full_size) for native in natives]
        return dict(zip(chosen, images, strict=True))


def _of_several(made: Callable[[], dict[int, Pixels]], number: int) -> Pixels:
    return made()[number]


@functools.lru_cache(maxsize=1)
def loaded_networks(models: tuple[tuple[str, str], ...]) -> Network:
    """Load FlipNets, by digest and place, once in a process, with one thread as `synth` has it.

    Raises:
        ConfigError: If one is not there, or not the same any more.
    """
    return load_networks(dict(models), NetworkSettings(), threads=1)


@dataclass(frozen=True, slots=True)
class _Named:
    label: str
    group: str
    record: str
    content: bytes
    """What the pixels follow from, together with `recipe`."""
    recipe: str
    pixels: Callable[[], Pixels]


def _fail(error: ImageError) -> Pixels:
    raise error


def _of_sample(sample: Sample, variant: int) -> _Named:
    info = sample.info
    data, tail = sample.image(f"lq{variant}"), info[f"lq{variant}_tail"]
    size = (info["height"], info["width"])

    def made() -> Pixels:
        return finish(decode_image(data, min_side=1).pixels, ops_from_json(tail), size)

    name = display_name(info["source"])
    return _Named(f"{name} #{variant}", name, info[f"lq{variant}_record"], data, f"{tail}{size}", made)


def _hq_of_sample(sample: Sample) -> _Named:
    name = display_name(sample.info["source"])
    return _Named(name, name, "", sample.image("hq"), "", sample.hq)


Task = FilesTask | ShardMeasureTask | ProbeTask


def file_tasks(owner: str, sources: Sources, places: Sequence[int], config: ExtractConfig) -> Iterator[FilesTask]:
    """Make tasks over the images at these places of a listing."""
    names = [sources.names[place] for place in places]
    for start in range(0, len(names), _FILES_IN_TASK):
        yield FilesTask(owner, sources.only(names[start : start + _FILES_IN_TASK]), config)


def shard_tasks(
    owner: str, shards: ShardSet, places: Sequence[int], config: ExtractConfig, *, hq: bool = False
) -> Iterator[ShardMeasureTask]:
    """Make tasks over images of a data set; place p is variant p % V of sample p // V, or its HQ image p."""
    variants = 1 if hq else int(shards.manifest["variants"])
    wanted: dict[int, list[int]] = {}
    for place in places:
        wanted.setdefault(place // variants, []).append(place % variants)
    sidecars = {sidecar.shard: sidecar for sidecar in shards.sidecars()}
    number = 0
    for shard in shards.shards:
        picks: list[tuple[str, tuple[int, ...]]] = []
        for entry in sidecars[shard["name"]].index:
            if number in wanted:
                picks.append((entry[0], tuple(wanted[number])))
            number += 1
        if picks:
            yield ShardMeasureTask(owner, shards.store.url, shard["name"], shard["bytes"], tuple(picks), config, hq)


def measuring_effort(extractor: Extractor, tasks: Sequence[Task]) -> Effort:
    """Say what it takes to measure images: as some of them tell or, of a network, as such usually take.

    Images whose features are kept from before count as the others do.
    """
    images = sum(map(_count, tasks))
    if not extractor.handcrafted:
        return Effort(seconds=NETWORK_SECONDS * images, tasks=len(tasks), setup=MODEL_SECONDS)
    load, key = extractor.load(), extractor.key()

    def measure(place: int) -> None:
        task = tasks[place]
        plain = replace(task.config, cache=None)
        first = next(iter(replace(task, config=plain).images()), None)
        if first is not None:
            _measure(first, load, key, plain, Measured([], [], []))

    return Effort(seconds=seconds_each(spread(len(tasks), 6), measure) * images, tasks=len(tasks))


def _count(task: Task) -> int:
    if isinstance(task, FilesTask):
        return len(task.sources)
    return len(task.records) if isinstance(task, ProbeTask) else sum(len(variants) for _, variants in task.picks)


def count_images(shards: ShardSet, *, hq: bool = False) -> int:
    """Count the LQ images of a data set, or the HQ images."""
    return int(shards.manifest["num_samples"]) * (1 if hq else int(shards.manifest["variants"]))


def read_images(tasks: Iterable[Task]) -> Iterator[tuple[str, Pixels]]:
    """Read images that were measured before, with their labels; what cannot be used was told then, and is left out."""
    for task in tasks:
        for image in task.images():
            try:
                pixels = image.pixels()
            except ImageError:
                continue
            if task.config.allow_resize or pixels.shape[:2] == (task.config.size, task.config.size):
                yield image.label, to_size(pixels, task.config.size)


def pick(count: int, most: int, rng: np.random.Generator) -> list[int]:
    """Draw at most `most` of `count` places, evenly, in order; 0 is all."""
    if not most or count <= most:
        return list(range(count))
    return sorted(rng.choice(count, most, replace=False).tolist())


def measuring(extractor: Extractor) -> Stateful[Task, Measured]:
    """Make the work for `run_tasks`: each worker loads the extractor once."""
    return Stateful(functools.partial(_ready, extractor))


def _ready(extractor: Extractor) -> Callable[[Task], Measured]:
    return functools.partial(_measure_task, extractor.load(), extractor.key())


def _measure_task(measure: Measure, key: str, task: Task) -> Measured:
    measured = Measured([], [], [])
    for image in task.images():
        try:
            row = _measure(image, measure, key, task.config, measured)
        except ImageError as error:
            measured.failures.append((image.label, error.reason, error.detail))
            continue
        if row is not None:
            measured.rows.append(row)
    return measured


def _measure(
    image: _Named, measure: Measure, extractor_key: str, config: ExtractConfig, measured: Measured
) -> Row | None:
    pixels = image.pixels()
    height, width = pixels.shape[:2]
    resized = (height, width) != (config.size, config.size)
    if resized and not config.allow_resize:
        measured.wrong_size.append((image.label, width, height))
        return None
    if resized:
        pixels = to_size(pixels, config.size)
    parts = (image.content, image.recipe.encode(), str(config.size).encode(), extractor_key.encode())
    key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    features = cached(config.cache, key, lambda: measure(pixels))
    small = config.thumbnails and bool(image.label)
    thumbnail = _thumbnail(pixels) if small else b""
    return Row(image.label, image.group, features, thumbnail, image.record, resized, key)


def _middle_of(make: Callable[[], Pixels], size: int) -> Pixels:
    return middle(make(), size)


def middle(pixels: Pixels, size: int) -> Pixels:
    """Cut the central square of this side out of an image that is larger, pixel by pixel."""
    height, width = pixels.shape[:2]
    if min(height, width) <= size:
        return pixels
    top, left = (height - size) // 2, (width - size) // 2
    return np.ascontiguousarray(pixels[top : top + size, left : left + size])


def to_size(pixels: Pixels, size: int) -> Pixels:
    """Cut out the central square at this side: shrunk by areas, enlarged by a cubic filter, else as it is."""
    if pixels.shape[:2] == (size, size):
        return pixels
    side = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    square = pixels[top : top + side, left : left + side]
    filter = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return np.ascontiguousarray(cv2.resize(square, (size, size), interpolation=filter), np.uint8)


def stretched(pixels: Pixels, factor: float) -> Pixels:
    """Make a square image wider by a factor, or higher where it is below 1, and cut out the middle of the same side."""
    side = pixels.shape[0]
    wide, high = round(side * max(factor, 1)), round(side * max(1 / factor, 1))
    if wide == high:
        return pixels
    larger = cv2.resize(pixels, (wide, high), interpolation=cv2.INTER_CUBIC)
    top, left = (high - side) // 2, (wide - side) // 2
    return np.ascontiguousarray(larger[top : top + side, left : left + side], np.uint8)


def _thumbnail(pixels: Pixels) -> bytes:
    return encode_jpeg(to_size(pixels, THUMBNAIL), 70)


def stack(rows: Iterable[Row]) -> npt.NDArray[np.float64]:
    """Stack the features of rows, (n, D)."""
    return np.stack([row.features for row in rows])
