"""`degrade-kit fit-recipe --kind bank`: find the records whose LQ images lie near given photographs.

    FILE.yaml   a recipe that draws from the bank, for `synth --preset`
    FILE.json   the bank: numbers, and no picture
    FILE.md     how near it comes, judged on people and HQ faces that took no part in the search
    FILE.png    photographs, and below them held-out faces by the bank

What was measured is kept in `.FILE.fit` beside them until all is there: so a run that was stopped goes on, and comes to
the same bytes.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from degrade_kit.analysis.bank_search import TRIALS, BankConfig, Facts, agreed, language, search_bank, search_for
from degrade_kit.analysis.comparison import SMALL, Comparison, ImageSet, Numbers, compare_sets
from degrade_kit.analysis.distances import Features, Interval
from degrade_kit.analysis.extractors import DEGRADATION, Extractor
from degrade_kit.analysis.groups import read_groups
from degrade_kit.analysis.patches import PatchConfig, compare_patches, has_torch
from degrade_kit.analysis.probes import probe_records
from degrade_kit.analysis.whitening import Whitening
from degrade_kit.bank import Bank, Told, load_bank, networks_of, rounded, shipped_banks, varied
from degrade_kit.checks import whole
from degrade_kit.degradation import make_lq
from degrade_kit.errors import ConfigError, RunError
from degrade_kit.files import plain_yaml, write_files
from degrade_kit.flipnet.config import require_packages
from degrade_kit.flipnet.description import SPACE_FILE, Description, read_space
from degrade_kit.flipnet.folder import SHIPPED, check_model, degrading_model, model_folder
from degrade_kit.image import Pixels, decode_image, encode_png
from degrade_kit.ops import Op
from degrade_kit.pipelines.claim import Inputs, check_apart
from degrade_kit.pipelines.distribution.analyze import PROBE_FACES, PROBE_RECORDS, measure_tasks
from degrade_kit.pipelines.distribution.features import (
    ExtractConfig,
    ProbeTask,
    loaded_networks,
    measuring_effort,
    middle,
    pick,
    stack,
    stretched,
    to_size,
)
from degrade_kit.pipelines.distribution.photographs import (
    Photo,
    PhotoConfig,
    check_enough,
    large_faces,
    left_out_words,
    locate_detector,
    look,
    measure_framing,
    measuring_photos,
    photo_tasks,
)
from degrade_kit.pipelines.distribution.report import check_measured
from degrade_kit.pipelines.effort import MODEL_SECONDS, Effort, estimate_lines, network_seconds, resolve_workers
from degrade_kit.pipelines.executor import ExecutorConfig, run_tasks
from degrade_kit.pipelines.images import list_images
from degrade_kit.pipelines.sheet import LEGEND, Tile, caption, contact_sheet
from degrade_kit.pipelines.text import Report, ReportLine, counted, human_time
from degrade_kit.presets import preset
from degrade_kit.recipe import load_recipe
from degrade_kit.record import Record
from degrade_kit.seeding import generator
from degrade_kit.sources import Sources, display_name
from degrade_kit.store import LocalStore, check_writable
from degrade_kit.wording import markdown_text

FOUND: Final = "found by degrade-kit"
"""What the `source` of a recipe says that such a fit wrote."""
LEAST_PHOTOGRAPHS: Final = 10
LEAST_FACES: Final = 4
_HELD_OUT: Final = 0.3
"""Share of the people whose photographs judge, where no others are given."""
_JUDGED: Final = (40, 200)
"""Images that are judged of each source, at least and at most: five for each photograph that judges."""
_LEAST_FOR_PATCHES: Final = 20
"""Photographs of which a network can learn anything."""
_TRIED: Final = 24
"""Draws that tell how much a FlipNet has to do."""
_COMPARED: Final = "gfpgan"
"""A published recipe, beside which the bank is judged."""
_SHEET_COLUMNS: Final = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class FitBankConfig:
    """What to find, and near what."""

    real: str
    hq: str
    held_out: str | None = None
    """Photographs of other people, to judge on; None holds out some of `real`."""
    size: int = 512
    max_images: int = 2000
    faces: int = 40
    photo: PhotoConfig
    vary: float = 0.1
    seed: int = 0
    cache: Path | None = None
    """Folder of what was measured, by content, which other fits may share; None keeps it beside the results until they
    are there."""
    candidates: int | None = None
    """How hard to look; None is as `search_for` has it, for as many photographs as there are."""
    rounds: int = 3
    records: int | None = None
    pool: Sequence[str] | None = None
    """Banks whose records are varied beside new ones: names of those that ship, or files; None takes all that ship."""
    flipnet: str | None = None
    """A FlipNet whose images are candidates beside those of classical steps: name of one that ships, or a folder."""

    @property
    def wide(self) -> int:
        """Side of the HQ faces, pixels: the images that are measured are their middle, framed as the photographs."""
        return round(self.size / self.photo.framing.share)

    def __post_init__(self) -> None:
        if self.faces < LEAST_FACES:
            raise ConfigError(f"expected at least {LEAST_FACES} faces, got {self.faces}")
        check_measured(self.size, self.max_images)
        whole(0, 2**63 - 1)(self.seed, "seed")


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedBank(Report):
    """A bank of records, and how near it comes to photographs that took no part in finding it."""

    bank: Bank | None
    """None in a dry run."""
    bank_numbers: Comparison | None
    """The bank against the photographs that judge."""
    compared: Comparison | None
    """A published recipe against them."""
    patches: Interval | None
    """How well a small network tells the bank's images from them, by patches: the area under its ROC curve. None in a
    dry run, without PyTorch, or of too few photographs."""
    fitted: int
    """Photographs that chose records."""
    held_out: int
    """Photographs that judge."""
    failures: tuple[tuple[str, str, str], ...]
    """Photographs that could not be used: name, reason, detail."""
    files: tuple[Path, ...]
    """The recipe, the bank, the report and the sheet."""
    seconds: float
    planned: tuple[str, ...] = ()
    """The plan of a dry run in lines; empty otherwise."""

    @property
    def nearer(self) -> bool:
        """Whether the bank is nearer to the photographs that judge than the published recipe is."""
        if self.bank_numbers is None or self.compared is None:
            return True
        ours, theirs = self.bank_numbers.numbers.kid, self.compared.numbers.kid
        return ours is None or theirs is None or ours.value < theirs.value

    def lines(self) -> list[ReportLine]:
        """Say in lines what was found; see `Report`."""
        if self.planned:
            return [ReportLine(text) for text in self.planned]
        assert self.bank is not None
        found: list[ReportLine] = []
        if self.failures:
            name, reason, _ = self.failures[0]
            text = f"{len(self.failures):,} photographs could not be used, such as {name}: {reason}"
            found.append(ReportLine(text, warning=True))
        for comparison, patches in ((self.bank_numbers, self.patches), (self.compared, None)):
            if comparison is not None:
                found.append(ReportLine(f"{comparison.source}: {_said(comparison.numbers, patches)}"))
        files = ", ".join(map(str, self.files))
        records = f"{len(self.bank.records):,} records near {self.fitted:,} photographs"
        found.append(ReportLine(f"{records}, in {human_time(self.seconds)}: {files}"))
        if not self.nearer:
            text = f"the bank is no nearer than {_COMPARED}; give more photographs, --candidates or --rounds"
            found.append(ReportLine(text, warning=True))
        return found


def result_files(out: Path, inputs: Inputs) -> tuple[Path, ...]:
    """Where recipe, bank, report and sheet go; only those of an earlier fit may be there.

    Raises:
        ConfigError: If the recipe's name does not end in .yaml, or one of them would be an input.
        RunError: If something else is there.
    """
    if out.suffix.lower() not in (".yaml", ".yml"):
        raise ConfigError(f"--out {out}: expected a file FILE.yaml for the recipe; its bank goes to FILE.json")
    files = out, *(out.with_suffix(ending) for ending in (".json", ".md", ".png"))
    for file in files:
        check_apart(file, inputs)
    there = [file for file in files if os.path.lexists(file)]
    if there and not _is_found(out):
        raise RunError(f"{there[0]} is there already, and no earlier fit wrote it; give another --out")
    return files


def _is_found(out: Path) -> bool:
    try:
        return FOUND in load_recipe(out).source
    except ConfigError:
        return False


@dataclass(frozen=True, slots=True)
class _Face:
    """An HQ face, and whom it shows."""

    pixels: Pixels
    person: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """A fit that nothing stands in the way of, as far as can be told before images are measured."""

    config: FitBankConfig
    search: BankConfig
    photographs: Sources
    places: list[int]
    judges: Sources | None
    judge_places: list[int]
    search_faces: list[_Face]
    judge_faces: list[_Face]
    known: list[tuple[Op, ...]]
    """Records that other photographs chose."""
    models: dict[str, str]
    """Where the FlipNets are that records may need, by digest."""

    @property
    def effort(self) -> Effort:
        """What it takes, as some of the images tell."""
        search = self.search
        made = search.candidates + 2 * search.rounds * search.records + TRIALS * search.records + 2 * _JUDGED[1]
        probed = min(PROBE_FACES, len(self.search_faces))
        tasks = [_probes(number, face.pixels, _extract(self.config)) for number, face in enumerate(self.search_faces)]
        probes = measuring_effort(Extractor(DEGRADATION), tasks[:probed])
        each = probes.seconds / (probed * PROBE_RECORDS)
        network = network_seconds(language(model=self.config.flipnet), self.search_faces[0].pixels, _TRIED)
        photographs = len(self.places) + len(self.judge_places)
        return Effort(
            seconds=probes.seconds + each * (made + photographs) + network * made,
            tasks=min(photographs, len(self.search_faces)),
            starts=4 + search.rounds,
            setup=MODEL_SECONDS if self.models else 0.0,
        )


def plan_bank(config: FitBankConfig, out: Path) -> _Plan:
    """Open photographs and faces, and choose what is measured; write nothing.

    Raises:
        ConfigError: If there are too few photographs or faces, or no such bank.
        RunError: If the recipe's folder cannot be written to.
    """
    rng = np.random.default_rng(config.seed)
    pool = shipped_banks() if config.pool is None else config.pool
    banks = [load_bank(name) for name in pool]
    known = [record for bank in banks for record in bank.records]
    models = {digest: place for bank in banks for digest, place in bank.models.items()}
    if config.flipnet is not None:
        require_packages()
        models[degrading_model(config.flipnet)[0]] = _located(config.flipnet)
    for place in models.values():
        check_model(place)
    photographs = list_images(config.real)
    check_writable(LocalStore(out.parent))
    check_enough(len(photographs), LEAST_PHOTOGRAPHS, config.real)
    judges = None if config.held_out is None else list_images(config.held_out)
    photo = locate_detector(config.photo)
    config = dataclasses.replace(config, photo=dataclasses.replace(photo, framing=measure_framing(photographs, photo)))
    faces = _faces(list_images(config.hq), config, rng)
    one, other = _split([face.person for face in faces], 0.5, rng)
    places = pick(len(photographs), config.max_images, rng)
    return _Plan(
        config=config,
        search=search_for(len(places), config.candidates, config.rounds, config.records),
        photographs=photographs,
        places=places,
        judges=judges,
        judge_places=[] if judges is None else pick(len(judges), config.max_images, rng),
        search_faces=[faces[number] for number in one],
        judge_faces=[faces[number] for number in other],
        known=known,
        models=models,
    )


def _located(model: str) -> str:
    """Where a FlipNet is, for a bank that is read elsewhere than it was found."""
    return model if model in SHIPPED else str(model_folder(model).resolve())


def _split(people: Sequence[str], share: float, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Places in two parts of which nobody is in both; the second holds about this share of all."""
    names = sorted(set(people))
    wanted, second = share * len(people), set[str]()
    for place in rng.permutation(len(names)):
        held = sum(name in second for name in people)
        mine = people.count(names[int(place)])
        if len(second) < len(names) - 1 and (not second or held + mine / 2 <= wanted):
            second.add(names[int(place)])
    return (
        [place for place, name in enumerate(people) if name not in second],
        [place for place, name in enumerate(people) if name in second],
    )


