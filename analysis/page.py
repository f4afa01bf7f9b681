"""The projection as one interactive HTML file that works from disk and asks the network for nothing."""

# Bokeh's models are partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.embed import file_html
from bokeh.models import (
    BoxSelectTool,
    CDSView,
    ColumnDataSource,
    CustomJS,
    HoverTool,
    IndexFilter,
    LassoSelectTool,
    Legend,
    LegendItem,
    PanTool,
    ResetTool,
    SaveTool,
    WheelZoomTool,
)
from bokeh.plotting import figure
from bokeh.resources import INLINE
from numpy.typing import NDArray

from degrade_kit.analysis.plotset import PlotSet, Style, cut_middle, styles
from degrade_kit.files import write_whole
from degrade_kit.wording import clean_text, html_text

MAX_THUMBNAILS = 5000
"""Most thumbnails, of 64 pixels and about 2 kB each: 5000 make a page of 18 MB."""

# A grey pixel, for points without a thumbnail.
_BLANK = "data:image/gif;base64,R0lGODlhAQABAIAAAN3d3QAAACH5BAAAAAAALAAAAAABAAEAAAICRAEAOw=="

# Names reach the page as text that `html_text` has made safe; {safe} keeps Bokeh from escaping them a second time.
_TOOLTIP = """
<div style="width: 96px; font: 11px/1.35 sans-serif; color: #333; overflow-wrap: anywhere">
  <img src="@thumbnail{safe}" alt="" width="96" height="96" style="display: block; object-fit: contain">
  <div style="margin-top: 4px">@label{safe}</div>
  <div style="color: #777">@set{safe}</div>
</div>
"""

# The policy is a second lock: even a mistake here could not load anything. 'unsafe-eval': Bokeh compiles callbacks.
_TEMPLATE = """
{% from macros import embed %}
{% block preamble %}
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data: blob:; font-src data:;
  style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'">
<meta name="viewport" content="width=device-width">
{% endblock %}
{% block postamble %}
<style>
  body { max-width: 1100px; height: auto; margin: 0 auto; padding: 20px 24px 48px; color: #333; background: #fff;
    font: 14px/1.5 system-ui, sans-serif }
  h1 { font-size: 20px; margin: 0 0 4px; overflow-wrap: anywhere }
  p { margin: 0 0 10px; overflow-wrap: anywhere }
  .quiet { color: #666; font-size: 12px }
  #gallery h2 { font-size: 14px; margin: 18px 0 6px; overflow-wrap: anywhere }
  #gallery h2 i { display: inline-block; width: 10px; height: 10px; margin-right: 7px; border-radius: 50% }
  #gallery h2 span { font-weight: normal; color: #666 }
  #gallery div { display: grid; grid-template-columns: repeat(auto-fill, 84px); gap: 10px }
  figure { margin: 0 }
  figure img { display: block; width: 84px; height: 84px; object-fit: contain; background: #f4f4f4 }
  figcaption { font-size: 10px; line-height: 1.25; margin-top: 3px; color: #666; overflow-wrap: anywhere }
</style>
{% endblock %}
{% block contents %}
<h1>{{ title | e }}</h1>
<p class="quiet">{{ note | e }}</p>
<p class="quiet">Point at a mark to see its image. Draw around marks with the lasso, or choose the box in the toolbar,
  to list their images below; Esc clears the selection. Click an entry of the legend to hide or show a set; turn the
  wheel to zoom. {{ thumbnails | e }}</p>
{% for doc in docs %}{% for root in doc.roots %}{{ embed(root) }}{% endfor %}{% endfor %}
<section id="gallery" aria-live="polite"><p class="quiet">Nothing is selected.</p></section>
{% endblock %}
"""

_GALLERY = """
const gallery = document.getElementById("gallery")
const make = (tag, parent, markup = "") => {
  const element = document.createElement(tag)
  element.innerHTML = markup  // escaped where the page was written
  parent.append(element)
  return element
}
const {set_number, label, thumbnail} = source.data
gallery.replaceChildren()
if (source.selected.indices.length == 0)
  make("p", gallery, "Nothing is selected.").className = "quiet"
sets.forEach((set, number) => {
  const chosen = [...source.selected.indices].filter((i) => set_number[i] == number).sort((a, b) => a - b)
  if (chosen.length == 0)
    return
  const shown = chosen.filter((i) => thumbnail[i] != blank)
  const missing = chosen.length - shown.length
  const heading = make("h2", gallery)
  make("i", heading).style.background = set.color
  make("b", heading, set.name)
  const rest = missing ? `, ${missing} of them without a thumbnail` : ""
  make("span", heading, `: ${chosen.length} of ${set.count}${rest}`)
  const grid = make("div", gallery)
  for (const i of shown) {
    const tile = make("figure", grid)
    make("img", tile).src = thumbnail[i]
    make("figcaption", tile, label[i])
  }
})
"""


