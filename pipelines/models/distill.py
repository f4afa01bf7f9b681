"""`degrade-kit distill`: from a FlipNet of many steps to one of few, and a judgement of whether it is as good."""

# Parts of torch's own stubs are without a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from degrade_kit.degradation import make_lq
from degrade_kit.errors import ConfigError
from degrade_kit.files import decode_json, read_regular, write_whole
from degrade_kit.flipnet.checkpoint import BaseReference, load
from degrade_kit.flipnet.config import Mode, SamplingConfig
from degrade_kit.flipnet.crops import POLICIES, apply_crop, draw_crop
from degrade_kit.flipnet.degrader import Degrader, draw_prompt
from degrade_kit.flipnet.description import DescriptionSpace
from degrade_kit.flipnet.distill import DistillConfig, distill, few_step_sampling
from degrade_kit.flipnet.folder import BASE_DIR, Prompts, check_model, check_teaches, folder_digest, read_config
from degrade_kit.flipnet.licence import copy_licence
from degrade_kit.flipnet.loop import Report
from degrade_kit.flipnet.measures import features_of
from degrade_kit.flipnet.mixture import FACE, ImageCache, PairSample
from degrade_kit.hq import HqConfig, prepare_pixels
from degrade_kit.image import Pixels
from degrade_kit.pipelines.claim import CONFIGS, FREE, Claim, Inputs, check_apart, plain, without
from degrade_kit.pipelines.devices import check_device
from degrade_kit.pipelines.images import list_images
from degrade_kit.pipelines.machine import default_threads
from degrade_kit.pipelines.models.loading import cache_bytes, resolved_data_workers
from degrade_kit.pipelines.signals import Interrupt
from degrade_kit.recipe import load_recipe
from degrade_kit.seeding import generator
from degrade_kit.sources import Sources, open_sources
from degrade_kit.store import LocalStore
from degrade_kit.wording import counted_noun

VARIANTS = 5
"""LQ images of a face by one prompt, whose differences are compared."""
DIVERSITY = 0.9
"""Least mean distance of the variants, as a share of the teacher's."""
_PHOTOGRAPHED = (104, 180)
"""Sides of the faces that stand for photographs, pixels, as where a model learns to degrade like them."""
_DRAWS = 400
"""Partitions of the teacher's images that the null is made of."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillRun:
    """What to distill, on what, and where it goes."""

    flipnet: str
    """Folder of the teacher, or the name of one that ships."""
    faces: str
    out_dir: Path
    config: DistillConfig = field(default_factory=DistillConfig)
    face_size: int = 256
    """Side to which faces are prepared before crops are cut, pixels."""
    images: int = 400
    """LQ images of each kind that the judgement takes."""
    base_model: str | None = None
    device: str | None = None
    data_workers: int | None = None
    download: bool = False
    threads: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """Whether images in few steps are as those of the teacher."""

    num_steps: int
    distance: float
    """Energy distance to the teacher's images, over the numbers of `degrade_kit.flipnet.measures.FEATURES`."""
    null: float
    """What 95 % of the distances between two sets of the teacher's own images stay below."""
    diversity: float
    """Mean distance of the variants of a face, as a share of the teacher's."""
    flops: float
    """Floating-point operations of one image, those of products, convolutions and attention."""
    teacher_flops: float
    """The same of the teacher."""

    @property
    def passes(self) -> bool:
        """Whether the distance is within the null, and the variants are as different."""
        return self.distance <= self.null and self.diversity >= DIVERSITY


