"""Draw what every step of a recipe does, and write docs/gallery.md, which shows it.

    python docs/generate_gallery.py [STEP ...]

Each strip is one part of a portrait of the demo, which is in the public domain, pixel by pixel. The steps are those of
`degrade_kit.steps.STEPS`, their texts those of the classes: a step without a strip here fails a test.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import yaml

from degrade_kit.align import align_face
from degrade_kit.degradation import make_lq
from degrade_kit.demo import DEMO_PHOTOS, read_demo_photo
from degrade_kit.image import Pixels, encode_webp
from degrade_kit.network_ops import Network
from degrade_kit.pipelines.makers.networks import NetworkSettings, check_networks, load_networks
from degrade_kit.pipelines.sheet import Tile, contact_sheet
from degrade_kit.recipe import Recipe, recipe_from_mapping
from degrade_kit.seeding import generator
from degrade_kit.steps import STEPS

ROOT = Path(__file__).resolve().parents[1]
PAGE, IMAGES = ROOT / "docs" / "gallery.md", ROOT / "docs" / "images" / "steps"

SIDE, TILE = 336, 152
"""Pixels of the HQ image, about as many as its photograph has, so that it is as sharp as one pixel after the other can
be; and of the part that is shown."""
LEFT, TOP = 92, 116
"""Place of that part: from the eyes to the mouth."""
SEED = 3


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Pictures of one step."""

    panels: dict[str, dict[str, Any]]
    """The parameters of each picture, by what is written under it."""
    grows: bool = True
    """Each picture is farther from HQ than the one before; else they are draws."""
    whole: bool = False
    """Show the whole image, reduced."""
    small: bool = False
    """Shrink the image to a third first: of what is large already the step makes nothing that is seen."""
    extra: str = ""
    """Extra that the step needs."""

    @property
    def seeds(self) -> list[int]:
        """Seed of each picture: one for all where they differ in strength alone."""
        return [SEED if self.grows else SEED + place for place in range(len(self.panels))]


def series(key: str, values: list[Any], unit: str = "", **fixed: Any) -> Strip:  # noqa: ANN401 (as YAML has them)
    """Make a strip of one parameter, from weak to strong."""
    return Strip(panels={f"{key} {value}{unit}": {key: value, **fixed} for value in values})


def draws(count: int = 4, *, whole: bool = False, **fixed: Any) -> Strip:  # noqa: ANN401 (as YAML has them)
    """Make a strip of several draws of the same parameters."""
    return Strip(panels={f"draw {number + 1}": fixed for number in range(count)}, grows=False, whole=whole)


