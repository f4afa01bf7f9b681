"""The pictures of a report as PNG files: projection, least covered photographs, drawn parameters.

Each `build_*` function gives a matplotlib figure and each `draw_*` function saves it. The user's matplotlib settings
are left aside, so that the same input gives the same bytes with the same version of matplotlib.
"""

# Matplotlib's methods take and return partly unknown types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from degrade_kit.analysis.plotset import PlotSet, Style, cut_middle, styles
from degrade_kit.files import whole_file
from degrade_kit.image import Pixels

Row = tuple[Pixels, str, Sequence[tuple[Pixels, str]]]
"""A real photograph, its caption, and the synthesized images nearest to it with theirs."""

WIDTH = 7.2
"""Width of a figure, in inches: both columns of a paper."""
DPI = 200

_INK = "#333333"
_RULE = "#BBBBBB"
_OTHERS = "#DDDDDD"
_SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so it is the same everywhere
    "font.size": 7,
    "text.color": _INK,
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.6,
    "axes.titlesize": 7.5,
    "axes.titlepad": 4,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "text.parse_math": False,  # a name may hold dollar signs
}
_STYLE = ["default", _SETTINGS]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Marginal:
    """The values of one drawn parameter in one synthetic source."""

    parameter: str
    unit: str
    """Empty where there is none."""
    source: str
    all: NDArray[np.float64]
    """Values of all records that have the parameter; finite, may be empty."""
    near: NDArray[np.float64]
    """Values of those records whose images are nearest neighbours of real photographs."""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.all).all() and np.isfinite(self.near).all()):
            raise ValueError(f"{self.parameter} of {self.source!r}: expected finite values only")


def draw_projection(sets: Sequence[PlotSet], out: Path, *, title: str, note: str) -> None:
    """Save `build_projection` as a PNG file."""
    _save(build_projection(sets, title=title, note=note), out)


def draw_least_covered(rows: Sequence[Row], out: Path) -> None:
    """Save `build_least_covered` as a PNG file."""
    _save(build_least_covered(rows), out)


def draw_marginals(marginals: Sequence[Marginal], out: Path) -> None:
    """Save `build_marginals` as a PNG file."""
    _save(build_marginals(marginals), out)


def _save(figure: Figure, out: Path) -> None:
    with matplotlib.style.context(_STYLE), whole_file(out) as scratch:
        figure.savefig(scratch, dpi=DPI, format="png", facecolor="white", metadata={"Software": None})


# ----------------------------------------------------------------------------------------------------------- projection


