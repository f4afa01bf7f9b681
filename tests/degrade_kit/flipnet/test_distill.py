"""Distillation to few steps: what the student is told, and the solver that its few steps need."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import NoReturn

import pytest
import torch
from torch import Tensor

from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.batch import Batch, collate, pair_generators
from degrade_kit.flipnet.config import FlipNetConfig, SamplingConfig
from degrade_kit.flipnet.distill import DistillConfig, DistillLoss, few_step_sampling
from degrade_kit.flipnet.network import FlipNet
from degrade_kit.flipnet.sampling import MIN_SIGNAL, few_timesteps, fresh_noises, latent_size, sample
from tests.degrade_kit.flipnet.models import gated_flipnet, tiny_flipnet
from tests.degrade_kit.flipnet.test_training import Stream


def batch_of(count: int, size: int) -> Batch:
    return collate([Stream().sample(number, size) for number in range(count)])


def loss_of(net: FlipNet, config: DistillConfig, guidance: float = 1.0, size: int = 16) -> DistillLoss:
    loss = DistillLoss(net, copy.deepcopy(net), SamplingConfig(guidance=guidance), config)
    loss(batch_of(2, size), pair_generators(0, 0, 0, 2))
    return loss


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_student_of_a_teacher_of_one_step_has_nothing_to_learn_but_its_guidance(kind: str) -> None:
    net = tiny_flipnet(prediction_type=kind)
    config = DistillConfig(solver_steps=(1,), teacher_steps=1)
    alone, guided = loss_of(net, config), loss_of(net, config, guidance=3.0)
    assert alone.timesteps == [999]
    assert float(alone.parts["error"]) < 1e-6
    assert float(alone.parts["texture"]) < 1e-3
    assert float(guided.parts["error"]) > 1e-3


def test_a_student_is_shown_what_its_teacher_is_shown() -> None:
    net = tiny_flipnet(prediction_type="epsilon")
    net.add_describer(3)
    assert net.describer is not None
    with torch.no_grad():
        for parameter in net.describer.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(1)).mul_(0.5)
    config, sampling = DistillConfig(solver_steps=(1,), teacher_steps=1), SamplingConfig(guidance=1.0)
    loss = DistillLoss(net, copy.deepcopy(net), sampling, config)
    shown = dataclasses.replace(batch_of(2, 16), descriptions=[(1.0, -2.0, 0.5), ()])
    loss(shown, pair_generators(0, 0, 0, 2))
    assert float(loss.parts["error"]) < 1e-6, "it has nothing to learn"
    blind = copy.deepcopy(net)
    assert blind.describer is not None
    with torch.no_grad():
        for parameter in blind.describer.parameters():
            parameter.zero_()
    other = DistillLoss(blind, net, sampling, config)
    other(shown, pair_generators(0, 0, 0, 2))
    assert float(other.parts["error"]) > 1e-4


def test_the_teachers_path_begins_as_sampling_does(monkeypatch: pytest.MonkeyPatch) -> None:
    class Begun(Exception):
        pass

    def begin(self: DistillLoss, images: Tensor, latents: Tensor, noise: Tensor, batch: Batch) -> NoReturn:
        del self, images, latents, batch
        begun.append(noise)
        raise Begun

    begun: list[Tensor] = []
    monkeypatch.setattr(DistillLoss, "_path", begin)
    net = gated_flipnet()
    for gain in (None, 0.0):
        net.config = dataclasses.replace(net.config, start_gain=gain)
        loss = DistillLoss(net, net, SamplingConfig(guidance=1.0), DistillConfig())
        with pytest.raises(Begun):
            loss(batch_of(16, 64), pair_generators(0, 0, 0, 16))
    spreads = [float(noise[:, 1:64].std((1, 2, 3)).log().std()) for noise in begun]
    assert spreads[0] > 0.1
    assert spreads[1] < 0.05


@pytest.mark.slow
@pytest.mark.long
def test_the_student_learns_at_every_timestep_of_its_solver_and_its_teacher_does_not() -> None:
    net = gated_flipnet()
    teacher = copy.deepcopy(net).requires_grad_(False)
    before = [parameter.clone() for parameter in teacher.parameters()]
    config = DistillConfig(solver_steps=(1, 2, 4), teacher_steps=4)
    trained = net.set_trainable(base=True)
    loss = DistillLoss(net, teacher, SamplingConfig(guidance=1.0), config)
    assert loss.timesteps[1:] == [749, 499, 249]
    assert len(list(loss.parameters())) == len(list(net.parameters()))
    optimizer = torch.optim.Adam(trained, 2e-3)
    errors: list[float] = []
    for _ in range(12):
        value = loss(batch_of(2, 64), pair_generators(0, 0, 0, 2))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        errors.append(float(value.detach()))
    assert errors[-1] < 0.9 * errors[0]
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))


def test_the_teachers_steps_are_a_multiple() -> None:
    with pytest.raises(ConfigError, match="expected divisors of the teacher's 20 steps, got 3"):
        DistillConfig(solver_steps=(1, 3))
    few = few_step_sampling(SamplingConfig(guidance=1.5, phi=0.5), 2)
    assert (few.solver, few.num_steps, few.guidance, few.phi) == ("lcm", 2, 1.0, 0.5)


@pytest.mark.parametrize("build", [lambda: tiny_flipnet(FlipNetConfig(lora_rank=0)), gated_flipnet])
def test_few_steps_begin_where_there_is_some_signal(build: Callable[[], FlipNet]) -> None:
    net = build()
    signal = net.alphas_cumprod.sqrt()
    for count in (1, 2, 4):
        found = few_timesteps(net, count)
        assert found == sorted(set(found), reverse=True)
        assert found[1:] == [999 - 1000 * step // count for step in range(1, count)]
        assert signal[found[0]] >= MIN_SIGNAL
        assert found[0] == 999 or signal[found[0] + 1] < MIN_SIGNAL


@pytest.mark.slow
def test_a_solver_of_few_steps_makes_each_image_of_its_own_noise_alone() -> None:
    net = tiny_flipnet(FlipNetConfig(lora_rank=0, noise_offset=0.5))
    source = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 16, 24, generator=source) * 2 - 1
    noise = torch.randn(2, *latent_size(net, 16, 24), generator=source)
    config = SamplingConfig(num_steps=3, solver="lcm", guidance=1.0)
    torch.manual_seed(5)
    together = sample(net, images, noise, ["haze", ""], config)
    after: Tensor = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1)), "the global generator is not asked"
    alone = sample(net, images[1:], noise[1:], [""], config)
    assert (alone[0] - together[1]).abs().max() < 1e-4
    first, second = fresh_noises(net, noise, 2)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    assert 0.5 < float(first.std()) < 2
    one = SamplingConfig(num_steps=1, solver="lcm", guidance=1.0)
    assert (sample(net, images, noise, ["haze", ""], one) - together).abs().max() > 1e-3


def test_further_noises_vary_as_the_first_does() -> None:
    net = gated_flipnet()
    noise = torch.randn(24, *latent_size(net, 64, 64), generator=torch.Generator().manual_seed(0))

    def spread(gain: float | None = None, evenness: float = 0.0) -> tuple[float, float]:
        net.config = dataclasses.replace(net.config, start_gain=gain, start_evenness=evenness)
        (further,) = fresh_noises(net, noise, 1)
        seeds = [torch.Generator().manual_seed(seed) for seed in range(24)]
        starts = torch.cat([net.draw_start((1, *noise.shape[1:]), seed) for seed in seeds])
        both = [float(drawn[:, 1:64].std((1, 2, 3)).log().std()) for drawn in (further, starts)]
        colours = [float(drawn[:, 0].std((1, 2)).mean()) for drawn in (further, starts)]
        assert both[0] == pytest.approx(both[1], rel=0.6, abs=0.02)
        assert colours[0] == pytest.approx(colours[1], rel=0.1)
        return both[0], colours[0]

    strength, colour = spread()
    assert strength > 0.1, "as in training"
    assert spread(gain=0.0)[0] < 0.03
    assert spread(evenness=0.75)[1] == pytest.approx(colour / 4, rel=0.2)
