"""Tars that other writers made, `webdataset.ShardWriter` among them: no manifest, no sidecars, and still pairs.

A sample is a run of members with one name up to the first dot. Of its members,

    hq.png                  is the HQ image; or the only image, `png`, where no member is called hq
    lq.png                  is the LQ image; or lq0.png, lq1.png, ... where there are several
    json                    is kept, and read where `source` stands in it or `degrade-kit synth` wrote it

with jpg, jpeg or webp in place of png; all others are passed over. Each sample has equally many LQ images, or none, for
a recipe to make. An LQ image of another size than its HQ image is enlarged by cubic interpolation.

Each tar is walked once; where its members lie is kept beside it in `.degrade_kit/index/`, or in the cache of the reader
where that cannot be written, and is made anew when the tar has changed.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import tarfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from degrade_kit.errors import ConfigError, RunError, ShardError
from degrade_kit.files import decode_json, expand_home, open_regular, read_regular, sha256
from degrade_kit.shards import CONFIG, HIDDEN, MANIFEST, MAX_MEMBER_BYTES, Sample
from degrade_kit.sources import never_data
from degrade_kit.store import LocalStore, Store, check_name, is_safe_name, open_store

INDEX = f"{HIDDEN}/index"
ENLARGE = '[{"op":"resize","scale":1.0,"filter":"cubic"}]'
"""What brings an LQ image to the size of its HQ image; nothing is done where it has that size."""
_IMAGES = frozenset({"png", "jpg", "jpeg", "webp"})
_BLOCK = 512

Numbers = npt.NDArray[np.int64]


class PlainTars(NamedTuple):
    """Tars without a manifest."""

    store: Store
    names: list[str]
    """Names of the tars inside the store, in order."""


@dataclass(frozen=True, slots=True)
class TarIndex:
    """Where the members of a tar's samples lie."""

    keys: npt.NDArray[np.bytes_]
    starts: Numbers
    """First byte of each member's data: HQ, JSON and the LQ images; -1 where there is no JSON."""
    sizes: Numbers
    extensions: tuple[str, ...]
    """Formats of the HQ files, such as `png`."""


def find_tars(place: str | os.PathLike[str]) -> PlainTars | None:
    """List the tars of a place that no manifest describes.

    Args:
        place: A folder or fsspec URL, a tar, or a brace pattern of tars such as `shards/{000000..000010}.tar`.

    Returns:
        None where there is a manifest, or the beginning of a data set of this toolkit, or nothing.

    Raises:
        ConfigError: If the pattern is wrong.
        ShardError: If a tar of the pattern is missing.
    """
    text = expand_home(place)
    if ("{" in text or text.endswith(".tar")) and not os.path.isdir(text):
        return _expand(text)
    store = open_store(text)
    if store.size(MANIFEST) is not None or store.size(CONFIG) is not None:
        return None
    names = [name for name in store.names() if name.endswith(".tar") and "/" not in name and not never_data(name)]
    return PlainTars(store, names) if names else None


def _expand(pattern: str) -> PlainTars:
    from braceexpand import braceexpand

    try:
        places = list(braceexpand(pattern))
    except ValueError as error:
        raise ConfigError(f"{pattern}: {error}") from error
    if wrong := [place for place in places if not place.endswith(".tar")]:
        raise ConfigError(f"{pattern}: expected names of .tar files, got {wrong[0]}")
    # The folder before the first brace; what varies may have folders of its own.
    folder = pattern.partition("{")[0].rpartition("/")[0]
    store = open_store(folder or ("/" if pattern.startswith("/") else "."))
    names = [place.removeprefix(f"{folder}/" if folder or pattern.startswith("/") else "") for place in places]
    if missing := [name for name in names if store.size(name) is None]:
        raise ShardError(f"{pattern}: {len(missing)} of {len(names)} tars are missing, the first: {missing[0]}")
    return PlainTars(store, names)


_COARSE: Final = 3.0
"""Seconds within which a file may change without another time: FAT counts in steps of 2, some network servers in 1."""


