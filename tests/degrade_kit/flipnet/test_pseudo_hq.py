"""A face's pixels stay as they are in the photo, and only what agrees with them is taken for their HQ side."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from degrade_kit.align import Face, Landmarks, ffhq_quad
from degrade_kit.flipnet.pseudo_hq import (
    COLOURS_CHANGED,
    CONTENT_CHANGED,
    LANDMARKS_MOVED,
    MIN_CUT,
    NO_FACE_LEFT,
    Cut,
    cut_face,
    disagreement,
    jpeg_origin,
    landmark_shift,
    reduce_to,
)
from degrade_kit.flipnet.registration import NOT_REGISTERED

Pixels = npt.NDArray[np.uint8]


def points_at(x: float, y: float, eye: float) -> Landmarks:
    return np.array([[-0.5, 0], [0.5, 0], [0, 0.5], [-0.4, 1], [0.4, 1]]) * eye + [x, y]


@given(
    st.floats(0, 300),
    st.floats(0, 220),
    st.floats(5, 120),
    st.integers(0, 7),
    st.integers(0, 7),
    st.integers(MIN_CUT, 256),
)
def test_a_cut_lies_on_the_grid_and_in_the_photo(
    x: float, y: float, eye: float, top: int, left: int, most: int
) -> None:
    cut = cut_face(ffhq_quad(points_at(x, y, eye)), 220, 300, most=most, origin=(top, left))

    if cut is None:
        return
    assert (cut.top - top) % 8 == (cut.left - left) % 8 == cut.height % 8 == cut.width % 8 == 0
    assert 0 <= cut.top <= 220 - cut.height
    assert 0 <= cut.left <= 300 - cut.width
    assert min(cut.height, cut.width) >= MIN_CUT
    assert max(cut.height, cut.width) <= min(most + 4, 4 * eye + 8)


def test_a_cut_holds_the_face_and_of_a_large_one_its_middle() -> None:
    quad = ffhq_quad(points_at(150, 100, 25))  # a square of 100 pixels
    whole = cut_face(quad, 220, 300, most=128)
    middle = cut_face(quad, 220, 300, most=64)

    assert whole == Cut(56, 104, 96, 96)
    assert middle == Cut(72, 120, 64, 64)


def test_a_face_at_the_edge_gives_what_is_in_the_photo_and_a_small_one_nothing() -> None:
    assert cut_face(ffhq_quad(points_at(20, 100, 25)), 220, 300, most=128) == Cut(56, 0, 96, 72)
    assert cut_face(ffhq_quad(points_at(150, 100, 8)), 220, 300, most=128) is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_blocks_are_found_in_a_photo_that_was_turned(orientation: int) -> None:
    stored = np.indices((44, 37)).max(axis=0)
    starts = np.zeros_like(stored)
    starts[::8, ::8] = 1  # where blocks begin in the file
    ends = np.zeros_like(stored)
    ends[7::8, 7::8] = 1
    mirrored = orientation in (2, 4, 5, 7)
    turns = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}[orientation]
    both = [np.rot90(plane[:, ::-1] if mirrored else plane, turns) for plane in (starts, ends)]
    corners = np.argwhere(both[0]), np.argwhere(both[1])

    height, width = both[0].shape
    for axis, origin in enumerate(jpeg_origin(height, width, orientation)):
        # Turned, a block begins where it began in the file, or where it ended.
        assert any((found[:, axis] % 8 == origin).all() for found in corners), axis


def test_an_image_is_brought_back_by_areas_and_one_of_another_shape_is_refused(astronaut: Pixels) -> None:
    large = np.kron(astronaut[:64, :48], np.ones((4, 4, 1), np.uint8))

    assert np.array_equal(reduce_to(large, 64, 48), astronaut[:64, :48])
    for other in (large[:, :150], large[:32, :24]):
        with pytest.raises(ValueError, match="expected an image of 48 x 64 pixels"):
            reduce_to(np.ascontiguousarray(other), 64, 48)


# ------------------------------------------------------------------------------------------------------------ agreement


@pytest.fixture(scope="module")
def face(astronaut: Pixels) -> Pixels:
    return np.asarray(cv2.resize(astronaut[0:256, 96:352], (128, 128), interpolation=cv2.INTER_AREA), np.uint8)


@pytest.fixture(scope="module")
def photo(face: Pixels) -> Pixels:
    """The face as the wild has it: blurred, noisy, compressed."""
    blurred = cv2.GaussianBlur(face, (0, 0), 1.2).astype(np.float64)
    noisy = np.clip(blurred + np.random.default_rng(0).normal(0, 6, face.shape), 0, 255).astype(np.uint8)
    data = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def other_mouth(face: Pixels) -> Pixels:
    """The lower part of the face shows something else."""
    changed = face.copy()
    changed[64:112, 32:96] = face[16:64, 32:96][::-1]
    return changed


def test_blur_noise_and_jpeg_are_no_disagreement(face: Pixels, photo: Pixels) -> None:
    assert disagreement(face, photo, None) is None


def test_what_a_restorer_changed_is_said(face: Pixels, photo: Pixels) -> None:
    warmer = np.clip(face.astype(np.int16) + np.array([20, 0, -10]), 0, 255).astype(np.uint8)
    moved = np.roll(face, 3, axis=1)

    found = [disagreement(hq, photo, None) for hq in (warmer, other_mouth(face), moved)]

    assert [fault and fault[0] for fault in found] == [COLOURS_CHANGED, CONTENT_CHANGED, NOT_REGISTERED]


def test_landmarks_that_moved_or_are_gone_are_said(face: Pixels, photo: Pixels) -> None:
    def finds(*shifts: float | None) -> list[list[Face]]:
        points = [None if shift is None else points_at(128 + shift, 110, 60) for shift in shifts]
        return [[] if found is None else [Face(found, 0.9, (0, 0, 1, 1))] for found in points]

    for shifts, reason in (
        ((1.0, 0.0), None),
        ((9.0, 0.0), LANDMARKS_MOVED),
        ((0.0, None), NO_FACE_LEFT),
        ((None, 0.0), NO_FACE_LEFT),
        ((None, None), None),
    ):
        answers = iter(finds(*shifts))
        fault = disagreement(face, photo, lambda _, answers=answers: next(answers))
        assert (fault and fault[0]) == reason


def test_landmark_shifts_count_by_the_distance_of_the_eyes() -> None:
    assert landmark_shift(points_at(13, 10, 20), points_at(10, 10, 20)) == pytest.approx(0.15)
