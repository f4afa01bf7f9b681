"""`degrade-kit view`: a page to look through a data set, which a browser opens from disk.

OUT/index.html           the page: thumbnails, filters, HQ and LQ at 1:1 under a slider, and the record of each
OUT/000000042.hq.png     the HQ file as the data set has it
OUT/000000042.lq0.png    the LQ image as a trainer gets it, complete
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from degrade_kit import record_severity
from degrade_kit.checks import whole
from degrade_kit.files import decode_json, local_path, write_whole
from degrade_kit.image import encode_png
from degrade_kit.image_files import sniff
from degrade_kit.pipelines.claim import report_claim
from degrade_kit.pipelines.html import data_uri, page
from degrade_kit.pipelines.sheet import caption
from degrade_kit.progress import OnProgress, Progress, silent
from degrade_kit.reader import PairReader
from degrade_kit.record import Record
from degrade_kit.shards import GIVEN
from degrade_kit.sources import display_name
from degrade_kit.wording import clean_text, counted_noun, html_text

_THUMBNAIL: Final = 128
_VARIANTS: Final = 8
"""LQ images of a sample that are shown, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Viewed:
    """What a page shows."""

    page: Path
    samples: int
    of: int
    """Samples in the data set."""
    images: int
    """LQ images."""


def view(
    shards: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    samples: int = 100,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: OnProgress = silent,
) -> Viewed:
    """Write a page to look through a data set: `degrade-kit view`.

    Args:
        shards: Folder or URL of a data set, or plain tars.
        out: Folder for the page and its images, which take the place of those of an earlier one.
        samples: Samples that are shown, evenly spread; 0 shows all.
        cache_dir: Where shards of a URL are kept.
        progress: Told of the samples written.

    Raises:
        ConfigError: If an argument does not fit.
        RunError: If `out` holds something else.
        ShardError: If the data set is damaged, or has no HQ images.
    """
    count = whole(0, 100_000)(samples, "samples")
    folder, reader = local_path(out), PairReader(shards, cache_dir=cache_dir)
    total = len(reader)
    shown = total if count == 0 else min(count, total)
    places = [number * total // shown for number in range(shown)]
    claim = report_claim(
        "view",
        "the page of a data set",
        ["index.html", "*.hq.*", "*.lq*.png"],
        {"shards": os.fspath(shards), "digest": reader.digest, "samples": count},
        [("SHARDS", shards)],
    )
    entries: list[dict[str, Any]] = []
    with claim.report(folder, last="index.html") as scratch:
        for number, place in enumerate(places, start=1):
            entries += _write_sample(reader, place, scratch)
            progress(Progress(noun="sample", done=number, total=shown))
        title = f"{shards}: {counted_noun(shown, 'sample')} of {total:,}"
        write_whole(scratch / "index.html", _page(title, entries))
    return Viewed(page=folder / "index.html", samples=shown, of=total, images=len(entries))


def _write_sample(reader: PairReader, place: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Write the images of a sample; yields what the page says of each of its LQ images."""
    for variant in range(min(reader.num_variants, _VARIANTS)):
        raw = reader.read(place, variant)
        pair = reader.stored_pair(raw, variant, lq_scale=1)
        # Keys of plain tars may have folders; the page's files have none.
        name = f"{place:09d}"
        hq = f"{name}.hq.{sniff(raw.hq)}"
        if variant == 0:
            write_whole(folder / hq, raw.hq)
        lq = f"{name}.lq{variant}.png"
        write_whole(folder / lq, encode_png(pair.lq))
        yield {
            "key": clean_text(raw.key),
            "source": clean_text(display_name(str(raw.info["source"]))),
            "variant": variant,
            "hq": hq,
            "lq": lq,
            "width": int(pair.lq.shape[1]),
            "height": int(pair.lq.shape[0]),
            "thumbnail": data_uri(pair.lq, _THUMBNAIL, 80),
            **_told(raw.info, variant, min(pair.hq.shape[:2])),
        }


def _told(info: dict[str, Any], variant: int, side: int) -> dict[str, Any]:
    """What the JSON of a sample says of an LQ image, whose HQ image has this shorter side."""
    origin = str(info.get(f"lq{variant}_origin", "not told"))
    text = str(info.get(f"lq{variant}_record", ""))
    kinds, words, record = list[str](), "", ""
    severity: float | None = None
    if text and origin != GIVEN:
        found = Record.from_json(text)
        plain = cast("dict[str, Any]", decode_json(text))
        kinds = sorted(record_severity.kinds(found))
        severity = round(record_severity.severity(found, side), 3)
        words = " ".join(caption(found))
        record = json.dumps(plain, indent=1, ensure_ascii=False)
    return {
        "recipe": clean_text(origin),
        "kinds": kinds,
        "caption": clean_text(words),
        "record": record,
        "severity": severity,
    }


def _page(title: str, entries: list[dict[str, Any]]) -> str:
    # In JSON within HTML, `<` could begin a tag.
    data = json.dumps(entries, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")
    body = f"""<h1>{html_text(title)}</h1>
<form id="filters">
<label>kind <select id="kind"><option value="">all</option></select></label>
<label>recipe <select id="recipe"><option value="">all</option></select></label>
<label>source or key <input id="source" type="search" placeholder="part of a name"></label>
<label id="severity-label" hidden>severity <input id="low" type="number" min="0" max="1" step="0.05" value="0"> to
<input id="high" type="number" min="0" max="1" step="0.05" value="1"></label>
<output id="count"></output>
</form>
<section id="viewer" hidden>
<p><button type="button" id="back">previous</button> <button type="button" id="on">next</button>
<button type="button" id="close">close</button> <strong id="name"></strong></p>
<div id="frame"><img id="lq" alt="LQ"><img id="hq" alt="HQ"><div id="line"></div></div>
<p><label>LQ <input id="slider" type="range" min="0" max="1000" value="500"> HQ</label>
<small>1:1; left of the line LQ, right of it HQ</small></p>
<p id="caption"></p>
<details><summary>record</summary><pre id="record"></pre></details>
</section>
<div id="grid"></div>
<script type="application/json" id="data">{data}</script>"""
    return page(title, body, style=_STYLE, script=_SCRIPT, files=True)


_STYLE: Final = """
body { max-width: none }
form label { margin-right: 14px } form { margin-bottom: 12px } input[type=number] { width: 60px }
#grid { display: flex; flex-wrap: wrap; gap: 8px }
.card { width: 132px; border: 1px solid #ddd; padding: 2px; background: none; font: inherit; text-align: left;
  cursor: pointer }
.card:focus-visible, .card.open { outline: 2px solid #2266cc } .card img { width: 128px; display: block }
.card small { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
#viewer { border: 1px solid #ccc; padding: 0 12px; margin-bottom: 14px; overflow: auto }
#frame { position: relative; cursor: ew-resize; user-select: none }
#frame img { position: absolute; left: 0; top: 0; image-rendering: pixelated; max-width: none }
#line { position: absolute; top: 0; bottom: 0; width: 1px; background: #fff; box-shadow: 0 0 2px #000 }
#slider { width: 360px; vertical-align: middle }
"""

_SCRIPT: Final = """
'use strict'
const entries = JSON.parse(document.getElementById('data').textContent)
const $ = id => document.getElementById(id)
let shown = [], at = -1
function choices(select, values) {
  for (const value of [...new Set(values)].sort()) {
    const option = document.createElement('option')
    option.value = option.textContent = value
    select.append(option)
  }
}
choices($('kind'), entries.flatMap(entry => entry.kinds))
choices($('recipe'), entries.map(entry => entry.recipe))
const rated = entries.some(entry => entry.severity !== null)
$('severity-label').hidden = !rated
const cards = entries.map((entry, number) => {
  const card = document.createElement('button')
  card.type = 'button'
  card.className = 'card'
  const image = document.createElement('img')
  image.src = entry.thumbnail
  image.alt = ''
  const text = document.createElement('small')
  text.textContent = entry.source + ' · ' + entry.variant
  const more = document.createElement('small')
  more.textContent = entry.caption || entry.recipe
  card.title = entry.key + ' ' + entry.source + '\\n' + entry.caption
  card.append(image, text, more)
  card.addEventListener('click', () => open(shown.indexOf(number)))
  $('grid').append(card)
  return card
})
function filter() {
  const kind = $('kind').value, recipe = $('recipe').value, part = $('source').value.toLowerCase()
  const low = Number($('low').value), high = Number($('high').value)
  shown = []
  entries.forEach((entry, number) => {
    const named = entry.source.toLowerCase().includes(part) || entry.key.includes(part)
    const severe = !rated || (entry.severity !== null && entry.severity >= low && entry.severity <= high)
    const wanted = (!kind || entry.kinds.includes(kind)) && (!recipe || entry.recipe === recipe) && named && severe
    cards[number].hidden = !wanted
    if (wanted) shown.push(number)
  })
  $('count').textContent = shown.length + ' of ' + entries.length + ' LQ images'
}
function slide(share) {
  const width = $('lq').width
  $('slider').value = Math.round(share * 1000)
  $('hq').style.clipPath = 'inset(0 0 0 ' + share * width + 'px)'
  $('line').style.left = share * width + 'px'
}
function open(place) {
  if (place < 0 || place >= shown.length) return
  cards.forEach(card => card.classList.remove('open'))
  at = place
  const entry = entries[shown[place]]
  cards[shown[place]].classList.add('open')
  for (const side of ['lq', 'hq']) {
    $(side).width = entry.width
    $(side).height = entry.height
    $(side).src = entry[side]
  }
  $('frame').style.width = entry.width + 'px'
  $('frame').style.height = entry.height + 'px'
  $('name').textContent = entry.key + ' · ' + entry.source + ' · LQ ' + entry.variant
  $('caption').textContent = entry.recipe + (entry.caption ? ': ' + entry.caption : '') +
    (entry.severity === null ? '' : '; severity ' + entry.severity)
  $('record').textContent = entry.record || 'none'
  $('viewer').hidden = false
  slide(Number($('slider').value) / 1000)
}
$('back').addEventListener('click', () => open(at - 1))
$('on').addEventListener('click', () => open(at + 1))
$('close').addEventListener('click', () => { $('viewer').hidden = true })
$('slider').addEventListener('input', () => slide(Number($('slider').value) / 1000))
$('frame').addEventListener('pointermove', event => {
  if (event.buttons || event.pointerType === 'mouse') {
    const box = $('frame').getBoundingClientRect()
    slide(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)))
  }
})
document.addEventListener('keydown', event => {
  if ($('viewer').hidden || /INPUT|SELECT/.test(event.target.tagName)) return
  if (event.key === 'ArrowRight') open(at + 1)
  if (event.key === 'ArrowLeft') open(at - 1)
  if (event.key === 'Escape') $('viewer').hidden = true
})
for (const id of ['kind', 'recipe', 'source', 'low', 'high']) $(id).addEventListener('input', filter)
$('filters').addEventListener('submit', event => event.preventDefault())
filter()
"""
