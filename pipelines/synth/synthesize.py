"""`degrade-kit synth`: HQ faces in, verified shards of LQ/HQ pairs out, in parallel and resumable."""

from __future__ import annotations

import contextlib
import functools
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from degrade_kit.errors import ConfigError, RunError
from degrade_kit.files import plain_yaml
from degrade_kit.pipelines.executor import ExecutorConfig, Stateful, Work, run_tasks
from degrade_kit.pipelines.synth.output import check_space, claim, explain, finalize, is_done, megabytes
from degrade_kit.pipelines.synth.plan import Plan
from degrade_kit.pipelines.synth.shard import Crumb, ShardReport, ShardTask, synthesize_shard_by_recipe
from degrade_kit.progress import OnProgress, Progress, silent
from degrade_kit.shards import CONFIG, has_tar, read_sidecar, shard_name
from degrade_kit.store import LocalStore, Store, open_store

log = logging.getLogger(__name__)


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


def synthesize(
    plan: Plan,
    url: str,
    executor: ExecutorConfig,
    *,
    overwrite: bool = False,
    shard_range: tuple[int, int] | None = None,
    progress: OnProgress = silent,
) -> SynthReport:
    """Make all shards that are not there yet, then the manifest, the card and the preview.

    Args:
        plan: From `make_plan`.
        url: Local folder or fsspec URL.
        executor: Where to run.
        overwrite: Remove the files of an earlier data set at `url` first; only what degrade-kit wrote.
        shard_range: First shard and one past the last, for one job of several; all if None.
        progress: Told after each shard of the inputs that this run has been through, of those that it has to.

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
        claim(store, plan, overwrite=overwrite)
        todo = [index for index in wanted if not is_done(store, plan, index)]
        check_space(store, plan, todo)
        if store.size(CONFIG) is None:
            store.write(CONFIG, plain_yaml(plan.resolved).encode())
        failed = _make_shards(plan, url, todo, executor, progress)
        made, kept = len(todo) - len(failed), len(wanted) - len(todo)
        return _conclude(plan, store, made=made, kept=kept, failed=failed, seconds=time.monotonic() - start)
    except OSError as error:  # of the output: what is wrong with an input is an ImageError
        raise RunError(explain(error, store, plan)) from error
    finally:
        if isinstance(store, LocalStore):
            with contextlib.suppress(OSError):
                store.sweep()


def _make_shards(
    plan: Plan, url: str, todo: Sequence[int], executor: ExecutorConfig, progress: OnProgress
) -> list[str]:
    """Make these shards; returns the names of those that were not made."""
    failed: list[str] = []
    tally = _Tally(plan, todo)
    set_aside = Counter[int]()
    with tempfile.TemporaryDirectory(prefix="degrade-kit-") as crumbs:
        while todo:
            again: list[int] = []
            tasks = (_task(plan, index, url, crumbs) for index in todo)
            for outcome in run_tasks(_work(plan, executor), tasks, executor):
                index = outcome.task.index
                found = Crumb(Path(crumbs), index).num_set_aside
                if outcome.result is not None:
                    progress(tally.add(outcome.result))
                elif found > set_aside[index]:  # several images kill its workers: each attempt finds one
                    set_aside[index] = found
                    again.append(index)
                else:
                    log.error("%s was not made: %s", shard_name(index), outcome.error)
                    failed.append(shard_name(index))
            todo = again
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
    """Make what makes a shard: a function, or an actor that holds the model."""
    if plan.config.mode == "onthefly":
        return synthesize_shard_by_recipe
    from degrade_kit.pipelines.synth.shard import flipnet_worker

    download = plan.config.flipnet is not None and plan.config.flipnet.download
    return Stateful(functools.partial(flipnet_worker, plan.config, download, executor.threads))


def _task(plan: Plan, index: int, url: str, crumbs: str) -> ShardTask:
    first, last = plan.extent(index)
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
