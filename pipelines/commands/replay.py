"""`degrade-kit replay`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from degrade_kit.pipelines.commands.options import moved_flipnet_option, quiet_model_loading
from degrade_kit.pipelines.commands.types import PLACE
from degrade_kit.pipelines.commands.words import command, word


@command("replay", "Make one LQ image again from its record")
@click.argument("shards", metavar="SHARDS", type=PLACE)
@click.argument("key", metavar="KEY")
@word("--variant", default=0)
@moved_flipnet_option()
@word("--out", ": a folder", required=True)
def replay_command(shards: str, key: str, variant: int, flipnet: str | None, out: Path) -> None:
    """Make one LQ image again from its record, and write it with everything about it.

    \b
    Example:
      degrade-kit replay out/ffhq 000000042 --variant 1 --out again

    Writes hq.png, lq.png (as a reader gives it), lq_native.png and record.json. Exit status 1 if the stored LQ image
    differs; one of a network may by a level on average, as other processors round.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.image import encode_png
    from degrade_kit.pipelines.claim import report_claim
    from degrade_kit.pipelines.dataset.verify import ALIKE, find_networks, load_stored, replay_variant
    from degrade_kit.shards import open_shards
    from degrade_kit.store import LocalStore

    claim = report_claim(
        "replay",
        "an LQ image made again",
        ["record.json", "hq.png", "lq.png", "lq_native.png"],
        {"shards": shards, "key": key, "variant": variant},
        [("SHARDS", shards)],
    )
    claim.check(LocalStore(out))
    data_set = open_shards(shards)
    sample = data_set.sample(key)
    network = None
    if variant < sample.info["variants"] and sample.record(variant).by_model:
        quiet_model_loading()
        network = load_stored(find_networks(data_set.store, flipnet))
    elif flipnet is not None:
        raise click.UsageError("--flipnet has no effect on an LQ image that a recipe made")
    outcome = replay_variant(sample, variant, network)
    target, lq = sample.pair(variant)
    shown = {"hq": target, "lq": lq, "lq_native": outcome.again}
    pictures = {f"{name}.png": encode_png(pixels) for name, pixels in shown.items()}
    claim.write(out, {**pictures, "record.json": sample.record(variant).to_json() + "\n"})
    click.echo(f"source {sample.info['source']}, {sample.info[f'lq{variant}_origin']}")
    click.echo(f"wrote {out}/hq.png, lq.png, lq_native.png, record.json")
    if outcome.identical:
        click.echo("the stored LQ image is the same, bit by bit")
        return
    click.echo(f"the stored LQ image differs by {outcome.mean_difference:.3f} levels on average", err=True)
    if network is None or outcome.mean_difference > ALIKE:
        sys.exit(1)
    click.echo("as much as a network's rounding may make, on another processor or beside other work", err=True)
