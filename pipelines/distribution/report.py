"""The files of an analysis: pictures, the report and `metrics.json`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from degrade_kit.analysis.comparison import IDEAL, Comparison, ImageSet, least_covered, neighbours_of
from degrade_kit.analysis.extractors import Extractor
from degrade_kit.analysis.giveaway import TellingFeature, telling_features
from degrade_kit.analysis.probes import VERSION as PROBES_VERSION
from degrade_kit.analysis.projection import Projection, project
from degrade_kit.analysis.report import Picture, Section, Table, all_numbers, headlines, space_tables
from degrade_kit.analysis.whitening import Space
from degrade_kit.checks import choice, whole
from degrade_kit.errors import ConfigError
from degrade_kit.files import ensure_home, write_whole
from degrade_kit.hq import versions
from degrade_kit.image import Pixels, decode_image, encode_png
from degrade_kit.pipelines.distribution.features import MeasuredSet, Row, pick
from degrade_kit.pipelines.distribution.second_look import TellingPatch, ToldApart
from degrade_kit.pipelines.sheet import Tile, contact_sheet
from degrade_kit.record import Record
from degrade_kit.statistics import PARAMETERS, values
from degrade_kit.wording import first_few

log = logging.getLogger(__name__)

SCHEMA = 1
HQ: Final = "HQ"
"""Name of the set of HQ faces."""
RESULTS: Final = (
    *("metrics.json", "report.html", "report.md", "embedding.csv"),
    *("umap.html", "umap.png", "least_covered.png", "parameters.png", "giveaway-*.png"),
)
"""Files of an analysis."""
_SHOWN = 16
_PLOT = 2000
_PATCH_TILE = 192
"""Side of a patch in a picture, pixels: twice its own, each of its pixels four."""


def check_measured(size: int, max_images: int) -> None:
    """Check the side and the number of images to measure.

    Raises:
        ConfigError: If the side is below 32 pixels, or the number below 0.
    """
    if size < 32:
        raise ConfigError(f"size: expected at least 32 pixels, got {size}")
    if max_images < 0:
        raise ConfigError(f"max_images: expected 0 (all) or more, got {max_images}")


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalyzeConfig:
    """What to compare, and how."""

    synth: tuple[tuple[str, str], ...]
    """Name and place of synthesized LQ images: a data set, or whatever `synth --hq` takes."""
    real: tuple[tuple[str, str], ...]
    """The same of photographs."""
    hq: str | None = None
    """HQ faces: to whiten with, and as a set of its own."""
    features: str = "auto"
    """`whitened`, `degradation`, or a learned space, `arniqa`, `inception` or KIND:DIR; `auto` whitens where there are
    HQ faces."""
    patches: bool | None = None
    """Whether the classifier on patches is asked; None asks it where it can be and is soon done."""
    spaces: str = "auto"
    """Learned spaces to look at beside the features, as `degrade_kit.analysis.extractors.parse_spaces` reads them."""
    weights: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Files of learned spaces by their names in `degrade_kit.analysis.weights`; what is not here is looked for."""
    seed: int = 0
    projection: Projection = "umap"
    size: int = 512
    allow_resize: bool = False
    max_images: int = 2000
    """Most images of each set, drawn evenly; 0 takes all."""
    cache: Path | None = None

    def __post_init__(self) -> None:
        if not self.synth or not self.real:
            raise ConfigError("expected at least one --synth NAME=PLACE and one --real NAME=PLACE")
        names = [name for name, _ in (*self.synth, *self.real)] + ([HQ] if self.hq else [])
        for name, count in Counter(names).items():
            if count > 1:
                raise ConfigError(f"the name {name!r} is given {count} times; each set needs a name of its own")
        if IDEAL in names:
            raise ConfigError(f"the name {IDEAL!r} is that of a real set against itself; give another name")
        check_measured(self.size, self.max_images)
        whole(0, 2**63 - 1)(self.seed, "seed")
        choice(("umap", "pca"))(self.projection, "projection")


