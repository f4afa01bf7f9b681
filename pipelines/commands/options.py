"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from pathlib import Path

    from degrade_kit.pipelines.executor import ExecutorConfig
    from degrade_kit.pipelines.text import Report

_F = TypeVar("_F", bound=Callable[..., Any])


def _with_options(function: _F, options: Sequence[Callable[[_F], _F]]) -> _F:
    """A command with these options, which its help lists in this order."""
    for option in reversed(options):
        function = option(function)
    return function


def executor_options(function: _F) -> _F:
    """`--workers` and `--ray-address`."""
    workers = click.option(
        "--workers",
        type=click.IntRange(0),
        help="Worker processes on a Ray that is started for this run; 0 works in this process.  "
        "[default: one per processor where that saves more time than Ray takes to start, else 0]",
    )
    address = click.option(
        "--ray-address",
        metavar="ADDRESS",
        help="Join the Ray cluster at this address instead, `auto` for the near one.  [default: none]",
    )
    return workers(address(function))


def executor_config(workers: int | None, ray_address: str | None, gpus: float = 0.0) -> ExecutorConfig:
    """What the two options ask for."""
    from degrade_kit.pipelines.executor import ExecutorConfig

    return ExecutorConfig(workers=workers, ray_address=ray_address, gpus=gpus)


def flipnet_options(function: _F) -> _F:
    """Options of the commands that run a FlipNet."""
    options = (
        click.option(
            "--flipnet",
            default="small",
            show_default=True,
            metavar="small|DIR",
            help="FlipNet: the one that ships, or a folder that `train-degrade` wrote.",
        ),
        click.option(
            "--base-model", metavar="DIR", help="In place of the FlipNet's own base model.  [default: its own]"
        ),
        click.option(
            "--prompt",
            "prompts",
            multiple=True,
            metavar="TEXT[=WEIGHT]",
            help="Prompt of the FlipNet; several are drawn by weight. `null` is the empty one.  "
            "[default: the model's own list, or null]",
        ),
        click.option(
            "--steps", "num_steps", type=click.IntRange(1, 1000), help="Solver steps.  [default: the model's]"
        ),
        click.option("--solver", type=click.Choice(["ddim", "dpm++"]), help="Solver.  [default: the model's]"),
        click.option("--guidance", type=float, help="Classifier-free guidance; 1 is none.  [default: the model's]"),
        click.option("--phi", type=float, help="Weight of the HQ image.  [default: the model's, 1]"),
        click.option(
            "--negative-prompt", metavar="TEXT", help="What guidance leads away from.  [default: the model's]"
        ),
        click.option(
            "--batch-size",
            type=click.IntRange(1),
            default=10,
            show_default=True,
            help="Most LQ images of a face that the FlipNet makes at once.",
        ),
        click.option(
            "--device", metavar="NAME", help="Such as cuda or cpu.  [default: the first GPU, or else the CPU]"
        ),
        click.option(
            "--dtype",
            type=click.Choice(["float32", "bfloat16", "float16"]),
            default="float32",
            show_default=True,
            help="Arithmetic of the FlipNet.",
        ),
        click.option(
            "--gpus-per-worker",
            type=float,
            default=0.0,
            show_default=True,
            help="GPUs of each worker on Ray; may be a part.",
        ),
        click.option(
            "--download", is_flag=True, help="Fetch a hub's base model that is not in the local cache.  [default: off]"
        ),
    )
    return _with_options(function, options)


def training_options(function: _F) -> _F:
    """What the commands that train have in common: how long and how, and where it is computed."""
    options = (
        click.option(
            "--steps",
            "num_steps",
            type=click.IntRange(1),
            help="Optimizer steps, of each stage.  [default: the config's]",
        ),
        click.option("--batch-size", type=click.IntRange(1), help="Pairs in a step.  [default: the config's]"),
        click.option("--learning-rate", type=float, help="Peak of AdamW's learning rate.  [default: the config's]"),
        click.option(
            "--seed", type=click.IntRange(0), help="Seed of data, noise and new weights.  [default: the config's]"
        ),
        click.option(
            "--mixed-precision", type=click.Choice(["no", "bf16", "fp16"]), help="Arithmetic.  [default: the config's]"
        ),
        click.option(
            "--device", metavar="NAME", help="Such as cuda:1 or cpu.  [default: the first GPU, or else the CPU]"
        ),
        click.option("--threads", type=click.IntRange(0), default=0, show_default="PyTorch's", help="CPU threads."),
        click.option(
            "--data-workers",
            type=click.IntRange(0),
            default=0,
            show_default=True,
            help="Processes that prepare pairs.",
        ),
        click.option(
            "--num-workers",
            type=click.IntRange(1),
            default=1,
            show_default=True,
            help="Training processes, on Ray Train.",
        ),
        click.option(
            "--ray-address", metavar="ADDRESS", help="Ray cluster for several processes.  [default: a local one]"
        ),
        click.option("--gpus-per-worker", type=float, default=0.0, show_default=True, help="Of each process on Ray."),
        click.option(
            "--report-to",
            multiple=True,
            metavar="NAME",
            help="Tracker of Accelerate, such as tensorboard.  [default: none]",
        ),
        click.option(
            "--download", is_flag=True, help="Fetch a hub's models that are not in the local cache.  [default: off]"
        ),
        click.option("--dry-run", is_flag=True, help="Print the plan and do nothing.  [default: off]"),
    )
    return _with_options(function, options)


