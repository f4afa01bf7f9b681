"""Shards in DifFace, whose `datapipe/datasets.py` makes its data sets in `create_dataset`.

docs/trainers/difface.md has the lines to add there. The trainer moves each value of a batch to the GPU, so samples hold
tensors alone.
"""

from __future__ import annotations

from torch import Tensor

from degrade_kit.adapters.base import CountedPairs, signed
from degrade_kit.streaming import Pair


class DegradeKitPairs(CountedPairs):
    """Give `lq` and `gt`, CHW, RGB, float32 in [0, 1], to the trainer of the estimator (`TrainerSR`).

    Source: zsyOAOA/DifFace, datapipe/datasets.py `create_dataset`, configs/training/swinir_ffhq512.yaml, trainer.py
    `prepare_data` and `TrainerSR`, commit 5c9ab80.
    """

    def sample(self, pair: Pair) -> dict[str, Tensor]:
        """Convert a pair to the form that this class describes."""
        return {"lq": pair["lq"], "gt": pair["hq"]}


class DegradeKitFaces(CountedPairs):
    """Give `image`, the HQ image, CHW, RGB, float32 in [-1, 1], to the diffusion model's `TrainerDiffusionFace`.

    Source: as above, `BaseDataFolder` and configs/training/diffusion_ffhq512.yaml.
    """

    def sample(self, pair: Pair) -> dict[str, Tensor]:
        """Convert a pair to the form that this class describes."""
        return {"image": signed(pair["hq"])}
