from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import degrade_kit as dk
from degrade_kit.errors import ConfigError, RunError, ShardError
from degrade_kit.hq import HqConfig
from degrade_kit.image import decode_image
from degrade_kit.pipelines.cli import main
from degrade_kit.pipelines.dataset.export import ExportConfig, export
from degrade_kit.pipelines.executor import ExecutorConfig
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.synth.plan import make_plan
from degrade_kit.pipelines.synth.synthesize import run_plan
from degrade_kit.shards import Sample, open_shards
from degrade_kit.sources import open_sources
from degrade_kit.steps import RandomBlur, RandomGray


def synthesized(faces: Path, out: Path, recipe: dk.Recipe) -> Path:
    config = SynthConfig(hq=str(faces), recipe=recipe, variants=2, samples_per_shard=4, image=HqConfig(size=64))
    assert run_plan(make_plan(config), str(out), ExecutorConfig(workers=0)).complete
    return out


@pytest.fixture(scope="module")
def made(faces_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesized(faces_dir, tmp_path_factory.mktemp("export") / "out", dk.preset("gfpgan"))


def samples(shards: Path) -> list[Sample]:
    return list(open_shards(shards).samples())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.slow
def test_folders_hold_the_pairs_of_the_shards(made: Path, tmp_path: Path) -> None:
    assert export(ExportConfig(shards=str(made), out=tmp_path)) == 12
    notes = {line["name"]: line for line in lines(tmp_path / "records.jsonl")}
    for sample in samples(made):
        for variant in range(2):
            name = f"{sample.key}_{variant}"
            hq, lq = ((tmp_path / side / f"{name}.png").read_bytes() for side in ("hq", "lq"))
            assert hq == sample.image("hq")
            assert np.array_equal(decode_image(lq).pixels, sample.pair(variant)[1])
            assert notes[name]["record"] == sample.record(variant).to_json()
            assert notes[name]["source"] == sample.info["source"]
    names = [sorted(path.name for path in (tmp_path / side).iterdir()) for side in ("hq", "lq")]
    assert names[0] == names[1]
    assert len(names[0]) == 12
    links = {path.stat().st_ino for path in (tmp_path / "hq").iterdir()}
    assert len(links) == 6, "the HQ image of a sample is stored once"


def test_one_variant_has_the_names_of_the_samples_and_may_be_written_again(made: Path, tmp_path: Path) -> None:
    for _ in range(2):
        result = CliRunner().invoke(main, ["export", str(made), "--out", str(tmp_path / "x"), "--variant", "1"])
        assert result.exit_code == 0, result.output
    assert "6 pairs in" in result.stdout  # pyright: ignore[reportPossiblyUnboundVariable]
    for sample in samples(made):
        lq = decode_image((tmp_path / "x/lq" / f"{sample.key}.png").read_bytes()).pixels
        assert np.array_equal(lq, sample.pair(1)[1])
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == [".degrade_kit", "hq", "lq", "records.jsonl"]


def test_a_changed_target_is_the_hq_image(faces_dir: Path, tmp_path: Path) -> None:
    gray = dk.Recipe(name="gray", steps=(RandomBlur(sigma=(1, 3)), RandomGray(prob=1, target=True)))
    shards = synthesized(faces_dir, tmp_path / "out", gray)
    export(ExportConfig(shards=str(shards), out=tmp_path / "x", variant=0))
    for sample in samples(shards):
        hq = decode_image((tmp_path / "x/hq" / f"{sample.key}.png").read_bytes()).pixels
        assert np.array_equal(hq, sample.pair(0)[0])


def test_databases_have_the_layout_of_basicsr(made: Path, tmp_path: Path) -> None:
    pytest.importorskip("lmdb")
    config = ExportConfig(shards=str(made), out=tmp_path, to="lmdb", variant=0)
    assert export(config) == 6
    for side in ("hq", "lq"):
        meta = (tmp_path / f"{side}.lmdb" / "meta_info.txt").read_text().splitlines()
        assert meta == [f"{sample.key}.png (64,64,3) 1" for sample in samples(made)]
        assert (tmp_path / f"{side}.lmdb" / "data.mdb").stat().st_blocks < 10_000
        assert not (tmp_path / f"{side}.lmdb" / "lock.mdb").exists()
        found = open_sources(tmp_path / f"{side}.lmdb")
        for number, sample in enumerate(samples(made)):
            pixels = decode_image(found.read(number)).pixels
            assert np.array_equal(pixels, sample.pair(0)[side == "lq"])
    assert export(config) == 6
    assert len(lines(tmp_path / "records.jsonl")) == 6


def test_databases_fit_into_a_limit_of_addresses_or_say_that_they_do_not(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lmdb")
    config = ExportConfig(shards=str(made), out=tmp_path / "x", to="lmdb", variant=0)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 17, 1 << 17))
    with pytest.raises(RunError, match=r"more than the 32\.8 kB .*`ulimit -v`.* or export with --to folder"):
        export(config)
    assert not list((tmp_path / "x").glob("*.lmdb"))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 26, 1 << 26))
    assert export(config) == 6


