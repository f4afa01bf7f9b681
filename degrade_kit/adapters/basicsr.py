"""Shards in BasicSR and what is built on it: GFPGAN, Real-ESRGAN and forks.

    import degrade_kit.adapters.basicsr       # the first line of the trainer's `train.py`

Importing this mends what keeps basicsr 1.4.2 from running with the libraries of today, and registers the data set that
an option file names as `type: DegradeKitPairs`:

    datasets:
      train:
        name: pairs
        type: DegradeKitPairs
        dataroot: out/ffhq          # folder or URL of a finished data set
        variant: random             # as all below, and `seed`, `crop`, `cache_dir`: see `PairOptions`
        onthefly: gfpgan            # preset, or YAML file of a recipe
        onthefly_prob: 0.5
        use_hflip: true
        mean: [0.5, 0.5, 0.5]       # with `std`, for models of [-1, 1] such as GFPGAN; left out, [0, 1]
        std: [0.5, 0.5, 0.5]

A sample has `lq` and `gt`, CHW, RGB, float32, and the sample's key as `lq_path` and `gt_path`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from degrade_kit.errors import ConfigError
from degrade_kit.presets import PRESETS, preset
from degrade_kit.recipe import Recipe, load_recipe, nearest
from degrade_kit.streaming import PairMapDataset, PairOptions

# Keys that BasicSR itself reads, or writes into the options before a data set sees them.
_OF_BASICSR = {
    *("name", "type", "phase", "scale", "io_backend", "use_shuffle", "num_worker_per_gpu", "batch_size_per_gpu"),
    *("dataset_enlarge_ratio", "prefetch_mode", "num_prefetch_queue", "pin_memory", "persistent_workers"),
}
_OWN = {"dataroot", "cache_dir", "variant", "onthefly", "onthefly_prob", "crop", "use_hflip", "seed", "mean", "std"}


class DegradeKitPairs(Dataset[dict[str, Any]]):
    """Pairs of a data set with the names and ranges of BasicSR.

    Args:
        opt: The options of the data set; see this module.

    Raises:
        ConfigError: If an option is unknown or missing, or has no such value.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self.opt = opt
        for key in opt:
            if key not in _OWN | _OF_BASICSR:
                raise ConfigError(f"DegradeKitPairs: unknown option `{key}`; {nearest(key, sorted(_OWN))}")
        if "dataroot" not in opt:
            raise ConfigError("DegradeKitPairs: `dataroot` is missing: the folder or URL of a data set")
        if opt.get("dataset_enlarge_ratio", 1) != 1:
            raise ConfigError(
                "DegradeKitPairs: dataset_enlarge_ratio: expected 1, since the copies of a pair would have the same "
                "crop and variant; `persistent_workers: true` saves the start of workers in each epoch"
            )
        if ("mean" in opt) != ("std" in opt):
            raise ConfigError("DegradeKitPairs: `mean` and `std` go together")
        options = PairOptions(
            variant=opt.get("variant", "random"),
            onthefly=_recipe(opt.get("onthefly")),
            onthefly_prob=opt.get("onthefly_prob", 0.5),
            crop=opt.get("crop"),
            flip=opt.get("use_hflip", False),
            seed=opt.get("seed", 0),
            dtype="float32",
        )
        self._pairs = PairMapDataset(opt["dataroot"], options, cache_dir=opt.get("cache_dir"))

    def set_epoch(self, epoch: int) -> None:
        """Draw anew; BasicSR's sampler calls it when an epoch begins."""
        self._pairs.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pair = self._pairs[index]
        return {
            "lq": self._normalized(pair["lq"]),
            "gt": self._normalized(pair["hq"]),
            "lq_path": pair["key"],
            "gt_path": pair["key"],
        }

    def _normalized(self, image: Tensor) -> Tensor:
        if "mean" not in self.opt:
            return image
        mean, std = (torch.tensor(self.opt[name], dtype=torch.float32)[:, None, None] for name in ("mean", "std"))
        return image.sub_(mean).div_(std)


def _recipe(name: str | None) -> Recipe | None:
    """A preset, or the recipe of a YAML file."""
    if name is None:
        return None
    return preset(name) if name in PRESETS or not name.endswith((".yaml", ".yml")) else load_recipe(name)


def _rgb_to_grayscale(img: Tensor, num_output_channels: int = 1) -> Tensor:
    """As torchvision's function, which moved to another module in 0.17."""
    red, green, blue = img.unbind(dim=-3)
    gray = (0.2989 * red + 0.587 * green + 0.114 * blue).to(img.dtype).unsqueeze(dim=-3)
    return gray.expand(img.shape) if num_output_channels == 3 else gray


def _mend() -> None:
    """Make basicsr 1.4.2 import and run.

    torchvision 0.17 dropped the module from which `basicsr.data.degradations` takes one function; no OpenCV takes the
    float that its random JPEG draws as quality; and torch of today refuses the pair of a whole number and a float that
    GFPGAN's and the StyleGAN2 model give to Adam. Drop each when BasicSR has a release that mends it.
    """
    name = "torchvision.transforms.functional_tensor"
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        stand_in: Any = types.ModuleType(name)
        stand_in.rgb_to_grayscale = _rgb_to_grayscale
        sys.modules[name] = stand_in
    degradations: Any = importlib.import_module("basicsr.data.degradations")
    degradations.add_jpg_compression = _with_whole_quality(degradations.add_jpg_compression)
    model: Any = importlib.import_module("basicsr.models.base_model").BaseModel
    model.get_optimizer = _with_float_betas(model.get_optimizer)


def _with_whole_quality(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def add_jpg_compression(img: Any, quality: float = 90) -> Any:  # noqa: ANN401 (basicsr is untyped)
        return function(img, int(quality))

    return add_jpg_compression


def _with_float_betas(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def get_optimizer(*args: Any, **options: Any) -> Any:  # noqa: ANN401 (basicsr is untyped)
        if "betas" in options:
            options["betas"] = tuple(float(beta) for beta in options["betas"])
        return function(*args, **options)

    return get_optimizer


def _register() -> None:
    """Make the data set known by its name, and let BasicSR's sampler tell it the epoch."""
    importlib.import_module("basicsr.utils.registry").DATASET_REGISTRY.register(DegradeKitPairs)
    sampler: Any = importlib.import_module("basicsr.data.data_sampler").EnlargedSampler
    original = sampler.set_epoch

    @functools.wraps(original)
    def set_epoch(self: Any, epoch: int) -> None:  # noqa: ANN401 (basicsr is untyped)
        original(self, epoch)
        if isinstance(self.dataset, DegradeKitPairs):
            self.dataset.set_epoch(epoch)

    sampler.set_epoch = set_epoch


if importlib.util.find_spec("basicsr") is None:
    raise ImportError(
        "degrade_kit.adapters.basicsr needs basicsr: pip install --no-build-isolation 'basicsr>=1.4.2' (without that "
        "option it downloads a torch of its own to build)"
    )
_mend()
_register()
