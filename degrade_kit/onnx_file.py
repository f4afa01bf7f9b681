"""ONNX networks of others, which OpenCV reads: on a damaged file its reader may end the process, without a word.

So another process tries the file first.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Final, Literal

from degrade_kit.errors import ConfigError
from degrade_kit.files import file_sha256

_SECONDS: Final = 120.0
"""Time to read a network and run it once on a small image, on a busy machine."""
_TRY: Final = """
import sys
sys.path = [entry for entry in sys.path if entry]  # nothing of the current folder is imported
import cv2, numpy
kind, path = sys.argv[1:]
if kind == "upscaler":
    net = cv2.dnn.readNetFromONNX(numpy.fromfile(path, numpy.uint8))
    net.setInput(cv2.dnn.blobFromImage(numpy.zeros((64, 64, 3), numpy.uint8), 1 / 255))
    net.forward()
else:
    cv2.FaceDetectorYN.create(path, "", (320, 320)).detect(numpy.zeros((320, 320, 3), numpy.uint8))
"""


def check_onnx(path: Path, kind: Literal["upscaler", "detector"], what: str) -> None:
    """Make sure that OpenCV survives a network; what else is wrong with it, OpenCV says where it is loaded.

    Args:
        path: The file.
        kind: How it is run.
        what: What it is, for the message.

    Raises:
        ConfigError: If the process that tried it was ended by it, or did not come to an end.
        OSError: If the file cannot be read.
    """
    if said := _tried(path, kind, file_sha256(path)):
        raise ConfigError(f"{what}: {path}: damaged, or no network for this OpenCV: {said}")


@functools.lru_cache(maxsize=8)
def _tried(path: Path, kind: str, digest: str) -> str:
    """What became of a process that tried a file of this hash; empty where it lived."""
    del digest
    import subprocess  # for who runs no network of others, a cost of `import degrade_kit`

    try:
        done = subprocess.run(
            [sys.executable, "-c", _TRY, kind, str(path.absolute())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it ran for more than {_SECONDS:.0f} s on a small image"
    except OSError:  # a Python that cannot be started anew
        return ""
    return f"the process that tried it was ended by signal {-done.returncode}" if done.returncode < 0 else ""
