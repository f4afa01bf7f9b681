"""`degrade-kit demo`: the whole way from photographs to verified shards, on what packages ship."""

from __future__ import annotations

from pathlib import Path

from degrade_kit.demo import write_demo_faces
from degrade_kit.errors import RunError
from degrade_kit.prepare import HqConfig
from degrade_kit.presets import preset
from pipelines.executor import ExecutorConfig
from pipelines.plan import SynthConfig, make_plan
from pipelines.preview import draw_preview
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
    return [
        (faces, "the portraits, framed as FFHQ is"),
        *((tar, "a WebDataset shard") for tar in tars),
        (shards / "manifest.json", f"{report.num_samples * report.variants} pairs, digest {report.digest[:16]}"),
        (shards / "README.md", "the data set card"),
        (shards / "preview.png", "HQ beside its LQ variants"),
        (compared, f"the recipes {', '.join(_COMPARED)} side by side"),
    ]
