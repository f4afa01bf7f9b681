"""Shards in StableSR, whose configuration names a data set by `target` and hands it its `params` as one mapping.

docs/trainers/stablesr.md has the lines. Its model `LatentDiffusionSRTextWTFFHQ` takes pairs as they are, where
`LatentDiffusionSRTextWT` degrades by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from degrade_kit.adapters.base import CountedPairs
from degrade_kit.streaming import Pair


class DegradeKitPairs(CountedPairs):
    """Give `lq` and `gt`, CHW, RGB, float32 in [0, 1]; the trainer enlarges LQ to the size of `gt` by a cubic filter.

    So LQ may be as small as its recipe or `lq_scale` says, in a quarter of the bytes and less.

    Source: IceClear/StableSR, ldm/models/diffusion/ddpm.py `LatentDiffusionSRTextWTFFHQ.get_input`, ldm/util.py
    `instantiate_from_config_sr`, commit 398ee93.

    Args:
        opt: See `open_pairs`.

    Raises:
        ConfigError: If an option is unknown or missing, or has no such value.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__(**dict(opt))

    def sample(self, pair: Pair) -> dict[str, Tensor]:
        """Convert a pair to the form that this class describes."""
        return {"lq": pair["lq"], "gt": pair["hq"]}
