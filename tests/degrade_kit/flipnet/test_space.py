from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from degrade_kit.flipnet.folder import SHIPPED
from degrade_kit.flipnet.space import BLOCK, BlockDCT


@pytest.mark.parametrize("lapped", [False, True])
@pytest.mark.parametrize("block", [2, 4, 8])
def test_nothing_is_lost(block: int, lapped: bool) -> None:
    channels = 3 * block**2
    vae = BlockDCT(block, latent_channels=channels, lapped=lapped)
    images = torch.rand(2, 3, 24, 40) * 2 - 1
    vae.fit(images)
    assert (vae(images) - images).abs().max() < 1e-5
    latents = vae.encode(images).latent_dist.sample()
    assert latents.shape == (2, channels, 24 // block, 40 // block)
    assert torch.allclose(latents.std((0, 2, 3)), torch.ones(channels), atol=1e-3)
    assert [int(vae.basis[channel].std((1, 2)).max() == 0) for channel in vae.dc_channels] == [1, 1, 1]


def test_coefficients_are_those_of_opencv() -> None:
    vae = BlockDCT()
    gray = np.random.default_rng(0).random((BLOCK, BLOCK)).astype(np.float32)
    images = torch.from_numpy(np.stack([gray] * 3))[None]
    found = vae.encode(images).latent_dist.mode()[0, : BLOCK**2, 0, 0].reshape(BLOCK, BLOCK).numpy()
    assert np.abs(found - cv2.dct(gray) * 3**0.5).max() < 1e-5
    chroma = vae.encode(images).latent_dist.mode()[0, BLOCK**2 :]
    assert chroma.abs().max() < 1e-5


@pytest.mark.parametrize("lapped", [False, True])
def test_the_transform_keeps_energy(lapped: bool) -> None:
    vae = BlockDCT(lapped=lapped)
    images = torch.rand(1, 3, 16, 24)
    assert torch.allclose(vae.encode(images).latent_dist.mode().square().sum(), images.square().sum())


def test_channels_follow_from_the_block() -> None:
    with pytest.raises(ValueError, match="expected 48 channels for blocks of 4, got 192"):
        BlockDCT(4)


def test_an_even_colour_is_one_coefficient() -> None:
    found = BlockDCT(lapped=True).encode(torch.full((1, 3, 24, 32), 0.5)).latent_dist.mode()
    assert torch.allclose(found[:, 0], torch.tensor(0.5 * BLOCK * 3**0.5))
    assert found[:, 1:].abs().max() < 1e-5


def test_lapped_blocks_are_what_a_loop_makes_of_them() -> None:
    vae, half = BlockDCT(lapped=True), BLOCK // 2
    matrix = vae.overlap.double().numpy()
    images = np.random.default_rng(0).standard_normal((3, 24, 32))
    mixed = images.copy()
    for edge in range(BLOCK, 32, BLOCK):
        mixed[..., edge - half : edge + half] = mixed[..., edge - half : edge + half] @ matrix.T
    for edge in range(BLOCK, 24, BLOCK):
        mixed[:, edge - half : edge + half] = matrix @ mixed[:, edge - half : edge + half]
    found = vae.encode(torch.from_numpy(images[None]).float()).latent_dist.mode()
    plain = BlockDCT().encode(torch.from_numpy(mixed[None]).float()).latent_dist.mode()
    assert (found - plain).abs().max() < 1e-5


def _waves(lapped: bool) -> npt.NDArray[np.float64]:
    """What the coefficients of a row of pixels are in an image: k waves over three blocks, (k, 3 k)."""
    vae = BlockDCT(lapped=lapped)
    latents = torch.zeros(BLOCK, 3 * BLOCK**2, 1, 3)
    latents[torch.arange(BLOCK), torch.arange(BLOCK), 0, 1] = 1
    images = vae.decode(latents).sample  # equal in all rows and channels
    return images.sum((1, 2)).double().numpy() / (3 * BLOCK) ** 0.5


@pytest.mark.parametrize(("lapped", "decibels"), [(False, 8.83), (True, 9.22)])
def test_the_coding_gain_is_the_published_one(lapped: bool, decibels: float) -> None:
    """Of a Markov process with correlation 0.95, as Malvar (1992) and Tran et al. (2003) tabulate it."""
    waves = _waves(lapped)
    correlations = 0.95 ** np.abs(np.subtract.outer(np.arange(3 * BLOCK), np.arange(3 * BLOCK)))
    variances = np.diag(waves @ correlations @ waves.T)
    assert -10 * np.log10(variances).mean() == pytest.approx(decibels, abs=0.006)


def test_a_wrong_coefficient_makes_no_square_of_lapped_blocks() -> None:
    steps = [np.abs(np.diff(_waves(lapped)[0])).max() for lapped in (False, True)]
    assert steps[1] < 0.3 * steps[0]


def test_blocks_of_odd_sides_have_no_middle_to_overlap_at() -> None:
    with pytest.raises(ValueError, match="lapped: expected blocks of an even side, got 3"):
        BlockDCT(3, latent_channels=27, lapped=True)


@pytest.mark.parametrize("lapped", [False, True])
def test_a_folder_keeps_whether_blocks_overlap(lapped: bool, tmp_path: Path) -> None:
    images = torch.rand(2, 3, 16, 24) * 2 - 1
    vae = BlockDCT(lapped=lapped)
    vae.fit(images)
    vae.save_pretrained(tmp_path)
    again = BlockDCT.from_pretrained(tmp_path)
    assert again.lapped is lapped
    assert torch.equal(again.encode(images).latent_dist.mode(), vae.encode(images).latent_dist.mode())


def test_a_model_of_before_blocks_could_overlap_has_blocks_that_stand_apart(tmp_path: Path) -> None:
    BlockDCT().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    del config["lapped"]
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    assert not BlockDCT.from_pretrained(tmp_path).lapped


@pytest.mark.parametrize("folder", SHIPPED.values(), ids=SHIPPED)
def test_the_models_that_ship_have_blocks_that_overlap(folder: Path) -> None:
    assert BlockDCT.from_pretrained(folder / "base", subfolder="vae").lapped
