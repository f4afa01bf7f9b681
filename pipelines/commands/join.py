"""`degrade-kit join`."""

from __future__ import annotations

import sys

import click

from degrade_kit.pipelines.commands.options import executor_config, executor_options
from degrade_kit.pipelines.commands.plan import print_estimate
from degrade_kit.pipelines.commands.types import PLACE, LocalPath
from degrade_kit.pipelines.commands.words import command, word
from degrade_kit.wording import counted_noun


@command("join", "Put HQ images back into a data set without them")
@click.argument("shards", metavar="SHARDS", type=PLACE)
@word("--hq", ": your own copy of the data set's", required=True)
@word("--out", ": a data set", metavar="DIR|URL", type=LocalPath(file_okay=False), required=True)
@word("--dry-run")
@executor_options
def join_command(
    shards: str, hq: str, out: str, dry_run: bool, workers: int | None, ray_address: str | None, wait: float
) -> None:
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
    from degrade_kit.pipelines.dataset.join import JoinJob, join, plan_join
    from degrade_kit.shards import LQ_ONLY

    job, executor = JoinJob(shards=shards, hq=hq, out=out), executor_config(workers, ray_address, wait)
    if dry_run:
        plan = plan_join(job)
        total = plan.bare.manifest["num_shards"]
        click.echo(
            f"{plan.samples:,} samples in {len(plan.todo):,} of {total:,} shards to put together, with faces from "
            f"{plan.faces:,} images in {hq}"
        )
        # Known beforehand where the faces are found: the shards that the LQ images were taken from.
        whole = {entry["name"]: entry["bytes"] for entry in plan.bare.manifest[LQ_ONLY]["shards"]}
        print_estimate(executor, plan.effort, sum(whole.get(name, 0) for name in plan.todo))
        return
    with ProgressLine() as progress:
        report = join(job, executor, progress)
    click.echo(
        f"{counted_noun(report.samples, 'sample')} in {counted_noun(report.shards, 'shard')}; "
        f"{counted_noun(report.kept, 'shard')} kept from before"
    )
    if report.digest == report.original_digest:
        click.echo(f"byte by byte the data set {report.digest[:12]} that the LQ images were taken from")
    elif report.other_files:
        click.echo(f"{report.other_files:,} HQ images have other files than there, with the same pixels")
    for failure in report.left_out[:5]:
        click.echo(f"left out: {failure.source}: {failure.reason}: {failure.detail}", err=True)
    if report.left_out:
        left_out = counted_noun(len(report.left_out), "sample")
        click.echo(f"{left_out} left out; see {out}/.degrade_kit/failures.jsonl", err=True)
        sys.exit(3)
    click.echo(f"next: degrade-kit verify {out}")
