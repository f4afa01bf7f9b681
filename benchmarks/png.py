"""HQ images as files: encoders beside ours, by time, size and what they leave the decoder: `python -m benchmarks.png`.

All are lossless, which is checked. Encoders that are not installed are named and left out.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.harness import hq_images, print_machine, write_json
from degrade_kit.image import Pixels, decode_image, encode_png, encode_webp

Encoder = Callable[[Pixels], bytes]
OURS = "ours"


def opencv(level: int, *options: int) -> Encoder:
    def encode(pixels: Pixels) -> bytes:
        flags = [cv2.IMWRITE_PNG_COMPRESSION, level, *options]
        return cv2.imencode(".png", pixels[..., ::-1], flags)[1].tobytes()

    return encode


def encoders() -> dict[str, Encoder]:
    found: dict[str, Encoder] = {
        OURS: encode_png,
        "OpenCV, runs alone, a filter for each row": opencv(1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
        "OpenCV, level 1": opencv(1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT),
        "OpenCV, level 6": opencv(6, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT),
        "WebP, lossless": lambda pixels: encode_webp(pixels, None),
    }
    if importlib.util.find_spec("imagecodecs"):
        codecs: Any = importlib.import_module("imagecodecs")
        found["imagecodecs, libpng, level 1"] = lambda pixels: codecs.png_encode(pixels, level=1)
        found["imagecodecs, libspng, level 1"] = lambda pixels: codecs.spng_encode(pixels, level=1)
    else:
        print("left out: imagecodecs, which is not installed")
    if importlib.util.find_spec("fpng_py"):
        fpng: Any = importlib.import_module("fpng_py")
        found["fpng"] = lambda pixels: bytes(
            fpng.fpng_encode_image_to_memory(pixels.tobytes(), pixels.shape[1], pixels.shape[0], 3)
        )
    else:
        print("left out: fpng_py, which is not installed")
    return found


def measure(encode: Encoder, images: list[Pixels]) -> tuple[float, float, int]:
    """CPU seconds to encode and to decode all images, and bytes."""
    start = time.process_time()
    files = [encode(pixels) for pixels in images]
    middle = time.process_time()
    decoded = [decode_image(data).pixels for data in files]
    end = time.process_time()
    assert all(np.array_equal(one, other) for one, other in zip(images, decoded, strict=True))
    return middle - start, end - middle, sum(map(len, files))


def main() -> None:
    """Measure in turns, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.png", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (default: 5)")
    parser.add_argument("--hq", type=Path, help="folder of HQ images (default: photographs that packages ship)")
    parser.add_argument("--json", type=Path, help="write all numbers to this file as well")
    options = parser.parse_args()
    print_machine()
    cv2.setNumThreads(1)
    images = list(hq_images(options.hq).values())
    found = encoders()
    taken: dict[str, list[tuple[float, float, int]]] = {name: [] for name in found}
    for _ in range(options.rounds):
        for name, encode in found.items():
            taken[name].append(measure(encode, images))
    best = {name: np.min(np.array(rounds), axis=0) / len(images) for name, rounds in taken.items()}
    print(f"{len(images)} images, least of {options.rounds} rounds; ratios are theirs over ours")
    print(f"  {'':44}{'encode ms':>10}{'ratio':>7}{'decode ms':>11}{'ratio':>7}{'kB':>8}")
    for name, (encoding, decoding, size) in best.items():
        ratios = encoding / best[OURS][0], decoding / best[OURS][1]
        print(
            f"  {name:44}{encoding * 1e3:10.2f}{ratios[0]:7.2f}{decoding * 1e3:11.2f}{ratios[1]:7.2f}{size / 1e3:8.1f}"
        )
    rows = [
        {"name": name, "encode_ms": row[0] * 1e3, "decode_ms": row[1] * 1e3, "bytes": row[2]}
        for name, row in best.items()
    ]
    write_json(options.json, {"rows": rows})


if __name__ == "__main__":
    main()
