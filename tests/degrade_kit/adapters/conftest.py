from __future__ import annotations

from pathlib import Path

import pytest

import degrade_kit as dk
from degrade_kit.hq import HqConfig
from degrade_kit.pipelines.executor import ExecutorConfig
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.synth.plan import make_plan
from degrade_kit.pipelines.synth.synthesize import run_plan


@pytest.fixture(scope="session")
def made(faces_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 64 pixels with two LQ images each, to be read by trainers."""
    out = tmp_path_factory.mktemp("adapters") / "out"
    config = SynthConfig(hq=str(faces_dir), recipe=dk.preset("gfpgan"), variants=2, image=HqConfig(size=64))
    assert run_plan(make_plan(config), str(out), ExecutorConfig(workers=0)).complete
    return out
