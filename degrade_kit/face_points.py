"""Where eyes and mouth are in a face: five points, and the squares that facial discriminators look at.

    points       left eye, right eye, nose, left and right corner of the mouth, as `degrade_kit.align` has them
    components   x, y and half the side of a square around the left eye, the right eye and the mouth
    coordinates  pixels of the image; the centre of its first pixel is (0, 0); left is the left of the picture

GFPGAN makes the squares of 68 points: the mean of a part's points, and half of the part's greatest extent, at least 16
pixels of 512. Of five points they follow by the proportions of dlib's mean face.

Source: TencentARC/GFPGAN, scripts/parse_landmark.py, commit 7552a77; dlib 19, `get_face_chip_details`, mean face.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypedDict, cast

import numpy as np
import numpy.typing as npt

from degrade_kit.errors import ConfigError, ImageError
from degrade_kit.files import decode_json, parse_json, parse_json_lines, read_regular, sha256
from degrade_kit.light_ops import LensDistortion

COMPONENTS: Final = ("left_eye", "right_eye", "mouth")
"""Names of the squares, in order."""

_EYE: Final = 0.2
"""Half the width of an eye, as a share of the distance between the eyes: 0.201 in dlib's mean face."""
_MOUTH_DOWN: Final = 0.0425
"""How far the mean of the mouth's points lies below its corners, as a share of the way from the eyes to them."""
_LEAST: Final = 16 / 512
"""Least half side, as a share of the image's side."""
_FFHQ_SIDE: Final = 1024
"""Side of the images whose pixels FFHQ's own file counts."""
_MAX_BYTES: Final = 1 << 30
"""Most bytes that a file of landmarks may have; FFHQ's own, which holds more than landmarks, has 255 MB."""
_MAX_LINES: Final = 1 << 31
"""Most lines that an `align.jsonl` may have, each of half a kilobyte."""

_Triple = tuple[float, float, float]
_Array = npt.NDArray[np.float64]


class PlainPoints(TypedDict):
    """A face's points as JSON has them."""

    points: list[list[float]]
    components: dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class FacePoints:
    """The points of one face, and the squares of its components.

    >>> face = face_points([[192, 240], [320, 240], [256, 310], [206, 360], [306, 360]], side=512)
    >>> face.components[0]
    (192.0, 240.0, 25.6)
    """

    points: tuple[tuple[float, float], ...]
    """Five."""
    components: tuple[_Triple, ...]
    """Those of `COMPONENTS`."""

    def moved(self, right: float, down: float) -> FacePoints:
        """Shift the face, pixels."""
        return FacePoints(
            tuple((x + right, y + down) for x, y in self.points),
            tuple((x + right, y + down, half) for x, y, half in self.components),
        )

    def bent(self, lens: LensDistortion, height: int, width: int) -> FacePoints:
        """Follow an image of that size through a lens that bends lines; the squares keep their size."""
        squares = [(*lens.moved(x, y, height, width), half) for x, y, half in self.components]
        return FacePoints(tuple(lens.moved(x, y, height, width) for x, y in self.points), tuple(squares))

    def resized(self, factor: float) -> FacePoints:
        """Enlarge the image by a factor; pixel centres stay pixel centres."""

        def at(value: float) -> float:
            return (value + 0.5) * factor - 0.5

        return FacePoints(
            tuple((at(x), at(y)) for x, y in self.points),
            tuple((at(x), at(y), half * factor) for x, y, half in self.components),
        )

    def mirrored(self, width: int) -> FacePoints:
        """Mirror an image of that width left to right: the left eye is then the one that was the right."""
        points = [(width - 1 - x, y) for x, y in self.points]
        squares = [(width - 1 - x, y, half) for x, y, half in self.components]
        (left, right, nose, left_mouth, right_mouth), (left_eye, right_eye, mouth) = points, squares
        return FacePoints((right, left, nose, right_mouth, left_mouth), (right_eye, left_eye, mouth))

    def prepared(self, changes: Iterable[Mapping[str, Any]]) -> FacePoints:
        """Follow an image through what was done to it.

        Args:
            changes: See `degrade_kit.hq.HqImage.changes`.
        """
        face = self
        for change in changes:
            if change["op"] == "crop":
                face = face.moved(-change["left"], -change["top"])
            elif change["op"] == "resize":
                face = face.resized(change["to"] / change["from"])
        return face

    def to_plain(self) -> PlainPoints:
        """Write lists and numbers, rounded to hundredths of a pixel; `from_plain` reads them."""
        squares = {
            name: [round(value, 2) for value in square]
            for name, square in zip(COMPONENTS, self.components, strict=True)
        }
        return {"points": [[round(x, 2), round(y, 2)] for x, y in self.points], "components": squares}

    def to_fields(self) -> dict[str, str]:
        """Write the fields of a sample's JSON, each a JSON text; see `from_fields`."""
        plain = self.to_plain()
        return {
            "landmarks": json.dumps(plain["points"], separators=(",", ":")),
            "components": json.dumps(plain["components"], separators=(",", ":")),
        }

    @classmethod
    def from_plain(cls, points: object, components: object) -> FacePoints:
        """Check and read what `to_plain` wrote.

        Raises:
            ValueError: If it is something else.
        """
        five = _array(points, (5, 2))
        told = cast("dict[str, Any]", components)
        if not isinstance(components, dict) or set(told) != set(COMPONENTS):
            raise ValueError(f"expected squares of {', '.join(COMPONENTS)}, got {told!r:.80}")
        squares = _array([told[name] for name in COMPONENTS], (3, 3))
        if (squares[:, 2] <= 0).any():
            raise ValueError(f"expected squares with a side, got {told!r:.200}")
        return cls(_pairs(five), tuple((float(x), float(y), float(half)) for x, y, half in squares))

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> FacePoints | None:
        """Read the points of a sample's JSON; None where it has none.

        Raises:
            ValueError: If they are damaged.
        """
        if "landmarks" not in fields or "components" not in fields:
            return None
        try:
            return cls.from_plain(decode_json(fields["landmarks"]), decode_json(fields["components"]))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"landmarks: {error}") from error


