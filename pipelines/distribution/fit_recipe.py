"""`degrade-kit fit-recipe`: tune a recipe until its LQ images are like given photographs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np

from degrade_kit.analysis.distances import Features, Interval, halves, kid
from degrade_kit.analysis.extractors import DEGRADATION, Extractor
from degrade_kit.analysis.fit import FitConfig, fit_mixture
from degrade_kit.analysis.probes import probe_records
from degrade_kit.analysis.whitening import Whitening
from degrade_kit.checks import whole
from degrade_kit.degradation import make_lq
from degrade_kit.errors import ConfigError, ImageError, RunError
from degrade_kit.files import local_path, plain_yaml, sha256, write_files
from degrade_kit.image import Pixels, decode_image, encode_png
from degrade_kit.pipelines.claim import Inputs, check_apart
from degrade_kit.pipelines.distribution import fit_bank
from degrade_kit.pipelines.distribution.analyze import PROBE_FACES, PROBE_RECORDS, measure_tasks
from degrade_kit.pipelines.distribution.features import (
    ExtractConfig,
    ProbeTask,
    Task,
    file_tasks,
    loaded_networks,
    measuring_effort,
    pick,
    stack,
    to_size,
)
from degrade_kit.pipelines.distribution.fit_bank import FittedBank
from degrade_kit.pipelines.distribution.photographs import (
    PhotoConfig,
    check_enough,
    large_faces,
    left_out_words,
)
from degrade_kit.pipelines.distribution.report import check_measured
from degrade_kit.pipelines.effort import MODEL_SECONDS, Effort, estimate_lines, network_seconds, resolve_workers
from degrade_kit.pipelines.executor import WAIT_SECONDS, ExecutorConfig
from degrade_kit.pipelines.images import list_images
from degrade_kit.pipelines.makers.networks import NetworkSettings, check_networks
from degrade_kit.pipelines.sheet import LEGEND, Tile, caption, contact_sheet
from degrade_kit.pipelines.text import Report, ReportLine, human_time
from degrade_kit.presets import resolve_recipe
from degrade_kit.recipe import Recipe, load_recipe
from degrade_kit.record import Record
from degrade_kit.seeding import generator
from degrade_kit.sources import Sources, display_name
from degrade_kit.store import LocalStore, check_writable

_FITTED: Final = "fitted by degrade-kit from"
"""How the `source` of a recipe begins that a fit wrote."""
Kind = Literal["ranges", "bank"]
"""What a fit makes."""
_SHEET_COLUMNS = 6
_FINAL = 400
_EFFORT_DRAWS = 8
"""Draws that tell how much FlipNets have to do."""
LEAST_PHOTOGRAPHS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class FitRecipeConfig:
    """What to fit to what."""

    real: str
    """Photographs: whatever `synth --hq` takes."""
    hq: str
    """HQ faces to degrade."""
    start: Recipe
    size: int = 512
    allow_resize: bool = False
    max_images: int = 2000
    """Photographs used, drawn evenly; 0 takes all."""
    faces: int = 40
    """HQ faces used."""
    images: int = 24
    """Images made of each variant of the recipe."""
    seed: int = 0
    search: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        if self.faces < 2 or self.images < 2:
            raise ConfigError(f"expected at least 2 faces and 2 images, got {self.faces} and {self.images}")
        check_measured(self.size, self.max_images)
        whole(0, 2**63 - 1)(self.seed, "seed")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted(Report):
    """A fitted recipe, and how near it comes on photographs that the fit has not seen."""

    recipe: Recipe
    parts: int
    before: Interval
    after: Interval
    null: Interval
    """Distance of the photographs that were fitted to: what a perfect recipe would reach."""
    chance: float
    """Mean over random halves of all photographs."""
    fitted: int
    """Photographs that were fitted to."""
    held_out: int
    """Photographs that were not."""
    files: tuple[Path, Path]
    """The recipe, and the sheet."""
    seconds: float
    planned: tuple[str, ...] = ()
    """The plan of a dry run in lines; empty otherwise."""

    @property
    def gain(self) -> float:
        """Share of the distance that is gone."""
        return 1 - self.after.value / self.before.value

    @property
    def nearer(self) -> bool:
        """Whether the fit brought the recipe nearer to photographs that it has not seen."""
        return self.after.value < self.before.value

    def lines(self) -> list[ReportLine]:
        """Say in lines what was found; see `Report`."""
        if self.planned:
            return [ReportLine(text) for text in self.planned]
        lines = [
            ReportLine(
                f"whitened KID to {self.held_out:,} photographs that were not fitted to: {self.before.value:.3f} "
                f"[{self.before.low:.3f}, {self.before.high:.3f}] before, {self.after.value:.3f} "
                f"[{self.after.low:.3f}, {self.after.high:.3f}] after, {self.chance:.3f} between halves of the "
                "photographs"
            ),
            ReportLine(f"{self.parts} parts, in {human_time(self.seconds)}: {', '.join(map(str, self.files))}"),
        ]
        if not self.nearer:
            text = "the fit did not bring it nearer; give more photographs, --candidates or --rounds"
            lines.append(ReportLine(text, warning=True))
        return lines


def fit_recipe(
    real: str | os.PathLike[str],
    hq: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    kind: Kind = "ranges",
    preset: str | os.PathLike[str] | Recipe | None = None,
    size: int = 512,
    allow_resize: bool = False,
    max_images: int = 2000,
    num_faces: int = 40,
    candidates: int | None = None,
    images_per_candidate: int | None = None,
    rounds: int = 3,
    parts: int | None = None,
    records: int | None = None,
    held_out: str | os.PathLike[str] | None = None,
    pool: Sequence[str | os.PathLike[str]] | None = None,
    flipnet: str | os.PathLike[str] | None = None,
    detector: str | None = None,
    feature_cache: str | os.PathLike[str] | None = None,
    seed: int = 0,
    dry_run: bool = False,
    workers: int | None = None,
    ray_address: str | None = None,
    wait: float = WAIT_SECONDS,
    progress: Callable[[str], None] = lambda line: None,
) -> Fitted | FittedBank:
    """Find a recipe whose LQ images are like given photographs: `degrade-kit fit-recipe`.

    By `ranges`, a recipe is tuned: half of the photographs, drawn by the seed, are held out: before and after are
    measured on them, with images of new records. By `bank`, the records are found whose images lie nearest to the
    photographs, and judged on photographs of people and on HQ faces that took no part. A stopped search goes on.

    Args:
        real: Photographs to be like: whatever `synthesize` takes as `hq`. For a bank, whole photographs are aligned;
            those of `size` pixels are taken as aligned already, and what `align` wrote beside them is used.
        hq: HQ faces to degrade.
        out: The recipe, a YAML file; a sheet goes beside it with the ending `.png`, and a bank's records, `.json`, and
            report, `.md`. They take the place of those of an earlier fit, and of nothing else.
        kind: `ranges` for a recipe of narrower and shifted ranges, `bank` for one that draws from a bank of records.
        preset: Of ranges, the recipe to begin with: name of a preset, path of a file, or a recipe; `flipnet-paper`.
        size: Side that all images have, pixels.
        allow_resize: Crop and resize images of another size, which changes what is measured; for a bank, in place of
            aligning them.
        max_images: Photographs used, drawn evenly; 0 takes all.
        num_faces: HQ faces used, at least 2; for a bank, at least 4, half of them to judge by.
        candidates: Variations of the recipe, or records, that are tried at first: 60, or 40 for each photograph,
            within 600 and 2,000.
        images_per_candidate: Of ranges, LQ images made by each candidate, at least 2; 24.
        rounds: Times that the best candidates are varied again.
        parts: Of ranges, most candidates that the fitted recipe mixes; 6.
        records: Records of a bank, at least: 8 for each photograph, within 80 and 320.
        held_out: Photographs of other people that judge a bank; else those of three in ten people of `real` do.
        pool: Banks whose records a search for a bank varies beside new ones: names of those that ship, or files; all
            that ship by default, and none where it is empty.
        flipnet: FlipNet whose images are candidates for a bank, beside those of classical steps; none where None. One
            that can is shown each photograph. It takes several times as long.
        detector: What finds the faces to align: `packaged` or `yunet`.
        feature_cache: Folder that keeps what a search for a bank measures, for others; else it is kept until its files
            are there.
        seed: Of everything that is drawn.
        dry_run: Report the plan with its time, and measure nothing.
        workers: Worker processes, as for `synthesize`.
        ray_address: Ray cluster to join, as for `synthesize`.
        wait: As for `synthesize`.
        progress: Takes lines that tell how far it has come.

    Raises:
        ConfigError: If there are too few photographs or faces, images of another size, `out` is one of the inputs, or
            an argument is of the other kind.
        RunError: If `out` or its sheet is there already, and not of an earlier fit.
    """
    of_other = {
        "bank": {"preset": preset, "images_per_candidate": images_per_candidate, "parts": parts},
        "ranges": {
            "records": records,
            "held_out": held_out,
            "pool": pool,
            "flipnet": flipnet,
            "detector": detector,
            "feature_cache": feature_cache,
        },
    }
    if kind not in of_other:
        raise ConfigError(f"kind: expected ranges or bank, got {kind!r}")
    if idle := [name for name, value in of_other[kind].items() if value is not None]:
        raise ConfigError(f"{idle[0]}: has no effect on a fit of the kind {kind}")
    executor = ExecutorConfig(workers=workers, ray_address=ray_address, wait=wait)
    if kind == "bank":
        files = fit_bank.result_files(local_path(out), [("--real", real), ("--hq", hq), ("--held-out", held_out)])
        plan = fit_bank.plan_bank(
            fit_bank.FitBankConfig(
                real=os.fspath(real),
                hq=os.fspath(hq),
                held_out=None if held_out is None else os.fspath(held_out),
                size=size,
                max_images=max_images,
                faces=num_faces,
                photo=PhotoConfig(size=size, cut=allow_resize, detector=detector or "packaged"),
                seed=seed,
                cache=None if feature_cache is None else local_path(feature_cache),
                candidates=candidates,
                rounds=rounds,
                records=records,
                pool=None if pool is None else [os.fspath(bank) for bank in pool],
                flipnet=None if flipnet is None else os.fspath(flipnet),
            ),
            files[0],
        )
        if dry_run:
            return fit_bank.describe_bank(plan, files, executor)
        return fit_bank.find_bank(plan, files, executor, progress)
    preset = "flipnet-paper" if preset is None else preset
    config = FitRecipeConfig(
        real=os.fspath(real),
        hq=os.fspath(hq),
        start=resolve_recipe(preset),
        size=size,
        allow_resize=allow_resize,
        max_images=max_images,
        faces=num_faces,
        images=24 if images_per_candidate is None else images_per_candidate,
        seed=seed,
        search=FitConfig(
            candidates=60 if candidates is None else candidates, rounds=rounds, parts=6 if parts is None else parts
        ),
    )
    if config.start.captioned:
        raise ConfigError("preset: a fit has no captions; give `flipnet` prompts in the recipe")
    check_networks(config.start, NetworkSettings())
    start = None if isinstance(preset, Recipe) else preset
    files = _result_files(local_path(out), [("--real", real), ("--hq", hq), ("--preset", start)])
    if dry_run:
        return _planned(config, files, executor)
    return _fit(config, files, executor, progress)


def _result_files(out: Path, inputs: Inputs) -> tuple[Path, Path]:
    """Where recipe and sheet go; only those of an earlier fit may be there.

    Raises:
        ConfigError: If the recipe's name does not end in .yaml, or one of them would be an input.
        RunError: If something else is there.
    """
    if out.suffix.lower() not in (".yaml", ".yml"):
        raise ConfigError(f"--out {out}: expected a file FILE.yaml for the recipe; a sheet goes beside it as FILE.png")
    files = out, out.with_suffix(".png")
    for file in files:
        check_apart(file, inputs)
    there = [file for file in files if os.path.lexists(file)]
    if there and not _is_fitted(out):
        raise RunError(f"{there[0]} is there already, and no earlier fit wrote it; give another --out")
    return files


def _is_fitted(out: Path) -> bool:
    """Whether a file is a recipe that a fit wrote."""
    try:
        return load_recipe(out).source.startswith(_FITTED)
    except ConfigError:
        return False


def _planned(config: FitRecipeConfig, files: tuple[Path, Path], executor: ExecutorConfig) -> Fitted:
    """Say what a fit would do."""
    out, sheet = files
    plan, unknown = plan_fit(config, out), Interval(float("nan"), float("nan"), float("nan"))
    return Fitted(
        recipe=config.start,
        parts=0,
        before=unknown,
        after=unknown,
        null=unknown,
        chance=float("nan"),
        fitted=0,
        held_out=0,
        files=files,
        seconds=0.0,
        planned=(
            f"{len(plan.places):,} of {len(plan.photographs):,} photographs and {len(plan.faces):,} faces measured; "
            f"then at most {plan.search_images:,} images made from {config.start.name} and its variants, in "
            f"{plan.rounds} rounds",
            f"writes {out}, {sheet}",
            *estimate_lines(executor, plan.effort),
        ),
    )


def _fit(
    config: FitRecipeConfig, files: tuple[Path, Path], executor: ExecutorConfig, report: Callable[[str], None]
) -> Fitted:
    """Fit, and write the recipe and a sheet beside it."""
    start = time.monotonic()
    out, sheet = files
    plan = plan_fit(config, out)
    executor = resolve_workers(executor, lambda: plan.effort)
    photographs, faces, places, rng = plan.photographs, plan.faces, plan.places, plan.rng
    plain = _extract_config(config, allow_resize=False)
    found = measure_tasks(Extractor(DEGRADATION), plan.tasks, {"real": len(places)}, executor)
    real = found["real"]
    if real.wrong_size:
        label, width, height = sorted(real.wrong_size)[0]
        raise ConfigError(
            f"{len(real.wrong_size):,} photographs are not {config.size} x {config.size}, such as {label} "
            f"({width} x {height}); give images of one size, another --size, or --allow-resize"
        )
    check_enough(len(real.rows), LEAST_PHOTOGRAPHS, config.real)
    unusable = len(real.failures) + len(photographs.skipped)
    report(f"{len(real.rows):,} photographs and {len(faces)} faces measured; {unusable:,} could not be used")
    whitening = Whitening.fit(np.stack([stack(found[number].rows) for number in range(plan.probed)], axis=1))
    points = whitening(stack(sorted(real.rows, key=lambda row: (row.label, row.key))))
    order = rng.permutation(len(points))
    fitted, held_out = points[order[: len(order) // 2]], points[order[len(order) // 2 :]]

    models = tuple(config.start.models.items())

    def evaluate(recipes: Sequence[Recipe], images: int = config.images, purpose: str = "fit") -> list[Features]:
        records = [
            [recipe.draw(generator(config.seed, f"{purpose}/{recipe.digest()}", number)) for number in range(images)]
            for recipe in recipes
        ]
        return [whitening(features) for features in _measure(records, faces, plain, executor, models)]

    recipe, parts = fit_mixture(
        config.start,
        fitted,
        evaluate,
        config.search,
        rng,
        lambda number, distance: report(f"round {number}: squared MMD {distance:.4f} on the half that is fitted to"),
    )
    before, after = (kid(points, held_out) for points in evaluate([config.start, recipe], _FINAL, "test"))
    null = kid(fitted, held_out)
    chance = float(np.mean([kid(points[one], points[two]).value for one, two in halves(len(points), rng, 10)]))
    source = (
        f"{_FITTED} {config.start.name} to {len(fitted)} photographs ({display_name(Path(config.real).name)}"
        f"{left_out_words(photographs.summary())}); "
        f"whitened KID on {len(held_out)} others {before.value:.3f} before, {after.value:.3f} after, "
        f"{null.value:.3f} between photographs"
    )
    recipe = Recipe(name=recipe.name, steps=recipe.steps, source=source)
    pixels = _draw_sheet(photographs, places, faces, (config.start, recipe), config)
    # The recipe first: it tells the next run that the sheet is a fit's, too.
    write_files(out.parent, {out.name: plain_yaml(recipe.to_mapping()), sheet.name: encode_png(pixels)})
    return Fitted(
        recipe=recipe,
        parts=len(parts),
        before=before,
        after=after,
        null=null,
        chance=chance,
        fitted=len(fitted),
        held_out=len(held_out),
        files=files,
        seconds=time.monotonic() - start,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class FitPlan:
    """A fit that nothing stands in the way of, as far as can be told before images are measured."""

    photographs: Sources
    places: list[int]
    """Which of the photographs are used."""
    faces: list[Pixels]
    probed: int
    """How many of the faces the features are whitened with."""
    tasks: list[Task]
    """Images to measure before the fit."""
    rng: np.random.Generator
    """Goes on where the plan left it."""
    search_images: int
    """Images to make and measure in the fit, at most."""
    rounds: int
    """Times that images are made and measured in it."""
    network_seconds: float = 0.0
    """Known cost of the FlipNets of one image of the recipe, in the mean."""

    @property
    def effort(self) -> Effort:
        """What it takes, as some of the images before the fit tell."""
        before = measuring_effort(Extractor(DEGRADATION), self.tasks)
        probes = measuring_effort(Extractor(DEGRADATION), self.tasks[: self.probed])
        each = probes.seconds / (self.probed * PROBE_RECORDS)
        return Effort(
            seconds=before.seconds + (each + self.network_seconds) * self.search_images,
            setup=MODEL_SECONDS if self.network_seconds else 0.0,
            tasks=min(len(self.tasks), len(self.faces)),
            starts=1 + self.rounds,
        )


def plan_fit(config: FitRecipeConfig, out: Path) -> FitPlan:
    """Open photographs and faces, and choose what is measured; write nothing.

    Raises:
        ConfigError: If there are too few photographs or faces.
        RunError: If the recipe's folder cannot be written to.
    """
    rng = np.random.default_rng(config.seed)
    photographs = list_images(config.real)
    check_writable(LocalStore(out.parent))
    check_enough(len(photographs), LEAST_PHOTOGRAPHS, config.real)
    faces = _faces(list_images(config.hq), config, rng)
    places = pick(len(photographs), config.max_images, rng)
    probes = tuple(probe_records(PROBE_RECORDS))
    probed = min(PROBE_FACES, len(faces))
    plain = _extract_config(config, allow_resize=False)
    search = config.search
    recipes = 1 + search.candidates + search.rounds * search.parts * search.children
    return FitPlan(
        photographs=photographs,
        places=places,
        faces=faces,
        probed=probed,
        tasks=[
            *(ProbeTask(number, face, probes, plain) for number, face in enumerate(faces[:probed])),
            *file_tasks("real", photographs, places, _extract_config(config, allow_resize=config.allow_resize)),
        ],
        rng=rng,
        search_images=recipes * config.images + 2 * _FINAL,
        rounds=2 + search.rounds,
        network_seconds=network_seconds(config.start, faces[0], _EFFORT_DRAWS),
    )


def _extract_config(config: FitRecipeConfig, *, allow_resize: bool) -> ExtractConfig:
    return ExtractConfig(size=config.size, allow_resize=allow_resize, cache=None, thumbnails=False)


def _faces(sources: Sources, config: FitRecipeConfig, rng: np.random.Generator) -> list[Pixels]:
    faces = [pixels for _, pixels in large_faces(sources, config.faces, config.size, rng)]
    if len(faces) < 2:
        raise ConfigError(
            f"{config.hq}: expected at least 2 HQ faces of {config.size} pixels or more, found {len(faces)}"
        )
    return faces


def _measure(
    records: Sequence[Sequence[Record]],
    faces: Sequence[Pixels],
    config: ExtractConfig,
    executor: ExecutorConfig,
    models: tuple[tuple[str, str], ...],
) -> list[Features]:
    """Measure images of each list of records, which take turns with the faces: (n, D) each."""
    by_face: dict[int, list[tuple[int, int]]] = {}
    for row, drawn in enumerate(records):
        for number in range(len(drawn)):
            by_face.setdefault((row + number) % len(faces), []).append((row, number))
    tasks = [
        ProbeTask(face, faces[face], tuple(records[row][number] for row, number in places), config, models)
        for face, places in by_face.items()
    ]
    found = measure_tasks(Extractor(DEGRADATION), tasks, {}, executor)
    made: list[dict[int, Features]] = [{} for _ in records]
    for face, places in by_face.items():
        rows = found[face].rows
        if len(rows) != len(places):
            raise RunError(f"a variant of the recipe failed on a face: {found[face].failures[:1]}")
        for (row, number), measured in zip(places, rows, strict=True):
            made[row][number] = measured.features
    return [np.stack([each[number] for number in range(len(each))]) for each in made]


def _draw_sheet(
    photographs: Sources,
    places: Sequence[int],
    faces: Sequence[Pixels],
    recipes: Sequence[Recipe],
    config: FitRecipeConfig,
) -> Pixels:
    """Draw photographs, and below them faces by both recipes: each column shows one face with the same seed."""
    rng = np.random.default_rng(config.seed)
    rows: list[list[Tile]] = []
    tiles: list[Tile] = []
    for place in rng.permutation(places):
        if len(tiles) == _SHEET_COLUMNS:
            break
        try:
            pixels = decode_image(photographs.read(int(place))).pixels
        except ImageError:
            continue
        tiles.append(Tile(to_size(pixels, config.size), (display_name(photographs.names[int(place)]),)))
    rows.append(tiles)
    for recipe in recipes:
        row: list[Tile] = []
        for number in range(_SHEET_COLUMNS):
            face = faces[number % len(faces)]
            seed = sha256(face.tobytes())[:8]
            record = recipe.draw(generator(config.seed, f"sheet/{seed}", number))
            network = loaded_networks(tuple(recipe.models.items())) if record.by_model else None
            row.append(Tile(make_lq(record, face, network), caption(record)))
        rows.append(row)
    headings = [
        "photographs",
        *(f"{recipe.name}, {when}" for recipe, when in zip(recipes, ("before", "after"), strict=True)),
    ]
    title = f"{recipes[0].name} fitted to {Path(config.real).name}; seed {config.seed}"
    return contact_sheet(rows, title=title, notes=(LEGEND,), headings=headings, details=True)
