"""`degrade-kit preview`."""

from __future__ import annotations

from pathlib import Path

import click

from degrade_kit.wording import counted_noun


@click.command("preview")
@click.option("--hq", required=True, metavar="SOURCE", help="HQ faces, as in `synth`.")
@click.option(
    "--preset",
    "presets",
    multiple=True,
    default=("flipnet-paper",),
    show_default=True,
    metavar="NAME|FILE.yaml",
    help="Recipe; give it several times to compare.",
)
@click.option(
    "--out",
    default="preview.png",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Picture to write, PNG.",
)
@click.option("--images", type=click.IntRange(1, 50), default=4, show_default=True, help="HQ images, evenly spread.")
@click.option("--variants", type=click.IntRange(1, 20), default=5, show_default=True, help="LQ images for each.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed, as in `synth`.")
@click.option("--size", type=click.IntRange(16, 4096), default=512, show_default=True, help="Side of HQ, pixels.")
def preview_command(
    hq: str, presets: tuple[str, ...], out: Path, images: int, variants: int, seed: int, size: int
) -> None:
    """Draw a contact sheet: HQ beside LQ images, the drawn numbers under each.

    \b
    Examples:
      degrade-kit preview --hq faces --preset gfpgan
      degrade-kit preview --hq faces --preset gfpgan --preset mine.yaml --images 2 --out compare.png

    It shows the very images that `synth` with the same seed will write.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.hq import HqConfig
    from degrade_kit.pipelines.synth.preview import draw_preview
    from degrade_kit.presets import resolve_recipe

    recipes = [resolve_recipe(name) for name in presets]
    shown = draw_preview(hq, recipes, out, images=images, variants=variants, seed=seed, image=HqConfig(size=size))
    counts = {"image": shown, "recipe": len(recipes), "variant": variants}
    click.echo(f"{out}: {', '.join(counted_noun(count, noun) for noun, count in counts.items())}")
    click.echo(f"next: degrade-kit synth --hq {hq} --preset {presets[0]} --shards OUT")
