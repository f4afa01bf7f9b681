"""BoostHub: beside every self-attention, the target's tokens read the condition's (FlipNet Eq. 4 and 5).

    F_joint = SelfAttn(F_x) + phi * W_O Softmax(Q_x K_y^T / sqrt(d)) V_y

The condition never reads the target. So its stream depends on the condition image alone, and one pass over it (*write*)
serves all steps and all variants of a sampling run (*read*), with the same result as running both together (*joint*).

Shapes: B condition rows, V target rows for each of them, N tokens, C channels, H heads of D = C / H numbers.
"""

# Tensor.unflatten, torch.from_numpy and others have parts without a type in torch's own stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn

Grid = tuple[int, int]
"""Height and width in tokens."""


class Pass(enum.Enum):
    """What a call of the network does with the condition."""

    OFF = "off"
    """Nothing: the base model alone."""
    JOINT = "joint"
    """Rows are B * V targets, then B conditions; targets read conditions."""
    WRITE = "write"
    """Rows are B conditions; their keys and values are kept."""
    READ = "read"
    """Rows are B * V targets, which read what was kept."""


@dataclass
class BoostContext:
    """What all BoostHubs of a network share during one call."""

    step: Pass = Pass.OFF
    phi: float = 1.0
    """Enhance weight: how much of the condition is added. The paper trades fidelity for authenticity with it."""
    variants: int = 1
    """V."""
    grids: dict[int, Grid] = field(default_factory=dict[int, Grid])
    """Height and width by number of tokens, for windows."""
    last: str = ""
    """Name of the layer that runs last: a write ends there."""
    store: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict[str, tuple[Tensor, Tensor]])
    """Keys and values by layer, each (B, H, N, D)."""


class Written(Exception):
    """Ends a write when the last layer has written: what follows would compute a prediction that nobody reads."""


