"""`degrade-kit fit-recipe`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from degrade_kit.pipelines.commands.options import (
    config_option,
    echo_report,
    executor_options,
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
@click.option("--dry-run", is_flag=True, help="Print the plan and do nothing.  [default: off]")
@executor_options
@config_option
def fit_recipe_command(**options: Any) -> None:  # noqa: ANN401 (the arguments of `fit_recipe`, by name)
    """Tune a recipe's ranges and probabilities until its LQ images are like given photographs.

    Half of the photographs are held out, and the distance to them is reported before and after. The recipe works in
    `synth`, and a sheet beside it shows photographs, the recipe at the start and the fitted one.

    \b
    Example:
      degrade-kit fit-recipe --real my_photos --hq ffhq --preset gfpgan --out mine.yaml
      degrade-kit synth --hq ffhq --shards out --preset mine.yaml
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.pipelines.distribution.fit_recipe import fit_recipe

    found = fit_recipe(progress=lambda line: click.echo(line, err=True), **options)
    echo_report(found)
    if options["dry_run"]:
        return
    if not found.nearer:
        sys.exit(1)
    click.echo(f"next: degrade-kit synth --hq {options['hq']} --shards OUT --preset {options['out']}")
