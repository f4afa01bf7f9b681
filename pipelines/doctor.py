"""`degrade-kit doctor`: what this machine has, and what is missing for which command."""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final

import numpy as np

from degrade_kit.flipnet.config import PACKAGES
from degrade_kit.pipelines.machine import memory, processors, shared_memory

DISTRIBUTION: Final = "degrade-kit"
_NOT_FOR_USERS: Final = ("all", "dev", "docs")
_OPENCV: Final = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
)
"""Distributions that hold the package cv2; any of them will do, and one alone."""


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
        Finding("processors", _processors()),
        Finding("memory", _gigabytes(memory())),
        Finding("shared memory", _gigabytes(shared_memory())),
        Finding("free space", f"{shutil.disk_usage(folder).free / 1e9:,.1f} GB in {folder}"),
    ]
    for extra, packages in required_packages().items():
        installed = {package: _version(package) for package in packages}
        missing = [package for package, number in installed.items() if number is None]
        found = ", ".join(f"{package} {number}" for package, number in installed.items() if number is not None)
        wanted = f"{DISTRIBUTION}[{extra}]" if extra else DISTRIBUTION
        hint = f"missing {', '.join(missing)}: pip install '{wanted}'" if missing else ""
        text = "; ".join(filter(None, [found, hint]))
        findings.append(Finding(f"extra {extra}" if extra else "base", text, ok=not missing, optional=bool(extra)))
    return [*findings, *_opencv(), *_codecs(), *_step_codecs(), *_flipnet()]  # the largest libraries last


def required_packages() -> dict[str, tuple[str, ...]]:
    """List what the base ("") and each extra need, from the metadata of this distribution itself."""
    found: dict[str, list[str]] = {}
    for text in requires(DISTRIBUTION) or ():
        name = re.split(r"[^\w.-]", text, maxsplit=1)[0]
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", text)
        of_extra = found.setdefault(extra[1] if extra else "", [])
        if name == DISTRIBUTION:  # an extra that takes in others, which stand before it
            inner = re.findall(r"\w+", text.partition("[")[2].partition("]")[0])
            of_extra += [package for each in inner for package in found.get(each, ())]
        else:
            of_extra.append(name)
    return {extra: tuple(dict.fromkeys(names)) for extra, names in found.items() if extra not in _NOT_FOR_USERS}


def _opencv() -> list[Finding]:
    """Whether two distributions wrote their files over each other's."""
    there = [name for name in _OPENCV if _installed(name) is not None]
    if len(there) < 2:
        return []
    advice = f"pip uninstall {' '.join(there)}, then pip install {there[0]}"
    return [Finding("OpenCV", f"{' and '.join(there)} write the same files: {advice}", ok=False, optional=True)]


def _flipnet() -> list[Finding]:
    """Check what a FlipNet would run on, and whether the one that ships is there."""
    if any(importlib.util.find_spec(name) is None for name in PACKAGES):
        return []
    try:
        import torch
    except (ImportError, OSError, MemoryError) as error:  # of libraries that do not fit together, or into the memory
        return [Finding("torch", f"cannot be loaded: {error!r}", ok=False, optional=True)]

    from degrade_kit.flipnet.folder import CONFIG_FILE, SHIPPED

    count = torch.cuda.device_count()
    devices = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(count)]
    models = {name: (folder, (folder / CONFIG_FILE).is_file()) for name, folder in SHIPPED.items()}
    return [
        Finding("torch devices", ", ".join([*devices, f"cpu, {torch.get_num_threads()} threads"])),
        *(
            Finding(f"FlipNet {name}", str(folder) if there else "not in this installation", ok=there, optional=True)
            for name, (folder, there) in models.items()
        ),
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


def _step_codecs() -> list[Finding]:
    """Which codecs the steps of recipes find, with their versions."""
    from degrade_kit.errors import ConfigError
    from degrade_kit.ops import Avif, Heic
    from degrade_kit.video_ops import VIDEO_CODECS, video_libraries

    wanted = {"avif": Avif.libraries, "heic": Heic.libraries}
    wanted |= {f"video {codec}": functools.partial(video_libraries, codec) for codec in VIDEO_CODECS}
    findings = list[Finding]()
    for step, libraries in wanted.items():
        try:
            found = ", ".join(f"{name} {number}" for name, number in libraries().items())
            findings.append(Finding(f"step {step}", found))
        except ConfigError as error:
            findings.append(Finding(f"step {step}", str(error), ok=False, optional=True))
    return findings


def _processors() -> str:
    """Write how many processors a job may use, and how many the machine has where that is more."""
    usable, there = processors(), os.cpu_count() or 1
    return str(usable) if usable >= there else f"{usable} of the {there} here, by affinity or quota"


def _gigabytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e9:,.1f} GB"


def _version(package: str) -> str | None:
    """Version of an installed package; any OpenCV counts as the one that is asked for."""
    return next(filter(None, map(_installed, _OPENCV if package in _OPENCV else (package,))), None)


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
