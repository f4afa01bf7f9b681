"""The data set on disk: plain WebDataset tars, a sidecar for each, and a manifest. docs/shards.md is its specification.

Writing is whole or not at all, and the bytes depend on the content alone: headers carry no time and no owner. Reading
decodes images and JSON only, whatever a foreign tar contains, and never unpacks anything to disk.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from degrade_kit.checks import COUNT, Check, Kind, by_name, checked, choice, each, fields
from degrade_kit.degradation import finish, make_target
from degrade_kit.errors import ConfigError, ShardError
from degrade_kit.face_points import FacePoints
from degrade_kit.files import open_regular, parse_json, parse_json_lines, sha256, utf8
from degrade_kit.hq import MAX_SIDE
from degrade_kit.image import Pixels, decode_image
from degrade_kit.record import Record, lq_scale_of, ops_from_json
from degrade_kit.statistics import Statistics
from degrade_kit.store import LocalStore, Store, open_store

FORMAT = 1
"""Version of the shard format; readers refuse a higher one."""

HIDDEN = ".degrade_kit"
"""Sidecars live here: `load_dataset` would take JSON files beside the tars for the data."""

MANIFEST = "manifest.json"
CONFIG = f"{HIDDEN}/config.yaml"
FAILURES = f"{HIDDEN}/failures.jsonl"

GIVEN = "given"
"""Origin of an LQ image that came with its HQ image: no record makes it again."""

LQ_ONLY = "lq_only"
"""Key of the manifest of a data set without HQ images: what it was made of."""
ORIGIN = f"{HIDDEN}/origin.yaml"
"""File of a data set that was made of another one, not by `synth`: that one's digest."""

READABLE = frozenset({"png", "jpg", "webp", "json", "txt"})
"""Extensions of members that are read; all others are ignored and counted."""

MAX_MEMBER_BYTES = 1 << 28
_BLOCK = 512


def shard_name(index: int) -> str:
    """Name of a shard without extension.

    >>> shard_name(12)
    'shard-000012'
    """
    return f"shard-{index:06d}"


def sample_key(index: int) -> str:
    """Write the key of the sample made of the `index`-th source: no dots, where WebDataset would split.

    >>> sample_key(42)
    '000000042'
    """
    return f"{index:09d}"


def check_shard_name(name: str, where: str) -> None:
    """Make sure that a name from a file is one that `shard_name` gives: files are written and deleted by it.

    Raises:
        ShardError: If it is another.
    """
    if not re.fullmatch(r"shard-[0-9]{6,9}", name):
        raise ShardError(f"{where}: {name!r:.80} is not the name of a shard")


def check_key(key: str, where: str) -> None:
    """Make sure that a key from a file is one that `sample_key` gives: files are named by it.

    Raises:
        ShardError: If it is another.
    """
    if len(key) < 9 or not (key.isascii() and key.isdigit()):
        raise ShardError(f"{where}: {key!r:.80} is not the key of a sample: expected nine digits")


@dataclass(frozen=True, slots=True)
class Variant:
    """One LQ image, ready to be stored."""

    data: bytes
    extension: str
    """`png`, `jpg` or `webp`."""
    width: int
    height: int
    """Native size in pixels."""
    origin: str
    """What made it, such as `recipe:gfpgan@fcc2f87a6939`."""
    record: Record
    tail: str
    """JSON list of the operations left to the reader; `[]` where the image is complete."""
    target: str
    """JSON list of the operations that make the training target from the HQ member; usually `[]`."""
    source: SourceNote | None = None
    """Where it came from, if it was given."""


@dataclass(frozen=True, slots=True)
class SourceNote:
    """Where an image came from."""

    name: str
    """Display name of the source."""
    sha256: str
    """Hash of the source file's bytes."""
    changes: str
    """JSON list of what was done to it; see `degrade_kit.hq`."""


