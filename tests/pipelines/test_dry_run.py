"""What `--dry-run` promises in every long command: the plan, the time, all early errors, and nothing done."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner
from PIL import Image

from degrade_kit.pipelines.cli import main

SIDE = 64
LONG = {
    "align", "analyze-distribution", "caption", "distill", "evaluate", "export", "fit-recipe", "join", "make-testset",
    "match", "pairs from-photos", "restore", "synth", "train-degrade", "train-restore", "verify",
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, astronaut: npt.NDArray[np.uint8]) -> Path:
    """Faces, photographs with landmarks, a data set and the same without faces, restored images."""
    root = tmp_path_factory.mktemp("world")
    for number in range(12):
        pixels = astronaut[10 * number : 10 * number + SIDE, 180 : 180 + SIDE]
        for folder in ("faces", "restored"):
            (root / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(root / folder / f"{number:02}.png")
    (root / "photos").mkdir()
    Image.fromarray(astronaut).save(root / "photos/a.png")
    points = [[200.0, 110.0], [245.0, 110.0], [222.0, 140.0], [205.0, 160.0], [240.0, 160.0]]
    (root / "points.json").write_text(json.dumps({"a.png": points}))
    fixed = ["--hq", root / "faces", "--size", SIDE, "--preset", "gfpgan", "--workers", 0]
    run("synth", "--shards", root / "shards", *fixed)
    run("export", root / "shards", "--to", "lq-only", "--out", root / "bare")
    return root


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file and folder."""
    found = {str(path.relative_to(root)): path.lstat() for path in [root, *root.rglob("*")]}
    return {name: (status.st_size, status.st_mtime_ns) for name, status in found.items()}


COMMANDS: dict[str, Callable[[Path, Path], list[object]]] = {
    "synth": lambda w, out: ["synth", "--hq", w / "faces", "--shards", out, "--size", SIDE],
    "align": lambda w, out: ["align", "--input", w / "photos", "--landmarks", w / "points.json", "--out", out],
    "pairs from-photos": lambda w, out: [
        "pairs", "from-photos", "--real", w / "photos", "--restorer", "cp -r {input}/. {output}", "--out", out
    ],
    "verify": lambda w, out: ["verify", w / "shards"],
    "join": lambda w, out: ["join", w / "bare", "--hq", w / "faces", "--out", out],
    "export": lambda w, out: ["export", w / "shards", "--out", out],
    "export lq-only": lambda w, out: ["export", w / "shards", "--to", "lq-only", "--out", out],
    "make-testset": lambda w, out: [
        "make-testset", "--hq", w / "faces", "--count", 8, "--size", SIDE, "--out", out
    ],
    "make-testset originals": lambda w, out: ["make-testset", "--real", w / "photos", "--out", out],
    "make-testset aligned": lambda w, out: [
        "make-testset", "--real", w / "photos", "--align", "--landmarks", w / "points.json", "--out", out
    ],
    "analyze-distribution": lambda w, out: [
        "analyze-distribution", "--synth", f"s={w}/shards", "--real", f"r={w}/restored", "--size", SIDE, "--out", out
    ],
    "fit-recipe": lambda w, out: [
        "fit-recipe", "--real", w / "restored", "--hq", w / "faces", "--size", SIDE, "--out", out / "fitted.yaml"
    ],
    "match": lambda w, out: [
        "match", "--real", w / "restored", "--hq", w / "faces", "--size", SIDE, "--shards", out / "set"
    ],
    "caption": lambda w, out: ["caption", "--hq", w / "faces", "--out", out / "captions.jsonl"],
    "evaluate": lambda w, out: [
        "evaluate", "--restored", w / "restored", "--reference", w / "faces", "--out", out
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_a_dry_run_says_where_and_how_long_and_does_nothing(
    name: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("degrade_kit.pipelines.effort.default_workers", lambda: 0)  # whatever this machine takes
    before = snapshot(world), snapshot(tmp_path)
    output = run(*COMMANDS[name](world, tmp_path / "new/out"), "--dry-run")
    assert re.search(r"about \d.* in this process$", output, re.MULTILINE), output
    assert output.endswith("dry run: nothing was written\n")
    assert (snapshot(world), snapshot(tmp_path)) == before


@pytest.mark.parametrize("name", COMMANDS)
def test_a_dry_run_obeys_a_number_of_workers(name: str, world: Path, tmp_path: Path) -> None:
    if name.startswith("export") or name in ("make-testset originals", "caption"):
        return  # in this process alone
    output = run(*COMMANDS[name](world, tmp_path / "out"), "--workers", 2, "--dry-run")
    assert re.search(r"about .* on [12] Ray workers?, .* of it Ray's start$", output, re.MULTILINE), output


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("verify", "fit-recipe")])
def test_a_dry_run_finds_that_the_output_cannot_be_written(name: str, world: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = COMMANDS[name](world, tmp_path / "file" / "out")
    dry = run(*words, "--dry-run", code=1)
    assert "cannot write to" in dry
    assert run(*words, code=1) == dry


@pytest.mark.parametrize("name", ["synth", "join", "export lq-only", "make-testset", "make-testset originals"])
def test_a_dry_run_finds_that_the_output_holds_something_else(name: str, world: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("mine")
    words = COMMANDS[name](world, tmp_path / "out")
    before = snapshot(tmp_path)
    dry = run(*words, "--dry-run", code=1)
    assert "notes.txt" in dry
    assert run(*words, code=1) == dry
    assert snapshot(tmp_path) == before


@pytest.mark.slow
def test_a_dry_run_counts_what_is_left_to_do(world: Path, tmp_path: Path) -> None:
    words = ["synth", "--hq", world / "faces", "--shards", tmp_path / "out", "--size", SIDE, "--workers", 0]
    run(*words, "--shard-range", "0:4")
    os.utime(tmp_path / "out")
    assert "6 shards of 2 samples" in (output := run(*words, "--dry-run"))
    assert "2 of them to make" in output


def test_every_long_command_has_a_dry_run() -> None:
    having = {
        name
        for name, command in main.commands.items()
        if any("--dry-run" in parameter.opts for parameter in command.params if isinstance(parameter, click.Option))
    }
    assert having == LONG
