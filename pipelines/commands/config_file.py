"""`--config`: files with values for the options of a command, which every command takes.

A file holds `option: value` pairs under the names of the command line, in kebab-case or with underscores. Commands that
train take the sections of their training configuration beside them. What a run left as its `config.yaml` is such a file
too, where the command says how its options are read from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import click
from click.shell_completion import CompletionItem

from degrade_kit.errors import ConfigError, nearest
from degrade_kit.flipnet.config import BASES
from degrade_kit.pipelines.commands.types import AnyType


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigFiles:
    """What `--config` of a command takes beside values of options."""

    sections: tuple[str, ...] = ()
    """Keys of its training configuration, which go to the command as `config`; an option of that name is the option."""
    packaged: str = ""
    """The command whose configurations come with the package; `sd21` is taken where no file has a section."""
    names: Mapping[str, str] = field(default_factory=lambda: {"sd21": "the paper's scale", "small": "two CPU cores"})
    """These configurations, and what each is for: see `degrade_kit.pipelines.claim.packaged_configs`."""
    saved: Callable[[Mapping[str, Any]], Mapping[str, Any] | None] | None = None
    """Options and sections of the `config.yaml` that a run left; None for a file that is no such one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sections:
    """The sections of a training configuration, before they are checked."""

    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    where: str = ""
    """Files that they come from, for messages."""


class ConfigFile(AnyType):
    """A YAML file, or the name of a configuration that comes with the package; it is read when all are known."""

    name = "file"

    def __init__(self, packaged: Sequence[str]) -> None:
        self._packaged = tuple(packaged)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Complete names and files; see `click.ParamType`."""
        del ctx, param
        found = [CompletionItem(name) for name in self._packaged if name.startswith(incomplete)]
        return [*found, CompletionItem(incomplete, type="file")]


def config_option(files: ConfigFiles) -> click.Option:
    """The option `--config`, as `files` says."""
    names = tuple(files.names) if files.packaged else ()
    *most, last = (f"`{name}` ({purpose})" for name, purpose in files.names.items())
    trains = (
        f" {', '.join(most)} and {last} come with the package; a file of your own may have their sections, too."
        * bool(files.packaged)
    )

    def load(ctx: click.Context, param: click.Parameter, names: Sequence[str]) -> Sections | None:
        del param
        return _load(ctx, names, files)

    return click.Option(
        ["--config"],
        multiple=True,
        type=ConfigFile(names),
        metavar="|".join((*names, "FILE.yaml")),
        is_eager=True,
        expose_value=bool(files.packaged),
        callback=load,
        help="YAML file with values for these options; of several files the later ones win, and the command line wins "
        f"over all.{trains}  [default: {'sd21' if names else 'none'}]",
    )


def _load(ctx: click.Context, names: Sequence[str], files: ConfigFiles) -> Sections | None:
    """Put the files' values in the place of the options' defaults; return the sections, for the function."""
    if ctx.resilient_parsing:
        return None
    read = [_read(ctx, name, files) for name in names]
    if files.packaged and not any(sections.values or "start" in options for options, sections in read):
        read.insert(0, _read(ctx, "sd21", files))
    defaults: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for options, sections in read:
        if options.get("base_model", defaults.get("base_model")) != defaults.get("base_model"):
            merged = _of_another_base(merged, str(options.get("base_model")))
        defaults |= options
        for key, value in sections.values.items():
            old = merged.get(key)
            both = isinstance(old, dict) and isinstance(value, dict)
            merged[key] = {**cast("dict[str, Any]", old), **cast("dict[str, Any]", value)} if both else value
    ctx.default_map = {**(ctx.default_map or {}), **defaults}
    return Sections(values=merged, where=", ".join(sections.where for _, sections in read if sections.values))


def of_base_model(config: Sections) -> Sections:
    """Leave out what is of a file's base model alone where the command line names another one."""
    context = click.get_current_context()
    named, of_file = context.params["base_model"], (context.default_map or {}).get("base_model")
    if named is None or of_file is None or str(named) == of_file:
        return config
    return replace(config, values=_of_another_base(config.values, str(named)))


def _of_another_base(sections: Mapping[str, Any], base_model: str) -> dict[str, Any]:
    """Leave out the revision of a base model, and its sampling where the other one has its own."""
    known = BASES.get(base_model)
    left = ("revision",) if known is None or known.sampling is None else ("revision", "sampling")
    return {key: value for key, value in sections.items() if key not in left}


def _read(ctx: click.Context, name: str, files: ConfigFiles) -> tuple[dict[str, Any], Sections]:
    """The values that one file has for the command's options, and its sections."""
    where, data = _open(name, files)
    if files.saved is not None and (saved := files.saved(data)) is not None:
        data = saved
    options = {param.name: param for param in ctx.command.params if isinstance(param, click.Option)}
    # By what the command line calls them, which may be another name than the function's argument has.
    known = {
        param.opts[0].removeprefix("--"): name for name, param in options.items() if name not in ("help", "config")
    }
    defaults: dict[str, Any] = {}
    sections: dict[str, Any] = {}
    for key, value in data.items():
        kebab = str(key).replace("_", "-")
        if kebab in known:
            name = known[kebab]
            if name in defaults:
                raise ConfigError(f"{where}: {key}: given twice, as `{kebab}` and `{kebab.replace('-', '_')}`")
            defaults[name] = _checked(ctx, options[name], value, f"{where}: {key}")
        elif key in files.sections:
            sections[str(key)] = value
        else:
            raise ConfigError(
                f"{where}: unknown option `{key}` of `{ctx.info_name}`; {nearest(kebab, (*known, *files.sections))}"
            )
    return defaults, Sections(values=sections, where=where)


def _open(name: str, files: ConfigFiles) -> tuple[str, Mapping[str, Any]]:
    """What the messages call a file, and what is in it."""
    if files.packaged:
        from degrade_kit.pipelines.claim import read_run_config

        path, data = read_run_config(name, files.packaged)
        return path.name, data
    from degrade_kit.files import MAX_YAML_BYTES, local_path, parse_yaml, read_regular

    try:
        text = read_regular(local_path(name), MAX_YAML_BYTES)
    except OSError as error:
        raise ConfigError(f"cannot read --config {name}: {error.strerror or error}") from error
    data = parse_yaml(text, name)
    if not isinstance(data, Mapping):
        raise ConfigError(f"{name}: expected `option: value` pairs, got {data!r:.200}")
    return name, cast("Mapping[str, Any]", data)


def _checked(ctx: click.Context, option: click.Option, value: Any, where: str) -> Any:  # noqa: ANN401 (parsed YAML)
    """A value as the command line would have it, if it is one that the option takes."""
    if value is None:
        raise ConfigError(f"{where}: expected a value, got none; leave the line out for the default")
    if option.is_flag:
        if not isinstance(value, bool):
            raise ConfigError(f"{where}: expected true or false, got {value!r:.200}")
        return value
    listed = cast("list[Any]", value) if option.multiple and isinstance(value, list) else [value]
    mappings = getattr(option.type, "mappings", False)
    if any(isinstance(each, list) or (isinstance(each, dict) and not mappings) for each in listed):
        expected = "a list of values" if option.multiple else "one value"
        raise ConfigError(f"{where}: expected {expected}, got {value!r:.200}")
    # As text, as on the command line, so that click checks it in the same way.
    texts = [cast("Any", each) if isinstance(each, dict) else str(each) for each in listed]
    taken = texts if option.multiple else texts[0]
    try:
        option.type_cast_value(ctx, taken)
    except click.BadParameter as error:
        raise ConfigError(f"{where}: {error.message}") from error
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return taken
