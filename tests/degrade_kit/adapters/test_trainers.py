"""The forms that the trainers' own loops read; `test_codeformer` and `test_basicsr` have those that need basicsr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler

import degrade_kit as dk
from degrade_kit.adapters import daefr, difface, diffbir, osediff, pmrf, restoreformer, stablesr
from degrade_kit.adapters.base import CountedPairs
from degrade_kit.errors import ConfigError
from degrade_kit.streaming import Pair, PairMapDataset, PairOptions

# torch warns of more workers than cores.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

SIZE = 64
CROP = 48
OPTIONS: dict[str, Any] = {"crop": CROP, "use_hflip": True, "onthefly": "codeformer", "onthefly_prob": 0.5, "seed": 3}


def expected(made: Path, epoch: int = 0) -> list[Pair]:
    """What PairMapDataset has for the same options: CHW, RGB, float32 in [0, 1]."""
    options = PairOptions(
        crop=CROP, flip=True, onthefly=dk.preset("codeformer"), onthefly_prob=0.5, seed=3, dtype="float32"
    )
    pairs = PairMapDataset(made, options)
    return [pairs.at(epoch, index) for index in range(len(pairs))]


def signed(image: torch.Tensor) -> torch.Tensor:
    return (image - 0.5) / 0.5


def hwc(image: torch.Tensor) -> torch.Tensor:
    return image.permute(1, 2, 0)


def assert_same(sample: dict[str, Any], images: dict[str, torch.Tensor], texts: dict[str, str]) -> None:
    assert set(sample) == {*images, *texts}
    assert {name: sample[name] for name in texts} == texts
    for name, image in images.items():
        assert sample[name].dtype == torch.float32
        assert sample[name].is_contiguous()
        assert torch.equal(sample[name], image), name


@pytest.mark.slow
def test_the_pairs_that_the_trainers_are_compared_with_are_no_trivial_ones(made: Path) -> None:
    pairs = expected(made)
    assert {pair["variant"] for pair in pairs} > {-1}, "stored and fresh LQ images"
    assert any(not torch.equal(pair["hq"][0], pair["hq"][2]) for pair in pairs), "red is not blue"
    for side in ("hq", "lq"):
        values = torch.stack([pair[side] for pair in pairs])
        assert 0 <= values.min() < 0.2 < 0.8 < values.max() <= 1


@pytest.mark.parametrize("kind", [restoreformer.DegradeKitPairs, daefr.DegradeKitPairs])
def test_restoreformer_and_daefr_get_signed_pairs(kind: type[CountedPairs], made: Path) -> None:
    dataset = kind(dataroot=str(made), **OPTIONS)
    for index, pair in enumerate(expected(made)):
        assert_same(dataset[index], {"lq": signed(pair["lq"]), "gt": signed(pair["hq"])}, {"gt_path": pair["key"]})


def test_stablesr_gets_pairs_and_may_have_small_ones(made: Path) -> None:
    dataset = stablesr.DegradeKitPairs({"dataroot": str(made), **OPTIONS})
    for index, pair in enumerate(expected(made)):
        assert_same(dataset[index], {"lq": pair["lq"], "gt": pair["hq"]}, {})
    small = stablesr.DegradeKitPairs({"dataroot": str(made), "crop": CROP, "lq_scale": 4})[0]
    assert {name: tuple(image.shape) for name, image in small.items()} == {"lq": (3, 12, 12), "gt": (3, CROP, CROP)}
    with pytest.raises(ConfigError, match="unknown option `queue_size`"):
        stablesr.DegradeKitPairs({"dataroot": str(made), "queue_size": 180})


def test_osediff_gets_signed_pairs_and_prompts(made: Path) -> None:
    dataset = osediff.DegradeKitPairs(neg_prompt="blurring", dataroot=str(made), **OPTIONS)
    for index, pair in enumerate(expected(made)):
        images = {"output_pixel_values": signed(pair["hq"]), "conditioning_pixel_values": signed(pair["lq"])}
        assert_same(dataset[index], images, {"neg_prompt": "blurring", "null_prompt": ""})
    with pytest.raises(ConfigError, match="unknown option `split`"):
        osediff.DegradeKitPairs(dataroot=str(made), split="train")


def test_the_lq_codebook_of_daefr_gets_lq_images_as_ground_truth(made: Path) -> None:
    dataset = daefr.DegradeKitLq(dataroot=str(made), **OPTIONS)
    for index, pair in enumerate(expected(made)):
        lq = signed(pair["lq"])
        assert_same(dataset[index], {"lq": lq, "gt": lq}, {"gt_path": pair["key"]})


def test_diffbir_gets_tuples_of_channels_last(made: Path) -> None:
    dataset = diffbir.DegradeKitPairs(dataroot=str(made), **OPTIONS)
    assert dataset.file_list == str(made)
    for index, pair in enumerate(expected(made)):
        sample = dataset[index]
        assert isinstance(sample, tuple)
        gt, lq, prompt = sample
        assert_same({"gt": gt, "lq": lq}, {"gt": hwc(signed(pair["hq"])), "lq": hwc(pair["lq"])}, {})
        assert prompt == ""
    gt, lq, prompts = next(iter(DataLoader(dataset, batch_size=2)))
    assert gt.shape == lq.shape == (2, CROP, CROP, 3)
    assert list(prompts) == ["", ""]


def test_pmrf_gets_unsigned_pairs_and_a_name_to_save_under(made: Path) -> None:
    dataset = pmrf.DegradeKitPairs(dataroot=str(made), **OPTIONS)
    for index, pair in enumerate(expected(made)):
        assert_same(dataset[index], {"x": pair["hq"], "y": pair["lq"]}, {"img_file_name": f"{pair['key']}.png"})


def test_difface_gets_tensors_alone(made: Path) -> None:
    pairs = difface.DegradeKitPairs(dataroot=str(made), **OPTIONS)
    faces = difface.DegradeKitFaces(dataroot=str(made), **OPTIONS)
    for index, pair in enumerate(expected(made)):
        assert_same(pairs[index], {"lq": pair["lq"], "gt": pair["hq"]}, {})
        assert_same(faces[index], {"image": signed(pair["hq"])}, {})


KINDS = [
    restoreformer.DegradeKitPairs,
    daefr.DegradeKitLq,
    diffbir.DegradeKitPairs,
    pmrf.DegradeKitPairs,
    difface.DegradeKitPairs,
    difface.DegradeKitFaces,
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"use_hfilp": True}, "unknown option `use_hfilp`; did you mean `use_hflip`"),
        ({"blur_kernel_size": 41}, "unknown option `blur_kernel_size`"),
        ({"onthefly": "gfpgna"}, "did you mean `gfpgan`"),
        ({"variant": 2}, "expected 0 to 1"),
        ({"dataroot": None}, "`dataroot` is missing"),
    ],
)
def test_wrong_options_are_named(kind: type[CountedPairs], wrong: dict[str, Any], words: str, made: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        kind(**{"dataroot": str(made), **wrong})


def batches(dataset: CountedPairs, workers: int, *, persistent: bool = False) -> list[dict[str, torch.Tensor]]:
    """The samples of three epochs under torch's own shuffling, those of each epoch by key."""
    sampler = RandomSampler(dataset, generator=torch.Generator().manual_seed(0))
    loader = DataLoader(dataset, 2, sampler=sampler, num_workers=workers, persistent_workers=persistent)
    return [
        {name: image for batch in loader for name, image in zip(batch["img_file_name"], batch["y"], strict=True)}
        for _ in range(3)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (2, False), (2, True)])
