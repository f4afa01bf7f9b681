"""`match`: from photographs to a data set like them, stopped and gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

import degrade_kit as dk
import degrade_kit.pipelines.match
from degrade_kit.image import encode_jpeg, encode_png
from degrade_kit.pipelines.cli import main
from degrade_kit.pipelines.match import match

SIDE = 64


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, astronaut: npt.NDArray[np.uint8]) -> Path:
    """Twelve photographs of 64 pixels, small ones enlarged and compressed, and eight HQ faces: parts of one picture."""
    root = tmp_path_factory.mktemp("match")
    for folder in ("photos", "faces"):
        (root / folder).mkdir()
    for number in range(20):
        part = np.ascontiguousarray(astronaut[12 * number : 12 * number + SIDE, 20 * number : 20 * number + SIDE])
        if number < 8:
            (root / f"faces/p{number}.png").write_bytes(encode_png(part))
            continue
        small = cv2.resize(part, (24, 24), interpolation=cv2.INTER_AREA)
        large = np.asarray(cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)
        (root / f"photos/<b>q{number}.jpg").write_bytes(encode_jpeg(large, 60))
    return root


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(places: Path, tmp_path: Path) -> None:
    said = run("match", "--real", places / "photos", "--hq", places / "faces", "--shards", tmp_path / "out",
               "--size", SIDE, "--num-faces", 8, "--workers", 0, "--dry-run")  # fmt: skip
    assert "12 of 12 photographs choose records" in said
    assert f"a bank is found, then 8 HQ faces are degraded into {tmp_path / 'out'}, 1 variant each" in said
    assert list(tmp_path.iterdir()) == []


def test_a_flipnet_is_searched_with(places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    found = degrade_kit.pipelines.match.fit_recipe
    monkeypatch.setattr(
        degrade_kit.pipelines.match, "fit_recipe", lambda *a, **k: asked.append(k) or found(*a, **k)
    )  # fmt: skip
    words = ["match", "--real", places / "photos", "--hq", places / "faces", "--size", SIDE, "--num-faces", 8,
             "--workers", 0, "--dry-run"]  # fmt: skip
    run(*words, "--shards", tmp_path / "out", "--flipnet", "photos")
    run(*words, "--shards", tmp_path / "out")
    assert [each.get("flipnet") for each in asked] == ["photos", None]
    said = run(*words, "--shards", tmp_path / "out", "--flipnet", tmp_path, code=2)
    assert "not a FlipNet" in said


def test_too_few_photographs_are_one_error(places: Path, tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    photo = next((places / "photos").iterdir())
    (tmp_path / "few/a.jpg").write_bytes(photo.read_bytes())
    said = run("match", "--real", tmp_path / "few", "--hq", places / "faces", "--shards", tmp_path / "out",
               "--size", SIDE, "--workers", 0, code=2)  # fmt: skip
    assert "expected at least 10 photographs that can be used, found 1" in said


def test_a_url_needs_a_folder_for_the_rest(places: Path) -> None:
    with pytest.raises(dk.ConfigError, match="is no local folder, so say where the recipe and the report go"):
        match(places / "photos", places / "faces", "s3://bucket/set")


@pytest.mark.long
def test_a_run_that_was_stopped_behind_the_search_goes_on(places: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "out", tmp_path / "out-match"
    words = ["match", "--real", places / "photos", "--hq", places / "faces", "--shards", out, "--size", SIDE,
             "--num-faces", 8, "--workers", 0]  # fmt: skip

    def found(*_: Any, **__: Any) -> None:  # noqa: ANN401 (as `fit_recipe`)
        (work / "recipe.yaml").write_text("name: near\nsteps:\n- {resize: {scale: 3}}\n- {jpeg: {quality: 60}}\n"
                                          "- {resize: {scale: 1}}\n")  # fmt: skip
        for name in ("recipe.json", "recipe.md", "recipe.png"):
            (work / name).write_text("the bank's")
        raise dk.RunError("stopped")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(degrade_kit.pipelines.match, "fit_recipe", found)
        assert "error: stopped" in run(*words, code=1)
    said = run(*words)

    assert "the bank was found before" in said
    assert {sample.info["lq0_origin"].partition("@")[0] for sample in dk.open_shards(out).samples()} == {"recipe:near"}
    page = (work / "index.html").read_text("utf-8")
    assert page.count('<img src="data:image/jpeg;base64,') == 12 + 2 * 8
    assert "&lt;b&gt;q10.jpg" in page
    assert "<b>q10" not in page
    assert (work / "report/report.html").is_file()
    assert 'href="report/report.html"' in page


@pytest.mark.long
def test_photographs_become_a_data_set_and_a_page(
    places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, calls = tmp_path / "out", list[str]()
    words = ["match", "--real", places / "photos", "--hq", places / "faces", "--shards", out, "--size", SIDE,
             "--num-faces", 8, "--variants", 2, "--workers", 0]  # fmt: skip

    def stopped(*_: Any, **__: Any) -> None:  # noqa: ANN401 (as `synthesize`)
        raise dk.RunError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(degrade_kit.pipelines.match, "synthesize", stopped)
        assert "error: stopped" in run(*words, code=1)
    recipe = (tmp_path / "out-match/recipe.yaml").read_bytes()

    found = degrade_kit.pipelines.match.fit_recipe
    monkeypatch.setattr(
        degrade_kit.pipelines.match, "fit_recipe", lambda *a, **k: calls.append("fit") or found(*a, **k)
    )
    said = run(*words)

    assert "the bank was found before" in said
    assert calls == [], "the bank is not searched for again"
    assert (tmp_path / "out-match/recipe.yaml").read_bytes() == recipe
    shards = dk.open_shards(out)
    assert shards.manifest["num_samples"] == 8
    assert shards.manifest["variants"] == 2
    assert all("recipe@" in sample.info["lq0_origin"] for sample in shards.samples())
    page = (tmp_path / "out-match/index.html").read_text("utf-8")
    assert page.count('<img src="data:image/jpeg;base64,') == 12 + 2 * 8
    assert "&lt;b&gt;q10.jpg" in page
    assert "<b>q10" not in page
    assert "held out" in page or "judge" in page
    assert f"next: degrade-kit verify {out}" in said
    run("verify", out, "--workers", 0, "--replay", 1)

    other = run(*words, "--seed", 1, code=1)
    assert "holds a match of another configuration" in other