def sample_members(
    hq: bytes,
    hq_extension: str,
    size: tuple[int, int],
    source: SourceNote,
    variants: Sequence[Variant],
    points: FacePoints | None = None,
) -> list[tuple[str, bytes]]:
    """List the members of one sample as (extension, bytes), in the order in which they stand in the tar.

    `points` are those of the HQ image, in a data set with landmarks, of which all samples have them.

    The JSON is flat and closed, with the same keys and types in every sample and no nulls: Hugging Face's reader infers
    the columns from the first five samples and silently drops or casts what differs later.
    """
    height, width = size
    fields: dict[str, str | int] = {
        "format": FORMAT,
        "source": source.name,
        "source_sha256": source.sha256,
        "hq_sha256": sha256(hq),
        "hq_changes": source.changes,
        "height": height,
        "width": width,
        "variants": len(variants),
        **(points.to_fields() if points else {}),
    }
    for i, variant in enumerate(variants):
        fields |= {
            f"lq{i}_origin": variant.origin,
            f"lq{i}_height": variant.height,
            f"lq{i}_width": variant.width,
            f"lq{i}_tail": variant.tail,
            f"lq{i}_target": variant.target,
            f"lq{i}_record": variant.record.to_json(),
        }
        if variant.source is not None:
            fields |= {
                f"lq{i}_source": variant.source.name,
                f"lq{i}_source_sha256": variant.source.sha256,
                f"lq{i}_changes": variant.source.changes,
            }
    text = utf8(json.dumps(fields, ensure_ascii=False, separators=(",", ":")))
    images = [(f"lq{i}.{variant.extension}", variant.data) for i, variant in enumerate(variants)]
    return [(f"hq.{hq_extension}", hq), ("json", text), *images]


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """One input that could not be used."""

    source: str
    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sidecar:
    """What is known of one finished shard. Its file is written after the tar: a shard with a sidecar is done."""

    shard: str
    """Name without extension."""
    first: int
    """Number of the first source of the shard; `last` is one past its last."""
    last: int
    count: int
    """Samples in the tar."""
    bytes: int
    sha256: str
    extensions: list[str]
    """Extensions of the members of every sample, in order."""
    index: list[list[Any]]
    """Per sample its key, the offset of its first tar header, and the size of each member in bytes."""
    failures: list[Failure]
    counters: dict[str, int]
    """How many HQ images were passed through, enlarged, cropped and so on."""
    statistics: dict[str, Any]
    """Statistics of the drawn parameters; see `degrade_kit.statistics`."""
    config_sha256: str
    versions: dict[str, str]
    extent: list[int] = field(default_factory=list[int])
    """Least height and width of the HQ images, and greatest, pixels; empty, and not written, where all have one size
    that the configuration gives."""

    def to_json(self) -> bytes:
        """Write the bytes of the sidecar's file."""
        fields = asdict(self)
        if not self.extent:
            del fields["extent"]
        return utf8(json.dumps({"format": FORMAT, **fields}, ensure_ascii=False, separators=(",", ":")))

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Sidecar:
        """Read the bytes of a sidecar's file.

        Raises:
            ShardError: If it is no sidecar of a format known here.
        """
        found = checked(_of_format(data, where), _SIDECAR, where, ShardError)
        check_shard_name(found["shard"], where)
        if unknown := found.keys() - _SIDECAR_FIELDS.keys() - {"extent"}:
            raise ShardError(f"damaged: {where}: unknown field {min(unknown):.80}")
        expected = [str, int, *(int for _ in found["extensions"])]
        for entry in found["index"]:
            # Sums of numbers so large fit into 64 bits.
            if (
                not isinstance(entry, list)
                or [type(part) for part in cast("list[Any]", entry)] != expected
                or not all(part in COUNT for part in cast("list[Any]", entry)[1:])
            ):
                raise ShardError(f"damaged: {where}: not an entry of an index: {entry!r:.80}")
            check_key(cast("list[Any]", entry)[0], where)
        found["failures"] = [
            Failure(source=failure["source"], reason=failure["reason"], detail=failure["detail"])
            for failure in found["failures"]
        ]
        return cls(**found)