def _faces(sources: Sources, config: FitBankConfig, rng: np.random.Generator) -> list[_Face]:
    people = read_groups([display_name(name) for name in sources.names]).names
    drawn = large_faces(sources, config.faces, config.wide, rng)
    if len(drawn) < 2 * LEAST_FACES:  # then smaller ones, enlarged: faces of photographs are smaller still
        drawn = large_faces(sources, config.faces, config.size, rng)
    faces = [
        _Face(stretched(to_size(pixels, config.wide), config.photo.framing.stretch), people[place])
        for place, pixels in drawn
    ]
    if len(faces) < LEAST_FACES:
        raise ConfigError(
            f"{config.hq}: expected at least {LEAST_FACES} HQ faces of {config.size} pixels or more, half of them to "
            f"judge by, found {len(faces)}"
        )
    return faces


def describe_bank(plan: _Plan, files: Sequence[Path], executor: ExecutorConfig) -> FittedBank:
    """Say what a fit would do."""
    search = plan.search
    judging = (
        f"{len(plan.judge_places):,} of {plan.config.held_out}"
        if plan.judges
        else f"{_HELD_OUT:.0%} of the people in it"
    )
    return FittedBank(
        bank=None,
        bank_numbers=None,
        compared=None,
        patches=None,
        fitted=0,
        held_out=0,
        failures=(),
        files=tuple(files),
        seconds=0.0,
        planned=(
            f"{len(plan.places):,} of {len(plan.photographs):,} photographs choose records, {judging} judge; "
            f"{len(plan.search_faces):,} HQ faces for the search, {len(plan.judge_faces):,} others for judging",
            f"{search.candidates:,} records drawn, then {search.rounds} rounds; at least {search.records:,} are kept",
            f"writes {', '.join(map(str, files))}",
            *estimate_lines(executor, plan.effort),
        ),
    )