class BoostHub(nn.Module):
    """The attention processor of one self-attention layer: diffusers calls it in place of its own.

    Args:
        context: Shared by all layers.
        name: Of the layer.
        attn: The layer; its projections are where Q, K and V start from. The output projection starts at zero, so that
            a new FlipNet is its base model.
        window: See `FlipNetConfig.boost_window`.
    """

    def __init__(self, context: BoostContext, name: str, attn: Attention, window: int = 0) -> None:
        super().__init__()
        self.context, self.name, self.window = context, name, window
        self.self_attention = AttnProcessor2_0()
        channels = attn.to_q.weight.shape[1]
        self.to_q = _copy(attn.to_q)
        self.to_k = _copy(cast("nn.Linear", attn.to_k))
        self.to_v = _copy(cast("nn.Linear", attn.to_v))
        self.to_out = nn.Linear(attn.to_q.weight.shape[0], channels, bias=False)
        nn.init.zeros_(self.to_out.weight)
        if window:
            # In place of a position code: how much each place of the window counts, per head.
            self.place_bias = nn.Parameter(torch.zeros(attn.heads, window * window))

    def __call__(  # nn.Module's own would add a frame to every traceback, and diffusers looks at this signature
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Add to the self-attention of all rows what the target rows read; all (rows, N, C)."""
        context = self.context
        if context.step is Pass.WRITE:
            context.store[self.name] = self._keys_values(attn, hidden_states)
            if self.name == context.last:
                raise Written
        output = self.self_attention(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        if context.step in (Pass.OFF, Pass.WRITE) or context.phi == 0:
            return output
        if context.step is Pass.READ:
            return output + context.phi * self._read(attn, hidden_states, *context.store[self.name])
        rows = hidden_states.shape[0] - hidden_states.shape[0] // (context.variants + 1)
        targets, conditions = hidden_states[:rows], hidden_states[rows:]
        read = self._read(attn, targets, *self._keys_values(attn, conditions))
        return torch.cat([output[:rows] + context.phi * read, output[rows:]])

    def _keys_values(self, attn: Attention, conditions: Tensor) -> tuple[Tensor, Tensor]:
        return _split(self.to_k(conditions), attn.heads), _split(self.to_v(conditions), attn.heads)

    def _read(self, attn: Attention, targets: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        rows, tokens, _ = targets.shape
        queries = _split(self.to_q(targets), attn.heads)  # (B * V, H, N, D)
        if self.window:
            grid = self.context.grids[tokens]
            read = windowed_attention(queries, keys, values, self.place_bias, grid, self.window)
        else:
            # All variants of a condition are one longer query: nothing of the condition is copied.
            batch = keys.shape[0]
            heads, size = queries.shape[1], queries.shape[3]
            folded = queries.view(batch, -1, heads, tokens, size).transpose(1, 2).reshape(batch, heads, -1, size)
            read = F.scaled_dot_product_attention(folded, keys, values)
            read = read.view(batch, heads, -1, tokens, size).transpose(1, 2).reshape(rows, heads, tokens, size)
        return self.to_out(read.transpose(1, 2).reshape(rows, tokens, -1))


def windowed_attention(
    queries: Tensor, keys: Tensor, values: Tensor, place_bias: Tensor, grid: Grid, window: int
) -> Tensor:
    """Compute attention in which each token reads the tokens around its own place.

    As many shifted products as the window has places: no mask of N x N, nothing unfolded.

    Args:
        queries: (B * V, H, N, D).
        keys: (B, H, N, D); each serves V rows of queries.
        values: As keys.
        place_bias: (H, window * window), added to the logits.
        grid: Height and width, whose product is N.
        window: Odd side of the window.

    Returns:
        (B * V, H, N, D).
    """
    height, width = grid
    rows, heads, tokens, size = queries.shape
    batch, radius = keys.shape[0], window // 2
    queries = queries.view(batch, -1, heads, height, width, size) / math.sqrt(size)

    def shifted(tensor: Tensor) -> list[Tensor]:
        padded = F.pad(tensor.view(batch, 1, heads, height, width, size), (0, 0, radius, radius, radius, radius))
        return [
            padded[:, :, :, down : down + height, right : right + width]
            for down in range(window)
            for right in range(window)
        ]

    logits = torch.stack([(queries * key).sum(-1) for key in shifted(keys)], dim=-1)
    logits = logits + place_bias.to(logits.dtype)[:, None, None] + _outside(grid, window, logits)
    weights = logits.softmax(-1).unsqueeze(-2)  # (B, V, H, height, width, 1, places)
    read = torch.zeros_like(queries)
    for place, value in enumerate(shifted(values)):
        read = torch.addcmul(read, weights[..., place], value)
    return read.reshape(rows, heads, tokens, size)


def _outside(grid: Grid, window: int, like: Tensor) -> Tensor:
    """Minus infinity where a place of the window lies outside the grid, else 0: (height, width, places)."""
    height, width = grid
    radius = window // 2
    inside = F.pad(like.new_ones(height, width), (radius, radius, radius, radius))
    places = [inside[d : d + height, r : r + width] for d in range(window) for r in range(window)]
    stacked = torch.stack(places, dim=-1)
    return torch.zeros_like(stacked).masked_fill(stacked == 0, -math.inf)


def attach_boosthubs(unet: nn.Module, context: BoostContext, window: int = 0) -> dict[str, BoostHub]:
    """Put a BoostHub beside every self-attention (`attn1`) of the network; must come before any LoRA.

    Returns:
        The BoostHubs by name of their layer: 16 for Stable Diffusion's network.
    """
    hubs: dict[str, BoostHub] = {}
    for name, module in unet.named_modules():
        if isinstance(module, Attention) and name.rpartition(".")[2] == "attn1":
            hubs[name] = BoostHub(context, name, module, window)
    for name, hub in hubs.items():
        cast("Any", unet.get_submodule(name)).set_processor(hub)
    # Modules are listed down, up, middle; the middle runs in between, and only a network without ups ends there.
    ups = [name for name in hubs if name.startswith("up_blocks.")]
    context.last = (ups or [name for name in hubs if name.startswith("mid_block.")] or list(hubs))[-1]
    return hubs


def token_grids(height: int, width: int, levels: int) -> dict[int, Grid]:
    """Find the grids of a U-Net's levels by their number of tokens, for a latent of height x width.

    >>> token_grids(64, 48, 3)
    {3072: (64, 48), 768: (32, 24), 192: (16, 12)}
    """
    grids: dict[int, Grid] = {}
    for _ in range(levels):
        grids[height * width] = (height, width)
        height, width = -(-height // 2), -(-width // 2)
    return grids


def _copy(linear: nn.Linear) -> nn.Linear:
    copy = nn.Linear(linear.in_features, linear.out_features, bias=False)
    with torch.no_grad():
        copy.weight.copy_(linear.weight)
    return copy


def _split(tokens: Tensor, heads: int) -> Tensor:
    """(rows, N, C) to (rows, H, N, D)."""
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)
