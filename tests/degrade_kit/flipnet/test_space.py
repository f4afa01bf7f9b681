from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from degrade_kit.flipnet.space import BLOCK, BlockDCT


@pytest.mark.parametrize("block", [2, 4, 8])
def test_nothing_is_lost(block: int) -> None:
    channels = 3 * block**2
    vae = BlockDCT(block, latent_channels=channels)
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


def test_the_transform_keeps_energy() -> None:
    vae = BlockDCT()
    images = torch.rand(1, 3, 16, 16)
    assert torch.allclose(vae.encode(images).latent_dist.mode().square().sum(), images.square().sum())


def test_channels_follow_from_the_block() -> None:
    with pytest.raises(ValueError, match="expected 48 channels for blocks of 4, got 192"):
        BlockDCT(4)
