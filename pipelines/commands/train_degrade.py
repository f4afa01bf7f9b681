"""`degrade-kit train-degrade`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from degrade_kit.pipelines.commands.config_file import ConfigFiles, Sections, of_base_model
from degrade_kit.pipelines.commands.options import quiet_model_loading, training_options
from degrade_kit.pipelines.commands.types import FLIPNET
from degrade_kit.pipelines.commands.words import command, only_with, option, word
from degrade_kit.pipelines.text import human_time


def _saved_options(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """The options and sections of a run's `config.yaml`; None for any other file."""
    if not {"config", "pairs", "faces", "counts"} <= data.keys():
        return None
    config: dict[str, Any] = {**data["config"]}
    options: dict[str, Any] = {"pairs": ["=".join(entry) for entry in data["pairs"]], "hq": data["faces"]}
    options |= {key: config.pop(key) for key in ("start", "base_model")}
    return {**config, **{name: value for name, value in options.items() if value}}


_SECTIONS = (
    "revision",
    "base",
    "network",
    "train",
    "data",
    "sampling",
    "validation_images",
    "validation_size",
    "kept_prompts",
)
"""Keys of the configuration of a run, beside `start` and `base_model`, which are options."""


def _of_start(config: Sections, overrides: dict[str, Any]) -> Sections:
    """Leave out what a file says of another network and base model than those of the FlipNet that is to begin with."""
    from degrade_kit.flipnet.config import FREE_FIELDS, section

    if click.get_current_context().get_parameter_source("base_model") is not ParameterSource.COMMANDLINE:
        overrides["base_model"] = None
    network = section(config.values, "network", config.where)
    kept = {"network": {name: value for name, value in network.items() if name in FREE_FIELDS}}
    return replace(config, values={key: value for key, value in config.values.items() if key != "revision"} | kept)


def _train_shown(run: Any) -> None:  # noqa: ANN401 (a DegradeRun, imported where it is needed)
    """Train in one of several processes, and show the captioning before it."""
    from degrade_kit.pipelines.commands.progress import ProgressLine
    from degrade_kit.pipelines.models.train_degrade import train_here

    with ProgressLine() as progress:
        train_here(run, progress=progress)


@command(
    "train-degrade",
    "Train FlipNet to degrade, on real pairs and faces",
    files=ConfigFiles(
        sections=_SECTIONS,
        packaged="train-degrade",
        names={
            **ConfigFiles().names,
            "photos": "the small FlipNet, further, on `pairs from-photos`",
            "exemplars": "exemplars alone, for a finished FlipNet",
        },
        saved=_saved_options,
    ),
)
@word("--pairs", ", as in `pairs`", multiple=True, unset="none")
@word("--hq", "; they are degraded on the fly", unset="none")
@word("--out", ": a folder for the run", required=True)
@option(
    "--start",
    type=FLIPNET,
    metavar="small|photos-teacher|DIR",
    help="FlipNet to train further: one that ships, or a folder that `train-degrade` wrote",
    unset="the configuration's",
)
@word("--registration", default=True, needs=only_with("pairs"))
@word("--captions", "; of the HQ images", unset="the configuration's")
@training_options
def train_degrade_command(
    config: Sections,
    pairs: tuple[tuple[str, str], ...],
    hq: str | None,
    out: Path,
    registration: bool,
    device: str | None,
    threads: int,
    data_workers: int | None,
    workers: int,
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
          --pairs sidd=SIDD_Medium_Srgb --pairs realblur-j=RealBlur --hq ffhq --out runs/degrade
      degrade-kit train-degrade --config small --pairs noise=pairs/noise --hq faces --out runs/small
      degrade-kit train-degrade --config photos --pairs press=photo_pairs/press --out runs/photos

    Run it again to resume from the last checkpoint; Ctrl-C writes one. `OUT/model` is the FlipNet to sample with,
    `OUT/best` the one of the lowest validation distance, `OUT/samples` shows what it makes of held-out pairs.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.flipnet.config import require_packages
    from degrade_kit.pipelines.models.paths import check_degrade_paths

    require_packages()
    if not download:
        quiet_model_loading()
    config = of_base_model(config)
    if click.get_current_context().get_parameter_source("start") is ParameterSource.COMMANDLINE:
        config = _of_start(config, overrides)
    check_degrade_paths(
        config.values,
        pairs=pairs,
        faces=hq,
        start=overrides["start"],
        base_model=overrides["base_model"],
        download=download,
    )
    from degrade_kit.pipelines.models.train_degrade import DegradeRun, degrade_run_config, plan_text

    run = DegradeRun(
        config=degrade_run_config(
            config.values, {key: value for key, value in overrides.items() if value is not None}, config.where
        ),
        pairs=pairs,
        faces=hq,
        out_dir=out,
        registration=registration,
        device=device,
        data_workers=data_workers,
        download=download,
        trackers=report_to,
        threads=threads,
    )
    if dry_run:
        click.echo(plan_text(run, max(workers, 1)))
        click.echo("dry run: nothing was written")
        return
    from degrade_kit.pipelines.commands.progress import ProgressLine
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

    if workers == 0:
        with ProgressLine() as captioned:
            model = train_here(run, progress, captioned)
    else:
        train_on_workers(_train_shown, run, workers, gpus=gpus_per_worker, ray_address=ray_address)
        model = out / "model"
    click.echo(f"model {model}")
    click.echo(f"look at {out}/samples, {out}/metrics.jsonl")
    click.echo(f"next: degrade-kit degrade FACE.png --flipnet {shlex.quote(str(model))} --out look")
