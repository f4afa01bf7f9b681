"""How the banks that ship are found: `python -m benchmarks.banks --data DIR --out DIR [NAME ...]`.

Each is a `degrade-kit fit-recipe --kind bank` with the settings below, near photographs of people who take no part in
the table of docs/recipes.md; `benchmarks.splits` says which. A bank may begin with those before it. `--print` prints
the commands alone. `--shares` finds with what shares `real-world` should draw, on the photographs of the fits, too, and
`--exemplars` describes those that the preset `flipnet-real` degrades like.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks import splits
from benchmarks.table import Bench
from degrade_kit.analysis.distances import Features, prdc
from degrade_kit.bank import SHIPPED, Bank, load_bank
from degrade_kit.errors import ImageError
from degrade_kit.files import write_whole
from degrade_kit.flipnet.description import read_space
from degrade_kit.flipnet.folder import PHOTOS
from degrade_kit.image import decode_image
from degrade_kit.ops import Jpeg
from degrade_kit.pipelines.distribution.fit_recipe import fit_recipe
from degrade_kit.pipelines.distribution.photographs import (
    AS_ALIGNED,
    PhotoConfig,
    locate_detector,
    look,
    measure_framing,
)
from degrade_kit.pipelines.images import list_images
from degrade_kit.presets import MIXTURES, preset

SIZE: Final = 256
"""Side of the images, pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """How a bank is found."""

    photographs: str
    """A set of `benchmarks.splits`."""
    near: str
    """What its `source` says of them."""
    terms: str
    """What its licence says of their terms."""
    cut: bool
    """Whether they are faces that somebody cut out."""
    candidates: int
    records: int
    rounds: int = 3
    most: int = 330
    """Photographs, at most."""
    pool: tuple[str, ...] = ()
    """Banks with which it begins; those of this run, or else those that ship."""

    def words(self, lists: Path, out: Path, pool: Mapping[str, str]) -> list[str]:
        """The command line that finds it."""
        begins = [word for name in self.pool or ("none",) for word in ("--pool", pool.get(name, name))]
        return [
            *("degrade-kit", "fit-recipe", "--kind", "bank", "--size", str(SIZE), *begins),
            *("--real", str(lists / f"{self.photographs}_fit.txt")),
            *("--held-out", str(lists / f"{self.photographs}_test.txt")),
            *("--hq", str(lists / "hq_fit.txt"), "--max-images", str(self.most)),
            *("--candidates", str(self.candidates), "--rounds", str(self.rounds), "--records", str(self.records)),
            *(["--allow-resize"] if self.cut else []),
            *("--out", str(out)),
        ]


FITS: Final = {
    "press-photo": Fit(
        photographs="lfw",
        near="of LFW (people who are not in LFW-Test)",
        terms="press photographs of LFW (University of Massachusetts; for research)",
        cut=False,
        candidates=1320,
        records=330,
    ),
    "video-frame": Fit(
        photographs="film",
        near="from films (IMFDB)",
        terms="frames of Indian films (IMFDB), whose rights are unknown",
        cut=True,
        candidates=800,
        records=120,
        pool=("press-photo",),
    ),
    "crowd": Fit(
        photographs="crowd",
        near="of faces in crowds, like WIDER FACE's",
        terms=(
            "crops of photographs in the repositories of Ultra-Light-Fast-Generic-Face-Detector and dlib (WIDER FACE: "
            "CC BY-NC-ND 4.0; others not stated)"
        ),
        cut=True,
        candidates=800,
        records=142,
        pool=("press-photo", "video-frame"),
    ),
    "web-photo": Fit(
        photographs="web",
        near="of public figures from the web (RMFD)",
        terms="photographs of RMFD (AFDB part), whose photographers gave no licence",
        cut=True,
        candidates=700,
        records=120,
        pool=("press-photo", "video-frame"),
    ),
}
"""The banks that ship, in the order in which they are found."""


