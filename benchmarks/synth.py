"""From HQ files to stored pairs on one core, beside other writers: `python -m benchmarks.synth`."""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import degrade_kit as dk
from benchmarks import peers
from benchmarks.degrade import without_colour
from benchmarks.harness import SIZE, Seconds, hq_images, print_machine, write_json
from degrade_kit.image import Pixels, encode_png
from degrade_kit.pipelines.executor import ExecutorConfig, ray_version, run_tasks
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.synth.plan import make_plan
from degrade_kit.pipelines.synth.shard import ShardReport, ShardTask, synthesize_shard_by_recipe
from degrade_kit.record import Record

PRESETS = ("flipnet-paper", "gfpgan")
BANKED = "real-world"
"""What `synth` takes by default: plain OpenCV has no counterpart of its steps here."""
VARIANTS = (1, 5)
HERE = ExecutorConfig(workers=0)

Writer = Callable[[Path], int]
"""Writes all pairs into an empty folder and returns their number."""


def shard_writer(hq_dir: Path, recipe: dk.Recipe, variants: int) -> Writer:
    """One shard by `synthesize_shard_by_recipe` in this process: native LQ, HQ bytes passed through."""

    task = shard_task(hq_dir, recipe, variants)

    def write(out: Path) -> int:
        with tempfile.TemporaryDirectory(dir=out.parent) as crumbs:
            (outcome,) = run_tasks(
                synthesize_shard_by_recipe, [dataclasses.replace(task, url=str(out), crumbs=crumbs)], HERE
            )
        assert outcome.result is not None, outcome.error
        assert outcome.result.failures == 0
        return outcome.result.count * variants

    return write


def shard_task(hq_dir: Path, recipe: dk.Recipe, variants: int) -> ShardTask:
    """A shard of all images in a folder, with no place to go to yet."""
    count = sum(1 for _ in hq_dir.iterdir())
    plan = make_plan(SynthConfig(hq=str(hq_dir), recipe=recipe, variants=variants, samples_per_shard=count))
    sources = plan.sources.select(0, count)
    return ShardTask(
        index=0,
        first=0,
        sources=sources,
        config=plan.config,
        lq_extension=plan.lq_extension,
        fingerprint=plan.fingerprint,
        url="",
        crumbs="",
    )


def naive_writer(hq_dir: Path, recipe: dk.Recipe, *, copy_hq: bool = False) -> Writer:
    """Read by OpenCV, degrade by plain OpenCV, write two PNG files; the records are those of our shards.

    Args:
        hq_dir: HQ images.
        recipe: What to draw; without colour steps, which plain OpenCV has no counterpart of here.
        copy_hq: Copy the HQ file instead of encoding it again.
    """

    def write(out: Path) -> int:
        paths = sorted(hq_dir.iterdir())
        for path in paths:
            hq = read_bgr(path)
            record: Record = recipe.draw(dk.generator(seed=0, path=path.name, variant=0))
            cv2.imwrite(str(out / f"{path.stem}_lq.png"), peers.naive(record, hq))
            if copy_hq:
                shutil.copyfile(path, out / f"{path.stem}_hq.png")
            else:
                cv2.imwrite(str(out / f"{path.stem}_hq.png"), hq)
        return len(paths)

    return write


def gfpgan_writer(hq_dir: Path, *, jitter: bool) -> Writer:
    """GFPGAN's own data set, its tensors turned back into images and written as two PNG files."""
    dataset = peers.gfpgan_dataset(hq_dir, jitter=jitter)
    tensor2img = peers.basicsr("basicsr.utils").tensor2img

    def write(out: Path) -> int:
        for index in range(len(dataset)):
            item = dataset[index]
            for name in ("lq", "gt"):
                cv2.imwrite(str(out / f"{index:08d}_{name}.png"), tensor2img(item[name], min_max=(-1, 1)))
        return len(dataset)

    return write


def read_bgr(path: Path) -> Pixels:
    """By OpenCV, as the peers do."""
    image = cv2.imread(str(path))
    assert image is not None
    return np.asarray(image, np.uint8)


@dataclasses.dataclass(frozen=True)
class Measured:
    """One writer over all rounds."""

    name: str
    seconds: Seconds
    """CPU seconds of this thread per pair, one number for each round."""
    bytes: float
    """Per pair, HQ and LQ and all else that was written."""


