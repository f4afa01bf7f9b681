"""Shards in BasicSR and what is built on it: GFPGAN, Real-ESRGAN and forks.

    import degrade_kit.adapters.basicsr       # the first line of the trainer's `train.py`

Importing this fixes what keeps basicsr 1.4.2 from running with the libraries of today, and registers the data set that
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
        crop_components: true       # for GFPGAN's facial discriminators, of shards that `synth --landmarks` made
        eye_enlarge_ratio: 1.4

A sample has `lq` and `gt`, CHW, RGB, float32, and the sample's key as `lq_path` and `gt_path`; with `crop_components`
also `loc_left_eye`, `loc_right_eye` and `loc_mouth`, see `degrade_kit.adapters.base.locations`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from degrade_kit.adapters.base import COMPONENT_OPTIONS, MappedPairs, locations, register


class DegradeKitPairs(MappedPairs):
    """Pairs of a data set with the names and ranges of BasicSR; see this module and `MappedPairs`."""

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__(opt, COMPONENT_OPTIONS)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pair = self._pairs[index]
        return {
            "lq": self.normalized(pair["lq"]),
            "gt": self.normalized(pair["hq"]),
            "lq_path": pair["key"],
            "gt_path": pair["key"],
            **locations(pair, self._eye_ratio),
        }


def _rgb_to_grayscale(img: Tensor, num_output_channels: int = 1) -> Tensor:
    """Convert to gray as torchvision's function does, which moved to another module in 0.17."""
    red, green, blue = img.unbind(dim=-3)
    gray = (0.2989 * red + 0.587 * green + 0.114 * blue).to(img.dtype).unsqueeze(dim=-3)
    return gray.expand(img.shape) if num_output_channels == 3 else gray


def _mend() -> None:
    """Make basicsr 1.4.2 import and run.

    torchvision 0.17 dropped the module from which `basicsr.data.degradations` takes one function; no OpenCV takes the
    float that its random JPEG draws as quality; and torch of today refuses the pair of a whole number and a float that
    GFPGAN's and the StyleGAN2 model give to Adam. Drop each when BasicSR has a release that fixes it.
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


if importlib.util.find_spec("basicsr") is None:
    raise ImportError(
        "degrade_kit.adapters.basicsr needs basicsr: pip install --no-build-isolation 'basicsr>=1.4.2' (without that "
        "option it downloads a torch of its own to build)"
    )
_mend()
register(DegradeKitPairs)
