"""A face image as cross-attention tokens: what a frozen network sees in it, through an adapter that trains."""

# Parts of torch's own stubs are without a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degrade_kit.analysis.networks import ArcFace
from degrade_kit.checks import Kind, checked, choice, each, fields
from degrade_kit.errors import ConfigError
from degrade_kit.files import read_json
from degrade_kit.flipnet.weights import check_finite, load_weights, write_weights
from degrade_kit.restore.autoencoder import autoencoder_from, latent_factor
from degrade_kit.restore.folder import SOURCE_CONFIG

EmbeddingKind = Literal["bfr", "arcface", "none"]
"""`bfr` is the paper's: the LQ encoder of the association stage. `arcface` is an identity network, to compare with."""

SOURCE_FILE, ADAPTER_FILE = "embedding.safetensors", "adapter.safetensors"

IDENTITY_SIZE = 112
"""Side of the crop that an identity network sees, pixels."""

# Five points of a face at 512 pixels in FFHQ's framing, and in the crop of 112 pixels that ArcFace was trained on.
_FFHQ_POINTS = ((192.98, 239.95), (318.90, 240.19), (256.63, 314.02), (201.26, 371.41), (313.09, 371.15))
_ARCFACE_POINTS = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))


class LatentSource(nn.Module):
    """The LQ encoder: the mean of its latents, cut into squares.

    Args:
        autoencoder: An `AutoencoderKL`, whose decoder is left behind.
        patch: Side of a square, latents; 1 is the paper's literal reading, and takes sixteen times the tokens of 4.
    """

    def __init__(self, autoencoder: Any, patch: int) -> None:  # noqa: ANN401 (diffusers)
        super().__init__()
        self.encoder, self.quant_conv = autoencoder.encoder, autoencoder.quant_conv
        self.plain_config: dict[str, Any] = dict(autoencoder.config)
        self.factor, self.patch = latent_factor(autoencoder), patch
        self.channels = int(autoencoder.config.latent_channels)

    @property
    def width(self) -> int:
        """Numbers of a token."""
        return self.channels * self.patch**2

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Compute rows and columns of the tokens of an image."""
        multiple = self.factor * self.patch
        return -(-height // multiple), -(-width // multiple)

    def forward(self, images: Tensor) -> Tensor:
        """Compute tokens (B, N, width) of images in [-1, 1], extended to whole squares."""
        height, width = images.shape[-2:]
        multiple = self.factor * self.patch
        padded = F.pad(images, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        moments = self.encoder(padded)
        moments = moments if self.quant_conv is None else self.quant_conv(moments)
        return F.pixel_unshuffle(moments[:, : self.channels], self.patch).flatten(2).transpose(1, 2)


class IdentitySource(nn.Module):
    """ArcFace's identity of a face, as one token.

    Args:
        network: Takes crops of 112 pixels.
    """

    def __init__(self, network: ArcFace) -> None:
        super().__init__()
        self.network = network
        self.width = network.width

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return one row and one column: one token, whatever the image is."""
        del height, width
        return 1, 1

    def forward(self, images: Tensor) -> Tensor:
        """Compute one token, (B, 1, width), of faces in FFHQ's framing."""
        return F.normalize(self.network(identity_crop(images)), dim=-1)[:, None]


