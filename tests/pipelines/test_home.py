"""`~` is the home folder wherever a place is given: shells leave it as it is behind an equals sign, YAML always."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import degrade_kit as dk
from degrade_kit.pipelines.cli import GROUPS, main
from degrade_kit.pipelines.commands.types import WEIGHT_NAME, LocalPath, Text

PLACES = {"place", "model", "pairs", "weight"}


@pytest.fixture
def home(tmp_path: Path, faces_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with faces, which is not where commands run."""
    shutil.copytree(faces_dir, tmp_path / "home/faces")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def test_every_option_that_takes_a_place_writes_it_out(home: Path) -> None:
    (home / "x").mkdir()
    (home / "x.json").touch()
    checked = 0
    for command in (command for members in GROUPS.values() for command in members):
        for param in command.params:
            assert type(param.type) is not click.Path, f"{command.name} {param.name}: use LocalPath"
            if isinstance(param.type, LocalPath):
                place = "~/x" if param.type.dir_okay else "~/x.json"
                assert str(param.type.convert(place, param, None)) == place.replace("~", str(home))
                checked += 1
            elif isinstance(param.type, Text) and param.type.name in PLACES and param.type is not WEIGHT_NAME:
                named = "=" in str(param.metavar) and param.name != "evaluations"
                found = param.type.convert("noise=~/x" if named else "~/x", param, None)
                assert found == (("noise", f"{home}/x") if named else f"{home}/x"), f"{command.name} {param.name}"
                checked += 1
    assert checked > 60


@pytest.mark.slow
def test_the_command_line_and_its_files_write_it_out(home: Path) -> None:
    run("synth", "--hq=~/faces", "--shards=~/out", "--size=32", "--workers=0")
    (home / "given.yaml").write_text("hq: ~/faces\nshards: ~/again\nsize: 32\nworkers: 0\n")
    run("synth", "--config=~/given.yaml")
    run("export", "~/out", "--out=~/pairs")
    run("export", "~/out/shard-{000000..000005}.tar", "--out=~/plain")
    (home / "recipe.yaml").write_text("name: mine\nsteps: [{blur: {sigma: [1, 2]}}]\n")
    run("preview", "--hq=~/faces", "--preset=~/recipe.yaml", "--out=~/look.png", "--size=32", "--num-faces=1")
    run("evaluate", "--restored=~/pairs/lq", "--reference=~/pairs/hq", "--out=~/eval", "--workers=0")
    run("compare", "one=~/eval", "--out=~/table")
    assert {"out", "again", "pairs", "plain", "look.png", "eval", "table"} <= {path.name for path in home.iterdir()}
    assert not list(Path().iterdir()), "nothing was made in a folder named ~"


@pytest.mark.slow
def test_python_writes_it_out(home: Path) -> None:
    report = dk.synthesize("~/faces", "~/out", size=32, workers=0)
    assert dk.open_shards("~/out").manifest["digest"] == report.digest
    assert len(dk.PairReader("~/out", cache_dir="~/cache")) == len(dk.PairReader(home / "out")) > 0
    assert dk.verify("~/out", workers=0).problems == []
    dk.evaluate("~/faces", "~/eval", feature_cache="~/features", workers=0)
    assert json.loads((home / "eval/metrics.json").read_text())["restored"]
    (home / "recipe.yaml").write_text("name: mine\nsteps: [{blur: {sigma: [1, 2]}}]\n")
    assert dk.load_recipe("~/recipe.yaml").name == "mine"
    assert dk.decode_image((home / "faces/astronaut.png").read_bytes()).pixels.size
    with pytest.raises(dk.ConfigError, match=f"{home}/model"):
        dk.Degrader.load("~/model")
    with pytest.raises(dk.ConfigError, match=f"{home}/model"):
        dk.Restorer.load("~/model")
    with pytest.raises(dk.ConfigError, match="photographs that can be used, found 6"):
        dk.fit_recipe("~/faces", "~/faces", "~/mine.yaml", size=32, workers=0)
    assert not list(Path().iterdir())
