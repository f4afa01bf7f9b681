"""The words of the command line: what an option means, wherever it is; and options that work only with others.

A command is made by `command`, an option that several commands have by `word`, one of a single command by `option`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from degrade_kit.pipelines.commands.again import ARGUMENTS
from degrade_kit.pipelines.commands.config_file import ConfigFiles, config_option
from degrade_kit.pipelines.commands.types import (
    BASE_MODEL,
    FLIPNET,
    PAIRS,
    PLACE,
    PROMPT,
    RECIPE,
    WEIGHT,
    AnyType,
    LocalPath,
)

_F = TypeVar("_F", bound=Callable[..., Any])

FOLDER: Final = LocalPath(file_okay=False, path_type=Path)


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """What one option means in every command that has it."""

    meaning: str
    """How its help begins; a command may add what is its own."""
    type: AnyType
    """What its values are; a command may bound them further with a type of the same class."""
    metavars: tuple[str, ...] = ()
    """How its value is shown; the first one unless a command chooses another of them. Empty for flags, and for numbers
    and choices, which show themselves."""
    name: str | None = None
    """Name of the function's argument, where it is not the option's."""


def _number(minimum: int = 0) -> click.IntRange:
    return click.IntRange(minimum)


WORDS: Final[Mapping[str, Word]] = {
    # What goes in.
    "--hq": Word(
        meaning="HQ (sharp) faces: a folder with all below it, a list (.txt), a .zip, tars or an LMDB; or a URL",
        type=PLACE,
        metavars=("PLACE",),
    ),
    "--lq": Word(
        meaning="LQ images that are there, in a place such as `synth --hq` takes", type=PLACE, metavars=("PLACE",)
    ),
    "--real": Word(
        meaning="Real photographs, in a place such as `synth --hq` takes",
        type=PLACE,
        metavars=("PLACE", "NAME=PLACE", "[NAME=]PLACE"),
    ),
    "--input": Word(
        meaning="Images to work on, in a place such as `synth --hq` takes",
        type=PLACE,
        metavars=("PLACE",),
        name="source",
    ),
    "--pairs": Word(meaning="Real LQ/HQ pairs in DIR; several times for several", type=PAIRS, metavars=("KIND=DIR",)),
    "--shards": Word(
        meaning="Data set of LQ/HQ pairs: a folder, or an fsspec URL such as s3://bucket/set",
        type=PLACE,
        metavars=("DIR|URL",),
    ),
    "--preset": Word(
        meaning="Recipe of degradations: a name that `presets` lists, or a file",
        type=RECIPE,
        metavars=("NAME|FILE.yaml",),
    ),
    "--face": Word(meaning="Which of several faces in a photo", type=click.Choice(["largest", "central", "all"])),
    "--min-score": Word(
        meaning="Least confidence of the detector, 0 to 1", type=click.FloatRange(0, 1), metavars=("SCORE",)
    ),
    "--landmarks": Word(
        meaning="Points of each face that were found before",
        type=LocalPath(path_type=Path, exists=True, dir_okay=False),
        metavars=("FILE.json", "FILE.json|FILE.jsonl"),
    ),
    "--detector": Word(
        meaning="What finds the faces: MTCNN, which the `align` extra brings, or YuNet, whose file `weights` lists",
        type=click.Choice(["packaged", "yunet"]),
    ),
    "--weights": Word(
        meaning="Where a file is that `degrade-kit weights` lists; several times for several",
        type=WEIGHT,
        metavars=("NAME=PATH",),
    ),
    # What comes out.
    "--out": Word(
        meaning="Where results go", type=FOLDER, metavars=("DIR", "FILE.png", "FILE.yaml", "FILE.jsonl", "DIR|URL")
    ),
    "--variants": Word(meaning="LQ images made of each HQ image", type=_number(1)),
    "--variant": Word(meaning="Number of the LQ image to take of each sample, from 0", type=_number()),
    "--num-faces": Word(meaning="Number of HQ faces used, evenly spread", type=_number(1)),
    "--size": Word(meaning="Side of the images, pixels", type=_number()),
    "--seed": Word(meaning="Seed of all random draws", type=_number()),
    "--registration": Word(
        meaning="Refuse pairs whose images are shifted against each other by about a pixel or more", type=click.BOOL
    ),
    "--dry-run": Word(meaning="Print the plan and an estimate, and write nothing", type=click.BOOL),
    "--json": Word(meaning="Print JSON in place of text", type=click.BOOL, name="as_json"),
    # What is measured.
    "--max-images": Word(meaning="Most images measured of each set; 0 is all", type=_number()),
    "--allow-resize": Word(
        meaning="Crop and resize images of another size, which changes what is measured", type=click.BOOL
    ),
    "--feature-cache": Word(
        meaning="Folder that keeps features, by the images' content", type=FOLDER, metavars=("DIR",)
    ),
    # Models.
    "--flipnet": Word(
        meaning="FlipNet that degrades: `small` or `photos`, which ship, or a folder that `train-degrade` wrote",
        type=FLIPNET,
        metavars=("small|photos|DIR",),
    ),
    "--mix": Word(meaning="Share of the LQ images that the FlipNet makes, 0 to 1", type=click.FloatRange(0, 1)),
    "--base-model": Word(
        meaning="Stable Diffusion model: a name, a hub id, or a folder in diffusers' layout",
        type=BASE_MODEL,
        metavars=("sd15|sd21|sd-turbo|ID|DIR",),
    ),
    "--prompt": Word(meaning="Text prompt; `null` is the empty one", type=PROMPT, metavars=("TEXT[=WEIGHT]", "TEXT")),
    "--like": Word(
        meaning="Photograph to degrade like, at its own size, or a folder of them, of which each image takes one",
        type=PLACE,
        metavars=("PHOTO|PLACE",),
    ),
    "--captions": Word(
        meaning="Captions that `caption` wrote, as prompts",
        type=LocalPath(path_type=Path, exists=True, dir_okay=False),
        metavars=("FILE.jsonl",),
    ),
    "--negative-prompt": Word(meaning="Prompt that guidance leads away from", type=click.STRING, metavars=("TEXT",)),
    "--solver": Word(
        meaning="Solver of the diffusion; lcm is of a FlipNet that `distill` made",
        type=click.Choice(["ddim", "dpm++", "lcm"]),
    ),
    "--solver-steps": Word(meaning="Steps of the solver", type=click.IntRange(1, 1000)),
    "--guidance": Word(meaning="Classifier-free guidance; 1 is none", type=click.FLOAT),
    "--phi": Word(meaning="Enhance weight of the image that the model is given", type=click.FLOAT),
    "--download": Word(
        meaning="Fetch third-party files that are missing on this machine; nothing else fetches any", type=click.BOOL
    ),
    # Training.
    "--steps": Word(meaning="Optimizer steps of each stage", type=_number(1), name="num_steps"),
    "--learning-rate": Word(meaning="Peak of AdamW's learning rate", type=click.FLOAT),
    "--mixed-precision": Word(meaning="Arithmetic of training", type=click.Choice(["no", "bf16", "fp16"])),
    "--report-to": Word(meaning="Tracker of Accelerate, such as tensorboard", type=click.STRING, metavars=("NAME",)),
    # Where and how it is computed.
    "--workers": Word(meaning="Processes of this run; 0 works in this process", type=_number()),
    "--ray-address": Word(
        meaning="Address of a Ray cluster to run on, `auto` for the one of this machine",
        type=click.STRING,
        metavars=("ADDRESS",),
    ),
    "--wait": Word(
        meaning="Seconds that a run on a cluster waits while no worker has a place there, as until machines are added",
        type=click.FloatRange(0),
        metavars=("SECONDS",),
    ),
    "--gpus-per-worker": Word(meaning="GPUs of each process on Ray; may be a part", type=click.FLOAT),
    "--device": Word(
        meaning="Where networks are computed, such as cuda, cuda:1 or cpu", type=click.STRING, metavars=("NAME",)
    ),
    "--dtype": Word(meaning="Arithmetic of the network", type=click.Choice(["float32", "bfloat16", "float16"])),
    "--batch-size": Word(meaning="Images or pairs that are computed at once", type=_number(1)),
    "--data-workers": Word(meaning="Processes that read and prepare pairs for the network", type=_number()),
    "--threads": Word(meaning="CPU threads of PyTorch; 0 leaves it to PyTorch", type=_number()),
    "--cache-dir": Word(meaning="Folder that keeps the shards of a URL", type=FOLDER, metavars=("DIR",)),
}
"""Every option that more than one command has; tests hold all commands to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """When an option has an effect."""

    met: Callable[[Mapping[str, Any]], bool]
    """Whether it has one, by the values of the command's options."""
    otherwise: str
    """How the message goes on: `without --mode mix`, `with --landmarks`."""


