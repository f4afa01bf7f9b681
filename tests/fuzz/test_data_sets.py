"""Whatever stands in the files of a data set, its readers say in one message what is damaged, at once."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from degrade_kit.degradation import make_lq
from degrade_kit.errors import DegradeKitError
from degrade_kit.hq import HqConfig
from degrade_kit.image import encode_png
from degrade_kit.pipelines.dataset.inspect import inspect_shards
from degrade_kit.pipelines.dataset.join import JoinJob, join
from degrade_kit.pipelines.dataset.lq_only import export_lq_only
from degrade_kit.pipelines.dataset.verify import verify
from degrade_kit.pipelines.executor import ExecutorConfig
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.synth.plan import make_plan
from degrade_kit.pipelines.synth.synthesize import run_plan
from degrade_kit.presets import preset
from degrade_kit.reader import PairReader
from degrade_kit.record import Record
from degrade_kit.shards import (
    CONFIG,
    FAILURES,
    MANIFEST,
    ShardWriter,
    Sidecar,
    iterate_samples,
    manifest_bytes,
    open_shards,
    shard_name,
    sidecar_path,
)
from degrade_kit.store import LocalStore
from tests.fuzz.budget import complaint, fuzz
from tests.fuzz.mutations import Mutation, mutations, to_json, to_yaml
from tests.limits import time_limit

HERE = ExecutorConfig(workers=0)
SHARD = shard_name(0)
SIDECAR = sidecar_path(SHARD)
SIZE = 32


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small images, and a file that is none: its failure is on record."""
    folder = tmp_path_factory.mktemp("fuzz") / "faces"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(2):
        (folder / f"{number}.png").write_bytes(encode_png(rng.integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)))
    (folder / "2.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def made(faces: Path) -> Path:
    """A data set of one shard with two samples, two variants each."""
    config = SynthConfig(
        hq=str(faces), recipe=preset("gfpgan"), variants=2, samples_per_shard=3, image=HqConfig(size=SIZE, min_side=16)
    )
    out = faces.parent / "set"
    run_plan(make_plan(config), str(out), HERE)
    return out


@pytest.fixture(scope="module")
def bare(made: Path) -> Path:
    """The same without HQ images."""
    out = made.parent / "bare"
    export_lq_only(str(made), str(out))
    return out


def read_pairs(place: Path) -> None:
    reader = PairReader(place)
    for index in range(len(reader)):
        for variant in range(reader.num_variants):
            PairReader.stored_pair(reader.read(index, variant), variant)


def walk(place: Path) -> None:
    shards = open_shards(place)
    for sample in shards.samples():
        for variant in range(sample.info["variants"]):
            sample.pair(variant)


def check(place: Path) -> None:
    """What `verify` finds, which must tell what is wrong in its own words."""
    report = verify(place, workers=0, replay=1.0)
    assert not [problem for problem in report.problems if "cannot be checked" in problem]
    report.lines()


def without_hq(place: Path) -> None:
    out = place.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    export_lq_only(str(place), str(out))


def together(place: Path) -> None:
    out = place.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    join(JoinJob(shards=str(place), hq=str(place.parent / "faces"), out=str(out)), HERE)


Reader = Callable[[Path], object]
LOOKS: tuple[Reader, ...] = (lambda place: inspect_shards(str(place)).to_plain(), check)
READERS: dict[str, tuple[Reader, ...]] = {
    "made": (*LOOKS, read_pairs, walk, without_hq),
    "bare": (*LOOKS, together),
}
"""Of a data set with HQ images, and of one without."""


def read_all(place: Path) -> None:
    """Every reader ends, and by no other error than the toolkit's own."""
    for read in READERS[place.name]:
        assert complaint(functools.partial(read, place)) != ""


FILES: dict[str, tuple[Callable[[bytes], Any], Callable[[Any], str]]] = {
    MANIFEST: (json.loads, to_json),
    SIDECAR: (json.loads, to_json),
    CONFIG: (yaml.safe_load, to_yaml),
    FAILURES: (json.loads, lambda document: to_json(document) + "\n"),
}


@pytest.fixture
def place(request: pytest.FixtureRequest, made: Path, bare: Path, faces: Path, tmp_path: Path) -> Path:
    """A copy of the data set that a test names, with the faces beside it."""
    shutil.copytree(faces, tmp_path / "faces")
    return shutil.copytree(made if request.param == "made" else bare, tmp_path / request.param)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", READERS, indirect=True)
def test_no_file_of_a_data_set_breaks_its_readers(place: Path, name: str) -> None:
    load, dump = FILES[name]
    data = (place / name).read_bytes()
    document = load(data)

    def read(mutation: Mutation) -> None:
        (place / name).write_bytes(mutation.apply(data, document, dump))
        read_all(place)

    fuzz(f"{name} ({place.name})", mutations(document), read, 15)


@pytest.mark.slow
@pytest.mark.parametrize("place", READERS, indirect=True)
def test_no_json_of_a_sample_breaks_its_readers(place: Path) -> None:
    data = next(iterate_samples(place / f"{SHARD}.tar")).members["json"]
    document = json.loads(data)

    def read(mutation: Mutation) -> None:
        repack(place, mutation.apply(data, document, to_json))
        read_all(place)

    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    fuzz(f"JSON of a sample ({place.name})", mutations(document), read, 20)
    assert before.keys() == {path for path in place.rglob("*") if path.is_file()}


def test_no_record_breaks_what_runs_it(made: Path) -> None:
    text = json.loads(next(iterate_samples(made / f"{SHARD}.tar")).members["json"])["lq0_record"]
    hq, document = np.full((SIZE, SIZE, 3), 128, np.uint8), json.loads(text)

    def read(mutation: Mutation) -> None:
        try:
            record = Record.from_json(mutation.apply(text.encode(), document, to_json).decode("utf-8", "replace"))
        except ValueError:
            return
        Record.from_json(record.to_json())
        with contextlib.suppress(ValueError, DegradeKitError):
            assert make_lq(record, hq).shape == hq.shape

    fuzz("record", mutations(document), read, 100)


def repack(place: Path, text: bytes) -> None:
    """Another JSON for the first sample, with all hashes, sizes and counts, as one does who wants to be believed."""
    store = LocalStore(place)
    sidecar = Sidecar.from_json((place / SIDECAR).read_bytes(), "")
    with ShardWriter(store, SHARD) as writer:
        for number, sample in enumerate(list(iterate_samples(place / f"{SHARD}.tar"))):
            members = {**sample.members, "json": text} if number == 0 else sample.members
            writer.add(sample.key, list(members.items()))
    new = dataclasses.replace(sidecar, bytes=writer.bytes, sha256=writer.sha256, index=writer.index)
    (place / SIDECAR).write_bytes(new.to_json())
    manifest = json.loads((place / MANIFEST).read_bytes())
    again = json.loads(manifest_bytes([new], {}))
    (place / MANIFEST).write_text(
        json.dumps({**manifest, **{key: again[key] for key in ("bytes", "digest", "shards")}})
    )


# ----------------------------------------------------------------------------------------------- what is no file at all


@pytest.mark.parametrize("kind", ["pipe", "folder", "link to a device"])
@pytest.mark.parametrize("name", [*FILES, f"{SHARD}.tar"])
@pytest.mark.parametrize("place", ["made"], indirect=True)
def test_what_is_no_file_is_refused_and_never_waited_for(place: Path, name: str, kind: str) -> None:
    path = place / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    for read in READERS["made"]:
        with time_limit(5):
            assert complaint(functools.partial(read, place)) != ""
    with time_limit(5):
        problems: list[str] = []
        said = complaint(lambda: problems.extend(verify(place, workers=0).problems)) or "; ".join(problems)
    assert name in said
