"""Networks whose weights others published, each once: VGG, ArcFace's ResNets, FID's Inception.

Weights come from a file that the user has (see `degrade_kit.analysis.weights`), and are never fetched. Images are RGB,
NCHW, in [-1, 1] where nothing else is said.
"""

# Parts of torch's own stubs are without a type, and torch-fidelity has none.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import importlib
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degrade_kit.analysis.tensors import first_line, load_published, read_tensors, select
from degrade_kit.errors import ConfigError

# ------------------------------------------------------------------------------------------------------------------ VGG

_VGG_BLOCKS: Final = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions of the five blocks, by depth."""
VGG_WIDTHS: Final = (64, 128, 256, 512, 512)
"""Channels of the five blocks."""
# ImageNet's mean and deviation, of values in [-1, 1].
_VGG_SHIFT, _VGG_SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Vgg(nn.Module):
    """The convolutions of VGG-16 or VGG-19, with the names that torchvision gives them.

    Args:
        depth: 16 or 19.
        last: The last layer that is computed, such as `conv5_4` or `relu5_3`.
    """

    def __init__(self, depth: Literal[16, 19], last: str) -> None:
        super().__init__()
        places: dict[str, int] = {}
        layers: list[nn.Module] = []
        channels = 3
        for block, (width, count) in enumerate(zip(VGG_WIDTHS, _VGG_BLOCKS[depth], strict=True), start=1):
            for number in range(1, count + 1):
                places[f"conv{block}_{number}"], places[f"relu{block}_{number}"] = len(layers), len(layers) + 1
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        if last not in places:
            raise ConfigError(f"VGG-{depth} has no layer {last!r}; it has {', '.join(places)}")
        self.features = nn.Sequential(*layers[: places[last] + 1])
        self._places = places
        self.register_buffer("shift", torch.tensor(_VGG_SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(_VGG_SCALE)[:, None, None], persistent=False)

    def forward(self, images: Tensor, wanted: Sequence[str]) -> list[Tensor]:
        """Outputs of the named layers, in the order of the network."""
        places = {self._places[name] for name in wanted}
        hidden = (images - self.get_buffer("shift")) / self.get_buffer("scale")
        found: list[Tensor] = []
        for place, layer in enumerate(self.features):
            hidden = layer(hidden)
            if place in places:
                found.append(hidden)
        return found


def load_vgg(path: Path, depth: Literal[16, 19], last: str) -> Vgg:
    """Load VGG with torchvision's weights; what lies behind `last` is left.

    Raises:
        ConfigError: If the file is missing, damaged or of another network, or VGG has no such layer.
    """
    network = Vgg(depth, last)
    load_published(network, path, f"VGG-{depth}'s weights as torchvision has them")
    return network


# -------------------------------------------------------------------------------------------------------------- ArcFace


class _Block(nn.Module):
    """A residual block; `grey` is the older of the two shapes, with one slope for all channels and a last PReLU."""

    def __init__(self, inputs: int, width: int, stride: int, *, grey: bool) -> None:
        super().__init__()
        middle = inputs if grey else width
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, middle, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.prelu = nn.PReLU(1 if grey else middle)
        self.conv2 = nn.Conv2d(middle, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))
            if stride != 1 or inputs != width
            else None
        )
        self.grey = grey

    def forward(self, hidden: Tensor) -> Tensor:
        """Same layout in and out."""
        out = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(hidden))))))
        out = out + (hidden if self.downsample is None else self.downsample(hidden))
        return self.prelu(out) if self.grey else out


class ArcFace(nn.Module):
    """A face to its identity, of which the direction counts, not the length (Deng et al. 2019); two published shapes.

    In colour it is the IResNet of insightface's arcface_torch, with the names of that. `grey` is `resnet_face18` of
    ronghuaiyang/arcface-pytorch without squeeze and excitation, which is GFPGAN's `ResNetArcFace` too: `arcface18_name`
    translates its names.

    Args:
        layers: Blocks of the four stages: (3, 4, 14, 3) is IResNet-50, (3, 13, 30, 3) IResNet-100.
        widths: Channels of the stages.
        features: Numbers of an identity.
        grey: Whether it takes one channel.
    """

    def __init__(
        self,
        layers: Sequence[int] = (3, 4, 14, 3),
        widths: Sequence[int] = (64, 128, 256, 512),
        features: int = 512,
        *,
        grey: bool = False,
    ) -> None:
        super().__init__()
        self.layers, self.widths, self.width = tuple(layers), tuple(widths), features
        self.size = 128 if grey else 112
        """Side of the crop that it takes, pixels."""
        self.conv1 = nn.Conv2d(1 if grey else 3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.prelu = nn.PReLU(1 if grey else widths[0])
        self.pool = nn.MaxPool2d(2) if grey else nn.Identity()
        before = widths[0]
        for stage, (count, width) in enumerate(zip(layers, widths, strict=True), start=1):
            strides = [1 if grey and stage == 1 else 2, *[1] * (count - 1)]
            blocks = [
                _Block(before if place == 0 else width, width, stride, grey=grey)
                for place, stride in enumerate(strides)
            ]
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
            before = width
        self.bn2 = nn.BatchNorm2d(before)
        self.fc = nn.Linear(before * (self.size // 16) ** 2, features)
        self.features = nn.BatchNorm1d(features)

    def forward(self, crops: Tensor) -> Tensor:
        """Identities (B, features), of no particular length, of crops (B, C, size, size)."""
        hidden = self.pool(self.prelu(self.bn1(self.conv1(crops))))
        for stage in range(1, len(self.layers) + 1):
            hidden = self.get_submodule(f"layer{stage}")(hidden)
        return self.features(self.fc(self.bn2(hidden).flatten(1)))


def arcface18() -> ArcFace:
    """Build the grey ResNet-18, without weights."""
    return ArcFace((2, 2, 2, 2), grey=True)


def arcface18_name(name: str) -> str:
    """Translate a name of a tensor to that in files of the grey ResNet-18.

    >>> arcface18_name("layer1.0.bn1.weight"), arcface18_name("bn2.bias"), arcface18_name("fc.weight")
    ('layer1.0.bn0.weight', 'bn4.bias', 'fc5.weight')
    """
    in_block = re.fullmatch(r"(layer\d\.\d+\.bn)(\d)(\..*)", name)
    if in_block:
        return f"{in_block[1]}{int(in_block[2]) - 1}{in_block[3]}"
    first, dot, rest = name.partition(".")
    return {"bn2": "bn4", "fc": "fc5", "features": "bn5"}.get(first, first) + dot + rest


def load_arcface18(path: Path) -> ArcFace:
    """Load the grey ResNet-18: VQFR's `resnet18_110.pth`, GFPGAN's `arcface_resnet18.pth`.

    Raises:
        ConfigError: If the file is missing, damaged or of another network.
    """
    network = arcface18()
    load_published(network, path, "ArcFace's ResNet-18", arcface18_name)
    return network


def load_iresnet(path: Path) -> ArcFace:
    """Load an IResNet of the size that the file's weights have.

    Raises:
        ConfigError: If the file is missing, damaged or of another network.
    """
    what = "an IResNet of insightface's arcface_torch (backbone.pth)"
    tensors = read_tensors(path, what)
    try:
        stages = [f"layer{stage}." for stage in range(1, 5)]
        widths = [int(tensors[f"{stage}0.conv2.weight"].shape[0]) for stage in stages]
        layers = [len({name.split(".")[1] for name in tensors if name.startswith(stage)}) for stage in stages]
        features = int(tensors["fc.weight"].shape[0])
    except KeyError as error:
        raise ConfigError(f"{path}: not {what}: it has no {error}") from error
    network = ArcFace(layers, widths, features)
    network.load_state_dict(select(tensors, network.state_dict(), path, what))
    return network.requires_grad_(False).eval()


# ------------------------------------------------------------------------------------------------------------ Inception

_INCEPTION_LAYERS: Final = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2"),
    *(f"Mixed_{block}" for block in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")),
    "AvgPool",
)


class Inception(nn.Module):
    """FID's Inception v3 up to its pooled features; the network is torch-fidelity's.

    Args:
        path: Its weights.

    Raises:
        ConfigError: If the file is missing, damaged or of another network, or torch-fidelity is not there.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            module: Any = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
            resizing: Any = importlib.import_module("torch_fidelity.interpolate_compat_tensorflow")
        except ImportError as error:
            raise ConfigError("FID's Inception needs torch-fidelity: pip install 'degrade-kit[metrics]'") from error
        what = "the weights of FID's Inception"
        tensors = read_tensors(path, what)
        with tempfile.TemporaryDirectory() as folder:
            # torch-fidelity takes a path alone, and unpickles what is there without a check.
            plain = Path(folder) / "inception.pth"
            torch.save(tensors, plain)
            try:
                self.network: Any = module.FeatureExtractorInceptionV3("fid", ["2048"], str(plain))
            except RuntimeError as error:
                raise ConfigError(f"{path}: not {what}: {first_line(error)}") from error
        self._resize_as_tensorflow: Any = resizing.interpolate_bilinear_2d_like_tensorflow1x

    def forward(self, pixels: Tensor, resize: Literal["bilinear", "tf1"]) -> Tensor:
        """Features (B, 2048) of pixels in 0..255, resized by PyTorch or, as the first FID, by TensorFlow 1."""
        if resize == "tf1":
            hidden = (self._resize_as_tensorflow(pixels, size=(299, 299), align_corners=False) - 128) / 128
        else:
            hidden = F.interpolate(pixels / 127.5 - 1, (299, 299), mode="bilinear", align_corners=False)
        for name in _INCEPTION_LAYERS:  # without the resizing that the network's own `forward` does
            hidden = getattr(self.network, name)(hidden)
        return hidden.flatten(1)
