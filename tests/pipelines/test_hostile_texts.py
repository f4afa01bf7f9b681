"""Names, prompts and recipes of others in what commands write: a parser finds text, and nothing that the text makes."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from degrade_kit.analysis.judge import METRICS
from degrade_kit.analysis.protocols import DEFAULT, protocol_named
from degrade_kit.analysis.report import Best, Section, Table, to_html, to_markdown
from degrade_kit.bank import Bank
from degrade_kit.files import parse_yaml, plain_yaml
from degrade_kit.pipelines.card import card_text
from degrade_kit.pipelines.cli import main
from degrade_kit.pipelines.distribution import fit_bank
from degrade_kit.pipelines.distribution.photographs import PhotoConfig
from degrade_kit.pipelines.evaluation.report import MeasuredImage, per_image
from degrade_kit.shards import LQ_ONLY, open_shards
from degrade_kit.statistics import Statistics
from degrade_kit.wording import html_text, markdown_code, markdown_text
from tests.pipelines.models.runs import make_shards

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "[me](javascript:alert(1))",
    "![x](http://evil/x.png)",
    "a | b | c",
    "line\n\n# owned\n\n- item",
    "```\n# out\n<script>x</script>",
    "~~~\nout",
    "# heading",
    "1. first",
    "- item",
    "--- ",
    "===",
    "> quote",
    "</td></table><h1>x",
    "\\<b>",
    "`code`",
    '"quoted", and more',
    "=cmd()|' /C calc'!A0",
    "caf\udce9 \x1b[31m",
]


class Tags(HTMLParser):
    """Collects tags and attributes of a page, and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    return tags


def rendered(text: str) -> str:
    """Markdown as HTML, with raw HTML and tables, as the most permissive viewers show it."""
    parser = pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True}).enable("table")
    return parser.render(text)


def squeezed(text: str) -> str:
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())


@pytest.mark.parametrize("hostile", HOSTILE)
def test_markdown_shows_text_as_it_is(hostile: str) -> None:
    for stars in (False, True):
        text = markdown_text(hostile, stars=stars)
        assert "\n" not in text
        cells = parsed(rendered(f"| a | b |\n|---|---|\n| {text} | end |\n"))
        assert cells.tags == ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"]
        paragraph, heading = parsed(rendered(text)), parsed(rendered(f"# {text}"))
        assert (paragraph.tags, heading.tags) == (["p"], ["h1"])
        assert "".join(paragraph.text).strip() == squeezed(hostile)
    code = parsed(rendered(markdown_code(hostile, "yaml") + "\n\nend"))
    assert code.tags == ["pre", "code", "p"]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_html_shows_text_as_it_is(hostile: str) -> None:
    found = parsed(f'<p title="{html_text(hostile)}">{html_text(hostile)}</p>')
    assert (found.tags, found.attributes) == (["p"], {"title"})
    assert "".join(found.text) == hostile.encode("utf-8", "backslashreplace").decode()


@pytest.mark.parametrize("hostile", HOSTILE)
def test_reports_hold_the_tags_of_the_program_alone(hostile: str) -> None:
    def sections(word: str) -> list[Section]:
        return [Section(word, (word, Table((word, "n"), ((word, "1"), (Best(word), "2")))))]

    for write in (to_html, lambda title, found: rendered(to_markdown(title, found))):
        ours, theirs = (parsed(write(word, sections(word))) for word in ("name", hostile))
        assert ours.tags == theirs.tags
        assert ours.attributes == theirs.attributes


def manifest_of(shards: Path) -> dict[str, Any]:
    return json.loads((shards / "manifest.json").read_bytes())


