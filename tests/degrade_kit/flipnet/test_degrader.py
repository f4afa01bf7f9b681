from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.checkpoint import Loaded
from degrade_kit.flipnet.config import FlipNetConfig, Mode
from degrade_kit.flipnet.degrader import Degrader, choose_device, draw_prompt, flipnet_record, start_noise
from degrade_kit.flipnet.sampling import SamplingConfig, latent_size
from degrade_kit.image import Pixels, encode_png, to_float
from degrade_kit.network_ops import FlipNetImage
from degrade_kit.ops import Clip
from degrade_kit.record import Record
from tests.degrade_kit.flipnet.models import gated_flipnet, tiny_flipnet

SETTINGS = SamplingConfig(num_steps=3)


@pytest.fixture(scope="module")
def degrader() -> Degrader:
    return Degrader(Loaded(net=gated_flipnet(), prompts=(), sampling=SETTINGS, digest="0123"), device="cpu")


@pytest.fixture(scope="module")
def faces(astronaut: Pixels) -> list[Pixels]:
    corners = ((0, 128, 64, 64), (64, 192, 64, 64), (0, 200, 72, 96))
    return [np.ascontiguousarray(astronaut[y : y + h, x : x + w]) for y, x, h, w in corners]


@pytest.fixture(scope="module")
def shown() -> Degrader:
    """A model that knows exemplars."""
    net = gated_flipnet(exemplars=True)
    return Degrader(Loaded(net=net, prompts=(), sampling=SETTINGS, digest="4567"), device="cpu")


def differ(first: Pixels, second: Pixels) -> int:
    return int(np.abs(first.astype(int) - second).max())


@pytest.mark.slow
def test_a_record_gives_the_same_pixels_alone_and_in_a_batch(degrader: Degrader, faces: list[Pixels]) -> None:
    records = [[degrader.record(prompt, 10 * i + j) for j, prompt in enumerate(("haze", ""))] for i in range(3)]
    together = degrader.run(faces, records)
    for face, row, made in zip(faces, records, together, strict=True):
        for record, image in zip(row, made, strict=True):
            [[alone]] = degrader.run([face], [[record]])
            assert image.shape == face.shape
            assert image.dtype == np.uint8
            np.testing.assert_array_equal(alone, image)
    assert differ(together[0][0], together[0][1]) > 3


@pytest.mark.slow
def test_faces_may_have_any_number_of_records(degrader: Degrader, faces: list[Pixels]) -> None:
    records = [[], [degrader.record("", 1)], [degrader.record("", 2), degrader.record("", 3)]]
    assert [len(made) for made in degrader.run(faces, records)] == [0, 1, 2]
    assert degrader.run([], []) == []


@pytest.mark.slow
def test_records_of_one_face_may_differ_in_their_settings(degrader: Degrader, faces: list[Pixels]) -> None:
    records = [degrader.record("haze", 1), degrader.record("haze", 1, replace(SETTINGS, num_steps=5, solver="ddim"))]
    [made] = degrader.run(faces[:1], [records])
    for record, image in zip(records, made, strict=True):
        np.testing.assert_array_equal(degrader.run(faces[:1], [[record]])[0][0], image)
    assert differ(*made) > 0


def test_a_record_holds_all_that_decides_an_image(degrader: Degrader) -> None:
    settings = SamplingConfig(num_steps=4, solver="dpm++", guidance=2.5, negative_prompt="clean", phi=0.5)
    record = Record.from_json(degrader.record("haze", 7, settings).to_json())
    assert record == flipnet_record("0123", "haze", 7, settings)
    [step] = record.steps
    assert isinstance(step, FlipNetImage)
    assert degrader._sampling(step) == settings
    assert record.by_model
    assert not Record(7, (Clip(),)).by_model


