"""The report of a comparison: what the numbers show, in words, tables and one page to send to a colleague."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

from degrade_kit.analysis.comparison import SMALL, Comparison
from degrade_kit.analysis.distances import Interval
from degrade_kit.wording import clean_text, html_text, markdown_text

MISSING = "too few"


class Best(str):
    """A cell that stands out."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a header; cells may be `Best`."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture beside the report."""

    file: str
    data: bytes
    """PNG."""
    alt: str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it."""

    title: str
    body: tuple[str | Table | Picture, ...] = field(default=())


def headlines(comparisons: Sequence[Comparison]) -> list[tuple[str, Table]]:
    """Tabulate for each real set how hard each source is to tell from it: the ideal first, then the hardest to tell.

    Behind the sources stand the HQ images, not degraded, and the other real sets.
    """
    found: list[tuple[str, Table]] = []
    for reference in dict.fromkeys(entry.reference for entry in comparisons):
        entries = [entry for entry in comparisons if entry.reference == reference]
        entries.sort(key=lambda entry: (_ORDER.index(entry.source_kind), _auc_or_most(entry)))
        patches = any(entry.numbers.patches is not None for entry in entries)
        header = ("source", "images", "linear AUC (null)", *(["patch AUC (null)"] if patches else []))
        rows = [
            (
                _source_words(entry),
                f"{entry.num_source:,}",
                _cell(entry.numbers.auc_interval or entry.numbers.auc, entry.null.auc),
                *([_cell(entry.numbers.patches, _value(entry.null.patches), "")] if patches else []),
                _cell(entry.numbers.kid, _value(entry.null.kid)),
                _coverage_cell(entry),
            )
            for entry in entries
        ]
        found.append((reference, Table((*header, "KID (null)", "coverage (null)"), tuple(rows))))
    return found


_ORDER = ("ideal", "synth", "hq", "real")


def _auc_or_most(entry: Comparison) -> float:
    return 1.0 if entry.numbers.auc is None else entry.numbers.auc


def _source_words(entry: Comparison) -> str:
    return {
        "ideal": f"ideal: {entry.reference} against itself",
        "synth": entry.source,
        "hq": f"{entry.source} (not degraded)",
        "real": f"{entry.source} (real)",
    }[entry.source_kind]


def _value(interval: Interval | None) -> float | None:
    return None if interval is None else interval.value


def _cell(value: Interval | float | None, null: float | None, missing: str = MISSING) -> str:
    if value is None:
        return missing
    return (_interval(value) if isinstance(value, Interval) else f"{value:.2f}") + _null(null)


def _coverage_cell(entry: Comparison) -> str:
    matched, null = entry.numbers.matched, entry.null.matched
    if matched is None:
        return MISSING
    ends = entry.numbers.coverage
    between = "" if ends is None else f" [{ends.low:.0%}, {ends.high:.0%}]"
    return f"{matched.coverage:.0%}{between}" + ("" if null is None else f" ({null.coverage:.0%})")


def space_tables(comparisons: Sequence[Comparison]) -> list[tuple[str, Table]]:
    """Tabulate for each real set the numbers in the learned spaces, a row for each source and space."""
    found: list[tuple[str, Table]] = []
    for reference in dict.fromkeys(entry.reference for entry in comparisons if entry.spaces):
        rows = [
            (
                _source_words(entry),
                space.space,
                f"{space.num_source:,} / {space.num_reference:,}",
                _cell(space.numbers.auc_interval, space.null.auc),
                _cell(space.numbers.kid, _value(space.null.kid)),
                MISSING
                if space.numbers.coverage is None
                else f"{space.numbers.coverage.value:.0%}"
                + ("" if space.null.coverage is None else f" ({space.null.coverage.value:.0%})"),
            )
            for entry in comparisons
            if entry.reference == reference
            for space in entry.spaces
        ]
        rows.sort(key=lambda row: row[1])
        header = ("source", "space", "n", "linear AUC (null)", "KID (null)", "coverage (null)")
        found.append((reference, Table(header, tuple(rows))))
    return found


