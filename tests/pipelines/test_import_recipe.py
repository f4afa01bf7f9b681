"""`degrade-kit import-recipe`: a recipe on stdout, what is left on stderr."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from degrade_kit.pipelines.cli import main
from degrade_kit.presets import preset
from degrade_kit.recipe import load_recipe
from tests.degrade_kit.foreign.test_reader import FACE


def test_the_command_prints_a_recipe_that_loads_and_names_the_rest(tmp_path: Path) -> None:
    (tmp_path / "train.yml").write_text(FACE, "utf-8")
    runner = CliRunner()
    result = runner.invoke(main, ["import-recipe", str(tmp_path / "train.yml")])
    assert result.exit_code == 0
    assert result.stderr == "not carried over: use_hflip: True\n"
    assert result.stdout.startswith("# not carried over: use_hflip: True\nname: train\n")
    (tmp_path / "printed.yaml").write_text(result.stdout, "utf-8")
    assert load_recipe(tmp_path / "printed.yaml").digest() == preset("gfpgan").digest()
    out = tmp_path / "new" / "mine.yaml"
    result = runner.invoke(main, ["import-recipe", str(tmp_path / "train.yml"), "--out", str(out)])
    assert f"next: degrade-kit preview --hq FACES --preset {out}" in result.stdout
    assert load_recipe(out).digest() == preset("gfpgan").digest()
