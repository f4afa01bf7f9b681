"""Recipes as callables of other libraries: every kind of image comes back as it was, draws differ, numbers decide."""

from __future__ import annotations

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
