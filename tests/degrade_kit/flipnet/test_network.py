from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from degrade_kit.flipnet.boosthub import Pass, windowed_attention
from degrade_kit.flipnet.config import FlipNetConfig, Mode
from degrade_kit.flipnet.diffusion import add_noise
from degrade_kit.flipnet.network import LORA_TARGETS, FlipNet, GatedHead, gaussian_blur
from degrade_kit.flipnet.sampling import SamplingConfig, latent_size, sample
from degrade_kit.flipnet.text import join_tokens
from tests.degrade_kit.flipnet.models import assemble, fine_flipnet, gated_flipnet, tiny_base, tiny_flipnet

BATCH, DRAWS = 2, 3


def inputs(net: FlipNet, side: int = 8, width: int | None = None) -> dict[str, Any]:
    source = torch.Generator().manual_seed(3)
    shape = (net.latent_channels, side, width or side)
    tokens = net.encode_prompts(["low light", "haze"] * DRAWS)
    return {
        "noisy": torch.randn(BATCH * DRAWS, *shape, generator=source),
        "timesteps": torch.randint(0, 1000, (BATCH * DRAWS,), generator=source),
        "condition": torch.randn(BATCH, *shape, generator=source),
        "condition_timesteps": torch.zeros(BATCH, dtype=torch.long),
        "tokens": tokens,
        "condition_tokens": net.encode_prompts([""] * BATCH),
    }


@pytest.mark.slow
@torch.no_grad()
def test_a_new_flipnet_is_its_base_model() -> None:
    base = tiny_base()
    net = assemble(base, FlipNetConfig(lora_rank=4), randomize=False)
    given = inputs(net)
    target, _, _ = net.predict_joint(**given)
    alone = net.read(given["noisy"], given["timesteps"], given["tokens"], None)
    reference = tiny_base().unet(given["noisy"], given["timesteps"], given["tokens"]).sample
    assert (target - alone).abs().max() <= 1e-5
    assert (target - reference).abs().max() <= 1e-5


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("build", [tiny_flipnet, gated_flipnet, fine_flipnet])
def test_the_condition_never_reads_the_target(build: object) -> None:
    net: FlipNet = build()  # type: ignore[operator]
    given = inputs(net)
    copies = torch.randn(BATCH, 3, net.latent_channels, 8, 8)
    first = net.predict_joint(**given, copies=copies)
    second = net.predict_joint(**{**given, "noisy": given["noisy"] + 1}, copies=copies)
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], second[0])


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("build", [tiny_flipnet, gated_flipnet, fine_flipnet])
@pytest.mark.parametrize("size", [(8, 8), (4, 12)])
def test_write_and_read_equal_both_branches_together(build: object, size: tuple[int, int]) -> None:
    net: FlipNet = build().double()  # type: ignore[operator]
    given = inputs(net, *size)
    given = {name: value.double() if value.is_floating_point() else value for name, value in given.items()}
    copies = torch.randn(BATCH, 3, net.latent_channels, *size, dtype=torch.float64)
    target, _, _ = net.predict_joint(**given, copies=copies)
    store = net.write(given["condition"], given["condition_timesteps"], given["condition_tokens"])
    read = net.read(given["noisy"], given["timesteps"], given["tokens"], store, copies=copies)
    assert (target - read).abs().max() <= 1e-10
    assert target.std() > 0.01


def test_joint_equals_the_equations_on_one_layer() -> None:
    """Eq. 4 and 5, written out: F_joint = SelfAttn(F_x) + phi W_O Softmax(Q_x K_y^T / sqrt(d)) V_y."""
    net = tiny_flipnet(FlipNetConfig(lora_rank=0))
    name, hub = next(iter(net.hubs.items()))
    attn: Any = net.unet.get_submodule(name)
    x, y = torch.randn(1, 6, attn.to_q.in_features), torch.randn(1, 6, attn.to_q.in_features)
    net._enter(Pass.JOINT, 0.7, 1, torch.zeros(1, 4, 2, 3))
    with torch.no_grad():
        joint = attn(torch.cat([x, y]))[:1]

        def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            heads, size = attn.heads, q.shape[-1] // attn.heads
            parts = []
            for head in range(heads):
                cut = slice(head * size, (head + 1) * size)
                weights = torch.softmax(q[0, :, cut] @ k[0, :, cut].T / size**0.5, dim=-1)
                parts.append(weights @ v[0, :, cut])
            return torch.cat(parts, dim=-1)[None]

        own = attn.to_out[0](attention(attn.to_q(x), attn.to_k(x), attn.to_v(x)))
        read = hub.to_out(attention(hub.to_q(x), hub.to_k(y), hub.to_v(y)))
    assert (joint - (own + 0.7 * read)).abs().max() <= 1e-5


