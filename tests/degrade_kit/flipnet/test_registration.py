"""Registered pairs pass whatever their degradation; displaced and foreign ones do not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from degrade_kit.flipnet.crops import read_pair
from degrade_kit.flipnet.pairs import Pair, read_pairs
from degrade_kit.flipnet.registration import check_pairs, register_pair
from degrade_kit.image import encode_png, read_image, to_pixels

Pixels = npt.NDArray[np.uint8]


def rounded(values: npt.NDArray) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


DEGRADED = {
    "nothing": lambda image: image,
    "blur": lambda image: cv2.GaussianBlur(image, (0, 0), 4),
    "noise": lambda image: rounded(image + np.random.default_rng(0).normal(0, 30, image.shape)),
    "haze": lambda image: rounded(image * 0.15 + 190),
    "darkness": lambda image: rounded(image * 0.1),
    "low resolution": lambda image: cv2.resize(cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA), (256, 256)),
}


@pytest.mark.parametrize("name", DEGRADED)
def test_a_registered_pair_passes_and_a_displaced_one_does_not(astronaut: Pixels, name: str) -> None:
    hq = np.ascontiguousarray(astronaut[:256, 96:352])
    lq = np.asarray(DEGRADED[name](hq), np.uint8)
    assert register_pair(hq, lq).aligned
    found = register_pair(np.ascontiguousarray(hq[5:, 3:]), np.ascontiguousarray(lq[:-5, :-3]))
    assert not found.aligned
    if name != "low resolution":
        assert found.phase_shift == pytest.approx(34**0.5, abs=0.5)
        assert found.best_shift == pytest.approx(34**0.5, abs=1)


def test_another_scene_does_not_pass(astronaut: Pixels) -> None:
    found = register_pair(np.ascontiguousarray(astronaut[:256, 96:352]), np.ascontiguousarray(astronaut[256:, 256:]))
    assert not found.aligned
    assert "px by phase correlation" in str(found)


def test_a_flat_wall_with_noise_passes() -> None:
    wall = np.full((128, 128, 3), 120, np.uint8)
    assert register_pair(wall, wall).aligned
    for seed in range(10):
        assert register_pair(wall, rounded(wall + np.random.default_rng(seed).normal(0, 8, wall.shape))).aligned


def test_large_images_are_judged_by_their_centre(astronaut: Pixels) -> None:
    large = np.tile(astronaut, (4, 4, 1))
    assert register_pair(large, large).aligned
    assert not register_pair(np.ascontiguousarray(large[4:]), np.ascontiguousarray(large[:-4])).aligned


@pytest.mark.parametrize("shape", [(64, 65, 3), (29, 64, 3)])
def test_what_cannot_be_compared_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="one size from 30 px on"):
        register_pair(np.zeros((29, 64, 3) if shape[0] == 29 else (64, 64, 3), np.uint8), np.zeros(shape, np.uint8))


def test_pairs_are_parted_by_what_is_wrong_with_them(astronaut: Pixels, tmp_path: Path) -> None:
    files = {
        "whole.png": encode_png(np.ascontiguousarray(astronaut[:128, 150:278])),
        "moved.png": encode_png(np.ascontiguousarray(astronaut[4:132, 150:278])),
        "small.png": encode_png(np.ascontiguousarray(astronaut[:64, 150:214])),
        "text.png": b"text",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    pairs = [Pair("noise", name, tmp_path / "whole.png", tmp_path / name, "train") for name in files]
    steps: list[tuple[int, int | None]] = []
    kept, refused = check_pairs(pairs, progress=lambda step: steps.append((step.done, step.total)))
    assert [pair.name for pair in kept] == ["whole.png"]
    assert {refusal.pair.name: refusal.reason for refusal in refused} == {
        "moved.png": "not registered",
        "small.png": "sizes differ",
        "text.png": "not an image",
    }
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [pair.name for pair in check_pairs(pairs, registration=False)[0]] == ["whole.png", "moved.png"]


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["Dense_Haze_NTIRE19", "LOLdataset", "SIDD_Medium_Srgb", "PolyU", "RealBlur"])
def test_all_registered_sample_pairs_pass(shared_data: Path, folder: str) -> None:
    pairs = read_pairs("any", shared_data / "pairs" / folder).pairs
    refused = {pair.name: str(found) for pair in pairs if not (found := register_pair(*read_pair(pair))).aligned}
    assert refused == {}


def levin(folder: Path, name: str) -> bool:
    hq, lq = (
        to_pixels(read_image(path)) for path in (folder / "gt" / f"{name.split('_')[0]}.png", folder / f"{name}.png")
    )
    return register_pair(hq, lq).aligned


@pytest.mark.slow
def test_levins_pairs_pass_aligned_and_most_do_not_as_they_come(shared_data: Path) -> None:
    root = shared_data / "pairs"
    names = sorted(path.stem for path in (root / "levin_aligned/gt").glob("*.png"))
    aligned = [
        register_pair(
            *(to_pixels(read_image(root / "levin_aligned" / side / f"{name}.png")) for side in ("gt", "blur"))
        ).aligned
        for name in names
    ]
    as_they_come = [levin(root / "levin", path.stem) for path in sorted((root / "levin").glob("*.png"))]
    assert (len(aligned), sum(aligned)) == (32, 32)
    assert (len(as_they_come), sum(as_they_come)) == (32, 5)
