"""Shards into torch: pairs by number, pairs in the order of an epoch, and a loader that can stop and go on anywhere.

    pairs = PairDataset("shards", PairOptions(crop=256, flip=True))
    for batch in PairLoader(pairs, batch_size=16, num_workers=4):
        lq = batch["lq"].to(device, non_blocking=True).float().div_(255)  # uint8 travels, floats are made on the device

A pair is a dictionary: `hq` and `lq`, CHW, RGB, of one size; `record`, how the LQ image was made, as JSON; `key` and
`source` of the sample; and `variant`, the number of the stored LQ image, -1 where it was made on the fly. With
`PairOptions(landmarks=True)` it has the points of the face too.

Everything random depends on (seed, epoch, sample) alone, so any number of ranks and workers gives the same pairs, and a
rank's batches come in one order whatever its workers. docs/streaming.md has the recipes for trainers.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed
from torch.utils import data
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from degrade_kit.epoch_order import (
    Draws,
    Numbers,
    Uneven,
    VariantChoice,
    draw_epoch,
    epoch_order,
    pick_by_severity,
    rank_share,
    severity_range,
    worker_share,
)
from degrade_kit.errors import ConfigError
from degrade_kit.face_points import COMPONENTS
from degrade_kit.image import Pixels
from degrade_kit.network_ops import Network
from degrade_kit.reader import LoadedPair, PairReader, RawPair, caption_of, side_of
from degrade_kit.recipe import Recipe
from degrade_kit.record import Record, ops_to_json
from degrade_kit.record_severity import kinds, severity
from degrade_kit.seeding import epoch_generator
from degrade_kit.wording import first_few

Pair = dict[str, Any]
"""See this module."""


@dataclass(frozen=True, kw_only=True)
class PairOptions:
    """What a pair is."""

    variant: VariantChoice = "random"
    """Which LQ image of a sample: see `degrade_kit.epoch_order.VariantChoice`."""
    onthefly: Recipe | None = None
    """What makes LQ images anew, from the same HQ images, in place of stored ones."""
    onthefly_prob: float = 0.5
    """Share of the pairs, in [0, 1], that `onthefly` makes; FlipNet trains its restorer with 0.5."""
    network: Network | None = None
    """Does the FlipNet's steps of `onthefly`, such as `dk.Networks(recipe, device="cpu")`, which each worker loads."""
    captions: Mapping[str, str] | None = None
    """Of the sources of the HQ images, by SHA-256, for a FlipNet that `onthefly` prompts with them; see
    `degrade_kit.read_captions`."""
    severity: tuple[float, float] = (0.0, 1.0)
    """Least and greatest severity of the LQ images that are read or made; see `degrade_kit.record_severity`. Items
    whose own image is outside take another: see `degrade_kit.epoch_order.pick_by_severity`."""
    curriculum: int = 0
    """Epochs over which the greatest severity grows to 1; 0 keeps the range as it is."""
    balanced: bool = False
    """Whether mild and severe LQ images are equally likely; samples may then come several times in an epoch."""
    labels: bool = False
    """Whether each pair also has its `severity`, a number in [0, 1], and its `kinds`, a text of their names."""
    lq_scale: int | None = None
    """How many times smaller than HQ the LQ image is, such as 4 for super-resolution by 4; see
    `degrade_kit.degradation.finish`. The sizes of HQ, and `crop`, are multiples of it. None: as the recipe says that
    made the image, which for most is 1."""
    crop: int | None = None
    """Side of a square cut from the same random place of both images, pixels; None for whole images."""
    flip: bool = False
    """Whether half of the pairs are mirrored left to right."""
    dtype: Literal["uint8", "float32"] = "uint8"
    """`uint8`, 0..255, or `float32` in [0, 1], which takes four times the bytes to the device."""
    seed: int = 0
    """Of the order and of all draws."""
    landmarks: bool = False
    """Whether a pair has the face's points, of a data set that `synth --landmarks` made: `points`, float32 (5, 2), and
    `left_eye`, `right_eye` and `mouth`, float32 (3,): x, y and half the side of a square, pixels of `hq` as it is
    cropped and mirrored; and whether it is, as `mirrored`. See `degrade_kit.face_points`."""

    def __post_init__(self) -> None:
        if not 0 <= self.onthefly_prob <= 1:
            raise ConfigError(f"onthefly_prob: expected 0 to 1, got {self.onthefly_prob}")
        low, high = self.severity
        if not 0 <= low <= high <= 1:
            raise ConfigError(f"severity: expected two numbers in [0, 1], the least first, got {self.severity}")
        if self.curriculum < 0:
            raise ConfigError(f"curriculum: expected a number of epochs, 0 or more, got {self.curriculum}")
        if self.curriculum and high == 1:
            raise ConfigError("curriculum: expected a severity whose upper end is below 1, for it to grow")
        scale = 1 if self.lq_scale is None else self.lq_scale
        if scale < 1:
            raise ConfigError(f"lq_scale: expected 1, 2, 4 or another whole number, got {self.lq_scale}")
        if self.crop is not None and (self.crop < 1 or self.crop % scale):
            most = f" that is a multiple of lq_scale, {self.lq_scale}" if scale > 1 else ""
            raise ConfigError(f"crop: expected a side of at least 1 pixel{most}, got {self.crop}")
        if self.dtype not in ("uint8", "float32"):
            raise ConfigError(f'dtype: expected "uint8" or "float32", got {self.dtype!r}')
        if self.onthefly is not None and self.onthefly.models and self.network is None:
            raise ConfigError(
                f"onthefly: the recipe {self.onthefly.name} has the step `flipnet`; give network=Networks(recipe)"
            )
        if self.onthefly is not None and self.onthefly.captioned and self.captions is None:
            raise ConfigError(
                f"onthefly: the recipe {self.onthefly.name} prompts its FlipNet with captions; give "
                "captions=read_captions(FILE)"
            )
        if not isinstance(self.variant, int) and self.variant not in ("random", "cycle", "all"):
            raise ConfigError(f'variant: expected a number, "random", "cycle" or "all"; got {self.variant!r}')

    @property
    def by_severity(self) -> bool:
        """Whether the severities of LQ images decide about them."""
        return self.balanced or self.severity != (0.0, 1.0)

    def check(self, num_variants: int, where: str, extent: Sequence[int] = ()) -> None:
        """Check that samples with so many LQ images can give such pairs.

        Args:
            num_variants: LQ images of each.
            where: What holds them, for messages.
            extent: Least height and width of the images, and greatest; empty where they are not known.

        Raises:
            ConfigError: If they cannot.
        """
        if num_variants == 0 and (self.onthefly is None or self.onthefly_prob < 1):
            raise ConfigError(f"{where}: holds no LQ images; give a recipe as onthefly, and onthefly_prob=1")
        if isinstance(self.variant, int) and not 0 <= self.variant < max(num_variants, 1):
            raise ConfigError(f"variant: expected 0 to {num_variants - 1}, which {where} has; got {self.variant}")
        if self.crop is not None and extent and self.crop > min(extent):
            raise ConfigError(
                f"crop: {where} has images of {extent[1]} x {extent[0]} pixels and more, of which no {self.crop} x "
                f"{self.crop} can be cut; give at most {min(extent)}, or make it with a greater `synth --min-side`"
            )