@dataclass(frozen=True, kw_only=True, slots=True)
class Giveaway:
    """What tells one source from one real set."""

    source: str
    reference: str
    features: tuple[TellingFeature, ...]
    """The most telling first; none where the features have no names."""
    told: ToldApart | None
    """The most telling patches; None where the classifier on patches was not asked."""


def describe_giveaways(sets: Sequence[MeasuredSet], told: Sequence[ToldApart], extractor: Extractor) -> list[Giveaway]:
    """Find for each source and real set what tells them apart."""
    from degrade_kit.analysis.features import NAMES  # heavy

    patches = {(entry.source, entry.reference): entry for entry in told}
    return [
        Giveaway(
            source=source.name,
            reference=reference.name,
            features=tuple(telling_features(source.features, reference.features, NAMES))
            if extractor.handcrafted
            else (),
            told=patches.get((source.name, reference.name)),
        )
        for reference in sets
        if reference.kind == "real"
        for source in sets
        if source.kind == "synth"
    ]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Which pictures were drawn, and those that the report shows."""

    files: list[str]
    """Names, in the order in which to look at them."""
    shown: dict[str, Picture]
    instead: str = ""
    """Why the projection is another than the one that was asked for; empty where it is that one."""


def draw(
    sets: Sequence[MeasuredSet],
    points: Sequence[ImageSet],
    config: AnalyzeConfig,
    out: Path,
    note: str,
    giveaways: Sequence[Giveaway],
) -> Pictures:
    """Draw all pictures, and write where the points of the projection lie."""
    ensure_home()  # for Bokeh and matplotlib
    from degrade_kit.analysis.figures import draw_least_covered, draw_marginals, draw_projection
    from degrade_kit.analysis.page import write_page
    from degrade_kit.analysis.plotset import PlotSet

    rng = np.random.default_rng(config.seed)
    drawn = [
        (entry, place, pick(len(place), _PLOT, rng))
        for entry, place in zip(sets, points, strict=True)
        if entry.kind != "hq"
    ]
    everything = np.concatenate([place.points[chosen] for _, place, chosen in drawn])
    flat, projection, instead = project(everything, config.projection, config.seed)
    if instead:
        log.warning("%s", instead)
        note = f"{note} {instead}."
    plots: list[PlotSet] = []
    lines = ["set,kind,image,x,y"]
    start = 0
    for entry, _, chosen in drawn:
        rows = [entry.rows[index] for index in chosen]
        part = flat[start : start + len(rows)]
        start += len(rows)
        plots.append(
            PlotSet(
                name=entry.name,
                real=entry.kind == "real",
                points=part,
                labels=[row.label for row in rows],
                thumbnails=[row.thumbnail for row in rows],
            )
        )
        lines += [
            ",".join((_csv(entry.name), entry.kind, _csv(row.label), f"{x:.6f}", f"{y:.6f}"))
            for row, (x, y) in zip(rows, part, strict=True)
        ]
    title = f"LQ images by how they are degraded ({projection.upper()})"
    draw_projection(plots, out / "umap.png", title=title, note=note)
    write_page(plots, out / "umap.html", title=title, note=note, seed=config.seed)
    write_whole(out / "embedding.csv", "\n".join(lines) + "\n")
    files = ["umap.png", "umap.html", "embedding.csv"]
    shown = {"umap.png": _picture(out, "umap.png", "projection of all images, one panel for each source")}
    if rows := _least_covered_rows(sets, points):
        draw_least_covered(rows, out / "least_covered.png")
        files.insert(1, "least_covered.png")
        shown["least_covered.png"] = _picture(
            out, "least_covered.png", "real images that no source covers, beside the nearest of each source"
        )
    if marginals := _marginals(sets, points):
        draw_marginals(marginals, out / "parameters.png")
        files.insert(1, "parameters.png")
        shown["parameters.png"] = _picture(
            out, "parameters.png", "drawn parameters of each source, of all images and of those nearest to real ones"
        )
    for number, giveaway in enumerate(giveaways, start=1):
        if giveaway.told is not None:
            name = f"giveaway-{number:02}.png"
            write_whole(out / name, encode_png(_giveaway_sheet(giveaway.told)))
            files.insert(number - 1, name)
            shown[name] = _picture(out, name, f"patches that tell {giveaway.source} from {giveaway.reference}")
    return Pictures(files, shown, instead)


def _giveaway_sheet(told: ToldApart) -> Pixels:
    """Lay out the most telling patches of a source and of photographs, each above what the network saw of it."""

    def tiles(patches: Sequence[TellingPatch]) -> list[list[Tile]]:
        pictures = [
            Tile(patch.pixels, (f"{patch.label} at {patch.left}, {patch.top}", f"log odds {patch.log_odds:+.1f}"))
            for patch in patches
        ]
        return [pictures, [Tile(patch.detail, ()) for patch in patches]]

    seen = "the same as the network sees it: without its low frequencies, three times as strong"
    return contact_sheet(
        [*tiles(told.synthesized), *tiles(told.real)],
        _PATCH_TILE,
        title=f"{told.source} and {told.reference}",
        headings=[
            f"{told.source}: most surely taken for synthesized",
            seen,
            f"{told.reference}: most surely taken for real",
            seen,
        ],
    )


def _picture(out: Path, file: str, alt: str) -> Picture:
    return Picture(file, (out / file).read_bytes(), alt)


def _csv(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(sign in text for sign in ',"\n\r') else text


def _least_covered_rows(
    sets: Sequence[MeasuredSet], points: Sequence[ImageSet]
) -> list[tuple[Pixels, str, list[tuple[Pixels, str]]]]:
    by_name = {entry.name: entry for entry in sets}
    """Lay out the least covered real images, each beside the nearest image of each source.

    One synthesized image is often the nearest to many real ones. It is shown once, beside the first of them, and the
    next nearest beside the others, so that each row shows something new.
    """
    sources = [entry for entry in points if entry.kind == "synth"]
    found = [
        (reference.name, entry)
        for reference in points
        if reference.kind == "real"
        for entry in least_covered(reference, sources, _SHOWN, neighbours=_SHOWN)
    ]
    found.sort(key=lambda pair: -pair[1].distance)
    rows: list[tuple[Pixels, str, list[tuple[Pixels, str]]]] = []
    seen: set[tuple[str, int]] = set()
    for name, entry in found[:_SHOWN]:
        row = by_name[name].rows[entry.place]
        beside: list[tuple[Pixels, str]] = []
        for source, places in entry.neighbours[:4]:
            place = next((place for place in places if (source, place) not in seen), places[0])
            seen.add((source, place))
            beside.append((_thumbnail(by_name[source].rows[place]), f"{source}\n{by_name[source].rows[place].label}"))
        rows.append((_thumbnail(row), f"{name}, distance {entry.distance:.1f}\n{row.label}", beside))
    return rows


def _thumbnail(row: Row) -> Pixels:
    return decode_image(row.thumbnail, min_side=1).pixels


def _marginals(sets: Sequence[MeasuredSet], points: Sequence[ImageSet]) -> list[Any]:
    from degrade_kit.analysis.figures import Marginal

    references = [entry for entry in points if entry.kind == "real"]
    drawn: dict[str, list[dict[str, list[float]]]] = {}
    near: dict[str, list[int]] = {}
    for entry, place in zip(sets, points, strict=True):
        if entry.kind == "synth":
            records = [Record.from_json(row.record) if row.record else None for row in entry.rows]
            drawn[entry.name] = [values(record) if record else {} for record in records]
            found = [neighbours_of(reference, place).ravel() for reference in references]
            near[entry.name] = [int(index) for index in np.unique(np.concatenate(found))]
    marginals: list[Any] = []
    for name in PARAMETERS:
        every = {source: [value for each in rows for value in each.get(name, ())] for source, rows in drawn.items()}
        if all(len(set(numbers)) < 2 for numbers in every.values()):
            continue
        # Of every source, also where it has none: colours follow the order.
        marginals += [
            Marginal(
                parameter=name.replace("_", " ").replace(".", " "),
                unit="",
                source=source,
                all=np.array(numbers, np.float64),
                near=np.array(
                    [value for index in near[source] for value in drawn[source][index].get(name, ())], np.float64
                ),
            )
            for source, numbers in every.items()
        ]
    return marginals


# -------------------------------------------------------------------------------------------------------------- writing


def describe_choices(config: AnalyzeConfig, extractor: Extractor, whitened: bool, sets: Sequence[MeasuredSet]) -> str:
    """Describe the choices behind a picture, to stand under it."""
    space = f"{extractor.title}{', paired whitening' if whitened else ''}"
    counts = ", ".join(f"{entry.name} {len(entry.rows):,}" for entry in sets)
    return (
        f"Features: {space}. Projection: {config.projection.upper()}, seed {config.seed}. Images of {config.size} "
        f"pixels: {counts}."
    )


def report_sections(
    sets: Sequence[MeasuredSet],
    comparisons: Sequence[Comparison],
    sentences: Sequence[str],
    pictures: Pictures,
    giveaways: Sequence[Giveaway],
) -> list[Section]:
    """Lay out the report, section by section."""
    explained = (
        "AUC: how well a classifier tells the source from the photographs, 0.5 if it cannot, 1 if it always does; the "
        "linear one sees the features, the one on patches small parts of images at their own size, and had no say in "
        "any recipe. KID: 0 for equal distributions, at any number of images. Coverage: the share of real images with "
        "a synthesized one within the distance of their fifth real neighbour, at equal numbers of images. In "
        "parentheses, and as the ideal: what halves of the real set that share no person give for each other; nothing "
        "can be nearer. In brackets: 95 %, variants of a face and photographs of a person taken as dependent; of the "
        "ideal, over its splits. What these numbers do not show: whether a face is degraded in a way that neither "
        "classifier sees."
    )
    tables = [part for name, table in headlines(comparisons) for part in (f"Against {name}:", table)]
    sections = [
        Section("What it shows", (*sentences, *tables, explained)),
        *_giveaway_sections(giveaways, pictures),
        Section(
            "Picture",
            (
                pictures.shown["umap.png"],
                "Near points are images that are degraded alike. Most sets form islands of their own, and the distance "
                "between islands means little here: every number of this report is computed before the projection. "
                "Features and projection are choices of this toolkit; the paper's Fig. 5 names neither. umap.html is "
                "the same picture to explore.",
                *([f"{pictures.instead}."] if pictures.instead else []),
            ),
        ),
    ]
    if "least_covered.png" in pictures.shown:
        text = (
            "Real images farthest from all synthesized ones; distances are in units of the usual distance between real "
            "neighbours. Beside each: the nearest image of each source that is not shown above."
        )
        sections.append(Section("Least covered", (text, pictures.shown["least_covered.png"])))
    if "parameters.png" in pictures.shown:
        sections.append(Section("Which degradations are near real photographs", (pictures.shown["parameters.png"],)))
    if learned := space_tables(comparisons):
        text = (
            "The same numbers in spaces that networks learned for other ends, and that no recipe was fitted in. The "
            "space of a FlipNet may know images that this FlipNet made."
        )
        parts = [part for name, table in learned for part in (f"Against {name}:", table)]
        sections.append(Section("In learned spaces", (text, *parts)))
    sections.append(Section("All numbers", ("In parentheses: the null at the same sizes.", all_numbers(comparisons))))
    lines = [
        f"{entry.name}: {entry.place}, {len(entry.rows):,} of {entry.found:,} images; {entry.grouped}" for entry in sets
    ]
    for entry in sets:
        resized = sum(row.resized for row in entry.rows)
        if resized:
            lines.append(f"{entry.name}: {resized:,} images were resized, which changes what is measured.")
        if entry.failures:
            shown = first_few([f"{label}: {reason}" for label, reason, _ in entry.failures], "; ")
            lines.append(f"{entry.name}: {len(entry.failures):,} images could not be used: {shown}")
    sections.append(Section("Sets", tuple(lines)))
    return sections


def _giveaway_sections(giveaways: Sequence[Giveaway], pictures: Pictures) -> list[Section]:
    """Say in words and pictures what tells each source from each real set."""
    body: list[str | Table | Picture] = []
    for number, giveaway in enumerate(giveaways, start=1):
        picture = pictures.shown.get(f"giveaway-{number:02}.png")
        if not giveaway.features and picture is None:
            continue
        body.append(f"{giveaway.source} against {giveaway.reference}:")
        if giveaway.features:
            rows = [
                (
                    f"{'more' if each.difference > 0 else 'less'}: {each.words}",
                    f"{each.difference:+.1f}",
                    f"{each.share:.0%}",
                    f"{each.auc:.2f}",
                    each.moved_by,
                )
                for each in giveaway.features
            ]
            header = ("what the source has", "difference", "share", "AUC alone", "what moves it")
            body.append(Table(header, tuple(rows)))
        if picture is not None:
            body.append(picture)
    if not body:
        return []
    text = (
        "What to change next. Differences are in standard deviations of the photographs; the share is that of the "
        "linear classifier's verdict, whose other features say the same as these or little. The patches are those that "
        "the network was surest of, in images that it had not seen."
    )
    return [Section("What gives it away", (text, *body))]


def describe_analysis(
    config: AnalyzeConfig,
    extractor: Extractor,
    whitened: bool,
    sets: Sequence[MeasuredSet],
    comparisons: Sequence[Comparison],
    sentences: Sequence[str],
    space: Space,
    spectrum: list[float],
    giveaways: Sequence[Giveaway],
    spaces: Sequence[Extractor],
) -> dict[str, Any]:
    """Describe the analysis for `metrics.json`."""
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(config).items()}
    del settings["cache"]  # it changes nothing
    return {
        "schema_version": SCHEMA,
        "versions": {**versions(), "scikit-learn": version("scikit-learn")},
        "settings": settings,
        "features": {
            "extractor": extractor.key(),
            "whitened": whitened,
            "space": space.digest(),
            "probes": PROBES_VERSION,
            "ratios": spectrum,
            "spaces": [each.key() for each in spaces],
        },
        "sets": [
            {
                "name": entry.name,
                "kind": entry.kind,
                "place": entry.place,
                "images": len(entry.rows),
                "found": entry.found,
                "resized": sum(row.resized for row in entry.rows),
                "sha256": entry.digest(),
                "failures": [list(failure) for failure in entry.failures],
                "left_out": entry.left_out,
                "grouped": entry.grouped,
                "groups": len({row.group for row in entry.rows}),
            }
            for entry in sets
        ],
        "comparisons": [asdict(entry) for entry in comparisons],
        "giveaways": [_describe_giveaway(entry) for entry in giveaways],
        "reading": list(sentences),
    }


def _describe_giveaway(giveaway: Giveaway) -> dict[str, Any]:
    found: dict[str, Any] = {
        "source": giveaway.source,
        "reference": giveaway.reference,
        "features": [asdict(each) for each in giveaway.features],
    }
    if giveaway.told is not None:
        for name, patches in (("synthesized", giveaway.told.synthesized), ("real", giveaway.told.real)):
            found[name] = [
                {
                    "image": patch.label,
                    "left": patch.left,
                    "top": patch.top,
                    "side": patch.side,
                    "log_odds": round(patch.log_odds, 4),
                }
                for patch in patches
            ]
    return found
