"""Prompts to the numbers that cross-attention reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor


def encode_prompts(tokenizer: Any, text_encoder: Any, prompts: Sequence[str]) -> Tensor:  # noqa: ANN401 (transformers)
    """Compute the hidden states of CLIP's text model, (B, T, D), T tokens at most; longer prompts are cut.

    Stable Diffusion pads to that length and attends to the padding too, and so does this. In 2.1 the second but last
    layer is meant, which its text model already ends at.
    """
    tokens = tokenizer(
        list(prompts), padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt"
    )
    device = next(text_encoder.parameters()).device
    return cast("Tensor", text_encoder(tokens.input_ids.to(device, non_blocking=True))[0])


def join_tokens(text: Tensor, extra: Tensor | None, extra_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Put extra cross-attention tokens, such as a face embedding, behind those of the text.

    Args:
        text: (B, T, D).
        extra: (B, N, D), or None.
        extra_mask: (B,) or (B, N), 1 where a token may be read; None reads all. A masked token is as good as absent,
            where one of zeros would still take its share of the softmax.

    Returns:
        The tokens (B, T + N, D), and their mask (B, T + N) or None where all may be read.
    """
    if extra is None:
        return text, None
    if extra_mask is None:
        return torch.cat([text, extra], dim=1), None
    extra_mask = extra_mask.to(text.dtype)
    if extra_mask.ndim == 1:
        extra_mask = extra_mask[:, None].expand(-1, extra.shape[1])
    return torch.cat([text, extra], dim=1), torch.cat([text.new_ones(text.shape[:2]), extra_mask], dim=1)
