"""What the report says in words follows from the numbers, and no name breaks it."""

from __future__ import annotations

from degrade_kit.analysis.comparison import Comparison, Matched, Numbers
from degrade_kit.analysis.distances import Interval
from degrade_kit.analysis.report import Section, Table, all_numbers, headline, reading, to_html, to_markdown


def numbers(kid: float, margin: float = 0.05, coverage: float = 0.5) -> Numbers:
    matched = Matched(size=100, frechet=1.0, precision=0.5, recall=0.5, density=0.5, coverage=coverage)
    return Numbers(kid=Interval(kid, kid - margin, kid + margin), matched=matched, auc=0.9)


def comparison(source: str, kid: float, coverage: float = 0.5, count: int = 200, margin: float = 0.05) -> Comparison:
    return Comparison(
        source=source,
        source_kind="synth",
        reference="LFW",
        num_source=count,
        num_reference=200,
        numbers=numbers(kid, margin, coverage),
        null=numbers(0.0, 0.02, 0.95),
        nearest=(0.5, 1.0, 2.0),
    )


def test_the_nearest_the_level_and_the_farthest_are_named() -> None:
    [said] = reading([comparison("a", 0.5), comparison("b", 0.58), comparison("c", 2.0, coverage=0.7)])
    assert said.startswith("Nearest to LFW is a, KID 0.50 [0.45, 0.55] where halves of LFW give 0.00")
    assert "b is not clearly farther" in said
    assert "farthest is c, 2.00" in said
    assert "c covers LFW best: 70% at 100 images, where its halves cover 95% of each other" in said


def test_what_reaches_the_null_is_not_called_far() -> None:
    [said] = reading([comparison("a", 0.03)])
    assert said.startswith("A cannot be distinguished from LFW itself by KID")


def test_no_cover_and_few_images_are_said() -> None:
    first, second = reading([comparison("a", 1.0, coverage=0.001, count=20)])
    assert "No source covers 1 % of LFW" in first
    assert second.startswith("Fewer than 50 images: a.")


def test_names_of_sets_are_text_and_nothing_else() -> None:
    hostile = "<script>alert(1)</script>|`*_[x](y)"
    entries = [comparison(hostile, 1.0)]
    sections = [Section(hostile, (hostile, headline(entries), all_numbers(entries), Table((hostile,), ((hostile,),))))]
    page, text = to_html(hostile, sections), to_markdown(hostile, sections)
    assert "<script>alert" not in page
    assert "<script>alert" not in text.replace("\\<", "")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({row.replace("\\|", "").count("|") for row in rows[:3]}) == 1, "no cell is cut in two"
