"""`degrade-kit make-testset`: a fixed set of LQ images with their HQ images, to judge restorers by.

    OUT/hq/00000.png      what a restorer should give
    OUT/lq/00000.png      what it gets
    OUT/records.jsonl     one line for each pair: source, origin, record, hashes
    OUT/testset.json      counts and a digest of all files, written last: a set with it is whole
    OUT/testset.yaml      the configuration

The same faces, options and library versions give the same bytes, on any number of workers and after any interruption.
From originals, as LFW-Test comes from LFW, there are `lq/` and, where faces were aligned, what `align` writes.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from degrade_kit.checks import checked, fields
from degrade_kit.degradation import degrade_segments, finish, make_lq, make_target
from degrade_kit.errors import ConfigError, ImageError, RunError
from degrade_kit.files import file_sha256, parse_json, read_regular, sha256
from degrade_kit.hq import HqConfig, HqImage, prepare, versions
from degrade_kit.image import encode_png
from degrade_kit.network_ops import Network, run_together
from degrade_kit.pipelines.claim import Claim
from degrade_kit.pipelines.devices import check_device
from degrade_kit.pipelines.effort import (
    MODEL_SECONDS,
    EchoNetwork,
    Effort,
    resolve_workers,
    seconds_each,
    spread,
)
from degrade_kit.pipelines.evaluation.named_sets import (
    SEED,
    SIZE,
    NamedSet,
    face_key,
    lines_digest,
    pixels_digest,
    record_line,
)
from degrade_kit.pipelines.executor import ExecutorConfig, Stateful, run_tasks
from degrade_kit.pipelines.images import check_output, list_images, output_named, output_stems
from degrade_kit.pipelines.makers.captions import Captions
from degrade_kit.pipelines.makers.networks import NetworkSettings, check_networks, load_networks, network_mapping
from degrade_kit.pipelines.makers.recipe_maker import origin_of
from degrade_kit.progress import OnProgress, Progress, silent
from degrade_kit.recipe import Recipe
from degrade_kit.record import Record
from degrade_kit.seeding import epoch_generator, generator
from degrade_kit.sources import Sources, display_name, open_sources
from degrade_kit.store import LocalStore
from degrade_kit.wording import counted_noun, first_few

RECORDS, SETTINGS, SUMMARY = "records.jsonl", "testset.yaml", "testset.json"
_JOURNAL: Final = ".records.partial.jsonl"
_IN_TASK: Final = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class TestsetConfig:
    """Everything that changes the bytes of a test set."""

    __test__ = False  # of pytest, which takes it for a test

    hq: str
    """Faces: see `degrade_kit.sources.open_sources`."""
    recipe: Recipe
    count: int
    """Pairs."""
    seed: int = 0
    offshelf: Recipe | None = None
    """Another recipe, such as a FlipNet's, for a share of the LQ images; None leaves all to `recipe`."""
    share: float = 0.5
    """Share of the LQ images that `offshelf` makes, exactly."""
    size: int = 512
    """Side of all images, pixels."""
    network: NetworkSettings = field(default_factory=NetworkSettings)
    """Where and how the FlipNets of the recipes run, if they have any."""
    captions: Captions | None = None
    """What a FlipNet is prompted with, where a recipe wants captions."""
    named: NamedSet | None = None
    """The published set that this is, whose recipe, count, seed and size these are; see `of_named`."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"count: expected at least 1, got {self.count}")
        if not 0 <= self.share <= 1:
            raise ConfigError(f"share: expected a number within [0, 1], got {self.share}")

    @classmethod
    def of_named(cls, named: NamedSet, hq: str) -> TestsetConfig:
        """Make the configuration of a published set, of faces in `hq`."""
        return cls(hq=hq, recipe=named.recipe, count=len(named.faces.numbers), seed=SEED, size=SIZE, named=named)

    def to_mapping(self) -> dict[str, Any]:
        """What decides the bytes, for `testset.yaml`."""
        plain: dict[str, Any] = {
            **({"testset": self.named.name} if self.named is not None else {}),
            "hq": self.hq,
            "recipe": self.recipe.to_mapping(),
            "count": self.count,
            "seed": self.seed,
            "size": self.size,
            "versions": versions(self.recipe),
        }
        if self.offshelf is not None:
            plain |= {"share": self.share, "offshelf": self.offshelf.to_mapping()}
        if self.models:
            plain["flipnet"] = {**network_mapping(self.recipe, self.network), "models": self.models}
        if self.captions is not None:
            plain["captions"] = self.captions.to_mapping()
        return plain

    @property
    def models(self) -> dict[str, str]:
        """Where the FlipNets of both recipes are, by digest."""
        return self.recipe.models | (self.offshelf.models if self.offshelf is not None else {})

    def recipe_of(self, *, offshelf: bool) -> Recipe:
        """The recipe of an LQ image."""
        if offshelf:
            assert self.offshelf is not None
            return self.offshelf
        return self.recipe


@dataclass(frozen=True, slots=True)
class Published:
    """What a named set says beside others: its records are the published ones, or there is no set."""

    name: str
    records: str
    """Digest of all records."""
    pixels: str
    """Digest of what this build makes of a drawn picture."""
    builds: tuple[str, ...]
    """Builds for which that is the published one."""
    faces: str
    """Digest of the files of the faces, in order: equal where two people have the same ones."""

    def to_mapping(self) -> dict[str, Any]:
        """What `testset.json` has of it."""
        return {
            "testset": self.name,
            "records": self.records,
            "pixels": self.pixels,
            "pixels_published_for": list(self.builds),
            "faces": self.faces,
        }


@dataclass(frozen=True, slots=True)
class Testset:
    """What a test set holds, and what could not be used."""

    __test__ = False

    pairs: int
    offshelf: int
    """LQ images of the other recipe among them, which is the FlipNet's."""
    unusable: list[tuple[str, str]]
    """Faces that were drawn but cannot be used, and why; others took their places."""
    digest: str
    left_out: dict[str, int]
    """What the listing of the faces did not take, by cause."""
    published: Published | None = None
    """What a named set is beside."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """A pair to make."""

    number: int
    source: str
    offshelf: bool
    key: str
    """What its draws follow from: the source's name, or the number of a face of a named set."""