def only_with(name: str, *values: str) -> Needs:
    """An option that works where another one is given, or has one of these values.

    >>> only_with("mode", "flipnet", "mix").otherwise
    'without --mode flipnet or mix'
    """
    flag = f"--{name.replace('_', '-')}"
    return Needs(
        met=lambda given: given[name] in values if values else bool(given[name]),
        otherwise=f"without {flag} {' or '.join(values)}".strip(),
    )


def not_with(name: str) -> Needs:
    """An option that works where another one is not given.

    >>> not_with("landmarks").otherwise
    'with --landmarks'
    """
    return Needs(met=lambda given: not given[name], otherwise=f"with --{name.replace('_', '-')}")


def url_of(name: str) -> Needs:
    """An option of data sets that are read from a URL, of which this argument or option is one."""
    return Needs(met=lambda given: "://" in str(given[name]), otherwise=f"on local shards, which {name.upper()} names")


RAY: Final = Needs(met=lambda given: given["workers"] != 0, otherwise="with --workers 0")
"""What options of the processes on Ray need."""


class ConditionalOption(click.Option):
    """An option that may have no effect without others.

    Args:
        declarations: As `click.Option` takes them.
        needs: What it needs to have an effect; all of them.
        attributes: As `click.Option` takes them.
    """

    def __init__(self, declarations: Sequence[str], needs: Sequence[Needs] = (), **attributes: Any) -> None:  # noqa: ANN401 (click's)
        super().__init__(declarations, **attributes)
        self.needs = tuple(needs)


