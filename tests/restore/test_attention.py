from __future__ import annotations

import pytest
import torch

from degrade_kit.flipnet.config import FlipNetConfig, Mode
from degrade_kit.flipnet.sampling import ExtraTokens, SamplingConfig, sample
from degrade_kit.restore.attention import FaceAttention
from tests.degrade_kit.flipnet.models import tiny_flipnet

FACE_TOKENS = 5
SAMPLING = SamplingConfig(num_steps=2, guidance=1.0)


def made(net: object, kept: bool = True) -> torch.Tensor:
    source = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 32, 16, generator=source) * 2 - 1
    noise = torch.randn(2, 4, 16, 8, generator=source)
    tokens = torch.randn(2, FACE_TOKENS, net.unet.config.cross_attention_dim, generator=source)  # type: ignore[attr-defined]
    extra = ExtraTokens(tokens, torch.tensor([True, kept]))
    return sample(net, images, noise, ["", ""], SAMPLING, extra=extra)  # type: ignore[arg-type]


def test_measuring_changes_nothing_and_is_put_back() -> None:
    net = tiny_flipnet(FlipNetConfig(mode=Mode.RESTORE, lora_rank=4))
    before = dict(net.unet.attn_processors)
    expected = made(net)
    with FaceAttention(net) as attention:
        assert torch.equal(made(net), expected)
    assert net.unet.attn_processors == before
    maps = attention.maps(32, 16)
    assert maps.shape == (2, 32, 16)
    assert 0 < float(maps.min()) <= float(maps.max()) < 1
    assert float(maps.std()) > 0
    assert attention.tokens().shape == (2, FACE_TOKENS)
    assert torch.allclose(attention.tokens().sum(1), torch.ones(2))


def test_equal_scores_give_the_share_of_the_tokens() -> None:
    net = tiny_flipnet(FlipNetConfig(mode=Mode.RESTORE, lora_rank=0))
    for name, parameter in net.unet.named_parameters():
        if name.endswith("attn2.to_q.weight"):
            torch.nn.init.zeros_(parameter)
    with FaceAttention(net) as attention:
        made(net)
    expected = FACE_TOKENS / (FACE_TOKENS + net.tokenizer.model_max_length)
    assert torch.allclose(attention.maps(32, 16), torch.tensor(expected))
    assert torch.allclose(attention.tokens(), torch.tensor(1 / FACE_TOKENS))


def test_masked_tokens_take_nothing() -> None:
    net = tiny_flipnet(FlipNetConfig(mode=Mode.RESTORE, lora_rank=4))
    with FaceAttention(net) as attention:
        made(net, kept=False)
    maps = attention.maps(32, 16)
    assert float(maps[0].min()) > 0
    assert float(maps[1].abs().max()) < 1e-6


def test_text_alone_is_no_face() -> None:
    net = tiny_flipnet(FlipNetConfig(mode=Mode.RESTORE, lora_rank=4))
    with pytest.raises(ValueError, match="no face embedding"), FaceAttention(net):
        sample(net, torch.zeros(1, 3, 16, 16), torch.zeros(1, 4, 8, 8), [""], SAMPLING)
