"""Recipes as callables of other libraries: every kind of image comes back as it was, draws differ, numbers decide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PilImage

import degrade_kit as dk
from degrade_kit.degradation import make_lq
from degrade_kit.record import Record

Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def face(astronaut: Pixels) -> Pixels:
    return np.ascontiguousarray(astronaut[40:104, 180:244])


def test_every_kind_of_image_comes_back_as_that_kind(face: Pixels) -> None:
    torch = pytest.importorskip("torch")

    def made(image: object) -> object:
        return dk.DegradeTransform("gfpgan", rng=np.random.default_rng(5))(image)

    array = made(face)
    assert isinstance(array, np.ndarray)
    assert (array.shape, array.dtype) == (face.shape, np.uint8)
    assert not np.array_equal(array, face)
    pil = made(PilImage.fromarray(face))
    assert isinstance(pil, PilImage.Image)
    assert np.array_equal(np.asarray(pil), array)
    floats = made(face.astype(np.float32) / 255)
    assert isinstance(floats, np.ndarray)
    assert np.array_equal(np.rint(floats * 255), array)
    tensor = made(torch.from_numpy(face).permute(2, 0, 1).float() / 255)
    assert np.array_equal(np.rint(tensor.permute(1, 2, 0).numpy() * 255), array)  # pyright: ignore


def test_draws_follow_torchs_random_state(face: Pixels) -> None:
    torch = pytest.importorskip("torch")
    transform = dk.DegradeTransform("gfpgan")
    torch.manual_seed(3)
    first, second = transform(face), transform(face)
    torch.manual_seed(3)
    assert np.array_equal(transform(image=face, shape=None), first)
    assert not np.array_equal(first, second)


def test_what_is_no_image_is_refused(face: Pixels) -> None:
    for wrong in ("face.png", face[..., 0], face[..., :2]):
        with pytest.raises(TypeError, match="expected an image of PIL, an array"):
            dk.DegradeTransform("gfpgan")(wrong)
    with pytest.raises(dk.ConfigError, match="did you mean `gfpgan`"):
        dk.DegradeTransform("gfpgam")


@pytest.mark.slow
def test_a_data_set_is_mapped_to_pairs_by_number(face: Pixels) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [PilImage.fromarray(np.roll(face, place, axis=0)) for place in range(3)]
    function = dk.map_pairs("difface", seed=7)
    table = datasets.Dataset.from_dict({"image": rows}, features=datasets.Features({"image": datasets.Image()}))
    pairs = [function(example, index) for index, example in enumerate(table)]
    again = function({"image": rows[2]}, 2)
    assert again["record"] == pairs[2]["record"] != pairs[1]["record"]
    for row, pair in zip(rows, pairs, strict=True):
        assert np.array_equal(np.asarray(pair["hq"]), np.asarray(row))
        expected = make_lq(Record.from_json(pair["record"]), np.asarray(row))
        assert np.array_equal(np.asarray(pair["lq"]), expected)


@pytest.mark.slow
def test_datasets_map_gives_the_same_pairs_by_any_way_and_finds_them_again(face: Pixels, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    from datasets.fingerprint import Hasher  # pyright: ignore

    assert Hasher.hash(dk.map_pairs("difface", seed=7)) == Hasher.hash(dk.map_pairs("difface", seed=7))
    assert Hasher.hash(dk.map_pairs("difface", seed=7)) != Hasher.hash(dk.map_pairs("difface", seed=8))
    rows = [PilImage.fromarray(np.roll(face, place, axis=0)) for place in range(3)]
    table = datasets.Dataset.from_dict({"image": rows}, features=datasets.Features({"image": datasets.Image()}))
    found: list[list[tuple[str, bytes]]] = []
    for number, words in enumerate(({}, {"batched": True, "batch_size": 2}, {"remove_columns": ["image"]})):
        pairs = table.map(
            dk.map_pairs("difface", seed=7),
            with_indices=True,
            cache_file_name=str(tmp_path / f"{number}.arrow"),
            **words,
        )
        found.append([(pair["record"], np.asarray(pair["lq"]).tobytes()) for pair in pairs])
        assert np.array_equal(np.asarray(pairs[1]["hq"]), np.asarray(rows[1]))
    assert found[0] == found[1] == found[2]
    assert len(set(found[0])) == 3


@pytest.mark.slow
def test_torchvision_runs_it_between_its_own_transforms(face: Pixels) -> None:
    torch = pytest.importorskip("torch")
    v2 = pytest.importorskip("torchvision.transforms.v2")
    tv_tensors = pytest.importorskip("torchvision.tv_tensors")
    degrade, pil = dk.DegradeTransform("gfpgan"), PilImage.fromarray(face)
    floats = v2.ToDtype(torch.float32, scale=True)
    torch.manual_seed(3)
    first = v2.Compose([v2.ToImage(), floats, degrade, v2.RandomHorizontalFlip(p=1), v2.Normalize([0.5], [0.5])])(pil)
    assert type(first) is tv_tensors.Image
    torch.manual_seed(3)
    degraded = np.asarray(degrade(pil)).astype(np.float32) / 255
    expected = degraded[:, ::-1].transpose(2, 0, 1) / 0.5 - 1
    assert np.allclose(first.numpy(), expected, atol=1e-5)

    for part in (
        v2.RandomApply([degrade], p=1.0),
        v2.RandomChoice([degrade]),
        v2.Compose([degrade, v2.CenterCrop(32)]),
    ):
        assert isinstance(part(pil), PilImage.Image)
    # Of a sample that holds more, the images alone.
    image, label = v2.Lambda(degrade, PilImage.Image, tv_tensors.Image)(
        tv_tensors.Image(torch.from_numpy(face).permute(2, 0, 1)), 3
    )
    assert (type(image), tuple(image.shape), label) == (tv_tensors.Image, (3, *face.shape[:2]), 3)
    assert "DegradeTransform('gfpgan')" in repr(v2.Compose([degrade]))


@pytest.mark.slow
def test_albumentations_runs_it_between_its_own_transforms(face: Pixels) -> None:
    A = pytest.importorskip("albumentations")

    def degrade() -> object:
        return dk.DegradeTransform("gfpgan", rng=np.random.default_rng(5))

    alone = dk.DegradeTransform("gfpgan", rng=np.random.default_rng(5))(face)
    mask = face[..., 0]
    made = A.Compose([A.HorizontalFlip(p=1), A.HorizontalFlip(p=1), A.Lambda(image=degrade())])(image=face, mask=mask)
    assert np.array_equal(made["image"], alone)
    assert np.array_equal(made["mask"], mask)
    floats = A.Compose([A.Lambda(image=degrade()), A.HorizontalFlip(p=1)])(image=face.astype(np.float32) / 255)["image"]
    assert floats.dtype == np.float32
    assert np.array_equal(np.rint(floats[:, ::-1] * 255), alone)
    chosen = A.OneOf([A.Lambda(image=degrade(), p=1), A.Lambda(image=degrade(), p=1)], p=1)(image=face)["image"]
    assert np.array_equal(chosen, alone)
