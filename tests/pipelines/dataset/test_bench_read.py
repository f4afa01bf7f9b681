from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import degrade_kit as dk
from degrade_kit.errors import ConfigError
from degrade_kit.hq import HqConfig
from degrade_kit.pipelines.cli import main
from degrade_kit.pipelines.dataset.bench_read import PARTS, ReadConfig, bench_read
from degrade_kit.pipelines.executor import ExecutorConfig
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.synth.plan import make_plan
from degrade_kit.pipelines.synth.synthesize import run_plan


@pytest.fixture(scope="module")
def made(faces_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench") / "out"
    config = SynthConfig(hq=str(faces_dir), recipe=dk.preset("gfpgan"), image=HqConfig(size=64))
    assert run_plan(make_plan(config), str(out), ExecutorConfig(workers=0)).complete
    return out


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [2, 8])
def test_parts_and_loaders_are_timed(made: Path, batch_size: int) -> None:
    report = bench_read(ReadConfig(shards=str(made), samples=9, workers=1, batch_size=batch_size))
    assert report.samples == 6
    assert tuple(report.parts) == PARTS
    assert all(0 < milliseconds < 1e4 for milliseconds in report.parts.values())
    assert list(report.rates) == [0, 1]
    assert all(rate > 0 for rate in report.rates.values())


@pytest.mark.slow
def test_the_command_prints_them(made: Path) -> None:
    result = CliRunner().invoke(main, ["bench-read", str(made), "--samples", "6", "--data-workers", "1"])
    assert result.exit_code == 0, result.output
    assert re.search(r"decode HQ +[0-9.]+ ms +[0-9]+%\n", result.output)
    assert re.search(r"^1 worker: [0-9]+ pairs/s$", result.output, re.MULTILINE)


def test_without_torch_it_says_so(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("degrade_kit.pipelines.dataset.bench_read.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install torch"):
        bench_read(ReadConfig(shards=str(made)))
