"""Measure how far each kind of degradation is from HQ, and how well severities follow: `python -m benchmarks.severity`.

Records of each kind are drawn over wide ranges; a record's distance is the mean over images and features of the change
that it makes, in standard deviations of the feature over all kinds, each at most `CLIP`. With `--write`, the distances
become the table of `degrade_kit.record_severity`: weights of the terms by least squares, then a monotone curve. The
rank correlations are of other draws and other images than those of the table; so are those of the recipes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import cv2
import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls
from scipy.stats import spearmanr

from benchmarks.harness import hq_images, print_machine, write_json
from degrade_kit import ops
from degrade_kit.analysis.features import degradation_features
from degrade_kit.degradation import make_lq
from degrade_kit.errors import ConfigError
from degrade_kit.image import Pixels
from degrade_kit.op_tools import Seat
from degrade_kit.presets import preset
from degrade_kit.recipe import recipe_from_mapping
from degrade_kit.record import Record
from degrade_kit.record_severity import NORMS, SUMS, TABLE, op_kind, severity, strength, table_key, terms_of
from degrade_kit.seeding import generator

Floats = npt.NDArray[np.float64]
SIDE: Final = 192
CLIP: Final = 4.0
KNOTS: Final = 9


def several(step: str, key: str, values: Sequence[float], **fixed: Any) -> dict[str, Any]:  # noqa: ANN401 (YAML)
    """Make a step that takes one of several values."""
    options = [{"weight": 1, "steps": [{step: {key: value, **fixed}}]} for value in values]
    return {"one_of": {"options": options}}


WIDE: Final[dict[str, dict[str, Any]]] = {
    "blur": {"blur": {"sigma": [0.3, 6], "kernels": {"iso": 1, "aniso": 1, "plateau_iso": 0.5}, "support": "full"}},
    "sinc_blur": {"sinc_blur": {"support": 21, "cutoff": [0.4, 3.0]}},
    "motion_blur": {"motion_blur": {"length": [0.5, 16]}},
    "resize": {"resize": {"scale": [1.05, 12], "filter": "area"}},
    "gaussian_noise": {"gaussian_noise": {"level": [1, 40], "gray_prob": 0.3}},
    "covariance_noise": several("covariance_noise", "level", (4, 10, 20, 40)),
    "poisson_noise": {"poisson_noise": {"scale": [0.1, 4], "gray_prob": 0.3}},
    "jpeg": {"jpeg": {"quality": [4, 98]}},
    "webp": {"webp": {"quality": [1, 98]}},
    "avif": {"avif": {"quality": [4, 95]}},
    "heic": {"heic": {"quality": [4, 95]}},
    **{f"video {codec}": {"video": {"codec": codec, "crf": [14, 48]}} for codec in ("h264", "h265", "mpeg2", "mpeg4")},
    **{f"video {codec}": {"video": {"codec": codec, "crf": [14, 48]}} for codec in ("vp9", "av1")},
    "color_shift": {"color_shift": {"limit": 50}},
    "color_jitter": {"color_jitter": {}},
    "gray": {"gray": {}},
    "haze": {"haze": {"alpha": [0.2, 0.98]}},
    "tone": {"tone": {"exposure": 0.8, "gamma": 0.25, "contrast": 0.25, "white_balance": 0.2, "saturation": 0.35}},
    "defocus": {"defocus": {"radius": [0.5, 10]}},
    "camera_shake": {"camera_shake": {"length": [1, 30]}},
    "isp": {"isp": {"shot": [0.00005, 0.05]}},
    "denoise bilateral": {"denoise": {"strength": [4, 90]}},
    "denoise nlm": {"denoise": {"strength": [5, 60], "method": "nlm"}},
    "sharpen": {"sharpen": {"amount": [0.05, 3], "radius": [0.6, 4]}},
    "low_light": {"low_light": {"gamma": [1.05, 5], "shot": [1e-6, 2e-6]}},
    "rain": {"rain": {"drops": [20, 1500]}},
    "snow": {"snow": {"flakes": [20, 900]}},
    "depth_haze": {"depth_haze": {"density": [0.1, 4], "patches": [0, 0.2]}},
    "glare": {"glare": {"strength": [0.03, 2]}},
    "scratches": {"scratches": {"count": [1, 80]}},
    "creases": {"creases": {"count": [1, 5], "depth": [0.1, 1]}},
    "dust": {"dust": {"specks": [5, 800]}},
    "fade": {"fade": {}},
    "sepia": {"sepia": {"amount": [0.02, 1]}},
    "film_grain": {"film_grain": {"level": [1, 40]}},
    "halftone cmyk": {"halftone": {"inks": "cmyk", "period": [2, 9], "blur": [0.3, 2]}},
    "halftone black": {"halftone": {"inks": "black", "period": [2, 9], "blur": [0.3, 2]}},
    "screen_capture": {"screen_capture": {"contrast": [0.01, 1], "pitch": [0.9, 3], "noise": [0.001, 0.03]}},
    "aberration": {"aberration": {"reach": [0.0003, 0.03]}},
    "impulse_noise": {"impulse_noise": {"share": [0.0005, 0.1]}},
    "pixelate": {"pixelate": {"block": [1.5, 16]}},
    "interference": {"interference": {"level": [1, 40]}},
    "banding": {"banding": {"levels": [3, 128]}},
    "palette": {"palette": {"colours": [3, 256]}},
    "interlace weave": {"interlace": {"motion": [0.3, 8], "fields": "weave"}},
    "interlace blend": {"interlace": {"motion": [0.1, 3], "fields": "blend"}},
    "watermark": {"watermark": {"opacity": [0.03, 1]}},
    "uniform_noise": {"uniform_noise": {"level": [1, 60], "gray_prob": 0.3}},
    "speckle_noise": {"speckle_noise": {"level": [0.01, 0.4], "gray_prob": 0.3}},
    "perlin_noise": {"perlin_noise": {"level": [1, 40]}},
    "correlated_noise": {"correlated_noise": {"luma": [0.5, 24], "chroma": [0.5, 24]}},
    "box_blur": {"box_blur": {"side": [1.2, 20]}},
    "halo": {"halo": {"amount": [0.05, 8]}},
    "outline": {"outline": {"opacity": [0.05, 1]}},
    "levels": {"levels": {"low": [0, 100], "high": [140, 255], "gamma": [0.6, 1.6]}},
    **{
        f"channel_shift {space}": several("channel_shift", "limit", (0.3, 0.6, 1, 2, 4, 8), space=space)
        for space in ("rgb", "ycc", "cmyk")
    },
    "chroma_subsampling": {"chroma_subsampling": {"sampling": {"4:2:2": 1, "4:2:0": 1, "4:1:1": 1, "quarter": 1}}},
    "dither": {"dither": {"levels": [2, 64]}},
    "uneven_light": {"uneven_light": {"strength": [0.02, 1]}},
    "vignette": {"vignette": {"strength": [0.02, 0.95]}},
    "reflection": {"reflection": {"strength": [0.01, 1]}},
    "lens_distortion": {"lens_distortion": {"bend": [-0.2, 0.8], "target": False}},
    "occlusion": {"occlusion": {"size": [0.03, 0.6]}},
}
"""A step over a wide range for each row of the table."""
ALONE: Final = {"low_light": ops.LowLight}
"""Steps that draw several operations, with the one that is measured."""
FIXED: Final = {"denoise median": 0.55, "ai_upscale": 0.6, "flipnet": 0.9}
"""Distances of what has no strength: a median of 3 or 5, and networks, whose records do not say how much they do."""
SEVERAL: Final = (
    *("blur", "camera_shake", "color_shift", "color_jitter", "tone", "isp", "snow", "creases", "fade"),
    *("halftone cmyk", "halftone black", "screen_capture", "interlace blend", "interference", "watermark"),
    *("perlin_noise", "correlated_noise", "halo", "outline", "levels", "reflection", "occlusion"),
)
"""Kinds whose distances follow from several terms."""
MIXTURES: Final = ("gfpgan", "codeformer", "real-esrgan", "press-photo", "web-photo", "crowd", "old-print", "film")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.severity", description=__doc__)
    parser.add_argument("--hq", type=Path, help="folder of HQ faces (default: photographs that packages ship)")
    parser.add_argument("--images", type=int, default=4, help="HQ images, half of them for the table (default: 4)")
    parser.add_argument("--draws", type=int, default=20, help="records of each simple kind (default: 20)")
    parser.add_argument("--many", type=int, default=50, help="records of each kind of several terms (default: 50)")
    parser.add_argument("--write", action="store_true", help="write the table of degrade_kit.record_severity")
    parser.add_argument("--only", nargs="*", default=[], help="kinds (default: all, and mixtures)")
    parser.add_argument("--json", type=Path, help="write all numbers to this file as well")
    options = parser.parse_args()
    print_machine()
    photographs = list(hq_images(options.hq).values())
    chosen = photographs[:: max(1, len(photographs) // options.images)][: options.images]
    faces = [np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8) for image in chosen]
    fitted, held = faces[0::2], faces[1::2] or faces
    wanted = options.only or list(WIDE)
    drawn = {kind: records_of(kind, options.many if kind in SEVERAL else options.draws) for kind in wanted}
    drawn = {kind: records for kind, records in drawn.items() if records}
    mixed = [] if options.only else [preset(name).draw(generator(7, name, n)) for name in MIXTURES for n in range(15)]
    changes = {
        (kind, part): np.stack([changes_of(record, images) for record in records[part::2]])
        for kind, records in drawn.items()
        for part, images in ((0, fitted), (1, held))
    }
    mixed_changes = [changes_of(record, held) for record in mixed]
    table: dict[str, Any] = {}
    if options.only:
        stored = json.loads(TABLE.read_text())
        table, spread = stored["kinds"], np.array(stored["spread"])
    else:
        spread = np.sqrt(np.mean([np.mean(rows**2, axis=(0, 1)) for rows in changes.values()], axis=0)) + 1e-6
    results: list[dict[str, Any]] = []
    print("| kind | distance | Spearman, held out |\n|---|---|---|")
    for kind, records in drawn.items():
        terms = [measured(record, kind) for record in records]
        found = [distances(changes[kind, part], spread) for part in (0, 1)]
        table[kind] = fit(kind, terms[0::2], found[0])
        rank = _rank([strength(one, table[kind]) for one in terms[1::2]], found[1])
        print(f"| `{kind}` | {found[1].min():.2f}-{found[1].max():.2f} | {rank:.3f} |", flush=True)
        results.append({"kind": kind, "distances": [*map(float, found[1])], "spearman": rank})
    for kind, distance in FIXED.items():
        table[kind] = {
            "form": "sum",
            "weights": [0.0] * (2 if "denoise" in kind else 1),
            "strengths": [0.0, 1.0],
            "distances": [distance] * 2,
        }
    if options.write:
        rows = ",\n".join(f"{json.dumps(kind)}:{json.dumps(row, separators=(',', ':'))}" for kind, row in table.items())
        kept = [float(f"{value:.4g}") for value in spread]
        TABLE.write_text(f'{{"spread":{json.dumps(kept)},\n"kinds":{{\n{rows}\n}}}}\n')
    if mixed:
        found_mixed = np.array([distances(rows[None], spread)[0] for rows in mixed_changes])
        said = [severity(record, SIDE) for record in mixed]
        for number, name in enumerate(MIXTURES):
            own = slice(15 * number, 15 * number + 15)
            rank = _rank(said[own], found_mixed[own])
            middles = f"distance {np.median(found_mixed[own]):.2f}, severity {np.median(said[own]):.2f}"
            print(f"{name}: {middles}, rank {rank:.3f}")
        print(f"all {len(mixed)} records of recipes: rank {_rank(said, found_mixed):.3f}")
        results.append({"kind": "mixtures", "distances": [*map(float, found_mixed)], "severities": said})
    write_json(options.json, results)


def records_of(kind: str, count: int) -> list[Record]:
    """Draw records of one kind; none where a package is missing."""
    back = {"resize": {"scale": 1, "filter": "cubic"}}
    recipe = recipe_from_mapping({"name": "measured", "steps": [WIDE[kind], back]}, kind)
    try:
        recipe.libraries()
    except ConfigError as error:
        print(f"{kind}: {error}")
        return []
    records = [recipe.draw(generator(11, kind, number)) for number in range(count)]
    if kind in ALONE:
        records = [Record(one.seed, tuple(op for op in one.steps if isinstance(op, ALONE[kind]))) for one in records]
    return records


def measured(record: Record, kind: str) -> tuple[float, ...]:
    """The terms of the operation of a record that is measured."""
    index, op = next((n, op) for n, op in enumerate(record.steps) if table_key(op) == kind or op_kind(op) == kind)
    scale = op.scale if isinstance(op, ops.Resize) else 1.0
    return terms_of(op, scale, Seat(record.seed, (index,))) or ()


def changes_of(record: Record, images: Sequence[Pixels]) -> Floats:
    """Changes of all features by a record, shape (images, features)."""
    return np.stack([degradation_features(make_lq(record, image)) - _of_hq(id(image), image) for image in images])


_KNOWN: dict[int, Floats] = {}


def _of_hq(key: int, image: Pixels) -> Floats:
    if key not in _KNOWN:
        _KNOWN[key] = degradation_features(image)
    return _KNOWN[key]


def distances(rows: Floats, spread: Floats) -> Floats:
    """Distance of each record from HQ: changes (records, images, features) to (records,)."""
    return np.minimum(np.abs(rows) / spread, CLIP).mean(axis=(1, 2))


def fit(kind: str, terms: Sequence[tuple[float, ...]], found: Floats) -> dict[str, Any]:
    """Fit the weights of the terms, then a monotone curve from strengths to distances."""
    array = np.array(terms)
    entry: dict[str, Any] = {"form": "sum" if kind in SUMS else "norm" if kind in NORMS else "product"}
    if entry["form"] == "sum":
        weights = nnls(array, found)[0]
    elif entry["form"] == "norm":
        weights = nnls(array**2, found**2)[0]
    else:
        # Terms grow with the degradation, all but a few of those behind the first.
        logs = np.log(np.maximum(array, 1e-6))
        weights = np.linalg.lstsq(np.column_stack([logs, np.ones(len(logs))]), np.log(found + 1e-3), rcond=None)[0][:-1]
        if array.shape[1] == 1:
            weights = np.ones(1)
    entry["weights"] = [float(f"{weight:.4g}") for weight in weights]
    strengths = np.array([strength(one, entry) for one in terms])
    order = np.argsort(strengths)
    curve = isotonic(found[order])
    places = np.unique(np.linspace(0, len(order) - 1, KNOTS).round().astype(int))
    low = (0.0 if entry["form"] != "product" else float(strengths[order][0]) - 3.0, 0.0)
    knots = [low, *((float(strengths[order][at]), float(curve[at])) for at in places)]
    entry["strengths"] = [float(f"{at:.4g}") for at, _ in knots]
    entry["distances"] = [float(f"{distance:.3g}") for _, distance in knots]
    return entry


def isotonic(values: Floats) -> Floats:
    """The non-decreasing series nearest to `values` in squares: pools of neighbours that violate the order."""
    pools: list[tuple[float, int]] = []
    for value in values:
        pools.append((float(value), 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (first, many), (second, more) = pools[-2:]
            pools[-2:] = [((first * many + second * more) / (many + more), many + more)]
    return np.concatenate([np.full(count, mean) for mean, count in pools])


def _rank(first: Sequence[float], second: Sequence[float] | Floats) -> float:
    if np.ptp(np.asarray(first)) == 0:
        return float("nan")
    return float(cast("Any", spearmanr)(first, second).statistic)


if __name__ == "__main__":
    main()