def find_bank(
    plan: _Plan, files: Sequence[Path], executor: ExecutorConfig, report: Callable[[str], None]
) -> FittedBank:
    """Find a bank, and write it with its recipe, its report and a sheet."""
    start = time.monotonic()
    config = plan.config
    out = files[0]
    executor = resolve_workers(executor, lambda: plan.effort)
    own = out.parent / f".{out.stem}.fit"
    cache = config.cache or own
    config = dataclasses.replace(config, photo=dataclasses.replace(config.photo, cache=cache))
    extract = dataclasses.replace(_extract(config), cache=cache)
    rng = np.random.default_rng([config.seed, 1])

    photos, failures = _measure_photos(config.real, plan.photographs, plan.places, config, executor)
    failures += list(plan.photographs.skipped)
    hint = f"{failures[0][0]}: {failures[0][1]}" if failures else ""
    check_enough(len(photos), LEAST_PHOTOGRAPHS, config.real, hint)
    if plan.judges is None:
        kept, held = _split(read_groups([photo.name for photo in photos]).names, _HELD_OUT, rng)
        photos, judges = [photos[place] for place in kept], [photos[place] for place in held]
    else:
        assert config.held_out is not None
        judges, more = _measure_photos(config.held_out, plan.judges, plan.judge_places, config, executor)
        failures += more
        people = read_groups([photo.name for photo in [*photos, *judges]]).names
        both = set(people[: len(photos)]) & set(people[len(photos) :])
        if both:
            raise ConfigError(
                f"{min(both)} is in {config.real} and in {config.held_out}: those that judge must be of others"
            )
    report(f"{len(photos):,} photographs choose records, {len(judges):,} judge; {len(failures):,} could not be used")

    probed = plan.search_faces[:PROBE_FACES]
    tasks = [_probes(number, face.pixels, extract) for number, face in enumerate(probed)]
    found = measure_tasks(Extractor(DEGRADATION), tasks, {}, executor)
    whitening = Whitening.fit(np.stack([stack(found[number].rows) for number in range(len(probed))], axis=1))

    facts = [photo.facts for photo in photos]
    like: list[Description] = []
    if config.flipnet is not None and (model_folder(config.flipnet) / SPACE_FILE).is_file():
        like = _describe(photos, plan)
        facts = [dataclasses.replace(entry, description=row) for entry, row in zip(facts, like, strict=True)]
    models = tuple(plan.models.items())

    def measure(records: Sequence[Record], faces: Sequence[_Face], first: int) -> Features:
        return whitening(_measure(records, faces, first, extract, executor, models))

    starts = itertools.count()  # records take turns with the faces, and another face begins each time

    records = search_bank(
        language(_sides(facts), config.flipnet, like),
        whitening(np.stack([photo.features for photo in photos])),
        lambda drawn: measure(drawn, plan.search_faces, next(starts)),
        plan.search,
        rng,
        lambda number, distance: report(f"round {number}: {distance:.3f} from a photograph to the nearest record"),
        facts=facts,
        known=plan.known,
    )
    bank = Bank(
        out.stem,
        "",
        tuple(map(rounded, records)),
        _told(facts),
        models={digest: plan.models[digest] for digest in sorted(networks_of(records))},
    )
    compared = _judge(bank, judges, plan.judge_faces, measure, whitening, config)
    patches = _judge_by_patches(bank, judges, plan, config)
    left_out = plan.photographs.summary()
    bank = dataclasses.replace(bank, source=_source(bank, photos, judges, compared, patches, config, left_out))
    sheet = _draw_sheet(bank, photos, plan, config)
    step = {"file": files[1].name, "vary": config.vary, "digest": bank.digest}
    mapping = {"name": bank.name, "source": bank.source, "steps": [{"bank": step}]}
    page = _page(bank, photos, judges, failures, compared, patches, plan)
    # The recipe last: it says that the others are there, and the next run that they are a fit's.
    write_files(
        out.parent,
        {
            files[1].name: bank.to_json(),
            files[2].name: page,
            files[3].name: encode_png(sheet),
            out.name: plain_yaml(mapping),
        },
    )
    shutil.rmtree(own, ignore_errors=True)
    return FittedBank(
        bank=bank,
        bank_numbers=compared[0],
        compared=compared[1],
        patches=patches,
        fitted=len(photos),
        held_out=len(judges),
        failures=tuple(failures),
        files=tuple(files),
        seconds=time.monotonic() - start,
    )


