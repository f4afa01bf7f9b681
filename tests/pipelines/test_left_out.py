"""What a listing does not take is said once and counted, by every command that opens a place of images."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from degrade_kit.image import Pixels, encode_png
from degrade_kit.pipelines.cli import main
from degrade_kit.recipe import load_recipe

SAID = "left out 1 not a file, 1 unreadable, 1 ._ file, 1 .heic, 2 @eaDir"
COUNTS = {"not a file": 1, "unreadable": 1, "._ file": 1, ".heic": 1, "@eaDir": 2}
NEVER_DATA = "left out 1 ._ file, 1 .heic, 2 @eaDir"
SIZE = 64


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, astronaut: Pixels) -> Path:
    """Twelve crops of a face."""
    folder = tmp_path_factory.mktemp("photos") / "photos"
    folder.mkdir()
    for number in range(12):
        crop = np.ascontiguousarray(astronaut[20 * number : 20 * number + 2 * SIZE : 2, 100 : 100 + 2 * SIZE : 2])
        (folder / f"{number:02}.png").write_bytes(encode_png(crop))
    return folder


def litter(folder: Path, *, refused: bool = True) -> Path:
    """Add what a NAS, a Mac and a telephone leave; and, if asked for, what cannot be listed."""
    for name in ("@eaDir/00.png/SYNOPHOTO_THUMB_M.jpg", "sub/@eaDir/x.jpg", "._00.png", "sub/IMG_1.HEIC"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (SIZE, SIZE)).save(folder / name, "JPEG")
    if refused:
        (folder / "dangling.png").symlink_to("nowhere")
        os.mkfifo(folder / "pipe.png")
    return folder


@pytest.fixture
def messy(photos: Path, tmp_path: Path) -> Path:
    return litter(shutil.copytree(photos, tmp_path / "messy"))


@pytest.fixture
def tidy_but_for_a_nas(photos: Path, tmp_path: Path) -> Path:
    return litter(shutil.copytree(photos, tmp_path / "nas"), refused=False)


Say = Callable[..., Result]


@pytest.fixture
def say(caplog: pytest.LogCaptureFixture) -> Say:
    """Run a command that ends with a status and says a line once."""

    def run(line: str, code: int, *words: object) -> Result:
        caplog.clear()
        result = CliRunner().invoke(main, [str(word) for word in words])
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        assert result.exit_code == code, result.output
        lines = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
        assert [text.partition(": ")[2] for text in lines] == [line]
        return result

    return run


@pytest.mark.slow
def test_synth_and_inspect(messy: Path, tmp_path: Path, say: Say) -> None:
    options = ["synth", "--hq", messy, "--shards", tmp_path / "out", "--size", SIZE, "--workers", 0]
    say(SAID, 0, *options, "--dry-run")
    say(SAID, 3, *options)
    assert json.loads((tmp_path / "out/manifest.json").read_text())["left_out"] == COUNTS
    shown = CliRunner().invoke(main, ["inspect", str(tmp_path / "out")])
    assert f"{SAID.replace('left out', 'left out of the sources:')}\n" in shown.output
    assert CliRunner().invoke(main, ["verify", str(tmp_path / "out"), "--workers", "0"]).exit_code == 0


@pytest.mark.slow
def test_a_tidy_folder_is_not_spoken_of(photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = ["synth", "--hq", str(photos), "--shards", str(tmp_path / "out"), "--size", str(SIZE), "--workers", "0"]
    assert CliRunner().invoke(main, options).exit_code == 0
    assert caplog.text == ""
    assert "left_out" not in json.loads((tmp_path / "out/manifest.json").read_text())


@pytest.mark.slow
def test_a_manifest_of_an_odd_count_is_refused(photos: Path, tmp_path: Path) -> None:
    options = ["synth", "--hq", str(photos), "--shards", str(tmp_path / "out"), "--size", str(SIZE), "--workers", "0"]
    assert CliRunner().invoke(main, options).exit_code == 0
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    for found in ([1], {"@eaDir": "two"}):
        (tmp_path / "out/manifest.json").write_text(json.dumps({**manifest, "left_out": found}))
        result = CliRunner().invoke(main, ["inspect", str(tmp_path / "out")])
        assert (result.exit_code, "manifest.json: field left_out" in result.output) == (1, True)


@pytest.mark.slow
def test_preview(messy: Path, tmp_path: Path, say: Say) -> None:
    say(SAID, 0, "preview", "--hq", messy, "--out", tmp_path / "p.png", "--size", SIZE, "--num-faces", 2)


def test_align(messy: Path, tmp_path: Path, say: Say) -> None:
    landmarks = tmp_path / "landmarks.json"
    landmarks.write_text(json.dumps({"00.png": [[20, 25], [44, 25], [32, 38], [24, 48], [40, 48]]}))
    options = ["align", "--input", messy, "--out", tmp_path / "out", "--size", 32, "--landmarks", landmarks]
    say(SAID, 0, *options, "--dry-run", "--workers", 0)
    say(SAID, 3, *options, "--workers", 0)


@pytest.mark.slow
def test_evaluate(photos: Path, tidy_but_for_a_nas: Path, tmp_path: Path, say: Say) -> None:
    options = ["evaluate", "--restored", tidy_but_for_a_nas, "--reference", photos, "--out", tmp_path / "out"]
    say(NEVER_DATA, 0, *options, "--workers", 0)
    found = json.loads((tmp_path / "out/metrics.json").read_text())["left_out"]
    assert found == {"restored": {"._ file": 1, ".heic": 1, "@eaDir": 2}, "reference": {}}


def test_analyze_distribution(photos: Path, messy: Path, tmp_path: Path, say: Say) -> None:
    options = ["analyze-distribution", "--synth", f"a={photos}", "--real", f"b={messy}", "--out", tmp_path / "out"]
    options += ["--size", SIZE, "--projection", "pca", "--workers", 0]
    say(SAID, 0, *options, "--dry-run")


@pytest.mark.slow
def test_the_report_of_analyze_distribution(photos: Path, messy: Path, tmp_path: Path, say: Say) -> None:
    options = ["analyze-distribution", "--synth", f"a={photos}", "--real", f"b={messy}", "--out", tmp_path / "out"]
    options += ["--size", SIZE, "--projection", "pca", "--workers", 0]
    result = say(SAID, 3, *options)
    assert "2 images could not be used; the report names them" in result.output
    sets = {entry["name"]: entry for entry in json.loads((tmp_path / "out/metrics.json").read_text())["sets"]}
    assert (sets["a"]["left_out"], sets["b"]["left_out"]) == ({}, COUNTS)
    assert [failure[0] for failure in sets["b"]["failures"]] == ["dangling.png", "pipe.png"]


def test_make_testset(messy: Path, tmp_path: Path, say: Say) -> None:
    say(
        SAID, 0, "make-testset", "--hq", messy, "--count", 2, "--size", SIZE, "--preset", "gfpgan",
        "--out", tmp_path / "a", "--workers", 0,
    )  # fmt: skip
    assert json.loads((tmp_path / "a/testset.json").read_text())["left_out"] == COUNTS


def test_make_testset_of_originals(messy: Path, tmp_path: Path, say: Say) -> None:
    options = ["make-testset", "--real", messy, "--size", SIZE, "--out", tmp_path / "a"]
    say(SAID, 0, *options, "--dry-run")
    say(SAID, 3, *options)
    assert json.loads((tmp_path / "a/testset.json").read_text())["left_out"] == COUNTS


def test_fit_recipe(photos: Path, messy: Path, tmp_path: Path, say: Say) -> None:
    options = ["fit-recipe", "--real", messy, "--hq", photos, "--out", tmp_path / "r.yaml", "--size", SIZE]
    say(SAID, 0, *options, "--workers", 0, "--dry-run")


@pytest.mark.long
def test_a_fitted_recipe(photos: Path, messy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = ["fit-recipe", "--real", messy, "--hq", photos, "--out", tmp_path / "r.yaml", "--size", SIZE]
    options += ["--preset", "gfpgan", "--num-faces", 2, "--candidates", 2, "--images-per-candidate", 2, "--rounds", 0]
    result = CliRunner().invoke(main, [*map(str, options), "--workers", "0"])
    assert result.exit_code in (0, 1), result.output
    assert caplog.messages == [f"{messy}: {SAID}"]
    assert f"photographs ({messy.name}; {SAID}); whitened KID" in load_recipe(tmp_path / "r.yaml").source


@pytest.mark.slow
def test_join(photos: Path, messy: Path, tmp_path: Path, say: Say) -> None:
    shards, bare = str(tmp_path / "shards"), str(tmp_path / "bare")
    made = ["synth", "--hq", str(photos), "--shards", shards, "--size", str(SIZE), "--workers", "0"]
    assert CliRunner().invoke(main, made).exit_code == 0
    assert CliRunner().invoke(main, ["export", shards, "--out", bare, "--to", "lq-only"]).exit_code == 0
    say(SAID, 0, "join", bare, "--hq", messy, "--out", tmp_path / "joined", "--workers", 0)
    assert json.loads((tmp_path / "joined/manifest.json").read_text())["left_out"] == COUNTS


def test_pairs(messy: Path, tmp_path: Path, say: Say) -> None:
    say(
        SAID, 3, "pairs", "--hq", messy, "--preset", "gfpgan", "--out", tmp_path / "look", "--size", 32,
        "--shown", 1, "--limit", "face=2",
    )  # fmt: skip
    [face] = json.loads((tmp_path / "look/pairs.json").read_text())["sources"]
    assert face["never_data"] == {"._ file": 1, ".heic": 1, "@eaDir": 2}


def test_pairs_of_a_folder(photos: Path, tmp_path: Path, say: Say) -> None:
    for side in ("hq", "lq"):
        litter(shutil.copytree(photos, tmp_path / "noise" / side), refused=False)
    twice = NEVER_DATA.replace("2", "4").replace("1 ", "2 ")
    say(
        twice, 0, "pairs", "--pairs", f"noise={tmp_path / 'noise'}", "--out", tmp_path / "look", "--size", 32,
        "--shown", 1, "--no-registration",
    )  # fmt: skip


@pytest.mark.slow
def test_train_degrade(messy: Path, tmp_path: Path, say: Say) -> None:
    pytest.importorskip("torch")
    say(SAID, 0, "train-degrade", "--config", "small", "--hq", messy, "--out", tmp_path / "run", "--dry-run")


def test_restore(messy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("torch")
    from degrade_kit.flipnet.config import SamplingConfig
    from degrade_kit.pipelines.executor import ExecutorConfig
    from degrade_kit.pipelines.models.restore import RestoreJob, RestorePlan, check_restoration

    job = RestoreJob(model="m", input=str(messy), out_dir=tmp_path / "out", device="cpu")
    plan = RestorePlan(job=job, digest="d", size=SIZE, sampling=(SamplingConfig(),), folders=(tmp_path / "out",))
    check_restoration(plan, ExecutorConfig(workers=0))
    assert caplog.messages == [f"{messy}: {SAID}"]


@pytest.mark.slow
def test_match_says_it_once_though_its_parts_look_again(photos: Path, messy: Path, tmp_path: Path, say: Say) -> None:
    options = ["match", "--real", messy, "--hq", photos, "--shards", tmp_path / "out", "--size", SIZE]
    say(SAID, 0, *options, "--num-faces", 8, "--workers", 0, "--dry-run")


def test_caption(messy: Path, tmp_path: Path, say: Say) -> None:
    options = ["caption", "--hq", messy, "--caption-model", tmp_path, "--out", tmp_path / "captions.jsonl"]
    say(SAID, 0, *options, "--dry-run")


def test_pairs_from_photos(messy: Path, tmp_path: Path, say: Say) -> None:
    options = ["pairs", "from-photos", "--real", messy, "--restorer", "cp -r {input}/. {output}"]
    say(SAID, 0, *options, "--out", tmp_path / "pairs", "--size", SIZE, "--dry-run")


@pytest.mark.slow
def test_distill(messy: Path, tmp_path: Path, say: Say) -> None:
    pytest.importorskip("torch")
    say(SAID, 0, "distill", "--hq", messy, "--out", tmp_path / "run", "--size", SIZE, "--dry-run")
