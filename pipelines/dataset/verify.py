"""`degrade-kit verify` and `replay`: is a data set whole, and do its records make its pixels again?"""

from __future__ import annotations

import functools
import math
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from degrade_kit.canvas import Canvas
from degrade_kit.checks import probability
from degrade_kit.degradation import degrade_segments
from degrade_kit.errors import ConfigError, DegradeKitError, RunError, ShardError, shortage
from degrade_kit.files import file_sha256, sha256
from degrade_kit.hq import versions
from degrade_kit.image import Pixels, decode_image
from degrade_kit.network_ops import Network, run_together
from degrade_kit.ops import libraries_of
from degrade_kit.pipelines.effort import (
    DECODE_SECONDS,
    DEGRADE_SECONDS,
    MODEL_SECONDS,
    MODEL_SECONDS_PER_STEP,
    Effort,
    estimate_lines,
    megapixels,
    resolve_workers,
)
from degrade_kit.pipelines.executor import WAIT_SECONDS, ExecutorConfig, run_tasks
from degrade_kit.pipelines.makers.config import fingerprint, load_plan_config
from degrade_kit.pipelines.makers.networks import NetworkSettings, load_networks, stored_networks
from degrade_kit.pipelines.makers.recipe_maker import encode_variant
from degrade_kit.pipelines.text import Report, ReportLine
from degrade_kit.record import Record, ops_to_json
from degrade_kit.shards import (
    CONFIG,
    FAILURES,
    GIVEN,
    HIDDEN,
    LQ_ONLY,
    MANIFEST,
    Sample,
    Sidecar,
    iterate_samples,
    open_shards,
    read_failures,
    read_sidecar,
    shard_name,
    sidecar_path,
)
from degrade_kit.statistics import Statistics
from degrade_kit.store import Store, open_store
from degrade_kit.wording import counted_noun, human_bytes

_SHOWN = 20
"""Problems of one shard that are listed; a broken one may have thousands."""
_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyTask:
    """One shard to check."""

    url: str
    shard: str
    listed: dict[str, Any] | None
    """Entry of the manifest; None for a shard that has no tar."""
    config_sha256: str
    """Hash of the data set's configuration."""
    replay: float
    """Share of the samples whose LQ images are made again."""
    networks: StoredNetworks | None
    """The FlipNets of the data set; without them, their images are not made again."""
    lq_only: bool
    """Whether the samples have no HQ image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyReport(Report):
    """What was found wrong in a data set, if anything."""

    shards: int = 0
    samples: int = 0
    replayed: int = 0
    """LQ images that were made again."""
    identical: int = 0
    """Those of them that are equal to the last bit."""
    problems: list[str] = field(default_factory=list[str])
    lq_only: bool = False
    """Whether the data set has no HQ images, so that none could be made again."""
    planned: tuple[str, ...] = ()
    """The plan of a dry run in lines; empty otherwise."""

    def lines(self) -> list[ReportLine]:
        """Say in lines what was found; see `Report`."""
        if self.planned:
            return [ReportLine(text) for text in self.planned]
        return [
            *(ReportLine(problem, warning=True) for problem in self.problems),
            ReportLine(
                f"{counted_noun(self.samples, 'sample')} in {counted_noun(self.shards, 'shard')}; "
                f"{counted_noun(self.replayed, 'LQ image')} made again, {self.identical:,} accepted; "
                f"{counted_noun(len(self.problems), 'problem')}"
            ),
        ]


ALIKE: Final = 1.0
"""Levels on average by which an image of a network may differ: another processor or library rounds another way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """A stored LQ image and the same made again from its record."""

    stored: Pixels
    again: Pixels
    identical: bool
    """Whether the files are equal byte by byte."""

    @property
    def mean_difference(self) -> float:
        """Mean absolute difference in levels of 255."""
        if self.stored.shape != self.again.shape:
            return float("inf")
        return float(np.abs(self.stored.astype(np.int16) - self.again).mean())