class PromptedCrops:
    """Crops of faces with prompts of a model: what it degrades, with nothing that it should become.

    Every second one, by chance, is to be degraded like a photograph in place of the prompt, where the model can do
    that: like another face, as small as faces are in photographs, by a record of the recipe that taught it.

    Args:
        sources: The faces.
        prompts: What the model answers to; the null prompt where there are none.
        face_size: Side to which faces are prepared, pixels.
        seed: Of the draws.
        cache: For prepared faces.
        space: How the model is told of photographs; None where it cannot be.
    """

    def __init__(
        self,
        sources: Sources,
        prompts: Prompts,
        *,
        face_size: int,
        seed: int,
        cache: ImageCache,
        space: DescriptionSpace | None = None,
    ) -> None:
        self._sources, self._prompts, self._seed, self._cache = sources, prompts, seed, cache
        self._config, self._space = HqConfig(size=face_size), space
        self._photographs = load_recipe(CONFIGS / "native-photo.yaml")

    def sample(self, number: int, size: int) -> PairSample:
        """Cut the crop of this number; see `degrade_kit.flipnet.batch.PairStream`."""
        rng = generator(self._seed, "distill", number)
        place = int(rng.integers(len(self._sources)))
        face = self._face(place)
        crop = apply_crop(draw_crop(face.shape[0], face.shape[1], size, POLICIES[FACE], rng), face)
        prompt = draw_prompt(self._prompts, rng)
        if self._space is None or rng.random() < 0.5:
            return PairSample(crop, crop, prompt, FACE, fresh=True)
        other = self._face(int(rng.integers(len(self._sources))))
        side = int(rng.integers(_PHOTOGRAPHED[0], _PHOTOGRAPHED[1] + 1))
        small = np.asarray(cv2.resize(other, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
        description = self._space.describe(make_lq(self._photographs.draw(rng), small))
        return PairSample(crop, crop, "", FACE, fresh=True, description=description)

    def _face(self, place: int) -> Pixels:
        read = self._sources.read
        return self._cache.get(place, lambda: (prepare_pixels(read(place), self._config),))[0]


def distill_flipnet(
    run: DistillRun, *, report: Report = lambda metrics: None, should_stop: Callable[[], bool] = bool
) -> list[Judgement]:
    """Distill, or go on with it, and judge the result; the fewest steps that pass are the model's own.

    Returns:
        A judgement for each number of steps, fewest first; none where the run was stopped.

    Raises:
        ConfigError: If the model, the faces or the configuration are wrong.
        RunError: If `out_dir` holds something else, training cannot go on, or a file cannot be written.
    """
    folder = check_distillation(run)
    if threads := run.threads or default_threads():
        torch.set_num_threads(threads)
    with _claim(run, folder).taken_by_one(run.out_dir):
        loaded = load(folder, base_model=run.base_model, download=run.download)
        reference = read_config(folder)[1]
        trains_base = not loaded.net.config.lora_rank
        config = dataclasses.replace(run.config, train_base=trains_base)
        base = BaseReference(location=BASE_DIR) if trains_base else reference
        workers = resolved_data_workers(run.data_workers, run.device, config)
        state = distill(
            loaded,
            _stream(run, loaded.prompts, loaded.net.space, workers),
            config,
            run.out_dir,
            base,
            more=lambda target: copy_licence(folder, target),
            report=report,
            should_stop=should_stop,
            num_workers=workers,
            device=run.device,
        )
        if state.step < config.num_steps:
            return []
        found = judge(run, Degrader(load(folder, base_model=run.base_model), device=run.device))
        _choose_steps(run.out_dir / "model", found)
        rows = [{**dataclasses.asdict(row), "passes": row.passes} for row in found]
        write_whole(run.out_dir / "judgement.json", json.dumps(rows, indent=2) + "\n")
    return found


def _stream(
    run: DistillRun, prompts: Prompts, space: DescriptionSpace | None, workers: int, *, seed: int | None = None
) -> PromptedCrops:
    cache = ImageCache(cache_bytes(2.0, workers))
    seed = run.config.seed if seed is None else seed
    return PromptedCrops(open_sources(run.faces), prompts, face_size=run.face_size, seed=seed, cache=cache, space=space)


def check_distillation(run: DistillRun) -> Path:
    """Find all that would stop a run before its work, and write nothing; returns the teacher's folder.

    Raises:
        ConfigError: If the model, the faces or the configuration are wrong, or the device is not here.
        RunError: If `out_dir` holds something else, or cannot be written to.
    """
    check_apart(run.out_dir, _inputs(run))
    check_device(run.device)
    folder = check_model(run.flipnet, run.base_model, download=run.download)
    config, _, _, sampling = read_config(folder)
    if config.mode is not Mode.DEGRADE:
        raise ConfigError(f"{run.flipnet}: a FlipNet that restores; expected one that degrades")
    check_teaches(run.flipnet, sampling)
    list_images(run.faces)
    if (largest := max(run.config.crop_sizes)) > run.face_size:
        raise ConfigError(f"faces of {run.face_size} pixels hold no crop of {largest}; lower crop_sizes")
    _claim(run, folder).check(LocalStore(run.out_dir))
    return folder


def distill_plan_text(run: DistillRun) -> str:
    """Say what a run would do.

    Raises:
        ConfigError: As `check_distillation`.
    """
    folder, config = check_distillation(run), run.config
    return "\n".join(
        [
            f"teacher {run.flipnet}, {folder_digest(folder)}: {config.teacher_steps} steps; the student takes "
            f"{' or '.join(map(str, config.solver_steps))}",
            f"{counted_noun(len(open_sources(run.faces)), 'face')}; {config.num_steps:,} steps of {config.batch_size} "
            f"crops of {list(config.crop_sizes)} pixels; learning rate {config.learning_rate:g}",
            f"judged on {run.images:,} LQ images of each kind; writes {run.out_dir}: model, checkpoints, "
            "metrics.jsonl, judgement.json",
        ]
    )


def judge(run: DistillRun, teacher: Degrader) -> list[Judgement]:
    """Compare images in few steps with the teacher's, of crops of the run's size by the teacher's prompts."""
    student = Degrader(load(run.out_dir / "model", base_model=run.base_model), device=run.device)
    stream = _stream(run, teacher.prompts, teacher.net.space, 0, seed=run.config.seed + 1)
    side = max(run.config.crop_sizes)
    judged = StepsJudge(
        teacher,
        [stream.sample(number, side) for number in range(-(-run.images // VARIANTS))],
        run.config.teacher_steps,
    )
    return [judged(student, few_step_sampling(teacher.sampling, count)) for count in sorted(run.config.solver_steps)]


class StepsJudge:
    """Judges solvers by a FlipNet's own of many steps: the same faces by the same prompts, from other noise.

    The null is what two sets of the teacher's images are apart, by permutation: the distance may not be told from it.

    Args:
        teacher: The FlipNet.
        groups: Faces, each with the prompt of its five images.
        num_steps: Of DDIM, the teacher's solver.
    """

    def __init__(self, teacher: Degrader, groups: Sequence[PairSample], num_steps: int) -> None:
        self._groups = groups
        many = dataclasses.replace(teacher.sampling, solver="ddim", num_steps=num_steps)
        first, second = (_made(teacher, groups, many, part) for part in range(2))
        self._real = _features(groups, first)
        self._null = _null(self._real, _features(groups, second))
        self._wanted = _mean_distance(first)
        self._flops = flops(teacher, groups[0].hq, many)

    def __call__(self, degrader: Degrader, sampling: SamplingConfig) -> Judgement:
        """Make the images by another FlipNet or solver, and compare them."""
        made = _made(degrader, self._groups, sampling, 2)
        return Judgement(
            num_steps=sampling.num_steps,
            distance=_energy(_distances(self._real, _features(self._groups, made)), len(self._real)),
            null=self._null,
            diversity=_mean_distance(made) / max(self._wanted, 1e-9),
            flops=flops(degrader, self._groups[0].hq, sampling),
            teacher_flops=self._flops,
        )


def flops(degrader: Degrader, hq: Pixels, sampling: SamplingConfig) -> float:
    """Count the floating-point operations of one LQ image, by PyTorch's counter; a face's five share its condition."""
    from torch.utils.flop_counter import FlopCounterMode

    from degrade_kit.flipnet.batch import from_images
    from degrade_kit.flipnet.degrader import start_noise
    from degrade_kit.flipnet.sampling import sample

    images = from_images(torch.as_tensor(hq[None])).to(degrader.device)
    noise = torch.stack([start_noise(degrader.net, seed, *hq.shape[:2]) for seed in range(VARIANTS)])
    with FlopCounterMode(display=False) as counter:
        sample(degrader.net, images, noise.to(degrader.device), [""] * VARIANTS, sampling)
    return counter.get_total_flops() / VARIANTS


def _made(degrader: Degrader, groups: Sequence[PairSample], sampling: SamplingConfig, part: int) -> list[list[Pixels]]:
    """LQ images of each group, with noise of their own in each part of the judgement."""
    records = [
        [
            degrader.record(group.caption, (part * len(groups) + number) * VARIANTS + k, sampling, group.description)
            for k in range(VARIANTS)
        ]
        for number, group in enumerate(groups)
    ]
    return degrader.run([group.hq for group in groups], records)


def _features(groups: Sequence[PairSample], made: Sequence[Sequence[Pixels]]) -> FloatArray:
    return features_of([(group.hq, lq) for group, images in zip(groups, made, strict=True) for lq in images])


def _mean_distance(made: Sequence[Sequence[Pixels]]) -> float:
    """Mean root-mean-square difference of two variants of one group, in levels of 255."""
    found: list[float] = []
    for images in made:
        stack = np.stack(images).astype(np.float32)
        found += [float(np.sqrt(np.square(stack[i] - stack[j]).mean())) for i in range(len(stack)) for j in range(i)]
    return float(np.mean(found))


def _distances(first: FloatArray, second: FloatArray) -> FloatArray:
    joined = np.concatenate([first, second])
    return np.linalg.norm(joined[:, None] - joined[None], axis=-1)


def _energy(distances: FloatArray, count: int, order: npt.NDArray[np.intp] | None = None) -> float:
    """Energy distance between the first `count` of some vectors and the rest, of all their distances."""
    order = np.arange(len(distances)) if order is None else order
    one, other = order[:count], order[count:]

    def mean(rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], pairs: int) -> float:
        return float(distances[np.ix_(rows, columns)].sum()) / max(pairs, 1)

    n, m = len(one), len(other)
    return 2 * mean(one, other, n * m) - mean(one, one, n * (n - 1)) - mean(other, other, m * (m - 1))


def _null(first: FloatArray, second: FloatArray) -> float:
    """The 95th percentile of the energy distance of two sets of one distribution, whole groups exchanged."""
    distances, rng = _distances(first, second), np.random.default_rng(0)
    count = len(first)
    drawn: list[float] = []
    for _ in range(_DRAWS):
        swapped = np.repeat(rng.random(count // VARIANTS) < 0.5, VARIANTS)
        here, there = np.arange(count), np.arange(count) + count
        drawn.append(
            _energy(distances, count, np.concatenate([np.where(swapped, there, here), np.where(swapped, here, there)]))
        )
    return float(np.percentile(drawn, 95))


def _choose_steps(model: Path, found: Sequence[Judgement]) -> None:
    """Write the fewest steps that pass into a model as its own; the most that it learned where none pass."""
    passing = [row.num_steps for row in found if row.passes]
    chosen = min(passing) if passing else max(row.num_steps for row in found)
    path = model / "flipnet.json"
    data: dict[str, Any] = decode_json(read_regular(path))
    if data["sampling"]["num_steps"] != chosen:
        data["sampling"]["num_steps"] = chosen
        write_whole(path, json.dumps(data, indent=2) + "\n")


def _resolved(run: DistillRun, folder: Path) -> dict[str, Any]:
    return {
        "distill": plain(run.config),
        "flipnet": run.flipnet,
        "teacher": folder_digest(folder),
        "faces": run.faces,
        "face_size": run.face_size,
        "images": run.images,
    }


def _claim(run: DistillRun, folder: Path) -> Claim:
    return Claim(
        what="a distillation",
        file="config.yaml",
        resolved=_resolved(run, folder),
        comparable=_comparable,
        inputs=_inputs(run),
    )


def _inputs(run: DistillRun) -> Inputs:
    return [("--hq", run.faces)]


def _comparable(resolved: dict[str, Any]) -> dict[str, Any]:
    """Without what a run may be continued with another value of."""
    kept = {key: value for key, value in resolved.items() if key not in ("flipnet", "faces", "images")}
    return {**kept, "distill": without(resolved.get("distill"), FREE)}


def distill_here(run: DistillRun, report: Report = lambda metrics: None) -> list[Judgement]:
    """Do the work of `distill_flipnet` until it is finished or Ctrl-C or SIGTERM asks for the last checkpoint.

    Raises:
        Interrupted: After the checkpoint.
    """
    with Interrupt("the step in work is finished and a checkpoint written", terminates=True) as interrupt:
        found = distill_flipnet(run, report=report, should_stop=lambda: interrupt.requested)
        interrupt.check()
    return found
