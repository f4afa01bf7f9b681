from __future__ import annotations

import numpy as np
import pytest
import torch

from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.batch import collate, pair_generators
from degrade_kit.flipnet.latents import LatentCache, image_key
from degrade_kit.flipnet.mixture import PairSample
from degrade_kit.flipnet.training import DiffusionLoss, TrainConfig
from tests.degrade_kit.flipnet.models import gated_flipnet, tiny_flipnet


def faces(count: int = 3) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def sources(count: int = 3, seed: int = 7) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + row) for row in range(count)]


@pytest.mark.slow
def test_samples_are_those_of_the_autoencoder() -> None:
    net = tiny_flipnet()
    cache = LatentCache(net.vae, 10**6)
    keys = [b"a", b"b", b""]
    first = cache.sample(faces(), keys, sources())
    assert cache.num_bytes == 0, "nothing has come twice"
    for _ in range(2):
        again = cache.sample(faces(), keys, sources())
        assert torch.equal(first, again)
    assert cache.encoded == 7, "two were known the third time, the one without a key never"
    with torch.no_grad():
        expected = net.encode_images(faces(), sources(), sample=True)
    assert torch.allclose(first * net.vae.config.scaling_factor, expected, atol=1e-6)
    other = cache.sample(faces(), keys, sources(seed=99))
    assert not torch.equal(other, first), "each epoch draws its own sample"


@pytest.mark.slow
def test_the_least_recently_used_goes_first() -> None:
    net = tiny_flipnet()
    one = LatentCache(net.vae, 10**6)
    for _ in range(2):
        one.sample(faces(1), [b"a"], sources(1))
    cache = LatentCache(net.vae, 2 * one.num_bytes)
    for key in (b"a", b"a", b"b", b"b"):
        cache.sample(faces(1), [key], sources(1))
    cache.encoded = 0
    for key in (b"a", b"c", b"c", b"a", b"b"):
        cache.sample(faces(1), [key], sources(1))
    assert cache.encoded == 3, "b had to give way to c, when that came twice"
    assert cache.num_bytes == 2 * one.num_bytes
    nothing = LatentCache(net.vae, one.num_bytes - 1)
    for _ in range(2):
        nothing.sample(faces(1), [b"a"], sources(1))
    assert nothing.num_bytes == 0


def pairs(fresh: bool) -> list[PairSample]:
    rng = np.random.default_rng(3)
    hq = rng.integers(0, 256, (16, 16, 3), np.uint8)
    return [PairSample(hq, rng.integers(0, 256, (16, 16, 3), np.uint8), "", "noise", fresh) for _ in range(2)]


@pytest.mark.slow
def test_training_encodes_each_lasting_image_once() -> None:
    net = tiny_flipnet()
    plain, cached = (DiffusionLoss(net, TrainConfig(latent_cache_gigabytes=size)) for size in (0.0, 0.001))
    batch = collate(pairs(fresh=False), keyed=True)
    with torch.no_grad():
        losses = [float(loss(batch, pair_generators(0, 0, 0, 2))) for loss in (plain, cached, cached, cached)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[1] == losses[2] == losses[3]
    assert cached.latents is not None
    assert cached.latents.encoded == 6, "an HQ image that two pairs share, and two LQ images, each of them twice"
    with torch.no_grad():
        for _ in range(2):
            cached(collate(pairs(fresh=True), keyed=True), pair_generators(0, 0, 0, 2))
    assert cached.latents.encoded == 10, "LQ images that will not come again are not kept"


def test_keys_tell_images_apart() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    assert image_key(image) == image_key(image.copy())
    assert image_key(image) != image_key(image + np.uint8(1))


def test_what_has_no_use_for_it_refuses() -> None:
    with pytest.raises(ConfigError, match="a BlockDCT costs less"):
        DiffusionLoss(gated_flipnet(), TrainConfig(latent_cache_gigabytes=1.0))
    with pytest.raises(ConfigError, match="latent_cache_gigabytes: expected 0 or more, got -1"):
        TrainConfig(latent_cache_gigabytes=-1.0)
