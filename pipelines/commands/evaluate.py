"""`degrade-kit evaluate`."""

from __future__ import annotations

from typing import Any

import click

from degrade_kit.pipelines.commands.options import (
    DEVICE,
    echo_report,
    executor_options,
    quiet_model_loading,
    weights_option,
)
from degrade_kit.pipelines.commands.types import PLACE
from degrade_kit.pipelines.commands.words import command, only_with, option, word

PROTOCOLS = ("basicsr-rgb", "vqfr", "restoreformer", "pmrf")


@command("evaluate", "Score a folder of restored faces, any method's")
@option(
    "--restored",
    required=True,
    type=PLACE,
    metavar="PLACE",
    help="Restored images: a folder with all below it, a list (.txt), a .zip or a .tar.",
)
@option(
    "--reference",
    type=PLACE,
    metavar="PLACE",
    unset="none, for real photographs",
    help="What they should be, image by image: the same kinds of place, or a data set of `synth`.",
)
@word("--hq", "; FID, KID and Frechet compare with them", unset="a statistics file; the references")
@option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    default=PROTOCOLS[0],
    help="Whose way of measuring; see docs/evaluation.md.",
)
@option("--suffix", default="", metavar="TEXT", unset="none", help="What the method appends to names: _00.")
@option(
    "--allow-missing",
    is_flag=True,
    needs=only_with("reference"),
    help="Count images without a partner, and measure the others.",
)
@word("--out", ": a folder for the report", required=True)
@weights_option
@word("--device", unset=DEVICE)
@word("--feature-cache", unset="OUT/.features")
@word("--dry-run")
@executor_options
def evaluate_command(**options: Any) -> None:  # noqa: ANN401 (arguments of `evaluate`)
    """Score a folder of restored faces: any method's, with references or without.

    \b
    Examples:
      degrade-kit evaluate --restored results/gfpgan --reference celeba_test/hq --out eval/gfpgan
      degrade-kit evaluate --restored results/restoreformer --suffix _00 --reference celeba_test/hq \\
          --protocol restoreformer --out eval/restoreformer
      degrade-kit evaluate --restored results/gfpgan_lfw --hq ffhq512 --out eval/gfpgan_lfw

    Files pair up by their relative names without extension; what has no partner is an error. Metrics whose weights are
    not here are left out, and the report says which file they need: see `degrade-kit weights`.
    """  # noqa: D301 (click reads the \b itself)
    quiet_model_loading()
    from degrade_kit.pipelines.commands.progress import ProgressLine
    from degrade_kit.pipelines.evaluation.evaluate import evaluate

    with ProgressLine() as progress:
        found = evaluate(progress=progress, **options)
    echo_report(found)