STRIPS: dict[str, Strip] = {
    "blur": series("sigma", [0.7, 1.5, 3, 6], " px"),
    "sinc_blur": series("cutoff", [2.4, 1.6, 1.0, 0.6], " rad/px", support=21),
    "motion_blur": series("length", [3, 8, 16, 30], " px", angle=0.6),
    "resize": series("side", [224, 112, 56, 28], " px", filter="area"),
    "decimate": Strip(
        panels={f"every {factor}": {"factor": factor, "sigma": factor / 2} for factor in (2, 3, 4, 6)},
    ),
    "gaussian_noise": series("level", [3, 8, 16, 32]),
    "covariance_noise": series("level", [5, 12, 25, 50]),
    "poisson_noise": series("scale", [0.5, 1, 2, 4]),
    "jpeg": series("quality", [90, 60, 30, 10]),
    "webp": series("quality", [80, 50, 20, 3]),
    "avif": series("quality", [80, 50, 25, 5]),
    "heic": Strip(panels=series("quality", [80, 50, 25, 5]).panels, extra="heic"),
    "video": Strip(
        panels={
            f"{codec}, crf {crf}": {"codec": codec, "crf": crf, "before": 2, "motion": 1.5}
            for codec, crf in (("h264", 28), ("h264", 38), ("mpeg2", 38), ("vp9", 48))
        },
        grows=False,
        extra="video",
    ),
    "repost": Strip(
        panels={
            f"{times} time{'s' * (times > 1)}": {"times": times, "factor": [0.6, 0.9], "quality": [40, 70]}
            for times in (1, 2, 3, 4)
        }
    ),
    "color_shift": draws(limit=20),
    "color_jitter": draws(),
    "gray": Strip(panels={"gray": {}}, grows=False),
    "haze": series("alpha", [0.9, 0.7, 0.5, 0.3]),
    "shift": draws(whole=True),
    "enlarge": series("factor", [0.8, 0.5, 0.3, 0.2], filter="area"),
    "ai_upscale": Strip(
        panels={
            f"{label}{f', {share:.0%}' if share else ''}": {"model": model, "factor": 3, "strength": share}
            for label, model, share in (
                ("cubic", "realesrgan-x4plus", 0),
                ("x4plus", "realesrgan-x4plus", 0.5),
                ("x4plus", "realesrgan-x4plus", 1),
                ("anime", "realesr-animevideov3-x4", 1),
            )
        },
        grows=False,
        small=True,
        extra="upscale",
    ),
    "tone": draws(),
    "defocus": series("radius", [1, 2, 4, 8], " px"),
    "camera_shake": series("length", [4, 10, 20, 40], " px", curl=0.3),
    "isp": Strip(panels={f"shot {shot}": {"shot": [shot, shot * 1.001]} for shot in (0.0005, 0.003, 0.01, 0.04)}),
    "denoise": Strip(
        panels={
            "bilateral 15": {"strength": 15, "radius": 1.5},
            "bilateral 40": {"strength": 40, "radius": 2},
            "nlm 30": {"strength": 30, "method": "nlm"},
            "median 5 x 5": {"strength": 30, "method": "median"},
        },
        grows=False,
    ),
    "sharpen": Strip(
        panels={
            "0.4, radius 1": {"amount": 0.4, "radius": 1},
            "1, radius 1": {"amount": 1, "radius": 1},
            "2.5, radius 1": {"amount": 2.5, "radius": 1},
            "halo: 2.5, radius 4": {"amount": 2.5, "radius": 4},
        },
    ),
    "low_light": series("gamma", [1.5, 2.5, 3.5, 5.0], alpha=1, beta=0.9, shot=[0.001, 0.001001]),
    "rain": Strip(
        panels={
            f"{drops} drops": {"drops": drops, "brightness": bright, "veil": veil, "length": 0.2}
            for drops, bright, veil in ((100, 0.35, 0.02), (300, 0.45, 0.08), (800, 0.5, 0.15), (1500, 0.6, 0.25))
        },
        whole=True,
    ),
    "snow": Strip(
        panels={
            f"{flakes} flakes": {"flakes": flakes, "radius": radius, "opacity": 0.85, "veil": veil, "fall": 0.02}
            for flakes, radius, veil in ((60, 0.015, 0.02), (200, 0.018, 0.06), (450, 0.022, 0.12), (900, 0.025, 0.25))
        },
        whole=True,
    ),
    "depth_haze": Strip(
        panels=series("density", [0.5, 1, 1.8, 3.5], light=0.85, near=0.3, patches=0.2).panels, whole=True
    ),
    "glare": Strip(
        panels={
            f"strength {strength}": {"strength": strength, "across": 0.85, "down": 0.1, "spread": 0.25, "rays": 6}
            for strength in (0.1, 0.3, 0.8, 2)
        },
        whole=True,
    ),
    "scratches": Strip(
        panels=series("count", [3, 10, 25, 60], opacity=0.9, width=0.006, length=0.5, dark=0.2).panels, whole=True
    ),
    "creases": Strip(
        panels={
            f"{count}, depth {depth}": {"count": count, "depth": depth, "width": 0.006}
            for count, depth in ((1, 0.3), (1, 0.8), (2, 0.8), (4, 1.0))
        },
        whole=True,
    ),
    "dust": series("specks", [25, 80, 250, 800], hairs=[1, 3], size=0.01, opacity=0.9, dark=0.4),
    "fade": series("cyan", [0.15, 0.35, 0.55, 0.75], magenta=0.1, yellow=0.15, stain=0.15),
    "sepia": series("amount", [0.3, 0.6, 0.8, 1]),
    "film_grain": series("level", [5, 10, 18, 30], size=0.8, colour=0.3),
    "halftone": Strip(
        panels={
            f"{inks}, period {period} px": {"period": period, "inks": inks, "blur": 0.6}
            for inks, period in (("black", 3), ("black", 6), ("cmyk", 3), ("cmyk", 6))
        },
        grows=False,
    ),
    "screen_capture": Strip(
        panels={
            f"contrast {contrast}": {"pitch": 2.15, "contrast": contrast, "tilt": 0.04, "bend": 0.03}
            for contrast in (0.15, 0.3, 0.6, 1)
        },
    ),
    "banding": series("levels", [48, 24, 12, 6]),
    "palette": series("colours", [128, 32, 12, 5], dither_prob=1),
    "interlace": series("motion", [1, 2, 3, 5], " px"),
    "watermark": Strip(
        panels={
            f"opacity {opacity}": {"text": "PREVIEW", "opacity": opacity, "size": 0.06, "tiled_prob": 1, "dark_prob": 0}
            for opacity in (0.1, 0.25, 0.5, 0.9)
        },
        whole=True,
    ),
    "aberration": Strip(panels=series("reach", [0.002, 0.005, 0.01, 0.02]).panels, whole=True),
    "impulse_noise": series("share", [0.002, 0.01, 0.03, 0.1]),
    "pixelate": series("block", [2, 4, 8, 16], " px"),
    "interference": series("level", [4, 10, 20, 40], period=12),
    "uniform_noise": series("level", [6, 15, 30, 60]),
    "speckle_noise": series("level", [0.03, 0.08, 0.2, 0.5]),
    "perlin_noise": series("level", [5, 10, 20, 40], period=0.12, octaves=4, persistence=0.6, gray_prob=0),
    "correlated_noise": Strip(
        panels={
            "luma 10": {"luma": 10, "chroma": 0, "size": 0},
            "colour 15, size 2 px": {"luma": 3, "chroma": 15, "size": 2},
            "streaks": {"luma": 12, "chroma": 4, "size": 0.5, "length": 12, "angle": 0},
            "both 20, size 1 px": {"luma": 20, "chroma": 20, "size": 1},
        },
        grows=False,
    ),
    "box_blur": Strip(
        panels={
            "side 3 px": {"side": 3},
            "side 7 px": {"side": 7},
            "side 15 px": {"side": 15},
            "busy parts, 9 px": {"side": 9, "busy_prob": 1, "busy": 0.4},
        },
        grows=False,
    ),
    "halo": series("amount", [0.5, 1.5, 4, 12], radius=1.5, threshold=2),
    "outline": Strip(
        panels={
            f"from {low}, {opacity:.0%}": {"low": low, "above": 60, "opacity": opacity, "width": 1, "white_prob": 0}
            for low, opacity in ((160, 0.4), (100, 0.7), (60, 1), (20, 1))
        },
    ),
    "levels": Strip(
        panels={
            f"{low} to {high}": {"low": low, "high": high, "gamma": 1}
            for low, high in ((16, 235), (32, 210), (64, 190), (90, 160))
        },
    ),
    "channel_shift": Strip(
        panels={
            f"{space}, {limit} px": {"space": space, "limit": limit}
            for space, limit in (("rgb", 2), ("ycc", 8), ("cmyk", 2), ("cmyk", 5))
        },
        grows=False,
    ),
    "chroma_subsampling": Strip(
        panels={
            f"{sampling}, {way}": {"sampling": {sampling: 1}, "enlarging": {way: 1}}
            for sampling, way in (
                ("4:2:0", "linear"),
                ("4:1:1", "nearest"),
                ("quarter", "linear"),
                ("quarter", "nearest"),
            )
        },
        grows=False,
    ),
    "dither": Strip(
        panels={
            f"{method.replace('_', ' ')}, {levels}": {"levels": levels, "method": method}
            for method, levels in (("floyd_steinberg", 8), ("atkinson", 6), ("ordered", 5), ("riemersma", 5))
        },
        grows=False,
    ),
    "uneven_light": Strip(panels=series("strength", [0.3, 0.6, 0.85, 1], angle=0.3).panels, whole=True),
    "vignette": Strip(panels=series("strength", [0.2, 0.5, 0.75, 0.95]).panels, whole=True),
    "reflection": Strip(
        panels={
            f"strength {strength}": {"strength": strength, "blur": 0.008, "ghost": 0.03, "warmth": 0.3}
            for strength in (0.05, 0.15, 0.35, 0.8)
        },
        whole=True,
    ),
    "lens_distortion": Strip(panels=series("bend", [-0.15, 0.1, 0.3, 0.8]).panels, whole=True, grows=False),
    "occlusion": Strip(
        panels={
            f"{count}, size {size}": {"count": count, "size": size, "ellipse_prob": shape}
            for count, size, shape in ((1, 0.15, 0), (2, 0.25, 1), (3, 0.35, 0), (4, 0.5, 1))
        },
        whole=True,
    ),
    "flipnet": Strip(
        panels={
            "photos, slight blur": {"prompt": "slight blur, web"},
            **{
                f"small, {prompt}": {"model": "small", "prompt": prompt}
                for prompt in ("medium blur", "dense haze", "very dark")
            },
        },
        grows=False,
        extra="flipnet",
    ),
    "shuffle": draws(steps=[{"gaussian_noise": {"level": 25}}, {"blur": {"sigma": 1.2}}, {"jpeg": {"quality": 40}}]),
    "one_of": draws(
        options=[
            {"weight": 1, "steps": [{"blur": {"sigma": 2}}]},
            {"weight": 1, "steps": [{"gaussian_noise": {"level": 20}}]},
            {"weight": 1, "steps": [{"jpeg": {"quality": 20}}]},
        ]
    ),
    "photo_frame": Strip(
        panels={f"side {side} px": {"side": side, "steps": [{"jpeg": {"quality": 75}}]} for side in (200, 130, 90, 60)},
    ),
    "bank": draws(file="press-photo"),
    "uneven": draws(
        whole=True,
        steps=[{"blur": {"sigma": [0.2, 6]}}, {"gaussian_noise": {"level": [0, 25]}}],
        square_prob=1,
        side=[0.4, 0.6],
    ),
}
"""What is shown of each step, in the order of the page, which is that of `STEPS`."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Another tool's kinds of degradation, by its own names."""

    source: str
    """Repository and commit, or package and version, where the names stand."""
    kinds: dict[str, str]
    """The steps that do the like here, one or several with commas, by its name of the kind."""
    lacking: str = ""
    """What it has that no step here does, and why."""