class FaceEmbedding(nn.Module):
    """Images to tokens of the text's width: LayerNorm, Linear, GELU, Linear, LayerNorm for each.

    Args:
        source: Frozen.
        width: Of the text model.
    """

    def __init__(self, source: LatentSource | IdentitySource, width: int) -> None:
        super().__init__()
        self.source = source.requires_grad_(False).eval()
        self.adapter = nn.Sequential(
            nn.LayerNorm(source.width),
            nn.Linear(source.width, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.LayerNorm(width),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Compute tokens (B, N, width) of LQ images in [-1, 1]."""
        with torch.no_grad():
            seen = self.source(images)
        return self.adapter(seen)


def save_embedding(embedding: FaceEmbedding, folder: Path) -> None:
    """Write the source and the adapter to a folder that is there.

    Raises:
        OSError: If that fails.
    """
    source = embedding.source
    about: dict[str, Any]
    if isinstance(source, LatentSource):
        plain = {name: value for name, value in source.plain_config.items() if not name.startswith("_")}
        about = {"kind": "bfr", "patch": source.patch, "autoencoder": plain}
    else:
        network = source.network
        about = {"kind": "arcface", "layers": network.layers, "widths": network.widths, "features": network.width}
    about["width"] = int(cast("nn.Linear", embedding.adapter[1]).out_features)
    parts: dict[str, nn.Module] = {SOURCE_FILE: source, ADAPTER_FILE: embedding.adapter}
    for name, part in parts.items():
        tensors = {key: tensor.detach().to("cpu").contiguous().clone() for key, tensor in part.state_dict().items()}
        check_finite(tensors, f"the face embedding's {name} to save")
        write_weights(tensors, folder / name)
    (folder / SOURCE_CONFIG).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


_WIDTH = range(1, 8193)
_ABOUT: Mapping[str, Kind] = {"kind": choice(("bfr", "arcface")), "width": _WIDTH}
_BFR: Mapping[str, Kind] = {"patch": range(1, 65), "autoencoder": dict}
_ARCFACE: Mapping[str, Kind] = {"layers": each(range(1, 101)), "widths": each(_WIDTH), "features": _WIDTH}


def load_embedding(folder: Path) -> FaceEmbedding | None:
    """Load what `save_embedding` wrote; None where the folder has no embedding.

    Raises:
        ConfigError: If a file is missing or damaged.
    """
    path = folder / SOURCE_CONFIG
    if not path.exists():
        return None
    try:
        about = checked(read_json(path), fields(_ABOUT), str(path))
        if about["kind"] == "bfr":
            checked(about, fields(_BFR), str(path))
            source: LatentSource | IdentitySource = LatentSource(
                autoencoder_from(about["autoencoder"], folder / SOURCE_FILE), about["patch"]
            )
        else:
            checked(about, fields(_ARCFACE), str(path))
            source = IdentitySource(ArcFace(about["layers"], about["widths"], about["features"]))
        embedding = FaceEmbedding(source, about["width"])
    except (ConfigError, ValueError, IndexError, RuntimeError) as error:
        raise ConfigError(f"{path}: expected the face embedding of `train-restore`: {error}") from error
    load_weights(embedding.source, folder / SOURCE_FILE)
    load_weights(embedding.adapter, folder / ADAPTER_FILE)
    return embedding.requires_grad_(False).eval()


def identity_crop(faces: Tensor) -> Tensor:
    """What ArcFace sees of faces in FFHQ's framing, (B, 3, H, W) to (B, 3, 112, 112)."""
    angle, scale, shift = _similarity()
    # Of a pixel of the crop to a place of the face, both in [-1, 1].
    cosine, sine = math.cos(angle) * scale, math.sin(angle) * scale
    ratio = IDENTITY_SIZE / 512
    matrix = torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64) * ratio
    centre = torch.tensor([IDENTITY_SIZE / 2, IDENTITY_SIZE / 2], dtype=torch.float64)
    offset = (torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64) @ centre + shift) / 256 - 1
    theta = torch.cat([matrix, offset[:, None]], dim=1).to(faces.dtype).to(faces.device)
    grid = F.affine_grid(
        theta.expand(faces.shape[0], -1, -1), [faces.shape[0], 3, IDENTITY_SIZE, IDENTITY_SIZE], align_corners=False
    )
    if faces.shape[-1] > 2 * IDENTITY_SIZE:  # grid_sample does not average
        faces = F.interpolate(faces, size=(2 * IDENTITY_SIZE, 2 * IDENTITY_SIZE), mode="area")
    return F.grid_sample(faces, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _similarity() -> tuple[float, float, Tensor]:
    """Angle, scale and shift that carry ArcFace's points to FFHQ's, by least squares."""
    source, target = (torch.tensor(points, dtype=torch.float64) for points in (_ARCFACE_POINTS, _FFHQ_POINTS))
    a, b = source - source.mean(0), target - target.mean(0)
    dot, cross = float((a * b).sum()), float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum())
    angle, scale = math.atan2(cross, dot), math.hypot(dot, cross) / float(a.square().sum())
    cosine, sine = math.cos(angle) * scale, math.sin(angle) * scale
    turned = torch.stack([cosine * source[:, 0] - sine * source[:, 1], sine * source[:, 0] + cosine * source[:, 1]], 1)
    return angle, scale, target.mean(0) - turned.mean(0)