def _extract(config: FitBankConfig) -> ExtractConfig:
    return ExtractConfig(size=config.size, allow_resize=False, cache=None, thumbnails=False)


def _probes(number: int, face: Pixels, extract: ExtractConfig) -> ProbeTask:
    return ProbeTask(number, face, tuple(probe_records(PROBE_RECORDS)), extract)


def _sides(facts: Sequence[Facts]) -> Sequence[float]:
    """Sizes of faces that records are drawn with: those that the photographs tell, where all do."""
    sides = sorted(entry.side for entry in facts if entry.side is not None)
    if len(sides) < len(facts):
        return (40, 256)
    return [max(8.0, float(np.quantile(sides, step / 16))) for step in range(17)]


def _told(facts: Sequence[Facts]) -> tuple[Told, ...]:
    side, file = agreed(facts)
    return (*(("side",) if side else ()), *(("file",) if file else ()), "tone")


def _describe(photos: Sequence[Photo], plan: _Plan) -> list[Description]:
    """Describe photographs for a FlipNet that degrades like them: their own pixels, as they were found."""
    assert plan.config.flipnet is not None
    space = read_space(model_folder(plan.config.flipnet))
    places = {display_name(name): place for place, name in enumerate(plan.photographs.names)}
    return [space.describe(decode_image(plan.photographs.read(places[photo.name])).pixels) for photo in photos]


