"""`degrade-kit fit-recipe`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from degrade_kit.pipelines.commands.options import (
    config_option,
    executor_config,
    executor_options,
    human_time,
    measured_images_options,
)


@click.command("fit-recipe")
@click.option("--real", required=True, metavar="PLACE", help="Photographs to be like: as `synth --hq` takes them.")
@click.option("--hq", required=True, metavar="PLACE", help="HQ faces to degrade.")
@click.option(
    "--preset",
    default="flipnet-paper",
    show_default=True,
    metavar="NAME|FILE.yaml",
    help="Recipe to begin with; see `degrade-kit presets`.",
)
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The fitted recipe, a YAML file."
)
@measured_images_options
@click.option("--faces", type=click.IntRange(2), default=40, show_default=True, help="HQ faces used.")
@click.option(
    "--images", type=click.IntRange(2), default=24, show_default=True, help="Made of each variant of the recipe."
)
@click.option("--variants", type=click.IntRange(1), default=60, show_default=True, help="Of the recipe at the start.")
@click.option("--rounds", type=click.IntRange(0), default=3, show_default=True, help="Of varying the best of them.")
@click.option("--parts", type=click.IntRange(1), default=6, show_default=True, help="Of the fitted mixture at most.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of everything that is drawn.")
@executor_options
@config_option
def fit_recipe_command(
    real: str,
    hq: str,
    preset: str,
    out: Path,
    size: int,
    allow_resize: bool,
    max_images: int,
    faces: int,
    images: int,
    variants: int,
    rounds: int,
    parts: int,
    seed: int,
    workers: int | None,
    ray_address: str | None,
) -> None:
    """Tune a recipe's ranges and probabilities until its LQ images are like given photographs.

    Half of the photographs are held out, and the distance to them is reported before and after. The recipe works in
    `synth`, and a sheet beside it shows photographs, the recipe at the start and the fitted one.

    \b
    Example:
      degrade-kit fit-recipe --real my_photos --hq ffhq --preset gfpgan --out mine.yaml
      degrade-kit synth --hq ffhq --shards out --preset mine.yaml
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.analysis.fit import FitConfig
    from degrade_kit.pipelines.distribution.fit_recipe import FitRecipeConfig, fit_recipe
    from degrade_kit.presets import resolve_recipe

    config = FitRecipeConfig(
        real=real,
        hq=hq,
        start=resolve_recipe(preset),
        size=size,
        allow_resize=allow_resize,
        max_images=max_images,
        faces=faces,
        images=images,
        seed=seed,
        search=FitConfig(first=variants, rounds=rounds, options=parts),
    )
    start = time.monotonic()
    found = fit_recipe(config, out, executor_config(workers, ray_address), lambda line: click.echo(line, err=True))
    click.echo(
        f"whitened KID to {found.held_out:,} photographs that were not fitted to: {found.before.value:.3f} "
        f"[{found.before.low:.3f}, {found.before.high:.3f}] before, {found.after.value:.3f} [{found.after.low:.3f}, "
        f"{found.after.high:.3f}] after, {found.chance:.3f} between halves of the photographs"
    )
    click.echo(f"{found.parts} parts, in {human_time(time.monotonic() - start)}: {out}, {out.with_suffix('.png')}")
    if found.after.value >= found.before.value:
        click.echo("the fit did not bring it nearer; give more photographs, --variants or --rounds", err=True)
        sys.exit(1)
    click.echo(f"next: degrade-kit synth --hq {hq} --shards OUT --preset {out}")