class PairMapDataset(Dataset[Pair]):
    """Pairs by number, for a sampler of one's own; `PairDataset` brings an order.

    Args:
        shards: Folder or fsspec URL of a finished data set, or plain tars; see `PairReader`.
        options: What a pair is.
        cache_dir: Where whole shards are kept that come from a URL; see `PairReader`.
        verify: Whether to hash all local shards first.
    """

    def __init__(
        self,
        shards: str | os.PathLike[str],
        options: PairOptions | None = None,
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        verify: bool = False,
    ) -> None:
        self.options = options or PairOptions()
        self.reader = PairReader(shards, cache_dir=cache_dir, verify=verify)
        self.options.check(self.reader.num_variants, str(shards), self.reader.extent)
        # In shared memory: workers that live on from epoch to epoch hold copies of everything else.
        self._epoch: Tensor = torch.zeros(1, dtype=torch.int64).share_memory_()
        self._drawn: tuple[int, Draws] | None = None
        # Now, so that workers need not read all records again.
        self._severities = self.reader.severities() if self.options.by_severity else None

    @property
    def epoch(self) -> int:
        """Number of the epoch, which decides variants, crops and all else that is drawn."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch; to be called before its iteration begins, also where workers persist."""
        self._epoch[0] = epoch

    @property
    def shard_sizes(self) -> list[int]:
        """Items in each shard; see `degrade_kit.epoch_order`."""
        times = max(self.reader.num_variants, 1) if self.options.variant == "all" else 1
        return [size * times for size in self.reader.shard_sizes]

    def __len__(self) -> int:
        return sum(self.shard_sizes)

    def __getitem__(self, index: int) -> Pair:
        """One pair of the current epoch.

        Raises:
            ShardError: If anything of it is missing, cut or altered; it is never left out in silence.
        """
        return self.at(self.epoch, index)

    def at(self, epoch: int, item: int) -> Pair:
        """One pair of an epoch, whichever the current one is: for workers that are in different ones at a time.

        Raises:
            ShardError: As `__getitem__`.
        """
        if not -len(self) <= item < len(self):
            raise IndexError(f"item {item} of {len(self)}")
        one_thread_in_workers()
        draws = self._draws(epoch)
        return make_pair(self._load(draws, item, epoch), self.options, draws, item)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_drawn": None}

    def _draws(self, epoch: int) -> Draws:
        options = self.options
        if self._drawn is None or self._drawn[0] != epoch:
            drawn = draw_epoch(
                len(self.reader),
                max(self.reader.num_variants, 1),
                options.seed,
                epoch,
                variant=options.variant,
                onthefly_prob=options.onthefly_prob if options.onthefly else 0.0,
                flip_prob=0.5 if options.flip else 0.0,
            )
            if self._severities is not None and self.reader.num_variants:
                drawn = self._picked(drawn, self._severities, epoch)
            self._drawn = epoch, drawn
        return self._drawn[1]

    def _picked(self, drawn: Draws, severities: npt.NDArray[np.float64], epoch: int) -> Draws:
        options = self.options
        wanted = severity_range(options.severity, epoch, options.curriculum)
        only = severities[:, options.variant, None] if isinstance(options.variant, int) else severities
        stay = options.variant != "all"
        try:
            picked = pick_by_severity(
                dataclasses.replace(drawn, variant=np.zeros_like(drawn.variant)) if only is not severities else drawn,
                only,
                wanted,
                options.seed,
                epoch,
                stay=stay,
                balanced=options.balanced,
            )
        except ValueError as error:
            raise ConfigError(
                f"severity: {error} in {self.reader.url}, whose severities are {only.min():.2f} to {only.max():.2f}"
            ) from error
        return dataclasses.replace(picked, variant=drawn.variant) if only is not severities else picked

    def _load(self, draws: Draws, item: int, epoch: int) -> LoadedPair:
        sample, variant = int(draws.sample[item]), int(draws.variant[item])
        recipe = self.options.onthefly
        if recipe is None or not draws.onthefly[item]:
            raw = self.reader.read(sample, variant)
            return with_points(self.reader.stored_pair(raw, variant, self.options.lq_scale), raw, self.options)
        raw = self.reader.read(sample, None)
        rng = epoch_generator(self.options.seed, epoch, raw.info["source"], variant)
        caption = caption_of(raw, self.options.captions)
        record = recipe.draw(rng, caption)
        if self.options.by_severity:
            wanted = severity_range(self.options.severity, epoch, self.options.curriculum)
            record = redrawn(record, functools.partial(recipe.draw, rng, caption), wanted, side_of(raw.info))
        fresh = self.reader.fresh_pair(raw, record, self.options.network, self.options.lq_scale)
        return with_points(fresh, raw, self.options)