def _measure_photos(
    place: str, sources: Sources, places: Sequence[int], config: FitBankConfig, executor: ExecutorConfig
) -> tuple[list[Photo], list[tuple[str, str, str]]]:
    """Measure photographs, in the order of their names."""
    photos: list[Photo] = []
    failures: list[tuple[str, str, str]] = []
    tasks = list(photo_tasks(place, sources, places, config.photo))
    for outcome in run_tasks(measuring_photos(Extractor(DEGRADATION)), tasks, executor):
        if outcome.result is None:
            raise RunError(outcome.error)
        photos += outcome.result.photos
        failures += outcome.result.failures
    return sorted(photos, key=lambda photo: photo.name), sorted(failures)


def _measure(
    records: Sequence[Record],
    faces: Sequence[_Face],
    first: int,
    extract: ExtractConfig,
    executor: ExecutorConfig,
    models: tuple[tuple[str, str], ...],
) -> Features:
    """Features of an image of each record, which take turns with the faces, (n, D)."""
    by_face: dict[int, list[int]] = {}
    for number in range(len(records)):
        by_face.setdefault((first + number) % len(faces), []).append(number)
    tasks = [
        ProbeTask(face, faces[face].pixels, tuple(records[number] for number in numbers), extract, models)
        for face, numbers in by_face.items()
    ]
    found = measure_tasks(Extractor(DEGRADATION), tasks, {}, executor)
    made: dict[int, Features] = {}
    for face, numbers in by_face.items():
        rows = found[face].rows
        if len(rows) != len(numbers):
            raise RunError(f"a record failed on a face: {found[face].failures[:1]}")
        made.update({number: row.features for number, row in zip(numbers, rows, strict=True)})
    return np.stack([made[number] for number in range(len(records))])


