"""Random access to the pairs of a data set: where each member lies is in the sidecars, so no tar is ever walked.

Only members that the index names are read, only images and JSON are decoded, and each member's tar header is compared
with the index before its bytes are believed. Images here are pixels, HWC, RGB, uint8; see `degrade_kit.image`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import json
import os
import resource
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from degrade_kit.degradation import finish, make_lq, make_target
from degrade_kit.errors import ConfigError, ImageError, ShardError
from degrade_kit.face_points import FacePoints
from degrade_kit.files import NO_LOCKS, file_sha256, local_path, regular_descriptor, sha256, sweep_scratch, whole_file
from degrade_kit.image import Pixels, decode_image
from degrade_kit.network_ops import Network
from degrade_kit.ops import LensDistortion, Op, Shift
from degrade_kit.plain_shards import PlainTars, find_tars, index_tar, plain_info
from degrade_kit.record import Record, lq_scale_of, ops_from_json
from degrade_kit.record_severity import severity
from degrade_kit.shards import LQ_ONLY, MAX_MEMBER_BYTES, READABLE, Sample, ShardSet, Sidecar, open_shards
from degrade_kit.step_base import NOMINAL_SIDE
from degrade_kit.store import LocalStore, Store, open_store

_BLOCK = 512
_MAX_OPEN = 256
"""Tars that a process keeps open, at most; see `_most_open`."""

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RawPair:
    """What is stored of a pair, nothing decoded but the JSON."""

    key: str
    where: str
    """Shard and key, for messages."""
    info: dict[str, Any]
    hq: bytes
    lq: bytes
    """Empty where no variant was asked for."""


def caption_of(raw: RawPair, captions: Mapping[str, str] | None) -> str | None:
    """Find the caption of an HQ image by the SHA-256 of its source; None where nobody has asked for captions.

    Raises:
        ShardError: If it has none.
    """
    if captions is None:
        return None
    digest = raw.info.get("source_sha256", "")
    if digest not in captions:
        raise ShardError(
            f"{raw.where}: no caption of its source {raw.info['source']}; `degrade-kit caption` makes them"
        )
    return captions[digest]


@dataclass(frozen=True, slots=True)
class LoadedPair:
    """A pair, ready for a trainer."""

    hq: Pixels
    """The training target."""
    lq: Pixels
    """Of the same size, or `lq_scale` times smaller."""
    record: str
    """How `lq` was made, as JSON."""
    key: str
    source: str
    """Name of the HQ image's source."""
    variant: int
    """Number of the stored LQ image, -1 where it was made on the fly."""
    points: FacePoints | None = None
    """Points of the face in `hq`; None in a data set without landmarks, or where nobody has asked for them."""

    @property
    def lq_scale(self) -> int:
        """How many times smaller than HQ the LQ image is."""
        return self.hq.shape[0] // self.lq.shape[0]


def side_of(info: Mapping[str, Any]) -> int:
    """Shorter side of a sample's HQ image, pixels, as its JSON says; 512 where it does not, as in foreign tars."""
    return min(int(info.get(name, NOMINAL_SIDE)) for name in ("height", "width"))


