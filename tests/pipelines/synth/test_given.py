"""Pairs of the user's own: found, checked, stored and read as they are."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

import degrade_kit as dk
from degrade_kit.errors import ConfigError, ShardError
from degrade_kit.image import Pixels, decode_image, encode_jpeg, encode_png
from degrade_kit.pipelines.cli import main
from degrade_kit.pipelines.dataset.verify import replay_variant, verify
from degrade_kit.reader import PairReader

pytestmark = pytest.mark.slow


def face(seed: int, height: int = 64, width: int = 64) -> Pixels:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def smaller(pixels: Pixels, side: int) -> Pixels:
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four HQ faces as PNG; a quarter of their side as JPEG in `small`, at full size as PNG in `full`."""
    root = tmp_path_factory.mktemp("pairs")
    for name in ("hq/a", "small/a", "full/a"):
        (root / name).mkdir(parents=True)
    for number in range(4):
        hq = face(number)
        (root / f"hq/a/{number}.png").write_bytes(encode_png(hq))
        (root / f"small/a/{number}.jpg").write_bytes(encode_jpeg(smaller(hq, 16), 60))
        (root / f"full/a/{number}.png").write_bytes(encode_png(face(number + 100)))
    return root


@pytest.fixture(scope="module")
def made(pairs: Path) -> Path:
    report = dk.synthesize(pairs / "hq", pairs / "out", lq=pairs / "small", size=0, samples_per_shard=3, workers=0)
    assert report.complete
    assert (report.num_samples, report.failures) == (4, {})
    return pairs / "out"


def test_given_files_are_stored_as_they_are(pairs: Path, made: Path) -> None:
    for sample in dk.open_shards(made).samples():
        info = sample.info
        number = int(sample.key)
        assert sample.image("lq0") == (pairs / f"small/a/{number}.jpg").read_bytes()
        assert sample.image("hq") == (pairs / f"hq/a/{number}.png").read_bytes()
        assert info["lq0_origin"] == "given"
        assert (info["lq0_height"], info["lq0_width"]) == (16, 16)
        assert (info["lq0_source"], info["lq0_changes"]) == (f"a/{number}.jpg", "[]")


def test_readers_enlarge_them(pairs: Path, made: Path) -> None:
    reader = PairReader(made)
    for number in range(4):
        pair = reader.stored_pair(reader.read(number, 0), 0)
        native = decode_image((pairs / f"small/a/{number}.jpg").read_bytes(), min_side=1).pixels
        cubic = cv2.resize(native.astype(np.float32), (64, 64), interpolation=cv2.INTER_CUBIC)
        np.testing.assert_array_equal(pair.lq, cubic.clip(0, 255).round().astype(np.uint8))
        np.testing.assert_array_equal(pair.hq, face(number))
    fresh = dk.PairDataset(made, dk.PairOptions(onthefly=dk.preset("gfpgan"), onthefly_prob=1.0))
    assert next(iter(fresh))["variant"] == -1


def test_verify_checks_them_and_nothing_is_made_again(made: Path) -> None:
    report = verify(made, replay=1.0, workers=0)
    assert (report.problems, report.samples, report.replayed) == ([], 4, 0)
    sample = next(iter(dk.open_shards(made).samples()))
    with pytest.raises(ShardError, match="lq0 was given with its HQ image; no record makes it again"):
        replay_variant(sample, 0)
    result = CliRunner().invoke(main, ["replay", str(made), "--out", str(made.parent / "replayed")])
    assert "Traceback" not in result.output
    assert result.exit_code


def test_a_damaged_given_image_is_found(pairs: Path, tmp_path: Path) -> None:
    dk.synthesize(pairs / "hq", tmp_path / "out", lq=pairs / "small", size=0, workers=0, samples_per_shard=4)
    tar = tmp_path / "out/shard-000000.tar"
    data = bytearray(tar.read_bytes())
    with tarfile.open(tar) as file:
        place = file.getmember("000000002.lq0.jpg").offset_data
    data[place + 20 : place + 40] = bytes(20)
    tar.write_bytes(data)
    assert any("its bytes have changed" in problem for problem in verify(tmp_path / "out", workers=0).problems)