@matplotlib.style.context(_STYLE)
def build_projection(sets: Sequence[PlotSet], *, title: str, note: str) -> Figure:
    """Draw one panel per synthetic source against all real sets, and one with everything.

    All panels have the same limits and no ticks, since the units of a projection mean nothing. In a source's panel the
    other sources are grey. The panel with everything is left out where there is one source, which it would repeat.

    Args:
        sets: At least one source, with any number of real sets; at least one point each.
        title: Above the panels.
        note: Below them: what was projected and how.
    """
    looks = dict(zip(map(id, sets), styles(sets), strict=True))
    sources = [each for each in sets if not each.real]
    # Large sets first, where the points of small ones would be hidden.
    real = sorted((each for each in sets if each.real), key=lambda each: -len(each.points))
    count = len(sources) + (len(sources) > 1)
    columns = {1: 1, 2: 2, 4: 2, 7: 4, 8: 4}.get(count, 3 if count < 10 else 4)
    rows = -(-count // columns)
    crowd = sum(len(each.points) for each in real)

    low, high, aspect = _limits(sets)
    panel = min((WIDTH - 0.2) / columns - 0.1, 4.0)
    lines = _wrap(note, 130)
    legend_columns = min(4, len(sets))
    legend_rows = -(-len(sets) // legend_columns)
    top, bottom = 0.38, 0.2 + 0.16 * legend_rows + 0.13 * len(lines)
    height = top + rows * (panel * aspect + 0.28) + bottom
    figure = Figure(figsize=(WIDTH, height))
    figure.text(0.5, 1 - 0.13 / height, printable(title), ha="center", va="top", size=9, weight="bold")

    left = (WIDTH - columns * (panel + 0.1) + 0.1) / 2
    for number in range(count):
        row, column = divmod(number, columns)
        x = left + column * (panel + 0.1)
        y = height - top - row * (panel * aspect + 0.28) - panel * aspect - 0.2
        axes = figure.add_axes((x / WIDTH, y / height, panel / WIDTH, panel * aspect / height))
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xticks=[], yticks=[])
        source = sources[number] if number < len(sources) else None
        axes.set_title("All sources" if source is None else _shorten(source.name, 36))
        if source is None:
            _scatter_mixed(axes, sources, [looks[id(each)] for each in sources])
        else:
            others = [each.points for each in sources if each is not source]
            if others:
                axes.scatter(*np.concatenate(others).T, s=5, c=_OTHERS, linewidths=0, zorder=1)
            _scatter_mixed(axes, [source], [looks[id(source)]])
        # A source alone is drawn over the photographs, which would hide one that comes near them; all sources are not.
        order = 3 if source is None else 1.5
        for each in real:
            axes.scatter(*each.points.T, **_real_marker(looks[id(each)], crowd), zorder=order)

    handles = [_handle(each, looks[id(each)]) for each in (*[s for s in sets if s.real], *sources)]
    figure.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, (bottom - 0.02) / height),
        ncols=legend_columns,
        frameon=False,
        borderaxespad=0,
        handletextpad=0.3,
        columnspacing=1.6,
        fontsize=7,
    )
    for number, line in enumerate(lines):
        y = (0.06 + 0.13 * (len(lines) - number)) / height
        figure.text(0.5, y, line, ha="center", va="top", size=6, color="#666666")
    return figure


