"""Shards in PMRF, whose `train.py` makes its data sets in `create_dataset`; docs/trainers/pmrf.md has the new body."""

from __future__ import annotations

from typing import Any

from degrade_kit.adapters.base import CountedPairs
from degrade_kit.streaming import Pair


class DegradeKitPairs(CountedPairs):
    """`x`, the HQ image, and `y`, the LQ image, CHW, RGB, float32 in [0, 1], and `img_file_name`, the sample's key.

    There is no `non_noisy_z0`, the restored images of a reflow.

    Source: ohayonguy/PMRF, torch_datasets/image_folder_dataset.py `__getitem__`, train.py `create_dataset`,
    lightning_models/mmse_rectified_flow.py `training_step`, commit b6f16a4.
    """

    def sample(self, pair: Pair) -> dict[str, Any]:
        """Convert a pair to the form that this class describes."""
        # The test step saves its images under this name, by its extension.
        return {"x": pair["hq"], "y": pair["lq"], "img_file_name": f"{pair['key']}.png"}
