"""Time to degrade one image of 512 x 512, beside other implementations: `python -m benchmarks.degrade`."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

import degrade_kit as dk
from benchmarks import peers
from benchmarks.harness import SIZE, Contestant, Table, hq_images, interleave, print_machine, write_json
from degrade_kit import ops
from degrade_kit.image import Pixels
from degrade_kit.pipelines.executor import ExecutorConfig, run_tasks
from degrade_kit.record import Record
from degrade_kit.steps import RandomBlur

FULL, NATIVE = "degrade-kit, full size", "degrade-kit, native"
BASELINES = (FULL, NATIVE)
COLOUR_STEPS = ("color_shift", "color_jitter", "gray")
FACE_PRESETS = ("gfpgan", "codeformer", "codeformer-stage3-small", "diffbir-v2", "difface")
"""`codeformer` is stage 2, and the large half of stage 3; `difface` is PMRF's too. All without colour steps."""

SLOW = 8
"""Real-ESRGAN's chain on the CPU is measured on a sample out of so many."""

Chain = Callable[[Record, Pixels], Pixels]


class Bench:
    """HQ images, and records drawn for them.

    Args:
        images: uint8, RGB, 512 x 512.
        samples: Number of timed samples; they take the images in turn.
    """

    def __init__(self, images: Sequence[Pixels], samples: int) -> None:
        self.rgb = list(images)
        self.bgr = [np.ascontiguousarray(image[..., ::-1]) for image in images]
        self.samples = samples

    def ours(self, recipe: dk.Recipe) -> dict[str, Contestant]:
        """Draw, degrade, enlarge; and the same up to what a shard stores: the last JPEG file or the native pixels."""

        def full(sample: int) -> Pixels:
            native = dk.degrade(draw(recipe, sample), self._hq(self.rgb, sample))
            return dk.finish(native.pixels, native.tail, (SIZE, SIZE))

        def native(sample: int) -> object:
            lq = dk.degrade(draw(recipe, sample), self._hq(self.rgb, sample))
            return lq.encoded if lq.encoded is not None else lq.pixels

        return {FULL: full, NATIVE: native}

    def theirs(self, recipe: dk.Recipe, chain: Chain) -> Contestant:
        """`chain` on the same records, which are drawn beforehand."""
        records = [draw(recipe, sample) for sample in range(self.samples)]
        return lambda sample: chain(records[sample], self._hq(self.bgr, sample))

    def check(self, recipe: dk.Recipe, chain: Chain, tolerance: float) -> None:
        """Make sure that a chain does our work: without noise, the pixels are ours up to `tolerance` levels on average.

        Raises:
            AssertionError: If they are not.
        """
        differences = list[float]()
        for sample in range(min(self.samples, 24)):
            record = without_noise(draw(recipe, sample))
            native = dk.degrade(record, self._hq(self.rgb, sample))
            ours = dk.finish(native.pixels, native.tail, (SIZE, SIZE))
            other = chain(record, self._hq(self.bgr, sample))
            assert other.shape == ours.shape
            assert other.dtype == ours.dtype == np.uint8
            differences.append(float(cv2.absdiff(ours, np.ascontiguousarray(other[..., ::-1])).mean()))
        assert np.median(differences) <= tolerance, f"{recipe.name}: other work done: {differences}"

    def _hq(self, images: Sequence[Pixels], sample: int) -> Pixels:
        return images[sample % len(images)]


def draw(recipe: dk.Recipe, sample: int) -> Record:
    """The record of a sample, always the same one."""
    return recipe.draw(dk.generator(seed=0, path=f"{sample}.png", variant=0))


def without_noise(record: Record) -> Record:
    """The record with all noise at level 0."""

    def silent(op: ops.Op) -> ops.Op:
        if isinstance(op, ops.GaussianNoise):
            return dataclasses.replace(op, level=0.0)
        return dataclasses.replace(op, scale=0.0) if isinstance(op, ops.PoissonNoise) else op

    return dataclasses.replace(record, steps=tuple(silent(op) for op in record.steps))


def without_colour(name: str) -> dk.Recipe:
    """A preset without its colour steps."""
    recipe = dk.preset(name)
    return dataclasses.replace(recipe, steps=tuple(step for step in recipe.steps if step.name not in COLOUR_STEPS))


