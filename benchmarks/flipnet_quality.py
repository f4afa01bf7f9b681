"""How near a FlipNet's LQ images come to real ones, on pairs that it has not seen; and the sheets of its model card.

    python -m benchmarks.flipnet_quality --run RUN --model RUN/model --out look

RUN is a folder of `degrade-kit train-degrade`: its configuration says which pairs were held out. Three questions:

1. All together: is the made LQ distributed as the real LQ of the same HQ images? Energy distance over eight measured
   numbers, against that of the recipe flipnet-paper (Eq. 9) and of other recipes, and against the null: the real LQ
   images in two halves.
2. One by one: is the best of five seeds nearer to the true LQ than HQ itself, by texture and colour in octaves?
3. To look at: pairs with five made LQ images each, and faces with one prompt of each kind.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from degrade_kit.degradation import degrade, finish
from degrade_kit.flipnet.captions import template_caption
from degrade_kit.flipnet.config import read_fields
from degrade_kit.flipnet.crops import read_pair
from degrade_kit.flipnet.degrader import Degrader, draw_prompt
from degrade_kit.flipnet.measures import FEATURES, energy_distance, features_of, texture_distance
from degrade_kit.image import Pixels, encode_png
from degrade_kit.pipelines.models.train_degrade import DataConfig, DegradeRun, RunConfig, read_data
from degrade_kit.pipelines.sheet import Tile, contact_sheet
from degrade_kit.presets import preset
from degrade_kit.seeding import generator

SEEDS = 5
RECIPES = ("flipnet-paper", "gfpgan", "codeformer", "real-esrgan")
PROMPTS = (
    "very dark, medium noise",
    "dark, slight blur",
    "dense haze",
    "light haze, slight blur",
    "strong blur",
    "medium blur, slight noise",
    "strong noise",
    "strong compression",
    "medium blur, medium noise, strong compression",
)


def held_out_pairs(run_dir: Path, per_kind: int, side: int) -> dict[str, list[tuple[Pixels, Pixels]]]:
    """Central squares of held-out pairs by kind, at native resolution."""
    saved = yaml.safe_load((run_dir / "config.yaml").read_text("utf-8"))
    train: dict[str, Any] = saved["config"]["train"]
    config = RunConfig(data=read_fields(DataConfig, saved["config"]["data"], "data"))
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, seed=train["seed"]))
    run = DegradeRun(config=config, pairs=tuple(map(tuple, saved["pairs"])), faces=None, out_dir=run_dir)
    found: dict[str, list[tuple[Pixels, Pixels]]] = defaultdict(list)
    for pair in read_data(run).held_out:
        if len(found[pair.kind]) < per_kind:
            hq, lq = read_pair(pair)
            size = min(side, *(length // 8 * 8 for length in hq.shape[:2]))
            top, left = ((length - size) // 16 * 8 for length in hq.shape[:2])
            cut = np.s_[top : top + size, left : left + size]
            found[pair.kind].append((np.ascontiguousarray(hq[cut]), np.ascontiguousarray(lq[cut])))
    return dict(found)


def make(degrader: Degrader, hq: Pixels, prompts: Sequence[str], first_seed: int) -> list[Pixels]:
    """One LQ image for each prompt."""
    records = [degrader.record(prompt, first_seed + number) for number, prompt in enumerate(prompts)]
    return degrader.run([hq], [records])[0]


def by_recipe(name: str, hq: Pixels, source: str, count: int) -> list[Pixels]:
    """LQ images of a recipe."""
    made: list[Pixels] = []
    for number in range(count):
        native = degrade(preset(name).draw(generator(0, source, number)), hq)
        made.append(finish(native.pixels, native.tail, (hq.shape[0], hq.shape[1])))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--model", required=True, help="folder of the model, or small")
    parser.add_argument("--out", type=Path, required=True, help="folder for numbers and sheets")
    parser.add_argument("--faces", type=Path, nargs="*", default=[], help="faces for the sheet of prompts")
    parser.add_argument("--per-kind", type=int, default=8, help="held-out pairs of each kind")
    parser.add_argument("--size", type=int, default=256, help="side of the squares, pixels")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    degrader = Degrader.load(options.model)
    options.out.mkdir(parents=True, exist_ok=True)
    pairs = held_out_pairs(options.run, options.per_kind, options.size)

    rng = np.random.default_rng(0)
    sets: dict[str, list[tuple[Pixels, Pixels]]] = defaultdict(list)
    rows: dict[str, dict[str, Any]] = {}
    sheet: list[list[Tile]] = []
    for kind, found in pairs.items():
        to_hq, to_best, to_best_null = [], [], []
        for index, (hq, lq) in enumerate(found):
            caption = template_caption(hq, lq, kind)
            prompted = make(degrader, hq, [caption] * SEEDS, 1000 * index)
            free = make(degrader, hq, [draw_prompt(degrader.prompts, rng) for _ in range(SEEDS)], 1000 * index + 500)
            to_hq.append(texture_distance(hq, lq))
            to_best.append(min(texture_distance(made, lq) for made in prompted))
            to_best_null.append(min(texture_distance(made, lq) for made in free))
            sets["real"].append((hq, lq))
            sets["prompted"] += [(hq, made) for made in prompted[:1]]
            sets["own prompts"] += [(hq, made) for made in free]
            for name in RECIPES:
                sets[name] += [(hq, made) for made in by_recipe(name, hq, f"{kind}/{index}", SEEDS)]
            if index < 3:
                tiles = [Tile(hq, ("HQ", kind)), Tile(lq, ("real LQ", caption))]
                sheet.append(tiles + [Tile(made, (f"made, seed {seed}",)) for seed, made in enumerate(prompted)])
        rows[kind] = {
            "pairs": len(found),
            "HQ to real LQ": float(np.mean(to_hq)),
            "best of 5, prompted": float(np.mean(to_best)),
            "share nearer than HQ": float(np.mean(np.array(to_best) < to_hq)),
            "best of 5, own prompts": float(np.mean(to_best_null)),
        }
    features = {name: features_of(members) for name, members in sets.items()}
    real = features["real"]
    order = np.random.default_rng(1).permutation(len(real))
    distances = {name: energy_distance(found, real) for name, found in features.items() if name != "real"}
    distances["null: real halves"] = energy_distance(real[order[::2]], real[order[1::2]])

    print(f"energy distance to the real LQ of {len(real)} held-out pairs ({', '.join(FEATURES)})")
    for name, distance in sorted(distances.items(), key=lambda entry: entry[1]):
        print(f"  {name:24} {distance:7.3f}")
    print("texture distance to the true LQ, mean over pairs")
    for kind, row in rows.items():
        print(
            f"  {kind:10} "
            + "  ".join(f"{key} {value:.3f}" if key != "pairs" else f"{value} pairs" for key, value in row.items())
        )
    result = {"model": degrader.digest, "energy_distance": distances, "kinds": rows}
    (options.out / "quality.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    (options.out / "pairs.png").write_bytes(encode_png(contact_sheet(sheet, tile=160)))
    if options.faces:
        write_faces(degrader, options.faces, options.out / "faces.png")


def write_faces(degrader: Degrader, faces: Sequence[Path], path: Path) -> None:
    """Each face with one image for each prompt, and two of the null prompt."""
    from degrade_kit.hq import HqConfig, prepare

    rows: list[list[Tile]] = []
    for number, face in enumerate(faces):
        hq = prepare(face.read_bytes(), HqConfig(size=512)).pixels
        made = make(degrader, hq, [*PROMPTS, "", ""], 77 * number)
        tiles = [
            Tile(hq, ("HQ",)),
            *(Tile(lq, (prompt or "(null prompt)",)) for lq, prompt in zip(made, [*PROMPTS, "", ""], strict=True)),
        ]
        rows += [tiles[:6], tiles[6:]]
    path.write_bytes(encode_png(contact_sheet(rows, tile=256)))


if __name__ == "__main__":
    main()
