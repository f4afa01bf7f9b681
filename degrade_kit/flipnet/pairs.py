"""Real LQ/HQ pairs from the public data sets, read where they were unpacked.

    found = read_pairs("dense-haze", "data/Dense_Haze_NTIRE19")
    found.split("train")        # pairs to train on
    found.skipped               # what has no partner, and why

The layout is recognised from the tree; see `degrade_kit.flipnet.layouts`. Nothing is decoded here. The official test
splits keep apart, so that a model is never trained on what it may be judged by.
"""

from __future__ import annotations

import fnmatch
import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from degrade_kit.errors import ConfigError
from degrade_kit.files import local_path, read_regular
from degrade_kit.flipnet.layouts import LAYOUTS, REALBLUR, REALBLUR_EXPECTED, Role, Side, Split
from degrade_kit.image import image_size
from degrade_kit.sources import display_name, never_data, open_sources

KINDS: Final = ("haze", "low-light", "noise", "blur")
"""Kinds with captions and crops of their own; a kind may be any other word too."""
DATA_SETS: Final = {"dense-haze": "haze", "lol": "low-light", "sidd": "noise", "polyu": "noise", "realblur-j": "blur"}
"""Data sets by name, with their kind."""
PAPER_LIMITS: Final = {"sidd": 1000, "realblur-j": 1000}
"""Training pairs drawn from a data set; all of any other (Dense-Haze and LOL in full, FlipNet, section 4)."""

PAPER_TILES: Final = {"sidd": 512}
"""Side of the tiles, pixels, that a data set's images are parted into, each a pair of its own: the Medium set of SIDD
has 320 pairs of 16 megapixels, of which the paper's 1000 can only be parts."""

NO_HQ: Final = "no HQ partner"
NO_LQ: Final = "no LQ partner"
AMBIGUOUS: Final = "several files for one side"
UNKNOWN: Final = "not of the layout"
UNLISTED: Final = "in no list"
MISSING: Final = "listed, but not there"


@dataclass(frozen=True, slots=True)
class SourceTile:
    """A square of both images of a pair."""

    top: int
    left: int
    side: int
    """In pixels."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One registered pair, unread."""

    kind: str
    """Kind of degradation: one of `KINDS`, or the user's word."""
    name: str
    """Unique in its data set, the same on every machine, such as `our485/12`."""
    hq_path: Path
    lq_path: Path
    split: Split
    """`test` for the official test splits, and for what is kept out of training otherwise."""
    tile: SourceTile | None = None
    """The part of the files that is the pair; all of them where None."""


@dataclass(frozen=True, slots=True)
class PairSet:
    """The pairs of one folder."""

    source: str
    """The word that the user gave: a data set of `DATA_SETS` or a kind."""
    kind: str
    root: Path
    layout: str
    pairs: tuple[Pair, ...]
    """Sorted by name."""
    skipped: tuple[tuple[str, str], ...]
    """Path relative to `root`, and reason, of each image file that is in no pair."""
    left_out: int = 0
    """Training pairs that the subset left out."""
    never_data: tuple[tuple[str, int], ...] = ()
    """What the folder holds that is no data: see `degrade_kit.sources.Sources.left_out`."""

    def split(self, split: Split) -> tuple[Pair, ...]:
        """List the pairs of one split."""
        return tuple(pair for pair in self.pairs if pair.split == split)

    def skipped_by_reason(self) -> dict[str, int]:
        """Count the skipped files by reason, the most frequent first."""
        return dict(Counter(reason for _, reason in self.skipped).most_common())


