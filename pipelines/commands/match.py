"""`degrade-kit match`."""

from __future__ import annotations

import sys
from typing import Any

import click

from degrade_kit.pipelines.commands.options import echo_report, executor_options
from degrade_kit.pipelines.commands.words import command, word


@command("match", "Make pairs whose LQ images are like your photos")
@word("--real", ", at least ten with a face, whole or aligned", required=True)
@word("--hq", "; they are degraded", required=True)
@word("--shards", "; it is written here", required=True)
@word("--out", ": a folder for recipe, report and page", unset="SHARDS-match")
@word("--size", "; photographs of this size are taken as aligned", type=click.IntRange(16), default=512)
@word("--variants", type=click.IntRange(1, 1000), default=1)
@word("--num-faces", type=click.IntRange(4), default=40)
@word("--flipnet", "; its images are candidates for the bank, and are like each photograph if it can", unset="none")
@word("--detector", default="packaged")
@word("--seed", default=0)
@word("--dry-run")
@executor_options
def match_command(**options: Any) -> None:  # noqa: ANN401 (the arguments of `match`, by name)
    """Make a data set whose LQ images are like given photographs, in one go.

    The photographs are aligned (`align`), a bank of records is found near them (`fit-recipe --kind bank`), the HQ faces
    are degraded by it (`synth`), and the result is compared with them (`analyze-distribution`). OUT/index.html shows
    the photographs beside what was made. Run it again to resume.

    \b
    Example:
      degrade-kit match --real my_photos --hq ffhq --shards out

    Exit status: 3 if some faces could not be used.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.pipelines.match import match

    found = match(progress=lambda line: click.echo(line, err=True), **options)
    echo_report(found)
    if options["dry_run"]:
        return
    if not found.complete:
        sys.exit(3)
    click.echo(f"next: degrade-kit verify {options['shards']}")
