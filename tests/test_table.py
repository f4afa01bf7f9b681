"""The table of presets and banks: by anybody, on photographs of their own, and into a document."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from benchmarks import banks, splits, table
from degrade_kit.analysis.figures import DPI, WIDTH
from degrade_kit.bank import load_bank, shipped_banks
from degrade_kit.degradation import make_lq
from degrade_kit.files import plain_yaml
from degrade_kit.flipnet.checkpoint import BaseReference, save
from degrade_kit.flipnet.sampling import SamplingConfig
from degrade_kit.image import Pixels, encode_png
from degrade_kit.pipelines.commands.fit_recipe import fit_recipe_command
from degrade_kit.presets import preset
from degrade_kit.recipe import recipe_from_mapping
from degrade_kit.seeding import generator
from tests.degrade_kit.flipnet.models import gated_flipnet

SIZE = 64


def crop(photograph: npt.NDArray[np.uint8], rng: np.random.Generator) -> Pixels:
    extent = int(rng.integers(100, 200))
    top, left = rng.integers(0, 512 - extent, 2)
    part = photograph[top : top + extent, left : left + extent]
    return np.asarray(cv2.resize(part, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8)


@pytest.mark.slow
@pytest.mark.long
def test_the_table_ranks_sources_and_goes_into_a_document(
    astronaut: npt.NDArray[np.uint8], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "hq").mkdir()
    (tmp_path / "real").mkdir()
    gfpgan = preset("gfpgan")
    for number in range(24):
        if number < 6:
            (tmp_path / "hq" / f"{number:05}.png").write_bytes(encode_png(crop(astronaut, rng)))
        real = make_lq(gfpgan.draw(generator(1, "real", number)), crop(astronaut, rng))
        (tmp_path / "real" / f"{number:05}.png").write_bytes(encode_png(real))
    page = tmp_path / "page.md"
    page.write_text("Before.\n\n" + "\n".join(table._MARKS) + "\n\nAfter.\n", "utf-8")
    words = [
        *("--real", f"mine={tmp_path}/real", "--hq", f"{tmp_path}/hq", "--size", str(SIZE), "--images", "30"),
        *("--fitted", f"mine={tmp_path}/hq", "--json", f"{tmp_path}/numbers.json", "--into", str(page)),
        *("--source", "codeformer"),
    ]
    table.main([*words, "--figures", f"{tmp_path}/figures"])
    assert "codeformer to mine:" in capsys.readouterr().out
    table.main([*words, "--source", "gfpgan", "--go-on"])
    said = capsys.readouterr().out
    assert "gfpgan to mine:" in said
    assert "codeformer to mine:" not in said, "what was measured is kept"
    text = page.read_text("utf-8")
    assert text.startswith("Before.\n\n<!-- table")
    assert text.endswith("After.\n")
    lines = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    shared = "`codeformer`, `codeformer-stage3-large`"
    assert lines == ["LQ images by", "---", table.IDEAL, table.FITTED, "`gfpgan`", shared, table.HQ], "best first"
    rows = {row["source"]: row for row in json.loads((tmp_path / "numbers.json").read_text("utf-8"))}
    assert rows["gfpgan"]["kid"] < 0.5 * rows["codeformer"]["kid"]
    assert rows["gfpgan"]["patches"] is None
    assert rows[table.FITTED]["kid"] == pytest.approx(rows[table.HQ]["kid"]), "these are HQ faces"
    assert abs(rows[table.IDEAL]["kid"]) < rows["gfpgan"]["kid"], "the mean of some splits"
    figure = cv2.imread(f"{tmp_path}/figures/umap-mine.png")
    assert figure is not None
    assert figure.shape[1] == round(WIDTH * DPI)
    assert len(np.unique(figure.reshape(-1, 3), axis=0)) > 50, "points of several colours"
    assert "24 mine" in said


@pytest.mark.long
def test_a_recipe_whose_images_a_flipnet_makes_has_a_row_too(astronaut: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save(gated_flipnet(), folder, BaseReference(location="base"), sampling=SamplingConfig(num_steps=1), half=True)
    steps = [{"photo_frame": {"side": 32, "steps": [{"flipnet": {"model": str(folder)}}, {"jpeg": {"quality": 80}}]}}]
    recipe = recipe_from_mapping({"name": "net", "steps": steps}, "net")
    (tmp_path / "net.yaml").write_text(plain_yaml(recipe.to_mapping()), "utf-8")
    (tmp_path / "hq").mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        (tmp_path / "hq" / f"{number:05}.png").write_bytes(encode_png(crop(astronaut, rng)))
    bench = table.Bench(f"{tmp_path}/hq", SIZE, 12, 0, 0, None)
    photographs = table.Photographs([crop(astronaut, rng) for _ in range(24)], [f"{n:05}" for n in range(24)])
    found = bench.compare({"mine": photographs}, [f"{tmp_path}/net.yaml"], patches=False)
    rows = {each.row.source: each.row for each in found}
    assert set(rows) == {table.IDEAL, table.HQ, "net"}
    assert rows["net"].kid > rows[table.HQ].kid + 0.1


@pytest.mark.parametrize(("option", "value"), [("--cut", "other"), ("--fitted", "other=more")])
def test_an_option_for_no_set_is_refused(option: str, value: str) -> None:
    with pytest.raises(SystemExit, match=f"{option} other: no --real of that name"):
        table.main(["--real", "mine=somewhere", "--hq", "faces", option, value])


def test_a_document_without_marks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("nothing\n", "utf-8")
    with pytest.raises(SystemExit, match="expected the marks"):
        table.replace_table(tmp_path / "page.md", "| table |")
    assert (tmp_path / "page.md").read_text("utf-8") == "nothing\n"


def test_nobody_is_fitted_to_and_judges(tmp_path: Path) -> None:
    folder = tmp_path / "faces/lq_real/web_rmfd_150"
    folder.mkdir(parents=True)
    for name in ("0_0_ada_0001", "1_0_ada_0002", "0_0_bea_0001", "0_0_cleo_0004", "0_0_cleo_0009"):
        (folder / f"{name}.jpg").touch()
    fitted, judging = splits.split("web", tmp_path)
    assert [path.stem for path in fitted] == ["0_0_ada_0001", "0_0_cleo_0004", "0_0_cleo_0009", "1_0_ada_0002"]
    assert [path.stem for path in judging] == ["0_0_bea_0001"]


def test_no_photograph_of_a_crowd_stands_for_all_and_the_halves_change_places(tmp_path: Path) -> None:
    folder = tmp_path / "faces/lq_real/wider_like_crops"
    folder.mkdir(parents=True)
    for photograph, faces in (("a", 30), ("b", 4), ("c", 2), ("d", 9)):
        for number in range(faces):
            (folder / f"{photograph}_f{number:03}_s060.png").touch()
    halves = [splits.split("crowd", tmp_path, fold) for fold in (0, 1)]
    counts = [[Counter(splits.person(path) for path in part) for part in half] for half in halves]
    assert counts[0] == [{"a": 6, "c": 2}, {"b": 4, "d": 6}]
    assert counts[1] == counts[0][::-1]
    assert halves[0][0][0].stem == "a_f000_s060"
    assert halves[0][0][5].stem == "a_f029_s060", "from all along the list"


@pytest.mark.parametrize("name", banks.FITS)
def test_the_commands_that_find_the_banks_are_commands(name: str, tmp_path: Path) -> None:
    fit = banks.FITS[name]
    program, command, *words = fit.words(tmp_path, tmp_path / f"{name}.yaml", {"press-photo": "mine.json"})
    assert (program, command) == ("degrade-kit", "fit-recipe")
    found = fit_recipe_command.make_context(command, words).params
    assert found["pool"] == (tuple("mine.json" if bank == "press-photo" else bank for bank in fit.pool) or ("none",))
    assert (found["size"], found["records"], found["allow_resize"]) == (banks.SIZE, fit.records, fit.cut)
    assert found["held_out"] == str(tmp_path / f"{fit.photographs}_test.txt"), "people of no fit"


def test_the_banks_that_ship_state_the_terms_that_a_fit_gives_them() -> None:
    assert sorted(banks.FITS) == shipped_banks()
    for name in shipped_banks():
        bank = load_bank(name)
        made = banks.as_shipped(name, bank)
        assert (made.licence, made.digest) == (bank.licence, bank.digest)
        assert made.source.startswith(f"{len(bank.records)} records near")
        assert made.source.split(" near ")[1].split(",")[0] in bank.source


def test_shares_go_to_what_covers() -> None:
    rng = np.random.default_rng(0)
    real = rng.normal(0, 1, (60, 2))
    made = {"near": rng.normal(0, 1, (60, 2)), "far": rng.normal(9, 1, (60, 2))}
    shares = ({"near": 1.0, "far": 0.0}, {"near": 1.0, "far": 1.0}, {"near": 0.0, "far": 1.0})
    alone, mixed, away = (banks._covered(mixture, made, real) for mixture in shares)
    assert alone > mixed > away == 0


def test_nobody_judges_whom_a_network_that_ships_has_learned_from(tmp_path: Path) -> None:
    known = next(name for name in sorted(splits.learned()) if name.startswith("dlib"))
    folder = tmp_path / "faces/lq_real/wider_like_crops"
    folder.mkdir(parents=True)
    for photograph in ("a", known, "z"):  # every second judges, here the one that is known
        for number in range(2):
            (folder / f"{photograph}_f{number:03}_s060.png").touch()
    fitted, judging = splits.split("crowd", tmp_path)
    assert {splits.person(path) for path in fitted} == {"a", "z"}
    assert judging == []
    (folder / "b_f000_s060.png").touch()
    assert {splits.person(path) for path in splits.split("crowd", tmp_path)[1]} == {"b", "z"}
