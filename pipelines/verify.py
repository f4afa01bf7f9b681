"""`degrade-kit verify` and `replay`: is a data set whole, and do its records make its pixels again?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from degrade_kit.canvas import Canvas
from degrade_kit.errors import DegradeKitError, ImageError, ShardError
from degrade_kit.image import Pixels, decode_image
from degrade_kit.prepare import versions
from degrade_kit.shards import (
    MANIFEST,
    Sample,
    Sidecar,
    iterate_samples,
    open_shards,
    read_sidecar,
    shard_name,
    sidecar_path,
)
from degrade_kit.store import open_store
from pipelines.executor import ExecutorConfig, run_tasks
from pipelines.synthesize import make_variant

_SHOWN = 20
"""Problems of one shard that are listed; a broken one may have thousands."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyTask:
    """One shard to check."""

    url: str
    shard: str
    listed: dict[str, Any] | None
    """Entry of the manifest; None for a shard that has no tar."""
    replay: float
    """Share of the samples whose LQ images are made again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyReport:
    """What was found."""

    shards: int
    samples: int
    replayed: int
    """LQ images that were made again."""
    identical: int
    """Of these, equal to the last bit."""
    problems: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """A stored LQ image and the same made again from its record."""

    stored: Pixels
    again: Pixels
    identical: bool
    """Whether the files are equal byte by byte."""

    @property
    def mean_difference(self) -> float:
        """Mean absolute difference in levels of 255."""
        if self.stored.shape != self.again.shape:
            return float("inf")
        return float(np.abs(self.stored.astype(np.int16) - self.again).mean())


def verify(url: str, executor: ExecutorConfig, *, replay: float = 0.05) -> VerifyReport:
    """Check hashes, counts, layout, every image, and a share of the records against the pixels.

    Args:
        url: Local folder or fsspec URL.
        executor: Where to run.
        replay: Share of the samples, in [0, 1], evenly spread.

    Raises:
        ShardError: If there is no manifest, or it is of an unknown format.
    """
    shards = open_shards(open_store(url))
    listed = {entry["name"]: entry for entry in shards.shards}
    names = [shard_name(index) for index in range(shards.manifest["num_shards"])]
    tasks = [VerifyTask(url=url, shard=name, listed=listed.get(name), replay=replay) for name in names]
    problems = [*_check_manifest(shards.manifest), *_unlisted(url, set(names))]
    samples = replayed = identical = 0
    for outcome in run_tasks(verify_shard, tasks, executor):
        if outcome.result is None:
            problems.append(f"{outcome.task.shard}: {outcome.error}")
            continue
        samples += outcome.result.samples
        replayed += outcome.result.replayed
        identical += outcome.result.identical
        problems += outcome.result.problems
    return VerifyReport(
        shards=len(names), samples=samples, replayed=replayed, identical=identical, problems=sorted(problems)
    )


def verify_shard(task: VerifyTask) -> VerifyReport:
    """Check one shard."""
    store = open_store(task.url)
    problems: list[str] = []
    samples = replayed = identical = 0
    sidecar = read_sidecar(store, task.shard)
    if sidecar is None:
        problems.append(f"no sidecar {sidecar_path(task.shard)}")
    elif sidecar.count or task.listed:
        problems += _check_listed(sidecar, task.listed)
        if store.size(f"{task.shard}.tar") is None:
            problems.append("the tar is missing")
        else:
            path = store.local_copy(f"{task.shard}.tar")
            problems += _check_bytes(path, sidecar)
            try:
                for number, sample in enumerate(iterate_samples(path)):
                    samples += 1
                    problems += _check_sample(sample, sidecar, number)
                    if int((number + 1) * task.replay) > int(number * task.replay):
                        for outcome in _replay_all(sample, sidecar):
                            replayed += 1
                            identical += outcome == ""
                            problems += [outcome] if outcome else []
            except (ShardError, ImageError) as error:
                problems.append(str(error))
            if samples != sidecar.count:
                problems.append(f"expected {sidecar.count} samples, found {samples}")
    named = [f"{task.shard}: {problem}" for problem in problems[:_SHOWN]]
    if problems:
        more = f"and {len(problems) - _SHOWN} more problems; " if len(problems) > _SHOWN else ""
        named.append(
            f"{task.shard}: {more}to make this shard again, delete {sidecar_path(task.shard)} and {MANIFEST} and run "
            "the same synth command"
        )
    return VerifyReport(shards=1, samples=samples, replayed=replayed, identical=identical, problems=named)


def replay_variant(sample: Sample, variant: int) -> Replay:
    """Make an LQ image of a sample again from its HQ image and its record.

    Raises:
        ShardError: If the sample has no such variant.
    """
    info = sample.info
    if not 0 <= variant < info["variants"]:
        raise ShardError(f"sample {sample.key} has variants 0 to {info['variants'] - 1}, not {variant}")
    stored = sample.image(f"lq{variant}")
    extension = next(name for name in sample.members if name.startswith(f"lq{variant}.")).partition(".")[2]
    record = sample.record(variant)
    full = info[f"lq{variant}_tail"] == "[]" and bool(record.split()[1])
    again = make_variant(record, Canvas(pixels=sample.hq()), info[f"lq{variant}_origin"], extension, full=full)
    return Replay(
        stored=decode_image(stored, min_side=1).pixels,
        again=decode_image(again.data, min_side=1).pixels,
        identical=stored == again.data,
    )


def _check_manifest(manifest: Any) -> list[str]:  # noqa: ANN401 (parsed JSON)
    digest = hashlib.sha256("".join(entry["sha256"] for entry in manifest["shards"]).encode()).hexdigest()
    problems = list[str]()
    if digest != manifest["digest"]:
        problems.append(f"{MANIFEST}: its digest does not match the hashes of its shards")
    if sum(entry["count"] for entry in manifest["shards"]) != manifest["num_samples"]:
        problems.append(f"{MANIFEST}: its number of samples does not match its shards")
    return problems


def _unlisted(url: str, names: set[str]) -> list[str]:
    """Tars that lie beside the listed ones: a reader with a glob would take them for data."""
    tars = [name for name in open_store(url).names() if name.endswith(".tar") and "/" not in name]
    return [f"{name}: not in {MANIFEST}" for name in tars if name.removesuffix(".tar") not in names]


def _check_listed(sidecar: Sidecar, listed: dict[str, Any] | None) -> Iterator[str]:
    for key in ("count", "bytes", "sha256"):
        expected = None if listed is None else listed[key]
        if expected != getattr(sidecar, key):
            yield f"{MANIFEST} says {key} {expected}, its sidecar {getattr(sidecar, key)}"


def _check_bytes(path: Path, sidecar: Sidecar) -> Iterator[str]:
    size = path.stat().st_size
    if size != sidecar.bytes:
        yield f"expected {sidecar.bytes} bytes, found {size}"
        return
    with path.open("rb") as stream:
        hasher = hashlib.sha256()
        while chunk := stream.read(1 << 20):
            hasher.update(chunk)
    if hasher.hexdigest() != sidecar.sha256:
        yield f"its bytes have changed: expected sha256 {sidecar.sha256}, found {hasher.hexdigest()}"


def _check_sample(sample: Sample, sidecar: Sidecar, number: int) -> Iterator[str]:
    """Layout, JSON and images of one sample."""
    expected = sidecar.index[number][0] if number < len(sidecar.index) else None
    if sample.key != expected:
        yield f"sample {number} has key {sample.key}, expected {expected}"
    if list(sample.members) != sidecar.extensions or sample.ignored:
        found = [*sample.members, *sample.ignored]
        yield f"sample {sample.key} has members {', '.join(found)}, expected {', '.join(sidecar.extensions)}"
        return
    try:
        info = sample.info
        if hashlib.sha256(sample.image("hq")).hexdigest() != info["hq_sha256"]:
            yield f"sample {sample.key}: the HQ image is not the one of its JSON"
        for name, shape in _expected_shapes(info):
            pixels = decode_image(sample.image(name), min_side=1).pixels
            if pixels.shape[:2] != shape:
                yield f"sample {sample.key}: {name} has shape {pixels.shape[:2]}, its JSON says {shape}"
    except KeyError as error:
        yield f"sample {sample.key}: its JSON has no field {error}"
    except DegradeKitError as error:
        yield f"sample {sample.key}: {error}"


def _expected_shapes(info: dict[str, Any]) -> Iterator[tuple[str, tuple[int, int]]]:
    yield "hq", (info["height"], info["width"])
    for variant in range(info["variants"]):
        yield f"lq{variant}", (info[f"lq{variant}_height"], info[f"lq{variant}_width"])


def _replay_all(sample: Sample, sidecar: Sidecar) -> Iterator[str]:
    """For each variant of a recipe an empty text if its record makes the same file, else what differs."""
    same_stack = sidecar.versions == versions()
    for variant in range(sample.info["variants"]):
        try:
            outcome = replay_variant(sample, variant)
        except (ValueError, json.JSONDecodeError) as error:
            yield f"sample {sample.key}: lq{variant} has a record that cannot be read: {error}"
            continue
        # Other library versions may round a pixel another way; a whole level on average is another picture.
        if outcome.identical or (not same_stack and outcome.mean_difference <= 1.0):
            yield ""
        else:
            yield (
                f"sample {sample.key}: lq{variant} is not what its record makes "
                f"(mean difference {outcome.mean_difference:.3f} levels)"
            )
