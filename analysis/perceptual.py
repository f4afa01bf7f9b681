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
from typing import Any, Final, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from degrade_kit.analysis.distances import Features
from degrade_kit.analysis.extractors import Measure
from degrade_kit.analysis.networks import VGG_WIDTHS, Inception, Vgg, load_arcface18
from degrade_kit.analysis.protocols import Protocol
from degrade_kit.analysis.tensors import load_published
from degrade_kit.errors import ConfigError
from degrade_kit.image import Pixels

PairMeasure = Callable[[Pixels, Pixels], float]
"""Restored image and reference to a number."""

# ---------------------------------------------------------------------------------------------------------------- LPIPS

_TAPS: Final = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
"""Layers whose outputs are compared."""


class Lpips(nn.Module):
    """Learned perceptual distance of two images in [-1, 1], RGB.

    Source: Zhang et al. 2018; equal to the package `lpips` 0.1.4, `net="vgg"`, with the same weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.vgg = Vgg(16, _TAPS[-1])
        self.heads = nn.ParameterList([nn.Parameter(torch.zeros(1, width, 1, 1)) for width in VGG_WIDTHS])

    def forward(self, one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        """Distances, (N,)."""
        total = torch.zeros(len(one), device=one.device)
        for both, head in zip(self.vgg(torch.cat([one, two]), _TAPS), self.heads, strict=True):
            first, second = (both / (both.square().sum(1, keepdim=True).sqrt() + 1e-10)).chunk(2)
            total = total + ((first - second).square() * head).sum(1).mean((1, 2))
        return total


def load_lpips(trunk: Path, heads: Path, protocol: Protocol, device: str = "cpu") -> PairMeasure:
    """LPIPS from torchvision's VGG-16 and the heads that the package `lpips` has as `weights/v0.1/vgg.pth`.

    Raises:
        ConfigError: If a file is not what it should be.
    """
    net = Lpips()
    load_published(net.vgg, trunk, "VGG-16's weights as torchvision has them")
    load_published(net.heads, heads, "LPIPS's heads for VGG", "lin{}.model.1.weight".format)
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


def load_identity_angle(path: Path, protocol: Protocol, device: str = "cpu") -> PairMeasure:
    """Angle between identities, in degrees whatever the protocol's unit is.

    Raises:
        ConfigError: If the file is not what it should be.
    """
    net = load_arcface18(path).to(device)

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


def load_inception(path: Path, resize: Literal["bilinear", "tf1"], device: str = "cpu") -> Measure:
    """Features of FID's Inception, (2048,).

    Args:
        path: Its weights.
        resize: To 299 pixels: by PyTorch, or as TensorFlow 1 and the first FID.
        device: Where it runs.

    Raises:
        ConfigError: If the file is not what it should be, or torch-fidelity is not there.
    """
    net = Inception(path).to(device)

    @torch.no_grad()
    def measure(image: Pixels) -> Features:
        return net(_tensor(image, device), resize).double().cpu().numpy().reshape(-1)

    return measure


# ------------------------------------------------------------------------------------------------------------ landmarks


def load_landmarks(path: Path, device: str = "cpu") -> PairMeasure:
    """Mean distance of 98 landmarks, pixels: the network is facexlib's, as VQFR's script has it.

    Raises:
        ConfigError: If the file is not what it should be, or facexlib is not there.
    """
    try:
        module: Any = importlib.import_module("facexlib.alignment.awing_arch")
    except ImportError as error:
        raise ConfigError("LMD needs facexlib: pip install 'degrade-kit[landmarks]'") from error
    net: Any = module.FAN(num_modules=4, num_landmarks=98, device=device)
    load_published(net, path, "facexlib's landmark network")
    net = net.to(device)

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
