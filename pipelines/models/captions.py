"""Captions of the pairs that a FlipNet is trained on: made ahead, or once by the first process of a training."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from degrade_kit.errors import ConfigError
from degrade_kit.files import local_path, sha256
from degrade_kit.flipnet.blip import CAPTIONS, CaptionFile, blip_captions, read_captions
from degrade_kit.flipnet.folder import is_hub_id
from degrade_kit.progress import OnProgress, silent

_T = TypeVar("_T")

MADE_AHEAD: Final = ".jsonl"
"""How a file of `degrade-kit caption` ends, where a captioning model may stand too."""
_PATIENCE: Final = datetime.timedelta(days=7)
"""How long the other processes of a training wait for the captions."""


def check_captions(captions: str, out_dir: Path, *, download: bool) -> None:
    """Make sure that captions are here, or what makes them, without reading a model.

    Args:
        captions: File of captions, which ends in .jsonl; or hub id or folder of a BLIP model.
        out_dir: Of the run, in which captions may be kept already.
        download: Whether a hub id may be fetched that is not in the hub's cache.

    Raises:
        ConfigError: If they are not.
    """
    if captions.endswith(MADE_AHEAD):
        read_captions(captions)
        return
    if local_path(captions).is_dir() or download or (out_dir / CAPTIONS).exists():
        return
    if not is_hub_id(captions):
        raise ConfigError(f"captions: no folder {captions}; give one with the files of a BLIP model, or a hub id")
    from huggingface_hub import try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(captions, "config.json")
    except ValueError as error:
        raise ConfigError(f"captions: {captions}: neither a folder nor a hub id: {error}") from error
    if not isinstance(cached, str):
        raise ConfigError(
            f"captions: the model {captions} is not in the local cache: allow the download (--download), or give "
            "captions that `degrade-kit caption` made ahead (--captions FILE.jsonl)"
        )


def training_captions(
    read: Callable[[int], bytes],
    count: int,
    *,
    captions: str,
    out_dir: Path,
    device: str | None,
    download: bool,
    what: str,
    progress: OnProgress = silent,
) -> list[str]:
    """Find or make the captions of some images.

    Of several processes of a training the first makes them, and the others read what it kept.

    Args:
        read: Gives the bytes of the image file with a number below `count`.
        count: Number of images.
        captions: As in `check_captions`.
        out_dir: Of the run, whose `captions.jsonl` keeps what a model says.
        device: Torch device of the model; the first GPU, or else the CPU, where None.
        download: As in `check_captions`.
        what: Which images these are, for messages.
        progress: Told of the images that have a caption.

    Returns:
        One caption for each image, in order.

    Raises:
        ConfigError: If the model cannot be loaded, or the file lacks captions.
        ImageError: If an image cannot be used.
        RunError: If the captions cannot be kept.
    """
    if captions.endswith(MADE_AHEAD):
        known = read_captions(captions)
        found = [known.get(sha256(read(index))) for index in range(count)]
        if missing := found.count(None):
            raise ConfigError(
                f"captions: {captions} has none of {missing:,} of {count:,} images of {what}; `degrade-kit caption` "
                "makes those missing"
            )
        return [caption for caption in found if caption is not None]

    def caption() -> list[str]:
        return blip_captions(
            read,
            count,
            model=captions,
            cache=out_dir / CAPTIONS,
            device=device,
            download=download,
            progress=progress,
        )

    return first_alone(caption)


def first_alone(work: Callable[[], _T]) -> _T:
    """Do work in the first process of a training, and then in the others, which find it done."""
    import torch.distributed as processes

    if not (processes.is_available() and processes.is_initialized() and processes.get_world_size() > 1):
        return work()
    # A group of its own: the training's own gives up after minutes, and waits on GPUs.
    group: Any = processes.new_group(backend="gloo", timeout=_PATIENCE)
    first = processes.get_rank() == 0
    found = work() if first else None
    processes.barrier(group)
    processes.destroy_process_group(group)
    return found if first and found is not None else work()


def captions_text(captions: str, out_dir: Path, wanted: int) -> str:
    """Say in a plan where captions come from.

    Args:
        captions: As in `check_captions`.
        out_dir: Of the run.
        wanted: Images that need one.
    """
    if captions.endswith(MADE_AHEAD):
        return f"captions: of {captions}"
    kept = len(CaptionFile(out_dir / CAPTIONS, captions)) if os.path.exists(out_dir / CAPTIONS) else 0
    return (
        f"captions: of {wanted:,} HQ images by {captions}, before the first step, kept in {out_dir / CAPTIONS}"
        f"{f', which has {kept:,}' if kept else ''}"
    )
