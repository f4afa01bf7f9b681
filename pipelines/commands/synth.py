"""`degrade-kit synth`."""

from __future__ import annotations

import sys
from typing import Any

import click

from degrade_kit.pipelines.commands.options import (
    config_option,
    echo_report,
    executor_options,
    flipnet_options,
    parse_prompts,
    parse_range,
    quiet_model_loading,
)


@click.command("synth")
@click.option("--hq", required=True, metavar="SOURCE", help="HQ faces: a folder tree, list file, zip, tars or LMDB.")
@click.option(
    "--shards", "out", required=True, metavar="OUT", help="Where to write: a folder, or an fsspec URL such as s3://..."
)
@click.option(
    "--preset", default="flipnet-paper", show_default=True, metavar="NAME|FILE.yaml", help="Recipe; see `presets`."
)
@click.option(
    "--mode",
    type=click.Choice(["onthefly", "flipnet", "mix"]),
    default="onthefly",
    show_default=True,
    help="What makes LQ images: the recipe, a FlipNet, or for each variant one of both.",
)
@click.option(
    "--mix", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="In --mode mix, the FlipNet's share."
)
@flipnet_options
@click.option("--variants", type=click.IntRange(1, 1000), default=1, show_default=True, help="LQ images per HQ image.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all draws.")
@click.option("--size", type=int, default=512, show_default=True, help="Side of the HQ images, pixels; 0 keeps them.")
@click.option(
    "--hq-filter",
    type=click.Choice(["lanczos", "bicubic", "area"]),
    default="lanczos",
    show_default=True,
    help="Filter for HQ images of another size; the first two are Pillow's, antialiased.",
)
@click.option(
    "--crop",
    type=click.Choice(["center", "error"]),
    default="center",
    show_default=True,
    help="Images that are not square: take the central square, or count them as failures.",
)
@click.option(
    "--hq-format",
    type=click.Choice(["auto", "png", "jpg", "webp"]),
    default="auto",
    show_default=True,
    help="Format of HQ images; files of it that need no change are passed through. auto: the sources', if possible.",
)
@click.option(
    "--lq-size",
    type=click.Choice(["native", "full"]),
    default="native",
    show_default=True,
    help="Store LQ images before their last enlargement, which readers run, or complete.",
)
@click.option(
    "--min-side", type=click.IntRange(1), default=32, show_default=True, help="Refuse smaller images, pixels."
)
@click.option(
    "--alpha",
    type=click.Choice(["black", "white", "error"]),
    default="black",
    show_default=True,
    help="What shows through transparent pixels.",
)
@click.option(
    "--include",
    metavar="GLOB",
    help="Use only sources whose relative name matches, such as '*.hq.png'.  [default: all]",
)
@click.option(
    "--samples-per-shard",
    type=click.IntRange(0),
    default=0,
    show_default="an eighth of the images, at most 1000",
    help="HQ images per shard.",
)
@click.option(
    "--shard-range", metavar="START:STOP", help="Make only these shards, for job arrays without Ray.  [default: all]"
)
@click.option(
    "--max-failures",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of the inputs that may be unusable before the exit status is 3.",
)
@click.option(
    "--overwrite", is_flag=True, help="Replace a data set of another configuration; other files stay.  [default: off]"
)
@click.option("--dry-run", is_flag=True, help="Print the plan with size and time, and write nothing.  [default: off]")
@executor_options
@config_option
def synth_command(
    prompts: tuple[str, ...],
    shard_range: str | None,
    max_failures: float,
    dry_run: bool,
    **options: Any,  # noqa: ANN401 (the other arguments of `synthesize`, by name)
) -> None:
    """Make LQ/HQ pairs from faces and write them as WebDataset shards.

    \b
    Examples:
      degrade-kit synth --hq ffhq/images1024x1024 --shards out/ffhq --preset gfpgan
      degrade-kit synth --hq faces --shards out/faces --variants 5 --seed 1 --dry-run
      degrade-kit synth --hq faces --shards out/mixed --mode mix --flipnet runs/degrade/model --variants 5

    Run it again to resume: finished shards are kept. The result is the same, bit by bit, with any number of workers and
    after any number of interruptions.
    """  # noqa: D301 (click reads the \b itself)
    if not options["download"]:
        quiet_model_loading()
    from degrade_kit.pipelines.commands.progress import ProgressLine
    from degrade_kit.pipelines.synth.synthesize import synthesize

    chosen = parse_range(shard_range)
    with ProgressLine() as progress:
        report = synthesize(
            prompts=parse_prompts(prompts), shard_range=chosen, dry_run=dry_run, progress=progress, **options
        )
    echo_report(report)
    if dry_run:
        return
    if report.complete:
        click.echo(f"next: degrade-kit verify {report.out}")
    failed = sum(report.failures.values())
    total = report.num_sources + report.num_skipped
    if report.shards_failed or failed > max_failures * total or (chosen is None and not report.complete):
        sys.exit(3)
