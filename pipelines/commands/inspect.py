"""`degrade-kit inspect`."""

from __future__ import annotations

import json

import click

from degrade_kit.pipelines.commands.types import PLACE
from degrade_kit.pipelines.commands.words import command, word
from degrade_kit.pipelines.text import counted
from degrade_kit.wording import counted_noun, human_bytes


@command("inspect", "Show counts, sizes and histograms of a data set")
@click.argument("shards", metavar="SHARDS", type=PLACE)
@word("--json")
def inspect_command(shards: str, as_json: bool) -> None:
    """Show what a data set holds: counts, sizes, failures, and histograms of the drawn parameters.

    \b
    Example:
      degrade-kit inspect out/ffhq
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.pipelines.dataset.inspect import inspect_shards

    found = inspect_shards(shards)
    if as_json:
        click.echo(json.dumps(found.to_plain(), ensure_ascii=False))
        return
    manifest = found.manifest
    for name, line in found.origins.items():
        click.echo(f"{shards}: {name} {line}" if name == next(iter(found.origins)) else f"{name} {line}")
    click.echo(
        f"{counted_noun(manifest['num_samples'], 'sample')} x {counted_noun(manifest['variants'], 'variant')} in "
        f"{counted_noun(len(manifest['shards']), 'shard')}, "
        f"{human_bytes(manifest['bytes'])}; digest {manifest['digest'][:16]}"
    )
    for extension, (count, size) in found.sizes.items():
        click.echo(f"  {extension:12} {count:10,} files  {human_bytes(size):>9}  {human_bytes(size / count):>9} each")
    if found.counters:
        click.echo(f"HQ images: {counted(found.counters)}")
    click.echo(f"not usable: {counted(found.failures) or 'none'}")
    if left_out := manifest.get("left_out"):
        click.echo(f"left out of the sources: {counted(left_out)}")
    click.echo(found.histograms)
    click.echo(f"next: degrade-kit replay {shards} {found.first_key} --out look")
