"""A stronger step is farther from HQ in the features that judge: for every step of cameras, codecs and frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from degrade_kit.analysis.features import degradation_features
from degrade_kit.degradation import make_lq
from degrade_kit.recipe import recipe_from_mapping

Pixels = npt.NDArray[np.uint8]

LIGHT_ALONE = {"gamma": 0, "contrast": 0, "white_balance": 0, "saturation": 0}
STRENGTHS: dict[str, list[dict[str, Any]]] = {
    "photo_frame": [{"photo_frame": {"side": side, "turn": 0}} for side in (224, 144, 96, 64)],
    "resize side": [{"resize": {"side": side, "filter": "area"}} for side in (224, 144, 96, 64)],
    "enlarge": [{"enlarge": {"factor": factor, "filter": "area"}} for factor in (0.8, 0.5, 0.35, 0.2)],
    "jpeg 4:2:2": [{"jpeg": {"quality": quality, "subsampling": "4:2:2"}} for quality in (90, 60, 30, 10)],
    "jpeg any grid": [{"jpeg": {"quality": quality, "any_grid": True}} for quality in (90, 60, 30, 10)],
    "avif": [{"avif": {"quality": quality}} for quality in (80, 50, 25, 5)],
    "repost": [{"repost": {"times": times, "factor": 0.9, "quality": 60}} for times in (1, 2, 4)],
    "tone": [{"tone": {**LIGHT_ALONE, "exposure": stops}} for stops in (0.1, 0.5, 1.5)],
    "defocus": [{"defocus": {"radius": radius}} for radius in (0.7, 1.5, 3, 6)],
    "camera_shake": [{"camera_shake": {"length": length}} for length in (2, 6, 14, 30)],
    "isp": [{"isp": {"shot": [shot, shot * 1.001]}} for shot in (0.002, 0.01, 0.05)],
    "denoise bilateral": [{"denoise": {"strength": strength, "radius": 2}} for strength in (5, 15, 35, 80)],
    "denoise nlm": [{"denoise": {"strength": strength, "method": "nlm"}} for strength in (6, 20, 60)],
    "sharpen": [{"sharpen": {"amount": amount, "radius": 1}} for amount in (0.2, 0.6, 1.5, 4)],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STRENGTHS)
def test_a_stronger_step_is_farther_from_hq(name: str, astronaut: Pixels) -> None:
    faces = [np.ascontiguousarray(astronaut[top : top + 256, 80 : 80 + 256]) for top in (0, 60)]
    faces.append(np.ascontiguousarray(faces[0][:, ::-1]))
    start = np.stack([degradation_features(face) for face in faces])
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
