"""`degrade-kit pairs from-photos`: the photo's own pixels beside what a restorer made of them, or why not."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

import degrade_kit.pipelines.inputs.align
from degrade_kit.align import Face
from degrade_kit.errors import ConfigError, RunError
from degrade_kit.flipnet.pairs import read_pairs
from degrade_kit.flipnet.registration import check_pairs
from degrade_kit.image import decode_image
from degrade_kit.pipelines.cli import main
from degrade_kit.pipelines.inputs.photo_pairs import PhotoPairsConfig, make_photo_pairs, plan_photo_pairs
from degrade_kit.pipelines.inputs.restorers import find_restorer, load_restorer
from degrade_kit.progress import Progress
from tests.degrade_kit.test_upscale import network

Pixels = npt.NDArray[np.uint8]
PEOPLE = [f"{first}_{last}" for first in ("Ann", "Bo", "Cy", "Di") for last in ("Au", "Ek", "Ix")]


def detect(pixels: Pixels) -> list[Face]:
    """A face in the middle, with the eyes a fifth of the photo's height apart."""
    height, width = pixels.shape[:2]
    points = np.array([[-0.5, 0], [0.5, 0], [0, 0.5], [-0.4, 1], [0.4, 1]]) * height / 5 + [width / 2, height * 0.45]
    return [Face(points, 0.9, (0, 0, width, height))]


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(degrade_kit.pipelines.inputs.align, "packaged_detector", lambda: detect)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, astronaut: Pixels) -> Path:
    """Two photographs of each of twelve people, JPEG, 150 x 130 pixels."""
    folder = tmp_path_factory.mktemp("photos")
    for number, person in enumerate(PEOPLE):
        for shot in (1, 2):
            part = astronaut[number * 6 : number * 6 + 260, 80 + 8 * shot : 380 + 8 * shot]
            small = cv2.resize(part, (150, 130), interpolation=cv2.INTER_AREA)
            assert cv2.imwrite(
                str(folder / f"{person}_{shot:04}.jpg"), small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 70]
            )
    return folder


