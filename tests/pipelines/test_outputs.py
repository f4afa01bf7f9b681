"""Where results may go: every command that writes, by places that are not its own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner
from PIL import Image

import degrade_kit.files
from degrade_kit.errors import RunError
from degrade_kit.flipnet.folder import SMALL
from degrade_kit.pipelines.claim import Claim
from degrade_kit.pipelines.cli import GROUPS, main
from degrade_kit.pipelines.demo import run_demo
from tests.pipelines.models.runs import CONFIG

SIDE = 64


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, astronaut: npt.NDArray[np.uint8]) -> Path:
    """Faces, photographs with landmarks, data sets with faces and without, restored images and their evaluation."""
    root = tmp_path_factory.mktemp("made")
    for number in range(12):
        pixels = astronaut[10 * number : 10 * number + SIDE, 180 : 180 + SIDE]
        for folder in ("faces", "restored"):
            (root / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(root / folder / f"{number:02}.png")
    (root / "photos").mkdir()
    Image.fromarray(astronaut).save(root / "photos/a.png")
    points = [[200.0, 110.0], [245.0, 110.0], [222.0, 140.0], [205.0, 160.0], [240.0, 160.0]]
    (root / "points.json").write_text(json.dumps({"a.png": points}))
    (root / "small.yaml").write_text(json.dumps(CONFIG))
    fixed = ["--size", SIDE, "--preset", "gfpgan", "--workers", 0]
    run("synth", "--hq", root / "faces", "--shards", root / "shards", *fixed)
    run("export", root / "shards", "--to", "lq-only", "--out", root / "bare")
    run("evaluate", "--restored", root / "restored", "--out", root / "eval", "--workers", 0)
    for place in ("foreign", "foreign/nested"):
        (root / place).mkdir()
        (root / place / "00.yaml").write_text("noise_range: [0, 20]\n")
    for side in ("hq", "lq"):
        (root / "pairs" / side).mkdir(parents=True)
        shutil.copyfile(root / "faces/00.png", root / "pairs" / side / "00.png")
    return root


@pytest.fixture
def world(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "world")


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == code, result.output
    return result.output


def refused(*words: object) -> str:
    """Run a command that must say in one message why it does not begin."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (1, 2), result.output
    assert "Traceback" not in result.output
    return result.output


