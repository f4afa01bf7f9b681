"""Photographs to be like: aligned, or as they are; their features, and what they tell of how they were made."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from degrade_kit.align import (
    Detector,
    Landmarks,
    align_face,
    choose_faces,
    ffhq_quad,
    packaged_detector,
    yunet_detector,
)
from degrade_kit.analysis.bank_search import Facts
from degrade_kit.analysis.distances import Features
from degrade_kit.analysis.extractors import Extractor
from degrade_kit.analysis.weights import locate
from degrade_kit.codec_ops import SUBSAMPLINGS, Jpeg
from degrade_kit.errors import ConfigError, DegradeKitError, ImageError
from degrade_kit.files import local_path, parse_json_lines, parse_yaml, read_regular
from degrade_kit.image import Pixels, decode_image
from degrade_kit.jpeg_file import JpegFacts, read_jpeg_facts
from degrade_kit.pipelines.distribution.features import to_size
from degrade_kit.pipelines.executor import Stateful
from degrade_kit.pipelines.feature_cache import cached
from degrade_kit.pipelines.text import counted
from degrade_kit.sources import Sources, display_name, open_sources

log = logging.getLogger(__name__)

_IN_TASK = 24
_FRAMED: Final = 40
"""Photographs whose framing is looked at."""
_TIGHT: Final = 0.9
"""Below it, photographs show less of a face than an aligner cuts out."""
_WIDE: Final = 0.96
"""Distance of the eyes over that of eyes and mouth, in the five points of a mean FFHQ face that facexlib aligns to."""
_FRONTAL: Final = 0.12
"""How far the nose of a face that looks ahead may be from the middle of its eyes, in distances of the eyes."""
_AHEAD: Final = 8
"""Faces that look ahead, at least: a few may be people whose faces are wide."""
_STRETCHED: Final = 0.15
"""Below it, faces are taken to be as wide as they should be: people differ as much."""
_MAX_LINES = 1 << 28
_SUBSAMPLINGS: Final = tuple(SUBSAMPLINGS)


class Framing(NamedTuple):
    """How photographs that are taken as they are show faces."""

    share: float = 1.0
    """How much of the side of the square that an aligner cuts out they show."""
    stretch: float = 1.0
    """How much wider than they should be faces are: above 1 where somebody resized them without regard to aspect."""

    def describe(self) -> str:
        """Say it of photographs, behind their name; nothing where they are as an aligner's.

        >>> Framing(0.72, 1.21).describe()
        'show 72% of what an aligner cuts out, their faces 1.21 times as wide as they should be'
        """
        shown = [f"show {self.share:.0%} of what an aligner cuts out"] if self.share != 1 else []
        wide = [f"their faces {self.stretch:g} times as wide as they should be"] if self.stretch != 1 else []
        if wide and not shown:
            return f"show {wide[0]}"
        return ", ".join([*shown, *wide])


AS_ALIGNED: Final = Framing()


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotoConfig:
    """How photographs become images to measure."""

    size: int
    """Side of the images, pixels. A photograph of this size is taken as it is: an aligner made it."""
    cut: bool = False
    """Whether others are cut to their central square and resized, as they are; else the largest face is aligned."""
    framing: Framing = AS_ALIGNED
    """How such photographs show faces; see `measure_framing`."""
    detector: str = "packaged"
    """What finds faces: `packaged` or `yunet`."""
    yunet: Path | None = None
    """YuNet's file."""
    cache: Path | None = None
    """Folder of what was measured, by content."""


def check_enough(found: int, least: int, place: str, hint: str = "") -> None:
    """Check that there are as many photographs as a fit needs.

    Raises:
        ConfigError: If there are fewer.
    """
    if found < least:
        raise ConfigError(
            f"expected at least {least} photographs that can be used, found {found} in {place}{hint and f'; {hint}'}"
        )