def reading(comparisons: Sequence[Comparison]) -> list[str]:
    """Put the table into sentences; no more than the numbers and their intervals bear."""
    sentences: list[str] = []
    for reference in dict.fromkeys(entry.reference for entry in comparisons):
        synthetic = [
            entry
            for entry in comparisons
            if entry.reference == reference and entry.source_kind == "synth" and entry.numbers.kid is not None
        ]
        if synthetic:
            sentences += _told_apart(reference, synthetic)
            sentences.append(_of_reference(reference, synthetic))
    few = sorted(
        {entry.source for entry in comparisons if entry.num_source < SMALL and entry.source_kind != "ideal"}
        | {entry.reference for entry in comparisons if entry.num_reference < SMALL}
    )
    if few:
        sentences.append(
            f"Fewer than {SMALL} images: {', '.join(few)}. What is said of {'it' if len(few) == 1 else 'them'} shows a "
            "direction at most."
        )
    return sentences


def _told_apart(reference: str, synthetic: Sequence[Comparison]) -> list[str]:
    """Say which source is hardest to tell from a real set, by each classifier that was asked."""
    said: list[str] = []
    linear = [(entry.source, entry.numbers.auc_interval, entry.null.auc_interval) for entry in synthetic]
    patches = [(entry.source, entry.numbers.patches, entry.null.patches) for entry in synthetic]
    for who, found in (("a linear classifier", linear), ("a network that sees patches alone", patches)):
        known = [(source, auc, null) for source, auc, null in found if auc is not None]
        if not known:
            continue
        source, auc, null = min(known, key=lambda entry: entry[1].value)
        text = f"{who} tells {source} from {reference} with AUC {_interval(auc)}"
        if null is not None and auc.low <= max(null.high, 0.5):
            text = f"{who} tells {source} from {reference} no better than {reference} from itself: AUC {_interval(auc)}"
        if null is not None:
            text += f", where {reference} against itself gives {null.value:.2f}"
        if len(known) > 1:
            worst = max(known, key=lambda entry: entry[1].value)
            text += f"; the other sources more easily, {worst[0]} with {_interval(worst[1])}"
        said.append(text[0].upper() + text[1:] + ".")
    return said


def _of_reference(reference: str, synthetic: Sequence[Comparison]) -> str:
    ordered = sorted(synthetic, key=lambda entry: _kid(entry).value)
    best, rest = ordered[0], ordered[1:]
    if _reaches_null(best):
        said = f"{best.source} cannot be distinguished from {reference} itself by KID ({_interval(_kid(best))})"
    else:
        said = f"nearest to {reference} is {best.source}, KID {_interval(_kid(best))}"
        if best.null.kid is not None:
            said += f" where halves of {reference} give {best.null.kid.value:.2f}"
    level = [entry.source for entry in rest if _kid(entry).low <= _kid(best).high]
    if level:
        said += f"; {_listed(level)} {'is' if len(level) == 1 else 'are'} not clearly farther"
    far = [entry for entry in rest if entry.source not in level]
    if far:
        said += f"; farthest is {far[-1].source}, {_interval(_kid(far[-1]))}"
    covering = [entry for entry in synthetic if entry.numbers.matched is not None and entry.null.matched is not None]
    if covering:
        most = max(covering, key=lambda entry: entry.numbers.matched.coverage if entry.numbers.matched else 0)
        numbers, null = most.numbers.matched, most.null.matched
        assert numbers is not None
        assert null is not None
        covered = f"{most.source} covers {reference} best: {numbers.coverage:.0%} at {numbers.size} images"
        if numbers.coverage < 0.01:
            covered = f"No source covers 1 % of {reference}"
        said += f". {covered}, where its halves cover {null.coverage:.0%} of each other"
    return said[0].upper() + said[1:] + "."


def _kid(entry: Comparison) -> Interval:
    assert entry.numbers.kid is not None
    return entry.numbers.kid


def _reaches_null(entry: Comparison) -> bool:
    null = entry.null.kid
    return null is not None and _kid(entry).low <= max(null.high, 0.0)


def _interval(kid: Interval) -> str:
    return f"{kid.value:.2f} [{kid.low:.2f}, {kid.high:.2f}]"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def all_numbers(comparisons: Sequence[Comparison]) -> Table:
    """Tabulate every number, the null in parentheses."""
    header = (
        "source",
        "reference",
        "n",
        "KID (95 %)",
        "matched n",
        "Frechet",
        "precision",
        "recall",
        "density",
        "coverage",
        "AUC",
        "patch AUC",
        "nearest 10/50/90 %",
    )
    return Table(header, tuple(_all_row(entry) for entry in comparisons))


