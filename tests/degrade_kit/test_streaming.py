from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import json
import pickle
import re
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import degrade_kit as dk
from degrade_kit.epoch_order import draw_epoch, epoch_order, rank_share, worker_share
from degrade_kit.errors import ConfigError, ShardError
from degrade_kit.hq import HqConfig
from degrade_kit.image import to_float
from degrade_kit.pipelines.executor import ExecutorConfig
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.synth.plan import make_plan
from degrade_kit.pipelines.synth.synthesize import run_plan
from degrade_kit.reader import PairReader
from degrade_kit.seeding import epoch_generator
from degrade_kit.shards import open_shards
from degrade_kit.steps import RandomBlur, RandomGray
from degrade_kit.store import LocalStore, open_store
from degrade_kit.streaming import Pair, PairDataset, PairLoader, PairMapDataset, PairOptions

# torch warns of more workers than cores.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

HERE = ExecutorConfig(workers=0)
SIZE = 64
SAMPLES = 6


def synthesized(faces: Path, out: Path, recipe: dk.Recipe, **changes: Any) -> Path:  # noqa: ANN401
    """Shards of 4 and 2 samples, two variants each."""
    config = SynthConfig(hq=str(faces), recipe=recipe, variants=2, samples_per_shard=4, image=HqConfig(size=SIZE))
    assert run_plan(make_plan(dataclasses.replace(config, **changes)), str(out), HERE).complete
    return out


@pytest.fixture(scope="module")
def made(faces_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesized(faces_dir, tmp_path_factory.mktemp("streaming") / "out", dk.preset("gfpgan"))


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """A copy of the data set to do harm to."""
    return shutil.copytree(made, tmp_path / "out")


def hwc(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    return tensor.permute(1, 2, 0).numpy()


def keys_of(batches: Sequence[dict[str, Any]]) -> list[str]:
    return [key for batch in batches for key in batch["key"]]


def same(first: Pair, second: Pair) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) if isinstance(value, torch.Tensor) else value == second[name]
        for name, value in first.items()
    )


# ---------------------------------------------------------------------------------------------------------- the order


def emulated(share: Any, batch_size: int, num_workers: int) -> list[list[int]]:  # noqa: ANN401
    """Batches of a rank in the order in which a DataLoader asks its workers, one after the other."""
    if num_workers == 0:
        parts = [worker_share(share, batch_size, 0, 1)]
    else:
        parts = [worker_share(share, batch_size, worker, num_workers) for worker in range(num_workers)]
    queues = [[part[at : at + batch_size].tolist() for at in range(0, len(part), batch_size)] for part in parts]
    batches: list[list[int]] = []
    while any(queues):
        batches += [queue.pop(0) for queue in queues if queue]
    return batches


@pytest.mark.slow
@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    world_size=st.integers(1, 4),
    num_workers=st.integers(0, 3),
    batch_size=st.integers(1, 4),
    window=st.one_of(st.none(), st.integers(1, 6)),
    epoch=st.integers(0, 3),
)
def test_every_item_comes_once_over_ranks_and_workers(
    sizes: list[int], world_size: int, num_workers: int, batch_size: int, window: int | None, epoch: int
) -> None:
    total = sum(sizes)
    order = epoch_order(sizes, 5, epoch, window=window)
    assert sorted(order.tolist()) == list(range(total))
    for uneven in ("pad", "drop"):
        shares = [rank_share(order, 0, rank, world_size, uneven) for rank in range(world_size)]
        seen = [list(chain(*emulated(share, batch_size, num_workers))) for share in shares]
        assert [len(items) for items in seen] == [len(seen[0])] * world_size
        assert seen == [share.tolist() for share in shares], "the order does not depend on the number of workers"
        counts = Counter(chain(*seen))
        if uneven == "drop":
            assert set(counts.values()) <= {1}
            assert total - len(counts) == total % world_size
        else:
            assert set(counts) == set(range(total))
            assert sum(counts.values()) - total == -total % world_size
            assert max(counts.values()) - min(counts.values()) <= 1 or total < world_size


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("num_workers", [0, 1, 2, 3])
@pytest.mark.parametrize("uneven", ["pad", "drop"])
def test_uneven_shards_are_split_exactly(world_size: int, num_workers: int, uneven: Any) -> None:  # noqa: ANN401
    order = epoch_order([7, 3, 5], 0, 0)
    shares = [rank_share(order, 0, rank, world_size, uneven) for rank in range(world_size)]
    seen = Counter(item for share in shares for batch in emulated(share, 2, num_workers) for item in batch)
    assert len({len(share) for share in shares}) == 1
    assert sum(seen.values()) == world_size * len(shares[0])
    if uneven == "pad":
        assert set(seen) == set(range(15))
    else:
        assert max(seen.values()) == 1


