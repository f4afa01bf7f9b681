from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from degrade_kit.errors import ConfigError, RunError
from degrade_kit.flipnet import loop
from degrade_kit.flipnet.batch import Batch, PixelBatch, collate, pair_generators, stack_pixels, to_images
from degrade_kit.flipnet.checkpoint import BaseReference, load
from degrade_kit.flipnet.config import FlipNetConfig, Mode
from degrade_kit.flipnet.description import SHIPPED_SPACE, read_space
from degrade_kit.flipnet.loop import (
    TrainState,
    averaged,
    checkpoints,
    learning_rate,
    restore_checkpoint,
    save_checkpoint,
)
from degrade_kit.flipnet.mixture import PairSample
from degrade_kit.flipnet.network import FlipNet, JointPrediction
from degrade_kit.flipnet.sampling import SamplingConfig, latent_size, sample
from degrade_kit.flipnet.training import DiffusionLoss, TrainConfig, new_state, train
from degrade_kit.image import Pixels
from tests.degrade_kit.flipnet.models import gated_flipnet, tiny_flipnet

BASE = BaseReference(location="a base model")
PAIRS, DRAWS = 3, 2


class Stream:
    """Pairs of random blocks; LQ is half as bright."""

    def sample(self, number: int, size: int) -> PairSample:
        rng = np.random.default_rng(number)
        hq = np.kron(rng.integers(0, 256, (size // 8, size // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        return PairSample(hq, hq // 2, "low light" if number % 2 else "haze", "low-light")


def batch_of(count: int, size: int = 16) -> Batch:
    return collate([Stream().sample(number, size) for number in range(count)])


def small(**changes: Any) -> TrainConfig:  # noqa: ANN401
    given: dict[str, Any] = {
        "batch_size": 2,
        "crop_sizes": (16,),
        "warmup_steps": 0,
        "learning_rate": 1e-3,
        "num_steps": 4,
        "checkpoint_steps": 100,
        "validation_steps": 100,
    }
    return TrainConfig(**{**given, **changes})


# -------------------------------------------------------------------------------------------------------- the loss


def given_to(net: FlipNet, config: TrainConfig, batch: Batch) -> tuple[float, dict[str, Any]]:
    """Loss of a batch in which the network says random numbers, and what the network was given.

    The latents of HQ are 5 everywhere and those of LQ -5.
    """
    found: dict[str, Any] = {}

    def encode(images: Tensor, generators: object = None, *, sample: bool = False) -> Tensor:
        assert sample
        value = 5.0 if torch.equal(images, batch.hq) else -5.0
        return torch.full((images.shape[0], 4, 8, 8), value)

    def predict(*arguments: Tensor, **named: Any) -> JointPrediction:  # noqa: ANN401
        names = ("noisy", "timesteps", "condition", "condition_timesteps", "tokens")
        found.update(dict(zip(names, arguments, strict=True)), **named)
        source = torch.Generator().manual_seed(1)
        found["prediction"] = [torch.randn(found[key].shape, generator=source) for key in ("noisy", "condition")]
        return JointPrediction(found["prediction"][0], found["prediction"][1], None)

    net.encode_images = encode
    net.predict_joint = predict
    return float(DiffusionLoss(net, config)(batch, pair_generators(0, 0, 0, len(batch.captions)))), found


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_loss_is_that_of_the_equations(kind: str, mode: Mode) -> None:
    """L = E |target - net(x_t, y_t)|^2 over the rows of both branches, each with its own timestep and noise."""
    net = tiny_flipnet(FlipNetConfig(mode=mode, lora_rank=0), kind)
    loss, found = given_to(net, small(noise_draws=DRAWS), batch_of(PAIRS))
    kept = net.alphas_cumprod.numpy().astype(np.float64)
    made, seen = (5.0, -5.0) if mode is Mode.RESTORE else (-5.0, 5.0)
    branches = [("noisy", "timesteps", made), ("condition", "condition_timesteps", seen)]
    errors: list[float] = []
    for (rows, timesteps, latent), prediction in zip(branches, found["prediction"], strict=True):
        for x_t, t, said in zip(found[rows].numpy(), found[timesteps].numpy(), prediction.numpy(), strict=True):
            a, s = math.sqrt(kept[t]), math.sqrt(1 - kept[t])
            noise = (x_t.astype(np.float64) - a * latent) / s
            assert abs(noise.mean()) < 0.4, "the target is of the right image"
            assert 0.8 < noise.std() < 1.2
            target = noise if kind == "epsilon" else a * noise - s * latent
            errors.append(float(((target - said) ** 2).mean()))
    assert len(errors) == PAIRS * DRAWS + PAIRS
    assert loss == pytest.approx(np.mean(errors), rel=1e-4)
    timesteps = torch.cat([found["timesteps"], found["condition_timesteps"]])
    assert len(set(timesteps.tolist())) > PAIRS, "drawn for each row"


@pytest.mark.slow
def test_the_weight_of_the_condition_is_the_weight_of_its_rows() -> None:
    def loss(weight: float) -> float:
        return given_to(tiny_flipnet(), small(condition_loss=weight), batch_of(PAIRS))[0]

    target, both, half = loss(0), loss(1), loss(0.5)
    condition = 2 * both - target
    assert half == pytest.approx((target + 0.5 * condition) / 1.5, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_without_condition_noise_the_condition_is_clean(kind: str) -> None:
    net = tiny_flipnet(prediction_type=kind)
    loss, found = given_to(net, small(condition_noise=0.0), batch_of(PAIRS))
    assert torch.equal(found["condition_timesteps"], torch.zeros(PAIRS, dtype=torch.long))
    assert torch.equal(found["condition"], torch.full((PAIRS, 4, 8, 8), 5.0))
    # In a clean condition there is no noise to be found: epsilon is 0, v is -s z.
    s = math.sqrt(1 - float(net.alphas_cumprod[0]))
    wanted = 0.0 if kind == "epsilon" else -s * 5.0
    alone, _ = given_to(
        tiny_flipnet(prediction_type=kind), small(condition_noise=0.0, condition_loss=0), batch_of(PAIRS)
    )
    error = float((found["prediction"][1] - wanted).square().mean())
    assert 2 * loss - alone == pytest.approx(error, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.5, 75, 125), (1.0, 200, 200)])
def test_captions_are_dropped_by_their_share(share: float, low: int, high: int) -> None:
    net = tiny_flipnet()
    asked: list[list[str]] = []

    def encode(prompts: list[str]) -> Tensor:
        asked.append(list(prompts))
        return torch.zeros(len(prompts), 1, 1)

    net.encode_prompts = cast("Any", encode)
    given_to(net, small(caption_dropout=share), batch_of(200))
    assert low <= asked[0].count("") <= high
    assert len(asked) == 1, "one prompt for both branches"
    assert {caption for caption in asked[0] if caption} <= {"low light", "haze"}


def test_a_condition_without_text_reads_the_null_prompt() -> None:
    net = tiny_flipnet(FlipNetConfig(lora_rank=0, condition_text="null"))
    _, found = given_to(net, small(caption_dropout=0.0), batch_of(PAIRS))
    assert torch.equal(found["tokens"], net.encode_prompts(["haze", "low light", "haze"]))
    assert torch.equal(found["condition_tokens"], net.encode_prompts([""] * PAIRS))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_min_snr_weights_are_those_of_the_paper(kind: str) -> None:
    net = tiny_flipnet(prediction_type=kind)
    timesteps = torch.tensor([0, 300, 999])
    alpha = net.alphas_cumprod[timesteps].numpy().astype(np.float64)
    snr = alpha / (1 - alpha)
    expected = np.minimum(snr, 5) / {"epsilon": snr, "v_prediction": snr + 1, "sample": np.ones(3)}[kind]
    found = DiffusionLoss(net, small(loss_weighting="min_snr"))._timestep_weights(timesteps)
    assert np.allclose(found.numpy(), expected, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channel_weighting": 1.0}, "only a BlockDCT's channels"),
        ({"loss_weighting": "posterior"}, "posterior needs a gated head"),
        ({"loss_weighting": "relative"}, "relative needs a gated head"),
        ({"variance_weight": 0.2}, "variance_weight: needs a gated head"),
    ],
)
def test_a_weighting_that_the_network_has_not_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DiffusionLoss(tiny_flipnet(), small(**changes))


@pytest.mark.slow
def test_the_variance_that_is_learned_is_that_of_the_errors() -> None:
    net = gated_flipnet()
    loss = DiffusionLoss(net, small(loss_weighting="posterior", variance_weight=0.2))
    a, s = net.signal_noise(torch.tensor([900, 100]))
    error = 0.3 * torch.randn(2, net.latent_channels, 16, 16, generator=torch.Generator().manual_seed(0))
    pulls: list[float] = []
    for factor in (0.8, 1.0, 1.25):
        variance = torch.full_like(error, factor * 0.09).requires_grad_()
        loss._variance_error(error, variance, a, s).backward()
        assert variance.grad is not None
        pulls.append(float(variance.grad.sum()))
    low, right, high = pulls
    assert low < 0 < high, "too little is raised, too much lowered"
    assert abs(right) < 0.1 * min(-low, high)


def test_the_loss_of_the_variance_teaches_what_is_random_and_nothing_else() -> None:
    def learned(weight: float) -> torch.Tensor:
        net = gated_flipnet()
        config = small(loss_weighting="posterior", variance_weight=weight, train_base=True, condition_noise=0.0)
        new_state(net, config)
        DiffusionLoss(net, config)(batch_of(PAIRS, 32), pair_generators(0, 0, 0, PAIRS)).backward()
        return net.unet.conv_out.weight.grad.clone()

    channels = gated_flipnet().latent_channels
    more = (learned(0.5) - learned(0.0)).abs().amax((1, 2, 3))
    random = torch.zeros_like(more, dtype=torch.bool)
    random[channels : 2 * channels] = True  # G, behind F: see `GatedHead`
    assert more[random].min() > 0
    assert more[~random].max() < 1e-6 * more[random].max()


@pytest.mark.parametrize(("weighting", "ratio"), [("posterior", 900), ("relative", 1)])
def test_a_loud_row_counts_no_more_than_a_quiet_one_by_relative_errors(weighting: str, ratio: float) -> None:
    net = gated_flipnet()
    loss = DiffusionLoss(net, small(loss_weighting=weighting))
    noise = torch.randn(1, net.latent_channels, 4, 4, generator=torch.Generator().manual_seed(0))
    prediction = torch.cat([3 * noise, 90 * noise]).requires_grad_()
    loss._error(prediction, torch.zeros_like(prediction), torch.tensor([500, 500])).backward()
    assert prediction.grad is not None
    effect = (prediction.grad * prediction.detach()).sum((1, 2, 3))  # of a change of the row by its own size
    assert float(effect[1] / effect[0]) == pytest.approx(ratio, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "changes", "factor"),
    [
        (lambda: tiny_flipnet(randomize=False), {"learning_rate": 3e-3}, 0.95),
        (lambda: tiny_flipnet(FlipNetConfig(lora_rank=0), randomize=False), {"train_base": True}, 0.8),
        (
            lambda: gated_flipnet(randomize=False),
            {"train_base": True, "loss_weighting": "posterior", "channel_weighting": 0.5, "condition_loss": 0.0},
            0.9,
        ),
    ],
    ids=["lora", "base", "gated"],
)
@pytest.mark.long
def test_the_loss_of_one_batch_falls(build: Callable[[], FlipNet], changes: dict[str, Any], factor: float) -> None:
    config = small(**changes)
    net = build()
    state, loss_module = new_state(net, config), DiffusionLoss(net, config)
    batch = batch_of(2, 16 if net.head is None else 64)
    losses: list[float] = []
    for _ in range(40):
        loss = loss_module(batch, pair_generators(0, 0, 0, len(batch.captions)))
        loss.backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < factor * losses[0]


