"""`degrade-kit synth`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from degrade_kit.errors import ConfigError
from degrade_kit.pipelines.commands.config_file import ConfigFiles
from degrade_kit.pipelines.commands.options import (
    RUNS_FLIPNET,
    echo_report,
    executor_options,
    flipnet_options,
    network_options,
    prompt_weights,
    quiet_model_loading,
)
from degrade_kit.pipelines.commands.types import SHARD_RANGE, Side
from degrade_kit.pipelines.commands.words import RAY, Needs, command, not_with, only_with, option, word


def _saved_options(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """The options that make the data set of a `.degrade_kit/config.yaml` again; None for any other file."""
    if not {"format", "recipe", "image", "sources_sha256"} <= data.keys():
        return None
    if data["format"] != 1:
        raise ConfigError(f"format: expected 1, the one that this version of degrade-kit writes, got {data['format']}")
    image: dict[str, Any] = data["image"]
    names = {"size": "size", "hq-filter": "filter", "square": "crop", "hq-format": "format", "min-side": "min_side"}
    if not image["size"]:  # nothing is cropped or resized
        names = {option: name for option, name in names.items() if option not in ("hq-filter", "square")}
    options = {option: image[name] for option, name in names.items()} | {"alpha": image["alpha"]}
    options |= {key: data[key] for key in ("variants", "seed", "samples_per_shard", "lq_size")}
    if data["include"]:
        options["include"] = data["include"]
    if "captions" in data:
        options["captions"] = data["captions"]["file"]
    if "landmarks" in data:
        options["landmarks"] = data["landmarks"]["file"]
    if "lq" in data:  # where the LQ images are is to be said again, as where the faces are
        drawn = {"variants", "seed"}
        include = {"lq_include": data["lq"]["include"]} if data["lq"]["include"] else {}
        return {name: value for name, value in options.items() if name not in drawn} | include
    if "flipnet" not in data:
        return options | {"preset": data["recipe"]}
    flipnet: dict[str, Any] = data["flipnet"]
    options |= {"dtype": flipnet["dtype"]} | {key: flipnet[key] for key in ("base_model", "device") if flipnet[key]}
    if "models" in flipnet:
        return options | {"preset": data["recipe"]}
    return options | _shorthand(data, flipnet)


def _shorthand(data: Mapping[str, Any], flipnet: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a data set that was made before a FlipNet was a step of a recipe."""
    sampling: dict[str, Any] = flipnet["sampling"]
    options = {"mode": data["mode"], "flipnet": flipnet["model"], "solver_steps": sampling["num_steps"]}
    options |= {key: sampling[key] for key in ("solver", "guidance", "phi")}
    if sampling["negative_prompt"]:
        options["negative_prompt"] = sampling["negative_prompt"]
    options["prompt"] = [f"{text or 'null'}={weight!r}" for text, weight in flipnet["prompts"]] or ["null"]
    if data["mode"] == "mix":
        options |= {"mix": data["mix"], "preset": data["recipe"]}
    return options


_FLIPNET = only_with("mode", "flipnet", "mix")
_RESIZED = Needs(met=lambda given: given["size"] != 0, otherwise="with --size 0")