PEERS: dict[str, Peer] = {
    "WTP Dataset Destroyer": Peer(
        source="[umzi2/wtp_dataset_destroyer](https://github.com/umzi2/wtp_dataset_destroyer) at ec42ce694c13, "
        "`src/process`",
        kinds={
            "blur: gauss, random": "blur",
            "blur: box": "box_blur",
            "blur: lens": "defocus",
            "blur: motion": "motion_blur",
            "blur: median": "denoise",
            "noise: gauss": "gaussian_noise",
            "noise: uniform": "uniform_noise",
            "noise: perlin, perlinsuflet, simplex, opensimplex, supersimplex": "perlin_noise",
            "noise: salt, pepper, salt_and_pepper": "impulse_noise",
            "noise: y_noise, uv_noise, scale, motion": "correlated_noise",
            "compress: jpeg": "jpeg",
            "compress: webp": "webp",
            "compress: h264, hevc, mpeg2, mpeg4, vp9": "video",
            "subsampling": "chroma_subsampling",
            "halo: unsharp_mask": "sharpen",
            "halo: unsharp_gray, unsharp_halo": "halo",
            "color": "levels",
            "saturation": "color_jitter",
            "dithering: quantize": "banding",
            "dithering: floydsteinberg, jarvisjudiceninke, stucki, atkinson, burkes, sierra, tworowsierra, sierraLite, "
            "order, riemersma": "dither",
            "screentone": "halftone",
            "shift: rgb, yuv, cmyk": "channel_shift",
            "sin": "interference",
            "pixelate": "pixelate",
            "canny": "outline",
            "resize": "resize",
            "resize: up_down, down_up, down_down": "enlarge",
            "or": "one_of",
            "and": "shuffle",
        },
        lacking="screens of lines, crosses and ellipses; resizing by nearest, Lanczos and other filters and in linear "
        "light",
    ),
    "RealRestorer": Peer(
        source="[yfyang007/RealRestorer](https://github.com/yfyang007/RealRestorer) at 99fd2148ae80, "
        "`degradation_pipeline/pipeline.py`",
        kinds={
            "blur: gaussian": "blur",
            "blur, noise: sinc": "sinc_blur",
            "noise: gaussian": "gaussian_noise",
            "noise: poisson": "poisson_noise",
            "noise: s&p": "impulse_noise",
            "noise: granular": "correlated_noise",
            "noise: density averaging": "box_blur",
            "sr, blur, noise: resize": "resize",
            "sr, blur, noise: JPEG": "jpeg",
            "haze (depth by MiDaS), fog textures": "depth_haze",
            "rain (depth by MiDaS), rain textures": "rain",
            "moire (a network)": "screen_capture",
            "reflection: focused, defocused, ghosting (a network and other pictures)": "reflection",
        },
        lacking="depth that a network estimates, and textures and pictures of other people: here they are drawn",
    ),
    "mmagic": Peer(
        source="[open-mmlab/mmagic](https://github.com/open-mmlab/mmagic) at 0a560bba9b79, "
        "`mmagic/datasets/transforms`",
        kinds={
            "RandomBlur": "blur",
            "RandomBlur: sinc": "sinc_blur",
            "RandomResize": "enlarge",
            "RandomDownSampling, MATLABLikeResize": "resize",
            "RandomNoise: gaussian": "gaussian_noise",
            "RandomNoise: poisson": "poisson_noise",
            "RandomJPEGCompression": "jpeg",
            "RandomVideoCompression": "video",
            "UnsharpMasking": "sharpen",
            "ColorJitter": "color_jitter",
            "DegradationsWithShuffle": "shuffle",
        },
    ),
    "ofiq-syngen": Peer(
        source="the package ofiq-syngen 0.5.2, `components.py`",
        kinds={
            "BackgroundUniformity": "perlin_noise",
            "IlluminationUniformity": "uneven_light",
            "LuminanceMean, UnderExposurePrevention": "low_light",
            "OverExposurePrevention": "tone",
            "LuminanceVariance": "levels",
            "DynamicRange": "banding",
            "Sharpness: blur": "blur",
            "Sharpness: motion blur": "motion_blur",
            "Sharpness: noise": "gaussian_noise",
            "CompressionArtifacts": "jpeg",
            "NaturalColour": "color_shift",
            "RadialDistortion": "lens_distortion, vignette",
            "FaceOcclusionPrevention, EyesVisible, MouthOcclusionPrevention": "occlusion",
            "InterEyeDistance, HeadSize, HeadPoseRoll": "photo_frame",
            "crops and margins": "shift",
        },
        lacking="what changes the person, and not the picture: closed eyes, open mouth, expression, yaw and pitch, "
        "head coverings, a second face; and which part is the face or the background",
    ),
}
"""Names of what others make, as facts: read in their sources in November 2026, nothing copied."""


