"""`degrade-kit evaluate`: how good restored faces are, by a named protocol.

OUT/metrics.json     every number with its interval, protocol, and the hashes of what was measured
OUT/per_image.csv    the numbers of each image
OUT/report.md, .html the same for people
OUT/sheet.png        the worst, middle and best image
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from degrade_kit.analysis.distances import Features
from degrade_kit.analysis.judge import (
    METRICS,
    ComparedSets,
    Judge,
    JudgeConfig,
    SetMetric,
    Settled,
    Situation,
    settle,
)
from degrade_kit.analysis.protocols import DEFAULT, Protocol, protocol_named
from degrade_kit.analysis.report import Picture, to_html, to_markdown
from degrade_kit.analysis.summary import MetricSummary
from degrade_kit.analysis.weights import parse_given
from degrade_kit.errors import ConfigError, ImageError, RunError
from degrade_kit.files import local_path, sha256
from degrade_kit.image import Pixels, encode_png, pixel_hash
from degrade_kit.pipelines.claim import Claim, report_claim
from degrade_kit.pipelines.devices import check_device
from degrade_kit.pipelines.effort import (
    MODEL_SECONDS,
    NETWORK_SECONDS,
    Effort,
    estimate_lines,
    resolve_workers,
    seconds_each,
    spread,
)
from degrade_kit.pipelines.evaluation.report import (
    METRICS_FILE,
    PER_IMAGE,
    SHEET,
    EvaluateConfig,
    MeasuredImage,
    describe_evaluation,
    draw_sheet,
    last_name,
    per_image,
    sections,
    shown_value,
)
from degrade_kit.pipelines.executor import WAIT_SECONDS, ExecutorConfig, Stateful, run_tasks
from degrade_kit.pipelines.feature_cache import cached
from degrade_kit.pipelines.images import (
    FileImages,
    Images,
    explain_unpaired,
    open_files,
    open_references,
    pair_by_stem,
    stems,
)
from degrade_kit.pipelines.text import Report, ReportLine
from degrade_kit.progress import OnProgress, Progress, silent
from degrade_kit.sources import display_name
from degrade_kit.store import LocalStore
from degrade_kit.wording import counted_noun, first_few

_IN_TASK: Final = 16


@dataclass(frozen=True, slots=True)
class Evaluation(Report):
    """What an evaluation measured, and the files that it wrote."""

    protocol: Protocol
    summaries: dict[str, MetricSummary] = field(default_factory=dict[str, MetricSummary])
    """By name of the metric, those that were left out too."""
    rows: list[MeasuredImage] = field(default_factory=list[MeasuredImage])
    """Numbers of each image."""
    missing: tuple[str, ...] = ()
    """References without a restored image, and images that could not be measured."""
    extra: tuple[str, ...] = ()
    """Restored images without a reference."""
    files: list[Path] = field(default_factory=list[Path])
    """That were written."""
    planned: tuple[str, ...] = ()
    """The plan of a dry run in lines; empty otherwise."""

    def lines(self) -> list[ReportLine]:
        """Say in lines what was found; see `Report`."""
        if self.planned:
            return [ReportLine(text) for text in self.planned]
        lines = [ReportLine(f"{counted_noun(len(self.rows), 'image')}, protocol {self.protocol.id}")]
        for name, summary in self.summaries.items():
            metric = METRICS[name]
            if summary.value is None:
                lines.append(ReportLine(f"  {metric.title:<22} {summary.status}"))
                continue
            interval = (
                ""
                if summary.low is None
                else f"  ({shown_value(metric, summary.low)} to {shown_value(metric, summary.high)})"
            )
            value = f"{shown_value(metric, summary.value)} {metric.unit(self.protocol)}".strip()
            equal = f", and {summary.infinite:,} equal to their references" if summary.infinite else ""
            lines.append(
                ReportLine(f"  {metric.title:<22} {value}{interval}, {counted_noun(summary.images, 'image')}{equal}")
            )
        if self.missing or self.extra:
            left_out = (
                f"{counted_noun(len(self.missing), 'reference')}, {counted_noun(len(self.extra), 'restored image')}"
            )
            lines.append(ReportLine(f"not in the numbers: {left_out}", warning=True))
        return [*lines, *(ReportLine(f"  {file}") for file in self.files)]


@dataclass(frozen=True, slots=True)
class _Task:
    """Some images: of a pair, alone, or of another set, of which features alone are taken."""

    group: str
    """`restored` or `faces`."""
    images: tuple[tuple[str, int, int], ...]
    """Stem, place of the image and of its reference."""
    restored: Images
    reference: Images | None
    cache: Path | None


@dataclass(frozen=True, slots=True)
class _Done:
    rows: list[MeasuredImage]
    content: list[str]
    """Hash of each image that was measured."""
    sizes: list[tuple[int, int]]
    features: dict[str, list[Features]]
    reference_features: dict[str, list[Features]]
    failures: list[str]


def evaluate(
    restored: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    reference: str | os.PathLike[str] | None = None,
    hq: str | os.PathLike[str] | None = None,
    protocol: str = DEFAULT,
    suffix: str = "",
    allow_missing: bool = False,
    weights: Mapping[str, str | os.PathLike[str]] | None = None,
    device: str | None = None,
    feature_cache: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    workers: int | None = None,
    ray_address: str | None = None,
    wait: float = WAIT_SECONDS,
    progress: OnProgress = silent,
) -> Evaluation:
    """Score a folder of restored faces, any method's, with references or without: `degrade-kit evaluate`.

    Files pair up by their relative names without extension; what has no partner is an error. Metrics whose weights are
    not here are left out, and the report says which file they need.

    Args:
        restored: Restored images: a folder, list, zip or tar.
        out: Folder of the report, which takes the place of an earlier one there; nothing else may be in it.
        reference: What they should be: the same, or a data set of `synthesize`; none, for real photographs, where None.
        hq: Sharp faces that FID, KID and Frechet compare with; a statistics file, or the references, where None.
        protocol: Whose way of measuring: basicsr-rgb, vqfr, restoreformer or pmrf; see docs/evaluation.md.
        suffix: What the method appends to names, such as `_00`.
        allow_missing: Count images without a partner, and measure the others.
        weights: Where files are that `degrade-kit weights` lists, by name.
        device: Where networks run, such as cuda or cpu; the first GPU, or else the CPU, where None.
        feature_cache: Folder that keeps features by content; OUT/.features where None.
        dry_run: Report the plan with its time, and measure nothing.
        workers: Worker processes, as for `synthesize`.
        ray_address: Ray cluster to join, as for `synthesize`.
        wait: As for `synthesize`.
        progress: Told of the images measured, set by set.

    Raises:
        ConfigError: If images do not pair up, cannot be read, or differ from their references in size, or `out` is
            inside them.
        RunError: If `out` holds something else.
    """
    config = EvaluateConfig(
        restored=os.fspath(restored),
        reference=None if reference is None else os.fspath(reference),
        faces=None if hq is None else os.fspath(hq),
        protocol=protocol,
        suffix=suffix,
        allow_missing=allow_missing,
        device=device,
        cache=local_path(out) / ".features" if feature_cache is None else local_path(feature_cache),
    )
    given = parse_given([(name, os.fspath(path)) for name, path in (weights or {}).items()])
    executor = ExecutorConfig(workers=workers, ray_address=ray_address, wait=wait)
    if dry_run:
        return _planned(plan_evaluation(config, given, local_path(out)), local_path(out), config.device, executor)
    return _evaluate(config, given, local_path(out), executor, progress)


def _planned(plan: EvaluationPlan, out: Path, device: str | None, executor: ExecutorConfig) -> Evaluation:
    """Say what an evaluation would do."""
    if plan.settled.networks:
        check_device(device, executor)
    metrics = (f"  {metric.title:<22} {plan.settled.skipped.get(name, 'measured')}" for name, metric in METRICS.items())
    first = f"{len(plan.images):,} images by protocol {plan.protocol.id}, report in {out}"
    return Evaluation(protocol=plan.protocol, planned=(first, *metrics, *estimate_lines(executor, plan.effort)))


def _evaluate(
    config: EvaluateConfig,
    given: Mapping[str, Path],
    out: Path,
    executor: ExecutorConfig,
    progress: OnProgress,
) -> Evaluation:
    """Measure and write the report."""
    plan = plan_evaluation(config, given, out)
    protocol, settled, restored, reference = plan.protocol, plan.settled, plan.restored, plan.reference
    images, missing, extra = plan.images, plan.missing, plan.extra
    if settled.networks:
        check_device(config.device, executor)
    executor = resolve_workers(executor, lambda: plan.effort)
    done = _measure(plan.tasks, plan.totals, settled.config, executor, progress)
    ours = done["restored"]
    if ours.failures and not config.allow_missing:
        raise ConfigError(
            f"{len(ours.failures):,} of {len(images):,} images cannot be measured: {first_few(ours.failures, '; ')}"
        )
    if not ours.rows:
        raise ConfigError(f"none of the images in {config.restored} can be measured: {ours.failures[0]}")
    missing = (*missing, *ours.failures)
    summaries = _summaries(config, settled, done)
    described = describe_evaluation(
        config, protocol, settled, summaries, ours.rows, ours.content, missing, extra, plan.left_out
    )
    numbers: dict[str, bytes | str] = {
        PER_IMAGE: per_image(ours.rows, protocol),
        METRICS_FILE: json.dumps(described, indent=2, sort_keys=True, allow_nan=False) + "\n",
    }
    claim = _claim(config)
    try:
        sheet = draw_sheet(ours.rows, images, restored, reference)
    except Exception:
        # No picture that cannot be drawn takes the numbers with it, and none of an older report stays beside them.
        claim.write(out, numbers)
        raise
    pictures = [] if sheet is None else [Picture(SHEET, encode_png(sheet), "worst, middle and best image")]
    title = f"Restored faces: {last_name(config.restored)}"
    laid_out = sections(config, protocol, summaries, ours.rows, missing, extra, pictures, described)
    files: dict[str, bytes | str] = {
        "report.html": to_html(title, laid_out),
        "report.md": to_markdown(title, laid_out),
        **{picture.file: picture.data for picture in pictures},
        **numbers,
    }
    return Evaluation(protocol, summaries, ours.rows, missing, extra, claim.write(out, files))


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationPlan:
    """An evaluation that nothing stands in the way of, as far as can be told before images are measured."""

    protocol: Protocol
    settled: Settled
    restored: FileImages
    reference: Images | None
    images: tuple[tuple[str, int, int], ...]
    """Stem, place of the image and of its reference."""
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    tasks: list[_Task]
    totals: dict[str, int]
    """Images to measure, by group."""
    left_out: dict[str, dict[str, int]]
    """What the listing of each place did not take, by cause."""

    @property
    def effort(self) -> Effort:
        """What it takes: as some images tell, and for networks as such usually take."""
        networks = self.settled.networks
        light = replace(
            self.settled.config,
            paths={name: paths for name, paths in self.settled.config.paths.items() if name not in networks},
        )
        judge = Judge(light)

        def measure(place: int) -> None:
            task = self.tasks[place]
            _measure_task(judge, replace(task, images=task.images[:1], cache=None))

        each = seconds_each(spread(len(self.tasks), 3), measure) + NETWORK_SECONDS * len(networks)
        setup = MODEL_SECONDS if networks else 0.0
        return Effort(seconds=each * sum(self.totals.values()), tasks=len(self.tasks), setup=setup)


def plan_evaluation(config: EvaluateConfig, given: Mapping[str, Path], out: Path) -> EvaluationPlan:
    """Find all that would stop `evaluate` before its work; write nothing.

    Raises:
        ConfigError: If images do not pair up, a place or a file of weights is not there, or the report would be inside
            the images.
        RunError: If the folder of the report holds something else, or cannot be written to.
    """
    protocol = protocol_named(config.protocol)
    _claim(config).check(LocalStore(out))
    situation = Situation(
        protocol=protocol, given=given, reference=config.reference is not None, faces=config.faces is not None
    )
    settled = settle(situation, config.device)
    restored = open_files(config.restored, "--restored")
    reference, images, missing, extra = _pair(config, restored)
    faces = None if config.faces is None else open_files(config.faces, "--hq")
    tasks = list(_tasks("restored", images, restored, reference, config))
    totals = {"restored": len(images)}
    if faces is not None:
        listed = tuple((name, place, place) for place, name in enumerate(faces.names))
        tasks += _tasks("faces", listed, faces, None, config)
        totals["faces"] = len(listed)
    opened = {"restored": restored, "reference": reference, "hq": faces}
    return EvaluationPlan(
        protocol=protocol,
        settled=settled,
        restored=restored,
        reference=reference,
        images=images,
        missing=missing,
        extra=extra,
        tasks=tasks,
        totals=totals,
        left_out={name: found.sources.summary() for name, found in opened.items() if isinstance(found, FileImages)},
    )


def _claim(config: EvaluateConfig) -> Claim:
    inputs = [("--restored", config.restored), ("--reference", config.reference), ("--hq", config.faces)]
    results = [METRICS_FILE, PER_IMAGE, "report.html", "report.md", SHEET]
    return report_claim("evaluate", "an evaluation", results, asdict(replace(config, cache=None)), inputs)


def _pair(
    config: EvaluateConfig, restored: FileImages
) -> tuple[Images | None, tuple[tuple[str, int, int], ...], tuple[str, ...], tuple[str, ...]]:
    """References, the images to measure, what is missing and what is too much."""
    if config.reference is None:
        places, foreign = stems(restored.names, config.suffix, "--restored")
        if foreign and not config.allow_missing:
            raise ConfigError(
                f"{len(foreign):,} of {len(restored.names):,} restored images do not end in {config.suffix!r}: "
                f"{first_few(foreign)}"
            )
        return None, tuple((stem, places[stem], -1) for stem in sorted(places)), (), tuple(foreign)
    reference = open_references(config.reference, restored.names)
    pairing = pair_by_stem(restored.names, reference.names, config.suffix)
    if not pairing.pairs or ((pairing.missing or pairing.extra) and not config.allow_missing):
        raise ConfigError(explain_unpaired(pairing, len(reference.names), len(restored.names)))
    return reference, pairing.pairs, pairing.missing, pairing.extra


# ------------------------------------------------------------------------------------------------------------ measuring


def _tasks(
    group: str,
    images: Sequence[tuple[str, int, int]],
    restored: FileImages,
    reference: Images | None,
    config: EvaluateConfig,
) -> Iterator[_Task]:
    for start in range(0, len(images), _IN_TASK):
        yield _Task(group, tuple(images[start : start + _IN_TASK]), restored, reference, config.cache)


def _measure(
    tasks: Sequence[_Task],
    totals: Mapping[str, int],
    config: JudgeConfig,
    executor: ExecutorConfig,
    progress: OnProgress,
) -> dict[str, _Done]:
    found: list[tuple[_Task, _Done]] = []
    counts = dict.fromkeys(totals, 0)
    for outcome in run_tasks(Stateful(functools.partial(_ready, config)), tasks, executor):
        if outcome.result is None:
            raise RunError(outcome.error)
        found.append((outcome.task, outcome.result))
        group = outcome.task.group
        counts[group] += len(outcome.task.images)
        progress(Progress(noun="image", done=counts[group], total=totals[group], of=group))
    # In any order they come from the workers.
    found.sort(key=lambda pair: (pair[0].group, pair[0].images[0]))
    merged = {group: _Done([], [], [], {}, {}, []) for group in totals}
    for task, done in found:
        whole = merged[task.group]
        whole.rows.extend(done.rows)
        whole.content.extend(done.content)
        whole.sizes.extend(done.sizes)
        whole.failures.extend(done.failures)
        for into, more in (
            (whole.features, done.features),
            (whole.reference_features, done.reference_features),
        ):
            for name, rows in more.items():
                into.setdefault(name, []).extend(rows)
    return merged


def _ready(config: JudgeConfig) -> Callable[[_Task], _Done]:
    return functools.partial(_measure_task, Judge(config))


def _measure_task(judge: Judge, task: _Task) -> _Done:
    done = _Done([], [], [], {}, {}, [])

    def take(into: dict[str, list[Features]], keys: Iterable[str], pixels: Pixels, content: str) -> None:
        for key in keys:
            place = sha256(f"{content} {key}")
            features = cached(task.cache, place, functools.partial(judge.extractors[key], pixels))
            into.setdefault(key, []).append(features)

    for stem, place, partner in task.images:
        shown = display_name(stem)
        try:
            pixels = task.restored.read(place)
            other = None if task.reference is None else task.reference.read(partner)
        except ImageError as error:
            done.failures.append(f"{shown}: {error}")
            continue
        if other is not None and pixels.shape != other.shape:
            (height, width), (wanted_height, wanted_width) = pixels.shape[:2], other.shape[:2]
            done.failures.append(f"{shown}: {width} x {height}, its reference {wanted_width} x {wanted_height}")
            continue
        content = pixel_hash(pixels)
        try:
            if task.group == "restored":
                other_hash = "" if other is None else pixel_hash(other)
                done.rows.append(MeasuredImage(shown, judge.measure(pixels, other), other_hash))
                if other is not None:
                    take(done.reference_features, judge.of_references, other, other_hash)
            take(done.features, judge.extractors, pixels, content)
        except ValueError as error:
            raise ConfigError(f"{shown}: {error}") from error
        done.content.append(content)
        done.sizes.append((pixels.shape[1], pixels.shape[0]))
    return done


# ------------------------------------------------------------------------------------------------------------ summaries


def _summaries(config: EvaluateConfig, settled: Settled, done: Mapping[str, _Done]) -> dict[str, MetricSummary]:
    protocol, ours, faces = settled.config.protocol, done["restored"], done.get("faces")
    if faces is not None and faces.failures:
        raise ConfigError(f"--hq: {len(faces.failures):,} images cannot be read: {first_few(faces.failures, '; ')}")
    found: dict[str, MetricSummary] = {}
    for name, metric in METRICS.items():
        if name in settled.skipped:
            found[name] = MetricSummary(value=None, status=f"skipped: {settled.skipped[name]}")
        elif isinstance(metric, SetMetric):
            found[name] = metric.compare(_compared_sets(config, settled, metric, ours, faces))
        else:
            found[name] = metric.summarise([row.values[name] for row in ours.rows], protocol)
    return found


def _compared_sets(
    config: EvaluateConfig, settled: Settled, metric: SetMetric, ours: _Done, faces: _Done | None
) -> ComparedSets:
    setup = settled.config.setup(metric.name)
    key = metric.key(setup)
    other = ours.reference_features.get(key) if faces is None else faces.features[key]
    digest = "" if faces is None else sha256("\n".join(sorted(faces.content)))
    return ComparedSets(
        setup=setup,
        restored=np.stack(ours.features[key]),
        other=None if other is None else np.stack(other),
        against="the references"
        if faces is None
        else f"{len(faces.content):,} faces in {last_name(config.faces or '')}",
        against_sha256=digest,
        sizes=frozenset({*ours.sizes, *(() if faces is None else faces.sizes)}),
    )