def index_tar(path: Path, where: str, cache: Path | None) -> TarIndex:
    """Find the samples of a tar: from the index that an earlier call left, or by walking it.

    Args:
        path: A local, plain tar.
        where: What messages call it.
        cache: Folder for the index where none can be written beside the tar; None for none.

    Raises:
        ShardError: If it is cut, a sample is no pair, or its key would lead out of any folder.
    """
    status = path.stat()
    stamp = np.array([status.st_size, status.st_mtime_ns], np.int64)
    places = [(LocalStore(path.parent), f"{INDEX}/{path.name}.npz")]
    if cache is not None:
        name = sha256(os.fsencode(path.resolve()))[:16]
        places.append((LocalStore(cache), f"index/{path.name}-{name}.npz"))
    for store, name in places:
        if (kept := _read_index(store.path(name), stamp)) is not None:
            return kept
    index = _walk(path, where)
    if time.time() - status.st_mtime < _COARSE:
        return index  # written again within the clock's step, it would have the same size and time
    data = io.BytesIO()
    np.savez(data, stamp=stamp, keys=index.keys, starts=index.starts, sizes=index.sizes, extensions=index.extensions)
    for store, name in places:
        with contextlib.suppress(OSError, RunError):  # where nothing can be written, the next reader walks again
            store.write(name, data.getvalue())
            break
    return index


def _read_index(place: Path, stamp: Numbers) -> TarIndex | None:
    try:
        with np.load(io.BytesIO(read_regular(place)), allow_pickle=False) as kept:
            if not np.array_equal(kept["stamp"], stamp):
                return None
            extensions = tuple(str(extension) for extension in kept["extensions"])
            keys, starts, sizes = kept["keys"], kept["starts"], kept["sizes"]
    except Exception:  # none, or a damaged one, at which NumPy and zipfile raise nearly anything
        return None
    whole = (
        (keys.ndim, keys.dtype.kind) == (1, "S")
        and (starts.ndim, starts.dtype, sizes.dtype) == (2, np.int64, np.int64)
        and starts.shape == sizes.shape
        and (len(starts), starts.shape[1] >= 2) == (len(keys), True)
        and ((sizes >= 0) & (sizes <= MAX_MEMBER_BYTES)).all()
        # It may have come with the tars, and from somebody else.
        and all(is_safe_name(key.decode("utf-8", "surrogateescape")) for key in keys.tolist())
    )
    return TarIndex(keys, starts, sizes, extensions) if whole else None


class _Member(NamedTuple):
    suffix: str
    start: int
    size: int


def _walk(path: Path, where: str) -> TarIndex:
    keys: list[bytes] = []
    rows: list[list[tuple[int, int]]] = []
    extensions: set[str] = set()
    for key, members in _grouped(_members(path, where)):
        check_name(key, where)  # files may be named by it
        roles = assign_roles([member.suffix for member in members], f"{where}: sample {key}")
        if rows and len(roles) != len(rows[0]):
            raise ShardError(
                f"{where}: sample {key} has {len(roles) - 2} LQ images, those before it have {len(rows[0]) - 2}; "
                "each sample needs equally many"
            )
        extensions.add(members[cast("int", roles[0])].suffix.rpartition(".")[2])
        keys.append(key.encode("utf-8", "surrogateescape"))
        rows.append([(-1, 0) if role is None else members[role][1:] for role in roles])
    if not rows:
        raise ShardError(f"{where}: holds no pairs: no member is a png, jpg or webp")
    table = np.array(rows, np.int64)
    return TarIndex(np.array(keys, np.bytes_), table[:, :, 0], table[:, :, 1], tuple(sorted(extensions)))


