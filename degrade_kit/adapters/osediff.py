"""Shards in OSEDiff, which degrades while it trains; docs/trainers/osediff.md has the lines of its two trainers."""

from __future__ import annotations

from typing import Any

from degrade_kit.adapters.base import CountedPairs, signed
from degrade_kit.streaming import Pair


class DegradeKitPairs(CountedPairs):
    """Give `conditioning_pixel_values`, the LQ image, and `output_pixel_values`, the HQ image, and two prompts.

    The images are CHW, RGB, float32 in [-1, 1], of one size. The trainer makes a prompt for each HQ image by itself.

    Source: cswry/OSEDiff, dataloaders/facesr_dataset.py and dataloaders/realsr_dataset.py `__getitem__`,
    train_osediff_face.py and train_osediff.py, commit fcc4f09.

    Args:
        neg_prompt: What guidance leads away from: `args.neg_prompt` of the trainer.
        **options: See `open_pairs`.

    Raises:
        ConfigError: If an option is unknown or missing, or has no such value.
    """

    def __init__(self, neg_prompt: str = "", **options: Any) -> None:  # noqa: ANN401 (open_pairs checks them)
        options.setdefault("lq_scale", 1)
        super().__init__(**options)
        self._neg_prompt = neg_prompt

    def sample(self, pair: Pair) -> dict[str, Any]:
        """Convert a pair to the form that this class describes."""
        return {
            "neg_prompt": self._neg_prompt,
            "null_prompt": "",
            "output_pixel_values": signed(pair["hq"]),
            "conditioning_pixel_values": signed(pair["lq"]),
        }