def _draws(bank: Bank, config: FitBankConfig, purpose: str, count: int) -> list[Record]:
    """Records as a recipe draws them from the bank."""
    drawn: list[Record] = []
    for number in range(count):
        rng = generator(config.seed, f"{purpose}/{bank.digest}", number)
        ops = bank.records[int(rng.integers(len(bank.records)))]
        drawn.append(Record(int(rng.integers(1 << 48)), varied(ops, config.vary, rng, bank.told)))
    return drawn


def _image(bank: Bank, record: Record, face: Pixels, size: int) -> Pixels:
    """Make the image of a record that was drawn from a bank, as it is measured."""
    network = loaded_networks(tuple(bank.models.items())) if record.by_model else None
    return middle(make_lq(record, face, network), size)


def _judged(judges: Sequence[Photo]) -> int:
    """How many images are judged of each source."""
    return min(max(5 * len(judges), _JUDGED[0]), _JUDGED[1])


def _judge(
    bank: Bank,
    judges: Sequence[Photo],
    faces: Sequence[_Face],
    measure: Callable[[Sequence[Record], Sequence[_Face], int], Features],
    whitening: Whitening,
    config: FitBankConfig,
) -> tuple[Comparison, Comparison]:
    """Compare images of held-out faces, by the bank and by a published recipe, with photographs of held-out people."""
    names = tuple(photo.name for photo in judges)
    real = ImageSet(
        name="photographs",
        kind="real",
        points=whitening(np.stack([photo.features for photo in judges])),
        labels=names,
        groups=read_groups(names).names,
    )

    def compare(name: str, records: Sequence[Record]) -> Comparison:
        made = ImageSet(
            name=name,
            kind="synth",
            points=measure(records, faces, 0),
            labels=tuple(map(str, range(len(records)))),
            groups=tuple(faces[number % len(faces)].person for number in range(len(records))),
        )
        return compare_sets(made, real, config.seed)

    count = _judged(judges)
    published = preset(_COMPARED)
    plain = [published.draw(generator(config.seed, f"judge/{_COMPARED}", number)) for number in range(count)]
    return compare(bank.name, _draws(bank, config, "judge", count)), compare(_COMPARED, plain)