def verify(
    shards: str | os.PathLike[str],
    *,
    replay: float = 0.05,
    flipnet: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    workers: int | None = None,
    ray_address: str | None = None,
    wait: float = WAIT_SECONDS,
) -> VerifyReport:
    """Check a data set, hashes, counts, layout, every image, and records against pixels: `degrade-kit verify`.

    Args:
        shards: Folder or fsspec URL.
        replay: Share of the samples, in [0, 1] and evenly spread, whose LQ images are made again and compared.
        flipnet: Where the FlipNet of the data set is; where it was, if None.
        dry_run: Report the plan with its time, and check nothing.
        workers: Worker processes, as for `synthesize`.
        ray_address: Ray cluster to join, as for `synthesize`.
        wait: As for `synthesize`.

    Raises:
        ConfigError: If an argument does not fit, or a FlipNet is named and the data set has none.
        ShardError: If there is no manifest, or it is of an unknown format.

    Returns:
        What was found; all is well where it has no problems.
    """
    probability(replay, "replay")
    executor = ExecutorConfig(workers=workers, ray_address=ray_address, wait=wait)
    data_set = open_shards(shards)
    store, manifest = data_set.store, data_set.manifest
    if flipnet is not None and "flipnet" not in manifest:
        raise ConfigError(f"{store.url} was made without a FlipNet, so that --flipnet {flipnet} has no effect")
    if dry_run:
        first = (
            f"{counted_noun(manifest['num_samples'], 'sample')} in {counted_noun(manifest['num_shards'], 'shard')}, "
            f"{human_bytes(manifest['bytes'])}; LQ images of {replay:.0%} of them made again"
        )
        return VerifyReport(planned=(first, *estimate_lines(executor, verify_effort(manifest, replay))))
    executor = resolve_workers(executor, lambda: verify_effort(manifest, replay))
    listed = {entry["name"]: entry for entry in manifest["shards"]}
    problems = [*_check_manifest(manifest), *_check_beside(store, manifest), *_unlisted(store, set(listed))]
    names, missing = _shards_to_check(store, manifest["num_shards"])
    problems += missing
    found = None
    lq_only = LQ_ONLY in manifest
    replay = 0.0 if lq_only else replay
    if replay and "flipnet" in manifest:
        try:
            found = find_networks(store, None if flipnet is None else os.fspath(flipnet))
        except DegradeKitError as error:
            problems.append(f"LQ images of the FlipNet were not made again: {error}")
    tasks = [
        VerifyTask(
            url=store.url,
            shard=name,
            listed=listed.get(name),
            config_sha256=manifest["config_sha256"],
            replay=replay,
            networks=found,
            lq_only=lq_only,
        )
        for name in names
    ]
    samples = replayed = identical = 0
    for outcome in run_tasks(verify_shard, tasks, executor):
        if outcome.result is None:
            problems.append(f"{outcome.task.shard}: {outcome.error}")
            continue
        samples += outcome.result.samples
        replayed += outcome.result.replayed
        identical += outcome.result.identical
        problems += outcome.result.problems
    return VerifyReport(
        shards=len(names),
        samples=samples,
        replayed=replayed,
        identical=identical,
        problems=sorted(problems),
        lq_only=lq_only,
    )


def verify_effort(manifest: Mapping[str, Any], replay: float) -> Effort:
    """Say what a check takes, from the sizes of the data set and the known costs of images.

    Args:
        manifest: Of the data set.
        replay: Share of the samples whose LQ images are made again.
    """
    replay = 0.0 if LQ_ONLY in manifest else replay
    again = 20 * MODEL_SECONDS_PER_STEP if "flipnet" in manifest else DEGRADE_SECONDS
    each = DECODE_SECONDS * (1 + manifest["variants"]) + replay * manifest["variants"] * again
    setup = MODEL_SECONDS if replay and "flipnet" in manifest else 0.0
    seconds = each * megapixels(manifest["size"]) * manifest["num_samples"]
    return Effort(seconds=seconds, tasks=manifest["num_shards"], setup=setup)