@pytest.mark.parametrize("hostile", HOSTILE)
def test_the_card_of_a_data_set_shows_texts_of_others_as_text(hostile: str, card_set: Path) -> None:
    """All of a manifest, a configuration and statistics may be somebody else's in `export --to lq-only` and `join`."""
    manifest: dict[str, Any] = {**manifest_of(card_set), "mode": "mix", "mix": 0.5}

    def card(word: str) -> str:
        statistics = open_shards(card_set).statistics()
        statistics.prompts = {word: 3}
        statistics.ops = {word: 2, "flipnet": 1}
        named = {"recipe": word, "recipe_digest": word, "flipnet": word, "extensions": ["hq.png", "json", word]}
        versions = {**manifest["versions"], "degrade_kit": word}
        resolved = {
            "recipe": {"name": word, "source": word, "steps": [{word: word}]},
            "flipnet": {"digest": word, "prompts": [word], "sampling": {}, "versions": {}, "licence": word},
        }
        lq_only = {"digest": word, "extensions": [], "shards": []}
        return card_text({**manifest, **named, "versions": versions, LQ_ONLY: lq_only}, statistics, resolved)

    ours, theirs = (card(word).split("---\n", 2) for word in ("name", hostile))
    assert yaml.safe_load(theirs[1]).keys() == yaml.safe_load(ours[1]).keys()
    found, expected = parsed(rendered(theirs[2])), parsed(rendered(ours[2]))
    assert found.tags == expected.tags
    assert found.attributes == expected.attributes


@pytest.fixture(scope="module")
def card_set(faces_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(faces_dir, tmp_path_factory.mktemp("card") / "set")


@pytest.mark.slow
def test_synth_writes_such_a_card(faces_dir: Path, tmp_path: Path) -> None:
    recipe = {"name": HOSTILE[0], "source": f"{HOSTILE[2]}\n{HOSTILE[6]}", "steps": [{"blur": {"sigma": [1, 2]}}]}
    (tmp_path / "theirs.yaml").write_text(yaml.safe_dump(recipe))
    words = ["synth", "--hq", faces_dir, "--shards", tmp_path / "out", "--preset", tmp_path / "theirs.yaml"]
    result = CliRunner().invoke(main, [str(word) for word in (*words, "--size", 32, "--workers", 0)])
    assert result.exit_code == 0, result.output
    tags = parsed(rendered((tmp_path / "out/README.md").read_text("utf-8").split("---\n", 2)[2])).tags
    assert not {"script", "a"} & set(tags)
    assert tags.count("img") == 1, "the preview"


@pytest.mark.parametrize("hostile", HOSTILE)
def test_the_report_of_a_bank_shows_names_as_text(hostile: str) -> None:
    none = SimpleNamespace(kid=None, matched=None, auc=None)

    def page(word: str) -> Tags:
        compared: Any = SimpleNamespace(source=word, num_source=1, numbers=none, null=none)
        photographs = SimpleNamespace(summary=lambda: {word: 1})
        config = SimpleNamespace(photo=PhotoConfig(size=256))
        plan: Any = SimpleNamespace(config=config, judge_faces=[], photographs=photographs)
        bank, failures = Bank(word, word, ()), [(word, word, word)]
        return parsed(rendered(fit_bank._page(bank, [], [], failures, (compared, compared), None, plan)))

    ours, theirs = page("name"), page(hostile)
    assert theirs.tags == ours.tags
    assert theirs.attributes == ours.attributes


def test_tables_for_machines_give_names_back() -> None:
    names = [name for name in HOSTILE if "\udce9" not in name]  # which `display_name` has spelt out by then
    metric = next(iter(METRICS))
    text = per_image([MeasuredImage(name, {metric: 1.0}, "") for name in names], protocol_named(DEFAULT))
    assert [row["image"] for row in csv.DictReader(io.StringIO(text, newline=""))] == names


def test_the_points_of_a_picture_give_names_back() -> None:
    from degrade_kit.pipelines.distribution.report import _csv

    names = [name for name in HOSTILE if "\udce9" not in name]
    text = "".join(f"{_csv(name)},x\n" for name in names)
    assert [row[0] for row in csv.reader(io.StringIO(text, newline=""))] == names


@pytest.mark.parametrize("hostile", [*HOSTILE, "!!python/object:os.system", "*alias", "&anchor", "{a: b}", "null"])
def test_yaml_gives_texts_back(hostile: str) -> None:
    text = plain_yaml({"a": hostile, hostile: [hostile]})
    assert parse_yaml(text.encode().decode(), "x") == {"a": hostile, hostile: [hostile]}


def test_no_other_code_escapes_for_pages() -> None:
    root = Path(__file__).resolve().parents[2]
    modules = [
        path
        for folder in ("degrade_kit", "analysis", "restore", "pipelines")
        for path in root.glob(f"{folder}/**/*.py")
    ]
    importing = {
        path.name for path in modules if re.search(r"^import html\b|from html import", path.read_text(), re.MULTILINE)
    }
    assert importing == {"wording.py"}
    assert Statistics().prompts == {}