@dataclass(frozen=True, slots=True)
class _Pictures:
    """Images by number, each made when it is asked for."""

    count: int
    make: Callable[[int], Pixels]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int, /) -> Pixels:
        return self.make(place)


def _judge_by_patches(bank: Bank, judges: Sequence[Photo], plan: _Plan, config: FitBankConfig) -> Interval | None:
    """Let a network judge that chose nothing; None without PyTorch, or where it has too few photographs or faces."""
    if len(judges) < _LEAST_FOR_PATCHES or not has_torch():
        return None
    sources = plan.photographs if plan.judges is None else plan.judges
    places = {display_name(name): place for place, name in enumerate(sources.names)}
    faces = plan.judge_faces
    count = _judged(judges)
    drawn = _draws(bank, config, "judge", count)
    try:
        return compare_patches(
            _Pictures(
                count, lambda number: _image(bank, drawn[number], faces[number % len(faces)].pixels, config.size)
            ),
            _Pictures(len(judges), lambda number: look(sources.read(places[judges[number].name]), config.photo)[0]),
            [faces[number % len(faces)].person for number in range(count)],
            read_groups([photo.name for photo in judges]).names,
            PatchConfig(seed=config.seed % 2**31),
        ).auc
    except ValueError:  # fewer people or faces than it needs
        return None


def _said(numbers: Numbers, patches: Interval | None = None) -> str:
    """Numbers of a comparison in words; what too few images leave open is left out."""
    words: list[str] = []
    if numbers.kid is not None:
        words.append(f"whitened KID {numbers.kid.value:.3f} [{numbers.kid.low:.3f}, {numbers.kid.high:.3f}]")
    if numbers.matched is not None:
        words.append(f"coverage {numbers.matched.coverage:.2f}")
    if numbers.auc is not None:
        words.append(f"AUC {numbers.auc:.3f}")
    if patches is not None:
        words.append(f"AUC of a network on patches {patches.value:.3f}")
    return ", ".join(words) or "too few photographs to judge by"


def _source(
    bank: Bank,
    photos: Sequence[Photo],
    judges: Sequence[Photo],
    found: tuple[Comparison, Comparison],
    patches: Interval | None,
    config: FitBankConfig,
    left_out: Mapping[str, int],
) -> str:
    ours, theirs = found
    name = f"{display_name(Path(config.real).name)}{left_out_words(left_out)}"
    return (
        f"{len(bank.records)} records near {len(photos)} photographs ({name}), {FOUND}; on {len(judges)} photographs "
        f"of other people and other faces, at {config.size} pixels, varied by {config.vary:g}: "
        f"{_said(ours.numbers, patches)}; {_COMPARED}: {_said(theirs.numbers)}"
    )


def _second(patches: Interval | None) -> str:
    """What the second classifier says, which chose nothing."""
    if patches is None:
        return f"Where PyTorch is there and {_LEAST_FOR_PATCHES} photographs judge, a network on patches does, too."
    return (
        "A small network on patches, which chose nothing, tells the bank's images from the photographs with an AUC of "
        f"{patches.value:.3f} [{patches.low:.3f}, {patches.high:.3f}]."
    )


