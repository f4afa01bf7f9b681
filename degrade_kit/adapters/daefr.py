"""Shards in DAEFR: an option file names a class of this module as `target`, and its options as `params`.

`DegradeKitPairs` serves the HQ codebook, the association and the last stage, `DegradeKitLq` the LQ codebook.
docs/trainers/daefr.md says what else to change.
"""

from __future__ import annotations

from typing import Any

from degrade_kit.adapters.restoreformer import DegradeKitPairs
from degrade_kit.streaming import Pair

__all__ = ["DegradeKitLq", "DegradeKitPairs"]


class DegradeKitLq(DegradeKitPairs):
    """Give the LQ image as `gt` too, since the LQ codebook learns to encode and decode it; else `DegradeKitPairs`.

    Source: LIAGM/DAEFR, DAEFR/data/ffhq_degradation_dataset_LQ.py `__getitem__`, configs/LQ_codebook.yaml
    (`image_key: 'gt'`), main_for_codebook.py `instantiate_from_config`, commit 02d5010.
    """

    def sample(self, pair: Pair) -> dict[str, Any]:
        """Convert a pair to the form that this class describes."""
        sample = super().sample(pair)
        return {**sample, "gt": sample["lq"]}
