"""Draw what every preset does to a face, time it, and write docs/presets.md.

    python docs/generate_presets.py [PRESET ...]

Numbers and sources are those of the code, one entry for each recipe, under all the names that share it. Pictures are of
a portrait of the demo, which is in the public domain. Times are kept in docs/presets.json; distances to photographs are
read from the table of docs/recipes.md, which `benchmarks.table` writes. A preset without an entry here fails a test.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from degrade_kit.align import align_face
from degrade_kit.degradation import degrade, make_lq
from degrade_kit.demo import DEMO_PHOTOS, read_demo_photo
from degrade_kit.image import Pixels, encode_webp
from degrade_kit.network_ops import Network
from degrade_kit.pipelines.makers.networks import NetworkSettings, check_networks, load_networks
from degrade_kit.pipelines.sheet import Tile, contact_sheet
from degrade_kit.presets import COMMITS, NO_NUMBERS, PRESETS, equal_presets, preset
from degrade_kit.recipe import Recipe
from degrade_kit.record_severity import severity
from degrade_kit.seeding import generator
from degrade_kit.steps import STEPS

DOCS = Path(__file__).resolve().parent
PAGE, IMAGES, TIMES, TABLE = (DOCS / name for name in ("presets.md", "images/presets", "presets.json", "recipes.md"))

SIDE, TILE, DRAWS = 512, 152, 4
"""Pixels of the HQ image, of a picture of the page, and how many LQ images are shown."""
TIMED = 24
"""Draws that are timed."""
RATED = 60
"""Draws whose severities are computed."""


class Measured(NamedTuple):
    """A row of the table of docs/recipes.md."""

    sets: tuple[str, ...]
    """Names of the sets of photographs."""
    cells: tuple[str, ...]
    """KID, coverage and AUC to each."""


def image_path(name: str) -> Path:
    """Say where the picture of a preset is kept."""
    return IMAGES / f"{name}.webp"


def portrait() -> Pixels:
    """Cut the face that is shown out of its photograph."""
    photo = next(photo for photo in DEMO_PHOTOS if photo.name == "grace_hopper")
    return align_face(read_demo_photo(photo), photo.landmarks, SIDE).pixels


def draw_sheet(name: str, hq: Pixels) -> Pixels:
    """Draw HQ beside LQ images of a preset.

    Raises:
        ConfigError: If the preset needs a package that is not installed.
    """
    recipe = preset(name)
    recipe.libraries()
    records = [recipe.draw(generator(0, "presets", variant)) for variant in range(DRAWS)]
    network = network_of(recipe)
    return contact_sheet([[Tile(hq, ("HQ",)), *(Tile(make_lq(record, hq, network), ()) for record in records)]], TILE)


def network_of(recipe: Recipe) -> Network | None:
    """Load the networks of a recipe, where it has any."""
    if not recipe.models:
        return None
    check_networks(recipe, NetworkSettings())
    return load_networks(recipe, NetworkSettings(device="cpu"), threads=1)


def milliseconds(name: str, hq: Pixels) -> float:
    """CPU time of a native LQ image, the mean of some draws: what `synth` spends on it besides reading and writing."""
    recipe = preset(name)
    records = [recipe.draw(generator(1, "times", variant)) for variant in range(TIMED)]
    network = network_of(recipe)
    degrade(records[0], hq, network)  # builds tables, loads networks
    start = time.process_time()
    for record in records:
        degrade(record, hq, network).pixels  # noqa: B018 (computed when asked for)
    return 1e3 * (time.process_time() - start) / TIMED


def steps_of(entries: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:  # noqa: ANN401 (parsed YAML)
    """Yield name and keys of every step in what `Recipe.to_mapping` gives, those inside others too."""
    if isinstance(entries, list):
        for entry in cast("list[Any]", entries):
            yield from steps_of(entry)
    elif isinstance(entries, dict):
        for key, value in cast("dict[str, Any]", entries).items():
            if key in STEPS and isinstance(value, dict):
                yield key, cast("dict[str, Any]", value)
            yield from steps_of(value)


def _range(value: Any) -> str:  # noqa: ANN401 (parsed YAML)
    ends = cast("list[float]", value) if isinstance(value, list) else [value]
    return "-".join(f"{end:.4g}" for end in dict.fromkeys(ends))


def numbers(recipe: Recipe) -> tuple[str, ...]:
    """Summarize blur, size, noise, JPEG and everything else of a recipe, one text for each."""
    found: dict[str, list[str]] = {"blur": [], "size": [], "noise": [], "jpeg": [], "more": []}
    for name, keys in steps_of(recipe.to_mapping()["steps"]):
        if name == "blur":
            found["blur"].append(_range(keys["sigma"]) if "sigma" in keys else f"{_range(keys['variance'])} (variance)")
        elif name == "resize":
            if keys.get("scale") not in (1, [1.0, 1.0], [1, 1]):
                kind = next(kind for kind in ("scale", "factor", "side") if kind in keys)
                told = _range(keys[kind])
                found["size"].append({"scale": told, "factor": f"x {told}", "side": f"{told} px"}[kind])
        elif name == "gaussian_noise":
            found["noise"].append(_range(keys["level"]))
        elif name == "poisson_noise":
            found["noise"].append(f"Poisson {_range(keys['scale'])}")
        elif name == "jpeg":
            found["jpeg"].append(_range(keys["quality"]))
        elif name not in ("one_of", "shuffle"):
            found["more"].append(f"`{name}`")
    return tuple(", ".join(dict.fromkeys(texts)) for texts in found.values())


def severities_of(name: str) -> str:
    """Median and the middle nine tenths of the severities of a preset's draws."""
    recipe = preset(name)
    found = [severity(recipe.draw(generator(2, name, number))) for number in range(RATED)]
    low, middle, high = np.quantile(found, (0.05, 0.5, 0.95))
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def measured() -> dict[str, Measured]:
    """Read the distances to photographs out of docs/recipes.md, by each name of a preset."""
    rows: dict[str, Measured] = {}
    sets: tuple[str, ...] = ()
    text = TABLE.read_text("utf-8").split("<!-- table of presets", 1)[1].split("<!-- end of the table", 1)[0]
    for line in text.splitlines():
        first, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        if first == "LQ images by":
            sets = tuple(cell.partition(":")[0] for cell in cells)
        for name in re.findall(r"`([^`]+)`", first):
            rows[name] = Measured(sets, tuple(cells))
    return rows