def run_rounds(writers: dict[str, Writer], folder: Path, rounds: int) -> list[Measured]:
    """Every writer once per round, in changing order; the first round does not count."""
    names = list(writers)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    sizes: dict[str, float] = {}
    rng = np.random.default_rng(0)
    for number in range(rounds + 1):
        for turn in rng.permutation(len(names)):
            name = names[turn]
            out = folder / "out"
            out.mkdir()
            start = time.thread_time()
            pairs = writers[name](out)
            taken = time.thread_time() - start
            if number:
                seconds[name].append(taken / pairs)
            sizes[name] = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / pairs
            shutil.rmtree(out)
    return [Measured(name, np.array(seconds[name]), sizes[name]) for name in names]


def show(measured: Sequence[Measured], references: Sequence[str]) -> list[dict[str, Any]]:
    """Print a table; the ratios are the medians over the rounds of a reference's time by the row's."""
    known = {entry.name: entry for entry in measured}
    references = [name for name in references if name in known]
    print("  [n]: times as many pairs per second as the writer [n], median of the rounds")
    heads = "".join(f"{f'[{number}]':>8}" for number, _ in enumerate(references, 1))
    print(f"  {'':58}{'ms/pair':>9}{'pairs/s':>9}{'kB/pair':>9}{heads}")
    rows: list[dict[str, Any]] = []
    for entry in measured:
        ratios = {name: float(np.median(known[name].seconds / entry.seconds)) for name in references}
        milliseconds = float(np.median(entry.seconds)) * 1e3
        label = f"[{references.index(entry.name) + 1}] {entry.name}" if entry.name in references else entry.name
        cells = "".join(f"{ratio:8.2f}" for ratio in ratios.values())
        print(f"  {label:58}{milliseconds:9.2f}{1e3 / milliseconds:9.1f}{entry.bytes / 1e3:9.0f}{cells}")
        row = {"name": entry.name, "ms_per_pair": milliseconds, "bytes_per_pair": entry.bytes, "ratios": ratios}
        rows.append(row | {"rounds_ms": (entry.seconds * 1e3).tolist()})
    print(flush=True)
    return rows


def all_writers(hq_dir: Path) -> tuple[dict[str, Writer], list[str]]:
    """The writers by name, and which of them are references for ratios."""
    writers: dict[str, Writer] = {}
    references = list[str]()
    if not peers.missing("basicsr", "gfpgan", "torchvision"):
        writers["GFPGAN's data set, no colour steps, two PNG files"] = gfpgan_writer(hq_dir, jitter=False)
        writers["GFPGAN's data set, as shipped, two PNG files"] = gfpgan_writer(hq_dir, jitter=True)
        references += writers
    for name in PRESETS:
        recipe = without_colour(name)
        writers[f"naive {name}, two PNG files"] = naive_writer(hq_dir, recipe)
        references.append(f"naive {name}, two PNG files")
        writers[f"naive {name}, HQ copied, LQ as PNG"] = naive_writer(hq_dir, recipe, copy_hq=True)
    for name in (*PRESETS, BANKED):
        for variants in VARIANTS:
            # Readers run the colour steps of a shard, so these take no part; the recipe has them all the same.
            title = f"degrade-kit {name}, {variants} variant{'s' * (variants > 1)}"
            writers[title] = shard_writer(hq_dir, dk.preset(name), variants)
    return writers, references


# ------------------------------------------------------------------------------------------ memory and start of workers


def peak_megabytes() -> float:
    """Highest resident memory of this process; not `ru_maxrss`, which a new process inherits from its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


@dataclasses.dataclass(frozen=True)
class MemoryTask:
    """A shard to make for its memory's sake."""

    hq_dir: Path
    preset: str
    variants: int


def worker_peak(task: MemoryTask) -> tuple[ShardReport, float]:
    """Make a shard; returns the peak memory of this process, in MB, with it."""
    with tempfile.TemporaryDirectory() as out:
        shard = shard_task(task.hq_dir, dk.preset(task.preset), task.variants)
        report = synthesize_shard_by_recipe(dataclasses.replace(shard, url=out, crumbs=out))
    return report, peak_megabytes()


