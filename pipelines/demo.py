"""`degrade-kit demo`: the whole way from photographs to verified shards, on what packages ship."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from degrade_kit.degradation import make_lq
from degrade_kit.demo import write_demo_faces
from degrade_kit.errors import RunError
from degrade_kit.files import write_whole
from degrade_kit.hq import HqConfig
from degrade_kit.image import decode_image, encode_png
from degrade_kit.pipelines.claim import report_claim
from degrade_kit.pipelines.dataset.verify import verify
from degrade_kit.pipelines.makers.networks import (
    NetworkSettings,
    check_networks,
    flipnet_recipe,
    flipnet_step,
    load_networks,
)
from degrade_kit.pipelines.sheet import LEGEND, Tile, caption, contact_sheet
from degrade_kit.pipelines.synth.preview import draw_preview
from degrade_kit.pipelines.synth.synthesize import synthesize
from degrade_kit.presets import preset
from degrade_kit.seeding import generator
from degrade_kit.store import LocalStore
from degrade_kit.wording import counted_noun

_PROMPTS = ("medium blur", "medium noise", "slightly dark", "very dark", "dense haze")
"""Prompts of the small FlipNet, of what `photos` does not know; its card says how far each is kept."""
COMPARED = ("real-world", "gfpgan", "real-esrgan", "flipnet-paper")
"""Recipes that are drawn side by side."""


def run_demo(out: Path, workers: int | None, ray_address: str | None, wait: float) -> list[tuple[Path, str]]:
    """Write faces, shards and pictures below `out`; returns the files with a word on each.

    Args:
        out: Folder to write to.
        workers: Worker processes, as for `synthesize`.
        ray_address: Ray cluster to join, as for `synthesize`.
        wait: As for `synthesize`.

    Raises:
        RunError: If `out` holds something else, or the shards do not verify.
    """
    report_claim("demo", "the demo", ["recipes.png", "modes.png"], {}, []).take(LocalStore(out))
    faces = out / "faces"
    write_demo_faces(faces)
    shards = out / "shards"
    report = synthesize(
        faces,
        shards,
        variants=5,
        samples_per_shard=1,
        overwrite=True,
        workers=workers,
        ray_address=ray_address,
        wait=wait,
    )
    checked = verify(shards, replay=1.0, workers=workers, ray_address=ray_address, wait=wait)
    if checked.problems or not report.complete or report.failures:
        raise RunError(f"the demo's shards are not whole: {'; '.join(checked.problems) or report.failures}")
    recipes = [preset(name) for name in COMPARED]
    compared = out / "recipes.png"
    draw_preview(str(faces), recipes, compared, images=1, variants=5, seed=0, image=HqConfig())
    pairs = counted_noun(report.num_samples * report.variants, "pair")
    tars = sorted(shards.glob("*.tar"))
    modes = draw_modes(faces, out / "modes.png")
    return [
        (faces, "the portraits, framed as FFHQ is"),
        *((tar, "a WebDataset shard") for tar in tars),
        (shards / "manifest.json", f"{pairs}, digest {report.digest[:16]}"),
        (shards / "README.md", "the data set card"),
        (shards / "preview.png", "HQ beside its LQ variants"),
        (compared, f"the recipes {', '.join(COMPARED)} side by side"),
        *modes,
    ]


def flipnet_installed() -> bool:
    """Whether the packages that the FlipNet needs are here; without them the demo has no picture by it."""
    return all(importlib.util.find_spec(name) is not None for name in ("torch", "diffusers"))


def draw_modes(faces: Path, out: Path) -> list[tuple[Path, str]]:
    """Draw each face by a recipe and, below, by the two FlipNets that ship; nothing where PyTorch is not installed.

    Args:
        faces: Folder of PNG files.
        out: Picture to write, PNG.

    Returns:
        The picture with a word on it, if it was drawn.
    """
    if not flipnet_installed():
        return []
    from degrade_kit.flipnet.folder import PHOTOS, SMALL
    from degrade_kit.flipnet.licence import licence_notice

    if not (SMALL.is_dir() and PHOTOS.is_dir()):
        return []
    small = [flipnet_recipe(flipnet_step("small", [prompt])) for prompt in _PROMPTS]
    rows: list[list[Tile]] = []
    headings: list[str] = []
    for heading, recipes in (
        ("flipnet-paper, a recipe without a network", [preset("flipnet-paper")] * len(_PROMPTS)),
        ("flipnet-real: the FlipNet photos at the size of faces in photographs, and a file behind it",
         [preset("flipnet-real")] * len(_PROMPTS)),
        ("the FlipNet small, by words, likewise", small),
    ):  # fmt: skip
        check_networks(recipes[0], NetworkSettings())
        network = load_networks(recipes[0], NetworkSettings(device="cpu"))
        for face in sorted(faces.glob("*.png")):
            hq = decode_image(face.read_bytes()).pixels
            records = [recipe.draw(generator(0, face.name, number)) for number, recipe in enumerate(recipes)]
            headings.append(f"{heading}: {face.name}")
            rows.append([Tile(hq, ("HQ",)), *(Tile(make_lq(each, hq, network), caption(each)) for each in records)])
    title = "LQ images by a recipe and by the FlipNets that ship; seed 0"
    write_whole(out, encode_png(contact_sheet(rows, title=title, notes=(LEGEND,), headings=headings, details=True)))
    notices = " ".join(licence_notice(folder) for folder in (PHOTOS, SMALL))
    return [(out, f"recipe and FlipNets side by side. {notices}")]