def verify_shard(task: VerifyTask) -> VerifyReport:
    """Check one shard against its sidecar and the manifest; whatever is wrong with it is a problem in the report."""
    try:
        return _verify_shard(task)
    except ConfigError:
        raise  # a FlipNet that cannot be loaded
    except Exception as error:  # of hostile data: the other shards are to be checked all the same
        if shortage(error):
            raise
        return VerifyReport(shards=1, problems=[f"{task.shard}: cannot be checked: {error!r:.200}"])


def _verify_shard(task: VerifyTask) -> VerifyReport:
    store = open_store(task.url)
    problems: list[str] = []
    samples = replayed = identical = 0
    network = None if task.networks is None else load_stored(task.networks)
    sidecar = _read_sidecar(store, task.shard, problems)
    if sidecar is not None:
        problems += _check_sidecar(sidecar, task)
    if sidecar is not None and (sidecar.count or task.listed):
        if store.size(f"{task.shard}.tar") is None:
            problems.append("the tar is missing")
        else:
            path = store.local_copy(f"{task.shard}.tar")
            problems += _check_bytes(path, sidecar)
            contents = _Contents(sidecar, lq_only=task.lq_only)
            try:
                for sample in iterate_samples(path):
                    faults = contents.check(sample)
                    problems += faults
                    if not faults and _is_chosen(sidecar.first + contents.samples, task.replay):
                        for outcome in _replay_all(sample, sidecar, network):
                            replayed += 1
                            identical += outcome == ""
                            problems += [outcome] if outcome else []
            except DegradeKitError as error:
                problems.append(str(error))
            problems += contents.check_sums()
            samples = contents.samples
    named = [f"{task.shard}: {problem}" for problem in problems[:_SHOWN]]
    if problems:
        more = f"and {len(problems) - _SHOWN} more problems; " if len(problems) > _SHOWN else ""
        named.append(
            f"{task.shard}: {more}to make this shard again, delete {sidecar_path(task.shard)} and {MANIFEST} and run "
            "the same synth command"
        )
    return VerifyReport(shards=1, samples=samples, replayed=replayed, identical=identical, problems=named)


@dataclass(frozen=True, slots=True)
class StoredNetworks:
    """The FlipNets that made images of a data set, found where they are now."""

    models: tuple[tuple[str, str], ...]
    """Digest and place of each."""
    base_model: str | None
    dtype: str


def find_networks(store: Store, moved_to: str | None = None) -> StoredNetworks:
    """The FlipNets that made images of a data set, checked to be there.

    Args:
        store: Of the data set.
        moved_to: Folder of one of them now; all are where the data set's configuration says if None.

    Raises:
        ConfigError: If one is not there, or not the same any more.
        RunError: If the data set's configuration names none.
    """
    models, settings = stored_networks(load_plan_config(store))
    if not models:
        raise RunError(f"{store.url}/{CONFIG} names no FlipNet")
    from degrade_kit.flipnet.config import require_packages

    require_packages()
    from degrade_kit.flipnet.folder import folder_digest, model_folder, read_config

    if moved_to is not None:
        hint = f"; say where the FlipNet {' or '.join(models)} is (--flipnet)"
        try:
            read_config(model_folder(moved_to))
        except ConfigError as error:
            raise ConfigError(f"{error}{hint}") from error
        digest = folder_digest(model_folder(moved_to))
        if digest not in models:
            raise ConfigError(f"{moved_to}: this is the FlipNet {digest}{hint}")
        models = {**models, digest: moved_to}
    for digest, location in models.items():
        hint = f"; say where the FlipNet {digest} is (--flipnet)"
        try:
            read_config(model_folder(location))
        except ConfigError as error:
            raise ConfigError(f"{error}{hint}") from error
        if (here := folder_digest(model_folder(location))) != digest:
            raise ConfigError(f"{model_folder(location)}: this is the FlipNet {here}{hint}")
    return StoredNetworks(tuple(models.items()), settings.base_model, settings.dtype)


