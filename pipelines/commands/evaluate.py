"""`degrade-kit evaluate`."""

from __future__ import annotations

from pathlib import Path

import click

from degrade_kit.pipelines.commands.options import (
    config_option,
    executor_config,
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
@click.option("--device", default="cpu", show_default=True, metavar="NAME", help="Where networks run, such as cuda.")
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that keeps features by content.  [default: OUT/.features]",
)
@executor_options
@config_option
def evaluate_command(
    restored: str,
    reference: str | None,
    faces: str | None,
    protocol: str,
    suffix: str,
    allow_missing: bool,
    out: Path,
    weights: dict[str, Path],
    device: str,
    cache: Path | None,
    workers: int | None,
    ray_address: str | None,
) -> None:
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
    from degrade_kit.analysis.judge import METRICS
    from degrade_kit.pipelines.commands.progress import ProgressLine
    from degrade_kit.pipelines.evaluation.evaluate import evaluate
    from degrade_kit.pipelines.evaluation.report import EvaluateConfig, shown_value

    quiet_model_loading()
    config = EvaluateConfig(
        restored=restored,
        reference=reference,
        faces=faces,
        protocol=protocol,
        suffix=suffix,
        allow_missing=allow_missing,
        device=device,
        cache=cache or out / ".features",
    )
    with ProgressLine() as progress:
        found = evaluate(config, weights, out, executor_config(workers, ray_address), progress)
    click.echo(f"{len(found.rows):,} images, protocol {found.protocol.id}")
    for name, summary in found.summaries.items():
        metric = METRICS[name]
        if summary.value is None:
            click.echo(f"  {metric.title:<22} {summary.status}")
            continue
        interval = (
            ""
            if summary.low is None
            else f"  ({shown_value(metric, summary.low)} to {shown_value(metric, summary.high)})"
        )
        value = f"{shown_value(metric, summary.value)} {metric.unit(found.protocol)}".strip()
        equal = f", and {summary.infinite:,} equal to their references" if summary.infinite else ""
        click.echo(f"  {metric.title:<22} {value}{interval}, {summary.images:,} images{equal}")
    if found.missing or found.extra:
        click.echo(
            f"not in the numbers: {len(found.missing):,} references, {len(found.extra):,} restored images", err=True
        )
    for file in found.files:
        click.echo(f"  {file}")
