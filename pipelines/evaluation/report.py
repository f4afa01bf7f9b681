"""The report of `evaluate`: the table of each image, the numbers with their settings, pages and pictures."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from degrade_kit.analysis.judge import METRICS, Metric, SetMetric, Settled
from degrade_kit.analysis.protocols import DEFAULT, Protocol
from degrade_kit.analysis.report import Picture, Section, Table
from degrade_kit.analysis.summary import MetricSummary, finite
from degrade_kit.files import file_sha256, sha256
from degrade_kit.hq import versions
from degrade_kit.image import Pixels
from degrade_kit.pipelines.images import FileImages, Images, read_or_none
from degrade_kit.pipelines.sheet import Tile, contact_sheet
from degrade_kit.sources import display_name
from degrade_kit.wording import counted_noun, first_few

METRICS_FILE: Final = "metrics.json"


PER_IMAGE: Final = "per_image.csv"
SHEET: Final = "sheet.png"
SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class MeasuredImage:
    """One restored image, measured."""

    stem: str
    values: dict[str, float]
    reference_hash: str
    """Empty without a reference."""


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
    device: str | None = None
    cache: Path | None = None
    """Folder of features by content."""


def per_image(rows: Sequence[MeasuredImage], protocol: Protocol) -> str:
    """Make the CSV of all images, in the units of the protocol."""
    names = [name for name in METRICS if name in rows[0].values]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *names, "protocol"])
    for row in rows:
        writer.writerow([row.stem, *(f"{row.values[name]:.6g}" for name in names), protocol.id])
    return text.getvalue()


def describe_evaluation(
    config: EvaluateConfig,
    protocol: Protocol,
    settled: Settled,
    summaries: Mapping[str, MetricSummary],
    rows: Sequence[MeasuredImage],
    content: Sequence[str],
    missing: Sequence[str],
    extra: Sequence[str],
    left_out: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    """Gather what `metrics.json` says: numbers, settings, and hashes of all that was measured.

    Args:
        config: What was asked for.
        protocol: How it was measured.
        settled: What could be measured.
        summaries: By metric.
        rows: Of the restored images.
        content: Hash of each of them.
        missing: References without a restored image.
        extra: Restored images without a reference.
        left_out: What the listing of each place did not take, by cause.
    """
    test_set = "\n".join(f"{row.stem} {row.reference_hash}" for row in rows)
    restored = "\n".join(f"{row.stem} {content}" for row, content in zip(rows, content, strict=True))
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
            "images": len(rows),
            "sha256": sha256(test_set),
            "missing": list(missing),
            "extra": list(extra),
        },
        "restored": {"place": config.restored, "sha256": sha256(restored)},
        "left_out": left_out,
        "weights": {
            name: [{"file": path.name, "sha256": file_sha256(path)} for path in paths]
            for name, paths in settled.config.paths.items()
            if paths
        },
        "metrics": {
            name: {
                "title": METRICS[name].title,
                "unit": METRICS[name].unit(protocol),
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


def sections(
    config: EvaluateConfig,
    protocol: Protocol,
    summaries: Mapping[str, MetricSummary],
    rows: Sequence[MeasuredImage],
    missing: Sequence[str],
    extra: Sequence[str],
    pictures: Sequence[Picture],
    described: Mapping[str, Any],
) -> list[Section]:
    """Lay out the report for people.

    Args:
        config: What was asked for.
        protocol: How it was measured.
        summaries: By metric.
        rows: Of the restored images.
        missing: References without a restored image.
        extra: Restored images without a reference.
        pictures: To be shown.
        described: From `describe_evaluation`.
    """
    measured = {name: summary for name, summary in summaries.items() if summary.value is not None}
    table = Table(
        ("metric", "value", "95 % interval", "images", "better", "protocol", "notes"),
        tuple(
            (
                METRICS[name].title,
                f"{shown_value(METRICS[name], summary.value)} {METRICS[name].unit(protocol)}".strip(),
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
    intro = f"{counted_noun(len(rows), 'image')} of {config.restored}; references: {place}."
    lines = [f"{METRICS[name].title}: {summary.status}" for name, summary in summaries.items() if summary.value is None]
    notes = filter(None, (METRICS[name].note(summary) for name, summary in measured.items()))
    made = [Section("Numbers", (intro, table, *notes))]
    if pictures:
        made.append(Section("Worst, middle and best", tuple(pictures)))
    if lines:
        made.append(Section("Not measured", tuple(lines)))
    if missing or extra:
        made.append(
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
    made.append(
        Section("How it was measured", (f"{protocol.id}: {protocol.source}.", facts, f"Test set {digest[:16]}."))
    )
    return made


def _interval(metric: Metric, summary: MetricSummary) -> str:
    if summary.low is None:
        return ""
    return f"{shown_value(metric, summary.low)} to {shown_value(metric, summary.high)}"


def _notes(summary: MetricSummary) -> str:
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
    return first_few(names) if names else "none"


def last_name(place: str) -> str:
    """Take the last part of a place: a name that people know it by."""
    return Path(place).name or place


def sheet_metrics(names: Iterable[str]) -> dict[str, int]:
    """Choose the metrics that a sheet may show or sort by, with their ranks."""
    ranks = {name: metric.sheet_rank for name in names if not isinstance(metric := METRICS[name], SetMetric)}
    return {name: rank for name, rank in ranks.items() if rank is not None}


def draw_sheet(
    rows: Sequence[MeasuredImage],
    images: Sequence[tuple[str, int, int]],
    restored: FileImages,
    reference: Images | None,
) -> Pixels | None:
    """Draw the worst, middle and best images by the first metric that every row has; None where there is none."""
    name = min(sheet_metrics(rows[0].values), key=lambda name: sheet_metrics(rows[0].values)[name], default=None)
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
    headings: list[str] = []
    for number in chosen:
        if not 0 <= number < len(ordered):
            continue
        row = ordered[number]
        place, partner = places[row.stem]
        line = [Tile(restored.read(place), (f"{METRICS[name].title} {shown_value(METRICS[name], row.values[name])}",))]
        other = None if reference is None else read_or_none(reference, partner)
        if other is not None:
            line.append(Tile(other, ("reference",)))
        tiles.append(line)
        headings.append(row.stem)
    title = f"Worst, middle and best by {METRICS[name].title}"
    return contact_sheet(tiles, title=title, headings=headings, details=True)
