"""`degrade-kit fit-recipe`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from degrade_kit.pipelines.commands.options import (
    echo_report,
    executor_options,
    measured_images_options,
)
from degrade_kit.pipelines.commands.types import LocalPath
from degrade_kit.pipelines.commands.words import command, option, word


@command("fit-recipe", "Tune a recipe until its LQ images look like photos")
@word("--real", "; the LQ images are to be like them", required=True)
@word("--hq", "; they are degraded", required=True)
@word("--preset", "; what the fit begins with", default="flipnet-paper")
@word(
    "--out",
    ": a YAML file for the fitted recipe",
    metavar="FILE.yaml",
    type=LocalPath(dir_okay=False, path_type=Path),
    required=True,
)
@measured_images_options
@word("--num-faces", type=click.IntRange(2), default=40)
@option("--candidates", type=click.IntRange(1), default=60, help="Variations of the recipe that are tried at first.")
@option("--images-per-candidate", type=click.IntRange(2), default=24, help="LQ images that are made by each candidate.")
@option("--rounds", type=click.IntRange(0), default=3, help="Times that the best candidates are varied again.")
@option("--parts", type=click.IntRange(1), default=6, help="Most candidates that the fitted recipe mixes.")
@word("--seed", default=0)
@word("--dry-run")
@executor_options
def fit_recipe_command(**options: Any) -> None:  # noqa: ANN401 (the arguments of `fit_recipe`, by name)
    """Tune a recipe's ranges and probabilities until its LQ images are like given photographs.

    Half of the photographs are held out; the distance to them is printed before and after. The recipe works in `synth`,
    and a sheet beside it shows photographs, the recipe at the start and the fitted one.

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