class Command(click.Command):
    """A command with `--config`, which refuses options that would have no effect."""

    def __init__(self, *arguments: Any, files: ConfigFiles | None = None, **attributes: Any) -> None:  # noqa: ANN401 (click's)
        super().__init__(*arguments, **attributes)
        self.files = files or ConfigFiles()
        self.params.append(config_option(self.files))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command`; an option without effect is wrong usage."""
        ctx.meta[ARGUMENTS] = tuple(args)
        rest = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:
            _refuse_idle_options(ctx)
        return rest


def command(name: str, short: str, *, files: ConfigFiles | None = None) -> Callable[[Callable[..., Any]], Command]:
    """Make a command of a function, whose docstring is its help.

    Args:
        name: As it is typed.
        short: Its line in the list of all commands, of at most 54 characters, which fit.
        files: What `--config` takes, where that is more than values of options.
    """
    return click.command(name, cls=Command, files=files, short_help=short)


def word(
    name: str,
    more: str = "",
    *,
    metavar: str | None = None,
    unset: str = "",
    needs: Needs | Sequence[Needs] = (),
    **attributes: Any,  # noqa: ANN401 (click's)
) -> Callable[[_F], _F]:
    """An option that several commands have.

    Args:
        name: A key of `WORDS`; `--registration` brings its opposite.
        more: What its help says here beside its meaning, with the punctuation before it.
        metavar: One of the word's, in place of the first.
        unset: Its default in words, where no value stands for it.
        needs: What it needs to have an effect.
        attributes: As `click.option` takes them; `type` must be of the word's class.
    """
    known = WORDS[name]
    shown = metavar or next(iter(known.metavars), None)
    assert shown is None or shown in known.metavars, f"{name}: no metavar {shown}"
    declarations = [f"{name}/--no-{name[2:]}" if name == "--registration" else name]
    if known.name is not None:
        declarations.append(known.name)
    if known.type is click.BOOL:
        attributes |= {"is_flag": True}
    else:
        attributes = {"type": known.type, "metavar": shown, **attributes}
    return _option(declarations, f"{known.meaning}{more}.", unset, needs, attributes)


def option(
    *declarations: str,
    help: str,
    unset: str = "",
    needs: Needs | Sequence[Needs] = (),
    **attributes: Any,  # noqa: ANN401 (click's)
) -> Callable[[_F], _F]:
    """An option that one command has; see `word`, and `click.option` for the rest."""
    assert declarations[0] not in WORDS, f"{declarations[0]} has a meaning already: use word()"
    return _option(list(declarations), help, unset, needs, attributes)


def _option(
    declarations: list[str], help: str, unset: str, needs: Needs | Sequence[Needs], attributes: dict[str, Any]
) -> Callable[[_F], _F]:
    if attributes.get("is_flag") and "default" not in attributes:
        unset = unset or "off"
    if unset:
        help = f"{help}  [default: {unset}]"
    elif not attributes.get("required"):
        attributes = {"show_default": True, **attributes}
    needed = (needs,) if isinstance(needs, Needs) else tuple(needs)
    return click.option(*declarations, cls=ConditionalOption, help=help, needs=needed, **attributes)


def _refuse_idle_options(ctx: click.Context) -> None:
    """Raise for an option that was given and has no effect beside the others."""
    for param in ctx.command.params:
        if not isinstance(param, ConditionalOption):
            continue
        assert param.name is not None
        source = ctx.get_parameter_source(param.name)
        if source not in (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP):
            continue
        for need in param.needs:
            if not need.met(ctx.params):
                place = ", which --config gives," if source is ParameterSource.DEFAULT_MAP else ""
                raise click.UsageError(f"{param.opts[0]}{place} has no effect {need.otherwise}", ctx)