def comparison() -> str:
    """Write each tool's kinds beside the steps that do the like."""
    parts = [_BESIDE.format(count=len(STEPS))]
    for name, peer in PEERS.items():
        if unknown := {step for found in peer.kinds.values() for step in found.split(", ")} - STEPS.keys():
            raise SystemExit(f"{name}: no such steps: {unknown}")
        rows = [
            f"| {kind} | {', '.join(f'[`{step}`](#{step})' for step in found.split(', '))} |"
            for kind, found in peer.kinds.items()
        ]
        lacking = f" Not here: {peer.lacking}." if peer.lacking else ""
        head = f"### {name}\n\n{peer.source[0].upper()}{peer.source[1:]}.{lacking}\n\n| theirs | here |\n|---|---|"
        parts.append("\n".join([head, *rows, ""]))
    alone = sorted(
        STEPS.keys() - {step for peer in PEERS.values() for kind in peer.kinds.values() for step in kind.split(", ")}
    )
    parts.append(f"In none of the four: {', '.join(f'`{step}`' for step in alone)}.\n")
    return "\n".join(parts)


_BESIDE = """\
## Beside other tools

{count} steps; what each of four other tools degrades by, and the steps that do the like here.
"""


def image_path(step: str) -> Path:
    """Say where the strip of a step is kept."""
    return IMAGES / f"{step}.webp"