def kind_of(source: str) -> str:
    """Look up the kind of degradation that a word on the command line names.

    >>> kind_of("dense-haze"), kind_of("blur"), kind_of("old-film")
    ('haze', 'blur', 'old-film')

    Raises:
        ConfigError: If it is not a word.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", source):
        raise ConfigError(
            f"kind of pairs: expected lower-case letters, digits and dashes, such as {', '.join(KINDS)}, or a data set "
            f"({', '.join(DATA_SETS)}); got {source!r}"
        )
    return DATA_SETS.get(source, source)


def read_pairs(
    source: str,
    root: str | Path,
    *,
    limit: int | None = None,
    tile: int | None = None,
    kept_out: Sequence[str] = (),
    seed: int = 0,
) -> PairSet:
    """List the pairs in a folder.

    Hidden files and what `degrade_kit.sources` leaves out are passed over; any other image that is in no pair is in
    `skipped`.

    Args:
        source: Kind of degradation or name of a data set; it gives the kind, the tree gives the layout.
        root: The data set's folder, or one above it.
        limit: Number of training pairs to draw; 0 takes all, None the paper's number. Test pairs are never drawn from.
        tile: Side of the tiles that larger images are parted into, pixels; 0 parts none, None those of `PAPER_TILES`.
            All images give one tile before any gives two; an image of the test split gives one.
        kept_out: Patterns of names, such as `*/0199_*`, of pairs that are put into the test split.
        seed: Of the draw. Which pairs are drawn depends on it and their names alone.

    Raises:
        ConfigError: If the folder cannot be read, fits no layout, or fits several.
    """
    kind, root = kind_of(source), local_path(root)
    if not root.is_dir():
        raise ConfigError(f"pairs {source}={display_name(str(root))}: expected a folder, found none")
    listing = open_sources(root)
    names = [name for name in listing.names if not _is_hidden(name)]
    skipped = [(name, reason) for name, reason, _ in listing.skipped if not _is_hidden(name)]
    layout, pairs, orphans = _recognise(source, kind, root, names)
    if limit is None:
        limit = PAPER_LIMITS.get(source, PAPER_LIMITS.get(layout, 0))
    if tile is None:
        tile = PAPER_TILES.get(source, PAPER_TILES.get(layout, 0))
    pairs = [replace(pair, split="test") if matches(pair.name, kept_out) else pair for pair in pairs]
    if tile:
        pairs = tiled(pairs, tile, seed)
    kept = draw_subset(pairs, limit, seed)
    return PairSet(
        source=source,
        kind=kind,
        root=root,
        layout=layout,
        pairs=kept,
        skipped=tuple(sorted([*skipped, *orphans])),
        left_out=len(pairs) - len(kept),
        never_data=listing.left_out,
    )


def draw_subset(pairs: Iterable[Pair], limit: int, seed: int) -> tuple[Pair, ...]:
    """Draw `limit` training pairs, and keep all test pairs, sorted by name; all pairs where `limit` is 0.

    The pairs are ranked by a hash of seed and name, so that a pair that is added or removed elsewhere moves at most one
    other, and a smaller limit takes a part of what a larger one takes. Of tiles all first ones of an image rank before
    all second ones.
    """
    ordered = sorted(pairs, key=lambda pair: pair.name)
    if limit <= 0:
        return tuple(ordered)
    training = [pair for pair in ordered if pair.split == "train"]
    files = {pair.name: pair.lq_path if pair.tile else Path(pair.name) for pair in training}
    places: Counter[Path] = Counter()
    ranked: list[tuple[int, bytes, str]] = []
    for rank, pair in sorted((_rank(seed, pair.name), pair.name) for pair in training):
        name = files[pair]
        ranked.append((places[name], rank, pair))
        places[name] += 1
    taken = {name for _, _, name in sorted(ranked)[:limit]}
    return tuple(pair for pair in ordered if pair.split == "test" or pair.name in taken)


def tiled(pairs: Iterable[Pair], side: int, seed: int) -> list[Pair]:
    """Part the images of pairs into tiles that do not overlap, beginning at their upper left corner.

    Nothing is decoded: sizes are read from the files' headers. A pair that is smaller than two tiles, or whose size
    cannot be read, stays as it is.

    Args:
        pairs: Unparted.
        side: Of the tiles, pixels.
        seed: Of the draw of the one tile that a pair of the test split gives.
    """
    found: list[Pair] = []
    for pair in pairs:
        size = image_size(pair.lq_path)
        rows, columns = (0, 0) if size is None else (size[0] // side, size[1] // side)
        if rows * columns < 2:
            found.append(pair)
            continue
        tiles = [
            replace(pair, name=f"{pair.name}/{row}-{column}", tile=SourceTile(row * side, column * side, side))
            for row in range(rows)
            for column in range(columns)
        ]
        found += tiles if pair.split == "train" else [min(tiles, key=lambda tile: _rank(seed, tile.name))]
    return found


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name fits one of some patterns; `*` takes any characters, slashes too.

    >>> matches("SIDD/Data/0199_010_GP/0199_010", ["*/0199_*"]), matches("a/69000.png", ["*69???.*"]), matches("a", [])
    (True, True, False)
    """
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _rank(seed: int, name: str) -> bytes:
    return hashlib.blake2b(b"%d\0%s" % (seed, name.encode("utf-8", "surrogateescape")), digest_size=16).digest()


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or never_data(part, folder=True) for part in name.split("/"))


_Orphans = list[tuple[str, str]]


