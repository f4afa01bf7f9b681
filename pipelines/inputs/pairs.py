"""`degrade-kit pairs`: what a model would be trained on, before it is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from degrade_kit.errors import ConfigError, ImageError, nearest
from degrade_kit.flipnet.mixture import FACE, PAPER_FACES, FacePairs, PairSample, PairSource, RealPairs
from degrade_kit.flipnet.pairs import PairSet, kind_of, read_pairs
from degrade_kit.flipnet.registration import Refusal, check_pairs
from degrade_kit.image import encode_png
from degrade_kit.pipelines.claim import Claim, report_claim
from degrade_kit.pipelines.executor import limited_threads
from degrade_kit.pipelines.images import list_images, warn_left_out
from degrade_kit.pipelines.sheet import Tile, contact_sheet
from degrade_kit.progress import OnProgress, silent
from degrade_kit.recipe import Recipe
from degrade_kit.seeding import generator
from degrade_kit.sources import display_name
from degrade_kit.store import LocalStore

SHEET: Final = "pairs.png"
REPORT: Final = "pairs.json"
_TILE = 160


@dataclass(frozen=True, kw_only=True, slots=True)
class PairsConfig:
    """What to look at."""

    pairs: tuple[tuple[str, str], ...]
    """Kind of degradation or name of a data set, and its folder."""
    out_dir: Path
    """Where the sheet and the report go."""
    faces: str | None = None
    """Source of HQ faces, as in `synth`; None for none."""
    recipe: Recipe | None = None
    """How the faces are degraded."""
    limits: Mapping[str, int] = field(default_factory=dict[str, int])
    """Training pairs drawn, by the word in `pairs`, its kind, or "face"; 0 takes all. The paper's numbers otherwise."""
    tiles: Mapping[str, int] = field(default_factory=dict[str, int])
    """Side of the tiles that larger images are parted into, pixels, by the word in `pairs` or its kind; 0 parts none.
    Those of `degrade_kit.flipnet.pairs.PAPER_TILES` otherwise."""
    size: int = 256
    """Side of the crops that are captioned and shown, pixels."""
    shown: int = 4
    """Pairs on the sheet for each source."""
    captioned: int = 200
    """Crops that are captioned for each source."""
    registration: bool = True
    """Whether pairs that are not registered are refused."""
    seed: int = 0
    """Seed of subsets, crops and degradations."""

    def __post_init__(self) -> None:
        if not self.pairs and self.faces is None:
            raise ConfigError("pairs: expected at least one KIND=DIR, or faces; got neither")
        words = {word for source, _ in self.pairs for word in (source, kind_of(source))}
        words |= {FACE} if self.faces is not None else set()
        for what, given in (("limit", self.limits), ("tile", self.tiles)):
            for word in given:
                if word not in words or (what == "tile" and word == FACE):
                    raise ConfigError(f"{what} of `{word}`: no such pairs are given; {nearest(word, sorted(words))}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceReport:
    """What was found in one source."""

    source: str
    kind: str
    layout: str
    root: str
    train: int
    """Pairs to train on: drawn, readable and registered."""
    test: int
    """Pairs of the official test split that could be trained on, and never are."""
    left_out: int
    """Training pairs that the limit left out."""
    skipped: tuple[tuple[str, str], ...]
    """File and reason of all that is in no pair."""
    refused: tuple[tuple[str, str, str], ...]
    """Name, reason and detail of each pair that cannot be used."""
    captions: dict[str, int]
    """Number of crops with each phrase, the most frequent first."""
    captioned: int
    """Crops that were captioned."""
    never_data: dict[str, int]
    """What else the folder holds that is no data, by cause; see `degrade_kit.sources.Sources.left_out`."""

    def to_plain(self) -> dict[str, Any]:
        """Convert to plain values that JSON holds."""
        return {
            **{name: getattr(self, name) for name in ("source", "kind", "layout", "root", "train", "test", "left_out")},
            "skipped": [{"file": display_name(file), "reason": reason} for file, reason in self.skipped],
            "refused": [
                {"pair": display_name(pair), "reason": reason, "detail": display_name(detail)}
                for pair, reason, detail in self.refused
            ],
            "captions": self.captions,
            "captioned": self.captioned,
            "never_data": self.never_data,
        }


@dataclass(frozen=True, slots=True)
class PairsReport:
    """What was found in all sources."""

    sources: tuple[SourceReport, ...]

    @property
    def complete(self) -> bool:
        """Whether every file is in a pair, and every pair can be used."""
        return not any(source.skipped or source.refused for source in self.sources)


def inspect_pairs(config: PairsConfig, *, progress: OnProgress = silent) -> PairsReport:
    """Read and check all pairs, and write `pairs.png` and `pairs.json`.

    Args:
        config: What to look at.
        progress: Told of the pairs checked.

    Raises:
        ConfigError: If a folder fits no layout, the faces cannot be listed, or the output is inside either.
        RunError: If the output holds something else, or cannot be written.
    """
    _claim(config).check(LocalStore(config.out_dir))
    sets = [
        read_pairs(
            source,
            root,
            limit=_of_word(config.limits, source),
            tile=_of_word(config.tiles, source),
            seed=config.seed,
        )
        for source, root in config.pairs
    ]
    for found in sets:
        warn_left_out(str(found.root), {**found.skipped_by_reason(), **dict(found.never_data)})
    faces = _open_faces(config)
    reports: list[SourceReport] = []
    rows: list[tuple[str, list[Tile]]] = []
    done, total = 0, sum(len(found.pairs) for found in sets)
    with limited_threads(1):
        for found in sets:
            kept, refused = check_pairs(
                found.pairs,
                registration=config.registration,
                progress=lambda part, before=done: progress(replace(part, done=before + part.done, total=total)),
            )
            done += len(found.pairs)
            training = [pair for pair in kept if pair.split == "train"]
            samples = _samples(RealPairs(training), config, found.source) if training else []
            reports.append(_report(found, len(training), len(kept) - len(training), refused, samples))
            rows.append((found.source, _row(samples, config.shown)))
        if faces is not None:
            report, samples = _face_report(faces, config)
            reports.append(report)
            rows.append((FACE, _row(samples, config.shown)))
    result = PairsReport(tuple(reports))
    _write(config, result, rows)
    return result


def _claim(config: PairsConfig) -> Claim:
    inputs = [*(("--pairs", root) for _, root in config.pairs), ("--hq", config.faces)]
    resolved = {**_settings(config), "pairs": config.pairs, "faces": config.faces or ""}
    return report_claim("pairs", "a report on pairs", [REPORT, SHEET], resolved, inputs)


def _settings(config: PairsConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in ("size", "seed", "registration")} | {
        "limits": dict(config.limits),
        "tiles": dict(config.tiles),
    }


def _of_word(given: Mapping[str, int], source: str) -> int | None:
    return given.get(source, given.get(kind_of(source)))


def _open_faces(config: PairsConfig) -> FacePairs | None:
    if config.faces is None:
        return None
    assert config.recipe is not None, "faces need a recipe"
    return FacePairs(
        list_images(config.faces),
        config.recipe,
        face_size=max(config.size, 512),
        limit=config.limits.get(FACE, PAPER_FACES),
        seed=config.seed,
    )


def _samples(source: PairSource, config: PairsConfig, label: str) -> list[PairSample]:
    """Crops of evenly spread pairs."""
    count = min(len(source), max(config.captioned, config.shown))
    samples: list[PairSample] = []
    for i in range(count):
        rng = generator(config.seed, f"inspect {label}", i)
        samples.append(source.load(i * len(source) // count, config.size, rng, rng))
    return samples


def _report(
    found: PairSet, train: int, test: int, refused: Sequence[Refusal], samples: Sequence[PairSample]
) -> SourceReport:
    return SourceReport(
        source=found.source,
        kind=found.kind,
        layout=found.layout,
        root=display_name(str(found.root)),
        train=train,
        test=test,
        left_out=found.left_out,
        skipped=found.skipped,
        refused=tuple((refusal.pair.name, refusal.reason, refusal.detail) for refusal in refused),
        captions=_histogram(samples),
        captioned=len(samples),
        never_data=dict(found.never_data),
    )


def _face_report(faces: FacePairs, config: PairsConfig) -> tuple[SourceReport, list[PairSample]]:
    """Degrade evenly spread faces; those that cannot be read are refused, and others are not tried in their place."""
    samples: list[PairSample] = []
    refused: list[tuple[str, str, str]] = []
    count = min(len(faces), max(config.captioned, config.shown))
    for i in range(count):
        index = i * len(faces) // count
        try:
            rng = generator(config.seed, "inspect face", i)
            samples.append(faces.load(index, config.size, rng, rng))
        except ImageError as error:
            refused.append((faces.names[index], error.reason, error.detail))
    assert config.recipe is not None
    report = SourceReport(
        source=FACE,
        kind=FACE,
        layout=f"degraded by {config.recipe.name}",
        root=display_name(str(config.faces)),
        train=len(faces) - len(refused),
        test=0,
        left_out=faces.num_listed - len(faces),
        skipped=tuple((name, reason) for name, reason, _ in faces.skipped),
        refused=tuple(refused),
        captions=_histogram(samples),
        captioned=len(samples),
        never_data=faces.never_data,
    )
    return report, samples


def _histogram(samples: Sequence[PairSample]) -> dict[str, int]:
    return dict(Counter(phrase for sample in samples for phrase in sample.caption.split(", ")).most_common())


def _row(samples: Sequence[PairSample], shown: int) -> list[Tile]:
    """Lay out HQ beside LQ, `shown` times."""
    count = min(shown, len(samples))
    row: list[Tile] = []
    for number in range(count):
        sample = samples[number * len(samples) // count]
        row += [Tile(sample.hq, ("HQ",)), Tile(sample.lq, (sample.caption,))]
    return row


def _write(config: PairsConfig, result: PairsReport, rows: Sequence[tuple[str, list[Tile]]]) -> None:
    rows = [(source, row) for source, row in rows if row]
    text = json.dumps(
        {"settings": _settings(config), "sources": [source.to_plain() for source in result.sources]},
        ensure_ascii=False,
        indent=2,
    )
    sheet: dict[str, bytes] = {}
    if rows:
        headings, tiles = zip(*rows, strict=True)
        title = f"HQ, and LQ with its caption; crops of {config.size} pixels, seed {config.seed}"
        sheet[SHEET] = encode_png(contact_sheet(tiles, _TILE, title=title, headings=headings))
    _claim(config).write(config.out_dir, {**sheet, REPORT: text + "\n"})