FAILURE = fields(dict.fromkeys(("source", "reason", "detail"), str))
"""Check of a failure in a sidecar, and of a line of `FAILURES`."""

_SIDECAR_FIELDS: Mapping[str, Kind] = {
    **dict.fromkeys(("shard", "sha256", "config_sha256"), str),
    **dict.fromkeys(("first", "last", "count", "bytes"), COUNT),
    "extensions": each(str),
    "index": list,
    "failures": each(FAILURE),
    "counters": by_name(COUNT),
    "statistics": dict,
    "versions": by_name(str),
}
_SIDE = range(1, MAX_SIDE + 1)


def _extent(value: Any, key: str) -> list[int]:  # noqa: ANN401 (parsed JSON)
    """Check of the extent of images, which older data sets do not have."""
    found = each(_SIDE)(value, key)
    if len(found) not in (0, 4):
        raise ConfigError(f"{key}: expected four whole numbers, got {found!r:.80}")
    return found


_SIDECAR = fields(_SIDECAR_FIELDS, may={"extent": _extent})


def sidecar_path(shard: str) -> str:
    """Name of the sidecar of a shard inside the store."""
    return f"{HIDDEN}/{shard}.json"


def read_sidecar(store: Store, shard: str) -> Sidecar | None:
    """Read the sidecar of a shard; None if the shard is not done.

    Raises:
        ShardError: If it is damaged, or that of another shard.
    """
    path = sidecar_path(shard)
    try:
        data = read_part(store, path)
    except FileNotFoundError:
        return None
    sidecar = Sidecar.from_json(data, f"{store.url}/{path}")
    if sidecar.shard != shard:
        raise ShardError(f"{store.url}/{path} belongs to another shard: expected {shard}, found {sidecar.shard}")
    return sidecar


def read_failures(store: Store) -> list[dict[str, str]]:
    """Source, reason and detail of each input of a data set that could not be used.

    Raises:
        ShardError: If the list is missing or damaged.
    """
    where = f"{store.url}/{FAILURES}"
    try:
        data = read_part(store, FAILURES)
    except FileNotFoundError as error:
        raise ShardError(f"{where} is missing") from error
    return [
        checked(line, FAILURE, f"{where}, line {number}", ShardError)
        for number, line in parse_json_lines(data, where, ShardError)
    ]


def read_part(store: Store, name: str) -> bytes:
    """Read a file of a data set.

    Raises:
        FileNotFoundError: If there is none.
        ShardError: If there is something else, or it cannot be read.
    """
    try:
        return store.read(name)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(*error.args) from error
    except OSError as error:
        raise ShardError(f"damaged: {store.url}/{name}: cannot be read: {error.strerror or error}") from error


def _of_format(data: bytes, where: str) -> dict[str, Any]:
    """Parse a JSON object of a known format version; returns it without its `format` field."""
    found = parse_json(data, where, ShardError)
    if not isinstance(found, dict):
        raise ShardError(f"damaged: {where}: expected a JSON object, got {found!r:.80}")
    found = cast("dict[str, Any]", found)
    version = found.pop("format", None)
    if version != FORMAT or type(version) is not int:
        raise ShardError(f"{where}: format {version!r:.80} is not the format {FORMAT} of this degrade-kit")
    return found


