"""`degrade-kit analyze-distribution`: how close synthesized LQ images come to real ones, as pictures and numbers."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from degrade_kit.analysis.comparison import SMALL, Comparison, Kind, compare_all
from degrade_kit.analysis.extractors import DEGRADATION, Extractor, parse_extractor, parse_spaces
from degrade_kit.analysis.groups import read_groups
from degrade_kit.analysis.patches import PAIR_SECONDS, require_torch
from degrade_kit.analysis.probes import probe_records
from degrade_kit.analysis.report import reading, to_html, to_markdown
from degrade_kit.analysis.weights import parse_given
from degrade_kit.analysis.whitening import Identity, Scaler, Space, Whitening
from degrade_kit.errors import ConfigError, ImageError, RunError
from degrade_kit.files import local_path, utf8, write_whole
from degrade_kit.image import Pixels, decode_image
from degrade_kit.pipelines.claim import Claim, report_claim
from degrade_kit.pipelines.distribution.features import (
    ExtractConfig,
    MeasuredSet,
    ProbeTask,
    Row,
    Task,
    count_images,
    file_tasks,
    measuring,
    measuring_effort,
    pick,
    shard_tasks,
    stack,
    to_size,
)
from degrade_kit.pipelines.distribution.report import (
    HQ,
    RESULTS,
    AnalyzeConfig,
    describe_analysis,
    describe_choices,
    describe_giveaways,
    draw,
    report_sections,
)
from degrade_kit.pipelines.distribution.second_look import (
    Rereader,
    ToldApart,
    chosen_places,
    decide_patches,
    look_at_patches,
    patch_pairs,
    with_patches,
    with_space,
)
from degrade_kit.pipelines.effort import Effort, estimate_lines, resolve_workers
from degrade_kit.pipelines.executor import WAIT_SECONDS, ExecutorConfig, run_tasks
from degrade_kit.pipelines.images import is_shards, list_images
from degrade_kit.pipelines.text import Report, ReportLine, human_time
from degrade_kit.progress import OnProgress, Progress, silent
from degrade_kit.shards import LQ_ONLY, ShardSet, open_shards
from degrade_kit.sources import Sources, display_name
from degrade_kit.store import LocalStore
from degrade_kit.wording import counted_noun, first_few

PROBE_FACES, PROBE_RECORDS = 14, 72


@dataclass(frozen=True, slots=True)
class _Input:
    name: str
    kind: Kind
    place: str
    content: Sources | ShardSet

    def count(self) -> int:
        if isinstance(self.content, Sources):
            return len(self.content)
        return count_images(self.content, hq=self.kind == "hq")

    def tasks(self, places: Sequence[int], config: ExtractConfig) -> Iterable[Task]:
        if isinstance(self.content, Sources):
            return file_tasks(self.name, self.content, places, config)
        return shard_tasks(self.name, self.content, places, config, hq=self.kind == "hq")

    def grouped(self, rows: Sequence[Row]) -> tuple[tuple[Row, ...], str]:
        """Name what each image shows, and say how that is known."""
        if isinstance(self.content, Sources):
            groups = read_groups([row.group for row in rows])
            named = zip(rows, groups.names, strict=True)
            return tuple(replace(row, group=name) for row, name in named), groups.describe()
        names = sorted({row.group for row in rows})
        faces = dict(zip(names, read_groups(names).names, strict=True))
        described = f"{counted_noun(len(rows), 'image')} of {counted_noun(len(set(faces.values())), 'HQ face')}"
        return tuple(replace(row, group=faces[row.group]) for row in rows), described


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis(Report):
    """What an analysis found, and the files that it wrote."""

    comparisons: list[Comparison] = field(default_factory=list[Comparison])
    """Each synthesized set with each real one, and real ones with each other."""
    sentences: list[str] = field(default_factory=list[str])
    """The same in words."""
    files: list[Path] = field(default_factory=list[Path])
    """That were written."""
    failures: int = 0
    """Images that could not be used."""
    exceeded: list[str] = field(default_factory=list[str])
    """Limits of `fail_above` that a set exceeds, in words."""
    seconds: float = 0.0
    planned: tuple[str, ...] = ()
    """The plan of a dry run in lines; empty otherwise."""

    def lines(self) -> list[ReportLine]:
        """Say in lines what was found; see `Report`."""
        if self.planned:
            return [ReportLine(text) for text in self.planned]
        lines = [*map(ReportLine, self.sentences), ReportLine(f"in {human_time(self.seconds)}:")]
        lines += [ReportLine(f"  {file}") for file in self.files]
        lines += [ReportLine(text, warning=True) for text in self.exceeded]
        if self.failures:
            text = f"{counted_noun(self.failures, 'image')} could not be used; the report names them"
            lines.append(ReportLine(text, warning=True))
        return lines


def analyze(
    synth: Mapping[str, str | os.PathLike[str]],
    real: Mapping[str, str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    hq: str | os.PathLike[str] | None = None,
    features: str = "auto",
    patches: bool | None = None,
    spaces: str = "auto",
    projection: Literal["umap", "pca"] = "umap",
    seed: int = 0,
    size: int = 512,
    allow_resize: bool = False,
    max_images: int = 2000,
    weights: Mapping[str, str | os.PathLike[str]] | None = None,
    feature_cache: str | os.PathLike[str] | None = None,
    fail_above: Mapping[str, float] | None = None,
    dry_run: bool = False,
    workers: int | None = None,
    ray_address: str | None = None,
    wait: float = WAIT_SECONDS,
    progress: OnProgress = silent,
) -> Analysis:
    """Show how close synthesized LQ images come to real ones: `degrade-kit analyze-distribution`.

    Args:
        synth: Synthesized LQ images by name: each a data set, or whatever `synthesize` takes as `hq`.
        real: Photographs by name.
        out: Folder of the report, which takes the place of an earlier one there; nothing else may be in it.
        hq: HQ faces, to whiten with and as a set of its own; those of the first data set where None.
        features: `whitened` (needs HQ faces), `degradation`, or a learned space; see docs/analysis.md. `auto` whitens
            where it can.
        patches: Train a small network on patches for each source against each real set: a classifier that chose
            nothing, a minute of two cores each. None does so where PyTorch is there, no set has fewer than 50 images
            and all of it takes at most ten minutes.
        spaces: Learned spaces in which the sets are compared too, by names with commas; `auto` takes the first two of
            `arniqa`, `efficientnet` and the small FlipNet that are on this machine, and none where a set has fewer than
            50 images; `none` takes none.
        projection: Of the pictures.
        seed: Of subsets, folds and projection.
        size: Side that all images have, pixels.
        allow_resize: Crop and resize images of another size, which changes what is measured.
        max_images: Measured of each set; 0 is all.
        weights: Where files are that `degrade-kit weights` lists, by name.
        feature_cache: Folder that keeps features by content; OUT/.features where None.
        fail_above: Most that `kid`, `frechet` or `auc` of a synthesized set may be; see `Analysis.exceeded`.
        dry_run: Report the plan with its time, and measure nothing.
        workers: Worker processes, as for `synthesize`.
        ray_address: Ray cluster to join, as for `synthesize`.
        wait: As for `synthesize`.
        progress: Told of the images measured, set by set.

    Raises:
        ConfigError: If a set is not there, has no image that can be used, images of another size, or `out` in it.
        RunError: If `out` holds something else.
    """
    start = time.monotonic()
    limits = dict(fail_above or {})
    for name, limit in limits.items():
        above([], name, limit)  # its error comes before the work
    config = AnalyzeConfig(
        synth=tuple((name, os.fspath(place)) for name, place in synth.items()),
        real=tuple((name, os.fspath(place)) for name, place in real.items()),
        hq=None if hq is None else os.fspath(hq),
        features=features,
        patches=patches,
        spaces=spaces,
        weights=parse_given([(name, os.fspath(path)) for name, path in (weights or {}).items()]),
        seed=seed,
        projection=projection,
        size=size,
        allow_resize=allow_resize,
        max_images=max_images,
        cache=local_path(out) / ".features" if feature_cache is None else local_path(feature_cache),
    )
    executor = ExecutorConfig(workers=workers, ray_address=ray_address, wait=wait)
    if dry_run:
        return Analysis(planned=_describe(plan_analysis(config, local_path(out)), local_path(out), executor))
    comparisons, sentences, files, failures = _compare(config, local_path(out), executor, progress)
    return Analysis(
        comparisons=comparisons,
        sentences=sentences,
        files=files,
        failures=failures,
        exceeded=[line for name, limit in limits.items() for line in above(comparisons, name, limit)],
        seconds=time.monotonic() - start,
    )


def _describe(plan: AnalysisPlan, out: Path, executor: ExecutorConfig) -> tuple[str, ...]:
    """Say what an analysis would do."""
    images = ", ".join(f"{count:,} of {name}" for name, count in plan.totals.items())
    whitened = ", whitened against HQ faces" if plan.whitened else ""
    patches = [plan.no_patches] if plan.no_patches else []
    if plan.patches:
        pairs = patch_pairs(sum(entry.kind == "synth" for entry in plan.inputs), plan.references)
        took = human_time(pairs * PAIR_SECONDS)
        patches.append(f"then {counted_noun(pairs, 'network')} on patches, about {took} on two cores")
    return (
        f"images to measure: {images}",
        f"by {plan.extractor.title}{whitened}; report in {out}",
        *(f"some of them by {space.title} too" for space in plan.spaces),
        *patches,
        *estimate_lines(executor, plan.effort),
    )


def _compare(
    config: AnalyzeConfig, out: Path, wanted: ExecutorConfig, progress: OnProgress
) -> tuple[list[Comparison], list[str], list[Path], int]:
    """Measure, compare and write the report; see `Analysis`."""
    plan = plan_analysis(config, out)
    inputs, extractor, whitened = plan.inputs, plan.extractor, plan.whitened
    executor = resolve_workers(wanted, lambda: plan.effort)
    found = measure_tasks(extractor, plan.tasks, plan.totals, executor, progress)
    sets = [_collect(entry, found[entry.name], config) for entry in inputs]
    space, spectrum = _space(sets, found, extractor, whitened)
    points = [entry.as_points(space(entry.features)) for entry in sets]
    comparisons = compare_all(points, config.seed)
    comparisons = _in_spaces(comparisons, sets, plan, config, wanted, progress)
    told = _by_patches(sets, plan, config, progress) if plan.patches else []
    comparisons = with_patches(comparisons, told)
    giveaways = describe_giveaways(sets, told, extractor)
    note = describe_choices(config, extractor, whitened, sets)
    sentences = [*reading(comparisons), *([plan.no_patches] if plan.no_patches else [])]
    described = describe_analysis(
        config, extractor, whitened, sets, comparisons, sentences, space, spectrum, giveaways, plan.spaces
    )
    numbers = json.dumps(described, indent=2, sort_keys=True, allow_nan=False) + "\n"
    claim = _claim(config)
    try:
        with claim.report(out, last="metrics.json") as scratch:
            pictures = draw(sets, points, config, scratch, note, giveaways)
            sections = report_sections(sets, comparisons, sentences, pictures, giveaways)
            title = "How close is it to the real world?"
            write_whole(scratch / "metrics.json", numbers)
            write_whole(scratch / "report.md", to_markdown(title, sections))
            write_whole(scratch / "report.html", to_html(title, sections))
    except Exception:
        # No picture that cannot be drawn takes the numbers with it, and none of an older report stays beside them.
        claim.write(out, {"metrics.json": numbers})
        raise
    written = [out / name for name in ("report.html", "report.md", *pictures.files, "metrics.json")]
    return comparisons, sentences, written, sum(len(entry.failures) for entry in sets)


def _in_spaces(
    comparisons: list[Comparison],
    sets: Sequence[MeasuredSet],
    plan: AnalysisPlan,
    config: AnalyzeConfig,
    executor: ExecutorConfig,
    progress: OnProgress,
) -> list[Comparison]:
    """Measure some images in the learned spaces too."""
    totals = {entry.name: len(plan.again[entry.name]) for entry in plan.inputs}
    tasks = [task for entry in plan.inputs for task in plan.tasks_again(entry, config)]
    for space in plan.spaces:
        effort = measuring_effort(space, tasks)
        workers = resolve_workers(executor, lambda effort=effort: effort)
        found = measure_tasks(space, tasks, totals, workers, progress)
        rows = {entry.name: found[entry.name].rows for entry in plan.inputs}
        comparisons = with_space(comparisons, space.title, sets, rows, config.seed)
    return comparisons


def _by_patches(
    sets: Sequence[MeasuredSet], plan: AnalysisPlan, config: AnalyzeConfig, progress: OnProgress
) -> list[ToldApart]:
    """Ask the classifier on patches of the sources against the real sets."""
    again = [
        Rereader(measured=measured, tasks=list(plan.tasks_again(entry, config)))
        for measured, entry in zip(sets, plan.inputs, strict=True)
    ]
    sources = [entry for entry in again if entry.measured.kind == "synth"]
    references = [entry for entry in again if entry.measured.kind == "real"]
    return look_at_patches(sources, references, config.seed, progress)


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisPlan:
    """An analysis that nothing stands in the way of, as far as can be told before images are measured."""

    inputs: list[_Input]
    extractor: Extractor
    whitened: bool
    """Whether the features are whitened against HQ faces."""
    tasks: list[Task]
    totals: dict[str, int]
    """Images to measure, by name of the set."""
    spaces: list[Extractor]
    """Learned spaces in which some images are measured too."""
    again: dict[str, list[int]]
    """Places of the images that learned spaces and patches look at, by name of the set."""
    patches: bool
    """Whether the classifier on patches is asked."""
    no_patches: str
    """Why it is not, as a sentence."""

    @property
    def references(self) -> int:
        """Count the real sets."""
        return sum(entry.kind == "real" for entry in self.inputs)

    def tasks_again(self, entry: _Input, config: AnalyzeConfig) -> Iterable[Task]:
        """Make tasks over the images that are looked at again."""
        return entry.tasks(self.again[entry.name], _extract_config(config, thumbnails=False))

    @property
    def effort(self) -> Effort:
        """What it takes to measure them by the main features."""
        return measuring_effort(self.extractor, self.tasks)


def plan_analysis(config: AnalyzeConfig, out: Path) -> AnalysisPlan:
    """Open the sets and choose the images to measure; write nothing.

    Raises:
        ConfigError: If a set is not there or empty, the features cannot be had, or the report would be inside a set.
        RunError: If the folder of the report holds something else, or cannot be written to.
    """
    extractor, whitened = _extractor(config)
    spaces = parse_spaces(config.spaces, config.weights)
    if config.patches:
        require_torch()
    _claim(config).check(LocalStore(out))
    inputs = _open(config)
    extract = _extract_config(config)
    tasks: list[Task] = []
    totals: dict[str, int] = {}
    again: dict[str, list[int]] = {}
    for entry in inputs:
        # From the name too: sets of one size must not be subsampled alike.
        seed = [config.seed, *hashlib.sha256(utf8(entry.name)).digest()[:4]]
        places = pick(entry.count(), config.max_images, np.random.default_rng(seed))
        totals[entry.name] = len(places)
        again[entry.name] = chosen_places(places, entry.kind == "real", config.seed)
        tasks += entry.tasks(places, extract)
    probes = _probe_tasks(inputs, config) if whitened else []
    fewest = min(totals[entry.name] for entry in inputs if entry.kind != "hq")
    if config.spaces == "auto" and fewest < SMALL:
        spaces = []  # they would say little, and take longer than all else
    patches, why_not = decide_patches(config.patches, len(config.synth), len(config.real), fewest)
    return AnalysisPlan(
        inputs=inputs,
        extractor=extractor,
        whitened=whitened,
        tasks=[*probes, *tasks],
        totals=totals,
        spaces=spaces,
        again=again,
        patches=patches,
        no_patches=why_not,
    )


def _extract_config(config: AnalyzeConfig, *, thumbnails: bool = True) -> ExtractConfig:
    return ExtractConfig(size=config.size, allow_resize=config.allow_resize, cache=config.cache, thumbnails=thumbnails)


def _claim(config: AnalyzeConfig) -> Claim:
    inputs = [
        *((f"--synth {name}", place) for name, place in config.synth),
        *((f"--real {name}", place) for name, place in config.real),
        ("--hq", config.hq),
    ]
    return report_claim("analyze-distribution", "an analysis", RESULTS, asdict(replace(config, cache=None)), inputs)


def above(comparisons: Iterable[Comparison], measure: str, limit: float) -> list[str]:
    """List the synthetic sources whose number against some real set exceeds the limit, as one line each.

    Args:
        comparisons: From `analyze`.
        measure: `kid`, `frechet` or `auc`, which fall with likeness.
        limit: The most that is accepted.

    Raises:
        ConfigError: If the measure is another.
    """
    if measure not in ("kid", "frechet", "auc"):
        raise ConfigError(f"--fail-above: expected kid, frechet or auc, got {measure!r}")
    lines: list[str] = []
    for entry in comparisons:
        numbers = entry.numbers
        value = {
            "kid": None if numbers.kid is None else numbers.kid.value,
            "frechet": None if numbers.matched is None else numbers.matched.frechet,
            "auc": numbers.auc,
        }[measure]
        if entry.source_kind != "synth":
            continue
        if value is None:
            lines.append(f"{entry.source} against {entry.reference}: too few images for {measure}")
        elif value > limit:
            lines.append(f"{entry.source} against {entry.reference}: {measure} {value:.4g} is above {limit:g}")
    return lines


# ------------------------------------------------------------------------------------------------------------ measuring


def _extractor(config: AnalyzeConfig) -> tuple[Extractor, bool]:
    """Choose what measures, and whether it is whitened."""
    used = {config.features, *config.spaces.split(",")}
    if config.spaces == "auto":
        used |= {"arniqa", "efficientnet"}
    if unused := config.weights.keys() - used:
        raise ConfigError(
            f"--weights {min(unused)}: not used by --features {config.features} and --spaces {config.spaces}"
        )
    if config.features not in ("auto", "whitened"):
        return parse_extractor(config.features, config.weights), False
    has_hq = config.hq is not None or any(is_shards(place) for _, place in config.synth)
    if config.features == "whitened" and not has_hq:
        raise ConfigError("features: whitened needs HQ faces: give --hq, or data sets of `degrade-kit synth`")
    return Extractor(DEGRADATION), has_hq


def _open(config: AnalyzeConfig) -> list[_Input]:
    named: list[tuple[str, Kind, str]] = [
        *((name, "synth", place) for name, place in config.synth),
        *((name, "real", place) for name, place in config.real),
        *([(HQ, "hq", config.hq)] if config.hq else []),
    ]
    inputs: list[_Input] = []
    for name, kind, place in named:
        shards = kind == "synth" and is_shards(place)
        try:
            content = open_shards(place) if shards else list_images(place)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from error
        inputs.append(_Input(name, kind, place, content))
        if not inputs[-1].count():
            raise ConfigError(f"{name}: {place} holds no images")
    # HQ faces, not degraded, belong beside every source; the data sets bring theirs.
    pairs = [entry for entry in inputs if isinstance(entry.content, ShardSet) and LQ_ONLY not in entry.content.manifest]
    if pairs and not config.hq and HQ not in {name for name, _, _ in named}:
        inputs.append(replace(pairs[0], name=HQ, kind="hq"))
    return inputs


@dataclass(slots=True)
class Found:
    """What came of the tasks of a set so far."""

    rows: list[Row] = field(default_factory=list[Row])
    failures: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    wrong_size: list[tuple[str, int, int]] = field(default_factory=list[tuple[str, int, int]])


def measure_tasks(
    extractor: Extractor,
    tasks: Sequence[Task],
    totals: Mapping[str, int],
    executor: ExecutorConfig,
    progress: OnProgress = silent,
) -> dict[str | int, Found]:
    """Measure everything at once, by name of the set; probes by the number of their face."""
    found = defaultdict[str | int, Found](Found)
    probes = sum(isinstance(task, ProbeTask) for task in tasks)
    done = 0
    for outcome in run_tasks(measuring(extractor), tasks, executor):
        if outcome.result is None:
            raise RunError(outcome.error)
        result, task = outcome.result, outcome.task
        entry = found[task.number if isinstance(task, ProbeTask) else task.owner]
        entry.rows += result.rows
        entry.failures += result.failures
        entry.wrong_size += result.wrong_size
        if isinstance(task, ProbeTask):
            done += 1
            made = done * PROBE_RECORDS
            progress(Progress(noun="image", done=made, total=probes * PROBE_RECORDS, of="whitening"))
        else:
            measured = len(entry.rows) + len(entry.failures) + len(entry.wrong_size)
            progress(Progress(noun="image", done=measured, total=totals[task.owner], of=task.owner))
    return found


def _collect(entry: _Input, found: Found, config: AnalyzeConfig) -> MeasuredSet:
    if found.wrong_size:
        wrong = sorted(found.wrong_size)
        shown = first_few([f"{label} ({width} x {height})" for label, width, height in wrong])
        raise ConfigError(
            f"{entry.name}: {len(wrong):,} of {len(wrong) + len(found.rows):,} images are not {config.size} x "
            f"{config.size}: {shown}. Resizing changes what is measured: give "
            "images of one size, another --size, or --allow-resize"
        )
    if not found.rows:
        counts = Counter(reason for _, reason, _ in found.failures)
        said = ", ".join(f"{count} {reason}" for reason, count in counts.items())
        raise ConfigError(f"{entry.name}: none of the images in {entry.place} can be used: {said}")
    # In any order they come from the workers.
    rows, described = entry.grouped(sorted(found.rows, key=lambda row: (row.label, row.key)))
    skipped, left_out = (), dict[str, int]()
    if isinstance(entry.content, Sources):
        skipped, left_out = entry.content.skipped, entry.content.summary()
    failures = tuple(sorted([*found.failures, *((display_name(name), why, how) for name, why, how in skipped)]))
    return MeasuredSet(
        name=entry.name,
        kind=entry.kind,
        place=entry.place,
        found=entry.count(),
        rows=rows,
        failures=failures,
        features=stack(rows),
        left_out=left_out,
        grouped=described,
    )


def _space(
    sets: Sequence[MeasuredSet], found: Mapping[str | int, Found], extractor: Extractor, whitened: bool
) -> tuple[Space, list[float]]:
    """Fit the feature space; with the ratios of its directions where it is whitened."""
    if not extractor.handcrafted:
        return Identity(), []
    if not whitened:
        return Scaler.fit(np.concatenate([entry.features for entry in sets if entry.kind == "real"])), []
    faces = sorted(name for name in found if isinstance(name, int))
    whitening = Whitening.fit(np.stack([stack(found[name].rows) for name in faces], axis=1))
    return whitening, [round(float(ratio), 4) for ratio in whitening.ratios]


def _probe_tasks(inputs: Sequence[_Input], config: AnalyzeConfig) -> list[ProbeTask]:
    """Make a task for each face; its rows come in the order of the records."""
    extract = ExtractConfig(size=config.size, allow_resize=False, cache=config.cache, thumbnails=False)
    records = tuple(probe_records(PROBE_RECORDS))
    return [ProbeTask(number, face, records, extract) for number, face in enumerate(_probe_faces(inputs, config))]


def _probe_faces(inputs: Sequence[_Input], config: AnalyzeConfig) -> list[Pixels]:
    """Read HQ faces for the probes, from `--hq` or from the data sets."""
    faces: list[Pixels] = []
    hq = next((entry.content for entry in inputs if entry.kind == "hq"), None)
    rng = np.random.default_rng(config.seed)
    if isinstance(hq, Sources):
        for place in rng.permutation(len(hq)):
            if len(faces) == PROBE_FACES:
                break
            try:
                pixels = decode_image(hq.read(int(place))).pixels
            except ImageError:  # counted where the set itself is measured
                continue
            if pixels.shape[:2] == (config.size, config.size) or config.allow_resize:
                faces.append(to_size(pixels, config.size))
    else:
        seen: set[str] = set()
        for entry in inputs:
            if not isinstance(entry.content, ShardSet) or entry.kind == "hq":
                continue
            for sample in entry.content.samples():
                if len(faces) == PROBE_FACES:
                    return faces
                if sample.info["source"] not in seen:
                    seen.add(sample.info["source"])
                    faces.append(to_size(sample.hq(), config.size))
    if len(faces) < 2:
        raise ConfigError(
            f"whitening needs at least 2 HQ faces of {config.size} pixels, found {len(faces)}; give more in --hq, or "
            "--features degradation"
        )
    return faces
