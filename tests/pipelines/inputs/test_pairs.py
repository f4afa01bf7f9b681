"""`degrade-kit pairs` from end to end on tiny pairs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import yaml
from click.testing import CliRunner, Result

from degrade_kit.image import decode_image, encode_png
from degrade_kit.pipelines.cli import main

Pixels = npt.NDArray[np.uint8]
TILE, GAP = 160, 6


def call(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["pairs", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == code, result.output
    return result


def report(out: Path) -> dict[str, dict[str, Any]]:
    return {source["source"]: source for source in json.loads((out / "pairs.json").read_bytes())["sources"]}


@pytest.fixture(scope="module")
def data(astronaut: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four hazy pairs in Dense-Haze's layout, one of them of the test split, and six blurred ones."""
    root = tmp_path_factory.mktemp("data")

    def put(name: str, pixels: npt.NDArray) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encode_png(np.ascontiguousarray(np.clip(np.rint(pixels), 0, 255), np.uint8)))

    for number in range(6):
        hq = astronaut[40 * number : 40 * number + 96, 120:240]
        if number < 4:
            name = ("01", "02", "03", "51")[number]
            put(f"haze/GT/{name}_GT.png", hq)
            put(f"haze/hazy/{name}_hazy.png", hq * 0.4 + 130)
        put(f"blur/hq/{number}.png", hq)
        put(f"blur/lq/{number}.png", cv2.GaussianBlur(hq, (0, 0), 2))
    return root


