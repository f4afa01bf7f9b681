"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from degrade_kit.pipelines.commands.words import RAY, Needs, only_with, word

if TYPE_CHECKING:
    from pathlib import Path

    from degrade_kit.pipelines.executor import ExecutorConfig
    from degrade_kit.pipelines.text import Report

_F = TypeVar("_F", bound=Callable[..., Any])

DEVICE: Final = "the first GPU, or else the CPU"
"""Default of `--device`, in words."""


def _with_options(function: _F, options: Sequence[Callable[[_F], _F]]) -> _F:
    """A command with these options, which its help lists in this order."""
    for option in reversed(options):
        function = option(function)
    return function


def executor_options(function: _F) -> _F:
    """`--workers`, `--ray-address` and `--wait`."""
    workers = word(
        "--workers",
        ", more of them on a Ray that is started for it",
        unset="one per processor where that saves more time than Ray takes to start, else 0",
    )
    address = word("--ray-address", ", in place of one that is started", unset="none", needs=RAY)
    wait = word("--wait", default=600.0, needs=only_with("ray_address"))
    return workers(address(wait(function)))


def executor_config(workers: int | None, ray_address: str | None, wait: float, gpus: float = 0.0) -> ExecutorConfig:
    """What the three options ask for, and `--gpus-per-worker`."""
    from degrade_kit.pipelines.executor import ExecutorConfig

    return ExecutorConfig(workers=workers, ray_address=ray_address, wait=wait, gpus=gpus)


def runs_flipnet(given: Mapping[str, Any]) -> bool:
    """Whether a command runs a FlipNet, by its options `mode`, `preset` and `flipnet`, those that it has."""
    from degrade_kit.errors import ConfigError
    from degrade_kit.presets import resolve_recipe

    if given.get("mode") in ("flipnet", "mix") or given.get("preset") is None:
        return True
    if "real" in given and (given["real"] is not None or given["flipnet"] is not None):  # of `make-testset`
        return given["real"] is None
    chosen: Any = given["preset"]
    names: list[Any] = list(chosen) if isinstance(chosen, tuple) else [chosen]  # pyright: ignore[reportUnknownArgumentType]
    try:
        return any(resolve_recipe(name).models for name in names)
    except ConfigError:
        return True  # what is wrong with the recipe is what the user wants to know


def prompts_with_captions(given: Mapping[str, Any]) -> bool:
    """Whether a command prompts a FlipNet with captions, by its options `prompt`, `mode` and `preset`."""
    from degrade_kit.errors import ConfigError
    from degrade_kit.presets import resolve_recipe

    if given.get("mode", "flipnet") in ("flipnet", "mix") and any(
        text == "captions" for text, _ in given.get("prompt", ())
    ):
        return True
    chosen: Any = given.get("preset")
    names: list[Any] = list(chosen) if isinstance(chosen, tuple) else [chosen] * (chosen is not None)  # pyright: ignore[reportUnknownArgumentType]
    try:
        return given.get("real") is None and any(resolve_recipe(name).captioned for name in names)
    except ConfigError:
        return True


CAPTIONED: Final = Needs(met=prompts_with_captions, otherwise="with a FlipNet whose prompt is not `captions`")
RUNS_FLIPNET: Final = Needs(met=runs_flipnet, otherwise="with a recipe that has no `flipnet` step")


def flipnet_options(*needs: Needs) -> Callable[[_F], _F]:
    """Options of the commands that make a FlipNet's step of them, and of where it runs.

    Args:
        needs: What it takes for them to make such a step.
    """
    options = (
        word("--flipnet", default="photos", needs=needs),
        word(
            "--prompt",
            ", `TEXT=2` one drawn twice as often as others; several times for several; `captions` those of --captions",
            multiple=True,
            unset="the FlipNet's own list, or null; null beside --like",
            needs=needs,
        ),
        word("--like", unset="none", needs=needs),
        word("--solver-steps", unset="the FlipNet's own", needs=needs),
        word("--solver", unset="the FlipNet's own", needs=needs),
        word("--guidance", unset="the FlipNet's own", needs=needs),
        word("--phi", unset="the FlipNet's own, 1", needs=needs),
        word("--negative-prompt", unset="the FlipNet's own", needs=needs),
    )
    return functools.partial(_with_options, options=options)


def network_options(function: _F) -> _F:
    """Options of where and how the FlipNets of a recipe run."""
    options = (
        word("--captions", " of a FlipNet whose prompt is `captions`", unset="none", needs=CAPTIONED),
        word("--base-model", unset="the FlipNet's own", needs=RUNS_FLIPNET),
        word("--batch-size", ": LQ images given to the FlipNet at a time", default=32, needs=RUNS_FLIPNET),
        word("--device", unset=DEVICE, needs=RUNS_FLIPNET),
        word("--dtype", default="float32", needs=RUNS_FLIPNET),
        word("--download", ": a hub's base model", needs=RUNS_FLIPNET),
    )
    return _with_options(function, options)