def large_faces(sources: Sources, count: int, size: int, rng: np.random.Generator) -> list[tuple[int, Pixels]]:
    """Draw faces that can be read and need not be enlarged.

    Args:
        sources: HQ faces.
        count: Faces, at most.
        size: Their side, pixels.
        rng: Draws the order in which they are looked at.

    Returns:
        Place in `sources` and pixels of each, (size, size, 3) uint8.
    """
    faces: list[tuple[int, Pixels]] = []
    for place in map(int, rng.permutation(len(sources))):
        if len(faces) == count:
            break
        try:
            pixels = decode_image(sources.read(place)).pixels
        except ImageError:
            continue
        if min(pixels.shape[:2]) >= size:
            faces.append((place, to_size(pixels, size)))
    return faces


@dataclass(frozen=True, slots=True)
class Photo:
    """What was measured of a photograph."""

    name: str
    features: Features
    facts: Facts


@dataclass(frozen=True, slots=True)
class FoundFace:
    """Where `degrade-kit align`, or this fit, found a face."""

    side: float
    """Side of the face in the photograph, pixels."""
    angle: float
    """Its turn there, radians, as in `degrade_kit.ops.Frame`."""
    source: str
    """Name of the photograph."""


@dataclass(frozen=True, slots=True)
class PhotoTask:
    """Some photographs to measure."""

    sources: Sources
    aligned: Mapping[str, FoundFace]
    """Where they were found, by names of faces that `align` cut out."""
    originals: Sources | None
    """The photographs that they were cut out of, where they are still there."""
    config: PhotoConfig


@dataclass(frozen=True, slots=True)
class PhotosMeasured:
    """What came of a task."""

    photos: list[Photo]
    failures: list[tuple[str, str, str]]
    """Name, reason, detail."""


def photo_tasks(place: str, sources: Sources, places: Sequence[int], config: PhotoConfig) -> Iterator[PhotoTask]:
    """Make tasks over the photographs at these places of a listing; what `align` wrote beside them is read once."""
    aligned, originals = _read_alignment(place)
    names = [sources.names[number] for number in places]
    for start in range(0, len(names), _IN_TASK):
        part = names[start : start + _IN_TASK]
        known = {display_name(name): aligned[display_name(name)] for name in part if display_name(name) in aligned}
        wanted = {entry.source for entry in known.values()}
        there = [] if originals is None else [name for name in originals.names if display_name(name) in wanted]
        yield PhotoTask(
            sources.only(part), known, originals.only(there) if originals is not None and there else None, config
        )


def left_out_words(counts: Mapping[str, int]) -> str:
    """Say behind the name of a place what its listing did not take; nothing where it took all.

    >>> left_out_words({"unreadable": 1, "@eaDir": 2}), left_out_words({})
    ('; left out 1 unreadable, 2 @eaDir', '')
    """
    return f"; left out {counted(counts)}" if counts else ""


def locate_detector(config: PhotoConfig) -> PhotoConfig:
    """Find the detector's file, here: workers may have another environment and working directory.

    Raises:
        ConfigError: If YuNet's is not there.
    """
    if config.cut or config.detector != "yunet" or config.yunet is not None:
        return config
    found = locate("yunet", {})
    if found.path is None:
        raise ConfigError(f"detector: yunet {found.missing()}, or use the packaged detector")
    return dataclasses.replace(config, yunet=found.path.resolve())


def measuring_photos(extractor: Extractor) -> Stateful[PhotoTask, PhotosMeasured]:
    """Make the work for `run_tasks`."""
    return Stateful(functools.partial(_ready, extractor))


def _ready(extractor: Extractor) -> Callable[[PhotoTask], PhotosMeasured]:
    return functools.partial(_measure_task, extractor.load(), extractor.key())


