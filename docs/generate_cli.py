"""Write docs/cli.md, the reference of the command line, from the commands themselves.

python docs/generate_cli.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

WIDTH = 100
INTRODUCTION = """\
# Command line

The `--help` text of every command. This page is generated: after a change to a command, run
`python docs/generate_cli.py`.
"""


def render_cli_reference(group: click.Group, name: str = "degrade-kit") -> str:
    """Return the Markdown page for `group` and all its commands, sorted by name."""
    sections = [INTRODUCTION]
    for context in _contexts(group, name, parent=None):
        text = click.unstyle(context.command.get_help(context))
        lines = "\n".join(line.rstrip() for line in text.strip().splitlines())
        sections.append(f"## {context.command_path}\n\n```text\n{lines}\n```\n")
    return "\n".join(sections)


def _contexts(command: click.Command, name: str, parent: click.Context | None) -> Iterator[click.Context]:
    """Yield the context of a command, then those of its sub-commands; hidden ones are left out."""
    context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    context.terminal_width = context.max_content_width = WIDTH
    yield context
    if isinstance(command, click.Group):
        for child in sorted(command.list_commands(context)):
            subcommand = command.get_command(context, child)
            if subcommand is not None and not subcommand.hidden:
                yield from _contexts(subcommand, child, context)


if __name__ == "__main__":
    from degrade_kit.pipelines.cli import main

    Path(__file__).with_name("cli.md").write_text(render_cli_reference(main), encoding="utf-8")
