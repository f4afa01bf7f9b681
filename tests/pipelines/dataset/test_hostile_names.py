"""Data sets of somebody else's: no name in one is taken for a place outside of the output."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from degrade_kit.errors import ShardError
from degrade_kit.pipelines.cli import main
from degrade_kit.reader import PairReader
from degrade_kit.shards import MANIFEST, open_shards, sidecar_path
from tests.pipelines.models.runs import make_shards

KEYS = ["../../victim/photo", "/victim/photo", "..", "", "photo", "00000000²"]
SHARDS = ["../precious", "/precious", "shard-000000/../../precious", "shard-00000\uff11", ""]


@pytest.fixture(scope="module")
def whole(faces_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(faces_dir, tmp_path_factory.mktemp("whole") / "set")


@pytest.fixture(scope="module")
def bare(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without its faces."""
    out = tmp_path_factory.mktemp("bare") / "set"
    run("export", whole, "--to", "lq-only", "--out", out, code=0)
    return out


def run(*words: object, code: int) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    fields = json.loads(path.read_bytes())
    change(fields)
    path.write_text(json.dumps(fields))


def with_key(source: Path, out: Path, key: str) -> Path:
    """A copy of a data set whose first sample has another key, in tar, sidecar and manifest alike."""
    shutil.copytree(source, out)
    path = out / "shard-000000.tar"
    old, data = "000000000", io.BytesIO()
    with tarfile.open(path) as tar, tarfile.open(fileobj=data, mode="w", format=tarfile.USTAR_FORMAT) as new:
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            member.name = f"{key}{member.name.removeprefix(old)}" if member.name.startswith(f"{old}.") else member.name
            new.addfile(member, content)
    path.write_bytes(data.getvalue())
    digest = {"sha256": hashlib.sha256(data.getvalue()).hexdigest(), "bytes": len(data.getvalue())}

    def change(sidecar: dict[str, Any]) -> None:
        sidecar["index"][0][0] = key
        sidecar.update(digest)

    edit(out / sidecar_path("shard-000000"), change)
    edit(out / MANIFEST, lambda manifest: manifest["shards"][0].update(digest))
    return out


def with_shard(source: Path, out: Path, name: str) -> Path:
    """A copy of a data set with one more sidecar, of a shard without samples and with a name."""
    shutil.copytree(source, out)
    fields = json.loads((out / sidecar_path("shard-000000")).read_bytes())
    (out / sidecar_path("shard-000002")).write_text(
        json.dumps({**fields, "shard": name, "count": 0, "index": [], "bytes": 0, "sha256": ""})
    )
    edit(out / MANIFEST, lambda manifest: manifest.update(num_shards=3))
    return out


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


COMMANDS: dict[str, Callable[[Path, Path], list[object]]] = {
    "export folder": lambda shards, out: ["export", shards, "--out", out],
    "export folder, one variant": lambda shards, out: ["export", shards, "--out", out, "--variant", 0],
    "export lmdb": lambda shards, out: ["export", shards, "--to", "lmdb", "--out", out],
    "export parquet": lambda shards, out: ["export", shards, "--to", "parquet", "--out", out],
    "export lq-only": lambda shards, out: ["export", shards, "--to", "lq-only", "--out", out],
    "replay": lambda shards, out: ["replay", shards, "000000000", "--out", out],
    "inspect": lambda shards, out: ["inspect", shards],
    "verify": lambda shards, out: ["verify", shards, "--workers", 0],
}


def check(words: Sequence[object], root: Path, says: str) -> None:
    """Run a command that must stop, and leave all beside its output as it was."""
    (root / "victim").mkdir(exist_ok=True)
    for name in ("victim/photo.png", "precious.tar"):
        (root / name).write_bytes(b"mine")
    before = content(root)
    assert says in run(*words, code=1)
    after = content(root)
    assert {name: data for name, data in after.items() if not name.startswith("a/out/")} == before


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_key_that_is_none_stops_every_command(command: str, key: str, whole: Path, tmp_path: Path) -> None:
    shards = with_key(whole, tmp_path / "set", key)
    check(COMMANDS[command](shards, tmp_path / "a/out"), tmp_path, "is not the key of a sample: expected nine digits")


@pytest.mark.parametrize("name", SHARDS)
@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "replay"])
def test_a_shard_name_that_is_none_stops_every_command(command: str, name: str, whole: Path, tmp_path: Path) -> None:
    shards = with_shard(whole, tmp_path / "set", name)
    check(COMMANDS[command](shards, tmp_path / "out"), tmp_path, "is not the name of a shard")


