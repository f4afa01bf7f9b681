"""`degrade-kit train-restore`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from degrade_kit.pipelines.commands.again import command_again
from degrade_kit.pipelines.commands.options import quiet_model_loading, training_options, weights_option
from degrade_kit.pipelines.text import human_time

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command("train-restore")
@click.option("--shards", required=True, metavar="DIR|URL", help="Data set of `synth` to train on.")
@click.option(
    "--stage",
    type=click.Choice(["reconstruction", "association", "restoration", "all"]),
    default="all",
    show_default=True,
    help="Autoencoders, their association, the restorer, or one after the other.",
)
@click.option("--out", "out_dir", required=True, type=_FOLDER, help="Folder of the run.")
@click.option(
    "--config",
    "config_name",
    default="sd21",
    show_default=True,
    metavar="NAME|FILE.yaml",
    help="`sd21` (the paper's scale), `small` (two CPU cores), or a file of the same sections.",
)
@click.option(
    "--validation", metavar="DIR|URL", help="Data set of other people to validate on.  [default: a share of --shards]"
)
@click.option(
    "--base-model", metavar="ID|DIR", help="Stable Diffusion model in diffusers' layout.  [default: the config's]"
)
@click.option(
    "--embedding",
    type=click.Choice(["bfr", "arcface", "none"]),
    help="Face embedding: the LQ encoder of the association, an identity network, or none.  [default: the config's]",
)
@click.option(
    "--onthefly-prob",
    type=click.FloatRange(0, 1),
    help="Share of the pairs whose LQ image is made on the fly, the rest being stored ones.  [default: the config's]",
)
@click.option(
    "--crop",
    is_flag=True,
    default=None,
    help="Train on random crops where images are larger than the configuration's.  [default: the config's, which "
    "refuses them]",
)
@click.option(
    "--autoencoders",
    type=_FOLDER,
    help="Model of an autoencoder stage to start from, in place of the run's own.  [default: the run's]",
)
@click.option(
    "--perceptual",
    type=click.Choice(["vgg19", "gradient-pyramid"]),
    help="Perceptual loss: the paper's, whose weights `degrade-kit weights` lists, or a stand-in without weights.  "
    "[default: the config's]",
)
@weights_option
@click.option("--cache-dir", metavar="DIR", help="Where shards of a URL are kept.  [default: none]")
@training_options
def train_restore_command(
    shards: str,
    stage: str,
    out_dir: Path,
    config_name: str,
    validation: str | None,
    autoencoders: Path | None,
    weights: dict[str, Path],
    device: str | None,
    threads: int,
    data_workers: int,
    cache_dir: str | None,
    num_workers: int,
    ray_address: str | None,
    gpus_per_worker: float,
    report_to: tuple[str, ...],
    download: bool,
    dry_run: bool,
    **overrides: Any,  # noqa: ANN401 (fields of the training configuration)
) -> None:
    """Train a face restorer on a data set of pairs: autoencoders, their association, then FlipNet's restoration mode.

    \b
    Examples:
      degrade-kit train-restore --shards shards --config small --out runs/restore
      degrade-kit train-restore --shards shards --config small --stage restoration --embedding none --out runs/plain

    The data set's images have the side that the configuration is for: `synth --size 64` for `small`, 512 for `sd21`.

    Run it again to go on from the last checkpoint; Ctrl-C writes one. `OUT/restoration/model` is the restorer,
    `OUT/restoration/samples` shows what it makes of held-out pairs.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.flipnet.config import require_packages
    from degrade_kit.pipelines.models.paths import check_restore_paths

    require_packages()
    if not download:
        quiet_model_loading()
    check_restore_paths(
        config_name,
        data_sets=[shards, *([validation] if validation else [])],
        weights=weights,
        autoencoders=autoencoders,
        restores=stage in ("restoration", "all"),
        base_model=overrides["base_model"],
        download=download,
    )
    from degrade_kit.pipelines.models.train_restore import (
        STAGES,
        RestoreRun,
        load_restore_config,
        locate_weights,
        restore_plan_text,
    )

    run = RestoreRun(
        config=load_restore_config(config_name, {key: value for key, value in overrides.items() if value is not None}),
        shards=shards,
        out_dir=out_dir,
        stages=tuple(name for name in STAGES if stage in (name, "all")),
        validation=validation,
        autoencoders=autoencoders,
        weights=weights,
        device=device,
        data_workers=data_workers,
        cache_dir=cache_dir,
        download=download,
        trackers=report_to,
        threads=threads,
    )
    if dry_run:
        click.echo(restore_plan_text(run))
        click.echo("dry run: nothing was written")
        return
    run = locate_weights(run)  # here: workers may have another environment and working directory
    from degrade_kit.pipelines.executor import train_on_workers
    from degrade_kit.pipelines.models.train_restore import chosen_stages, train_restore_here

    def progress(metrics: dict[str, float | int]) -> None:
        name = STAGES[int(metrics["stage"])]
        step, total = int(metrics["step"]), run.config.loop(name).num_steps
        if step % 50 == 0 or step == total or "val_loss" in metrics:
            left = (total - step) / max(metrics["steps_per_second"], 1e-9)
            shown = ("val_loss", "val_diagonal", "val_psnr", "val_psnr_lq")
            extra = "".join(f"  {key} {metrics[key]:.4f}" for key in shown if key in metrics)
            click.echo(
                f"{name}: step {step:,} of {total:,}  loss {metrics['loss']:.4f}  "
                f"{metrics['steps_per_second']:.2f} steps/s  {human_time(left)} left{extra}",
                err=True,
            )

    if num_workers == 1:
        model = train_restore_here(run, progress)
    else:
        train_on_workers(train_restore_here, run, num_workers, gpus=gpus_per_worker, ray_address=ray_address)
        model = out_dir / chosen_stages(run)[-1] / "model"
    click.echo(f"model {model}")
    click.echo(f"look at {model.parent}/samples, {model.parent}/metrics.jsonl")
    if model.parent.name == "restoration":
        click.echo(f"next: degrade-kit restore --model {shlex.quote(str(out_dir))} --input PHOTOS --out restored")
    else:
        following = STAGES[STAGES.index(chosen_stages(run)[-1]) + 1]
        click.echo(f"next: {command_again(click.get_current_context(), stage=following)}")
