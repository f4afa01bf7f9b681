"""Readers that know nothing of this toolkit: Hugging Face `datasets`, plain `webdataset`, and code by hand.

They run in a process of their own, which is offline and whose warnings are theirs.
"""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import shutil
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from degrade_kit.degradation import finish
from degrade_kit.hq import HqConfig
from degrade_kit.pipelines.executor import ExecutorConfig
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.synth.plan import make_plan
from degrade_kit.pipelines.synth.synthesize import run_plan
from degrade_kit.presets import preset
from degrade_kit.record import ops_from_json
from degrade_kit.shards import iterate_samples, open_shards

SIDE, VARIANTS, SAMPLES = 96, 5, 12
Row = dict[str, Any]


@dataclass(frozen=True)
class DataSet:
    """A data set on disk, and what is in it."""

    root: Path
    lq: str
    """Extension of the LQ images."""
    rows: dict[str, Row]
    """By key: the bytes of each image member, and the JSON."""

    @property
    def tars(self) -> list[str]:
        return sorted(map(str, self.root.glob("*.tar")))

    @property
    def images(self) -> list[str]:
        return ["hq.png", *(f"lq{i}.{self.lq}" for i in range(VARIANTS))]


@pytest.fixture(scope="module")
def faces(faces_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of mixed sizes and formats, more than a reader looks at before it settles the columns."""
    root = tmp_path_factory.mktemp("mixed")
    for name in ("a", "b and ünïcode"):
        shutil.copytree(faces_dir, root / name)
    return root


@pytest.fixture(scope="module", params=[("flipnet-paper", "png", 5), ("gfpgan", "jpg", 5), ("gfpgan", "jpg", 100)])
def data(request: pytest.FixtureRequest, faces: Path, tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    recipe, lq, samples_per_shard = request.param
    root = tmp_path_factory.mktemp("data") / f"{recipe}-{samples_per_shard}"
    return make_data_set(faces, root, recipe, lq, samples_per_shard=samples_per_shard)


def make_data_set(
    faces: Path, root: Path, recipe: str, lq: str, *, samples_per_shard: int = 5, seed: int = 0
) -> DataSet:
    config = SynthConfig(
        hq=str(faces),
        recipe=preset(recipe),
        variants=VARIANTS,
        seed=seed,
        samples_per_shard=samples_per_shard,
        image=HqConfig(size=SIDE),
    )
    report = run_plan(make_plan(config), str(root), ExecutorConfig(workers=0))
    assert report.num_samples == SAMPLES
    return DataSet(root, lq, read_by_hand(root))


def read_by_hand(root: Path) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for path in sorted(root.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                stream = tar.extractfile(member)
                assert stream is not None
                key, _, extension = member.name.partition(".")
                content = stream.read()
                rows.setdefault(key, {})[extension] = json.loads(content) if extension == "json" else content
    return rows


# --------------------------------------------------------------------------------------------- run in the other process


@dataclass(frozen=True)
class Read:
    """What a reader saw."""

    rows: dict[str, Row]
    columns: dict[str, str]
    """Type of each column."""
    sizes: set[tuple[int, int]]
    """Width and height of the HQ images as the reader decodes them."""


def read_with_datasets(path: str, files: list[str] | None, streaming: bool, images: list[str]) -> Read:
    from datasets import Image as ImageColumn
    from datasets import load_dataset

    rows: Any = load_dataset(path, data_files=files, split="train", streaming=streaming)
    columns = {name: str(column) for name, column in rows.features.items()}
    if not set(images) <= set(columns):
        return Read({}, columns, set())
    sizes = {row["hq.png"].size for row in rows}
    for name in images:
        rows = rows.cast_column(name, ImageColumn(decode=False))
    found: dict[str, Row] = {}
    for row in rows:
        assert row["__key__"] not in found
        found[row["__key__"]] = {name: row[name]["bytes"] for name in images} | {"json": row["json"]}
    return Read(found, columns, sizes)


def read_with_webdataset(tars: list[str]) -> dict[str, Row]:
    import webdataset as untyped

    webdataset: Any = untyped
    samples = webdataset.WebDataset(tars, shardshuffle=False).decode("rgb8")
    return {
        sample["__key__"]: {name: value for name, value in sample.items() if not name.startswith("__")}
        for sample in samples
    }


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Calls functions in a process that may not use the network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        for name in ("HF_HOME", "HF_DATASETS_CACHE"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name)))
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield lambda function, *arguments: pool.submit(function, *arguments).result(timeout=240)


# ------------------------------------------------------------------------------------------------------------ the tests


def differing(found: dict[str, Row], expected: dict[str, Row]) -> list[str]:
    """Where two readings differ, as `key/member`."""
    everything = {(key, name) for rows in (found, expected) for key, row in rows.items() for name in row}
    return sorted(
        f"{key}/{name}" for key, name in everything if found.get(key, {}).get(name) != expected.get(key, {}).get(name)
    )


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
@pytest.mark.parametrize("by", ["files", "folder"])
@pytest.mark.long
def test_datasets_reads_every_sample_exactly(
    elsewhere: Callable[..., Any], data: DataSet, by: str, streaming: bool
) -> None:
    path, files = ("webdataset", data.tars) if by == "files" else (str(data.root), None)
    read: Read = elsewhere(read_with_datasets, path, files, streaming, data.images)

    # No column of the manifest or the sidecars, and none is missing.
    assert sorted(read.columns) == sorted([*data.images, "json", "__key__", "__url__"])
    assert all(read.columns[name].startswith("Image(") for name in data.images)
    assert len(read.rows) == SAMPLES
    assert differing(read.rows, data.rows) == []
    assert read.sizes == {(SIDE, SIDE)}


def test_every_sample_has_json_of_the_same_keys_and_types(data: DataSet) -> None:
    kinds = [{name: type(value) for name, value in row["json"].items()} for row in data.rows.values()]

    assert all(kind == kinds[0] for kind in kinds)
    assert set(kinds[0].values()) == {int, str}
    assert {row["json"]["source"] for row in data.rows.values()} >= {"a/astronaut.png", "b and ünïcode/astronaut.png"}


def test_the_header_of_the_card_keeps_datasets_to_the_tars(
    elsewhere: Callable[..., Any], data: DataSet, tmp_path: Path
) -> None:
    root = tmp_path / "set"
    shutil.copytree(data.root, root)
    header, card = (root / "README.md").read_text("utf-8").removeprefix("---\n").split("\n---\n", 1)
    assert "data_files: '*.tar'" in header
    (root / "README.md").write_text(card, "utf-8")
    read: Read = elsewhere(read_with_datasets, str(root), None, True, data.images)

    # With one tar and one manifest.json in the folder, `datasets` guesses; it takes the manifest for the data.
    guessed_right = set(data.images) <= set(read.columns)
    assert guessed_right == (len(data.tars) > 1)


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
def test_datasets_does_not_mix_up_folders_of_one_name(
    elsewhere: Callable[..., Any], faces: Path, tmp_path: Path, streaming: bool
) -> None:
    """Its cache knows a local folder by its last name and the header of its card."""
    made = [
        make_data_set(faces, tmp_path / "one" / "shards", "gfpgan", "jpg"),
        make_data_set(faces, tmp_path / "two" / "shards", "gfpgan", "jpg", seed=1),
        make_data_set(faces, tmp_path / "three" / "shards", "flipnet-paper", "png"),
    ]
    for data in made:
        read: Read = elsewhere(read_with_datasets, str(data.root), None, streaming, data.images)
        assert differing(read.rows, data.rows) == []


def test_webdataset_reads_every_sample(elsewhere: Callable[..., Any], data: DataSet) -> None:
    read = elsewhere(read_with_webdataset, data.tars)

    assert list(read) == sorted(data.rows)
    for key, row in data.rows.items():
        assert read[key]["json"] == row["json"]
        assert set(read[key]) == set(row)
        for name in data.images:
            np.testing.assert_array_equal(read[key][name], decode(row[name]))


def test_members_stand_in_the_same_order_in_every_sample(data: DataSet) -> None:
    for row in data.rows.values():
        assert list(row) == ["hq.png", "json", *data.images[1:]]


def decode(content: bytes) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


def test_a_reader_written_by_hand_gets_the_same_pairs(data: DataSet) -> None:
    """As docs/shards.md tells it: decode both images, then run the tail on the LQ image."""
    by_opencv = 0
    for path in map(Path, data.tars):
        for sample in iterate_samples(path):
            row = data.rows[sample.key]
            info = row["json"]
            assert hashlib.sha256(row["hq.png"]).hexdigest() == info["hq_sha256"]
            for variant in range(VARIANTS):
                native = cv2.imdecode(np.frombuffer(row[f"lq{variant}.{data.lq}"], np.uint8), cv2.IMREAD_COLOR_RGB)
                assert native is not None
                assert native.shape == (info[f"lq{variant}_height"], info[f"lq{variant}_width"], 3)
                tail = info[f"lq{variant}_tail"]
                lq = finish(np.asarray(native, np.uint8), ops_from_json(tail), (info["height"], info["width"]))
                target, finished = sample.pair(variant)
                if info[f"lq{variant}_target"] == "[]":
                    np.testing.assert_array_equal(target, decode(row["hq.png"]))
                np.testing.assert_array_equal(finished, lq)
                assert finished.shape == target.shape == (SIDE, SIDE, 3)
                if [op["op"] for op in json.loads(tail)] == ["resize"]:
                    by_opencv += 1
                    size = (info["width"], info["height"])
                    enlarged = cv2.resize(native.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
                    np.testing.assert_array_equal(finished, enlarged.round())
    assert by_opencv >= SAMPLES


def test_the_manifest_counts_what_foreign_readers_find(data: DataSet) -> None:
    manifest = open_shards(data.root).manifest

    assert manifest["num_samples"] == len(data.rows)
    assert manifest["extensions"] == ["hq.png", "json", *data.images[1:]]
