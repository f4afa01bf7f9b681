# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportArgumentType=false
# (matplotlib's getters are typed by their base classes)

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from degrade_kit.analysis.figures import (
    DPI,
    WIDTH,
    Marginal,
    build_least_covered,
    build_marginals,
    build_projection,
    draw_least_covered,
    draw_marginals,
    draw_projection,
    printable,
)
from degrade_kit.analysis.plotset import PlotSet, styles


def plot_set(name: str, real: bool, count: int = 20, seed: int = 0) -> PlotSet:
    points = np.random.default_rng(seed).normal(size=(count, 2))
    return PlotSet(name=name, real=real, points=points, labels=[f"{i}.png" for i in range(count)], thumbnails=[])


def plot_sets(sources: int, real: int, count: int = 20) -> list[PlotSet]:
    return [
        *(plot_set(f"source {n}", False, count, n) for n in range(sources)),
        *(plot_set(f"real {n}", True, count, 100 + n) for n in range(real)),
    ]


def marginal(parameter: str, source: str, values: list[float], near: list[float]) -> Marginal:
    return Marginal(parameter=parameter, unit="px", source=source, all=np.array(values), near=np.array(near))


def gray(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def texts_inside(figure: Figure) -> bool:
    """Whether all text of a figure lies within its borders."""
    figure.set_dpi(100)
    figure.savefig(io.BytesIO(), dpi="figure")
    width, height = figure.get_size_inches() * 100
    boxes = [text.get_window_extent() for text in (*figure.texts, *(axes.title for axes in figure.axes))]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    return all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes if box.width)


# ----------------------------------------------------------------------------------------------------------- projection


@pytest.mark.slow
@pytest.mark.parametrize(("sources", "panels"), [(1, 1), (2, 3), (3, 4), (5, 6), (6, 7), (7, 8), (8, 9)])
@pytest.mark.parametrize("real", [0, 1, 5])
def test_each_source_has_a_panel_and_all_of_them_one_more(sources: int, panels: int, real: int) -> None:
    figure = build_projection(plot_sets(sources, real), title="title", note="note")

    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [*(f"source {n}" for n in range(sources)), "All sources"][:panels]
    assert len(figure.legends[0].texts) == sources + real
    assert texts_inside(figure)


def test_panels_share_limits_and_scale_and_hold_every_point() -> None:
    sets = [*plot_sets(3, 2), plot_set("far", True, 1)]
    figure = build_projection(sets, title="", note="")

    limits = {(*axes.get_xlim(), *axes.get_ylim()) for axes in figure.axes}
    assert len(limits) == 1
    left, right, bottom, top = limits.pop()
    points = np.concatenate([each.points for each in sets])
    assert left < points[:, 0].min()
    assert right > points[:, 0].max()
    assert bottom < points[:, 1].min()
    assert top > points[:, 1].max()
    for axes in figure.axes:
        box = axes.get_window_extent()
        assert box.width / box.height == pytest.approx((right - left) / (top - bottom))
        assert [*axes.get_xticks(), *axes.get_yticks()] == []


def test_a_panel_shows_its_source_all_real_sets_and_the_others_in_grey() -> None:
    figure = build_projection(plot_sets(3, 2, count=16), title="", note="")

    drawn = [sum(len(np.asarray(marks.get_offsets())) for marks in axes.collections) for axes in figure.axes]
    assert drawn == [5 * 16] * 4
    grey = [len(np.asarray(axes.collections[0].get_offsets())) for axes in figure.axes[:3]]
    assert grey == [2 * 16] * 3


def test_no_two_sets_look_alike_and_real_ones_differ_in_marker() -> None:
    looks = styles(plot_sets(8, 5))

    assert len(set(looks)) == 13
    assert len({look.marker for look in looks[8:]}) == 5
    assert {look.marker for look in looks[:8]}.isdisjoint(look.marker for look in looks[8:])
    usual = styles(plot_sets(5, 3))
    assert len({look.color for look in usual}) == 8


@pytest.mark.slow
def test_many_sets_are_drawn_and_32_sources_look_different() -> None:
    figure = build_projection(plot_sets(14, 6, count=3), title="", note="")
    assert len(figure.axes) == 15
    assert len({(look.color, look.marker) for look in styles(plot_sets(32, 0, count=1))}) == 32
    assert len(styles(plot_sets(40, 12, count=1))) == 52


def test_no_source_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one synthesized set to draw, got 2 real ones"):
        build_projection(plot_sets(0, 2), title="", note="")


def test_one_point_in_each_set_is_drawn(tmp_path: Path) -> None:
    draw_projection([plot_set("a", False, 1), plot_set("b", True, 1)], tmp_path / "umap.png", title="", note="")

    with Image.open(tmp_path / "umap.png") as image:
        assert image.width == round(WIDTH * DPI)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["$x_1$ \\frac", "中文" * 60, "a\nb", "caf\udce9", "_hidden", "<b>&amp;"])
def test_hostile_names_are_drawn_as_text(tmp_path: Path, name: str) -> None:
    sets = [plot_set(name, False), plot_set(name, True), plot_set("other", False)]

    draw_projection(sets, tmp_path / "umap.png", title=name, note=name)
    draw_marginals([marginal(name, name, [1.0, 2.5], [1.0])], tmp_path / "parameters.png")
    draw_least_covered([(gray(32, 32), name, [(gray(32, 32), name)])], tmp_path / "least_covered.png")
    assert len(build_projection(sets, title=name, note=name).legends[0].texts) == 3


