"""A base model to train from nothing: Stable Diffusion's layout in miniature, for FlipNets that run on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from degrade_kit.errors import ConfigError
from degrade_kit.flipnet import foreign
from degrade_kit.flipnet.batch import PairStream, collate
from degrade_kit.flipnet.captions import WORDS
from degrade_kit.flipnet.checkpoint import BASE_DIR, BaseModel, BaseReference, load, load_base
from degrade_kit.flipnet.config import FlipNetConfig, base_place
from degrade_kit.flipnet.description import DescriptionSpace
from degrade_kit.flipnet.folder import model_folder, read_config
from degrade_kit.flipnet.network import FlipNet, gated_head
from degrade_kit.flipnet.space import BLOCK, BlockDCT
from degrade_kit.flipnet.weights import network_fingerprint

HEAD_SIZE = 32
"""Channels of an attention head."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SmallBase:
    """Sizes of a base model."""

    widths: tuple[int, ...] = (96, 128, 128)
    """Channels of the levels of the U-Net, each half as fine as the one before."""
    block_size: int = BLOCK
    """Side of the block of pixels that is a token of the first level."""
    lapped: bool = False
    """Whether blocks overlap, so that what the network gets wrong shows no squares: see
    `degrade_kit.flipnet.space.BlockDCT`. With `start`, a network whose blocks stand apart is brought to such ones, and
    its weights are a beginning that a short training makes right."""
    first_attention: bool = False
    """Whether the first level has attention too, and BoostHub with it, as Stable Diffusion has. It costs the square of
    the tokens: for small images."""
    layers: int = 1
    """Residual blocks at each level."""
    text_width: int = 64
    """Width of the text model, and of cross-attention."""
    text_layers: int = 2
    text_tokens: int = 20
    """Longest prompt, in words and commas."""

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or any(width <= 0 or width % HEAD_SIZE for width in self.widths):
            raise ConfigError(f"widths: expected two or more multiples of {HEAD_SIZE}, got {list(self.widths)}")
        if self.block_size not in (2, 4, 8):
            raise ConfigError(f"block_size: expected 2, 4 or 8, got {self.block_size}")


