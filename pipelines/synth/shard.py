"""One shard, from its sources to its sidecar: what a worker does, again after a death if need be."""

from __future__ import annotations

import contextlib
import functools
import json
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from degrade_kit.errors import ImageError
from degrade_kit.face_points import FacePoints
from degrade_kit.files import parse_json, sha256
from degrade_kit.hq import HqImage, prepare, versions
from degrade_kit.hq import to_json as changes_to_json
from degrade_kit.pipelines.machine import processors
from degrade_kit.pipelines.makers.captions import Captions
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.makers.networks import load_networks
from degrade_kit.pipelines.makers.recipe_maker import Prepared, RecipeMaker, VariantMaker
from degrade_kit.pipelines.synth.given import GivenImages, GivenMaker, given_variants
from degrade_kit.record_severity import severity
from degrade_kit.shards import (
    Failure,
    ShardWriter,
    Sidecar,
    SourceNote,
    Variant,
    extent_of,
    sample_key,
    sample_members,
    shard_name,
    sidecar_path,
)
from degrade_kit.sources import Sources, display_name
from degrade_kit.statistics import Statistics
from degrade_kit.store import open_store

CRASH_LIMIT = 2
"""An image during which the worker process has died this often is set aside as a failure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardTask:
    """One shard to make."""

    index: int
    first: int
    """Number of its first source."""
    sources: Sources
    config: SynthConfig
    lq_extension: str
    fingerprint: str
    url: str
    crumbs: str
    """Local folder where a worker notes what it is at, for whoever takes over after its death."""
    given: tuple[GivenImages, ...] = ()
    """The LQ images that were given of these sources."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardReport:
    """What came of one shard."""

    index: int
    sources: int
    count: int
    bytes: int
    failures: int


_SEVERITY_EVERY = 8
"""Severities are counted of one sample in so many: enough for a histogram, and it takes no time."""


def synthesize_shard(task: ShardTask, maker: VariantMaker, captions: Captions | None = None) -> ShardReport:
    """Make one shard and its sidecar; safe to run again, or twice at a time."""
    store = open_store(task.url)
    statistics, counters, failures = Statistics(), Counter[str](), list[Failure]()
    sizes = list[tuple[int, int]]()
    taken = deque[_Taken]()
    with ShardWriter(store, shard_name(task.index)) as writer:
        for variants in maker.variants(_faces(task, taken, failures, captions)):
            key, source, hq, points, given = taken.popleft()
            variants = given or variants
            for variant in variants:
                statistics.add(variant.record)
                if not given and len(sizes) % _SEVERITY_EVERY == 0:
                    statistics.add_severity(severity(variant.record, min(hq.pixels.shape[:2])))
            counters.update(_counts(hq))
            size = (hq.pixels.shape[0], hq.pixels.shape[1])
            sizes.append(size)
            writer.add(key, sample_members(hq.data, task.config.image.format, size, source, variants, points))
        assert not taken, f"{len(taken)} faces were given no variants"
    sidecar = Sidecar(
        shard=shard_name(task.index),
        first=task.first,
        last=task.first + len(task.sources.names),
        count=len(writer.index),
        bytes=writer.bytes,
        sha256=writer.sha256,
        extensions=writer.extensions,
        index=writer.index,
        failures=failures,
        counters=dict(sorted(counters.items())),
        statistics=statistics.to_plain(),
        config_sha256=task.fingerprint,
        versions=versions(task.config.recipe),
        extent=[] if task.config.image.size else extent_of(sizes),
    )
    store.write(sidecar_path(sidecar.shard), sidecar.to_json())
    return ShardReport(
        index=task.index,
        sources=len(task.sources.names),
        count=sidecar.count,
        bytes=sidecar.bytes,
        failures=len(failures),
    )


def synthesize_shard_by_recipe(task: ShardTask) -> ShardReport:
    """Make one shard with the recipe of its configuration, or of LQ images that were given."""
    return synthesize_shard(task, GivenMaker() if task.given else RecipeMaker(task.config, task.lq_extension))


