"""Where a restorer looks at its face embedding: maps of cross-attention, as in the paper's Fig. 4.

with FaceAttention(net) as attention:
    restore_images(net, embedding, images, noise, sampling, prompts=prompts)
maps = attention.maps(64, 64)       # (B, 64, 64): share of attention that the face tokens take
read = attention.tokens()           # (B, T): of it, what each token gets
"""

# Parts of diffusers and of torch's own stubs are without a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from degrade_kit.flipnet.boosthub import Pass
from degrade_kit.flipnet.network import FlipNet


class FaceAttention:
    """Block in which the cross-attention of target rows is measured; what is computed stays the same to the bit.

    Args:
        net: Whose extra tokens, behind the text's, are the face embedding.
    """

    def __init__(self, net: FlipNet) -> None:
        self._net = net
        self._first = int(net.tokenizer.model_max_length)
        self._kept: dict[Any, Any] = {}
        self._sums: dict[int, Tensor] = {}
        self._counts: dict[int, int] = {}
        self._tokens: list[Tensor] = []

    def __enter__(self) -> FaceAttention:
        """Hook the layers and begin to measure."""
        for name, layer in self._net.unet.named_modules():
            if name.endswith(".attn2"):
                self._kept[layer] = layer.processor
                layer.processor = _Measured(layer.processor, self._add)
        return self

    def __exit__(self, *exception: object) -> None:
        """Put the layers' own processors back."""
        for layer, processor in self._kept.items():
            layer.processor = processor
        self._kept.clear()

    def _add(self, shares: Tensor) -> None:
        """Add the shares of all rows and tokens of a layer, (rows, N, text + face)."""
        if self._net.context.step is not Pass.READ:
            return
        if shares.shape[-1] <= self._first:
            raise ValueError("there is no face embedding: all tokens are the text's")
        count = shares.shape[1]
        mass = shares[..., self._first :].sum(-1).detach().float().cpu()
        self._sums[count] = mass + self._sums.get(count, torch.zeros_like(mass))
        self._counts[count] = self._counts.get(count, 0) + 1
        self._tokens.append(shares[..., self._first :].mean(1).detach().float().cpu())

    def maps(self, height: int, width: int) -> Tensor:
        """Map the share of attention on face tokens, mean over heads, layers and steps, (rows, height, width).

        A restorer that attends to all tokens alike has the share of the face tokens among all tokens everywhere.

        Args:
            height: Of the images, pixels.
            width: Of the images, pixels.
        """
        grids = self._net.context.grids
        found: list[Tensor] = []
        for count, total in self._sums.items():
            rows = (total / self._counts[count]).unflatten(1, grids[count])[:, None]
            found.append(F.interpolate(rows, size=(height, width), mode="bilinear", align_corners=False)[:, 0])
        return torch.stack(found).mean(0)

    def tokens(self) -> Tensor:
        """Compute each face token's share of the attention to all, mean over places, layers and steps, (rows, T)."""
        found = torch.stack(self._tokens).mean(0)
        return found / found.sum(-1, keepdim=True).clamp_min(1e-12)


class _Measured:
    """A layer's own processor, which computes, and the shares beside it.

    Args:
        inner: What computes the layer.
        add: Gets the shares, mean over heads.
    """

    def __init__(self, inner: Any, add: Any) -> None:  # noqa: ANN401 (diffusers)
        self._inner, self._add = inner, add

    def __call__(
        self,
        attn: Any,  # noqa: ANN401 (diffusers)
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        **options: Any,  # noqa: ANN401 (diffusers)
    ) -> Tensor:
        query, key = (
            part.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for part in (attn.to_q(hidden_states), attn.to_k(encoder_hidden_states))
        )
        scores = query @ key.transpose(-1, -2) * attn.scale
        if attention_mask is not None:
            rows, tokens = encoder_hidden_states.shape[:2]
            added = attn.prepare_attention_mask(attention_mask, tokens, rows)
            scores = scores + added.unflatten(0, (rows, attn.heads))
        self._add(scores.softmax(-1).mean(1))
        return self._inner(attn, hidden_states, encoder_hidden_states, attention_mask, **options)
