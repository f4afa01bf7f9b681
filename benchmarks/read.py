"""From stored pairs to torch batches, beside webdataset, litdata and folders of PNG files: `python -m benchmarks.read`.

All read the same HQ pixels and give batches of HQ and LQ of one size. The shards hold LQ at its native size, as
degrade-kit writes them; every reader of shards enlarges it. The folder holds it enlarged, as trainers' folders do.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import itertools
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

import degrade_kit as dk
from benchmarks.harness import hq_images, print_machine, write_json
from benchmarks.synth import decoder, write_hq
from degrade_kit.image import Pixels
from degrade_kit.pipelines.executor import ExecutorConfig
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.synth.plan import make_plan
from degrade_kit.pipelines.synth.synthesize import run_plan
from degrade_kit.shards import open_shards
from degrade_kit.streaming import PairDataset, PairLoader, PairOptions

BATCH = 8
PRESET = "gfpgan"
WDS_DEFAULT = "webdataset, its own decoder (Pillow), float32"
WDS_CV2 = "webdataset, OpenCV, uint8"
FOLDER = "folder of PNG pairs, as BasicSR reads them, float32"

Epoch = Callable[[int], Iterable[Any]]
"""Batches of one epoch with that many workers."""


# ---------------------------------------------------------------------------------------------- degrade-kit


def ours(shards: Path, options: PairOptions) -> Epoch:
    return lambda workers: PairLoader(PairDataset(shards, options), batch_size=BATCH, num_workers=workers)


# ---------------------------------------------------------------------------------------------- webdataset


def enlarge(lq: Pixels, hq: Pixels) -> Pixels:
    """As `degrade_kit.degradation.finish` with the tail that the preset has."""
    if lq.shape == hq.shape:
        return lq
    large = cv2.resize(lq.astype(np.float32), hq.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return cv2.convertScaleAbs(large)  # pyright: ignore[reportReturnType]


def opencv_rgb(data: bytes) -> Pixels:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)  # pyright: ignore[reportReturnType]


def planes(pixels: Pixels) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def libspng_rgb(data: bytes) -> Pixels:
    return importlib.import_module("imagecodecs").spng_decode(data)


def raw_to_uint8(sample: dict[str, Any], decode_png: Callable[[bytes], Pixels] = opencv_rgb) -> dict[str, Any]:
    hq, lq = decode_png(sample["hq.png"]), opencv_rgb(sample["lq0.jpg"])
    return {"hq": planes(hq), "lq": planes(enlarge(lq, hq)), "key": sample["__key__"]}


def decoded_to_float(sample: dict[str, Any]) -> dict[str, Any]:
    """Of HWC float32, which webdataset calls `rgb`."""
    hq = sample["hq.png"]
    lq = cv2.resize(sample["lq0.jpg"], hq.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return {"hq": planes(hq), "lq": planes(lq), "key": sample["__key__"]}  # pyright: ignore[reportArgumentType]


def webdataset(shards: Path, to_pair: Callable[[dict[str, Any]], dict[str, Any]]) -> Epoch:
    untyped: Any = importlib.import_module("webdataset")
    urls = sorted(str(path) for path in shards.glob("*.tar"))

    def epoch(workers: int) -> Iterable[Any]:
        pairs = untyped.WebDataset(urls, shardshuffle=len(urls)).shuffle(32)
        pairs = pairs.decode("rgb") if to_pair is decoded_to_float else pairs
        return DataLoader(pairs.map(to_pair), batch_size=BATCH, num_workers=workers)

    return epoch


# ---------------------------------------------------------------------------------------------- litdata


def litdata_chunks(shards: Path, folder: Path) -> None:
    """The stored files and names in litdata's own format, 64 MB a chunk as its documentation has it."""
    untyped: Any = importlib.import_module("litdata")
    samples = [
        {"hq.png": sample.image("hq"), "lq0.jpg": sample.image("lq0"), "__key__": sample.key}
        for sample in open_shards(shards).samples()
    ]
    # Its workers would be processes that import this module anew; one that is forked sees the list.
    untyped.optimize(
        fn=samples.__getitem__,
        inputs=list(range(len(samples))),
        output_dir=str(folder),
        chunk_bytes="64MB",
        num_workers=1,
        start_method="fork",
        verbose=False,
    )