@pytest.mark.slow
def test_the_same_step_gives_the_same_loss() -> None:
    loss = DiffusionLoss(tiny_flipnet(), small())
    with torch.no_grad():
        first = loss(batch_of(2), pair_generators(0, 5, 0, 2))
        torch.rand(7)  # the global generator is not asked
        assert torch.equal(loss(batch_of(2), pair_generators(0, 5, 0, 2)), first)
        others = [loss(batch_of(2), pair_generators(*of, 2)) for of in ((1, 5, 0), (0, 6, 0), (0, 5, 1))]
    assert len({float(value) for value in (first, *others)}) == 4


# --------------------------------------------------------------------------------------------------------- a run


def run(folder: Path, config: TrainConfig, **options: Any) -> TrainState:  # noqa: ANN401
    return train(tiny_flipnet(randomize=False), Stream(), config, folder, BASE, device="cpu", **options)


def everything(state: TrainState) -> list[Tensor]:
    moments = [tensor for parameter in state.parameters for tensor in state.optimizer.state[parameter].values()]
    return [*(parameter.detach() for parameter in state.parameters), *state.averages, *moments]


@pytest.mark.slow
@pytest.mark.parametrize("cache", [0.0, 0.001])
def test_a_run_that_was_stopped_ends_in_the_same_weights(tmp_path: Path, cache: float) -> None:
    config = small(num_steps=5, latent_cache_gigabytes=cache)
    whole = run(tmp_path / "whole", config)
    steps: list[int] = []
    half = run(
        tmp_path / "parts",
        config,
        report=lambda metrics: steps.append(int(metrics["step"])),
        should_stop=lambda: len(steps) == 2,  # asked before the third step is reported
    )
    assert (half.step, steps) == (3, [1, 2, 3])
    torch.rand(5)  # the global generator is not asked
    parts = run(tmp_path / "parts", config, report=lambda metrics: steps.append(int(metrics["step"])))
    assert steps == [1, 2, 3, 4, 5]
    assert all(torch.equal(a, b) for a, b in zip(everything(whole), everything(parts), strict=True))
    for name in ("boosthub.safetensors", "lora/adapter_model.safetensors", "flipnet.json"):
        written = [(tmp_path / run_dir / "model" / name).read_bytes() for run_dir in ("whole", "parts")]
        assert written[0] == written[1]
    moved = [not torch.equal(a, b) for a, b in zip(whole.parameters, whole.averages, strict=True)]
    assert any(moved), "what is saved are averages"


