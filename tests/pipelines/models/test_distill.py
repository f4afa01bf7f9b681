"""`degrade-kit distill`, on a tiny FlipNet: a model of few steps, a judgement, and what a run survives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from degrade_kit.flipnet import foreign
from degrade_kit.flipnet.checkpoint import BaseReference, load, load_base, save
from degrade_kit.flipnet.config import FlipNetConfig, SamplingConfig
from degrade_kit.flipnet.description import DescriptionSpace, read_space
from degrade_kit.flipnet.folder import BASE_DIR, PHOTOS
from degrade_kit.flipnet.mixture import ImageCache, PairSample
from degrade_kit.flipnet.sampling import make_scheduler
from degrade_kit.flipnet.weights import network_fingerprint
from degrade_kit.image import encode_png
from degrade_kit.pipelines.models.distill import (
    VARIANTS,
    Judgement,
    PromptedCrops,
    _distances,
    _energy,
    _null,
)
from degrade_kit.sources import open_sources
from tests.degrade_kit.flipnet.models import assemble, gated_flipnet, save_published
from tests.pipelines.models.runs import metrics, run


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher") / "model"
    sampling = SamplingConfig(num_steps=2, guidance=1.0)
    prompts = (("haze", 1.0), ("low light", 2.0))
    save(gated_flipnet(), folder, BaseReference(location=BASE_DIR), prompts=prompts, sampling=sampling)
    (folder / "LICENSE").write_text("For research only.", "utf-8")
    return folder


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory, astronaut: npt.NDArray[np.uint8]) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    for number in range(2):
        (folder / f"{number}.png").write_bytes(encode_png(astronaut[20 * number : 20 * number + 256, 120:376]))
    return folder


@pytest.mark.long
def test_a_flipnet_becomes_one_of_few_steps(teacher: Path, faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "few"
    words = [
        *["distill", "--hq", str(faces), "--flipnet", str(teacher), "--out", str(out), "--device", "cpu"],
        *["--solver-steps", "1", "--solver-steps", "2", "--teacher-steps", "2", "--steps", "2", "--batch-size", "2"],
        *["--size", "64", "--images", "20"],
    ]
    plan = run([*words, "--dry-run"])
    assert plan.exit_code == 0, plan.output
    assert "2 steps; the student takes 1 or 2" in plan.output
    assert not out.exists()
    made = run(words)
    assert made.exit_code in (0, 3), made.output
    rows = json.loads((out / "judgement.json").read_text("utf-8"))
    assert [row["num_steps"] for row in rows] == [1, 2]
    assert (made.exit_code == 0) == any(row["passes"] for row in rows)
    assert 0 < rows[0]["flops"] < rows[1]["flops"] <= rows[1]["teacher_flops"]
    assert "licence: For research only." in made.output
    assert (out / "model/LICENSE").is_file()
    before, after = load(teacher), load(out / "model")
    passing = [row["num_steps"] for row in rows if row["passes"]]
    assert after.sampling == SamplingConfig(num_steps=min(passing, default=2), guidance=1.0, solver="lcm")
    assert after.prompts == before.prompts
    changed = [
        not torch.equal(a.half(), b.half())
        for a, b in zip(before.net.unet.parameters(), after.net.unet.parameters(), strict=True)
    ]
    assert any(changed)
    assert [line["step"] for line in metrics(out)] == [1, 2]
    assert run([*words, "--learning-rate", "0.5"]).exit_code == 1, "a run of another configuration"


def test_what_was_distilled_teaches_nobody(faces: Path, tmp_path: Path) -> None:
    words = ["distill", "--hq", str(faces), "--out", str(tmp_path / "few"), "--dry-run"]
    result = run([*words, "--flipnet", "photos"])
    assert result.exit_code == 2
    assert "give the one that it was distilled from (of `photos`, photos-teacher)" in result.output
    plan = run(words)
    assert plan.exit_code == 0, plan.output
    assert "teacher photos-teacher" in plan.output


def test_every_second_crop_is_to_be_like_a_photograph_where_the_model_can_do_that(faces: Path) -> None:
    def crops(space: DescriptionSpace | None) -> list[PairSample]:
        prompts = (("haze", 1.0), ("low light", 2.0))
        made = PromptedCrops(open_sources(str(faces)), prompts, face_size=128, seed=3, cache=ImageCache(0), space=space)
        return [made.sample(number, 64) for number in range(24)]

    plain, shown = crops(None), crops(read_space(PHOTOS))
    assert [len(sample.description) for sample in plain] == [0] * 24
    assert {len(sample.description) for sample in shown} == {0, 11}
    assert 5 < sum(bool(sample.description) for sample in shown) < 19
    assert all((sample.caption == "") == bool(sample.description) for sample in shown)
    assert all(np.array_equal(one.hq, other.hq) for one, other in zip(plain, shown, strict=True))
    assert [sample.description for sample in shown] == [sample.description for sample in crops(read_space(PHOTOS))]


@pytest.mark.long
def test_a_flipnet_on_stable_diffusion_is_distilled_by_its_adapters_alone(faces: Path, tmp_path: Path) -> None:
    """The solver is diffusers' `LCMScheduler`; the base model stays where it is, and is not written again."""
    base = save_published(tmp_path / "base", "sd-turbo")
    net = assemble(load_base(str(base)), FlipNetConfig(lora_rank=4), randomize=True)
    reference = BaseReference(location=str(base), fingerprint=network_fingerprint(load_base(str(base)).unet))
    teacher, out = tmp_path / "teacher", tmp_path / "few"
    save(net, teacher, reference, sampling=SamplingConfig(num_steps=4, guidance=1.5, negative_prompt="haze"))
    words = [
        *["distill", "--hq", str(faces), "--flipnet", str(teacher), "--out", str(out), "--device", "cpu"],
        *["--solver-steps", "1", "--teacher-steps", "2", "--steps", "1", "--batch-size", "2"],
        *["--size", "32", "--images", "20"],
    ]
    made = run(words)
    assert made.exit_code in (0, 3), made.output
    before, after = load(teacher), load(out / "model")
    assert after.sampling == SamplingConfig(num_steps=1, guidance=1.0, solver="lcm", negative_prompt="haze")
    assert isinstance(make_scheduler(after.net, after.sampling), foreign.diffusers().LCMScheduler)
    assert not (out / "model/base").exists()
    pairs = zip(before.net.unet.named_parameters(), after.net.unet.named_parameters(), strict=True)
    changed = {name for (name, one), (_, other) in pairs if not torch.equal(one, other)}
    assert changed == {name for name, _ in after.net.adapter_parameters()} & changed
    assert any(".lora_" in name for name in changed)
    assert any(".processor." in name for name in changed)


@pytest.mark.slow
def test_the_null_is_that_of_equal_sets_and_tells_others() -> None:
    rng = np.random.default_rng(0)
    groups = rng.normal(0, 3, (40, 1, 4))

    def images(shift: float = 0.0) -> npt.NDArray[np.float64]:
        return (groups + rng.normal(shift, 1, (40, VARIANTS, 4))).reshape(-1, 4)

    first, second = images(), images()
    null = _null(first, second)
    inside = [_energy(_distances(first, images()), len(first)) <= null for _ in range(20)]
    assert sum(inside) >= 17
    assert _energy(_distances(first, images(0.5)), len(first)) > null


def test_a_judgement_needs_both() -> None:
    def passes(distance: float, diversity: float) -> bool:
        found = Judgement(num_steps=1, distance=distance, null=0.1, diversity=diversity, flops=1.0, teacher_flops=20.0)
        return found.passes

    assert passes(0.1, 0.9)
    assert not passes(0.11, 0.9)
    assert not passes(0.0, 0.89)
