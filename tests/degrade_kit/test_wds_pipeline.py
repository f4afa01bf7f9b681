from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import degrade_kit as dk

pytestmark = [
    # webdataset leaves the files of shards to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def shards(faces_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six samples with two variants in six shards."""
    out = tmp_path_factory.mktemp("wds") / "out"
    dk.synthesize(faces_dir, out, preset="gfpgan", variants=2, size=64, samples_per_shard=1, workers=0)
    return out


def told(pair: dict[str, Any]) -> tuple[str, int]:
    return pair["key"], pair["variant"]


@pytest.mark.slow
def test_pairs_are_those_of_the_data_set(shards: Path) -> None:
    options = dk.PairOptions(variant="all")
    expected = {told(pair): pair for pair in dk.PairDataset(shards, options)}
    found = list(dk.webdataset(shards, options))

    assert sorted(map(told, found)) == sorted(expected)
    for pair in found:
        other = expected[told(pair)]
        assert torch.equal(pair["hq"], other["hq"])
        assert torch.equal(pair["lq"], other["lq"])
        assert (pair["record"], pair["source"]) == (other["record"], other["source"])


def test_stages_of_the_user_compose(shards: Path) -> None:
    pipeline = dk.webdataset(shards, dk.PairOptions(crop=32, flip=True, dtype="float32"))
    batches = list(pipeline.shuffle(100).map(lambda pair: {**pair, "both": pair["hq"] - pair["lq"]}).batched(4))

    assert [len(batch["key"]) for batch in batches] == [4, 2]
    assert batches[0]["both"].shape == (4, 3, 32, 32)
    assert isinstance(pipeline.shuffle(1), dk.PairPipeline)


@pytest.mark.slow
def test_workers_share_the_shards(shards: Path) -> None:
    pipeline = dk.webdataset(shards, dk.PairOptions(variant=0))
    loader = DataLoader(pipeline, batch_size=None, num_workers=2)

    assert sorted(pair["key"] for pair in loader) == sorted(dk.PairReader(shards).keys)


def test_ranks_share_the_shards(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    seen: list[str] = []
    for rank in range(4):
        monkeypatch.setenv("RANK", str(rank))
        share = [pair["key"] for pair in dk.webdataset(shards, dk.PairOptions(variant=0))]
        assert share
        seen += share

    assert sorted(seen) == sorted(dk.PairReader(shards).keys)
    monkeypatch.setenv("WORLD_SIZE", "7")
    with pytest.raises(dk.ConfigError, match="6 shards for 7 ranks; each needs one"):
        dk.webdataset(shards)


def test_an_epoch_has_an_order_and_draws_of_its_own(shards: Path) -> None:
    pipeline = dk.webdataset(shards, dk.PairOptions(flip=True, seed=3))
    batched = pipeline.batched(1)
    epochs: list[list[tuple[str, int]]] = []
    for epoch in (0, 1, 0):
        batched.set_epoch(epoch)
        assert pipeline.epoch == epoch
        epochs.append([(batch["key"][0], int(batch["variant"][0])) for batch in batched])

    assert epochs[0] == epochs[2]
    assert epochs[0] != epochs[1]
    assert sorted(key for key, _ in epochs[0]) == sorted(key for key, _ in epochs[1])


def test_variants_go_round_from_epoch_to_epoch(shards: Path) -> None:
    pipeline = dk.webdataset(shards, dk.PairOptions(variant="cycle"))
    seen: list[dict[str, int]] = []
    for epoch in range(3):
        pipeline.set_epoch(epoch)
        seen.append(dict(map(told, pipeline)))

    assert all(seen[0][key] != seen[1][key] for key in seen[0])
    assert seen[0] == seen[2]


def test_a_recipe_makes_its_share_anew(shards: Path) -> None:
    options = dk.PairOptions(onthefly=dk.preset("codeformer"), onthefly_prob=0.5)
    pipeline = dk.webdataset(shards, options)
    variants: list[int] = []
    for epoch in range(8):
        pipeline.set_epoch(epoch)
        variants += [pair["variant"] for pair in pipeline]

    assert 0.3 < sum(variant == -1 for variant in variants) / len(variants) < 0.7
    always = dataclasses.replace(options, onthefly_prob=1.0)
    assert {pair["variant"] for pair in dk.webdataset(shards, always)} == {-1}


def test_wrong_options_and_damaged_shards_are_told(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(dk.ConfigError, match="variant: expected 0 to 1"):
        dk.webdataset(shards, dk.PairOptions(variant=2))
    with pytest.raises(dk.ShardError, match=r"no manifest\.json"):
        dk.webdataset(tmp_path)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in shards.iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    (copy / "shard-000002.tar").write_bytes(b"")
    with pytest.raises(dk.ShardError, match=r"shard-000002\.tar has 0 bytes, expected \d+"):
        list(dk.webdataset(copy))
