"""How near FlipNets come to photographs of people whom no network saw, with the same last mile behind each source.

    python -m benchmarks.flipnet_photos --hq faces --real press=aligned_press --real web=web_faces --frame press \
        --source shipped=small --source photos=photos --source blur=blur --out look

For each set of photographs and each source, faces in HQ become as small as its faces are, by `--sizes` or the images'
own sides; the source degrades them there, a JPEG file of quality 60 to 95 follows, and they are enlarged. `--frame`
names the sets that an aligner framed: these go through a `photo_frame`, the others are enlarged by a cubic filter. A
source is a FlipNet's folder or name, `blur` (sigma 0.3 to 1.2, no network) or `none`; a FlipNet whose prompts end in
the name of a set is asked for those, and `MODEL+like=PLACE` for images like photographs, `{real}` in the place standing
for the name of the set. Judged by AUC of a linear classifier, KID and coverage in the whitened space of
the handcrafted features, and AUC of a network on patches: 95 % intervals over faces and people, as
`degrade-kit analyze-distribution`. What is made and measured is kept in the folder, and not made again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.harness import IMAGE_SUFFIXES, hq_images, print_machine
from degrade_kit.analysis.comparison import ImageSet, compare_sets
from degrade_kit.analysis.distances import Interval
from degrade_kit.analysis.features import degradation_features
from degrade_kit.analysis.groups import read_groups
from degrade_kit.analysis.patches import PatchConfig, compare_patches
from degrade_kit.analysis.probes import probe_records
from degrade_kit.analysis.whitening import Whitening
from degrade_kit.degradation import degrade_segments, finish, make_lq
from degrade_kit.face_sizes import load_sizes, quantiles_of
from degrade_kit.flipnet.degrader import Networks
from degrade_kit.flipnet.folder import degrading_model
from degrade_kit.image import Pixels, encode_png, read_image, to_pixels
from degrade_kit.network_ops import run_together
from degrade_kit.recipe import Recipe, recipe_from_mapping
from degrade_kit.seeding import generator

SIDE = 512
PROBES, PROBED_FACES = 60, 6
JPEG: Mapping[str, Any] = {"jpeg": {"quality": [60, 95]}}
NO_NETWORK: Mapping[str, list[Mapping[str, Any]]] = {"blur": [{"blur": {"sigma": [0.3, 1.2]}}], "none": []}

Features = npt.NDArray[np.float64]


def source_steps(source: str, real: str, solver_steps: int) -> list[Mapping[str, Any]]:
    """What a source does at the native size."""
    if source in NO_NETWORK:
        return NO_NETWORK[source]
    source, _, like = source.partition("+like=")
    if like:
        return [{"flipnet": {"model": source, "like": like.format(real=real), "steps": solver_steps}}]
    prompts = dict(degrading_model(source)[1])
    own = {prompt: weight for prompt, weight in prompts.items() if prompt.rpartition(", ")[2] == real}
    return [{"flipnet": {"model": source, "prompt": own or "own", "steps": solver_steps}}]


def recipe_of(source: str, real: str, sides: Sequence[float], framed: bool, solver_steps: int) -> Recipe:
    """Degrade at the native size of a set's faces, save as JPEG, enlarge."""
    steps = [*source_steps(source, real, solver_steps), JPEG]
    small = [{"resize": {"side": list(sides), "filter": "area"}}, *steps, {"resize": {"scale": 1, "filter": "cubic"}}]
    frame = [{"photo_frame": {"side": list(sides), "filter": {"cubic": 1}, "steps": steps}}]
    return recipe_from_mapping({"name": "last-mile", "steps": frame if framed else small}, "last-mile")