def page() -> str:
    """Write the text of docs/presets.md."""
    groups = equal_presets()
    count = sum(map(len, groups))
    table = [
        "| preset | severity | blur sigma | size | noise | JPEG | more |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {_names(names)} | {severities_of(names[0])} | {' | '.join(numbers(preset(names[0])))} |"
            for names in groups
            if names[0] in PRESETS
        ),
    ]
    distances, times = measured(), _times()
    sections = [_section(names, distances, times) for names in groups]
    missing = [f"- {method}: {found}." for method, found in NO_NUMBERS.items()]
    head = _HEAD.format(count=count, distinct=len(groups), published=len(PRESETS), table="\n".join(table))
    return "\n".join([head, *sections, _NO_NUMBERS, *missing, ""])


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _section(names: list[str], distances: Mapping[str, Measured], times: Mapping[str, float]) -> str:
    recipe = preset(names[0])
    lines = [f"### {', '.join(names)}", "", f"![{names[0]}](images/presets/{names[0]}.webp)", ""]
    for name in names:
        said = preset(name)
        commit = f" Read at commit {COMMITS[name]}." if name in COMMITS else ""
        notes = f" {said.notes}" if said.notes else ""
        label = f"`{name}`: " if len(names) > 1 else ""
        lines.append(f"{'- ' if len(names) > 1 else ''}{label}{said.source.rstrip('.')}.{commit}{notes}")
    facts = [f"severity {severities_of(names[0])}"]
    facts += [f"{times[names[0]]:.3g} ms of CPU a native LQ image of 512 x 512 pixels HQ"] if names[0] in times else []
    found = next((distances[name] for name in names if name in distances), None)
    if found is not None:
        told = zip(found.sets, found.cells, strict=True)
        facts += [f"{where}: KID {cells.split(',')[0]}" for where, cells in told if cells]
    needs = recipe.libraries()
    facts += [f"needs {', '.join(needs)}"] if needs else []
    told = "; ".join(facts)
    return "\n".join([*lines, "", f"{told[0].upper()}{told[1:]}.", ""])


def _times() -> dict[str, float]:
    return json.loads(TIMES.read_text("utf-8")) if TIMES.exists() else {}


_HEAD = """\
# Presets

{count} names, {distinct} recipes, {published} of the names from published methods, with the file and the commit that
their numbers were read from. Names that share a recipe stand together: half of a field trains with the numbers of the
other half. `degrade-kit presets NAME` prints one as YAML; `degrade-kit import-recipe FILE` makes one of the option file
of a repository that is not here. What the numbers mean is said in [recipes.md](recipes.md), and every step is shown in
[gallery.md](gallery.md).

Severity, from 0 for HQ to 1, is the median of draws, and where nine tenths of them lie: [recipes.md](recipes.md) says
what it is. Blur in pixels, size as HQ side / side or as a factor of it (x), noise as standard deviation on the 0..255
scale, two passes one after the other:

{table}

KID: distance of the features to those of photographs of people, as in the table of [recipes.md](recipes.md); 0 is
equal. Times are of one thread of a shared machine: compare them with each other.

## Each of them

HQ, a portrait of Grace Hopper (US Navy, public domain), and four draws.
"""

_NO_NUMBERS = """\
## Without numbers

Methods whose repositories tell no numbers of a degradation; nothing here is named after them.
"""


def main() -> None:
    """Draw and time all presets, or those that are named, and write the page."""
    wanted = sys.argv[1:]
    hq, times = portrait(), _times()
    firsts = [names[0] for names in equal_presets()]
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name in wanted or firsts:
        image_path(name).write_bytes(encode_webp(draw_sheet(name, hq), 80))
        times[name] = float(np.round(milliseconds(name, hq), 2))
    kept = {name: times[name] for name in firsts if name in times}
    TIMES.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