def litdata(folder: Path, dtype: str) -> Epoch:
    untyped: Any = importlib.import_module("litdata")

    class Pairs(untyped.StreamingDataset):
        def __getitem__(self, index: Any) -> dict[str, Any]:  # noqa: ANN401 (as litdata has it)
            pair = raw_to_uint8(super().__getitem__(index))
            return pair if dtype == "uint8" else pair | {side: pair[side].float().div_(255) for side in ("hq", "lq")}

    def epoch(workers: int) -> Iterable[Any]:
        pairs = Pairs(str(folder), shuffle=True, seed=0)
        return untyped.StreamingDataLoader(pairs, batch_size=BATCH, num_workers=workers)

    return epoch


# ---------------------------------------------------------------------------------------------- PNG folder


class PngPairs(Dataset[dict[str, Any]]):
    """The calls of basicsr 1.4.2's `PairedImageDataset`: bytes, OpenCV, float32 / 255, BGR to RGB, transpose."""

    def __init__(self, folder: Path) -> None:
        self.names = sorted(path.name for path in (folder / "hq").iterdir())
        self.folder = folder

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {side: self._read(side, self.names[index]) for side in ("hq", "lq")} | {"key": self.names[index]}

    def _read(self, side: str, name: str) -> torch.Tensor:
        data = (self.folder / side / name).read_bytes()
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        rgb = cv2.cvtColor(image.astype(np.float32) / 255.0, cv2.COLOR_BGR2RGB)
        return torch.from_numpy(rgb.transpose(2, 0, 1)).float()


def png_folder(folder: Path) -> Epoch:
    return lambda workers: DataLoader(PngPairs(folder), batch_size=BATCH, num_workers=workers, shuffle=True)


def write_folder(shards: Path, folder: Path) -> None:
    for side in ("hq", "lq"):
        (folder / side).mkdir(parents=True)
    for sample in open_shards(shards).samples():
        (folder / "hq" / f"{sample.key}.png").write_bytes(sample.image("hq"))
        cv2.imwrite(str(folder / "lq" / f"{sample.key}.png"), sample.pair(0)[1][..., ::-1])


# ---------------------------------------------------------------------------------------------- measuring


def cpu_seconds() -> float:
    """Of this process and of its workers that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def one_epoch(epoch: Epoch, workers: int) -> tuple[int, float, float]:
    """Pairs, CPU seconds and wall seconds of an epoch, without the start of its workers' first batch in the latter."""
    cpu = cpu_seconds()
    batches: Iterator[Any] = iter(epoch(workers))
    first = len(next(batches)["key"]) if workers else 0
    wall = time.perf_counter()
    rest = sum(len(batch["key"]) for batch in batches)
    wall = time.perf_counter() - wall
    del batches  # its workers end
    return first + rest, cpu_seconds() - cpu, wall / max(rest, 1)


def measure(epochs: dict[str, Epoch], workers: int, rounds: int, expected: int) -> dict[str, dict[str, list[float]]]:
    """CPU and wall seconds per pair, each round once for each reader, in changing order; the first does not count."""
    seconds: dict[str, dict[str, list[float]]] = {name: {"cpu": [], "wall": []} for name in epochs}
    rng = np.random.default_rng(0)
    names = list(epochs)
    for number in range(rounds + 1):
        for turn in rng.permutation(len(names)):
            name = names[turn]
            pairs, cpu, wall = one_epoch(epochs[name], workers)
            assert pairs == expected, f"{name}: {pairs} pairs, expected {expected}"
            if number:
                seconds[name]["cpu"].append(cpu / pairs)
                seconds[name]["wall"].append(wall)
    return seconds


def show(seconds: dict[str, dict[str, list[float]]], references: list[str]) -> list[dict[str, Any]]:
    print("  [n]: CPU time of the reader [n] / CPU time of the row, median of the rounds")
    heads = "".join(f"{f'[{number}]':>7}" for number, _ in enumerate(references, 1))
    print(f"  {'':56}{'CPU ms/pair':>12}{'pairs/s CPU':>12}{'pairs/s':>9}{heads}")
    rows: list[dict[str, Any]] = []
    for name, taken in seconds.items():
        cpu = np.array(taken["cpu"])
        ratios = {other: float(np.median(np.array(seconds[other]["cpu"]) / cpu)) for other in references}
        label = f"[{references.index(name) + 1}] {name}" if name in references else name
        milliseconds, rate = float(np.median(cpu)) * 1e3, 1 / float(np.median(taken["wall"]))
        cells = "".join(f"{ratio:7.2f}" for ratio in ratios.values())
        print(f"  {label:56}{milliseconds:12.2f}{1e3 / milliseconds:12.1f}{rate:9.1f}{cells}")
        rows.append({"name": name, "cpu_ms_per_pair": milliseconds, "pairs_per_second": rate, "ratios": ratios})
    print(flush=True)
    return rows