@pytest.mark.slow
def test_a_run_that_was_stopped_before_its_last_model_writes_it_when_it_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(num_steps=3, checkpoint_steps=2)
    run(tmp_path / "whole", config)
    lines: list[Any] = []
    written = loop.save_checkpoint

    def stop(*words: Any) -> None:  # noqa: ANN401 (of `save_checkpoint`)
        written(*words)
        if len(lines) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut", config, report=lines.append)
    assert json.loads((tmp_path / "cut/model.json").read_text("utf-8")) == {"step": 2, "finished": False}
    assert not loop.is_finished(tmp_path / "cut")
    with (tmp_path / "cut/metrics.jsonl").open("a") as file:
        file.write('{"step": 4}\n{"step": 5, "lo')  # of steps whose checkpoint was never written
    run(tmp_path / "cut", config)
    assert loop.is_finished(tmp_path / "cut")
    steps = [json.loads(line)["step"] for line in (tmp_path / "cut/metrics.jsonl").read_text("utf-8").splitlines()]
    assert steps == [1, 2, 3]
    for name in ("boosthub.safetensors", "lora/adapter_model.safetensors", "flipnet.json"):
        assert (tmp_path / "cut/model" / name).read_bytes() == (tmp_path / "whole/model" / name).read_bytes()


