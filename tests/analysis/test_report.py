"""What the report says in words follows from the numbers, and no name breaks it."""

from __future__ import annotations

from dataclasses import replace

from degrade_kit.analysis.comparison import Comparison, Matched, Numbers, SpaceNumbers
from degrade_kit.analysis.distances import Interval
from degrade_kit.analysis.report import (
    Section,
    Table,
    all_numbers,
    headlines,
    reading,
    space_tables,
    to_html,
    to_markdown,
)


def numbers(kid: float, margin: float = 0.05, coverage: float = 0.5, auc: Interval | None = None) -> Numbers:
    matched = Matched(size=100, frechet=1.0, precision=0.5, recall=0.5, density=0.5, coverage=coverage)
    return Numbers(kid=Interval(kid, kid - margin, kid + margin), matched=matched, auc=0.9, auc_interval=auc)


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


def told(source: str, auc: Interval, patches: Interval | None = None) -> Comparison:
    entry = comparison(source, 1.0)
    null = replace(
        entry.null, auc_interval=Interval(0.52, 0.48, 0.56), auc=0.52, patches=patches and Interval(0.5, 0.4, 0.6)
    )
    return replace(entry, numbers=replace(entry.numbers, auc=auc.value, auc_interval=auc, patches=patches), null=null)


def test_the_classifiers_speak_first_each_with_its_null() -> None:
    near = told("near", Interval(0.7, 0.65, 0.75), Interval(0.81, 0.76, 0.86))
    far = told("far", Interval(0.98, 0.97, 0.99), Interval(0.99, 0.98, 1.0))
    linear, patches, kid = reading([far, near])
    assert linear.startswith("A linear classifier tells near from LFW with AUC 0.70 [0.65, 0.75], where LFW against it")
    assert "gives 0.52; the other sources more easily, far with 0.98" in linear
    assert patches.startswith("A network that sees patches alone tells near from LFW with AUC 0.81 [0.76, 0.86]")
    assert "KID" in kid
    [said, *_] = reading([told("same", Interval(0.57, 0.53, 0.62))])
    assert said.startswith("A linear classifier tells same from LFW no better than LFW from itself: AUC 0.57")


def test_the_ideal_stands_first_then_the_hardest_to_tell_then_what_is_not_degraded() -> None:
    ideal = replace(told("ideal", Interval(0.52, 0.48, 0.56)), source_kind="ideal")
    hq = replace(told("HQ", Interval(0.6, 0.5, 0.7)), source_kind="hq")
    other = replace(told("web", Interval(0.55, 0.5, 0.6)), source_kind="real")
    near, far = (
        told("near", Interval(0.7, 0.65, 0.75), Interval(0.81, 0.76, 0.86)),
        told("far", Interval(0.98, 0.97, 0.99)),
    )
    [(reference, table)] = headlines([other, hq, far, ideal, near])
    assert reference == "LFW"
    assert [row[0] for row in table.rows] == [
        "ideal: LFW against itself", "near", "far", "HQ (not degraded)", "web (real)",
    ]  # fmt: skip
    assert table.header[2:4] == ("linear AUC (null)", "patch AUC (null)")
    assert table.rows[1][2:4] == ("0.70 [0.65, 0.75] (0.52)", "0.81 [0.76, 0.86] (0.50)")
    assert table.rows[2][3] == ""
    [(_, plain)] = headlines([far, ideal])
    assert "patch AUC (null)" not in plain.header


def test_learned_spaces_have_tables_of_their_own() -> None:
    entry = told("near", Interval(0.7, 0.65, 0.75))
    space = SpaceNumbers(space="of ImageNet", num_source=9, num_reference=8, numbers=entry.numbers, null=entry.null)
    assert space_tables([entry]) == []
    [(reference, table)] = space_tables([replace(entry, spaces=(space,))])
    assert (reference, len(table.rows)) == ("LFW", 1)
    assert table.rows[0][:4] == ("near", "of ImageNet", "9 / 8", "0.70 [0.65, 0.75] (0.52)")


def test_no_cover_and_few_images_are_said() -> None:
    first, second = reading([comparison("a", 1.0, coverage=0.001, count=20)])
    assert "No source covers 1 % of LFW" in first
    assert second.startswith("Fewer than 50 images: a.")


def test_names_of_sets_are_text_and_nothing_else() -> None:
    hostile = "<script>alert(1)</script>|`*_[x](y)"
    entries = [comparison(hostile, 1.0)]
    [(name, table)] = headlines([replace(entry, reference=hostile) for entry in entries])
    assert name == hostile
    sections = [Section(hostile, (hostile, table, all_numbers(entries), Table((hostile,), ((hostile,),))))]
    page, text = to_html(hostile, sections), to_markdown(hostile, sections)
    assert "<script>alert" not in page
    assert "<script>alert" not in text.replace("\\<", "")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({row.replace("\\|", "").count("|") for row in rows[:3]}) == 1, "no cell is cut in two"