@functools.lru_cache(maxsize=1)
def load_stored(networks: StoredNetworks) -> Network:
    """Load the FlipNets of a data set, once in a process, with one thread, as `synth` has it.

    Raises:
        ConfigError: If one is not there, or not the same any more.
    """
    settings = NetworkSettings(base_model=networks.base_model, dtype=networks.dtype)
    return load_networks(dict(networks.models), settings, threads=1)


def replay_variant(sample: Sample, variant: int, network: Network | None = None) -> Replay:
    """Make an LQ image of a sample again from its HQ image and its record.

    Args:
        sample: From a shard.
        variant: Which of its LQ images.
        network: Does the steps of a FlipNet, where the record has any; see `load_stored`.

    Raises:
        ShardError: If the sample has no such variant, or a record that cannot be run.
    """
    return replay_variants(sample, [variant], network)[0]


def replay_variants(sample: Sample, variants: Sequence[int], network: Network | None = None) -> list[Replay]:
    """Do so for several LQ images of a sample, which meet a network together."""
    info, hq = sample.info, Canvas(pixels=sample.hq())
    if given := [variant for variant in variants if info.get(f"lq{variant}_origin") == GIVEN]:
        raise ShardError(f"sample {sample.key}: lq{given[0]} was given with its HQ image; no record makes it again")
    records = {variant: sample.record(variant) for variant in variants}
    try:
        made = run_together([degrade_segments(record, hq) for record in records.values()], network)
    except Exception as error:  # an altered record may fail anywhere
        named = ", ".join(f"lq{variant}" for variant in variants)
        what = "its record" if len(records) == 1 else "one of their records"
        raise ShardError(f"sample {sample.key}: {named}: {what} cannot be run: {error!r}") from error
    found: list[Replay] = []
    for (variant, record), native in zip(records.items(), made, strict=True):
        stored = sample.image(f"lq{variant}")
        extension = next(name for name in sample.members if name.startswith(f"lq{variant}.")).partition(".")[2]
        full = info[f"lq{variant}_tail"] == "[]" and bool(record.split()[1])
        try:
            again = encode_variant(record, native, hq.full_size, info[f"lq{variant}_origin"], extension, full=full)
        except Exception as error:
            raise ShardError(f"sample {sample.key}: lq{variant}: its record cannot be run: {error!r}") from error
        found.append(
            Replay(
                stored=decode_image(stored, min_side=1).pixels,
                again=decode_image(again.data, min_side=1).pixels,
                identical=stored == again.data,
            )
        )
    return found


def _check_manifest(manifest: Mapping[str, Any]) -> Iterator[str]:
    shards = manifest["shards"]
    if sha256("".join(entry["sha256"] for entry in shards)) != manifest["digest"]:
        yield f"{MANIFEST}: its digest does not match the hashes of its shards"
    for total, key in (("num_samples", "count"), ("bytes", "bytes")):
        if sum(entry[key] for entry in shards) != manifest[total]:
            yield f"{MANIFEST}: its {total} does not match its shards"
    if any(int(entry["name"].removeprefix("shard-")) >= manifest["num_shards"] for entry in shards):
        yield f"{MANIFEST}: its num_shards does not match its shards"
    if sum(manifest[key] for key in ("num_samples", "num_failures", "num_skipped")) != manifest["num_sources"]:
        yield f"{MANIFEST}: samples and failures do not add up to its num_sources"


def _check_beside(store: Store, manifest: Mapping[str, Any]) -> Iterator[str]:
    """Check the other files of the whole data set."""
    try:
        if fingerprint(load_plan_config(store)) != manifest["config_sha256"]:
            yield f"{CONFIG}: not the configuration that {MANIFEST} names"
    except DegradeKitError as error:
        yield str(error)
    try:
        failures = read_failures(store)
        if len(failures) != manifest["num_failures"] + manifest["num_skipped"]:
            yield f"{FAILURES}: {len(failures)} lines, but {MANIFEST} counts another number of failures"
    except DegradeKitError as error:
        yield str(error)


