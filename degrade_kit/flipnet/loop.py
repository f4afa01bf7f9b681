"""The training loop of any loss: steps, averaged weights, checkpoints, and going on after a kill.

Every random number of a step is a function of (seed, step, number of the pair in the step): a run that was killed and
started again makes the same draws, and on a CPU ends in the same weights, bit for bit; several processes that share a
batch make those of one, and differ by the rounding of their sums.
"""

# Tensor.unflatten, torch.from_numpy and others have parts without a type in torch's own stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from degrade_kit.checks import COUNT, checked, fields
from degrade_kit.errors import ConfigError, RunError
from degrade_kit.files import decode_json, read_json, remove_folder, sweep_scratch, whole_folder, write_whole
from degrade_kit.flipnet.batch import PairStream, PixelBatch, pair_generators, stack_pixels
from degrade_kit.flipnet.sampling import choose_device
from degrade_kit.flipnet.weights import check_shapes, read_weights, write_weights
from degrade_kit.seeding import generator

log = logging.getLogger(__name__)

_MAX_BAD = 3
"""Steps in a row without finite numbers that end a run."""


_MAX_SCALED = 20
"""The same in fp16 where the gradients alone are infinite: their scale, 2^16 at first, is halved each time."""


METRICS: Final = "metrics.jsonl"
"""File of a run: one line of numbers for each step."""
_MARK: Final = "model.json"
"""File of a run: of which step `model` is, and whether that is the last one."""

PREFETCH: Final = 2
"""Batches that each data worker prepares ahead."""

