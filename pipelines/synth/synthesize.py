"""`degrade-kit synth`: HQ faces in, verified shards of LQ/HQ pairs out, in parallel and resumable."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from degrade_kit.errors import ConfigError, RunError
from degrade_kit.face_points import read_landmarks
from degrade_kit.files import held, local_path, temporary_folder
from degrade_kit.hq import HqConfig
from degrade_kit.pipelines.devices import check_device
from degrade_kit.pipelines.effort import resolve_workers
from degrade_kit.pipelines.executor import WAIT_SECONDS, ExecutorConfig, Stateful, Work, run_tasks
from degrade_kit.pipelines.makers.captions import open_captions
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.makers.networks import NetworkSettings, shorthand_recipe
from degrade_kit.pipelines.synth.estimate import describe_plan, estimate, measure_networks, synth_effort
from degrade_kit.pipelines.synth.given import RECIPE
from degrade_kit.pipelines.synth.output import (
    check_claim,
    check_space,
    claim,
    clear,
    explain,
    finalize,
    is_done,
    megabytes,
)
from degrade_kit.pipelines.synth.plan import Plan, make_plan
from degrade_kit.pipelines.synth.shard import (
    Crumb,
    ShardReport,
    ShardTask,
    network_worker,
    synthesize_shard_by_recipe,
)
from degrade_kit.pipelines.text import Report, ReportLine, counted, human_time
from degrade_kit.progress import OnProgress, Progress, silent
from degrade_kit.recipe import Recipe
from degrade_kit.shards import has_tar, read_sidecar, shard_name
from degrade_kit.sources import display_name
from degrade_kit.store import LocalStore, Store, open_store
from degrade_kit.wording import counted_noun, human_bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class SynthReport(Report):
    """What came of a run; or, of a dry run, what would."""

    out: str
    num_shards: int
    shards_made: int
    shards_kept: int
    """Done by an earlier run."""
    shards_done: int
    """Finished ones of the data set, by whatever run."""
    shards_failed: list[str]
    num_samples: int
    num_sources: int
    """HQ images that there are."""
    num_skipped: int
    """Files beside them that cannot be read at all."""
    left_out: dict[str, int]
    """All that the listing of the sources did not take, by cause: those files, and what is never data."""
    variants: int
    bytes: int
    """Size of all shards; an estimate in a dry run."""
    seconds: float
    """Time of the run; in a dry run, an estimate for one process."""
    failures: dict[str, int]
    """Inputs that could not be used, by reason."""
    counters: dict[str, int]
    """HQ images that were passed through, enlarged, cropped and so on."""
    digest: str
    """Id of the data set; empty while shards are missing."""
    licence: str = ""
    """What the licence of the FlipNet's weights says first, where there is one."""
    planned: tuple[str, ...] = ()
    """The plan of a dry run in lines; empty otherwise."""

    @property
    def complete(self) -> bool:
        """Whether every shard of the data set is there."""
        return bool(self.digest)

    def lines(self) -> list[ReportLine]:
        """Say in lines what was found; see `Report`."""
        licence = [ReportLine(f"licence: {self.licence}", warning=True)] if self.licence else []
        if self.planned:
            return [*map(ReportLine, self.planned), *licence]
        pairs = self.num_samples * self.variants
        kept = f"{self.shards_made} made, {self.shards_done - self.shards_made} kept from before"
        made = "all made now" if self.shards_made == self.num_shards else kept
        some = f"{self.shards_done} of " if self.shards_done < self.num_shards else ""
        lines = [
            ReportLine(
                f"{counted_noun(self.num_samples, 'sample')}, {counted_noun(pairs, 'pair')}, "
                f"{some}{counted_noun(self.num_shards, 'shard')} ({made}), "
                f"{human_bytes(self.bytes)}, {human_time(self.seconds)}"
            ),
            *licence,
        ]
        if self.counters:
            lines.append(ReportLine(f"HQ images: {counted(self.counters)}"))
        if self.counters.get("enlarged"):
            text = "note: an enlarged HQ image has no fine detail to learn; --min-side leaves such images out"
            lines.append(ReportLine(text, warning=True))
        if self.failures:
            text = f"not usable: {counted(self.failures)}; see {self.out}/.degrade_kit/"
            lines.append(ReportLine(text, warning=True))
        for name in self.shards_failed:
            lines.append(ReportLine(f"not made: {name}; run the same command again to retry it", warning=True))
        if not self.complete:
            return [*lines, ReportLine("the data set is not whole yet: no manifest.json was written", warning=True)]
        lines.append(ReportLine(f"digest {self.digest}"))
        if not self.num_samples:
            return [*lines, ReportLine("no image could be used, so the data set is empty", warning=True)]
        return [*lines, ReportLine(f"look at {self.out}/preview.png and {self.out}/README.md")]