def portrait() -> Pixels:
    """Cut the face that is shown out of its photograph."""
    photo = next(photo for photo in DEMO_PHOTOS if photo.name == "grace_hopper")
    return align_face(read_demo_photo(photo), photo.landmarks, SIDE).pixels


def recipe_of(step: str, keys: dict[str, Any]) -> Recipe:
    """Make a recipe of one step, back at the full size."""
    before = [{"resize": {"scale": 3, "filter": "area"}}] if STRIPS[step].small else []
    back = {"resize": {"scale": 1, "filter": "cubic"}}
    return recipe_from_mapping({"name": "gallery", "steps": [*before, {step: keys}, back]}, step)


def draw_strip(step: str, hq: Pixels) -> Pixels:
    """Draw HQ beside what the step makes of it.

    Raises:
        ConfigError: If the step needs a package that is not installed.
    """
    strip = STRIPS[step]
    row = [Tile(_shown(hq, strip), ("HQ",))]
    for (label, keys), seed in zip(strip.panels.items(), strip.seeds, strict=True):
        recipe = recipe_of(step, keys)
        recipe.libraries()
        lq = make_lq(recipe.draw(generator(seed, step, 0)), hq, network_of(recipe))
        row.append(Tile(_shown(lq, strip), (label,)))
    return contact_sheet([row], TILE)