def test_what_the_font_lacks_is_replaced() -> None:
    assert printable("é ✓ 中\t") == "é ✓ ��"


@pytest.mark.parametrize(
    ("points", "labels", "thumbnails", "match"),
    [
        (np.zeros((0, 2)), 0, 0, "N >= 1"),
        (np.zeros((3, 3)), 3, 0, "shape"),
        (np.full((3, 2), np.nan), 3, 0, "finite"),
        (np.zeros((3, 2)), 2, 0, "labels"),
        (np.zeros((3, 2)), 3, 2, "thumbnails"),
    ],
)
def test_a_set_checks_its_parts(points: np.ndarray, labels: int, thumbnails: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        PlotSet(name="x", real=True, points=points, labels=["a"] * labels, thumbnails=[b""] * thumbnails)


# -------------------------------------------------------------------------------------------------------- least covered


def test_each_row_shows_the_photograph_and_its_neighbours() -> None:
    rows = [
        (gray(64, 48), "real a", [(gray(512, 512), "near 1\n0.5"), (gray(16, 16), "near 2")]),
        (gray(64, 64), "real b", [(gray(64, 64), "near 3")]),
    ]
    figure = build_least_covered(rows)

    shapes = [np.asarray(axes.images[0].get_array()).shape[:2] for axes in figure.axes]
    assert shapes == [(64, 48), (512, 512), (16, 16), (64, 64), (64, 64)]
    captions = [text.get_text() for text in figure.texts[2:]]
    assert captions == ["real a", "near 1\n0.5", "near 2", "real b", "near 3"]
    assert texts_inside(figure)


def test_a_photograph_without_neighbours_is_drawn(tmp_path: Path) -> None:
    draw_least_covered([(gray(64, 64), "alone", [])], tmp_path / "least_covered.png")

    assert (tmp_path / "least_covered.png").stat().st_size


def test_a_long_caption_keeps_its_ends() -> None:
    figure = build_least_covered([(gray(8, 8), "begin" + "x" * 500 + "end.png", [])])

    text = figure.texts[1].get_text()
    assert text.startswith("begin")
    assert text.endswith("end.png")
    assert text.count("\n") == 2
    assert texts_inside(figure)


def test_a_file_name_is_broken_behind_a_sign_and_not_cut() -> None:
    figure = build_least_covered([(gray(8, 8), "LFW, distance 3.2\nAdrian_Nastase_the_longer_0001.png", [])])

    lines = figure.texts[1].get_text().split("\n")
    assert lines[0] == "LFW, distance 3.2"
    assert "".join(lines[1:]) == "Adrian_Nastase_the_longer_0001.png"
    assert lines[1].endswith("_")
    assert texts_inside(figure)


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        build_least_covered([])


# ------------------------------------------------------------------------------------------------------------ marginals


def test_each_source_and_parameter_has_a_panel() -> None:
    entries = [
        marginal("blur sigma", "a", [0.5, 1.5, 2.5], [0.5]),
        marginal("quality", "a", [30, 60, 95], []),
        marginal("blur sigma", "b", [2.5, 9.5], [9.5, 9.5]),
    ]
    figure = build_marginals(entries)

    assert len(figure.axes) == 4
    assert [len(axes.patches) for axes in figure.axes] == [2, 2, 2, 0]
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    assert figure.axes[1].get_xlabel() == "blur sigma (px)"


@pytest.mark.parametrize("values", [[3.0], [2.5, 2.5], [0.0, 0.0], [], [-1e9, 1e9], [0, 100000]])
def test_few_equal_and_extreme_values_are_drawn(tmp_path: Path, values: list[float]) -> None:
    draw_marginals([marginal("p", "s", values, values[:1])], tmp_path / "parameters.png")

    assert (tmp_path / "parameters.png").stat().st_size


def test_whole_numbers_fill_bins_evenly() -> None:
    figure = build_marginals([marginal("quality", "s", list(range(30, 96)), [])])

    steps: Any = figure.axes[0].patches[1]
    heights = steps.get_data().values
    assert len(set(np.round(heights, 9))) == 1


def test_two_entries_for_one_panel_are_refused() -> None:
    with pytest.raises(ValueError, match="one entry"):
        build_marginals([marginal("p", "s", [1], []), marginal("p", "s", [2], [])])
    with pytest.raises(ValueError, match="at least one"):
        build_marginals([])
    with pytest.raises(ValueError, match="finite"):
        marginal("p", "s", [float("nan")], [])


@pytest.mark.slow
@pytest.mark.long
def test_same_input_gives_same_bytes_whatever_the_settings(tmp_path: Path) -> None:
    def draw(folder: Path) -> list[bytes]:
        folder.mkdir()
        draw_projection(plot_sets(2, 2), folder / "1.png", title="t", note="n")
        draw_least_covered([(gray(40, 40), "a", [(gray(40, 40), "b")])], folder / "2.png")
        draw_marginals([marginal("p", "s", [1.5, 2.5], [2.5])], folder / "3.png")
        return [path.read_bytes() for path in sorted(folder.iterdir())]

    first = draw(tmp_path / "first")
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red", "savefig.bbox": "tight"}):
        assert draw(tmp_path / "second") == first
