"""Models small enough to build in a test, in Stable Diffusion's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from degrade_kit.flipnet import foreign
from degrade_kit.flipnet.base_small import SmallBase, build_small_base, word_tokenizer
from degrade_kit.flipnet.checkpoint import BaseModel
from degrade_kit.flipnet.config import FlipNetConfig
from degrade_kit.flipnet.description import SHIPPED_SPACE, read_space
from degrade_kit.flipnet.network import FlipNet

WORDS = ("low light", "strong noise", "haze", "clean")
CONTEXT = 32


def tiny_base(prediction_type: str = "epsilon", *, zero_snr: bool = False) -> BaseModel:
    """Stable Diffusion's blocks at three levels, attention at the finer two: 8 transformer blocks."""
    diffusers, transformers = foreign.diffusers(), foreign.transformers()

    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(32, 64, 64),
        layers_per_block=1,
        attention_head_dim=(2, 4, 4),
        cross_attention_dim=CONTEXT,
        norm_num_groups=8,
        use_linear_projection=True,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=4,
    )
    tokenizer = word_tokenizer(WORDS, 16)
    text_encoder = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=CONTEXT,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=16,
        )
    )
    scheduler = diffusers.DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction_type,
        rescale_betas_zero_snr=zero_snr,
    )
    return BaseModel(unet=unet, vae=vae, text_encoder=text_encoder.eval(), tokenizer=tokenizer, scheduler=scheduler)


def tiny_flipnet(
    config: FlipNetConfig | None = None, prediction_type: str = "epsilon", *, randomize: bool = True
) -> FlipNet:
    """A FlipNet on `tiny_base`; its new weights, zero at the start, are random where `randomize`."""
    base = tiny_base(prediction_type)
    return assemble(base, config or FlipNetConfig(lora_rank=4), randomize=randomize)


def gated_flipnet(*, randomize: bool = True, window: int = 3, exemplars: bool = False) -> FlipNet:
    """As the one that ships: block cosines, a gated head, windows; `exemplars`: one that knows descriptions."""
    space = read_space(SHIPPED_SPACE.parent) if exemplars else None
    config = FlipNetConfig(
        lora_rank=0,
        head="gated",
        head_blurs=(1.5, 4.0),
        head_smooth=(3, 0),
        boost_window=window,
        condition_text="null",
        noise_gain=0.2,
        noise_offset=0.3,
        noise_offset_channels=(0, 64, 128),
        description=0 if space is None else space.size,
    )
    torch.manual_seed(0)
    images = torch.rand(4, 3, 64, 64) * 2 - 1
    base = build_small_base(SmallBase(widths=(32, 32, 64), text_width=32, text_layers=1), config, WORDS, images)
    net = assemble(base, config, randomize=randomize)
    net.space = space
    if net.describer is not None and randomize:
        nn.init.normal_(net.describer.last.weight, std=0.3)
    return net


def fine_flipnet(*, randomize: bool = True) -> FlipNet:
    """Of blocks of 4 pixels, with attention at every level, as the small restorer."""
    config = FlipNetConfig(
        lora_rank=0,
        head="gated",
        head_blurs=(1.5, 4.0),
        boost_window=3,
        noise_offset=0.3,
        noise_offset_channels=(0, 16, 32),
    )
    torch.manual_seed(0)
    images = torch.rand(4, 3, 32, 32) * 2 - 1
    sizes = SmallBase(widths=(32, 64), block_size=4, first_attention=True, text_width=32, text_layers=1)
    return assemble(build_small_base(sizes, config, WORDS, images), config, randomize=randomize)


def assemble(base: BaseModel, config: FlipNetConfig, *, randomize: bool) -> FlipNet:
    net = FlipNet(base.unet, base.vae, base.text_encoder, base.tokenizer, base.scheduler, config)
    if randomize:
        torch.manual_seed(1)
        for name, parameter in net.unet.named_parameters():
            if any(part in name for part in ("processor.to_out", "lora_B", "place_bias")) or (
                config.head == "gated" and "conv_out" in name
            ):
                nn.init.normal_(parameter, std=0.1)
    return net.eval()


def save_base(base: BaseModel, folder: Path) -> Path:
    """In diffusers' layout."""
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        component: Any = getattr(base, part)
        component.save_pretrained(folder / part)
    return folder


BLIP_WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "[DEC]",
    "a",
    "photo",
    "of",
    "woman",
    "man",
    "street",
    "night",
]


def save_blip(folder: Path) -> str:
    """A random BLIP of about 10,000 parameters in the layout of the real one; returns its folder."""
    transformers = foreign.transformers()
    layers = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {
        **layers,
        "encoder_hidden_size": 16,
        "vocab_size": len(BLIP_WORDS),
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "sep_token_id": 3,
        "eos_token_id": 3,
        "bos_token_id": 5,
    }
    vision = {**layers, "image_size": 32, "patch_size": 16}
    config = transformers.BlipConfig(
        text_config=text, vision_config=vision, projection_dim=16, image_text_hidden_size=16
    )
    torch.manual_seed(0)
    network = transformers.BlipForConditionalGeneration(config)
    network.save_pretrained(folder)
    tokenizer = transformers.BertTokenizer(vocab={word: i for i, word in enumerate(BLIP_WORDS)})
    tokenizer.add_special_tokens({"additional_special_tokens": ["[DEC]"]})
    image_processor = transformers.BlipImageProcessor(size={"height": 32, "width": 32})
    transformers.BlipProcessor(image_processor, tokenizer).save_pretrained(folder)
    return str(folder)
