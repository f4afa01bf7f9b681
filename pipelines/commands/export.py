"""`degrade-kit export`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from degrade_kit.pipelines.commands.plan import print_estimate
from degrade_kit.pipelines.commands.types import PLACE
from degrade_kit.pipelines.commands.words import Needs, command, option, url_of, word
from degrade_kit.wording import counted_noun

_PAIRS = Needs(met=lambda given: given["form"] != "lq-only", otherwise="with --to lq-only")
"""What options of pairs need, which are written anew; shards are copied whole."""


@command("export", "Write pairs as folders, LMDB, Parquet, or LQ alone")
@click.argument("shards", metavar="SHARDS", type=PLACE)
@word("--out", ": a folder", required=True)
@option(
    "--to",
    "form",
    type=click.Choice(["folder", "lmdb", "parquet", "lq-only"]),
    default="folder",
    help="Folders hq and lq of image files; BasicSR's databases hq.lmdb and lq.lmdb; Parquet files as Hugging Face's "
    "`datasets` reads them; or shards without the HQ images, for `join`.",
)
@word("--variant", unset="all", needs=_PAIRS)
@option(
    "--lq-scale",
    type=click.IntRange(1),
    default=None,
    help="How many times smaller than HQ the LQ images are.",
    unset="as their recipe says, which for most is 1",
    needs=_PAIRS,
)
@word("--cache-dir", unset="none, which is for local shards", needs=(_PAIRS, url_of("shards")))
@word("--dry-run")
def export_command(
    shards: str,
    out: Path,
    form: Literal["folder", "lmdb", "parquet", "lq-only"],
    variant: int | None,
    lq_scale: int | None,
    cache_dir: Path | None,
    dry_run: bool,
) -> None:
    """Write pairs for trainers that read folders, LMDB or Parquet: HQ and LQ under one name, of one size.

    \b
    Examples:
      degrade-kit export out/ffhq --out pairs --variant 0
      degrade-kit export out/ffhq --out databases --to lmdb
      degrade-kit export out/ffhq --out x4 --to lmdb --lq-scale 4
      degrade-kit export out/ffhq --out to_publish --to lq-only

    A name is the sample's key, with the variant behind it where all are written. HQ files are the stored ones; LQ files
    are PNG. records.jsonl, written last, has the source and the record of each pair. Run it again to finish what was
    stopped; a folder holds one export.

    For super-resolution, `--lq-scale 4` writes LQ four times smaller than HQ: native images of that size as they are,
    smaller ones enlarged to it, others averaged.

    `lq-only` writes shards as they are, but for the HQ images: for faces that you may not pass on.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.pipelines.commands.progress import ProgressLine
    from degrade_kit.pipelines.executor import ExecutorConfig

    here = ExecutorConfig(workers=0)
    if form == "lq-only":
        from degrade_kit.pipelines.dataset.lq_only import check_lq_only, export_lq_only, lq_only_effort

        if dry_run:
            whole = check_lq_only(shards, str(out))
            click.echo(f"{whole.manifest['num_samples']:,} samples without HQ images into {out}")
            print_estimate(here, *lq_only_effort(whole))
            return
        with ProgressLine() as progress:
            count = export_lq_only(shards, str(out), progress)
        click.echo(f"{counted_noun(count, 'sample')} without HQ images in {out}")
        click.echo(f"next: degrade-kit join {out} --hq FACES --out PAIRS")
        return
    from degrade_kit.pipelines.dataset.export import ExportConfig, export, plan_export

    config = ExportConfig(shards=shards, out=out, to=form, variant=variant, lq_scale=lq_scale, cache_dir=cache_dir)
    if dry_run:
        total, size, effort = plan_export(config)
        click.echo(f"{total:,} pairs into {out}, as {form}")
        print_estimate(here, effort, size)
        return
    with ProgressLine() as progress:
        count = export(config, progress)
    if form == "parquet":
        click.echo(f"{counted_noun(count, 'pair')} in {out}/data; what they are in {out}/records.jsonl")
        click.echo(f'next: datasets.load_dataset("{out}")')
        return
    ending = "" if form == "folder" else ".lmdb"
    pairs = counted_noun(count, "pair")
    click.echo(f"{pairs} in {out}/hq{ending} and {out}/lq{ending}; what they are in {out}/records.jsonl")
