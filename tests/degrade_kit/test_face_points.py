from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from degrade_kit.align import align_face, ffhq_quad
from degrade_kit.demo import DEMO_PHOTOS
from degrade_kit.errors import ConfigError, ImageError
from degrade_kit.face_points import COMPONENTS, FacePoints, face_points, read_landmarks

POINTS = DEMO_PHOTOS[0].landmarks
FIVE = [[192.0, 240.0], [320.0, 240.0], [256.0, 310.0], [206.0, 360.0], [306.0, 360.0]]

faces = st.builds(
    lambda x, y, size: face_points(np.array(FIVE) / 512 * size + [x, y], side=size),
    st.floats(-50, 50),
    st.floats(-50, 50),
    st.floats(64, 1024),
)


def contour() -> np.ndarray[Any, np.dtype[np.float64]]:
    """68 points: eyes 60 and 40 pixels wide at 190, 240 and 320, 244, a mouth of 90 around 260, 360."""
    points = np.zeros((68, 2))
    angles = np.linspace(0, 2 * np.pi, 7)[:-1]
    for first, centre, half in ((36, (190, 240), 30), (42, (320, 244), 20)):
        points[first : first + 6] = np.stack([np.cos(angles) * half, np.sin(angles) * half / 3], 1) + centre
    around = np.linspace(np.pi, 3 * np.pi, 21)[:-1]
    points[48:68] = np.stack([np.cos(around) * 45 + 260, np.sin(around) * 15 + 360], 1)
    points[30] = 255, 310
    return points


def test_the_squares_of_68_points_are_those_of_gfpgan() -> None:
    face = face_points(contour(), side=512)

    (left, right, mouth) = face.components
    assert left == pytest.approx((190, 240, 30))
    assert right == pytest.approx((320, 244, 20))
    assert mouth == pytest.approx((260, 360, 45))
    assert face.points[0] == pytest.approx((190, 240))
    assert face.points[2] == (255, 310)
    assert face.points[3] == pytest.approx((215, 360))


def test_no_square_is_smaller_than_a_32nd_of_the_side() -> None:
    squares = face_points(contour() / 10, side=512).components
    assert [half for _, _, half in squares] == [16, 16, 16]


def test_the_squares_of_five_points_are_near_those_of_68_of_a_real_face() -> None:
    # FFHQ's image 00000 at 512 pixels: what MTCNN finds, and what GFPGAN keeps of it in its tests.
    found = [[193.8, 243.7], [321.2, 243.7], [273.4, 283.6], [217.1, 358.4], [303.6, 359.3]]
    known = [(191.57, 242.29, 28.57), (319.48, 247.08, 23.69), (267.75, 355.83, 42.21)]
    np.testing.assert_allclose(face_points(found, side=512).components, known, atol=8)


@given(faces, st.integers(16, 2000))
def test_mirroring_twice_changes_nothing_and_exchanges_the_sides(face: FacePoints, width: int) -> None:
    mirrored = face.mirrored(width)
    np.testing.assert_allclose(mirrored.mirrored(width).points, face.points, atol=1e-9)
    assert mirrored.components[0][0] == pytest.approx(width - 1 - face.components[1][0])
    assert mirrored.components[2][2] == face.components[2][2]


@given(faces, st.floats(0.1, 8))
def test_resizing_back_changes_nothing(face: FacePoints, factor: float) -> None:
    np.testing.assert_allclose(face.resized(factor).resized(1 / factor).components, face.components, atol=1e-6)


def test_points_follow_what_was_done_to_an_image() -> None:
    face = face_points(FIVE, side=512)
    changes = [{"op": "decode", "note": "x"}, {"op": "crop", "left": 100, "top": 20, "side": 400}]
    moved = face.prepared([*changes, {"op": "resize", "from": 400, "to": 200, "filter": "lanczos"}])
    x, y, half = face.components[0]
    assert moved.components[0] == pytest.approx(((x - 100 + 0.5) / 2 - 0.5, (y - 20 + 0.5) / 2 - 0.5, half / 2))


@given(faces)
def test_json_keeps_points_to_a_hundredth_of_a_pixel(face: FacePoints) -> None:
    again = FacePoints.from_fields(face.to_fields())
    assert again is not None
    np.testing.assert_allclose(again.points, face.points, atol=0.00501)
    np.testing.assert_allclose(again.components, face.components, atol=0.00501)
    assert FacePoints.from_fields({"source": "x"}) is None


