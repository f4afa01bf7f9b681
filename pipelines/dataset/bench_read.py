"""`degrade-kit bench-read`: how fast pairs come out of a data set here, and where the time goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from degrade_kit.errors import ConfigError

if TYPE_CHECKING:
    from degrade_kit.streaming import PairLoader

_T = TypeVar("_T")

PARTS = ("read", "decode HQ", "decode LQ", "finish LQ", "to tensors")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadConfig:
    """What to read, and how, for the timing."""

    shards: str
    cache_dir: Path | None = None
    """Where whole shards are kept that come from a URL."""
    samples: int = 256
    """Pairs to read in each measurement; no more than there are."""
    workers: int = 2
    """Workers of the DataLoader in the last measurement."""
    batch_size: int = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadReport:
    """How fast pairs were read, and where the time went."""

    samples: int
    parts: dict[str, float]
    """Milliseconds of CPU time for a pair, by the names in `PARTS`."""
    rates: dict[int, float]
    """Pairs per second of wall time, by number of workers."""
    decoder: str
    """What decodes PNG files."""


def bench_read(config: ReadConfig) -> ReadReport:
    """Measure the parts of reading on this thread, then whole loaders without and with workers.

    Raises:
        ConfigError: If torch is not installed.
    """
    if find_spec("torch") is None:
        raise ConfigError("reading into torch needs torch: pip install torch")
    from degrade_kit.epoch_order import epoch_order
    from degrade_kit.streaming import PairDataset, PairLoader, PairOptions, to_tensor

    dataset = PairDataset(config.shards, PairOptions(variant=0), cache_dir=config.cache_dir)
    reader = dataset.pairs.reader
    if not len(reader):
        raise ConfigError(f"{config.shards}: the data set has no samples")
    chosen = epoch_order(reader.shard_sizes, 0, 0)[: config.samples].tolist()
    seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)

    def timed(part: str, function: Callable[[], _T]) -> _T:
        start = time.thread_time()
        result = function()
        seconds[part] += time.thread_time() - start
        return result

    reader.stored_pair(reader.read(chosen[0], 0), 0)  # libraries load and tables are built on the first one
    for index in chosen:
        raw = timed("read", lambda index=index: reader.read(index, 0))
        hq = timed("decode HQ", lambda raw=raw: reader.decode_hq(raw))
        native = timed("decode LQ", lambda raw=raw: reader.decode_lq(raw))
        lq = timed("finish LQ", lambda raw=raw, native=native: reader.finish_lq(raw, native, 0))
        timed("to tensors", lambda hq=hq, lq=lq: (to_tensor(hq), to_tensor(lq)))
    rates: dict[int, float] = {}
    for workers in dict.fromkeys((0, config.workers)):
        loader = PairLoader(dataset, batch_size=config.batch_size, num_workers=workers)
        rates[workers] = _rate(loader, config.samples)
    milliseconds = {part: taken / len(chosen) * 1e3 for part, taken in seconds.items()}
    decoder = "libdeflate and libspng (imagecodecs)" if find_spec("imagecodecs") else "OpenCV"
    return ReadReport(samples=len(chosen), parts=milliseconds, rates=rates, decoder=decoder)


def _rate(loader: PairLoader, samples: int) -> float:
    """Pairs per second over as many epochs as it takes; the first batch, for which workers start, is left out."""
    counted, seconds = 0, 0.0
    while counted < samples:
        began = time.perf_counter()
        batches = iter(loader)
        first = len(next(batches)["key"])
        start = time.perf_counter()
        rest = sum(len(batch["key"]) for batch in batches)
        if not rest:  # one batch is all there is
            return first / (start - began)
        counted, seconds = counted + rest, seconds + time.perf_counter() - start
    return counted / seconds