@pytest.mark.parametrize("change", ["key", "shard"])
def test_joining_such_a_set_stops(change: str, bare: Path, faces_dir: Path, tmp_path: Path) -> None:
    make, name = (with_key, KEYS[0]) if change == "key" else (with_shard, SHARDS[0])
    shards = make(bare, tmp_path / "set", name)
    words = ["join", shards, "--hq", faces_dir, "--workers", 0, "--out", tmp_path / "out"]
    check(words, tmp_path, "is not the key of" if change == "key" else "is not the name of")


def test_a_member_that_is_no_hq_image_stops_join(bare: Path, faces_dir: Path, tmp_path: Path) -> None:
    shards = shutil.copytree(bare, tmp_path / "set")
    edit(shards / MANIFEST, lambda manifest: manifest["lq_only"].update(extensions=["/../../evil", "json"]))
    words = ["join", shards, "--hq", faces_dir, "--workers", 0, "--out", tmp_path / "out"]
    check(words, tmp_path, "expected an HQ image as a sample's first member")


def test_a_sidecar_of_another_shard_is_refused(whole: Path, tmp_path: Path) -> None:
    shards = with_shard(whole, tmp_path / "set", "shard-000000")
    with pytest.raises(ShardError, match="belongs to another shard: expected shard-000002, found shard-000000"):
        open_shards(shards).sidecars()


def test_a_key_in_a_tar_alone_is_refused(whole: Path, tmp_path: Path) -> None:
    shards = with_key(whole, tmp_path / "set", "..")
    shutil.copyfile(whole / sidecar_path("shard-000000"), shards / sidecar_path("shard-000000"))
    with pytest.raises(ShardError, match=r"shard-000000\.tar: '' is not the key of a sample"):
        list(open_shards(shards).samples())


def plain_tar(path: Path, key: str, faces_dir: Path) -> Path:
    """A tar that another writer made, with one pair."""
    data = (faces_dir / "nested/hopper_tiny.png").read_bytes()
    with tarfile.open(path, "w") as tar:
        for name in ("hq.png", "lq.png"):
            info = tarfile.TarInfo(f"{key}.{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    os.utime(path, (1e9, 1e9))  # of one that has just been written, no index is kept
    return path


@pytest.mark.parametrize("key", ["../../victim/photo", "/victim/photo", "a/../../photo", "a//photo", "a/./photo", "/"])
@pytest.mark.parametrize("form", ["folder", "lmdb", "parquet"])
def test_a_key_of_plain_tars_that_leads_out_is_refused(form: str, key: str, faces_dir: Path, tmp_path: Path) -> None:
    tar = plain_tar(tmp_path / "x.tar", key, faces_dir)
    words = ["export", tar, "--to", form, "--out", tmp_path / "out"]
    check(words, tmp_path, "is not the name of a file in it: it is empty, absolute or has `..`")


def test_plain_tars_with_folders_are_exported(faces_dir: Path, tmp_path: Path) -> None:
    tar = plain_tar(tmp_path / "x.tar", "./people/0001", faces_dir)  # as `tar cf x.tar .` writes it
    run("export", tar, "--out", tmp_path / "out", code=0)
    assert (tmp_path / "out/hq/people/0001_0.png").is_file()


def test_an_index_that_came_with_a_tar_is_not_believed(faces_dir: Path, tmp_path: Path) -> None:
    import numpy as np

    tar = plain_tar(tmp_path / "x.tar", "0001", faces_dir)
    assert PairReader(tar).keys == ["0001"]
    (place,) = (tmp_path / ".degrade_kit/index").iterdir()
    with np.load(place) as kept:
        arrays: dict[str, Any] = {name: kept[name] for name in kept.files}
    arrays["keys"] = np.array([b"../../victim/photo"])
    np.savez(place, **arrays)
    assert PairReader(tar).keys == ["0001"]


def test_an_index_is_not_written_through_a_link(faces_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "tars").mkdir()
    (tmp_path / "elsewhere").mkdir()
    tar = plain_tar(tmp_path / "tars/x.tar", "0001", faces_dir)
    (tmp_path / "tars/.degrade_kit").symlink_to(tmp_path / "elsewhere")
    assert PairReader(tar).keys == ["0001"]
    assert not list((tmp_path / "elsewhere").iterdir())
