"""Few steps in place of many: a FlipNet that learns to give at once what its teacher gives after a whole solver.

The teacher runs as in sampling, its condition once and its steps on the cached keys and values. Its path from noise to
image passes the timesteps of the solver `lcm`; from each of them the student is to tell the path's end, as a
consistency model does (Song et al. 2023; LCM, Luo et al. 2023). The end itself is the target, which a short solver can
afford, and not the student's own estimate a step later. Guidance is in the end, so the student needs none.
"""

# Parts of torch's own stubs are without a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.batch import Batch, PairStream, moved
from degrade_kit.flipnet.checkpoint import BaseReference, Loaded, save
from degrade_kit.flipnet.config import SamplingConfig
from degrade_kit.flipnet.diffusion import one_step_estimate
from degrade_kit.flipnet.loop import LoopConfig, Report, Trainee, TrainState, state_of, train_loop
from degrade_kit.flipnet.network import FlipNet
from degrade_kit.flipnet.sampling import few_timesteps, make_denoiser, make_scheduler


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillConfig(LoopConfig):
    """What a student learns, and how."""

    solver_steps: tuple[int, ...] = (1, 2, 4)
    """Numbers of steps of the student's solver; it learns all of their timesteps."""
    teacher_steps: int = 20
    """DDIM steps of the teacher, a multiple of each of these numbers."""
    texture_weight: float = 0.1
    """Weight of the error of local strengths: of the logarithm of each channel's mean square over 3 x 3 latents. A mean
    of all images that a noise may become is smoother than each of them, and the squared error asks for the mean."""
    train_base: bool = True
    """Train the base network too; LoRA and BoostHubs alone where False."""

    def __post_init__(self) -> None:
        LoopConfig.__post_init__(self)  # `super()` fails in a dataclass with slots
        for steps in self.solver_steps:
            if steps < 1 or self.teacher_steps % steps:
                raise ConfigError(
                    f"solver_steps: expected divisors of the teacher's {self.teacher_steps} steps, got {steps}"
                )
        if not self.solver_steps:
            raise ConfigError("solver_steps: expected at least one number")


class DistillLoss(nn.Module):
    """How far a student's estimates at the few timesteps are from the end of its teacher's path.

    Args:
        student: Trains.
        teacher: Does not, and is no part of this module.
        sampling: The teacher's guidance, negative prompt and phi.
        config: What to learn.
    """

    def __init__(self, student: FlipNet, teacher: FlipNet, sampling: SamplingConfig, config: DistillConfig) -> None:
        super().__init__()
        self.net, self.config = student, config
        self._teacher = (teacher,)  # in a tuple: not to be found as a part of the module
        self._sampling = dataclasses.replace(sampling, solver="ddim", num_steps=config.teacher_steps)
        self.timesteps = sorted({t for steps in config.solver_steps for t in few_timesteps(student, steps)})[::-1]
        self.parts: dict[str, Tensor] = {}
        """What the last loss consisted of."""

    def forward(self, batch: Batch, generators: Sequence[torch.Generator]) -> Tensor:
        """Compute the loss of a batch of conditions, with their prompts; a scalar.

        Args:
            batch: Its HQ images are the conditions where the network degrades, its LQ images where it restores. Its
                descriptions are of photographs that the targets are to be degraded like.
            generators: On the CPU, one for each pair, of the noise.
        """
        net = self.net
        images = net.config.mode.flip(batch.hq, batch.lq)[1]
        with torch.no_grad():
            latents = net.encode_images(images)
            shape = (1, *latents.shape[1:])
            noise = moved(torch.cat([net.draw_start(shape, source) for source in generators]), latents.device)
            states, end = self._path(images, latents, noise, batch)
            copies = net.copies(latents, images)
        rows, count = len(self.timesteps), len(latents)
        noisy = torch.stack([states[t] for t in self.timesteps], dim=1).flatten(0, 1)  # those of a condition in a row
        timesteps = moved(torch.tensor(self.timesteps * count), latents.device)
        with torch.set_grad_enabled(self.config.train_base and torch.is_grad_enabled()):
            tokens = net.encode_prompts(batch.captions)
            same = net.config.condition_text == "same"
            condition_tokens = tokens if same else net.encode_prompts([""]).expand_as(tokens)
        shift = net.encode_descriptions(batch.descriptions)
        prediction = net.predict_joint(
            noisy,
            timesteps,
            latents,
            torch.zeros_like(timesteps[:count]),
            tokens.repeat_interleave(rows, dim=0),
            condition_tokens=condition_tokens,
            copies=copies,
            shift=None if shift is None else shift.repeat_interleave(rows, dim=0),
            phi=self._sampling.phi,
        )
        a, s = net.signal_noise(timesteps)
        estimate = one_step_estimate(net.prediction_type, prediction.target, noisy, a, s).float()
        wanted = end.float().repeat_interleave(rows, dim=0)
        error = F.mse_loss(estimate * self._unit, wanted * self._unit)
        texture = F.l1_loss(_strength(estimate), _strength(wanted))
        self.parts = {"error": error.detach(), "texture": texture.detach()}
        return error + self.config.texture_weight * texture

    @property
    def _unit(self) -> Tensor | float:
        """What a channel's error counts: in units of what a linear filter leaves open, where there is one."""
        head = self.net.head
        return 1.0 if head is None else head.variance.rsqrt()[:, None, None]

    def _path(self, images: Tensor, latents: Tensor, noise: Tensor, batch: Batch) -> tuple[dict[int, Tensor], Tensor]:
        """Run the teacher; returns its states by timestep, and where it ends.

        What the few-step solver begins with is the noise alone, whatever its first timestep is.
        """
        teacher = self._teacher[0]
        words, shown = batch.captions, batch.descriptions
        evaluate = make_denoiser(teacher, images, latents, words, self._sampling, descriptions=shown)
        scheduler, noisy = make_scheduler(teacher, self._sampling), noise
        states: dict[int, Tensor] = {}
        for timestep in map(int, scheduler.timesteps):
            states[timestep] = noisy
            noisy = cast("Tensor", scheduler.step(evaluate(noisy, timestep), timestep, noisy).prev_sample)
        return {**states, self.timesteps[0]: noise}, noisy


