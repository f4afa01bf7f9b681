from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from degrade_kit.analysis.networks import Vgg
from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.weights import write_weights
from degrade_kit.restore.losses import (
    GradientPyramid,
    PatchDiscriminator,
    VggLoss,
    adaptive_weight,
    adversarial_terms,
    association_loss,
    perceptual_loss,
)

Array = npt.NDArray[np.float32]


def numpy_association(hq: Array, lq: Array, scale: float) -> float:
    """Eq. 6 as it is printed, of one image: (N, d) each."""

    def unit(rows: Array) -> Array:
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    matrix = scale * unit(hq) @ unit(lq).T
    total = 0.0
    for logits in (matrix, matrix.T):
        for i in range(len(logits)):
            shares = np.exp(logits[i] - logits[i].max())
            total -= math.log(shares[i] / shares.sum()) / len(logits)
    return total / 2


@pytest.fixture
def patches() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(3, 7, 5), torch.randn(3, 7, 5)


def test_the_association_is_the_papers_equation_per_image(patches: tuple[torch.Tensor, torch.Tensor]) -> None:
    hq, lq = patches
    expected = np.mean([numpy_association(one.numpy(), other.numpy(), 4.0) for one, other in zip(hq, lq, strict=True)])
    assert float(association_loss(hq, lq, 4.0)) == pytest.approx(float(expected), rel=1e-5)


def test_over_a_batch_the_patches_of_all_images_are_told_apart(patches: tuple[torch.Tensor, torch.Tensor]) -> None:
    hq, lq = patches
    expected = numpy_association(hq.flatten(0, 1).numpy(), lq.flatten(0, 1).numpy(), 4.0)
    assert float(association_loss(hq, lq, 4.0, "batch")) == pytest.approx(expected, rel=1e-5)


def test_equal_latents_are_associated_at_a_large_scale(patches: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert float(association_loss(patches[0], patches[0], 100.0)) < 1e-3


def test_one_sum_trains_autoencoder_and_critic_apart() -> None:
    torch.manual_seed(0)
    critic, images = PatchDiscriminator(8), torch.rand(2, 3, 32, 32)
    reconstruction = torch.rand(2, 3, 32, 32, requires_grad=True)
    fooling, judging = adversarial_terms(critic, images, reconstruction)
    of_image = torch.autograd.grad(fooling, reconstruction, retain_graph=True)[0]
    assert of_image.abs().sum() > 0
    assert torch.autograd.grad(fooling, list(critic.parameters()), retain_graph=True, allow_unused=True) == (
        None,
    ) * len(list(critic.parameters()))
    assert torch.autograd.grad(judging, reconstruction, retain_graph=True, allow_unused=True) == (None,)
    assert all(found.isfinite().all() for found in torch.autograd.grad(judging, list(critic.parameters())))


def test_the_adaptive_weight_is_the_ratio_of_gradients() -> None:
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    found = adaptive_weight(
        (weight * torch.tensor([6.0, 8.0])).sum(), (weight * torch.tensor([0.0, 2.0])).sum(), weight
    )
    assert float(found) == pytest.approx(10 / 2, rel=1e-3)
    assert not found.requires_grad


@pytest.mark.parametrize("loss", [GradientPyramid(), VggLoss(Vgg(19, "conv1_2"), ("conv1_1",), normalize=True)])
def test_a_perceptual_loss_is_zero_for_equal_images_and_one_number_each(loss: nn.Module) -> None:
    torch.manual_seed(0)
    images, others = torch.rand(2, 3, 16, 16) * 2 - 1, torch.rand(2, 3, 16, 16) * 2 - 1
    assert torch.equal(loss(images, images), torch.zeros(2))
    both = loss(images, others)
    assert both.shape == (2,)
    assert (both > 0).all()
    assert torch.allclose(loss(images[:1], others[:1]), both[:1])


def test_vgg_is_read_under_torchvisions_names(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    theirs = torchvision.models.vgg19(weights=None).features[:4]  # up to conv1_2's ReLU
    tensors = {f"features.{name}": tensor.clone() for name, tensor in theirs.state_dict().items()}
    write_weights({**tensors, "classifier.0.weight": torch.zeros(1)}, tmp_path / "vgg.safetensors")
    torch.save(tensors, tmp_path / "vgg.pth")
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    module = {f"module.{name}": tensor for name, tensor in tensors.items()}
    torch.save({"state_dict": {"params_ema": module, "params": {}}, "step": 3}, tmp_path / "wrapped.pth")
    mean, deviation = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = theirs[:3](((images + 1) / 2 - mean) / deviation)
    for name in ("vgg.safetensors", "vgg.pth", "wrapped.pth"):
        loss = perceptual_loss("vgg19", tmp_path / name, ("conv1_2",))
        assert isinstance(loss, VggLoss)
        assert torch.allclose(loss.network(images, ("conv1_2",))[0], expected, atol=1e-6)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.pth: no such file; expected VGG-19's weights as torchvision"):
        perceptual_loss("vgg19", tmp_path / "none.pth")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    write_weights({"features.0.weight": torch.zeros(3, 3)}, tmp_path / "vgg.safetensors")
    with pytest.raises(ConfigError, match=r"not VGG-19's .*: weights of another network: 3 missing"):
        perceptual_loss("vgg19", tmp_path / "vgg.safetensors", ("conv1_2",))
