"""`degrade-kit train-degrade`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from degrade_kit.pipelines.commands.options import parse_assignments, quiet_model_loading, training_options
from degrade_kit.pipelines.text import human_time


@click.command("train-degrade")
@click.option(
    "--pairs",
    multiple=True,
    metavar="KIND=DIR",
    help="Real pairs in DIR, as in `pairs inspect`; several times for several.  [default: none]",
)
@click.option("--faces", metavar="SOURCE", help="HQ faces to degrade on the fly, as in `synth`.  [default: none]")
@click.option(
    "--config",
    "config_name",
    default="sd21",
    show_default=True,
    metavar="NAME|FILE.yaml",
    help="`sd21` (the paper's scale), `small` (two CPU cores), or a file of the same sections.",
)
@click.option(
    "--base-model", metavar="ID|DIR", help="Stable Diffusion model in diffusers' layout.  [default: the config's]"
)
@click.option(
    "--out", "out_dir", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the run."
)
@click.option(
    "--registration/--no-registration", default=True, show_default=True, help="Leave out pairs that are displaced."
)
@training_options
def train_degrade_command(
    pairs: tuple[str, ...],
    faces: str | None,
    config_name: str,
    base_model: str | None,
    out_dir: Path,
    registration: bool,
    device: str | None,
    threads: int,
    data_workers: int,
    num_workers: int,
    ray_address: str | None,
    gpus_per_worker: float,
    report_to: tuple[str, ...],
    download: bool,
    dry_run: bool,
    **overrides: Any,  # noqa: ANN401 (fields of the training configuration)
) -> None:
    """Train FlipNet's degradation mode on real pairs and on faces that are degraded on the fly.

    \b
    Examples:
      degrade-kit train-degrade --pairs dense-haze=Dense_Haze_NTIRE19 --pairs lol=LOLdataset \\
          --pairs sidd=SIDD_Medium_Srgb --pairs realblur-j=RealBlur --faces ffhq --out runs/degrade
      degrade-kit train-degrade --config small --pairs noise=pairs/noise --faces faces --out runs/small

    Run it again to go on from the last checkpoint; Ctrl-C writes one. `OUT/model` is the FlipNet to sample with,
    `OUT/best` the one of the lowest validation distance, `OUT/samples` shows what it makes of held-out pairs.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.flipnet.config import require_packages
    from degrade_kit.pipelines.models.paths import check_degrade_paths

    require_packages()
    if not download:
        quiet_model_loading()
    named = tuple(parse_assignments(pairs, "--pairs", "KIND=DIR"))
    check_degrade_paths(config_name, pairs=named, faces=faces, base_model=base_model, download=download)
    from degrade_kit.pipelines.models.train_degrade import DegradeRun, load_run_config, plan_text

    given = {key: value for key, value in {**overrides, "base_model": base_model}.items() if value is not None}
    run = DegradeRun(
        config=load_run_config(config_name, given),
        pairs=named,
        faces=faces,
        out_dir=out_dir,
        registration=registration,
        device=device,
        data_workers=data_workers,
        download=download,
        trackers=report_to,
        threads=threads,
    )
    if dry_run:
        click.echo(plan_text(run))
        click.echo("dry run: nothing was written")
        return
    from degrade_kit.pipelines.executor import train_on_workers
    from degrade_kit.pipelines.models.train_degrade import train_here

    total = run.config.train.num_steps

    def progress(metrics: dict[str, float | int]) -> None:
        step = int(metrics["step"])
        if step % 50 == 0 or step == total or "val_loss" in metrics:
            left = (total - step) / max(metrics["steps_per_second"], 1e-9)
            extra = "".join(f"  {key} {metrics[key]:.4f}" for key in ("val_loss", "val_distance") if key in metrics)
            click.echo(
                f"step {step:,} of {total:,}  loss {metrics['loss']:.4f}  "
                f"{metrics['steps_per_second']:.2f} steps/s  {human_time(left)} left{extra}",
                err=True,
            )

    if num_workers == 1:
        model = train_here(run, progress)
    else:
        train_on_workers(train_here, run, num_workers, gpus=gpus_per_worker, ray_address=ray_address)
        model = out_dir / "model"
    click.echo(f"model {model}")
    click.echo(f"look at {out_dir}/samples, {out_dir}/metrics.jsonl")
    click.echo(f"next: degrade-kit degrade FACE.png --flipnet {shlex.quote(str(model))} --out look")