def _strength(latents: Tensor) -> Tensor:
    """Local strengths of each channel, (B, C, h, w) to the same, in logarithms."""
    return (F.avg_pool2d(latents.square(), 3, stride=1, padding=1, count_include_pad=False) + 1e-2).log()


def distill(
    loaded: Loaded,
    stream: PairStream,
    config: DistillConfig,
    run_dir: Path,
    base: BaseReference,
    *,
    more: Callable[[Path], None] = lambda folder: None,
    validate: Callable[[FlipNet, int], dict[str, float]] = lambda net, step: {},
    report: Report = lambda metrics: None,
    should_stop: Callable[[], bool] = lambda: False,
    num_workers: int = 0,
    device: str | None = None,
) -> TrainState:
    """Train a student from the last checkpoint of `run_dir`, or from its teacher, to the last step.

    Args:
        loaded: The teacher; its network becomes the student, a copy of it stays the teacher.
        stream: Images that are degraded or restored, with prompts; their partners are not looked at.
        config: How.
        run_dir: As in `degrade_kit.flipnet.training.train`. Its model samples with the largest number of steps.
        base: Where the base model of the student is.
        more: As in `train`.
        validate: As in `train`.
        report: As in `train`.
        should_stop: As in `train`.
        num_workers: As in `train`.
        device: As in `train`.

    Raises:
        ConfigError: As `train`.
        RunError: As `train`.
    """
    net = loaded.net
    teacher = copy.deepcopy(net).eval().requires_grad_(False)
    sampling = few_step_sampling(loaded.sampling, max(config.solver_steps))
    half = config.train_base

    def trainee() -> Trainee:
        teacher.to(net.unet.device)
        net.set_trainable(base=config.train_base)
        if config.gradient_checkpointing:
            net.unet.enable_gradient_checkpointing()
            net.unet.train()  # in which it acts, and which means nothing else to it
        loss = DistillLoss(net, teacher, loaded.sampling, config)
        return Trainee(
            state=state_of(net, config),
            loss=loss,
            save=lambda folder: save(
                net, folder, base, prompts=loaded.prompts, sampling=sampling, half=half, more=more
            ),
            validate=lambda step: validate(net, step),
            parts=lambda: loss.parts,
        )

    options: dict[str, Any] = {"report": report, "should_stop": should_stop, "num_workers": num_workers}
    return train_loop(net, trainee, stream, config, run_dir, device=device, **options)


def few_step_sampling(sampling: SamplingConfig, num_steps: int) -> SamplingConfig:
    """Change the settings of a teacher to those of its student, which has its guidance learned."""
    return dataclasses.replace(sampling, solver="lcm", num_steps=num_steps, guidance=1.0)