@pytest.mark.slow
def test_every_self_attention_has_a_hub_that_starts_from_its_projections() -> None:
    base = tiny_base()
    weights = {name: tensor.clone() for name, tensor in base.unet.state_dict().items()}
    net = assemble(base, FlipNetConfig(lora_rank=4), randomize=False)
    blocks = {match[1] for name in weights if (match := re.match(r"(.*)\.attn1\.to_q\.weight", name))}
    assert {name.removesuffix(".attn1") for name in net.hubs} == blocks
    assert len(blocks) == 7
    for name, hub in net.hubs.items():
        assert torch.equal(hub.to_q.weight, weights[f"{name}.to_q.weight"])
        assert torch.equal(hub.to_v.weight, weights[f"{name}.to_v.weight"])
        assert hub.to_out.weight.abs().max() == 0
        assert hub.to_out.bias is None


def test_lora_is_in_eight_projections_of_each_block_and_in_no_hub() -> None:
    net = tiny_flipnet()
    pairs = [name for name, _ in net.unet.named_parameters() if ".lora_A." in name]
    assert len(pairs) == 8 * len(net.hubs)
    assert not [name for name in pairs if "processor" in name]
    assert re.fullmatch(LORA_TARGETS, "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0")
    assert not re.fullmatch(LORA_TARGETS, "mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_q")


