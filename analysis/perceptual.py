"""Numbers that need a network: LPIPS, the identity angle, FID's features and the landmark distance, from local weights.

Nothing is fetched. Images are pixels (see `degrade_kit.image`); tensors are NCHW.
"""

# torch, torch-fidelity and facexlib have parts without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from degrade_kit.analysis.distances import Features
from degrade_kit.analysis.extractors import Measure
from degrade_kit.analysis.protocols import Protocol
from degrade_kit.analysis.tensors import read_tensors, select
from degrade_kit.errors import ConfigError
from degrade_kit.image import Pixels

PairMetric = Callable[[Pixels, Pixels], float]
"""Restored image and reference to a number."""

# ---------------------------------------------------------------------------------------------------------------- LPIPS

_VGG16: Final = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)
"""Channels of the convolutions; 0 halves the size."""
_TAPS: Final = (3, 8, 15, 22, 29)
"""Layers whose outputs are compared: relu1_2, relu2_2, relu3_3, relu4_3, relu5_3."""
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Lpips(nn.Module):
    """Learned perceptual distance of two images in [-1, 1], RGB.

    Source: Zhang et al. 2018; equal to the package `lpips` 0.1.4, `net="vgg"`, with the same weights.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in _VGG16:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()] if width else [nn.MaxPool2d(2)]
            channels = width or channels
        self.features = nn.Sequential(*layers)
        self.heads = nn.ParameterList([nn.Parameter(torch.zeros(1, width, 1, 1)) for width in (64, 128, 256, 512, 512)])
        self.register_buffer("shift", torch.tensor(_SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE)[:, None, None], persistent=False)

    def forward(self, one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        """Distances, (N,)."""
        shift, scale = self.get_buffer("shift"), self.get_buffer("scale")
        both = (torch.cat([one, two]) - shift) / scale
        total = torch.zeros(len(one), device=one.device)
        heads = iter(self.heads)
        for number, layer in enumerate(self.features):
            both = layer(both)
            if number in _TAPS:
                first, second = (both / (both.square().sum(1, keepdim=True).sqrt() + 1e-10)).chunk(2)
                total = total + ((first - second).square() * next(heads)).sum(1).mean((1, 2))
        return total


def load_lpips(trunk: Path, heads: Path, protocol: Protocol, device: str = "cpu") -> PairMetric:
    """LPIPS from torchvision's VGG-16 and the heads that the package `lpips` has as `weights/v0.1/vgg.pth`.

    Raises:
        ConfigError: If a file is not what it should be.
    """
    net = Lpips()
    vgg = select(read_tensors(trunk), net.features.state_dict(prefix="features."), trunk, "VGG-16")
    net.features.load_state_dict({name.removeprefix("features."): value for name, value in vgg.items()})
    named = {f"lin{number}.model.1.weight": head for number, head in enumerate(net.heads)}
    for name, value in select(read_tensors(heads), named, heads, "LPIPS's heads for VGG").items():
        named[name].data.copy_(value)
    net = net.eval().requires_grad_(False).to(device)
    low, high = protocol.lpips_range

    def tensor(image: Pixels) -> torch.Tensor:
        swapped = image[..., ::-1] if protocol.lpips_channels == "bgr" else image
        return _tensor(swapped, device) * ((high - low) / 255) + low

    @torch.no_grad()
    def measure(restored: Pixels, reference: Pixels) -> float:
        return float(net(tensor(restored), tensor(reference))[0])

    return measure


# ------------------------------------------------------------------------------------------------------------- identity


class _Block(nn.Module):
    """ArcFace's improved residual block."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))
            if stride != 1 or inputs != width
            else None
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same layout in and out."""
        out = self.bn2(self.conv2(self.prelu(self.bn1(self.conv1(self.bn0(x))))))
        return self.prelu(out + (x if self.downsample is None else self.downsample(x)))


class ArcFace18(nn.Module):
    """Identity of a grey face of 128 pixels, (N, 1, 128, 128) to (N, 512).

    Source: ronghuaiyang/arcface-pytorch `resnet_face18` without squeeze and excitation, which is GFPGAN's
    `ResNetArcFace` too; equal to the latter with the same weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU()
        self.maxpool = nn.MaxPool2d(2)
        widths = (64, 64, 128, 256, 512)
        for number in range(1, 5):
            inputs, width = widths[number - 1 : number + 1]
            self.add_module(
                f"layer{number}",
                nn.Sequential(_Block(inputs, width, 1 if number == 1 else 2), _Block(width, width, 1)),
            )
        self.bn4 = nn.BatchNorm2d(512)
        self.fc5 = nn.Linear(512 * 8 * 8, 512)
        self.bn5 = nn.BatchNorm1d(512)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Embeddings, of no particular length."""
        x = self.maxpool(self.prelu(self.bn1(self.conv1(x))))
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        return self.bn5(self.fc5(self.bn4(x).flatten(1)))


def load_identity(path: Path, protocol: Protocol, device: str = "cpu") -> PairMetric:
    """Angle between identities, in degrees whatever the protocol's unit is.

    Raises:
        ConfigError: If the file is not what it should be.
    """
    net = ArcFace18()
    net.load_state_dict(select(read_tensors(path), net.state_dict(), path, "ArcFace's ResNet-18"))
    net = net.eval().requires_grad_(False).to(device)

    @torch.no_grad()
    def measure(restored: Pixels, reference: Pixels) -> float:
        faces = torch.cat([identity_input(image, protocol) for image in (restored, reference)]).to(device)
        one, two = net(faces).double().cpu().numpy()
        cosine = float(one @ two / (np.linalg.norm(one) * np.linalg.norm(two)))
        return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))

    return measure


def identity_input(image: Pixels, protocol: Protocol) -> torch.Tensor:
    """What the network gets: (1, 1, 128, 128)."""
    low, high = protocol.identity_range
    if protocol.identity_gray == "opencv":
        gray = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (128, 128), interpolation=cv2.INTER_LINEAR)
        small = _tensor(np.asarray(gray, np.uint8)[..., None], "cpu")
    else:
        # The script reads BGR, and weighs its channels as if they were RGB.
        weights = torch.tensor([0.1140, 0.5870, 0.2989])[None, :, None, None]
        gray_float = (_tensor(image, "cpu") * weights).sum(1, keepdim=True)
        small = F.interpolate(gray_float, (128, 128), mode="bilinear", align_corners=False)
    return small * ((high - low) / 255) + low


# ------------------------------------------------------------------------------------------------------------------ FID


def load_inception(path: Path, protocol: Protocol, device: str = "cpu") -> Measure:
    """Features of FID's Inception, (2048,), resized as the protocol says; the network is torch-fidelity's.

    Raises:
        ConfigError: If the file is not what it should be, or torch-fidelity is not there.
    """
    try:
        module: Any = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
        resizing: Any = importlib.import_module("torch_fidelity.interpolate_compat_tensorflow")
    except ImportError as error:
        raise ConfigError("FID needs the package torch-fidelity: pip install torch-fidelity") from error
    read_tensors(path)  # torch-fidelity unpickles without a check; what this accepts holds no code
    try:
        net: Any = module.FeatureExtractorInceptionV3("fid", ["2048"], str(path))
    except Exception as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{path}: not the weights of FID's Inception: {said}") from error
    net = net.to(device)

    @torch.no_grad()
    def measure(image: Pixels) -> Features:
        pixels = _tensor(image, device)
        if protocol.fid_resize == "tf1":
            sized = resizing.interpolate_bilinear_2d_like_tensorflow1x(pixels, size=(299, 299), align_corners=False)
            features = _inception_features(net, (sized - 128) / 128)
        else:
            sized = F.interpolate(pixels / 127.5 - 1, (299, 299), mode="bilinear", align_corners=False)
            features = _inception_features(net, sized)
        return features.double().cpu().numpy().reshape(-1)

    return measure


def _inception_features(net: Any, x: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 (torch-fidelity's network)
    """Its layers, without the resizing that its `forward` does."""
    for name in ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3"):
        x = getattr(net, name)(x)
    x = net.MaxPool_2(x)
    for block in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
        x = getattr(net, f"Mixed_{block}")(x)
    return net.AvgPool(x).flatten(1)


# ------------------------------------------------------------------------------------------------------------ landmarks


def load_landmarks(path: Path, device: str = "cpu") -> PairMetric:
    """Mean distance of 98 landmarks, pixels: the network is facexlib's, as VQFR's script has it.

    Raises:
        ConfigError: If the file is not what it should be, or facexlib is not there.
    """
    try:
        module: Any = importlib.import_module("facexlib.alignment.awing_arch")
    except ImportError as error:
        raise ConfigError("LMD needs the package facexlib: pip install facexlib") from error
    net: Any = module.FAN(num_modules=4, num_landmarks=98, device=device)
    net.load_state_dict(select(read_tensors(path), net.state_dict(), path, "facexlib's landmark network"))
    net = net.eval().requires_grad_(False).to(device)

    @torch.no_grad()
    def points(image: Pixels) -> Features:
        # As facexlib's `get_landmarks`, whose last step NumPy 1.24 and later do not run.
        small = np.asarray(cv2.resize(image, (256, 256)), np.uint8)
        outputs, _ = net(_tensor(small, device) / 255)
        heatmaps = outputs[-1][0, :-1].double().cpu().numpy()
        return heatmap_points(heatmaps) * (np.array(image.shape[1::-1]) / heatmaps.shape[-1])

    def measure(restored: Pixels, reference: Pixels) -> float:
        return float(np.sqrt(np.square(points(restored) - points(reference)).sum(1)).mean())

    return measure


def heatmap_points(heatmaps: Features) -> Features:
    """Where heatmaps (N, H, W) have their peaks, moved by a quarter pixel to the higher neighbour; (N, 2), x and y.

    The outermost row takes its missing neighbour from a corner, and then all maps do, as facexlib 0.3.0 has it: numbers
    are to equal those that are published.
    """
    number, height, width = heatmaps.shape
    flat = heatmaps.reshape(number, -1)
    peak, last = flat.argmax(1), height * width - 1
    rows = np.arange(number)
    right, left = flat[rows, np.minimum(peak + 1, last)], flat[rows, peak - 1]
    below = flat[:, last] if (peak + width > last).any() else flat[rows, peak + width]
    above = flat[:, 0] if (peak - width <= 0).any() else flat[rows, peak - width]
    places = np.stack([peak % width, peak // width], axis=1).astype(np.float64)
    return places + 0.25 * np.sign(np.stack([right - left, below - above], axis=1)) + 0.5


def _tensor(image: Pixels, device: str) -> torch.Tensor:
    """(1, C, H, W) in 0..255, float32."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float().to(device)