def synthesize(
    hq: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    lq: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    lq_include: str | None = None,
    preset: str | os.PathLike[str] | Recipe = "real-world",
    mode: Literal["onthefly", "flipnet", "mix"] = "onthefly",
    mix: float = 0.5,
    flipnet: str | os.PathLike[str] = "photos",
    base_model: str | os.PathLike[str] | None = None,
    prompts: Mapping[str, float] | Sequence[str] | None = None,
    like: str | os.PathLike[str] | None = None,
    solver_steps: int | None = None,
    solver: Literal["ddim", "dpm++", "lcm"] | None = None,
    guidance: float | None = None,
    phi: float | None = None,
    negative_prompt: str | None = None,
    captions: str | os.PathLike[str] | None = None,
    landmarks: str | os.PathLike[str] | None = None,
    batch_size: int = 32,
    device: str | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    gpus_per_worker: float = 0.0,
    download: bool = False,
    variants: int = 1,
    seed: int = 0,
    size: int = 512,
    hq_filter: Literal["lanczos", "bicubic", "area"] = "lanczos",
    square: Literal["center", "error"] = "center",
    hq_format: Literal["auto", "png", "jpg", "webp"] = "auto",
    lq_size: Literal["native", "full"] = "native",
    min_side: int = 32,
    alpha: Literal["black", "white", "error"] = "black",
    include: str | None = None,
    samples_per_shard: int = 0,
    shard_range: tuple[int, int] | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    workers: int | None = None,
    ray_address: str | None = None,
    wait: float = WAIT_SECONDS,
    progress: OnProgress = silent,
) -> SynthReport:
    """Make LQ/HQ pairs from faces and write them as WebDataset shards: `degrade-kit synth`.

    Call it again to resume: finished shards are kept. The result is the same, bit by bit, with any number of workers
    and after any number of interruptions.

    Args:
        hq: HQ faces: a folder tree, list file, zip, tars or LMDB, or a URL such as s3://bucket/faces.
        out: Where to write: a folder, or an fsspec URL such as s3://bucket/folder.
        lq: LQ images of these faces, under the same names but for endings: in place of making some, pairs are checked
            and stored. One place, or several with one LQ image of each face.
        lq_include: Glob that the names of those LQ images must match, such as `*.lq.png`; all where None.
        preset: Name of a preset, path of a recipe file, or a recipe.
        mode: What makes LQ images: the recipe, a FlipNet, or for each variant one of both.
        mix: In the mode `mix`, the FlipNet's share, in [0, 1].
        flipnet: `photos` or `small`, which ship, or a folder that `degrade-kit train-degrade` wrote.
        base_model: Folder in place of the FlipNet's own base model.
        prompts: Of the FlipNet, with how often each is drawn; "" is the null prompt. The model's own where None, or
            beside `like` none.
        like: Photograph that the FlipNet is to degrade like, at its own size, or a folder of them, of which each image
            takes one.
        solver_steps: Steps of the solver, 1 to 1000; the model's where None, as in what follows.
        solver: Solver.
        guidance: Classifier-free guidance; 1 is none.
        phi: Weight of the HQ image.
        negative_prompt: What guidance leads away from.
        captions: File of captions, which `degrade-kit caption` writes, for a FlipNet whose prompt they are.
        landmarks: File of the faces' points, such as the `align.jsonl` of `degrade-kit align`, for trainers with
            discriminators of eyes and mouth; sources without points cannot be used then.
        batch_size: Images that are given to a FlipNet at a time, of any faces; changes no bytes.
        device: Such as cuda or cpu; the first GPU, or else the CPU, where None.
        dtype: Arithmetic of the FlipNet.
        gpus_per_worker: GPUs of each worker on Ray; may be a part.
        download: Whether a hub's base model that is not in the local cache may be fetched.
        variants: LQ images for each HQ image, 1 to 1000.
        seed: Of all draws.
        size: Side of the HQ images, pixels; 0 keeps them.
        hq_filter: Filter for HQ images of another size; the first two are Pillow's, antialiased.
        square: Images that are not square: take the central square, or count them as failures.
        hq_format: Of HQ images; files of it that need no change are passed through. `auto`: the sources', if possible.
        lq_size: Store LQ images before their last enlargement, which readers run, or complete.
        min_side: Smaller images are refused, pixels.
        alpha: What shows through transparent pixels.
        include: Glob that the relative names of sources must match, such as `*.hq.png`; all where None.
        samples_per_shard: HQ images in a shard; 0 takes an eighth of the images, at most 1000.
        shard_range: First shard and one past the last, for one job of several; all where None.
        overwrite: Replace a data set of another configuration; other files stay.
        dry_run: Report the plan with size and time, and write nothing.
        workers: Worker processes on a Ray that is started for this run; 0 works in this process. None takes one for
            each processor, or none where Ray is not installed.
        ray_address: Join the Ray cluster at this address instead.
        wait: Seconds that a run on a cluster waits while no worker has a place there.
        progress: Told of the images after each shard.

    Raises:
        ConfigError: If an argument does not fit, or there are no images.
        RunError: If the output belongs to another configuration, or cannot be written.

    Returns:
        What was made. Inputs that could not be used, and shards that were not made, are in it and no error.
    """
    places = [os.fspath(place) for place in ([lq] if isinstance(lq, (str, os.PathLike)) else lq or ())]
    if lq_include is not None and not places:
        raise ConfigError("lq_include: has no effect without lq")
    recipe = (
        RECIPE
        if places
        else shorthand_recipe(
            mode,
            mix,
            preset,
            model=os.fspath(flipnet),
            prompts=prompts,
            like=like,
            steps=solver_steps,
            solver=solver,
            guidance=guidance,
            phi=phi,
            negative=negative_prompt,
        )
    )
    config = SynthConfig(
        hq=os.fspath(hq),
        include=include,
        lq=tuple(places),
        lq_include=lq_include,
        recipe=recipe,
        variants=len(places) or variants,
        seed=0 if places else seed,
        samples_per_shard=samples_per_shard,
        lq_size=lq_size,
        image=HqConfig(size=size, filter=hq_filter, crop=square, min_side=min_side, alpha=alpha),
        hq_format=hq_format,
        captions=open_captions(captions, recipe),
        landmarks=None if landmarks is None else read_landmarks(local_path(landmarks)),
        network=NetworkSettings(
            base_model=None if base_model is None else os.fspath(base_model),
            batch_size=batch_size,
            device=device,
            dtype=dtype,
            download=download,
        ),
    )
    executor = ExecutorConfig(workers=workers, ray_address=ray_address, wait=wait, gpus=gpus_per_worker)
    plan = make_plan(config)
    if dry_run:
        _, todo = check_plan(plan, out, executor, overwrite=overwrite, shard_range=shard_range)
        return _planned(plan, os.fspath(out), todo, executor)
    return run_plan(plan, out, executor, overwrite=overwrite, shard_range=shard_range, progress=progress)


