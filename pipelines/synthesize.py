"""`degrade-kit synth`: HQ faces in, verified shards of LQ/HQ pairs out, in parallel and resumable."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import yaml

from degrade_kit.canvas import Canvas
from degrade_kit.degrade import degrade, finish
from degrade_kit.errors import ConfigError, ImageError, RunError
from degrade_kit.image import Decoded, Pixels, decode_image, encode_png
from degrade_kit.parameters import Statistics
from degrade_kit.prepare import HQ_FORMATS, HqConfig, HqFormat, HqImage, likely_format, prepare, sha256, versions
from degrade_kit.prepare import to_json as changes_to_json
from degrade_kit.presets import PRESETS, preset
from degrade_kit.recipe import Recipe, load_recipe, nearest, recipe_from_mapping
from degrade_kit.record import Record, ops_to_json
from degrade_kit.seeding import generator
from degrade_kit.shards import (
    CONFIG,
    FAILURES,
    HIDDEN,
    MANIFEST,
    Failure,
    ShardWriter,
    Sidecar,
    SourceNote,
    Variant,
    manifest_bytes,
    read_sidecar,
    sample_key,
    sample_members,
    shard_name,
    sidecar_path,
)
from degrade_kit.sources import Sources, display_name, open_sources
from degrade_kit.store import LocalStore, Store, check_writable, free_bytes, open_store
from pipelines.card import plain_yaml, write_card
from pipelines.executor import ExecutorConfig, limited_threads, run_tasks

log = logging.getLogger(__name__)

CRASH_LIMIT = 2
"""An image during which the worker process has died this often is set aside as a failure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SynthConfig:
    """Everything that changes the bytes of a data set."""

    hq: str
    """Where the faces are: see `degrade_kit.sources.open_sources`."""
    include: str | None = None
    """Glob that the names of the sources must match."""
    recipe: Recipe
    variants: int = 1
    """LQ images for each HQ image."""
    seed: int = 0
    samples_per_shard: int = 0
    """0 chooses from the number of sources: an eighth of them, 1000 at most."""
    lq_size: Literal["native", "full"] = "native"
    """`full` stores LQ images already enlarged to the HQ size."""
    image: HqConfig = field(default_factory=HqConfig)
    hq_format: Literal["auto", "png", "jpg", "webp"] = "auto"
    """`auto` looks at some sources: their format if all of them can be passed through, else PNG."""

    def __post_init__(self) -> None:
        if not 1 <= self.variants <= 1000:
            raise ConfigError(f"variants: expected a whole number within [1, 1000], got {self.variants}")
        if self.samples_per_shard < 0:
            raise ConfigError(f"samples_per_shard: expected 0 (automatic) or more, got {self.samples_per_shard}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A resolved configuration with its sources."""

    config: SynthConfig
    sources: Sources
    lq_extension: str
    num_shards: int
    resolved: dict[str, Any]
    """The configuration as saved beside the data."""

    @property
    def fingerprint(self) -> str:
        """Of the resolved configuration."""
        return fingerprint(self.resolved)


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What one sample costs, from a few that were made."""

    seconds: float
    bytes: float
    usable: int
    """How many of the inputs tried could be used."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardReport:
    """What came of one shard."""

    index: int
    sources: int
    count: int
    bytes: int
    failures: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SynthReport:
    """What came of a run."""

    url: str
    num_shards: int
    shards_made: int
    shards_kept: int
    """Done by an earlier run."""
    shards_failed: list[str]
    num_samples: int
    num_sources: int
    variants: int
    bytes: int
    seconds: float
    failures: dict[str, int]
    """Inputs that could not be used, by reason."""
    counters: dict[str, int]
    digest: str
    """Id of the data set; empty while shards are missing."""

    @property
    def complete(self) -> bool:
        """Whether every shard of the data set is there."""
        return bool(self.digest)


Progress = Callable[[ShardReport], None]


def resolve_recipe(name: str) -> Recipe:
    """A preset by name, or a recipe file.

    Raises:
        ConfigError: If it is neither, or the file is wrong.
    """
    if name in PRESETS:
        return preset(name)
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        return load_recipe(name)
    raise ConfigError(f"unknown preset `{name}`; {nearest(name, PRESETS)} (a recipe file ends in .yaml)")


def make_plan(config: SynthConfig) -> Plan:
    """List the sources and settle everything that was left open.

    Raises:
        ConfigError: If there are no sources, or an option does not fit.
    """
    sources = open_sources(config.hq, include=config.include)
    count = len(sources.names)
    config = replace(
        config,
        samples_per_shard=config.samples_per_shard or min(1000, max(1, -(-count // 8))),
        image=replace(config.image, format=_hq_format(config, sources)),
    )
    native = config.recipe.native_format() if config.lq_size == "native" else None
    resolved = {
        "format": 1,
        "recipe": config.recipe.to_mapping(),
        "variants": config.variants,
        "seed": config.seed,
        "samples_per_shard": config.samples_per_shard,
        "lq_size": config.lq_size,
        "lq_extension": native or "png",
        "include": config.include or "",
        "image": asdict(config.image),
        "num_sources": count,
        "sources_sha256": hashlib.sha256("\n".join(map(display_name, sources.names)).encode()).hexdigest(),
        "versions": versions(),
    }
    return Plan(
        config=config,
        sources=sources,
        lq_extension=native or "png",
        num_shards=-(-count // config.samples_per_shard),
        resolved=resolved,
    )


def synthesize(
    plan: Plan,
    url: str,
    executor: ExecutorConfig,
    *,
    overwrite: bool = False,
    shard_range: tuple[int, int] | None = None,
    progress: Progress = lambda report: None,
) -> SynthReport:
    """Make all shards that are not there yet, then the manifest, the card and the preview.

    Args:
        plan: From `make_plan`.
        url: Local folder or fsspec URL.
        executor: Where to run.
        overwrite: Remove the files of an earlier data set at `url` first; only what degrade-kit wrote.
        shard_range: First shard and one past the last, for one job of several; all if None.
        progress: Called after each shard.

    Raises:
        RunError: If the output belongs to another configuration, or cannot be written.
        Interrupted: After Ctrl-C.
    """
    start = time.monotonic()
    store = open_store(url)
    wanted = range(*(shard_range or (0, plan.num_shards)))
    if wanted.stop > plan.num_shards or wanted.start < 0 or not wanted:
        raise ConfigError(f"shard range {wanted.start}:{wanted.stop}: expected START:STOP within 0:{plan.num_shards}")
    try:
        _claim(store, plan, overwrite=overwrite)
        todo = [index for index in wanted if not _is_done(store, plan, index)]
        _check_space(store, plan, todo)
        if store.size(CONFIG) is None:
            store.write(CONFIG, plain_yaml(plan.resolved).encode())
        failed = _make_shards(plan, url, todo, executor, progress)
        made, kept = len(todo) - len(failed), len(wanted) - len(todo)
        return _conclude(plan, store, made=made, kept=kept, failed=failed, seconds=time.monotonic() - start)
    except OSError as error:  # of the output: what is wrong with an input is an ImageError
        raise RunError(_explain(error, store, plan)) from error
    finally:
        if isinstance(store, LocalStore):
            with contextlib.suppress(OSError):
                store.sweep()


def estimate(plan: Plan) -> Estimate:
    """Make a few samples, evenly spread, and keep nothing of them."""
    count = len(plan.sources.names)
    size = usable = 0
    start = time.perf_counter()
    with limited_threads(1):
        for index in sorted({i * (count - 1) // 7 for i in range(8)}):
            try:
                hq = prepare(plan.sources.read(index), plan.config.image)
            except ImageError:
                continue
            usable += 1
            size += len(hq.data) + 4096
            for variant in make_variants(hq.pixels, plan.sources.names[index], plan.config, plan.lq_extension):
                size += len(variant.data) + 1024
    divisor = max(usable, 1)
    return Estimate(seconds=(time.perf_counter() - start) / divisor, bytes=size / divisor, usable=usable)


def synthesize_shard(task: ShardTask) -> ShardReport:
    """Make one shard and its sidecar; safe to run again, or twice at a time."""
    store = open_store(task.url)
    statistics, counters, failures = Statistics(), Counter[str](), list[Failure]()
    crumb = _Crumb(Path(task.crumbs), task.index)
    with ShardWriter(store, shard_name(task.index)) as writer:
        for offset, name in enumerate(task.sources.names):
            try:
                crumb.note(display_name(name))
                key = sample_key(task.first + offset)
                writer.add(key, _sample(task, offset, statistics, counters))
            except ImageError as error:
                failures.append(Failure(source=display_name(name), reason=error.reason, detail=error.detail))
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
        versions=versions(),
    )
    store.write(sidecar_path(sidecar.shard), sidecar.to_json())
    return ShardReport(
        index=task.index,
        sources=len(task.sources.names),
        count=sidecar.count,
        bytes=sidecar.bytes,
        failures=len(failures),
    )


def make_variants(hq: Pixels, name: str, config: SynthConfig, lq_extension: str) -> Iterator[Variant]:
    """The LQ images of one HQ image.

    Args:
        hq: What a reader will decode.
        name: Name of the source, which seeds the draws.
        config: Recipe, seed and so on.
        lq_extension: Format of all LQ images of the data set.
    """
    origin = f"recipe:{config.recipe.name}@{config.recipe.digest()}"
    canvas = Canvas(pixels=hq)
    for number in range(config.variants):
        record = config.recipe.draw(generator(config.seed, name, number))
        yield make_variant(record, canvas, origin, lq_extension, full=config.lq_size == "full")


def make_variant(record: Record, hq: Canvas, origin: str, extension: str, *, full: bool) -> Variant:
    """Run a record and encode its LQ image as the data set holds it.

    Args:
        record: What to do.
        hq: Of what a reader decodes as the HQ image.
        origin: What the record comes from.
        extension: Format of the LQ image.
        full: Store it enlarged, complete, in place of its native size.
    """
    native = degrade(record, hq)
    tail = native.tail
    if full:
        pixels, tail = finish(native.pixels, tail, hq.full_size), ()
        data, (height, width) = encode_png(pixels), pixels.shape[:2]
    else:
        encoded = native.encoded
        height, width = native.canvas.height, native.canvas.width
        # A recipe that always ends in a JPEG file has that very file stored: no second loss, and nothing to encode.
        keeps = encoded is not None and encoded.extension == extension
        data = encoded.data if encoded is not None and keeps else encode_png(native.pixels)
    return Variant(
        data=data,
        extension=extension,
        width=width,
        height=height,
        origin=origin,
        record=record,
        tail=ops_to_json(tail),
        target=ops_to_json(record.target),
    )


def load_plan_config(store: Store) -> dict[str, Any]:
    """The resolved configuration of a data set.

    Raises:
        RunError: If there is none.
    """
    try:
        return yaml.safe_load(store.read(CONFIG))
    except FileNotFoundError as error:
        raise RunError(f"{store.url}: no {CONFIG}: not a data set of degrade-kit") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunError(f"{store.url}/{CONFIG} is damaged: {error}") from error


def fingerprint(resolved: dict[str, Any]) -> str:
    """Hash of a resolved configuration: shards of equal fingerprints belong together."""
    return hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest()


def stored_recipe(resolved: dict[str, Any]) -> Recipe:
    """The recipe of a resolved configuration."""
    return recipe_from_mapping(resolved["recipe"], CONFIG)


def _sample(task: ShardTask, offset: int, statistics: Statistics, counters: Counter[str]) -> list[tuple[str, bytes]]:
    """Members of one sample; statistics and counters change only if it succeeds."""
    name = task.sources.names[offset]
    raw = task.sources.read(offset)
    hq = prepare(raw, task.config.image)
    variants = list(make_variants(hq.pixels, name, task.config, task.lq_extension))
    for variant in variants:
        statistics.add(variant.record)
    counters.update(_counts(hq))
    source = SourceNote(display_name(name), sha256(raw), changes_to_json(hq.changes))
    size = (hq.pixels.shape[0], hq.pixels.shape[1])
    return sample_members(hq.data, task.config.image.format, size, source, variants)


_COUNTED = {
    "decode": "converted",
    "crop": "cropped",
    "resize": "resized",
    "encode": "encoded anew",
    "strip_metadata": "metadata removed",
}


def _counts(hq: HqImage) -> set[str]:
    """What to count of the way to this HQ image."""
    if not hq.changes:
        return {"passed through"}
    return {_COUNTED[change["op"]] for change in hq.changes} | ({"enlarged"} if hq.enlarged else set())


def _make_shards(plan: Plan, url: str, todo: Sequence[int], executor: ExecutorConfig, progress: Progress) -> list[str]:
    """Make these shards; returns the names of those that were not made."""
    failed: list[str] = []
    set_aside = Counter[int]()
    with tempfile.TemporaryDirectory(prefix="degrade-kit-") as crumbs:
        while todo:
            again: list[int] = []
            for outcome in run_tasks(synthesize_shard, (_task(plan, index, url, crumbs) for index in todo), executor):
                index = outcome.task.index
                found = _Crumb(Path(crumbs), index).num_set_aside
                if outcome.result is not None:
                    progress(outcome.result)
                elif found > set_aside[index]:  # several images kill its workers: each attempt finds one
                    set_aside[index] = found
                    again.append(index)
                else:
                    log.error("%s was not made: %s", shard_name(index), outcome.error)
                    failed.append(shard_name(index))
            todo = again
    return failed


def _extent(plan: Plan, index: int) -> tuple[int, int]:
    """First source of a shard, and one past its last."""
    first = index * plan.config.samples_per_shard
    return first, min(first + plan.config.samples_per_shard, len(plan.sources.names))


def _task(plan: Plan, index: int, url: str, crumbs: str) -> ShardTask:
    first, last = _extent(plan, index)
    return ShardTask(
        index=index,
        first=first,
        sources=plan.sources.select(first, last),
        config=plan.config,
        lq_extension=plan.lq_extension,
        fingerprint=plan.fingerprint,
        url=url,
        crumbs=crumbs,
    )


def _is_done(store: Store, plan: Plan, index: int) -> bool:
    sidecar = read_sidecar(store, shard_name(index))
    if sidecar is None:
        return False
    if sidecar.config_sha256 != plan.fingerprint:
        raise RunError(
            f"{store.url}/{sidecar_path(sidecar.shard)} belongs to another run; give --overwrite or another --shards"
        )
    return _has_tar(store, sidecar)


def _has_tar(store: Store, sidecar: Sidecar) -> bool:
    """Whether the tar is there; a shard without samples has none."""
    return not sidecar.count or store.size(f"{sidecar.shard}.tar") == sidecar.bytes


def _hq_format(config: SynthConfig, sources: Sources) -> HqFormat:
    if config.hq_format != "auto":
        assert config.hq_format in HQ_FORMATS
        return config.hq_format
    count = len(sources.names)
    probes = sorted({i * (count - 1) // 15 for i in range(16)}) if count > 1 else [0]
    return likely_format([_probe(sources, index, config.image.min_side) for index in probes], config.image.size)


def _probe(sources: Sources, index: int, min_side: int) -> Decoded | None:
    try:
        return decode_image(sources.read(index), min_side=min_side)
    except ImageError:
        return None


def _claim(store: Store, plan: Plan, *, overwrite: bool) -> None:
    """Make sure that the output is empty, or of this very configuration."""
    check_writable(store)
    if isinstance(store, LocalStore):
        store.sweep()
    names = store.names()
    if overwrite and CONFIG in names:
        _remove_ours(store, names)
        return
    if CONFIG in names:
        found = load_plan_config(store)
        if found != plan.resolved:
            raise RunError(
                f"{store.url} holds a data set of another configuration:\n{_difference(found, plan.resolved)}\n"
                "give the old options to resume it, --overwrite to replace it, or another --shards"
            )
        return
    foreign = [name for name in names if not name.startswith(f"{HIDDEN}/tmp/")]
    if foreign:
        raise RunError(
            f"{store.url} is not empty and was not made by degrade-kit (it holds {foreign[0]}"
            f"{f' and {len(foreign) - 1} more' if len(foreign) > 1 else ''}); give an empty or a new --shards"
        )


def _check_space(store: Store, plan: Plan, todo: Sequence[int]) -> None:
    """Stop before any work if the shards will not fit."""
    if not isinstance(store, LocalStore) or not todo:
        return
    free, _ = free_bytes(store)
    samples = sum(last - first for first, last in (_extent(plan, index) for index in todo))
    uncompressed = samples * (1 + plan.config.variants) * 3 * plan.config.image.size**2
    if 0 < uncompressed < free:
        return  # no need to make samples to know
    needed = estimate(plan).bytes * samples
    if needed > free:
        raise RunError(
            f"{store.url}: {_megabytes(free)} are free there, and the {len(todo)} shards to make need about "
            f"{_megabytes(needed)}; make room, or give another --shards"
        )


def _explain(error: OSError, store: Store, plan: Plan) -> str:
    """What to tell of an error of the output; with the numbers if it is full."""
    text = f"cannot write to {store.url}: {error.strerror or error}"
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return text
    todo = [index for index in range(plan.num_shards) if not _is_done(store, plan, index)]
    samples = sum(last - first for first, last in (_extent(plan, index) for index in todo))
    free, folder = free_bytes(store)
    return (
        f"{text}: {_megabytes(free)} are free in {folder}, and the {len(todo)} shards that are missing need about "
        f"{_megabytes(estimate(plan).bytes * samples)}. Make room and run the same command again: the "
        f"{plan.num_shards - len(todo)} finished shards are kept"
    )


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.1f} MB"


def _remove_ours(store: Store, names: Sequence[str]) -> None:
    """Delete what a run writes, the manifest first, so that an interrupted removal leaves no whole-looking set."""
    ours = [name for name in names if _is_ours(name)]
    for name in sorted(ours, key=lambda name: (name != MANIFEST, name == CONFIG, name)):
        store.delete(name)


def _is_ours(name: str) -> bool:
    if name in (MANIFEST, "README.md", "preview.png"):
        return True
    if name.startswith(f"{HIDDEN}/"):
        return True
    stem, _, extension = name.partition(".")
    return extension == "tar" and stem.startswith("shard-") and stem[6:].isdigit()


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The keys in which two configurations differ, one a line."""
    lines = list[str]()
    flat_old, flat_new = dict(_flatten("", old)), dict(_flatten("", new))
    for key in sorted(flat_old.keys() | flat_new.keys()):
        if flat_old.get(key) != flat_new.get(key):
            lines.append(f"  {key}: there {flat_old.get(key)!r}, now {flat_new.get(key)!r}")
    return "\n".join(lines)


def _flatten(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 (parsed YAML)
    if isinstance(value, dict):
        for key, inner in cast("dict[str, Any]", value).items():
            yield from _flatten(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list):
        for i, inner in enumerate(cast("list[Any]", value)):
            yield from _flatten(f"{prefix}[{i}]", inner)
    else:
        yield prefix, value


class _Crumb:
    """Names the image that a worker is at, so that an image which kills every worker is set aside.

    The file outlives the process: one line for each attempt at the shard, the image that was in work when it ended.
    """

    def __init__(self, folder: Path, index: int) -> None:
        self._path = folder / f"{index}.txt"
        # The folder belongs to the driver's machine; a worker elsewhere has no memory of its predecessors.
        self._enabled = folder.is_dir()
        past = self._path.read_text(encoding="utf-8").splitlines() if self._enabled and self._path.exists() else []
        self._deaths = Counter(json.loads(line) for line in past)
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


def _conclude(plan: Plan, store: Store, *, made: int, kept: int, failed: list[str], seconds: float) -> SynthReport:
    """Report; if all shards are there, also write the files of the whole data set, the manifest last."""
    sidecars = [read_sidecar(store, shard_name(index)) for index in range(plan.num_shards)]
    done = [sidecar for sidecar in sidecars if sidecar is not None and _has_tar(store, sidecar)]
    failures = Counter(reason for _, reason, _ in plan.sources.skipped)
    counters = Counter[str]()
    for sidecar in done:
        failures.update(failure.reason for failure in sidecar.failures)
        counters.update(sidecar.counters)
    digest = ""
    if len(done) == plan.num_shards:
        digest = _finalize(plan, store, done)
    return SynthReport(
        url=store.url,
        num_shards=plan.num_shards,
        shards_made=made,
        shards_kept=kept,
        shards_failed=failed,
        num_samples=sum(sidecar.count for sidecar in done),
        num_sources=len(plan.sources.names),
        variants=plan.config.variants,
        bytes=sum(sidecar.bytes for sidecar in done),
        seconds=seconds,
        failures=dict(failures.most_common()),
        counters=dict(sorted(counters.items())),
        digest=digest,
    )


def _finalize(plan: Plan, store: Store, sidecars: list[Sidecar]) -> str:
    skipped = [
        {"source": display_name(name), "reason": reason, "detail": display_name(detail)}
        for name, reason, detail in plan.sources.skipped
    ]
    lines = skipped + [asdict(failure) for sidecar in sidecars for failure in sidecar.failures]
    store.write(FAILURES, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
    extra = {
        "recipe": plan.config.recipe.name,
        "recipe_digest": plan.config.recipe.digest(),
        "variants": plan.config.variants,
        "seed": plan.config.seed,
        "lq_size": plan.config.lq_size,
        "size": plan.config.image.size,
        "config_sha256": plan.fingerprint,
        "num_sources": len(plan.sources.names) + len(plan.sources.skipped),
        "versions": versions(),
    }
    manifest = manifest_bytes(sidecars, {**extra, "num_skipped": len(plan.sources.skipped)})
    statistics = Statistics()
    for sidecar in sidecars:
        statistics.merge(Statistics.from_plain(sidecar.statistics))
    write_card(store, json.loads(manifest), statistics, plan.config.recipe)
    store.write(MANIFEST, manifest)
    return json.loads(manifest)["digest"]