def build_small_base(sizes: SmallBase, config: FlipNetConfig, words: Sequence[str], images: Tensor) -> BaseModel:
    """Build new parts with random weights.

    Args:
        sizes: Of the networks.
        config: Whose head the U-Net is to have.
        words: The vocabulary of the prompts.
        images: In [-1, 1], (B, 3, H, W), that the latent space is scaled by.
    """
    diffusers, transformers = foreign.diffusers(), foreign.transformers()

    vae = BlockDCT(sizes.block_size, latent_channels=3 * sizes.block_size**2, lapped=sizes.lapped)
    vae.fit(images)
    channels, depth = vae.latent_channels, len(sizes.widths)
    out_channels = channels if config.head == "plain" else gated_head(channels, config).out_channels
    first = "CrossAttn" if sizes.first_attention else ""
    unet = diffusers.UNet2DConditionModel(
        sample_size=64,
        in_channels=channels,
        out_channels=out_channels,
        block_out_channels=sizes.widths,
        down_block_types=(f"{first}DownBlock2D", *["CrossAttnDownBlock2D"] * (depth - 1)),
        up_block_types=(*["CrossAttnUpBlock2D"] * (depth - 1), f"{first}UpBlock2D"),
        layers_per_block=sizes.layers,
        attention_head_dim=tuple(width // HEAD_SIZE for width in sizes.widths),
        cross_attention_dim=sizes.text_width,
        conv_in_kernel=1,  # a token is a block of pixels already
        conv_out_kernel=1,
        use_linear_projection=True,
        # The prompt acts on the whole image through the time embedding too: the finest level has no cross-attention.
        addition_embed_type="text",
        addition_embed_type_num_heads=max(1, sizes.text_width // HEAD_SIZE),
        resnet_time_scale_shift="scale_shift",
    )
    with torch.no_grad():
        # Begin with the mean of the data or, with a gated head, with the best linear estimate.
        unet.conv_out.weight.zero_()
        unet.conv_out.bias.zero_()
    tokenizer = word_tokenizer(words, sizes.text_tokens)
    text_encoder = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=sizes.text_width,
            intermediate_size=4 * sizes.text_width,
            num_hidden_layers=sizes.text_layers,
            num_attention_heads=max(1, sizes.text_width // HEAD_SIZE),
            max_position_embeddings=sizes.text_tokens,
            projection_dim=sizes.text_width,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    scheduler = diffusers.DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="sample" if config.head == "gated" else "v_prediction",
        rescale_betas_zero_snr=True,  # else dark and flat images drift to a middle grey
        timestep_spacing="trailing",
        clip_sample=False,
    )
    return BaseModel(unet=unet, vae=vae, text_encoder=text_encoder.eval(), tokenizer=tokenizer, scheduler=scheduler)


def word_tokenizer(words: Sequence[str], max_length: int) -> Any:  # noqa: ANN401 (transformers)
    """Build a tokenizer of whole words; those that it does not know are one and the same to it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = [
        "<pad>",
        "<start>",
        "<end>",
        "<unknown>",
        ",",
        *sorted({part for word in words for part in word.lower().split()} - {","}),
    ]
    tokenizer: Any = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unknown>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(",", "isolated")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        pad_token="<pad>",
        bos_token="<start>",
        eos_token="<end>",
        unk_token="<unknown>",
    )


def add_words(net: FlipNet, words: Sequence[str]) -> None:
    """Teach a network's tokenizer words that it does not know, each with a row of random numbers to be trained.

    A tokenizer that knows parts of words, as CLIP's does, has nothing to learn and stays as it is.

    Args:
        net: Its tokenizer and text model change.
        words: Without spaces and commas.
    """
    tokenizer: Any = net.tokenizer
    unknown = tokenizer.unk_token_id
    fresh = sorted({word for word in words if tokenizer.convert_tokens_to_ids(tokenizer.tokenize(word)) == [unknown]})
    if not fresh:
        return
    from tokenizers import AddedToken

    tokenizer.add_tokens([AddedToken(word, single_word=True, normalized=True) for word in fresh])
    net.text_encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)


def continued_net(
    location: str | Path,
    stream: PairStream,
    *,
    seed: int,
    words: Sequence[str],
    crop_size: int,
    samples: int,
    download: bool,
    lapped: bool = False,
    space: DescriptionSpace | None = None,
    finished: bool = False,
) -> tuple[FlipNet, BaseReference]:
    """Load a network to be trained further on other pairs; returns it with the reference that it is to be saved with.

    Args:
        location: Folder of a FlipNet, or the name of one that ships.
        stream: Pairs that its linear filter is fitted to anew: w, v and r of the head are those of the data.
        seed: Seed of the numbers of new words.
        words: Words that captions may hold; see `add_words`.
        crop_size: Side of those pairs, pixels.
        samples: Number of them.
        download: Whether a base model may be fetched from a hub.
        lapped: Whether its blocks, if they stand apart, shall overlap from now on: its space is then scaled by the
            pairs.
        space: How exemplars are described, for a network that knew none; one that did keeps its own.
        finished: Whether all else of the network stays as it is: it learns no words, and keeps its linear filter.

    Raises:
        ConfigError: If it cannot be loaded, or has no blocks that could overlap.
    """
    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
    folder = model_folder(location)
    net = load(folder, download=download).net
    if space is not None and net.describer is None:
        net.add_describer(space.size)
        net.space = space
    if finished:
        return net, read_config(folder)[1]
    add_words(net, words)
    if lapped and not isinstance(net.vae, BlockDCT):
        raise ConfigError(f"base: lapped: {folder} has no blocks that could overlap; leave it out")
    lap = lapped and not net.vae.lapped
    if lap or net.head is not None:
        batch = collate([stream.sample(2**40 + number, crop_size) for number in range(samples)])
        target, condition = net.config.mode.flip(batch.hq, batch.lq)
        if lap:
            net.vae = BlockDCT(net.vae.block_size, latent_channels=net.vae.latent_channels, lapped=True)
            net.vae.fit(target)
        if net.head is not None:
            with torch.no_grad():
                net.head.fit(net.encode_images(target), net.encode_images(condition))
    return net, read_config(folder)[1]


def check_base_choice(base_model: str, *, train_base: bool) -> None:
    """Make sure that a network which starts from nothing is trained as a whole.

    Raises:
        ConfigError: If it is not.
    """
    if not base_model and not train_base:
        raise ConfigError("a new base model must be trained: set train_base, or give --base-model")


def new_net(
    network: FlipNetConfig,
    stream: PairStream,
    *,
    seed: int,
    train_base: bool,
    crop_size: int,
    base_model: str,
    revision: str | None,
    sizes: SmallBase,
    download: bool,
    samples: int = 2000,
    space: DescriptionSpace | None = None,
) -> tuple[FlipNet, BaseReference]:
    """Build a network before its training; returns it with the folder or hub id of its base model.

    Args:
        network: What it is.
        stream: Pairs that a new base model is scaled by.
        seed: Seed of new weights.
        train_base: Whether the base model will be trained too, and is then saved with the FlipNet.
        crop_size: Side of those pairs, pixels.
        base_model: Hub id, folder or name; empty for a new one.
        revision: Of a hub id.
        sizes: Of a new base model.
        download: Whether a hub id may be fetched.
        samples: Pairs for that scale.
        space: How exemplars are described, where `network` knows them.

    Raises:
        ConfigError: If the base model cannot be loaded, or is none for this network.
    """
    # Of new weights alone: training draws from generators of its own.
    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
    if base_model:
        base_model, revision = base_place(base_model, revision)
        base: BaseModel = load_base(base_model, revision=revision, download=download)
        reference = BaseReference(
            location=BASE_DIR if train_base else base_model,
            revision=revision,
            fingerprint=network_fingerprint(base.unet),
        )
        try:
            net = FlipNet(base.unet, base.vae, base.text_encoder, base.tokenizer, base.scheduler, network)
        except ValueError as error:
            raise ConfigError(f"base model {base_model}: {error}") from error
        net.space = space
        return net, reference
    check_base_choice(base_model, train_base=train_base)
    # Samples of their own numbers, beyond those of the run.
    batch = collate([stream.sample(2**40 + number, crop_size) for number in range(samples)])
    target, condition = network.mode.flip(batch.hq, batch.lq)
    base = build_small_base(sizes, network, WORDS, target)
    net = FlipNet(base.unet, base.vae, base.text_encoder, base.tokenizer, base.scheduler, network)
    net.space = space
    if net.head is not None:
        net.head.fit(net.encode_images(target), net.encode_images(condition))
    return net, BaseReference(location=BASE_DIR)
