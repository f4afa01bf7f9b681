from __future__ import annotations

import base64
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from degrade_kit.analysis import page
from degrade_kit.analysis.plotset import PlotSet
from degrade_kit.image import encode_jpeg
from degrade_kit.wording import clean_text

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = [
    "<img src=x onerror=\"document.title='run'\">",
    "</script><script>document.title='run'</script>",
    "'\"`${1} @label{safe} @{x} $index &amp; 中 é.png",
    "{{ 7 * 7 }} {% raw %}",
    "$$x$$ \\(y\\)",
    "caf\udce9\n.png",
]


def thumbnail(value: int) -> bytes:
    return encode_jpeg(np.full((64, 64, 3), value % 256, np.uint8), 70)


def grid(name: str, real: bool, left: float, labels: list[str], first: int = 0) -> PlotSet:
    """Points one above the other at x = `left`, each with a thumbnail of its own grey."""
    points = np.array([(left, float(y)) for y in range(len(labels))])
    thumbnails = [thumbnail(first + 4 * number) for number in range(len(labels))]
    return PlotSet(name=name, real=real, points=points, labels=labels, thumbnails=thumbnails)


@pytest.mark.slow
def test_two_processes_write_the_same_bytes_and_keep_names_that_look_like_ids(tmp_path: Path) -> None:
    name = "0b81fb70-341e-4353-a7cc-182448aa6e9b"
    sets = [grid("real", True, 0.0, ["a", name]), grid("made", False, 1.0, ["b"])]
    page.write_page(sets, tmp_path / "page.html", title="t", note="n")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert name in text
    assert re.findall(page._UUID, text.replace(name, "")) == []  # pyright: ignore[reportPrivateUsage]
    assert sorted(set(re.findall(r"element-\d", text))) == ["element-0", "element-1", "element-2"]
    assert '"docid":"element-' in text


@pytest.mark.slow
def test_a_second_page_of_a_process_has_the_same_bytes_and_its_models_their_names(tmp_path: Path) -> None:
    sets = [grid("real", True, 0.0, ["a", "p1001"]), grid("made", False, 1.0, ["b"])]
    for name in ("one", "two"):
        page.write_page(sets, tmp_path / f"{name}.html", title="t", note="n")
    text = (tmp_path / "one.html").read_text("utf-8")
    assert text == (tmp_path / "two.html").read_text("utf-8")
    assert '"p1001"' in text, "the name of an image is left alone"
    assert re.search(r"""["']p1\d\d\d["']""", text.replace('"p1001"', "")) is None, "no model has its old name"
    [root] = set(re.findall(r'data-root-id="(p\d+)"', text))
    assert re.search(rf'"roots":\{{"{root}":"element-', text)
    assert f'"id":"{root}"' in text


def sources_of(text: str) -> list[str]:
    """What the elements of a page would load."""
    found: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend(value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action"))

    Parser().feed(text)
    return found


def source_data(text: str) -> dict[str, Any]:
    """The columns of the page's data source."""
    scripts = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)
    found: list[dict[str, Any]] = []

    def walk(node: object) -> None:
        if isinstance(node, dict):
            if node.get("name") == "ColumnDataSource":
                found.append(dict(node["attributes"]["data"]["entries"]))
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk(json.loads(html.unescape(scripts[0])))
    [data] = found
    return data


@pytest.mark.slow
def test_page_names_nothing_to_load_and_forbids_it(tmp_path: Path) -> None:
    page.write_page(
        [grid("a", False, 0, HOSTILE), grid("b", True, 1, ["x"])], tmp_path / "umap.html", title="t", note="n"
    )

    text = (tmp_path / "umap.html").read_text("utf-8")
    assert sources_of(text) == []
    assert "default-src 'none'" in text


@pytest.mark.slow
def test_hostile_names_are_escaped_everywhere(tmp_path: Path) -> None:
    for name in HOSTILE:
        sets = [grid(name, False, 0, HOSTILE), grid(name, True, 1, HOSTILE)]
        page.write_page(sets, tmp_path / "umap.html", title=name, note=name)
        text = (tmp_path / "umap.html").read_text("utf-8")

        assert "<img src=x" not in text
        assert "<script>document" not in text
        data = source_data(text)
        assert [html.unescape(label) for label in data["label"][:5]] == HOSTILE[:5]
        assert not any("<" in value for value in (*data["label"], *data["set"]))


