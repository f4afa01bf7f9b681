"""`degrade-kit restore`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from degrade_kit.pipelines.commands.options import DEVICE, executor_config, executor_options, quiet_model_loading
from degrade_kit.pipelines.commands.plan import print_estimate
from degrade_kit.pipelines.commands.types import MODEL, ONE_PROMPT
from degrade_kit.pipelines.commands.words import RAY, Needs, command, not_with, option, url_of, word
from degrade_kit.wording import counted_noun


def _is_data_set(given: Mapping[str, Any]) -> bool:
    from degrade_kit.pipelines.images import is_shards

    return is_shards(given["source"])


_DATA_SET = Needs(met=_is_data_set, otherwise="on images that are no data set")


@command("restore", "Restore faces with a trained restorer")
@option("--model", required=True, type=MODEL, metavar="RUN", help="Run of `train-restore`, or a model's folder in it.")
@word("--input", ": faces; or a data set, whose LQ images are taken", required=True)
@word("--out", ": a folder", required=True)
@word("--phi", "; several times for several, a folder each", multiple=True, unset="the model's, 1")
@word("--solver-steps", unset="the model's")
@word("--solver", unset="the model's")
@word("--guidance", unset="the model's")
@word("--prompt", ", for all images", metavar="TEXT", type=ONE_PROMPT, default="", unset="null")
@word("--captions", ", each of its image; of a data set, of its HQ image", unset="none", needs=not_with("prompt"))
@word("--negative-prompt", unset="the model's")
@word("--seed", ": the noise", default=0)
@word("--batch-size", default=4)
@word(
    "--size",
    ": the shorter one, to which inputs are scaled; 0 keeps their own",
    unset="what the model was trained on",
)
@option(
    "--color-fix",
    type=click.Choice(["none", "wavelet", "adain"]),
    default="none",
    help="Take coarse colours, or each channel's mean and spread, from the input.",
)
@word("--variant", default=0, needs=_DATA_SET)
@option("--attention", is_flag=True, help="Show where the first images read the face embedding.")
@word("--base-model", unset="the model's own")
@word("--device", unset=DEVICE)
@word("--dtype", default="float32")
@word("--cache-dir", unset="none, which is for local shards", needs=url_of("source"))
@executor_options
@word("--gpus-per-worker", default=0.0, needs=RAY)
@word("--download", ": a hub's base model")
@word("--dry-run")
def restore_command(
    source: str,
    out: Path,
    phi: tuple[float, ...],
    workers: int | None,
    ray_address: str | None,
    wait: float,
    gpus_per_worker: float,
    dry_run: bool,
    **options: Any,  # noqa: ANN401 (fields of the job)
) -> None:
    """Restore faces that are framed as in FFHQ; `align` frames others.

    \b
    Examples:
      degrade-kit restore --model runs/restore --input photos --out restored
      degrade-kit restore --model runs/restore --input shards --variant 0 --out restored --workers 4
      degrade-kit restore --model runs/restore --input photos --phi 0 --phi 0.5 --phi 1 --out sweep

    Run it again to resume: images that are there are kept. OUT/.degrade_kit/sheet.png shows the first of them.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.flipnet.config import require_packages

    require_packages()
    if not options["download"]:
        quiet_model_loading()
    from degrade_kit.pipelines.commands.progress import ProgressLine
    from degrade_kit.pipelines.models.restore import (
        RestoreJob,
        check_restoration,
        plan_restoration,
        restore,
        restore_effort,
    )

    overrides = {"num_steps": options.pop("solver_steps")}
    overrides |= {key: options.pop(key) for key in ("solver", "guidance", "negative_prompt")}
    job = RestoreJob(input=source, out_dir=out, phis=phi, overrides=overrides, **options)
    plan = plan_restoration(job)
    executor = executor_config(workers, ray_address, wait, gpus_per_worker)
    if dry_run:
        sampling = plan.sampling[0]
        _, names, todo = check_restoration(plan, executor)
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
        print_estimate(executor, restore_effort(plan, todo))
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
