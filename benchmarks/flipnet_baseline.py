"""What a FlipNet is worth beside a table: `python -m benchmarks.flipnet_baseline --model photos --pairs web=PAIRS/web`.

The caption of each held-out pair is put into numbers, as a person would who knows what the phrases mean (gain,
airlight, Gaussian blur, white noise, JPEG), and the FlipNet is prompted with it. One draw of each pair and seed: the
energy distance to the real LQ images over eight measured numbers, with a 95 % interval over pairs, and the distance of
each image to its real one by texture and colour in octaves.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.harness import print_machine
from degrade_kit.flipnet.acceptance import asked_levels
from degrade_kit.flipnet.captions import source_caption
from degrade_kit.flipnet.crops import read_pair
from degrade_kit.flipnet.degrader import Degrader
from degrade_kit.flipnet.measures import energy_distance, features_of, texture_distance
from degrade_kit.flipnet.pairs import read_pairs
from degrade_kit.image import Pixels, decode_image, encode_jpeg

TABLE: Final[Mapping[str, tuple[float, ...]]] = {
    "brightness": (1.0, 0.6, 0.3, 0.1),
    "veil": (0.0, 0.2, 0.45),
    "blur": (0.3, 0.9, 1.9, 4.0),
    "noise": (0.0, 2.5, 6.0, 12.0),
    "blocks": (95, 65, 30),
}
"""For each level of a row of phrases, 0 first: gain, airlight, sigma in pixels, level of 255, JPEG quality."""
_SEEDS: Final = 5
_RESAMPLES: Final = 400


def by_table(hq: Pixels, caption: str, rng: np.random.Generator) -> Pixels:
    """Degrade an image as its caption says, by a table and a few lines of NumPy."""
    gain, air, sigma, level, quality = (TABLE[row][place] for row, place in asked_levels(caption).items())
    image = cv2.GaussianBlur(hq.astype(np.float32), (0, 0), sigma) * gain
    image = image * (1 - air) + 235 * air + rng.normal(0, level, hq.shape)
    pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return decode_image(encode_jpeg(pixels, int(quality)), min_side=16).pixels


def interval(made: npt.NDArray[np.float64], real: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Energy distance of single draws, (seeds, pairs, d), to real images, (pairs, d), with 95 % over pairs."""

    def distance(chosen: npt.NDArray[np.intp]) -> float:
        return float(np.mean([energy_distance(draw[chosen], real[chosen]) for draw in made]))

    rng, count = np.random.default_rng(0), len(real)
    drawn = [distance(rng.choice(count, count)) for _ in range(_RESAMPLES)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return distance(np.arange(count)), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="photos", help="folder of the model, or the name of one that ships")
    parser.add_argument("--pairs", action="append", required=True, metavar="KIND=DIR", help="its test split is taken")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print_machine()
    pairs: list[tuple[Pixels, Pixels]] = []
    captions: list[str] = []
    for entry in given.pairs:
        kind, _, folder = entry.partition("=")
        found = [pair for pair in read_pairs(kind, folder, limit=0, tile=0).pairs if pair.split == "test"]
        pairs += [read_pair(pair) for pair in found]
        captions += [source_caption(hq, lq, kind) for hq, lq in pairs[len(captions) :]]
    degrader = Degrader.load(given.model, device="cpu")
    faces = [hq for hq, _ in pairs]
    records = [[degrader.record(text, _SEEDS * n + k) for k in range(_SEEDS)] for n, text in enumerate(captions)]
    rng = np.random.default_rng(0)
    sources: dict[str, Sequence[Sequence[Pixels]]] = {
        given.model: degrader.run(faces, records),
        "table and NumPy": [
            [by_table(hq, text, rng) for _ in range(_SEEDS)] for hq, text in zip(faces, captions, strict=True)
        ],
        "HQ": [[hq] * _SEEDS for hq in faces],
    }
    real = features_of(pairs)
    print(f"{len(pairs)} held-out pairs: {', '.join(sorted(set(captions)))}\n")
    print("| LQ made by | energy distance | texture and colour |\n| --- | --- | --- |")
    for name, made in sources.items():
        draws = np.array(
            [features_of([(hq, images[k]) for hq, images in zip(faces, made, strict=True)]) for k in range(_SEEDS)]
        )
        mean, low, high = interval(draws, real)
        beside = [(lq, image) for (_, lq), images in zip(pairs, made, strict=True) for image in images]
        texture = np.mean([texture_distance(lq, image) for lq, image in beside])
        print(f"| {name} | {mean:.2f} [{low:.2f}, {high:.2f}] | {texture:.2f} |", flush=True)


if __name__ == "__main__":
    main()
