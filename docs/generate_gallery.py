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
    "flipnet": Strip(
        panels={prompt: {"prompt": prompt} for prompt in ("strong blur", "strong noise", "dense haze", "very dark")},
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
    """Its names, by the step here that does the like."""
    lacking: str = ""
    """What it has that no step here does."""


PEERS: dict[str, Peer] = {
    "WTP Dataset Destroyer": Peer(
        source="[umzi2/wtp_dataset_destroyer](https://github.com/umzi2/wtp_dataset_destroyer) at ec42ce6, "
        "`src/process`",
        kinds={
            "blur": "blur gauss, random",
            "defocus": "blur lens",
            "motion_blur": "blur motion",
            "denoise": "blur median",
            "resize": "resize",
            "enlarge": "resize up_down, down_up",
            "gaussian_noise": "noise gauss, scale",
            "jpeg": "compress jpeg, subsampling",
            "webp": "compress webp",
            "video": "compress h264, hevc, mpeg2, mpeg4, vp9",
            "sharpen": "halo",
            "tone": "color",
            "color_jitter": "saturation",
            "halftone": "screentone",
            "aberration": "shift",
            "impulse_noise": "noise salt, pepper, salt_and_pepper",
            "pixelate": "pixelate",
            "interference": "sin",
            "palette": "dithering",
            "banding": "dithering quantize",
            "one_of": "or",
            "shuffle": "and",
        },
        lacking="box blur; uniform, Perlin and simplex noise; shifts of YUV and CMYK channels; canny, drawn edges",
    ),
    "RealRestorer": Peer(
        source="[yfyang007/RealRestorer](https://github.com/yfyang007/RealRestorer) at 99fd214, `degradation_pipeline`",
        kinds={
            "blur": "blur",
            "sinc_blur": "blur sinc",
            "gaussian_noise": "noise",
            "poisson_noise": "noise poisson",
            "resize": "sr",
            "jpeg": "blur, noise, sr: JPEG",
            "depth_haze": "haze (depth by MiDaS)",
            "rain": "rain (depth by MiDaS)",
            "screen_capture": "moire (a network)",
        },
        lacking="reflection of another picture, by a network",
    ),
    "mmagic": Peer(
        source="[open-mmlab/mmagic](https://github.com/open-mmlab/mmagic) at 269995a, "
        "`mmagic/datasets/transforms/random_degradations.py`",
        kinds={
            "blur": "RandomBlur",
            "sinc_blur": "RandomBlur sinc",
            "resize": "RandomResize",
            "gaussian_noise": "RandomNoise gaussian",
            "poisson_noise": "RandomNoise poisson",
            "jpeg": "RandomJPEGCompression",
            "video": "RandomVideoCompression",
            "shuffle": "DegradationsWithShuffle",
        },
    ),
    "ofiq-syngen": Peer(
        source="the package ofiq-syngen 0.5.2, `components.py`",
        kinds={
            "blur": "Sharpness: blur",
            "motion_blur": "Sharpness: motion blur",
            "gaussian_noise": "Sharpness: noise",
            "jpeg": "CompressionArtifacts",
            "low_light": "UnderExposurePrevention, LuminanceMean",
            "tone": "OverExposurePrevention, DynamicRange, NaturalColour",
            "shift": "crops and margins",
            "photo_frame": "HeadSize, InterEyeDistance, HeadPoseRoll",
        },
        lacking="what changes the person or the scene, and is no degradation: closed eyes, open mouth, covers, "
        "expression, yaw and pitch, a second face, backgrounds; uneven light; barrel distortion",
    ),
}
"""Names of what others make, as facts: read in their sources in November 2026, nothing copied."""


def comparison() -> str:
    """Write the table of steps beside the kinds of other tools."""
    for name, peer in PEERS.items():
        if unknown := peer.kinds.keys() - STEPS.keys():
            raise SystemExit(f"{name}: no such steps: {unknown}")
    head = f"| step | {' | '.join(PEERS)} |\n|---|{'---|' * len(PEERS)}"
    rows = [f"| `{step}` | {' | '.join(peer.kinds.get(step, '') for peer in PEERS.values())} |" for step in STEPS]
    counted = ", ".join(f"{sum(bool(kind) for kind in peer.kinds.values())} in {name}" for name, peer in PEERS.items())
    sources = "\n".join(
        f"- {name}: {peer.source}." + (f" Not here: {peer.lacking}." if peer.lacking else "")
        for name, peer in PEERS.items()
    )
    return f"""## Beside other tools

{len(STEPS)} steps; of them, something like it is found for {counted}, by these names.
An empty cell: the tool has no such kind.

{head}
{chr(10).join(rows)}

{sources}
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