def test_records_of_others_are_refused(degrader: Degrader, faces: list[Pixels]) -> None:
    with pytest.raises(ConfigError, match="the record is of the FlipNet 4567; this one is 0123"):
        degrader.run(faces[:1], [[flipnet_record("4567", "", 1, SETTINGS)]])
    with pytest.raises(ConfigError, match=r"expected a record of a FlipNet's image, got .*clip"):
        degrader.run(faces[:1], [[Record(7, (Clip(),))]])


def test_a_network_that_restores_is_refused() -> None:
    net = tiny_flipnet(FlipNetConfig(mode=Mode.RESTORE, lora_rank=0))
    with pytest.raises(ConfigError, match="trained to restore; give one that degrades"):
        Degrader(Loaded(net=net, prompts=(), sampling=SETTINGS, digest="0123"))


@pytest.mark.parametrize("name", ["cuda:99", "nonsense"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"device {name}: cannot be used here: .*give another, such as cpu"):
        choose_device(name)
    assert choose_device("cpu").type == "cpu"
    assert choose_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(ConfigError, match="dtype: expected one of float32, bfloat16, float16, got 'int8'"):
        Degrader(Loaded(net=gated_flipnet(), prompts=(), sampling=SETTINGS, digest="0123"), dtype="int8")


def test_the_start_is_a_function_of_the_seed() -> None:
    net = gated_flipnet()
    first, again, other = (start_noise(net, seed, 64, 128) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == latent_size(net, 64, 128)
    assert torch.equal(first, start_noise(gated_flipnet(window=0), 3, 64, 128)), "of nothing else"
    many = torch.stack([start_noise(net, seed, 64, 64) for seed in range(100)])
    white = many[:, 1:64].std((1, 2, 3))
    assert 0.14 < float(white.log().std()) < 0.26, "each image's noise has a strength of its own"
    assert abs(float(white.log().mean())) < 0.06
    means = many.mean((2, 3)).std(0)
    offset = [0, 64, 128]
    assert (means[offset] > 0.2).all(), "the named channels move as a whole"
    assert float(means.median()) < 0.2


def test_a_start_can_be_even_in_the_named_channels() -> None:
    net = gated_flipnet()
    first = start_noise(net, 3, 64, 128)
    net.config = replace(net.config, start_evenness=0.75, start_gain=net.config.noise_gain)
    even = start_noise(net, 3, 64, 128)
    named = [0, 64, 128]
    others = [channel for channel in range(len(first)) if channel not in named]
    assert torch.equal(even[others], first[others])
    assert torch.allclose(even.mean((1, 2)), first.mean((1, 2)), atol=1e-6), "the image's own colour stays"
    left = (even[named].std((1, 2)) / first[named].std((1, 2))).tolist()
    assert left == pytest.approx([0.25] * 3, rel=1e-3)


def test_a_start_can_vary_less_in_strength() -> None:
    net = gated_flipnet()
    strengths = [[float(start_noise(net, seed, 64, 64)[1:64].std()) for seed in range(8)]]
    for gain in (0.1, 0.0):
        net.config = replace(net.config, start_gain=gain)
        strengths.append([float(start_noise(net, seed, 64, 64)[1:64].std()) for seed in range(8)])
    logs = np.log(strengths)
    assert logs[1] == pytest.approx(logs[0] / 2, abs=0.03), "half of the network's 0.2"
    assert np.abs(logs[2]).max() < 0.03


def test_prompts_are_drawn_by_weight() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_prompt((("a", 3.0), ("", 1.0)), rng) for _ in range(400)]
    assert 270 < drawn.count("a") < 330
    assert draw_prompt((), rng) == ""


@pytest.mark.slow
def test_an_array_gives_arrays_of_its_type(degrader: Degrader, faces: list[Pixels]) -> None:
    prompts = ["haze", ""]
    pixels = degrader.degrade(faces[0], prompts, seeds=[7, 8])
    images = degrader.degrade(to_float(faces[0]), prompts, seeds=[7, 8])
    [[recorded]] = degrader.run([faces[0]], [[degrader.record("", 8)]])

    assert [image.dtype for image in (*pixels, *images)] == [np.uint8, np.uint8, np.float32, np.float32]
    for made, image in zip(pixels, images, strict=True):
        np.testing.assert_array_equal(to_float(made), image)
    np.testing.assert_array_equal(pixels[1], recorded)
    assert len(degrader.degrade(faces[0], "haze")) == 1


def test_each_prompt_has_a_seed(degrader: Degrader, faces: list[Pixels]) -> None:
    with pytest.raises(ValueError, match="seeds: expected 2, one for each prompt, got 1"):
        degrader.degrade(faces[0], ["haze", "dark"], seeds=[1])
    with pytest.raises(ValueError, match="hq: expected an RGB image"):
        degrader.degrade(to_float(faces[0]) * 2, "haze")


@pytest.mark.slow
def test_an_exemplar_is_described_in_the_record(shown: Degrader, faces: list[Pixels], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(faces[0]))
    (tmp_path / "b.png").write_bytes(encode_png(faces[2]))
    [first], [second] = shown.describe(faces[0]), shown.describe(tmp_path / "b.png")
    assert shown.describe(tmp_path) == (first, second)
    assert shown.describe(to_float(faces[0])) == (first,)
    record = Record.from_json(shown.record("", 3, None, second).to_json())
    [[recorded]] = shown.run([faces[1]], [[record]])
    for like in (faces[2], tmp_path / "b.png"):
        np.testing.assert_array_equal(shown.degrade(faces[1], like=like, seeds=[3])[0], recorded)
    [plain] = shown.degrade(faces[1], seeds=[3])
    assert differ(plain, recorded) > 3
    made = shown.degrade(faces[1], ["", ""], like=tmp_path, seeds=[4, 5])
    ones = [[shown.degrade(faces[1], like=like, seeds=[seed])[0] for like in (faces[0], faces[2])] for seed in (4, 5)]
    taken = [[differ(image, one) == 0 for one in both] for image, both in zip(made, ones, strict=True)]
    assert {tuple(row) for row in taken} == {(True, False), (False, True)}, "each seed takes one"


@pytest.mark.slow
def test_exemplars_in_a_batch_change_no_other_image(shown: Degrader, faces: list[Pixels]) -> None:
    [described] = shown.describe(faces[2])
    other = tuple(-value for value in described)
    records = [[shown.record("", seed, None, given) for seed, given in enumerate((described, (), other, described))]]
    [together] = shown.run(faces[:1], records)
    for record, image in zip(records[0], together, strict=True):
        [[alone]] = shown.run(faces[:1], [[record]])
        np.testing.assert_array_equal(alone, image)


def test_a_record_without_an_exemplar_stays_as_it_was(shown: Degrader) -> None:
    assert "description" not in shown.record("haze", 1).to_json()
    assert '"description":[1.0,2.5]' in flipnet_record("0123", "", 1, SETTINGS, (1.0, 2.5)).to_json()
    with pytest.raises(ValueError, match=r"flipnet\.description: expected a number within \[0, 24\]"):
        Record.from_json(flipnet_record("0123", "", 1, SETTINGS, (0.0,) * 25).to_json())


def test_an_exemplar_needs_a_model_that_knows_them(
    degrader: Degrader, shown: Degrader, faces: list[Pixels], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="like: this FlipNet was not trained with exemplars"):
        degrader.degrade(faces[0], like=faces[1])
    with pytest.raises(ConfigError, match="description: this FlipNet was not trained with exemplars"):
        degrader.run(faces[:1], [[flipnet_record("0123", "", 1, SETTINGS, (1.0,))]])
    with pytest.raises(ConfigError, match=f"description: expected {shown.net.config.description} numbers, got 1"):
        shown.run(faces[:1], [[flipnet_record("4567", "", 1, SETTINGS, (1.0,))]])
    with pytest.raises(ConfigError, match="nowhere"):
        shown.degrade(faces[0], like=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="like"):
        shown.degrade(faces[0], like=np.zeros((8, 8), np.uint8))