def face_points(points: Sequence[Sequence[float]] | _Array, *, side: float) -> FacePoints:
    """Find the squares of a face's components.

    Args:
        points: Five, or the 68 of dlib and iBUG.
        side: Of the face's square in FFHQ framing, pixels: no half side is below a 32nd of it.

    Raises:
        ValueError: If they are neither.
    """
    array = np.asarray(points, np.float64)
    if array.shape == (68, 2) and np.isfinite(array).all():
        parts = {"left_eye": array[36:42], "right_eye": array[42:48], "mouth": array[48:68]}
        left, right = (parts[name].mean(axis=0) for name in ("left_eye", "right_eye"))
        five = np.stack([left, right, array[30], array[48], array[54]])
        halves = [float(np.ptp(part, axis=0).max()) / 2 for part in parts.values()]
        centres = [part.mean(axis=0) for part in parts.values()]
    else:
        five = _array(points, (5, 2))
        left, right, _, left_mouth, right_mouth = five
        corners = (left_mouth + right_mouth) / 2
        eye = _EYE * float(np.hypot(*(right - left)))
        halves = [eye, eye, float(np.hypot(*(right_mouth - left_mouth))) / 2]
        centres = [left, right, corners + _MOUTH_DOWN * (corners - (left + right) / 2)]
    squares = tuple(
        (float(x), float(y), max(half, _LEAST * side)) for (x, y), half in zip(centres, halves, strict=True)
    )
    return FacePoints(_pairs(five), squares)


@dataclass(frozen=True, slots=True)
class LandmarkFile:
    """The landmarks of a file, by the names of their images."""

    path: str
    by_name: Mapping[str, FacePoints | _Array | None]
    """Five or 68 points where they are of a photo; with squares where they are of a face; None where there is none."""
    side: int = 0
    """Side of the square images whose pixels are meant, where a file counts in others than the images' own."""

    def find(self, name: str) -> FacePoints | _Array:
        """Find the landmarks of an image by its name relative to the source.

        Raises:
            ImageError: If it has none.
        """
        # FFHQ's own file says images1024x1024/00000/00000.png, and copies of its images lie in all kinds of folders.
        key = name if not self.side or name in self.by_name else _stem(name)
        if key not in self.by_name:
            raise ImageError("no landmarks", f"{self.path} does not name this image")
        found = self.by_name[key]
        if found is None:
            raise ImageError("no face", f"{self.path} says null")
        return found

    def five(self, name: str) -> _Array:
        """Five points of an image, shape (5, 2); raises as `find`."""
        found = self.find(name)
        return np.asarray(found.points) if isinstance(found, FacePoints) else np.asarray(_five(found))

    def of_hq(self, name: str, changes: Iterable[Mapping[str, Any]], size: tuple[int, int]) -> FacePoints:
        """The points of a source as they lie in its HQ image.

        Args:
            name: Of the source.
            changes: What was done to it; see `degrade_kit.hq.HqImage.changes`.
            size: Height and width of the HQ image, pixels.

        Raises:
            ImageError: If there are none, or an eye lies outside.
        """
        found = self.find(name)
        if not isinstance(found, FacePoints):
            five = np.asarray(_five(found))
            # The framing says how large the face is in its image; in a face that is aligned that is the image's side.
            found = face_points(found, side=max(4 * float(np.hypot(*(five[1] - five[0]))), 1))
        face = found.resized(size[1] / self.side) if self.side else found.prepared(changes)
        height, width = size
        for x, y in face.points[:2]:
            if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
                raise ImageError(
                    "unusable landmarks", f"{self.path}: an eye at {x:.0f}, {y:.0f} in an image of {width} x {height}"
                )
        return face

    def only(self, names: Iterable[str]) -> LandmarkFile:
        """Keep what these images need."""
        keys = {key for name in names for key in ((name, _stem(name)) if self.side else (name,))}
        return dataclasses.replace(self, by_name={key: self.by_name[key] for key in keys if key in self.by_name})

    def to_mapping(self) -> dict[str, Any]:
        """Write what a data set saves of them: where they are, and the hash of them all."""
        plain = {
            name: face.to_plain() if isinstance(face, FacePoints) else None if face is None else face.tolist()
            for name, face in self.by_name.items()
        }
        return {"file": self.path, "sha256": sha256(json.dumps([self.side, plain], sort_keys=True))}