@pytest.mark.slow
def test_gradients_reach_lora_and_hubs_alone() -> None:
    net = tiny_flipnet()
    trained = net.set_trainable()
    target, condition, _ = net.predict_joint(**inputs(net))
    (target.square().mean() + condition.square().mean()).backward()
    names = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
    assert names == {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert len(names) == len(trained)
    assert all(".lora_" in name or ".attn1.processor." in name for name in names)


@pytest.mark.slow
@torch.no_grad()
def test_masked_extra_tokens_are_as_good_as_absent() -> None:
    net = tiny_flipnet()
    given = inputs(net)
    store = net.write(given["condition"], given["condition_timesteps"], given["condition_tokens"])
    plain = net.read(given["noisy"], given["timesteps"], given["tokens"], store)
    faces = torch.randn(BATCH * DRAWS, 5, given["tokens"].shape[2])
    found: dict[int, Tensor] = {}
    for shown in (0, 1):
        tokens, mask = join_tokens(given["tokens"], faces, torch.full((BATCH * DRAWS,), shown))
        found[shown] = net.read(given["noisy"], given["timesteps"], tokens, store, mask=mask)
    assert (found[0] - plain).abs().max() <= 1e-5
    assert (found[1] - plain).abs().max() > 1e-3


@pytest.mark.slow
@torch.no_grad()
def test_phi_scales_what_is_read() -> None:
    net = tiny_flipnet()
    given = inputs(net)
    store = net.write(given["condition"], given["condition_timesteps"], given["condition_tokens"])

    def at(phi: float) -> Tensor:
        return net.read(given["noisy"], given["timesteps"], given["tokens"], store, phi=phi)

    assert torch.equal(at(0), net.read(given["noisy"], given["timesteps"], given["tokens"], None))
    assert (at(1) - at(0)).abs().max() > (at(0.1) - at(0)).abs().max() > 0


@pytest.mark.parametrize("window", [1, 3, 5])
def test_windowed_attention_is_masked_attention(window: int) -> None:
    height, width, heads, size, batch, variants = 4, 5, 2, 8, 2, 3
    source = torch.Generator().manual_seed(0)
    tokens = height * width
    queries = torch.randn(batch * variants, heads, tokens, size, generator=source, dtype=torch.float64)
    keys, values = torch.randn(2, batch, heads, tokens, size, generator=source, dtype=torch.float64)
    bias = torch.randn(heads, window * window, generator=source, dtype=torch.float64)
    found = windowed_attention(queries, keys, values, bias, (height, width), window)

    radius = window // 2
    mask = torch.full((heads, tokens, tokens), -torch.inf, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            for down in range(-radius, radius + 1):
                for right in range(-radius, radius + 1):
                    if 0 <= y + down < height and 0 <= x + right < width:
                        place = (down + radius) * window + right + radius
                        mask[:, y * width + x, (y + down) * width + x + right] = bias[:, place]
    repeated = [tensor.repeat_interleave(variants, dim=0) for tensor in (keys, values)]
    expected = torch.nn.functional.scaled_dot_product_attention(queries, *repeated, attn_mask=mask)
    assert (found - expected).abs().max() <= 1e-12


def test_blur_keeps_flat_images_and_sums() -> None:
    flat = torch.full((1, 3, 40, 24), 0.3)
    assert (gaussian_blur(flat, 12.0) - flat).abs().max() < 1e-5
    point = torch.zeros(1, 3, 41, 41)
    point[..., 20, 20] = 1
    assert abs(float(gaussian_blur(point, 3.0)[0, 0].sum()) - 1) < 1e-5


def test_modes_flip_the_pair() -> None:
    assert Mode.RESTORE.flip("hq", "lq") == ("hq", "lq")
    assert Mode.DEGRADE.flip("hq", "lq") == ("lq", "hq")


def test_a_head_that_does_not_fit_the_network_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a network with 12 output channels that predicts the sample, got 4"):
        assemble(tiny_base(), FlipNetConfig(lora_rank=0, head="gated"), randomize=False)


@pytest.mark.slow
def test_exemplars_that_were_not_learned_change_nothing() -> None:
    plain, shown = gated_flipnet(), gated_flipnet(exemplars=True)
    assert shown.describer is not None
    torch.nn.init.zeros_(shown.describer.last.weight)
    source = torch.Generator().manual_seed(3)
    image = torch.rand(2, 3, 64, 64, generator=source) * 2 - 1
    noise = torch.randn(2, *latent_size(plain, 64, 64), generator=source)
    config = SamplingConfig(num_steps=2, guidance=2.0)
    prompts = ["haze", "clean"]
    expected = sample(plain, image, noise, prompts, config)
    description = [float(number) for number in range(shown.describer.numbers)]
    found = sample(shown, image, noise, prompts, config, descriptions=[description, ()])
    assert torch.equal(found, expected)
    torch.nn.init.normal_(shown.describer.last.weight, std=0.3)
    found = sample(shown, image, noise, prompts, config, descriptions=[description, ()])
    assert not torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1]), "an image without an exemplar"
    assert torch.equal(sample(shown, image, noise, prompts, config), expected)


def test_a_gated_head_that_nothing_steers_is_the_best_linear_estimate() -> None:
    head = GatedHead(3, ())
    source = torch.Generator().manual_seed(0)
    conditions = torch.randn((64, 3, 16, 16), generator=source)
    spread = torch.tensor([0.5, 1.0, 0.05])[:, None, None]
    targets = 0.8 * conditions + spread * torch.randn(conditions.shape, generator=source)
    head.fit(targets, conditions)
    a, s = (torch.full((64, 1, 1, 1), value) for value in (0.6, 0.8))
    noisy = add_noise(targets, torch.randn(targets.shape, generator=source), a, s)
    made = head(torch.zeros(64, head.out_channels, 16, 16), noisy, head.copies(conditions, conditions, None), a, s)
    left = (made - targets).square().mean((0, 2, 3)).sqrt()
    assert torch.allclose(left, head.deviation(a[:1], s[:1]).flatten(), rtol=0.02)
    assert left[1] < 0.85, "what is seen of the target helps"
