"""Captions of pairs: the closed vocabulary of the template."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from degrade_kit.flipnet.captions import CLEAN, PHRASES, WORDS, describe_degradation, template_caption
from degrade_kit.flipnet.severity import Severity

Pixels = npt.NDArray[np.uint8]
UNTOUCHED = Severity(brightness=1, veil=0, blur=0, noise=0, blocks=0)
OWN_WORD = {"haze": "haze", "low-light": "dark", "blur": "blur", "noise": "noise"}


@given(
    st.builds(
        Severity,
        brightness=st.floats(0, 2),
        veil=st.floats(0, 1),
        blur=st.floats(0, 4),
        noise=st.floats(0, 60),
        blocks=st.floats(0, 20),
    ),
    st.sampled_from(["", "face", *OWN_WORD]),
)
def test_a_caption_keeps_to_the_vocabulary(severity: Severity, kind: str) -> None:
    caption = describe_degradation(severity, kind)
    phrases = caption.split(", ")
    assert set(caption.replace(",", "").split()) <= set(WORDS)
    for row in PHRASES.values():
        assert len({phrase for phrase, _ in row} & set(phrases)) <= 1
    assert (CLEAN in phrases) == (caption == CLEAN)
    if kind in OWN_WORD:
        assert OWN_WORD[kind] in caption


@pytest.mark.parametrize("row", PHRASES)
def test_each_phrase_holds_from_its_threshold_on(row: str) -> None:
    below = -1e-6 if row != "brightness" else 1e-6
    before = CLEAN
    for phrase, threshold in PHRASES[row]:
        assert describe_degradation(dataclasses.replace(UNTOUCHED, **{row: threshold + below})) == before
        assert describe_degradation(dataclasses.replace(UNTOUCHED, **{row: threshold - below})) == phrase
        before = phrase


def test_the_vocabulary_stays() -> None:
    # A text encoder is trained on these words; another one of them needs another checkpoint.
    assert (
        *("clean", "slightly", "dark", "very", "light", "haze", "dense", "slight", "blur", "medium", "strong"),
        *("noise", "compression"),
    ) == WORDS


def test_an_image_against_itself_is_clean_unless_its_kind_says_otherwise(astronaut: Pixels) -> None:
    assert template_caption(astronaut, astronaut, "face") == "clean"
    assert template_caption(astronaut, astronaut, "noise") == "slight noise"
    assert template_caption(astronaut, astronaut, "haze") == "light haze"


def test_a_caption_names_all_that_was_done(astronaut: Pixels) -> None:
    soft = cv2.GaussianBlur(astronaut, (0, 0), 2) * 0.3 + 40
    noisy = soft + np.random.default_rng(0).normal(0, 6, astronaut.shape)
    lq = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    assert template_caption(astronaut, lq, "face") == "slightly dark, medium blur, medium noise"


def test_the_documents_list_the_whole_vocabulary() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/pairs.md").read_text("utf-8")
    for phrase in [CLEAN, *(phrase for row in PHRASES.values() for phrase, _ in row)]:
        assert f"`{phrase}`" in page
