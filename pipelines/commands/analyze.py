"""`degrade-kit analyze-distribution`."""

from __future__ import annotations

import sys
from typing import Any

import click

from degrade_kit.pipelines.commands.options import (
    echo_report,
    executor_options,
    measured_images_options,
    named_places,
    quiet_model_loading,
    weights_option,
)
from degrade_kit.pipelines.commands.progress import ProgressLine
from degrade_kit.pipelines.commands.types import FEATURES, MEASURE_LIMIT, NAMED_PLACE, SPACES
from degrade_kit.pipelines.commands.words import command, option, word


@command("analyze-distribution", "Compare LQ images with real photographs: UMAP, KID")
@option(
    "--synth",
    multiple=True,
    required=True,
    type=NAMED_PLACE,
    metavar="NAME=PLACE",
    help="Synthesized LQ images: a data set of `synth`, or a folder; several times for several.",
)
@word("--real", "; several times for several", metavar="NAME=PLACE", type=NAMED_PLACE, multiple=True, required=True)
@word("--hq", "; to whiten with, and as a set of its own", unset="those of the first data set")
@word("--out", ": a folder for the report", required=True)
@option(
    "--features",
    default="auto",
    type=FEATURES,
    metavar="KIND[:DIR]",
    help="`whitened` (needs HQ faces), `degradation`, or a learned space: `arniqa`, `efficientnet` or `inception`, "
    "whose files `degrade-kit weights` lists, or from a folder, checkpoint:DIR of a FlipNet, dinov2:DIR, vae:DIR. "
    "`auto` whitens where it can.",
)
@option(
    "--patches/--no-patches",
    is_flag=True,
    default=None,
    unset="where PyTorch is there, sets have 50 images, and it takes at most ten minutes",
    help="Train a small network on patches to tell each source from each real set, a minute each: a classifier that "
    "chose nothing.",
)
@option(
    "--spaces",
    default="auto",
    type=SPACES,
    metavar="auto|none|KIND[:DIR],...",
    help="Learned spaces in which some images are compared too, by names as for --features. `auto` takes the first two "
    "of `arniqa`, `efficientnet` and the small FlipNet that are on this machine, for sets of 50 images or more.",
)
@weights_option
@option("--projection", type=click.Choice(["umap", "pca"]), default="umap", help="How the pictures are projected.")
@word("--seed", ": subsets, folds and projection", default=0)
@measured_images_options
@word("--feature-cache", unset="OUT/.features")
@option(
    "--fail-above",
    multiple=True,
    type=MEASURE_LIMIT,
    metavar="MEASURE=LIMIT",
    unset="none",
    help="Exit with status 1 if kid, frechet or auc of a synthesized set exceeds this.",
)
@word("--dry-run")
@executor_options
def analyze_command(
    synth: tuple[tuple[str, str], ...],
    real: tuple[tuple[str, str], ...],
    fail_above: tuple[tuple[str, float], ...],
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
    quiet_model_loading()
    from degrade_kit.pipelines.distribution.analyze import analyze

    with ProgressLine() as progress:
        found = analyze(
            named_places(synth, "--synth"),
            named_places(real, "--real"),
            fail_above=dict(fail_above),
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
