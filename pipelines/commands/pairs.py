"""`degrade-kit pairs`: real pairs, before a model is trained on them."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from degrade_kit.pipelines.commands.options import config_option, parse_assignments
from degrade_kit.pipelines.text import counted

if TYPE_CHECKING:
    from degrade_kit.pipelines.inputs.pairs import SourceReport


@click.group("pairs")
def pairs_group() -> None:
    """Look at real LQ/HQ pairs, which FlipNet's degradation mode learns from.

    \b
    Example:
      degrade-kit pairs inspect --pairs dense-haze=Dense_Haze_NTIRE19 --out look
    """  # noqa: D301 (click reads the \b itself)


@pairs_group.command("inspect")
@click.option(
    "--pairs",
    multiple=True,
    metavar="KIND=DIR",
    help="Pairs in DIR; several times for several. KIND is haze, low-light, noise, blur, a word of your own, or a data"
    " set: dense-haze, lol, sidd, polyu, realblur-j. The layout is told from the tree.  [default: none]",
)
@click.option("--faces", metavar="SOURCE", help="HQ faces to degrade on the fly, as in `synth`.  [default: none]")
@click.option(
    "--preset",
    default="flipnet-paper",
    show_default=True,
    metavar="NAME|FILE.yaml",
    help="Recipe that degrades the faces.",
)
@click.option(
    "--out",
    "out_dir",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for pairs.png, a sheet of pairs with their captions, and pairs.json, all that is printed in full.",
)
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="KIND=N",
    help="Training pairs drawn at random of a KIND as in --pairs, or of `face`; 0 takes all.  "
    "[default: sidd=1000, realblur-j=1000, face=4000, all of others]",
)
@click.option(
    "--size", type=click.IntRange(16, 4096), default=256, show_default=True, help="Side of the crops shown, pixels."
)
@click.option("--shown", type=click.IntRange(1, 20), default=4, show_default=True, help="Pairs of each kind shown.")
@click.option(
    "--registration/--no-registration",
    default=True,
    show_default=True,
    help="Refuse pairs whose images are shifted against each other by about a pixel or more.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of subsets and crops.")
@config_option
def inspect_pairs_command(
    pairs: tuple[str, ...],
    faces: str | None,
    preset: str,
    out_dir: Path,
    limits: tuple[str, ...],
    size: int,
    shown: int,
    registration: bool,
    seed: int,
) -> None:
    """Count, check, caption and show the pairs that a model would be trained on.

    \b
    Example:
      degrade-kit pairs inspect --pairs dense-haze=Dense_Haze_NTIRE19 --pairs lol=LOLdataset \\
          --faces ffhq --preset flipnet-paper --out look

    Official test splits are reported and not used. Captions name the degradation that is measured on a crop; there are
    as many of a pair as it has degradations.

    Exit status: 0 if all files are in pairs that can be used, 3 if some are not (OUT/pairs.json says which, and why), 2
    for wrong options or a folder that fits no layout.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.pipelines.commands.progress import ProgressLine
    from degrade_kit.pipelines.inputs.pairs import REPORT, SHEET, PairsConfig, inspect_pairs
    from degrade_kit.presets import resolve_recipe

    config = PairsConfig(
        pairs=tuple(parse_assignments(pairs, "--pairs", "KIND=DIR")),
        out_dir=out_dir,
        faces=faces,
        recipe=resolve_recipe(preset) if faces is not None else None,
        limits=dict(_parse_limits(limits)),
        size=size,
        shown=shown,
        registration=registration,
        seed=seed,
    )
    with ProgressLine() as progress:
        report = inspect_pairs(config, progress=progress)
    for source in report.sources:
        _print_source(source)
    train, test = (sum(getattr(source, split) for source in report.sources) for split in ("train", "test"))
    click.echo(f"in all: {train:,} to train on, {test:,} of test splits")
    click.echo(f"next: look at {out_dir / SHEET}; all of it is in {out_dir / REPORT}")
    if not report.complete:
        sys.exit(3)


def _parse_limits(limits: tuple[str, ...]) -> list[tuple[str, int]]:
    parsed = parse_assignments(limits, "--limit", "KIND=N")
    for word, value in parsed:
        if not value.isdecimal():
            raise click.BadParameter(f"expected a whole number of pairs after {word}=, got {value!r}")
    return [(word, int(value)) for word, value in parsed]


def _print_source(source: SourceReport) -> None:
    test = f", {source.test:,} of the test split" if source.test else ""
    left_out = f", {source.left_out:,} left out by the limit" if source.left_out else ""
    click.echo(f"{source.source}={source.root}: {source.layout}, {source.kind}")
    click.echo(f"  {source.train:,} to train on{test}{left_out}")
    if source.skipped:
        click.echo(
            f"{source.source}: files in no pair: {counted(Counter(reason for _, reason in source.skipped))}", err=True
        )
    if source.refused:
        click.echo(
            f"{source.source}: pairs refused: {counted(Counter(reason for _, reason, _ in source.refused))}", err=True
        )
    if source.captioned:
        click.echo(f"  captions of {source.captioned:,} crops: {counted(source.captions)}")
