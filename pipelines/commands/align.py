"""`degrade-kit align`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from degrade_kit.align import FaceChoice
    from pipelines.align import AlignReport


@click.command(name="align")
@click.option(
    "--input",
    "source",
    required=True,
    metavar="DIR",
    help="Photos: a folder with all below it, a list (.txt), a .zip or a .tar.",
)
@click.option(
    "--out",
    "out_dir",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the faces, PNG, with names and sub-folders as in the input.",
)
@click.option(
    "--detector",
    default="packaged",
    show_default=True,
    metavar="packaged|yunet:PATH",
    help="What finds the faces: MTCNN, which the `align` extra brings, or YuNet with the path of its ONNX file.",
)
@click.option(
    "--landmarks",
    metavar="FILE.json",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help='Take the points from here, with no detector: {"sub/name.jpg": [[x, y], ... five] or null, ...}, in pixels:'
    " left eye, right eye, nose, left and right corner of the mouth; left is left in the picture.  [default: none]",
)
@click.option(
    "--size",
    default=512,
    show_default=True,
    metavar="PX",
    type=click.IntRange(min=1),
    help="Side of the aligned faces, pixels.",
)
@click.option(
    "--face",
    default="largest",
    show_default=True,
    type=click.Choice(["largest", "central", "all"]),
    help="Which of several faces in a photo; `all` writes NAME_0.png, NAME_1.png, ..., the largest first.",
)
@click.option(
    "--min-score",
    default=0.8,
    show_default=True,
    metavar="SCORE",
    type=click.FloatRange(0, 1),
    help="Least confidence of the detector, 0 to 1.",
)
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(min=0),
    help="Worker processes; 0 works in this process.  [default: one per processor with Ray installed, else 0]",
)
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.  [default: off]")
def align_command(
    source: str,
    out_dir: Path,
    detector: str,
    landmarks: Path | None,
    size: int,
    face: FaceChoice,
    min_score: float,
    workers: int | None,
    dry_run: bool,
) -> None:
    """Cut faces out of photos in FFHQ framing, turned upright.

    \b
    Example:
      degrade-kit align --input photos --out aligned

    A rerun takes up what is not done. OUT/align.jsonl says of each face where it was, how much of its square lay
    outside the photo (shown by mirroring), and whether it had to be enlarged: such a face is no HQ image.

    Exit status: 0 if every photo gave a face, 3 if some did not (see OUT/align_failures.jsonl), 2 for wrong options.
    """  # noqa: D301 (click reads the \b itself)
    from pipelines.align import AlignConfig, align_sources, plan_alignment
    from pipelines.executor import ExecutorConfig, default_workers

    config = AlignConfig(
        input=source,
        out_dir=out_dir,
        detector=detector,
        landmarks=landmarks,
        size=size,
        face=face,
        min_score=min_score,
    )
    if dry_run:
        plan = plan_alignment(config)
        click.echo(f"{len(plan.stems)} photos in {source}, {len(plan.done)} of them done in {out_dir}")
        click.echo(f"the first face would be {plan.example()}, {size} x {size} pixels; nothing was done")
        return
    executor = ExecutorConfig(workers=default_workers() if workers is None else workers)
    report = align_sources(config, executor, progress=_progress_line())
    _print_summary(report, out_dir)
    if not report.complete:
        click.get_current_context().exit(3)


def _print_summary(report: AlignReport, out_dir: Path) -> None:
    click.echo(
        f"{report.faces} faces from {report.photos} photos are in {out_dir} ({report.resumed} photos done before)"
    )
    click.echo(f"{report.enlarged} of them enlarged, {report.padded} with more than a tenth outside the photo")
    for reason, count in report.failures.items():
        click.echo(f"without a face: {count} photos, {reason}; see {out_dir / 'align_failures.jsonl'}")
    click.echo(f"next: degrade-kit synth --hq {out_dir} --shards shards")


def _progress_line(interval: float = 5.0) -> Callable[[int, int], None]:
    """A function that says now and then, on standard error, how far the run is."""
    begin = shown = time.monotonic()
    handled_at_begin = -1

    def show(handled: int, total: int) -> None:
        nonlocal shown, handled_at_begin, begin
        now = time.monotonic()
        if handled_at_begin < 0:
            handled_at_begin, begin = handled, now
        elif now - shown >= interval:
            shown = now
            rate = (handled - handled_at_begin) / (now - begin)
            left = (total - handled) / rate / 60
            click.echo(f"{handled} of {total} photos, {rate:.1f} per second, {left:.0f} min left", err=True)

    return show