def network_settings(options: dict[str, Any]) -> Any:  # noqa: ANN401 (NetworkSettings, imported where it is needed)
    """Take what `network_options` gave out of a command's options."""
    from degrade_kit.pipelines.makers.networks import NetworkSettings

    if not options["download"]:
        quiet_model_loading()
    names = ("base_model", "batch_size", "device", "dtype", "download")
    return NetworkSettings(**{key: options.pop(key) for key in names})


def training_options(function: _F) -> _F:
    """What the commands that train have in common: how long and how, and where it is computed."""
    config = "the configuration's"
    options = (
        word("--base-model", unset=config),
        word("--steps", unset=config),
        word("--batch-size", ": pairs in a step", unset=config),
        word("--learning-rate", unset=config),
        word("--seed", ": data, noise and new weights", unset=config),
        word("--mixed-precision", unset=config),
        word("--device", unset=DEVICE),
        word("--threads", default=0),
        word("--data-workers", unset="up to 8 beside a GPU, none on a CPU"),
        word("--workers", ", more of them on Ray Train", default=0),
        word("--ray-address", ", in place of one that is started", unset="none", needs=RAY),
        word("--gpus-per-worker", default=0.0, needs=RAY),
        word("--report-to", "; several times for several", multiple=True, unset="none"),
        word("--download", ": a hub's models"),
        word("--dry-run"),
    )
    return _with_options(function, options)


def measured_images_options(function: _F) -> _F:
    """`--size`, `--allow-resize` and `--max-images` of the commands that measure degradations."""
    options = (
        word("--size", ", which all must have", type=click.IntRange(32), default=512),
        word("--allow-resize"),
        word("--max-images", default=2000),
    )
    return _with_options(function, options)


def weights_option(function: _F) -> _F:
    """`--weights` of the commands that read third-party files: their paths by name."""
    return word("--weights", multiple=True, callback=parse_weights, unset="DEGRADE_KIT_WEIGHTS, torch hub's cache")(
        function
    )


def parse_weights(ctx: click.Context, param: click.Parameter, values: tuple[tuple[str, str], ...]) -> dict[str, Path]:
    """Check what `--weights` says, and give it by name; a file that the command does not read is refused."""
    del param
    from degrade_kit.analysis.weights import WEIGHTS, parse_given
    from degrade_kit.errors import ConfigError

    given = parse_given(values)
    command = ctx.command.name or ""
    for name in given:
        if command != "weights" and not re.search(rf"(?<![\w-]){command}(?![\w-])", WEIGHTS[name].needed_by):
            raise ConfigError(f"--weights {name}: `{command}` does not read it; it is for {WEIGHTS[name].needed_by}")
    return given


def moved_flipnet_option(*needs: Needs) -> Callable[[_F], _F]:
    """`--flipnet` of the commands that make images of a data set again."""
    return word("--flipnet", "; where that of the data set is now, if it has one", unset="where it was", needs=needs)


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


def flipnet_of(options: dict[str, Any]) -> Any:  # noqa: ANN401 (RandomFlipNet, imported where it is needed)
    """Take what `flipnet_options` gave out of a command's options, as a step."""
    from degrade_kit.pipelines.makers.networks import flipnet_step

    return flipnet_step(
        options.pop("flipnet"),
        prompt_weights(options.pop("prompt")),
        steps=options.pop("solver_steps"),
        negative=options.pop("negative_prompt"),
        like=options.pop("like"),
        **{key: options.pop(key) for key in ("solver", "guidance", "phi")},
    )


def prompt_weights(prompts: Sequence[tuple[str, float]]) -> dict[str, float] | None:
    """Prompts with how often each is drawn; None where none is given, and an error where one is given twice.

    >>> prompt_weights([("dark, strong noise", 2.0), ("", 1.0)])
    {'dark, strong noise': 2.0, '': 1.0}
    """
    if repeated := [prompt for prompt, count in Counter(prompt for prompt, _ in prompts).items() if count > 1]:
        raise click.BadParameter(
            f"--prompt: {repeated[0] or 'null'!r} is given twice; one with a weight of 2 comes twice as often"
        )
    return dict(prompts) or None


def named_places(places: Sequence[tuple[str, str]], option: str) -> dict[str, str]:
    """Places by name; a name that comes twice is refused."""
    if repeated := [name for name, count in Counter(name for name, _ in places).items() if count > 1]:
        raise click.BadParameter(f"{option}: the name {repeated[0]!r} is given twice; each set needs a name of its own")
    return dict(places)


def echo_report(report: Report) -> None:
    """Print a report: what is a warning in it to standard error."""
    for line in report.lines():
        click.echo(line.text, err=line.warning)