def _shards_to_check(store: Store, count: int) -> tuple[list[str], list[str]]:
    """Names of the shards that are looked at, and a problem where far more are said to be there than are."""
    there = sum(name.startswith(f"{HIDDEN}/shard-") for name in store.names())
    # Without a bound, a wrong number in the manifest would keep the check busy with what is not there.
    looked_at = min(count, there + _SHOWN)
    problem = f"{MANIFEST}: its num_shards is {count:,}, but {there:,} sidecars are there"
    return [shard_name(index) for index in range(looked_at)], [problem] if looked_at < count else []


def _unlisted(store: Store, names: set[str]) -> list[str]:
    """Tars that lie beside the listed ones: a reader with a glob would take them for data."""
    tars = [name for name in store.names() if name.endswith(".tar") and "/" not in name]
    return [f"{name}: not in {MANIFEST}" for name in tars if name.removesuffix(".tar") not in names]


def _read_sidecar(store: Store, shard: str, problems: list[str]) -> Sidecar | None:
    try:
        sidecar = read_sidecar(store, shard)
    except ShardError as error:
        problems.append(str(error))
        return None
    if sidecar is None:
        problems.append(f"no sidecar {sidecar_path(shard)}")
    return sidecar


def _check_sidecar(sidecar: Sidecar, task: VerifyTask) -> Iterator[str]:
    listed = task.listed or {"count": 0, "bytes": 0, "sha256": ""}
    for key in ("count", "bytes", "sha256"):
        if listed[key] != getattr(sidecar, key):
            yield f"{MANIFEST} says {key} {listed[key]!r}, its sidecar {getattr(sidecar, key)!r}"
    if sidecar.config_sha256 != task.config_sha256:
        yield "its sidecar belongs to another configuration"
    if len(sidecar.index) != sidecar.count or sidecar.count + len(sidecar.failures) != sidecar.last - sidecar.first:
        yield "the numbers of samples, failures and inputs in its sidecar do not add up"


def _check_bytes(path: Path, sidecar: Sidecar) -> Iterator[str]:
    try:
        size = path.stat().st_size
        if size != sidecar.bytes:
            yield f"expected {sidecar.bytes} bytes, found {size}"
            return
        found = file_sha256(path)
    except OSError as error:
        yield f"{path.name}: cannot be read: {error.strerror or error}"
        return
    if found != sidecar.sha256:
        yield f"its bytes have changed: expected sha256 {sidecar.sha256}, found {found}"


def _without_severity(statistics: Mapping[str, Any]) -> dict[str, Any]:
    """Statistics without severities, whose table may be another one now."""
    return {name: value for name, value in statistics.items() if name != "severity"}


