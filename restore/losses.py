"""What the face autoencoders and the restorer are told to be near to. Images are (B, 3, H, W) in [-1, 1]."""

# Parts of torch's own stubs are without a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from degrade_kit.analysis.networks import Vgg, load_vgg

Scope = Literal["image", "batch"]

PerceptualKind = Literal["vgg19", "gradient-pyramid"]
"""The paper's perceptual loss, which needs the weights of VGG19, or a stand-in that needs none."""


class VggLoss(nn.Module):
    """Squared distance of VGG19's features, one number per image.

    Args:
        network: The features.
        layers: Which of its layers; the paper's Eq. 8 names none.
        normalize: Divide features by their length at each place, as LPIPS does; without its learned weights.
    """

    def __init__(self, network: Vgg, layers: tuple[str, ...] = ("conv5_4",), *, normalize: bool = False) -> None:
        super().__init__()
        self.network, self.layers, self.normalize = network, layers, normalize

    def forward(self, images: Tensor, wanted: Tensor) -> Tensor:
        """Distances, (B,)."""
        total = images.new_zeros(images.shape[0])
        for found, expected in zip(self.network(images, self.layers), self.network(wanted, self.layers), strict=True):
            if self.normalize:
                found, expected = F.normalize(found, dim=1), F.normalize(expected, dim=1)
            total = total + (found - expected).square().mean((1, 2, 3)) * (found.shape[1] if self.normalize else 1)
        return total


class GradientPyramid(nn.Module):
    """Absolute differences of pixels and of their gradients at three scales: a stand-in that needs no weights.

    It asks for edges where they belong and knows nothing of faces: numbers and images of a run that used it are not
    those of a perceptual loss, and the run's configuration says which one it was.
    """

    scales = 3

    def forward(self, images: Tensor, wanted: Tensor) -> Tensor:
        """Distances, (B,)."""
        error = images - wanted
        total = images.new_zeros(images.shape[0])
        for scale in range(self.scales):
            if scale:
                if min(error.shape[-2:]) < 4:
                    break
                error = F.avg_pool2d(error, 2)
            right, down = error[..., :, 1:] - error[..., :, :-1], error[..., 1:, :] - error[..., :-1, :]
            total = total + sum(part.abs().mean((1, 2, 3)) for part in (error, right, down))
        return total / self.scales


def perceptual_loss(
    kind: PerceptualKind, vgg19: Path | None, layers: tuple[str, ...] = ("conv5_4",), *, normalize: bool = False
) -> VggLoss | GradientPyramid:
    """Build the perceptual loss that was chosen.

    Args:
        kind: Which.
        vgg19: Weights of VGG19; None where `kind` needs none.
        layers: See `VggLoss`.
        normalize: See `VggLoss`.

    Raises:
        ConfigError: If the file is missing, damaged or of another network.
    """
    if kind == "gradient-pyramid":
        return GradientPyramid()
    assert vgg19 is not None
    return VggLoss(load_vgg(vgg19, 19, max(layers)), layers, normalize=normalize)


class PatchDiscriminator(nn.Module):
    """PatchGAN (Isola et al. 2017): one number for each patch of an image, high where it looks real.

    Groups are normalised in place of batches, so that the number of an image does not depend on its neighbours, nor a
    step on how many processes share it.

    Args:
        width: Channels of the first layer.
        layers: Strided layers.
    """

    def __init__(self, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        channels = width
        for layer in range(1, layers + 1):
            wider = width * min(2**layer, 8)
            stride = 2 if layer < layers else 1
            parts += [
                nn.Conv2d(channels, wider, 4, stride, 1, bias=False),
                nn.GroupNorm(min(32, wider // 4), wider),
                nn.LeakyReLU(0.2),
            ]
            channels = wider
        self.layers = nn.Sequential(*parts, nn.Conv2d(channels, 1, 4, 1, 1))
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.normal_(part.weight, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (B, 1, h, w)."""
        return self.layers(images)


def hinge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Of a discriminator's logits."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor) -> Tensor:
    """The ratio of two losses' gradients at the decoder's last layer (Esser et al. 2021, Eq. 7); no gradient passes.

    Of the batch that several processes share, where they train together: all get the one number.
    """
    first, second = (
        _shared(torch.autograd.grad(loss, last_layer, retain_graph=True)[0]).norm()
        for loss in (reconstruction, adversarial)
    )
    return (first / (second + 1e-4)).clamp(0, 1e4).detach()


def _shared(gradient: Tensor) -> Tensor:
    """The mean over all processes of a gradient of each one's mean loss."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return gradient
    gradient = gradient.detach().clone()
    distributed.all_reduce(gradient)
    return gradient / distributed.get_world_size()


def adversarial_terms(critic: PatchDiscriminator, images: Tensor, reconstruction: Tensor) -> tuple[Tensor, Tensor]:
    """What the autoencoder and what the critic is to lower, from one batch.

    Gradients of the first reach the reconstruction and never the critic, those of the second the critic alone: their
    sum may be lowered by one optimizer.
    """
    frozen = {name: parameter.detach() for name, parameter in critic.named_parameters()}
    fooled = torch.func.functional_call(critic, frozen, (reconstruction,))
    return -fooled.mean(), hinge_loss(critic(images), critic(reconstruction.detach()))


def association_loss(hq: Tensor, lq: Tensor, scale: Tensor | float, scope: Scope = "image") -> Tensor:
    """Symmetric cross-entropy of the patches of two latents (FlipNet Eq. 6): patch i of one belongs to i of the other.

    Args:
        hq: Patches, (B, N, d).
        lq: As `hq`.
        scale: Of the cosines.
        scope: Whether a patch is told from those of its own image, as in the paper, or of all of the batch, as in
            DAEFR.
    """
    if scope == "batch":
        hq, lq = hq.flatten(0, 1)[None], lq.flatten(0, 1)[None]
    labels = torch.arange(hq.shape[1], device=hq.device)
    losses: list[Tensor] = []
    for one, other in zip(hq, lq, strict=True):  # a matrix of all images at once takes gigabytes
        logits = similarity(one, other, scale)
        losses.append((F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2)
    return torch.stack(losses).mean()


def similarity(one: Tensor, other: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """Scaled cosines of the patches of two latents, (N, d) each: the paper's M."""
    return scale * (F.normalize(one.float(), dim=-1) @ F.normalize(other.float(), dim=-1).T)
