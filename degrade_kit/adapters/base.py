"""What the data sets of all trainers share: their options, the form of their images, and how they learn the epoch.

Trainers built on BasicSR hand over a mapping, and their sampler passes the epoch: `MappedPairs` and `register`. The
others hand over keywords and pass no epoch: `CountedPairs`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from degrade_kit.checks import span
from degrade_kit.errors import ConfigError, nearest
from degrade_kit.face_points import COMPONENTS
from degrade_kit.presets import resolve_recipe
from degrade_kit.streaming import Pair, PairMapDataset, PairOptions, place_of_process

OPTIONS = {
    *("dataroot", "cache_dir", "variant", "onthefly", "onthefly_prob", "crop", "use_hflip", "seed"),
    "lq_scale",
    *("severity", "curriculum", "balanced"),
}
"""Options of every data set here; see `open_pairs`."""

# Keys that BasicSR itself reads, or writes into the options before a data set sees them.
_OF_BASICSR = {
    *("name", "type", "phase", "scale", "io_backend", "use_shuffle", "num_worker_per_gpu", "batch_size_per_gpu"),
    *("dataset_enlarge_ratio", "prefetch_mode", "num_prefetch_queue", "pin_memory", "persistent_workers"),
}
_VISITS = 1 << 32
"""More visits than an item ever gets; the ranks' numbers of epochs are so far apart."""


def open_pairs(
    whose: str, options: Mapping[str, Any], also: Collection[str] = (), *, landmarks: bool = False
) -> PairMapDataset:
    """Open a data set by a trainer's options.

    Args:
        whose: Name of the trainer's data set, for messages.
        options: `dataroot`, the folder or URL of a finished data set; `onthefly`, a preset or the YAML file of a
            recipe; `use_hflip`, as `flip`; and as `PairOptions` and `PairMapDataset` have them: `variant`,
            `onthefly_prob`, `severity`, a list of two numbers, `curriculum`, `balanced`, `lq_scale`, `crop`,
            `seed` and `cache_dir`.
        also: Further options that may be there.
        landmarks: Whether the pairs have the points of the faces.

    Returns:
        Pairs of float32 in [0, 1].

    Raises:
        ConfigError: If an option is unknown or missing, or has no such value; or if there are no landmarks.
    """
    for key in options:
        if key not in OPTIONS and key not in also:
            raise ConfigError(f"{whose}: unknown option `{key}`; {nearest(key, sorted({*OPTIONS, *also}))}")
    if options.get("dataroot") is None:
        raise ConfigError(f"{whose}: `dataroot` is missing: the folder or URL of a data set")
    onthefly = options.get("onthefly")
    recipe = None if onthefly is None else resolve_recipe(onthefly)
    network = None
    if recipe is not None and recipe.models:
        from degrade_kit.flipnet.degrader import Networks

        # Loaded in each worker; several of them share a GPU badly.
        network = Networks(recipe, device="cpu")
    pair_options = PairOptions(
        variant=options.get("variant", "random"),
        onthefly=recipe,
        network=network,
        onthefly_prob=options.get("onthefly_prob", 0.5),
        severity=_pair_of_numbers(whose, options.get("severity", (0.0, 1.0))),
        curriculum=options.get("curriculum", 0),
        balanced=options.get("balanced", False),
        lq_scale=options.get("lq_scale"),
        crop=options.get("crop"),
        flip=options.get("use_hflip", False),
        seed=options.get("seed", 0),
        dtype="float32",
        landmarks=landmarks,
    )
    pairs = PairMapDataset(options["dataroot"], pair_options, cache_dir=options.get("cache_dir"))
    if landmarks and len(pairs) and "components" not in pairs.reader.read(0, None).info:
        raise ConfigError(
            f"{whose}: crop_components: {options['dataroot']} has no landmarks; make it with `synth --landmarks`, of "
            "what `align` found"
        )
    return pairs


COMPONENT_OPTIONS = {"crop_components", "eye_enlarge_ratio"}
"""Options of data sets that may have the locations of eyes and mouth."""


def eye_ratio(whose: str, options: Mapping[str, Any]) -> float | None:
    """How much the squares of the eyes are enlarged; None where no locations are asked for.

    Raises:
        ConfigError: If an option has no such value.
    """
    wanted, ratio = options.get("crop_components", False), options.get("eye_enlarge_ratio", 1)
    if not isinstance(wanted, bool):
        raise ConfigError(f"{whose}: crop_components: expected true or false, got {wanted!r:.80}")
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 0 < ratio < 100:
        raise ConfigError(f"{whose}: eye_enlarge_ratio: expected a positive number, got {ratio!r:.80}")
    return float(ratio) if wanted else None


