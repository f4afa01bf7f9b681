"""Shards in PyTorch Lightning, whichever of its two packages is installed, or imported first.

    trainer.fit(module, datamodule=PairDataModule("shards", PairOptions(crop=256), batch_size=16, num_workers=4))

A checkpoint within an epoch holds how far the loader was, and the trainer goes on from there with the pairs that
remained: Lightning asks a loader that has a `state_dict`, as `PairLoader` has.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Any

from degrade_kit.errors import ConfigError
from degrade_kit.streaming import PairDataset, PairLoader, PairOptions

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def _lightning() -> Any:  # noqa: ANN401 (either package)
    """Choose the package that is imported already, else one that is installed: their classes do not know each other."""
    for name in _PACKAGES:
        if name in sys.modules:
            return sys.modules[name]
    for name in _PACKAGES:
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            return importlib.import_module(name)
    raise ConfigError("degrade_kit.adapters.lightning needs PyTorch Lightning: pip install 'degrade-kit[lightning]'")


class _Loader(PairLoader):
    """Goes on with the next epoch from a state at the end of one: Lightning has counted that epoch already."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if not self.remaining():
            self.set_epoch(self.epoch + 1)


class PairDataModule(_lightning().LightningDataModule):  # pyrefly: ignore[invalid-inheritance] (of two packages)
    """Training pairs of a data set, and validation pairs of another; batches as `degrade_kit.streaming` has them.

    Each rank sees its share, and the same number of batches. Lightning must not replace samplers or shuffle: the order
    is the data set's own.

    Args:
        shards: Folder or URL of the training data set.
        options: What a training pair is.
        batch_size: Pairs in a batch of each rank.
        validation: Folder or URL of a data set whose pairs come in order, with their first LQ images; none if None.
        cache_dir: Where shards are kept that come from a URL.
        **loader: More options of the DataLoaders, such as `num_workers`.
    """

    def __init__(
        self,
        shards: str | os.PathLike[str],
        options: PairOptions | None = None,
        *,
        batch_size: int = 1,
        validation: str | os.PathLike[str] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        **loader: Any,  # noqa: ANN401 (DataLoader checks them)
    ) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType] (Lightning is untyped here)
        self.shards, self.options, self.validation = shards, options or PairOptions(), validation
        self.batch_size, self.cache_dir, self.loader = batch_size, cache_dir, loader
        if validation is not None:
            self.val_dataloader = self._validation  # where the class had one, Lightning would expect validation

    def train_dataloader(self) -> PairLoader:
        """Make the loader of all epochs; Lightning calls this when the ranks are known."""
        pairs = PairDataset(self.shards, self.options, cache_dir=self.cache_dir)
        return _Loader(pairs, batch_size=self.batch_size, **self.loader)

    def _validation(self) -> PairLoader:
        """Make a loader that gives the same pairs each time."""
        assert self.validation is not None
        options = PairOptions(variant=0, dtype=self.options.dtype)
        pairs = PairDataset(self.validation, options, shuffle=False, cache_dir=self.cache_dir)
        return PairLoader(pairs, batch_size=self.batch_size, **self.loader)
