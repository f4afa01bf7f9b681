"""Models small enough to build in a test, in Stable Diffusion's layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
from degrade_kit.flipnet.weights import read_weights, write_weights

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


PUBLISHED: dict[str, dict[str, Any]] = {
    "sd15": {
        "scheduler": {"_class_name": "PNDMScheduler", "skip_prk_steps": True, "set_alpha_to_one": False},
        "unet": {"cross_attention_dim": 24, "attention_head_dim": 4, "layers_per_block": 2},
        "text": {"hidden_size": 24, "hidden_act": "quick_gelu", "num_hidden_layers": 2},
        "pad": "<|endoftext|>",
    },
    "sd21": {
        "scheduler": {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction", "set_alpha_to_one": False},
        "unet": {"cross_attention_dim": 32, "attention_head_dim": (2, 4, 4), "use_linear_projection": True},
        "text": {"hidden_size": 32, "hidden_act": "gelu", "num_hidden_layers": 3},
        "pad": "!",
    },
    "sd-turbo": {
        "scheduler": {
            "_class_name": "EulerDiscreteScheduler",
            "timestep_spacing": "trailing",
            "interpolation_type": "",
        },
        "unet": {"cross_attention_dim": 32, "attention_head_dim": (2, 4, 4), "use_linear_projection": True},
        "text": {"hidden_size": 32, "hidden_act": "gelu", "num_hidden_layers": 3},
        "pad": "!",
    },
}
"""What tells the published base models apart, at a width for tests: see `save_published`."""


def save_published(folder: Path, name: str) -> Path:
    """A base model as its folder was published, beside weights of half precision that nothing reads.

    Solver, CLIP's tokenizer in two files, an autoencoder with the old names of its attention and, of `sd15`, without a
    scale; a text model with the old prefix.
    """
    diffusers, transformers = foreign.diffusers(), foreign.transformers()
    told = PUBLISHED[name]
    tokens = _save_clip_tokenizer(folder / "tokenizer", told["pad"])
    torch.manual_seed(0)
    levels = {"block_out_channels": (32, 64, 64), "norm_num_groups": 8, "sample_size": 8, "layers_per_block": 1}
    blocks = {
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    }
    unet = diffusers.UNet2DConditionModel(**{**levels, **blocks, **told["unet"]})
    unet.save_pretrained(folder / "unet")
    tiny_base().vae.save_pretrained(folder / "vae")
    text = {"vocab_size": tokens, "intermediate_size": 48, "num_attention_heads": 2, "max_position_embeddings": 77}
    ends = {"bos_token_id": tokens - 2, "eos_token_id": tokens - 1, "pad_token_id": tokens - 1}
    transformers.CLIPTextModel(transformers.CLIPTextConfig(**text, **ends, **told["text"])).save_pretrained(
        folder / "text_encoder"
    )
    _rename(
        folder / "vae/diffusion_pytorch_model.safetensors",
        {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."},
    )
    _rename(folder / "text_encoder/model.safetensors", {"": "text_model."})
    (folder / "unet/diffusion_pytorch_model.fp16.safetensors").write_bytes(b"not to be read")
    path = folder / "vae/config.json"
    config = json.loads(path.read_text("utf-8"))
    later = ("force_upcast", *(("scaling_factor",) if name == "sd15" else ()))
    path.write_text(json.dumps({key: value for key, value in config.items() if key not in later}), "utf-8")
    (folder / "scheduler").mkdir()
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
    told_schedule = json.dumps({**schedule, **told["scheduler"], "steps_offset": 1})
    (folder / "scheduler/scheduler_config.json").write_text(told_schedule, "utf-8")
    return folder


def _save_clip_tokenizer(folder: Path, pad: str) -> int:
    """CLIP's bytes and the word `haze`, in its own files; returns the number of tokens, start and end the last two."""
    bytes_of = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(number) for number in bytes_of] + [chr(256 + extra) for extra in range(256 - len(bytes_of))]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "ha", "ze</w>", "haze</w>"]
    vocabulary = {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    end = "<|endoftext|>"
    special = {"bos_token": "<|startoftext|>", "eos_token": end, "unk_token": end, "pad_token": pad}
    files = {
        "vocab.json": json.dumps(vocabulary),
        "merges.txt": "#version: 0.2\nh a\nz e</w>\nha ze</w>\n",
        "special_tokens_map.json": json.dumps(special),
        "tokenizer_config.json": json.dumps({**special, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}),
    }
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return len(vocabulary)


def _rename(path: Path, names: Mapping[str, str]) -> None:
    """Other names for the tensors of a file; the empty name is that before all of them."""
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in read_weights(path).items():
        for now, before in names.items():
            name = name.replace(now, before) if now else before + name
        renamed[name] = tensor
    write_weights(renamed, path)


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
