"""`degrade-kit preview`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from degrade_kit.pipelines.commands.options import network_options, network_settings
from degrade_kit.pipelines.commands.types import LocalPath
from degrade_kit.pipelines.commands.words import command, word
from degrade_kit.wording import counted_noun


@command("preview", "Draw HQ faces beside the LQ images of a recipe")
@word("--hq", required=True)
@word("--preset", "; several times to compare several", multiple=True, default=("real-world",))
@word(
    "--out",
    ": a picture",
    metavar="FILE.png",
    type=LocalPath(dir_okay=False, path_type=Path),
    default=Path("preview.png"),
)
@word("--num-faces", type=click.IntRange(1, 50), default=4)
@word("--variants", type=click.IntRange(1, 20), default=5)
@word("--seed", ", as in `synth`", default=0)
@word("--size", "; faces are brought to it", type=click.IntRange(16, 4096), default=512)
@network_options
def preview_command(
    hq: str,
    preset: tuple[str, ...],
    out: Path,
    num_faces: int,
    variants: int,
    seed: int,
    size: int,
    captions: Path | None,
    **options: Any,  # noqa: ANN401 (those of the network)
) -> None:
    """Draw a contact sheet: HQ beside LQ images, the drawn numbers under each.

    \b
    Examples:
      degrade-kit preview --hq faces --preset gfpgan
      degrade-kit preview --hq faces --preset gfpgan --preset mine.yaml --num-faces 2 --out compare.png

    It shows the very images that `synth` with the same seed will write.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.hq import HqConfig
    from degrade_kit.pipelines.makers.captions import open_captions
    from degrade_kit.pipelines.synth.preview import draw_preview
    from degrade_kit.presets import resolve_recipe

    recipes = [resolve_recipe(name) for name in preset]
    shown = draw_preview(
        hq,
        recipes,
        out,
        images=num_faces,
        variants=variants,
        seed=seed,
        image=HqConfig(size=size),
        settings=network_settings(options),
        captions=open_captions(captions, next((recipe for recipe in recipes if recipe.captioned), recipes[0])),
    )
    counts = {"image": shown, "recipe": len(recipes), "variant": variants}
    click.echo(f"{out}: {', '.join(counted_noun(count, noun) for noun, count in counts.items())}")
    click.echo(f"next: degrade-kit synth --hq {hq} --preset {preset[0]} --shards OUT")
