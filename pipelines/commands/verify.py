"""`degrade-kit verify`."""

from __future__ import annotations

import sys

import click

from degrade_kit.pipelines.commands.options import (
    echo_report,
    executor_options,
    moved_flipnet_option,
    quiet_model_loading,
)
from degrade_kit.pipelines.commands.types import PLACE
from degrade_kit.pipelines.commands.words import Needs, command, option, word


@command("verify", "Check a data set: hashes, images, records")
@click.argument("shards", metavar="SHARDS", type=PLACE)
@option(
    "--replay",
    type=click.FloatRange(0, 1),
    default=0.05,
    help="Share of the samples whose LQ images are made again from their records and compared.",
)
@moved_flipnet_option(Needs(met=lambda given: given["replay"] > 0, otherwise="with --replay 0"))
@word("--dry-run")
@executor_options
def verify_command(
    shards: str,
    replay: float,
    flipnet: str | None,
    dry_run: bool,
    workers: int | None,
    ray_address: str | None,
    wait: float,
) -> None:
    """Check a data set: hashes, counts, layout, every image, and records against stored pixels.

    \b
    Examples:
      degrade-kit verify out/ffhq
      degrade-kit verify out/ffhq --replay 1

    Exit status 0 if all is well, 1 if anything is not; each problem is one line.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.pipelines.dataset.verify import verify

    quiet_model_loading()
    report = verify(
        shards, replay=replay, flipnet=flipnet, dry_run=dry_run, workers=workers, ray_address=ray_address, wait=wait
    )
    echo_report(report)
    if dry_run:
        return
    if report.problems:
        sys.exit(1)
    if report.lq_only:
        click.echo(f"whole, of LQ images alone. next: degrade-kit join {shards} --hq FACES --out PAIRS")
        return
    click.echo(f"whole. next: degrade-kit inspect {shards}")
