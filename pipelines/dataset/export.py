"""`degrade-kit export`: shards in the forms that trainers without a reader for them take.

All forms have one HQ and one LQ image, of one size unless LQ is to be smaller, under one name for each pair: paired
folders, BasicSR's pair of LMDB databases, and Parquet files for Hugging Face's `datasets`. HQ files are the stored
ones, byte by byte, unless the recipe changes the target. `degrade_kit.pipelines.dataset.lq_only` writes shards without
HQ images.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import resource
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from degrade_kit.errors import ConfigError, RunError
from degrade_kit.files import publish, scratch_path, sweep_scratch, whole_file, whole_folder, write_whole
from degrade_kit.image import encode_png
from degrade_kit.pipelines.claim import Claim
from degrade_kit.pipelines.effort import DECODE_SECONDS, ENCODE_SECONDS, Effort, megapixels, seconds_each, spread
from degrade_kit.progress import OnProgress, Progress, silent
from degrade_kit.reader import PairReader
from degrade_kit.shards import HIDDEN, open_shards
from degrade_kit.store import LocalStore, open_store
from degrade_kit.wording import human_bytes

RECORDS = "records.jsonl"
"""Written last: one line for each pair, with its name, source, what made the LQ image, and its record."""
SETTINGS = f"{HIDDEN}/export.yaml"
"""What is exported: an output with it may be exported to again, and is finished if a run was stopped."""

_MAP_BYTES = 1 << 40
"""LMDB reserves so many addresses for each database; the file grows as it is written."""
_COMMIT_EVERY = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig:
    """What to write, and in which form."""

    shards: str
    out: Path
    to: Literal["folder", "lmdb", "parquet"] = "folder"
    variant: int | None = None
    """Number of the LQ image, None for all."""
    lq_scale: int | None = None
    """How many times smaller than HQ the LQ images are; see `degrade_kit.degradation.finish`. None: as their recipe
    says, which for most is 1."""
    cache_dir: Path | None = None
    """Where whole shards are kept that come from a URL."""


@dataclass(frozen=True, slots=True)
class ExportedPair:
    """One pair, as files."""

    name: str
    """The key, and behind an underscore the variant where all are exported."""
    hq: bytes
    hq_extension: str
    lq: bytes
    """PNG."""
    sizes: dict[str, tuple[int, int]]
    """Height and width of each side."""
    note: dict[str, str]
    """Line of the image in `RECORDS`."""


def export(config: ExportConfig, progress: OnProgress = silent) -> int:
    """Write all pairs; returns their number.

    Run it again after an interruption: the same files are written again.

    Raises:
        ConfigError: If there is no such variant, or the output is inside the data set.
        RunError: If lmdb or pyarrow is needed and not installed, or the output holds something else.
        ShardError: If a shard is missing, cut or altered.
    """
    reader, variants = _check(config)
    store = LocalStore(config.out)
    with _claim(config, reader).taken(store, named=reader.keys if config.to == "folder" else ()):
        return _export(config, reader, variants, store, progress)


def _export(
    config: ExportConfig, reader: PairReader, variants: Sequence[int], store: LocalStore, progress: OnProgress
) -> int:
    """Write all pairs, in a folder that is this run's."""
    total = len(reader) * len(variants)
    pairs = _pairs(reader, variants, config.lq_scale, named=config.variant is None)
    write = {"folder": _to_folder, "lmdb": _to_lmdb, "parquet": _to_parquet}[config.to]
    with whole_file(store.target(RECORDS)) as scratch, scratch.open("w", encoding="utf-8") as file:
        for done, pair in enumerate(write(pairs, store), 1):
            file.write(json.dumps({"name": pair.name, **pair.note}, ensure_ascii=False) + "\n")
            progress(Progress(noun="pair", done=done, total=total))
    return total


