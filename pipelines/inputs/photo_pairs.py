"""`degrade-kit pairs from-photos`: photographs in, pairs to train FlipNet's degradation mode on, resumable.

    OUT/NAME/train/lq/anna.png     the face in anna.jpg of the photographs NAME, the photo's own pixels
    OUT/NAME/train/hq/anna.png     what the restorer made of it, at the same size
    OUT/NAME/test/{hq,lq}/         the same, of people who are held out
    OUT/pairs.jsonl                one line for each pair: where it comes from, its caption, what was measured
    OUT/pairs_failures.jsonl       one line for each photo or face that gave no pair: source, reason, detail
    OUT/pairs.png                  a sheet of pairs, and of faces that were refused, with the reasons
    OUT/pairs.yaml                 the configuration

So `OUT/NAME` is what `--pairs NAME=OUT/NAME` takes. A photo is done once its lines are in the manifest; they are
written after its images, and each image appears under its name complete or not at all. A rerun takes up the photos that
are not done, among them those that failed before; a pair that was refused is refused for good.
"""

from __future__ import annotations

import functools
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from degrade_kit.align import FaceChoice, choose_faces, ffhq_quad
from degrade_kit.analysis.groups import read_groups
from degrade_kit.checks import COUNT, checked, choice, each, fields, number, probability, whole
from degrade_kit.errors import ConfigError, ImageError
from degrade_kit.files import parse_json_lines, read_regular, sha256, utf8
from degrade_kit.flipnet.captions import source_caption
from degrade_kit.flipnet.pairs import kind_of
from degrade_kit.flipnet.pseudo_hq import (
    MIN_CUT,
    TOO_SMALL,
    cut_face,
    disagreement,
    jpeg_origin,
    reduce_to,
)
from degrade_kit.image import Pixels, decode_image, encode_png
from degrade_kit.pipelines.claim import Claim, Inputs, check_apart, plain
from degrade_kit.pipelines.effort import Effort, resolve_workers, spread
from degrade_kit.pipelines.executor import ExecutorConfig, Stateful, run_tasks
from degrade_kit.pipelines.images import check_output, list_images, output_named, output_stems
from degrade_kit.pipelines.inputs.align import build_detector, locate_yunet
from degrade_kit.pipelines.inputs.restorers import RestorerChoice, find_restorer, load_restorer
from degrade_kit.pipelines.sheet import Tile, contact_sheet
from degrade_kit.progress import OnProgress, Progress, silent
from degrade_kit.seeding import generator
from degrade_kit.sources import Sources, display_name
from degrade_kit.store import LocalStore

log = logging.getLogger(__name__)

LINES, FAILURES, SHEET, SETTINGS = "pairs.jsonl", "pairs_failures.jsonl", "pairs.png", "pairs.yaml"
REFUSED: Final = ".refused"
"""Folder of what was refused, LQ and pseudo-HQ side by side: hidden, since nothing in it is data."""
PHOTO: Final = "photo"
"""Name of photographs that were given without one."""
_JOURNAL = ".pairs.partial.jsonl"
PHOTOS_PER_TASK = 8
SECONDS_PER_MEGAPIXEL: Final = 250.0
"""Known cost of a large restorer, Real-ESRGAN's on one core: 4 s for 128 x 128 pixels."""
_TILE, _SHOWN, _SHOWN_REFUSED = 128, 6, 6


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotoPairsConfig:
    """What to make pairs of, and how."""

    real: tuple[tuple[str, str], ...]
    """Name and place of each set of photographs; the name is the kind of its pairs, and a word of their captions."""
    out_dir: Path
    restorer: str
    """See `degrade_kit.pipelines.inputs.restorers.find_restorer`."""
    detector: Literal["packaged", "yunet"] = "packaged"
    yunet: Path | None = None
    """File of YuNet's weights, as in `degrade_kit.pipelines.inputs.align.AlignConfig`."""
    face: FaceChoice = "largest"
    """Which of several faces in a photo."""
    min_score: float = 0.8
    """Least confidence of the detector, 0 to 1."""
    size: int = 128
    """Greatest side of a cut, pixels; of a larger face its middle is taken."""
    test_share: float = 0.125
    """Share of the people whose pairs are for validation alone."""
    seed: int = 0
    """Seed of the choice of these people."""

    def __post_init__(self) -> None:
        if not self.real:
            raise ConfigError("real: expected at least one set of photographs, got none")
        for name, count in Counter(name for name, _ in self.real).items():
            if kind_of(name) != name:
                raise ConfigError(f"real: `{name}` is the name of a data set of pairs; give these photographs another")
            if count > 1:
                raise ConfigError(f"real: the name `{name}` is given twice; each set needs one of its own")
        whole(MIN_CUT, 512)(self.size, "size")
        probability(self.min_score, "min_score")
        number(0, 0.9)(self.test_share, "test_share")
        choice(("packaged", "yunet"))(self.detector, "detector")