def gaussian_blur(record: Record, hq: Pixels) -> Pixels:
    """Plain OpenCV with `GaussianBlur`."""
    return peers.naive(record, hq, "GaussianBlur")


def compare_flipnet(bench: Bench) -> Iterator[Table]:
    """Equation 9 twice, against plain OpenCV."""
    recipe = dk.preset("flipnet-paper")
    chains: dict[str, Chain] = {"plain OpenCV, filter2D": peers.naive, "plain OpenCV, GaussianBlur": gaussian_blur}
    yield _same_records(bench, "flipnet-paper, two passes", recipe, chains)


def compare_faces(bench: Bench) -> Iterator[Table]:
    """First-order face recipes, against basicsr's functions and plain OpenCV."""
    for name in FACE_PRESETS:
        recipe = without_colour(name)
        chains: dict[str, Chain] = {}
        if not peers.missing("basicsr", "torchvision"):
            chains["basicsr's functions"] = peers.basicsr_face
        chains |= {"plain OpenCV, filter2D": peers.naive, "plain OpenCV, GaussianBlur where isotropic": gaussian_blur}
        yield _same_records(bench, f"{name}, no colour steps", recipe, chains)
    for kind in ("iso", "aniso"):
        recipe = only_kernel(without_colour("gfpgan"), kind)
        yield _same_records(
            bench,
            f"gfpgan, no colour steps, only {kind} kernels",
            recipe,
            {"plain OpenCV, filter2D": peers.naive},
        )


def only_kernel(recipe: dk.Recipe, kind: ops.KernelKind) -> dk.Recipe:
    """A recipe whose blurs take one kind of kernel."""
    steps = [
        dataclasses.replace(step, kernels={kind: 1.0}) if isinstance(step, RandomBlur) else step
        for step in recipe.steps
    ]
    return dataclasses.replace(recipe, steps=tuple(steps))


def compare_gfpgan(bench: Bench) -> Iterator[Table]:
    """GFPGAN's own data set, which draws for itself: equal ranges, other numbers."""
    if peers.missing("basicsr", "gfpgan", "torchvision"):
        return
    for title, recipe, jitter in (
        ("gfpgan, as shipped", dk.preset("gfpgan"), True),
        ("gfpgan, no colour steps", without_colour("gfpgan"), False),
    ):
        with tempfile.TemporaryDirectory() as empty:
            getitem = peers.gfpgan_dataset_in_memory(bench.bgr, Path(empty), jitter=jitter).__getitem__
            contestants = {
                **bench.ours(recipe),
                "GFPGAN's data set, decoded image in, two tensors out": partial(_in_turn, getitem, len(bench.bgr)),
            }
            seconds = interleave(contestants, bench.samples)
        yield Table(title=title, seconds=seconds, baselines=BASELINES, paired=False)


def _in_turn(getitem: Contestant, count: int, sample: int) -> object:
    return getitem(sample % count)