class Crumb:
    """Names the image that a worker is at, so that an image which kills every worker is set aside.

    The file outlives the process: one line for each attempt at the shard, the image that was in work when it ended.
    """

    def __init__(self, folder: Path, index: int) -> None:
        self._path = folder / f"{index}.txt"
        # The folder belongs to the driver's machine; a worker elsewhere has no memory of its predecessors.
        self._enabled = folder.is_dir()
        past = self._path.read_text(encoding="utf-8").splitlines() if self._enabled and self._path.exists() else []
        self._deaths = Counter(str(parse_json(line, str(self._path))) for line in past)
        self._past = "".join(f"{line}\n" for line in past)

    @property
    def num_set_aside(self) -> int:
        """How many images have killed their workers too often."""
        return sum(deaths >= CRASH_LIMIT for deaths in self._deaths.values())

    def note(self, name: str) -> None:
        """Note that `name` is next.

        Raises:
            ImageError: If workers have died at it too often.
        """
        if self._deaths[name] >= CRASH_LIMIT:
            raise ImageError("crashed the worker", f"{self._deaths[name]} times")
        if not self._enabled:
            return
        with contextlib.suppress(OSError):  # a full disk: the shard itself may be elsewhere
            self._path.write_text(f"{self._past}{json.dumps(name)}\n", encoding="utf-8")


class _Taken(NamedTuple):
    """What is kept of a source while its variants are made."""

    key: str
    source: SourceNote
    hq: HqImage
    points: FacePoints | None
    given: list[Variant]


def _faces(
    task: ShardTask, taken: deque[_Taken], failures: list[Failure], captions: Captions | None
) -> Iterator[Prepared]:
    """Yield the sources that can be used, each noted in `taken` when it is asked for; the others go to `failures`."""
    crumb = Crumb(Path(task.crumbs), task.index)
    for offset, name in enumerate(task.sources.names):
        shown = display_name(name)
        try:
            crumb.note(shown)
            raw = task.sources.read(offset)
            caption = None if captions is None else captions.of(raw)
            hq = prepare(raw, task.config.image)
            _check_size(hq, task.config.recipe.lq_scale)
            points = _points(task, shown, hq)
            full = task.config.lq_size == "full"
            given = given_variants(task.given, offset, raw, hq, task.config.image, task.lq_extension, full=full)
        except ImageError as error:
            failures.append(Failure(source=shown, reason=error.reason, detail=error.detail))
            continue
        source = SourceNote(shown, sha256(raw), changes_to_json(hq.changes))
        taken.append(_Taken(sample_key(task.first + offset), source, hq, points, given))
        yield Prepared(name, hq.pixels, caption)


def _check_size(hq: HqImage, lq_scale: int) -> None:
    """Refuse an image of which no LQ image can be so many times smaller."""
    height, width = hq.pixels.shape[:2]
    if height % lq_scale or width % lq_scale:
        raise ImageError("size not a multiple of lq_scale", f"{width} x {height}, lq_scale {lq_scale}")


def _points(task: ShardTask, name: str, hq: HqImage) -> FacePoints | None:
    """The points of a face as they lie in its HQ image; None in a data set without landmarks."""
    if task.config.landmarks is None:
        return None
    return task.config.landmarks.of_hq(name, hq.changes, (hq.pixels.shape[0], hq.pixels.shape[1]))


_COUNTED = {
    "decode": "converted",
    "crop": "cropped",
    "resize": "resized",
    "encode": "encoded anew",
    "strip_metadata": "metadata removed",
}


def _counts(hq: HqImage) -> set[str]:
    """Name what to count about how an HQ image was prepared."""
    if not hq.changes:
        return {"passed through"}
    return {_COUNTED[change["op"]] for change in hq.changes} | ({"enlarged"} if hq.enlarged else set())


def network_worker(config: SynthConfig, lq_extension: str, threads: int) -> Callable[[ShardTask], ShardReport]:
    """Load the FlipNets, and return what makes a shard with them: the setup of an actor."""
    from degrade_kit.pipelines.makers.network_maker import NetworkMaker

    network = load_networks(config.recipe, config.network, threads=threads)
    # Beside a GPU, all processors read faces, run the other steps and encode; beside a network on a CPU, one is enough.
    beside = 1 if network.on_cpu else processors()
    return functools.partial(_synthesize_with, NetworkMaker(config, lq_extension, network, beside), config.captions)


def _synthesize_with(maker: VariantMaker, captions: Captions | None, task: ShardTask) -> ShardReport:
    return synthesize_shard(task, maker, captions)
