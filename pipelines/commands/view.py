"""`degrade-kit view`."""

from __future__ import annotations

from pathlib import Path

import click

from degrade_kit.pipelines.commands.types import PLACE
from degrade_kit.pipelines.commands.words import command, option, url_of, word
from degrade_kit.wording import counted_noun


@command("view", "Write a page to look through a data set")
@click.argument("shards", metavar="SHARDS", type=PLACE)
@word("--out", ": a folder for the page and its images", required=True)
@option(
    "--show", "samples", type=click.IntRange(0), default=100, help="Samples that are shown, evenly spread; 0 shows all."
)
@word("--cache-dir", unset="none", needs=url_of("shards"))
def view_command(shards: str, out: Path, samples: int, cache_dir: Path | None) -> None:
    """Write a page to look through a data set: HQ and LQ at 1:1 under a slider, by kind, recipe and source.

    \b
    Example:
      degrade-kit view out/ffhq --out look

    A browser opens OUT/index.html from disk; no server is needed, and nothing is fetched. The images lie beside it,
    about a megabyte for each sample of 512 pixels.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.pipelines.commands.progress import ProgressLine
    from degrade_kit.pipelines.dataset.view import view

    with ProgressLine() as progress:
        found = view(shards, out, samples=samples, cache_dir=cache_dir, progress=progress)
    images = counted_noun(found.images, "LQ image")
    click.echo(f"{counted_noun(found.samples, 'sample')} of {found.of:,}, {images}: open {found.page}")