def _planned(plan: Plan, out: str, todo: Sequence[int], executor: ExecutorConfig) -> SynthReport:
    """Say what a run would make, estimated from a few samples."""
    sample, count = measure_networks(plan, estimate(plan)), plan.count(todo)
    return SynthReport(
        out=out,
        num_shards=plan.num_shards,
        shards_made=0,
        shards_kept=plan.num_shards - len(todo),
        shards_done=plan.num_shards - len(todo),
        shards_failed=[],
        num_samples=0,
        num_sources=len(plan.sources.names),
        num_skipped=len(plan.sources.skipped),
        left_out=plan.sources.summary(),
        variants=plan.config.variants,
        bytes=round(sample.bytes * count),
        seconds=sample.setup + sample.seconds * count,
        failures={} if sample.usable else dict(sample.failures),
        counters={},
        digest="",
        licence=plan.config.licence,
        planned=describe_plan(plan, sample, out, todo, executor),
    )


def run_plan(
    plan: Plan,
    out: str | os.PathLike[str],
    executor: ExecutorConfig,
    *,
    overwrite: bool = False,
    shard_range: tuple[int, int] | None = None,
    progress: OnProgress = silent,
) -> SynthReport:
    """Make all shards that are not there yet, then the manifest, the card and the preview.

    Args:
        plan: From `make_plan`.
        out: Local folder or fsspec URL.
        executor: Where to run.
        overwrite: Remove the files of an earlier data set at `out` first; only what degrade-kit wrote.
        shard_range: First shard and one past the last, for one job of several; all if None.
        progress: Told after each shard of the inputs that this run has been through, of those that it has to.

    Raises:
        RunError: If the output belongs to another configuration, or cannot be written.
        Interrupted: After Ctrl-C.
    """
    start = time.monotonic()
    store = open_store(out)
    try:
        wanted, todo = check_plan(plan, out, executor, overwrite=overwrite, shard_range=shard_range)
        # Jobs of several shard ranges work side by side; none of them beside one that removes shards.
        with held(store.root, shared=not overwrite) if isinstance(store, LocalStore) else contextlib.nullcontext():
            clear(store, overwrite=overwrite)
            check_space(store, plan, todo)  # what is replaced has made room by now
            executor = resolve_workers(executor, lambda: synth_effort(plan, plan.count(todo), len(todo)))
            claim(store, plan)
            failed = _make_shards(plan, store.url, todo, executor, progress)
            made, kept = len(todo) - len(failed), len(wanted) - len(todo)
            return _conclude(plan, store, made=made, kept=kept, failed=failed, seconds=time.monotonic() - start)
    except OSError as error:  # of the output: what is wrong with an input is an ImageError
        raise RunError(explain(error, store, plan)) from error
    finally:
        if isinstance(store, LocalStore):
            with contextlib.suppress(OSError):
                store.sweep()