@pytest.mark.parametrize("text", ["[[1,2]]", "{", "7", "[[1,2],[1,2],[1,2],[1,2],[1,1e99]]", '"' + "x" * 9 + '"'])
def test_damaged_points_are_a_value_error(text: str) -> None:
    good = face_points(FIVE, side=512).to_fields()
    with pytest.raises(ValueError, match="landmarks: "):
        FacePoints.from_fields({**good, "landmarks": text})
    with pytest.raises(ValueError, match="landmarks: "):
        FacePoints.from_fields({**good, "components": text})


def test_points_lie_in_the_aligned_face_where_they_lay_in_the_photo(astronaut: Any) -> None:  # noqa: ANN401
    for size in (64, 512):
        aligned = align_face(astronaut, POINTS, size)
        face = aligned.points(face_points(POINTS, side=size * aligned.scale))
        # The square's middle becomes the middle of the face, and the eyes lie level.
        middle = np.linalg.solve(
            np.stack([aligned.quad[3] - aligned.quad[0], aligned.quad[1] - aligned.quad[0]], 1),
            POINTS[2] - aligned.quad[0],
        )
        assert face.points[2] == pytest.approx(tuple(middle * size - 0.5), abs=1e-6)
        assert face.components[0][2] == pytest.approx(
            face_points(POINTS, side=size * aligned.scale).components[0][2] / aligned.scale
        )
    again = align_face(aligned.pixels, np.array(face.points), 512)
    np.testing.assert_allclose(again.quad, ffhq_quad(np.array(face.points)))
    assert again.scale == pytest.approx(1, abs=0.001)


def test_landmarks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "points.json"
    path.write_text(json.dumps({"a/b.jpg": POINTS.tolist(), "ü.png": None, "c.png": contour().tolist()}), "utf-8")

    table = read_landmarks(path)

    np.testing.assert_array_equal(table.five("a/b.jpg"), POINTS)
    np.testing.assert_allclose(table.five("c.png")[0], (190, 240))
    with pytest.raises(ImageError, match="says null"):
        table.find("ü.png")
    with pytest.raises(ImageError, match="does not name"):
        table.find("b.jpg")
    assert set(table.only(["c.png", "none"]).by_name) == {"c.png"}


def test_ffhq_s_own_file_counts_in_pixels_of_1024_and_is_found_by_number(tmp_path: Path) -> None:
    path = tmp_path / "ffhq-dataset-v2.json"
    image = {"file_path": "images1024x1024/00000/00007.png", "face_landmarks": (contour() * 2).tolist()}
    path.write_text(json.dumps({"7": {"image": image, "in_the_wild": {}}}))

    table = read_landmarks(path)

    changes = [{"op": "resize", "from": 768, "to": 512}]
    face = table.of_hq("elsewhere/00007.jpg", changes, (512, 512))
    np.testing.assert_allclose(face.components[0], (190 - 0.25, 240 - 0.25, 30), atol=0.01)
    assert set(table.only(["x/00007.jpg"]).by_name) == {"00007"}


def test_lines_of_align_are_read(tmp_path: Path) -> None:
    path = tmp_path / "align.jsonl"
    face = face_points(FIVE, side=512)
    path.write_text(json.dumps({"output": "a.png", "source": "b.jpg", **face.to_plain()}) + "\n")
    assert read_landmarks(path).of_hq("a.png", [], (512, 512)) == face
    with pytest.raises(ImageError, match=r"unusable landmarks: .* an eye at 320, 240 in an image of 300 x 300"):
        read_landmarks(path).of_hq("a.png", [], (300, 300))

    path.write_text('{"output": "a.png", "source": "b.jpg"}\n')
    with pytest.raises(ConfigError, match="line 1: expected a line of `degrade-kit align`"):
        read_landmarks(path)
    path.write_text(json.dumps({"output": "a.png", **face.to_plain(), "components": {COMPONENTS[0]: [1, 2, 3]}}))
    with pytest.raises(ConfigError, match=r"damaged: .*line 1: expected squares of left_eye, right_eye, mouth"):
        read_landmarks(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "damaged: .*points.json: not JSON"),
        ("[1]", "expected an object from file names to five points, got list"),
        ('{"a.png": [[1, 2]]}', r"a.png: expected five points \[x, y\], 68, or null, got \[\[1, 2\]\]"),
        ('{"a.png": "here"}', 'a.png: expected five points .* got "here"'),
        ('{"a.png": [[1, 2], [1, 2], [1, 2], [1, 2], [1, NaN]]}', "NaN is no number"),
        ('{"7": {"image": {"file_path": "a.png"}}}', "7: expected `file_path` and 68 `face_landmarks`"),
    ],
)
def test_a_wrong_landmarks_file_is_a_config_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "points.json"
    path.write_text(text)

    with pytest.raises(ConfigError, match=message):
        read_landmarks(path)


def test_a_missing_landmarks_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the landmarks"):
        read_landmarks(tmp_path / "none.json")
