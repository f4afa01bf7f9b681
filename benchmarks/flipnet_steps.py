"""How few steps of a solver a FlipNet needs: `python -m benchmarks.flipnet_steps --hq FACES`.

The gates are those of `degrade-kit distill`. Of crops of faces, with the FlipNet's own prompts, five LQ images each are
made in 20 steps of DDIM, twice, and in fewer steps of its solvers; with `--student DIR`, in the few steps of a FlipNet
that was distilled from it. The energy distance to the images of 20 steps may not exceed what two sets of those are
apart (95 % of permutations), and the five images must be at least 90 % as different. That takes a quarter of an hour of
a core. `--look` takes a minute: the solvers begin with the noise of the 20 steps, and what counts is how far each image
is from theirs, as a share of what two images of one face are apart.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.harness import print_machine, write_json
from degrade_kit.flipnet.config import SOLVERS, SamplingConfig, Solver
from degrade_kit.flipnet.degrader import Degrader
from degrade_kit.flipnet.distill import few_step_sampling
from degrade_kit.flipnet.mixture import ImageCache, PairSample
from degrade_kit.pipelines.images import list_images
from degrade_kit.pipelines.models.distill import VARIANTS, PromptedCrops, StepsJudge

FEWER = ("ddim=12", "ddim=8", "ddim=6", "ddim=4", "ddim=2", "dpm++=6", "dpm++=4", "dpm++=3", "dpm++=2")


def solver_steps(text: str) -> tuple[Solver, int]:
    """Read `SOLVER=STEPS`."""
    solver, _, count = text.partition("=")
    if solver not in SOLVERS or not count.isdigit():
        raise argparse.ArgumentTypeError(f"expected SOLVER=STEPS, a solver of {', '.join(SOLVERS)}; got {text!r}")
    return solver, int(count)


def look(
    groups: Sequence[PairSample], teacher: Degrader, candidates: Sequence[tuple[str, Degrader, SamplingConfig]]
) -> None:
    """Print how far images of fewer steps are from those of 20, from the same noise."""

    def made(degrader: Degrader, sampling: SamplingConfig) -> npt.NDArray[np.float32]:
        records = [
            [degrader.record(group.caption, 4 * n + k, sampling, group.description) for k in range(4)]
            for n, group in numbered
        ]
        return np.array(degrader.run([group.hq for group in groups], records), np.float32)

    numbered = list(enumerate(groups))
    many = made(teacher, dataclasses.replace(teacher.sampling, solver="ddim", num_steps=20))
    apart = np.mean([_rms(many[:, i] - many[:, j]) for i in range(4) for j in range(i)])
    for name, degrader, sampling in candidates:
        found = made(degrader, sampling)
        levels = _rms(found - many)
        print(
            f"{name:12}{sampling.solver:6}{sampling.num_steps:3} steps: {levels:.2f} levels from 20 steps, "
            f"{levels / apart:4.0%} of what variants are apart",
            flush=True,
        )


def _rms(difference: npt.NDArray[np.float32]) -> float:
    """Mean over images of the root-mean-square of an image; (..., height, width, 3)."""
    return float(np.sqrt(np.square(difference).mean((-3, -2, -1))).mean())


def main() -> None:
    """Parse, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hq", required=True, help="faces, best of people that the FlipNet was not trained on")
    parser.add_argument("--flipnet", default="photos-teacher", help="the FlipNet (default: photos-teacher)")
    parser.add_argument("--student", action="append", default=[], help="FlipNet distilled from it; several times")
    parser.add_argument("--student-steps", type=int, nargs="+", default=[1, 2, 4], help="its steps (default: 1 2 4)")
    parser.add_argument(
        "--solver",
        type=solver_steps,
        nargs="*",
        default=[solver_steps(text) for text in FEWER],
        metavar="SOLVER=STEPS",
        help=f"solvers of the FlipNet itself (default: {' '.join(FEWER)})",
    )
    parser.add_argument("--images", type=int, default=400, help="LQ images of each (default: 400)")
    parser.add_argument("--size", type=int, default=64, help="side of the crops, pixels (default: 64)")
    parser.add_argument("--json", type=Path, help="write all numbers to this file as well")
    parser.add_argument("--look", type=int, default=0, metavar="CROPS", help="only look at so many crops (default: 0)")
    given = parser.parse_args()
    torch.set_num_threads(1)

    print_machine()
    teacher = Degrader.load(given.flipnet, device="cpu")
    crops = PromptedCrops(
        list_images(given.hq),
        teacher.prompts,
        face_size=max(given.size, 256),
        seed=1,
        cache=ImageCache(10**9),
        space=teacher.net.space,
    )
    plain = [
        ("itself", teacher, dataclasses.replace(teacher.sampling, solver=solver, num_steps=count))
        for solver, count in given.solver
    ]
    students = [
        (place, Degrader.load(place, device="cpu"), few_step_sampling(teacher.sampling, count))
        for place in given.student
        for count in given.student_steps
    ]
    if given.look:
        look([crops.sample(number, given.size) for number in range(given.look)], teacher, [*plain, *students])
        return
    groups = [crops.sample(number, given.size) for number in range(-(-given.images // VARIANTS))]
    judge = StepsJudge(teacher, groups, 20)
    rows: list[dict[str, Any]] = []
    for name, degrader, sampling in [*plain, *students]:
        start = time.process_time()
        found = judge(degrader, sampling)
        seconds = (time.process_time() - start) / (len(groups) * VARIANTS)
        print(
            f"{name:12}{sampling.solver:6}{sampling.num_steps:3} steps: distance {found.distance:7.4f} (null "
            f"{found.null:.4f}), variants {found.diversity:4.0%} as different, {seconds:.3f} CPU s and "
            f"{found.flops / 1e9:.2f} GFLOP an image: {'passes' if found.passes else 'does not pass'}",
            flush=True,
        )
        told = {"flipnet": name, "solver": sampling.solver, "passes": found.passes, "cpu_seconds": seconds}
        rows.append({**told, **dataclasses.asdict(found)})
    write_json(given.json, {"images": len(groups) * VARIANTS, "size": given.size, "rows": rows})


if __name__ == "__main__":
    main()
