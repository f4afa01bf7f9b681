"""The estimate of what training takes of a device's memory, and how a step is parted by it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.loop import LoopConfig
from degrade_kit.flipnet.memory import SD_LEVELS, SD_MILLIONS, Training, accumulation
from degrade_kit.pipelines.models.loading import fitted, memory_text

PAPER = Training(
    frozen=SD_MILLIONS, trained=63, channels=SD_LEVELS[0], layers=SD_LEVELS[1], size=512, checkpoints=True, short=True
)
"""Stable Diffusion 2.1 with LoRA of rank 64 and BoostHubs."""
RESTORING = replace(PAPER, decodes=True, perceptual=True)


def test_a_pair_of_stable_diffusion_takes_what_was_counted() -> None:
    assert PAPER.each() == pytest.approx(0.35, abs=0.03)
    assert PAPER.fixed() == pytest.approx(1.5 + 2 * 1.29 + 20 * 0.063, abs=0.01)
    assert replace(PAPER, short=False).fixed() - PAPER.fixed() == pytest.approx(2 * 1.29)
    assert replace(PAPER, size=256).each() == pytest.approx(PAPER.each() / 4, rel=0.05)
    assert replace(PAPER, checkpoints=False).each() > 5 * PAPER.each()


def test_decoding_sixteen_images_needs_checkpoints_of_the_decoder() -> None:
    assert replace(RESTORING, checkpoints=False).gigabytes(16) > 80
    assert RESTORING.gigabytes(16) < 40
    assert RESTORING.fitting(24) < 16 <= RESTORING.fitting(80)
    for room in (12, 24, 80):
        assert RESTORING.gigabytes(RESTORING.fitting(room)) <= 0.9 * room


@pytest.mark.parametrize(("pairs", "processes", "room", "parts"), [(16, 1, 5, 4), (16, 8, 5, 1), (12, 2, 4, 2)])
def test_a_step_has_the_fewest_equal_parts_that_fit(pairs: int, processes: int, room: int, parts: int) -> None:
    assert accumulation(pairs, processes, room) == parts


def test_what_cannot_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="not even one pair fits"):
        accumulation(16, 1, 0)
    with pytest.raises(ConfigError, match="expected a multiple of the number of processes, 3"):
        accumulation(16, 3, 5)
    loop = LoopConfig(batch_size=16, gradient_accumulation=1)
    with pytest.raises(
        ConfigError, match=r"16 pairs at a time take about 30 GB, cpu has 16; \d fit\. .*_accumulation 0"
    ):
        fitted(loop, RESTORING, "cpu", processes=1, there=16)
    assert fitted(loop, RESTORING, "cpu", processes=1, there=80) == loop
    assert fitted(loop, RESTORING, "cpu", processes=8, there=16) == loop


def test_parts_of_a_step_follow_the_memory_and_the_plan_says_so() -> None:
    loop = LoopConfig(batch_size=16, gradient_accumulation=0)
    found = {room: fitted(loop, RESTORING, "cpu", processes=1, there=room).gradient_accumulation for room in (16, 80)}
    assert found == {16: 4, 80: 1}
    text = memory_text(loop, RESTORING, "cpu", processes=8)
    assert text.startswith("memory: estimated for pairs at a time on each of 8 devices: 1 7 GB, 2 8 GB")
    with pytest.raises(ConfigError, match="gradient_accumulation: expected 0 or more"):
        LoopConfig(gradient_accumulation=-1)
