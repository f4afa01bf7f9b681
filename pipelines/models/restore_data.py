"""The pairs of one data set as FlipNet's training asks for them: by number, stored and fresh ones mixed."""

# Tensor.unflatten, torch.from_numpy and others have parts without a type in torch's own stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from degrade_kit.epoch_order import epoch_order
from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.loop import STRIDE, LoopConfig
from degrade_kit.flipnet.mixture import PairSample
from degrade_kit.pipelines.makers.networks import NetworkSettings, check_networks
from degrade_kit.presets import resolve_recipe
from degrade_kit.seeding import generator
from degrade_kit.streaming import Pair, PairMapDataset, PairOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoreDataConfig:
    """What is made of the shards."""

    onthefly: str = "flipnet-paper"
    """Preset or recipe file that makes LQ images anew from the shards' HQ images; empty uses the stored ones alone. A
    file is looked for beside the configuration."""
    onthefly_prob: float = 0.5
    """Share of the pairs that it makes."""
    flip: bool = True
    """Whether half of the pairs are mirrored left to right."""
    crop: bool = False
    """Whether images larger than the model's are cropped at random places. A model of whole faces sees parts of them
    then; without it, a data set of another side than the model's is refused."""
    held_out: float = 0.02
    """Share of the samples that is kept for validation, where no other data set is given for it."""
    captions: str = ""
    """File of captions that `degrade-kit caption` wrote of the faces, which ends in .jsonl; or hub id or folder of a
    BLIP model that captions the HQ images, kept in the run's `captions.jsonl`; empty trains with the null prompt."""

    def __post_init__(self) -> None:
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"held_out: expected a share within [0, 1), got {self.held_out}")


class ShardPairs:
    """Some samples of a data set as the pairs of a run: see `degrade_kit.flipnet.training.PairStream`.

    Each epoch takes every sample once, in an order of its own. A step moves on by the pairs of the largest step there
    is, so that a pair's number alone says where it is; smaller steps leave out some samples of their epoch.

    Args:
        pairs: The data set.
        items: Numbers of the samples.
        loop: How many pairs a step has; its seed decides order, crops and all that is drawn.
        captions: Of all samples of the data set; empty ones where None.
    """

    def __init__(
        self, pairs: PairMapDataset, items: Sequence[int], loop: LoopConfig, captions: Sequence[str] | None = None
    ) -> None:
        self._pairs, self._items, self._seed = pairs, list(items), loop.seed
        self._stride = max(loop.crop_batches or (loop.batch_size,))
        self._captions = captions
        self._order: tuple[int, Any] | None = None

    def sample(self, number: int, size: int) -> PairSample:
        """Read or make a pair; see `PairStream`.

        Raises:
            ConfigError: If an image is smaller than the crop.
        """
        step, offset = divmod(number, STRIDE)
        epoch, place = divmod(step * self._stride + offset, len(self._items))
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, epoch_order([len(self._items)], self._seed, epoch)
        item = self._items[int(self._order[1][place])]
        top, left = generator(self._seed, "crop", number).random(2)
        return cropped(
            self._pairs.at(epoch, item), size, top, left, "" if self._captions is None else self._captions[item]
        )


def cropped(pair: Pair, size: int, top: float, left: float, caption: str = "") -> PairSample:
    """A square of both images of a pair, whose place is given as shares of the places that it may have."""
    height, width = pair["hq"].shape[-2:]
    if min(height, width) < size:
        raise ConfigError(
            f"sample {pair['key']} has {height} x {width} pixels, fewer than a crop of {size}; give crop_sizes that "
            "fit, or shards made with a larger --size"
        )
    y, x = int(top * (height - size + 1)), int(left * (width - size + 1))
    hq, lq = (
        np.ascontiguousarray(pair[name][:, y : y + size, x : x + size].permute(1, 2, 0).numpy())
        for name in ("hq", "lq")
    )
    fresh = pair["variant"] < 0
    return PairSample(hq, lq, caption, "on the fly" if fresh else "stored", fresh)


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoreData:
    """The pairs of a run, ready to be drawn from."""

    pairs: PairMapDataset
    training: tuple[int, ...]
    """Numbers of samples."""
    held_out_pairs: PairMapDataset
    held_out: tuple[int, ...]

    def stream(self, loop: LoopConfig, captions: Sequence[str] | None = None) -> ShardPairs:
        """The training pairs of a stage."""
        return ShardPairs(self.pairs, self.training, loop, captions)

    def validation(self, size: int, chosen: Sequence[int], captions: Sequence[str] | None = None) -> list[PairSample]:
        """Some of the held-out pairs with their captions, the same every time, cut from the middle."""
        told = captions or [""] * len(chosen)
        pairs = zip(chosen, told, strict=True)
        return [cropped(self.held_out_pairs.at(0, item), size, 0.5, 0.5, caption) for item, caption in pairs]


def check_side(data: RestoreData, loop: LoopConfig, crop: bool) -> None:
    """Make sure that the images of a run are of the model's side, or may be cropped to it.

    Args:
        data: The data sets.
        loop: Of a stage; the largest of its crops is the model's side.
        crop: Whether larger images may be cropped.

    Raises:
        ConfigError: If they are not.
    """
    side = max(loop.crop_sizes)
    for pairs in (data.pairs, data.held_out_pairs):
        size, place = pairs.reader.size, pairs.reader.url
        if size == side or (crop and (size > side or not size)):
            continue
        found = f"images of {size} pixels" if size else "images of their own sizes"
        crops = "" if 0 < size < side else f", or give --crop to train on crops of {side} pixels, parts of faces"
        raise ConfigError(
            f"{place}: {found}, and the configuration is for {side} pixels; make a data set with `degrade-kit synth "
            f"--size {side}`, or give a configuration whose crop_sizes are [{size or side}]{crops}"
        )


def read_restore_data(
    shards: str, config: RestoreDataConfig, seed: int, *, validation: str | None = None, cache_dir: Path | None = None
) -> RestoreData:
    """Open the shards, and part what is held out.

    Args:
        shards: The data set.
        config: What is made of it.
        seed: Of the draws, and of the part.
        validation: Another data set that all of the validation is taken from.
        cache_dir: Where shards of a URL are kept.

    Raises:
        ConfigError: If there is nothing to train on.
        ShardError: If a data set is not whole.
    """
    recipe = resolve_recipe(config.onthefly) if config.onthefly else None
    network = None
    if recipe is not None and recipe.models:
        check_networks(recipe, NetworkSettings())
        from degrade_kit.flipnet.degrader import Networks

        network = Networks(recipe, device="cpu")  # in the processes that read pairs
    options = PairOptions(
        onthefly=recipe, network=network, onthefly_prob=config.onthefly_prob, flip=config.flip, seed=seed
    )
    pairs = PairMapDataset(shards, options, cache_dir=cache_dir)
    order = generator(seed, "held out", 0).permutation(len(pairs)).tolist()
    plain_options = dataclasses.replace(options, flip=False, seed=seed + 1)
    others = PairMapDataset(validation or shards, plain_options, cache_dir=cache_dir)
    if validation is not None:
        training, held_out = order, generator(seed, "held out", 1).permutation(len(others)).tolist()
    else:
        count = round(len(pairs) * config.held_out)
        training, held_out = order[count:], order[:count]
    if not training:
        raise ConfigError(f"{shards}: no samples to train on; lower held_out, {config.held_out}")
    return RestoreData(pairs=pairs, training=tuple(sorted(training)), held_out_pairs=others, held_out=tuple(held_out))
