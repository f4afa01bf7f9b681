"""`degrade-kit presets`."""

from __future__ import annotations

import click

from degrade_kit.pipelines.commands.types import PRESET_NAME
from degrade_kit.pipelines.commands.words import command


@command("presets", "List the published recipes, or print one as YAML")
@click.argument("name", required=False, metavar="[NAME]", type=PRESET_NAME)
@click.option(
    "--schema",
    is_flag=True,
    show_default="one or all presets",
    help="Print the JSON Schema of recipes, by which editors complete and check.",
)
def presets_command(name: str | None, *, schema: bool) -> None:
    """List the published recipes, or print one as YAML to start your own from.

    \b
    Examples:
      degrade-kit presets
      degrade-kit presets gfpgan > mine.yaml
      degrade-kit presets --schema > recipe.schema.json
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.presets import COMMITS, preset, preset_names

    if schema:
        if name is not None:
            raise click.UsageError(f"--schema is of all recipes; leave out {name}")
        import json

        from degrade_kit.recipe_schema import recipe_schema

        click.echo(json.dumps(recipe_schema(), indent=1))
        return
    if name is not None:
        from degrade_kit.files import recipe_yaml

        click.echo(recipe_yaml(preset(name).to_mapping()).strip())
        return
    width = max(map(len, preset_names()))
    for recipe in map(preset, preset_names()):
        commit = f" at commit {COMMITS[recipe.name]}" if recipe.name in COMMITS else ""
        click.echo(f"{recipe.name:{width}}  {recipe.digest()}  {recipe.source}{commit}")
    click.echo("next: degrade-kit preview --hq FACES --preset NAME --out preview.png")