@pytest.mark.slow
def test_a_model_that_is_not_there_is_not_finished(tmp_path: Path) -> None:
    config = small(num_steps=1)
    run(tmp_path, config)
    shutil.rmtree(tmp_path / "model")
    assert not loop.is_finished(tmp_path)
    run(tmp_path, config)
    assert (tmp_path / "model/boosthub.safetensors").exists()
    run(tmp_path, small(num_steps=2), should_stop=lambda: True)
    assert loop.is_finished(tmp_path)


@pytest.mark.slow
def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    config = small(num_steps=2)
    first = run(tmp_path, config)
    steps: list[Any] = []
    again = run(tmp_path, config, report=steps.append)
    assert steps == []
    assert all(torch.equal(a, b) for a, b in zip(first.parameters, again.parameters, strict=True))


def test_data_workers_change_no_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(
        num_steps=5, crop_sizes=(16, 24), crop_shares=(1.0, 1.0), crop_batches=(4, 2), gradient_accumulation=2
    )

    def batches(process: int = 0, processes: int = 1) -> list[PixelBatch]:
        return list(loop._Steps(Stream(), config, 1, processes, process, False))

    alone = batches()
    assert len(alone) == 4 * 2
    assert {(tuple(batch.hq.shape[1:]), len(batch.captions)) for batch in alone} == {((16, 16, 3), 2), ((24, 24, 3), 1)}

    class Info:
        num_workers = 3

        def __init__(self, number: int) -> None:
            self.id = number

    by_worker: list[list[PixelBatch]] = []
    for number in range(3):
        monkeypatch.setattr(torch.utils.data, "get_worker_info", lambda number=number: Info(number))
        by_worker.append(batches())
    for position, batch in enumerate(alone):
        assert torch.equal(by_worker[position % 3][position // 3].hq, batch.hq)


@pytest.mark.slow
def test_data_workers_change_no_weight_and_a_stopped_run_goes_on_with_others(tmp_path: Path) -> None:
    config = small(num_steps=4)
    whole = run(tmp_path / "whole", config)
    steps: list[int] = []
    with_workers = {"num_workers": 2, "report": lambda metrics: steps.append(int(metrics["step"]))}
    half = run(tmp_path / "parts", config, should_stop=lambda: len(steps) == 1, **with_workers)
    assert half.step == 2
    parts = run(tmp_path / "parts", config, **{**with_workers, "num_workers": 1})
    assert steps == [1, 2, 3, 4]
    assert all(torch.equal(a, b) for a, b in zip(everything(whole), everything(parts), strict=True))


@pytest.mark.slow
def test_a_step_asks_the_device_for_its_numbers_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = loop._read

    def read(scalars: Sequence[Tensor]) -> list[float]:
        asked.append(len(scalars))
        return real(scalars)

    def refuse(tensor: Tensor) -> float:
        raise AssertionError(f"a number was asked for alone: {tensor.shape}")

    monkeypatch.setattr(loop, "_read", read)
    monkeypatch.setattr(Tensor, "__float__", refuse)
    lines: list[dict[str, float]] = []
    run(tmp_path, small(num_steps=1, gradient_accumulation=2), report=lines.append)
    assert asked == [3], "the norm of the gradient and the losses of two parts"
    assert 0 < lines[0]["grad_norm"] < math.inf
    assert 0 <= lines[0]["data_wait"] <= 1


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_accelerator")
def test_in_bf16_what_is_frozen_is_kept_short_and_validation_runs_so(tmp_path: Path) -> None:
    seen: list[torch.dtype] = []

    def validate(net: FlipNet, step: int) -> dict[str, float]:
        images = torch.zeros(1, 3, 16, 16)
        made = sample(net, images, torch.zeros(1, *latent_size(net, 16, 16)), ["haze"], SamplingConfig(num_steps=1))
        seen.append(net.vae.encoder.conv_in.weight.dtype)
        return {"val_loss": float(made.square().mean())}

    net = tiny_flipnet(randomize=False)
    config = small(num_steps=1, mixed_precision="bf16", gradient_checkpointing=True, validation_steps=1)
    state = train(net, Stream(), config, tmp_path, BASE, device="cpu", validate=validate)
    assert seen == [torch.bfloat16]
    assert {parameter.dtype for parameter in state.parameters} == {torch.float32}
    assert state.skipped == 0


def test_a_batch_of_pixels_is_a_quarter_and_becomes_the_same_batch() -> None:
    pairs = [Stream().sample(number, 16) for number in range(3)]
    pixels, batch = stack_pixels(pairs), collate(pairs)
    assert (pixels.hq.dtype, pixels.hq.nbytes * 4) == (torch.uint8, batch.hq.nbytes)
    found = pixels.to(torch.device("cpu"))
    assert torch.equal(found.hq, batch.hq)
    assert torch.equal(found.lq, batch.lq)
    assert np.array_equal(to_images(found.lq)[2], pairs[2].lq)
    assert found.captions == batch.captions == [pair.caption for pair in pairs]


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"batch size 2: expected a multiple of processes times gradient_acc.*, 1 x 4"
    ):
        run(tmp_path, small(gradient_accumulation=4))


@pytest.mark.slow
def test_the_best_of_the_validations_is_kept(tmp_path: Path) -> None:
    scores = iter([3.0, 1.0, 2.0])
    seen: list[dict[str, Any]] = []
    run(
        tmp_path,
        small(num_steps=3, validation_steps=1),
        validate=lambda net, step: {"val_loss": 9.0, "val_distance": next(scores)},
        report=seen.append,
        prompts=(("haze", 1.0),),
    )
    assert json.loads((tmp_path / "best.json").read_text()) == {"step": 2, "val_loss": 9.0, "val_distance": 1.0}
    assert json.loads((tmp_path / "best/flipnet.json").read_text())["prompts"] == [["haze", 1.0]]
    assert [metrics["val_distance"] for metrics in seen] == [3.0, 1.0, 2.0]
    assert {"step", "loss", "grad_norm", "learning_rate", "steps_per_second", "skipped"} <= set(seen[0])


@pytest.mark.slow
@pytest.mark.parametrize("lost", [{1}, {0, 1, 3, 4}])
def test_a_step_without_finite_numbers_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: set[int]
) -> None:
    break_loss(monkeypatch, lost)
    state = run(tmp_path, small(num_steps=6))
    assert (state.step, state.skipped) == (6, len(lost))
    assert all(tensor.isfinite().all() for tensor in everything(state))
    assert {int(state.optimizer.state[parameter]["step"]) for parameter in state.parameters} == {6 - len(lost)}


