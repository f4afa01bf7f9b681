"""What the benchmarks share: photographs, interleaved timing, tables and the description of the machine."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from degrade_kit.align import align_face
from degrade_kit.demo import DEMO_PHOTOS, read_demo_photo
from degrade_kit.image import Pixels, read_image, to_pixels

cv2.setNumThreads(1)

SIZE = 512
"""Side of every HQ image."""

WARM_UP = 4
"""Samples run before the clock counts: tables are built and memory is asked for on the first ones."""

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}

Seconds = npt.NDArray[np.float64]
Contestant = Callable[[int], object]
"""Does the work on the sample of that number."""


def hq_images(folder: Path | None) -> dict[str, Pixels]:
    """HQ images of 512 x 512 by name: those in `folder`, else four views of photographs that packages ship."""
    if folder is not None:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        images = {path.relative_to(folder).as_posix(): _to_size(to_pixels(read_image(path))) for path in paths}
        if not images:
            raise SystemExit(f"{folder}: no images")
        return images
    images = {}
    for photo in DEMO_PHOTOS:
        pixels = read_demo_photo(photo)
        images[photo.name] = _to_size(pixels)
        images[f"{photo.name}_face"] = align_face(pixels, photo.landmarks, SIZE).pixels
    return images


def _to_size(pixels: Pixels) -> Pixels:
    """The upper central square, shrunk or enlarged to 512."""
    side = min(pixels.shape[:2])
    left = (pixels.shape[1] - side) // 2
    square = np.ascontiguousarray(pixels[:side, left : left + side])
    if side == SIZE:
        return square
    filter = cv2.INTER_AREA if side > SIZE else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(square, (SIZE, SIZE), interpolation=filter), np.uint8)


def interleave(contestants: Mapping[str, Contestant], count: int, warm_up: int = WARM_UP) -> dict[str, Seconds]:
    """CPU seconds of this thread for each contestant and sample.

    All contestants do sample 0, then all do sample 1, ..., so that a busy machine slows them alike; their order, and
    with it who finds whose data in the caches, changes from sample to sample.
    """
    names = list(contestants)
    seconds = {name: np.zeros(count) for name in names}
    rng = np.random.default_rng(0)
    for sample in range(-warm_up, count):
        for turn in rng.permutation(len(names)):
            name = names[turn]
            start = time.thread_time()
            contestants[name](max(sample, 0))
            if sample >= 0:
                seconds[name][sample] = time.thread_time() - start
    return seconds


@dataclass(frozen=True, kw_only=True)
class Table:
    """Times of one comparison; the ratios say how many times as long as `baseline` the others take."""

    title: str
    seconds: Mapping[str, Seconds]
    baselines: Sequence[str]
    """Contestants to divide by; the first one gets all three kinds of ratio, the others the ratio of the totals."""
    paired: bool = True
    """Whether all contestants run the same drawn numbers, so that ratios of single samples mean something."""

    def rows(self) -> list[dict[str, Any]]:
        """One for each contestant; numbers, not rounded."""
        rows: list[dict[str, Any]] = []
        first = self.seconds[self.baselines[0]]
        for name, seconds in self.seconds.items():
            row: dict[str, Any] = {"name": name, "n": len(seconds)}
            row |= {"mean_ms": float(seconds.mean()) * 1e3, "median_ms": float(np.median(seconds)) * 1e3}
            row["ratios_of_totals"] = [float(seconds.sum() / self.seconds[base].sum()) for base in self.baselines]
            if self.paired:
                row["median_of_ratios"] = float(np.median(seconds / first))
                row["mean_of_ratios"] = float((seconds / first).mean())
            rows.append(row)
        return rows

    def text(self) -> str:
        """For the terminal."""
        count = len(next(iter(self.seconds.values())))
        heads = [f"{'x total':>9}{'x median':>10}{'x mean':>8}", *(f"   / {base}" for base in self.baselines[1:])]
        lines = [f"{self.title}; n = {count}", f"  {'':54}{'ms mean':>9}{'median':>8} {''.join(heads)}"]
        for row in self.rows():
            total, *others = row["ratios_of_totals"]
            line = f"  {row['name']:54}{row['mean_ms']:9.2f}{row['median_ms']:8.2f} {total:9.2f}"
            line += (
                f"{row['median_of_ratios']:10.2f}{row['mean_of_ratios']:8.2f}" if self.paired else f"{'-':>10}{'-':>8}"
            )
            line += "".join(f"{o:{len(base) + 5}.2f}" for o, base in zip(others, self.baselines[1:], strict=True))
            lines.append(line)
        return "\n".join(lines)


def machine() -> dict[str, str]:
    """What the numbers depend on."""
    found = {"processor": _processor(), "cores": str(os.cpu_count()), "python": platform.python_version()}
    found["load"] = " ".join(f"{load:.1f}" for load in os.getloadavg())
    for package in ("numpy", "opencv-python", "torch", "torchvision", "basicsr", "gfpgan", "realesrgan", "ray"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def print_machine() -> None:
    """One line."""
    print(", ".join(f"{name} {value}" for name, value in machine().items()), end="\n\n", flush=True)


def write_json(path: Path | None, results: object) -> None:
    """Results with the machine that they come from."""
    if path is not None:
        path.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n")