class ShardWriter:
    """Writes one tar to a scratch file and publishes it when the block ends without an error.

    A shard without samples leaves no tar: readers choke on empty ones.
    """

    def __init__(self, store: Store, shard: str) -> None:
        self._store = store
        self._shard = shard
        self._path = store.scratch(f"{shard}.tar")
        self._file = _HashedFile(self._path)
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 (closed in __exit__)
        self.extensions: list[str] = []
        self.index: list[list[Any]] = []
        self.bytes = 0
        self.sha256 = ""

    def add(self, key: str, members: Sequence[tuple[str, bytes]]) -> None:
        """Append one sample; all samples have the same extensions in the same order."""
        extensions = [extension for extension, _ in members]
        assert self.extensions in ([], extensions), "the member set of a data set is fixed"
        self.extensions = extensions
        self.index.append([key, self._tar.offset, *(len(data) for _, data in members)])
        for extension, data in members:
            info = tarfile.TarInfo(f"{key}.{extension}")  # its defaults carry no time and no owner
            info.size = len(data)
            self._tar.addfile(info, io.BytesIO(data))

    def __enter__(self) -> ShardWriter:
        """Open the scratch file and start writing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Publish, or remove the scratch file."""
        try:
            if kind is None:
                self._tar.close()
                self._file.close()
                if self.index:
                    self.bytes, self.sha256 = self._file.size, self._file.hash.hexdigest()
                    self._store.publish(self._path, f"{self._shard}.tar")
        finally:
            try:
                self._file.close()  # writes what is buffered, which fails on a full disk
            finally:
                self._path.unlink(missing_ok=True)


class _HashedFile(io.RawIOBase):
    """A file for writing that hashes what goes in."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("wb", buffering=1 << 20)
        self.hash = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401 (anything with a buffer)
        self.hash.update(data)
        self.size += len(data)
        return self._stream.write(data)

    def tell(self) -> int:
        return self.size

    def close(self) -> None:
        self._stream.close()
        super().close()


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample as read from a tar, nothing decoded yet."""

    key: str
    members: dict[str, bytes]
    """Bytes by extension, such as `hq.png`; only those in `READABLE`."""
    ignored: tuple[str, ...] = field(default=())
    """Names of members before, within or after it that were not read."""

    @property
    def info(self) -> dict[str, Any]:
        """The content of the sample's JSON.

        Raises:
            ShardError: If it is not what `sample_members` writes.
        """
        where = f"sample {self.key}"
        info = _of_format(self._member("json"), where)
        try:
            _INFO(info, "")
            return _variants_of(info["variants"])(info, "")
        except ConfigError as error:
            raise ShardError(f"damaged: {where}: {error}") from error

    def hq(self) -> Pixels:
        """Decode the HQ image, uint8, shape (height, width, 3)."""
        return decode_image(self.image("hq"), min_side=1).pixels

    def native_lq(self, variant: int) -> Pixels:
        """Decode an LQ image at its native size, uint8."""
        return decode_image(self.image(f"lq{variant}"), min_side=1).pixels

    def record(self, variant: int) -> Record:
        """Read how the LQ image was made.

        Raises:
            ShardError: If the sample has no such variant, or its record is damaged.
        """
        if not 0 <= variant < self.info["variants"]:
            raise ShardError(f"sample {self.key} has variants 0 to {self.info['variants'] - 1}, not {variant}")
        try:
            return Record.from_json(self.info[f"lq{variant}_record"])
        except ValueError as error:
            raise ShardError(f"sample {self.key}: lq{variant}: {error}") from error

    def points(self) -> FacePoints | None:
        """Read the points of the face in the HQ image; None in a data set without landmarks.

        Raises:
            ShardError: If they are damaged.
        """
        try:
            return FacePoints.from_fields(self.info)
        except ValueError as error:
            raise ShardError(f"sample {self.key}: {error}") from error

    def pair(self, variant: int) -> tuple[Pixels, Pixels]:
        """Decode training target and LQ image, uint8, (height, width, 3); LQ may be smaller, as its record says."""
        info = self.info
        try:
            tail = ops_from_json(info[f"lq{variant}_tail"])
            lq_scale = lq_scale_of(info[f"lq{variant}_record"])
        except ValueError as error:
            raise ShardError(f"sample {self.key}: lq{variant}: {error}") from error
        hq, size = self.hq(), (info["height"], info["width"])
        if hq.shape[:2] != size:
            raise ShardError(f"sample {self.key}: the HQ image has shape {hq.shape[:2]}, its JSON says {size}")
        try:
            lq = finish(self.native_lq(variant), tail, size, lq_scale)
        except ValueError as error:
            raise ShardError(f"sample {self.key}: lq{variant}: {error}") from error
        return make_target(self.record(variant), hq), lq

    def image(self, name: str) -> bytes:
        """Return the file of the member `hq` or `lq0`, ... whatever its image format."""
        for extension, data in self.members.items():
            if extension.partition(".")[0] == name and extension != "json":
                return data
        hint = "; `degrade-kit join` puts the HQ images back" if name == "hq" else ""
        raise ShardError(f"sample {self.key}: no image member `{name}`; it has {', '.join(self.members)}{hint}")

    def _member(self, extension: str) -> bytes:
        if extension not in self.members:
            raise ShardError(f"sample {self.key}: no member `{extension}`; it has {', '.join(self.members)}")
        return self.members[extension]


