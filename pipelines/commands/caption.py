"""`degrade-kit caption`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from degrade_kit.pipelines.commands.options import DEVICE, quiet_model_loading
from degrade_kit.pipelines.commands.plan import print_estimate
from degrade_kit.pipelines.commands.progress import ProgressLine
from degrade_kit.pipelines.commands.types import MODEL, LocalPath
from degrade_kit.pipelines.commands.words import command, option, word
from degrade_kit.wording import counted_noun


@command("caption", "Caption images by BLIP, for prompts of a FlipNet")
@word("--hq", ", or any other images", required=True)
@word(
    "--out",
    ": a file; captions that it has are kept",
    metavar="FILE.jsonl",
    type=LocalPath(dir_okay=False, path_type=Path),
    required=True,
)
@option(
    "--caption-model",
    "model",
    type=MODEL,
    metavar="ID|DIR",
    default="Salesforce/blip-image-captioning-base",
    help="BLIP model: a hub id, or a folder with its files.",
)
@word("--batch-size", ": images", default=8)
@word("--device", unset=DEVICE)
@word("--download", ": the model")
@word("--dry-run")
def caption_command(hq: str, out: Path, dry_run: bool, **options: Any) -> None:  # noqa: ANN401 (arguments of `caption_images`)
    """Caption images ahead, as the paper prompts FlipNet.

    \b
    Examples:
      degrade-kit caption --hq faces --out captions.jsonl --download
      degrade-kit synth --hq faces --shards out --mode flipnet --prompt captions --captions captions.jsonl

    A caption is found again by the hash of its image's file, whatever that is called. A stopped run goes on when run
    again. Exit status 3 if some images cannot be used.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.flipnet.config import require_packages

    require_packages()
    if not options["download"]:
        quiet_model_loading()
    from degrade_kit.pipelines.executor import ExecutorConfig
    from degrade_kit.pipelines.inputs.caption import caption_images, plan_captions

    if dry_run:
        plan = plan_captions(hq, out, model=options["model"])
        click.echo(f"{counted_noun(plan.images, 'image')}, {plan.waiting:,} of them to caption, into {out}")
        click.echo("the time is that of the usual BLIP on a CPU: on a GPU it takes less")
        print_estimate(ExecutorConfig(workers=0), plan.effort)
        return
    with ProgressLine() as progress:
        report = caption_images(hq, out, progress=progress, **options)
    for caption, count in report.most:
        click.echo(f"{counted_noun(count, 'image')}: {caption}")
    click.echo(f"{counted_noun(report.captioned, 'image')} captioned in {out}")
    for name, reason in report.unusable:
        click.echo(f"not usable: {name}: {reason}", err=True)
    if report.unusable:
        sys.exit(3)
