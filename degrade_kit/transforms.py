"""Recipes in pipelines of torchvision v2, albumentations and `datasets.map`, of which none is imported.

`dk.transforms.DegradeTransform` is a callable for the first two, `dk.transforms.map_pairs` makes one for the last; both
hang at the door as well.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from PIL import Image as PilImage

from degrade_kit.degradation import make_lq, make_target
from degrade_kit.image import Pixels
from degrade_kit.network_ops import Network
from degrade_kit.presets import resolve_recipe
from degrade_kit.recipe import Recipe
from degrade_kit.record import Record
from degrade_kit.seeding import generator


class DegradeTransform:
    """A callable that makes an LQ image of an HQ image, of the same kind, by a new draw each time.

    Images are PIL's; arrays, (height, width, 3), uint8 or float in [0, 1]; or torch tensors, (3, height, width),
    likewise, torchvision's `tv_tensors.Image` among them. LQ is as large as HQ, or smaller where the recipe says so. So
    it stands in `torchvision.transforms.v2.Compose`, where samples are images (`v2.Lambda` picks those of others), and
    in `albumentations.Lambda(image=...)`, whose function no seed of `albumentations.Compose` reaches.

    Args:
        recipe: Name of a preset, a recipe file, or a recipe.
        rng: Source of all draws. Without it each draw follows torch's random state where torch is loaded, which
            differs from worker to worker, and else an own generator of each process.
        network: Does the steps of a FlipNet, where the recipe has any.

    Raises:
        ConfigError: If the recipe cannot be read.
    """

    def __init__(
        self,
        recipe: str | os.PathLike[str] | Mapping[str, Any] | Recipe,
        *,
        rng: np.random.Generator | None = None,
        network: Network | None = None,
    ) -> None:
        self.recipe, self.network = resolve_recipe(recipe), network
        self._rng, self._own, self._process = rng, rng is not None, os.getpid()

    def __call__(self, image: Any, **_: Any) -> Any:  # noqa: ANN401 (an image of any kind; what albumentations adds)
        """Make the LQ image; what else albumentations hands over is ignored.

        Raises:
            TypeError: If it is no image of a kind that is known.
        """
        pixels = _pixels(image)
        return _like(image, _made(self.recipe.draw(self._generator()), pixels, self.network))

    def __repr__(self) -> str:
        """Name the recipe, as pipelines print what is in them."""
        return f"{type(self).__name__}({self.recipe.name!r})"

    def _generator(self) -> np.random.Generator:
        torch = None if self._own else sys.modules.get("torch")
        if torch is not None:
            return np.random.default_rng(int(torch.randint(2**62, ())))
        if self._rng is None or (not self._own and self._process != os.getpid()):
            self._rng, self._process = np.random.default_rng(), os.getpid()
        return self._rng


def map_pairs(
    recipe: str | os.PathLike[str] | Mapping[str, Any] | Recipe,
    *,
    column: str = "image",
    seed: int = 0,
    network: Network | None = None,
) -> _MapPairs:
    """Make the function that `datasets.map(..., with_indices=True)` takes: it adds the columns `hq`, `lq`, `record`.

    The number of an example decides its draws, so any number of processes gives the same pairs, `batched=True` or not.

    Args:
        recipe: Name of a preset, a recipe file, or a recipe.
        column: Of the HQ images.
        seed: Of all draws.
        network: Does the steps of a FlipNet, where the recipe has any.

    Raises:
        ConfigError: If the recipe cannot be read.
    """
    return _MapPairs(resolve_recipe(recipe), column, seed, network)


class _MapPairs:
    def __init__(self, recipe: Recipe, column: str, seed: int, network: Network | None) -> None:
        self.recipe, self.column, self.seed, self.network = recipe, column, seed, network

    def __call__(self, example: Mapping[str, Any], index: Any) -> dict[str, Any]:  # noqa: ANN401 (a number, or a batch's)
        if isinstance(index, list):
            numbered = zip(example[self.column], cast("list[int]", index), strict=True)
            made = [self({self.column: image}, number) for image, number in numbered]
            return {key: [pair[key] for pair in made] for key in ("hq", "lq", "record")}
        image = example[self.column]
        pixels = _pixels(image)
        record = self.recipe.draw(generator(self.seed, str(index), 0))
        lq, hq = _made(record, pixels, self.network), make_target(record, pixels)
        return {"hq": _like(image, hq), "lq": _like(image, lq), "record": record.to_json()}


def _made(record: Record, pixels: Pixels, network: Network | None) -> Pixels:
    return make_lq(record, pixels, network, record.lq_scale)


def _pixels(image: Any) -> Pixels:  # noqa: ANN401 (an image of any kind)
    """The image as uint8, (height, width, 3)."""
    if isinstance(image, PilImage.Image):
        return np.asarray(image.convert("RGB"), np.uint8)
    planes = type(image).__module__.startswith("torch")
    array: Any = image.detach().cpu().numpy().transpose(1, 2, 0) if planes and image.ndim == 3 else image
    if not _is_array(array) or array.ndim != 3 or array.shape[2] != 3:
        shape = getattr(image, "shape", "")
        raise TypeError(f"expected an image of PIL, an array (height, width, 3) or a tensor (3, height, width), got "
                        f"{type(image).__name__} {shape}")  # fmt: skip
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    return np.clip(np.rint(np.asarray(array, np.float64) * 255), 0, 255).astype(np.uint8)


def _is_array(image: object) -> bool:
    # Apart, since a type checker that sees it takes what is known of `Any` for unknown.
    return isinstance(image, np.ndarray)


def _like(image: Any, pixels: Pixels) -> Any:  # noqa: ANN401 (an image of any kind)
    """The pixels as an image of the same kind."""
    if isinstance(image, PilImage.Image):
        return PilImage.fromarray(pixels)
    if _is_array(image):
        return pixels if image.dtype == np.uint8 else (pixels / np.float32(255)).astype(image.dtype)
    torch: Any = sys.modules["torch"]
    tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    made = tensor if image.dtype == torch.uint8 else tensor.to(image.dtype) / 255
    # A class of torchvision's tells its transforms what the tensor is.
    return made.to(image.device).as_subclass(type(image))