def network_of(recipe: Recipe) -> Network | None:
    """Load the networks of a recipe, where it has any."""
    if not recipe.models:
        return None
    check_networks(recipe, NetworkSettings())
    return load_networks(recipe, NetworkSettings(device="cpu"))


def _shown(image: Pixels, strip: Strip) -> Pixels:
    return image if strip.whole else np.ascontiguousarray(image[TOP : TOP + TILE, LEFT : LEFT + TILE])


def page() -> str:
    """Write the text of docs/gallery.md."""
    parts = [_HEAD]
    for name, step in STEPS.items():
        strip = STRIPS[name]
        text = re.sub(r"\s+", " ", (step.__doc__ or "").strip())
        needs = f" Needs the extra `{strip.extra}`." if strip.extra and f"`{strip.extra}`" not in text else ""
        shown = "\n".join(f"- {line}" for line in dict.fromkeys(_as_yaml(name, keys) for keys in strip.panels.values()))
        parts.append(f"## {name}\n\n{text}{needs}\n\n![{name}](images/steps/{name}.webp)\n\n```yaml\n{shown}\n```\n")
    return "\n".join([*parts, comparison()])


def _as_yaml(step: str, keys: dict[str, Any]) -> str:
    text: str = cast("Any", yaml).safe_dump({step: keys}, default_flow_style=True, sort_keys=False, width=1000)
    return text.strip()[1:-1]


_HEAD = f"""\
# Gallery

What each step of a recipe does to a face, at full resolution: one pixel of a strip is one pixel of the image, so that
noise and blocks are seen as they are. HQ, a portrait of Grace Hopper (US Navy, public domain), has {SIDE} pixels a side
and is shown in part, from the eyes to the mouth; `shift` and `uneven` show it whole. Parameters grow from left to
right, or are drawn several times. What the keys mean is said in [recipes.md](recipes.md#your-own).

`degrade-kit preview --hq faces --preset mine.yaml` shows the same of your own recipes and faces.
"""


def main() -> None:
    """Draw the strips of all steps, or of those that are named, and write the page."""
    names = sys.argv[1:] or list(STEPS)
    hq = portrait()
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name in names:
        image_path(name).write_bytes(encode_webp(draw_strip(name, hq), 88))
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
