"""`degrade-kit pairs from-photos`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from degrade_kit.pipelines.commands.options import (
    echo_licence,
    executor_config,
    executor_options,
    quiet_model_loading,
    weights_option,
)
from degrade_kit.pipelines.commands.plan import print_estimate
from degrade_kit.pipelines.commands.types import PHOTOS, RESTORER
from degrade_kit.pipelines.commands.words import RAY, command, option, word
from degrade_kit.pipelines.text import counted
from degrade_kit.wording import counted_noun

if TYPE_CHECKING:
    from degrade_kit.align import FaceChoice
    from degrade_kit.pipelines.executor import ExecutorConfig
    from degrade_kit.pipelines.inputs.photo_pairs import PhotoPairsPlan, PhotoPairsReport


@command("pairs from-photos", "Make LQ/HQ pairs of photos, by a restorer")
@word(
    "--real",
    "; several times for several. NAME is a lower-case word for such photos, which captions end in",
    metavar="[NAME=]PLACE",
    type=PHOTOS,
    multiple=True,
    required=True,
)
@option(
    "--restorer",
    default="realesrgan-x4plus",
    type=RESTORER,
    metavar="NAME|FILE.onnx|DIR|COMMAND",
    help="What makes HQ images of the faces: a network that the `upscale` extra brings, an ONNX file, a run of "
    "`train-restore`, or a command with {input} and {output}, which reads images from the one folder and writes images "
    "of equal names to the other.",
)
@word("--out", ": a folder for the pairs", required=True)
@word("--detector", default="packaged")
@weights_option
@word("--face", "; `all` makes a pair of each", default="largest")
@word("--min-score", default=0.8)
@word("--size", ", at most: of a larger face its middle is taken", default=128, type=click.IntRange(40, 512))
@option(
    "--test-share",
    default=0.125,
    metavar="SHARE",
    type=click.FloatRange(0, 0.9),
    help="Share of the people whose pairs are for validation alone; names of files tell who is who.",
)
@word("--seed", ": who is held out", default=0)
@word("--dry-run")
@executor_options
@word("--gpus-per-worker", default=0.0, needs=RAY)
def pairs_from_photos_command(
    real: tuple[tuple[str, str], ...],
    restorer: str,
    out: Path,
    detector: Literal["packaged", "yunet"],
    weights: dict[str, Path],
    face: FaceChoice,
    min_score: float,
    size: int,
    test_share: float,
    seed: int,
    dry_run: bool,
    workers: int | None,
    ray_address: str | None,
    wait: float,
    gpus_per_worker: float,
) -> None:
    """Make pairs to train FlipNet on of photos alone: each face as it is, and what a restorer makes of it.

    \b
    Examples:
      degrade-kit pairs from-photos --real press=photos --out photo_pairs
      degrade-kit pairs from-photos --real photos --restorer runs/restore --out photo_pairs

    The LQ side is the photo's own pixels, cut between the blocks of its JPEG file; the HQ side is restored, then
    brought to the same size. Pairs whose colours, features, place or landmarks differ are refused; OUT/pairs.png
    shows both. A rerun resumes.

    Exit status: 0 if there are pairs, 3 if there is none (see OUT/pairs_failures.jsonl), 2 for wrong options.
    """  # noqa: D301 (click reads the \b itself)
    quiet_model_loading()
    from degrade_kit.pipelines.commands.progress import ProgressLine
    from degrade_kit.pipelines.inputs.photo_pairs import PhotoPairsConfig, make_photo_pairs, plan_photo_pairs

    config = PhotoPairsConfig(
        real=real,
        out_dir=out,
        restorer=restorer,
        detector=detector,
        yunet=weights.get("yunet"),
        face=face,
        min_score=min_score,
        size=size,
        test_share=test_share,
        seed=seed,
    )
    executor = executor_config(workers, ray_address, wait, gpus_per_worker)
    if dry_run:
        _print_plan(plan_photo_pairs(config), executor)
        return
    with ProgressLine() as progress:
        report = make_photo_pairs(config, executor, progress=progress)
    _print_report(report, out)
    if not report.pairs:
        sys.exit(3)


def _print_plan(plan: PhotoPairsPlan, executor: ExecutorConfig) -> None:
    from degrade_kit.pipelines.inputs.photo_pairs import photo_pairs_effort

    for photos in plan.photos:
        click.echo(f"{photos.kind}: {counted_noun(len(photos.stems), 'photo')}, {len(set(photos.people)):,} people")
    click.echo(f"restored by {plan.restorer.text}; {counted_noun(len(plan.done), 'photo')} done before")
    print_estimate(executor, photo_pairs_effort(plan))


def _print_report(report: PhotoPairsReport, out: Path) -> None:
    for kind in report.kinds:
        click.echo(
            f"{kind.kind}: {counted_noun(kind.train, 'pair')} to train on and {kind.test:,} held out, of "
            f"{counted_noun(kind.photos, 'photo')}, {kind.people:,} people"
        )
        if kind.refused:
            click.echo(f"{kind.kind}: no pair: {counted(kind.refused)}; see {out / 'pairs_failures.jsonl'}", err=True)
    click.echo(f"{counted_noun(report.resumed, 'photo')} done before")
    if not report.pairs:
        return
    click.echo(f"captions: {counted(report.captions)}")
    echo_licence(report.licence)
    click.echo(f"look at {out / 'pairs.png'}")
    given = " ".join(f"--pairs {kind.kind}={shlex.quote(str(out / kind.kind))}" for kind in report.kinds if kind.train)
    click.echo(f"next: degrade-kit train-degrade --config photos {given} --out runs/photos")