@pytest.fixture(scope="module")
def enlarger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that repeats every pixel four times in both directions: what it makes comes back as it was."""
    path = tmp_path_factory.mktemp("network") / "x4.onnx"
    path.write_bytes(network(4, 1.0))
    return path


@pytest.fixture
def config(photos: Path, enlarger: Path, tmp_path: Path) -> PhotoPairsConfig:
    return PhotoPairsConfig(
        real=(("press", str(photos)),), out_dir=tmp_path / "out", restorer=str(enlarger), size=64, test_share=0.3
    )


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def pixels_of(path: Path) -> Pixels:
    return decode_image(path.read_bytes()).pixels


def run(code: int, *words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.output


def command(folder: Path, script: str) -> str:
    path = folder / "restore.py"
    path.write_text(f"import sys, pathlib, shutil\nsource, target = map(pathlib.Path, sys.argv[1:])\n{script}\n")
    return f"{sys.executable} {path} {{input}} {{output}}"


# ---------------------------------------------------------------------------------------------------------------- pairs


@pytest.mark.slow
def test_lq_is_the_photo_as_it_is_on_its_jpeg_grid_and_hq_what_was_restored(
    config: PhotoPairsConfig, photos: Path
) -> None:
    report = make_photo_pairs(config)

    lines = lines_of(config.out_dir / "pairs.jsonl")
    assert report.pairs == len(lines) == 24
    for line in lines:
        left, top, width, height = line["cut"]
        assert left % 8 == top % 8 == 0
        assert (width, height) == (64, 64)
        photo = pixels_of(photos / line["source"])
        assert np.array_equal(pixels_of(config.out_dir / line["lq"]), photo[top : top + 64, left : left + 64])
        assert np.array_equal(pixels_of(config.out_dir / line["hq"]), pixels_of(config.out_dir / line["lq"]))
        assert line["caption"] == "clean, press"


@pytest.mark.slow
def test_the_folder_is_one_of_pairs_and_no_person_is_on_both_sides(config: PhotoPairsConfig) -> None:
    report = make_photo_pairs(config)

    found = read_pairs("press", config.out_dir / "press")
    assert (found.kind, found.skipped, len(found.pairs)) == ("press", (), 24)
    assert check_pairs(found.pairs)[1] == []
    sides = {split: {pair.lq_path.name[:5] for pair in found.split(split)} for split in ("train", "test")}
    assert min(len(people) for people in sides.values()) > 0
    assert not sides["train"] & sides["test"]
    (kind,) = report.kinds
    assert (kind.people, kind.train, kind.test) == (12, len(found.split("train")), len(found.split("test")))


@pytest.mark.slow
def test_a_person_of_two_sets_is_on_one_side(config: PhotoPairsConfig, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "more")
    make_photo_pairs(replace(config, real=(*config.real, ("web", str(tmp_path / "more")))))

    splits: dict[str, set[str]] = {}
    for line in lines_of(config.out_dir / "pairs.jsonl"):
        splits.setdefault(line["person"], set()).add(line["split"])
    assert len(splits) == 12
    assert all(len(found) == 1 for found in splits.values())


@pytest.mark.slow
def test_a_rerun_makes_what_is_missing_and_nothing_else(config: PhotoPairsConfig, photos: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(photos, mine)
    config = replace(config, real=(("press", str(mine)),))
    make_photo_pairs(config)
    lines = lines_of(config.out_dir / "pairs.jsonl")
    before = {line["lq"]: (config.out_dir / line["lq"]).stat().st_mtime_ns for line in lines}
    lost, other = lines[3]["lq"], lines[4]["lq"]
    (config.out_dir / lost).unlink()
    (mine / "broken.jpg").write_bytes(b"no photo")

    report = make_photo_pairs(config)

    assert (report.resumed, report.pairs) == (23, 24)
    assert report.kinds[0].refused == {"not an image": 1}
    assert lines_of(config.out_dir / "pairs.jsonl") == lines
    assert (config.out_dir / lost).stat().st_mtime_ns != before[lost]
    assert (config.out_dir / other).stat().st_mtime_ns == before[other]


@pytest.mark.slow
def test_a_killed_run_goes_on(config: PhotoPairsConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_photo_pairs(replace(config, out_dir=config.out_dir / "whole"))
    counts: list[int] = []

    def stop(progress: Progress) -> None:
        counts.append(progress.done)
        if len(counts) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_photo_pairs(replace(config, out_dir=config.out_dir / "cut"), progress=stop)
    report = make_photo_pairs(replace(config, out_dir=config.out_dir / "cut"))

    assert report.resumed == counts[-1] == 16
    assert report.kinds == whole.kinds
    for name in ("pairs.jsonl", "pairs.png", "pairs_failures.jsonl"):
        assert (config.out_dir / "cut" / name).read_bytes() == (config.out_dir / "whole" / name).read_bytes()


@pytest.mark.slow
def test_what_disagrees_is_refused_counted_shown_and_not_tried_again(config: PhotoPairsConfig, tmp_path: Path) -> None:
    dark = tmp_path / "dark.onnx"
    dark.write_bytes(network(4, 0.7))
    config = replace(config, restorer=str(dark))

    report = make_photo_pairs(config)
    again = make_photo_pairs(config)

    assert report.pairs == 0
    assert report.kinds[0].refused == {"colours changed": 24}
    assert (again.resumed, again.kinds) == (24, report.kinds)
    assert not (config.out_dir / "press").exists()
    for line in lines_of(config.out_dir / "pairs_failures.jsonl"):
        lq, hq = np.split(pixels_of(config.out_dir / line["shown"]), 2, axis=1)
        assert np.abs(hq - 0.7 * lq).max() <= 1
    sheet = pixels_of(config.out_dir / "pairs.png")
    assert sheet.shape[0] > 6 * 128  # six of them, below each other


@pytest.mark.slow
def test_another_configuration_is_told_apart(config: PhotoPairsConfig, photos: Path) -> None:
    make_photo_pairs(config)

    with pytest.raises(RunError, match="size: there 64, now 72"):
        plan_photo_pairs(replace(config, size=72))
    with pytest.raises(ConfigError, match="is inside the input --real"):
        plan_photo_pairs(replace(config, out_dir=photos / "out"))
    for name, expected in (("lol", "name of a data set of pairs"), ("Press", "lower-case letters")):
        with pytest.raises(ConfigError, match=expected):
            replace(config, real=((name, str(photos)),))


# ------------------------------------------------------------------------------------------------------------ restorers


@pytest.mark.slow
def test_a_command_restores(config: PhotoPairsConfig, tmp_path: Path) -> None:
    text = command(tmp_path, "for path in source.iterdir():\n    shutil.copy(path, target / f'{path.stem}_out.png')")

    report = make_photo_pairs(replace(config, restorer=text))

    assert report.pairs == 24


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("sys.exit('no GPU here')", "ended with status 1: no GPU here"),
        ("pass", "it wrote no image 0000.png to {output}"),
        ("(target / '0000.png').write_bytes(b'none')", "what it wrote cannot be read: not an image"),
    ],
)
def test_a_command_that_does_not_work_ends_the_run_with_what_it_said(
    config: PhotoPairsConfig, tmp_path: Path, script: str, expected: str
) -> None:
    with pytest.raises(RunError) as error:
        make_photo_pairs(replace(config, restorer=command(tmp_path, script)))
    assert expected in str(error.value)


def test_a_restorer_that_is_not_there_is_said(tmp_path: Path) -> None:
    for text, expected in (
        ("realesrgan-x4pluss", "did you mean `realesrgan-x4plus`"),
        (str(tmp_path), "no restorer"),
        (str(tmp_path / "none.onnx"), "cannot read"),
        ("restore {input}", "expected a command with both {input} and {output}"),
        ("no-such-program {input} {output}", "there is no program no-such-program"),
        ("'half {input} {output}", "cannot be parted into words"),
    ):
        with pytest.raises(ConfigError) as error:
            find_restorer(text)
        assert expected in str(error.value)


@pytest.mark.slow
def test_a_restoration_model_restores(config: PhotoPairsConfig, tmp_path: Path, faces_dir: Path) -> None:
    """The loop of both modes: what `train-restore` made is the restorer that degradation mode learns from."""
    from tests.pipelines.models.runs import make_shards, write_config

    shards = make_shards(faces_dir, tmp_path / "shards")
    settings = write_config(tmp_path / "config.yaml", restoration={"num_steps": 1})
    words = [
        "--shards",
        shards,
        "--config",
        settings,
        "--out",
        tmp_path / "run",
        "--embedding",
        "none",
        "--device",
        "cpu",
    ]
    run(0, "train-restore", *words)

    restorer = find_restorer(str(tmp_path / "run"))
    (made,) = load_restorer(restorer)([np.full((64, 64, 3), 128, np.uint8)])

    assert (restorer.kind, len(restorer.digest)) == ("model", 12)
    assert made.shape == (32, 32, 3)  # trained at 32 pixels: smaller than the photo's face, which is refused
    report = make_photo_pairs(replace(config, restorer=str(tmp_path / "run")))
    assert report.kinds[0].refused == {"restored to another shape": 24}


# -------------------------------------------------------------------------------------------------------------- command


@pytest.mark.slow
def test_the_command_says_what_there_is_and_what_comes_next(photos: Path, enlarger: Path, tmp_path: Path) -> None:
    words = ("pairs", "from-photos", "--real", f"press={photos}", "--restorer", enlarger, "--out", tmp_path / "out")

    plan = run(0, *words, "--dry-run")
    assert "press: 24 photos, 12 people" in plan
    assert not (tmp_path / "out").exists()

    said = run(0, *words, "--workers", 0)
    assert f"--config photos --pairs press={tmp_path / 'out' / 'press'}" in said
    assert "captions: 24 clean, 24 press" in said
    assert "24 photos done before" in run(0, *words)


def test_photos_without_a_name_are_photos_and_nothing_found_is_no_success(enlarger: Path, tmp_path: Path) -> None:
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    assert cv2.imwrite(str(tiny / "a.png"), np.zeros((40, 40, 3), np.uint8))

    said = run(3, "pairs", "from-photos", "--real", tiny, "--restorer", enlarger, "--out", tmp_path / "out")

    assert "photo: 0 pairs to train on and 0 held out, of 1 photo" in said
    assert "1 face too small" in said


def test_pairs_itself_is_the_command_that_it_was(tmp_path: Path) -> None:
    assert "Count, check, caption and show" in run(0, "pairs", "--help")
    assert "photos alone" in run(0, "pairs", "from-photos", "--help")
    assert "No such option" in run(2, "pairs", "--restorer", "x", "--out", tmp_path)
