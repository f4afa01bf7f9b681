"""`degrade-kit compare`: several evaluations in one table, and their images side by side."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from degrade_kit.analysis.judge import METRICS, SetMetric
from degrade_kit.analysis.report import Best, Picture, Section, Table, to_html, to_latex, to_markdown
from degrade_kit.analysis.summary import bootstrap
from degrade_kit.checks import COUNT, by_name, checked, fields, number, of_kind, optional
from degrade_kit.errors import ConfigError
from degrade_kit.files import MAX_JSON_BYTES, read_json, read_regular
from degrade_kit.image import Pixels, encode_png
from degrade_kit.pipelines.claim import report_claim
from degrade_kit.pipelines.evaluation.report import METRICS_FILE, PER_IMAGE, SCHEMA, SHEET, sheet_metrics, shown_value
from degrade_kit.pipelines.images import Images, open_files, open_references, read_or_none, stems
from degrade_kit.pipelines.sheet import Tile, contact_sheet
from degrade_kit.sources import display_name
from degrade_kit.store import LocalStore

_KEYS: Final = {"schema_version", "protocol", "test_set", "restored", "settings", "metrics"}
_TEXT = of_kind(str)
_METRIC = fields(
    {
        "value": optional(number(-1e300, 1e300)),
        **dict.fromkeys(("status", "against", "against_sha256"), str),
    }
)
_EVALUATION = fields(
    {
        "protocol": fields({"id": str}),
        "settings": fields({"restored": str, "reference": optional(_TEXT), "suffix": str}),
        "test_set": fields({"place": optional(_TEXT), "images": COUNT, "sha256": str, "missing": list}),
        "restored": fields({"place": str}),
        "metrics": by_name(_METRIC),
    }
)
"""What of a `metrics.json` is read here."""
_ARROWS: Final = {"higher": "↑", "lower": "↓"}


@dataclass(frozen=True, slots=True)
class Judged:
    """An evaluation, read back."""

    name: str
    folder: Path
    described: dict[str, Any]
    """Its `metrics.json`."""
    per_image: dict[str, dict[str, float]]
    """Values by metric and image."""

    @property
    def protocol(self) -> str:
        """The id of its protocol."""
        return self.described["protocol"]["id"]

    @property
    def test_set(self) -> str:
        """The hash of the images that were measured."""
        return self.described["test_set"]["sha256"]

    def metric(self, name: str) -> dict[str, Any]:
        """Return a metric's entry; empty where there is none."""
        return self.described["metrics"].get(name, {})


@dataclass(frozen=True, slots=True)
class Compared:
    """What a comparison wrote, and its text."""

    files: list[Path]
    text: str
    """The report in Markdown."""
    note: str
    """Why there is no sheet; empty where there is one."""


def compare_evaluations(
    evaluations: Sequence[tuple[str, Path]], out: Path, *, lq: str | None, images: int, several_sets: bool
) -> Compared:
    """Write the table in three formats, and the sheet.

    Args:
        evaluations: Names of methods, and folders of `evaluate`.
        out: Where to write.
        lq: LQ images, as the first column of the sheet.
        images: Rows of the sheet.
        several_sets: Whether evaluations may be of several test sets, each of which becomes a table of its own.

    Raises:
        ConfigError: If an evaluation cannot be read, they are not to be compared, or `out` is inside one.
        RunError: If `out` holds something else.
    """
    claim = report_claim(
        "compare",
        "a comparison",
        ["compare.html", "compare.md", "compare.tex", SHEET],
        {"evaluations": evaluations, "lq": lq or "", "rows": images, "several_sets": several_sets},
        [*((name, folder) for name, folder in evaluations), ("--lq", lq)],
    )
    claim.check(LocalStore(out))
    judged = [read_evaluation(name, folder) for name, folder in evaluations]
    groups = _groups(judged, several_sets=several_sets)
    protocol = judged[0].protocol
    sections: list[Section] = []
    latex: list[str] = []
    for title, group in groups:
        table = method_table(group)
        sections.append(Section(title, (table, _explain(group))))
        latex.append(to_latex(table, f"{title}. Protocol {protocol}."))
    if len(groups) > 1:
        for name in METRICS:
            table = _by_set(name, groups)
            if table is not None:
                title = f"{METRICS[name].title} by test set"
                sections.append(Section(title, (table,)))
                latex.append(to_latex(table, f"{title}. Protocol {protocol}."))
    tiles, headings, note = _tiles(groups[0][1], lq, images)
    pictures: list[Picture] = []
    if tiles:
        sheet = contact_sheet(tiles, title=f"Results on {groups[0][0]}", headings=headings, details=True)
        pictures.append(Picture(SHEET, encode_png(sheet), "results side by side"))
    if pictures:
        sections.append(Section("Side by side", tuple(pictures)))
    title = f"Restorers compared, protocol {protocol}"
    text = to_markdown(title, sections)
    files: dict[str, bytes | str] = {
        "compare.html": to_html(title, sections),
        "compare.tex": "\n".join(latex),
        **{picture.file: picture.data for picture in pictures},
        "compare.md": text,
    }
    return Compared(claim.write(out, files), text, note)