def read_landmarks(path: Path) -> LandmarkFile:
    """Read landmarks: an `align.jsonl`, FFHQ's `ffhq-dataset-v2.json`, or a file of one's own.

    That is JSON: `{"folder/name.jpg": [[x, y], ... five], "other.jpg": null}`, with names relative to the source, and
    null where there is no face; 68 points in place of five give more exact squares.

    Raises:
        ConfigError: If the file is none of these.
    """
    try:
        data = read_regular(path, _MAX_LINES if path.suffix == ".jsonl" else _MAX_BYTES)
    except OSError as error:
        raise ConfigError(f"cannot read the landmarks in {path}: {error.strerror or error}") from error
    if path.suffix == ".jsonl":
        return LandmarkFile(str(path), dict(_aligned(data, path)))
    entries = parse_json(data, str(path), max_bytes=_MAX_BYTES)
    if not isinstance(entries, dict):
        raise ConfigError(f"{path}: expected an object from file names to five points, got {type(entries).__name__}")
    found = cast("dict[str, Any]", entries)
    if found and all(isinstance(entry, dict) and "image" in entry for entry in found.values()):
        return LandmarkFile(str(path), dict(_of_ffhq(found, path)), side=_FFHQ_SIDE)
    return LandmarkFile(str(path), {name: _parse_points(points, name, path) for name, points in found.items()})


def _aligned(data: bytes, path: Path) -> Iterable[tuple[str, FacePoints]]:
    """The faces that `degrade-kit align` wrote, each in its own pixels."""
    for number, line in parse_json_lines(data, str(path)):
        where = f"{path}, line {number}"
        if not isinstance(line.get("output"), str) or "points" not in line:
            raise ConfigError(
                f"{where}: expected a line of `degrade-kit align` with `output` and `points`; one of an older version "
                "gets them by running `align` once more"
            )
        try:
            yield line["output"], FacePoints.from_plain(line["points"], line.get("components"))
        except ValueError as error:
            raise ConfigError(f"damaged: {where}: {error}") from error


def _of_ffhq(entries: Mapping[str, Any], path: Path) -> Iterable[tuple[str, _Array]]:
    for number, entry in entries.items():
        image: Any = entry["image"]
        try:
            name, points = image["file_path"], _array(image["face_landmarks"], (68, 2))
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path}: {number}: expected `file_path` and 68 `face_landmarks`: {error}") from error
        yield _stem(str(name)), points


def _stem(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[0]


def _parse_points(points: object, name: str, path: Path) -> _Array | None:
    if points is None:
        return None
    for count in (5, 68):
        try:
            return _array(points, (count, 2))
        except ValueError:
            continue
    raise ConfigError(f"{path}: {name}: expected five points [x, y], 68, or null, got {json.dumps(points)[:200]}")


def _five(points: _Array) -> tuple[tuple[float, float], ...]:
    return _pairs(points) if len(points) == 5 else face_points(points, side=0).points


def _array(values: object, shape: tuple[int, int]) -> _Array:
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.shape != shape or not np.isfinite(array).all() or (abs(array) > 1e6).any():
        raise ValueError(f"expected {shape[0]} x {shape[1]} finite numbers, got {values!r:.200}")
    return array


def _pairs(points: _Array) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in points)