def _measure_task(measure: Callable[[Pixels], Features], extractor: str, task: PhotoTask) -> PhotosMeasured:
    files = _files_of(task)
    done = PhotosMeasured([], [])
    for place, source in enumerate(task.sources.names):
        name = display_name(source)
        try:
            data = task.sources.read(place)
            how = f"cut at {task.config.framing.share}" if task.config.cut else f"False/{task.config.detector}"
            settings = f"{extractor}/{task.config.size}/{how}"
            key = hashlib.sha256(b"".join([hashlib.sha256(data).digest(), settings.encode()])).hexdigest()

            def make(data: bytes = data) -> Features:
                pixels, facts = look(data, task.config)
                return np.concatenate([measure(pixels), _packed(facts)])

            row = cached(task.config.cache, key, make)
        except ImageError as error:
            done.failures.append((name, error.reason, error.detail))
            continue
        features, facts = row[:-_PACKED], _unpacked(row[-_PACKED:])
        if name in task.aligned:
            facts = _of_alignment(task.aligned[name], files.get(task.aligned[name].source), task.config.size)
        done.photos.append(Photo(name, features, facts))
    return done


def look(data: bytes, config: PhotoConfig) -> tuple[Pixels, Facts]:
    """Make the image of a photograph, and find what it tells.

    Raises:
        ImageError: If it cannot be used, or shows no face where one must be aligned.
    """
    pixels = decode_image(data).pixels
    size = config.size
    if pixels.shape[:2] == (size, size):
        return pixels, Facts()
    file = read_jpeg_facts(data)
    if config.cut:
        side = min(pixels.shape[:2])
        facts = Facts(side=side / config.framing.share, cut=True, file=_op(file)) if side < size else Facts()
        return to_size(pixels, size), facts
    face = choose_faces(_detector(config)(pixels), pixels)[0]
    aligned = align_face(pixels, face.landmarks, size)
    across = aligned.quad[3] - aligned.quad[0]
    found = FoundFace(aligned.scale * size, math.atan2(-across[1], across[0]), "")
    return aligned.pixels, _of_alignment(found, file, size)


