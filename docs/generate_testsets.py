"""Publish test sets by name and version: what they draw, what this build makes of it, and the table of evaluation.md.

    python docs/generate_testsets.py            # the pixels of this build
    python docs/generate_testsets.py --new      # a new version of each recipe that draws something else now

Digests go to pipelines/evaluation/named_sets.json. Those of records are for ever: a version whose records are others
now is an error and never written anew. So where a bank changes, the old one stays in degrade_kit/banks under another
name, which the recipes of old versions take; where a step changes, old recipes must go on to draw what they drew.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from degrade_kit.pipelines.evaluation.named_sets import (
    FACES,
    TABLE,
    build_words,
    pixels_digest,
    records_digest,
)
from degrade_kit.presets import preset
from degrade_kit.recipe import recipe_from_mapping

PAGE = Path(__file__).resolve().parent / "evaluation.md"
START, END = "<!-- published test sets: python docs/generate_testsets.py -->", "<!-- end of the test sets -->"
RECIPES = (
    *("press-photo", "web-photo", "crowd", "real-world"),
    *("gfpgan", "codeformer", "diffbir-v2", "flipnet-paper", "real-esrgan"),
)
"""Presets that test sets are published by."""

Entries = dict[str, dict[str, Any]]


def newest(entries: Entries, name: str) -> int:
    """Say the number of the newest version of a recipe; 0 if none is published."""
    return max((int(key.rpartition("@")[2]) for key in entries if key.rpartition("@")[0] == name), default=0)


def add_versions(entries: Entries) -> None:
    """Add the presets that draw something else than their newest version, or have none."""
    for name in RECIPES:
        recipe, version = preset(name), newest(entries, name)
        if version:
            known = recipe_from_mapping(entries[f"{name}@{version}"]["recipe"], name)
            if known.digest() == recipe.digest():
                continue
        entries[f"{name}@{version + 1}"] = {"recipe": recipe.to_mapping(), "records": {}, "pixels": {}}


def measure(entries: Entries) -> None:
    """Check the records of all versions, fill in those of new ones, and add what this build makes of them.

    Raises:
        SystemExit: If records are not those that were published.
    """
    build = build_words()
    for key, entry in entries.items():
        recipe = recipe_from_mapping(entry["recipe"], key)
        for name, faces in FACES.items():
            found = records_digest(recipe, faces)
            if entry["records"].setdefault(name, found) != found:
                raise SystemExit(f"{name}-{key}: these are not the records that were published; see this file's head")
        for builds in entry["pixels"].values():
            builds[:] = [each for each in builds if each != build]
        entry["pixels"].setdefault(pixels_digest(recipe), []).append(build)
        entry["pixels"] = {digest: sorted(builds) for digest, builds in entry["pixels"].items() if builds}
        sys.stdout.write(f"{key}\n")


def table(entries: Entries) -> str:
    """Write the table of the page: beginnings of digests, which are whole in the file and in what the command says."""
    builds = sorted({build for entry in entries.values() for found in entry["pixels"].values() for build in found})
    head = ["", *(f"`{name}-...`: records" for name in FACES), *(f"pixels, {build}" for build in reversed(builds))]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for key, entry in entries.items():
        made = {build: digest for digest, found in entry["pixels"].items() for build in found}
        digests = [*(entry["records"][name] for name in FACES), *(made.get(build, "") for build in reversed(builds))]
        lines.append(f"| `{key}` | {' | '.join(f'`{digest[:12]}`' if digest else '' for digest in digests)} |")
    return "\n".join(lines)


def written(page: str, entries: Entries) -> str:
    """Put the table into the text of the page."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{table(entries)}\n\n{END}{after}"


def read() -> Entries:
    """Read what is published."""
    return json.loads(TABLE.read_text("utf-8")) if TABLE.exists() else {}


def main() -> None:
    """Check, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--new", action="store_true", help="publish a new version of recipes that changed")
    options = parser.parse_args()
    entries = read()
    if options.new:
        add_versions(entries)
    measure(entries)
    rows = ",\n".join(f"{json.dumps(key)}: {json.dumps(entry)}" for key, entry in entries.items())
    TABLE.write_text(f"{{\n{rows}\n}}\n", "utf-8")
    PAGE.write_text(written(PAGE.read_text("utf-8"), entries), "utf-8")


if __name__ == "__main__":
    main()
