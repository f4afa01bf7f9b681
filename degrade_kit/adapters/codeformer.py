"""Shards in CodeFormer, all three stages.

    import degrade_kit.adapters.codeformer       # the first line of CodeFormer's `basicsr/train.py`

CodeFormer has a basicsr of its own, in which importing this registers the data set `DegradeKitPairs`:

    datasets:
      train:
        name: FFHQ
        type: DegradeKitPairs
        dataroot: out/ffhq          # and the other options of `degrade_kit.adapters.base.open_pairs`
        use_hflip: true
        large:                      # stage III alone: what makes the second, worse LQ image
          onthefly: codeformer-stage3-large
          onthefly_prob: 1

docs/trainers/codeformer.md says more.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from degrade_kit.adapters.base import OPTIONS, MappedPairs, open_pairs, register
from degrade_kit.errors import ConfigError, nearest
from degrade_kit.streaming import PairMapDataset

_OF_LARGE = {"variant", "onthefly", "onthefly_prob"}


class DegradeKitPairs(MappedPairs):
    """`in`, the LQ image, and `gt`, CHW, RGB, float32, in [-1, 1] by default, and the sample's key as `gt_path`.

    With the option `large` there is `in_large_de` too: another LQ image of the same `gt`, by options that are those of
    `in` but for `variant`, `onthefly` and `onthefly_prob`.

    There is no `latent_gt`: codes are made by `network_vqgan` as the training goes. There are no `locations_in` and
    `locations_gt`, which no stage reads.

    Source: sczhou/CodeFormer, basicsr/data/ffhq_blind_dataset.py and ffhq_blind_joint_dataset.py `__getitem__`,
    `feed_data` of basicsr/models/vqgan_model.py, codeformer_idx_model.py and codeformer_joint_model.py, commit b33cc7d.

    Args:
        opt: As `MappedPairs`; `mean` and `std` are 0.5 by default.

    Raises:
        ConfigError: If an option is unknown or missing, or has no such value.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        half = [0.5, 0.5, 0.5]
        super().__init__({"mean": half, "std": half, **opt}, {"large"})
        large: Mapping[str, Any] | None = opt.get("large")
        self._large = None if large is None else self._open_large(large)

    def set_epoch(self, epoch: int) -> None:
        """Start another epoch, as `MappedPairs.set_epoch` does."""
        super().set_epoch(epoch)
        if self._large is not None:
            self._large.set_epoch(epoch)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pair = self._pairs[index]
        sample = {
            "in": self.normalized(pair["lq"]),
            "gt": self.normalized(pair["hq"]),
            "gt_path": pair["key"],
        }
        if self._large is not None:
            # Of the same seed and epoch, so of the same crop and flip.
            sample["in_large_de"] = self.normalized(self._large[index]["lq"])
        return sample

    def _open_large(self, large: Mapping[str, Any]) -> PairMapDataset:
        for key in large:
            if key not in _OF_LARGE:
                raise ConfigError(f"DegradeKitPairs: unknown option `large.{key}`; {nearest(key, sorted(_OF_LARGE))}")
        shared = {key: value for key, value in self.opt.items() if key in OPTIONS}
        pairs = open_pairs("DegradeKitPairs: large", {**shared, **large})
        if len(pairs) != len(self):
            raise ConfigError("DegradeKitPairs: large: `variant` is `all` for one LQ image and not for the other")
        return pairs


if importlib.util.find_spec("basicsr") is None:
    raise ImportError(
        "degrade_kit.adapters.codeformer needs CodeFormer's basicsr: run `python basicsr/setup.py develop` there"
    )
register(DegradeKitPairs)