def _all_row(entry: Comparison) -> tuple[str, ...]:
    numbers, null = entry.numbers, entry.null
    kid = (
        MISSING if numbers.kid is None else _interval(numbers.kid) + _null(None if null.kid is None else null.kid.value)
    )
    cells: list[str] = []
    for name in ("frechet", "precision", "recall", "density", "coverage"):
        value = None if numbers.matched is None else getattr(numbers.matched, name)
        chance = None if null.matched is None else getattr(null.matched, name)
        cells.append(MISSING if value is None else f"{value:.2f}{_null(chance)}")
    return (
        entry.source,
        entry.reference,
        f"{entry.num_source:,} / {entry.num_reference:,}",
        kid,
        "" if numbers.matched is None else str(numbers.matched.size),
        *cells,
        MISSING if numbers.auc is None else f"{numbers.auc:.2f}{_null(null.auc)}",
        _cell(numbers.patches, _value(null.patches), ""),
        MISSING if entry.nearest is None else " / ".join(f"{value:.2f}" for value in entry.nearest),
    )


def _null(value: float | None) -> str:
    return "" if value is None else f" ({value:.2f})"


def to_markdown(title: str, sections: Sequence[Section]) -> str:
    """Write the report as Markdown, pictures as links to files beside it."""
    lines = [f"# {markdown_text(title)}", ""]
    for section in sections:
        lines += [f"## {markdown_text(section.title)}", ""]
        for part in section.body:
            if isinstance(part, Table):
                lines += [_row(part.header), f"|{' --- |' * len(part.header)}", *map(_row, part.rows), ""]
            elif isinstance(part, Picture):
                lines += [f"![{markdown_text(part.alt)}]({part.file})", ""]
            else:
                lines += [markdown_text(part), ""]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    shown = [f"**{markdown_text(cell)}**" if isinstance(cell, Best) else markdown_text(cell) for cell in cells]
    return "| " + " | ".join(shown) + " |"


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: 0.9rem; }
th, td { border-bottom: 1px solid #ddd; padding: 0.3rem 0.8rem; text-align: left; white-space: nowrap; }
th { border-bottom: 2px solid #888; } td:not(:first-child) { font-variant-numeric: tabular-nums; }
img { max-width: 100%; height: auto; }
"""


def to_html(title: str, sections: Sequence[Section]) -> str:
    """Write the report as one file: pictures are inside, and nothing is fetched from anywhere."""
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        f'<head><meta charset="utf-8"><title>{html_text(title)}</title><style>{_STYLE}</style></head>',
        f"<body><h1>{html_text(title)}</h1>",
    ]
    for section in sections:
        parts.append(f"<h2>{html_text(section.title)}</h2>")
        for part in section.body:
            if isinstance(part, Table):
                head = "".join(f"<th>{html_text(cell)}</th>" for cell in part.header)
                rows = "".join("<tr>" + "".join(map(_html_cell, row)) + "</tr>" for row in part.rows)
                parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
            elif isinstance(part, Picture):
                encoded = base64.b64encode(part.data).decode()
                parts.append(f'<p><img alt="{html_text(part.alt)}" src="data:image/png;base64,{encoded}"></p>')
            else:
                parts.append(f"<p>{html_text(part)}</p>")
    return "\n".join([*parts, "</body></html>", ""])


def _html_cell(cell: str) -> str:
    text = html_text(cell)
    return f"<td><b>{text}</b></td>" if isinstance(cell, Best) else f"<td>{text}</td>"


def to_latex(table: Table, caption: str) -> str:
    r"""Write a table for a paper; it needs the package booktabs.

    >>> print(to_latex(Table(("method", "PSNR"), (("a_b", Best("24.4")),)), "100 %"))
    \begin{table}[t]
    \caption{100 \%}
    \centering
    \begin{tabular}{lr}
    \toprule
    method & PSNR \\
    \midrule
    a\_b & \textbf{24.4} \\
    \bottomrule
    \end{tabular}
    \end{table}
    <BLANKLINE>
    """
    rows = [" & ".join(map(_latex_cell, row)) + r" \\" for row in (table.header, *table.rows)]
    lines = [
        r"\begin{table}[t]",
        rf"\caption{{{_latex(caption)}}}",
        r"\centering",
        rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
        r"\toprule",
        rows[0],
        r"\midrule",
        *rows[1:],
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def _latex_cell(cell: str) -> str:
    return rf"\textbf{{{_latex(cell)}}}" if isinstance(cell, Best) else _latex(cell)


_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "≈": r"$\approx$",
    "±": r"$\pm$",
}


def _latex(text: str) -> str:
    """Escape text so that LaTeX shows it as it is; pdflatex knows no other signs."""
    return "".join(_LATEX.get(sign, sign) for sign in clean_text(text))
