"""`degrade-kit bench-read`."""

from __future__ import annotations

from pathlib import Path

import click

from degrade_kit.pipelines.commands.types import PLACE
from degrade_kit.pipelines.commands.words import command, option, url_of, word
from degrade_kit.wording import counted_noun


@command("bench-read", "Measure how fast a data set is read into torch")
@click.argument("shards", metavar="SHARDS", type=PLACE)
@option("--samples", type=click.IntRange(1), default=256, help="Pairs to read at least.")
@word("--data-workers", type=click.IntRange(1), unset="one per processor")
@word("--batch-size", default=8)
@word("--cache-dir", unset="none, which is for local shards", needs=url_of("shards"))
def bench_read_command(
    shards: str, samples: int, data_workers: int | None, batch_size: int, cache_dir: Path | None
) -> None:
    """Measure how fast pairs come out of a data set into torch, and where the time goes.

    The parts are CPU time of one thread; the rates are of whole loaders, the start of their workers left out.

    \b
    Example:
      degrade-kit bench-read out/ffhq --data-workers 4
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.pipelines.machine import processors
    from degrade_kit.shards import open_shards

    open_shards(shards)  # what is not there is said before torch is imported
    from degrade_kit.pipelines.dataset.bench_read import ReadConfig, bench_read

    config = ReadConfig(
        shards=shards,
        cache_dir=cache_dir,
        samples=samples,
        workers=data_workers or processors(),
        batch_size=batch_size,
    )
    report = bench_read(config)
    total = sum(report.parts.values())
    click.echo(f"{shards}: {counted_noun(report.samples, 'pair')}, PNG decoder: {report.decoder}")
    for part, milliseconds in report.parts.items():
        click.echo(f"  {part:12} {milliseconds:8.2f} ms  {milliseconds / total:4.0%}")
    click.echo(f"  {'all':12} {total:8.2f} ms  {1e3 / total:.0f} pairs/s on one core")
    for workers, rate in report.rates.items():
        click.echo(f"{counted_noun(workers, 'worker')}: {rate:.0f} pairs/s")