@pytest.mark.slow
def test_three_steps_in_a_row_without_finite_numbers_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_loss(monkeypatch, {3, 4, 5})
    with pytest.raises(RunError, match="3 steps in a row gave no finite numbers, up to step 5; lower the"):
        run(tmp_path, small(num_steps=9, checkpoint_steps=2))
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000002", "step-00000004"]


@pytest.mark.slow
def test_a_run_whose_last_step_is_skipped_leaves_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_loss(monkeypatch, {3})
    assert run(tmp_path, small(num_steps=4)).skipped == 1
    assert (tmp_path / "model/flipnet.json").exists()


@pytest.mark.slow
def test_weights_that_are_no_numbers_any_more_are_not_saved(tmp_path: Path) -> None:
    net = tiny_flipnet()
    with torch.no_grad():
        next(iter(net.hubs.values())).to_out.weight[0, 0] = math.nan
    with pytest.raises(RunError, match="3 steps in a row"):
        train(net, Stream(), small(checkpoint_steps=1), tmp_path, BASE, device="cpu")
    assert checkpoints(tmp_path) == []


def break_loss(monkeypatch: pytest.MonkeyPatch, lost: set[int]) -> None:
    """Make the loss NaN in these steps."""
    step = iter(range(100))
    whole = DiffusionLoss.forward

    def forward(self: DiffusionLoss, batch: Batch, generators: Sequence[torch.Generator]) -> Tensor:
        loss = whole(self, batch, generators)
        return loss * math.nan if next(step) in lost else loss

    monkeypatch.setattr(DiffusionLoss, "forward", forward)