@dataclass(frozen=True, slots=True)
class _Task:
    slots: tuple[_Slot, ...]
    sources: Sources
    config: TestsetConfig
    out: Path


@dataclass(frozen=True, slots=True)
class _Done:
    lines: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    failures: list[tuple[_Slot, str]] = field(default_factory=list[tuple[_Slot, str]])


def make_testset(
    config: TestsetConfig,
    out: Path,
    executor: ExecutorConfig,
    progress: OnProgress = silent,
) -> Testset:
    """Draw faces, degrade them and write the set; a rerun goes on.

    Args:
        config: What to make.
        out: Folder of the set.
        executor: Where to run.
        progress: Told of the pairs made.

    Raises:
        ConfigError: If there are too few faces that can be used, or the FlipNet cannot.
        RunError: If the folder holds something else.
    """
    sources = check_testset(config, out, executor)
    executor = resolve_workers(executor, lambda: testset_effort(config, sources)[0])
    store = LocalStore(out)
    with _claim(config).taken(store):
        return _make_pairs(config, sources, store, executor, progress)


def _make_pairs(
    config: TestsetConfig, sources: Sources, store: LocalStore, executor: ExecutorConfig, progress: OnProgress
) -> Testset:
    """Make the pairs that are not there yet, in a folder that is this run's."""
    out = store.root
    waiting = iter(_order(config, sources))
    slots = _slots(config, waiting)
    made = {(line["number"], line["source"]): line for line in _journal(out)}
    places = {name: place for place, name in enumerate(sources.names)}

    def content(slot: _Slot) -> str:
        return sha256(sources.read(places[slot.source]))

    finished: dict[int, dict[str, Any]] = {}
    kept = 0
    unusable: list[tuple[str, str]] = []
    with (out / _JOURNAL).open("a", encoding="utf-8") as journal:
        while slots:
            before = len(finished)
            todo = [slot for slot in slots if not _take(made, slot, finished, out, content)]
            kept += len(finished) - before
            failed: list[_Slot] = []
            for outcome in run_tasks(
                Stateful(functools.partial(_ready, config, executor.threads)),
                _tasks(todo, sources, config, out),
                executor,
            ):
                if outcome.result is None:
                    raise RunError(outcome.error)
                for line in outcome.result.lines:
                    journal.write(json.dumps(line) + "\n")
                    finished[line["number"]] = line
                journal.flush()
                for slot, reason in outcome.result.failures:
                    failed.append(slot)
                    unusable.append((display_name(slot.source), reason))
                progress(Progress(noun="pair", done=len(finished), total=config.count, kept=kept))
            slots = _replace(sorted(failed, key=lambda slot: slot.number), waiting, config, unusable)
    lines = [finished[number] for number in range(config.count)]
    return _finish(store, config, lines, sorted(unusable), sources.summary())


