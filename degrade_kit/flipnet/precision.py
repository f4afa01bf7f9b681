"""Short numbers: where float16 is too narrow, and what it leaves behind there."""

# Parts of torch's own stubs are without a type.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from degrade_kit.errors import RunError


def require_finite(numbers: Tensor, what: str) -> Tensor:
    """Give back what a network made, if all of it is numbers.

    Args:
        numbers: (B, ...).
        what: For the message, such as `images`.

    Raises:
        RunError: If some is NaN or infinite: clipped or cast to bytes it would be a black or white image.
    """
    sound = numbers.isfinite().flatten(1).all(1)
    if not sound.all():
        raise RunError(
            f"the network gave {what} that are not finite, {int((~sound).sum())} of {len(sound)}: float16 is too "
            "narrow for it, or its weights do not fit. Give --dtype bfloat16 or float32, in training --mixed-precision "
            "bf16 or no; if it is one of these already, the weights are damaged or another network's"
        )
    return numbers


def shorten_frozen(module: nn.Module, dtype: torch.dtype = torch.bfloat16) -> None:
    """Keep the weights of products and convolutions that do not train in short numbers, in half the memory.

    Under autocast they are rounded to these in every call, so that no result changes; those of a frozen network are not
    even kept between calls. Norms and embeddings, which autocast leaves alone, stay as they are. The module computes
    under autocast alone from then on.
    """
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Conv2d)):
            for parameter in part.parameters(recurse=False):
                if not parameter.requires_grad:
                    parameter.data = parameter.data.to(dtype)


def full_range(vae: Any, device: torch.device) -> contextlib.AbstractContextManager[Any]:  # noqa: ANN401 (diffusers)
    """Make a block in which an autoencoder has float32's range, where its configuration says that it needs that.

    Activations of some, Stable Diffusion XL's first, exceed float16's range inside and come back into it behind: what
    they give there is infinite, or no number. Their `config.json` says `force_upcast`. Diffusers' own default, which
    says it of all, is not asked: those of Stable Diffusion 1 and 2 do not need it, and are faster without.

    Args:
        vae: An `AutoencoderKL`, or `degrade_kit.flipnet.space.BlockDCT`.
        device: Where it is.
    """
    stated = "force_upcast" not in vae.config.get("_use_default_values", ())
    short = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) is torch.float16
    if short and stated and vae.config.get("force_upcast", False):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()