MAX_VARIANTS = 1000
"""LQ images of a sample, at most."""
_INFO = fields(
    {
        **dict.fromkeys(("source", "source_sha256", "hq_sha256", "hq_changes"), str),
        **dict.fromkeys(("height", "width"), _SIDE),
        "variants": range(MAX_VARIANTS + 1),
    }
)
_VARIANT: Mapping[str, Kind] = {
    **dict.fromkeys(("origin", "tail", "target", "record"), str),
    **dict.fromkeys(("height", "width"), _SIDE),
}


@functools.lru_cache(maxsize=8)
def _variants_of(count: int) -> Check[dict[str, Any]]:
    """The check of what a sample's JSON says of so many LQ images."""
    return fields({f"lq{variant}_{name}": kind for variant in range(count) for name, kind in _VARIANT.items()})


def iterate_samples(path: Path) -> Iterator[Sample]:
    """Yield the samples of one tar, in order.

    Args:
        path: A plain tar; compressed ones are refused, since a small file could unpack to any size.

    Raises:
        ShardError: If the tar is cut, damaged or compressed, or a member is there twice; after the samples that come
            before the fault.
    """
    key, members, ignored = "", dict[str, bytes](), list[str]()
    for name, data in iterate_members(path):
        if data is None:
            ignored.append(name)
            continue
        base, _, extension = name.partition(".")
        if base != key and members:
            yield Sample(key, members, tuple(ignored))
            members, ignored = {}, []
        key = base
        if extension in members:
            raise ShardError(f"{path}: two members {name}")
        members[extension] = data
    if members:
        yield Sample(key, members, tuple(ignored))


