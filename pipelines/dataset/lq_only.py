"""Data sets without their faces: to publish where the HQ images may not be, and to be put together again.

`export --to lq-only` writes the samples of a data set without the HQ image. Their JSON keeps what every face must hash
to, and the manifest the hashes of the shards that they came from. `join` takes the faces from somebody's own copy,
prepares them as `synth` did, and compares: where the same bytes come out, the shards are the old ones byte by byte.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from degrade_kit.errors import ConfigError
from degrade_kit.files import utf8
from degrade_kit.image import pixel_hash
from degrade_kit.pipelines.card import card_text
from degrade_kit.pipelines.claim import Claim, Inputs
from degrade_kit.pipelines.effort import DECODE_SECONDS, Effort, megapixels
from degrade_kit.pipelines.makers.config import plan_of
from degrade_kit.progress import OnProgress, Progress, silent
from degrade_kit.reader import check_tar
from degrade_kit.shards import (
    CONFIG,
    FAILURES,
    FORMAT,
    LQ_ONLY,
    MANIFEST,
    ORIGIN,
    Sample,
    ShardSet,
    ShardWriter,
    Sidecar,
    check_key,
    has_tar,
    iterate_samples,
    manifest_bytes,
    open_shards,
    read_failures,
    read_part,
    read_sidecar,
    sidecar_path,
)
from degrade_kit.store import Store, open_store

PIXELS = "hq_pixels_sha256"
"""Field of a sample's JSON, here alone: hash of the HQ image's pixels, whatever file holds them."""

_FROM_SHARDS = (
    *("format", "num_shards", "num_samples", "num_failures", "bytes", "extensions", "extent", "digest", "shards"),
)
"""Keys of a manifest that follow from the shards."""


def export_lq_only(shards: str, out: str, progress: OnProgress = silent) -> int:
    """Write a data set again without its HQ images; returns the number of its samples.

    Run it again after an interruption: shards that are there are kept.

    Args:
        shards: Folder or URL of a finished data set.
        out: Folder or URL of the new one.
        progress: Told of the samples that are done.

    Raises:
        ConfigError: If the data set has no HQ images to leave out, or `out` is inside it.
        RunError: If `out` holds something else.
        ShardError: If a shard is missing, cut or altered.
    """
    whole = check_lq_only(shards, out)
    target, sidecars = open_store(out), whole.sidecars()
    with _claim(whole, shards).taken(target):
        return _write_lq_only(whole, sidecars, target, progress)


def _write_lq_only(whole: ShardSet, sidecars: Sequence[Sidecar], target: Store, progress: OnProgress) -> int:
    """Write what is not there yet, to an output that is this run's."""
    resolved = plan_of(whole)
    target.write(CONFIG, read_part(whole.store, CONFIG))
    written: list[Sidecar] = []
    done, before, total = 0, 0, whole.manifest["num_samples"]
    for sidecar in sidecars:
        kept = read_sidecar(target, sidecar.shard)
        if kept is None or not has_tar(target, kept):
            kept = _leave_out(whole, sidecar, target)
        else:
            before += kept.count
        written.append(kept)
        done += kept.count
        progress(Progress(noun="sample", done=done, total=total, kept=before))
    target.write(FAILURES, read_part(whole.store, FAILURES))
    original = {key: whole.manifest[key] for key in ("digest", "extensions", "shards")}
    manifest = manifest_bytes(written, {**extra_fields(whole.manifest), LQ_ONLY: original})
    target.write("README.md", utf8(card_text(json.loads(manifest), whole.statistics(), resolved)))
    target.write(MANIFEST, manifest)
    return total


def check_lq_only(shards: str, out: str) -> ShardSet:
    """Find all that would stop `export_lq_only` before its work, and write nothing; returns the data set.

    Raises:
        ConfigError: If the data set has no HQ images to leave out, or `out` is inside it.
        RunError: If `out` holds something else, or cannot be written to.
        ShardError: If the data set is not whole.
    """
    whole = open_shards(shards)
    if LQ_ONLY in whole.manifest:
        raise ConfigError(f"{shards}: this data set has LQ images alone already")
    plan_of(whole)
    read_failures(whole.store)
    _claim(whole, shards).check(open_store(out))
    return whole


def lq_only_effort(whole: ShardSet) -> tuple[Effort, float]:
    """Say what `export_lq_only` takes, and the bytes that it writes, from the sizes in the data set."""
    area = whole.manifest["num_samples"] * megapixels(whole.manifest["size"])
    kept = [place for place, name in enumerate(whole.manifest["extensions"]) if not name.startswith("hq.")]
    size = sum(entry[2 + place] for sidecar in whole.sidecars() for entry in sidecar.index for place in kept)
    return Effort(seconds=DECODE_SECONDS * area, tasks=1), size


def _leave_out(whole: ShardSet, sidecar: Sidecar, target: Store) -> Sidecar:
    with ShardWriter(target, sidecar.shard) as writer:
        for sample in checked_samples(whole, sidecar.shard):
            writer.add(sample.key, list(_without_hq(sample)))
    return publish_sidecar(target, sidecar, writer)


def checked_samples(shards: ShardSet, shard: str) -> Iterator[Sample]:
    """Yield the samples of a shard, once its hash is that in the manifest; none of an empty one, which has no tar.

    Raises:
        ShardError: If it is missing, cut or altered, or has a key that is none.
    """
    for entry in shards.shards:
        if entry["name"] == shard:
            path = shards.store.local_copy(f"{shard}.tar")
            check_tar(path, entry, hash_it=True)
            for sample in iterate_samples(path):
                check_key(sample.key, f"{shards.store.url}/{shard}.tar")
                yield sample


def publish_sidecar(target: Store, sidecar: Sidecar, writer: ShardWriter, **changes: Any) -> Sidecar:  # noqa: ANN401
    """Write the sidecar of a finished tar; it has what another one says of the images, and `changes`."""
    new = dataclasses.replace(
        sidecar,
        count=len(writer.index),
        bytes=writer.bytes,
        sha256=writer.sha256,
        extensions=writer.extensions,
        index=writer.index,
        **changes,
    )
    if not new.count:
        target.delete(f"{new.shard}.tar")  # of an earlier run: a shard without samples has none
    target.write(sidecar_path(new.shard), new.to_json())
    return new


def _without_hq(sample: Sample) -> Iterator[tuple[str, bytes]]:
    fields = {"format": FORMAT, **sample.info}
    fields[PIXELS] = pixel_hash(sample.hq())
    for extension, data in sample.members.items():
        if extension == "json":
            yield extension, compact_json(fields)
        elif not extension.startswith("hq."):
            yield extension, data


def compact_json(fields: Mapping[str, Any]) -> bytes:
    """Write JSON as `degrade_kit.shards.sample_members` does."""
    return utf8(json.dumps(fields, ensure_ascii=False, separators=(",", ":")))


def extra_fields(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says that does not follow from its shards."""
    return {key: value for key, value in manifest.items() if key not in (*_FROM_SHARDS, LQ_ONLY)}


def _claim(whole: ShardSet, shards: str) -> Claim:
    return copy_claim(whole.manifest["digest"], [("SHARDS", shards)])


def copy_claim(of: str, inputs: Inputs) -> Claim:
    """What makes an output a copy of the data set of this digest, in another form."""
    return Claim(what="a data set made of another one", file=ORIGIN, resolved={"digest": of}, inputs=inputs)
