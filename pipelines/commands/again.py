"""The command line of a run, to be pasted for the one that follows it."""

from __future__ import annotations

import shlex
from typing import Final

import click

ARGUMENTS: Final = "degrade_kit.arguments"
"""Key of a context's `meta` under which a command keeps its words as they were typed."""


def command_again(context: click.Context, **changes: str) -> str:
    """Write down the command that is running, as it was typed, so that it can be pasted.

    Args:
        context: Of the command.
        changes: Options with a value to give another one, by the names of the command's arguments.
    """
    options = {option: param for param in context.command.params for option in param.opts}
    words: list[str] = []
    typed = iter(context.meta[ARGUMENTS])
    for word in typed:
        option, equals, _ = word.partition("=")
        param = options.get(option) if option.startswith("--") else None
        if param is not None and param.name in changes:
            if not equals:
                next(typed)  # its value
            continue
        words.append(word)
    for name, value in changes.items():
        (param,) = [param for param in context.command.params if param.name == name]
        words += [param.opts[0], value]
    bounds = context.parent.params.get("image_bounds") if context.parent else None
    first = [] if bounds is None else ["--image-bounds", f"{bounds:g}"]
    return shlex.join(["degrade-kit", *first, *context.command_path.split()[1:], *words])
