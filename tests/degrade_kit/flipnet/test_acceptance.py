"""Whether a FlipNet's prompts do what they say, told by what is measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from degrade_kit.demo import DEMO_PHOTOS, read_demo_photo
from degrade_kit.flipnet.acceptance import (
    PromptRow,
    accept_prompts,
    asked_levels,
    measured_levels,
    rising_shares,
    says_a_measure,
)
from degrade_kit.flipnet.captions import PHRASES, describe_degradation
from degrade_kit.flipnet.severity import Severity
from degrade_kit.image import Pixels
from degrade_kit.network_ops import FlipNetImage
from degrade_kit.record import Record


class NoiseOnly:
    """Makes noise as strong as `sigmas` says for each prompt, and nothing else."""

    def __init__(self, sigmas: dict[str, float]) -> None:
        self.sigmas = sigmas
        self.prompts = tuple((prompt, 1.0) for prompt in sigmas)

    def record(self, prompt: str, seed: int) -> Record:
        return Record(seed, (FlipNetImage(model="", prompt=prompt, num_steps=1),))

    def run(self, hq: Sequence[Pixels], records: Sequence[Sequence[Record]]) -> list[list[Pixels]]:
        return [[self._make(face, record) for record in wanted] for face, wanted in zip(hq, records, strict=True)]

    def _make(self, face: Pixels, record: Record) -> Pixels:
        [step] = record.steps
        assert isinstance(step, FlipNetImage)
        noise = np.random.default_rng(record.seed).normal(0, self.sigmas[step.prompt], face.shape)
        return (face + noise).round().clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def faces() -> list[Pixels]:
    """Middles of two portraits, 64 pixels a side."""
    return [np.ascontiguousarray(read_demo_photo(photo)[60:124, 200:264]) for photo in DEMO_PHOTOS]


def by_prompt(rows: Sequence[PromptRow]) -> dict[str, PromptRow]:
    return {row.prompt: row for row in rows}


def test_a_prompt_that_is_kept_holds_and_one_that_is_not_fails(faces: list[Pixels]) -> None:
    made = NoiseOnly(
        {"strong noise, press": 20.0, "slight noise": 20.0, "strong blur": 0.0, "clean": 0.0, "press": 9.0}
    )
    rows = by_prompt(accept_prompts(made, faces))
    assert set(rows) == {"strong noise, press", "slight noise", "strong blur", "clean"}, "no measure is asked for"
    kept, weak, blur, clean = (rows[name] for name in ("strong noise, press", "slight noise", "strong blur", "clean"))
    assert kept.exact == clean.exact == 1
    assert kept.kept == clean.kept == 1
    assert weak.kept == blur.kept == 0
    assert kept.holds(1)
    assert clean.holds(1)
    assert weak.exact == weak.rows["noise"] == 0
    assert not weak.holds(0.1)
    assert blur.rows["noise"] == 1
    assert blur.rows["blur"] == 0
    assert not blur.holds(0.1)
    assert kept.medians["noise"] == pytest.approx(20, rel=0.15)
    assert kept.images == len(faces)
    assert clean.stains < kept.stains < 2, "noise is not smooth"


def test_clean_fails_where_anything_is_measured(faces: list[Pixels]) -> None:
    [row] = accept_prompts(NoiseOnly({"clean": 12.0}), faces)
    assert not row.holds(0.5)


def test_adjacent_strengths_are_asked_for_with_equal_noise(faces: list[Pixels]) -> None:
    rising = {"slight noise, press": 3.0, "medium noise, press": 6.0, "strong noise, press": 5.0, "slight noise": 1.0}
    found = rising_shares(NoiseOnly(rising), faces, word="press")
    assert found == {("slight noise", "medium noise"): 1.0, ("medium noise", "strong noise"): 0.0}


def test_levels_say_what_captions_say() -> None:
    for blur in (0.1, 0.7, 1.6, 3.0):
        for brightness in (1.0, 0.7, 0.3, 0.1):
            severity = Severity(brightness=brightness, veil=0.0, blur=blur, noise=5.0, blocks=0.0)
            assert measured_levels(severity) == asked_levels(describe_degradation(severity) + ", press")


def test_a_word_for_photographs_says_no_measure() -> None:
    assert not says_a_measure("press")
    assert not says_a_measure("")
    assert says_a_measure("clean, press")
    assert says_a_measure("dark")
    assert set(asked_levels("anything")) == set(PHRASES)


def test_no_face_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        accept_prompts(NoiseOnly({"clean": 0.0}), [])