@pytest.mark.slow
def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="device cuda:99: cannot be used here"):
        train(tiny_flipnet(), Stream(), small(), tmp_path, BASE, device="cuda:99")


# --------------------------------------------------------------------------------------------------- checkpoints


@pytest.mark.slow
def test_old_checkpoints_are_removed(tmp_path: Path) -> None:
    run(tmp_path, small(num_steps=5, checkpoint_steps=1, keep_checkpoints=2))
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == ["step-00000004", "step-00000005"]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A run's folder with one checkpoint."""
    return save_checkpoint(new_state(tiny_flipnet(), small()), tmp_path, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_told_with_the_remedy(saved: Path, name: str) -> None:
    (saved / name).write_bytes((saved / name).read_bytes()[:-9])
    with pytest.raises(
        ConfigError, match=r"checkpoint .*step-0+ is damaged: .*; remove that folder to go on from the one"
    ):
        restore_checkpoint(new_state(tiny_flipnet(), small()), saved.parent.parent)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 8])
def test_a_checkpoint_of_another_network_is_refused(saved: Path, rank: int) -> None:
    other = new_state(tiny_flipnet(FlipNetConfig(lora_rank=rank)), small())
    with pytest.raises(ConfigError, match=r"state\.safetensors: weights of another network: .*give another --out"):
        restore_checkpoint(other, saved.parent.parent)


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_written_is_told(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loop, "write_weights", full)
    state = new_state(tiny_flipnet(), small())
    state.step = 7
    with pytest.raises(RunError, match=r"cannot write checkpoint .*: No space left on device; earlier .* intact"):
        save_checkpoint(state, saved.parent.parent, 2)
    assert [path.name for path in saved.parent.iterdir()] == ["step-00000000"]
    restore_checkpoint(state, saved.parent.parent)
    assert state.step == 0


