"""Commands make of images at a URL what they make of the same images on disk."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import cv2
import fsspec
import numpy as np
import pytest
from click.testing import CliRunner

from degrade_kit.image import Pixels, encode_jpeg, encode_png
from degrade_kit.pipelines.cli import main
from degrade_kit.reader import PairReader

SIZE = 64
numbers = itertools.count()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, astronaut: Pixels) -> Path:
    """Twelve small photographs, enlarged and compressed."""
    folder = tmp_path_factory.mktemp("places") / "photos"
    folder.mkdir()
    for number, part in enumerate(parts(astronaut, 12)):
        small = cv2.resize(part, (24, 24), interpolation=cv2.INTER_AREA)
        large = np.asarray(cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), np.uint8)
        (folder / f"{number:02}.jpg").write_bytes(encode_jpeg(large, 60))
    return folder


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory, astronaut: Pixels) -> Path:
    folder = tmp_path_factory.mktemp("places") / "faces"
    folder.mkdir()
    for number, part in enumerate(parts(astronaut, 8)):
        (folder / f"{number}.png").write_bytes(encode_png(part))
    return folder


def parts(image: Pixels, count: int) -> list[Pixels]:
    return [np.ascontiguousarray(image[16 * n : 16 * n + SIZE, 20 * n : 20 * n + SIZE]) for n in range(count)]


def upload(folder: Path) -> str:
    """A URL with the same files, of the same name."""
    url = f"memory://inputs{next(numbers)}/{folder.name}"
    for path in folder.iterdir():
        fsspec.filesystem("memory").pipe_file(f"{url}/{path.name}", path.read_bytes())
    return url


def run(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


def results(out: Path, *places: object) -> dict[str, bytes]:
    """What is in a folder, or a file, without the names of the places that it was made of."""
    files = [out] if out.is_file() else [path for path in out.rglob("*") if path.is_file()]
    found: dict[str, bytes] = {}
    for path in files:
        data = path.read_bytes()
        for place in places:
            data = data.replace(str(place).encode(), b"PLACE")
        found[path.relative_to(out).as_posix()] = data
    return found


@pytest.mark.slow
def test_photographs_are_aligned(photos: Path, tmp_path: Path) -> None:
    landmarks = tmp_path / "landmarks.json"
    points = [[20, 25], [44, 25], [32, 38], [24, 48], [40, 48]]
    landmarks.write_text(json.dumps({path.name: points for path in photos.iterdir()}))
    made: list[dict[str, bytes]] = []
    for name, place in {"here": photos, "there": upload(photos)}.items():
        options = ("--out", tmp_path / name, "--size", 32, "--landmarks", landmarks, "--workers", 0)
        run("align", "--input", place, *options)
        made.append(results(tmp_path / name, place, tmp_path / name))
    assert len([name for name in made[0] if name.endswith(".png")]) == 12
    assert made[0] == made[1]


@pytest.mark.long
def test_photographs_are_a_set_to_compare_with(photos: Path, faces: Path, tmp_path: Path) -> None:
    made: list[bytes] = []
    for name, real, hq in (("here", photos, faces), ("there", upload(photos), upload(faces))):
        words = ("--synth", f"a={faces}", "--real", f"b={real}", "--hq", hq, "--out", tmp_path / name)
        run("analyze-distribution", *words, "--size", SIZE, "--projection", "pca", "--workers", 0)
        made.append(results(tmp_path / name, real, hq, faces)["metrics.json"])
    assert made[0] == made[1]


@pytest.mark.slow
def test_photographs_are_a_test_set(photos: Path, tmp_path: Path) -> None:
    made: list[dict[str, bytes]] = []
    for name, place in {"here": photos, "there": upload(photos)}.items():
        run("make-testset", "--real", place, "--size", SIZE, "--out", tmp_path / name)
        made.append(results(tmp_path / name, place))
    assert made[0] == made[1]


@pytest.mark.long
def test_a_recipe_is_fitted(photos: Path, faces: Path, tmp_path: Path) -> None:
    made: list[dict[str, bytes]] = []
    few = ("--num-faces", 2, "--candidates", 2, "--images-per-candidate", 2, "--rounds", 0, "--preset", "gfpgan")
    for name, real, hq in (("here", photos, faces), ("there", upload(photos), upload(faces))):
        out = tmp_path / name / "recipe.yaml"
        words = ("fit-recipe", "--real", real, "--hq", hq, "--out", out, "--size", SIZE, *few, "--workers", 0)
        assert CliRunner().invoke(main, [str(word) for word in words]).exit_code in (0, 1)  # 1: no better than before
        made.append(results(out.parent, real, hq))
    assert {"recipe.yaml"} < set(made[0])
    assert made[0] == made[1]


@pytest.mark.long
def test_photographs_become_a_data_set(photos: Path, faces: Path, tmp_path: Path) -> None:
    made: list[list[bytes]] = []
    for name, real, hq in (("here", photos, faces), ("there", upload(photos), upload(faces))):
        words = ("match", "--real", real, "--hq", hq, "--shards", tmp_path / name, "--size", SIZE, "--num-faces", 8)
        run(*words, "--workers", 0)
        reader = PairReader(tmp_path / name)
        made.append([reader.read(index, 0).lq for index in range(len(reader))])
    assert len(made[0]) == 8
    assert made[0] == made[1]  # in the JSON, the recipe's digest differs, since its source names the place
