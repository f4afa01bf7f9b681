"""The files of a finished data set that people look at first: README.md and preview.png."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from degrade_kit.files import plain_yaml, utf8
from degrade_kit.image import encode_png
from degrade_kit.pipelines.sheet import LEGEND, Tile, caption, contact_sheet
from degrade_kit.recipe import without_places
from degrade_kit.shards import GIVEN, LQ_ONLY, ShardSet
from degrade_kit.sources import display_name
from degrade_kit.statistics import BINS, PARAMETERS, SEVERITY, Statistics, Summary
from degrade_kit.store import Store
from degrade_kit.wording import markdown_code, markdown_text

_PREVIEW_ROWS = 6
_PREVIEW_VARIANTS = 5
_PROMPTS = 20
"""Prompts that are listed with their counts; captions may be as many as images."""
_BLOCKS = " ▁▂▃▄▅▆▇█"


_GIVEN = """`degrade-kit verify` checks this data set.
"""
_MADE = """`degrade-kit verify` checks this data set; `degrade-kit replay` makes any LQ image again, from its HQ image.

## Drawn parameters

{histograms}

{how}"""


def write_card(store: Store, manifest: Mapping[str, Any], statistics: Statistics, resolved: Mapping[str, Any]) -> None:
    """Write the preview and the data set card; the same data set gives the same bytes."""
    preview, headings = preview_rows(ShardSet(store, manifest))
    if preview:
        title = f"{_makers(manifest, statistics)}, seed {manifest['seed']}: HQ images and their LQ variants"
        sheet = contact_sheet(preview, title=title, notes=(LEGEND,), headings=headings, details=True)
        store.write("preview.png", encode_png(sheet))
    store.write("README.md", utf8(card_text(manifest, statistics, resolved)))


def preview_rows(shards: ShardSet) -> tuple[list[list[Tile]], list[str]]:
    """Lay out the first samples, each HQ image beside its LQ variants; with the name of each one's source."""
    rows: list[list[Tile]] = []
    headings: list[str] = []
    for sample in itertools.islice(shards.samples(), _PREVIEW_ROWS):
        info = sample.info
        headings.append(display_name(info["source"]))
        row = [Tile(sample.hq(), ("HQ",))]
        for variant in range(min(info["variants"], _PREVIEW_VARIANTS)):
            _, lq = sample.pair(variant)
            given = info[f"lq{variant}_origin"] == GIVEN
            row.append(Tile(lq, (GIVEN,) if given else caption(sample.record(variant))))
        rows.append(row)
    return rows, headings


def origins(manifest: Mapping[str, Any], statistics: Statistics) -> dict[str, str]:
    """Describe what made the LQ images, as names with a line on each; how many, where there are several makers."""
    mode = manifest.get("mode", "onthefly")  # of data sets that were made before a FlipNet was a step of a recipe
    made = min(statistics.ops.get("flipnet", 0), statistics.records)
    lines: dict[str, str] = {}
    if "flipnet" in manifest:
        share = f" of {statistics.records:,} LQ images" if made < statistics.records else " LQ images"
        lines["FlipNet"] = f"digest {manifest['flipnet']}, seed {manifest['seed']}; {made:,}{share}"
        prompts = sorted(statistics.prompts.items(), key=lambda entry: (-entry[1], entry[0]))
        more = f", and {len(prompts) - _PROMPTS:,} other prompts" if len(prompts) > _PROMPTS else ""
        lines["prompts"] = (
            ", ".join(f"{count:,} {prompt or 'null'}" for prompt, count in prompts[:_PROMPTS]) + more or "none"
        )
    if mode != "flipnet":
        rest = f"; {statistics.records - made:,} of {statistics.records:,} LQ images" if mode == "mix" else ""
        lines["recipe"] = f"{manifest['recipe']}, digest {manifest['recipe_digest']}, seed {manifest['seed']}{rest}"
    return lines


def _makers(manifest: Mapping[str, Any], statistics: Statistics) -> str:
    """Name what made the LQ images, in one phrase."""
    if "mode" not in manifest:
        return manifest["recipe"]
    names = {"FlipNet": "FlipNet", "recipe": manifest["recipe"]}
    return " and ".join(names[name] for name in origins(manifest, statistics) if name != "prompts")


