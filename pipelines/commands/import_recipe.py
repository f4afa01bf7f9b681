"""`degrade-kit import-recipe`."""

from __future__ import annotations

from pathlib import Path

import click

from degrade_kit.pipelines.commands.types import LocalPath
from degrade_kit.pipelines.commands.words import command, word


@command("import-recipe", "Make a recipe of another tool's option file")
@click.argument("file", metavar="FILE", type=LocalPath(dir_okay=False, path_type=Path))
@word(
    "--out",
    ": a file for the recipe",
    metavar="FILE.yaml",
    type=LocalPath(dir_okay=False, path_type=Path),
    unset="it is printed",
)
def import_recipe_command(file: Path, out: Path | None) -> None:
    """Make a recipe of another tool's option file, and name what could not be carried over.

    \b
    Examples:
      degrade-kit import-recipe train_gfpgan_v1.yml > gfpgan.yaml
      degrade-kit import-recipe default.hcl --out wtp.yaml

    Reads .yml and .yaml with BasicSR's keys (GFPGAN, CodeFormer, VQFR, DifFace, Real-ESRGAN, StableSR, SeeSR, ResShift,
    DiffBIR and others, traiNNer-redux), .toml of neosr, .hcl of WTP Dataset Destroyer, .py of mmagic and .json of
    albumentations. Nothing in them is run. What is left out stands at the top of the recipe, and on stderr.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.files import write_whole
    from degrade_kit.foreign.reader import import_recipe
    from degrade_kit.pipelines.claim import check_apart

    if out is not None:
        check_apart(out, [("FILE", file)])
    found = import_recipe(file)
    for line in found.left:
        click.echo(f"not carried over: {line}", err=True)
    if out is None:
        click.echo(found.text(), nl=False)
        return
    write_whole(out, found.text())
    click.echo(f"{out}: a recipe of {found.tool}")
    click.echo(f"next: degrade-kit preview --hq FACES --preset {out}")