def plan_export(config: ExportConfig) -> tuple[int, float, Effort]:
    """Find all that would stop `export` before its work; write nothing.

    Returns:
        The number of pairs, the bytes that they take, and what it takes to write them: as some of them tell or, so that
        no shard need be fetched from a URL, as the data set's size does.

    Raises:
        ConfigError: As `export`.
        RunError: As `export`, or if the folder cannot be written to.
        ShardError: As `export`.
    """
    reader, variants = _check(config)
    total = len(reader) * len(variants)
    sizes: list[int] = []
    store = open_store(config.shards)
    if not isinstance(store, LocalStore):
        manifest = open_shards(config.shards).manifest
        area = total * megapixels(manifest["size"])
        effort = Effort(seconds=(2 * DECODE_SECONDS + ENCODE_SECONDS) * area, tasks=1)
        return total, manifest["bytes"] + 1e6 * area, effort  # a PNG has about a byte for each pixel

    def make(number: int) -> None:
        pair = _pair(reader, number // len(variants), variants[number % len(variants)], config.lq_scale, named=True)
        # In folders all LQ images of a face share its HQ file.
        copies = len(variants) if config.to == "folder" else 1
        sizes.append(len(pair.hq) // copies + len(pair.lq))

    seconds = seconds_each(spread(total, 8), make)
    mean = sum(sizes) / max(len(sizes), 1)
    return total, mean * total, Effort(seconds=seconds * total, tasks=1)


def _check(config: ExportConfig) -> tuple[PairReader, Sequence[int]]:
    """Open the data set, and make sure that its pairs can be written; returns the variants to write, too."""
    reader = PairReader(config.shards, cache_dir=config.cache_dir)
    if config.lq_scale is not None and config.lq_scale < 1:
        raise ConfigError(f"lq_scale: expected 1, 2, 4 or another whole number, got {config.lq_scale}")
    if config.variant is not None and not 0 <= config.variant < reader.num_variants:
        raise ConfigError(f"variant: expected 0 to {reader.num_variants - 1}, got {config.variant}")
    _claim(config, reader).check(LocalStore(config.out))
    package = {"folder": None, "lmdb": "lmdb", "parquet": "pyarrow"}[config.to]
    if package is not None and importlib.util.find_spec(package) is None:
        raise RunError(f"exporting to {config.to} needs {package}: pip install 'degrade-kit[{config.to}]'")
    return reader, range(reader.num_variants) if config.variant is None else [config.variant]


def _claim(config: ExportConfig, reader: PairReader) -> Claim:
    variant = "all" if config.variant is None else config.variant
    return Claim(
        what="an export",
        file=SETTINGS,
        resolved={"digest": reader.digest, "to": config.to, "variant": variant, "lq_scale": config.lq_scale},
        inputs=[("SHARDS", config.shards)],
        results=[RECORDS, "data/train-*.parquet"],
    )


def _pairs(reader: PairReader, variants: Sequence[int], lq_scale: int | None, *, named: bool) -> Iterator[ExportedPair]:
    for index in range(len(reader)):
        for variant in variants:
            yield _pair(reader, index, variant, lq_scale, named=named)


def _pair(reader: PairReader, index: int, variant: int, lq_scale: int | None, *, named: bool) -> ExportedPair:
    raw = reader.read(index, variant)
    pair = reader.stored_pair(raw, variant, lq_scale)
    changed = raw.info[f"lq{variant}_target"] != "[]"
    return ExportedPair(
        f"{pair.key}_{variant}" if named else pair.key,
        encode_png(pair.hq) if changed else raw.hq,
        "png" if changed else reader.hq_extension,
        encode_png(pair.lq),
        {side: (pixels.shape[0], pixels.shape[1]) for side, pixels in (("hq", pair.hq), ("lq", pair.lq))},
        {
            "source": pair.source,
            "source_sha256": raw.info.get("source_sha256", ""),  # plain tars may not say
            "origin": raw.info.get(f"lq{variant}_origin", ""),
            "record": pair.record,
        },
    )


def _to_folder(pairs: Iterator[ExportedPair], out: LocalStore) -> Iterator[ExportedPair]:
    """`hq/NAME.EXT` and `lq/NAME.png`; the HQ files of one sample are one file by several names."""
    for side in ("hq", "lq"):
        sweep_scratch(out.root / side)
    last: tuple[Path, bytes] | None = None
    for pair in pairs:
        path = out.target(f"hq/{pair.name}.{pair.hq_extension}")
        if last is None or last[1] != pair.hq or not _link(last[0], path):
            write_whole(path, pair.hq)
            last = path, pair.hq
        write_whole(out.target(f"lq/{pair.name}.png"), pair.lq)
        yield pair


def _link(source: Path, path: Path) -> bool:
    """Whether the file system could give a file a second name."""
    try:
        with whole_file(path) as scratch:
            os.link(source, scratch)
    except OSError:
        return False
    return True


def _to_lmdb(pairs: Iterator[ExportedPair], out: LocalStore) -> Iterator[ExportedPair]:
    """`hq.lmdb` and `lq.lmdb` as BasicSR has them: keys without extension, and `meta_info.txt`, written last."""
    import lmdb

    folders = {side: out.target(f"{side}.lmdb") for side in ("hq", "lq")}
    # Under a limit of addresses (`ulimit -v`), as job schedulers set, half of them for both.
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    most = _MAP_BYTES if limit == resource.RLIM_INFINITY else min(_MAP_BYTES, limit // 4)
    with contextlib.ExitStack() as stack, _addresses_told(lmdb.MapFullError, most):
        parts = {side: stack.enter_context(whole_folder(folder)) for side, folder in folders.items()}
        # Without its lock, which no one else would ask for, NFS may not have, and whose file is never the same twice.
        environments: dict[str, Any] = {
            side: stack.enter_context(lmdb.open(str(part), map_size=most, sync=False, lock=False))
            for side, part in parts.items()
        }
        lines: dict[str, list[str]] = {"hq": [], "lq": []}
        transactions = {side: environment.begin(write=True) for side, environment in environments.items()}
        for number, pair in enumerate(pairs, 1):
            for side, data, extension in (("hq", pair.hq, pair.hq_extension), ("lq", pair.lq, "png")):
                transactions[side].put(pair.name.encode(), data)
                lines[side].append(f"{pair.name}.{extension} ({pair.sizes[side][0]},{pair.sizes[side][1]},3) 1\n")
                if number % _COMMIT_EVERY == 0:
                    transactions[side].commit()
                    transactions[side] = environments[side].begin(write=True)
            yield pair
        for side, environment in environments.items():
            transactions[side].commit()
            environment.sync(True)
            write_whole(parts[side] / "meta_info.txt", "".join(lines[side]))


@contextlib.contextmanager
def _addresses_told(full: type[Exception], most: int) -> Generator[None]:
    """Say what a database that is full lacks.

    Raises:
        RunError: If it is.
    """
    try:
        yield
    except full as error:
        raise RunError(
            f"an LMDB database needs more than the {human_bytes(most)} that the limit of this process's addresses "
            "(`ulimit -v`) leaves; raise it, or export with --to folder"
        ) from error


PARQUET_BYTES = 500_000_000
"""Images in a Parquet file, after which it ends with its row group."""
_ROW_GROUP = 100
"""Pairs in a row group, which a reader holds as a whole."""


def _to_parquet(pairs: Iterator[ExportedPair], out: LocalStore) -> Iterator[ExportedPair]:
    """`data/train-NNNNN.parquet` with the images as `datasets.Image`, and a README.md that names them to `datasets`."""
    pa: Any = importlib.import_module("pyarrow")  # it has no types
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    texts = ("name", "source", "source_sha256", "origin", "record")
    features = {
        **{side: {"_type": "Image"} for side in ("hq", "lq")},
        **{name: {"dtype": "string", "_type": "Value"} for name in texts},
    }
    schema = pa.schema(
        [*((side, image) for side in ("hq", "lq")), *((name, pa.string()) for name in texts)],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    data = out.target("data/train-00000.parquet").parent
    data.mkdir(exist_ok=True)
    sweep_scratch(data)
    rows: list[dict[str, Any]] = []
    with _ParquetFiles(data, schema) as files:
        for pair in pairs:
            hq = {"bytes": pair.hq, "path": f"{pair.name}.{pair.hq_extension}"}
            lq = {"bytes": pair.lq, "path": f"{pair.name}.png"}
            rows.append({"hq": hq, "lq": lq, "name": pair.name, **pair.note})
            if len(rows) == _ROW_GROUP:
                files.write(pa.Table.from_pylist(rows, schema))
                rows = []
            yield pair
        if rows:
            files.write(pa.Table.from_pylist(rows, schema))
    write_whole(out.target("README.md"), _PARQUET_README)


_PARQUET_README = """---
configs:
- config_name: default
  data_files: data/*.parquet
tags: [blind-face-restoration, degradation, degrade-kit]
---

# LQ/HQ face pairs

Exported by degrade-kit. `record` says how `lq` was made. The images are under the terms of
their sources: add those terms here before you share them.
"""


class _ParquetFiles:
    """Parquet files of limited size, each whole or not there."""

    def __init__(self, folder: Path, schema: Any) -> None:  # noqa: ANN401 (pyarrow has no types)
        self._folder, self._schema = folder, schema
        self._writer: Any = None
        self._scratch = folder
        self._count = self._bytes = 0

    @property
    def _path(self) -> Path:
        return self._folder / f"train-{self._count:05d}.parquet"

    def write(self, table: Any) -> None:  # noqa: ANN401 (pyarrow has no types)
        """Append one row group."""
        if self._writer is None:
            pq: Any = importlib.import_module("pyarrow.parquet")
            self._scratch = scratch_path(self._path)
            # Images are compressed already.
            self._writer = pq.ParquetWriter(self._scratch, self._schema, compression="none")
        self._writer.write_table(table)
        self._bytes += table.nbytes
        if self._bytes >= PARQUET_BYTES:
            self._end()

    def _end(self) -> None:
        self._writer.close()
        publish(self._scratch, self._path)
        self._writer, self._bytes = None, 0
        self._count += 1

    def __enter__(self) -> _ParquetFiles:
        """Begin."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """End the last file, or remove what there is of it."""
        if self._writer is None:
            return
        if kind is None:
            self._end()
        else:
            self._writer.close()
            self._scratch.unlink(missing_ok=True)
