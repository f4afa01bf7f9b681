from __future__ import annotations

import contextlib
import dataclasses
import errno
import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import degrade_kit.shards
from degrade_kit.errors import ShardError
from degrade_kit.image import Pixels, encode_png
from degrade_kit.ops import Blur, Gray, Jpeg, Resize
from degrade_kit.record import Record
from degrade_kit.shards import (
    FORMAT,
    MANIFEST,
    READABLE,
    Failure,
    Sample,
    ShardWriter,
    Sidecar,
    SourceNote,
    Variant,
    iterate_members,
    iterate_samples,
    manifest_bytes,
    open_shards,
    read_sidecar,
    sample_key,
    sample_members,
    shard_name,
    sidecar_path,
)
from degrade_kit.statistics import Statistics
from degrade_kit.store import LocalStore, open_store

Members = list[tuple[str, bytes]]

RECORD = Record(seed=7, steps=(Blur(sigma_x=2.0, sigma_y=2.0), Resize(scale=4.0), Jpeg(quality=60), Resize(scale=1.0)))
TAIL = '[{"op":"resize","scale":1.0,"filter":"linear"}]'


def pixels(side: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def variant(seed: int = 0, **changes: Any) -> Variant:  # noqa: ANN401
    base = Variant(encode_png(pixels(8, seed)), "png", 8, 8, "recipe:x@0123456789ab", RECORD, TAIL, "[]")
    return dataclasses.replace(base, **changes)


def members(seed: int = 0, source: str = "a.png", changes: str = "[]") -> Members:
    """A sample with two variants."""
    note = SourceNote(source, "0" * 64, changes)
    return sample_members(encode_png(pixels(32, seed)), "png", (32, 32), note, [variant(seed), variant(seed + 1)])


def written(store: LocalStore, shard: str, samples: dict[str, Members]) -> ShardWriter:
    with ShardWriter(store, shard) as writer:
        for key, sample in samples.items():
            writer.add(key, sample)
    return writer


def sidecar_of(writer: ShardWriter, shard: str, first: int = 0, failures: int = 0) -> Sidecar:
    return Sidecar(
        shard=shard,
        first=first,
        last=first + len(writer.index) + failures,
        count=len(writer.index),
        bytes=writer.bytes,
        sha256=writer.sha256,
        extensions=writer.extensions,
        index=writer.index,
        failures=[Failure(source=f"{n}.png", reason="truncated", detail="cut") for n in range(failures)],
        counters={"encoded anew": len(writer.index)},
        statistics=Statistics().to_plain(),
        config_sha256="c" * 64,
        versions={"numpy": "2"},
    )


EXTRA = {
    **dict.fromkeys(("recipe", "recipe_digest", "config_sha256"), "x"),
    **dict.fromkeys(("num_sources", "num_skipped", "variants", "seed", "size"), 2),
    "lq_size": "native",
    "versions": {"degrade_kit": "1"},
}


@pytest.fixture
def whole(tmp_path: Path) -> LocalStore:
    """A data set of two shards with three samples, and an empty third shard."""
    store, sidecars = LocalStore(tmp_path), list[Sidecar]()
    for index, keys in enumerate([[0, 1], [3], []]):
        writer = written(store, shard_name(index), {sample_key(key): members(key) for key in keys})
        sidecars.append(sidecar_of(writer, shard_name(index), first=2 * index, failures=2 - len(keys)))
        store.write(sidecar_path(shard_name(index)), sidecars[-1].to_json())
    store.write(MANIFEST, manifest_bytes(sidecars, EXTRA))
    return store


def tar_of(path: Path, files: dict[str, bytes], **fields: Any) -> Path:  # noqa: ANN401
    with tarfile.open(path, "w", format=fields.pop("format", tarfile.USTAR_FORMAT)) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in fields.items():
                setattr(info, field, value)
            tar.addfile(info, io.BytesIO(data))
    return path


# -------------------------------------------------------------------------------------------------------------- samples


def test_names_and_keys_have_a_fixed_form() -> None:
    assert [shard_name(0), shard_name(1_234_567)] == ["shard-000000", "shard-1234567"]
    assert [sample_key(0), sample_key(69_999)] == ["000000000", "000069999"]
    for key in map(sample_key, (0, 7, 999_999_999)):
        assert len(key) == 9
        assert key.isdigit()


def test_members_stand_in_one_order() -> None:
    assert [extension for extension, _ in members()] == ["hq.png", "json", "lq0.png", "lq1.png"]


def test_the_json_is_flat_and_closed() -> None:
    """Generic readers infer the columns from the first samples, and drop or cast what differs later."""
    long = Record(seed=2**48 - 1, steps=(Gray(), *RECORD.steps), target=(Gray(),))
    samples = [
        members(),
        members(source='ü\n"%E9', changes='[{"op":"decode","note":"bit_depth:16"}]'),
        sample_members(b"", "png", (1, 1), SourceNote("", "", "[]"), [variant(record=long, tail="[]")] * 2),
    ]
    infos = [json.loads(dict(sample)["json"]) for sample in samples]
    assert {tuple((key, type(value)) for key, value in info.items()) for info in infos} == {
        tuple((key, type(value)) for key, value in infos[0].items())
    }
    for info in infos:
        assert {type(value) for value in info.values()} == {str, int}
    text = dict(samples[1])["json"]
    assert b"null" not in text
    assert text.decode("utf-8").count("\n") == 0
    assert infos[1]["source"] == 'ü\n"%E9'
    assert Record.from_json(infos[2]["lq1_record"]) == long


def test_a_sample_is_read_as_it_was_written(tmp_path: Path) -> None:
    shown = members(3, source="sub/ü.png")
    written(LocalStore(tmp_path), "shard-000000", {"000000003": shown})
    (sample,) = iterate_samples(tmp_path / "shard-000000.tar")
    assert (sample.key, sample.members, sample.ignored) == ("000000003", dict(shown), ())
    assert sample.info["source"] == "sub/ü.png"
    assert np.array_equal(sample.hq(), pixels(32, 3))
    assert np.array_equal(sample.native_lq(1), pixels(8, 4))
    assert sample.record(1) == RECORD
    target, lq = sample.pair(0)
    assert np.array_equal(target, pixels(32, 3))
    assert lq.shape == (32, 32, 3)


def test_the_target_of_a_pair_follows_its_record() -> None:
    grey = dataclasses.replace(RECORD, target=(Gray(),))
    shown = sample_members(
        encode_png(pixels(32)), "png", (32, 32), SourceNote("a", "", "[]"), [variant(record=grey), variant()]
    )
    sample = Sample("0", dict(shown))
    target = sample.pair(0)[0]
    assert (target == target[:, :, :1]).all()
    assert np.array_equal(sample.pair(1)[0], sample.hq())


@pytest.mark.parametrize("missing", ["hq.png", "json", "lq1.png"])
def test_a_missing_member_is_named(missing: str) -> None:
    sample = Sample("000000007", {name: data for name, data in members() if name != missing})
    with pytest.raises(ShardError, match=rf"sample 000000007: no .*member `{missing.partition('.')[0]}`"):
        sample.pair(1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"variants": "2"}, "field variants: expected a whole number within [0, 1000], got '2'"),
        ({"variants": True}, "field variants: expected a whole number within [0, 1000], got True"),
        ({"variants": 3}, "field lq2_origin: expected text, found no such field"),
        ({"height": 32.0}, "field height: expected a whole number within [1, 16383], got 32.0"),
        ({"lq1_tail": None}, "field lq1_tail: expected text, got None"),
        ({"format": 2}, "format 2 is not the format 1"),
        ({"lq1_record": "{}"}, "lq1: not a degradation record"),
        ({"lq1_record": '{"seed":1,"steps":[{"op":"os.system"}],"target":[]}'}, "unknown operation 'os.system'"),
        ({"lq1_tail": "[7]"}, "lq1: "),
        ({"lq1_tail": "not JSON"}, "lq1: "),
    ],
)
def test_an_altered_json_is_refused(change: dict[str, Any], words: str) -> None:
    data = dict(members())
    data["json"] = json.dumps({**json.loads(data["json"]), **change}).encode()
    with pytest.raises(ShardError, match=r"sample 000000007: ") as caught:
        Sample("000000007", data).pair(1)
    assert words in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{", b"\xff"])
def test_what_is_no_json_object_is_refused(text: bytes) -> None:
    with pytest.raises(ShardError, match="sample 7: "):
        _ = Sample("7", {**dict(members()), "json": text}).info


# -------------------------------------------------------------------------------------------------------------- writing


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(contents=st.lists(st.tuples(st.binary(max_size=1100), st.binary(max_size=600)), min_size=1, max_size=5))
def test_what_is_written_is_read_again(tmp_path: Path, contents: list[tuple[bytes, bytes]]) -> None:
    store = LocalStore(tmp_path)
    samples = {sample_key(n): [("hq.png", hq), ("json", text)] for n, (hq, text) in enumerate(contents)}
    writer = written(store, "shard-000000", samples)
    path = tmp_path / "shard-000000.tar"
    assert {sample.key: list(sample.members.items()) for sample in iterate_samples(path)} == samples
    data = path.read_bytes()
    assert (writer.bytes, writer.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert store.names() == ["shard-000000.tar"]
    for key, offset, *sizes in writer.index:
        assert data[offset:].startswith(f"{key}.hq.png\0".encode())
        assert data[offset + 512 : offset + 512 + sizes[0]] == dict(samples[key])["hq.png"]
        second = offset + 512 + -(-sizes[0] // 512) * 512
        assert data[second:].startswith(f"{key}.json\0".encode())
        assert data[second + 512 : second + 512 + sizes[1]] == dict(samples[key])["json"]


def test_headers_carry_no_time_and_no_owner(tmp_path: Path) -> None:
    written(LocalStore(tmp_path), "shard-000000", {sample_key(n): members(n) for n in range(2)})
    path = tmp_path / "shard-000000.tar"
    with tarfile.open(path) as tar:
        for info in tar:
            assert (info.mtime, info.uid, info.gid, info.uname, info.gname) == (0, 0, 0, "", "")
            assert (info.mode, info.type, info.pax_headers) == (0o644, tarfile.REGTYPE, {})
            assert path.read_bytes()[info.offset :][257:265] == b"ustar\x0000"


def test_equal_samples_give_equal_bytes(tmp_path: Path) -> None:
    samples = {sample_key(n): members(n) for n in range(3)}
    for name in ("a", "b"):
        written(LocalStore(tmp_path / name), "shard-000000", samples)
    first, second = (tmp_path / name / "shard-000000.tar" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_a_shard_appears_when_it_is_whole(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with ShardWriter(store, "shard-000000") as writer:
        writer.add(sample_key(0), members())
        assert not (tmp_path / "shard-000000.tar").exists()
        assert all(name.startswith(".degrade_kit/tmp/") for name in store.names())
    assert store.names() == ["shard-000000.tar"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_an_error_leaves_neither_shard_nor_scratch(tmp_path: Path, error: type[BaseException]) -> None:
    store = LocalStore(tmp_path)
    written(store, "shard-000000", {sample_key(0): members()})
    before = store.read("shard-000000.tar")

    def fail() -> None:
        with ShardWriter(store, "shard-000000") as writer:
            writer.add(sample_key(0), members(5))
            raise error

    with pytest.raises(error):
        fail()
    assert store.names() == ["shard-000000.tar"]
    assert store.read("shard-000000.tar") == before


def test_a_disk_that_is_full_when_the_shard_is_closed_leaves_no_scratch(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    def fill() -> None:
        with ShardWriter(store, "shard-000000") as writer, open("/dev/full", "wb") as full:
            writer.add(sample_key(0), members())
            os.dup2(full.fileno(), writer._file._stream.fileno())  # what is buffered fails to be written

    with pytest.raises(OSError, match="No space left"):
        fill()
    assert store.names() == []


def test_a_failed_publication_leaves_no_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("degrade_kit.files._sync", fail)
    with pytest.raises(OSError, match="Input/output"):
        written(LocalStore(tmp_path), "shard-000000", {sample_key(0): members()})
    assert LocalStore(tmp_path).names() == []


def test_an_empty_shard_leaves_no_tar(tmp_path: Path) -> None:
    writer = written(LocalStore(tmp_path), "shard-000000", {})
    assert (writer.bytes, writer.sha256, writer.index) == (0, "", [])
    assert LocalStore(tmp_path).names() == []


@pytest.mark.parametrize("other", [members()[:-1], members()[::-1], [("hq.jpg", b"")]])
def test_all_samples_have_the_same_members(tmp_path: Path, other: Members) -> None:
    store = LocalStore(tmp_path)
    with pytest.raises(AssertionError, match="member set"):
        written(store, "shard-000000", {sample_key(0): members(), sample_key(1): other})
    assert store.names() == []


def test_remote_shards_have_the_same_bytes(tmp_path: Path) -> None:
    remote = open_store("memory://shards-test/out")
    with ShardWriter(remote, "shard-000000") as writer:
        writer.add(sample_key(0), members())
    written(LocalStore(tmp_path), "shard-000000", {sample_key(0): members()})
    assert remote.names() == ["shard-000000.tar"]
    assert remote.read("shard-000000.tar") == (tmp_path / "shard-000000.tar").read_bytes()


# -------------------------------------------------------------------------------------------------------------- reading


def test_only_plain_members_of_known_kinds_are_read(tmp_path: Path) -> None:
    read = {f"a.x.{extension}": extension.encode() for extension in READABLE}
    ignored = ["a.pkl", "a.pyd", "a.pth", "a.npy", "a", "a.png.gz", "b/c.png", "../a.png", "/a.png", "./d.png"]
    path = tar_of(tmp_path / "x.tar", {**read, **dict.fromkeys(ignored, b"evil")})
    assert dict(iterate_members(path)) == {**read, **dict.fromkeys(ignored)}
    (sample,) = iterate_samples(path)
    assert sample.members == {f"x.{extension}": extension.encode() for extension in READABLE}
    assert sample.ignored == tuple(ignored)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_folders_and_devices_are_not_read(tmp_path: Path, kind: bytes) -> None:
    path = tar_of(tmp_path / "x.tar", {"a.png": b""}, type=kind, linkname="/etc/passwd")
    assert list(iterate_members(path)) == [("a.png", None)]
    assert list(iterate_samples(path)) == []


def test_a_sparse_member_cannot_unpack_to_more_than_the_file(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.png")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"00100000000\0"  # its real size: 16 MB of nothing
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "x.tar").write_bytes(header + bytes(1024))
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert tar.getmembers()[0].size == 1 << 24
    assert list(iterate_members(tmp_path / "x.tar")) == [("a.png", None)]


def test_members_that_are_too_large_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(degrade_kit.shards, "MAX_MEMBER_BYTES", 100)
    path = tar_of(tmp_path / "x.tar", {"a.hq.png": bytes(100), "a.lq.png": bytes(101)})
    assert list(iterate_members(path)) == [("a.hq.png", bytes(100)), ("a.lq.png", None)]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_of_other_writers_are_read(tmp_path: Path, format: int) -> None:
    name = "k" * 90 + ".hq.png"
    path = tar_of(
        tmp_path / "x.tar", {name: b"data", "é.png" if format == tarfile.PAX_FORMAT else "e.png": b"x"}, format=format
    )
    assert [data for _, data in iterate_members(path)] == [b"data", b"x"]
    with tarfile.open(path, "a", format=format) as tar:
        tar.addfile(tarfile.TarInfo("more.txt"))
    assert len(list(iterate_members(path))) == 3


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "x.tar", {"a.png": b"first"})
    with tarfile.open(path, "a") as tar:
        tar.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(ShardError, match=r"x\.tar: two members a\.png"):
        list(iterate_samples(path))


def test_a_tar_without_members_has_no_samples(tmp_path: Path) -> None:
    assert list(iterate_samples(tar_of(tmp_path / "x.tar", {}))) == []


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: b"", lambda data: b"text" * 500, lambda data: bytes(512)])
def test_what_is_no_plain_tar_is_refused(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tar_of(tmp_path / "x.tar", {"a.png": b"data"})
    path.write_bytes(pack(path.read_bytes()))
    with pytest.raises(ShardError, match=r"x\.tar"):
        list(iterate_samples(path))


def test_a_cut_is_found_wherever_it_is(tmp_path: Path) -> None:
    path = tar_of(
        tmp_path / "x.tar", {f"{n}.{name}": bytes([n + 1]) * 700 for n in range(2) for name in ("png", "json")}
    )
    data = path.read_bytes()
    needed = 4 * (512 + 1024) + 1024  # what follows the two empty blocks is padding
    assert len(data) > needed
    for cut in [*range(0, needed, 128), needed - 1]:
        path.write_bytes(data[:cut])
        with pytest.raises(ShardError, match=r"x\.tar"):
            list(iterate_samples(path))
    path.write_bytes(data[:needed])
    assert len(list(iterate_samples(path))) == 2


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    at=st.integers(0, 4 * 1024 + 1023),
    replacement=st.one_of(
        st.binary(min_size=1, max_size=20), st.sampled_from([b"\xff" * 12, b"\x80" + bytes(11), b"-1"])
    ),
    sums=st.booleans(),
)
def test_damage_is_a_shard_error_or_no_matter(tmp_path: Path, at: int, replacement: bytes, sums: bool) -> None:
    path = tar_of(tmp_path / "x.tar", {f"{n}.png": b"data" for n in range(4)}, format=tarfile.GNU_FORMAT)
    data = bytearray(path.read_bytes())
    data[at : at + len(replacement)] = replacement
    if sums:  # as someone would who wants to be believed
        start = at // 1024 * 1024
        data[start + 148 : start + 156] = b" " * 8
        data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
    path.write_bytes(data)
    with contextlib.suppress(ShardError):
        samples = list(iterate_samples(path))
        assert sum(len(sample.members) + len(sample.ignored) for sample in samples) <= 5


# ------------------------------------------------------------------------------------------------- sidecar and manifest


def test_a_sidecar_is_read_as_it_was_written(whole: LocalStore) -> None:
    sidecar = read_sidecar(whole, "shard-000001")
    assert sidecar is not None
    assert Sidecar.from_json(sidecar.to_json(), "x") == sidecar
    assert sidecar.failures == [Failure(source="0.png", reason="truncated", detail="cut")]
    assert (sidecar.first, sidecar.last, sidecar.count) == (2, 4, 1)
    assert read_sidecar(whole, "shard-000009") is None
    assert json.loads(sidecar.to_json())["format"] == FORMAT


def test_a_manifest_is_a_function_of_the_sidecars(whole: LocalStore) -> None:
    shards = open_shards(whole.root)
    sidecars = shards.sidecars()
    assert manifest_bytes(sidecars, EXTRA) == whole.read(MANIFEST)
    assert [entry["name"] for entry in shards.shards] == ["shard-000000", "shard-000001"]
    assert [entry["count"] for entry in shards.shards] == [2, 1]
    manifest = shards.manifest
    assert (manifest["num_shards"], manifest["num_samples"], manifest["num_failures"]) == (3, 3, 3)
    assert manifest["bytes"] == sum((whole.size(f"{entry['name']}.tar") or 0) for entry in shards.shards)
    hashes = "".join(hashlib.sha256(whole.read(f"{entry['name']}.tar")).hexdigest() for entry in shards.shards)
    assert manifest["digest"] == hashlib.sha256(hashes.encode()).hexdigest()
    assert manifest["extensions"] == ["hq.png", "json", "lq0.png", "lq1.png"]


def test_a_data_set_gives_its_samples_in_order_and_by_key(whole: LocalStore) -> None:
    shards = open_shards(whole.root)
    assert [sample.key for sample in shards.samples()] == ["000000000", "000000001", "000000003"]
    assert shards.sample("000000003").members == dict(members(3))
    for key in ("000000002", "3", ""):
        with pytest.raises(ShardError, match=rf"no sample '{key}'; keys are nine digits"):
            shards.sample(key)


def altered(store: LocalStore, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads(store.read(name))
    change(data)
    store.write(name, json.dumps(data).encode())


def setting(**changes: Any) -> Callable[[dict[str, Any]], None]:  # noqa: ANN401
    return lambda data: data.update(changes)


SIDECAR = sidecar_path("shard-000000")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (setting(format=2), "format 2 is not the format 1"),
        (setting(count="2"), "field count: expected a whole number within [0, 281474976710655], got '2'"),
        (setting(index={}), "field index: expected a list, got {}"),
        (setting(index=[["000000000", 0]]), "not an entry of an index"),
        (setting(index=[7]), "not an entry of an index: 7"),
        (setting(index=[["000000000", 0.5, 1, 2, 3, 4]]), "not an entry of an index"),
        (setting(failures=[{"source": "x"}]), "field failures[0].reason: expected text, found no such field"),
        (setting(failures=["x"]), "field failures[0]: expected an object with fields, got 'x'"),
        (setting(extra=1), "unknown field extra"),
        (setting(statistics=None), "field statistics: expected an object with fields, got None"),
        (lambda data: data.pop("sha256"), "field sha256: expected text, found no such field"),
    ],
)
def test_an_altered_sidecar_is_refused(whole: LocalStore, change: Callable[[dict[str, Any]], None], words: str) -> None:
    altered(whole, SIDECAR, change)
    with pytest.raises(ShardError, match=r"shard-000000\.json: ") as caught:
        open_shards(whole.root).sidecars()
    assert words in str(caught.value)


SUMMARY = {"count": 1, "min": 1.0, "max": 1.0, "sum": 1.0, "sum_squares": 1.0, "bins": [0] * 19 + [1]}


@pytest.mark.parametrize(
    ("statistics", "words"),
    [
        ({}, "field records: expected"),
        ({"records": 1}, "field ops: expected"),
        ({"records": 1, "ops": [], "parameters": {}}, "field ops: expected an object with fields, got []"),
        ({"records": 1, "ops": {"jpeg": -1}, "parameters": {}}, "field ops.jpeg: expected a whole number"),
        ({"records": 1, "ops": {}, "parameters": {"x": {}}}, "field parameters.x.count: expected"),
        ({"records": 1, "ops": {}, "parameters": {"x": SUMMARY | {"bins": [1]}}}, "x.bins: expected 20 numbers, got 1"),
        ({"records": 1, "ops": {}, "parameters": {"x": SUMMARY | {"sum": "1"}}}, "x.sum: expected a number"),
        ({"records": 1, "ops": {}, "parameters": {"x": SUMMARY | {"max": 1e300}}}, "x.max: expected a number"),
        ({"records": 1, "ops": {}, "parameters": {}, "prompts": None}, "field prompts: expected an object"),
    ],
)
def test_altered_statistics_are_refused(whole: LocalStore, statistics: dict[str, Any], words: str) -> None:
    altered(whole, SIDECAR, setting(statistics=statistics))
    with pytest.raises(ShardError, match=r"damaged: .*shard-000000\.json: statistics: ") as caught:
        open_shards(whole.root).statistics()
    assert words in str(caught.value)


def test_a_missing_sidecar_is_named(whole: LocalStore) -> None:
    whole.delete(sidecar_path("shard-000002"))
    with pytest.raises(ShardError, match=r"no \.degrade_kit/shard-000002\.json"):
        open_shards(whole.root).sidecars()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (setting(format=None), "format None is not"),
        (setting(num_shards="3"), "field num_shards: expected a whole number within [0, 1000000], got '3'"),
        (setting(shards={}), "field shards: expected a list, got {}"),
        (setting(shards=["shard-000000"]), "field shards[0]: expected an object with fields, got 'shard-000000'"),
        (setting(shards=[{"name": "shard-000000"}]), "field shards[0].count: expected a whole number within"),
        (
            setting(num_shards=10**12),
            "field num_shards: expected a whole number within [0, 1000000], got 1000000000000",
        ),
        (setting(variants=10**6), "field variants: expected a whole number within [0, 1000], got 1000000"),
        (setting(mode="flipnet"), "field flipnet: expected text, since LQ images are of a FlipNet, found none"),
        (setting(mode=None), "field mode: expected one of onthefly, flipnet, mix, got None"),
        (setting(lq_only=None), "field lq_only: expected an object with fields, got None"),
        (setting(versions={}), "field versions.degrade_kit: expected text, found no such field"),
        (setting(shards=[{"name": "../../x", "count": 1, "bytes": 1, "sha256": ""}]), "not the name of a shard"),
        (setting(shards=[{"name": "shard-000000\n", "count": 1, "bytes": 1, "sha256": ""}]), "not the name of a shard"),
        (lambda data: data.pop("digest"), "field digest: expected text, found no such field"),
    ],
)
def test_an_altered_manifest_is_refused(
    whole: LocalStore, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    altered(whole, MANIFEST, change)
    with pytest.raises(ShardError, match=r"manifest\.json: ") as caught:
        open_shards(whole.root)
    assert words in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_manifest_that_is_no_json_is_refused(whole: LocalStore, text: bytes) -> None:
    whole.write(MANIFEST, text)
    with pytest.raises(ShardError, match=r"manifest\.json: "):
        open_shards(whole.root)


def test_without_a_manifest_the_advice_is_to_finish_the_run(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="run the `degrade-kit synth` command again"):
        open_shards(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ShardError, match=r"no manifest\.json"):
        open_shards(tmp_path / "file")


def test_readers_find_a_shard_that_is_missing_short_or_another(whole: LocalStore) -> None:
    data = whole.read("shard-000000.tar")
    with tarfile.open(whole.root / "shard-000000.tar") as tar:
        boundary = tar.getmembers()[4].offset
    fewer = data[:boundary] + bytes(len(data) - boundary)  # a whole tar of the right length, with one sample
    for content, words in (
        (data[:boundary], "bytes, expected"),
        (fewer, "1 samples, expected 2"),
        (None, "is missing"),
    ):
        whole.delete("shard-000000.tar")
        if content is not None:
            whole.write("shard-000000.tar", content)
        with pytest.raises(ShardError, match=r"shard-000000\.tar") as caught:
            list(open_shards(whole.root).samples())
        assert words in str(caught.value)
    with pytest.raises(ShardError, match="is missing"):
        open_shards(whole.root).sample("000000000")
    assert open_shards(whole.root).sample("000000003").key == "000000003"
