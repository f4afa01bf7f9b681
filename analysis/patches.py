"""A second classifier, which chose nothing: a small network on patches at their own size, low frequencies taken off.

Recipes and banks are fitted by the handcrafted features, which then say little against them. A network that is trained
anew for each pair of sets, on detail alone, finds what no feature names: a codec's or a network's own trace. On
photographs against other people of the same set it stays at 0.5.

How to call it, with images as uint8 arrays in a list, or anything with a length that reads an image when it is indexed:

    from degrade_kit.analysis.patches import PatchConfig, compare_patches
    found = compare_patches(lq_images, photographs, lq_faces, people, PatchConfig(seed=0))
    found.auc.value, found.auc.low, found.auc.high

`lq_faces` names the HQ face of each LQ image and `people` the person of each photograph, as
`degrade_kit.analysis.groups` reads them from names of files: no face and no person is in training and test at once.
"""

# torch and scikit-learn have parts without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from degrade_kit.analysis.distances import Features, Interval, group_folds
from degrade_kit.analysis.intervals import auc_interval
from degrade_kit.errors import ConfigError
from degrade_kit.image import Pixels

_Planes = npt.NDArray[np.float16]
_Places = npt.NDArray[np.int64]

BLUR: Final = 6.0
"""Standard deviation, pixels, of the blur that is taken off: what is left holds no face and little light."""
_UNIT: Final = 16.0
"""Levels of 0..255 that count as 1 in the network."""
_WIDTHS: Final = (16, 32, 48, 64)
_RATE, _WEIGHT_DECAY, _DROPOUT = 4e-3, 0.05, 0.3
PAIR_SECONDS: Final = 60.0
"""Known cost of `compare_patches` with the values of `PatchConfig` that it has, on two cores."""


class ImageSequence(Protocol):
    """Holds images by number, as a list does; only those that are taken are asked for."""

    def __len__(self) -> int:
        """Count the images of this set."""
        ...

    def __getitem__(self, place: int, /) -> Pixels:
        """Read the image at a place; see `degrade_kit.image`, uint8."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchConfig:
    """How the network is trained and asked; time grows with `folds * steps * batch * side ** 2`, and little else."""

    side: int = 96
    """Side of a patch, pixels; that of the smallest image where it is less."""
    per_image: int = 12
    """Patches of an image that is judged: its score is the mean of theirs."""
    folds: int = 3
    """Networks that are trained, each judging the images that it has not seen."""
    steps: int = 220
    batch: int = 16
    """Patches of each set in a step."""
    max_images: int = 160
    """Most images of each set, drawn evenly: they are held in memory, 6 bytes a pixel."""
    seed: int = 0
    """Seed of everything that is drawn: images, folds, weights and patches."""

    def __post_init__(self) -> None:
        least = {"side": 16, "per_image": 1, "folds": 2, "steps": 1, "batch": 1, "max_images": 2, "seed": 0}
        for name, number in least.items():
            if getattr(self, name) < number:
                raise ConfigError(f"patches: {name}: expected {number} or more, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class JudgedImages:
    """Images of one set with what a network that had not seen them says of them."""

    places: _Places
    """Which images of the set, rising; (n,)."""
    scores: Features
    """Means over patches of the log odds that an image is of the first set, (n,): 0 is undecided."""
    corners: _Places
    """Top and left of each patch, pixels; (n, patches, 2)."""
    patch_scores: Features
    """Log odds of each patch, (n, patches)."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PatchComparison:
    """How well a network tells two sets apart, and by which patches."""

    auc: Interval
    """Area under the ROC curve over images, with its 95 % interval over groups; 0.5: it cannot."""
    synth: JudgedImages
    real: JudgedImages
    side: int
    """Side of a patch, pixels."""


def require_torch() -> None:
    """Make sure that PyTorch is there.

    Raises:
        ConfigError: If it is not.
    """
    if not has_torch():
        raise ConfigError("the classifier on patches needs PyTorch: pip install 'degrade-kit[metrics]'")


def has_torch() -> bool:
    """Say whether PyTorch is installed, without importing it."""
    return importlib.util.find_spec("torch") is not None


