"""The classifier on patches tells apart what differs in detail, and nothing else."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from degrade_kit.analysis import patches
from degrade_kit.analysis.patches import PatchConfig, compare_patches, high_pass, show_high_passed
from degrade_kit.errors import ConfigError
from degrade_kit.image import Pixels

pytest.importorskip("torch")
QUICK = PatchConfig(side=24, per_image=3, folds=2, steps=25, batch=8)


@pytest.fixture(scope="module")
def crops(astronaut: npt.NDArray[np.uint8]) -> list[Pixels]:
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 512 - 40, (48, 2))
    return [np.ascontiguousarray(astronaut[top : top + 40, left : left + 40]) for top, left in corners]


def noisy(crops: list[Pixels], level: float) -> list[Pixels]:
    rng = np.random.default_rng(1)
    return [(crop + rng.normal(0, level, crop.shape)).clip(0, 255).round().astype(np.uint8) for crop in crops]


def names(count: int) -> list[str]:
    return [str(number) for number in range(count)]


@pytest.mark.slow
def test_noise_is_told_and_the_same_kind_of_image_is_not(crops: list[Pixels]) -> None:
    first, second = crops[:24], crops[24:]
    told = compare_patches(noisy(first, 12), second, names(24), [f"r{name}" for name in names(24)], QUICK)
    same = compare_patches(first, second, names(24), [f"r{name}" for name in names(24)], QUICK)
    assert told.auc.value > 0.85
    assert abs(same.auc.value - 0.5) < 0.3
    assert told.auc.low <= told.auc.value <= told.auc.high <= 1
    assert told.synth.scores.mean() > told.real.scores.mean()
    assert told.synth.patch_scores.shape == (24, 3)
    assert (told.synth.corners <= 40 - 24).all()


@pytest.mark.slow
def test_the_seed_decides_everything_and_the_process_keeps_its_generator(crops: list[Pixels]) -> None:
    import torch

    config = PatchConfig(side=16, per_image=2, steps=3, batch=4, max_images=12)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, again = (compare_patches(crops[:20], crops[20:40], names(20), names(20), config) for _ in range(2))
    assert (torch.rand(3) == expected).all()
    assert (first.synth.patch_scores == again.synth.patch_scores).all()
    assert first.auc == again.auc
    assert len(first.synth.places) == len(first.real.places) == 12
    other = compare_patches(
        crops[:20], crops[20:40], names(20), names(20), PatchConfig(side=16, per_image=2, steps=3, batch=4, seed=1)
    )
    assert other.auc != first.auc


def test_only_images_that_are_taken_are_read(crops: list[Pixels]) -> None:
    class Counting:
        read = 0

        def __len__(self) -> int:
            return 1000

        def __getitem__(self, place: int) -> Pixels:
            self.read += 1
            return crops[place % 40]

    images = Counting()
    config = PatchConfig(side=16, per_image=1, steps=1, batch=2, max_images=5)
    compare_patches(images, crops[:5], names(1000), names(5), config)
    assert images.read == 5


def test_what_cannot_be_is_said(crops: list[Pixels], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="at least 2 different source images"):
        compare_patches(crops[:6], crops[6:12], ["a"] * 6, names(6), QUICK)
    with pytest.raises(ConfigError, match="patches: folds: expected 2 or more, got 1"):
        PatchConfig(folds=1)
    monkeypatch.setattr(patches, "has_torch", lambda: False)
    with pytest.raises(ConfigError, match=r"needs PyTorch: pip install 'degrade-kit\[metrics\]'"):
        compare_patches(crops[:6], crops[6:12], names(6), names(6), QUICK)


def test_a_high_pass_takes_light_away_and_keeps_detail(crops: list[Pixels]) -> None:
    flat = np.full((40, 50, 3), 90, np.uint8)
    assert np.abs(high_pass(flat)).max() < 1e-3
    assert np.abs(show_high_passed(flat).astype(int) - 128).max() <= 1
    brighter = (crops[0] // 2 + 100).astype(np.uint8)
    assert abs(high_pass(brighter).astype(np.float32).mean()) < 0.05
    assert high_pass(crops[0]).shape == (3, 40, 40)
