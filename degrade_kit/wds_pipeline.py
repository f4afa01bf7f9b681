"""Pairs as a pipeline of the `webdataset` package, for who composes stages of their own.

    pairs = webdataset("shards", PairOptions(crop=256)).shuffle(100).batched(16)
    for batch in DataLoader(pairs, batch_size=None, num_workers=4):
        ...

Shards are read from their first byte to their last, each by one worker of one rank, which suits tars that are far away.
`degrade_kit.streaming.PairDataset` gives each pair exactly once over ranks and workers, shuffles as a whole and goes on
in mid-epoch; here, as everywhere in webdataset, a rank's share is what its shards hold.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
import torch
import webdataset as untyped
from torch import Tensor

from degrade_kit import remote
from degrade_kit.epoch_order import draw_epoch
from degrade_kit.errors import ConfigError, ShardError
from degrade_kit.files import open_regular
from degrade_kit.plain_shards import assign_roles, find_tars, is_readable, plain_info
from degrade_kit.reader import PairReader, RawPair, caption_of
from degrade_kit.seeding import epoch_generator
from degrade_kit.shards import LQ_ONLY, MAX_MEMBER_BYTES, open_shards
from degrade_kit.store import LocalStore, Store
from degrade_kit.streaming import (
    Pair,
    PairOptions,
    make_pair,
    one_thread_in_workers,
    place_of_process,
    with_points,
)

wds: Any = untyped  # the package has stubs without types


class PairPipeline(wds.DataPipeline, wds.compat.FluidInterface):
    """A `webdataset` pipeline of pairs; `shuffle`, `map`, `batched` and all else of `WebDataset` append stages.

    Made by `webdataset`.
    """

    def __init__(self, tars: _Tars, options: PairOptions) -> None:
        stages = (tars, wds.split_by_node, wds.split_by_worker, _open_tars, wds.tariterators.tar_file_expander)
        parts = [*stages, wds.tariterators.group_by_keys, _Pairs(options, tars.epoch)]
        super().__init__(*parts)  # pyright: ignore[reportUnknownMemberType] (webdataset has no types)
        self._tars = tars

    @property
    def epoch(self) -> int:
        """Number of the epoch, which decides the order of the shards, variants, crops and all else that is drawn."""
        return int(self._tars.epoch)

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch; to be called before its iteration begins, also where workers persist."""
        self._tars.epoch[0] = epoch


def webdataset(
    shards: str | os.PathLike[str], options: PairOptions | None = None, *, shuffle_shards: bool = True
) -> PairPipeline:
    """Read pairs as a pipeline of the `webdataset` package.

    Each sample is what `PairDataset` gives: `hq` and `lq` of one size, `record`, `key`, `source` and `variant`. Ranks
    take turns at the shards, and so do the workers of each; call `set_epoch` before each epoch.

    Args:
        shards: Folder or fsspec URL of a finished data set, which is streamed and not kept; or plain tars, as
            `PairReader` takes them.
        options: What a pair is. The variant `cycle` begins at one of its own for each sample.
        shuffle_shards: Whether each epoch has the shards in another order; `.shuffle(100)` mixes their samples.

    Raises:
        ConfigError: If there are fewer shards than ranks, or the options do not fit them.
        ShardError: If there is no data set.
    """
    options = options or PairOptions()
    if options.by_severity:
        raise ConfigError(
            "severity: a webdataset pipeline takes the samples as they come and cannot choose; use `PairDataset`"
        )
    plain, variants, extent = find_tars(shards), None, ()
    entries: list[tuple[str, int | None]]
    if plain is None:
        found = open_shards(shards)
        if LQ_ONLY in found.manifest:
            raise ShardError(f"{found.store.url} has LQ images alone; `degrade-kit join` puts the HQ images back")
        store, variants, extent = found.store, int(found.manifest["variants"]), found.extent
        entries = [(f"{shard['name']}.tar", int(shard["bytes"])) for shard in found.shards]
    else:
        store = plain.store
        entries = [(name, None) for name in plain.names]
    if variants is not None:
        options.check(variants, str(shards), extent)
    _, world_size = place_of_process()
    if len(entries) < world_size:
        raise ConfigError(
            f"{shards}: {len(entries)} shards for {world_size} ranks; each needs one. Make more with "
            "`samples_per_shard`, or use `PairDataset`, which splits by samples"
        )
    return PairPipeline(_Tars(store, entries, options.seed, shuffle_shards), options)


