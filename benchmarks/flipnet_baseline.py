"""What a FlipNet is worth beside a table: `python -m benchmarks.flipnet_baseline --model photos --pairs web=PAIRS/web`.

`--model small --run RUN` takes the pairs that a run of `train-degrade` held out, and tells of each kind.

The caption of each held-out pair is put into numbers, as a person would who knows what the phrases mean (gain,
airlight, Gaussian blur, white noise, JPEG), and the FlipNet is prompted with it. One draw of each pair and seed: the
energy distance to the real LQ images over eight measured numbers, with a 95 % interval over pairs, and the distance of
each image to its real one by texture and colour in octaves.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.flipnet_quality import held_out_pairs
from benchmarks.harness import print_machine
from degrade_kit.flipnet.acceptance import asked_levels
from degrade_kit.flipnet.captions import source_caption, template_caption
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


def of_test_splits(entries: Sequence[str]) -> tuple[list[tuple[Pixels, Pixels]], list[str], list[str]]:
    """Pairs of the test splits of folders, with captions that end in their word, and this word."""
    pairs: list[tuple[Pixels, Pixels]] = []
    captions: list[str] = []
    kinds: list[str] = []
    for entry in entries:
        kind, _, folder = entry.partition("=")
        found = [pair for pair in read_pairs(kind, folder, limit=0, tile=0).pairs if pair.split == "test"]
        pairs += [read_pair(pair) for pair in found]
        captions += [source_caption(hq, lq, kind) for hq, lq in pairs[len(captions) :]]
        kinds += [kind] * len(found)
    return pairs, captions, kinds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="photos", help="folder of the model, or the name of one that ships")
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--pairs", action="append", metavar="KIND=DIR", help="its test split is taken")
    chosen.add_argument("--run", type=Path, help="folder of a training run, whose held-out pairs are taken")
    parser.add_argument("--per-kind", type=int, default=16, help="most pairs of each kind of a run")
    parser.add_argument("--size", type=int, default=128, help="side of their squares, pixels")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print_machine()
    if given.run is None:
        pairs, captions, kinds = of_test_splits(given.pairs)
    else:
        cut = [
            (kind, pair)
            for kind, found in held_out_pairs(given.run, given.per_kind, given.size).items()
            for pair in found
        ]
        pairs, kinds = [pair for _, pair in cut], [kind for kind, _ in cut]
        captions = [template_caption(hq, lq, kind) for kind, (hq, lq) in cut]
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
    print(f"{len(pairs)} held-out pairs: {', '.join(sorted(set(captions)))}\n")
    print("| pairs | LQ made by | energy distance | texture and colour |\n| --- | --- | --- | --- |")
    groups = {kind: [place for place, other in enumerate(kinds) if other == kind] for kind in dict.fromkeys(kinds)}
    for kind, places in {**(groups if given.run else {}), "all": list(range(len(pairs)))}.items():
        real = features_of([pairs[place] for place in places])
        for name, made in sources.items():
            draws = np.array([features_of([(faces[place], made[place][k]) for place in places]) for k in range(_SEEDS)])
            mean, low, high = interval(draws, real)
            texture = np.mean([texture_distance(pairs[place][1], image) for place in places for image in made[place]])
            row = f"| {kind}, {len(places)} | {name} | {mean:.2f} [{low:.2f}, {high:.2f}] | {texture:.2f} |"
            print(row, flush=True)


if __name__ == "__main__":
    main()