def test_each_epoch_of_any_loader_is_drawn_anew(workers: int, persistent: bool, made: Path) -> None:
    found = batches(pmrf.DegradeKitPairs(dataroot=str(made), **OPTIONS), workers, persistent=persistent)
    for epoch, images in enumerate(found):
        for pair in expected(made, epoch):
            assert torch.equal(images[f"{pair['key']}.png"], pair["lq"]), (epoch, pair["key"])


def test_ranks_draw_different_epochs(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    seen: list[torch.Tensor] = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        dataset = pmrf.DegradeKitPairs(dataroot=str(made), crop=8)
        seen += [dataset[0]["x"] for _ in range(3)]
    assert not any(torch.equal(seen[i], seen[j]) for i in range(6) for j in range(i))


def test_a_validation_set_stays_as_it_is(made: Path) -> None:
    dataset = pmrf.DegradeKitPairs(dataroot=str(made), variant=0)
    first, second = dataset[0], dataset[0]
    assert torch.equal(first["x"], second["x"])
    assert torch.equal(first["y"], second["y"])


def test_counting_ends_a_plain_loop(made: Path) -> None:
    dataset = pmrf.DegradeKitPairs(dataroot=str(made))
    assert len([dataset[index] for index in range(len(dataset))]) == 6
    with pytest.raises(IndexError, match="item 6 of 6"):
        dataset[6]