def content(root: Path) -> dict[str, bytes | str]:
    """Every file with its bytes, and every link with what it leads to."""
    return {
        str(path.relative_to(root)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


Words = Callable[[Path, Path], list[object]]
COMMANDS: dict[str, tuple[str, Words]] = {
    "align": (
        "photos",
        lambda w, out: ["align", "--input", w / "photos", "--landmarks", w / "points.json", "--out", out],
    ),
    "synth": ("faces", lambda w, out: ["synth", "--hq", w / "faces", "--shards", out, "--size", SIDE, "--workers", 0]),
    "synth --overwrite": (
        "faces",
        lambda w, out: ["synth", "--hq", w / "faces", "--shards", out, "--size", SIDE, "--overwrite", "--workers", 0],
    ),
    "degrade": ("photos/a.png", lambda w, out: ["degrade", w / "photos/a.png", "--out", out]),
    "replay": ("shards", lambda w, out: ["replay", w / "shards", "000000000", "--out", out]),
    "view": ("shards", lambda w, out: ["view", w / "shards", "--out", out]),
    "match": (
        "restored",
        lambda w, out: [
            "match", "--real", w / "restored", "--hq", w / "faces", "--shards", w / "matched", "--size", SIDE,
            "--out", out,
        ],
    ),
    "match, by its data set": (
        "matched",
        lambda w, out: [
            "match", "--real", w / "restored", "--hq", w / "faces", "--shards", w / "matched", "--size", SIDE,
            "--out", out,
        ],
    ),
    "export folder": ("shards", lambda w, out: ["export", w / "shards", "--out", out]),
    "export lmdb": ("shards", lambda w, out: ["export", w / "shards", "--to", "lmdb", "--out", out]),
    "export parquet": ("shards", lambda w, out: ["export", w / "shards", "--to", "parquet", "--out", out]),
    "export lq-only": ("shards", lambda w, out: ["export", w / "shards", "--to", "lq-only", "--out", out]),
    "join": ("bare", lambda w, out: ["join", w / "bare", "--hq", w / "faces", "--out", out, "--workers", 0]),
    "join, by its faces": ("faces", lambda w, out: ["join", w / "bare", "--hq", w / "faces", "--out", out]),
    "analyze-distribution": (
        "restored",
        lambda w, out: [
            "analyze-distribution", "--synth", f"s={w}/shards", "--real", f"r={w}/restored", "--size", SIDE, "--out",
            out, "--workers", 0, "--projection", "pca",
        ],
    ),
    "make-testset": (
        "faces",
        lambda w, out: [
            "make-testset", "--hq", w / "faces", "--count", 4, "--size", SIDE, "--out", out, "--workers", 0
        ],
    ),
    "make-testset originals": ("photos", lambda w, out: ["make-testset", "--real", w / "photos", "--out", out]),
    "evaluate": ("restored", lambda w, out: ["evaluate", "--restored", w / "restored", "--out", out, "--workers", 0]),
    "evaluate, by its references": (
        "faces",
        lambda w, out: ["evaluate", "--restored", w / "restored", "--reference", w / "faces", "--out", out],
    ),
    "compare": ("eval", lambda w, out: ["compare", w / "eval", "--out", out]),
    "pairs": ("pairs", lambda w, out: ["pairs", "--pairs", f"noise={w}/pairs", "--out", out]),
    "pairs from-photos": (
        "photos",
        lambda w, out: [
            "pairs", "from-photos", "--real", w / "photos", "--restorer", "cp -r {input}/. {output}", "--out", out
        ],
    ),
    "train-degrade": (
        "pairs",
        lambda w, out: ["train-degrade", "--config", "small", "--pairs", f"noise={w}/pairs", "--out", out],
    ),
    "distill": ("faces", lambda w, out: ["distill", "--hq", w / "faces", "--out", out]),
    "train-restore": (
        "shards",
        lambda w, out: [
            "train-restore", "--shards", w / "shards", "--config", w / "small.yaml", "--embedding", "none", "--out", out
        ],
    ),
    "restore": ("photos", lambda w, out: ["restore", "--model", SMALL, "--input", w / "photos", "--out", out]),
}  # fmt: skip
"""Commands that write a folder, each with one of its inputs."""
FILES: dict[str, tuple[str, Words]] = {
    "preview": ("faces", lambda w, out: ["preview", "--hq", w / "faces", "--size", SIDE, "--out", out / "00.png"]),
    "import-recipe": ("foreign", lambda w, out: ["import-recipe", out / "00.yaml", "--out", out / "00.yaml"]),
    "caption": ("faces", lambda w, out: ["caption", "--hq", w / "faces", "--out", out / "00.jsonl"]),
    "fit-recipe": (
        "restored",
        lambda w, out: [
            "fit-recipe", "--real", w / "restored", "--hq", w / "faces", "--size", SIDE, "--out", out / "00.yaml"
        ],
    ),
}  # fmt: skip
CHECKED = [
    name for name in COMMANDS if not name.startswith(("train", "restore", "distill", "match")) and ", by" not in name
]
"""Those that need no model of a run and no minutes, of which tests of their own check the rest."""
ALONE = {"demo", "weights"}
"""Commands that write and read nothing of the user's."""


def test_every_command_that_writes_is_in_the_table() -> None:
    commands = {command.name: command for group in GROUPS.values() for command in group}
    writing = {name for name, command in commands.items() if {"out", "shards"} & {p.name for p in command.params}}
    reading_alone = {"verify", "inspect", "bench-read"}
    shown = {name if name in commands else name.split()[0].rstrip(",") for name in (*COMMANDS, *FILES)}
    assert writing - reading_alone - ALONE == shown


@pytest.mark.slow
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("name", COMMANDS)
def test_an_output_that_is_an_input_or_inside_one_is_refused(
    name: str, inside: bool, linked: bool, made: Path, tmp_path: Path
) -> None:
    source, words = COMMANDS[name]
    place = made / source
    if linked:
        place = tmp_path / "link"
        place.symlink_to(made / source)
    if inside:
        place /= "nested/out"
    before = content(made)
    said = refused(*words(made, place))
    if name != "degrade":  # whose input is a file, which no folder can be inside
        assert f"{'is inside' if inside else 'is'} the input" in said
    assert content(made) == before


@pytest.mark.parametrize("name", FILES)
def test_a_file_among_the_inputs_is_refused(name: str, made: Path) -> None:
    source, words = FILES[name]
    before = content(made)
    for place in (made / source, made / source / "nested"):
        assert "the input" in refused(*words(made, place))
    assert content(made) == before


@pytest.mark.parametrize("name", CHECKED)
def test_a_link_that_leads_to_nothing_is_refused(name: str, made: Path, tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "gone")
    for place in (tmp_path / "out", tmp_path / "out/below"):
        said = refused(*COMMANDS[name][1](made, place))
        assert f"{tmp_path}/out is a link to {tmp_path}/gone, where nothing is" in said
    assert content(tmp_path) == {"out": f"{tmp_path}/gone"}


@pytest.mark.parametrize(
    ("other", "linked"), [("photos", False), ("photos", True), ("shards", False), ("eval", False), ("begun", False)]
)
@pytest.mark.parametrize("name", CHECKED)
def test_a_folder_of_the_user_or_of_another_command_is_refused(
    name: str, other: str, linked: bool, made: Path, tmp_path: Path
) -> None:
    if (name.split()[0].rstrip(","), other) in {("synth", "shards"), ("evaluate", "eval")}:
        return  # its own, which it goes on with or replaces
    real = tmp_path / "real"
    if other == "begun":  # by another command, which has no results yet
        (real / ".degrade_kit").mkdir(parents=True)
        (real / ".degrade_kit/another.yaml").write_text("a: b\n")
    else:
        shutil.copytree(made / other, real)
    out = tmp_path / "out" if linked else real
    if linked:
        out.symlink_to(real)
    before = content(tmp_path)
    said = refused(*COMMANDS[name][1](made, out))
    assert f"{out} is not empty and was not made by this command" in said or "was written by `export`" in said
    assert content(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CHECKED if name not in ("degrade", "analyze-distribution")])
def test_a_link_to_an_empty_folder_is_filled_and_a_rerun_gives_the_same(name: str, world: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    before = content(world)
    words = COMMANDS[name][1](world, tmp_path / "out")
    run(*words)
    first = content(tmp_path / "real")
    assert first
    run(*words)
    assert content(tmp_path / "real") == first
    assert content(world) == before


@pytest.mark.slow
def test_two_exports_are_not_mixed(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("export", world / "shards", "--out", out, "--variant", 0)
    before = content(out)
    run("synth", "--hq", world / "faces", "--shards", world / "more", "--size", SIDE, "--seed", 1, "--workers", 0)
    for words in (["--to", "lmdb", "--variant", 0], ["--to", "parquet", "--variant", 0], []):
        said = run("export", world / "shards", "--out", out, *words, code=1)
        assert f"{out} holds an export of another configuration" in said
    said = run("export", world / "more", "--out", out, "--variant", 0, code=1)
    assert f"{out} holds an export of another configuration" in said
    assert content(out) == before


@pytest.mark.slow
@pytest.mark.parametrize("form", ["folder", "lmdb", "parquet"])
def test_an_export_that_was_killed_is_finished_by_a_rerun(
    form: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every rename in the output in turn, which is when something has appeared."""
    words = ["export", world / "shards", "--to", form, "--variant", 0, "--out"]
    run(*words, tmp_path / "whole")
    whole = content(tmp_path / "whole")
    done, made = degrade_kit.files.publish, 0
    for kills in range(1, 100, 9 if form == "folder" else 1):
        left = kills

        def publish(scratch: Path, path: Path) -> None:
            nonlocal left
            done(scratch, path)
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

        out = tmp_path / f"killed{kills}"
        with monkeypatch.context() as patched:
            for module in ("files", "store", "pipelines.dataset.export"):
                patched.setattr(f"degrade_kit.{module}.publish", publish)
            stopped = CliRunner().invoke(main, [str(word) for word in (*words, out)])
        if stopped.exit_code == 0:
            break
        assert stopped.exit_code == 130
        run(*words, out)
        assert content(out) == whole
        made += 1
    assert made > 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more"), [("train-degrade", []), ("train-restore", ["--crop"]), ("distill", ["--size", SIDE])]
)
def test_a_training_takes_its_folder_for_itself(
    name: str, more: list[object], made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(claim: Claim, folder: Path) -> None:
        raise RunError(f"{folder} is asked for, which {claim.what} needs")

    monkeypatch.setattr(Claim, "taken_by_one", taken)
    assert "is asked for, which" in refused(*COMMANDS[name][1](made, tmp_path / "out"), *more)


def test_a_report_leaves_nothing_of_an_earlier_one(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("replay", world / "shards", "000000000", "--out", out)
    (out / "notes.txt").write_text("mine")
    before = content(out)
    run("replay", world / "shards", "000000003", "--out", out)
    after = content(out)
    assert after["notes.txt"] == b"mine"
    assert before.keys() == after.keys()
    assert {name for name in after if before[name] == after[name]} == {"notes.txt"}


def test_the_demo_takes_no_folder_of_the_user(world: Path) -> None:
    before = content(world)
    with pytest.raises(RunError, match="is not empty and was not made by this command"):
        run_demo(world, 0, None, 0.0)
    assert content(world) == before
