"""How near each source of LQ images comes to photographs: `python -m benchmarks.table --real NAME=PLACE --hq PLACE`.

Every preset, every bank and mixture that ships, and recipes of your own degrade HQ faces; each is compared with each
set of photographs by the features' KID, coverage and linear classifier, and by a small network on patches. Beside them
stand the faces as they are, and the ideal: the photographs against other people of the same set. Take people and faces
that nothing was fitted to; for the photographs of this project's own table, `benchmarks.splits` writes the lists.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.harness import print_machine
from degrade_kit.analysis.comparison import ImageSet
from degrade_kit.analysis.distances import Features, classifier_auc, kid, prdc
from degrade_kit.analysis.extractors import DEGRADATION, Extractor
from degrade_kit.analysis.features import degradation_features
from degrade_kit.analysis.figures import draw_projection
from degrade_kit.analysis.groups import read_groups
from degrade_kit.analysis.patches import PatchConfig, compare_patches, has_torch
from degrade_kit.analysis.plotset import PlotSet
from degrade_kit.analysis.probes import probe_records
from degrade_kit.analysis.projection import project
from degrade_kit.analysis.whitening import Whitening
from degrade_kit.degradation import degrade_segments, finish
from degrade_kit.errors import ImageError
from degrade_kit.files import write_whole
from degrade_kit.image import Pixels, decode_image
from degrade_kit.network_ops import Network, run_together
from degrade_kit.pipelines.distribution.analyze import PROBE_FACES, PROBE_RECORDS
from degrade_kit.pipelines.distribution.features import ExtractConfig, ProbeTask, measuring, middle, stretched, to_size
from degrade_kit.pipelines.distribution.photographs import (
    AS_ALIGNED,
    Framing,
    PhotoConfig,
    locate_detector,
    look,
    measure_framing,
)
from degrade_kit.pipelines.executor import ExecutorConfig, run_tasks
from degrade_kit.pipelines.feature_cache import cached
from degrade_kit.presets import equal_presets, resolve_recipe
from degrade_kit.recipe import Recipe
from degrade_kit.record import Record
from degrade_kit.seeding import generator
from degrade_kit.sources import display_name, open_sources

HQ: Final = "HQ faces, not degraded"
IDEAL: Final = "ideal: other photographs of the same set"
FITTED: Final = "photographs that banks were fitted to"
_BESIDE: Final = (IDEAL, FITTED, HQ)
"""Rows beside the sources."""
_SPLITS: Final = 10
"""Splits of which the ideal is the mean: of few people one alone says little."""
_MARKS: Final = ("<!-- table of presets: python -m benchmarks.table -->", "<!-- end of the table -->")


@dataclass(frozen=True, slots=True)
class Photographs:
    """A set of photographs as images of one size."""

    images: list[Pixels]
    names: list[str]
    framing: Framing = AS_ALIGNED
    """How they show faces; images that are compared with them show faces likewise."""


@dataclass(frozen=True, slots=True)
class Row:
    """A source against one set of photographs."""

    source: str
    reference: str
    kid: float
    low: float
    high: float
    coverage: float
    auc: float
    patches: float | None


@dataclass(frozen=True, slots=True)
class Compared:
    """A row, and the points that it was measured on."""

    row: Row
    made: ImageSet
    real: ImageSet


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", action="append", required=True, metavar="NAME=PLACE",
                        help="photographs; whole ones are aligned, those of --size pixels as they are")  # fmt: skip
    parser.add_argument("--cut", action="append", default=[], metavar="NAME",
                        help="set whose images are faces cut out as they stand: enlarged, not aligned")  # fmt: skip
    parser.add_argument("--fitted", action="append", default=[], metavar="NAME=PLACE",
                        help="photographs that banks for it were fitted to: what a perfect fit gives")  # fmt: skip
    parser.add_argument("--detector", choices=("packaged", "yunet"), default="packaged")
    parser.add_argument("--hq", required=True, metavar="PLACE", help="HQ faces")
    parser.add_argument("--source", action="append", metavar="NAME|FILE.yaml",
                        help="recipe; every preset where none is given, equal ones once")  # fmt: skip
    parser.add_argument("--size", type=int, default=512, help="side of the images, pixels")
    parser.add_argument("--images", type=int, default=160, help="LQ images of each source")
    parser.add_argument(
        "--patches", action="store_true", help="train the network on patches too: a minute for each row"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="folder that keeps what was measured")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    parser.add_argument("--figures", type=Path, help="folder for one picture by UMAP of each set, umap-NAME.png")
    parser.add_argument("--go-on", action="store_true",
                        help="keep the rows that --json holds, of the same settings; measure others")  # fmt: skip
    parser.add_argument(
        "--into", type=Path, help="Markdown file whose marked table is replaced, such as docs/recipes.md"
    )
    given = parser.parse_args(arguments)
    if given.patches and not has_torch():
        raise SystemExit("--patches needs PyTorch: pip install 'degrade-kit[metrics]'")
    if given.go_on and given.figures:
        raise SystemExit("--figures draws what is measured now: leave --go-on out")
    places, chosen = (dict(entry.split("=", 1) for entry in entries) for entries in (given.real, given.fitted))
    for option, names in (("--cut", given.cut), ("--fitted", chosen)):
        if unknown := set(names) - set(places):
            raise SystemExit(f"{option} {min(unknown)}: no --real of that name")
    bench = Bench(given.hq, given.size, given.images, given.seed, given.workers, given.cache)
    reals = {
        name: bench.photographs(place, PhotoConfig(size=given.size, cut=name in given.cut, detector=given.detector))
        for name, place in places.items()
    }
    fitted = {
        name: bench.photographs(place, PhotoConfig(size=given.size, cut=name in given.cut, detector=given.detector))
        for name, place in chosen.items()
    }
    sources = given.source or [names[0] for names in equal_presets()][::-1]
    rows: list[Row] = []
    if given.go_on and given.json and given.json.is_file():
        rows += [Row(**row) for row in json.loads(given.json.read_text("utf-8"))]
    start = time.monotonic()
    done = {(row.source, row.reference) for row in rows}
    compared: list[Compared] = []
    for each in bench.compare(reals, sources, fitted, patches=given.patches, done=done):
        row = each.row
        print(f"{row.source} to {row.reference}: {_cells(row)}, {time.monotonic() - start:.0f} s", flush=True)
        compared.append(each)
        rows.append(row)
        if given.json:
            write_whole(given.json, json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")
    text = to_markdown(rows, list(reals), bench, reals)
    print_machine()
    print(text)
    if given.figures:
        draw_figures(compared, given.figures, given.seed)
    if given.into:
        replace_table(given.into, text)


class Bench:
    """HQ faces and what measures them.

    Args:
        hq: Where the faces are.
        size: Side of all images, pixels.
        images: LQ images of each source.
        seed: Of all draws.
        workers: Processes; 0 works in this one.
        cache: Folder of what was measured, by content.
    """

    def __init__(self, hq: str, size: int, images: int, seed: int, workers: int, cache: Path | None) -> None:
        self.images, self.size, self.seed, self.cache = images, size, seed, cache
        self.executor = ExecutorConfig(workers=workers)
        sources = open_sources(hq)
        self.originals = [decode_image(sources.read(place)).pixels for place in range(len(sources))]
        self._framed: dict[Framing, list[Pixels]] = {}
        self.faces = self.framed(AS_ALIGNED)
        self.people = read_groups([display_name(name) for name in sources.names]).names
        self.extract = ExtractConfig(size=size, allow_resize=False, cache=cache, thumbnails=False)
        self._whitenings: dict[Framing, Whitening] = {}

    def whitening(self, framing: Framing) -> Whitening:
        """The space in which degradations lie apart and faces do not, of faces framed as the photographs are.

        Close-ups differ among themselves otherwise than whole faces do: whitened by these, they would be told apart by
        what they show.
        """
        if framing not in self._whitenings:
            faces = self.framed(framing)
            chosen = np.random.default_rng(self.seed).permutation(len(faces))[:PROBE_FACES]
            probes = tuple(probe_records(PROBE_RECORDS))
            measured = self.measure({int(place): probes for place in chosen}, faces)
            self._whitenings[framing] = Whitening.fit(np.stack([measured[int(place)] for place in chosen], axis=1))
        return self._whitenings[framing]

    def framed(self, framing: Framing) -> list[Pixels]:
        """The faces at a size and width of which the middle shows what photographs so framed do."""
        if framing not in self._framed:
            side = round(self.size / framing.share)
            self._framed[framing] = [stretched(to_size(pixels, side), framing.stretch) for pixels in self.originals]
        return self._framed[framing]

    def measure(self, records: Mapping[int, Sequence[Record]], faces: Sequence[Pixels]) -> dict[int, Features]:
        """Measure the middle of LQ images of faces by their numbers, (n, D) each."""
        tasks = [ProbeTask(face, faces[face], tuple(drawn), self.extract) for face, drawn in records.items()]
        found: dict[int, Features] = {}
        for outcome in run_tasks(measuring(Extractor(DEGRADATION)), tasks, self.executor):
            assert outcome.result is not None, outcome.error
            assert isinstance(outcome.task, ProbeTask)
            found[outcome.task.number] = np.stack([row.features for row in outcome.result.rows])
        return found

    def photographs(self, place: str, config: PhotoConfig) -> Photographs:
        """Read photographs, aligned or enlarged; those that cannot be used are named."""
        config = locate_detector(config)
        sources = open_sources(place)
        found = Photographs([], [], measure_framing(sources, config))
        for number, name in enumerate(sources.names):
            try:
                found.images.append(look(sources.read(number), config)[0])
            except ImageError as error:
                print(f"{display_name(name)}: {error}")
                continue
            found.names.append(display_name(name))
        return found

    def draws(self, recipe: Recipe) -> tuple[list[int], list[Record]]:
        """Draw records of a recipe, and the faces that they take turns with."""
        records = [recipe.draw(generator(self.seed, f"table/{recipe.name}", number)) for number in range(self.images)]
        order = np.random.default_rng(self.seed).permutation(len(self.faces))
        return [int(order[number % len(order)]) for number in range(self.images)], records

    def compare(
        self,
        reals: Mapping[str, Photographs],
        sources: Sequence[str],
        fitted: Mapping[str, Photographs] | None = None,
        *,
        patches: bool,
        done: Collection[tuple[str, str]] = (),
    ) -> Iterator[Compared]:
        """Compare every source with every set of photographs, and photographs that were fitted to with their own.

        Rows that are done, by source and set, are left out.
        """
        sets = {name: self._set(name, real, real.framing) for name, real in reals.items()}
        for name, real in sets.items():
            pictures, framing = reals[name].images, reals[name].framing
            if (IDEAL, name) not in done:
                yield self._ideal(real, reals[name], patches)
            if (HQ, name) not in done:
                plain = [middle(face, self.size) for face in self.framed(framing)]
                labels = tuple(map(str, range(len(plain))))
                points = self.points(plain, framing)
                faces = ImageSet(name=HQ, kind="hq", points=points, labels=labels, groups=self.people)
                yield self._compare(faces, plain, real, pictures, patches)
            if fitted and name in fitted and (FITTED, name) not in done:
                chosen = self._set(FITTED, fitted[name], framing)
                yield self._compare(chosen, fitted[name].images, real, pictures, patches)
        for source in sources:
            recipe = resolve_recipe(source)
            left = [name for name in sets if (recipe.name, name) not in done]
            framings = sorted({reals[name].framing for name in left}, reverse=True)
            made = {framing: self.made(recipe, framing, pictures=patches) for framing in framings}
            for name in left:
                yield self._compare(*made[reals[name].framing], sets[name], reals[name].images, patches)

    def _set(self, name: str, photographs: Photographs, framing: Framing) -> ImageSet:
        """Photographs, measured as images that are framed so."""
        names = photographs.names
        points = self.points(photographs.images, framing)
        return ImageSet(name=name, kind="real", points=points, labels=tuple(names), groups=read_groups(names).names)

    def made(self, recipe: Recipe, framing: Framing, *, pictures: bool) -> tuple[ImageSet, list[Pixels]]:
        """The images of a recipe on faces so framed, measured; they themselves only where they are asked for."""
        faces = self.framed(framing)
        order, records = self.draws(recipe)
        by_face: dict[int, list[Record]] = {}
        for face, record in zip(order, records, strict=True):
            by_face.setdefault(face, []).append(record)
        groups = tuple(self.people[face] for face in by_face for _ in by_face[face])
        network = _network(recipe)
        images: list[Pixels] = []
        if pictures or network:
            pairs = [(record, faces[face]) for face in by_face for record in by_face[face]]
            # Together, since a network takes nearly as long for one image as for a few.
            natives = run_together([degrade_segments(record, face) for record, face in pairs], network)
            size = faces[0].shape[0], faces[0].shape[1]
            images = [middle(finish(native.pixels, native.tail, size), self.size) for native in natives]
        if network:
            points = self.points(images, framing)
        else:
            measured = self.measure(by_face, faces)
            points = self.whitening(framing)(np.concatenate([measured[face] for face in by_face]))
        labels = tuple(map(str, range(len(groups))))
        return ImageSet(name=recipe.name, kind="synth", points=points, labels=labels, groups=groups), images

    def points(self, images: Sequence[Pixels], framing: Framing) -> Features:
        def measure(image: Pixels) -> Features:
            key = hashlib.sha256(image.tobytes() + Extractor(DEGRADATION).key().encode()).hexdigest()
            return cached(self.cache, key, lambda: degradation_features(image))

        return self.whitening(framing)(np.stack([measure(image) for image in images]))

    def _compare(
        self, made: ImageSet, images: Sequence[Pixels], real: ImageSet, pictures: Sequence[Pixels], patches: bool
    ) -> Compared:
        distance = kid(made.points, real.points)
        auc = classifier_auc(made.points, real.points, made.groups, real.groups, seed=self.seed)
        told = None
        if patches:
            config = PatchConfig(seed=self.seed)
            told = compare_patches(images, pictures, made.groups, real.groups, config).auc.value
        coverage = self._coverage(made.points, real.points)
        row = Row(made.name, real.name, distance.value, distance.low, distance.high, coverage, auc, told)
        return Compared(row, made, real)

    def _coverage(self, made: Features, real: Features) -> float:
        """Coverage at equal numbers, as `analyze-distribution` has it: a mean over ten draws."""
        size, rng = min(len(made), len(real) // 2), np.random.default_rng(self.seed)
        draws = [
            prdc(
                real[rng.choice(len(real), size, replace=False)], made[rng.choice(len(made), size, replace=False)]
            ).coverage
            for _ in range(10)
        ]
        return float(np.mean(draws))

    def _ideal(self, real: ImageSet, photographs: Photographs, patches: bool) -> Compared:
        """Half of the people against the others, the mean of some splits: what a perfect source would reach."""
        people = sorted(set(real.groups))
        rows: list[Row] = []
        for number in range(_SPLITS):
            order = np.random.default_rng([self.seed, number]).permutation(len(people))
            first = {people[int(place)] for place in order[::2]}
            (one, one_pictures), (other, other_pictures) = (
                _part(real, photographs, [name in first for name in real.groups], inside=inside)
                for inside in (True, False)
            )
            one = dataclasses.replace(one, name=IDEAL)
            rows.append(self._compare(one, one_pictures, other, other_pictures, patches and number == 0).row)

        def mean(of: Callable[[Row], float]) -> float:
            return float(np.mean([of(row) for row in rows]))

        row = Row(
            source=IDEAL,
            reference=real.name,
            kid=mean(lambda row: row.kid),
            low=mean(lambda row: row.low),
            high=mean(lambda row: row.high),
            coverage=mean(lambda row: row.coverage),
            auc=mean(lambda row: row.auc),
            patches=rows[0].patches,
        )
        return Compared(row, real, real)


def _part(
    real: ImageSet, photographs: Photographs, within: Sequence[bool], *, inside: bool
) -> tuple[ImageSet, list[Pixels]]:
    places = [place for place, there in enumerate(within) if there is inside]
    part = dataclasses.replace(
        real,
        points=real.points[places],
        labels=tuple(real.labels[place] for place in places),
        groups=tuple(real.groups[place] for place in places),
    )
    return part, [photographs.images[place] for place in places]


def _network(recipe: Recipe) -> Network | None:
    """What degrades the images of a recipe in which a FlipNet does; None for others."""
    if not recipe.models:
        return None
    from degrade_kit.flipnet.degrader import Networks

    return Networks(recipe, device="cpu")


def _cells(row: Row) -> str:
    found = f"KID {row.kid:.3f}, coverage {row.coverage:.2f}, AUC {row.auc:.3f}"
    return found if row.patches is None else f"{found}, patches {row.patches:.3f}"


def draw_figures(compared: Sequence[Compared], folder: Path, seed: int) -> None:
    """Draw for each set of photographs where they and the images of each source lie, by UMAP: `umap-NAME.png`.

    Each set has a picture of its own, since its points are whitened by faces framed as its photographs are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in dict.fromkeys(each.real.name for each in compared if each.row.source != IDEAL):
        made = [each for each in compared if each.real.name == name and each.row.source != IDEAL]
        sets = [made[0].real, *(each.made for each in made[1:]), made[0].made]  # the faces as they are stand last
        places = project(np.concatenate([each.points for each in sets]), "umap", seed)
        ends = np.cumsum([len(each.points) for each in sets])
        plots = [
            PlotSet(name=each.name, real=each.kind == "real", points=points, labels=each.labels, thumbnails=())
            for each, points in zip(sets, np.split(places.points, ends[:-1]), strict=True)
        ]
        title = f"Photographs of the set {name}, and LQ images by how they are degraded ({places.kind.upper()})"
        note = f"Features: handcrafted degradation features, whitened. Projection: seed {seed}. {places.note}".strip()
        draw_projection(plots, folder / f"umap-{name}.png", title=title, note=note)


