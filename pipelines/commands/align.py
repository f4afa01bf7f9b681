"""`degrade-kit align`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from degrade_kit.pipelines.commands.options import executor_config, executor_options, weights_option
from degrade_kit.pipelines.commands.plan import print_estimate
from degrade_kit.pipelines.commands.words import command, not_with, option, word
from degrade_kit.pipelines.text import counted
from degrade_kit.wording import counted_noun

if TYPE_CHECKING:
    from degrade_kit.align import FaceChoice
    from degrade_kit.pipelines.executor import ExecutorConfig
    from degrade_kit.pipelines.inputs.align import AlignConfig, AlignPlan, AlignReport


@command("align", "Cut faces out of photos, framed as in FFHQ")
@word("--input", ": photos", required=True)
@word("--out", ": the faces, PNG, with names and sub-folders as in the input", required=True)
@word("--detector", default="packaged", needs=not_with("landmarks"))
@weights_option
@word(
    "--landmarks",
    ', in place of a detector: {"sub/name.jpg": [[x, y], ... five] or null, ...}, in pixels: left eye, right eye, '
    "nose, left and right corner of the mouth; left is left in the picture. Or the 68 points of dlib",
    unset="none",
)
@word("--size", ", of the aligned faces", default=512, type=click.IntRange(1), needs=not_with("points_only"))
@word("--face", "; `all` writes NAME_0.png, NAME_1.png, ..., the largest first", default="largest")
@word("--min-score", default=0.8, needs=not_with("landmarks"))
@option(
    "--points-only",
    is_flag=True,
    help="The images are aligned faces already, such as FFHQ's: write none, but their points to OUT/align.jsonl.",
)
@word("--dry-run")
@executor_options
def align_command(
    source: str,
    out: Path,
    detector: str,
    weights: dict[str, Path],
    landmarks: Path | None,
    size: int,
    face: FaceChoice,
    min_score: float,
    points_only: bool,
    dry_run: bool,
    workers: int | None,
    ray_address: str | None,
    wait: float,
) -> None:
    """Cut faces out of photos in FFHQ framing, turned upright.

    \b
    Example:
      degrade-kit align --input photos --out aligned

    A rerun resumes. OUT/align.jsonl says of each face where it was, how much of its square lay
    outside the photo (shown by mirroring), and whether it had to be enlarged: such a face is no HQ image.
    It has the face's five points and the squares of its eyes and mouth too, for `synth --landmarks`.
    OUT/sizes.json says how large the faces are in their photos, which a recipe may draw from: `side: {from: FILE}`;
    OUT/jpeg_tables.json likewise, for `jpeg: {quality: 50, tables: {from: FILE}}`, where photos are JPEG files.

    Exit status: 0 if every photo gave a face, 3 if some did not (see OUT/align_failures.jsonl), 2 for wrong options.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.pipelines.commands.progress import ProgressLine
    from degrade_kit.pipelines.inputs.align import AlignConfig, align_sources, plan_alignment

    config = AlignConfig(
        input=source,
        out_dir=out,
        detector=detector,
        yunet=weights.get("yunet"),
        landmarks=landmarks,
        size=size,
        face=face,
        min_score=min_score,
        points_only=points_only,
    )
    executor = executor_config(workers, ray_address, wait)
    if dry_run:
        _print_plan(plan_alignment(config), executor)
        return
    with ProgressLine() as progress:
        report = align_sources(config, executor, progress=progress)
    _print_report(report, config)
    if not report.complete:
        sys.exit(3)


def _print_plan(plan: AlignPlan, executor: ExecutorConfig) -> None:
    from degrade_kit.pipelines.inputs.align import align_effort

    click.echo(f"{counted_noun(len(plan.stems), 'photo')} in {plan.config.input}, {len(plan.done):,} of them done")
    if plan.config.points_only:
        click.echo(f"their points go to {plan.config.out_dir / 'align.jsonl'}, that of {plan.example()} first")
    else:
        click.echo(f"the first face is {plan.example()}, {plan.config.size} x {plan.config.size} pixels")
    print_estimate(executor, align_effort(plan))


def _print_report(report: AlignReport, config: AlignConfig) -> None:
    out_dir, lines = config.out_dir, config.out_dir / "align.jsonl"
    what, where = ("points of", lines) if config.points_only else ("", out_dir)
    click.echo(
        f"{what} {counted_noun(report.faces, 'face')} of {counted_noun(report.photos, 'photo')} in {where}; ".lstrip()
        + f"{counted_noun(report.resumed, 'photo')} done before"
    )
    if not config.points_only:
        enlarged = counted_noun(report.enlarged, "face")
        click.echo(f"{enlarged} enlarged, {report.padded:,} with more than a tenth outside the photo")
    if report.sides:
        low, middle, high = report.sides[0], report.sides[len(report.sides) // 2], report.sides[-1]
        click.echo(f"in their photos they measure {low:.0f} to {high:.0f} pixels, half of them up to {middle:.0f}")
        click.echo(f"a recipe draws such sizes by `side: {{from: {out_dir / 'sizes.json'}}}`")
    if report.failures:
        click.echo(f"not usable: {counted(report.failures)}; see {out_dir / 'align_failures.jsonl'}", err=True)
    if not report.faces:
        return
    if config.points_only:
        click.echo(f"next: degrade-kit synth --hq {config.input} --landmarks {lines} --shards shards")
        return
    if report.enlarged == report.faces:
        click.echo("all faces were enlarged: they can be compared with and restored, but are no HQ images")
        click.echo(f"next: degrade-kit analyze-distribution --synth NAME=SHARDS --real NAME={out_dir} --out report")
        return
    if report.enlarged:
        click.echo(f"note: enlarged faces are no HQ images; leave out those that {out_dir}/align.jsonl names", err=True)
    click.echo(f"discriminators of eyes and mouth train on shards that are made with --landmarks {lines}")
    click.echo(f"next: degrade-kit synth --hq {out_dir} --shards shards")
