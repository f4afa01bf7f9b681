"""`synth --mode flipnet|mix` with a tiny random model: real shards, real Ray."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from degrade_kit.errors import ConfigError, RunError
from degrade_kit.flipnet.checkpoint import BaseReference, save
from degrade_kit.flipnet.config import FlipNetConfig, Mode
from degrade_kit.flipnet.degrader import Degrader, is_flipnet, start_noise
from degrade_kit.flipnet.sampling import SamplingConfig
from degrade_kit.ops import FlipNetImage
from degrade_kit.prepare import HqConfig
from degrade_kit.presets import preset
from degrade_kit.shards import open_shards
from degrade_kit.store import open_store
from pipelines.degrade import degrade_image
from pipelines.executor import ExecutorConfig
from pipelines.plan import FlipNetSettings, SynthConfig, make_plan
from pipelines.synthesize import SynthReport, synthesize
from pipelines.verify import verify
from tests.degrade_kit.flipnet.models import gated_flipnet, tiny_flipnet

PROMPTS = (("haze", 3.0), ("low light", 1.0))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flipnet") / "model"
    sampling = SamplingConfig(num_steps=2, guidance=1.0)
    save(gated_flipnet(), folder, BaseReference(location="base"), prompts=PROMPTS, sampling=sampling, half=True)
    return folder


def config(faces: Path, model: Path, **changes: object) -> SynthConfig:
    fields: dict[str, object] = {
        "hq": str(faces),
        "recipe": preset("gfpgan"),
        "variants": 3,
        "samples_per_shard": 2,
        "image": HqConfig(size=64),
        "mode": "mix",
        "flipnet": FlipNetSettings(model=str(model), device="cpu", batch_size=6),
    }
    return SynthConfig(**{**fields, **changes})  # pyright: ignore[reportArgumentType] (fields by name)


def run(plan_config: SynthConfig, out: Path, workers: int = 0) -> SynthReport:
    return synthesize(make_plan(plan_config), str(out), ExecutorConfig(workers=workers))


def hashes(out: Path) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.glob("*.tar"))]


def test_a_mixed_set_is_whole_recorded_and_verified(faces_dir: Path, model: Path, tmp_path: Path) -> None:
    report = run(config(faces_dir, model), tmp_path / "out")
    assert report.complete
    origins = Counter[str]()
    prompts = Counter[str]()
    for sample in open_shards(open_store(tmp_path / "out")).samples():
        for variant in range(3):
            record = sample.record(variant)
            origins[sample.info[f"lq{variant}_origin"].partition(":")[0]] += 1
            target, lq = sample.pair(variant)
            assert target.shape == lq.shape == (64, 64, 3)
            if is_flipnet(record):
                assert isinstance(record.steps[0], FlipNetImage)
                prompts[record.steps[0].prompt] += 1
                assert np.array_equal(sample.native_lq(variant), lq), "a model's image is complete"
    assert set(origins) == {"recipe", "flipnet"}
    assert set(prompts) <= {"haze", "low light"}
    found = verify(str(tmp_path / "out"), ExecutorConfig(workers=0), replay=1.0)
    assert (found.problems, found.replayed) == ([], 3 * report.num_samples)


@pytest.mark.slow
def test_shards_are_the_same_with_any_number_of_workers(faces_dir: Path, model: Path, tmp_path: Path) -> None:
    for workers in (0, 1, 2):
        assert run(config(faces_dir, model, mode="flipnet"), tmp_path / str(workers), workers).complete
    assert hashes(tmp_path / "0") == hashes(tmp_path / "1") == hashes(tmp_path / "2")


def test_pixels_do_not_depend_on_the_shards(faces_dir: Path, model: Path, tmp_path: Path) -> None:
    for count in (2, 5):
        run(config(faces_dir, model, samples_per_shard=count), tmp_path / str(count))
    sets = [open_shards(open_store(tmp_path / str(count))).samples() for count in (2, 5)]
    for first, second in zip(*sets, strict=True):
        for variant in range(3):
            assert first.record(variant) == second.record(variant)
            difference = np.abs(first.native_lq(variant).astype(int) - second.native_lq(variant))
            assert difference.max() <= 1


def test_a_resumed_run_keeps_its_shards_and_refuses_other_prompts(faces_dir: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(config(faces_dir, model), out)
    before = hashes(out)
    (out / "manifest.json").unlink()
    (out / ".degrade_kit/shard-000000.json").unlink()
    report = run(config(faces_dir, model), out)
    assert (report.shards_made, hashes(out)) == (1, before)
    other = FlipNetSettings(model=str(model), device="cpu", batch_size=6, prompts=(("clean", 1.0),))
    with pytest.raises(RunError, match=r"flipnet\.prompts\[0\]\[0\]: there 'haze', now 'clean'"):
        run(config(faces_dir, model, flipnet=other), out)


def test_a_changed_image_is_found(faces_dir: Path, model: Path, tmp_path: Path) -> None:
    """Made with other prompts than the record says: the pixels do not fit the record."""
    degrader = Degrader.load(str(model), device="cpu")
    hq = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    [[haze, dark]] = degrader.run([hq], [[degrader.record("haze", 1), degrader.record("low light", 2)]])
    assert np.abs(haze.astype(int) - dark).mean() > 1


def test_an_image_does_not_depend_on_its_batch(model: Path) -> None:
    degrader = Degrader.load(str(model), device="cpu")
    faces = list(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8))
    records = [[degrader.record("haze", 2 * face + i) for i in range(2)] for face in range(2)]
    together = degrader.run(faces, records)
    alone = degrader.run(faces[1:], [records[1][1:]])
    assert np.abs(together[1][1].astype(int) - alone[0][0]).max() <= 1
    mixed = degrader.run([*faces, faces[0]], [[], records[1], records[0][:1]])
    assert [len(row) for row in mixed] == [0, 2, 1]


def test_the_noise_follows_from_the_seed_alone() -> None:
    net = gated_flipnet()
    first = start_noise(net, 5, 64, 64)
    assert first.equal(start_noise(net, 5, 64, 64))
    assert not first.equal(start_noise(net, 6, 64, 64))


def test_models_and_records_that_do_not_fit_are_refused(model: Path, tmp_path: Path, faces_dir: Path) -> None:
    degrader = Degrader.load(str(model), device="cpu")
    hq = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(ConfigError, match="expected a record of a FlipNet's image"):
        degrader.run([hq], [[preset("gfpgan").draw(np.random.default_rng(0))]])
    degrader.digest = "another"
    with pytest.raises(ConfigError, match=r"the record is of the FlipNet \w+; this one is another"):
        degrader.run([hq], [[Degrader.load(str(model), device="cpu").record("haze", 1)]])
    with pytest.raises(ConfigError, match="device nowhere: cannot be used here"):
        Degrader.load(str(model), device="nowhere")
    with pytest.raises(ConfigError, match=r"no flipnet\.json"):
        make_plan(config(faces_dir, tmp_path))
    restoring = tmp_path / "restoring"
    save(tiny_flipnet(FlipNetConfig(lora_rank=0, mode=Mode.RESTORE)), restoring, BaseReference(location="base"))
    with pytest.raises(ConfigError, match="a FlipNet that restores; `synth` needs one that degrades"):
        make_plan(config(faces_dir, restoring))


def test_one_photograph_is_degraded_for_a_look(faces_dir: Path, model: Path, tmp_path: Path) -> None:
    image = next(path for path in sorted(faces_dir.rglob("*.png")))
    settings = FlipNetSettings(model=str(model), device="cpu", prompts=(("haze", 1.0),))
    made = degrade_image(image, settings, tmp_path / "look", variants=2, seed=3, size=64)
    assert [(path.name, prompt) for path, prompt in made] == [("lq0.png", "haze"), ("lq1.png", "haze")]
    assert (tmp_path / "look/sheet.png").stat().st_size > 1000
    with pytest.raises(RunError, match="No such file"):
        degrade_image(tmp_path / "gone.png", settings, tmp_path / "look", variants=1, seed=0, size=64)