@pytest.mark.slow
def test_a_run_without_checkpoints_begins_at_the_start(tmp_path: Path) -> None:
    state = new_state(tiny_flipnet(), small())
    restore_checkpoint(state, tmp_path)
    assert state.step == 0


@pytest.mark.slow
def test_the_averages_are_swapped_in_and_out() -> None:
    state = new_state(tiny_flipnet(), small())
    before = [parameter.detach().clone() for parameter in state.parameters]
    for average in state.averages:
        average.zero_()
    with averaged(state):
        assert not any(parameter.any() for parameter in state.parameters)
    assert all(torch.equal(a, b) for a, b in zip(before, state.parameters, strict=True))


# ----------------------------------------------------------------------------------------------- small functions


@pytest.mark.parametrize("decay", ["constant", "cosine"])
def test_the_learning_rate_warms_up_and_decays(decay: Any) -> None:  # noqa: ANN401
    config = TrainConfig(num_steps=100, warmup_steps=10, learning_rate=2.0, decay=decay)
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == pytest.approx(2.0)
    if decay == "constant":
        assert set(rates[10:]) == {2.0}
    else:
        assert rates[10:] == sorted(rates[10:], reverse=True)
        assert 0.02 <= rates[-1] < 0.03
    assert learning_rate(TrainConfig(warmup_steps=0, learning_rate=2.0), 0) == 2.0


def test_crop_sizes_are_drawn_by_share_with_their_own_batches() -> None:
    config = small(crop_sizes=(64, 128), crop_shares=(3, 1), crop_batches=(8, 2))
    shapes = [config.step_shape(step) for step in range(400)]
    assert set(shapes) == {(64, 8), (128, 2)}
    assert 270 < shapes.count((64, 8)) < 330
    assert shapes == [config.step_shape(step) for step in range(400)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_shares": (1.0, 1.0)}, "crop_shares: expected one for each of"),
        ({"crop_batches": (1, 2)}, "crop_batches: expected one for each of"),
        ({"num_steps": 0}, "num_steps: expected 1 or more, got 0"),
        ({"keep_checkpoints": 0}, "keep_checkpoints: expected 1 or more"),
        ({"caption_dropout": 1.5}, "caption_dropout: expected a share within"),
    ],
)
def test_a_wrong_number_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(**changes)


def test_pixels_come_back_from_tensors() -> None:
    batch = batch_of(2)
    assert (float(batch.hq.min()), float(batch.hq.max())) >= (-1.0, -1.0)
    assert float(batch.hq.abs().max()) <= 1
    for number, image in enumerate(to_images(batch.hq)):
        assert np.array_equal(image, Stream().sample(number, 16).hq)