def read_evaluation(name: str, folder: Path) -> Judged:
    """Read what `evaluate` wrote to a folder.

    Raises:
        ConfigError: If it did not, or another version of it.
    """
    path = folder / METRICS_FILE
    try:
        described = read_json(path)
    except ConfigError as error:
        raise ConfigError(f"{folder}: no evaluation of `degrade-kit evaluate`: {error}") from error
    if not isinstance(described, dict) or not set(cast("dict[str, Any]", described)) >= _KEYS:
        raise ConfigError(f"{path}: no evaluation of `degrade-kit evaluate`")
    version = cast("dict[str, Any]", described)["schema_version"]
    if version != SCHEMA:
        raise ConfigError(f"{folder}: expected an evaluation of version {SCHEMA}, found {version!r:.80}")
    return Judged(name, folder, checked(described, _EVALUATION, str(path)), _read_per_image(folder / PER_IMAGE))


def _read_per_image(path: Path) -> dict[str, dict[str, float]]:
    """Values by metric and image; NaN where an image has none."""
    values: dict[str, dict[str, float]] = {}
    try:
        text = read_regular(path, MAX_JSON_BYTES).decode("utf-8")
        for line, row in enumerate(csv.DictReader(io.StringIO(text, newline="")), 2):
            for key, value in row.items():
                if key in METRICS:
                    try:
                        values.setdefault(key, {})[row["image"]] = float(value)
                    except (KeyError, TypeError, ValueError) as error:
                        raise ConfigError(
                            f"damaged: {path}, line {line}: expected an image with a number as {key}, got {value!r:.80}"
                        ) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"damaged: {path}: not a table of `degrade-kit evaluate`: {error}") from error
    return values


def _groups(judged: Sequence[Judged], *, several_sets: bool) -> list[tuple[str, list[Judged]]]:
    """Evaluations by test set, each with a title."""
    if len({entry.protocol for entry in judged}) > 1:
        said = "; ".join(f"{entry.name}: {entry.protocol}" for entry in judged)
        raise ConfigError(
            f"the evaluations follow different protocols, so their numbers cannot stand in one table: {said}. "
            "Evaluate all by one --protocol"
        )
    groups: dict[str, list[Judged]] = {}
    for entry in judged:
        groups.setdefault(entry.test_set, []).append(entry)
    if len(groups) > 1 and not several_sets:
        said = "; ".join(f"{entry.name}: {_set_name(entry)}" for entry in judged)
        raise ConfigError(
            f"the evaluations are of different test sets, so their numbers cannot stand in one table: {said}. "
            "Evaluate all on the same images, or give --several-sets for a table of each"
        )
    for group in groups.values():
        names = [entry.name for entry in group]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"the name {twice!r} is there twice; give NAME=DIR")
        _check_others(group)
    return [(_set_name(group[0]), group) for group in groups.values()]


def _set_name(entry: Judged) -> str:
    test_set = entry.described["test_set"]
    place = test_set["place"] or entry.described["restored"]["place"]
    missing = f", {len(test_set['missing']):,} missing" if test_set["missing"] else ""
    return f"{Path(place).name or place} ({test_set['images']:,} images{missing}, {entry.test_set[:8]})"


def _check_others(group: Sequence[Judged]) -> None:
    """Numbers of sets must be against one set."""
    for name, metric in METRICS.items():
        entries = {entry.name: entry.metric(name) for entry in group if entry.metric(name).get("value") is not None}
        if isinstance(metric, SetMetric) and len({(each["against_sha256"]) for each in entries.values()}) > 1:
            said = "; ".join(f"{method}: {each['against']}" for method, each in entries.items())
            raise ConfigError(f"{metric.title} of the evaluations compares with different sets: {said}")


def method_table(group: Sequence[Judged]) -> Table:
    """Tabulate a row for each method and a column for each metric that one of them has; the best stands out.

    What is not clearly worse than the best, image by image, has a ≈.
    """
    names = [name for name in METRICS if any(entry.metric(name).get("value") is not None for entry in group)]
    columns = [_column(name, group) for name in names]
    header = tuple(f"{METRICS[name].title} {_ARROWS[METRICS[name].better]}" for name in names)
    rows = tuple(
        (entry.name, *(column[place] for column in columns), f"{entry.described['test_set']['images']:,}")
        for place, entry in enumerate(group)
    )
    return Table(("method", *header, "images"), rows)