STRIDE: Final = 4096
"""Numbers of pairs that a step may take: pair n of a step is number step * STRIDE + n of its stream."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopConfig:
    """How often, how fast and with how many pairs a network learns, whatever its loss is."""

    seed: int = 0
    num_steps: int = 90_000
    """Optimizer steps."""
    batch_size: int = 16
    """Pairs in each step, over all processes and accumulated parts."""
    crop_sizes: tuple[int, ...] = (512,)
    """Sides of the training crops, pixels; each step has one of them."""
    crop_shares: tuple[float, ...] = (1.0,)
    """How often each is drawn."""
    crop_batches: tuple[int, ...] = ()
    """Pairs in a step of each crop size, in place of `batch_size`."""
    learning_rate: float = 5e-5
    warmup_steps: int = 500
    decay: Literal["constant", "cosine"] = "constant"
    """`cosine` falls to a hundredth of the learning rate at the last step."""
    weight_decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.999)
    max_grad_norm: float = 1.0
    ema_decay: float = 0.9999
    """Of the averaged weights, which are what is saved and sampled; warms up as (1 + step) / (10 + step)."""
    gradient_accumulation: int = 1
    """Equal parts that a step's pairs are computed in, one after the other; 0 takes the fewest that fit into the
    device's memory, as `degrade_kit.flipnet.memory` estimates it. They change a step by its rounding alone."""
    gradient_checkpointing: bool = False
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    checkpoint_steps: int = 1000
    keep_checkpoints: int = 2
    validation_steps: int = 1000

    def __post_init__(self) -> None:
        if not self.crop_sizes or len(self.crop_sizes) != len(self.crop_shares):
            raise ConfigError(
                f"crop_shares: expected one for each of {list(self.crop_sizes)}, got {list(self.crop_shares)}"
            )
        if self.crop_batches and len(self.crop_batches) != len(self.crop_sizes):
            raise ConfigError(
                f"crop_batches: expected one for each of {list(self.crop_sizes)}, got {list(self.crop_batches)}"
            )
        if self.gradient_accumulation < 0:
            raise ConfigError(f"gradient_accumulation: expected 0 or more, got {self.gradient_accumulation}")
        for name in ("num_steps", "batch_size", "checkpoint_steps", "validation_steps", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected 1 or more, got {getattr(self, name)}")

    def step_shape(self, step: int) -> tuple[int, int]:
        """Crop size and number of pairs of a step."""
        rng = generator(self.seed, "crop-size", step)
        shares = np.asarray(self.crop_shares, np.float64)
        index = int(rng.choice(len(self.crop_sizes), p=shares / shares.sum()))
        return self.crop_sizes[index], self.crop_batches[index] if self.crop_batches else self.batch_size


def learning_rate(config: LoopConfig, step: int) -> float:
    """Of a step, counted from 0.

    >>> config = LoopConfig(num_steps=100, warmup_steps=10, learning_rate=1.0, decay="cosine")
    >>> [round(learning_rate(config, step), 2) for step in (0, 9, 55, 99)]
    [0.1, 1.0, 0.51, 0.01]
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.decay == "constant":
        return config.learning_rate
    done = (step - config.warmup_steps) / max(1, config.num_steps - config.warmup_steps)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


@dataclass
class TrainState:
    """What a checkpoint holds, all of it as tensors by the names of the parameters."""

    names: list[str]
    parameters: list[nn.Parameter]
    averages: list[Tensor]
    """Exponential moving averages of the parameters."""
    optimizer: torch.optim.AdamW
    step: int = 0
    """Steps done."""
    skipped: int = 0
    """Steps without an update, since the loss or a gradient was not finite."""


def state_of(module: nn.Module, config: LoopConfig) -> TrainState:
    """Of the parameters of a module that require gradients, before the first step."""
    named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    parameters = [parameter for _, parameter in named]
    optimizer = torch.optim.AdamW(
        parameters, lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
    )
    averages = [parameter.detach().clone() for parameter in parameters]
    return TrainState([name for name, _ in named], parameters, averages, optimizer)


Report = Callable[[dict[str, float | int]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trainee:
    """What a loop trains, and what becomes of it."""

    state: TrainState
    loss: nn.Module
    """A batch and its generators to a scalar."""
    save: Callable[[Path], None]
    """Writes a folder, whole or not at all, of the weights as they are when it is called: the averaged ones."""
    validate: Callable[[int], dict[str, float]]
    """Called with a number of steps and the averaged weights in place."""
    parts: Callable[[], dict[str, Tensor]] = dict[str, Tensor]
    """What the last loss consists of, scalars to be reported with it."""
    begin_step: Callable[[int], None] = lambda step: None
    """Told the number of each step, from 0, before its loss is asked for."""


def train_loop(
    module: nn.Module,
    trainee: Callable[[], Trainee],
    stream: PairStream,
    config: LoopConfig,
    run_dir: Path,
    *,
    report: Report = lambda metrics: None,
    should_stop: Callable[[], bool] = lambda: False,
    num_workers: int = 0,
    device: str | None = None,
    trackers: Sequence[str] = (),
    keyed: bool = False,
    end: bool = True,
) -> TrainState:
    """Train whatever has parameters and a loss; `degrade_kit.flipnet.training.train` does so with a FlipNet.

    Args:
        module: Goes to the device as a whole.
        trainee: Called when it is there.
        stream: The pairs.
        config: How.
        run_dir: As in `train`.
        report: As in `train`.
        should_stop: As in `train`.
        num_workers: As in `train`.
        device: As in `train`.
        trackers: As in `train`.
        keyed: Whether batches carry the keys that a `LatentCache` looks images up by.
        end: Whether nothing more is trained in this process, and its process group may end.

    Raises:
        ConfigError: As `train`.
        RunError: As `train`.
    """
    from accelerate import Accelerator

    if device is not None:
        chosen = choose_device(device)
        if chosen.type == "cuda" and ":" in device:
            torch.cuda.set_device(chosen)  # Accelerate takes the current one
    accelerator: Any = Accelerator(
        mixed_precision=config.mixed_precision,
        gradient_accumulation_steps=config.gradient_accumulation,
        cpu=device == "cpu",
        log_with=list(trackers) or None,
        project_dir=str(run_dir),
    )
    if trackers:
        accelerator.init_trackers("degrade-kit")
    module.to(accelerator.device)
    module.eval()  # no dropout anywhere; parameters train all the same
    subject = trainee()
    state = subject.state
    restore_checkpoint(state, run_dir)
    if accelerator.is_main_process:
        _tidy(state, run_dir, config.keep_checkpoints)
        if state.step and _model_mark(run_dir).get("step") != state.step:
            _save_model(subject, run_dir, config)  # who wrote the checkpoint was stopped before the model
        elif state.step:
            _mark_model(run_dir, state.step, config)  # it may be asked to go further now
    accelerator.wait_for_everyone()
    loss_module, optimizer = accelerator.prepare(subject.loss, state.optimizer)
    loader = _batches(stream, config, state.step, accelerator, num_workers, keyed)
    bad, best = 0, _best(run_dir)
    started, since, waited = time.monotonic(), state.step, 0.0
    while state.step < config.num_steps:
        step = state.step
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        subject.begin_step(step)
        losses: list[Tensor] = []
        for part in range(config.gradient_accumulation):
            asked = time.monotonic()
            pixels = next(loader)
            waited += time.monotonic() - asked
            batch = pixels.to(accelerator.device)
            with accelerator.accumulate(loss_module), accelerator.autocast():
                count = len(batch.captions)
                first = (part * accelerator.num_processes + accelerator.process_index) * count
                loss = loss_module(batch, pair_generators(config.seed, step, first, count))
                accelerator.backward(loss)
            losses.append(loss.detach())
        gradient_norm = accelerator.clip_grad_norm_(state.parameters, config.max_grad_norm)
        parts = subject.parts()
        # The only place of a step where the host waits for the device.
        norm, *numbers = _read([gradient_norm, *parts.values(), *losses])
        mean_loss = sum(numbers[len(parts) :]) / len(losses)
        finite = math.isfinite(mean_loss) and math.isfinite(norm)
        # In fp16 the gradients are scaled, at first by too much: the scaler must see infinite ones to lower the scale,
        # and leaves the weights alone.
        scaled = accelerator.scaler is not None and math.isfinite(mean_loss)
        if finite or scaled:
            optimizer.step()
        if finite:
            bad = 0
            _average(state, config.ema_decay)
        else:
            bad += 1
            state.skipped += 1
            log.warning("step %d was skipped: loss %s, gradient norm %s", step, mean_loss, norm)
            if bad >= (_MAX_SCALED if scaled else _MAX_BAD):
                raise RunError(
                    f"{bad} steps in a row gave no finite numbers, up to step {step}; lower the learning rate or give "
                    "--mixed-precision no. The last checkpoint is intact"
                )
        optimizer.zero_grad(set_to_none=True)
        state.step += 1
        passed = time.monotonic() - started
        metrics: dict[str, float | int] = {
            "step": state.step,
            "loss": mean_loss,
            "grad_norm": norm,
            "learning_rate": learning_rate(config, step),
            "steps_per_second": (state.step - since) / passed,
            "data_wait": waited / passed,
            "skipped": state.skipped,
            **dict(zip(parts, numbers[: len(parts)], strict=True)),
        }
        last = state.step == config.num_steps
        stopping = should_stop()
        # Nothing is saved of weights that are no numbers any more: the checkpoints before are good.
        sound = not bad or all(bool(parameter.isfinite().all()) for parameter in state.parameters)
        if accelerator.is_main_process:
            if sound and (state.step % config.validation_steps == 0 or last):
                with averaged(state), accelerator.autocast():
                    found = subject.validate(state.step)
                metrics |= found
                score = found.get("val_distance", found.get("val_loss"))
                if score is not None and score < best:
                    best = score
                    with averaged(state):
                        subject.save(run_dir / "best")
                    write_whole(run_dir / "best.json", json.dumps({"step": state.step, **found}, indent=2) + "\n")
            with (run_dir / METRICS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(metrics) + "\n")
            report(metrics)
            if trackers:
                accelerator.log(metrics, step=state.step)
            if sound and (state.step % config.checkpoint_steps == 0 or last or stopping):
                save_checkpoint(state, run_dir, config.keep_checkpoints)
                _save_model(subject, run_dir, config)
        accelerator.wait_for_everyone()
        if stopping:
            break
    for tracker in accelerator.trackers:
        tracker.finish()
    if end:
        accelerator.state.destroy_process_group()
    return state


def _read(scalars: Sequence[Tensor]) -> list[float]:
    """Numbers of a device, all of them in one copy."""
    return torch.stack([scalar.detach().double() for scalar in scalars]).tolist()


def is_finished(run_dir: Path) -> bool:
    """Whether the model in a run's folder is that of its last step, as far as the run was asked to go."""
    return _model_mark(run_dir).get("finished") is True


def _save_model(subject: Trainee, run_dir: Path, config: LoopConfig) -> None:
    """Write `model`, and then of which step it is: what tells that nothing is left to do is written last."""
    with averaged(subject.state):
        subject.save(run_dir / "model")
    _mark_model(run_dir, subject.state.step, config)


def _mark_model(run_dir: Path, step: int, config: LoopConfig) -> None:
    write_whole(run_dir / _MARK, json.dumps({"step": step, "finished": step >= config.num_steps}) + "\n")


def _model_mark(run_dir: Path) -> dict[str, Any]:
    """What the run says of its model; empty where there is none, or nothing can be read."""
    try:
        found = checked(read_json(run_dir / _MARK), fields({}), _MARK)
    except ConfigError:
        return {}
    return found if (run_dir / "model").is_dir() else {}


def _tidy(state: TrainState, run_dir: Path, keep: int) -> None:
    """Remove what a killed run left: scratch, old checkpoints, and numbers of steps that come again."""
    run_dir.mkdir(parents=True, exist_ok=True)
    for folder in (run_dir, run_dir / "checkpoints", run_dir / "samples"):
        sweep_scratch(folder)
    _prune(run_dir, keep)
    path = run_dir / METRICS
    if path.exists():
        lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith(b"\n") and _step_of(line) <= state.step]
        if kept != lines:
            write_whole(path, b"".join(kept))


