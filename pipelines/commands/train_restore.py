"""`degrade-kit train-restore`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from degrade_kit.pipelines.commands.again import command_again
from degrade_kit.pipelines.commands.config_file import ConfigFiles, Sections, of_base_model
from degrade_kit.pipelines.commands.options import quiet_model_loading, training_options, weights_option
from degrade_kit.pipelines.commands.types import PLACE
from degrade_kit.pipelines.commands.words import FOLDER, command, only_with, option, url_of, word
from degrade_kit.pipelines.text import human_time

_RESTORATION = only_with("stage", "restoration", "all")


def _saved_options(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """The options and sections of a stage's `config.yaml`; None for any other file."""
    if not {"stage", "shards", "loop", "perceptual"} <= data.keys():
        return None
    sections = {key: value for key, value in data.items() if key in _SECTIONS} | {data["stage"]: data["loop"]}
    options = {key: data.get(key) for key in ("stage", "shards", "validation", "base_model", "perceptual")}
    return {**sections, **{name: value for name, value in options.items() if value}}


_SECTIONS = (
    "revision",
    "base",
    "network",
    "autoencoder",
    "reconstruction",
    "association",
    "restoration",
    "losses",
    "data",
    "sampling",
    "validation_images",
)
"""Keys of the configuration of a run, beside `base_model` and `perceptual`, which are options."""


def _train_shown(run: Any) -> None:  # noqa: ANN401 (a RestoreRun, imported where it is needed)
    """Train in one of several processes, and show the captioning before it."""
    from degrade_kit.pipelines.commands.progress import ProgressLine
    from degrade_kit.pipelines.models.train_restore import train_restore_here

    with ProgressLine() as progress:
        train_restore_here(run, progress=progress)


@command(
    "train-restore",
    "Train a face restorer on a data set of pairs",
    files=ConfigFiles(sections=_SECTIONS, packaged="train-restore", saved=_saved_options),
)
@word("--shards", "; it is trained on", required=True)
@option(
    "--stage",
    type=click.Choice(["reconstruction", "association", "restoration", "all"]),
    default="all",
    help="Autoencoders, their association, the restorer, or one after the other.",
)
@word("--out", ": a folder for the run", required=True)
@option(
    "--validation",
    type=PLACE,
    metavar="DIR|URL",
    unset="a share of --shards",
    help="Data set of other people to validate on.",
)
@option(
    "--embedding",
    type=click.Choice(["bfr", "arcface", "none"]),
    unset="the configuration's",
    needs=_RESTORATION,
    help="Face embedding: the LQ encoder of the association, an identity network, or none.",
)
@option(
    "--onthefly-prob",
    type=click.FloatRange(0, 1),
    unset="the configuration's",
    help="Share of the pairs whose LQ image is made on the fly, the rest being stored ones.",
)
@option(
    "--crop",
    is_flag=True,
    default=None,
    unset="the configuration's, which refuses them",
    help="Train on random crops where images are larger than the configuration's.",
)
@option(
    "--autoencoders",
    type=FOLDER,
    unset="the run's",
    needs=only_with("stage", "association", "restoration", "all"),
    help="Model of an autoencoder stage to start from, in place of the run's own.",
)
@option(
    "--perceptual",
    type=click.Choice(["vgg19", "gradient-pyramid"]),
    unset="the configuration's",
    help="Perceptual loss: the paper's, whose weights `degrade-kit weights` lists, or a stand-in without weights.",
)
@weights_option
@word("--cache-dir", unset="none, which is for local shards", needs=url_of("shards"))
@word("--captions", "; of the faces that the shards were made of", unset="the configuration's", needs=_RESTORATION)
@training_options
def train_restore_command(
    config: Sections,
    shards: str,
    stage: str,
    out: Path,
    validation: str | None,
    autoencoders: Path | None,
    weights: dict[str, Path],
    device: str | None,
    threads: int,
    data_workers: int | None,
    cache_dir: Path | None,
    workers: int,
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

    Run it again to resume from the last checkpoint; Ctrl-C writes one. `OUT/restoration/model` is the restorer,
    `OUT/restoration/samples` shows what it makes of held-out pairs.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.flipnet.config import require_packages
    from degrade_kit.pipelines.models.paths import check_restore_paths

    require_packages()
    if not download:
        quiet_model_loading()
    config = of_base_model(config)
    check_restore_paths(
        config.values,
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
        locate_weights,
        restore_plan_text,
        restore_run_config,
    )

    run = RestoreRun(
        config=restore_run_config(
            config.values, {key: value for key, value in overrides.items() if value is not None}, config.where
        ),
        shards=shards,
        out_dir=out,
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
    embedding = run.config.losses.embedding
    if autoencoders is not None and "restoration" in run.stages and embedding != "bfr":
        raise click.UsageError(f"--autoencoders has no effect with the face embedding {embedding}; it needs bfr")
    if dry_run:
        click.echo(restore_plan_text(run, max(workers, 1)))
        click.echo("dry run: nothing was written")
        return
    run = locate_weights(run)  # here: workers may have another environment and working directory
    from degrade_kit.pipelines.commands.progress import ProgressLine
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

    if workers == 0:
        with ProgressLine() as captioned:
            model = train_restore_here(run, progress, captioned)
    else:
        train_on_workers(_train_shown, run, workers, gpus=gpus_per_worker, ray_address=ray_address)
        model = out / chosen_stages(run)[-1] / "model"
    click.echo(f"model {model}")
    click.echo(f"look at {model.parent}/samples, {model.parent}/metrics.jsonl")
    if model.parent.name == "restoration":
        click.echo(f"next: degrade-kit restore --model {shlex.quote(str(out))} --input PHOTOS --out restored")
    else:
        following = STAGES[STAGES.index(chosen_stages(run)[-1]) + 1]
        click.echo(f"next: {command_again(click.get_current_context(), stage=following)}")