def iterate_members(path: Path) -> Iterator[tuple[str, bytes | None]]:
    """Yield names and bytes of a tar's members; None for what is no plain file of a kind in `READABLE`."""
    try:
        with open_regular(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                plain = member.isreg() and not member.issparse() and "/" not in member.name
                if not plain or member.name.rpartition(".")[2] not in READABLE or member.size > MAX_MEMBER_BYTES:
                    yield member.name, None
                    continue
                stream = tar.extractfile(member)
                assert stream is not None, "a regular member has a stream"
                yield member.name, stream.read()
            # tarfile ends in silence at a damaged header, and where a tar was cut between two members.
            file.seek(tar.offset)
            if file.read(2 * _BLOCK) != bytes(2 * _BLOCK):
                raise ShardError(f"{path}: cut or damaged: no two empty blocks at byte {tar.offset}, where it ends")
    except (tarfile.TarError, ValueError, EOFError, OverflowError) as error:
        raise ShardError(f"{path}: not a whole tar: {error}") from error
    except OSError as error:
        raise ShardError(f"{path}: cannot be read: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True)
class ShardSet:
    """A data set as its manifest describes it."""

    store: Store
    manifest: Mapping[str, Any]

    @property
    def shards(self) -> list[dict[str, Any]]:
        """Name, count, bytes and sha256 of each shard that has a tar."""
        return self.manifest["shards"]

    @property
    def extent(self) -> tuple[int, ...]:
        """Least height and width of the HQ images, and greatest, pixels; empty where they are not known."""
        size: int = self.manifest.get("size", 0)
        return (size,) * 4 if size else tuple(self.manifest.get("extent", ()))

    def sidecars(self) -> list[Sidecar]:
        """Read all sidecars, in order, those of empty shards too.

        Raises:
            ShardError: If one is missing or altered.
        """
        return [self._sidecar(shard_name(index)) for index in range(self.manifest["num_shards"])]

    def samples(self) -> Iterator[Sample]:
        """Yield every sample, in order.

        Raises:
            ShardError: If a shard is missing, cut or altered in size or number of samples, or has a key that is none.
        """
        for shard in self.shards:
            count = 0
            for sample in iterate_samples(self._local_tar(shard)):
                check_key(sample.key, f"{self.store.url}/{shard['name']}.tar")
                count += 1
                yield sample
            if count != shard["count"]:
                raise ShardError(f"{self.store.url}/{shard['name']}.tar: {count} samples, expected {shard['count']}")

    def sample(self, key: str) -> Sample:
        """Read one sample by its key.

        Raises:
            ShardError: If there is none of that key.
        """
        for shard in self.shards:
            if any(entry[0] == key for entry in self._sidecar(shard["name"]).index):
                for sample in iterate_samples(self._local_tar(shard)):
                    if sample.key == key:
                        return sample
        raise ShardError(f"{self.store.url}: no sample {key!r}; keys are nine digits, such as 000000000")

    def statistics(self) -> Statistics:
        """Merge the statistics of all drawn parameters."""
        merged = Statistics()
        for sidecar in self.sidecars():
            merged.merge(stored_statistics(sidecar, self.store))
        return merged

    def _sidecar(self, shard: str) -> Sidecar:
        sidecar = read_sidecar(self.store, shard)
        if sidecar is None:
            raise ShardError(f"{self.store.url}: no {sidecar_path(shard)}; `degrade-kit verify` says what to do")
        return sidecar

    def _local_tar(self, shard: Mapping[str, Any]) -> Path:
        """Find a local path of a tar, which is as long as it must be."""
        name, size = f"{shard['name']}.tar", self.store.size(f"{shard['name']}.tar")
        if size != shard["bytes"]:
            found = "is missing" if size is None else f"has {size} bytes, expected {shard['bytes']}"
            raise ShardError(f"{self.store.url}/{name} {found}; `degrade-kit verify` says what to do")
        return self.store.local_copy(name)


def open_shards(shards: str | os.PathLike[str]) -> ShardSet:
    """Open a finished data set.

    Args:
        shards: Folder or fsspec URL.

    Raises:
        ShardError: If there is no manifest: the run that makes it has not ended, or this is something else.
    """
    store = open_store(shards)
    try:
        data = read_part(store, MANIFEST)
    except FileNotFoundError as error:
        below = _data_set_below(store)
        raise ShardError(
            f"{store.url}: no {MANIFEST}; there is a data set in {below}"
            if below
            else f"{store.url}: no {MANIFEST}. It is written last: run the `degrade-kit synth` command again to finish "
            "the data set, or check the path"
        ) from error
    where = f"{store.url}/{MANIFEST}"
    manifest = checked(_of_format(data, where), _MANIFEST_CHECK, where, ShardError)
    for entry in manifest["shards"]:
        check_shard_name(entry["name"], where)
    if manifest.get("mode", "onthefly") != "onthefly" and "flipnet" not in manifest:
        raise ShardError(
            f"damaged: {where}: field flipnet: expected text, since LQ images are of a FlipNet, found none"
        )
    return ShardSet(store, manifest)


def stored_statistics(sidecar: Sidecar, store: Store) -> Statistics:
    """The statistics of a shard's drawn parameters.

    Raises:
        ShardError: If its sidecar says something else there.
    """
    try:
        return Statistics.from_plain(sidecar.statistics)
    except ConfigError as error:
        where = f"{store.url}/{sidecar_path(sidecar.shard)}"
        raise ShardError(f"damaged: {where}: statistics: {error}") from error


def _data_set_below(store: Store) -> str:
    """A data set in a folder of a local one that is none itself; empty if there is none."""
    if not isinstance(store, LocalStore):
        return ""
    return next((str(path.parent) for path in sorted(Path(store.url).glob(f"*/{MANIFEST}"))), "")


_LISTED = {"name": str, "count": COUNT, "bytes": COUNT, "sha256": str}
_MANIFEST_CHECK = fields(
    {
        **dict.fromkeys(("recipe", "recipe_digest", "config_sha256", "digest"), str),
        "lq_size": choice(("native", "full")),
        **dict.fromkeys(("num_sources", "num_skipped", "num_failures", "num_samples", "bytes"), COUNT),
        "num_shards": range(1_000_001),
        "variants": range(MAX_VARIANTS + 1),
        "seed": range(1 << 63),
        "size": range(MAX_SIDE + 1),
        "extensions": each(str),
        "shards": each(fields(_LISTED)),
        "versions": fields({"degrade_kit": str}),
    },
    may={
        "mode": choice(("onthefly", "flipnet", "mix")),
        "flipnet": str,
        "extent": _extent,
        "left_out": by_name(COUNT),
        LQ_ONLY: fields({"digest": str, "extensions": each(str), "shards": each(fields(_LISTED))}),
    },
)


def manifest_bytes(sidecars: Sequence[Sidecar], extra: Mapping[str, Any]) -> bytes:
    """Write the manifest of finished shards; a function of their content alone."""
    full = [sidecar for sidecar in sidecars if sidecar.count]
    fields: dict[str, Any] = {
        "format": FORMAT,
        **extra,
        "num_shards": len(sidecars),
        "num_samples": sum(sidecar.count for sidecar in full),
        "num_failures": sum(len(sidecar.failures) for sidecar in sidecars),
        "bytes": sum(sidecar.bytes for sidecar in full),
        "extensions": full[0].extensions if full else [],
        **({"extent": _joint_extent(full)} if full and all(sidecar.extent for sidecar in full) else {}),
        "digest": sha256("".join(sidecar.sha256 for sidecar in full)),
        "shards": [
            {"name": sidecar.shard, "count": sidecar.count, "bytes": sidecar.bytes, "sha256": sidecar.sha256}
            for sidecar in full
        ],
    }
    return utf8(json.dumps(fields, ensure_ascii=False, indent=1))


def _joint_extent(sidecars: Sequence[Sidecar]) -> list[int]:
    heights, widths, most_heights, most_widths = zip(*(sidecar.extent for sidecar in sidecars), strict=True)
    return [min(heights), min(widths), max(most_heights), max(most_widths)]


def extent_of(sizes: Sequence[tuple[int, int]]) -> list[int]:
    """Least height and width of some sizes, and greatest; see `Sidecar.extent`.

    >>> extent_of([(64, 48), (32, 96)])
    [32, 48, 64, 96]
    """
    if not sizes:
        return []
    heights, widths = zip(*sizes, strict=True)
    return [min(heights), min(widths), max(heights), max(widths)]


def has_tar(store: Store, sidecar: Sidecar) -> bool:
    """Whether the tar is there; a shard without samples has none."""
    return not sidecar.count or store.size(f"{sidecar.shard}.tar") == sidecar.bytes
