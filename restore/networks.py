"""Networks whose weights others published: they come from a file that the user has, and are never fetched."""

# Parts of torch's own stubs are without a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.weights import check_finite, check_shapes, read_weights

VGG_LAYERS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Width and number of convolutions of VGG19's blocks."""
VGG_FILE = "vgg19-dcbb9e9d.pth"
"""torchvision's own name of its weights."""
ARCFACE_FILE = "backbone.pth of an IResNet (insightface, arcface_torch), such as ms1mv3_arcface_r50_fp16"


def read_network(path: Path, what: str) -> dict[str, Tensor]:
    """Weights of a safetensors file, or of a torch file that holds tensors and nothing else.

    Args:
        path: The file.
        what: What it should be, for messages.

    Raises:
        ConfigError: If it is missing, damaged or holds code.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; expected {what}")
    if path.suffix == ".safetensors":
        return read_weights(path)
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise ConfigError(f"{path}: cannot be read as {what}: {str(error).partition(chr(10))[0]}") from error
    if isinstance(found, Mapping) and "state_dict" in found:
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ConfigError(f"{path}: expected tensors by name, {what}")
    tensors = {str(name): cast("Tensor", value) for name, value in cast("Mapping[Any, Any]", found).items()}
    check_finite(tensors, str(path))
    return tensors


class Vgg19(nn.Module):
    """The convolutions of VGG19, with the names that torchvision gives them.

    Args:
        last: The last layer that is computed, such as `conv5_4`.
    """

    def __init__(self, last: str = "conv5_4") -> None:
        super().__init__()
        self.places: dict[str, int] = {}
        layers: list[nn.Module] = []
        channels = 3
        for block, (width, count) in enumerate(VGG_LAYERS, start=1):
            for number in range(1, count + 1):
                self.places[f"conv{block}_{number}"] = len(layers)
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        if last not in self.places:
            raise ConfigError(f"VGG19 has no layer {last!r}; it has {', '.join(self.places)}")
        self.features = nn.Sequential(*layers[: self.places[last] + 1])

    def forward(self, images: Tensor, wanted: tuple[str, ...]) -> list[Tensor]:
        """Outputs of layers, before their ReLU, of images in [-1, 1]."""
        mean, deviation = (
            images.new_tensor(numbers)[:, None, None] for numbers in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        )
        hidden = ((images + 1) / 2 - mean) / deviation
        places = {self.places[name] for name in wanted}
        found: list[Tensor] = []
        for place, layer in enumerate(self.features):
            hidden = layer(hidden)
            if place in places:
                found.append(hidden)
        return found


def load_vgg19(path: Path, last: str) -> Vgg19:
    """VGG19 with the weights of a file.

    Raises:
        ConfigError: If it is missing, or not VGG19's.
    """
    tensors = read_network(path, f"VGG19's weights as torchvision has them ({VGG_FILE}, or as safetensors)")
    network = Vgg19(last)
    expected = network.state_dict()
    kept = {name: tensor for name, tensor in tensors.items() if name in expected}
    check_shapes(expected, kept, str(path))
    network.load_state_dict(kept)
    return network.requires_grad_(False).eval()


class _IBlock(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before, eps=1e-5)
        self.conv1 = nn.Conv2d(before, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, eps=1e-5)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width, eps=1e-5)
        self.downsample = (
            nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width, eps=1e-5))
            if stride != 1 or before != width
            else None
        )

    def forward(self, hidden: Tensor) -> Tensor:
        output = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(hidden))))))
        return output + (hidden if self.downsample is None else self.downsample(hidden))


IDENTITY_SIZE = 112
"""Side of the crop that an identity network sees, pixels."""

# Five points of a face at 512 pixels in FFHQ's framing, and in the crop of 112 pixels that ArcFace was trained on.
_FFHQ_POINTS = ((192.98, 239.95), (318.90, 240.19), (256.63, 314.02), (201.26, 371.41), (313.09, 371.15))
_ARCFACE_POINTS = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))


class IResNet(nn.Module):
    """ArcFace's backbone (Deng et al. 2019), with the names that insightface's arcface_torch gives its parts.

    Args:
        layers: Blocks of the four stages: (3, 4, 14, 3) is IResNet-50, (3, 13, 30, 3) IResNet-100.
        widths: Channels of the stages.
    """

    def __init__(
        self,
        layers: tuple[int, ...] = (3, 4, 14, 3),
        widths: tuple[int, ...] = (64, 128, 256, 512),
        features: int = 512,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0], eps=1e-5)
        self.prelu = nn.PReLU(widths[0])
        before = widths[0]
        for stage, (count, width) in enumerate(zip(layers, widths, strict=True), start=1):
            blocks = [_IBlock(before if block == 0 else width, width, 2 if block == 0 else 1) for block in range(count)]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            before = width
        self.bn2 = nn.BatchNorm2d(before, eps=1e-5)
        side = IDENTITY_SIZE // 2 ** len(widths)
        self.fc = nn.Linear(before * side**2, features)
        self.features = nn.BatchNorm1d(features, eps=1e-5)
        self.stages = len(widths)

    def forward(self, crops: Tensor) -> Tensor:
        """Identity (B, features), of length 1, of RGB crops in [-1, 1], (B, 3, 112, 112)."""
        hidden = self.prelu(self.bn1(self.conv1(crops)))
        for stage in range(1, self.stages + 1):
            hidden = getattr(self, f"layer{stage}")(hidden)
        return F.normalize(self.features(self.fc(self.bn2(hidden).flatten(1))), dim=-1)


def load_identity(path: Path) -> IResNet:
    """An IResNet of the size that the file's weights have.

    Raises:
        ConfigError: If it is missing, or of another network.
    """
    tensors = read_network(path, ARCFACE_FILE)
    try:
        widths = tuple(int(tensors[f"layer{stage}.0.conv2.weight"].shape[0]) for stage in range(1, 5))
        layers = tuple(
            len({name.split(".")[1] for name in tensors if name.startswith(f"layer{stage}.")}) for stage in range(1, 5)
        )
        network = IResNet(layers, widths, int(tensors["fc.weight"].shape[0]))
    except KeyError as error:
        raise ConfigError(f"{path}: expected {ARCFACE_FILE}; it has no {error}") from error
    expected = network.state_dict()
    check_shapes(expected, tensors, str(path))
    network.load_state_dict(tensors)
    return network.requires_grad_(False).eval()


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
