"""`degrade-kit evaluate`: how good restored faces are, by a named protocol.

OUT/metrics.json     every number with its interval, protocol, and the hashes of what was measured
OUT/per_image.csv    the numbers of each image
OUT/report.md, .html the same for people
OUT/sheet.png        the worst, middle and best image
"""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from analysis.distances import Features
from analysis.protocols import DEFAULT, Protocol, protocol_named
from analysis.report import Picture, Section, Table, to_html, to_markdown
from degrade_kit.errors import ConfigError, ImageError, RunError
from degrade_kit.image import Pixels, encode_png, pixel_hash
from degrade_kit.prepare import versions
from degrade_kit.sources import display_name
from pipelines.analysis_files import write_whole
from pipelines.executor import ExecutorConfig, Stateful, run_tasks
from pipelines.extract import cached
from pipelines.judged_sets import FileSet, JudgedSet, open_references, open_set, read_or_none
from pipelines.sheet import Tile, contact_sheet
from restore.evaluate import (
    METRICS,
    Judge,
    JudgeConfig,
    Metric,
    Settled,
    Summary,
    compare_degradation,
    compare_inception,
    explain_unpaired,
    finite,
    pair_by_stem,
    read_fid_statistics,
    settle,
    stems,
    summarise,
    unit_of,
)
from restore.weights import file_sha256

SCHEMA: Final = 1
METRICS_FILE: Final = "metrics.json"
PER_IMAGE: Final = "per_image.csv"
_IN_TASK: Final = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """What to judge, and how."""

    restored: str
    """Restored images: see `degrade_kit.sources.open_sources`."""
    reference: str | None = None
    """What they should be: the same, or a data set of this toolkit. None judges without references."""
    faces: str | None = None
    """Sharp faces, for the numbers that compare sets."""
    protocol: str = DEFAULT
    suffix: str = ""
    """What the method appends to names, such as `_00`."""
    allow_missing: bool = False
    device: str = "cpu"
    cache: Path | None = None
    """Folder of features by content."""


@dataclass(frozen=True, slots=True)
class Row:
    """One restored image, measured."""

    stem: str
    values: dict[str, float]
    reference_hash: str
    """Empty without a reference."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was found."""

    protocol: Protocol
    summaries: dict[str, Summary]
    rows: list[Row]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    files: list[Path]


@dataclass(frozen=True, slots=True)
class _Task:
    """Some images: of a pair, alone, or of another set, of which features alone are taken."""

    group: str
    """`restored` or `faces`."""
    images: tuple[tuple[str, int, int], ...]
    """Stem, place of the image and of its reference."""
    restored: JudgedSet
    reference: JudgedSet | None
    cache: Path | None


@dataclass(frozen=True, slots=True)
class _Done:
    rows: list[Row]
    content: list[str]
    """Hash of each image that was measured."""
    sizes: list[tuple[int, int]]
    features: dict[str, list[Features]]
    reference_features: dict[str, list[Features]]
    failures: list[str]