def locations(pair: Pair, ratio: float | None) -> dict[str, Tensor]:
    """Make `loc_left_eye`, `loc_right_eye` and `loc_mouth`: left, top, right, bottom, float32, pixels of the target.

    They are what GFPGAN's data set makes, to the pixel: its boxes lie a pixel to the right of their centre, and of a
    mirrored image, whose middle it takes to be half its side, another one.

    Source: TencentARC/GFPGAN, gfpgan/data/ffhq_degradation_dataset.py `get_component_coordinates`, commit 7552a77.

    Args:
        pair: Of a data set with landmarks.
        ratio: From `eye_ratio`; None for no locations.
    """
    if ratio is None:
        return {}
    boxes: dict[str, Tensor] = {}
    for name in COMPONENTS:
        x, y, half = pair[name].unbind()
        half = half * ratio if "eye" in name else half
        x = x + 1 if pair["mirrored"] else x
        boxes[f"loc_{name}"] = torch.stack([x - half + 1, y - half + 1, x + half, y + half])
    return boxes


def _pair_of_numbers(whose: str, value: Any) -> tuple[float, float]:  # noqa: ANN401 (user input)
    return span(0, 1)(value, f"{whose}: severity")


def signed(image: Tensor) -> Tensor:
    """Shift an image from [0, 1] to [-1, 1], in its own memory."""
    return image.sub_(0.5).div_(0.5)


class MappedPairs(Dataset[dict[str, Any]]):
    """Pairs for BasicSR and its forks, whose sampler passes the epoch once the class went through `register`.

    Args:
        opt: The options of `open_pairs`, those of BasicSR, and `mean` and `std` of the three channels, which are taken
            from the images and divide them.
        also: Further options that a subclass has.

    Raises:
        ConfigError: If an option is unknown or missing, or has no such value.
    """

    def __init__(self, opt: Mapping[str, Any], also: Collection[str] = ()) -> None:
        self.opt = opt
        own = {key: value for key, value in opt.items() if key not in _OF_BASICSR}
        name = type(self).__name__
        self._eye_ratio = eye_ratio(name, own) if "crop_components" in also else None
        self._pairs = open_pairs(name, own, {"mean", "std", *also}, landmarks=self._eye_ratio is not None)
        if opt.get("dataset_enlarge_ratio", 1) != 1:
            raise ConfigError(
                f"{type(self).__name__}: dataset_enlarge_ratio: expected 1, since the copies of a pair would have the "
                "same crop and variant; where the trainer has it, `persistent_workers: true` saves the start of workers"
            )
        if ("mean" in opt) != ("std" in opt):
            raise ConfigError(f"{type(self).__name__}: `mean` and `std` go together")

    def set_epoch(self, epoch: int) -> None:
        """Draw anew; BasicSR's sampler calls it when an epoch begins."""
        self._pairs.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._pairs)

    def normalized(self, image: Tensor) -> Tensor:
        """Subtract `mean` from an image and divide it by `std`, in its own memory."""
        if "mean" not in self.opt:
            return image
        mean, std = (torch.tensor(self.opt[name], dtype=torch.float32)[:, None, None] for name in ("mean", "std"))
        return image.sub_(mean).div_(std)


def register(kind: type[MappedPairs]) -> None:
    """Make a data set known to the installed basicsr by its name, and let basicsr's sampler pass it the epoch."""
    importlib.import_module("basicsr.utils.registry").DATASET_REGISTRY.register(kind)
    sampler: Any = importlib.import_module("basicsr.data.data_sampler").EnlargedSampler
    original: Callable[[Any, int], None] = sampler.set_epoch

    @functools.wraps(original)
    def set_epoch(self: Any, epoch: int) -> None:  # noqa: ANN401 (basicsr is untyped)
        original(self, epoch)
        if isinstance(self.dataset, kind):
            self.dataset.set_epoch(epoch)

    sampler.set_epoch = set_epoch


class CountedPairs(Dataset[Any]):
    """Pairs for trainers that pass no epoch: the n-th time that an item is asked for, it is drawn as in epoch n.

    So an item has other draws each time, whatever the trainer's sampler and however many workers there are or how long
    they live. Each rank counts for itself and draws other epochs. The counts begin at 0 in each run: one that goes on
    from a checkpoint may take another `seed`.

    Args:
        also: Further options that a subclass has.
        **options: See `open_pairs`.

    Raises:
        ConfigError: If an option is unknown or missing, or has no such value.
    """

    def __init__(self, also: Collection[str] = (), **options: Any) -> None:  # noqa: ANN401 (open_pairs checks them)
        name = type(self).__name__
        self._eye_ratio = eye_ratio(name, options) if "crop_components" in also else None
        self._pairs = open_pairs(name, options, also, landmarks=self._eye_ratio is not None)
        # In shared memory: each worker has a copy of all else.
        self._visits: Tensor = torch.zeros(len(self._pairs), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401 (a trainer's own form)
        if not -len(self) <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        visit = int(self._visits[index])
        self._visits[index] += 1
        rank, _ = place_of_process()
        return self.sample(self._pairs.at(rank * _VISITS + visit, index))

    def sample(self, pair: Pair) -> Any:  # noqa: ANN401 (a trainer's own form)
        """Convert a pair to the form that the trainer reads.

        Args:
            pair: See `degrade_kit.streaming`; its images are float32 in [0, 1], and may be changed.
        """
        raise NotImplementedError