def test_lq_of_databases_may_be_smaller(made: Path, tmp_path: Path) -> None:
    pytest.importorskip("lmdb")
    words = ["export", str(made), "--out", str(tmp_path / "x"), "--to", "lmdb", "--variant", "0", "--lq-scale", "4"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    for side, length in (("hq", 64), ("lq", 16)):
        meta = (tmp_path / f"x/{side}.lmdb/meta_info.txt").read_text().splitlines()
        assert meta == [f"{sample.key}.png ({length},{length},3) 1" for sample in samples(made)]
        assert decode_image(open_sources(tmp_path / f"x/{side}.lmdb").read(0), min_side=1).pixels.shape == (
            length,
            length,
            3,
        )
    other = CliRunner().invoke(main, [*words[:-1], "2"])
    assert other.exit_code == 1
    assert "lq_scale" in other.output, "another export is in the folder"


def test_parquet_files_are_a_data_set_of_hugging_face(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("degrade_kit.pipelines.dataset.export._ROW_GROUP", 2)
    monkeypatch.setattr("degrade_kit.pipelines.dataset.export.PARQUET_BYTES", 1)
    out = tmp_path / "x"
    for _ in range(2):  # the second takes the place of the first
        result = CliRunner().invoke(main, ["export", str(made), "--out", str(out), "--to", "parquet", "--variant", "0"])
        assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (out / "data").iterdir()) == [f"train-{i:05d}.parquet" for i in range(3)]
    found = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert [type(found.features[side]).__name__ for side in ("hq", "lq")] == ["Image", "Image"]
    for row, sample in zip(found, samples(made), strict=True):
        hq, lq = sample.pair(0)
        assert row["name"] == sample.key
        assert row["record"] == sample.record(0).to_json()
        assert np.array_equal(np.asarray(row["hq"]), hq)
        assert np.array_equal(np.asarray(row["lq"]), lq)


def test_a_stopped_export_leaves_no_list(made: Path, tmp_path: Path) -> None:
    shards = shutil.copytree(made, tmp_path / "out")
    path = shards / "shard-000001.tar"
    data = bytearray(path.read_bytes())
    data[600:700] = bytes(100)
    path.write_bytes(data)
    with pytest.raises(ShardError, match=r"shard-000001\.tar: sample 000000004"):
        export(ExportConfig(shards=str(shards), out=tmp_path / "x"))
    assert not (tmp_path / "x/records.jsonl").exists()


def test_a_variant_that_is_not_there_is_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="variant: expected 0 to 1, got 2"):
        export(ExportConfig(shards=str(made), out=tmp_path / "x", variant=2))
    assert not (tmp_path / "x").exists()