def peak_in_new_process(task: MemoryTask) -> float:
    """Of a process that does nothing but this, as with `--workers 0`."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_here, (task,))


def _peak_here(task: MemoryTask) -> float:
    (outcome,) = run_tasks(worker_peak, [task], HERE)
    assert outcome.result is not None, outcome.error
    return outcome.result[1]


def measure_memory(hq_dir: Path, large_dir: Path) -> Iterator[dict[str, Any]]:
    """Peak memory of a process that makes one shard, for HQ files of 512 and of 1024 pixels, and of a Ray worker."""
    tasks = {
        "512, flipnet-paper, 1 variant": MemoryTask(hq_dir, "flipnet-paper", 1),
        "512, flipnet-paper, 5 variants": MemoryTask(hq_dir, "flipnet-paper", 5),
        "512, gfpgan, 5 variants": MemoryTask(hq_dir, "gfpgan", 5),
        "512, real-esrgan, 5 variants": MemoryTask(hq_dir, "real-esrgan", 5),
        "1024 shrunk to 512, flipnet-paper, 5 variants": MemoryTask(large_dir, "flipnet-paper", 5),
    }
    for name, task in tasks.items():
        yield {"name": f"process of its own, {name}", "peak_mb": peak_in_new_process(task)}
    if ray_version() is not None:
        start = time.monotonic()
        (outcome,) = run_tasks(worker_peak, [tasks["512, flipnet-paper, 5 variants"]], ExecutorConfig(workers=1))
        assert outcome.result is not None, outcome.error
        yield {"name": "Ray worker, 512, flipnet-paper, 5 variants", "peak_mb": outcome.result[1]}
        yield {"name": "the same from start to end of Ray", "wall_s": time.monotonic() - start}


def measure_ray_start() -> float:
    """Wall seconds until Ray has run one task that does nothing and is gone again."""
    start = time.monotonic()
    list(run_tasks(str, [0], ExecutorConfig(workers=1)))
    return time.monotonic() - start


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.synth", description=__doc__)
    parser.add_argument("--images", type=int, default=16, help="HQ files to a round (default: 16)")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds (default: 7)")
    parser.add_argument("--hq", type=Path, help="folder of HQ images (default: photographs that packages ship)")
    parser.add_argument("--tmp", type=Path, help="where to read and write (default: /dev/shm if there is one)")
    parser.add_argument("--json", type=Path, help="write all numbers to this file as well")
    options = parser.parse_args()

    print_machine()
    memory_disk = Path("/dev/shm")
    parent = options.tmp or (memory_disk if memory_disk.is_dir() else None)
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        hq_dir, large_dir = write_hq(folder, hq_images(options.hq), options.images)
        count = sum(1 for _ in hq_dir.iterdir())
        size = sum(path.stat().st_size for path in hq_dir.iterdir()) / count / 1e3
        print(f"{count} HQ PNG files of {SIZE} x {SIZE}, {size:.0f} kB on average, in {folder.parent}")
        print(f"CPU time of one thread, {options.rounds} rounds; PNG decoder of degrade-kit: {decoder()}\n")
        if absent := peers.missing("basicsr", "gfpgan", "torchvision"):
            print(f"skipped: GFPGAN's data set is {absent}\n")
        writers, references = all_writers(hq_dir)
        results: dict[str, Any] = {"writers": show(run_rounds(writers, folder, options.rounds), references)}
        results["memory"] = []
        for row in measure_memory(hq_dir, large_dir):
            value = f"{row['peak_mb']:.0f} MB at most" if "peak_mb" in row else f"{row['wall_s']:.1f} s"
            print(f"  {row['name']:62}{value:>16}", flush=True)
            results["memory"].append(row)
    if ray_version() is None:
        print("  Ray is not installed: pip install 'degrade-kit[ray]'")
    else:
        results["ray_start_s"] = min(measure_ray_start() for _ in range(3))
        print(f"  {'Ray: start, one empty task, end; least of 3':62}{results['ray_start_s']:14.1f} s")
    write_json(options.json, results)


def decoder() -> str:
    """Name of the library that `decode_image` takes for PNG files."""
    from importlib.util import find_spec

    return "imagecodecs (libspng)" if find_spec("imagecodecs") else "OpenCV"


def write_hq(folder: Path, images: dict[str, Pixels], count: int) -> tuple[Path, Path]:
    """HQ files of 512 pixels, the images in turn, every second round of them mirrored; and a few of 1024."""
    hq_dir, large_dir = folder / "hq", folder / "large"
    hq_dir.mkdir()
    large_dir.mkdir()
    pixels = list(images.values())
    for number in range(count):
        image = pixels[number % len(pixels)]
        if number // len(pixels) % 2:
            image = np.ascontiguousarray(image[:, ::-1])
        (hq_dir / f"{number:05d}.png").write_bytes(encode_png(image))
        if number < 4:
            large = np.asarray(cv2.resize(image, (2 * SIZE, 2 * SIZE), interpolation=cv2.INTER_CUBIC), np.uint8)
            (large_dir / f"{number:05d}.png").write_bytes(encode_png(large))
    return hq_dir, large_dir


if __name__ == "__main__":
    main()