def check_testset(config: TestsetConfig, out: Path, executor: ExecutorConfig) -> Sources:
    """Find all that would stop `make_testset` before its work, write nothing, and return the faces.

    Raises:
        ConfigError: If there are too few faces, the FlipNet is not there, or the device is not.
        RunError: If the folder holds something else, or cannot be written to.
    """
    for recipe in (config.recipe, config.offshelf):
        if recipe is not None:
            check_networks(recipe, config.network)
    if config.models:
        check_device(config.network.device, executor)
    sources = list_images(config.hq)
    if config.named is not None:
        config.named.faces.find(sources.names, config.hq)
        config.named.check_records()
    elif len(sources) < config.count:
        raise ConfigError(f"count: {config.count:,} pairs need as many faces; {config.hq} has {len(sources):,}")
    _claim(config).check(LocalStore(out))
    return sources


def testset_effort(config: TestsetConfig, sources: Sources) -> tuple[Effort, float]:
    """Say what the pairs take, and how many bytes they are, as some tell; those of networks by their known cost."""
    echo, tasks = EchoNetwork(), -(-config.count // _IN_TASK)
    total, size = 0.0, 0.0
    shares = [
        (config.recipe, 1 - config.share if config.offshelf is not None else 1.0),
        (config.offshelf, config.share),
    ]
    for recipe, share in shares:
        if recipe is None or not share:
            continue
        sizes: list[int] = []
        echo.seconds = 0.0

        def make(place: int, recipe: Recipe = recipe, sizes: list[int] = sizes) -> None:
            hq = prepare(sources.read(place), HqConfig(size=config.size))
            record = recipe.draw(generator(config.seed, sources.names[place], 0), "")
            sizes.append(len(hq.data) + len(encode_png(make_lq(record, hq.pixels, echo))))

        each = seconds_each(spread(len(sources), 6), make)
        total += (each + echo.seconds / max(len(sizes), 1)) * share * config.count
        size += sum(sizes) / max(len(sizes), 1) * share * config.count
    return Effort(seconds=total, tasks=tasks, setup=MODEL_SECONDS if config.models else 0.0), size


def _order(config: TestsetConfig, sources: Sources) -> list[tuple[str, str]]:
    """Files of faces in the order in which they are taken, with what their draws follow from."""
    if config.named is not None:
        found = config.named.faces.find(sources.names, config.hq)
        return [(name, face_key(number)) for name, number in found.items()]
    order: npt.NDArray[np.int64] = epoch_generator(config.seed, 0, "\0testset").permutation(len(sources))
    return [(name, name) for name in (sources.names[int(place)] for place in order.tolist())]


def _slots(config: TestsetConfig, faces: Iterable[tuple[str, str]]) -> list[_Slot]:
    share = round(config.count * config.share) if config.offshelf is not None else 0
    offshelf = epoch_generator(config.seed, 1, "\0testset").permutation(np.arange(config.count) < share)
    return [
        _Slot(number, name, bool(offshelf[number]), key)
        for number, (name, key) in zip(range(config.count), faces, strict=False)
    ]


def _replace(
    failed: Sequence[_Slot],
    waiting: Iterable[tuple[str, str]],
    config: TestsetConfig,
    unusable: Sequence[tuple[str, str]],
) -> list[_Slot]:
    """Other faces for those that cannot be used, in the order in which faces were drawn."""
    again = [replace(slot, source=name, key=key) for slot, (name, key) in zip(failed, waiting, strict=False)]
    if len(again) < len(failed):
        name, reason = unusable[0]
        raise ConfigError(
            f"count: {config.count:,} pairs need as many faces; {len(unusable):,} of those in {config.hq} cannot be "
            f"used, such as {name}: {reason}"
        )
    return again


def _take(
    made: dict[tuple[int, str], dict[str, Any]],
    slot: _Slot,
    finished: dict[int, dict[str, Any]],
    out: Path,
    content: Callable[[_Slot], str],
) -> bool:
    """Whether an earlier run made it of the same file; its line is taken if so."""
    line = made.get((slot.number, display_name(slot.source)))
    if line is None or not all(
        (out / side / f"{line['image']}.png").is_file()
        and file_sha256(out / side / f"{line['image']}.png") == line[f"{side}_sha256"]
        for side in ("hq", "lq")
    ):
        return False
    with contextlib.suppress(ImageError):
        if content(slot) == line["source_sha256"]:
            finished[slot.number] = line
            return True
    return False


def _tasks(slots: Sequence[_Slot], sources: Sources, config: TestsetConfig, out: Path) -> Iterable[_Task]:
    for start in range(0, len(slots), _IN_TASK):
        chosen = tuple(slots[start : start + _IN_TASK])
        yield _Task(chosen, sources.only([slot.source for slot in chosen]), config, out)


# --------------------------------------------------------------------------------------------------------------- making


def _ready(config: TestsetConfig, threads: int) -> Callable[[_Task], _Done]:
    """In a worker, with the FlipNets where there are any."""
    network = load_networks(config.models, config.network, threads=threads) if config.models else None
    return functools.partial(_make, network)


def _make(network: Network | None, task: _Task) -> _Done:
    done = _Done()
    store = LocalStore(task.out)
    config = task.config
    places = {name: place for place, name in enumerate(task.sources.names)}
    taken: list[tuple[_Slot, bytes, HqImage, Record]] = []
    for slot in task.slots:
        try:
            raw = task.sources.read(places[slot.source])
            recipe = config.recipe_of(offshelf=slot.offshelf)
            told = config.captions.of(raw) if recipe.captioned and config.captions is not None else None
            hq = prepare(raw, HqConfig(size=config.size))
        except ImageError as error:
            done.failures.append((slot, str(error)))
            continue
        taken.append((slot, raw, hq, recipe.draw(generator(config.seed, slot.key, 0), told)))
    # Together, so that a network has batches.
    natives = run_together([degrade_segments(record, hq.pixels) for _, _, hq, record in taken], network)
    for (slot, raw, hq, record), native in zip(taken, natives, strict=True):
        lq = finish(native.pixels, native.tail, (hq.pixels.shape[0], hq.pixels.shape[1]))
        origin = origin_of(record, config.recipe_of(offshelf=slot.offshelf))
        target = encode_png(make_target(record, hq.pixels)) if record.target else hq.data
        data = encode_png(lq)
        image = f"{slot.number:05}"
        store.write(f"hq/{image}.png", target)
        store.write(f"lq/{image}.png", data)
        done.lines.append(
            {
                "number": slot.number,
                "image": image,
                "source": display_name(slot.source),
                "source_sha256": sha256(raw),
                "origin": origin,
                "record": record.to_json(),
                "hq_sha256": sha256(target),
                "lq_sha256": sha256(data),
            }
        )
    return done


# -------------------------------------------------------------------------------------------------------------- writing


def _claim(config: TestsetConfig | OriginalsConfig) -> Claim:
    inputs = [("--hq", config.hq) if isinstance(config, TestsetConfig) else ("--real", config.originals)]
    return Claim(what="a test set", file=SETTINGS, resolved=config.to_mapping(), inputs=inputs)


def _journal(out: Path) -> list[dict[str, Any]]:
    """Lines of earlier runs; one that was cut short by a kill, or is damaged, is left out, and its pair made again."""
    lines: list[dict[str, Any]] = []
    for name in (RECORDS, _JOURNAL):
        if (out / name).is_file():
            for line in read_regular(out / name).split(b"\n"):
                with contextlib.suppress(ConfigError):
                    found = checked(parse_json(line, name), _LINE, name)
                    lines.append({**found, "number": int(found["image"])})
    return lines


def _image(value: Any, key: str) -> str:  # noqa: ANN401 (parsed JSON)
    if not isinstance(value, str) or not re.fullmatch("[0-9]{5,9}", value):
        raise ConfigError(f"{key}: expected the number of an image, such as 00042, got {value!r:.80}")
    return value


_LINE: Final = fields(
    {
        "image": _image,
        **dict.fromkeys(("source", "source_sha256", "origin", "record", "hq_sha256", "lq_sha256"), str),
    }
)
"""Check of a line of `RECORDS`."""


def _finish(
    store: LocalStore,
    config: TestsetConfig,
    lines: Sequence[dict[str, Any]],
    unusable: list[tuple[str, str]],
    left_out: dict[str, int],
) -> Testset:
    shown = [{key: value for key, value in line.items() if key != "number"} for line in lines]
    records = "".join(json.dumps(line) + "\n" for line in shown).encode()
    offshelf = round(len(lines) * config.share) if config.offshelf is not None else 0
    digest = sha256(records)
    published = None if config.named is None else _published(config.named, lines)
    summary: dict[str, Any] = {
        **(published.to_mapping() if published is not None else {}),
        "pairs": len(lines),
        "offshelf": offshelf,
        "unusable": [list(entry) for entry in unusable],
        "left_out": left_out,
        "digest": digest,
        "versions": versions(config.recipe),
    }
    store.write(RECORDS, records)
    store.write(SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())
    (store.root / _JOURNAL).unlink(missing_ok=True)
    return Testset(len(lines), offshelf, unusable, digest, left_out, published)


def _published(named: NamedSet, lines: Sequence[dict[str, Any]]) -> Published:
    """The digests of a named set, once that of its records is the published one."""
    numbered = list(zip(named.faces.numbers, lines, strict=True))
    records = lines_digest(record_line(number, line["record"]) for number, line in numbered)
    named.compare(records)
    pixels = pixels_digest(named.recipe)
    faces = lines_digest(record_line(number, line["source_sha256"]) for number, line in numbered)
    return Published(named.name, records, pixels, named.builds(pixels), faces)


# ------------------------------------------------------------------------------------------------------- from originals


@dataclass(frozen=True, kw_only=True, slots=True)
class OriginalsConfig:
    """Real photographs as a test set: without HQ images."""

    originals: str
    """Photographs: see `degrade_kit.sources.open_sources`."""
    align: bool
    """Whether faces are framed as FFHQ is; else the central square is taken."""
    detector: str = "packaged"
    yunet: Path | None = None
    """ONNX file of the detector `yunet`, if it is given."""
    landmarks: Path | None = None
    size: int = 512

    def to_mapping(self) -> dict[str, Any]:
        """What decides the bytes, for `testset.yaml`."""
        plain = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}
        return {**plain, "versions": versions()}