# ------------------------------------------------------------------------------------------------------ exemplars


def described(*descriptions: tuple[float, ...]) -> Batch:
    pairs = [Stream().sample(number, 64)._replace(description=given) for number, given in enumerate(descriptions)]
    return collate(pairs)


@pytest.mark.slow
def test_exemplars_are_shown_and_left_out_by_their_share() -> None:
    net = gated_flipnet(exemplars=True)
    assert net.describer is not None
    numbers = net.describer.numbers
    batch = described(*[(1.0,) * numbers] * 40, ())
    found: dict[str, Any] = {}
    original = net.describer.forward

    def forward(rows: Tensor) -> Tensor:
        found["rows"] = rows
        return original(rows)

    net.describer.forward = forward
    config = small(description_dropout=0.4, description_noise=0.1, noise_draws=2)
    DiffusionLoss(net, config)(batch, pair_generators(0, 0, 0, 41))
    rows = found["rows"].numpy()
    shown = rows[:, -1] == 1
    assert 15 <= shown.sum() <= 33
    assert not rows[~shown].any(), "one that is not shown says nothing"
    assert not shown[-1], "there was none"
    assert 0.07 < (rows[shown, :-1] - 1).std() < 0.13
    none = small(description_dropout=1.0)
    DiffusionLoss(net, none)(batch, pair_generators(0, 0, 0, 41))
    assert not found["rows"].any()


class TwoKinds:
    """Random blocks, noisy or blurred; the caption says nothing, and the description is of other blocks."""

    def __init__(self) -> None:
        self.space = read_space(SHIPPED_SPACE.parent)

    def sample(self, number: int, size: int) -> PairSample:
        noisy = number % 2 == 1
        hq, lq = self.pair(number, size, noisy)
        return PairSample(hq, lq, "", "both", description=self.describe(number + 10**6, noisy))

    def describe(self, number: int, noisy: bool) -> tuple[float, ...]:
        return self.space.describe(self.pair(number, 64, noisy)[1])

    @staticmethod
    def pair(number: int, size: int, noisy: bool) -> tuple[Pixels, Pixels]:
        rng = np.random.default_rng(number)
        hq = np.kron(rng.integers(40, 216, (size // 8, size // 8, 3)), np.ones((8, 8, 1)))
        lq = hq + rng.normal(0, 20, hq.shape) if noisy else cv2.GaussianBlur(hq, (0, 0), 2.5)
        return hq.astype(np.uint8), np.clip(lq, 0, 255).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.long
def test_a_trained_network_knows_a_pair_better_by_its_exemplar_and_worse_by_another(tmp_path: Path) -> None:
    stream = TwoKinds()
    net = gated_flipnet(randomize=False, exemplars=True)
    assert net.head is not None
    pairs = collate([stream.sample(number, 64) for number in range(64)])
    net.head.fit(net.encode_images(pairs.lq), net.encode_images(pairs.hq))
    config = small(
        batch_size=8,
        crop_sizes=(32,),
        num_steps=100,
        learning_rate=2e-3,
        loss_weighting="posterior",
        train_base=True,
        description_dropout=0.0,
        condition_noise=0.0,
        condition_loss=0.0,
        ema_decay=0.9,
    )
    train(net, stream, config, tmp_path, BaseReference(location="base"), device="cpu")
    model = load(tmp_path / "model").net
    unseen = collate([stream.sample(5000 + number, 64) for number in range(8)])
    swapped = [unseen.descriptions[number ^ 1] for number in range(8)]
    measured = dataclasses.replace(config, description_noise=0.0)

    @torch.no_grad()
    def loss(descriptions: list[tuple[float, ...]]) -> float:
        batch = dataclasses.replace(unseen, descriptions=descriptions)
        made = DiffusionLoss(model, measured)
        return float(np.mean([float(made(batch, pair_generators(1, step, 0, 8))) for step in range(4)]))

    assert loss(unseen.descriptions) < loss([()] * 8) < loss(swapped)
