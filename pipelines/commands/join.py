"""`degrade-kit join`."""

from __future__ import annotations

import sys

import click

from degrade_kit.pipelines.commands.options import executor_config, executor_options


@click.command("join")
@click.argument("shards", metavar="SHARDS")
@click.option(
    "--hq",
    required=True,
    metavar="PLACE",
    help="Your own copy of the faces: a folder, list, .zip, tars or .lmdb, as in `synth`.",
)
@click.option("--out", required=True, metavar="DIR|URL", help="Where to write the data set to.")
@executor_options
def join_command(shards: str, hq: str, out: str, workers: int | None, ray_address: str | None) -> None:
    """Put HQ images back into a data set that was published without them.

    \b
    Example:
      degrade-kit join published --hq ffhq --out pairs

    Each face is prepared as it was for the LQ images, and compared with what they were made of: by its bytes, or by its
    pixels where another encoder wrote the file. Run it again to go on, or with the faces that were missing: samples
    that were put together before stay.

    Exit status 3 if some faces are missing or other ones: their samples are left out, and listed in
    OUT/.degrade_kit/failures.jsonl.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.pipelines.commands.progress import ProgressLine
    from degrade_kit.pipelines.dataset.join import JoinJob, join

    job = JoinJob(shards=shards, hq=hq, out=out)
    with ProgressLine() as progress:
        report = join(job, executor_config(workers, ray_address), progress)
    click.echo(f"{report.samples:,} samples in {report.shards:,} shards; {report.kept:,} shards kept from before")
    if report.digest == report.original_digest:
        click.echo(f"byte by byte the data set {report.digest[:12]} that the LQ images were taken from")
    elif report.other_files:
        click.echo(f"{report.other_files:,} HQ images have other files than there, with the same pixels")
    for failure in report.left_out[:5]:
        click.echo(f"left out: {failure.source}: {failure.reason}: {failure.detail}", err=True)
    if report.left_out:
        click.echo(f"{len(report.left_out):,} samples left out; see {out}/.degrade_kit/failures.jsonl", err=True)
        sys.exit(3)
    click.echo(f"next: degrade-kit verify {out}")