@dataclass(frozen=True, slots=True)
class RealTestset:
    """What a set of aligned photographs holds, and what could not be used."""

    images: int
    failures: dict[str, int]
    """Photographs that gave none, by reason."""
    digest: str


Aligner = Callable[[OriginalsConfig, Path, OnProgress], dict[str, int]]
"""Frames the faces of originals into a folder, and returns the photographs that gave none, by reason."""


def make_real_testset(
    config: OriginalsConfig,
    out: Path,
    progress: OnProgress = silent,
    align: Aligner | None = None,
) -> RealTestset:
    """Write `lq/`, one image for each photograph, with its name.

    Args:
        config: What to make.
        out: Folder of the set.
        progress: Told of the photographs that were looked at.
        align: Frames the faces where `config.align` asks for it.

    Raises:
        ConfigError: If there are no photographs, or the detector cannot be used.
        RunError: If the folder holds something else.
    """
    sources = check_real_testset(config, out)
    store = LocalStore(out)
    with _claim(config).taken(store, named=output_stems(sources.names)):
        return _make_real(config, store, sources.summary(), progress, align)


def _make_real(
    config: OriginalsConfig,
    store: LocalStore,
    left_out: dict[str, int],
    progress: OnProgress,
    align: Aligner | None,
) -> RealTestset:
    """Make the images, in a folder that is this run's."""
    out = store.root
    if config.align:
        assert align is not None, "align: expected a function, since the configuration asks for it"
        failures = align(config, out / "lq", progress)
    else:
        failures = _squares(config, store, progress)
    images = open_sources(out / "lq")
    lines = [f"{name} {sha256(images.read(place))}" for place, name in enumerate(images.names)]
    digest = sha256("\n".join(lines))
    summary = {
        "images": len(images),
        "failures": failures,
        "left_out": left_out,
        "digest": digest,
        "versions": versions(),
    }
    store.write(SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())
    return RealTestset(len(images), failures, digest)


