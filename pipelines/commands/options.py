"""Options that several commands share, and how their values are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from pipelines.executor import ExecutorConfig

_F = TypeVar("_F", bound=Callable[..., Any])


def executor_options(function: _F) -> _F:
    """`--workers` and `--ray-address`."""
    workers = click.option(
        "--workers",
        type=click.IntRange(0),
        help="Worker processes on a Ray that is started for this run; 0 works in this process.  "
        "[default: one per processor, 0 without Ray]",
    )
    address = click.option(
        "--ray-address",
        metavar="ADDRESS",
        help="Join the Ray cluster at this address instead, `auto` for the near one.  [default: none]",
    )
    return workers(address(function))


def executor_config(workers: int | None, ray_address: str | None) -> ExecutorConfig:
    """What the two options ask for."""
    from pipelines.executor import ExecutorConfig, default_workers

    if workers is None:
        workers = 0 if ray_address else default_workers()
    return ExecutorConfig(workers=workers, ray_address=ray_address)


def config_option(function: _F) -> _F:
    """`--config`: defaults for all options of the command from a YAML file."""
    return click.option(
        "--config",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=_load_config,
        help="YAML file with values for any of these options, such as `variants: 5`; the command line wins.  "
        "[default: none]",
    )(function)


def parse_range(text: str | None) -> tuple[int, int] | None:
    """A range START:STOP of whole numbers.

    >>> parse_range("4:8")
    (4, 8)
    """
    if text is None:
        return None
    start, colon, stop = text.partition(":")
    if not (colon and start.isdecimal() and stop.isdecimal() and int(start) < int(stop)):
        raise click.BadParameter(f"expected START:STOP with START < STOP, such as 0:8, got {text!r}")
    return int(start), int(stop)


def parse_assignments(values: Sequence[str], option: str, form: str) -> list[tuple[str, str]]:
    """Words with values, in order.

    Args:
        values: Texts of the form WORD=VALUE.
        option: For the message.
        form: What the option's help calls them, for the message.

    >>> parse_assignments(["haze=data/a=b"], "--pairs", "KIND=DIR")
    [('haze', 'data/a=b')]
    """
    parsed: list[tuple[str, str]] = []
    for text in values:
        word, equals, value = text.partition("=")
        if not (equals and word and value):
            raise click.BadParameter(f"{option}: expected {form}, got {text!r}")
        parsed.append((word, value))
    return parsed


def human_bytes(count: float) -> str:
    """Decimal bytes for people.

    >>> human_bytes(1234567)
    '1.2 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def human_time(seconds: float) -> str:
    """Time for people.

    >>> human_time(42), human_time(3700)
    ('42 s', '1 h 2 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def counted(counts: Mapping[str, int]) -> str:
    """Counts by name on one line.

    >>> counted({"truncated": 2, "too small": 1})
    '2 truncated, 1 too small'
    """
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _load_config(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Put the file's values in the place of the options' defaults."""
    del param
    if value is None:
        return
    from pathlib import Path

    from degrade_kit.errors import ConfigError
    from degrade_kit.recipe import nearest, parse_yaml

    try:
        text = Path(value).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read --config {value}: {error}") from error
    data = parse_yaml(text, value)
    if not isinstance(data, Mapping):
        raise ConfigError(f"{value}: expected `option: value` pairs, got {data!r}")
    values = cast("Mapping[str, Any]", data)
    options = {param.name: param for param in ctx.command.params if isinstance(param, click.Option)}
    # By what the command line calls them, which may be another name than the function's argument has.
    known = {
        param.opts[0].removeprefix("--"): name for name, param in options.items() if name not in ("help", "config")
    }
    defaults: dict[str, Any] = {}
    for key, setting in values.items():
        kebab = str(key).replace("_", "-")
        if kebab not in known:
            raise ConfigError(f"{value}: unknown option `{key}`; {nearest(kebab, known)}")
        if setting is None:
            raise ConfigError(f"{value}: {key}: expected a value, got none; leave the line out for the default")
        option = options[known[kebab]]
        listed = cast("list[Any]", setting) if option.multiple and isinstance(setting, list) else [setting]
        if any(isinstance(each, (list, dict)) for each in listed):
            expected = "a list of values" if option.multiple else "one value"
            raise ConfigError(f"{value}: {key}: expected {expected}, got {cast('object', setting)!r}")
        # As text, as on the command line, so that click checks it in the same way.
        texts = [str(each) for each in listed]
        defaults[known[kebab]] = setting if option.is_flag else texts if option.multiple else texts[0]
    ctx.default_map = {**(ctx.default_map or {}), **defaults}
