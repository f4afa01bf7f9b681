"""The page of a data set: its files, its text, and what it does in a real browser."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

import degrade_kit as dk
from degrade_kit.image import decode_image, encode_png
from degrade_kit.pipelines.cli import main
from degrade_kit.pipelines.dataset.view import view

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = "<img src=x onerror=\"document.title='run'\">'& 中.png"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, astronaut: npt.NDArray[np.uint8]) -> Path:
    """Three faces of 64 pixels, two LQ images of each, one face with a name that would be a tag."""
    root = tmp_path_factory.mktemp("view")
    (root / "faces").mkdir()
    for number, name in enumerate(("a.png", HOSTILE, "c.png")):
        pixels = np.ascontiguousarray(astronaut[40 * number : 40 * number + 64, 180:244])
        (root / "faces" / name).write_bytes(encode_png(pixels))
    recipe = root / "mixed.yaml"
    recipe.write_text(
        "name: mixed\nsteps:\n- {blur: {sigma: [1, 3], prob: 0.5}}\n- {resize: {scale: [2, 4]}}\n"
        "- {jpeg: {quality: [30, 60]}}\n- {resize: {scale: 1}}\n"
    )
    dk.synthesize(root / "faces", root / "out", preset=recipe, variants=2, size=64, workers=0)
    return root


@pytest.fixture(scope="module")
def page(made: Path) -> Path:
    view(made / "out", made / "page")
    return made / "page"


def entries_of(page: Path) -> list[dict[str, Any]]:
    text = (page / "index.html").read_text("utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_images_of_the_page_are_those_of_the_data_set(made: Path, page: Path) -> None:
    entries = entries_of(page)
    assert len(entries) == 6
    for sample in dk.open_shards(made / "out").samples():
        for variant in range(2):
            [entry] = [each for each in entries if (each["key"], each["variant"]) == (sample.key, variant)]
            hq, lq = sample.pair(variant)
            np.testing.assert_array_equal(decode_image((page / entry["lq"]).read_bytes()).pixels, lq)
            np.testing.assert_array_equal(decode_image((page / entry["hq"]).read_bytes()).pixels, hq)
            assert dk.Record.from_json(entry["record"]) == sample.record(variant)
            assert entry["source"] == sample.info["source"]
            assert set(entry["kinds"]) == set(dk.kinds(sample.record(variant)))
            assert entry["severity"] == round(dk.severity(sample.record(variant), 64), 3) > 0
            assert entry["recipe"] == sample.info[f"lq{variant}_origin"]


def test_a_name_cannot_become_a_tag_and_nothing_is_fetched(page: Path) -> None:
    text = (page / "index.html").read_text("utf-8")
    assert "<img src=x" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert "default-src 'none'" in text


def test_samples_are_spread_evenly_and_a_second_page_takes_the_place_of_the_first(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "page"
    view(made / "out", out, samples=0)
    assert len(list(out.glob("*.hq.png"))) == 3
    found = view(made / "out", out, samples=1)
    assert (found.samples, found.of, found.images) == (1, 3, 2)
    assert sorted(path.name for path in out.glob("*.png")) == ["000000000.hq.png", *LQ]


LQ = ["000000000.lq0.png", "000000000.lq1.png"]


def test_a_folder_of_the_user_is_left_alone(made: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(dk.RunError, match="not empty and was not made by this command"):
        view(made / "out", tmp_path)
    with pytest.raises(dk.ConfigError, match="is inside the input SHARDS"):
        view(made / "out", made / "out/page")


def test_the_command_says_where_the_page_is(made: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["view", str(made / "out"), "--out", str(tmp_path / "p"), "--show", "2"])
    assert result.exit_code == 0, result.output
    assert f"2 samples of 3, 4 LQ images: open {tmp_path / 'p' / 'index.html'}" in result.output


def test_given_pairs_and_plain_tars_are_shown_too(made: Path, tmp_path: Path) -> None:
    dk.synthesize(made / "faces", tmp_path / "own", lq=made / "faces", size=0, workers=0)
    view(tmp_path / "own", tmp_path / "page")
    assert {entry["recipe"] for entry in entries_of(tmp_path / "page")} == {"given"}
    (tmp_path / "plain").mkdir()
    for tar in (made / "out").glob("*.tar"):
        shutil.copy(tar, tmp_path / "plain")
    view(tmp_path / "plain", tmp_path / "plain-page")
    assert len(entries_of(tmp_path / "plain-page")) == 6


@pytest.mark.long
def test_the_page_works_in_chromium(page: Path, browser: Browser) -> None:
    entries = entries_of(page)
    tab = browser.new_page(viewport={"width": 1000, "height": 800})
    said: list[str] = []
    asked: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto((page / "index.html").as_uri())

    assert tab.locator(".card:visible").count() == 6
    assert tab.locator("#count").inner_text() == "6 of 6 LQ images"
    blurred = [entry for entry in entries if "blur" in entry["kinds"]]
    assert 0 < len(blurred) < 6
    tab.select_option("#kind", "blur")
    assert tab.locator(".card:visible").count() == len(blurred)
    tab.select_option("#kind", "")
    tab.fill("#source", "onerror")
    assert tab.locator(".card:visible").count() == 2
    tab.fill("#source", "")
    middle = sorted(entry["severity"] for entry in entries)[3]
    tab.fill("#low", str(middle))
    assert tab.locator(".card:visible").count() == sum(entry["severity"] >= middle for entry in entries) < 6
    tab.fill("#low", "0")
    tab.fill("#source", "onerror")

    tab.locator(".card:visible").first.click()
    assert html.unescape(tab.locator("#name").inner_text()).startswith("000000000 · <img src=x")
    tab.wait_for_function("document.getElementById('hq').complete && document.getElementById('hq').naturalWidth > 0")
    sizes = tab.evaluate("['hq','lq'].map(id => [document.getElementById(id).naturalWidth, $(id).width])")
    assert sizes == [[64, 64], [64, 64]], "1:1"
    assert json.loads(tab.locator("#record").text_content() or "")["steps"]

    def pixel(x: int, y: int) -> list[int]:
        box = tab.locator("#frame").bounding_box()
        assert box is not None
        shot = tab.screenshot(clip={"x": box["x"], "y": box["y"], "width": 64, "height": 64})
        return decode_image(shot, min_side=1).pixels[y, x].tolist()

    opened = next(entry for entry in entries if entry["source"] == HOSTILE)
    hq, lq = (decode_image((page / opened[side]).read_bytes()).pixels for side in ("hq", "lq"))
    place = np.unravel_index(np.abs(hq.astype(int) - lq)[8:56, 8:56].sum(axis=2).argmax(), (48, 48))
    y, x = int(place[0]) + 8, int(place[1]) + 8
    tab.locator("#slider").fill("1000")
    np.testing.assert_allclose(pixel(x, y), lq[y, x], atol=2)
    tab.locator("#slider").fill("0")
    np.testing.assert_allclose(pixel(x, y), hq[y, x], atol=2)

    tab.locator("#name").click()  # the slider, which has the focus, moves by the arrows itself
    tab.keyboard.press("ArrowRight")
    assert tab.locator("#name").inner_text().endswith("LQ 1")
    tab.keyboard.press("Escape")
    assert not tab.locator("#viewer").is_visible()
    assert tab.title() != "run"
    assert said == []
    assert all(url.startswith(("file:", "data:")) for url in asked)
