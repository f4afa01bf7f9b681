"""`degrade-kit join`: the faces of somebody's own copy, put back into a data set without HQ images.

Each face is prepared as `synth` did it and compared: where the same bytes come out, the shards are the old ones byte by
byte.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from degrade_kit.errors import ConfigError, ImageError, RunError, ShardError
from degrade_kit.files import sha256, utf8
from degrade_kit.hq import HqConfig, HqImage, prepare, to_json, versions
from degrade_kit.image import pixel_hash
from degrade_kit.pipelines.card import write_card
from degrade_kit.pipelines.claim import Claim
from degrade_kit.pipelines.dataset.lq_only import (
    PIXELS,
    checked_samples,
    compact_json,
    copy_claim,
    extra_fields,
    publish_sidecar,
)
from degrade_kit.pipelines.effort import DECODE_SECONDS, ENCODE_SECONDS, Effort, megapixels, resolve_workers
from degrade_kit.pipelines.executor import ExecutorConfig, Stateful, run_tasks
from degrade_kit.pipelines.images import list_images
from degrade_kit.pipelines.makers.config import image_config, plan_of
from degrade_kit.progress import OnProgress, Progress, silent
from degrade_kit.reader import check_tar, side_of
from degrade_kit.record_severity import severity
from degrade_kit.shards import (
    CONFIG,
    FAILURES,
    FORMAT,
    LQ_ONLY,
    MANIFEST,
    Failure,
    Sample,
    ShardSet,
    ShardWriter,
    Sidecar,
    has_tar,
    iterate_samples,
    manifest_bytes,
    open_shards,
    read_failures,
    read_part,
    read_sidecar,
    stored_statistics,
)
from degrade_kit.sources import display_name, open_sources
from degrade_kit.statistics import Statistics
from degrade_kit.store import Store, open_store


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinJob:
    """What to put together."""

    shards: str
    """Data set of LQ images alone."""
    hq: str
    """The faces: see `degrade_kit.sources.open_sources`."""
    out: str


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinReport:
    """What came of all."""

    samples: int
    shards: int
    kept: int
    """Shards that an earlier run had put together."""
    identical: int
    """Shards that are the old ones byte by byte."""
    other_files: int
    """HQ images of this run whose file is another than there, with the same pixels."""
    left_out: tuple[Failure, ...]
    """Samples whose face is missing or another one."""
    digest: str
    original_digest: str
    """Digest of the data set that the LQ images were taken from."""


def join(job: JoinJob, executor: ExecutorConfig, progress: OnProgress = silent) -> JoinReport:
    """Put faces and LQ images together.

    A face is found by the name of its source, or else by its file name alone where only one has it. It counts as the
    right one if it is prepared to the same bytes, or to the same pixels. Samples without their face are left out, and
    listed among the data set's failures; a rerun makes shards that lack some again.

    Args:
        job: What to put together.
        executor: Where to run.
        progress: Told of the shards that are done.

    Raises:
        ConfigError: If the data set has its faces, there are no images in `job.hq`, or `job.out` is inside either.
        RunError: If the output holds something else, or a shard was not made.
        ShardError: If a shard is missing, cut or altered.
    """
    plan = plan_join(job)
    bare, target = plan.bare, open_store(job.out)
    executor = resolve_workers(executor, lambda: plan.effort)
    with _claim(bare, job).taken(target):
        return _join(job, plan, target, executor, progress)


def _join(job: JoinJob, plan: JoinPlan, target: Store, executor: ExecutorConfig, progress: OnProgress) -> JoinReport:
    """Put together what is not yet, in an output that is this run's."""
    bare, sidecars, todo = plan.bare, plan.sidecars, plan.todo
    target.write(CONFIG, read_part(bare.store, CONFIG))
    if todo:
        target.delete(MANIFEST)  # of a run that left samples out: while shards change, the data set is not whole
    kept = len(sidecars) - len(todo)
    progress(Progress(noun="shard", done=kept, total=len(sidecars), kept=kept))
    other_files, done = 0, kept
    work = Stateful[str, int](functools.partial(join_worker, job))
    for outcome in run_tasks(work, todo, executor):
        if outcome.result is None:
            raise RunError(f"{outcome.task} was not put together: {outcome.error}")
        other_files += outcome.result
        done += 1
        progress(Progress(noun="shard", done=done, total=len(sidecars), kept=kept))
    made = [read_sidecar(target, sidecar.shard) for sidecar in sidecars]
    joined = [sidecar for sidecar in made if sidecar is not None]
    _finish(bare, target, joined, plan_of(bare), plan.not_listed)
    hashes = {shard["name"]: shard["sha256"] for shard in bare.manifest[LQ_ONLY]["shards"]}
    known = {(failure.source, failure.reason) for sidecar in sidecars for failure in sidecar.failures}
    return JoinReport(
        samples=sum(sidecar.count for sidecar in joined),
        shards=len(joined),
        kept=kept,
        identical=sum(sidecar.sha256 == hashes.get(sidecar.shard, "") for sidecar in joined),
        other_files=other_files,
        left_out=tuple(
            failure
            for sidecar in joined
            for failure in sidecar.failures
            if (failure.source, failure.reason) not in known
        ),
        digest=open_shards(job.out).manifest["digest"],
        original_digest=bare.manifest[LQ_ONLY]["digest"],
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinPlan:
    """A job that nothing stands in the way of."""

    bare: ShardSet
    """The data set without faces."""
    sidecars: tuple[Sidecar, ...]
    """Its own, in order."""
    todo: tuple[str, ...]
    """Shards that are not put together yet, or lack some faces."""
    faces: int
    """Images in the place of the faces."""
    not_listed: dict[str, int]
    """What the listing of that place did not take, by cause."""

    @property
    def samples(self) -> int:
        """Samples in the shards to put together."""
        todo = set(self.todo)
        return sum(sidecar.count for sidecar in self.sidecars if sidecar.shard in todo)

    @property
    def effort(self) -> Effort:
        """What it takes, by the known costs of images."""
        # A face is often larger than what is made of it.
        each = (4 * DECODE_SECONDS + ENCODE_SECONDS) * megapixels(self.bare.manifest["size"])
        return Effort(seconds=each * self.samples, tasks=len(self.todo))


def plan_join(job: JoinJob) -> JoinPlan:
    """Find all that would stop `join` before its work, and what is to do; write nothing.

    Raises:
        ConfigError: As `join`.
        RunError: If the output holds something else, or cannot be written to.
        ShardError: If the data set is not whole.
    """
    bare = open_shards(job.shards)
    if LQ_ONLY not in bare.manifest:
        raise ConfigError(f"{job.shards}: this data set has its HQ images; nothing is to be joined")
    faces, target = list_images(job.hq), open_store(job.out)
    plan_of(bare)
    read_failures(bare.store)
    _claim(bare, job).check(target)
    _hq_extension(bare)
    sidecars = tuple(bare.sidecars())
    todo = tuple(sidecar.shard for sidecar in sidecars if not _is_joined(target, sidecar))
    return JoinPlan(bare=bare, sidecars=sidecars, todo=todo, faces=len(faces), not_listed=faces.summary())


def _claim(bare: ShardSet, job: JoinJob) -> Claim:
    return copy_claim(bare.manifest["digest"], [("SHARDS", job.shards), ("--hq", job.hq)])


def _hq_extension(bare: ShardSet) -> str:
    """What the member of an HQ image is called; the data set that says so may be somebody else's.

    Raises:
        ShardError: If it is no such name.
    """
    extension = next(iter(bare.manifest[LQ_ONLY]["extensions"]), "")
    if extension not in ("hq.png", "hq.jpg", "hq.webp"):
        raise ShardError(
            f"{bare.store.url}/{MANIFEST}: expected an HQ image as a sample's first member, got {extension!r:.80}"
        )
    return extension


def _is_joined(target: Store, bare: Sidecar) -> bool:
    """Whether a shard is there with every sample."""
    found = read_sidecar(target, bare.shard)
    return found is not None and found.count == bare.count and has_tar(target, found)


def _finish(
    bare: ShardSet, target: Store, sidecars: list[Sidecar], resolved: dict[str, Any], not_listed: dict[str, int]
) -> None:
    """The files of the whole data set, the manifest last, as `synth` writes them."""
    skipped = read_failures(bare.store)[: bare.manifest["num_skipped"]]
    failures = [asdict(failure) for sidecar in sidecars for failure in sidecar.failures]
    lines = [utf8(json.dumps(line, ensure_ascii=False) + "\n") for line in (*skipped, *failures)]
    target.write(FAILURES, b"".join(lines))
    # The faces were listed anew: what was left out when the data set was made is another matter.
    extra = {key: value for key, value in extra_fields(bare.manifest).items() if key != "left_out"}
    manifest = manifest_bytes(sidecars, {**extra, **({"left_out": not_listed} if not_listed else {})})
    statistics = Statistics()
    for sidecar in sidecars:
        statistics.merge(stored_statistics(sidecar, target))
    write_card(target, json.loads(manifest), statistics, resolved)
    target.write(MANIFEST, manifest)


def join_worker(job: JoinJob) -> Callable[[str], int]:
    """List the faces, and return what puts a shard together: the setup of a worker."""
    bare = open_shards(job.shards)
    config = image_config(plan_of(bare))
    return functools.partial(_join_shard, job, bare, _Faces(job.hq, config))


class _Face(NamedTuple):
    hq: HqImage
    source_sha256: str


class _Faces:
    """Somebody's copy of the faces."""

    def __init__(self, place: str, config: HqConfig) -> None:
        self._sources, self._config = open_sources(place), config
        self._by_name = {display_name(name): index for index, name in enumerate(self._sources.names)}
        self._by_file: dict[str, int | None] = {}
        for name, index in self._by_name.items():
            file = name.rpartition("/")[2]
            self._by_file[file] = None if file in self._by_file else index

    def find(self, source: str) -> _Face:
        """Prepare a face as `synth` does.

        Raises:
            ImageError: If it is not there, or cannot be used.
        """
        index = self._by_name.get(source, self._by_file.get(source.rpartition("/")[2]))
        if index is None:
            raise ImageError("face is missing", "no file of this name, or several in other folders")
        raw = self._sources.read(index)
        return _Face(prepare(raw, self._config), sha256(raw))


def _join_shard(job: JoinJob, bare: ShardSet, faces: _Faces, shard: str) -> int:
    """Put one shard together; returns how many HQ images have another file than there, with the same pixels."""
    target = open_store(job.out)
    sidecar = read_sidecar(bare.store, shard)
    assert sidecar is not None, "the driver has read it"
    failures: list[Failure] = []
    statistics, other_files = Statistics(), 0
    before = _Before(target, shard)
    with ShardWriter(target, shard) as writer:
        for sample in checked_samples(bare, shard):
            fields: dict[str, Any] = dict(sample.info)
            if type(fields.get(PIXELS)) is not str:
                raise ShardError(f"damaged: {shard}: sample {sample.key}: field {PIXELS}: expected text")
            try:
                face = faces.find(fields["source"])
                _check_face(face, fields, sidecar)
            except ImageError as error:
                kept = before.find(sample.key)
                if kept is None:
                    failures.append(Failure(source=fields["source"], reason=error.reason, detail=error.detail))
                    continue
                members = list(kept.members.items())
            else:
                members = list(_with_hq(sample, face, _hq_extension(bare)))
            other_files += sha256(members[0][1]) != fields["hq_sha256"]
            for variant in range(fields["variants"]):
                record = sample.record(variant)
                statistics.add(record)
                statistics.add_severity(severity(record, side_of(fields)))
            writer.add(sample.key, members)
    changes: dict[str, Any] = {}
    if failures:
        changes = {"failures": [*sidecar.failures, *failures], "statistics": statistics.to_plain()}
    publish_sidecar(target, sidecar, writer, **changes)
    return other_files


class _Before:
    """The samples of a shard that an earlier run put together: their faces may be missing this time.

    Args:
        target: Of the output.
        shard: Its name; a damaged one is as good as none.
    """

    def __init__(self, target: Store, shard: str) -> None:
        self._samples: Iterator[Sample] = iter(())
        self._next: Sample | None = None
        sidecar = read_sidecar(target, shard)
        if sidecar is not None and sidecar.count and has_tar(target, sidecar):
            path = target.local_copy(f"{shard}.tar")
            with contextlib.suppress(ShardError):
                check_tar(path, asdict(sidecar), hash_it=True)
                self._samples = iterate_samples(path)

    def find(self, key: str) -> Sample | None:
        """The sample of a key; keys are asked for in their order."""
        while self._next is None or self._next.key < key:
            self._next = next(self._samples, None)
            if self._next is None:
                return None
        return self._next if self._next.key == key else None


def _check_face(face: _Face, fields: Mapping[str, Any], sidecar: Sidecar) -> None:
    if sha256(face.hq.data) == fields["hq_sha256"] or pixel_hash(face.hq.pixels) == fields[PIXELS]:
        return
    other = [
        f"{name} {version} here, {sidecar.versions[name]} there"
        for name, version in versions().items()
        if sidecar.versions.get(name, version) != version
    ]
    hint = f"; libraries differ: {', '.join(other)}" if other and face.hq.changes else ""
    raise ImageError("face is another one", f"prepared, its pixels are not those of the data set{hint}")


def _with_hq(sample: Sample, face: _Face, hq_extension: str) -> Iterator[tuple[str, bytes]]:
    fields = {"format": FORMAT, **sample.info}
    del fields[PIXELS]
    if sha256(face.hq.data) != fields["hq_sha256"]:
        # The same pixels in another file: the JSON tells of the file that is there.
        fields |= {
            "source_sha256": face.source_sha256,
            "hq_sha256": sha256(face.hq.data),
            "hq_changes": to_json(face.hq.changes),
        }
    yield hq_extension, face.hq.data
    for extension, data in sample.members.items():
        yield extension, compact_json(fields) if extension == "json" else data