@given(
    total=st.integers(1, 30),
    world_size=st.integers(1, 4),
    steps=st.integers(0, 12),
    uneven=st.sampled_from(["pad", "drop"]),
)
def test_what_remains_is_the_rest_of_each_rank(total: int, world_size: int, steps: int, uneven: Any) -> None:  # noqa: ANN401
    order = epoch_order([total], 0, 0)
    for rank in range(world_size):
        whole = rank_share(order, 0, rank, world_size, uneven).tolist()
        consumed = min(steps, len(whole)) * world_size
        assert rank_share(order, consumed, rank, world_size, uneven).tolist() == whole[steps:]


@given(world_size=st.integers(1, 4), later=st.integers(1, 4), steps=st.integers(0, 4))
def test_another_number_of_ranks_goes_on_with_the_same_remainder(world_size: int, later: int, steps: int) -> None:
    order = epoch_order([9, 8], 0, 0)
    before = {i for rank in range(world_size) for i in rank_share(order, 0, rank, world_size, "pad")[:steps].tolist()}
    after = [i for rank in range(later) for i in rank_share(order, steps * world_size, rank, later, "drop").tolist()]
    assert len(after) == len(set(after))
    assert not before & set(after)
    assert 17 - len(before) - len(after) < later


def test_the_order_differs_by_epoch_and_seed_and_is_equal_for_equal_ones() -> None:
    for window in (None, 1, 2):
        orders = {
            tuple(epoch_order([5, 6, 7], seed, epoch, window=window).tolist()) for seed in (0, 1) for epoch in (0, 1, 2)
        }
        assert len(orders) == 6
        again = epoch_order([5, 6, 7], 1, 2, window=window)
        assert tuple(again.tolist()) in orders


def test_a_window_mixes_so_many_shards_at_a_time() -> None:
    order = epoch_order([4] * 6, 0, 0, window=2).reshape(3, 8) // 4
    assert [len(set(shards)) for shards in order.tolist()] == [2, 2, 2]
    assert sorted(shard for shards in order.tolist() for shard in set(shards)) == list(range(6))
    assert order[0].tolist() != sorted(order[0].tolist()), "and mixes them"


def test_variants_are_chosen_as_asked() -> None:
    epochs = [draw_epoch(50, 3, 0, epoch, variant="cycle").variant for epoch in range(3)]
    assert sorted(np.stack(epochs).T.tolist()[0]) == [0, 1, 2]
    assert all(sorted(column) == [0, 1, 2] for column in np.stack(epochs).T.tolist())
    assert set(draw_epoch(50, 3, 0, 0, variant=2).variant.tolist()) == {2}
    drawn = draw_epoch(300, 3, 0, 0).variant
    assert min(Counter(drawn.tolist()).values()) > 60
    assert (drawn != draw_epoch(300, 3, 0, 1).variant).any()
    every = draw_epoch(5, 3, 0, 0, variant="all")
    pairs = list(zip(every.sample.tolist(), every.variant.tolist(), strict=True))
    assert pairs == [(sample, variant) for sample in range(5) for variant in range(3)]


def test_no_draw_depends_on_what_else_is_asked_for() -> None:
    plain, full = draw_epoch(40, 2, 0, 3), draw_epoch(40, 2, 0, 3, onthefly_prob=0.5, flip_prob=0.5)
    assert np.array_equal(plain.variant, full.variant)
    assert not plain.flip.any()
    assert not plain.onthefly.any()
    assert 8 < full.flip.sum() < 32
    assert 8 < full.onthefly.sum() < 32
    assert (full.flip != full.onthefly).any()


# ----------------------------------------------------------------------------------------------------------- the pairs


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["gfpgan", "flipnet-paper", "codeformer"])
@pytest.mark.parametrize("lq_size", ["native", "full"])
def test_pairs_equal_those_of_the_shards_to_the_bit(faces_dir: Path, tmp_path: Path, recipe: str, lq_size: str) -> None:
    out = synthesized(faces_dir, tmp_path / "out", dk.preset(recipe), lq_size=lq_size)
    samples = list(open_shards(out).samples())
    assert len(samples) == SAMPLES
    for variant in (0, 1):
        pairs = PairMapDataset(out, PairOptions(variant=variant))
        assert len(pairs) == SAMPLES
        for sample, pair in zip(samples, (pairs[n] for n in range(len(pairs))), strict=True):
            hq, lq = sample.pair(variant)
            assert pair["hq"].dtype == pair["lq"].dtype == torch.uint8
            assert pair["hq"].shape == pair["lq"].shape == (3, SIZE, SIZE)
            assert np.array_equal(hwc(pair["hq"]), hq)
            assert np.array_equal(hwc(pair["lq"]), lq)
            assert pair["record"] == sample.record(variant).to_json()
            assert (pair["key"], pair["source"], pair["variant"]) == (sample.key, sample.info["source"], variant)


def test_a_target_that_the_recipe_changes_is_the_hq_of_the_pair(faces_dir: Path, tmp_path: Path) -> None:
    gray = dk.Recipe(name="gray", steps=(RandomBlur(sigma=(1, 3)), RandomGray(prob=1, target=True)))
    out = synthesized(faces_dir, tmp_path / "out", gray)
    (first, *_) = open_shards(out).samples()
    pair = PairMapDataset(out, PairOptions(variant=0))[0]
    assert np.array_equal(hwc(pair["hq"]), first.pair(0)[0])
    assert not np.array_equal(hwc(pair["hq"]), first.hq())