def measure_framing(sources: Sources, config: PhotoConfig) -> Framing:
    """Measure how photographs that are taken as they are show faces, by the points of some.

    Faces that somebody cut out close to eyes and chin show neither hair nor background, and faces that were resized
    without regard to aspect have other edges along than across, whatever degraded them; so the images that are compared
    with them must show faces likewise.

    Returns:
        Side of the photographs over that of the square that an aligner would cut out, and the width of faces that look
        ahead over what it should be, the medians of some; 1 for what is about as an aligner's, where photographs are
        aligned, or where most show no face that is found.
    """
    if not config.cut:
        return AS_ALIGNED
    try:
        detect = _detector(config)
    except ConfigError as error:
        log.warning("how photographs show faces is not measured, but taken to be as an aligner's: %s", error)
        return AS_ALIGNED
    places = [round(place) for place in np.linspace(0, len(sources) - 1, min(len(sources), _FRAMED))]
    found: list[tuple[int, Landmarks]] = []
    for place in places:
        try:
            pixels = decode_image(sources.read(place)).pixels
            side = min(pixels.shape[:2])
            # A face that fills the picture is found where there is room round it.
            wide = np.pad(pixels, ((side // 2,) * 2, (side // 2,) * 2, (0, 0)), mode="edge")
            points = choose_faces(detect(wide), wide)[0].landmarks
            ffhq_quad(points)  # refuses those that no square can be laid round, before they count
            found.append((side, points))
        except ImageError:
            continue
    if len(found) <= len(places) / 2:
        return AS_ALIGNED
    stretch = _stretch([points for _, points in found])
    quads = [ffhq_quad(points / (stretch, 1)) for _, points in found]
    shares = [side / float(np.linalg.norm(quad[3] - quad[0])) for (side, _), quad in zip(found, quads, strict=True)]
    share = round(float(np.median(shares)), 2)
    return Framing(share if share < _TIGHT else 1.0, stretch)


def _stretch(faces: Sequence[Landmarks]) -> float:
    """How much wider than they should be faces are: those that look ahead, since others look narrow."""
    widths: list[float] = []
    for points in faces:
        across, middle = points[1] - points[0], (points[0] + points[1]) / 2
        apart = float(np.linalg.norm(across))
        aside = float((points[2] - middle) @ across) / apart**2
        if abs(aside) < _FRONTAL:
            widths.append(apart / float(np.linalg.norm((points[3] + points[4]) / 2 - middle)))
    if len(widths) < max(_AHEAD, len(faces) / 4):
        return 1.0
    stretch = round(float(np.median(widths)) / _WIDE, 2)
    return 1.0 if abs(stretch - 1) < _STRETCHED else stretch


@functools.lru_cache(maxsize=1)  # one for each worker process
def _detector(config: PhotoConfig) -> Detector:
    return packaged_detector() if config.yunet is None else yunet_detector(config.yunet)


def _of_alignment(aligned: FoundFace, file: JpegFacts | None, size: int) -> Facts:
    if aligned.side >= size:  # shrunk: what its file was is too fine to be seen
        return Facts(side=float(size), angle=aligned.angle)
    return Facts(side=aligned.side, angle=aligned.angle, file=_op(file))


def _op(file: JpegFacts | None) -> Jpeg | None:
    if file is None:
        return None
    return Jpeg(quality=file.quality, subsampling=file.subsampling or "4:2:0")


_PACKED: Final = 5


def _packed(facts: Facts) -> Features:
    """Facts as numbers, beside the features that are kept; NaN for what is not told."""
    file = facts.file
    return np.array(
        [
            math.nan if facts.side is None else facts.side,
            math.nan if facts.angle is None else facts.angle,
            float(facts.cut),
            math.nan if file is None else file.quality,
            math.nan if file is None else _SUBSAMPLINGS.index(file.subsampling),
        ]
    )


def _unpacked(numbers: Features) -> Facts:
    side, angle, cut, quality, subsampling = (float(number) for number in numbers)
    return Facts(
        side=None if math.isnan(side) else side,
        angle=None if math.isnan(angle) else angle,
        cut=bool(cut),
        file=None if math.isnan(quality) else Jpeg(quality=int(quality), subsampling=_SUBSAMPLINGS[int(subsampling)]),
    )


def _files_of(task: PhotoTask) -> dict[str, JpegFacts]:
    """What the files of the photographs tell, by their names."""
    found: dict[str, JpegFacts] = {}
    if task.originals is None:
        return found
    for place, name in enumerate(task.originals.names):
        try:
            file = read_jpeg_facts(task.originals.read(place))
        except ImageError:  # gone since: it tells nothing
            continue
        if file is not None:
            found[display_name(name)] = file
    return found


def _read_alignment(place: str) -> tuple[dict[str, FoundFace], Sources | None]:
    """What `degrade-kit align` wrote beside faces, and the photographs that it cut them out of."""
    folder = local_path(place)
    lines = folder / "align.jsonl"
    if not lines.is_file():
        return {}, None
    found: dict[str, FoundFace] = {}
    for _, line in parse_json_lines(read_regular(lines, _MAX_LINES), str(lines)):
        try:
            quad = np.array(line["quad"], np.float64)
            right, down = (float(value) for value in quad[3] - quad[0])
            side = math.hypot(right, down)
            if quad.shape != (4, 2) or not 1 <= side < math.inf:
                raise ValueError(f"side {side}")
            found[str(line["output"])] = FoundFace(side, math.atan2(-down, right), str(line["source"]))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ConfigError(f"damaged: {lines}: expected lines that `degrade-kit align` wrote: {error}") from error
    try:
        settings = parse_yaml(read_regular(folder / "align.yaml", 1 << 20), "align.yaml")
        originals = open_sources(str(settings["input"]))
    except (OSError, DegradeKitError, KeyError, TypeError) as error:
        log.warning(
            "%s: the photographs that it was made of cannot be read (%s): their JPEG files tell nothing", folder, error
        )
        return found, None
    return found, originals
