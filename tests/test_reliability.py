"""The page of promises is made from the tests and the counted runs, and invents nothing."""

from __future__ import annotations

import json
from pathlib import Path

from tests.by_path import load_module

ROOT = Path(__file__).resolve().parents[1]


def test_the_page_is_up_to_date() -> None:
    measured = json.loads((ROOT / "docs/reliability.json").read_text("utf-8"))
    written = (ROOT / "docs/reliability.md").read_text("utf-8")
    assert written == load_module(ROOT / "docs" / "generate_reliability.py").render_reliability(measured), (
        "docs/reliability.md is stale: run python docs/generate_reliability.py"
    )


def test_what_was_not_run_is_said_and_not_invented() -> None:
    page = load_module(ROOT / "docs" / "generate_reliability.py").render_reliability({})
    assert page.count("*not run yet*") == 2
    found = load_module(ROOT / "docs" / "generate_reliability.py").render_reliability(
        {
            "fuzz_examples": {"manifest": 1200, "recipe": 30},
            "fuzz_seconds": {"manifest": 7.4},
            "kills": {"synth": {"SIGKILL": 40}, "export": {"SIGKILL": 2, "SIGTERM": 3}},
        }
    )
    assert "| `manifest` | 1,200 | 7 |\n| `recipe` | 30 | not run yet |\n| **all** | 1,230 | 7 |" in found
    assert "| `export` | 2 | 3 |\n| `synth` | 40 | not run yet |\n| **all** | 42 | 3 |" in found
    assert "*not run yet*" not in found


def test_tests_are_counted_once_and_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_a.py").write_text(
        "def test_one(): ...\ndef helper(): ...\n@row(3)\ndef a_row(): ...\nclass C:\n    def test_two(self): ...\n"
    )
    module = load_module(ROOT / "docs" / "generate_reliability.py")
    assert module.count_tests(("tests/test_a.py", "tests/test_*.py", "tests/none.py"), tmp_path) == 3
    promise = module.Promise("It works.", "By trying.", ("tests/test_b.py",))
    assert module._tests(promise, tmp_path) == "none yet"
    assert [module._about(count) for count in (3, 10, 47)] == ["3", "10 or more", "40 or more"]
    for promise in module.PROMISES:
        assert any(list(ROOT.glob(pattern)) for pattern in promise.tests), promise.text


def test_counts_of_runs_are_counts() -> None:
    measured = json.loads((ROOT / "docs/reliability.json").read_text("utf-8"))
    assert all(isinstance(count, int) and count > 0 for count in measured.get("fuzz_examples", {}).values())
    assert all(count > 0 for counts in measured.get("kills", {}).values() for count in counts.values())