@dataclass(frozen=True, kw_only=True, slots=True)
class Photos:
    """The photographs of one name."""

    kind: str
    sources: Sources
    stems: tuple[str, ...]
    people: tuple[str, ...]
    """Who is in each, as its name tells; see `degrade_kit.analysis.groups`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotoPairsPlan:
    """A configuration with its photographs and what is left to do."""

    config: PhotoPairsConfig
    restorer: RestorerChoice
    photos: tuple[Photos, ...]
    done: dict[tuple[int, int], list[dict[str, Any]]]
    """Lines of earlier runs, by number of the set and of the photo in it."""
    moved: tuple[str, ...]
    """Images of people who are of the other split now, since more names tell who is who; they are made again."""

    @property
    def total(self) -> int:
        """Photographs in all sets."""
        return sum(len(photos.stems) for photos in self.photos)


@dataclass(frozen=True, kw_only=True, slots=True)
class KindReport:
    """What came of one set of photographs."""

    kind: str
    photos: int
    train: int
    test: int
    people: int
    """People, or photographs where their names do not tell, among the pairs."""
    refused: dict[str, int]
    """Faces and photographs that gave no pair, by reason, the most frequent first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotoPairsReport:
    """What the output folder holds after a run."""

    kinds: tuple[KindReport, ...]
    resumed: int
    """Photographs that earlier runs had done."""
    captions: dict[str, int]
    """Number of pairs with each phrase, the most frequent first."""
    licence: str
    """What the licence beside the restorer says first; empty where there is none."""

    @property
    def pairs(self) -> int:
        """Pairs of all sets."""
        return sum(kind.train + kind.test for kind in self.kinds)


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotoPairsTask:
    """Some photographs of one set."""

    config: PhotoPairsConfig
    place: int
    """Number of the set."""
    first: int
    """Number of the first photo."""
    photos: Photos
    todo: tuple[int, ...]
    """Which of them are not done: numbers within the task."""


TaskLines = dict[int, "list[dict[str, Any]]"]
"""Lines by number of the photo in its set; one with a `reason` is no pair."""


def plan_photo_pairs(config: PhotoPairsConfig) -> PhotoPairsPlan:
    """Look at photographs, detector, restorer and output folder; write nothing.

    Raises:
        ConfigError: If one of them cannot be used, or the output is inside the photographs.
        RunError: If the output folder holds something else, or pairs of another configuration.
    """
    check_apart(config.out_dir, _inputs(config))
    photos: list[Photos] = []
    for kind, place in config.real:
        sources = list_images(place)
        stems = output_stems(sources.names)
        photos.append(Photos(kind=kind, sources=sources, stems=stems, people=read_groups(sources.names).names))
    restorer = find_restorer(config.restorer)
    _claim(config, restorer).check(LocalStore(config.out_dir))
    config = replace(config, restorer=restorer.text, yunet=locate_yunet(config.detector, config.yunet))
    build_detector(config.yunet)
    done, moved = _read_done(config, photos)
    return PhotoPairsPlan(config=config, restorer=restorer, photos=tuple(photos), done=done, moved=moved)


