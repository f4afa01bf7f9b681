"""Write docs/cli.md, the reference of the command line, from the commands themselves.

python docs/generate_cli.py
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from degrade_kit.pipelines.commands.words import WORDS

WIDTH = 100
INTRODUCTION = """\
# Command line

The `--help` text of every command. This page is generated: after a change to a command, run
`python docs/generate_cli.py`.
"""
CONFIG = """\
## Values from a file

Every command takes `--config FILE.yaml`, with values for its options: names as on the command line, with dashes or
underscores, and lists where an option may be given several times. Of several files the later ones win, and the command
line wins over all. A key that is no option of the command is an error.

```yaml
hq: faces
preset: gfpgan          # or a file, or the recipe itself in place of its name
samples_per_shard: 1000
workers: 4
```

`train-degrade` and `train-restore` find the sections of their training configuration in the same files:
`--config small --config mine.yaml` takes those of `small`, with the keys that `mine.yaml` changes. Without a section
in any file they are those of `sd21`.

The `config.yaml` that a run leaves can be given again. `synth --config OUT/.degrade_kit/config.yaml --hq FACES --shards
OUT2` makes the same data set from the same faces. `train-degrade --config RUN/config.yaml --out RUN2` trains the same
model, and so does `train-restore --config RUN/restoration/config.yaml --out RUN2` for a stage.
"""
COMPLETION = """\
## Completion

The shell completes commands, options, files, and the names of presets, modes, models, protocols and weights, after one
line in a file of its own:

- bash, `~/.bashrc`: `eval "$(_DEGRADE_KIT_COMPLETE=bash_source degrade-kit)"`
- zsh, `~/.zshrc`: `eval "$(_DEGRADE_KIT_COMPLETE=zsh_source degrade-kit)"`
- fish, `~/.config/fish/completions/degrade-kit.fish`: `_DEGRADE_KIT_COMPLETE=fish_source degrade-kit | source`
"""


def render_cli_reference(
    group: click.Group, name: str = "degrade-kit", groups: Mapping[str, Sequence[click.Command]] | None = None
) -> str:
    """Return the Markdown page for `group` and all its commands, under their headings or, without any, in its order."""
    root = _context(group, name, None)
    sections = [INTRODUCTION, _section(root, "##")]
    if groups is None:
        sections += [_section(context, "##") for context in _below(group, root)]
        return "\n".join(sections)
    sections += [_words(group), CONFIG, COMPLETION]
    for heading, members in groups.items():
        sections.append(f"## {heading}\n")
        sections += [_section(_context(member, member.name or "", root), "###") for member in members]
    return "\n".join(sections)


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    context.terminal_width = context.max_content_width = WIDTH
    return context


def _below(group: click.Group, parent: click.Context) -> Iterator[click.Context]:
    """Yield the contexts of a group's commands and, in turn, of theirs; hidden ones are left out."""
    for child in group.list_commands(parent):
        command = group.get_command(parent, child)
        if command is not None and not command.hidden:
            context = _context(command, child, parent)
            yield context
            if isinstance(command, click.Group):
                yield from _below(command, context)


def _section(context: click.Context, level: str) -> str:
    text = click.unstyle(context.command.get_help(context))
    lines = "\n".join(line.rstrip() for line in text.strip().splitlines())
    return f"{level} {context.command_path}\n\n```text\n{lines}\n```\n"


def _words(group: click.Group) -> str:
    """A table of the options that several commands have."""
    lines = [
        "## One word, one meaning\n",
        "An option that several commands have means the same in all of them. One that would have no effect beside the "
        "others is\nan error.\n",
        "| option | meaning | commands |",
        "|---|---|---|",
    ]
    for flag, word in WORDS.items():
        users = [
            f"`{command.name}`"
            for command in group.commands.values()
            if any(flag in param.opts for param in command.params)
        ]
        shown = f"`{flag} {word.metavars[0]}`" if word.metavars else f"`{flag}`"
        lines.append(f"| {shown.replace('|', '&#124;')} | {word.meaning} | {', '.join(users)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from degrade_kit.pipelines.cli import GROUPS, main

    Path(__file__).with_name("cli.md").write_text(render_cli_reference(main, groups=GROUPS), encoding="utf-8")
