"""`degrade-kit make-testset`: the same bytes always, half of them a FlipNet's where asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from degrade_kit.degradation import degrade, finish
from degrade_kit.image import decode_image
from degrade_kit.pipelines.cli import main
from degrade_kit.record import Record


def make(out: Path, *words: object) -> Result:
    return CliRunner().invoke(main, ["make-testset", "--out", str(out), "--workers", "0", *map(str, words)])


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def test_a_set_is_the_same_bytes_every_time_and_another_with_another_seed(tmp_path: Path, faces_dir: Path) -> None:
    words = ("--hq", faces_dir, "--count", 4, "--size", 64)
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        found = make(tmp_path / name, *words, "--seed", seed)
        assert found.exit_code == 0, found.output

    one = files(tmp_path / "one")
    assert one == files(tmp_path / "two")
    assert sorted(name for name in one if name.startswith("lq")) == [f"lq/{number:05}.png" for number in range(4)]
    assert one["lq/00000.png"] != files(tmp_path / "other")["lq/00000.png"]
    assert json.loads(one["testset.json"])["pairs"] == 4


def test_each_record_makes_its_lq_image_of_its_hq_image(tmp_path: Path, faces_dir: Path) -> None:
    assert make(tmp_path / "set", "--hq", faces_dir, "--count", 3, "--size", 64).exit_code == 0

    for line in records(tmp_path / "set"):
        hq, lq = (
            decode_image((tmp_path / "set" / side / f"{line['image']}.png").read_bytes()).pixels
            for side in ("hq", "lq")
        )
        native = degrade(Record.from_json(line["record"]), hq)
        assert np.array_equal(finish(native.pixels, native.tail, (64, 64)), lq)
        assert (faces_dir / line["source"]).is_file()


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path: Path, faces_dir: Path) -> None:
    words = ("--hq", faces_dir, "--count", 4, "--size", 64)
    assert make(tmp_path / "set", *words).exit_code == 0
    whole = files(tmp_path / "set")
    # As after a kill: one pair not made, one half written, the lines of the others in the journal.
    lines = whole["records.jsonl"].decode().splitlines(keepends=True)
    (tmp_path / "set" / ".records.partial.jsonl").write_text(f"{lines[1]}{lines[2]}{lines[3][:20]}")
    for name in ("records.jsonl", "testset.json", "lq/00000.png"):
        (tmp_path / "set" / name).unlink()
    (tmp_path / "set" / "hq" / "00002.png").write_bytes(b"cut")
    found = make(tmp_path / "set", *words)

    assert found.exit_code == 0, found.output
    assert files(tmp_path / "set") == whole
    assert make(tmp_path / "set", *words).exit_code == 0
    assert files(tmp_path / "set") == whole


def test_another_face_takes_the_place_of_one_that_cannot_be_used(tmp_path: Path, faces_dir: Path) -> None:
    hq = tmp_path / "hq"
    hq.mkdir()
    for number in range(5):
        (hq / f"{number}.png").write_bytes((faces_dir / "astronaut.png").read_bytes())
    (hq / "2.png").write_bytes(b"no image")
    found = make(tmp_path / "set", "--hq", hq, "--count", 4, "--size", 64)
    assert found.exit_code == 0, found.output
    assert {line["source"] for line in records(tmp_path / "set")} == {"0.png", "1.png", "3.png", "4.png"}

    few = make(tmp_path / "few", "--hq", hq, "--count", 5, "--size", 64)
    assert few.exit_code == 2
    assert "2.png: not an image" in few.output
    more = make(tmp_path / "more", "--hq", hq, "--count", 9, "--size", 64)
    assert more.exit_code == 2
    assert "9 pairs need as many faces" in more.output


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, faces_dir: Path) -> None:
    words = ("--hq", faces_dir, "--count", 2, "--size", 64)
    assert make(tmp_path / "set", *words).exit_code == 0
    changed = make(tmp_path / "set", *words, "--seed", 1)
    assert changed.exit_code == 1
    assert "seed: there 0, now 1" in changed.output
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    assert "not empty" in make(tmp_path / "full", *words).output
    assert make(tmp_path / "none").exit_code == 2


@pytest.mark.slow
def test_a_flipnet_makes_exactly_its_share(tmp_path: Path, faces_dir: Path) -> None:
    pytest.importorskip("diffusers")
    from degrade_kit.flipnet.checkpoint import BaseReference, save
    from degrade_kit.flipnet.sampling import SamplingConfig
    from tests.degrade_kit.flipnet.models import gated_flipnet

    sampling = SamplingConfig(num_steps=2, guidance=1.0)
    save(gated_flipnet(), tmp_path / "model", BaseReference(location="base"), sampling=sampling, half=True)
    words = ("--hq", faces_dir, "--count", 4, "--size", 64, "--flipnet", tmp_path / "model", "--device", "cpu")
    for name in ("one", "two"):
        found = make(tmp_path / name, *words)
        assert found.exit_code == 0, found.output
        assert "2 of them by the FlipNet" in found.output

    assert files(tmp_path / "one") == files(tmp_path / "two")
    origins = [line["origin"].partition(":")[0] for line in records(tmp_path / "one")]
    assert sorted(origins) == ["flipnet", "flipnet", "recipe", "recipe"]


def test_originals_become_a_set_of_lq_images_alone(tmp_path: Path, faces_dir: Path) -> None:
    found = make(tmp_path / "set", "--real", faces_dir, "--size", 128)
    assert found.exit_code == 0, found.output
    made = files(tmp_path / "set")
    assert len([name for name in made if name.startswith("lq/")]) == 6
    assert decode_image(made["lq/nested/hopper_wide.png"]).pixels.shape == (128, 128, 3)
    assert "hq" not in {name.partition("/")[0] for name in made}


@pytest.mark.parametrize("listed", [False, True])
def test_no_original_is_lost_for_its_name(listed: bool, tmp_path: Path, faces_dir: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "v1.2").mkdir(parents=True)
    names = ["one", "v1.2/two", "a.b", "a.c"] if listed else ["a.jpg", "a.jpeg", "a.jpg.png", "b.png"]
    for name in names:
        (photos / name).write_bytes((faces_dir / "astronaut.png").read_bytes())
    (photos / "list.txt").write_text("\n".join(names))
    found = make(tmp_path / "set", "--real", photos / "list.txt" if listed else photos, "--size", 64)
    assert found.exit_code == 0, found.output
    assert f"4 images in {tmp_path}/set/lq" in found.output
    made = sorted(files(tmp_path / "set/lq"))
    assert made == (
        ["a.b.png", "a.c.png", "one.png", "v1.2/two.png"]
        if listed
        else ["a.jpeg.png", "a.jpg.png", "a.jpg.png.png", "b.png"]
    )


@pytest.mark.parametrize("align", [False, True])
def test_an_original_that_is_gone_leaves_no_image(align: bool, tmp_path: Path, faces_dir: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "b.png"):
        (photos / name).write_bytes((faces_dir / "astronaut.png").read_bytes())
    (tmp_path / "points.json").write_text(
        json.dumps({name: [[100, 110], [150, 110], [125, 140], [105, 165], [145, 165]] for name in ("a.png", "b.png")})
    )
    words = ["--real", photos, "--size", 64, *(["--align", "--landmarks", tmp_path / "points.json"] * align)]
    assert make(tmp_path / "set", *words).exit_code == 0
    before = files(tmp_path / "set")
    (photos / "b.png").unlink()
    found = make(tmp_path / "set", *words)
    assert found.exit_code == 1
    assert f"1 image of photographs that are not in {photos} now: b.png" in found.output
    assert files(tmp_path / "set") == before
    (tmp_path / "set/lq/b.png").unlink()
    again = make(tmp_path / "set", *words)
    assert again.exit_code == 0, again.output
    assert json.loads((tmp_path / "set/testset.json").read_text())["images"] == 1


def test_an_original_that_is_broken_now_leaves_no_image(tmp_path: Path, faces_dir: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "b.png"):
        (photos / name).write_bytes((faces_dir / "astronaut.png").read_bytes())
    assert make(tmp_path / "set", "--real", photos, "--size", 64).exit_code == 0
    (photos / "b.png").write_bytes(b"broken")
    found = make(tmp_path / "set", "--real", photos, "--size", 64)
    assert found.exit_code == 3, found.output
    assert [path.name for path in (tmp_path / "set/lq").iterdir()] == ["a.png"]


def test_a_face_that_is_another_one_now_is_made_again(tmp_path: Path, faces_dir: Path) -> None:
    hq = tmp_path / "hq"
    hq.mkdir()
    for name in ("a.png", "b.png"):
        (hq / name).write_bytes((faces_dir / "astronaut.png").read_bytes())
    words = ("--hq", hq, "--count", 2, "--size", 64)
    assert make(tmp_path / "set", *words).exit_code == 0
    (hq / "b.png").write_bytes((faces_dir / "nested/hopper.png").read_bytes())
    assert make(tmp_path / "set", *words).exit_code == 0
    assert make(tmp_path / "new", *words).exit_code == 0
    assert files(tmp_path / "set") == files(tmp_path / "new")


def test_originals_are_aligned_by_landmarks(tmp_path: Path, faces_dir: Path) -> None:
    points = [[100, 110], [150, 110], [125, 140], [105, 165], [145, 165]]
    (tmp_path / "points.json").write_text(json.dumps({"astronaut.png": points}))
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("astronaut.png", "astronaut_left.png"):
        (photos / name).write_bytes((faces_dir / name).read_bytes())
    found = make(tmp_path / "set", "--real", photos, "--align", "--landmarks", tmp_path / "points.json", "--size", 64)

    assert found.exit_code == 3, found.output
    assert (tmp_path / "set" / "lq" / "astronaut.png").is_file()
    assert json.loads((tmp_path / "set" / "testset.json").read_text())["images"] == 1