def check_real_testset(config: OriginalsConfig, out: Path) -> Sources:
    """Find all that would stop `make_real_testset` before its work, but for the detector; write nothing.

    Raises:
        ConfigError: If there are no photographs, or the folder is inside theirs.
        RunError: If the folder holds something else, images of photographs that are gone among them, or cannot be
            written to.
    """
    _claim(config).check(LocalStore(out))
    # Where faces are framed, `align` opens the photographs again, and says what it leaves out.
    sources = open_sources(config.originals) if config.align else list_images(config.originals)
    expected = {f"{stem}.png" for stem in output_stems(sources.names)}
    there = [name for name in LocalStore(out / "lq").names() if name.endswith(".png") and not name.startswith(".")]
    if gone := [name for name in there if name not in expected]:
        raise RunError(
            f"{out / 'lq'}: {counted_noun(len(gone), 'image')} of photographs that are not in {config.originals} now: "
            f"{first_few(gone)}; give another --out, or remove them"
        )
    return sources


def real_effort(config: OriginalsConfig, sources: Sources) -> tuple[Effort, float]:
    """Say what the central squares of photographs take, and how many bytes they are, as some tell."""
    sizes: list[int] = []

    def make(place: int) -> None:
        sizes.append(len(prepare(sources.read(place), HqConfig(size=config.size)).data))

    seconds = seconds_each(spread(len(sources), 6), make) * len(sources)
    return Effort(seconds=seconds, tasks=1), sum(sizes) / max(len(sizes), 1) * len(sources)


def _squares(config: OriginalsConfig, store: LocalStore, progress: OnProgress) -> dict[str, int]:
    sources = open_sources(config.originals)
    failures: dict[str, int] = {}
    for place, stem in enumerate(output_stems(sources.names)):
        target = f"lq/{stem}.png"
        try:
            check_output(target)
            store.delete(target)  # of an earlier run, when the photograph may have been another
            data = prepare(sources.read(place), HqConfig(size=config.size)).data
            with output_named():
                store.write(target, data)
        except ImageError as error:
            failures[error.reason] = failures.get(error.reason, 0) + 1
        progress(Progress(noun="photo", done=place + 1, total=len(sources)))
    for _, reason, _ in sources.skipped:
        failures[reason] = failures.get(reason, 0) + 1
    return failures