def measured_images_options(function: _F) -> _F:
    """`--size`, `--allow-resize` and `--max-images` of the commands that measure degradations."""
    options = (
        click.option(
            "--size", type=click.IntRange(32), default=512, show_default=True, help="Side that all images have, pixels."
        ),
        click.option(
            "--allow-resize",
            is_flag=True,
            help="Crop and resize images of another size, which changes what is measured.  [default: off]",
        ),
        click.option(
            "--max-images",
            type=click.IntRange(0),
            default=2000,
            show_default=True,
            help="Measured of each set; 0 is all.",
        ),
    )
    return _with_options(function, options)


def weights_option(function: _F) -> _F:
    """`--weights` of the commands that read files of others' making: their paths by name."""
    return click.option(
        "--weights",
        multiple=True,
        metavar="NAME=PATH",
        callback=_parse_weights,
        help="Where a file is that `degrade-kit weights` lists; several times for several.  "
        "[default: DEGRADE_KIT_WEIGHTS, torch hub's cache]",
    )(function)


def _parse_weights(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, Path]:
    del param
    from degrade_kit.analysis.weights import WEIGHTS, parse_given
    from degrade_kit.errors import ConfigError

    given = parse_given(parse_assignments(values, "--weights", "NAME=PATH"))
    command = ctx.command.name or ""
    for name in given:
        if command != "weights" and command not in re.findall(r"[\w-]+", WEIGHTS[name].needed_by):
            raise ConfigError(f"--weights {name}: `{command}` does not read it; it is for {WEIGHTS[name].needed_by}")
    return given


def moved_flipnet_option(function: _F) -> _F:
    """`--flipnet` of the commands that make images of a data set again."""
    return click.option(
        "--flipnet",
        metavar="DIR",
        help="Where the FlipNet of the data set is now, if it has one.  [default: where it was]",
    )(function)


def quiet_model_loading() -> None:
    """Keep the bars and notes of the model libraries off the terminal; to be called before they are imported."""
    import os

    for name, value in (
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("DIFFUSERS_VERBOSITY", "error"),
    ):
        os.environ.setdefault(name, value)


def echo_licence(notice: str) -> None:
    """Say on standard error what the LICENSE of a FlipNet's weights says first, where they have one."""
    if notice:
        click.echo(f"licence: {notice}", err=True)


def flipnet_settings(options: dict[str, Any]) -> Any:  # noqa: ANN401 (FlipNetSettings, imported where it is needed)
    """Take what `flipnet_options` gave out of a command's options."""
    from degrade_kit.pipelines.makers.flipnet_settings import FlipNetSettings, weighted_prompts

    if not options["download"]:
        quiet_model_loading()
    overrides = {key: options.pop(key) for key in ("num_steps", "solver", "guidance", "phi", "negative_prompt")}
    return FlipNetSettings(
        model=options.pop("flipnet"),
        overrides=overrides,
        prompts=weighted_prompts(parse_prompts(options.pop("prompts"))),
        **{key: options.pop(key) for key in ("base_model", "batch_size", "device", "dtype", "download")},
    )


def parse_prompts(texts: Sequence[str]) -> dict[str, float] | None:
    """Prompts with weights; None where none is given.

    >>> parse_prompts(["dark, strong noise=2", "null"])
    {'dark, strong noise': 2.0, '': 1.0}
    """
    prompts: dict[str, float] = {}
    for text in texts:
        prompt, equals, weight = text.rpartition("=")
        if not equals:
            prompt, weight = text, "1"
        try:
            number = float(weight)
        except ValueError:
            number = 0.0
        if not 0 < number < 1e9:
            raise click.BadParameter(f"--prompt: expected TEXT or TEXT=WEIGHT with a positive weight, got {text!r}")
        prompt = "" if prompt.strip() == "null" else prompt.strip()
        if prompt in prompts:
            raise click.BadParameter(f"--prompt: {text!r} is given twice; one with a weight of 2 comes twice as often")
        prompts[prompt] = number
    return prompts or None


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


def parse_places(values: Sequence[str], option: str) -> dict[str, str]:
    """Places by name, from texts of the form NAME=PLACE; a name that comes twice is refused."""
    places = parse_assignments(values, option, "NAME=PLACE")
    if repeated := [name for name, count in Counter(name for name, _ in places).items() if count > 1]:
        raise click.BadParameter(f"{option}: the name {repeated[0]!r} is given twice; each set needs a name of its own")
    return dict(places)


def echo_report(report: Report) -> None:
    """Print a report: what is a warning in it to standard error."""
    for line in report.lines():
        click.echo(line.text, err=line.warning)


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


def _load_config(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Put the file's values in the place of the options' defaults."""
    del param
    if value is None:
        return
    from pathlib import Path

    from degrade_kit.errors import ConfigError, nearest
    from degrade_kit.files import parse_yaml

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
