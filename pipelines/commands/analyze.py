"""`degrade-kit analyze-distribution`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from degrade_kit.pipelines.commands.options import (
    config_option,
    echo_report,
    executor_options,
    measured_images_options,
    parse_assignments,
    parse_places,
    quiet_model_loading,
    weights_option,
)
from degrade_kit.pipelines.commands.progress import ProgressLine


@click.command("analyze-distribution")
@click.option(
    "--synth",
    multiple=True,
    required=True,
    metavar="NAME=PLACE",
    help="Synthesized LQ images: a data set of `synth`, or a folder; several times for several.",
)
@click.option(
    "--real", multiple=True, required=True, metavar="NAME=PLACE", help="Photographs; several times for several."
)
@click.option(
    "--hq",
    metavar="PLACE",
    help="HQ faces: to whiten with, and as a set of its own.  [default: those of the data sets]",
)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the report.")
@click.option(
    "--features",
    default="auto",
    show_default=True,
    metavar="KIND[:DIR]",
    help="`whitened` (needs HQ faces), `degradation`, or a learned space: `arniqa` or `inception`, whose files "
    "`degrade-kit weights` lists, or from a folder, checkpoint:DIR of a FlipNet, dinov2:DIR, vae:DIR. `auto` whitens "
    "where it can.",
)
@weights_option
@click.option(
    "--projection", type=click.Choice(["umap", "pca"]), default="umap", show_default=True, help="Of the pictures."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of subsets, folds and projection.")
@measured_images_options
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that keeps features by content.  [default: OUT/.features]",
)
@click.option(
    "--fail-above",
    multiple=True,
    metavar="MEASURE=LIMIT",
    help="Exit with status 1 if kid, frechet or auc of a synthesized set exceeds this.  [default: none]",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and do nothing.  [default: off]")
@executor_options
@config_option
def analyze_command(
    synth: tuple[str, ...],
    real: tuple[str, ...],
    fail_above: tuple[str, ...],
    **options: Any,  # noqa: ANN401 (the other arguments of `analyze`, by name)
) -> None:
    """Show how close synthesized LQ images come to real ones: pictures, and numbers with their nulls.

    \b
    Examples:
      degrade-kit analyze-distribution --synth flipnet=out/flipnet --synth classical=out/gfpgan \\
          --real LFW=lfw_test --real WIDER=wider_test --out report
      degrade-kit analyze-distribution --synth mine=out --real photos=photos --out report --fail-above kid=0.1

    Exit status 1 if a limit is exceeded, 3 if some images could not be used.
    """  # noqa: D301 (click reads the \b itself)
    limits = {name: _limit(text) for name, text in parse_assignments(fail_above, "--fail-above", "MEASURE=LIMIT")}
    quiet_model_loading()
    from degrade_kit.pipelines.distribution.analyze import analyze

    with ProgressLine() as progress:
        found = analyze(
            parse_places(synth, "--synth"),
            parse_places(real, "--real"),
            fail_above=limits,
            progress=progress,
            **options,
        )
    echo_report(found)
    if options["dry_run"]:
        return
    if found.exceeded:
        sys.exit(1)
    if found.failures:
        sys.exit(3)


def _limit(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise click.BadParameter(f"--fail-above: expected MEASURE=NUMBER, got {text!r}") from error