@command("synth", "Make LQ/HQ pairs from faces, as WebDataset shards", files=ConfigFiles(saved=_saved_options))
@word("--hq", required=True)
@word("--shards", "; it is written here", required=True)
@word(
    "--lq",
    ": of these faces, under the same names but for endings; stores these pairs and makes none. Several times for "
    "several LQ images of each face",
    multiple=True,
    unset="none",
)
@option(
    "--lq-include",
    metavar="GLOB",
    unset="all",
    needs=only_with("lq"),
    help="Use only LQ images whose relative name matches, such as '*.lq.png'.",
)
@word("--preset", default="real-world", needs=(only_with("mode", "onthefly", "mix"), not_with("lq")))
@option(
    "--mode",
    type=click.Choice(["onthefly", "flipnet", "mix"]),
    default="onthefly",
    needs=not_with("lq"),
    help="Shorthand for a recipe: the preset, a FlipNet, or for each variant one of both.",
)
@word("--mix", default=0.5, needs=only_with("mode", "mix"))
@flipnet_options(_FLIPNET)
@network_options
@word(
    "--landmarks",
    ", such as ALIGNED/align.jsonl, which go into the shards for trainers with discriminators of eyes and mouth; or "
    "ffhq-dataset-v2.json, or a file as `align` takes it. Faces without points are left out and counted",
    metavar="FILE.json|FILE.jsonl",
    unset="none",
)
@word("--gpus-per-worker", default=0.0, needs=(RUNS_FLIPNET, RAY))
@word("--variants", type=click.IntRange(1, 1000), default=1, needs=not_with("lq"))
@word("--seed", default=0, needs=not_with("lq"))
@word("--size", "; faces are brought to it, and 0 keeps theirs", type=Side(), default=512)
@option(
    "--hq-filter",
    type=click.Choice(["lanczos", "bicubic", "area"]),
    default="lanczos",
    needs=_RESIZED,
    help="Filter for HQ images of another size; the first two are Pillow's, antialiased.",
)
@option(
    "--square",
    type=click.Choice(["center", "error"]),
    default="center",
    needs=_RESIZED,
    help="Images that are not square: take the central square, or count them as failures.",
)
@option(
    "--hq-format",
    type=click.Choice(["auto", "png", "jpg", "webp"]),
    default="auto",
    help="Format of HQ images; files of it that need no change are passed through. auto: the sources', if possible.",
)
@option(
    "--lq-size",
    type=click.Choice(["native", "full"]),
    default="native",
    help="Store LQ images before their last enlargement, which readers run, or complete.",
)
@option("--min-side", type=click.IntRange(1), default=32, help="Refuse smaller images, pixels.")
@option(
    "--alpha",
    type=click.Choice(["black", "white", "error"]),
    default="black",
    help="What shows through transparent pixels.",
)
@option(
    "--include",
    metavar="GLOB",
    unset="all",
    help="Use only sources whose relative name matches, such as '*.hq.png'.",
)
@option(
    "--samples-per-shard",
    type=click.IntRange(0),
    default=0,
    unset="an eighth of the images, at most 1000",
    help="HQ images per shard.",
)
@option(
    "--shard-range",
    type=SHARD_RANGE,
    metavar="START:STOP",
    unset="all",
    help="Make only these shards, for job arrays without Ray.",
)
@option(
    "--max-failures",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="Share of the inputs that may be unusable before the exit status is 3.",
)
@option("--overwrite", is_flag=True, help="Replace a data set of another configuration; other files stay.")
@word("--dry-run")
@executor_options
def synth_command(
    shards: str,
    prompt: tuple[tuple[str, float], ...],
    shard_range: tuple[int, int] | None,
    max_failures: float,
    dry_run: bool,
    **options: Any,  # noqa: ANN401 (the other arguments of `synthesize`, by name)
) -> None:
    """Make LQ/HQ pairs from faces and write them as WebDataset shards.

    \b
    Examples:
      degrade-kit synth --hq ffhq/images1024x1024 --shards out/ffhq --preset gfpgan
      degrade-kit synth --hq faces --shards out/faces --variants 5 --seed 1 --dry-run
      degrade-kit synth --hq faces --shards out/mixed --mode mix --flipnet runs/degrade/model --variants 5
      degrade-kit synth --hq pairs/hq --lq pairs/lq --shards out/own --size 0

    Run it again to resume: finished shards are kept. The result is the same, bit by bit, with any number of workers and
    after any number of interruptions.
    """  # noqa: D301 (click reads the \b itself)
    if not options["download"]:
        quiet_model_loading()
    from degrade_kit.pipelines.commands.progress import ProgressLine
    from degrade_kit.pipelines.synth.synthesize import synthesize

    with ProgressLine() as progress:
        report = synthesize(
            out=shards,
            prompts=prompt_weights(prompt),
            shard_range=shard_range,
            dry_run=dry_run,
            progress=progress,
            **options,
        )
    echo_report(report)
    if dry_run:
        sys.exit(3 if report.failures else 0)
    if report.num_samples and report.complete:
        click.echo(f"next: degrade-kit verify {report.out}")
    failed = sum(report.failures.values())
    total = report.num_sources + report.num_skipped
    if report.shards_failed or failed > max_failures * total or (shard_range is None and not report.complete):
        sys.exit(3)
