"""A stronger step is farther from HQ in the features that judge: for every step that has a strength."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from degrade_kit.analysis.features import degradation_features
from degrade_kit.degradation import make_lq
from degrade_kit.errors import ConfigError
from degrade_kit.recipe import recipe_from_mapping
from degrade_kit.steps import STEPS
from degrade_kit.video_ops import VIDEO_CODECS
from tests.test_gallery import gallery

Pixels = npt.NDArray[np.uint8]

LIGHT_ALONE = {"gamma": 0, "contrast": 0, "white_balance": 0, "saturation": 0}
GROWING = {
    step: [{step: keys} for keys in strip.panels.values()] for step, strip in gallery.STRIPS.items() if strip.grows
}
"""What docs/gallery.md shows from weak to strong."""
MORE: dict[str, list[dict[str, Any]]] = {
    "photo_frame alone": [{"photo_frame": {"side": side, "turn": 0}} for side in (224, 144, 96, 64)],
    "jpeg 4:2:2": [{"jpeg": {"quality": quality, "subsampling": "4:2:2"}} for quality in (90, 60, 30, 10)],
    "jpeg any grid": [{"jpeg": {"quality": quality, "any_grid": True}} for quality in (90, 60, 30, 10)],
    **{
        f"video {codec}": [{"video": {"codec": codec, "crf": crf, "motion": 1}} for crf in (15, 28, 36, 44)]
        for codec in VIDEO_CODECS
    },
    "video bitrate": [{"video": {"bitrate": rate, "motion": 1}} for rate in (0.3, 0.06, 0.02)],
    "tone": [{"tone": {**LIGHT_ALONE, "exposure": stops}} for stops in (0.1, 0.5, 1.5)],
    "color_shift": [{"color_shift": {"limit": limit}} for limit in (5, 20, 60)],
    "denoise bilateral": [{"denoise": {"strength": strength, "radius": 2}} for strength in (5, 15, 35, 80)],
    **{
        f"halftone {inks}": [
            {"halftone": {"period": period, "inks": inks, "gain": 0.05, "angle": 0, "blur": 0.5}}
            for period in (2, 4, 6)
        ]
        for inks in ("black", "cmyk")
    },
    "box_blur": [{"box_blur": {"side": side}} for side in (3, 7, 15)],
    "channel_shift": [{"channel_shift": {"space": "rgb", "limit": limit}} for limit in (1, 2, 4)],
    "dither": [{"dither": {"levels": levels, "method": "floyd_steinberg"}} for levels in (16, 6, 2)],
    "correlated_noise": [{"correlated_noise": {"luma": level, "chroma": level}} for level in (2, 6, 18)],
    "denoise nlm": [{"denoise": {"strength": strength, "method": "nlm"}} for strength in (6, 20, 60)],
}
STRENGTHS = {**GROWING, **MORE}
NOT_GROWING = {
    *("color_jitter", "gray", "shift", "bank", "chroma_subsampling"),  # what they do has no one strength
    "lens_distortion",  # it moves what is seen, and the target with it
    "ai_upscale",  # it brings back what looks like HQ
    "flipnet",  # how strong it degrades, it draws itself
    *("shuffle", "one_of", "uneven"),  # they do what their steps do
}


def test_every_step_with_a_strength_is_tried() -> None:
    tried = {step for series in STRENGTHS.values() for entry in series for step in entry}
    assert tried == set(STEPS) - NOT_GROWING


@pytest.mark.slow
@pytest.mark.parametrize("name", STRENGTHS)
def test_a_stronger_step_is_farther_from_hq(name: str, astronaut: Pixels) -> None:
    faces = [np.ascontiguousarray(astronaut[top : top + 256, 80 : 80 + 256]) for top in (0, 60)]
    faces.append(np.ascontiguousarray(faces[0][:, ::-1]))
    start = np.stack([degradation_features(face) for face in faces])
    for step in STRENGTHS[name]:
        try:
            recipe_from_mapping({"name": "tried", "steps": [step, {"resize": {"scale": 1}}]}, "").libraries()
        except ConfigError as error:
            pytest.skip(str(error))
    rows = []
    for step in STRENGTHS[name]:
        recipe = recipe_from_mapping(
            {"name": "tried", "steps": [step, {"resize": {"scale": 1, "filter": "cubic"}}]}, ""
        )
        made = [make_lq(recipe.draw(np.random.default_rng(seed)), face) for seed, face in enumerate(faces)]
        rows.append(np.stack([degradation_features(image) for image in made]) - start)
    spread = np.abs(np.stack(rows)).mean(axis=(0, 1)) + 1e-6
    distances = [float(np.abs(row / spread).mean()) for row in rows]
    assert distances == sorted(distances), distances