def evaluate(
    config: EvaluateConfig,
    given: Mapping[str, Path],
    out: Path,
    executor: ExecutorConfig,
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> Evaluation:
    """Measure and write the report.

    Args:
        config: What to judge.
        given: What `--weights` says, by name.
        out: Folder of the report; files of an earlier one are replaced.
        executor: Where images are measured.
        progress: Called with a set's name, images done and images in all.

    Raises:
        ConfigError: If images do not pair up, cannot be read, or differ from their references in size.
    """
    protocol = protocol_named(config.protocol)
    for place in (config.restored, config.reference, config.faces):
        if place is not None and Path(place).resolve() in (out.resolve(), *out.resolve().parents):
            raise ConfigError(f"--out {out} is inside {place}: a rerun would judge its own pictures")
    settled = settle(
        protocol,
        given,
        reference=config.reference is not None,
        faces=config.faces is not None,
        device=config.device,
    )
    statistics = None if settled.fid_statistics is None else read_fid_statistics(settled.fid_statistics)
    restored = open_set(config.restored, "--restored")
    reference, images, missing, extra = _pair(config, restored)
    faces = None if config.faces is None else open_set(config.faces, "--faces")
    tasks = list(_tasks("restored", images, restored, reference, config))
    totals = {"restored": len(images)}
    if faces is not None:
        listed = tuple((name, place, place) for place, name in enumerate(faces.names))
        tasks += _tasks("faces", listed, faces, None, config)
        totals["faces"] = len(listed)
    done = _measure(tasks, totals, settled.config, executor, progress)
    ours = done["restored"]
    if ours.failures and not config.allow_missing:
        raise ConfigError(
            f"{len(ours.failures):,} of {len(images):,} images cannot be measured: {'; '.join(ours.failures[:5])}"
            f"{'; ...' if len(ours.failures) > 5 else ''}"
        )
    if not ours.rows:
        raise ConfigError(f"none of the images in {config.restored} can be measured: {ours.failures[0]}")
    missing = (*missing, *ours.failures)
    summaries = _summaries(config, settled, done, statistics)
    out.mkdir(parents=True, exist_ok=True)
    sheet = _sheet(ours.rows, images, restored, reference)
    (out / "sheet.png").unlink(missing_ok=True)
    pictures = [] if sheet is None else [Picture("sheet.png", encode_png(sheet), "worst, middle and best image")]
    described = _describe(config, protocol, settled, summaries, ours, missing, extra)
    title = f"Restored faces: {_last(config.restored)}"
    sections = _sections(config, protocol, summaries, ours.rows, missing, extra, pictures, described)
    files = {
        "report.html": to_html(title, sections).encode(),
        "report.md": to_markdown(title, sections).encode(),
        **{picture.file: picture.data for picture in pictures},
        PER_IMAGE: _per_image(ours.rows, protocol).encode(),
        METRICS_FILE: (json.dumps(described, indent=2, sort_keys=True, allow_nan=False) + "\n").encode(),
    }
    for name, data in files.items():
        write_whole(out / name, data)
    return Evaluation(protocol, summaries, ours.rows, missing, extra, [out / name for name in files])


def _pair(
    config: EvaluateConfig, restored: FileSet
) -> tuple[JudgedSet | None, tuple[tuple[str, int, int], ...], tuple[str, ...], tuple[str, ...]]:
    """References, the images to measure, what is missing and what is too much."""
    if config.reference is None:
        places, foreign = stems(restored.names, config.suffix, "--restored")
        if foreign and not config.allow_missing:
            raise ConfigError(
                f"{len(foreign):,} of {len(restored.names):,} restored images do not end in {config.suffix!r}: "
                f"{', '.join(foreign[:5])}{', ...' if len(foreign) > 5 else ''}"
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
    restored: FileSet,
    reference: JudgedSet | None,
    config: EvaluateConfig,
) -> Iterator[_Task]:
    for start in range(0, len(images), _IN_TASK):
        yield _Task(group, tuple(images[start : start + _IN_TASK]), restored, reference, config.cache)


def _measure(
    tasks: Sequence[_Task],
    totals: Mapping[str, int],
    config: JudgeConfig,
    executor: ExecutorConfig,
    progress: Callable[[str, int, int], None],
) -> dict[str, _Done]:
    found: list[tuple[_Task, _Done]] = []
    counts = dict.fromkeys(totals, 0)
    for outcome in run_tasks(Stateful(functools.partial(_ready, config)), tasks, executor):
        if outcome.result is None:
            raise RunError(outcome.error)
        found.append((outcome.task, outcome.result))
        counts[outcome.task.group] += len(outcome.task.images)
        progress(outcome.task.group, counts[outcome.task.group], totals[outcome.task.group])
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
    judge = Judge(config)
    keys = {name: judge.extractor_key(name) for name in judge.extractors}
    return functools.partial(_measure_task, judge, keys)


def _measure_task(judge: Judge, keys: Mapping[str, str], task: _Task) -> _Done:
    done = _Done([], [], [], {}, {}, [])

    def take(into: dict[str, list[Features]], pixels: Pixels, content: str) -> None:
        for name, extract in judge.extractors.items():
            key = hashlib.sha256(f"{content} {keys[name]}".encode()).hexdigest()
            features = cached(task.cache, key, functools.partial(extract, pixels))
            into.setdefault(name, []).append(features)

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
                done.rows.append(Row(shown, judge.measure(pixels, other), other_hash))
                if other is not None and "degradation" in judge.extractors:
                    # FID compares with statistics or other faces alone, never with the references.
                    key = hashlib.sha256(f"{other_hash} {keys['degradation']}".encode()).hexdigest()
                    extract = functools.partial(judge.extractors["degradation"], other)
                    done.reference_features.setdefault("degradation", []).append(cached(task.cache, key, extract))
            take(done.features, pixels, content)
        except ValueError as error:
            raise ConfigError(f"{shown}: {error}") from error
        done.content.append(content)
        done.sizes.append((pixels.shape[1], pixels.shape[0]))
    return done


# ------------------------------------------------------------------------------------------------------------ summaries


def _summaries(
    config: EvaluateConfig,
    settled: Settled,
    done: Mapping[str, _Done],
    statistics: tuple[Features, Features] | None,
) -> dict[str, Summary]:
    protocol, ours, faces = settled.config.protocol, done["restored"], done.get("faces")
    if faces is not None and faces.failures:
        raise ConfigError(f"--faces: {len(faces.failures):,} images cannot be read: {'; '.join(faces.failures[:5])}")
    found: dict[str, Summary] = {}
    for name, metric in METRICS.items():
        if name in settled.skipped:
            found[name] = Summary(value=None, status=f"skipped: {settled.skipped[name]}")
        elif metric.kind != "set":
            found[name] = summarise(metric, [row.values[name] for row in ours.rows], protocol)
    if "fid" in ours.features:
        chosen = np.stack(ours.features["fid"][: protocol.fid_first or None])
        if faces is not None:
            summary = compare_inception(chosen, np.stack(faces.features["fid"]))
            found["fid"] = replace(summary, **_against(config, faces))
        else:
            assert statistics is not None
            assert settled.fid_statistics is not None
            found["fid"] = replace(
                compare_inception(chosen, statistics),
                against=settled.fid_statistics.name,
                against_sha256=file_sha256(settled.fid_statistics),
            )
    if "degradation" in ours.features:
        others = ours.reference_features["degradation"] if faces is None else faces.features["degradation"]
        sizes = {*ours.sizes, *(faces.sizes if faces is not None else ())}
        both = compare_degradation(np.stack(ours.features["degradation"]), np.stack(others))
        for name, summary in zip(("kid-degradation", "frechet-degradation"), both, strict=True):
            against = {"against": "the references"} if faces is None else _against(config, faces)
            found[name] = replace(summary, **against)
            if len(sizes) > 1:
                shown = ", ".join(f"{width} x {height}" for width, height in sorted(sizes)[:5])
                status = f"skipped: needs images of one size, found {shown}: resizing would change what is measured"
                found[name] = Summary(value=None, status=status)
    return {name: found[name] for name in METRICS if name in found}


def _against(config: EvaluateConfig, faces: _Done) -> dict[str, str]:
    digest = hashlib.sha256("\n".join(sorted(faces.content)).encode()).hexdigest()
    return {"against": f"{len(faces.content):,} faces in {_last(config.faces or '')}", "against_sha256": digest}


# -------------------------------------------------------------------------------------------------------------- writing


def _per_image(rows: Sequence[Row], protocol: Protocol) -> str:
    names = [name for name in METRICS if name in rows[0].values]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *names, "protocol"])
    for row in rows:
        writer.writerow([row.stem, *(_in_unit(name, row.values[name], protocol) for name in names), protocol.id])
    return text.getvalue()


