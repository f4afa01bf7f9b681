"""Shards in RestoreFormer and RestoreFormer++: an option file names the class as `target`.

    data:
      params:
        train:
          target: degrade_kit.adapters.restoreformer.DegradeKitPairs
          params:
            dataroot: out/ffhq          # and the other options of `degrade_kit.adapters.base.open_pairs`
            use_hflip: true
            crop_components: true       # for `comp_weight`, of shards that `synth --landmarks` made
            eye_enlarge_ratio: 1.4

docs/trainers/restoreformer.md says what else to change.
"""

from __future__ import annotations

from typing import Any

from degrade_kit.adapters.base import COMPONENT_OPTIONS, CountedPairs, locations, signed
from degrade_kit.streaming import Pair


class DegradeKitPairs(CountedPairs):
    """`lq` and `gt`, CHW, RGB, float32 in [-1, 1], and the sample's key as `gt_path`.

    With `crop_components` also `loc_left_eye`, `loc_right_eye` and `loc_mouth`: see `locations` in
    `degrade_kit.adapters.base`. `gt` alone serves the stages of the HQ dictionary, whose `image_key` is `gt`.

    Source: wzhouxiff/RestoreFormerPlusPlus, RestoreFormer/data/ffhq_degradation_dataset.py `__getitem__`,
    RestoreFormer/models/vqgan_v1.py `training_step`, main.py `instantiate_from_config`, commit 59d250f.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 (open_pairs checks them)
        super().__init__(COMPONENT_OPTIONS, **options)

    def sample(self, pair: Pair) -> dict[str, Any]:
        """Convert a pair to the form that this class describes."""
        images = {"lq": signed(pair["lq"]), "gt": signed(pair["hq"])}
        return {**images, "gt_path": pair["key"], **locations(pair, self._eye_ratio)}