def check_plan(
    plan: Plan,
    out: str | os.PathLike[str],
    executor: ExecutorConfig,
    *,
    overwrite: bool = False,
    shard_range: tuple[int, int] | None = None,
) -> tuple[range, list[int]]:
    """Find all that would stop `run_plan` before its work, and write nothing; the arguments are the same.

    Returns:
        The shards that are asked for, and those of them that are to be made.

    Raises:
        ConfigError: If there are no such shards, or the device is not here.
        RunError: If the output belongs to another configuration, cannot be written to, or has too little room.
    """
    store = open_store(out)
    wanted = range(*(shard_range or (0, plan.num_shards)))
    if wanted.stop > plan.num_shards or wanted.start < 0 or not wanted:
        raise ConfigError(f"shard range {wanted.start}:{wanted.stop}: expected START:STOP within 0:{plan.num_shards}")
    check_claim(store, plan, overwrite=overwrite)
    todo = [index for index in wanted if overwrite or not is_done(store, plan, index)]
    if not overwrite:
        check_space(store, plan, todo)
    if plan.config.recipe.models:
        check_device(plan.config.network.device, executor)
    return wanted, todo


def _make_shards(
    plan: Plan, url: str, todo: Sequence[int], executor: ExecutorConfig, progress: OnProgress
) -> list[str]:
    """Make these shards; returns the names of those that were not made."""
    failed: list[str] = []
    tally = _Tally(plan, todo)
    set_aside = Counter[int]()
    crumbs = temporary_folder()
    try:
        while todo:
            again: list[int] = []
            tasks = (_task(plan, index, url, str(crumbs)) for index in todo)
            for outcome in run_tasks(_work(plan, executor), tasks, executor):
                index = outcome.task.index
                found = Crumb(crumbs, index).num_set_aside
                if outcome.result is not None:
                    progress(tally.add(outcome.result))
                elif found > set_aside[index]:  # several images kill its workers: each attempt finds one
                    set_aside[index] = found
                    again.append(index)
                else:
                    log.error("%s was not made: %s", shard_name(index), outcome.error)
                    failed.append(shard_name(index))
            todo = again
    finally:
        shutil.rmtree(crumbs, ignore_errors=True)
    return failed