class _Contents:
    """Checks the samples of a tar one by one against its sidecar."""

    def __init__(self, sidecar: Sidecar, *, lq_only: bool) -> None:
        self.samples = 0
        self._lq_only = lq_only
        self._sidecar = sidecar
        self._next = sidecar.first
        self._offset = 0
        self._statistics = Statistics()
        self._faults = 0

    def check(self, sample: Sample) -> list[str]:
        """Check layout, JSON and images of the next sample; returns what is wrong."""
        faults = list(self._check(sample))
        self._faults += len(faults)
        return faults

    def check_sums(self) -> Iterator[str]:
        """Check what is known at the end of the tar."""
        if self.samples != self._sidecar.count:
            yield f"expected {self._sidecar.count} samples, found {self.samples}"
        elif not self._faults and self._statistics.to_plain() != _without_severity(self._sidecar.statistics):
            yield "the statistics in its sidecar are not those of its records"

    def _check(self, sample: Sample) -> Iterator[str]:
        sizes = [len(data) for data in sample.members.values()]
        found = [sample.key, self._offset, *sizes]
        expected = self._sidecar.index[self.samples] if self.samples < len(self._sidecar.index) else None
        self.samples += 1
        self._offset += sum(_BLOCK + -(-size // _BLOCK) * _BLOCK for size in sizes)
        if list(sample.members) != self._sidecar.extensions or sample.ignored:
            members = ", ".join([*sample.members, *(f"{name!r} (not read)" for name in sample.ignored)])
            yield f"sample {sample.key} has members {members}, expected {', '.join(self._sidecar.extensions)}"
            return
        if found != expected:
            yield f"sample {sample.key} is {found!s:.400}, its sidecar's index says {expected!s:.400}"
        if not (re.fullmatch("[0-9]{9,15}", sample.key) and self._next <= int(sample.key) < self._sidecar.last):
            yield f"sample {sample.key}: not the number of an input from {self._next} to {self._sidecar.last - 1}"
            return
        self._next = int(sample.key) + 1
        try:
            info = sample.info
            sample.points()
            for variant in range(info["variants"]):
                record = sample.record(variant)
                self._statistics.add(record)
                yield from _check_rest(sample.key, variant, record, info)
        except ShardError as error:
            yield str(error)
            return
        if not self._lq_only and sha256(sample.image("hq")) != info["hq_sha256"]:
            yield f"sample {sample.key}: the HQ image is not the one of its JSON"
        for name, shape in _expected_shapes(info):
            if name == "hq" and self._lq_only:
                continue
            try:
                pixels = decode_image(sample.image(name), min_side=1).pixels
            except DegradeKitError as error:
                yield f"sample {sample.key}: {name}: {error}"
                continue
            if pixels.shape[:2] != shape:
                yield f"sample {sample.key}: {name} has shape {pixels.shape[:2]}, its JSON says {shape}"


def _check_rest(key: str, variant: int, record: Record, info: Mapping[str, Any]) -> Iterator[str]:
    """Check that what is left to the reader is what the record says."""
    size = info[f"lq{variant}_height"], info[f"lq{variant}_width"]
    complete = info[f"lq{variant}_tail"] == "[]" and size == (info["height"], info["width"])
    if not complete and info[f"lq{variant}_tail"] != ops_to_json(record.split()[1]):
        yield f"sample {key}: lq{variant}_tail is not the end of its record"
    if info[f"lq{variant}_target"] != ops_to_json(record.target):
        yield f"sample {key}: lq{variant}_target is not that of its record"


def _is_chosen(number: int, share: float) -> bool:
    """Whether the `number`-th input, counted from 1, is among this share of all: evenly spread, the first included."""
    return math.ceil(number * share) > math.ceil((number - 1) * share)


def _expected_shapes(info: dict[str, Any]) -> Iterator[tuple[str, tuple[int, int]]]:
    yield "hq", (info["height"], info["width"])
    for variant in range(info["variants"]):
        yield f"lq{variant}", (info[f"lq{variant}_height"], info[f"lq{variant}_width"])


def _replay_all(sample: Sample, sidecar: Sidecar, network: Network | None) -> Iterator[str]:
    """For each variant an empty text if its record makes the same file, else what differs.

    Images of a network are passed over where it is not at hand.
    """
    try:
        info = sample.info
        made = [number for number in range(info["variants"]) if info[f"lq{number}_origin"] != GIVEN]
        records = {number: sample.record(number) for number in made}
    except DegradeKitError as error:
        yield str(error)
        return
    by_model = [number for number, record in records.items() if record.by_model]
    groups = [[number] for number in records if number not in by_model]
    for group in [*groups, by_model] if network is not None and by_model else groups:
        try:
            here = {**versions(), **libraries_of(records[group[0]].steps)}
            outcomes = replay_variants(sample, group, network)
        except DegradeKitError as error:
            yield str(error)
            continue
        same_stack = here.items() <= sidecar.versions.items()
        for variant, outcome in zip(group, outcomes, strict=True):
            # Other library versions may round a pixel another way; a whole level on average is another picture.
            # So may another device, or another PyTorch, an image of a model.
            alike = (group is by_model or not same_stack) and outcome.mean_difference <= ALIKE
            if outcome.identical or alike:
                yield ""
            else:
                yield (
                    f"sample {sample.key}: lq{variant} is not what its record makes "
                    f"(mean difference {outcome.mean_difference:.3f} levels)"
                )