class PairReader:
    """A data set, open for reading pairs by their number.

    It may be pickled, and copied by a fork.

    Args:
        shards: Folder or fsspec URL of a finished data set; or plain tars, see `degrade_kit.plain_shards`: a folder or
            URL of them, one of them, or a brace pattern such as `shards/{000000..000010}.tar`.
        cache_dir: Where whole shards are kept that come from a URL. Shards of many data sets may share it, and many
            processes: each shard is fetched once, checked by its hash and put in place at once.
        verify: Whether to compare the hash of each local shard now; that of a fetched shard is always compared. Plain
            tars have none.

    Raises:
        ShardError: If a sidecar is missing or does not fit its shard, or a shard has another size.
    """

    def __init__(
        self, shards: str | os.PathLike[str], *, cache_dir: str | os.PathLike[str] | None = None, verify: bool = False
    ) -> None:
        plain = find_tars(shards)
        self._store: Store = open_store(shards) if plain is None else plain.store
        self.url = self._store.url
        if not isinstance(self._store, LocalStore) and cache_dir is None:
            raise ConfigError(
                f"{self._store.url}: shards that are not local need `cache_dir`, a folder to keep them in"
            )
        self._cache = None if cache_dir is None else local_path(cache_dir)
        self._plain = plain is not None
        self._open: OrderedDict[int, _OpenTar] = OrderedDict()  # by number of the shard, the least recently used first
        self._shards: list[dict[str, Any]]
        self.num_variants: int
        """LQ images of each sample."""
        self.digest: str
        """Id of the data set."""
        self.size: int
        """Side of the HQ images, pixels; 0 where each has its own."""
        self.extent: tuple[int, ...] = ()
        """Least height and width of the HQ images, and greatest, pixels; empty where they are not known."""
        if plain is None:
            self._read_manifest(open_shards(shards))
        else:
            self._read_tars(plain)
        self.shard_sizes: list[int] = [shard["count"] for shard in self._shards]
        """Number of samples in each shard."""
        self._shard_ends = np.cumsum(self.shard_sizes)
        if isinstance(self._store, LocalStore):
            for shard in self._shards:
                check_tar(self._store.root / f"{shard['name']}.tar", shard, hash_it=verify)

    def _read_manifest(self, shards: ShardSet) -> None:
        """Find the members of a data set of this toolkit."""
        self.num_variants, self.digest = shards.manifest["variants"], shards.manifest["digest"]
        self.size = shards.manifest["size"]
        self.extent = shards.extent
        self._shards = shards.shards
        self._members = _ordered(shards)
        self._hq_extensions = [member.partition(".")[2] for member in self._members[:1]]
        self._keys, self._starts, self._sizes = _index(shards)

    def _read_tars(self, plain: PlainTars) -> None:
        """Find the members of plain tars."""
        self._shards = [
            {"name": name.removesuffix(".tar"), "bytes": self._store.size(name), "sha256": ""} for name in plain.names
        ]
        indices = [
            index_tar(self._local_path(number), f"{self._store.url}/{name}", self._cache)
            for number, name in enumerate(plain.names)
        ]
        widths = {index.starts.shape[1] for index in indices}
        if len(widths) > 1:
            few, *_, many = sorted(width - 2 for width in widths)
            raise ShardError(f"{self._store.url}: samples have {few} to {many} LQ images; each needs equally many")
        for shard, index in zip(self._shards, indices, strict=True):
            shard["count"] = len(index.keys)
        self.num_variants, self.size = widths.pop() - 2, 0
        self._members = ["hq", "json", *(f"lq{variant}" for variant in range(self.num_variants))]
        self._hq_extensions = sorted({extension for index in indices for extension in index.extensions})
        self._keys = np.concatenate([index.keys for index in indices])
        self._starts = np.concatenate([index.starts for index in indices])
        self._sizes = np.concatenate([index.sizes for index in indices])
        described = [(shard["name"], shard["bytes"]) for shard in self._shards], self._sizes.tolist()
        self.digest = sha256(json.dumps(described).encode() + b"".join(self._keys.tolist()))

    @property
    def hq_extension(self) -> str:
        """Format of the HQ files: `png`, `jpg` or `webp`.

        Raises:
            ConfigError: If they have several, which plain tars may.
        """
        if len(self._hq_extensions) > 1:
            formats = ", ".join(self._hq_extensions)
            raise ConfigError(f"{self._store.url}: the HQ images have several formats: {formats}")
        return self._hq_extensions[0]

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def keys(self) -> list[str]:
        """Of the samples, in order."""
        return [key.decode("utf-8", "surrogateescape") for key in self._keys.tolist()]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    def read(self, index: int, variant: int | None) -> RawPair:
        """Read a sample's HQ file, its JSON and one LQ file.

        Args:
            index: Number of the sample in the data set.
            variant: Number of the LQ image, None for no LQ image.

        Raises:
            ShardError: If the shard is missing, cut or altered.
        """
        members = [0, 1] if variant is None else [0, 1, 2 + variant]
        key, where, info, (hq, _, *lq) = self._read(index, members)
        return RawPair(key, where, info, hq, lq[0] if lq else b"")

    def _read(self, index: int, members: list[int]) -> tuple[str, str, dict[str, Any], list[bytes]]:
        """Read members of a sample, its JSON (1) among them: its key, its place for messages, the JSON, and all."""
        shard = int(np.searchsorted(self._shard_ends, index, side="right"))
        key = self._keys[index].decode("utf-8", "surrogateescape")
        where = f"{self._store.url}/{self._shards[shard]['name']}.tar: sample {key}"
        try:
            data = self._members_of(shard, index, members, key, where)
        except OSError as error:
            raise ShardError(f"{where}: cannot be read: {error.strerror or error}") from error
        text = data[members.index(1)]
        try:
            info = plain_info(key, text, self.num_variants) if self._plain else Sample(key, {"json": text}).info
        except ShardError as error:
            raise ShardError(f"{where}: {error}") from error
        if info["variants"] != self.num_variants:
            raise ShardError(f"{where}: {info['variants']} variants, expected {self.num_variants}")
        return key, where, info, data

    def severities(self) -> npt.NDArray[np.float64]:
        """Compute the severity of every stored LQ image, shape (samples, variants); reads all samples' JSON.

        Raises:
            ConfigError: If a sample has no record, as those of foreign tars have none.
            ShardError: If a shard is missing, cut or altered.
        """
        found = np.zeros((len(self), self.num_variants))
        for index in range(len(self)):
            _, where, info, _ = self._read(index, [1])
            for variant in range(self.num_variants):
                try:
                    found[index, variant] = severity(Record.from_json(info[f"lq{variant}_record"]), side_of(info))
                except ValueError as error:
                    raise ConfigError(f"severity: {where}: lq{variant} has no record: {error}") from error
        return found

    @staticmethod
    def stored_pair(raw: RawPair, variant: int, lq_scale: int | None = None) -> LoadedPair:
        """The pair of a stored LQ image, equal to `Sample.pair`.

        Args:
            raw: From `read`.
            variant: Number of the LQ image.
            lq_scale: How many times smaller than HQ it becomes; see `degrade_kit.degradation.finish`. None: as its
                record says, which for most is 1.

        Raises:
            ShardError: If anything of it is damaged, or HQ's size is no multiple of `lq_scale`.
        """
        hq = PairReader.decode_hq(raw)
        if lq_scale is None:
            lq_scale = PairReader.lq_scale_of(raw, variant)
        lq = PairReader.finish_lq(raw, PairReader.decode_lq(raw), variant, lq_scale)
        record = raw.info[f"lq{variant}_record"]
        if raw.info[f"lq{variant}_target"] != "[]":
            try:
                hq = make_target(Record.from_json(record), hq)
            except ValueError as error:
                raise ShardError(f"{raw.where}: lq{variant}: {error}") from error
        return LoadedPair(hq, lq, record, raw.key, raw.info["source"], variant)

    @staticmethod
    def lq_scale_of(raw: RawPair, variant: int) -> int:
        """How many times smaller than HQ an LQ image is by its record; 1 for most.

        Raises:
            ShardError: If its record is damaged.
        """
        try:
            return lq_scale_of(raw.info[f"lq{variant}_record"])
        except ValueError as error:
            raise ShardError(f"{raw.where}: lq{variant}: {error}") from error

    @staticmethod
    def fresh_pair(
        raw: RawPair, record: Record, network: Network | None = None, lq_scale: int | None = None
    ) -> LoadedPair:
        """A pair with an LQ image that is made now; a network does the steps of a FlipNet, where there are any.

        Raises:
            ShardError: As `stored_pair`.
        """
        hq = PairReader.decode_hq(raw)
        try:
            lq = make_lq(record, hq, network, lq_scale or record.lq_scale)
        except ValueError as error:
            raise ShardError(f"{raw.where}: {error}") from error
        return LoadedPair(make_target(record, hq), lq, record.to_json(), raw.key, raw.info["source"], -1)

    @staticmethod
    def points_of(raw: RawPair, target: str) -> FacePoints:
        """The points of the face in a pair's training target.

        Args:
            raw: From `read`.
            target: JSON list of what makes the target of the HQ image, which may shift or bend it.

        Raises:
            ShardError: If it has none, or they are damaged.
        """
        try:
            found = FacePoints.from_fields(raw.info)
            moves = [op for op in _tail(target) if isinstance(op, (Shift, LensDistortion))]
        except ValueError as error:
            raise ShardError(f"{raw.where}: {error}") from error
        if found is None:
            raise ShardError(
                f"{raw.where}: no landmarks; make the data set with `synth --landmarks`, of what `align` found"
            )
        for op in moves:
            if isinstance(op, Shift):
                found = found.moved(op.right, op.down)
            else:
                if "height" not in raw.info:
                    PairReader.decode_hq(raw)
                found = found.bent(op, raw.info["height"], raw.info["width"])
        return found

    @staticmethod
    def decode_hq(raw: RawPair) -> Pixels:
        """The HQ image, of the size that the JSON gives, if it does."""
        hq = _decode(raw.hq, raw.where, "HQ image")
        height, width = raw.info.setdefault("height", hq.shape[0]), raw.info.setdefault("width", hq.shape[1])
        if hq.shape[:2] != (height, width):
            raise ShardError(
                f"{raw.where}: the HQ image has {hq.shape[0]} x {hq.shape[1]} pixels, its JSON says {height} x {width}"
            )
        return hq

    @staticmethod
    def decode_lq(raw: RawPair) -> Pixels:
        """The LQ image at its native size."""
        return _decode(raw.lq, raw.where, "LQ image")

    @staticmethod
    def finish_lq(raw: RawPair, native: Pixels, variant: int, lq_scale: int = 1) -> Pixels:
        """The LQ image at its full size, or so many times smaller."""
        if "height" not in raw.info:
            PairReader.decode_hq(raw)
        size = raw.info["height"], raw.info["width"]
        try:
            lq = finish(native, _tail(raw.info[f"lq{variant}_tail"]), size, lq_scale)
        except ValueError as error:
            raise ShardError(f"{raw.where}: lq{variant}: {error}") from error
        if (lq.shape[0] * lq_scale, lq.shape[1] * lq_scale) != size:
            raise ShardError(f"{raw.where}: lq{variant} has {lq.shape[0]} x {lq.shape[1]} pixels when finished")
        return lq

    def _member(self, descriptor: int, index: int, member: int, key: str, where: str) -> bytes:
        start, size = int(self._starts[index, member]), int(self._sizes[index, member])
        if start < 0:  # plain tars need no JSON
            return b""
        name = f"{key}.{self._members[member]}"
        header = os.pread(descriptor, _BLOCK, start - _BLOCK)
        # The file type 0 is a regular file: no link, no device, nothing sparse.
        if self._plain:  # whose writers have ways of their own, and put long names before this header
            written = header[124:136].strip(b" \0").lstrip(b"0") or b"0"
            known = written == b"%o" % size and header[156:157] in (b"0", b"\0")
        else:
            exact = header[:100].rstrip(b"\0") == name.encode() and header[124:136] == b"%011o\0" % size
            known = exact and header[156:157] == b"0"
        if not known:
            raise ShardError(
                f"{where}: expected {name} of {size} bytes at byte {start}, where its tar has something else"
            )
        data = os.pread(descriptor, size, start)
        if len(data) != size:
            raise ShardError(f"{where}: the tar ends within {name}, after {len(data)} of {size} bytes")
        return data

    def _members_of(self, shard: int, index: int, members: list[int], key: str, where: str) -> list[bytes]:
        """Read members of a sample; once more from the file's name where a network file system lost its handle."""
        for attempt in range(2):
            tar = self._tar(shard)
            try:
                return [self._member(tar.descriptor, index, member, key, where) for member in members]
            except OSError as error:
                self._open.pop(shard, None)
                if error.errno != errno.ESTALE or attempt:
                    raise
        raise AssertionError

    def _tar(self, shard: int) -> _OpenTar:
        """An open shard. Reads with a place of their own share it among threads and forks."""
        tar = self._open.get(shard)
        if tar is not None:
            with contextlib.suppress(KeyError):  # another thread closed it just now; this one holds it still
                self._open.move_to_end(shard)
            return tar
        path = self._local_path(shard)
        check_tar(path, self._shards[shard])
        while True:
            try:
                self._open[shard] = tar = _OpenTar(path)
                break
            except OSError as error:
                # The rest of the process has more files open than was left for it.
                if error.errno != errno.EMFILE or not self._forget_oldest():
                    raise
        while len(self._open) > _most_open() and self._forget_oldest():
            pass
        return tar

    def _forget_oldest(self) -> bool:
        """Close the tar that was not used for the longest time; False where none is open."""
        with contextlib.suppress(KeyError):
            self._open.popitem(last=False)
            return True
        return False

    def _local_path(self, shard: int) -> Path:
        entry = self._shards[shard]
        name = f"{entry['name']}.tar"
        if isinstance(self._store, LocalStore):
            return self._store.root / name
        assert self._cache is not None
        # Of a plain tar, where it comes from stands for its hash.
        digest = entry["sha256"] or sha256(f"{self._store.url}/{name} {entry['bytes']}".encode())
        path = self._cache / f"{Path(entry['name']).name}-{digest[:16]}.tar"
        self._cache.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_suffix(".lock")):
            if not path.exists():
                _fetch(self._store, name, path, entry)
        return path