def _page(
    bank: Bank,
    photos: Sequence[Photo],
    judges: Sequence[Photo],
    failures: Sequence[tuple[str, str, str]],
    found: tuple[Comparison, Comparison],
    patches: Interval | None,
    plan: _Plan,
) -> str:
    """The report, in Markdown."""

    def row(name: str, numbers: Numbers) -> str:
        kid = "" if numbers.kid is None else f"{numbers.kid.value:.3f} [{numbers.kid.low:.3f}, {numbers.kid.high:.3f}]"
        coverage = "" if numbers.matched is None else f"{numbers.matched.coverage:.2f}"
        auc = "" if numbers.auc is None else f"{numbers.auc:.3f}"
        return f"| {markdown_text(name)} | {kid} | {coverage} | {auc} |"

    sides = sorted(photo.facts.side for photo in photos if photo.facts.side is not None)
    files = Counter(
        f"JPEG {photo.facts.file.quality}, {photo.facts.file.subsampling}" if photo.facts.file else "not told"
        for photo in photos
    )
    framing = plan.config.photo.framing.describe()
    told = [
        *([f"- The photographs {framing}; so do the images that judge"] if framing else []),
        f"- Sizes of the faces, told by {len(sides):,} of {len(photos):,}"
        + (f": {sides[0]:.0f} to {sides[-1]:.0f} pixels, {sides[len(sides) // 2]:.0f} in the middle" if sides else ""),
        f"- Files: {', '.join(f'{count:,} {name}' for name, count in files.most_common(8))}",
        f"- Steps of the records: {', '.join(f'{share:.0%} {name}' for name, share in _shares(bank))}",
    ]
    lines = [
        f"# {markdown_text(bank.name)}: {len(bank.records):,} records near {len(photos):,} photographs",
        "",
        f"Judged by {len(judges):,} photographs of other people, and {found[0].num_source:,} images of "
        f"{len(plan.judge_faces)} HQ faces that took no part in the search. AUC is that of a linear classifier, 0.5 if "
        "it cannot tell them apart.",
        "",
        "| LQ images by | whitened KID | coverage | AUC |",
        "|---|---|---|---|",
        row("photographs, half against half", found[0].null),
        *(row(entry.source, entry.numbers) for entry in found),
        "",
        f"The features that chose the records judge here, too, and so KID flatters. {_second(patches)}",
        "",
        *told,
    ]
    if len(judges) < SMALL:
        lines += ["", f"Below {SMALL} photographs the numbers show a direction at most."]
    if left_out := plan.photographs.summary():
        lines += ["", f"Left out of the photographs: {markdown_text(counted(left_out))}."]
    if failures:
        lines += ["", "Photographs that could not be used:", ""]
        lines += [f"- {markdown_text(f'{name}: {reason} {detail}'.rstrip())}" for name, reason, detail in failures]
    return "\n".join(lines) + "\n"


def _shares(bank: Bank) -> list[tuple[str, float]]:
    """How many of the records have each operation, the most frequent first."""
    counts = Counter(name for ops in bank.records for name in {op.name for op in ops})
    return [
        (name, count / len(bank.records)) for name, count in counts.most_common() if name not in ("unframe", "resize")
    ]


def _draw_sheet(bank: Bank, photos: Sequence[Photo], plan: _Plan, config: FitBankConfig) -> Pixels:
    """Draw photographs, and below them faces that took no part, by the bank."""
    rng = np.random.default_rng(config.seed)
    names = {display_name(name): place for place, name in enumerate(plan.photographs.names)}
    chosen = [photos[int(place)] for place in rng.permutation(len(photos))[: 2 * _SHEET_COLUMNS]]
    shown = [Tile(look(plan.photographs.read(names[photo.name]), config.photo)[0], (photo.name,)) for photo in chosen]
    made: list[Tile] = []
    for number, record in enumerate(_draws(bank, config, "sheet", 2 * _SHEET_COLUMNS)):
        face = plan.judge_faces[number % len(plan.judge_faces)].pixels
        made.append(Tile(_image(bank, record, face, config.size), caption(record)))
    rows = [tiles[start : start + _SHEET_COLUMNS] for tiles in (shown, made) for start in (0, _SHEET_COLUMNS)]
    headings = ["photographs", "", f"{bank.name}, on faces that took no part", ""]
    kept = [(row, heading) for row, heading in zip(rows, headings, strict=True) if row]
    title = f"{bank.name}: {len(bank.records):,} records near {len(photos):,} photographs; seed {config.seed}"
    return contact_sheet(
        [row for row, _ in kept], title=title, notes=(LEGEND,), headings=[heading for _, heading in kept], details=True
    )