def test_the_card_says_that_they_were_given(made: Path) -> None:
    card = (made / "README.md").read_text()
    assert "| LQ images | given with the HQ images: no record makes them |" in card
    assert "replay" not in card
    assert "## Recipe" not in card
    assert dk.open_shards(made).manifest["recipe"] == "given"


def test_several_places_give_several_lq_images(pairs: Path, tmp_path: Path) -> None:
    lq = [pairs / "small", pairs / "full"]
    report = dk.synthesize(pairs / "hq", tmp_path / "out", lq=lq, size=0, workers=0)
    assert report.variants == 2
    for sample in dk.open_shards(tmp_path / "out").samples():
        np.testing.assert_array_equal(sample.native_lq(1), face(int(sample.key) + 100))
        assert sample.info["lq1_tail"] == "[]"
        _, small = sample.pair(0)
        assert small.shape == (64, 64, 3)
        assert set(sample.members) == {"hq.png", "json", "lq0.png", "lq1.png"}, "one format for all LQ images"


def test_they_are_cropped_and_shrunk_with_their_hq_images(tmp_path: Path) -> None:
    for folder in ("hq", "lq", "large"):
        (tmp_path / folder).mkdir()
    wide = face(7, 64, 96)
    (tmp_path / "hq/x.png").write_bytes(encode_png(wide))
    (tmp_path / "lq/x.png").write_bytes(encode_png(np.ascontiguousarray(wide[::4, ::4])))
    (tmp_path / "large/x.png").write_bytes(encode_png(wide))
    dk.synthesize(tmp_path / "hq", tmp_path / "out", lq=[tmp_path / "lq", tmp_path / "large"], size=32, workers=0)
    sample = next(iter(dk.open_shards(tmp_path / "out").samples()))
    np.testing.assert_array_equal(sample.native_lq(0), wide[::4, 16:80:4])
    assert [change["op"] for change in json.loads(sample.info["lq0_changes"])] == ["crop", "encode"]
    np.testing.assert_array_equal(sample.native_lq(1), sample.hq())


def test_full_size_bakes_the_enlargement_in(pairs: Path, made: Path, tmp_path: Path) -> None:
    dk.synthesize(pairs / "hq", tmp_path / "out", lq=pairs / "small", size=0, lq_size="full", workers=0)
    shards = zip(dk.open_shards(made).samples(), dk.open_shards(tmp_path / "out").samples(), strict=True)
    for native, full in shards:
        assert full.info["lq0_tail"] == "[]"
        np.testing.assert_array_equal(full.native_lq(0), native.pair(0)[1])
    assert verify(tmp_path / "out", workers=0).problems == []


def as_list(root: Path, side: str, ending: str) -> Path:
    path = root / f"{side}.txt"
    path.write_text("".join(f"{side}/a/{number}{ending}\n" for number in range(4)))
    return path


def as_tar(root: Path, side: str, ending: str) -> Path:
    path = root / f"{side}.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(4):
            tar.add(root / f"{side}/a/{number}{ending}", f"{number}{ending}")
    return path


@pytest.mark.parametrize("form", [as_list, as_tar])
def test_lists_and_tars_give_the_same_pairs(
    form: Callable[[Path, str, str], Path], pairs: Path, made: Path, tmp_path: Path
) -> None:
    dk.synthesize(form(pairs, "hq", ".png"), tmp_path / "out", lq=form(pairs, "small", ".jpg"), size=0, workers=0)
    shards = zip(dk.open_shards(made).samples(), dk.open_shards(tmp_path / "out").samples(), strict=True)
    for one, other in shards:
        assert {name: data for name, data in one.members.items() if name != "json"} == {
            name: data for name, data in other.members.items() if name != "json"
        }


def test_one_tar_may_hold_both(pairs: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "both.tar", "w") as tar:
        for number in range(4):
            tar.add(pairs / f"hq/a/{number}.png", f"{number}.hq.png")
            tar.add(pairs / f"small/a/{number}.jpg", f"{number}.lq.jpg")
    both = str(tmp_path / "both.tar")
    arguments = ["--hq", both, "--include", "*.hq.png", "--lq", both, "--lq-include", "*.lq.jpg"]
    result = CliRunner().invoke(main, ["synth", *arguments, "--shards", str(tmp_path / "out"), "--size", "0"])
    assert result.exit_code == 0, result.output
    assert "4 samples, 4 pairs" in result.output