def main() -> None:
    """Find banks, and say which are those that ship."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(FITS)}; all where none is given")
    parser.add_argument("--data", type=Path, required=True, help="folder of the photographs")
    parser.add_argument("--out", type=Path, required=True, help="folder for lists, banks and reports")
    parser.add_argument("--print", action="store_true", help="print the commands alone")
    parser.add_argument("--shares", action="store_true", help="find the shares of real-world instead")
    parser.add_argument("--exemplars", action="store_true", help="write exemplars.json of flipnet-real instead")
    parser.add_argument("--fold", type=int, choices=(0, 1), default=0, help="half that is fitted to; 0 ships")
    parser.add_argument("--workers", type=int, default=0)
    given = parser.parse_args()
    if unknown := set(given.names) - set(FITS):
        parser.error(f"{min(unknown)}: expected one of {', '.join(FITS)}")
    for line in splits.write_lists(given.data, given.out, given.fold):
        print(line)
    if given.shares:
        print(find_shares(given.out))
        return
    if given.exemplars:
        write_whole(given.out / "exemplars.json", describe_exemplars(given.out))
        return
    for name in given.names or FITS:
        fit = FITS[name]
        found = {other: str(path) for other in FITS if (path := given.out / f"{other}.json").is_file()}
        if given.print:
            print(" ".join(fit.words(given.out, given.out / f"{name}.yaml", found)))
            continue
        bank = find(name, given.out, found, given.workers)
        same = "the one that ships" if bank.digest == load_bank(name).digest else f"another than in {SHIPPED}"
        print(f"{name}: {len(bank.records)} records, digest {bank.digest}: {same}", flush=True)


def find(name: str, folder: Path, pool: Mapping[str, str], workers: int = 0) -> Bank:
    """Find a bank by the lists in a folder, and write it there as it ships."""
    fit = FITS[name]
    fit_recipe(
        str(folder / f"{fit.photographs}_fit.txt"),
        str(folder / "hq_fit.txt"),
        folder / f"{name}.yaml",
        kind="bank",
        held_out=str(folder / f"{fit.photographs}_test.txt"),
        size=SIZE,
        allow_resize=fit.cut,
        max_images=fit.most,
        candidates=fit.candidates,
        rounds=fit.rounds,
        records=fit.records,
        pool=[pool.get(other, other) for other in fit.pool],
        workers=workers,
        progress=lambda line: print(f"{name}: {line}", file=sys.stderr, flush=True),
    )
    found = load_bank(folder / f"{name}.json")
    bank = as_shipped(name, found)
    write_whole(folder / "shipped" / f"{name}.json", bank.to_json())
    return bank


def as_shipped(name: str, bank: Bank) -> Bank:
    """Name a bank as it ships: what it is near, and under which terms."""
    photographs = bank.source.split(" photographs ", 1)[0]
    return dataclasses.replace(
        bank,
        name=name,
        source=(
            f"{photographs} photographs {FITS[name].near}, found by degrade-kit fit-recipe at {SIZE} pixels; "
            "docs/recipes.md says how near they come to others"
        ),
        licence=(
            f"The bank is numbers, under this toolkit's licence; the photographs, {FITS[name].terms}, are not in it"
        ),
    )


# ------------------------------------------------------------------------------------------------------------ exemplars

_EXEMPLARS: Final = {"press": "lfw", "web": "web", "crowd": "crowd"}
_DESCRIBED: Final = 48
"""Photographs of a kind, at most."""
_TERMS: Final = (
    "Numbers, under this toolkit's licence; the photographs that they describe (LFW, people who are not in LFW-Test; "
    "RMFD; crops of crowds, like WIDER FACE's) are not in it"
)


def describe_exemplars(lists: Path) -> str:
    """Describe photographs of the fits for the FlipNet `photos`, with faces' sizes and files' settings, as JSON.

    Faces that show less than an aligner cuts out were cut out as they stood, and so are upright with their pixels.
    """
    space, kinds = read_space(PHOTOS), list[str]()
    for kind, name in _EXEMPLARS.items():
        listed = lists / f"{name}_fit.txt"
        sources = list_images(str(_some(listed) if name == "lfw" else listed))
        config = locate_detector(PhotoConfig(size=SIZE, cut=name != "lfw"))
        config = dataclasses.replace(config, framing=measure_framing(sources, config))
        rows: list[str] = []
        sides: list[float] = []
        files: list[Jpeg] = []
        for place in range(len(sources)):
            data = sources.read(place)
            try:
                facts = look(data, config)[1]
            except ImageError:
                continue
            if (side := facts.side) is not None and len(rows) < _DESCRIBED:
                if facts.file is not None:
                    files.append(facts.file)
                rows.append(json.dumps(space.describe(decode_image(data, min_side=16).pixels), separators=(",", ":")))
                sides.append(side)
        ends = json.dumps([round(float(np.quantile(sides, step / 8))) for step in range(9)])
        described = ",\n".join(f"    {row}" for row in rows)
        file = f'"file": {json.dumps(_written(files))}, ' if 2 * len(files) > len(rows) else ""
        turn = "" if config.framing == AS_ALIGNED else '"turn": 0, '
        kinds.append(f'  "{kind}": {{"sides": {ends}, {turn}{file}"descriptions": [\n{described}\n  ]}}')
    all_kinds = ",\n".join(kinds)
    return f'{{"format": 1, "terms": {json.dumps(_TERMS)}, "kinds": {{\n{all_kinds}\n}}}}\n'


def _written(files: Sequence[Jpeg]) -> dict[str, list[int] | dict[str, float]]:
    """How files were written: the least and the greatest quality, and the share of each size of chroma."""
    qualities = [file.quality for file in files]
    counts: Counter[str] = Counter(file.subsampling for file in files)
    shares = {name: round(count / len(files), 3) for name, count in sorted(counts.items())}
    return {"quality": [min(qualities), max(qualities)], "subsampling": shares}


# --------------------------------------------------------------------------------------------------------------- shares

_TRIED: Final = {"press-photo": (1.0, 2, 3, 4), "web-photo": (1.0, 2, 3, 4, 5), "crowd": (0.5, 1, 1.5, 2)}
_DRAWS: Final = 12
_MOST: Final = 100
"""Photographs of a set, about."""


def find_shares(lists: Path) -> str:
    """Find the shares that cover the least covered set of photographs best, beside what its own bank covers."""
    bench = Bench(str(lists / "hq_fit.txt"), SIZE, 80, 0, 0, None)
    sets = {name: FITS[name] for name in _TRIED}
    photographs = {
        name: bench.photographs(_some(lists / f"{fit.photographs}_fit.txt"), PhotoConfig(size=SIZE, cut=fit.cut))
        for name, fit in sets.items()
    }
    real = {name: bench.points(found.images, found.framing) for name, found in photographs.items()}
    names = tuple(MIXTURES["real-world"])
    made = {
        (bank, framing): bench.made(preset(bank), framing, pictures=False)[0].points
        for framing in {found.framing for found in photographs.values()}
        for bank in names
    }
    rest = MIXTURES["real-world"]["video-frame"]
    best, lines = -1.0, [""]
    for shares in itertools.product(*_TRIED.values()):
        mixture = {**dict(zip(_TRIED, shares, strict=True)), "video-frame": rest}
        covered = {
            name: _covered(mixture, {bank: made[bank, found.framing] for bank in names}, real[name])
            / _covered({name: 1.0}, {name: made[name, found.framing]}, real[name])
            for name, found in photographs.items()
        }
        if min(covered.values()) > best:
            best = min(covered.values())
            said = ", ".join(f"{name} {share:.2f}" for name, share in covered.items())
            lines.append(f"{mixture}: coverage beside each set's own bank {said}")
    return lines[-1]


def _some(listed: Path) -> str:
    """A list of some of the photographs of another."""
    lines = listed.read_text("utf-8").splitlines(keepends=True)
    some = listed.with_name(f"{listed.stem}_some.txt")
    some.write_text("".join(lines[:: max(1, len(lines) // _MOST)]), "utf-8")
    return str(some)


def _covered(mixture: Mapping[str, float], made: Mapping[str, Features], real: Features) -> float:
    """Coverage of photographs by as many images of a mixture, the mean of some draws."""
    shares = np.array(list(mixture.values())) / sum(mixture.values())
    found: list[float] = []
    for number in range(_DRAWS):
        rng = np.random.default_rng(number)
        size = min(len(real) // 2, len(next(iter(made.values()))))
        counts = rng.multinomial(size, shares)
        points = [
            made[bank][rng.choice(len(made[bank]), min(count, len(made[bank])), replace=False)]
            for bank, count in zip(mixture, counts, strict=True)
        ]
        chosen = real[rng.choice(len(real), size, replace=False)]
        found.append(prdc(chosen, np.concatenate(points)).coverage)
    return float(np.mean(found))


if __name__ == "__main__":
    main()