def _members(path: Path, where: str) -> Iterator[tuple[str, _Member]]:
    """Yield key and place of each regular file of a tar that counts."""
    try:
        with open_regular(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                key, suffix = split_name(member.name.removeprefix("./"))  # as `tar` has them that is given `.`
                if not member.isreg() or member.issparse() or not is_readable(suffix):
                    continue
                if member.size > MAX_MEMBER_BYTES:
                    raise ShardError(f"{where}: {member.name} has {member.size} bytes; the most is {MAX_MEMBER_BYTES}")
                yield key, _Member(suffix, member.offset_data, member.size)
            # tarfile ends in silence at a damaged header, and where a tar was cut between two members.
            file.seek(tar.offset)
            if file.read(2 * _BLOCK) != bytes(2 * _BLOCK):
                raise ShardError(f"{where}: cut or damaged: no two empty blocks at byte {tar.offset}, where it ends")
    except (tarfile.TarError, ValueError, EOFError, OverflowError) as error:
        raise ShardError(f"{where}: not a whole tar: {error}") from error
    except OSError as error:
        raise ShardError(f"{where}: cannot be read: {error.strerror or error}") from error


def _grouped(members: Iterable[tuple[str, _Member]]) -> Iterator[tuple[str, list[_Member]]]:
    """Yield the members of each sample, which stand side by side."""
    last, group = "", list[_Member]()
    for key, member in members:
        if group and key != last:
            yield last, group
            group = []
        last = key
        group.append(member)
    if group:
        yield last, group


def split_name(name: str) -> tuple[str, str]:
    """Key and suffix of a member, as webdataset splits them: at the first dot after the last slash.

    >>> split_name("a.b/0001.lq0.PNG")
    ('a.b/0001', 'lq0.png')
    """
    folder, slash, file = name.rpartition("/")
    key, _, suffix = file.partition(".")
    return f"{folder}{slash}{key}", suffix.lower()


def is_readable(suffix: str) -> bool:
    """Whether a member with this suffix counts."""
    return suffix == "json" or suffix.rpartition(".")[2] in _IMAGES


def assign_roles(suffixes: Sequence[str], where: str) -> list[int | None]:
    """Which member is the HQ image, the JSON (None where there is none), and each LQ image.

    >>> assign_roles(["json", "lq.jpg", "hq.png"], "a.tar: sample 7")
    [2, 0, 1]

    Raises:
        ShardError: If there is no HQ image, or more than one, or a number of an LQ image is left out.
    """
    images = {suffix: place for place, suffix in enumerate(suffixes) if suffix != "json"}
    named: dict[str, list[int]] = {}
    for suffix, place in images.items():
        named.setdefault(suffix.rpartition(".")[0], []).append(place)
    hq = named.pop("hq", None) or named.pop("", [])
    lq = named.pop("lq", None)
    numbered = {name: places for name, places in named.items() if re.fullmatch(r"lq\d+", name)}
    variants = [lq] if lq else [numbered.get(f"lq{number}", []) for number in range(len(numbered))]
    if len(hq) != 1 or any(len(places) != 1 for places in variants) or len(suffixes) != len(set(suffixes)):
        raise ShardError(
            f"{where}: expected one HQ image, hq.png, and LQ images, lq.png or lq0.png, lq1.png, ... (or jpg, webp); "
            f"it has {', '.join(suffixes)}"
        )
    json_at = suffixes.index("json") if "json" in suffixes else None
    return [hq[0], json_at, *(places[0] for places in variants)]


def plain_info(key: str, text: bytes, variants: int) -> dict[str, Any]:
    """What a sample's JSON says, in the fields of `degrade_kit.shards.Sample.info`, where it is known.

    Args:
        key: Of the sample.
        text: Its JSON; empty where it has none.
        variants: LQ images that it has.

    Raises:
        ShardError: If the JSON is one that `degrade-kit synth` wrote, and damaged or of other LQ images.
    """
    found: object = None
    with contextlib.suppress(ValueError, RecursionError):
        found = decode_json(text)
    fields = cast("dict[str, Any]", found) if isinstance(found, dict) else dict[str, Any]()
    if {"format", "hq_changes", "source_sha256"} <= set(fields):
        info = Sample(key, {"json": text}).info
        if info["variants"] != variants:
            raise ShardError(f"sample {key} has {variants} LQ images, its JSON says {info['variants']}")
        return info
    info: dict[str, Any] = {"source": str(fields.get("source", key)), "variants": variants}
    for number in range(variants):
        info |= {f"lq{number}_tail": ENLARGE, f"lq{number}_target": "[]", f"lq{number}_record": ""}
    return info
