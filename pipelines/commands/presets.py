"""`degrade-kit presets`."""

from __future__ import annotations

import click

from degrade_kit.pipelines.commands.types import PRESET_NAME
from degrade_kit.pipelines.commands.words import command


@command("presets", "List the published recipes, or print one as YAML")
@click.argument("name", required=False, metavar="[NAME]", type=PRESET_NAME)
def presets_command(name: str | None) -> None:
    """List the published recipes, or print one as YAML to start your own from.

    \b
    Examples:
      degrade-kit presets
      degrade-kit presets gfpgan > mine.yaml
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.presets import COMMITS, preset, preset_names

    if name is not None:
        from degrade_kit.files import plain_yaml

        click.echo(plain_yaml(preset(name).to_mapping()).strip())
        return
    width = max(map(len, preset_names()))
    for recipe in map(preset, preset_names()):
        commit = f" at commit {COMMITS[recipe.name]}" if recipe.name in COMMITS else ""
        click.echo(f"{recipe.name:{width}}  {recipe.digest()}  {recipe.source}{commit}")
    click.echo("next: degrade-kit preview --hq FACES --preset NAME --out preview.png")