def _step_of(line: bytes) -> float:
    """The step of a line of the metrics; infinity where the line is damaged."""
    try:
        return int(decode_json(line, finite=False)["step"])  # a loss may be NaN
    except (ValueError, TypeError, KeyError, RecursionError):
        return math.inf


class averaged:
    """Block in which the parameters are their moving averages."""

    def __init__(self, state: TrainState) -> None:
        self._state = state
        self._kept: list[Tensor] = []

    def __enter__(self) -> None:
        """Swap in."""
        self._kept = [parameter.detach().clone() for parameter in self._state.parameters]
        self._fill(self._state.averages)

    def __exit__(self, *exception: object) -> None:
        """Swap back."""
        self._fill(self._kept)

    @torch.no_grad()
    def _fill(self, tensors: list[Tensor]) -> None:
        for parameter, tensor in zip(self._state.parameters, tensors, strict=True):
            parameter.copy_(tensor)


def save_checkpoint(state: TrainState, run_dir: Path, keep: int) -> Path:
    """Write `checkpoints/step-NNNNNNNN` whole or not at all, and remove the oldest beyond `keep`."""
    folder = run_dir / "checkpoints" / f"step-{state.step:08d}"
    tensors: dict[str, Tensor] = {}
    for name, parameter, average in zip(state.names, state.parameters, state.averages, strict=True):
        moments = state.optimizer.state.get(parameter, {})
        parts = {"parameter": parameter, "average": average, **moments}
        tensors |= {f"{part}.{name}": tensor.detach().to("cpu").contiguous().clone() for part, tensor in parts.items()}
    try:
        with whole_folder(folder) as scratch:
            write_weights(tensors, scratch / "state.safetensors")
            numbers = {"step": state.step, "skipped": state.skipped}
            (scratch / "state.json").write_text(json.dumps(numbers), encoding="utf-8")
        _prune(run_dir, keep)
    except OSError as error:
        raise RunError(
            f"cannot write checkpoint {folder}: {error.strerror or error}; earlier checkpoints are intact"
        ) from error
    return folder


