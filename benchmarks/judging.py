"""Time of what judges sets of images: the classifiers, and their intervals: `python -m benchmarks.judging`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.harness import Table, hq_images, interleave, print_machine, write_json
from degrade_kit.analysis.comparison import ImageSet, compare_sets
from degrade_kit.analysis.distances import kid, prdc
from degrade_kit.analysis.intervals import coverage_replicates, group_weights, kid_replicates
from degrade_kit.analysis.patches import PatchConfig, compare_patches, high_pass

IMAGES, FACES, DIMENSIONS = 500, 125, 24


def intervals(samples: int) -> list[Table]:
    """The bootstrap of all draws at once, beside the naive one, a draw at a time on repeated images."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(IMAGES, DIMENSIONS)), rng.normal(size=(IMAGES, DIMENSIONS)) + 0.1
    groups = [str(number % FACES) for number in range(IMAGES)]
    weights = group_weights(groups, rng), group_weights(groups, rng)
    places = [[np.repeat(np.arange(IMAGES), row.astype(int)) for row in each] for each in weights]
    tables: list[Table] = []
    for name, ours, naive in (
        ("KID", lambda: kid_replicates(first, second, *weights), lambda one, two: kid(first[one], second[two])),
        (
            "coverage",
            lambda: coverage_replicates(first, second, *weights, 5),
            lambda one, two: prdc(second[two], first[one]),
        ),
    ):

        def plain(_: int, naive: Callable[..., object] = naive) -> None:
            for one, two in zip(*places, strict=True):
                naive(one, two)

        seconds = interleave({"ours": lambda _, ours=ours: ours(), "plain": plain}, samples, warm_up=1)
        title = f"interval of {name}, {len(weights[0])} draws of {FACES} faces, {IMAGES} images each"
        tables.append(Table(title=title, seconds=seconds, baselines=("ours",)))
    entry = ImageSet(name="one", kind="synth", points=first, labels=tuple(groups), groups=tuple(groups))
    other = ImageSet(name="two", kind="real", points=second, labels=tuple(groups), groups=tuple(groups))
    seconds = interleave({"all numbers of a pair": lambda _: compare_sets(entry, other, 0)}, samples, warm_up=1)
    tables.append(Table(title=f"a pair of sets, {IMAGES} images each", seconds=seconds, baselines=tuple(seconds)))
    return tables


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judging", description=__doc__)
    parser.add_argument("--samples", type=int, default=5, help="timed samples of each comparison (default: 5)")
    parser.add_argument("--hq", type=Path, help="folder of HQ images (default: photographs that packages ship)")
    parser.add_argument("--json", type=Path, help="write all numbers to this file as well")
    options = parser.parse_args()

    print_machine()
    tables = intervals(options.samples)
    images = list(hq_images(options.hq).values())
    passes = interleave({"high pass": lambda n: high_pass(images[n % len(images)])}, options.samples, warm_up=1)
    tables.append(Table(title="an image for the patches, 512 x 512", seconds=passes, baselines=("high pass",)))
    for table in tables:
        print(table.text())
    # A tenth of the steps; the images do not matter for the time.
    config = PatchConfig(steps=22)
    many = [images[number % len(images)] for number in range(30)]
    names = [str(number) for number in range(len(many))]
    start, processor = time.perf_counter(), time.process_time()
    compare_patches(many, many, names, [f"real {name}" for name in names], config)
    wall, spent = time.perf_counter() - start, time.process_time() - processor
    print(f"patches, {config.folds} folds of {config.steps} steps: {wall:.1f} s, {spent:.1f} s of CPU time")
    results: list[dict[str, object]] = [{"title": table.title, "rows": table.rows()} for table in tables]
    write_json(options.json, [*results, {"title": "patches", "seconds": wall, "cpu_seconds": spent}])


if __name__ == "__main__":
    main()
