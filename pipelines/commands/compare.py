"""`degrade-kit compare`."""

from __future__ import annotations

from pathlib import Path

import click

from degrade_kit.pipelines.commands.types import PLACE
from degrade_kit.pipelines.commands.words import command, option, word


@command("compare", "Put several evaluations into one table and sheet")
@click.argument("evaluations", nargs=-1, required=True, metavar="[NAME=]EVALUATION...", type=PLACE)
@word("--out", ": a folder for the tables and the sheet", required=True)
@word("--lq", ", as the first column of the sheet", unset="none")
@option("--rows", type=click.IntRange(1, 50), default=6, help="Rows of the sheet, an image each.")
@option("--several-sets", is_flag=True, help="Take evaluations of several test sets, a table for each.")
def compare_command(evaluations: tuple[str, ...], out: Path, lq: str | None, rows: int, several_sets: bool) -> None:
    """Put several evaluations into one table, and their images side by side.

    \b
    Examples:
      degrade-kit compare eval/gfpgan CodeFormer=eval/codeformer --lq celeba_test/lq --out table
      degrade-kit compare O=eval/o_lfw O=eval/o_wider O/F=eval/of_lfw O/F=eval/of_wider --several-sets --out table2

    Writes compare.md, compare.html, compare.tex and sheet.png. Evaluations by different protocols are refused, and so
    are those of different images.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.files import local_path
    from degrade_kit.pipelines.evaluation.compare import compare_evaluations

    named: list[tuple[str, Path]] = []
    for text in evaluations:
        name, equals, place = text.partition("=")
        path = local_path(place) if equals and not Path(text).is_dir() else Path(text)
        named.append((name if path != Path(text) else path.resolve().name, path))
    found = compare_evaluations(named, out, lq=lq, images=rows, several_sets=several_sets)
    click.echo(found.text)
    if found.note:
        click.echo(found.note, err=True)
    for file in found.files:
        click.echo(f"  {file}")
