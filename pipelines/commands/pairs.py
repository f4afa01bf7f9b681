"""`degrade-kit pairs`."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from degrade_kit.pipelines.commands.types import PAIR_COUNT
from degrade_kit.pipelines.commands.words import command, only_with, option, word
from degrade_kit.pipelines.text import counted

if TYPE_CHECKING:
    from degrade_kit.pipelines.inputs.pairs import SourceReport


@command("pairs", "Check and show real LQ/HQ pairs for train-degrade")
@word(
    "--pairs",
    ". KIND is haze, low-light, noise, blur, a word of your own, or a data set: dense-haze, lol, sidd, polyu, "
    "realblur-j. The layout is inferred from the tree",
    multiple=True,
    unset="none",
)
@word("--hq", "; they are degraded on the fly", unset="none")
@word("--preset", "; it degrades the faces", default="flipnet-paper", needs=only_with("hq"))
@word(
    "--out",
    ": a folder for pairs.png, a sheet of pairs with their captions, and pairs.json, all that is printed in full",
    required=True,
)
@option(
    "--limit",
    "limits",
    multiple=True,
    type=PAIR_COUNT,
    metavar="KIND=N",
    unset="sidd=1000, realblur-j=1000, face=4000, all of others",
    help="Training pairs drawn at random of a KIND as in --pairs, or of `face`; 0 takes all.",
)
@option(
    "--tile",
    "tiles",
    multiple=True,
    type=PAIR_COUNT,
    metavar="KIND=SIDE",
    unset="sidd=512, 0 for others",
    needs=only_with("pairs"),
    help="Part larger images of a KIND into squares, each a pair of its own; 0 parts none.",
)
@word("--size", ", of the crops shown", type=click.IntRange(16, 4096), default=256)
@option("--shown", type=click.IntRange(1, 20), default=4, help="Pairs of each kind shown.")
@word("--registration", default=True, needs=only_with("pairs"))
@word("--seed", ": subsets and crops", default=0)
def pairs_command(
    pairs: tuple[tuple[str, str], ...],
    hq: str | None,
    preset: str,
    out: Path,
    limits: tuple[tuple[str, int], ...],
    tiles: tuple[tuple[str, int], ...],
    size: int,
    shown: int,
    registration: bool,
    seed: int,
) -> None:
    """Count, check, caption and show real LQ/HQ pairs, before a model is trained on them.

    \b
    Example:
      degrade-kit pairs --pairs dense-haze=Dense_Haze_NTIRE19 --pairs lol=LOLdataset \\
          --hq ffhq --preset flipnet-paper --out look

    Official test splits are recognised and left out of training. Captions name the degradation that is measured on a
    crop; there are as many of a pair as it has degradations.

    Exit status: 0 if all files are in pairs that can be used, 3 if some are not (OUT/pairs.json says which, and why), 2
    for wrong options or a folder that fits no layout.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.pipelines.commands.progress import ProgressLine
    from degrade_kit.pipelines.inputs.pairs import REPORT, SHEET, PairsConfig, inspect_pairs
    from degrade_kit.presets import resolve_recipe

    config = PairsConfig(
        pairs=pairs,
        out_dir=out,
        faces=hq,
        recipe=resolve_recipe(preset) if hq is not None else None,
        limits=dict(limits),
        tiles=dict(tiles),
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
    click.echo(f"next: look at {out / SHEET}; all of it is in {out / REPORT}")
    if not report.complete:
        sys.exit(3)


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