def write_page(sets: Sequence[PlotSet], out: Path, *, title: str, note: str, seed: int = 0) -> None:
    """Write the projection as an HTML file: thumbnails, a legend that hides sets, a gallery of what is selected.

    Args:
        sets: As `degrade_kit.analysis.figures.draw_projection` takes them, with its colours and markers.
        out: The file; Bokeh's code, about 1 MB, and the thumbnails are inside.
        title: Heading and title of the page.
        note: Below the heading: what was projected and how.
        seed: Chooses which points keep their thumbnail where there are more than `MAX_THUMBNAILS`.
    """
    looks = {id(each): look for each, look in zip(sets, styles(sets), strict=True)}
    sets = sorted(sets, key=lambda each: not each.real)
    kept = _choose([len(each.thumbnails) for each in sets], MAX_THUMBNAILS, np.random.default_rng(seed))
    source = _source(sets, kept)
    numbers = np.array(source.data["set_number"])
    plot = _plot()
    # In the legend real sets come first; in the plot they are drawn last, the small ones on top.
    renderers = {
        number: _scatter(plot, source, np.flatnonzero(numbers == number), looks[id(sets[number])], sets[number].real)
        for number in sorted(range(len(sets)), key=lambda number: (sets[number].real, -len(sets[number].points)))
    }
    items: list[LegendItem] = []
    for number, each in enumerate(sets):
        kind = "real" if each.real else "synthetic"
        label = f"{cut_middle(clean_text(each.name), 32)} ({kind}, {len(each.points):,})"
        items.append(LegendItem(label=label, renderers=[renderers[number]]))
    legend = Legend(
        items=items,
        click_policy="hide",
        border_line_color=None,
        background_fill_color=None,
        label_text_font_size="12px",
    )
    plot.add_layout(legend, "right")
    described = [
        {"name": html_text(each.name), "color": looks[id(each)].color, "count": len(each.points)} for each in sets
    ]
    callback = CustomJS(args={"source": source, "sets": described, "blank": _BLANK}, code=_GALLERY)
    source.selected.js_on_change("indices", callback)

    shown, total = sum(map(len, kept)), sum(len(each.thumbnails) for each in sets)
    coverage = "" if shown == total else f"{shown:,} of {total:,} images have a thumbnail here, evenly over the sets."
    variables = {"note": clean_text(note), "thumbnails": coverage}
    page = file_html(plot, INLINE, clean_text(title), template=_TEMPLATE, template_variables=variables)
    write_whole(out, _with_fixed_names(page))


def _with_fixed_names(page: str) -> str:
    """Number the elements of a page, which Bokeh names at random, and its models anew, which it counts over all pages.

    So the same call writes the same bytes, whatever the process drew before.
    """
    names = dict.fromkeys(re.findall(rf'(?: id=|"docid":)"({_UUID})"', page))
    for number, name in enumerate(names):
        page = page.replace(name, f"element-{number}")
    models = sorted({int(number) for _, number in _MODEL.findall(page)})
    renumbered = {number: place for place, number in enumerate(models, 1)}
    return _MODEL.sub(lambda found: f"{found[1]}p{renumbered[int(found[2])]}", page)


# Where Bokeh names a model: where it describes it or refers to it, and its roots.
_MODEL = re.compile(r"""("id":"|"roots":\{"|"root_ids":\["|data-root-id=")p(\d+)(?=")""")
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def _choose(counts: Sequence[int], limit: int, rng: np.random.Generator) -> list[NDArray[np.intp]]:
    """Choose at most `limit` indices evenly over sets: what a small set leaves over, the larger ones share."""
    shares = [0] * len(counts)
    left = limit
    for rank, number in enumerate(sorted(range(len(counts)), key=lambda number: counts[number])):
        shares[number] = min(counts[number], left // (len(counts) - rank))
        left -= shares[number]
    return [np.sort(rng.permutation(count)[:share]) for count, share in zip(counts, shares, strict=True)]


def _source(sets: Sequence[PlotSet], kept: Sequence[NDArray[np.intp]]) -> ColumnDataSource:
    """All points of all sets in one source: with several, each would overwrite the gallery of the one before."""
    thumbnails: list[str] = []
    for each, indices in zip(sets, kept, strict=True):
        column = [_BLANK] * len(each.points)
        for index in indices:
            column[index] = "data:image/jpeg;base64," + base64.b64encode(each.thumbnails[index]).decode("ascii")
        thumbnails += column
    points = np.concatenate([each.points for each in sets])
    return ColumnDataSource(
        {
            "x": points[:, 0],
            "y": points[:, 1],
            "set": [html_text(each.name) for each in sets for _ in each.labels],
            "set_number": [number for number, each in enumerate(sets) for _ in each.labels],
            "label": [html_text(label) for each in sets for label in each.labels],
            "thumbnail": thumbnails,
        }
    )


def _plot() -> Any:  # noqa: ANN401 (Bokeh's figure lacks types for most of what is set here)
    hover = HoverTool(tooltips=_TOOLTIP, limit=3)
    lasso, wheel = LassoSelectTool(), WheelZoomTool()
    plot: Any = figure(
        height=640,
        sizing_mode="stretch_width",
        match_aspect=True,
        tools=[PanTool(), lasso, BoxSelectTool(), wheel, hover, ResetTool(), SaveTool()],
        active_drag=lasso,
        active_scroll=wheel,
        outline_line_color="#bbbbbb",
    )
    plot.axis.visible = False  # the units of a projection mean nothing
    plot.grid.visible = False
    plot.toolbar.logo = None
    return plot


def _scatter(plot: Any, source: ColumnDataSource, indices: NDArray[np.intp], look: Style, real: bool) -> Any:  # noqa: ANN401
    size = {"star": 11.0, "triangle": 8.0, "diamond": 10.0}.get(look.bokeh_marker, 7.0) if real else 5.5
    return plot.scatter(
        "x",
        "y",
        source=source,
        view=CDSView(filter=IndexFilter(indices.tolist())),
        marker=look.bokeh_marker,
        size=size,
        fill_color=look.color,
        fill_alpha=0.95 if real else 0.7,
        line_color="black" if real else None,
        line_width=0.6,
        nonselection_alpha=0.12,
    )