def _recognise(source: str, kind: str, root: Path, names: list[str]) -> tuple[str, list[Pair], _Orphans]:
    """Pair the files by the one layout that fits."""
    roles = {layout.name: {name: role for name in names if (role := layout.role(name))} for layout in LAYOUTS}
    matches = {REALBLUR: _match_lists(kind, root, names)}
    for layout in LAYOUTS:
        pairs, orphans = _match(kind, root, roles[layout.name])
        matches[layout.name] = pairs, orphans + [(name, UNKNOWN) for name in names if name not in roles[layout.name]]
    fitting = [layout for layout, (pairs, _) in matches.items() if pairs]
    if not fitting:
        raise ConfigError(_explain_nothing(source, root, names, roles))
    if len(fitting) > 1:
        counts = ", ".join(f"{len(matches[layout][0])} pairs of {layout}" for layout in fitting)
        raise ConfigError(
            f"pairs {source}={display_name(str(root))}: expected one data set, found {counts}; name the folder of one"
        )
    return fitting[0], *matches[fitting[0]]


def _match(kind: str, root: Path, roles: dict[str, Role]) -> tuple[list[Pair], _Orphans]:
    """Bring together the files with equal keys."""
    groups: dict[tuple[str, Split], dict[Side, list[str]]] = {}
    for name, role in roles.items():
        groups.setdefault((role.key, role.split), {"hq": [], "lq": []})[role.side].append(name)
    pairs: list[Pair] = []
    orphans: _Orphans = []
    for (key, split), sides in groups.items():
        hq, lq = sides["hq"], sides["lq"]
        if len(hq) == len(lq) == 1:
            pairs.append(Pair(kind, key, root / hq[0], root / lq[0], split))
        else:
            reason = NO_LQ if not lq else NO_HQ if not hq else AMBIGUOUS
            orphans += [(name, reason) for name in (*hq, *lq)]
    return pairs, orphans


def _match_lists(kind: str, root: Path, names: list[str]) -> tuple[list[Pair], _Orphans]:
    """Pair the files that RealBlur-J's lists name."""
    there, listed = set(names), set[str]()
    pairs: dict[str, Pair] = {}
    orphans: _Orphans = []
    for path in sorted(root.glob("**/RealBlur_J_*_list.txt")):
        base = path.parent.relative_to(root).as_posix()
        if _is_hidden("" if base == "." else base):
            continue
        split: Split = "test" if "_test_" in path.name.lower() else "train"
        for number, line in enumerate(_lines(path), start=1):
            files = [posixpath.normpath(posixpath.join(base, file)) for file in line.split()]
            if len(files) != 2:
                raise ConfigError(f"{display_name(str(path))}, line {number}: expected GT_PATH BLUR_PATH, got {line!r}")
            listed.update(files)
            hq, lq = files
            name = posixpath.splitext(lq)[0]
            if name in pairs:
                raise ConfigError(f"{display_name(str(path))}, line {number}: {display_name(lq)} is listed already")
            if {hq, lq} <= there:
                pairs[name] = Pair(kind, name, root / hq, root / lq, split)
                continue
            orphans += [(file, MISSING) for file in files if file not in there]
            orphans += [(file, NO_LQ if file == hq else NO_HQ) for file in files if file in there]
    return list(pairs.values()), orphans + [(name, UNLISTED) for name in names if name not in listed]


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in read_regular(path).decode("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {display_name(str(path))}: {error}") from error


def _explain_nothing(source: str, root: Path, names: list[str], roles: dict[str, dict[str, Role]]) -> str:
    """Say what was expected and found, and which layout comes nearest."""
    folders = Counter(posixpath.dirname(name) or "." for name in names).most_common(4)
    found = ", ".join(f"{count} images in {display_name(folder)}" for folder, count in folders)
    nearest = max(LAYOUTS, key=lambda layout: len(roles[layout.name]))
    sides = Counter(role.side for role in roles[nearest.name].values())
    if any(re.search(r"(^|/)scene\d+/(gt|blur)/(gt|blur)_\d+\.\w+$", name) for name in names):
        hint = f"these are RealBlur's scenes, whose splits are in its lists: expected {REALBLUR_EXPECTED}"
    elif sides:
        hint = f"nearest is {nearest.name} ({nearest.expected}), with {sides['hq']} HQ and {sides['lq']} LQ files of it"
    else:
        listed = "; ".join(f"{layout.name}: {layout.expected}" for layout in LAYOUTS)
        hint = f"known are {REALBLUR}: {REALBLUR_EXPECTED}; {listed}"
    example = f", such as {display_name(names[0])}" if names else ""
    return f"pairs {source}={display_name(str(root))}: no pair found; found {found or 'no image'}{example}; {hint}"