def _column(name: str, group: Sequence[Judged]) -> list[str]:
    metric = METRICS[name]
    values = [entry.metric(name).get("value") for entry in group]
    known = [value for value in values if value is not None]
    best = max(known) if metric.better == "higher" else min(known)
    first = group[values.index(best)]
    cells: list[str] = []
    for entry, value in zip(group, values, strict=True):
        text = shown_value(metric, value)
        if value is not None and len(group) > 1 and text == shown_value(metric, best):
            cells.append(Best(text))
        elif value is not None and not isinstance(metric, SetMetric) and _level(name, entry, first):
            cells.append(f"≈ {text}")
        else:
            cells.append(text)
    return cells


def _level(name: str, entry: Judged, best: Judged) -> bool:
    """Whether the mean difference to the best has 0 in its 95 % interval, over the images that both have."""
    one, two = entry.per_image.get(name, {}), best.per_image.get(name, {})
    gaps = np.array([one[image] - two[image] for image in one.keys() & two.keys() if _finite(one[image], two[image])])
    if entry is best or len(gaps) < 2:
        return False
    low, high = bootstrap(np.sort(gaps))
    return low <= 0 <= high


def _finite(*values: float) -> bool:
    return all(math.isfinite(value) for value in values)


def _explain(group: Sequence[Judged]) -> str:
    skipped = [
        f"{METRICS[name].title} of {entry.name} ({entry.metric(name)['status'].partition('.')[0]})"
        for name in METRICS
        for entry in group
        if entry.metric(name)
        and entry.metric(name)["value"] is None
        and any(other.metric(name).get("value") is not None for other in group)
    ]
    text = "≈: not clearly worse than the best, by the 95 % interval of the mean difference image by image."
    return f"{text} Not measured: {'; '.join(skipped)}." if skipped else text


def _by_set(name: str, groups: Sequence[tuple[str, Sequence[Judged]]]) -> Table | None:
    """Methods by test sets, of one metric."""
    methods = list(dict.fromkeys(entry.name for _, group in groups for entry in group))
    found = {
        (entry.name, title): cell
        for title, group in groups
        if any(entry.metric(name).get("value") is not None for entry in group)
        for entry, cell in zip(group, _column(name, group), strict=True)
    }
    if not found:
        return None
    titles = [title for title, _ in groups]
    rows = tuple((method, *(found.get((method, title), "") for title in titles)) for method in methods)
    return Table(("method", *titles), rows)


# ---------------------------------------------------------------------------------------------------------------- sheet


def _tiles(group: Sequence[Judged], lq: str | None, count: int) -> tuple[list[list[Tile]], list[str], str]:
    """Lay out images evenly spread over the set, with a heading for each row; or say why there are none."""
    # LQ images that were evaluated too, as the score to beat, are a method already: shown once, as the first column.
    group = sorted(group, key=lambda entry: not _holds(entry, lq))
    settings = [entry.described["settings"] for entry in group]
    try:
        columns: list[tuple[str, Images, Mapping[str, int]]] = []
        if lq is not None and not _holds(group[0], lq):
            images = open_files(lq, "--lq")
            columns.append(("LQ", images, stems(images.names, "", "--lq")[0]))
        for entry, each in zip(group, settings, strict=True):
            images = open_files(each["restored"], entry.name)
            columns.append((entry.name, images, stems(images.names, each["suffix"], entry.name)[0]))
        if settings[0]["reference"] is not None:
            references = open_references(settings[0]["reference"], columns[-1][1].names)
            columns.append(("reference", references, stems(references.names, "", "reference")[0]))
    except ConfigError as error:
        return [], [], f"no sheet: {error}"
    shared = sorted(stem for stem in columns[0][2] if all(stem in places for _, _, places in columns))
    rows: list[list[Tile]] = []
    headings: list[str] = []
    for stem in [shared[place] for place in sorted({place * len(shared) // count for place in range(count) if shared})]:
        cells = [(name, read_or_none(images, places[stem])) for name, images, places in columns]
        rows.append([_tile(name, stem, pixels, group) for name, pixels in cells if pixels is not None])
        headings.append(display_name(stem))
    return rows, headings, "" if rows else "no sheet: the places of the images have no names in common"


def _holds(entry: Judged, lq: str | None) -> bool:
    """Tell whether an evaluation is of the images in `lq`."""
    return lq is not None and Path(entry.described["settings"]["restored"]).resolve() == Path(lq).resolve()


def _tile(name: str, stem: str, pixels: Pixels, group: Sequence[Judged]) -> Tile:
    entry = next((entry for entry in group if entry.name == name), None)
    shown = display_name(stem)
    numbers = [
        f"{METRICS[metric].title} {shown_value(METRICS[metric], values[shown])}"
        for metric, values in (entry.per_image if entry is not None else {}).items()
        if metric in sheet_metrics([metric]) and math.isfinite(values.get(shown, math.nan))
    ]
    return Tile(pixels, (name, ", ".join(numbers[:2])))
