"""CPU time of every step of a recipe on a face of 128 x 128 pixels: `python -m benchmarks.steps [STEP ...]`.

The parameters are those that docs/gallery.md shows; a step that is added there is measured here. Steps that start from
the whole image (`resize`, `decimate`, `photo_frame`, `bank`, `shift`, `uneven`) are given 512 x 512 pixels.
"""

from __future__ import annotations

import argparse
import runpy
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.harness import hq_images, print_machine, write_json
from degrade_kit.canvas import Canvas
from degrade_kit.errors import ConfigError
from degrade_kit.image import Pixels
from degrade_kit.network_ops import run_together
from degrade_kit.op_tools import Seat
from degrade_kit.ops import run_segments
from degrade_kit.pipelines.makers.networks import NetworkSettings, check_networks, load_networks
from degrade_kit.recipe import recipe_from_mapping
from degrade_kit.steps import STEPS

NATIVE = 128
WHOLE = ("resize", "decimate", "photo_frame", "bank", "shift", "uneven")
LIMIT = 15.0
"""Milliseconds that a step may take, so that a pair costs about as much as its PNG file."""
GALLERY = Path(__file__).resolve().parents[1] / "docs" / "generate_gallery.py"


def milliseconds(step: str, keys: dict[str, Any], image: Pixels, samples: int) -> float:
    """Median CPU time of drawing and running a step, all threads of its codecs included.

    Raises:
        ConfigError: If the step needs a package that is not installed.
    """
    recipe = recipe_from_mapping({"name": "timed", "steps": [{step: keys}, {"resize": {"scale": 1}}]}, step)
    recipe.libraries()
    network = None
    if recipe.models:
        check_networks(recipe, NetworkSettings())
        network = load_networks(recipe, NetworkSettings(device="cpu"), threads=1)
    seconds = list[float]()
    for sample in range(-1, samples):
        start = time.process_time()
        record = recipe.draw(np.random.default_rng(sample + 1))
        canvas = Canvas(pixels=image)
        # Without the way back to the full size.
        run_together([run_segments(record.steps[:-1], canvas, Seat(record.seed, ()))], network)
        canvas.pixels()
        if sample >= 0:  # the first one builds tables and loads networks
            seconds.append(time.process_time() - start)
    return 1e3 * float(np.median(seconds))


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=__doc__)
    parser.add_argument("steps", nargs="*", choices=[*STEPS, []], metavar="STEP", help="default: all")
    parser.add_argument("--samples", type=int, default=15, help="timed draws of each set of parameters (default: 15)")
    parser.add_argument("--json", type=Path, help="write all numbers to this file as well")
    options = parser.parse_args()
    print_machine()
    whole = next(iter(hq_images(None).values()))
    native = np.asarray(cv2.resize(whole, (NATIVE, NATIVE), interpolation=cv2.INTER_AREA), np.uint8)
    strips = runpy.run_path(str(GALLERY))["STRIPS"]
    results = list[dict[str, Any]]()
    print("| step | ms | dearest |\n|---|---|---|")
    for step in options.steps or STEPS:
        image = whole if step in WHOLE else native
        costs = dict[str, float]()
        samples = 1 if step in ("ai_upscale", "flipnet") else options.samples
        try:
            for label, keys in strips[step].panels.items():
                costs[label] = milliseconds(step, keys, image, samples)
        except ConfigError as error:
            print(f"| `{step}` | | {error} |")
            continue
        dearest = max(costs, key=lambda label: costs[label])
        low, high = min(costs.values()), max(costs.values())
        span = f"{low:.2g}" if f"{low:.2g}" == f"{high:.2g}" else f"{low:.2g}-{high:.2g}"
        mark = f" **above {LIMIT:g}**" if high > LIMIT else ""
        print(f"| `{step}` | {span}{mark} | {dearest} |", flush=True)
        results.append({"step": step, "ms": costs})
    write_json(options.json, results)


if __name__ == "__main__":
    main()
