from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from degrade_kit.errors import ConfigError, RunError
from degrade_kit.flipnet.config import FlipNetConfig, Solver
from degrade_kit.flipnet.network import FlipNet
from degrade_kit.flipnet.sampling import ExtraTokens, SamplingConfig, latent_size, make_scheduler, sample
from tests.degrade_kit.flipnet.models import fine_flipnet, gated_flipnet, tiny_flipnet

BATCH, VARIANTS = 2, 5


@torch.no_grad()
def naive(net: FlipNet, images: Tensor, noise: Tensor, prompts: Sequence[str], config: SamplingConfig) -> Tensor:
    """Every row with its own condition row, both branches in every step, guidance always."""
    rows = noise.shape[0]
    images = images.repeat_interleave(rows // images.shape[0], dim=0)
    condition = net.encode_images(images)
    copies = net.copies(condition, images)
    zeros = torch.zeros(rows, dtype=torch.long)
    scheduler, noisy = make_scheduler(net, config), noise
    for timestep in scheduler.timesteps:

        def predict(texts: Sequence[str], noisy: Tensor = noisy, timestep: Tensor = timestep) -> Tensor:
            tokens = net.encode_prompts(texts)
            condition_texts = texts if net.config.condition_text == "same" else [""] * rows
            return net.predict_joint(
                noisy,
                torch.full((rows,), int(timestep)),
                condition,
                zeros,
                tokens,
                condition_tokens=net.encode_prompts(condition_texts),
                copies=copies,
                phi=config.phi,
            )[0]

        without = predict([config.negative_prompt] * rows)
        prediction = without + config.guidance * (predict(prompts) - without)
        noisy = scheduler.step(prediction, timestep, noisy).prev_sample
    return net.decode_latents(noisy).clamp(-1, 1)


def given(net: FlipNet, size: tuple[int, int], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    images = torch.rand(BATCH, 3, *size, generator=source, dtype=dtype) * 2 - 1
    return images, torch.randn(BATCH * VARIANTS, *latent_size(net, *size), generator=source, dtype=dtype)


PROMPTS = {
    "null": [""] * BATCH * VARIANTS,
    "one": ["haze"] * BATCH * VARIANTS,
    "each": ["haze", "low light", "", "clean", "strong noise"] * BATCH,
}


# diffusers' DPM-Solver++ hands a tensor to NumPy.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("prompts", PROMPTS)
@pytest.mark.parametrize("solver", ["ddim", "dpm++"])
@pytest.mark.parametrize(
    ("build", "size"), [(tiny_flipnet, (16, 24)), (gated_flipnet, (64, 32)), (fine_flipnet, (16, 32))]
)
@pytest.mark.long
def test_the_cached_condition_changes_nothing(
    build: Callable[[], FlipNet], size: tuple[int, int], solver: Solver, prompts: str
) -> None:
    net = build().double()
    images, noise = given(net, size)
    config = SamplingConfig(num_steps=4, guidance=1.5, solver=solver)
    found = sample(net, images, noise, PROMPTS[prompts], config)
    expected = naive(net, images, noise, PROMPTS[prompts], config)
    # diffusers' DPM-Solver++ computes in float32 whatever it is given.
    assert (found - expected).abs().max() <= (1e-10 if solver == "ddim" else 1e-4)
    assert found.std() > 0.05


class _Counted:
    """Counts rows that pass through the network."""

    def __init__(self, net: FlipNet) -> None:
        self.rows = 0
        net.unet.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.rows += args[0].shape[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prompts", "guidance", "evaluations"),
    [("null", 1.5, 1 + 5 * 20), ("one", 1.5, 2 * (1 + 5 * 20)), ("one", 1.0, 1 + 5 * 20)],
)
def test_five_variants_in_twenty_steps_cost_a_quarter_or_half(prompts: str, guidance: float, evaluations: int) -> None:
    """Of the 400 row evaluations of joint sampling with guidance."""
    net = tiny_flipnet()
    images, noise = given(net, (16, 16), torch.float32)
    counted = _Counted(net)
    config = SamplingConfig(num_steps=20, guidance=guidance)
    sample(net, images[:1], noise[:5], PROMPTS[prompts][:5], config)
    assert counted.rows == evaluations


@pytest.mark.slow
@pytest.mark.long
def test_the_cached_condition_saves_nearly_half_of_the_operations() -> None:
    net = tiny_flipnet()
    images, noise = given(net, (16, 16), torch.float32)
    config = SamplingConfig(num_steps=20, guidance=1.5)
    counts: list[int] = []
    for make in (naive, sample):
        with FlopCounterMode(display=False) as counter:
            make(net, images[:1], noise[:5], PROMPTS["one"][:5], config)
        counts.append(counter.get_total_flops())
    assert counts[0] / counts[1] >= 1.8


@pytest.mark.slow
def test_an_image_depends_on_its_own_noise_and_condition_alone() -> None:
    net = gated_flipnet()
    images, noise = given(net, (64, 32), torch.float32)
    config = SamplingConfig(num_steps=3)
    together = sample(net, images, noise, PROMPTS["each"], config)
    for row in (0, 3, 7):
        alone = sample(net, images[row // VARIANTS][None], noise[row : row + 1], PROMPTS["each"][row : row + 1], config)
        assert (alone[0] - together[row]).abs().max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("size", [(8, 8), (37, 50), (16, 100)])
def test_any_size_is_made_at_its_size(size: tuple[int, int]) -> None:
    net = gated_flipnet()
    images, noise = given(net, size, torch.float32)
    made = sample(net, images, noise, PROMPTS["null"], SamplingConfig(num_steps=2))
    assert made.shape == (BATCH * VARIANTS, 3, *size)
    assert made.abs().max() <= 1


@pytest.mark.slow
def test_phi_zero_ignores_the_condition() -> None:
    net = tiny_flipnet()
    images, noise = given(net, (16, 16), torch.float32)
    config = SamplingConfig(num_steps=2, phi=0.0)
    same_noise = noise[:VARIANTS].repeat(BATCH, 1, 1, 1)
    made = sample(net, images, same_noise, PROMPTS["null"], config)
    assert (made[:VARIANTS] - made[VARIANTS:]).abs().max() < 1e-5
    seen = sample(net, images, same_noise, PROMPTS["null"], replace(config, phi=1.0))
    assert (seen[:VARIANTS] - seen[VARIANTS:]).abs().max() > 1e-3


@pytest.mark.slow
def test_masked_extra_tokens_make_the_images_of_text_alone() -> None:
    net = tiny_flipnet()
    images, noise = given(net, (16, 16), torch.float32)
    config = SamplingConfig(num_steps=2)
    faces = torch.randn(BATCH, 4, 32)
    plain = sample(net, images, noise, PROMPTS["one"], config)
    masked = sample(net, images, noise, PROMPTS["one"], config, extra=ExtraTokens(faces, torch.zeros(BATCH)))
    seen = sample(net, images, noise, PROMPTS["one"], config, extra=ExtraTokens(faces))
    assert (plain - masked).abs().max() < 1e-5
    assert (plain - seen).abs().max() > 1e-3


@pytest.mark.slow
def test_weights_that_give_no_numbers_are_reported() -> None:
    net = tiny_flipnet(FlipNetConfig(lora_rank=0))
    with torch.no_grad():
        net.unet.conv_out.bias.fill_(torch.nan)
    images, noise = given(net, (16, 16), torch.float32)
    with pytest.raises(RunError, match="not finite"):
        sample(net, images, noise, PROMPTS["null"], SamplingConfig(num_steps=2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_steps": 0}, "num_steps: expected a whole number"),
        ({"solver": "euler"}, "solver: expected one of ddim, dpm"),
        ({"guidance": float("nan")}, "guidance: expected 0 or more"),
        ({"phi": -1.0}, "phi: expected 0 or more"),
    ],
)
def test_a_wrong_setting_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SamplingConfig(**change)


def test_ddim_ends_at_the_image_in_any_number_of_steps() -> None:
    net = tiny_flipnet()
    noisy, prediction = torch.ones(1, 4, 2, 2), torch.full((1, 4, 2, 2), 0.5)
    a, s = net.signal_noise(torch.tensor([0]))
    assert float(s) > 0.02, "a timestep short of the image there is noise to be seen"
    for count in (1, 2, 6, 7, 11, 12, 13, 20, 50, 333, 1000):
        scheduler = make_scheduler(net, SamplingConfig(num_steps=count))
        last = scheduler.timesteps[-1]
        a, s = net.signal_noise(last[None])
        end = scheduler.step(prediction, last, noisy).prev_sample
        assert torch.allclose(end, (noisy - s * prediction) / a, atol=1e-5), count