def test_floats_are_the_pixels_in_0_to_1(made: Path) -> None:
    exact = PairMapDataset(made, PairOptions(variant=0))[2]
    floats = PairMapDataset(made, PairOptions(variant=0, dtype="float32"))[2]
    for name in ("hq", "lq"):
        assert floats[name].dtype == torch.float32
        assert np.array_equal(hwc(floats[name]), to_float(hwc(exact[name])))


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [2, None])
def test_floats_of_whole_batches_are_those_of_the_pairs(made: Path, batch_size: int | None) -> None:
    pairs = PairDataset(made, PairOptions(dtype="float32", crop=40, flip=True, seed=3))
    for workers in (0, 2):
        pairs.set_epoch(workers)
        expected = list(pairs)
        loader = PairLoader(pairs, batch_size=batch_size, num_workers=workers)
        assert loader.pairs is pairs
        found = list(loader)
        assert pairs.epoch == workers + 1
        for number, pair in enumerate(expected):
            batch = found[number // batch_size] if batch_size else found[number]
            for name in ("hq", "lq"):
                tensor = batch[name][number % batch_size] if batch_size else batch[name]
                assert tensor.dtype == torch.float32
                assert torch.equal(tensor, pair[name])


def test_a_collate_function_gets_floats(made: Path) -> None:
    pairs = PairDataset(made, PairOptions(dtype="float32"))
    for batch in PairLoader(pairs, batch_size=2, num_workers=1, collate_fn=lambda pairs: {"key": "12", "of": pairs}):
        assert {pair["hq"].dtype for pair in batch["of"]} == {torch.float32}
    assert pairs.pairs[0]["lq"].dtype == torch.float32


def test_all_variants_of_all_samples_come_in_an_epoch(made: Path) -> None:
    pairs = PairDataset(made, PairOptions(variant="all"))
    seen = Counter((pair["key"], pair["variant"]) for pair in pairs)
    assert len(pairs) == len(seen) == 2 * SAMPLES
    assert set(seen.values()) == {1}


@pytest.mark.slow
def test_the_crop_and_the_flip_are_those_of_both_images(made: Path) -> None:
    whole = PairMapDataset(made, PairOptions(variant=1))
    cropped = PairMapDataset(made, PairOptions(variant=1, crop=40, flip=True))
    places = set[tuple[int, int, bool]]()
    for epoch in range(4):
        cropped.set_epoch(epoch)
        for number in range(SAMPLES):
            full, part = whole[number], cropped[number]
            found = [
                (top, left, flip)
                for top in range(SIZE - 39)
                for left in range(SIZE - 39)
                for flip in (False, True)
                if all(
                    torch.equal(
                        part[name].flip(2) if flip else part[name], full[name][:, top : top + 40, left : left + 40]
                    )
                    for name in ("hq", "lq")
                )
            ]
            assert len(found) == 1
            places.update(found)
            assert same(part, cropped[number]), "the same epoch gives the same place"
    assert len(places) > 20
    assert {flip for _, _, flip in places} == {False, True}


@pytest.mark.slow
def test_lq_may_be_smaller_than_hq_by_a_whole_number(faces_dir: Path, tmp_path: Path) -> None:
    shards = synthesized(faces_dir, tmp_path / "out", dk.preset("real-esrgan"))
    whole, cut = (PairMapDataset(shards, PairOptions(lq_scale=4, flip=True, crop=crop)) for crop in (None, 32))
    for item in range(SAMPLES):
        pair, part = whole[item], cut[item]
        sample = next(each for each in open_shards(shards).samples() if each.key == pair["key"])
        native = sample.native_lq(pair["variant"])
        assert native.shape == (16, 16, 3)
        lq, hq = hwc(pair["lq"]), hwc(pair["hq"])
        assert np.array_equal(lq, native) or np.array_equal(lq, native[:, ::-1])
        places = [
            (top, left)
            for top in range(33)
            for left in range(33)
            if np.array_equal(hwc(part["hq"]), hq[top : top + 32, left : left + 32])
        ]
        assert len(places) == 1
        top, left = (number // 4 for number in places[0])
        assert places[0] == (4 * top, 4 * left)
        assert np.array_equal(hwc(part["lq"]), lq[top : top + 8, left : left + 8])
    fresh = PairMapDataset(shards, PairOptions(lq_scale=2, onthefly=dk.preset("gfpgan"), onthefly_prob=1))[0]
    assert (tuple(fresh["lq"].shape), tuple(fresh["hq"].shape)) == ((3, 32, 32), (3, 64, 64))
    streamed = next(iter(dk.webdataset(shards, PairOptions(lq_scale=4))))
    assert tuple(streamed["lq"].shape) == (3, 16, 16)


def test_sizes_that_no_smaller_lq_image_fits_are_errors(made: Path) -> None:
    with pytest.raises(ConfigError, match="a multiple of lq_scale, 4, got 30"):
        PairOptions(lq_scale=4, crop=30)
    with pytest.raises(ConfigError, match="lq_scale: expected 1, 2, 4"):
        PairOptions(lq_scale=0)
    with pytest.raises(ShardError, match="64 x 64 pixels are no multiple of 5"):
        PairMapDataset(made, PairOptions(lq_scale=5))[0]


def test_a_crop_larger_than_the_images_is_an_error_before_any_is_read(made: Path) -> None:
    said = r"crop: .* has images of 64 x 64 pixels and more, of which no 65 x 65 can be cut; give at most 64"
    with pytest.raises(ConfigError, match=said):
        PairMapDataset(made, PairOptions(crop=65))
    with pytest.raises(ConfigError, match=said):
        dk.PairDataset(made, PairOptions(crop=65))
    PairMapDataset(made, PairOptions(crop=64))


@pytest.fixture(scope="module")
def of_all_sizes(faces_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces of 48 to 256 pixels, square and not, at their own sizes."""
    out = tmp_path_factory.mktemp("sizes") / "out"
    dk.synthesize(faces_dir, out, preset="gfpgan", size=0, samples_per_shard=2, workers=0)
    return out


@pytest.mark.slow
def test_a_data_set_of_all_sizes_knows_its_least_and_greatest(of_all_sizes: Path, tmp_path: Path) -> None:
    shapes = [
        PairReader(of_all_sizes).decode_hq(PairReader(of_all_sizes).read(index, None)).shape for index in range(6)
    ]
    extent = [*np.min(shapes, axis=0)[:2], *np.max(shapes, axis=0)[:2]]
    assert json.loads((of_all_sizes / "manifest.json").read_text())["extent"] == extent
    assert PairReader(of_all_sizes).extent == tuple(extent)
    with pytest.raises(
        ConfigError, match=r"of which no 64 x 64 can be cut; give at most 48, or make it with a greater"
    ):
        PairMapDataset(of_all_sizes, PairOptions(crop=64))
    PairMapDataset(of_all_sizes, PairOptions(crop=48))


def test_images_of_several_sizes_in_a_batch_are_an_error_before_the_first(of_all_sizes: Path) -> None:
    with pytest.raises(ConfigError, match=r"its images have 48 x 48 to 256 x 256 pixels, .* give crop, at most 48"):
        PairLoader(dk.PairDataset(of_all_sizes), batch_size=2)
    assert len(list(PairLoader(dk.PairDataset(of_all_sizes), batch_size=1))) == 6
    assert len(list(PairLoader(dk.PairDataset(of_all_sizes, PairOptions(crop=48)), batch_size=2))) == 3
    kept = PairLoader(dk.PairDataset(of_all_sizes), batch_size=6, collate_fn=lambda pairs: {"key": pairs})
    assert len(next(iter(kept))["key"]) == 6


def test_a_data_set_that_does_not_tell_its_sizes_says_give_crop_in_our_words(
    of_all_sizes: Path, tmp_path: Path
) -> None:
    older = shutil.copytree(of_all_sizes, tmp_path / "older")  # as degrade-kit wrote it before it noted sizes
    for path in (older / "manifest.json", *older.glob(".degrade_kit/shard-*.json")):
        fields = json.loads(path.read_text())
        del fields["extent"]
        path.write_text(json.dumps(fields))
    assert PairReader(older).extent == ()
    with pytest.raises(ConfigError, match=r"the images of a batch need one size, .*; give crop, or batch_size=1"):
        list(PairLoader(dk.PairDataset(older), batch_size=6))
    with pytest.raises(ConfigError, match=r"crop: sample \d+ has \d+ x \d+ pixels, of which no 200 x 200 can be cut"):
        list(PairLoader(dk.PairDataset(older, PairOptions(crop=200)), batch_size=1))


@pytest.mark.parametrize("extent", [[1, 2, 3], [1, 2, 3, "4"], {"least": 1}])
def test_an_odd_extent_is_refused(of_all_sizes: Path, tmp_path: Path, extent: object) -> None:
    copy = shutil.copytree(of_all_sizes, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "extent": extent}))
    with pytest.raises(ShardError, match="field extent"):
        PairReader(copy)


def test_lq_images_are_made_on_the_fly_from_the_same_hq_image(made: Path) -> None:
    recipe = dk.preset("codeformer")
    stored = PairMapDataset(made, PairOptions(variant=1))
    fresh = PairMapDataset(made, PairOptions(variant=1, onthefly=recipe, onthefly_prob=1.0, seed=3))
    records = set[str]()
    for epoch in range(2):
        fresh.set_epoch(epoch)
        for number in range(SAMPLES):
            pair = fresh[number]
            record = recipe.draw(epoch_generator(3, epoch, pair["source"], 1))
            assert pair["record"] == record.to_json()
            assert pair["variant"] == -1
            assert torch.equal(pair["hq"], stored[number]["hq"])
            expected = dk.apply(record, to_float(hwc(stored[number]["hq"])))
            assert np.array_equal(to_float(hwc(pair["lq"])), expected)
            records.add(pair["record"])
    assert len(records) == 2 * SAMPLES


def test_stored_and_fresh_pairs_are_mixed_per_sample(made: Path) -> None:
    options = PairOptions(variant="all", onthefly=dk.preset("gfpgan"))
    mixed, stored = PairMapDataset(made, options), PairMapDataset(made, PairOptions(variant="all"))
    fresh = 0
    for epoch in range(5):
        mixed.set_epoch(epoch)
        for number in range(2 * SAMPLES):
            pair = mixed[number]
            fresh += pair["variant"] == -1
            assert pair["variant"] == -1 or same(pair, stored[number])
    assert 15 < fresh < 45


@pytest.mark.slow
def test_pairs_do_not_depend_on_rank_or_worker_or_order(made: Path) -> None:
    options = PairOptions(crop=32, flip=True, onthefly=dk.preset("gfpgan"), seed=9)
    expected = {pair["key"]: pair for pair in PairDataset(made, options, shuffle=False)}
    for rank in range(2):
        dataset = PairDataset(made, options, batch_size=2, rank=rank, world_size=2)
        for batch in DataLoader(dataset, batch_size=2, num_workers=2):
            for at, key in enumerate(batch["key"]):
                pair = {name: value[at] for name, value in batch.items()}
                pair["variant"] = int(pair["variant"])
                assert same(pair, expected[key])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"variant": 2}, "variant: expected 0 to 1"),
        ({"variant": "first"}, "variant: expected a number"),
        ({"onthefly_prob": 1.5}, "onthefly_prob: expected 0 to 1"),
        ({"crop": 0}, "crop: expected a side"),
        ({"dtype": "float16"}, "dtype: expected"),
    ],
)
def test_wrong_options_are_refused(made: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        PairMapDataset(made, PairOptions(**options))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"uneven": "repeat"}, "uneven: expected"),
        ({"window": 0}, "window: expected"),
        ({"rank": 1}, "rank and world_size go together"),
        ({"rank": 2, "world_size": 2}, "rank: expected 0 to 1, got 2"),
    ],
)
def test_a_wrong_order_is_refused(made: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        PairDataset(made, **options)


# ---------------------------------------------------------------------------------------------------------- the loader


@pytest.mark.slow
@pytest.mark.parametrize(("world_size", "num_workers"), [(1, 0), (1, 3), (2, 2), (4, 1)])
def test_an_epoch_of_real_loaders_has_every_sample_once(made: Path, world_size: int, num_workers: int) -> None:
    seen = list[str]()
    lengths = set[int]()
    for rank in range(world_size):
        dataset = PairDataset(made, uneven="drop", rank=rank, world_size=world_size)
        loader = PairLoader(dataset, batch_size=2, num_workers=num_workers)
        batches = list(loader)
        assert len(batches) == len(loader)
        lengths.add(len(keys_of(batches)))
        seen += keys_of(batches)
    assert lengths == {SAMPLES // world_size}
    assert len(seen) == len(set(seen))
    assert SAMPLES - len(seen) == SAMPLES % world_size


@pytest.mark.slow
def test_the_loader_gives_another_order_in_each_epoch_whatever_the_workers(made: Path) -> None:
    epochs = list[list[list[str]]]()
    for workers in ({"num_workers": 0}, {"num_workers": 2}, {"num_workers": 2, "persistent_workers": True}):
        loader = PairLoader(PairDataset(made), batch_size=2, **workers)
        epochs.append([keys_of(list(loader)) for _ in range(3)])
        assert loader.epoch == 3
    assert epochs[0] == epochs[1] == epochs[2]
    assert len({tuple(keys) for keys in epochs[0]}) == 3


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(0, 0), (2, 2), (2, 3), (3, 0)])
@pytest.mark.parametrize("step", [0, 1, 3])
def test_a_stopped_epoch_goes_on_to_the_same_remainder(made: Path, before: int, after: int, step: int) -> None:
    def loader(num_workers: int) -> PairLoader:
        options = PairOptions(variant="all", flip=True, onthefly=dk.preset("gfpgan"))
        return PairLoader(PairDataset(made, options), batch_size=3, num_workers=num_workers)

    first = loader(before)
    first.set_epoch(4)
    whole = list[dict[str, Any]]()
    state: dict[str, Any] = first.state_dict()
    for number, batch in enumerate(first, 1):
        whole.append(batch)
        if number == step:
            state = json.loads(json.dumps(first.state_dict()))
    second = loader(after)
    second.load_state_dict(state)
    second.set_epoch(4)  # as training loops do, and nothing changes
    rest = list(second)
    assert len(rest) == len(whole) - step
    assert all(same(one, other) for one, other in zip(rest, whole[step:], strict=True))
    assert second.epoch == 5
    assert keys_of(list(second)) == keys_of(list(first)), "the epoch after it is whole"


def test_an_epoch_that_was_left_begins_again(made: Path) -> None:
    loader = PairLoader(PairDataset(made), batch_size=2)
    expected = keys_of([next(iter(loader))])
    assert keys_of([next(iter(loader))]) == expected
    assert len(list(loader)) == 3


def test_a_resumed_epoch_that_was_left_begins_again_as_a_whole(made: Path) -> None:
    loader = PairLoader(PairDataset(made), batch_size=2)
    whole = keys_of(list(loader))
    loader.load_state_dict({**loader.state_dict(), "epoch": 0, "consumed": 2})
    assert keys_of([next(iter(loader))]) == whole[2:4]
    assert keys_of(list(loader)) == whole


@pytest.mark.slow
def test_any_rank_s_state_is_that_of_all_and_goes_on_with_other_ranks(made: Path) -> None:
    def loader(rank: int, world_size: int) -> PairLoader:
        dataset = PairDataset(made, PairOptions(variant="all"), rank=rank, world_size=world_size)
        return PairLoader(dataset, batch_size=2, num_workers=1)

    states, wholes = list[dict[str, Any]](), list[list[Any]]()
    for rank in range(2):
        first = loader(rank, 2)
        wholes.append([])
        for number, batch in enumerate(first, 1):
            wholes[-1].append(batch)
            if number == 1:
                states.append(first.state_dict())
    assert states[0] == states[1]
    assert states[0]["consumed"] == 4
    for rank in range(2):
        again = loader(rank, 2)
        again.load_state_dict(states[0])
        assert all(same(one, other) for one, other in zip(again, wholes[rank][1:], strict=True))
    rest = list[tuple[str, int]]()
    for rank in range(4):
        other = loader(rank, 4)
        other.load_state_dict(states[0])
        for batch in other:
            rest += zip(batch["key"], batch["variant"].tolist(), strict=True)
    done = [pair for whole in wholes for pair in zip(whole[0]["key"], whole[0]["variant"].tolist(), strict=True)]
    assert len({*rest, *done}) == len(rest) + len(done) == 2 * SAMPLES


def test_a_state_after_the_last_batch_goes_on_with_the_next_epoch(made: Path) -> None:
    first = PairLoader(PairDataset(made), batch_size=2)
    for _ in first:
        state = first.state_dict()
    second = PairLoader(PairDataset(made), batch_size=2)
    second.load_state_dict(state)  # pyright: ignore[reportPossiblyUnboundVariable]
    assert list(second) == []
    assert keys_of(list(second)) == keys_of(list(first))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_who_counts_the_batches_and_asks_for_no_more_sees_all_epochs(made: Path, workers: int) -> None:
    expected = PairLoader(PairDataset(made), batch_size=2)
    loader = PairLoader(PairDataset(made), batch_size=2, num_workers=workers)
    for epoch in range(3):
        assert loader.epoch == (0 if epoch == 0 else epoch - 1)
        assert keys_of(list(itertools.islice(loader, len(loader)))) == keys_of(list(expected))
    assert keys_of(list(loader)) == keys_of(list(expected))


def test_an_epoch_that_is_asked_for_again_is_given_again(made: Path) -> None:
    loader = PairLoader(PairDataset(made), batch_size=SAMPLES)
    (first,) = itertools.islice(loader, 1)
    loader.set_epoch(0)
    assert keys_of(list(loader)) == keys_of([first])
    assert loader.epoch == 1


@pytest.mark.slow
def test_a_plain_loader_goes_on_with_the_count_of_its_consumer(made: Path) -> None:
    dataset = PairDataset(made, batch_size=2)
    dataset.set_epoch(1)
    whole = list(DataLoader(dataset, batch_size=2, num_workers=2))
    state = dataset.state_dict(consumed=2)
    assert state["consumed"] == 2
    other = PairDataset(made, batch_size=2)
    other.load_state_dict(state)
    assert keys_of(list(DataLoader(other, batch_size=2))) == keys_of(whole)[2:]
    assert other.state_dict(consumed=2)["consumed"] == 4


@pytest.mark.parametrize("other", [{"shuffle": False}, {"window": 1}, {"options": PairOptions(seed=1)}])
def test_a_state_of_another_order_is_refused(made: Path, other: dict[str, Any]) -> None:
    state = PairDataset(made).state_dict(3)
    with pytest.raises(ConfigError, match=r"cannot go on from this state: (shuffle|window|seed) "):
        PairDataset(made, **other).load_state_dict(state)


def test_data_sets_may_be_pickled(made: Path) -> None:
    dataset = PairDataset(made, batch_size=2)
    dataset.set_epoch(2)
    first = list(dataset)
    again = pickle.loads(pickle.dumps(dataset))
    assert all(same(one, other) for one, other in zip(again, first, strict=True))


@pytest.mark.slow
@pytest.mark.long
def test_spawned_workers_give_the_same(made: Path) -> None:
    expected = keys_of(list(PairLoader(PairDataset(made), batch_size=2)))
    loader = PairLoader(PairDataset(made), batch_size=2, num_workers=1, multiprocessing_context="spawn")
    assert keys_of(list(loader)) == expected


TRAIN = """
import json, sys
import torch
from torch import distributed
from degrade_kit.streaming import PairDataset, PairLoader, PairOptions

shards, result, init_method, rank = sys.argv[1:]
distributed.init_process_group("gloo", init_method=init_method, rank=int(rank), world_size=2)
loader = PairLoader(PairDataset(shards, PairOptions(variant="all")), batch_size=5, num_workers=1)
keys = []
for batch in loader:
    steps = torch.ones(1)
    distributed.all_reduce(steps)  # hangs where a rank has a step less
    assert steps.item() == 2
    keys += [f"{key}/{variant}" for key, variant in zip(batch["key"], batch["variant"].tolist())]
with open(result, "w") as file:
    json.dump(keys, file)
distributed.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_of_torch_distributed_share_an_epoch(made: Path, tmp_path: Path) -> None:
    results = [tmp_path / f"{rank}.json" for rank in range(2)]
    meeting = f"file://{tmp_path}/meeting"
    processes = [
        subprocess.Popen([sys.executable, "-c", TRAIN, str(made), str(results[rank]), meeting, str(rank)])
        for rank in range(2)
    ]
    try:
        assert [process.wait(120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    keys = [json.loads(result.read_text()) for result in results]
    assert [len(each) for each in keys] == [SAMPLES, SAMPLES]
    assert len({*keys[0], *keys[1]}) == 2 * SAMPLES


# ------------------------------------------------------------------------------------------------- damage and evil


def read_all(out: Path, **options: Any) -> None:  # noqa: ANN401
    for _ in PairDataset(out, PairOptions(variant="all"), **options):
        pass


def cut(out: Path) -> None:
    path = out / "shard-000001.tar"
    path.write_bytes(path.read_bytes()[:-2048])


def cut_and_filled(out: Path) -> None:
    path = out / "shard-000001.tar"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))


def removed(out: Path) -> None:
    (out / "shard-000001.tar").unlink()


def without_sidecar(out: Path) -> None:
    (out / ".degrade_kit/shard-000001.json").unlink()


def flipped(out: Path) -> None:
    """One bit of the pixels of the last HQ image."""
    reader = PairReader(out)
    path = out / "shard-000001.tar"
    data = bytearray(path.read_bytes())
    data[int(reader._starts[-1, 0] + reader._sizes[-1, 0] // 2)] ^= 4
    path.write_bytes(data)


def edited(file: str, **changes: Any) -> Callable[[Path], None]:  # noqa: ANN401
    def edit(out: Path) -> None:
        path = out / file
        path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))

    return edit


def miscounted(out: Path) -> None:
    path = out / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["shards"][1]["count"] += 1
    path.write_text(json.dumps(manifest))


def moved_index(out: Path) -> None:
    path = out / ".degrade_kit/shard-000001.json"
    sidecar = json.loads(path.read_bytes())
    sidecar["index"][1][1] += 512
    path.write_text(json.dumps(sidecar))


def renamed_member(out: Path) -> None:
    """The last sample's HQ member becomes a link; all sizes stay."""
    path = out / "shard-000001.tar"
    reader = PairReader(out)
    data = bytearray(path.read_bytes())
    header = int(reader._starts[-1, 0]) - 512
    data[header + 156 : header + 157] = tarfile.SYMTYPE
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, r"shard-000001\.tar has \d+ bytes, expected \d+"),
        (cut_and_filled, r"shard-000001\.tar: sample \d{9}: "),
        (removed, r"shard-000001\.tar is missing"),
        (without_sidecar, r"no \.degrade_kit/shard-000001\.json"),
        (flipped, r"shard-000001\.tar: sample 000000005: HQ image: unreadable: "),
        (miscounted, r"shard-000001\.tar: its sidecar does not fit the manifest"),
        (moved_index, r"shard-000001\.tar: its index does not fit"),
        (edited(".degrade_kit/shard-000001.json", index=[]), r"shard-000001\.tar: its index has 0 samples, expected 2"),
        (edited(".degrade_kit/shard-000001.json", sha256="0" * 64), r"shard-000001\.tar: its sidecar does not fit"),
        (renamed_member, r"shard-000001\.tar: sample 000000005: expected 000000005\.hq\.\w+ of \d+ bytes"),
    ],
)
def test_damage_is_an_error_that_names_the_shard(out: Path, damage: Callable[[Path], None], words: str) -> None:
    read_all(out)
    damage(out)
    with pytest.raises(ShardError, match=words):
        read_all(out)