def compare_patches(
    synth: ImageSequence,
    real: ImageSequence,
    synth_groups: Sequence[str],
    real_groups: Sequence[str],
    config: PatchConfig | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PatchComparison:
    """Train a small network to tell two sets apart by patches, and judge each image by one that has not seen it.

    Deterministic by the seed, on one machine with one number of threads. The process's generators stay as they were.

    Args:
        synth: The first set, uint8 RGB; images may have different sizes.
        real: The second set.
        synth_groups: What each image of the first set shows, such as the name of its HQ face.
        real_groups: The same of the second, such as the person's name.
        config: How it is trained; the usual way where None, about a minute on two cores.
        progress: Told of steps done, and of all.

    Raises:
        ConfigError: If PyTorch is missing.
        ValueError: If a set has fewer groups than there are folds, or an image a side below 16 pixels.

    Source: Lopez-Paz & Oquab 2017, classifier two-sample tests; high-passed patches as in detectors of synthesized
    images, such as Fridrich & Kodovsky 2012 and Wang et al. 2020.
    """
    require_torch()
    config = config or PatchConfig()
    rng = np.random.default_rng([config.seed, 1])
    kept = [_pick(len(images), config.max_images, rng) for images in (synth, real)]
    groups = [
        [str(names[place]) for place in places] for names, places in zip((synth_groups, real_groups), kept, strict=True)
    ]
    folds = group_folds(*groups, folds=config.folds, seed=config.seed)
    planes = [
        high_pass(images[int(place)]) for images, places in zip((synth, real), kept, strict=True) for place in places
    ]
    side = min(config.side, *(min(plane.shape[1:]) for plane in planes))
    if side < 16:
        raise ValueError(f"expected images of 16 pixels or more, got {side}")
    count = len(kept[0])
    corners = np.stack([_corners(plane, side, config.per_image, rng) for plane in planes])
    scores = np.empty((len(planes), config.per_image))
    for number, test in enumerate(folds):
        train = np.setdiff1d(np.arange(len(planes)), test)
        scores[test] = _train_and_judge(
            planes, train[train < count], train[train >= count], test, corners, side, config, number, progress
        )
    first = JudgedImages(
        places=kept[0], scores=scores[:count].mean(1), corners=corners[:count], patch_scores=scores[:count]
    )
    second = JudgedImages(
        places=kept[1], scores=scores[count:].mean(1), corners=corners[count:], patch_scores=scores[count:]
    )
    auc = auc_interval(second.scores, first.scores, groups[1], groups[0], rng)
    return PatchComparison(auc=auc, synth=first, real=second, side=side)


def high_pass(image: Pixels) -> _Planes:
    """Take an image's blur off itself: luma and two chroma planes, (3, H, W), in units of 16 levels."""
    planes = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2YCrCb)
    detail = planes - cv2.GaussianBlur(planes, (0, 0), BLUR)
    return np.ascontiguousarray((detail / _UNIT).transpose(2, 0, 1), np.float16)


def show_high_passed(image: Pixels, gain: float = 3.0) -> Pixels:
    """Draw what the network sees of an image: detail about grey, `gain` times as strong; uint8, the image's shape."""
    planes = high_pass(image).astype(np.float32).transpose(1, 2, 0) * (_UNIT * gain) + 128
    return np.ascontiguousarray(cv2.cvtColor(planes.clip(0, 255).astype(np.uint8), cv2.COLOR_YCrCb2RGB), np.uint8)


def _pick(count: int, most: int, rng: np.random.Generator) -> _Places:
    return np.arange(count) if count <= most else np.sort(rng.choice(count, most, replace=False))


def _corners(plane: _Planes, side: int, count: int, rng: np.random.Generator) -> _Places:
    return rng.integers(0, np.array(plane.shape[1:]) - side + 1, (count, 2))


def _crops(planes: Sequence[_Planes], images: _Places, corners: _Places, side: int) -> Any:  # noqa: ANN401 (a tensor)
    """Cut one patch out of each named image; (N, 3, side, side), float32."""
    import torch

    cut = [
        planes[place][:, top : top + side, left : left + side]
        for place, (top, left) in zip(images, corners, strict=True)
    ]
    return torch.from_numpy(np.stack(cut)).float().contiguous(memory_format=torch.channels_last)


def _network() -> Any:  # noqa: ANN401 (torch is imported late)
    """Build four convolutions, each but the first halving the sides, and a mean over the patch."""
    import torch
    from torch import nn

    layers: list[Any] = []
    before = 3
    for place, width in enumerate(_WIDTHS):
        layers += [nn.Conv2d(before, width, 3, 2 if place else 1, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        before = width
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(_DROPOUT), nn.Linear(before, 1)]
    return nn.Sequential(*layers, *head).to(memory_format=torch.channels_last)


def _train_and_judge(
    planes: Sequence[_Planes],
    synth: _Places,
    real: _Places,
    test: _Places,
    corners: _Places,
    side: int,
    config: PatchConfig,
    number: int,
    progress: Callable[[int, int], None],
) -> Features:
    """Train on two sets of images, and give the log odds of the patches of others, (len(test), patches)."""
    import torch
    import torch.nn.functional as F

    rng = np.random.default_rng([config.seed, 2, number])
    labels = torch.repeat_interleave(torch.tensor([1.0, 0.0]), config.batch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**63)))
        network = _network().train()
        optimizer = torch.optim.AdamW(network.parameters(), _RATE / 2, weight_decay=_WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=max(config.steps, 2))
        for step in range(config.steps):
            chosen = np.concatenate([rng.choice(synth, config.batch), rng.choice(real, config.batch)])
            places = np.concatenate([_corners(planes[place], side, 1, rng) for place in chosen])
            patches = _crops(planes, chosen, places, side)
            patches = patches.flip(3) if rng.random() < 0.5 else patches
            loss = F.binary_cross_entropy_with_logits(network(patches)[:, 0], labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress(number * config.steps + step + 1, config.folds * config.steps)
        network.eval()
        with torch.no_grad():
            found = [
                network(_crops(planes, np.repeat(place, config.per_image), corners[place], side))[:, 0].double().numpy()
                for place in test
            ]
    return np.stack(found)