def compare_real_esrgan(bench: Bench) -> Iterator[Table]:
    """Second order: kernels of 7 to 21 pixels, sinc, Poisson noise."""
    recipe = dk.preset("real-esrgan")
    yield _same_records(bench, "real-esrgan", recipe, {"plain OpenCV, filter2D": peers.naive})
    if not peers.missing("basicsr", "torch"):
        few = Bench(bench.rgb, max(4, bench.samples // SLOW))
        chains: dict[str, Chain] = {"Real-ESRGAN's chain, torch on the CPU": peers.real_esrgan}
        # Its JPEG is a differentiable stand-in, 1.4 to 3 levels off; its area filter takes whole pixels, 2 levels off.
        yield _same_records(few, "real-esrgan, against its own chain", recipe, chains, tolerance=5.0)


SINGLE_OPS: dict[str, tuple[ops.Op, ...]] = {
    "blur, sigma 1": (ops.Blur(sigma_x=1.0, sigma_y=1.0),),
    "blur, sigma 3": (ops.Blur(sigma_x=3.0, sigma_y=3.0),),
    "blur, sigma 10": (ops.Blur(sigma_x=10.0, sigma_y=10.0),),
    "blur, 8 and 2, turned": (ops.Blur(kernel="aniso", sigma_x=8.0, sigma_y=2.0, rotation=0.6),),
    "sinc, 21 pixels": (ops.SincBlur(size=21, cutoff=1.2),),
    "resize, scale 8": (ops.Resize(scale=8.0), ops.Resize(scale=1.0)),
    "blur, sigma 10, resize, scale 1.5": (
        ops.Blur(sigma_x=10.0, sigma_y=10.0),
        ops.Resize(scale=1.5),
        ops.Resize(scale=1.0),
    ),
    "blur, sigma 10, resize, scale 8": (
        ops.Blur(sigma_x=10.0, sigma_y=10.0),
        ops.Resize(scale=8.0),
        ops.Resize(scale=1.0),
    ),
    "Gaussian noise": (ops.GaussianNoise(level=10.0),),
    "Poisson noise": (ops.PoissonNoise(scale=1.0),),
    "JPEG": (ops.Jpeg(quality=75),),
}


def compare_ops(bench: Bench) -> Iterator[Table]:
    """One operation alone on the full size: conversion to and from float planes is not shared with anything."""
    for title, steps in SINGLE_OPS.items():
        record = Record(seed=0, steps=steps)

        def ours(sample: int, record: Record = record) -> Pixels:
            native = dk.degrade(record, bench.rgb[sample % len(bench.rgb)])
            return dk.finish(native.pixels, native.tail, (SIZE, SIZE))

        def theirs(sample: int, record: Record = record, chain: Chain = peers.naive) -> Pixels:
            return chain(record, bench.bgr[sample % len(bench.bgr)])

        contestants: dict[str, Contestant] = {FULL: ours, "plain OpenCV, filter2D": theirs}
        if steps[0].name == "blur":
            contestants["plain OpenCV, GaussianBlur"] = lambda sample, theirs=theirs: theirs(
                sample, chain=gaussian_blur
            )
        seconds = interleave(contestants, max(16, bench.samples // 4))
        yield Table(title=f"one operation: {title}", seconds=seconds, baselines=(FULL,))


def _same_records(
    bench: Bench, title: str, recipe: dk.Recipe, chains: dict[str, Chain], tolerance: float = 0.5
) -> Table:
    for chain in chains.values():
        bench.check(recipe, chain, tolerance)
    theirs = {name: bench.theirs(recipe, chain) for name, chain in chains.items()}
    seconds = interleave({**bench.ours(recipe), **theirs}, bench.samples)
    return Table(title=title, seconds=seconds, baselines=BASELINES)


GROUPS: dict[str, Callable[[Bench], Iterator[Table]]] = {
    "flipnet": compare_flipnet,
    "faces": compare_faces,
    "gfpgan": compare_gfpgan,
    "real-esrgan": compare_real_esrgan,
    "ops": compare_ops,
}


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.degrade", description=__doc__)
    parser.add_argument("--samples", type=int, default=200, help="timed samples of each comparison (default: 200)")
    parser.add_argument("--hq", type=Path, help="folder of HQ images (default: photographs that packages ship)")
    parser.add_argument("--only", choices=GROUPS, action="append", help="one group of comparisons; may be repeated")
    parser.add_argument(
        "--keep-memory", action="store_true", help="have the C library keep freed memory, as workers of `synth` do"
    )
    parser.add_argument("--json", type=Path, help="write all numbers to this file as well")
    options = parser.parse_args()

    if options.keep_memory:
        list(run_tasks(str, [0], ExecutorConfig(workers=0)))  # whatever the task, it sets the process up as a worker is
    print_machine()
    images = hq_images(options.hq)
    print(f"{len(images)} HQ images of {SIZE} x {SIZE}; CPU time of one thread; x: times as long as {FULL}\n")
    if absent := peers.missing("basicsr", "gfpgan", "torch", "torchvision"):
        print(f"skipped: the peers that need them are {absent}\n")
    bench, results = Bench(list(images.values()), options.samples), []
    for group in options.only or GROUPS:
        for table in GROUPS[group](bench):
            print(table.text(), end="\n\n", flush=True)
            results.append({"group": group, "title": table.title, "rows": table.rows()})
    write_json(options.json, results)


if __name__ == "__main__":
    main()