def _prune(run_dir: Path, keep: int) -> None:
    for old in checkpoints(run_dir)[:-keep]:
        remove_folder(old)


def checkpoints(run_dir: Path) -> list[Path]:
    """Finished checkpoints of a run, oldest first."""
    return sorted((run_dir / "checkpoints").glob("step-????????"))


@torch.no_grad()
def restore_checkpoint(state: TrainState, run_dir: Path) -> None:
    """Go on where the newest checkpoint stands; nothing happens if there is none.

    Raises:
        ConfigError: If it is damaged, or of another network.
    """
    found = checkpoints(run_dir)
    if not found:
        return
    path = found[-1] / "state.safetensors"
    try:
        tensors = read_weights(path)
        place = found[-1] / "state.json"
        numbers = checked(read_json(place), fields({"step": COUNT, "skipped": COUNT}), str(place))
        step, skipped = numbers["step"], numbers["skipped"]
    except ConfigError as error:
        raise ConfigError(
            f"checkpoint {found[-1]} is damaged: {error}; remove that folder to go on from the one before it"
        ) from error
    expected = dict(zip(state.names, state.parameters, strict=True))
    stored = {name.removeprefix("parameter."): tensor for name, tensor in tensors.items() if name[:10] == "parameter."}
    try:
        check_shapes(expected, stored, str(path))
    except ConfigError as error:
        raise ConfigError(f"{error}; give another --out, or the configuration that this run began with") from error
    for name, parameter, average in zip(state.names, state.parameters, state.averages, strict=True):
        parameter.copy_(tensors[f"parameter.{name}"])
        average.copy_(tensors[f"average.{name}"])
        moments = {
            part: tensors[f"{part}.{name}"] for part in ("step", "exp_avg", "exp_avg_sq") if f"{part}.{name}" in tensors
        }
        if moments:
            state.optimizer.state[parameter] = {
                part: tensor if part == "step" else tensor.to(parameter.device) for part, tensor in moments.items()
            }
    state.step, state.skipped = step, skipped


