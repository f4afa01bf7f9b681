"""`degrade-kit evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from degrade_kit.pipelines.commands.options import (
    config_option,
    echo_report,
    executor_options,
    quiet_model_loading,
    weights_option,
)

PROTOCOLS = ("basicsr-rgb", "vqfr", "restoreformer", "pmrf")


@click.command("evaluate")
@click.option("--restored", required=True, metavar="PLACE", help="Restored images: a folder, list, zip or tar.")
@click.option(
    "--reference",
    metavar="PLACE",
    help="What they should be: the same, or a data set of `synth`.  [default: none, for real photographs]",
)
@click.option(
    "--faces",
    metavar="PLACE",
    help="Sharp faces that FID, KID and Frechet compare with.  [default: a statistics file; the references]",
)
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    default=PROTOCOLS[0],
    show_default=True,
    help="Whose way of measuring; see docs/evaluation.md.",
)
@click.option("--suffix", default="", metavar="TEXT", help="What the method appends to names: _00.  [default: none]")
@click.option(
    "--allow-missing", is_flag=True, help="Count images without a partner, and measure the others.  [default: off]"
)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the report.")
@weights_option
@click.option(
    "--device",
    metavar="NAME",
    help="Where networks run, such as cuda or cpu.  [default: the first GPU, or else the CPU]",
)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that keeps features by content.  [default: OUT/.features]",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and do nothing.  [default: off]")
@executor_options
@config_option
def evaluate_command(**options: Any) -> None:  # noqa: ANN401 (arguments of `evaluate`)
    """Score a folder of restored faces: any method's, with references or without.

    \b
    Examples:
      degrade-kit evaluate --restored results/gfpgan --reference celeba_test/hq --out eval/gfpgan
      degrade-kit evaluate --restored results/restoreformer --suffix _00 --reference celeba_test/hq \\
          --protocol restoreformer --out eval/restoreformer
      degrade-kit evaluate --restored results/gfpgan_lfw --faces ffhq512 --out eval/gfpgan_lfw

    Files pair up by their relative names without extension; what has no partner is an error. Metrics whose weights are
    not here are left out, and the report says which file they need: see `degrade-kit weights`.
    """  # noqa: D301 (click reads the \b itself)
    quiet_model_loading()
    from degrade_kit.pipelines.commands.progress import ProgressLine
    from degrade_kit.pipelines.evaluation.evaluate import evaluate

    with ProgressLine() as progress:
        found = evaluate(progress=progress, **options)
    echo_report(found)