def _limits(sets: Sequence[PlotSet]) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Lower and upper limits of the panels, at one scale on both axes, and their height / width."""
    points = np.concatenate([each.points for each in sets])
    low, high = points.min(0), points.max(0)
    size = np.maximum(high - low, 1e-9 + 1e-6 * np.abs(points).max())
    aspect = float(np.clip(size[1] / size[0], 0.7, 1.0))
    width = 1.08 * max(size[0], size[1] / aspect)
    half = np.array([width, width * aspect]) / 2
    center = (low + high) / 2
    return center - half, center + half, aspect


def _scatter_mixed(axes: Axes, sets: Sequence[PlotSet], looks: Sequence[Style]) -> None:
    """Draw sources in slices that take turns, so that the last does not cover the others."""
    slices = 8
    for start in range(slices):
        for each, look in zip(sets, looks, strict=True):
            points = each.points[start::slices]
            axes.scatter(*points.T, s=7, c=look.color, marker=look.marker, linewidths=0, alpha=0.75, zorder=2)


def _real_marker(look: Style, crowd: int) -> dict[str, Any]:
    """Keywords of `scatter`; the more real points there are, the smaller, so that they hide less of the source."""
    area = {"*": 30, "d": 17, "^": 16, "s": 13, "h": 18}[look.marker]
    size = float(np.clip((150 / crowd) ** 0.5, 0.3, 1))
    return {
        "s": area * size,
        "c": look.color,
        "marker": look.marker,
        "edgecolors": "black",
        "linewidths": 0.35 * size**0.5,
    }


def _handle(each: PlotSet, look: Style) -> Line2D:
    kind = "real" if each.real else "synthetic"
    size = 8 if look.marker == "*" else 5
    label = f"{_shorten(each.name, 28)} ({kind}, {len(each.points):,})"
    return Line2D(
        [],
        [],
        linestyle="",
        marker=look.marker,
        color=look.color,
        markersize=size,
        label=label,
        markeredgecolor="black",
        markeredgewidth=0.5 if each.real else 0,
    )


# -------------------------------------------------------------------------------------------------------- least covered


@matplotlib.style.context(_STYLE)
def build_least_covered(rows: Sequence[Row]) -> Figure:
    """Draw one row per real photograph: it, a line, and the synthesized images nearest to it, captions below.

    Each picture is fitted into a square. A caption may have several lines; long ones are broken, and lose their middle
    where three lines do not hold them.
    """
    if not rows:
        raise ValueError("rows: expected at least one photograph to draw")
    columns = 1 + max(len(near) for *_, near in rows)
    gap, split, head = 0.08, 0.22, 0.25
    tile = min((WIDTH - split - gap * columns - 0.1) / columns, 1.3)
    width = columns * (tile + gap) + (split if columns > 1 else 0) + gap
    letters = int(tile * 19)
    texts = [[_caption(text, letters) for text in (caption, *(text for _, text in near))] for _, caption, near in rows]
    heights = [tile + 0.09 + 0.105 * max(text.count("\n") + 1 for text in row) + 0.08 for row in texts]
    height = head + sum(heights)
    figure = Figure(figsize=(width, height))

    def place(column: int) -> float:
        return gap + column * (tile + gap) + (split if column else 0)

    figure.text(gap / width, 1 - 0.08 / height, "Real", va="top", weight="bold")
    if columns > 1:
        figure.text(place(1) / width, 1 - 0.08 / height, "Nearest synthetic", va="top", weight="bold")
        x = (place(1) - (split + gap) / 2) / width
        figure.add_artist(Line2D([x, x], [0.08 / height, 1 - 0.08 / height], color=_RULE, linewidth=0.6))
    top = height - head
    for (photo, _, near), captions, step in zip(rows, texts, heights, strict=True):
        for column, (pixels, text) in enumerate(zip((photo, *(image for image, _ in near)), captions, strict=True)):
            box = (place(column) / width, (top - tile) / height, tile / width, tile / height)
            axes = figure.add_axes(box, anchor="S")
            axes.imshow(pixels)
            axes.set_axis_off()
            figure.text(box[0], (top - tile - 0.04) / height, text, va="top", size=5.5, linespacing=1.25)
        top -= step
    return figure


def _caption(text: str, letters: int) -> str:
    """Break long lines in up to three, behind a sign where one is near; what is longer loses its middle."""
    lines: list[str] = []
    for line in text.split("\n"):
        rest = _shorten(line, 3 * letters - 10)
        while len(rest) > letters:
            sign = max(rest.rfind(sign, letters - 6, letters) for sign in "_-./ ")
            end = letters if sign < 0 else sign + 1
            lines.append(rest[:end])
            rest = rest[end:]
        lines.append(rest)
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------------------ marginals


@matplotlib.style.context(_STYLE)
def build_marginals(marginals: Sequence[Marginal]) -> Figure:
    """Draw a column per parameter and a row per source: histograms of all records, and of those near real photographs.

    Both histograms have the same area, whatever their counts, and the heights of each panel are scaled to it. A source
    that lacks a parameter, as learned ones do, has a dash in its place. Sources take their colours in the order in
    which they come: name all that `build_projection` shows, in its order, those without values with empty arrays.

    Raises:
        ValueError: If nothing is to be drawn, or a pair of source and parameter comes twice.
    """
    table = {(each.source, each.parameter): each for each in marginals}
    if not table or len(table) < len(marginals):
        raise ValueError(f"expected one entry per source and parameter, at least one; got {len(marginals)}")
    sources = list(dict.fromkeys(each.source for each in marginals))
    parameters = list(dict.fromkeys(each.parameter for each in marginals))
    colors = dict(zip(sources, _source_colors(len(sources)), strict=True))

    side, gap, top, bottom, right = 1.0, 0.14, 0.38, 0.34, 0.08
    panel = min(max((WIDTH - side - right) / len(parameters) - gap, 0.9), 2.2)
    row = 0.62
    width = side + len(parameters) * (panel + gap) + right
    height = top + len(sources) * (row + gap) + bottom
    figure = Figure(figsize=(width, height))
    for column, parameter in enumerate(parameters):
        entries = [each for each in marginals if each.parameter == parameter]
        edges = _edges(np.concatenate([values for each in entries for values in (each.all, each.near)]))
        for number, source in enumerate(sources):
            x, y = side + column * (panel + gap), height - top - number * (row + gap) - row
            axes = figure.add_axes((x / width, y / height, panel / width, row / height))
            _panel(axes, table.get((source, parameter)), edges, colors[source])
            if number < len(sources) - 1:
                axes.tick_params(labelbottom=False)
            else:
                unit = next((each.unit for each in entries if each.unit), "")
                axes.set_xlabel(printable(f"{parameter} ({unit})" if unit else parameter), labelpad=2)
            if column == 0:
                name = "\n".join(_wrap(_shorten(source, 32), 16))
                figure.text((side - 0.1) / width, (y + row / 2) / height, name, ha="right", va="center")
    figure.legend(
        handles=[
            Patch(facecolor="none", edgecolor=_INK, linewidth=0.8, label="all records"),
            Patch(facecolor=_INK, alpha=0.45, linewidth=0, label="nearest neighbours of real photographs"),
        ],
        loc="upper center",
        bbox_to_anchor=((side + width - right) / 2 / width, 1 - 0.05 / height),
        ncols=2,
        frameon=False,
        borderaxespad=0,
        fontsize=7,
    )
    return figure


def _source_colors(count: int) -> list[str]:
    point = np.zeros((1, 2))
    sets = [PlotSet(name="", real=False, points=point, labels=[""], thumbnails=[]) for _ in range(count)]
    return [look.color for look in styles(sets)]


def _edges(values: NDArray[np.float64], bins: int = 24) -> NDArray[np.float64]:
    """Edges of equal bins over the values; of whole width where all are whole, so that each holds as many of them."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if len(values) and (values == np.round(values)).all():
        step = max(1, -(-int(high - low + 1) // bins))
        return np.arange(low, high + step + 0.5, step) - 0.5
    if low == high:
        margin = 0.5 * abs(low) or 0.5
        low, high = low - margin, high + margin
    return np.linspace(low, high, bins + 1)


def _panel(axes: Axes, entry: Marginal | None, edges: NDArray[np.float64], color: str) -> None:
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1), yticks=[])
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.tick_params(length=2, width=0.6, pad=2)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    if entry is None or not len(entry.all):
        axes.text(0.5, 0.5, "\N{EN DASH}", transform=axes.transAxes, ha="center", va="center", color="#888888")
        return
    shares = [np.histogram(values, edges)[0] / max(len(values), 1) for values in (entry.all, entry.near)]
    axes.set_ylim(0, 1.12 * max(share.max() for share in shares))
    axes.stairs(shares[1], edges, fill=True, color=color, alpha=0.45, linewidth=0)
    axes.stairs(shares[0], edges, color=color, linewidth=0.9)
    counts = f"{len(entry.near):,} of {len(entry.all):,}"
    axes.text(1, 1.01, counts, transform=axes.transAxes, ha="right", va="bottom", size=5, color="#777777")


# ----------------------------------------------------------------------------------------------------------------- text


@functools.cache
def _font() -> Any:  # noqa: ANN401 (the class is private)
    return font_manager.get_font(font_manager.findfont("DejaVu Sans"))


def printable(text: str) -> str:
    r"""Put U+FFFD in place of what the font cannot show, line breaks and other control characters among it.

    >>> printable("J\u00fcrgen\n\u4e2d.png")
    'Jürgen��.png'
    """
    return "".join(char if char.isprintable() and _font().get_char_index(ord(char)) else "\ufffd" for char in text)


def _shorten(text: str, letters: int) -> str:
    return cut_middle(printable(text), letters)


def _wrap(text: str, letters: int) -> list[str]:
    return [line for part in text.split("\n") for line in textwrap.wrap(printable(part), letters)]
