"""The site is built of all pages without a warning, and the notebook runs as it stands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.by_path import load_module
from tests.test_docs import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser


hooks = load_module(ROOT / "docs" / "site_hooks.py")


def test_links_and_lists_are_made_those_of_the_site() -> None:
    text = "See [a](../LICENSE), [b](cli.md#x), [c](https://h/x), [d](#e), [f](first-steps.ipynb):\n- one\n- two\n\n"
    code = "```text\nx\n- [a](../LICENSE)\n```"
    links = "See [a](source/LICENSE.txt), [b](cli.md#x), [c](https://h/x), [d](#e), [f](first-steps.md):"
    assert hooks.for_site(text + code, "docs/a.md") == f"{links}\n\n- one\n- two\n\n{code}"
    assert (
        hooks.for_site("[x](../cli.md) [y](../../README.md)", "docs/trainers/a.md") == "[x](../cli.md) [y](../index.md)"
    )
    assert hooks.for_site("![p](docs/images/p.jpg) [q](docs/cli.md)", "README.md") == "![p](images/p.jpg) [q](cli.md)"


def test_every_page_is_in_the_navigation_once() -> None:
    listed = re.findall(r"\S+\.md\b", (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:")[2])
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(listed) == sorted([*pages, "first-steps.md", *hooks.PAGES.values()])


@pytest.mark.long
def test_the_site_is_built_without_a_warning(tmp_path: Path, browser: Browser) -> None:
    pytest.importorskip("material", reason="needs the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("requestfailed", lambda request: errors.append(request.url))
    page.goto((tmp_path / "site/clusters.html").as_uri())
    assert page.locator("nav.md-tabs a").all_inner_texts() == [
        *("Home", "Tutorials", "How to", "Reference", "Explanation", "Benchmarks", "About")
    ]
    page.get_by_role("link", name="examples/kuberay.yaml").first.click()
    assert yaml.safe_load(page.locator("body").inner_text())["kind"] == "RayJob"
    page.goto((tmp_path / "site/index.html").as_uri())
    picture = page.locator("article img").first
    assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
    assert errors == []


@pytest.mark.long
def test_the_notebook_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    shown: list[object] = []
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: shown.append(matplotlib.pyplot.gcf()))
    printed: list[str] = []
    names: dict[str, Any] = {"print": lambda *words: printed.append(" ".join(map(str, words)))}
    notebook = json.loads((ROOT / "docs/first-steps.ipynb").read_text("utf-8"))
    assert not any(cell.get("outputs") for cell in notebook["cells"])  # none is stored, so none is stale
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    matplotlib.pyplot.close("all")
    assert len(shown) == 2
    assert any("digest" in line for line in printed)
