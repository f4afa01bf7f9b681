"""Shards in a real Lightning trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import degrade_kit as dk
from degrade_kit.hq import HqConfig
from degrade_kit.pipelines.executor import ExecutorConfig
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.synth.plan import make_plan
from degrade_kit.pipelines.synth.synthesize import run_plan
from degrade_kit.streaming import PairOptions

pl: Any = pytest.importorskip("lightning.pytorch")
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def shards(faces_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lightning") / "out"
    config = SynthConfig(hq=str(faces_dir), recipe=dk.preset("gfpgan"), samples_per_shard=2, image=HqConfig(size=64))
    assert run_plan(make_plan(config), str(out), ExecutorConfig(workers=0)).complete
    return out


def module() -> Any:  # noqa: ANN401 (Lightning has no types here)
    class Restorer(pl.LightningModule):
        """One convolution, and a list of what it saw."""

        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Conv2d(3, 3, 3, padding=1)
            self.seen: list[tuple[int, list[str]]] = []
            self.judged: list[str] = []

        def training_step(self, batch: dict[str, Any], number: int) -> torch.Tensor:
            self.seen.append((self.current_epoch, batch["key"]))
            assert batch["hq"].dtype == torch.float32
            return (self.net(batch["lq"]) - batch["hq"]).square().mean()

        def validation_step(self, batch: dict[str, Any], number: int) -> None:
            self.judged += batch["key"]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Restorer()


def trainer(folder: Path, **options: Any) -> Any:  # noqa: ANN401 (Lightning has no types here)
    return pl.Trainer(
        accelerator="cpu", devices=1, default_root_dir=str(folder), logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing="callbacks" in options, **options,
    )  # fmt: skip


def pairs_of(shards: Path, workers: int, **options: Any) -> Any:  # noqa: ANN401 (Lightning has no types here)
    from degrade_kit.adapters.lightning import PairDataModule

    given: dict[str, Any] = {"batch_size": 2, "validation": shards, "num_workers": workers, **options}
    return PairDataModule(shards, PairOptions(dtype="float32", seed=1), **given)


@pytest.mark.slow
def test_a_trainer_sees_each_pair_once_an_epoch_in_new_orders(shards: Path, tmp_path: Path) -> None:
    restorer = module()
    trainer(tmp_path, max_epochs=3).fit(restorer, datamodule=pairs_of(shards, 0))
    orders = [[key for of, keys in restorer.seen if of == epoch for key in keys] for epoch in range(3)]
    assert [len(set(order)) for order in orders] == [6, 6, 6]
    assert len({tuple(order) for order in orders}) > 1
    assert restorer.judged[-6:] == sorted(set(orders[0]))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_checkpoint_within_an_epoch_goes_on_with_what_remained(shards: Path, tmp_path: Path, workers: int) -> None:
    whole = module()
    saving = pl.callbacks.ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer(tmp_path, max_epochs=2, callbacks=[saving]).fit(whole, datamodule=pairs_of(shards, workers))
    assert len(whole.seen) == 6
    for step in (1, 3, 4):
        again = module()
        given = trainer(tmp_path, max_epochs=2)
        given.fit(again, datamodule=pairs_of(shards, 0), ckpt_path=str(tmp_path / f"step={step}.ckpt"))
        assert again.seen == whole.seen[step:]


def test_the_end_of_an_epoch_is_known_where_the_last_batch_is_dropped(shards: Path, tmp_path: Path) -> None:
    data = {"batch_size": 4, "drop_last": True}
    whole, again = module(), module()
    saving = pl.callbacks.ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer(tmp_path, max_epochs=3, callbacks=[saving]).fit(whole, datamodule=pairs_of(shards, 0, **data))
    assert len({tuple(keys) for _, keys in whole.seen}) == 3
    trainer(tmp_path, max_epochs=3).fit(
        again, datamodule=pairs_of(shards, 0, **data), ckpt_path=str(tmp_path / "step=1.ckpt")
    )
    assert again.seen == whole.seen[1:]