def test_any_flipped_bit_is_found_by_the_hash(out: Path) -> None:
    path = out / "shard-000000.tar"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # where nothing is ever read
    path.write_bytes(data)
    read_all(out)
    with pytest.raises(ShardError, match=r"shard-000000\.tar: its hash is"):
        read_all(out, verify=True)


@pytest.mark.parametrize("extensions", [["hq.png", "json", "lq0.pkl", "lq1.jpg"], ["hq.png", "json", "lq0.jpg"], [1]])
def test_members_that_are_no_pairs_of_images_are_refused(out: Path, extensions: list[Any]) -> None:
    edited("manifest.json", extensions=extensions)(out)
    with pytest.raises(ShardError, match=r"a sample has the members|field extensions\[0\]: expected text"):
        PairReader(out)


class Evil:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(Path(sys.argv[0]).name) + ".pwned", "w"))


def test_foreign_members_are_never_read(out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Behind the samples, where an index may not point, and in the place of a sample, where it may."""
    monkeypatch.chdir(tmp_path)
    before = [dict(pair) for pair in PairDataset(out, shuffle=False)]
    path, side = out / "shard-000001.tar", out / ".degrade_kit/shard-000001.json"
    evil = pickle.dumps(Evil())
    with tarfile.open(path, "a") as tar:
        for name in ("000000006.hq.pkl", "pipe:touch pwned", "../../etc/x.png", "000000007.pyd"):
            info = tarfile.TarInfo(name)
            info.size = len(evil)
            tar.addfile(info, io.BytesIO(evil))
    found = {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    edited(".degrade_kit/shard-000001.json", **found)(out)
    manifest = json.loads((out / "manifest.json").read_bytes())
    manifest["shards"][1] |= found
    (out / "manifest.json").write_text(json.dumps(manifest))
    after = list(PairDataset(out, shuffle=False, verify=True))
    assert all(same(one, other) for one, other in zip(after, before, strict=True))
    sidecar = json.loads(side.read_bytes())
    sidecar["index"][1][0] = "pipe:touch pwned"
    side.write_text(json.dumps(sidecar))
    with pytest.raises(ShardError, match=r"'pipe:touch pwned' is not the key of a sample: expected"):
        list(PairDataset(out))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_nothing_here_can_unpickle() -> None:
    """Not even by way of a library: these modules never load `torch.load`, `numpy.load` or `pickle`."""
    root = Path(__file__).parents[2] / "degrade_kit"
    for name in ("epoch_order.py", "reader.py", "streaming.py"):
        text = (root / name).read_text("utf-8")
        assert not re.search(r"import pickle|pickle\.|\.load\(|tarfile|webdataset", text)


# --------------------------------------------------------------------------------------------------------- not local


def test_shards_of_a_url_are_fetched_whole_and_once(made: Path, tmp_path: Path) -> None:
    remote = open_store("memory://streaming-test/out")
    for name in LocalStore(made).names():
        remote.write(name, (made / name).read_bytes())
    cache = tmp_path / "cache"
    pairs = PairDataset("memory://streaming-test/out", cache_dir=cache)
    expected = list(PairDataset(made))
    assert all(same(one, other) for one, other in zip(pairs, expected, strict=True))
    tars = sorted(path.name for path in cache.glob("*.tar"))
    assert [name[:12] for name in tars] == ["shard-000000", "shard-000001"]
    for name in ("shard-000000.tar", "shard-000001.tar"):
        remote.delete(name)
    again = PairDataset("memory://streaming-test/out", cache_dir=cache)
    assert all(same(one, other) for one, other in zip(again, expected, strict=True))
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]
    shutil.rmtree(cache)
    with pytest.raises(ShardError, match=r"memory://streaming-test/out/shard-00000\d\.tar is missing"):
        list(PairDataset("memory://streaming-test/out", cache_dir=cache))


def test_a_fetched_shard_with_another_hash_is_not_kept(made: Path, tmp_path: Path) -> None:
    remote = open_store("memory://streaming-test/altered")
    for name in LocalStore(made).names():
        data = bytearray((made / name).read_bytes())
        if name == "shard-000000.tar":
            data[-1] ^= 1
        remote.write(name, bytes(data))
    with pytest.raises(ShardError, match=r"memory://streaming-test/altered/shard-000000\.tar: its hash is"):
        list(PairDataset("memory://streaming-test/altered", cache_dir=tmp_path / "cache", shuffle=False))
    assert list((tmp_path / "cache").glob("*tar")) == []


def test_a_url_needs_a_cache() -> None:
    with pytest.raises(ConfigError, match="need `cache_dir`"):
        PairDataset("memory://streaming-test/anywhere")


# ----------------------------------------------------------------------------------------------------------- processes

THREADS = """
import cv2, numpy as np
from degrade_kit.streaming import PairDataset, PairLoader

def threads(batch):
    return {**batch[0], "key": [cv2.getNumThreads()]}

cv2.setNumThreads(4)
large = np.zeros((4000, 4000), np.float32)
cv2.resize(cv2.GaussianBlur(large, (31, 31), 5), (5000, 5000))  # now OpenCV has its threads
loader = PairLoader(PairDataset(PATH), batch_size=1, num_workers=1, collate_fn=threads, timeout=60)
assert [batch["key"] for batch in loader] == [[1]] * 6
assert cv2.getNumThreads() == 4
"""


@pytest.mark.slow
@pytest.mark.long
def test_workers_of_a_process_with_threads_have_one_each(made: Path) -> None:
    subprocess.run([sys.executable, "-c", THREADS.replace("PATH", repr(str(made)))], check=True, timeout=120)


def test_few_files_stay_open(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("degrade_kit.reader._MAX_OPEN", 1)
    dataset = PairDataset(made)
    assert len(list(dataset)) == SAMPLES
    assert len(dataset.pairs.reader._open) == 1