def _in_unit(name: str, value: float, protocol: Protocol) -> str:
    radians = name == "deg" and protocol.identity_unit == "radians"
    return f"{math.radians(value) if radians else value:.6g}"


def _describe(
    config: EvaluateConfig,
    protocol: Protocol,
    settled: Settled,
    summaries: Mapping[str, Summary],
    ours: _Done,
    missing: Sequence[str],
    extra: Sequence[str],
) -> dict[str, Any]:
    test_set = "\n".join(f"{row.stem} {row.reference_hash}" for row in ours.rows)
    restored = "\n".join(f"{row.stem} {content}" for row, content in zip(ours.rows, ours.content, strict=True))
    return {
        "schema_version": SCHEMA,
        "versions": versions(),
        "protocol": protocol.to_mapping(),
        "settings": {
            **{key: str(value) if isinstance(value, Path) else value for key, value in asdict(config).items()},
            "cache": None,  # it changes nothing
        },
        "test_set": {
            "place": config.reference,
            "images": len(ours.rows),
            "sha256": hashlib.sha256(test_set.encode()).hexdigest(),
            "missing": list(missing),
            "extra": list(extra),
        },
        "restored": {"place": config.restored, "sha256": hashlib.sha256(restored.encode()).hexdigest()},
        "weights": {
            name: [{"file": path.name, "sha256": file_sha256(path)} for path in paths]
            for name, paths in settled.config.paths.items()
            if paths
        },
        "metrics": {
            name: {
                "title": METRICS[name].title,
                "unit": unit_of(METRICS[name], protocol),
                "better": METRICS[name].better,
                "protocol": protocol.id,
                **{key: _plain(value) for key, value in asdict(summary).items()},
            }
            for name, summary in summaries.items()
        },
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 (a field of a summary)
    return finite(value) if isinstance(value, float) else value


def shown_value(metric: Metric, value: float | None) -> str:
    """A number as tables show it.

    >>> shown_value(METRICS["psnr"], 24.4321)
    '24.43'
    """
    return "" if value is None else f"{value:.{metric.decimals}f}"


def _sections(
    config: EvaluateConfig,
    protocol: Protocol,
    summaries: Mapping[str, Summary],
    rows: Sequence[Row],
    missing: Sequence[str],
    extra: Sequence[str],
    pictures: Sequence[Picture],
    described: Mapping[str, Any],
) -> list[Section]:
    measured = {name: summary for name, summary in summaries.items() if summary.value is not None}
    table = Table(
        ("metric", "value", "95 % interval", "images", "better", "protocol", "notes"),
        tuple(
            (
                METRICS[name].title,
                f"{shown_value(METRICS[name], summary.value)} {unit_of(METRICS[name], protocol)}".strip(),
                _interval(METRICS[name], summary),
                f"{summary.images:,}",
                METRICS[name].better,
                protocol.id,
                _notes(summary),
            )
            for name, summary in measured.items()
        ),
    )
    place = config.reference or "no references"
    intro = f"{len(rows):,} images of {config.restored}; references: {place}."
    lines = [f"{METRICS[name].title}: {summary.status}" for name, summary in summaries.items() if summary.value is None]
    sections = [Section("Numbers", (intro, table, *_small(measured)))]
    if pictures:
        sections.append(Section("Worst, middle and best", tuple(pictures)))
    if lines:
        sections.append(Section("Not measured", tuple(lines)))
    if missing or extra:
        sections.append(
            Section(
                "Not in the numbers",
                (
                    f"{len(missing):,} references have no restored image that could be measured: {_few(missing)}",
                    f"{len(extra):,} restored images have no reference: {_few(extra)}",
                ),
            )
        )
    facts = ", ".join(f"{key} {value}" for key, value in protocol.to_mapping().items() if key not in ("name", "source"))
    digest = described["test_set"]["sha256"]
    sections.append(
        Section("How it was measured", (f"{protocol.id}: {protocol.source}.", facts, f"Test set {digest[:16]}."))
    )
    return sections


def _small(measured: Mapping[str, Summary]) -> tuple[str, ...]:
    if "fid" not in measured or measured["fid"].images >= 10_000:
        return ()
    images = measured["fid"].images
    return (
        f"FID is biased upward by about the number of features over the number of images: of {images:,} images it can "
        "be compared with FID of as many images only.",
    )


def _interval(metric: Metric, summary: Summary) -> str:
    if summary.low is None:
        return ""
    return f"{shown_value(metric, summary.low)} to {shown_value(metric, summary.high)}"


def _notes(summary: Summary) -> str:
    notes = [
        (summary.infinite, "equal to their references, not in the mean"),
        (summary.undefined, "without a number"),
        (summary.left_out, "left out by the protocol"),
        (summary.near_identical, "below one degree"),
    ]
    parts = [f"{count:,} {text}" for count, text in notes if count]
    if summary.null is not None:
        parts.insert(0, f"halves of these give {summary.null:.3f}")
    return "; ".join([*([f"against {summary.against}"] if summary.against else []), *parts])


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "none"


def _last(place: str) -> str:
    return Path(place).name or place


def _sheet(
    rows: Sequence[Row], images: Sequence[tuple[str, int, int]], restored: FileSet, reference: JudgedSet | None
) -> Pixels | None:
    """By the first metric that every row has; None where there is none."""
    name = next((name for name in ("lpips", "psnr", "niqe") if name in rows[0].values), None)
    if name is None:
        return None
    sign = -1 if METRICS[name].better == "lower" else 1
    known = [row for row in rows if not math.isnan(row.values[name])]
    ordered = sorted(known, key=lambda row: (sign * row.values[name], row.stem))
    if not ordered:
        return None
    places = {display_name(stem): (place, partner) for stem, place, partner in images}
    chosen = dict.fromkeys([0, 1, len(ordered) // 2, len(ordered) - 2, len(ordered) - 1])
    tiles: list[list[Tile]] = []
    for number in chosen:
        if not 0 <= number < len(ordered):
            continue
        row = ordered[number]
        place, partner = places[row.stem]
        line = [(restored.read(place), f"{METRICS[name].title} {shown_value(METRICS[name], row.values[name])}")]
        other = None if reference is None else read_or_none(reference, partner)
        if other is not None:
            line.append((other, "reference"))
        tiles.append([Tile(pixels, (row.stem[-34:], text)) for pixels, text in line])
    return contact_sheet(tiles)
