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
from degrade_kit.pipelines.commands.types import PLACE, LocalPath
from degrade_kit.pipelines.commands.words import command, not_with, only_with, option, word


@command("fit-recipe", "Tune a recipe until its LQ images look like photos")
@word("--real", "; the LQ images are to be like them", required=True)
@word("--hq", "; they are degraded", required=True)
@option(
    "--kind",
    type=click.Choice(["ranges", "bank"]),
    default="ranges",
    help="`ranges` tunes a recipe's ranges; `bank` finds records near each photograph, and comes nearer.",
)
@word("--preset", "; what a fit of ranges begins with", unset="flipnet-paper", needs=only_with("kind", "ranges"))
@word(
    "--out",
    ": a YAML file for the fitted recipe; its bank, report and sheet go beside it",
    metavar="FILE.yaml",
    type=LocalPath(dir_okay=False, path_type=Path),
    required=True,
)
@measured_images_options
@word("--num-faces", type=click.IntRange(2), default=40)
@option(
    "--candidates",
    type=click.IntRange(1),
    unset="60; of a bank 40 for each photograph, 600 to 2000",
    help="Variations of the recipe, or records of a bank, that are tried at first.",
)
@option(
    "--images-per-candidate",
    type=click.IntRange(2),
    unset="24",
    needs=only_with("kind", "ranges"),
    help="LQ images that are made by each candidate.",
)
@option("--rounds", type=click.IntRange(0), default=3, help="Times that the best candidates are varied again.")
@option(
    "--parts",
    type=click.IntRange(1),
    unset="6",
    needs=only_with("kind", "ranges"),
    help="Most candidates that the fitted recipe mixes.",
)
@option(
    "--records",
    type=click.IntRange(1),
    unset="8 for each photograph, 80 to 320",
    needs=only_with("kind", "bank"),
    help="Records of a bank.",
)
@option(
    "--held-out",
    type=PLACE,
    metavar="PLACE",
    unset="three in ten of the people in --real",
    needs=only_with("kind", "bank"),
    help="Photographs of other people that judge a bank.",
)
@option(
    "--pool",
    metavar="BANK",
    multiple=True,
    unset="every bank that ships",
    needs=only_with("kind", "bank"),
    help="Bank whose records are varied beside new ones, by name or file, several times for several; or none.",
)
@word(
    "--flipnet",
    "; its images are candidates for a bank beside those of classical steps, and are like each photograph if it can",
    unset="none",
    needs=only_with("kind", "bank"),
)
@word(
    "--detector",
    "; whole photographs are aligned for a bank",
    unset="packaged",
    needs=(only_with("kind", "bank"), not_with("allow_resize")),
)
@word(
    "--feature-cache",
    "; a search for a bank keeps them in a hidden folder beside FILE.yaml until it is done",
    unset="none",
    needs=only_with("kind", "bank"),
)
@word("--seed", default=0)
@word("--dry-run")
@executor_options
def fit_recipe_command(**options: Any) -> None:  # noqa: ANN401 (the arguments of `fit_recipe`, by name)
    """Find a recipe whose LQ images are like given photographs.

    By ranges, a recipe's ranges and probabilities are tuned. For a bank, records near photographs are found: ten
    photographs suffice, and sizes and files are as they tell themselves. What judges took no part in the fit: half of
    the photographs, or for a bank other people and other faces. The recipe works in `synth`; a sheet beside it shows
    photographs and what the recipe makes. A search for a bank that was stopped goes on when it is run again.

    \b
    Examples:
      degrade-kit fit-recipe --real my_photos --hq ffhq --preset gfpgan --out mine.yaml
      degrade-kit fit-recipe --real my_photos --hq ffhq --kind bank --out mine.yaml
      degrade-kit synth --hq ffhq --shards out --preset mine.yaml
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.pipelines.distribution.fit_recipe import fit_recipe

    options["pool"] = {(): None, ("none",): ()}.get(options["pool"], options["pool"])
    found = fit_recipe(progress=lambda line: click.echo(line, err=True), **options)
    echo_report(found)
    if options["dry_run"]:
        return
    if not found.nearer:
        sys.exit(1)
    click.echo(f"next: degrade-kit synth --hq {options['hq']} --shards OUT --preset {options['out']}")