class PairDataset(IterableDataset[Pair]):
    """The pairs of an epoch in a shuffled order, each once over all ranks and workers.

    Build it when torch.distributed is up, or under `torchrun`, or say the rank. `PairLoader` takes care of batches,
    epochs and state; with a plain `DataLoader`, give `batch_size` as the loader has it, and call `set_epoch`.

    Args:
        shards: Folder or fsspec URL of a finished data set, or plain tars; see `PairReader`.
        options: What a pair is.
        batch_size: Of the DataLoader, so that its workers take turns by whole batches; 1 where it makes no batches.
        shuffle: Whether the order is a new one in each epoch, or that of the shards.
        window: Shards whose samples are mixed at a time; see `degrade_kit.epoch_order.epoch_order`.
        uneven: `pad` repeats first pairs of the order so that each rank sees equally many; `drop` leaves out last ones.
        rank: Of this process; by default torch.distributed's, else `torchrun`'s, else 0.
        world_size: Number of ranks, likewise.
        cache_dir: Where whole shards are kept that come from a URL; see `PairReader`.
        verify: Whether to hash all local shards first.
    """

    def __init__(
        self,
        shards: str | os.PathLike[str],
        options: PairOptions | None = None,
        *,
        batch_size: int = 1,
        shuffle: bool = True,
        window: int | None = None,
        uneven: Uneven = "pad",
        rank: int | None = None,
        world_size: int | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        verify: bool = False,
    ) -> None:
        if uneven not in ("pad", "drop"):
            raise ConfigError(f'uneven: expected "pad" or "drop", got {uneven!r}')
        if window is not None and window < 1:
            raise ConfigError(f"window: expected at least 1 shard, got {window}")
        self.pairs = PairMapDataset(shards, options, cache_dir=cache_dir, verify=verify)
        self.batch_size = batch_size
        self.shuffle, self.window = shuffle, window
        self.uneven: Uneven = uneven
        self.rank, self.world_size = _place(rank, world_size)
        self._consumed: Tensor = torch.zeros(1, dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        """Number of the epoch."""
        return self.pairs.epoch

    @property
    def consumed(self) -> int:
        """Pairs, of all ranks together, that the next iteration of this epoch passes over."""
        return int(self._consumed)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch, or stay where a loaded state says if that is in the same one."""
        if epoch != self.epoch:
            self.pairs.set_epoch(epoch)
            self._consumed[0] = 0

    def __len__(self) -> int:
        """Pairs that each rank sees in a whole epoch."""
        return len(rank_share(np.arange(len(self.pairs)), 0, self.rank, self.world_size, self.uneven))

    def items(self) -> Numbers:
        """Numbers of the pairs that this rank has yet to see in this epoch, in order."""
        sizes = self.pairs.shard_sizes
        order = np.arange(sum(sizes))
        if self.shuffle:
            order = epoch_order(sizes, self.pairs.options.seed, self.epoch, window=self.window)
        return rank_share(order, self.consumed, self.rank, self.world_size, self.uneven)

    def __iter__(self) -> Iterator[Pair]:
        """The pairs of this rank, or of this worker of it."""
        worker = get_worker_info()
        number, count = (worker.id, worker.num_workers) if worker else (0, 1)
        for item in worker_share(self.items(), self.batch_size, number, count):
            yield self.pairs[int(item)]

    def of_bytes(self) -> PairDataset:
        """The same pairs as uint8, always at the same place of the same epoch."""
        twin = copy.copy(self)
        twin.pairs = copy.copy(self.pairs)
        twin.pairs.options = dataclasses.replace(self.pairs.options, dtype="uint8")
        return twin

    def state_dict(self, consumed: int) -> dict[str, Any]:
        """Where the training is, for `load_state_dict`; the same on every rank.

        Args:
            consumed: Pairs of this iteration that this rank has taken out of the DataLoader. Only who takes them can
                count: workers run ahead.
        """
        return {"epoch": self.epoch, "consumed": self.consumed + consumed * self.world_size, "order": self._order_id()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a state was taken, with any number of workers and, over all of them together, of ranks.

        Raises:
            ConfigError: If the state is of other data, or of another order of them.
        """
        here, there = self._order_id(), state["order"]
        if different := [name for name in here if there.get(name) != here[name]]:
            changes = ", ".join(f"{name} {there.get(name)!r} became {here[name]!r}" for name in different)
            raise ConfigError(f"cannot go on from this state: {changes}")
        self.pairs.set_epoch(state["epoch"])
        self._consumed[0] = state["consumed"]

    def _rewind(self) -> None:
        self._consumed[0] = 0

    def _order_id(self) -> dict[str, Any]:
        """All that the order depends on."""
        options = self.pairs.options
        return {
            "digest": self.pairs.reader.digest,
            "seed": options.seed,
            "variants": "all" if options.variant == "all" else "one",
            "shuffle": self.shuffle,
            "window": self.window,
        }


class PairLoader(DataLoader[Any]):
    """A DataLoader over a `PairDataset` that counts what it hands out.

    Each iteration is one epoch, and the next one has another order by itself. `state_dict` within an iteration counts
    the batch that was handed out last as done; after `load_state_dict` the next iteration gives what remained.

    Where the options ask for float32, bytes are stacked and travel from the workers, and whole batches become floats.
    With `pin_memory` or a `collate_fn`, which see a batch before that, each pair does.

    Args:
        dataset: Its `batch_size` is set to this loader's.
        batch_size: Pairs in a batch.
        **options: As `DataLoader` has them; batches must come in order.
    """

    def __init__(self, dataset: PairDataset, *, batch_size: int | None = 1, **options: Any) -> None:  # noqa: ANN401
        if not options.get("in_order", True):
            raise ConfigError("in_order: a state says where an order was left, so batches must come in that order")
        if batch_size is not None and options.get("collate_fn") is None:
            _check_equal_sizes(dataset.pairs, batch_size)
            options["collate_fn"] = stack_pairs
        dataset.batch_size = batch_size or 1
        seen = options.get("pin_memory") or options.get("collate_fn") not in (None, stack_pairs)
        self._pairs = dataset
        self._converts = dataset.pairs.options.dtype == "float32" and not seen
        source = dataset.of_bytes() if self._converts else dataset
        cast("Any", super()).__init__(source, batch_size=batch_size, **options)
        self._handed_out = 0
        self._all_of: int | None = None  # number of the epoch whose last batch was handed out
        self._resumes = dataset.consumed > 0

    @property
    def pairs(self) -> PairDataset:
        """The data set."""
        return self._pairs

    @property
    def epoch(self) -> int:
        """Number of the epoch that is running, or else comes next."""
        return self.pairs.epoch

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch; see `PairDataset.set_epoch`."""
        self.pairs.set_epoch(epoch)
        self._all_of = None

    def remaining(self) -> int:
        """Pairs that this rank has yet to hand out in this epoch, without those that `drop_last` leaves out."""
        count = len(self.pairs.items())
        return count - count % self.batch_size if self.drop_last and self.batch_size is not None else count

    def __iter__(self) -> Any:  # noqa: ANN401 (DataLoader promises a private type)
        """The batches of one epoch, or what is left of it."""
        if self._all_of == self.epoch:  # by who counts batches, as Lightning does, and never asks for one more
            self._end_epoch()
        if not self._resumes:  # an iteration that was left early begins again
            self.pairs._rewind()  # pyright: ignore[reportPrivateUsage] (of this module)
        self._resumes, self._handed_out = False, 0
        remaining = self.remaining()
        for batch in super().__iter__():
            self._handed_out += 1 if self.batch_size is None else len(batch["key"])
            if self._handed_out == remaining:
                self._all_of = self.epoch
            if self._converts:
                batch |= {side: batch[side].float().div_(255) for side in ("hq", "lq")}
            yield batch
        self._end_epoch()

    def _end_epoch(self) -> None:
        self.pairs.set_epoch(self.epoch + 1)
        self._handed_out, self._all_of = 0, None

    def state_dict(self) -> dict[str, Any]:
        """Where the training is; the same on every rank."""
        return self.pairs.state_dict(self._handed_out)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a state was taken; see `PairDataset.load_state_dict`."""
        self.pairs.load_state_dict(state)
        self._resumes, self._handed_out, self._all_of = True, 0, None


def _check_equal_sizes(pairs: PairMapDataset, batch_size: int) -> None:
    """Find before the first batch that images do not fit into one, where the data set says so."""
    extent = pairs.reader.extent
    if pairs.options.crop is None and batch_size > 1 and extent and extent[:2] != extent[2:]:
        low, high = (f"{width} x {height}" for height, width in (extent[:2], extent[2:]))
        raise ConfigError(
            f"{pairs.reader.url}: its images have {low} to {high} pixels, and those of a batch need one size; give "
            f"crop, at most {min(extent)}, or a batch_size of 1"
        )


def stack_pairs(pairs: list[Pair]) -> dict[str, Any]:
    """Make a batch of pairs as torch does, with a message of our own where they are not of one size.

    Raises:
        ConfigError: If they are not.
    """
    sizes = {pair["key"]: tuple(pair["hq"].shape[1:]) for pair in pairs}
    if len(set(sizes.values())) > 1:
        shown = first_few([f"{key} {width} x {height}" for key, (height, width) in sizes.items()])
        raise ConfigError(f"the images of a batch need one size, and have others: {shown}; give crop, or batch_size=1")
    return cast("Any", data).default_collate(pairs)


def with_points(loaded: LoadedPair, raw: RawPair, options: PairOptions) -> LoadedPair:
    """Add the points of the face, where they are asked for.

    Raises:
        ShardError: If the sample has none, or they are damaged.
    """
    if not options.landmarks:
        return loaded
    target = ops_to_json(Record.from_json(loaded.record).target) if loaded.record else "[]"
    return dataclasses.replace(loaded, points=PairReader.points_of(raw, target))


def make_pair(loaded: LoadedPair, options: PairOptions, draws: Draws, item: int) -> Pair:
    """Make the pair of an item: cropped, mirrored and as tensors."""
    box = _box(loaded, options, draws, item)
    hq, lq = (
        to_tensor(_augment(pixels, box, scale, bool(draws.flip[item])), options.dtype)
        for pixels, scale in ((loaded.hq, 1), (loaded.lq, loaded.lq_scale))
    )
    texts = {"record": loaded.record, "key": loaded.key, "source": loaded.source, "variant": loaded.variant}
    if options.labels:
        if not loaded.record:
            raise ConfigError(f"labels: sample {loaded.key} has no record, as those of foreign tars have none")
        record = Record.from_json(loaded.record)
        texts |= {"severity": severity(record, min(loaded.hq.shape[:2])), "kinds": " ".join(kinds(record))}
    return {"hq": hq, "lq": lq, **texts, **_points(loaded, options, draws, item)}


def _points(loaded: LoadedPair, options: PairOptions, draws: Draws, item: int) -> dict[str, Any]:
    """The points of the face, cropped and mirrored as its image."""
    face = loaded.points
    if face is None:
        return {}
    top, left, _, width = _box(loaded, options, draws, item)
    face = face.moved(-left, -top) if options.crop is not None else face
    mirrored = bool(draws.flip[item])
    if mirrored:
        face = face.mirrored(width)
    squares = {name: torch.tensor(square) for name, square in zip(COMPONENTS, face.components, strict=True)}
    return {"points": torch.tensor(face.points), **squares, "mirrored": mirrored}


def _box(loaded: LoadedPair, options: PairOptions, draws: Draws, item: int) -> tuple[int, int, int, int]:
    """Top and left edge, height and width of the part of HQ that an item shows; multiples of LQ's scale."""
    (height, width), side, step = loaded.hq.shape[:2], options.crop, loaded.lq_scale
    if side is None:
        return 0, 0, height, width
    if min(height, width) < side:
        raise ConfigError(
            f"crop: sample {loaded.key} has {width} x {height} pixels, of which no {side} x {side} can be cut; give at "
            f"most {min(height, width)}"
        )
    if side % step:
        raise ConfigError(
            f"crop: sample {loaded.key} has LQ {step} times smaller than HQ: expected a multiple of {step}, got {side}"
        )
    top, left = (
        int(draw * ((extent - side) // step + 1)) * step
        for draw, extent in ((draws.top[item], height), (draws.left[item], width))
    )
    return top, left, side, side


_TRIES = 50


def redrawn(record: Record, draw: Callable[[], Record], wanted: tuple[float, float], side: int) -> Record:
    """Draw a record again until its severity lies in a range, 50 times at most; else return the nearest that came."""

    def outside(one: Record) -> float:
        found = severity(one, side)
        return max(wanted[0] - found, found - wanted[1], 0.0)

    nearest, least = record, outside(record)
    for _ in range(_TRIES):
        if least == 0:
            break
        other = draw()
        if (distance := outside(other)) < least:
            nearest, least = other, distance
    return nearest


def _augment(pixels: Pixels, box: tuple[int, int, int, int], scale: int, flip: bool) -> Pixels:
    """The crop and the flip of an item, the same for both of its images, of which one is `scale` times smaller."""
    top, left, height, width = (number // scale for number in box)
    pixels = pixels[top : top + height, left : left + width]
    return np.asarray(cv2.flip(pixels, 1), np.uint8) if flip else pixels


def to_tensor(pixels: Pixels, dtype: Literal["uint8", "float32"] = "uint8") -> Tensor:
    """CHW of HWC; uint8, or float32 in [0, 1]."""
    planes = np.empty((3, *pixels.shape[:2]), np.uint8)
    cv2.split(pixels, [planes[0], planes[1], planes[2]])  # into place, faster than NumPy and torch transpose
    values = planes if dtype == "uint8" else np.divide(planes, np.float32(255), dtype=np.float32)
    return cast("Any", torch).from_numpy(values)


def place_of_process() -> tuple[int, int]:
    """Rank of this process and number of ranks: of torch.distributed, of `torchrun`'s environment, or 0 of 1."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Rank and number of ranks: as given, or those of the process."""
    if (rank is None) != (world_size is None):
        raise ConfigError(f"rank and world_size go together, got {rank} and {world_size}")
    if rank is None or world_size is None:
        rank, world_size = place_of_process()
    if not 0 <= rank < world_size:
        raise ConfigError(f"rank: expected 0 to {world_size - 1}, got {rank}")
    return rank, world_size


def one_thread_in_workers() -> None:
    """Let the workers be the parallelism: OpenCV's threads in each would get in one another's way.

    The number 0 means none but the caller's. At 1, OpenCV would end the threads that it believes to have, and a fork of
    a process that had some crashes or hangs.
    """
    if get_worker_info() is not None and cv2.getNumThreads() > 1:
        cv2.setNumThreads(0)