def to_markdown(rows: Sequence[Row], reals: Sequence[str], bench: Bench, photographs: Mapping[str, Photographs]) -> str:
    """Write the table, the sources best first by the mean of KID; numbers of one set share a cell."""
    by_source: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_source.setdefault(row.source, {})[row.reference] = row
    ranked = sorted(
        (name for name in by_source if name not in _BESIDE),
        # What was not compared with all sets stands last.
        key=lambda name: (-len(by_source[name]), float(np.mean([row.kid for row in by_source[name].values()]))),
    )
    patched = any(row.patches is not None for row in rows)
    head = "KID, coverage, AUC" + (", AUC on patches" if patched else "")
    lines = [
        f"| LQ images by | {' | '.join(f'{name}: {head}' for name in reals)} |",
        "|---|" + "---|" * len(reals),
    ]
    together = {name: names for names in equal_presets() for name in names}
    for name in (*(name for name in _BESIDE[:-1] if name in by_source), *ranked, HQ):
        # Methods that publish the same numbers share a row, under the names that are not measured themselves.
        names = [name, *(other for other in together.get(name, ()) if other not in by_source)]
        shown = name if name in _BESIDE else ", ".join(f"`{each}`" for each in names)
        cells = [_short(by_source[name][real]) if real in by_source[name] else "" for real in reals]
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    sets = ", ".join(f"{len(photographs[name].names)} {name}" for name in reals)
    framed = "".join(
        f" The {name} photographs {words}, and so do the images that are compared with them."
        for name in reals
        if (words := photographs[name].framing.describe())
    )
    lines += [
        "",
        f"{bench.images} images of {len(bench.faces)} faces for each source, at {bench.extract.size} pixels; "
        f"photographs: {sets}. KID: 0 for equal distributions. Coverage: share of the photographs with an image near "
        "them. AUC: of a linear classifier on the features"
        f"{' and of a small network on patches' if patched else ''}, 0.5 if it cannot tell.{framed}",
    ]
    return "\n".join(lines)


def _short(row: Row) -> str:
    cells = [f"{round(row.kid, 2) + 0:.2f}", f"{row.coverage:.2f}", f"{row.auc:.2f}"]
    return ", ".join(cells if row.patches is None else [*cells, f"{row.patches:.2f}"])


def replace_table(path: Path, text: str) -> None:
    """Put a table between the marks of a Markdown file.

    Raises:
        SystemExit: If the file has no such marks.
    """
    content = path.read_text("utf-8")
    begin, end = _MARKS
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(content):
        raise SystemExit(f"{path}: expected the marks {begin} and {end}")
    write_whole(path, pattern.sub(lambda _: f"{begin}\n\n{text}\n\n{end}", content, count=1))


if __name__ == "__main__":
    main()