def test_what_does_not_fit_is_counted_by_cause(pairs: Path, tmp_path: Path) -> None:
    for folder in ("hq", "lq"):
        (tmp_path / folder).mkdir()
    good = encode_png(face(0, 32, 32))
    names = ("fine", "lonely", "damaged", "larger", "flat", "small")
    for name in names:
        (tmp_path / f"hq/{name}.png").write_bytes(encode_png(face(1)))
    for name in ("fine", "orphan", "small"):
        (tmp_path / f"lq/{name}.png").write_bytes(good)
    (tmp_path / "hq/small.png").write_bytes(encode_png(face(1, 8, 8)))
    (tmp_path / "lq/fine.jpg").write_bytes(encode_jpeg(face(0, 32, 32), 50))
    (tmp_path / "lq/damaged.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "lq/larger.png").write_bytes(encode_png(face(1, 128, 128)))
    (tmp_path / "lq/flat.png").write_bytes(encode_png(face(1, 16, 32)))

    report = dk.synthesize(tmp_path / "hq", tmp_path / "out", lq=tmp_path / "lq", size=0, workers=0)

    assert report.num_samples == 1
    expected = {"no LQ image": 1, "sizes do not fit": 2, "LQ image truncated": 1, "no HQ image": 1, "duplicate": 1}
    assert report.failures == {**expected, "too small": 1}
    lines = (tmp_path / "out/.degrade_kit/failures.jsonl").read_text()
    assert "flat.png has 32 x 16 pixels, its HQ image 64 x 64" in lines
    assert f"{tmp_path}/lq: orphan.png" in lines
    assert verify(tmp_path / "out", workers=0).problems == []


def test_names_that_nowhere_meet_are_one_error(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "lq").mkdir()
    (tmp_path / "lq/other.png").write_bytes(encode_png(face(0)))
    with pytest.raises(
        ConfigError, match=r"no LQ image has the name of an HQ image; .* such as other.png with a/0.png"
    ):
        dk.synthesize(pairs / "hq", tmp_path / "out", lq=tmp_path / "lq", workers=0)
    with pytest.raises(ConfigError, match="lq_include: has no effect without lq"):
        dk.synthesize(pairs / "hq", tmp_path / "out", lq_include="*", workers=0)


def test_a_rerun_keeps_shards_and_other_lq_images_are_another_data_set(pairs: Path, made: Path) -> None:
    same: dict[str, Any] = {"size": 0, "samples_per_shard": 3, "workers": 0}
    assert dk.synthesize(pairs / "hq", made, lq=pairs / "small", **same).shards_made == 0
    with pytest.raises(dk.RunError, match="lq"):
        dk.synthesize(pairs / "hq", made, lq=[pairs / "full"], **same)


def test_a_saved_configuration_takes_the_places_again(pairs: Path, made: Path, tmp_path: Path) -> None:
    saved = made / ".degrade_kit/config.yaml"
    arguments = ["--config", saved, "--hq", pairs / "hq", "--lq", pairs / "small", "--shards", tmp_path / "again"]
    result = CliRunner().invoke(main, ["synth", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    assert dk.open_shards(tmp_path / "again").manifest["digest"] == dk.open_shards(made).manifest["digest"]


def test_a_dry_run_says_what_is_given(pairs: Path, tmp_path: Path) -> None:
    arguments = ["--hq", pairs / "hq", "--lq", pairs / "small", "--shards", tmp_path / "out", "--size", 0, "--dry-run"]
    result = CliRunner().invoke(main, ["synth", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    assert f"LQ images given in {pairs / 'small'}; 1 variant" in result.output
    assert "LQ as .jpg" in result.output
    assert not (tmp_path / "out").exists()


def test_given_pairs_travel_through_exports(made: Path, tmp_path: Path) -> None:
    for form in ("folder", "lq-only"):
        out = tmp_path / form
        result = CliRunner().invoke(main, ["export", str(made), "--to", form, "--out", str(out)])
        assert result.exit_code == 0, result.output
    arguments = ["join", str(tmp_path / "lq-only"), "--hq", str(made.parent / "hq"), "--out", str(tmp_path / "joined")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert dk.open_shards(tmp_path / "joined").manifest["digest"] == dk.open_shards(made).manifest["digest"]
    assert CliRunner().invoke(main, ["inspect", str(made)]).exit_code == 0
