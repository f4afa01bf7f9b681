"""`degrade-kit doctor`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from degrade_kit.pipelines.commands.types import LocalPath
from degrade_kit.pipelines.commands.words import command, option


@command("doctor", "Show versions, hardware, and what is missing")
@option(
    "--folder",
    type=LocalPath(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    unset="this one",
    help="Folder whose free space is shown.",
)
def doctor_command(folder: Path) -> None:
    """Show versions, machine and codecs, and what is missing for which command.

    Exit status 1 if something that `synth` needs does not work; a missing extra is no error.
    """
    from degrade_kit.pipelines.doctor import examine

    findings = examine(folder)
    for finding in findings:
        click.echo(f"{'ok' if finding.ok else '--'}  {finding.name:16} {finding.value}")
    if not all(finding.ok or finding.optional for finding in findings):
        sys.exit(1)