def check_equal(shards: Path) -> None:
    """That the readers of shards give the same pixels."""
    mine = {pair["key"]: pair for pair in itertools.islice(PairDataset(shards, PairOptions(variant=0)), BATCH)}
    for batch in webdataset(shards, raw_to_uint8)(0):
        for key, hq, lq in zip(batch["key"], batch["hq"], batch["lq"], strict=True):
            if key in mine:
                assert torch.equal(mine[key]["hq"], hq), key
                assert torch.equal(mine[key]["lq"], lq), key


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.read", description=__doc__)
    parser.add_argument("--images", type=int, default=192, help="pairs in an epoch (default: 192)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (default: 5)")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="workers to run with (default: 0 2)")
    parser.add_argument("--hq", type=Path, help="folder of HQ images (default: photographs that packages ship)")
    parser.add_argument("--tmp", type=Path, help="where to read and write (default: /dev/shm if there is one)")
    parser.add_argument("--json", type=Path, help="write all numbers to this file as well")
    options = parser.parse_args()

    print_machine()
    torch.set_num_threads(1)
    memory_disk = Path("/dev/shm")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=options.tmp or (memory_disk if memory_disk.is_dir() else None)) as name:
        folder = Path(name)
        hq_dir, _ = write_hq(folder, hq_images(options.hq), options.images)
        # Without colour steps, whose part that a reader runs the others here do not know.
        config = SynthConfig(hq=str(hq_dir), recipe=recipe(), variants=1, samples_per_shard=-(-options.images // 4))
        assert run_plan(make_plan(config), str(folder / "shards"), ExecutorConfig(workers=0)).complete
        write_folder(folder / "shards", folder / "png")
        check_equal(folder / "shards")
        print(f"{options.images} pairs, batches of {BATCH}, {options.rounds} rounds, PNG decoder: {decoder()}\n")
        stored = PairOptions(variant=0)
        epochs = {
            WDS_DEFAULT: webdataset(folder / "shards", decoded_to_float),
            WDS_CV2: webdataset(folder / "shards", raw_to_uint8),
            FOLDER: png_folder(folder / "png"),
            "degrade-kit, uint8": ours(folder / "shards", stored),
            "degrade-kit, float32": ours(folder / "shards", PairOptions(variant=0, dtype="float32")),
            "degrade-kit, uint8, crop 256, flip": ours(folder / "shards", PairOptions(variant=0, crop=256, flip=True)),
            "degrade-kit, uint8, half on the fly": ours(folder / "shards", PairOptions(variant=0, onthefly=recipe())),
            "degrade-kit, uint8, all on the fly": ours(
                folder / "shards", PairOptions(variant=0, onthefly=recipe(), onthefly_prob=1.0)
            ),
        }
        if importlib.util.find_spec("litdata"):
            litdata_chunks(folder / "shards", folder / "litdata")
            for dtype in ("uint8", "float32"):
                epochs[f"litdata, OpenCV, {dtype}"] = litdata(folder / "litdata", dtype)
        else:
            print("left out: litdata, which is not installed")
        if importlib.util.find_spec("imagecodecs"):
            by_libspng = functools.partial(raw_to_uint8, decode_png=libspng_rgb)
            epochs["webdataset, libspng, uint8"] = webdataset(folder / "shards", by_libspng)
        for workers in options.workers:
            print(f"{workers} workers, {os.cpu_count()} cores")
            results[f"{workers} workers"] = show(
                measure(epochs, workers, options.rounds, options.images), [WDS_DEFAULT, WDS_CV2, FOLDER]
            )
    write_json(options.json, results)


def recipe() -> dk.Recipe:
    from benchmarks.degrade import without_colour

    return without_colour(PRESET)


if __name__ == "__main__":
    main()
