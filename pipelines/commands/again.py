"""The command line of a run, to be pasted for the one that follows it."""

from __future__ import annotations

import shlex
from typing import Any, cast

import click
from click.core import ParameterSource


def command_again(context: click.Context, **changes: str) -> str:
    """Write down the command that is running, with every option that was given, so that it can be pasted.

    Args:
        context: Of the command.
        changes: Options to give another value, by the names of the command's arguments.
    """
    words = ["degrade-kit", *context.command_path.split()[1:]]  # the first is how the program was started
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if name in changes or given:
            words += _words(parameter, changes.get(name, context.params.get(name)))
    return shlex.join(words)


def _words(parameter: click.Parameter, value: Any) -> list[str]:  # noqa: ANN401 (of any option)
    values = cast("tuple[Any, ...]", value) if parameter.multiple or parameter.nargs == -1 else (value,)
    if isinstance(parameter, click.Argument):
        return [str(each) for each in values]
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return parameter.opts[:1] if value else parameter.secondary_opts[:1]
    return [word for each in values for word in (parameter.opts[0], str(each))]
