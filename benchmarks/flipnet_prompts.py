"""The table of a FlipNet's prompts: what is measured on LQ images of faces, beside what was asked for.

    python -m benchmarks.flipnet_prompts --model photos --hq faces --out look

Each prompt of the model's own list that says a measure makes an image of each face at the size at which the network
is to act. `exact` is the share of images of which all that is measured is what was asked for, `asked` the least share
over the phrases that were asked for. Below, the share of faces on which adjacent strengths come in their order. The
model's card has the outcome, and a test makes the table of two portraits again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.harness import hq_images, print_machine
from degrade_kit.flipnet.acceptance import accept_prompts, rising_shares
from degrade_kit.flipnet.captions import CLEAN, PHRASES
from degrade_kit.flipnet.degrader import Degrader


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of the model, or small, photos, photos-teacher")
    parser.add_argument("--hq", type=Path, help="folder of HQ faces (default: photographs that packages ship)")
    parser.add_argument("--faces", type=int, default=20, help="most faces")
    parser.add_argument("--size", type=int, default=96, help="side at which the network acts, pixels")
    parser.add_argument("--least", type=float, default=0.8, help="share of images that a phrase must be measured on")
    parser.add_argument("--single", action="store_true", help="ask for each phrase by itself, in place of the list")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print_machine()
    every = list(hq_images(options.hq).values())
    chosen = every[:: max(1, -(-len(every) // options.faces))]
    side = options.size
    faces = [np.asarray(cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA), np.uint8) for face in chosen]
    degrader = Degrader.load(options.model, device="cpu")
    phrases = [CLEAN, *(phrase for levels in PHRASES.values() for phrase, _ in levels)]
    rows = accept_prompts(degrader, faces, phrases if options.single else None)
    weights = dict(degrader.prompts)
    listed: list[dict[str, Any]] = []
    print(f"| prompt | drawn | exact | asked | {' | '.join(PHRASES)} | stains |")
    print(f"|{' --- |' * (5 + len(PHRASES))}")
    for row in rows:
        medians = " | ".join(f"{value:.2f}" for value in row.medians.values())
        mark = "" if row.holds(options.least) else " (fails)"
        share = f"{weights.get(row.prompt, 0):.3f}"
        shares = f"{share} | {row.exact:.2f} | {row.kept:.2f}"
        print(f"| {row.prompt}{mark} | {shares} | {medians} | {row.stains:.2f} |", flush=True)
        listed.append(dataclasses.asdict(row))
    words = sorted({text.rpartition(", ")[2] for text, _ in degrader.prompts} - set(phrases))
    rising: dict[str, dict[str, float]] = {}
    for word in words or [""]:
        found = rising_shares(degrader, faces, word=word)
        rising[word] = {f"{first} < {second}": share for (first, second), share in found.items()}
        for pair, share in rising[word].items():
            print(f"{pair}{', ' + word if word else ''}: on {share:.0%} of the faces")
    options.out.mkdir(parents=True, exist_ok=True)
    result = {"model": degrader.digest, "faces": len(faces), "size": side, "prompts": listed, "rising": rising}
    (options.out / "prompts.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