def photo_pairs_effort(plan: PhotoPairsPlan) -> Effort:
    """Say about what the photographs that are not done take, by the sizes of some of them; nothing is written."""
    megapixels: list[float] = []
    for photos in plan.photos:
        for index in spread(len(photos.stems), 5):
            try:
                height, width = decode_image(photos.sources.read(index), min_side=1).pixels.shape[:2]
            except ImageError:
                continue
            megapixels.append(min(height, plan.config.size) * min(width, plan.config.size) / 1e6)
    todo = plan.total - len(plan.done)
    each_photo = float(np.mean(megapixels)) * SECONDS_PER_MEGAPIXEL if megapixels else 0.0
    return Effort(seconds=each_photo * todo, tasks=-(-todo // PHOTOS_PER_TASK))


def make_photo_pairs(
    config: PhotoPairsConfig,
    executor: ExecutorConfig = ExecutorConfig(workers=0),  # noqa: B008 (immutable)
    *,
    progress: OnProgress = silent,
) -> PhotoPairsReport:
    """Make pairs of every photo that is not done yet.

    Args:
        config: What to do.
        executor: Where to run.
        progress: Told now and then of the photographs handled by this run, of those that it has to.

    Raises:
        ConfigError: As `plan_photo_pairs`.
        RunError: As there, or if a file cannot be written, or the restorer does not work.
        Interrupted: After Ctrl-C; a rerun goes on.
    """
    plan = plan_photo_pairs(config)
    executor = resolve_workers(executor, lambda: photo_pairs_effort(plan))
    store = LocalStore(config.out_dir)
    named = [f"{photos.kind}/{stem}" for photos in plan.photos for stem in photos.stems]
    with _claim(plan.config, plan.restorer).taken(store, named=named):
        return _make(plan, store, executor, progress)


def _make(plan: PhotoPairsPlan, store: LocalStore, executor: ExecutorConfig, progress: OnProgress) -> PhotoPairsReport:
    """Make what is not there yet, in a folder that is this run's."""
    lines = dict(plan.done)
    failed: dict[tuple[int, int], list[dict[str, Any]]] = {}
    store.write(_JOURNAL, _to_jsonl(_in_order(lines)))
    for name in plan.moved:
        store.delete(name)
    work = Stateful[PhotoPairsTask, TaskLines](functools.partial(load_maker, plan.config, plan.restorer))
    with (plan.config.out_dir / _JOURNAL).open("ab") as journal:
        for outcome in run_tasks(work, _tasks(plan), executor):
            task = outcome.task
            found = outcome.result or _all_lost(task, outcome.error)
            for index, of_photo in found.items():
                (lines if _final(of_photo) else failed)[task.place, index] = of_photo
            journal.write(_to_jsonl(line for of_photo in found.values() if _final(of_photo) for line in of_photo))
            journal.flush()
            handled = len(lines) + len(failed) - len(plan.done)
            progress(Progress(noun="photo", done=handled, total=plan.total - len(plan.done)))
    every = list(_in_order({**lines, **failed}))
    pairs = [line for line in every if "reason" not in line]
    refused = [
        {"kind": photos.kind, "source": display_name(name), "reason": reason, "detail": detail}
        for photos in plan.photos
        for name, reason, detail in photos.sources.skipped
    ] + [line for line in every if "reason" in line]
    store.write(FAILURES, _to_jsonl(refused))
    if pairs or refused:
        store.write(SHEET, encode_png(_sheet(plan.config, store, pairs, refused)))
    store.write(LINES, _to_jsonl(pairs))
    store.delete(_JOURNAL)
    store.sweep()
    return _report(plan, pairs, refused)


def load_maker(config: PhotoPairsConfig, restorer: RestorerChoice) -> Callable[[PhotoPairsTask], TaskLines]:
    """Load detector and restorer, and give the function of a task, which is safe to run again."""
    detector, _ = build_detector(config.yunet)
    restore = load_restorer(restorer)
    store = LocalStore(config.out_dir)

    def make(task: PhotoPairsTask) -> TaskLines:
        found: TaskLines = {}
        waiting: list[tuple[int, dict[str, Any], str, Pixels]] = []
        for offset in task.todo:
            lines = found.setdefault(task.first + offset, [])
            name = display_name(task.photos.sources.names[offset])
            try:
                for line, stem, lq in _cut_photo(task, offset, name):
                    if lq is None:
                        lines.append(line)
                    else:
                        waiting.append((task.first + offset, line, stem, lq))
            except ImageError as error:
                log.info("%s: %s", name, error)
                lines.append(_failure(task.photos.kind, name, error.reason, error.detail))
        restored = restore([lq for _, _, _, lq in waiting])
        for (index, line, stem, lq), image in zip(waiting, restored, strict=True):
            found[index].append(_finish(line, stem, lq, image))
        return found

    def _cut_photo(task: PhotoPairsTask, offset: int, name: str) -> Iterator[tuple[dict[str, Any], str, Pixels | None]]:
        kind, person = task.photos.kind, display_name(task.photos.people[offset])
        decoded = decode_image(task.photos.sources.read(offset), min_side=1)
        height, width = decoded.pixels.shape[:2]
        origin = jpeg_origin(height, width, _orientation(decoded.notes)) if decoded.format == "jpg" else (0, 0)
        faces = choose_faces(detector(decoded.pixels), decoded.pixels, face=config.face, min_score=config.min_score)
        for place, face in enumerate(faces):
            quad = ffhq_quad(face.landmarks)
            cut = cut_face(quad, height, width, most=config.size, origin=origin)
            side = round(float(np.hypot(*(quad[3] - quad[0]))), 1)
            if cut is None:
                detail = f"of its square of {side:g} pixels less than {MIN_CUT} a side are in the photo"
                yield _failure(kind, name, TOO_SMALL, detail), "", None
                continue
            stem = task.photos.stems[offset] + (f"_{place}" if config.face == "all" else "")
            split = split_of(person, config)
            check_output(_path(kind, split, "lq", stem))
            line = {
                "kind": kind,
                "source": name,
                "person": person,
                "split": split,
                "face": place,
                "faces": len(faces),
                "cut": [cut.left, cut.top, cut.width, cut.height],
                "side": side,
            }
            yield line, stem, cut.of(decoded.pixels)

    def _finish(line: dict[str, Any], stem: str, lq: Pixels, image: Pixels) -> dict[str, Any]:
        kind, split = line["kind"], line["split"]
        try:
            hq = reduce_to(image, *lq.shape[:2])
        except ValueError as error:
            return _failure(kind, line["source"], "restored to another shape", str(error))
        fault = disagreement(hq, lq, detector)
        if fault is not None:
            shown = _path(REFUSED, kind, "", stem)
            store.write(shown, encode_png(np.concatenate([lq, hq], axis=1)))
            return {**line, "reason": fault[0], "detail": fault[1], "shown": display_name(shown)}
        files = {side: _path(kind, split, side, stem) for side in ("hq", "lq")}
        data = {"hq": encode_png(hq), "lq": encode_png(lq)}
        try:
            with output_named():
                for side in ("hq", "lq"):
                    store.write(files[side], data[side])
        except ImageError as error:
            return _failure(kind, line["source"], error.reason, error.detail)
        return {
            **{side: display_name(files[side]) for side in ("hq", "lq")},
            **line,
            "caption": source_caption(hq, lq, kind),
            **{f"{side}_sha256": sha256(data[side]) for side in ("hq", "lq")},
        }

    return make


def split_of(person: str, config: PhotoPairsConfig) -> Literal["train", "test"]:
    """Which split a person is of: the same in every set, whoever else is there."""
    name = person.rpartition("/")[2]
    tested = generator(config.seed, f"held out person\0{name}", 0).random() < config.test_share
    return "test" if tested else "train"


def _orientation(notes: Iterable[str]) -> int:
    found = [note for note in notes if note.startswith("orientation:")]
    return int(found[0].partition(":")[2]) if found else 1


def _path(kind: str, split: str, side: str, stem: str) -> str:
    return "/".join(part for part in (kind, split, side, f"{stem}.png") if part)


def _failure(kind: str, name: str, reason: str, detail: str) -> dict[str, Any]:
    return {"kind": kind, "source": name, "reason": reason, "detail": detail}


def _final(lines: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every face of a photo became a pair or was refused as one; else a rerun takes it up again."""
    return bool(lines) and all("person" in line for line in lines)


def _tasks(plan: PhotoPairsPlan) -> Iterator[PhotoPairsTask]:
    for place, photos in enumerate(plan.photos):
        for first in range(0, len(photos.stems), PHOTOS_PER_TASK):
            last = min(first + PHOTOS_PER_TASK, len(photos.stems))
            if todo := tuple(index - first for index in range(first, last) if (place, index) not in plan.done):
                part = replace(
                    photos,
                    sources=photos.sources.select(first, last),
                    stems=photos.stems[first:last],
                    people=photos.people[first:last],
                )
                yield PhotoPairsTask(config=plan.config, place=place, first=first, photos=part, todo=todo)


def _all_lost(task: PhotoPairsTask, error: str) -> TaskLines:
    names = task.photos.sources.names
    return {
        task.first + offset: [_failure(task.photos.kind, display_name(names[offset]), "lost", error)]
        for offset in task.todo
    }


def _claim(config: PhotoPairsConfig, restorer: RestorerChoice) -> Claim:
    """The output is of these photographs, cut, restored and parted so; another detector may take up what failed."""
    real = [[name, str(Path(place).resolve() if Path(place).exists() else place)] for name, place in config.real]
    values = {**asdict(config), "real": real, "restorer": restorer.text, "digest": restorer.digest}
    kept = ("real", "restorer", "digest", "face", "size", "test_share", "seed")
    return Claim(
        what="pairs",
        file=SETTINGS,
        resolved=plain(values),
        comparable=lambda found: {key: found.get(key) for key in kept},
        inputs=_inputs(config),
    )


def _inputs(config: PhotoPairsConfig) -> Inputs:
    return [("--real", place) for _, place in config.real]


_LINE = fields(
    {
        **dict.fromkeys(("kind", "source", "person", "split"), str),
        **dict.fromkeys(("face", "faces"), COUNT),
        "cut": each(COUNT),
    },
    may=dict.fromkeys(("hq", "lq", "caption", "reason", "detail", "shown"), str),
)


def _read_done(
    config: PhotoPairsConfig, photos: Sequence[Photos]
) -> tuple[dict[tuple[int, int], list[dict[str, Any]]], tuple[str, ...]]:
    """The lines of the photographs whose faces are all there, or were refused, in the split that is theirs now.

    Also the images that are in the other split.
    """
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    journal = config.out_dir / _JOURNAL  # it begins with the lines of earlier runs
    for path in [journal] if journal.exists() else [config.out_dir / LINES, config.out_dir / FAILURES]:
        for line in _read_lines(path):
            found.setdefault((line["kind"], line["source"]), []).append(line)
    done: dict[tuple[int, int], list[dict[str, Any]]] = {}
    moved: list[str] = []
    for place, of_kind in enumerate(photos):
        for index, (name, person) in enumerate(zip(of_kind.sources.names, of_kind.people, strict=True)):
            lines = found.get((of_kind.kind, display_name(name)), [])
            split = split_of(display_name(person), config)
            files = [config.out_dir / line[side] for line in lines for side in ("hq", "lq", "shown") if side in line]
            whole = bool(lines) and len(lines) == lines[0]["faces"] and all(file.is_file() for file in files)
            if whole and all(line["split"] == split for line in lines):
                done[place, index] = lines
            else:
                other = [line for line in lines if line["split"] != split]
                moved += [line[side] for line in other for side in ("hq", "lq") if side in line]
    return done, tuple(moved)


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    try:
        for _, line in parse_json_lines(read_regular(path), str(path)):
            if "person" in line:  # others failed, and are taken up again
                yield checked(line, _LINE, str(path))
    except ConfigError:
        return  # a killed run did not finish this line; none follows it


def _in_order(lines: Mapping[tuple[int, int], list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    return (line for key in sorted(lines) for line in lines[key])


def _to_jsonl(entries: Iterable[Mapping[str, Any]]) -> bytes:
    return utf8("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries))


def _sheet(
    config: PhotoPairsConfig,
    store: LocalStore,
    pairs: Sequence[Mapping[str, Any]],
    refused: Sequence[Mapping[str, Any]],
) -> Pixels:
    """Pairs of each kind, LQ beside HQ and what parts them; below, what was refused."""
    rows: list[list[Tile]] = []
    headings: list[str] = []
    for kind, _ in config.real:
        mine = [line for line in pairs if line["kind"] == kind]
        for place in spread(len(mine), _SHOWN):
            line = mine[place]
            hq, lq = (decode_image(store.read(line[side]), min_side=1).pixels for side in ("hq", "lq"))
            rows.append(
                [
                    Tile(lq, ("LQ", line["caption"])),
                    Tile(hq, ("pseudo-HQ",)),
                    Tile(_difference(hq, lq), ("difference x 4",)),
                ]
            )
            headings.append(f"{kind}: {line['source']}, {line['split']}")
    shown = [line for line in refused if "shown" in line]
    for place in spread(len(shown), _SHOWN_REFUSED):
        line = shown[place]
        both = decode_image(store.read(line["shown"]), min_side=1).pixels
        lq, hq = both[:, : both.shape[1] // 2], both[:, both.shape[1] // 2 :]
        rows.append(
            [
                Tile(np.ascontiguousarray(lq), ("LQ",)),
                Tile(np.ascontiguousarray(hq), ("refused", line["reason"])),
                Tile(_difference(hq, lq), (line["detail"],)),
            ]
        )
        headings.append(f"refused: {line['kind']}: {line['source']}")
    counts = Counter(line["reason"] for line in refused).most_common()
    title = f"{len(pairs):,} pairs of photographs"
    notes = [f"no pair: {', '.join(f'{count:,} {reason}' for reason, count in counts)}"] if counts else []
    if not rows:
        return contact_sheet([[Tile(np.full((8, 8, 3), 255, np.uint8), ("no pair",))]], _TILE, title=title, notes=notes)
    return contact_sheet(rows, _TILE, title=title, notes=notes, headings=headings)


def _difference(hq: Pixels, lq: Pixels) -> Pixels:
    """Four times LQ minus HQ, about grey."""
    return np.clip(128 + 4 * (lq.astype(np.int16) - hq), 0, 255).astype(np.uint8)


def _report(
    plan: PhotoPairsPlan, pairs: Sequence[Mapping[str, Any]], refused: Sequence[Mapping[str, Any]]
) -> PhotoPairsReport:
    kinds: list[KindReport] = []
    for photos in plan.photos:
        mine = [line for line in pairs if line["kind"] == photos.kind]
        lost = Counter(line["reason"] for line in refused if line["kind"] == photos.kind)
        splits = Counter(line["split"] for line in mine)
        kinds.append(
            KindReport(
                kind=photos.kind,
                photos=len(photos.stems) + len(photos.sources.skipped),
                train=splits["train"],
                test=splits["test"],
                people=len({line["person"] for line in mine}),
                refused=dict(lost.most_common()),
            )
        )
    captions = Counter(phrase for line in pairs for phrase in re.split(", ", line["caption"]))
    return PhotoPairsReport(
        kinds=tuple(kinds), resumed=len(plan.done), captions=dict(captions.most_common()), licence=plan.restorer.licence
    )
