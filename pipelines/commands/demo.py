"""`degrade-kit demo`."""

from __future__ import annotations

from pathlib import Path

import click

from degrade_kit.pipelines.commands.options import executor_options, quiet_model_loading
from degrade_kit.pipelines.commands.words import command, word


@command("demo", "Make a small data set from two bundled portraits")
@word("--out", ": a folder", default=Path("demo-output"))
@executor_options
def demo_command(out: Path, workers: int | None, ray_address: str | None, wait: float) -> None:
    """Make and verify a small data set from two public-domain portraits that come with Python packages.

    \b
    Example:
      degrade-kit demo --out demo-output
    """  # noqa: D301 (click reads the \b itself)
    quiet_model_loading()
    from degrade_kit.pipelines.demo import flipnet_installed, run_demo

    files = run_demo(out, workers, ray_address, wait)
    click.echo("made and verified:")
    for path, what in files:
        click.echo(f"  {path}  {what}")
    if not flipnet_installed():
        click.echo("left out: what the FlipNet that ships makes of them, which needs PyTorch. To add it:")
        click.echo("  make demo-flipnet, or pip install 'degrade-kit[flipnet]' and this command again")
    click.echo(f"next: look at {out}/shards/preview.png, then try another recipe on your own faces:")
    click.echo("  degrade-kit preview --hq FACES --preset gfpgan --out preview.png")