class _OpenTar:
    """A file that is open until nobody holds it any more, so that no thread loses it while it reads."""

    __slots__ = ("descriptor",)

    def __init__(self, path: Path) -> None:
        self.descriptor = regular_descriptor(path)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # modules are gone when Python ends
        if hasattr(self, "descriptor"):
            close(self.descriptor)


def _most_open() -> int:
    """Tars that a reader keeps open: a quarter of the files that this process may open, which has others to open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MAX_OPEN if limit == resource.RLIM_INFINITY else max(1, min(_MAX_OPEN, limit // 4))


@contextlib.contextmanager
def _locked(path: Path) -> Generator[None]:
    """Hold a lock that processes of this machine and, where the file system can, of others share.

    Without locks two of them may fetch one shard twice; each puts it in place whole.
    """
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        yield


def _fetch(store: Store, name: str, path: Path, entry: dict[str, Any]) -> None:
    """Copy a shard to its place in the cache, whole and checked or not at all."""
    sweep_scratch(path.parent)
    try:
        with whole_file(path) as scratch:
            store.download(name, scratch)
            check_tar(scratch, entry, hash_it=True, where=f"{store.url}/{name}")
    except FileNotFoundError as error:
        raise ShardError(f"{store.url}/{name} is missing; `degrade-kit verify` says what to do") from error


def check_tar(path: Path, entry: dict[str, Any], *, hash_it: bool = False, where: str | None = None) -> None:
    """Compare a tar with its entry in the manifest: its size, and its hash if asked for and known.

    Raises:
        ShardError: If it is missing or another one; `where` names it, in place of its path.
    """
    where = where or str(path)
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise ShardError(f"{where} is missing; `degrade-kit verify` says what to do") from error
    if size != entry["bytes"]:
        raise ShardError(f"{where} has {size} bytes, expected {entry['bytes']}; `degrade-kit verify` says what to do")
    if not path.is_file():
        raise ShardError(f"{where}: expected a regular file")
    if hash_it and entry["sha256"]:
        found = file_sha256(path)
        if found != entry["sha256"]:
            raise ShardError(f"{where}: its hash is {found[:16]}..., expected {entry['sha256'][:16]}...")


def _ordered(shards: ShardSet) -> list[str]:
    """Extensions of the members: HQ, JSON and the LQ images, as `sample_members` has them.

    Raises:
        ShardError: If the manifest names anything else.
    """
    extensions, variants = shards.manifest["extensions"], shards.manifest["variants"]
    if LQ_ONLY in shards.manifest:
        raise ShardError(f"{shards.store.url} has LQ images alone; `degrade-kit join` puts the HQ images back")
    names = [str(extension).partition(".") for extension in extensions]
    expected = ["hq", "json", *(f"lq{variant}" for variant in range(variants))] if extensions else []
    kinds = READABLE - {"json", "txt"}
    if [name for name, _, _ in names] != expected or any(
        kind not in kinds for name, _, kind in names if name != "json"
    ):
        raise ShardError(f"{shards.store.url}: a sample has the members {extensions}; expected images as {expected}")
    return extensions


def _index(shards: ShardSet) -> tuple[npt.NDArray[np.bytes_], Numbers, Numbers]:
    """Key, start and size of each member of each sample."""
    sidecars = {sidecar.shard: sidecar for sidecar in shards.sidecars()}
    members = len(shards.manifest["extensions"])
    keys, starts, sizes = [np.zeros(0, "S9")], [np.zeros((0, members), np.int64)], [np.zeros((0, members), np.int64)]
    for entry in shards.shards:
        where = f"{shards.store.url}/{entry['name']}.tar"
        sidecar = sidecars.get(entry["name"])
        if sidecar is None:
            raise ShardError(f"{where}: listed in the manifest, but it has no sidecar")
        _check_sidecar(sidecar, entry, shards.manifest["extensions"], where)
        try:
            numbers = np.array([row[1:] for row in sidecar.index], np.int64)
        except OverflowError as error:
            raise ShardError(f"{where}: its index has numbers beyond 64 bits") from error
        keys.append(np.array([row[0].encode() for row in sidecar.index], np.bytes_))
        sizes.append(numbers[:, 1:])
        starts.append(_member_starts(numbers, entry["bytes"], where))
    if len(np.unique(every := np.concatenate(keys))) != len(every):
        raise ShardError(f"{shards.store.url}: some samples have the same key")
    return every, np.concatenate(starts), np.concatenate(sizes)


def _check_sidecar(sidecar: Sidecar, entry: dict[str, Any], extensions: list[str], where: str) -> None:
    expected = entry["count"], entry["bytes"], entry["sha256"], extensions
    if (sidecar.count, sidecar.bytes, sidecar.sha256, sidecar.extensions) != expected:
        raise ShardError(f"{where}: its sidecar does not fit the manifest; `degrade-kit verify` says what to do")
    if not sidecar.count == len(sidecar.index) > 0:
        raise ShardError(f"{where}: its index has {len(sidecar.index)} samples, expected {sidecar.count}")


def _member_starts(numbers: Numbers, size: int, where: str) -> Numbers:
    """First byte of each member's data, of rows of a sample's first header and its members' sizes."""
    offsets, sizes = numbers[:, 0], numbers[:, 1:]
    if sizes.min() < 0 or sizes.max() > MAX_MEMBER_BYTES:
        raise ShardError(f"{where}: its index has a member of {sizes.min()} or {sizes.max()} bytes")
    spans = _BLOCK - (-sizes // _BLOCK) * _BLOCK
    ends = offsets + spans.sum(axis=1)
    # Samples stand one behind the other from the first byte on, and two empty blocks follow.
    if offsets[0] != 0 or (offsets[1:] != ends[:-1]).any() or ends[-1] + 2 * _BLOCK > size:
        raise ShardError(f"{where}: its index does not fit a tar of {size} bytes; `degrade-kit verify` says what to do")
    return offsets[:, None] + np.cumsum(spans, axis=1) - spans + _BLOCK


def _decode(data: bytes, where: str, name: str) -> Pixels:
    try:
        return decode_image(data, min_side=1).pixels
    except ImageError as error:
        raise ShardError(f"{where}: {name}: {error}") from error


@functools.lru_cache(maxsize=1024)
def _tail(text: str) -> tuple[Op, ...]:
    """Operations; nearly all samples of a data set have the same few."""
    return ops_from_json(text)