@pytest.mark.slow
def test_thumbnails_are_capped_evenly_and_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MAX_THUMBNAILS", 20)
    sets = [
        grid("small", True, 0, ["s"] * 4),
        grid("large", False, 1, ["l"] * 30),
        grid("larger", False, 2, ["m"] * 60),
        PlotSet(name="none", real=False, points=np.zeros((3, 2)), labels=["n"] * 3, thumbnails=[]),
    ]

    def kept(seed: int) -> list[bool]:
        page.write_page(sets, tmp_path / "umap.html", title="t", note="n", seed=seed)
        text = (tmp_path / "umap.html").read_text("utf-8")
        assert "20 of 94 images have a thumbnail here" in text
        data = source_data(text)
        has = [value.startswith("data:image/jpeg") for value in data["thumbnail"]]
        counts = {name: sum(h for h, s in zip(has, data["set"], strict=True) if s == name) for name in data["set"]}
        assert counts == {"small": 4, "large": 8, "larger": 8, "none": 0}
        return has

    assert kept(0) == kept(0)
    assert kept(0) != kept(1)


def test_page_without_real_sets_or_thumbnails_is_written(tmp_path: Path) -> None:
    alone = PlotSet(name="a", real=False, points=np.zeros((1, 2)), labels=["x"], thumbnails=[])
    page.write_page([alone], tmp_path / "umap.html", title="t", note="n")

    assert "have a thumbnail here" not in (tmp_path / "umap.html").read_text("utf-8")


# -------------------------------------------------------------------------------------------------------------- browser


# Pixels of a data point, in the window.
LOCATE = """([x, y]) => {
    const view = Bokeh.index.roots[0]
    const frame = view.canvas_view.el.getBoundingClientRect()
    return [frame.left + view.frame.x_scale.compute(x), frame.top + view.frame.y_scale.compute(y)]
}"""


@pytest.mark.long
def test_page_works_in_chromium(tmp_path: Path, browser: Browser) -> None:
    sets = [
        grid("source <b>one</b>", False, 0, HOSTILE, 10),
        grid("$$two$$", False, 2, [f"two {n}" for n in range(6)], 60),
        grid("real", True, 4, [f"real {n}" for n in range(6)], 110),
    ]
    page.write_page(sets, tmp_path / "umap.html", title="title", note="note")
    url = (tmp_path / "umap.html").as_uri()
    tab = browser.new_page(viewport={"width": 1200, "height": 1000})
    requests: list[str] = []
    console: list[str] = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda message: console.append(f"{message.type}: {message.text}"))
    tab.on("pageerror", lambda error: console.append(f"error: {error}"))
    tab.goto(url)
    tab.wait_for_function("window.Bokeh?.index?.roots?.[0]?.frame && Bokeh.documents[0].is_idle")

    def move(x: float, y: float, steps: int = 4) -> None:
        tab.mouse.move(*tab.evaluate(LOCATE, [x, y]), steps=steps)

    # Each hostile name is shown as it is, with its thumbnail and its set.
    for number, name in enumerate(HOSTILE):
        move(1, number)
        move(0, number)
        tip = tab.locator(f'div:has(> img[src="{data_uri(thumbnail(10 + 4 * number))}"])')
        tip.wait_for(state="visible")
        assert tip.locator("img").evaluate("image => image.naturalWidth") == 64
        shown = " ".join(tip.inner_text().split())
        assert shown == " ".join(f"{clean_text(name)} source <b>one</b>".split())

    # A lasso around three points of each of the two right columns.
    move(1, 1.5)
    tab.mouse.down()
    for corner in [(1, 4.5), (4.4, 4.5), (4.4, 1.5), (1, 1.5)]:
        move(*corner, steps=6)
    tab.mouse.up()
    tab.locator("#gallery figure").first.wait_for()
    assert tab.locator("#gallery h2").all_inner_texts() == ["real: 3 of 6", "$$two$$: 3 of 6"]
    assert tab.locator("#gallery figcaption").all_inner_texts() == [
        f"{s} {n}" for s in ("real", "two") for n in (2, 3, 4)
    ]
    images = tab.locator("#gallery img").evaluate_all("images => images.map(image => image.src)")
    assert images == [data_uri(thumbnail(first + 4 * n)) for first in (110, 60) for n in (2, 3, 4)]

    tab.keyboard.press("Escape")
    tab.locator("#gallery", has_text="Nothing is selected.").wait_for()

    # The real set comes first in the legend and is drawn last.
    visible = "Bokeh.documents[0].roots()[0].renderers.map((renderer) => renderer.visible)"
    assert tab.evaluate(visible) == [True, True, True]
    tab.locator(".bk-Legend .bk-item").first.click()
    assert tab.evaluate(visible) == [True, True, False]

    # The wheel zooms.
    span = "(() => { const range = Bokeh.documents[0].roots()[0].x_range; return range.end - range.start })()"
    before = tab.evaluate(span)
    move(2, 2.5)
    tab.mouse.wheel(0, -300)
    tab.wait_for_function(f"{span} < {before}")

    assert requests == [url]
    assert [line for line in console if not re.match(r"(log|info): \[bokeh", line)] == []
    assert tab.title() == "title"


def data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
