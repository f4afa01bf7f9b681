"""Captions of HQ images by BLIP (Li et al., ICML 2022), as the paper's degradation mode is trained with.

    captions = blip_captions(lambda i: pairs[i].hq_path.read_bytes(), len(pairs), model=BLIP, cache=Path("hq.jsonl"))

A caption takes long, so each is kept in a file, one JSON object a line, under the SHA-256 of the image file: renamed
and moved images keep theirs, and a run that was stopped goes on where it stopped. The import of this module loads no
torch.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from degrade_kit.errors import ConfigError, ImageError, RunError
from degrade_kit.files import decode_json, expand_home, local_path, read_regular, sha256, write_whole
from degrade_kit.image import Pixels, decode_image
from degrade_kit.progress import OnProgress, Progress, silent

BLIP: Final = "Salesforce/blip-image-captioning-base"
"""The usual model, 990 MB, BSD-3-Clause. Nothing fetches it unless it is named."""
CAPTIONS: Final = "captions.jsonl"
"""File of a training run in which its captions are kept."""
_MAX_TOKENS: Final = 30
_LINE_START: Final = b'{"sha256": "'


class CaptionFile:
    """Captions by image and model, kept in a JSONL file.

    Args:
        path: Made with its folder where it is missing. A line that was cut short, as by a full disk, is dropped.
        model: What the captions are from; those of other models stay in the file and are not seen.
        look: Whether nothing is made or mended on disk, as for a plan.

    Raises:
        RunError: If the file cannot be read or written, or holds something else.
    """

    def __init__(self, path: Path, model: str, *, look: bool = False) -> None:
        self._path = path
        self._model = model
        try:
            if not look:
                path.parent.mkdir(parents=True, exist_ok=True)
            data = read_regular(path) if path.exists() else b""
            whole, rest = data[: data.rfind(b"\n") + 1], data[data.rfind(b"\n") + 1 :]
            self._captions = dict(
                entry for number, line in enumerate(whole.splitlines(), 1) if (entry := self._parse(line, number))
            )
            if rest[: len(_LINE_START)] != _LINE_START[: len(rest)]:  # somebody else's file, which is left as it is
                raise RunError(_no_caption(path, rest, whole.count(b"\n") + 1))
            if rest and not look:
                write_whole(path, whole)
        except OSError as error:
            raise RunError(f"captions: cannot use {path}: {error}") from error

    def __len__(self) -> int:
        """Count the captions of this model."""
        return len(self._captions)

    def get(self, digest: str) -> str | None:
        """Return the caption of the image with this SHA-256."""
        return self._captions.get(digest)

    def add(self, captions: dict[str, str]) -> None:
        """Keep captions by SHA-256: all on disk on return, or an error.

        Raises:
            RunError: If the file cannot be written.
        """
        lines = [
            json.dumps({"sha256": digest, "model": self._model, "caption": caption}, ensure_ascii=False) + "\n"
            for digest, caption in captions.items()
        ]
        try:
            with self._path.open("ab") as file:  # one write, so that runs side by side do not tear each other's lines
                file.write("".join(lines).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(f"captions: cannot write {self._path}: {error}") from error
        self._captions |= captions

    def _parse(self, line: bytes, number: int) -> tuple[str, str] | None:
        try:
            digest, model, caption = _parsed(line)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RunError(_no_caption(self._path, line, number)) from error
        return (digest, caption) if model == self._model else None


def read_captions(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read the captions of a file by the SHA-256 of their images' files; see `CaptionFile`.

    Raises:
        ConfigError: If the file cannot be read, is empty, holds something else, or captions of several models.
    """
    place = local_path(path)
    try:
        lines = read_regular(place).splitlines()
    except OSError as error:
        raise ConfigError(f"captions: cannot read {place}: {error.strerror or error}") from error
    found: dict[str, str] = {}
    models: set[str] = set()
    for number, line in enumerate(lines, 1):
        try:
            digest, model, caption = _parsed(line)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConfigError(_no_caption(place, line, number)) from error
        found[digest] = caption
        models.add(model)
    if not found:
        raise ConfigError(f"captions: {place} is empty; `degrade-kit caption` writes it")
    if len(models) > 1:
        raise ConfigError(
            f"captions: {place} holds those of {len(models)} models, {', '.join(sorted(models))}; keep the lines of one"
        )
    return found