def make_set(folder: Path, recipe: Recipe, faces: Mapping[str, Pixels], variants: int) -> list[Path]:
    """Write the LQ images that are not there yet, and name all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {folder / f"{Path(name).stem}_{n}.png": (name, n) for name in faces for n in range(variants)}
    lacking = [path for path in wanted if not path.exists()]
    network = Networks(recipe, device="cpu")
    for start in range(0, len(lacking), 32):
        paths = lacking[start : start + 32]
        drawn = [(recipe.draw(generator(0, *wanted[path])), faces[wanted[path][0]]) for path in paths]
        made = run_together([degrade_segments(record, hq) for record, hq in drawn], network)
        for path, native in zip(paths, made, strict=True):
            path.write_bytes(encode_png(finish(native.pixels, native.tail, (SIDE, SIDE))))
        print(f"{folder}: {start + len(paths)} of {len(lacking)}", flush=True)
    return list(wanted)


def read_photo(path: Path) -> Pixels:
    """The central square, enlarged by a cubic filter where it is smaller."""
    pixels = to_pixels(read_image(path))
    side = min(pixels.shape[:2])
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    square = np.ascontiguousarray(pixels[top : top + side, left : left + side])
    filter = cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC
    return square if side == SIDE else np.asarray(cv2.resize(square, (SIDE, SIDE), interpolation=filter), np.uint8)


def measure(images: Sequence[Pixels], kept: Path) -> Features:
    """Features of each image, (n, D)."""
    if kept.exists():
        return np.load(kept)
    found = np.stack([degradation_features(image) for image in images])
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.save(kept, found)
    return found


def whitening(faces: Mapping[str, Pixels], kept: Path) -> Whitening:
    """The space in which kinds of degradation lie apart and faces do not."""
    chosen = [faces[name] for name in list(faces)[:: max(1, len(faces) // PROBED_FACES)][:PROBED_FACES]]
    if not kept.exists():
        rows = [[degradation_features(make_lq(record, face)) for face in chosen] for record in probe_records(PROBES)]
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, np.array(rows))
    return Whitening.fit(np.load(kept))


def text(value: Interval | None) -> str:
    """A number with its interval."""
    return "-" if value is None else f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]"


def pairs_of(values: Sequence[str]) -> dict[str, str]:
    """Read NAME=VALUE."""
    return {name: place for name, _, place in (value.partition("=") for value in values)}


def native_sides(name: str, paths: Sequence[Path], sizes: Mapping[str, str]) -> Sequence[float]:
    """Quantiles of the faces' sizes in a set's photographs, pixels."""
    if name in sizes:
        return load_sizes(sizes[name])
    return quantiles_of([min(read_image(path).shape[:2]) for path in paths])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hq", type=Path, required=True, help="folder of HQ faces")
    parser.add_argument("--faces", type=int, default=52, help="most HQ faces")
    parser.add_argument("--variants", type=int, default=2)
    parser.add_argument("--real", action="append", default=[], metavar="NAME=DIR", help="photographs of other people")
    parser.add_argument("--most", type=int, default=160, help="most photographs of a set")
    parser.add_argument("--frame", action="append", default=[], metavar="NAME", help="set that was aligned")
    parser.add_argument("--sizes", action="append", default=[], metavar="NAME=FILE", help="sizes.json of `align`")
    parser.add_argument(
        "--source", action="append", default=[], metavar="NAME=MODEL[+like=PLACE]", help="or blur, none"
    )
    parser.add_argument("--solver-steps", type=int, default=12)
    parser.add_argument("--patch-steps", type=int, default=220, help="of the network on patches; 0 leaves it out")
    parser.add_argument("--out", type=Path, required=True, help="folder for images, features and numbers")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print_machine()
    every = hq_images(options.hq)
    faces = {name: every[name] for name in list(every)[:: max(1, -(-len(every) // options.faces))]}
    space = whitening(faces, options.out / "features" / "probes.npy")
    rows: list[dict[str, Any]] = []
    for real, place in pairs_of(options.real).items():
        paths = sorted(path for path in Path(place).rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        paths = paths[:: max(1, -(-len(paths) // options.most))]
        people = read_groups([path.name for path in paths]).names
        photos = [read_photo(path) for path in paths]
        points = space(measure(photos, options.out / "features" / f"{real}.npy"))
        reference = ImageSet(name=real, kind="real", points=points, labels=people, groups=people)
        sides = native_sides(real, paths, pairs_of(options.sizes))
        for name, source in pairs_of(options.source).items():
            recipe = recipe_of(source, real, sides, real in options.frame, options.solver_steps)
            made = make_set(options.out / "sets" / real / name, recipe, faces, options.variants)
            images = [read_photo(path) for path in made]
            points = space(measure(images, options.out / "features" / f"{real}-{name}.npy"))
            shown = tuple(path.stem.rpartition("_")[0] for path in made)
            found = compare_sets(
                ImageSet(name=name, kind="synth", points=points, labels=shown, groups=shown), reference, 0
            )
            patches = None
            if options.patch_steps:
                config = PatchConfig(steps=options.patch_steps)
                patches = compare_patches(images, photos, shown, people, config).auc
            numbers = {
                "KID": text(found.numbers.kid),
                "coverage": text(found.numbers.coverage),
                "linear AUC": text(found.numbers.auc_interval),
                "patch AUC": text(patches),
            }
            rows.append({"real": real, "source": name, "images": len(made), "photos": len(paths), **numbers})
            print(" | ".join(str(value) for value in rows[-1].values()), flush=True)
    (options.out / "photos.json").write_text(json.dumps(rows, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
