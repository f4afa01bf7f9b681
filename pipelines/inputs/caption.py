"""`degrade-kit caption`: captions of images, made ahead by BLIP, for FlipNets that are prompted with them."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from degrade_kit.errors import ConfigError, ImageError
from degrade_kit.files import local_path, sha256
from degrade_kit.flipnet.blip import CaptionFile, blip_captions
from degrade_kit.flipnet.folder import is_hub_id
from degrade_kit.pipelines.claim import check_apart
from degrade_kit.pipelines.effort import MODEL_SECONDS, Effort
from degrade_kit.pipelines.images import list_images
from degrade_kit.progress import OnProgress, silent
from degrade_kit.sources import Sources, display_name
from degrade_kit.store import LocalStore, check_writable

CAPTION_SECONDS: Final = 1.5
"""Known cost of a caption by the usual BLIP on one core: some 60 GFLOP of its encoder, and a little for each word."""


@dataclass(frozen=True, slots=True)
class CaptionReport:
    """What came of captioning a place."""

    captioned: int
    """Images that have a caption now."""
    unusable: list[tuple[str, str]]
    """Images that cannot be used, and why."""
    most: list[tuple[str, int]]
    """The most frequent captions, with their counts."""


def caption_images(
    place: str | os.PathLike[str],
    out: Path,
    *,
    model: str,
    batch_size: int = 8,
    device: str | None = None,
    download: bool = False,
    progress: OnProgress = silent,
) -> CaptionReport:
    """Caption the images of a place, and add them to a file; those that it has are kept, so that a rerun goes on.

    Args:
        place: Images, as `synth --hq` takes them.
        out: File of captions, by the SHA-256 of the images' files.
        model: Folder or hub id of a BLIP model.
        batch_size: Images captioned at once; changes no words.
        device: Torch device; the first GPU, or else the CPU, where None.
        download: Whether a hub id may be fetched that is not in the hub's cache.
        progress: Told of the images that are done.

    Raises:
        ConfigError: If there are no images, packages are missing, or the model cannot be loaded.
        RunError: If the file of captions cannot be used or made.
    """
    sources = _sources(place, out, model)
    unusable: list[tuple[str, str]] = []

    def pass_over(index: int, error: ImageError) -> None:
        unusable.append((display_name(sources.names[index]), str(error)))

    captions = blip_captions(
        sources.read,
        len(sources.names),
        model=model,
        cache=out,
        batch_size=batch_size,
        device=device,
        download=download,
        progress=progress,
        unusable=pass_over,
    )
    return CaptionReport(len(captions), unusable, Counter(captions).most_common(3))


@dataclass(frozen=True, slots=True)
class CaptionPlan:
    """What captioning a place would do."""

    images: int
    """Files of the place."""
    waiting: int
    """Different ones of them that have no caption yet."""
    effort: Effort
    """What they take on a CPU."""


def plan_captions(place: str | os.PathLike[str], out: Path, *, model: str) -> CaptionPlan:
    """Count the images that `caption_images` would caption; every file is read, and no model loaded.

    Raises:
        ConfigError: As for `caption_images`, but that the model's files are not opened.
        RunError: If the file of captions cannot be used, or made.
    """
    sources = _sources(place, out, model)
    known = CaptionFile(out, model, look=True)
    waiting: set[str] = set()
    for index in range(len(sources.names)):
        with contextlib.suppress(ImageError):  # told when they are captioned
            if known.get(digest := sha256(sources.read(index))) is None:
                waiting.add(digest)
    effort = Effort(seconds=CAPTION_SECONDS * len(waiting), tasks=1, setup=MODEL_SECONDS if waiting else 0.0)
    return CaptionPlan(len(sources.names), len(waiting), effort)


def _sources(place: str | os.PathLike[str], out: Path, model: str) -> Sources:
    """List the images, after all that can be checked without a model."""
    if not local_path(model).is_dir() and not is_hub_id(model):
        raise ConfigError(f"captions: no folder {model}; give one with the files of a BLIP model, or a hub id")
    check_apart(out, [("--hq", os.fspath(place))])
    check_writable(LocalStore(out.parent))
    return list_images(place)
