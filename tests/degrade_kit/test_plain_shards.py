from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import cv2
import fsspec
import numpy as np
import pytest
import webdataset

import degrade_kit as dk
from degrade_kit import plain_shards
from degrade_kit.degradation import finish
from degrade_kit.image import Pixels, encode_jpeg, encode_png
from degrade_kit.plain_shards import ENLARGE, INDEX, TarIndex, assign_roles, find_tars
from degrade_kit.record import ops_from_json

wds: Any = webdataset  # its stubs leave names out

pytestmark = [
    # webdataset leaves the files of shards to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*:pytest.PytestUnraisableExceptionWarning"),
]
SIDE = 48


def face(number: int, side: int = SIDE) -> Pixels:
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)


def sample(number: int, **members: object) -> dict[str, Any]:
    found: dict[str, Any] = {"__key__": f"face{number:04d}", **{key.replace("_", "."): v for key, v in members.items()}}
    return found


def pair(number: int) -> dict[str, Any]:
    return sample(number, hq_png=encode_png(face(number)), lq_png=encode_png(face(number, 12)))


def write_tars(folder: Path, samples: list[dict[str, Any]], per_tar: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with wds.ShardWriter(str(folder / "%06d.tar"), maxcount=per_tar, verbose=0) as writer:
        for entry in samples:
            writer.write(entry)
    for path in folder.glob("*.tar"):
        if time.time() - path.stat().st_mtime < 30:  # an index of what is new is not kept
            os.utime(path, (path.stat().st_atime, time.time() - 60))
    return folder


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Five pairs in three tars, made by webdataset's own writer."""
    return write_tars(tmp_path / "plain", [pair(number) for number in range(5)])


def test_tars_of_other_writers_are_pairs_by_number(plain: Path) -> None:
    pairs = dk.PairMapDataset(plain)

    assert len(pairs) == 5
    assert pairs.shard_sizes == [2, 2, 1]
    for number in range(5):
        found = pairs[number]
        np.testing.assert_array_equal(found["hq"].numpy().transpose(1, 2, 0), face(number))
        enlarged = finish(face(number, 12), ops_from_json(ENLARGE), (SIDE, SIDE))
        np.testing.assert_array_equal(found["lq"].numpy().transpose(1, 2, 0), enlarged)
        assert (found["key"], found["source"], found["record"]) == (f"face{number:04d}",) * 2 + ("",)


@pytest.mark.parametrize("place", ["plain/{000000..000002}.tar", "{plain,other}/000000.tar", "plain/000001.tar"])
def test_patterns_and_single_tars_are_read(place: str, plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tars(plain.parent / "other", [pair(7)])
    monkeypatch.chdir(plain.parent)
    expected = {"plain/{": [0, 1, 2, 3, 4], "{plain,": [0, 1, 7], "plain/0": [2, 3]}[place[:7]]

    keys = [f"face{number:04d}" for number in expected]
    assert [found["key"] for found in dk.PairDataset(place, shuffle=False)] == keys
    assert [found["key"] for found in dk.webdataset(place, shuffle_shards=False)] == keys
    assert dk.PairReader(plain.parent / place).keys == keys


def test_json_several_variants_and_jpeg_are_read(tmp_path: Path) -> None:
    jpeg = encode_jpeg(face(0), 95)
    several = sample(0, hq_jpg=jpeg, lq0_png=encode_png(face(1)), lq1_jpeg=jpeg, json={"source": "x.png"}, txt="no")
    bare = write_tars(tmp_path / "several", [several])
    reader = dk.PairReader(bare)

    assert (reader.num_variants, reader.hq_extension) == (2, "jpg")
    found = reader.stored_pair(reader.read(0, 0), 0)
    np.testing.assert_array_equal(found.lq, face(1))
    assert found.source == "x.png"


def test_hq_images_alone_need_a_recipe(tmp_path: Path) -> None:
    folder = write_tars(tmp_path / "hq", [sample(number, png=encode_png(face(number))) for number in range(3)])
    options = dk.PairOptions(onthefly=dk.preset("gfpgan"), onthefly_prob=1.0)

    for found in (*dk.PairDataset(folder, options), *dk.webdataset(folder, options)):
        assert found["variant"] == -1
        assert found["lq"].shape == found["hq"].shape == (3, SIDE, SIDE)
    with pytest.raises(dk.ConfigError, match="holds no LQ images; give a recipe as onthefly, and onthefly_prob=1"):
        dk.PairDataset(folder)
    with pytest.raises(dk.ConfigError, match="holds no LQ images"):
        next(iter(dk.webdataset(folder)))


@pytest.mark.slow
def test_tars_of_synth_are_read_without_their_manifest(faces_dir: Path, tmp_path: Path) -> None:
    dk.synthesize(faces_dir, tmp_path / "out", preset="gfpgan", variants=2, size=64, workers=0)
    (tmp_path / "bare").mkdir()
    for tar in (tmp_path / "out").glob("*.tar"):
        (tmp_path / "bare" / tar.name).write_bytes(tar.read_bytes())
    whole, bare = (dk.PairReader(tmp_path / name) for name in ("out", "bare"))

    assert len(bare) == len(whole) == 6
    for number in range(len(whole)):
        one, other = (reader.stored_pair(reader.read(number, 1), 1) for reader in (whole, bare))
        np.testing.assert_array_equal(one.lq, other.lq)
        assert (one.record, one.source) == (other.record, other.source)


def test_a_tar_is_walked_once_and_again_when_it_has_changed(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walked: list[str] = []

    def note(path: Path, where: str) -> TarIndex:
        walked.append(path.name)
        return walk(path, where)

    walk = plain_shards._walk
    monkeypatch.setattr(plain_shards, "_walk", note)
    first = dk.PairReader(plain)
    assert len(walked) == 3
    assert dk.PairReader(plain).digest == first.digest
    assert len(walked) == 3
    (plain / INDEX / "000000.tar.npz").write_bytes(b"damaged")
    assert dk.PairReader(plain).digest == first.digest
    assert len(walked) == 4
    write_tars(plain, [pair(number) for number in (8, 9)])
    os.utime(plain / "000000.tar", ns=(1, 1))
    assert dk.PairReader(plain).keys[:2] == ["face0008", "face0009"]
    assert len(walked) == 5


def test_the_index_of_a_tar_that_may_change_within_the_clocks_step_is_not_kept(plain: Path) -> None:
    """On FAT a file that is written twice in two seconds, at one size, has one time."""
    now = int(time.time())
    os.utime(plain / "000000.tar", (now, now))
    assert dk.PairReader(plain).keys[0] == "face0000"
    assert sorted(path.name for path in (plain / INDEX).iterdir()) == ["000001.tar.npz", "000002.tar.npz"]
    write_tars(plain, [pair(number) for number in (8, 9)])
    os.utime(plain / "000000.tar", (now, now))
    assert dk.PairReader(plain).keys[:2] == ["face0008", "face0009"]


def test_the_index_goes_to_the_cache_where_the_folder_cannot_be_written(plain: Path, tmp_path: Path) -> None:
    (plain / ".degrade_kit").write_text("a file in the way")

    assert len(dk.PairReader(plain, cache_dir=tmp_path / "cache")) == 5
    assert len(list((tmp_path / "cache" / "index").iterdir())) == 3
    assert len(dk.PairReader(plain)) == 5


def test_a_pipeline_reads_again_where_a_network_fails(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory: Any = fsspec.filesystem("memory")
    memory.put(str(plain), "/plain_shards_again", recursive=True)
    whole, fails = type(memory).cat_file, iter([True, False, True])

    def cat_file(self: Any, *words: Any, **more: Any) -> bytes:  # noqa: ANN401 (as fsspec has it)
        if next(fails, False):
            raise OSError("broken off")
        return whole(self, *words, **more)

    monkeypatch.setattr(type(memory), "cat_file", cat_file)
    monkeypatch.setattr("degrade_kit.remote._WAITS", (0.0,))
    found = [pair["key"] for pair in dk.webdataset("memory://plain_shards_again", shuffle_shards=False)]
    assert next(fails, None) is None
    assert found == dk.PairReader(plain).keys


def test_tars_of_a_url_are_fetched_once(plain: Path, tmp_path: Path) -> None:
    remote: Any = fsspec.filesystem("memory")
    for tar in plain.glob("*.tar"):
        remote.pipe_file(f"/plain_shards/{tar.name}", tar.read_bytes())
    try:
        for place in ("memory://plain_shards", "memory://plain_shards/{000000..000002}.tar"):
            reader = dk.PairReader(place, cache_dir=tmp_path / "cache")
            assert reader.keys == dk.PairReader(plain).keys
            assert [found["key"] for found in dk.webdataset(place, shuffle_shards=False)] == reader.keys
        assert len(list((tmp_path / "cache").glob("*.tar"))) == 3
    finally:
        remote.rm("/plain_shards", recursive=True)


@pytest.mark.parametrize(
    "suffixes",
    [
        ["lq.png"],
        ["hq.png", "hq.jpg"],
        ["hq.png", "lq0.png", "lq2.png"],
        ["hq.png", "lq.png", "lq.jpg"],
        ["png", "jpg"],
    ],
)
def test_a_sample_that_is_no_pair_says_what_was_expected(suffixes: list[str], tmp_path: Path) -> None:
    members = {suffix.replace(".", "_"): encode_png(face(0)) for suffix in suffixes}
    folder = write_tars(tmp_path / "odd", [sample(0, **members)])

    message = "sample face0000: expected one HQ image, hq.png, and LQ images"
    with pytest.raises(dk.ShardError, match=message):
        dk.PairReader(folder)
    with pytest.raises(dk.ShardError, match=message):
        next(iter(dk.webdataset(folder)))


def test_samples_with_other_numbers_of_lq_images_are_refused(tmp_path: Path) -> None:
    uneven = [pair(0), sample(1, hq_png=encode_png(face(1)))]
    with pytest.raises(dk.ShardError, match="sample face0001 has 0 LQ images, those before it have 1"):
        dk.PairReader(write_tars(tmp_path / "one", uneven))
    with pytest.raises(dk.ShardError, match="samples have 0 to 1 LQ images"):
        dk.PairReader(write_tars(tmp_path / "two", uneven, per_tar=1))


def test_a_cut_tar_is_refused(plain: Path) -> None:
    tar = plain / "000001.tar"
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2 // 512 * 512])

    with pytest.raises(dk.ShardError, match=r"000001\.tar: (cut or damaged|not a whole tar)"):
        dk.PairReader(plain)


def test_missing_tars_of_a_pattern_are_counted(plain: Path) -> None:
    with pytest.raises(dk.ShardError, match=r"2 of 5 tars are missing, the first: 000003\.tar"):
        dk.PairReader(f"{plain}/{{000000..000004}}.tar")


def test_an_unfinished_data_set_is_not_taken_for_plain_tars(plain: Path) -> None:
    (plain / ".degrade_kit").mkdir()
    (plain / ".degrade_kit" / "config.yaml").write_text("format: 1")

    assert find_tars(plain) is None
    with pytest.raises(dk.ShardError, match=r"no manifest\.json"):
        dk.PairReader(plain)


def test_roles_do_not_depend_on_the_order_of_members() -> None:
    assert assign_roles(["lq1.png", "json", "hq.webp", "lq0.jpg"], "") == [2, 1, 3, 0]
    assert assign_roles(["hq.png", "mask.png", "lq.png"], "") == [0, None, 2]


def test_enlarging_is_cubic() -> None:
    small = face(0, 12)
    wanted = cv2.resize(small.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    found = finish(small, ops_from_json(ENLARGE), (SIDE, SIDE))
    np.testing.assert_array_equal(found, wanted.clip(0, 255).round().astype(np.uint8))
