"""`degrade-kit match`: from a few photographs to a data set whose LQ images are like them, in one go.

    SHARDS               the data set: HQ faces, degraded by a bank of records that was found near the photographs
    OUT/aligned          the photographs' faces, framed as FFHQ is; missing where they were that already
    OUT/recipe.yaml      the recipe, with its bank, its report and a sheet beside it
    OUT/report           how near the data set comes: see `analyze-distribution`
    OUT/index.html       the photographs beside what was made, and what was measured

Each part is what its own command makes, and is kept where it is there: so a run that was stopped goes on.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from degrade_kit.errors import ConfigError, ImageError
from degrade_kit.files import local_path, sha256, utf8
from degrade_kit.image import Pixels, decode_image
from degrade_kit.pipelines.claim import Claim, Inputs, plain
from degrade_kit.pipelines.distribution.analyze import Analysis, analyze
from degrade_kit.pipelines.distribution.fit_bank import FittedBank
from degrade_kit.pipelines.distribution.fit_recipe import fit_recipe
from degrade_kit.pipelines.executor import WAIT_SECONDS, ExecutorConfig
from degrade_kit.pipelines.html import data_uri, page
from degrade_kit.pipelines.images import each_place_once, list_images
from degrade_kit.pipelines.inputs.align import AlignConfig, align_sources
from degrade_kit.pipelines.synth.synthesize import SynthReport, synthesize
from degrade_kit.pipelines.text import Report, ReportLine, human_time
from degrade_kit.shards import CONFIG, open_shards
from degrade_kit.sources import Sources, display_name
from degrade_kit.store import LocalStore, open_store
from degrade_kit.wording import counted_noun, html_text

_RECIPE: Final = ("recipe.yaml", "recipe.json", "recipe.md", "recipe.png")
_SHOWN: Final = 24
"""Photographs on the page, at most, and as many LQ images."""
_PROBED: Final = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class MatchReport(Report):
    """What a match made; or, of a dry run, what it would."""

    out: Path
    fitted: FittedBank | None
    """None where an earlier run had found the bank, and in a dry run."""
    made: SynthReport | None
    analysis: Analysis | None
    seconds: float
    planned: tuple[str, ...] = ()
    """The plan of a dry run in lines; empty otherwise."""

    @property
    def complete(self) -> bool:
        """Whether the data set is whole, of all faces."""
        return self.made is not None and self.made.complete and not self.made.failures

    def lines(self) -> list[ReportLine]:
        """Say in lines what was made; see `Report`."""
        if self.planned:
            return [ReportLine(text) for text in self.planned]
        lines = [*(self.fitted.lines() if self.fitted else [ReportLine("the bank was found before")])]
        lines += [line for report in (self.made, self.analysis) if report for line in report.lines()]
        text = f"in {human_time(self.seconds)}: the photographs beside what was made are in {self.out / 'index.html'}"
        return [*lines, ReportLine(text)]


@each_place_once()
def match(
    real: str | os.PathLike[str],
    hq: str | os.PathLike[str],
    shards: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    size: int = 512,
    variants: int = 1,
    num_faces: int = 40,
    flipnet: str | os.PathLike[str] | None = None,
    detector: Literal["packaged", "yunet"] = "packaged",
    seed: int = 0,
    dry_run: bool = False,
    workers: int | None = None,
    ray_address: str | None = None,
    wait: float = WAIT_SECONDS,
    progress: Callable[[str], None] = lambda line: None,
) -> MatchReport:
    """Make a data set whose LQ images are like given photographs: `degrade-kit match`.

    Align the photographs, find a bank of records near them, degrade the HQ faces by it, and compare: four commands in
    one. Call it again to resume.

    Args:
        real: Photographs to be like, at least ten with a face; those of `size` pixels are taken as aligned already.
        hq: HQ faces: whatever `synthesize` takes.
        shards: Where the data set is written.
        out: Folder for all else; beside `shards`, with `-match` behind its name, where None.
        size: Side of the images, pixels.
        variants: LQ images for each HQ image.
        num_faces: HQ faces that the bank is searched and judged with, at least 4.
        flipnet: FlipNet whose images are candidates for the bank, beside those of classical steps; none where None.
        detector: What finds the faces to align.
        seed: Of all draws.
        dry_run: Report the plan with its time, and write nothing.
        workers: Worker processes, as for `synthesize`.
        ray_address: Ray cluster to join, as for `synthesize`.
        wait: Seconds that a run on a cluster waits while no worker has a place there.
        progress: Told what is being done.

    Raises:
        ConfigError: If there are too few photographs or faces, or an argument does not fit.
        RunError: If an output holds something else.
    """
    start = time.monotonic()
    place = os.fspath(shards)
    if out is None and "://" in place:
        raise ConfigError(f"out: {place} is no local folder, so say where the recipe and the report go (--out)")
    folder = local_path(f"{place.rstrip('/')}-match" if out is None else out)
    inputs = [("--real", os.fspath(real)), ("--hq", os.fspath(hq))]
    photographs = list_images(os.fspath(real))
    aligned = _are_aligned(photographs, size)
    run: dict[str, Any] = {"workers": workers, "ray_address": ray_address, "wait": wait}
    fit: dict[str, Any] = {"kind": "bank", "size": size, "num_faces": num_faces, "seed": seed, "detector": detector}
    if flipnet is not None:
        fit["flipnet"] = os.fspath(flipnet)
    # In the data set's own folder it would be refused too, but by `synthesize`, after minutes.
    target = place if "://" in place else Path(place)  # no pattern of files, whatever its name holds
    claim = _claim(photographs, [*inputs, ("--shards", target)], {**fit, "hq": os.fspath(hq), "shards": place})
    # Before the work: a data set is gone on with, whichever it is, and `synthesize` says so if it is another one.
    _any_set(inputs).check(open_store(place))
    claim.check(LocalStore(folder))
    if dry_run:
        plan = fit_recipe(real, hq, folder / _RECIPE[0], dry_run=True, **fit, **run)
        faces = counted_noun(len(list_images(os.fspath(hq))), "HQ face")
        first = f"a bank is found, then {faces} are degraded into {place}, {counted_noun(variants, 'variant')} each"
        planned = (first, *plan.planned)
        return MatchReport(out=folder, fitted=None, made=None, analysis=None, seconds=0.0, planned=planned)
    with claim.taken(LocalStore(folder)):
        near = os.fspath(real)
        if not aligned:
            progress(f"aligning {counted_noun(len(photographs), 'photograph')}")
            config = AlignConfig(input=near, out_dir=folder / "aligned", detector=detector, size=size)
            align_sources(config, ExecutorConfig(**run))
            near = str(folder / "aligned")
        fitted = None
        if not all((folder / name).is_file() for name in _RECIPE):
            found = fit_recipe(near, hq, folder / _RECIPE[0], progress=progress, **fit, **run)
            assert isinstance(found, FittedBank), "of the kind that was asked for"
            fitted = found
        progress(f"degrading the HQ faces into {place}")
        made = synthesize(hq, place, preset=folder / _RECIPE[0], variants=variants, seed=seed, size=size, **run)
        progress("comparing")
        analysis = analyze(
            {"made": place},
            {"photographs": near},
            folder / "report",
            patches=False,
            spaces="none",
            projection="pca",
            seed=seed,
            size=size,
            **run,
        )
        LocalStore(folder).write("index.html", utf8(_page(folder, near, place)))
    seconds = time.monotonic() - start
    return MatchReport(out=folder, fitted=fitted, made=made, analysis=analysis, seconds=seconds)


def _claim(photographs: Sources, inputs: Inputs, settings: Mapping[str, Any]) -> Claim:
    """What makes the folder of recipe and report that of these photographs, faces and settings."""
    names = sha256("\n".join(map(display_name, photographs.names)))
    return Claim(what="a match", file="match.yaml", resolved=plain({"real": names, **settings}), inputs=inputs)


def _any_set(inputs: Inputs) -> Claim:
    """The claim of a data set of any configuration."""
    return Claim(
        what="a data set", file=CONFIG, resolved={}, comparable=lambda _: None, option="--shards", inputs=inputs
    )


def _are_aligned(photographs: Sources, size: int) -> bool:
    """Whether an aligner made these photographs: some of them, evenly spread, all have the size that is asked for."""
    step = max(1, len(photographs) // _PROBED)
    seen: list[tuple[int, ...]] = []
    for place in range(0, len(photographs), step):
        try:
            seen.append(decode_image(photographs.read(place), min_side=1).pixels.shape[:2])
        except ImageError:
            continue
    return bool(seen) and all(shape == (size, size) for shape in seen)


def _page(folder: Path, near: str, shards: str) -> str:
    """The photographs beside what was made, and what was measured."""
    photographs = _photographs(near)
    made = [
        (sample.pair(0)[1], sample.hq(), display_name(sample.info["source"]))
        for sample in itertools.islice(open_shards(shards).samples(), _SHOWN)
    ]
    rows = "".join(
        "<tr>" + _figure(photograph) + "".join(_figure(image) for image in pair) + "</tr>"
        for photograph, pair in itertools.zip_longest(
            photographs, [((lq, name), (hq, "its HQ image")) for lq, hq, name in made], fillvalue=()
        )
        for photograph, pair in [(photograph or None, pair or (None, None))]
    )
    report = (folder / "recipe.md").read_text("utf-8")
    links = {"report/report.html": "how near the data set comes", "recipe.png": "sheet", "recipe.yaml": "recipe"}
    listed = " · ".join(f'<a href="{name}">{words}</a>' for name, words in links.items() if (folder / name).is_file())
    body = f"""<h1>Photographs, and a data set like them</h1>
<p>{html_text(shards)}: {listed}</p>
<table><thead><tr><th>photograph<th>made of an HQ face<th>the HQ face</tr></thead><tbody>{rows}</tbody></table>
<h2>Judged on people and faces that took no part in the search</h2>
<pre>{html_text(report)}</pre>"""
    return page("Photographs, and a data set like them", body)


def _photographs(place: str) -> Sequence[tuple[Pixels, str]]:
    sources = list_images(place)
    step = max(1, len(sources) // _SHOWN)
    found: list[tuple[Pixels, str]] = []
    for number in range(0, len(sources), step):
        try:
            found.append((decode_image(sources.read(number)).pixels, display_name(sources.names[number])))
        except ImageError:
            continue
    return found[:_SHOWN]


def _figure(image: tuple[Pixels, str] | None) -> str:
    if image is None:
        return "<td></td>"
    pixels, name = image
    uri = data_uri(pixels, 256)
    return f'<td><img src="{uri}" alt="" width="256"><br><small>{html_text(name)}</small></td>'