@torch.no_grad()
def _average(state: TrainState, decay: float) -> None:
    decay = min(decay, (1 + state.step) / (10 + state.step))
    for average, parameter in zip(state.averages, state.parameters, strict=True):
        average.lerp_(parameter.detach(), 1 - decay)


def _batches(
    stream: PairStream,
    config: LoopConfig,
    first_step: int,
    accelerator: Any,  # noqa: ANN401 (an Accelerator)
    num_workers: int,
    keyed: bool,
) -> Iterator[PixelBatch]:
    """Batches of this process from a step on, without end."""
    from torch.utils.data import DataLoader

    steps = _Steps(stream, config, first_step, accelerator.num_processes, accelerator.process_index, keyed)
    loader = DataLoader(
        steps,
        batch_size=None,
        num_workers=num_workers,
        prefetch_factor=PREFETCH if num_workers else None,
        pin_memory=accelerator.device.type == "cuda",
    )
    yield from cast("Iterator[PixelBatch]", loader)


class _Steps(torch.utils.data.IterableDataset[PixelBatch]):
    """Whole batches in order; worker w of n makes each n-th one, which a loader puts back in order."""

    def __init__(
        self, stream: PairStream, config: LoopConfig, first: int, processes: int, process: int, keyed: bool
    ) -> None:
        self._stream, self._config, self._first, self._keyed = stream, config, first, keyed
        self._processes, self._process = processes, process

    def __iter__(self) -> Iterator[PixelBatch]:
        info = torch.utils.data.get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        if info is not None:
            cv2.setNumThreads(1)  # the workers share the processors already
        position = 0
        for step in range(self._first, self._config.num_steps):
            size, pairs = self._config.step_shape(step)
            share = pairs // (self._processes * self._config.gradient_accumulation)
            if share < 1 or share * self._processes * self._config.gradient_accumulation != pairs:
                raise ConfigError(
                    f"batch size {pairs}: expected a multiple of processes times gradient_accumulation, "
                    f"{self._processes} x {self._config.gradient_accumulation}"
                )
            for part in range(self._config.gradient_accumulation):
                if position % workers == worker:
                    # A step's numbers are its own whatever the sizes of the steps before it were.
                    first = step * STRIDE + (part * self._processes + self._process) * share
                    pairs_of_part = [self._stream.sample(first + offset, size) for offset in range(share)]
                    yield stack_pixels(pairs_of_part, keyed=self._keyed)
                position += 1


def _best(run_dir: Path) -> float:
    try:
        found = checked(read_json(run_dir / "best.json"), fields({}), "best.json")
    except ConfigError:  # none yet, or a damaged one: the next model is the best one then
        return math.inf
    value = found.get("val_distance", found.get("val_loss"))
    return float(value) if isinstance(value, (int, float)) else math.inf