class _Tally:
    """Sums up what came of shards.

    Args:
        plan: What is made.
        todo: Numbers of the shards of this run.
    """

    def __init__(self, plan: Plan, todo: Sequence[int]) -> None:
        extents = [plan.extent(index) for index in todo]
        self._sources, self._shards = sum(last - first for first, last in extents), len(extents)
        self._done = self._made = self._failures = self._bytes = 0

    def add(self, report: ShardReport) -> Progress:
        """Add a shard, and say how far the run is."""
        self._done += report.sources
        self._made += 1
        self._failures += report.failures
        self._bytes += report.bytes
        failed = f", {self._failures:,} not usable" if self._failures else ""
        note = f"{self._made:,}/{self._shards:,} shards{failed}, {megabytes(self._bytes)}"
        return Progress(noun="image", done=self._done, total=self._sources, note=note)


def _work(plan: Plan, executor: ExecutorConfig) -> Work[ShardTask, ShardReport]:
    """Make what makes a shard: a function, or an actor that holds the recipe's networks."""
    if not plan.config.recipe.models:
        return synthesize_shard_by_recipe
    config = replace(plan.config, landmarks=None)  # each task has its own
    return Stateful(functools.partial(network_worker, config, plan.lq_extension, executor.threads))


def _task(plan: Plan, index: int, url: str, crumbs: str) -> ShardTask:
    first, last = plan.extent(index)
    sources, landmarks = plan.sources.select(first, last), plan.config.landmarks
    if landmarks is not None:
        landmarks = landmarks.only(map(display_name, sources.names))
    return ShardTask(
        index=index,
        first=first,
        sources=sources,
        config=replace(plan.config, captions=None, landmarks=landmarks),  # captions the actors have
        lq_extension=plan.lq_extension,
        fingerprint=plan.fingerprint,
        url=url,
        given=tuple(images.select(first, last) for images in plan.given),
        crumbs=crumbs,
    )


def _conclude(plan: Plan, store: Store, *, made: int, kept: int, failed: list[str], seconds: float) -> SynthReport:
    """Report; if all shards are there, also write the files of the whole data set, the manifest last."""
    sidecars = [read_sidecar(store, shard_name(index)) for index in range(plan.num_shards)]
    done = [sidecar for sidecar in sidecars if sidecar is not None and has_tar(store, sidecar)]
    failures = Counter(reason for _, reason, _ in plan.sources.skipped)
    counters = Counter[str]()
    for sidecar in done:
        failures.update(failure.reason for failure in sidecar.failures)
        counters.update(sidecar.counters)
    digest = ""
    if len(done) == plan.num_shards:
        digest = finalize(plan, store, done)
    return SynthReport(
        out=store.url,
        num_shards=plan.num_shards,
        shards_made=made,
        shards_kept=kept,
        shards_failed=failed,
        shards_done=len(done),
        num_samples=sum(sidecar.count for sidecar in done),
        num_sources=len(plan.sources.names),
        num_skipped=len(plan.sources.skipped),
        left_out=plan.sources.summary(),
        variants=plan.config.variants,
        bytes=sum(sidecar.bytes for sidecar in done),
        seconds=seconds,
        failures=dict(failures.most_common()),
        counters=dict(sorted(counters.items())),
        digest=digest,
        licence=plan.config.licence,
    )