def card_text(manifest: Mapping[str, Any], statistics: Statistics, resolved: Mapping[str, Any]) -> str:
    """Write the card, with the header that Hugging Face reads: it keeps `load_dataset` to the tars."""
    header = plain_yaml(
        {
            # The name keeps data sets in folders of one name apart, for which `datasets` keeps one cache.
            "configs": [{"config_name": f"set-{manifest['digest'][:12]}", "data_files": "*.tar"}],
            "tags": ["blind-face-restoration", "degradation", "webdataset", "degrade-kit"],
        }
    )
    failed = manifest["num_failures"] + manifest["num_skipped"]
    stored = "native size: a reader enlarges them" if manifest["lq_size"] == "native" else "full size"
    made_by = origins(manifest, statistics)
    histograms = markdown_code(histogram_text(statistics), "text")
    made = _MADE.format(histograms=histograms, how=_how(manifest, resolved))
    if "lq" in resolved:
        made = _GIVEN
        made_by = {"LQ images": "given with the HQ images: no record makes them"}
    # Recipes and prompts are texts of others, and so is all of a data set that is exported or joined.
    if "landmarks" in resolved:
        made_by["landmarks"] = "five points and the squares of eyes and mouth, in each sample's JSON"
    rows = "\n".join(f"| {name} | {_text(line)} |" for name, line in made_by.items())
    version = _text(manifest["versions"]["degrade_kit"])
    members = ", ".join(f"`{_text(extension)}`" for extension in manifest["extensions"])
    shown = _preview(manifest)
    return f"""---
{header}---

# LQ/HQ face pairs: {_text(_makers(manifest, statistics))}

Made by degrade-kit {version} with `degrade-kit synth`. Digest `{manifest["digest"]}`.

| | |
|---|---|
| samples | {manifest["num_samples"]:,} of {manifest["num_sources"]:,} inputs ({failed:,} not usable) |
| LQ variants for each | {manifest["variants"]} |
| shards | {len(manifest["shards"])}, {manifest["bytes"] / 1e6:,.1f} MB |
{rows}
| members of a sample | {members} |

{shown}LQ images are stored at their {stored} (`lq0_tail` in the JSON says how).
{made}
## Licence

The HQ images and everything derived from them are under the terms of their sources: add those terms here before you
share this data set. FFHQ, for one, allows non-commercial use only, and each photograph has its own licence.
{_weights_licence(resolved)}"""


def _weights_licence(resolved: Mapping[str, Any]) -> str:
    """What the weights that made LQ images ask for; empty where a recipe made all, or their folder has no LICENSE."""
    notice = resolved.get("flipnet", {}).get("licence", "")
    return (
        f"\nLQ images by FlipNet were made with weights that have a licence of their own. {_text(notice)}\n"
        if notice
        else ""
    )


def _preview(manifest: Mapping[str, Any]) -> str:
    if LQ_ONLY not in manifest:
        return "![preview](preview.png)\n\n"
    digest = _text(manifest[LQ_ONLY]["digest"])
    return f"""**There are no HQ images here**, for their licence. Put them back from your own copy of the
faces, which is compared image by image with what the LQ images were made of (digest `{digest}`):

```console
degrade-kit join THIS_FOLDER --hq YOUR_FACES --out pairs
```

"""


def _how(manifest: Mapping[str, Any], resolved: Mapping[str, Any]) -> str:
    """Write the settings of each maker, each under its heading."""
    mode, text = manifest.get("mode", "onthefly"), ""
    if "flipnet" in manifest:
        known = ("digest", "prompts", "sampling", "device", "dtype", "versions")
        settings = {key: resolved["flipnet"][key] for key in known if key in resolved["flipnet"]}
        text += f"""## FlipNet

LQ images are drawn by FlipNet's degradation mode (ICCV 2025, arXiv 2508.08556); each record names its prompt and seed.

{markdown_code(plain_yaml(settings).strip(), "yaml")}

"""
    if mode != "flipnet":
        recipe = {**resolved["recipe"], "steps": without_places(resolved["recipe"]["steps"])}
        text += f"""## Recipe

{_text(resolved["recipe"].get("source") or "A recipe of the user's own.")}

{markdown_code(plain_yaml(recipe).strip(), "yaml")}

"""
    return text.removesuffix("\n")


def _text(text: str) -> str:
    return markdown_text(text, stars=True)


def histogram_text(statistics: Statistics) -> str:
    """Write one line for each parameter: count, mean, extremes and a histogram over its fixed range."""
    lines = [f"{statistics.records:,} records: " + ", ".join(f"{n:,} {name}" for name, n in statistics.ops.items())]
    if statistics.severity.count:
        lines.append(_histogram_line("severity", statistics.severity, SEVERITY))
    for name in PARAMETERS:
        if name in statistics.parameters:
            lines.append(_histogram_line(name, statistics.parameters[name], PARAMETERS[name]))
    return "\n".join(lines)


def _histogram_line(name: str, summary: Summary, limits: tuple[float, float]) -> str:
    low, high = limits
    tallest = max(summary.bins) or 1
    bars = "".join(_BLOCKS[-(-count * (len(_BLOCKS) - 1) // tallest)] for count in summary.bins)
    assert len(bars) == BINS
    return (
        f"{name:24} {summary.count:8,}  mean {summary.mean:7.2f}  min {summary.low:7.2f}  max {summary.high:7.2f}  "
        f"{low:5.1f} |{bars}| {high:.1f}"
    )
