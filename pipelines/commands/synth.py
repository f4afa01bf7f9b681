"""`degrade-kit synth`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from degrade_kit.pipelines.commands.options import (
    config_option,
    counted,
    echo_licence,
    executor_config,
    executor_options,
    flipnet_options,
    flipnet_settings,
    human_bytes,
    human_time,
    parse_range,
)

if TYPE_CHECKING:
    from degrade_kit.pipelines.synth.plan import Plan
    from degrade_kit.pipelines.synth.synthesize import SynthReport


@click.command("synth")
@click.option("--hq", required=True, metavar="SOURCE", help="HQ faces: a folder tree, list file, zip, tars or LMDB.")
@click.option(
    "--shards", required=True, metavar="OUT", help="Where to write: a folder, or an fsspec URL such as s3://..."
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
    shards: str,
    preset: str,
    shard_range: str | None,
    max_failures: float,
    overwrite: bool,
    dry_run: bool,
    workers: int | None,
    ray_address: str | None,
    gpus_per_worker: float,
    **options: Any,  # noqa: ANN401 (the options of SynthConfig, by name)
) -> None:
    """Make LQ/HQ pairs from faces and write them as WebDataset shards.

    \b
    Examples:
      degrade-kit synth --hq ffhq/images1024x1024 --shards out/ffhq --preset gfpgan
      degrade-kit synth --hq faces --shards out/faces --variants 5 --seed 1 --dry-run
      degrade-kit synth --hq faces --shards out/mixed --mode mix --flipnet small --variants 5

    Run it again to resume: finished shards are kept. The result is the same, bit by bit, with any number of workers and
    after any number of interruptions.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.pipelines.commands.progress import ProgressLine
    from degrade_kit.pipelines.synth.plan import make_plan
    from degrade_kit.pipelines.synth.synthesize import synthesize

    config = _config(preset, options)
    plan = make_plan(config)
    executor = executor_config(workers, ray_address, gpus_per_worker)
    chosen = parse_range(shard_range)
    echo_licence("" if plan.config.flipnet is None else plan.config.flipnet.licence)
    if dry_run:
        _print_plan(plan, shards, executor.workers)
        return
    with ProgressLine() as progress:
        report = synthesize(plan, shards, executor, overwrite=overwrite, shard_range=chosen, progress=progress)
    _print_report(report)
    failed = sum(report.failures.values())
    total = report.num_sources + len(plan.sources.skipped)
    if report.shards_failed or failed > max_failures * total or (chosen is None and not report.complete):
        sys.exit(3)


def _config(preset: str, options: dict[str, Any]) -> Any:  # noqa: ANN401 (SynthConfig, imported where it is needed)
    from degrade_kit.hq import HqConfig
    from degrade_kit.pipelines.makers.config import SynthConfig
    from degrade_kit.presets import resolve_recipe

    image = HqConfig(
        size=options.pop("size"),
        filter=options.pop("hq_filter"),
        crop=options.pop("crop"),
        min_side=options.pop("min_side"),
        alpha=options.pop("alpha"),
    )
    flipnet = flipnet_settings(options)
    if options["mode"] == "onthefly":
        flipnet = None
    return SynthConfig(recipe=resolve_recipe(preset), image=image, flipnet=flipnet, **options)


def _print_plan(plan: Plan, shards: str, workers: int) -> None:
    """What would happen, estimated from a few samples."""
    from degrade_kit.pipelines.synth.estimate import estimate

    sample = estimate(plan)
    count = len(plan.sources.names)
    config = plan.config
    click.echo(f"{count:,} images in {config.hq} ({len(plan.sources.skipped):,} more cannot be read)")
    click.echo(f"{config.maker}; {config.variants} variants, seed {config.seed}")
    if config.flipnet is not None:
        prompts = config.flipnet.prompts or (("", 1.0),)
        total = sum(weight for _, weight in prompts)
        shown = ", ".join(f"{prompt or 'null'} ({weight / total:.0%})" for prompt, weight in prompts[:8])
        more = f" and {len(prompts) - 8} more" if len(prompts) > 8 else ""
        click.echo(f"prompts: {shown}{more}")
    click.echo(f"HQ as .{config.image.format} at {config.image.size or 'their own'} pixels, LQ as .{plan.lq_extension}")
    click.echo(f"{plan.num_shards:,} shards of {config.samples_per_shard:,} samples in {shards}")
    if not sample.usable:
        click.echo("none of the images tried can be used")
        return
    processes = max(workers, 1)
    click.echo(
        f"about {human_bytes(sample.bytes * count)} and {human_time(sample.seconds * count / processes)} with "
        f"{processes} process{'es' * (processes > 1)}, from {sample.usable} images tried "
        f"({sample.seconds * 1e3:.0f} ms each)"
    )
    click.echo("dry run: nothing was written")


def _print_report(report: SynthReport) -> None:
    pairs = report.num_samples * report.variants
    made = f"{report.shards_made} made, {report.shards_kept} kept from before" if report.shards_kept else "all made now"
    click.echo(
        f"{report.num_samples:,} samples, {pairs:,} pairs, {report.num_shards} shards ({made}), "
        f"{human_bytes(report.bytes)}, {human_time(report.seconds)}"
    )
    if report.counters:
        click.echo(f"HQ images: {counted(report.counters)}")
    if report.counters.get("enlarged"):
        click.echo(
            "note: an enlarged HQ image has no fine detail to learn; --min-side leaves such images out", err=True
        )
    if report.failures:
        click.echo(f"not usable: {counted(report.failures)}; see {report.url}/.degrade_kit/", err=True)
    for name in report.shards_failed:
        click.echo(f"not made: {name}; run the same command again to retry it", err=True)
    if not report.complete:
        click.echo("the data set is not whole yet: no manifest.json was written", err=True)
        return
    click.echo(f"digest {report.digest}")
    click.echo(f"look at {report.url}/preview.png and {report.url}/README.md")
    click.echo(f"next: degrade-kit verify {report.url}")
