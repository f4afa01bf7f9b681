"""Whatever stands in a file that a command is given, it says in one message what is wrong, at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from degrade_kit.face_points import read_landmarks
from degrade_kit.face_sizes import load_sizes, sizes_to_json
from degrade_kit.image import encode_png
from degrade_kit.jpeg_tables import load_tables, tables_to_json
from degrade_kit.pipelines.cli import main
from degrade_kit.pipelines.evaluation.compare import compare_evaluations
from degrade_kit.pipelines.evaluation.testset import TestsetConfig, make_testset
from degrade_kit.pipelines.executor import ExecutorConfig
from degrade_kit.pipelines.models.train_degrade import degrade_run_config
from degrade_kit.pipelines.models.train_restore import restore_run_config
from degrade_kit.presets import preset
from degrade_kit.recipe import load_recipe, recipe_from_mapping
from degrade_kit.seeding import generator
from degrade_kit.sources import open_sources
from tests.fuzz.budget import complaint, fuzz
from tests.fuzz.mutations import Damage, Mutation, damages, mutations, to_json, to_yaml

HERE = ExecutorConfig(workers=0)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small images."""
    folder = tmp_path_factory.mktemp("inputs") / "faces"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        (folder / f"{number}.png").write_bytes(encode_png(rng.integers(0, 256, (48, 48, 3)).astype(np.uint8)))
    return folder


def no_traceback(words: Sequence[object], *statuses: int) -> str:
    """A command ends with a status, and with a message where it is not 0; returns what it says."""
    found = CliRunner().invoke(main, [str(word) for word in words])
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    assert found.exit_code in statuses, found.output
    return found.output


def fuzz_file(
    reader: str,
    path: Path,
    read: Callable[[], object],
    load: Callable[[bytes], Any] = json.loads,
    dump: Callable[[Any], str] = to_json,
    examples: int = 60,
) -> None:
    """Hand a reader its file with one thing wrong; it ends without an error, or by one of the toolkit's own."""
    data = path.read_bytes()
    document = load(data)

    def one(mutation: Mutation) -> None:
        path.write_bytes(mutation.apply(data, document, dump))
        assert complaint(read) != ""

    fuzz(reader, mutations(document), one, examples)


