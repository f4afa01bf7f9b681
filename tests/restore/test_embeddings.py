from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from degrade_kit.analysis.networks import ArcFace
from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.network import FlipNet
from degrade_kit.flipnet.text import join_tokens
from degrade_kit.restore.autoencoder import AutoencoderConfig, build_autoencoder, encode_mean
from degrade_kit.restore.embeddings import (
    _ARCFACE_POINTS,
    _FFHQ_POINTS,
    FaceEmbedding,
    IdentitySource,
    LatentSource,
    _similarity,
    identity_crop,
    load_embedding,
    save_embedding,
)
from tests.degrade_kit.flipnet.models import CONTEXT, gated_flipnet, tiny_flipnet

SMALL = AutoencoderConfig(widths=(8, 8), layers=1)


def bfr(patch: int = 2) -> FaceEmbedding:
    torch.manual_seed(0)
    return FaceEmbedding(LatentSource(build_autoencoder(SMALL), patch), CONTEXT)


def small_iresnet() -> ArcFace:
    torch.manual_seed(0)
    return ArcFace((1, 1, 1, 1), (8, 8, 8, 16), 32).eval()


def test_tokens_are_squares_of_the_encoders_mean() -> None:
    torch.manual_seed(0)
    autoencoder = build_autoencoder(SMALL).eval()
    source = LatentSource(autoencoder, 2)
    images = torch.rand(2, 3, 16, 24)
    latents = encode_mean(autoencoder, images)
    tokens = source(images)
    assert tokens.shape == (2, 4 * 6, 16)
    # The second token of the second row of squares.
    assert torch.allclose(tokens[1, 7], latents[1, :, 2:4, 2:4].flatten())


def test_an_image_of_any_size_has_tokens() -> None:
    assert LatentSource(build_autoencoder(SMALL), 4)(torch.rand(1, 3, 17, 30)).shape == (1, 3 * 4, 64)


def test_gradients_reach_the_adapter_alone() -> None:
    embedding = bfr()
    embedding(torch.rand(1, 3, 16, 16)).square().sum().backward()
    trained = {name for name, parameter in embedding.named_parameters() if parameter.grad is not None}
    assert trained == {f"adapter.{name}" for name, _ in embedding.adapter.named_parameters()}


@pytest.mark.parametrize("net", [tiny_flipnet(), gated_flipnet()], ids=["attention", "pooled text"])
def test_a_masked_embedding_is_as_good_as_absent(net: FlipNet) -> None:
    torch.manual_seed(3)
    text = net.encode_prompts(["haze", ""])
    noisy = torch.randn(2, net.latent_channels, 8, 8)
    timesteps = torch.tensor([5, 400])
    copies = None if net.head is None else torch.randn(2, 3, net.latent_channels, 8, 8)
    tokens, mask = join_tokens(text, torch.randn(2, 5, CONTEXT), torch.tensor([0, 1]))
    with torch.no_grad():
        store = net.write(noisy.flip(0), timesteps, text)
        plain = net.read(noisy, timesteps, text, store, copies=copies)
        found = net.read(noisy, timesteps, tokens, store, mask=mask, copies=copies)
    assert torch.allclose(found[0], plain[0], atol=1e-5)
    assert not torch.allclose(found[1], plain[1], atol=1e-4)


def test_arcfaces_points_are_where_ffhq_has_them() -> None:
    angle, scale, shift = _similarity()
    for (x, y), wanted in zip(_ARCFACE_POINTS, _FFHQ_POINTS, strict=True):
        cosine, sine = math.cos(angle) * scale, math.sin(angle) * scale
        found = (cosine * x - sine * y + float(shift[0]), sine * x + cosine * y + float(shift[1]))
        assert math.dist(found, wanted) < 12  # of 512 pixels: people differ


@pytest.mark.parametrize("size", [128, 512])
def test_the_identity_crop_shows_the_eyes_where_arcface_expects_them(size: int) -> None:
    # A dot at the left eye of a black face.
    x, y = (round(value * size / 512) for value in _FFHQ_POINTS[0])
    face = torch.zeros(1, 3, size, size)
    face[:, :, y - size // 64 : y + size // 64, x - size // 64 : x + size // 64] = 1
    crop = identity_crop(face)[0, 0]
    assert crop.shape == (112, 112)
    place = torch.stack(torch.meshgrid(torch.arange(112.0), torch.arange(112.0), indexing="ij"))
    row, column = ((place * crop).sum((1, 2)) / crop.sum()).tolist()
    assert math.dist((column, row), _ARCFACE_POINTS[0]) < 4


def test_an_identity_is_a_token_of_length_one() -> None:
    tokens = IdentitySource(small_iresnet())(torch.rand(2, 3, 128, 128))
    assert tokens.shape == (2, 1, 32)
    assert torch.allclose(tokens.norm(dim=-1), torch.ones(2, 1))


@pytest.mark.parametrize("kind", ["bfr", "arcface"])
def test_a_saved_embedding_is_the_same(kind: str, tmp_path: Path) -> None:
    embedding = bfr() if kind == "bfr" else FaceEmbedding(IdentitySource(small_iresnet()), CONTEXT)
    save_embedding(embedding.eval(), tmp_path)
    images = torch.rand(2, 3, 32, 32)
    again = load_embedding(tmp_path)
    assert again is not None
    with torch.no_grad():
        assert torch.equal(again(images), embedding(images))


def test_a_damaged_embedding_is_refused(tmp_path: Path) -> None:
    save_embedding(bfr(), tmp_path)
    path = tmp_path / "adapter.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ConfigError, match=r"adapter\.safetensors: cut short"):
        load_embedding(tmp_path)
