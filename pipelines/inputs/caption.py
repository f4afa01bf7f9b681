"""`degrade-kit caption`: captions of images, made ahead by BLIP, for FlipNets that are prompted with them."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from degrade_kit.errors import ConfigError, ImageError
from degrade_kit.files import local_path
from degrade_kit.flipnet.blip import blip_captions
from degrade_kit.flipnet.folder import is_hub_id
from degrade_kit.pipelines.claim import check_apart
from degrade_kit.pipelines.images import list_images
from degrade_kit.progress import OnProgress, silent
from degrade_kit.sources import display_name


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
        RunError: If the file cannot be used.
    """
    if not local_path(model).is_dir() and not is_hub_id(model):
        raise ConfigError(f"captions: no folder {model}; give one with the files of a BLIP model, or a hub id")
    check_apart(out, [("--hq", os.fspath(place))])
    sources = list_images(place)
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