@pytest.mark.slow
def test_it_counts_captions_and_shows_all_sources(data: Path, faces_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "new/look"
    result = call(
        *("--pairs", f"dense-haze={data / 'haze'}", "--pairs", f"blur={data / 'blur'}", "--hq", faces_dir),
        *("--preset", "gfpgan", "--out", out, "--size", 64, "--shown", 2),
    )
    assert f"dense-haze={data / 'haze'}: dense-haze, haze\n  3 to train on, 1 of the test split\n" in result.stdout
    assert "captions of 3 crops: 3 dense haze" in result.stdout
    assert f"blur={data / 'blur'}: hq-lq, blur\n  6 to train on\n" in result.stdout
    assert "degraded by gfpgan, face\n  6 to train on" in result.stdout
    assert "in all: 15 to train on, 1 of test splits" in result.stdout
    assert f"next: look at {out / 'pairs.png'}" in result.stdout
    assert re.fullmatch(r"10/10 pairs, .* pairs/s, in \d+ s\n", result.stderr)
    assert sorted(path.name for path in out.iterdir()) == [".degrade_kit", "pairs.json", "pairs.png"]
    found = report(out)
    assert list(found) == ["dense-haze", "blur", "face"]
    assert [source["kind"] for source in found.values()] == ["haze", "blur", "face"]
    assert found["blur"]["captioned"] == 6
    phrases = {phrase for caption in found["blur"]["captions"] for phrase in caption.split(", ")}
    assert phrases <= {"slight blur", "medium blur", "strong blur", "light haze", "slight compression"}
    sheet = decode_image((out / "pairs.png").read_bytes()).pixels
    assert sheet.shape[1] == 4 * (TILE + GAP) + GAP
    assert 3 * TILE < sheet.shape[0] < 3 * TILE + 300


def test_the_same_call_writes_the_same_bytes(data: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        call("--pairs", f"blur={data / 'blur'}", "--out", tmp_path / name, "--size", 32)
    call("--pairs", f"blur={data / 'blur'}", "--out", tmp_path / "c", "--size", 32, "--seed", 1)
    for file in ("pairs.json", "pairs.png"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        assert (tmp_path / "a" / file).read_bytes() != (tmp_path / "c" / file).read_bytes()


def test_what_cannot_be_used_is_told_with_status_3(data: Path, astronaut: Pixels, tmp_path: Path) -> None:
    root = tmp_path / "data"
    for side, top in (("hq", 0), ("lq", 5)):
        (root / side).mkdir(parents=True)
        for number in range(2):
            pixels = np.ascontiguousarray(astronaut[top * (1 - number) :][:96, 120:240])
            (root / side / f"{number}.png").write_bytes(encode_png(pixels))
        (root / side / "text.png").write_bytes(b"text")
    (root / "hq/alone.png").touch()
    result = call("--pairs", f"noise={root}", "--out", tmp_path / "out", "--size", 32, code=3)
    assert "1 to train on" in result.stdout
    assert "noise: files in no pair: 1 no LQ partner" in result.stderr
    assert "noise: pairs refused: 1 not registered, 1 not an image" in result.stderr
    found = report(tmp_path / "out")["noise"]
    assert found["skipped"] == [{"file": "hq/alone.png", "reason": "no LQ partner"}]
    assert [(entry["pair"], entry["reason"]) for entry in found["refused"]] == [
        ("0", "not registered"),
        ("text", "not an image"),
    ]
    assert "shifted by 5.0 px by phase correlation" in found["refused"][0]["detail"]
    result = call("--pairs", f"noise={root}", "--out", tmp_path / "off", "--size", 32, "--no-registration", code=3)
    assert "2 to train on" in result.stdout


def test_a_source_with_nothing_to_train_on_is_told(data: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    for side in ("hq", "lq"):
        (root / side).mkdir(parents=True)
        (root / side / "1.png").write_bytes(b"text")
    result = call("--pairs", f"noise={root}", "--out", tmp_path / "out", code=3)
    assert "0 to train on" in result.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".degrade_kit", "pairs.json"]


def test_limits_go_by_data_set_kind_or_face(data: Path, faces_dir: Path, tmp_path: Path) -> None:
    pairs = ["--pairs", f"dense-haze={data / 'haze'}", "--pairs", f"blur={data / 'blur'}", "--hq", faces_dir]
    limits = ["--limit", "haze=1", "--limit", "blur=4", "--limit", "face=2"]
    call(*pairs, *limits, "--out", tmp_path / "out", "--size", 32)
    found = {name: (source["train"], source["left_out"]) for name, source in report(tmp_path / "out").items()}
    assert found == {"dense-haze": (1, 2), "blur": (4, 2), "face": (2, 4)}
    message = call(*pairs, "--limit", "hase=1", "--out", tmp_path / "no", code=2).output
    assert "limit of `hase`: no such pairs are given; did you mean `haze`?" in message
    assert "expected a whole number" in call(*pairs, "--limit", "haze=few", "--out", tmp_path / "no", code=2).output
    assert not (tmp_path / "no").exists()


def test_a_config_file_gives_lists(data: Path, tmp_path: Path) -> None:
    config = {
        "pairs": [f"haze={data / 'haze'}", f"blur={data / 'blur'}"],
        "limit": ["blur=2"],
        "registration": False,
        "size": 32,
        "out": str(tmp_path / "out"),
    }
    (tmp_path / "look.yaml").write_text(yaml.safe_dump(config))
    call("--config", tmp_path / "look.yaml", "--seed", 3)
    assert [source["train"] for source in report(tmp_path / "out").values()] == [3, 2]
    settings = json.loads((tmp_path / "out/pairs.json").read_bytes())["settings"]
    assert settings == {"size": 32, "seed": 3, "registration": False, "limits": {"blur": 2}, "tiles": {}}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump({**config, "pairs": f"blur={data / 'blur'}"}))
    call("--config", tmp_path / "one.yaml")
    assert list(report(tmp_path / "out")) == ["blur"]
    (tmp_path / "deep.yaml").write_text(yaml.safe_dump({"pairs": [["a"]]}))
    assert "pairs: expected a list of values" in call("--config", tmp_path / "deep.yaml", code=2).output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pairs", "haze"], "'--pairs': expected KIND=DIR, got 'haze'"),
        (["--pairs", "haze=missing"], "pairs haze=missing: expected a folder, found none"),
        (["--pairs", "Haze=."], "kind of pairs: expected lower-case letters"),
        ([], "expected at least one KIND=DIR, or faces; got neither"),
        (["--hq", "missing"], "missing: No such file or directory"),
        (["--hq", ".", "--preset", "gfpgn"], "did you mean `gfpgan`?"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in call(*arguments, "--out", "out", code=2).output
    assert not (tmp_path / "out").exists()


def test_output_that_cannot_be_written_is_an_error(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = call("--pairs", f"blur={data / 'blur'}", "--size", 32, "--out", tmp_path / "file/out", code=1)
    assert "error: cannot write " in result.output


@pytest.mark.slow
def test_looking_at_pairs_loads_no_torch() -> None:
    code = (
        "import degrade_kit.pipelines.inputs.pairs, sys; "
        "print(sorted({'torch', 'transformers', 'diffusers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
