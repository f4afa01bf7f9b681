"""`degrade-kit export`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click


@click.command("export")
@click.argument("shards", metavar="SHARDS")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write to.")
@click.option(
    "--to",
    "form",
    type=click.Choice(["folder", "lmdb"]),
    default="folder",
    show_default=True,
    help="Folders hq and lq of image files, or BasicSR's databases hq.lmdb and lq.lmdb.",
)
@click.option(
    "--variant", type=click.IntRange(0), help="Number of the LQ image to take of each sample.  [default: all]"
)
@click.option(
    "--cache-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to keep shards in that come from a URL.  [default: none, which is for local shards]",
)
def export_command(
    shards: str, out: Path, form: Literal["folder", "lmdb"], variant: int | None, cache_dir: Path | None
) -> None:
    """Write pairs for trainers that read folders or LMDB: HQ and LQ of one size under one name.

    \b
    Examples:
      degrade-kit export out/ffhq --out pairs --variant 0
      degrade-kit export out/ffhq --out pairs --to lmdb

    A name is the sample's key, with the variant behind it where all are written. HQ files are the stored ones; LQ files
    are PNG. records.jsonl, written last, has the source and the record of each pair.
    """  # noqa: D301 (click reads the \b itself)
    from pipelines.commands.progress import progress_line
    from pipelines.export import ExportConfig, export

    config = ExportConfig(shards=shards, out=out, to=form, variant=variant, cache_dir=cache_dir)
    count = export(config, progress_line("pairs"))
    ending = "" if form == "folder" else ".lmdb"
    click.echo(f"{count:,} pairs in {out}/hq{ending} and {out}/lq{ending}; what they are in {out}/records.jsonl")