@pytest.mark.slow
def test_no_recipe_breaks_what_draws_it(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(to_yaml(preset("gfpgan").to_mapping()))

    def read() -> None:
        recipe = load_recipe(path)
        recipe.draw(generator(0, "face", 0)).to_json()
        recipe.digest()

    fuzz_file("recipe", path, read, yaml.safe_load, to_yaml, 40)


LAST_MILE = [
    {"video": {"codec": {"h264": 1, "av1": 2}, "crf": [20, 40], "before": 3}},
    {"jpeg": {"quality": 50, "tables": {"standard": 1, "photoshop-low": 2}, "subsampling": "4:4:4"}},
    {"ai_upscale": {"model": "realesrgan-x4plus", "factor": 2, "strength": [0, 1]}},
]


@pytest.mark.slow
def test_no_recipe_of_a_last_mile_breaks_what_draws_it(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    frame = {"photo_frame": {"side": [64, 70, 90], "steps": LAST_MILE}}
    path.write_text(to_yaml(recipe_from_mapping({"name": "mile", "steps": [frame]}, "").to_mapping()))
    fuzz_file(
        "recipe of a last mile",
        path,
        lambda: load_recipe(path).draw(generator(0, "face", 0)).to_json(),
        yaml.safe_load,
        to_yaml,
        40,
    )


def test_no_file_of_sizes_or_tables_breaks_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    path.write_text(sizes_to_json([60, 80, 100, 150]))
    fuzz_file("sizes.json", path, lambda: load_sizes(path))
    tables = f"4:2:0 {' '.join(['7'] * 128)}"
    path.write_text(tables_to_json([tables, tables, tables.replace("4:2:0", "4:4:4")]))
    fuzz_file("jpeg_tables.json", path, lambda: load_tables(path))


def test_no_configuration_file_breaks_a_command(tmp_path: Path, faces: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        to_yaml({"hq": str(faces), "preset": "gfpgan", "variants": 2, "size": 48, "seed": 3, "workers": 0, "mix": 0.5})
    )

    def read() -> None:
        no_traceback(["synth", "--config", path, "--shards", tmp_path / "out", "--dry-run"], 0, 1, 2)

    fuzz_file("--config", path, read, yaml.safe_load, to_yaml, 25)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train-degrade", "train-restore"])
def test_no_configuration_of_a_training_breaks_its_command(command: str, tmp_path: Path) -> None:
    from degrade_kit.pipelines.claim import CONFIGS, read_run_config

    path = shutil.copy(CONFIGS / f"{command}-small.yaml", tmp_path / "config.yaml")
    check = {"train-degrade": degrade_run_config, "train-restore": restore_run_config}[command]

    def read() -> None:
        check(read_run_config(str(path), command)[1], {"num_steps": 7}, "config.yaml")

    fuzz_file(f"{command} --config", Path(path), read, yaml.safe_load, to_yaml, 40)


def test_no_landmarks_break_align(tmp_path: Path) -> None:
    path = tmp_path / "landmarks.json"
    points = [[1.0, 2.0], [3, 4], [5, 6], [7, 8], [9, 10]]
    path.write_text(json.dumps({"a.png": points, "folder/b.png": points, "c.png": None}))
    fuzz_file("--landmarks", path, lambda: read_landmarks(path))


def test_no_list_of_files_breaks_its_reader(tmp_path: Path, faces: Path) -> None:
    path = tmp_path / "list.txt"
    data = "".join(f"{faces}/{number}.png\n" for number in range(3)).encode()

    def read(damage: Damage) -> None:
        path.write_bytes(damage.apply(data))
        assert complaint(read_listed) != ""

    def read_listed() -> None:
        sources = open_sources(str(path))
        for place in range(len(sources)):
            sources.read(place)

    fuzz("list of files", damages(), read)


METRIC = {"value": 25.5, "low": 24.0, "high": 27.0, "images": 3, "status": "ok", "against": "", "against_sha256": ""}


@pytest.fixture(scope="module")
def evaluation(faces: Path) -> Path:
    """What `evaluate` writes."""
    out = faces.parent / "evaluation"
    words = ["evaluate", "--restored", faces, "--hq", faces, "--out", out, "--workers", 0]
    no_traceback([*words[:3], "--reference", faces, *words[5:]], 0)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["metrics.json", "per_image.csv"])
def test_no_evaluation_breaks_compare(name: str, evaluation: Path, tmp_path: Path) -> None:
    other = shutil.copytree(evaluation, tmp_path / "other")
    out = tmp_path / "out"
    path = other / name
    pairs = [("one", evaluation), ("other", other)]
    compare_evaluations(pairs, out, lq=None, images=2, several_sets=True)

    def read() -> None:
        compare_evaluations(pairs, out, lq=None, images=0, several_sets=True)

    if name == "metrics.json":
        fuzz_file(name, path, read, examples=40)
        return
    data = path.read_bytes()

    def one(damage: Damage) -> None:
        path.write_bytes(damage.apply(data))
        assert complaint(read) != ""

    fuzz(name, damages(), one, 30)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["records.jsonl", "testset.yaml"])
def test_no_file_of_a_test_set_breaks_its_continuation(name: str, faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    config = TestsetConfig(hq=str(faces), recipe=preset("flipnet-paper"), count=1, size=48)
    make_testset(config, out, HERE)
    images = {path.name: path.read_bytes() for path in out.rglob("*.png")}

    def read() -> None:
        make_testset(config, out, HERE)
        assert {path.name: path.read_bytes() for path in out.rglob("*.png")} == images

    if name == "records.jsonl":
        fuzz_file(name, out / name, read, json.loads, lambda document: to_json(document) + "\n", 12)
    else:
        fuzz_file(name, out / name, read, yaml.safe_load, to_yaml, 25)
