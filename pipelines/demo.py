"""`degrade-kit demo`: the whole way from photographs to verified shards, on what packages ship."""

from __future__ import annotations

from pathlib import Path

from degrade_kit.demo import write_demo_faces
from degrade_kit.errors import ConfigError, RunError
from degrade_kit.flipnet.config import require_packages
from degrade_kit.image import encode_png
from degrade_kit.prepare import HqConfig
from degrade_kit.presets import preset
from degrade_kit.shards import open_shards
from degrade_kit.store import open_store
from pipelines.card import preview_rows
from pipelines.executor import ExecutorConfig
from pipelines.plan import SynthConfig, make_plan
from pipelines.preview import draw_preview
from pipelines.sheet import contact_sheet
from pipelines.synthesize import synthesize
from pipelines.verify import verify

_COMPARED = ("flipnet-paper", "gfpgan", "codeformer", "real-esrgan")


def run_demo(out: Path, executor: ExecutorConfig) -> list[tuple[Path, str]]:
    """Write faces, shards and pictures below `out`; returns the files with a word on each.

    Raises:
        RunError: If the shards do not verify.
    """
    faces = out / "faces"
    write_demo_faces(faces)
    shards = out / "shards"
    plan = make_plan(SynthConfig(hq=str(faces), recipe=preset("flipnet-paper"), variants=5, samples_per_shard=1))
    report = synthesize(plan, str(shards), executor, overwrite=True)
    checked = verify(str(shards), executor, replay=1.0)
    if checked.problems or not report.complete or report.failures:
        raise RunError(f"the demo's shards are not whole: {'; '.join(checked.problems) or report.failures}")
    recipes = [preset(name) for name in _COMPARED]
    compared = out / "recipes.png"
    draw_preview(str(faces), recipes, compared, images=1, variants=5, seed=0, image=HqConfig())
    tars = sorted(shards.glob("*.tar"))
    learned = _flipnet_files(out, faces, executor) if flipnet_is_missing() is None else []
    return [
        (faces, "the portraits, framed as FFHQ is"),
        *((tar, "a WebDataset shard") for tar in tars),
        (shards / "manifest.json", f"{report.num_samples * report.variants} pairs, digest {report.digest[:16]}"),
        (shards / "README.md", "the data set card"),
        (shards / "preview.png", "HQ beside its LQ variants"),
        (compared, f"the recipes {', '.join(_COMPARED)} side by side"),
        *learned,
    ]


def flipnet_is_missing() -> str | None:
    """Why the demo leaves FlipNet out; None if it does not."""
    try:
        require_packages()
    except ConfigError as error:
        return str(error)
    from degrade_kit.flipnet.checkpoint import CONFIG_FILE, SMALL

    return None if (SMALL / CONFIG_FILE).is_file() else "the small FlipNet is not in this installation"


def _flipnet_files(out: Path, faces: Path, executor: ExecutorConfig) -> list[tuple[Path, str]]:
    """The same faces by the small FlipNet, and a picture of both ways: for each face a row by either."""
    shards = out / "shards-flipnet"
    config = SynthConfig(hq=str(faces), recipe=preset("flipnet-paper"), variants=5, samples_per_shard=1, mode="flipnet")
    report = synthesize(make_plan(config), str(shards), executor, overwrite=True)
    checked = verify(str(shards), executor, replay=1.0)
    if checked.problems or not report.complete:
        raise RunError(f"the demo's FlipNet shards are not whole: {'; '.join(checked.problems)}")
    rows = [
        row
        for pair in zip(
            *(preview_rows(open_shards(open_store(out / name))) for name in ("shards", shards.name)), strict=True
        )
        for row in pair
    ]
    picture = out / "modes.png"
    picture.write_bytes(encode_png(contact_sheet(rows)))
    return [
        (shards, "the same faces, their LQ images made by the small FlipNet"),
        (picture, "for each face, LQ images by the recipe above those by the FlipNet"),
    ]
