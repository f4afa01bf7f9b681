"""Shards in RestoreFormer and RestoreFormer++: an option file names the class as `target`.

    data:
      params:
        train:
          target: degrade_kit.adapters.restoreformer.DegradeKitPairs
          params:
            dataroot: out/ffhq          # and the other options of `degrade_kit.adapters.base.open_pairs`
            use_hflip: true

docs/trainers/restoreformer.md says what else to change.
"""

from __future__ import annotations

from typing import Any

from degrade_kit.adapters.base import CountedPairs, signed
from degrade_kit.streaming import Pair


class DegradeKitPairs(CountedPairs):
    """`lq` and `gt`, CHW, RGB, float32 in [-1, 1], and the sample's key as `gt_path`.

    There is no `loc_left_eye`, `loc_right_eye` or `loc_mouth`: shards hold no landmarks. `gt` alone serves the stages
    of the HQ dictionary, whose `image_key` is `gt`.

    Source: wzhouxiff/RestoreFormerPlusPlus, RestoreFormer/data/ffhq_degradation_dataset.py `__getitem__`,
    RestoreFormer/models/vqgan_v1.py `training_step`, main.py `instantiate_from_config`, commit 59d250f.
    """

    def sample(self, pair: Pair) -> dict[str, Any]:
        """Convert a pair to the form that this class describes."""
        return {"lq": signed(pair["lq"]), "gt": signed(pair["hq"]), "gt_path": pair["key"]}
