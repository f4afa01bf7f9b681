"""Shards in DiffBIR, both stages: an option file names the class as `target`.

    dataset:
      train:
        target: degrade_kit.adapters.diffbir.DegradeKitPairs
        params:
          dataroot: out/ffhq          # and the other options of `degrade_kit.adapters.base.open_pairs`
    batch_transform:
      target: diffbir.dataset.batch_transform.IdentityBatchTransform

docs/trainers/diffbir.md says more.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from degrade_kit.adapters.base import CountedPairs, signed
from degrade_kit.streaming import Pair


class DegradeKitPairs(CountedPairs):
    """A tuple: the HQ image in [-1, 1] and the LQ image in [0, 1], both HWC, RGB, float32, and the prompt.

    The prompt is always empty, as it is for the faces that DiffBIR trains on: shards hold no captions.

    Source: XPixelGroup/DiffBIR, diffbir/dataset/codeformer.py `__getitem__`, train_stage1.py and train_stage2.py
    `main`, diffbir/utils/common.py `instantiate_from_config`, commit 3f8b530.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 (CountedPairs checks them)
        super().__init__(**options)
        self.file_list = str(options["dataroot"])
        """Where the images are from; the first stage prints it."""

    def sample(self, pair: Pair) -> tuple[Tensor, Tensor, str]:
        """Convert a pair to the form that this class describes."""
        gt, lq = (image.permute(1, 2, 0).contiguous() for image in (signed(pair["hq"]), pair["lq"]))
        return gt, lq, ""
