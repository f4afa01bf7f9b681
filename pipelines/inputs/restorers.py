"""What makes HQ images of photographs: networks that packages carry, files and models of one's own, any command."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from degrade_kit.errors import ConfigError, ImageError, RunError, nearest
from degrade_kit.files import local_path, temporary_folder
from degrade_kit.image import Pixels, decode_image, encode_png
from degrade_kit.upscale_ops import UPSCALERS, enlarge, upscaler_digest, upscaler_libraries

Restore = Callable[[Sequence[Pixels]], "list[Pixels]"]
"""Makes an image of each image, uint8 RGB, of any size with equal proportions."""

INPUT, OUTPUT = "{input}", "{output}"
"""What in a command stands for the folder of its images, and for that of its results."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RestorerChoice:
    """Which restorer is meant."""

    kind: Literal["network", "model", "command"]
    """A network of `degrade_kit.upscale_ops`, a model of `train-restore`, or a command."""
    text: str
    """Name, file, folder, or the command."""
    digest: str
    """Hash of what decides its images; of a command, which may do anything, empty."""
    licence: str = ""
    """What the licence beside a model says first; empty where there is none."""


def find_restorer(text: str) -> RestorerChoice:
    """Find the restorer that a text names; nothing of it is loaded.

    Args:
        text: A name of `UPSCALERS`; an ONNX file; a folder of `train-restore`; or a command with {input} and {output},
            which reads images from the one folder, and writes images of equal names to the other.

    Raises:
        ConfigError: If there is none, or a package that it needs is missing.
    """
    if INPUT in text or OUTPUT in text:
        return RestorerChoice(kind="command", text=_check_command(text), digest="")
    if text in UPSCALERS or text.endswith(".onnx"):
        found = text if text in UPSCALERS else str(local_path(text).resolve())
        digest = upscaler_digest(found)
        upscaler_libraries(found)
        return RestorerChoice(kind="network", text=found, digest=digest)
    if not local_path(text).is_dir():
        raise ConfigError(
            f"restorer {text}: expected a name ({', '.join(UPSCALERS)}), an ONNX file, a folder of `degrade-kit "
            f"train-restore`, or a command with {INPUT} and {OUTPUT}; {nearest(text, UPSCALERS)}"
        )
    from degrade_kit.flipnet.config import require_packages
    from degrade_kit.flipnet.folder import check_model, folder_digest
    from degrade_kit.flipnet.licence import licence_notice
    from degrade_kit.restore.folder import restorer_folder, trained_size

    require_packages()
    folder = restorer_folder(text).resolve()
    check_model(folder)
    trained_size(folder)
    return RestorerChoice(kind="model", text=str(folder), digest=folder_digest(folder), licence=licence_notice(folder))


def load_restorer(restorer: RestorerChoice) -> Restore:
    """Load what restores; a command is tried on a small grey image, so that one which does not work ends the run.

    Raises:
        ConfigError: If it cannot be loaded, or is another one than was found.
        RunError: If it is a command that does not work.
    """
    if restorer.kind == "command":
        _run_command(restorer.text, [np.full((64, 64, 3), 128, np.uint8)])
        return lambda images: _run_command(restorer.text, images)
    if restorer.kind == "network":
        return lambda images: [enlarge(image, restorer.text, restorer.digest) for image in images]
    from degrade_kit.restore.infer import Restorer

    model = Restorer.load(restorer.text)
    if model.digest != restorer.digest:
        raise ConfigError(f"restorer {restorer.text}: expected the model {restorer.digest}, found {model.digest}")
    return lambda images: [model.restore(image) for image in images]


def _check_command(text: str) -> str:
    """A command whose program is there, with its path written out: it is run in another folder."""
    if INPUT not in text or OUTPUT not in text:
        raise ConfigError(f"restorer {text!r}: expected a command with both {INPUT} and {OUTPUT}")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"restorer {text!r}: cannot be parted into words: {error}") from error
    if shutil.which(words[0]) is None:
        raise ConfigError(f"restorer {text!r}: there is no program {words[0]}")
    return text


def _run_command(text: str, images: Sequence[Pixels]) -> list[Pixels]:
    """Give images to a command as PNG files, and read what it made of them."""
    folder = temporary_folder()
    try:
        source, target = folder / "input", folder / "output"
        source.mkdir()
        target.mkdir()
        for number, image in enumerate(images):
            (source / f"{number:04}.png").write_bytes(encode_png(image))
        words = [word.replace(INPUT, str(source)).replace(OUTPUT, str(target)) for word in shlex.split(text)]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode:
            said = os.fsdecode(done.stderr or done.stdout).strip().splitlines()
            raise RunError(
                f"restorer {text!r}: ended with status {done.returncode}: {said[-1] if said else 'it said nothing'}; "
                "run it by hand on a folder of images"
            )
        return [_read_result(text, target, f"{number:04}") for number in range(len(images))]
    except OSError as error:
        raise RunError(f"restorer {text!r}: cannot be run: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read_result(text: str, folder: Path, stem: str) -> Pixels:
    """The image of this name, whatever its format and what was appended to its name."""
    found = sorted(path for path in folder.iterdir() if path.stem.startswith(stem) and path.is_file())
    if not found:
        raise RunError(
            f"restorer {text!r}: it wrote no image {stem}.png to {OUTPUT}; expected one for each image of {INPUT}, of "
            "an equal name"
        )
    try:
        return decode_image(found[0].read_bytes(), min_side=1).pixels
    except ImageError as error:
        raise RunError(f"restorer {text!r}: what it wrote cannot be read: {error}") from error
