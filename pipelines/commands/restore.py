"""`degrade-kit restore`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from degrade_kit.pipelines.commands.options import executor_config, executor_options, quiet_model_loading
from degrade_kit.pipelines.commands.plan import print_estimate
from degrade_kit.wording import counted_noun


def parse_numbers(text: str | None, option: str) -> tuple[float, ...]:
    """Numbers with commas between them.

    >>> parse_numbers("0,0.5,1", "--phi")
    (0.0, 0.5, 1.0)
    """
    if text is None:
        return ()
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{option}: expected numbers such as 0,0.5,1, got {text!r}") from error


@click.command("restore")
@click.option("--model", required=True, metavar="RUN", help="Run of `train-restore`, or a model's folder in it.")
@click.option(
    "--input",
    "source",
    required=True,
    metavar="DIR|IMAGE|SHARDS",
    help="Faces: a folder, a file, a list or an archive as in `synth`; or a data set, whose LQ images are taken.",
)
@click.option(
    "--out", "out_dir", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the results."
)
@click.option(
    "--phi",
    metavar="X[,X...]",
    help="Enhance weight of the LQ image; several give one folder each.  [default: the model's, 1]",
)
@click.option("--steps", "num_steps", type=click.IntRange(1, 1000), help="Solver steps.  [default: the model's]")
@click.option("--solver", type=click.Choice(["ddim", "dpm++"]), help="Solver.  [default: the model's]")
@click.option("--guidance", type=float, help="Classifier-free guidance; 1 is none.  [default: the model's]")
@click.option("--prompt", default="", metavar="TEXT", help="Prompt of all images.  [default: the null prompt]")
@click.option("--negative-prompt", metavar="TEXT", help="What guidance leads away from.  [default: the model's]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the noise.")
@click.option("--batch-size", type=click.IntRange(1), default=4, show_default=True, help="Images made at once.")
@click.option(
    "--size",
    type=click.IntRange(0),
    help="Shorter side that inputs are scaled to, pixels; 0 keeps their own.  [default: what the model was trained on]",
)
@click.option(
    "--color-fix",
    type=click.Choice(["none", "wavelet", "adain"]),
    default="none",
    show_default=True,
    help="Take coarse colours, or each channel's mean and spread, from the input.",
)
@click.option(
    "--variant", type=click.IntRange(0), default=0, show_default=True, help="Which LQ image of a sample of SHARDS."
)
@click.option("--attention", is_flag=True, help="Show where the first images read the face embedding.  [default: off]")
@click.option("--base-model", metavar="DIR", help="In place of the model's own base model.  [default: its own]")
@click.option("--device", metavar="NAME", help="Such as cuda or cpu.  [default: the first GPU, or else the CPU]")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="Arithmetic of the network.",
)
@click.option("--cache-dir", metavar="DIR", help="Where shards of a URL are kept.  [default: none]")
@executor_options
@click.option(
    "--gpus-per-worker", type=float, default=0.0, show_default=True, help="GPUs of each worker on Ray; may be a part."
)
@click.option(
    "--download", is_flag=True, help="Fetch a hub's base model that is not in the local cache.  [default: off]"
)
@click.option("--dry-run", is_flag=True, help="Print the plan and do nothing.  [default: off]")
def restore_command(
    source: str,
    phi: str | None,
    workers: int | None,
    ray_address: str | None,
    gpus_per_worker: float,
    dry_run: bool,
    **options: Any,  # noqa: ANN401 (fields of the job)
) -> None:
    """Restore faces that are framed as in FFHQ; `align` frames others.

    \b
    Examples:
      degrade-kit restore --model runs/restore --input photos --out restored
      degrade-kit restore --model runs/restore --input shards --variant 0 --out restored --workers 4
      degrade-kit restore --model runs/restore --input photos --phi 0,0.5,1 --out sweep

    Run it again to go on: images that are there are kept. OUT/.degrade_kit/sheet.png shows the first of them.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.flipnet.config import require_packages

    require_packages()
    if not options["download"]:
        quiet_model_loading()
    from degrade_kit.pipelines.commands.progress import ProgressLine
    from degrade_kit.pipelines.models.restore import RestoreJob, check_run, effort, plan_restoration, restore

    overrides = {key: options.pop(key) for key in ("num_steps", "solver", "guidance", "negative_prompt")}
    job = RestoreJob(input=source, phis=parse_numbers(phi, "--phi"), overrides=overrides, **options)
    plan = plan_restoration(job)
    executor = executor_config(workers, ray_address, gpus_per_worker)
    if dry_run:
        sampling = plan.sampling[0]
        _, names, todo = check_run(plan, executor)
        waiting = sum(len(chunk.indices) for chunk in todo)
        click.echo(
            f"{counted_noun(len(names), 'image')} at {plan.size or 'their own'} pixels, {waiting:,} of them to do, "
            f"seed {job.seed}"
        )
        click.echo(
            f"restorer {plan.digest}: {sampling.num_steps} steps of {sampling.solver}, guidance {sampling.guidance:g}, "
            f"phi {', '.join(f'{each.phi:g}' for each in plan.sampling)}"
        )
        click.echo(f"writes {', '.join(map(str, plan.folders))}")
        click.echo("the time is that of a small model on a CPU: a large one takes more, and on a GPU less")
        print_estimate(executor, effort(plan, todo))
        return

    with ProgressLine() as progress:
        report = restore(plan, executor, progress=progress)
    click.echo(f"{counted_noun(report.made, 'image')} made, {report.kept:,} kept from before")
    for name, why in report.failures[:5]:
        click.echo(f"not restored: {name}: {why}", err=True)
    if report.failures:
        click.echo(
            f"{counted_noun(len(report.failures), 'input')} could not be used; see {job.out_dir}/.degrade_kit/",
            err=True,
        )
    if report.sheet is not None:
        click.echo(f"look at {report.sheet}")
    if report.attention is not None:
        path, share = report.attention
        click.echo(f"face tokens take {share:.0%} of cross-attention; look at {path}")
    if report.failures:
        sys.exit(3)