class _Tars:
    """The first stage: all shards, in the order of the epoch, the same on all ranks."""

    def __init__(self, store: Store, entries: list[tuple[str, int | None]], seed: int, shuffle: bool) -> None:
        self._store, self._entries, self._seed, self._shuffle = store, entries, seed, shuffle
        # In shared memory: workers that live on from epoch to epoch hold copies of everything else.
        self.epoch: Tensor = torch.zeros(1, dtype=torch.int64).share_memory_()

    def __call__(self) -> Iterator[dict[str, Any]]:
        order = np.arange(len(self._entries))
        if self._shuffle:
            order = epoch_generator(self._seed, int(self.epoch), "\0shards").permutation(order)
        for number in order.tolist():
            name, size = self._entries[number]
            yield {"url": f"{self._store.url}/{name}", "store": self._store, "name": name, "bytes": size}


def _open_tars(shards: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Open each shard; webdataset's own way would run a shell command where a name says `pipe:`."""
    for shard in shards:
        store: Store = shard["store"]
        size = store.size(shard["name"])
        if size is None or shard["bytes"] not in (None, size):
            found = "is missing" if size is None else f"has {size} bytes, expected {shard['bytes']}"
            raise ShardError(f"{shard['url']} {found}; `degrade-kit verify` says what to do")
        with _stream(store, shard["name"]) as stream:
            yield {"url": shard["url"], "stream": stream}


def _stream(store: Store, name: str) -> BinaryIO:
    if isinstance(store, LocalStore):
        return open_regular(store.root / name)
    return remote.open_file(f"{store.url}/{name}")


@dataclass(frozen=True, slots=True)
class _Pairs:
    """The last stage: pairs of samples, which are bytes by suffix."""

    options: PairOptions
    epoch: Tensor

    def __call__(self, samples: Iterator[Mapping[str, Any]]) -> Iterator[Pair]:
        epoch = int(self.epoch)
        for sample in samples:
            one_thread_in_workers()
            raw, lq = _raw_pair(sample)
            yield from self._pairs(raw, lq, epoch)

    def _pairs(self, raw: RawPair, lq: list[bytes], epoch: int) -> Iterator[Pair]:
        options = self.options
        options.check(len(lq), raw.where)
        # One sample of its own, so that the draws depend on seed, epoch and key alone.
        seed = int(epoch_generator(options.seed, 0, f"\0pair {raw.key}").integers(2**48))
        draws = draw_epoch(
            1,
            max(len(lq), 1),
            seed,
            epoch + (seed if options.variant == "cycle" else 0),
            variant=options.variant,
            onthefly_prob=options.onthefly_prob if options.onthefly else 0.0,
            flip_prob=0.5 if options.flip else 0.0,
        )
        for item, variant in enumerate(cast("list[int]", draws.variant.tolist())):
            if options.onthefly is not None and draws.onthefly[item]:
                rng = epoch_generator(options.seed, epoch, raw.info["source"], variant)
                record = options.onthefly.draw(rng, caption_of(raw, options.captions))
                loaded = with_points(
                    PairReader.fresh_pair(raw, record, options.network, options.lq_scale), raw, options
                )
            else:
                chosen = RawPair(raw.key, raw.where, raw.info, raw.hq, lq[variant])
                loaded = with_points(PairReader.stored_pair(chosen, variant, options.lq_scale), raw, options)
            yield make_pair(loaded, options, draws, item)


def _raw_pair(sample: Mapping[str, Any]) -> tuple[RawPair, list[bytes]]:
    """The parts of a sample, and all its LQ files."""
    key = str(sample["__key__"])
    where = f"{sample['__url__']}: sample {key}"
    members: dict[str, bytes] = {
        name: data for name, data in sample.items() if not name.startswith("__") and is_readable(name)
    }
    if any(len(data) > MAX_MEMBER_BYTES for data in members.values()):
        raise ShardError(f"{where}: a member is larger than {MAX_MEMBER_BYTES} bytes")
    names = list(members)
    hq, text, *lq = (None if role is None else members[names[role]] for role in assign_roles(names, where))
    files = [cast("bytes", data) for data in lq]
    try:
        info = plain_info(key, text or b"", len(files))
    except ShardError as error:
        raise ShardError(f"{where}: {error}") from error
    return RawPair(key, where, info, cast("bytes", hq), b""), files