def _parsed(line: bytes) -> tuple[str, str, str]:
    entry = decode_json(line)
    digest, model, caption = (entry[key] for key in ("sha256", "model", "caption"))
    return str(digest), str(model), str(caption)


def _no_caption(path: Path, line: bytes, number: int) -> str:
    return (
        f'captions: {path}, line {number}: expected {{"sha256": ..., "model": ..., "caption": ...}}, got '
        f"{line[:80]!r}; remove the line or name another file"
    )


def blip_captions(
    read: Callable[[int], bytes],
    count: int,
    *,
    model: str,
    cache: Path,
    batch_size: int = 8,
    device: str | None = "cpu",
    download: bool = False,
    progress: OnProgress = silent,
    unusable: Callable[[int, ImageError], None] | None = None,
) -> list[str]:
    """Caption images, each once.

    Args:
        read: Gives the bytes of the image file with a number below `count`.
        count: Number of images.
        model: Folder in the layout of transformers' `save_pretrained`, with safetensors, or a hub id such as `BLIP`. It
            is loaded only if an image has no caption yet.
        cache: JSONL file; see `CaptionFile`.
        batch_size: Images captioned at once. Greedy decoding, so that it does not change the words.
        device: Torch device; the first GPU, or else the CPU, where None.
        download: Whether a hub id may be fetched that the hub's cache does not have.
        progress: Told of the images that have a caption or wait for their batch.
        unusable: Told of the images that cannot be used, by number, which are then left out.

    Returns:
        One caption for each image, in order.

    Raises:
        ConfigError: If transformers is not installed, or the model cannot be loaded.
        ImageError: If an image cannot be used, and `unusable` is None.
        RunError: If the cache cannot be used.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
    known = CaptionFile(cache, model)
    digests: list[str] = []
    waiting: dict[str, Pixels] = {}
    captioner: Callable[[Sequence[Pixels]], list[str]] | None = None
    for index in range(count):
        try:
            data = read(index)
            digests.append(sha256(data))
            if known.get(digests[-1]) is None and digests[-1] not in waiting:
                waiting[digests[-1]] = decode_image(data, min_side=1).pixels
        except ImageError as error:
            if unusable is None:
                raise ImageError(error.reason, f"image {index + 1} of {count} to caption: {error.detail}") from error
            unusable(index, error)
        if len(waiting) >= batch_size or (waiting and index == count - 1):
            captioner = captioner or _load(model, device, download=download)
            known.add(dict(zip(waiting, captioner(list(waiting.values())), strict=True)))
            waiting.clear()
        progress(Progress(noun="image", done=index + 1, total=count))
    return [caption for digest in digests if (caption := known.get(digest)) is not None]


def _load(model: str, device: str | None, *, download: bool) -> Callable[[Sequence[Pixels]], list[str]]:
    """Load BLIP and give a function from images to captions."""
    try:
        torch: Any = importlib.import_module("torch")
        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise ConfigError(
            f"captions by BLIP need torch and transformers ({error}); install degrade-kit[flipnet], or leave the model "
            f"out for template captions"
        ) from error
    model = expand_home(model)
    here = Path(model).is_dir() or not download
    try:
        processor = transformers.BlipProcessor.from_pretrained(model, local_files_only=here)
        network = transformers.BlipForConditionalGeneration.from_pretrained(
            model, use_safetensors=True, local_files_only=here
        )
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(
            f"captions: cannot load BLIP from {model!r}: expected a folder that holds the files of {BLIP} "
            f"(config.json, model.safetensors, tokenizer and preprocessor), or a hub id that is in the hub's cache or "
            f"that --download may fetch; {error}"
        ) from error
    from degrade_kit.flipnet.sampling import choose_device

    place = choose_device(device)
    network.eval().to(place)

    def caption(images: Sequence[Pixels]) -> list[str]:
        with torch.inference_mode():
            inputs = processor(images=list(images), return_tensors="pt").to(place)
            tokens = network.generate(**inputs, max_new_tokens=_MAX_TOKENS, do_sample=False, num_beams=1)
        texts: list[str] = processor.batch_decode(tokens, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    return caption
