"""Readers of the public sets of pairs, on trees with their official names and on the sample data."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from degrade_kit.errors import ConfigError, ImageError
from degrade_kit.flipnet import registration
from degrade_kit.flipnet.crops import CropPolicy, read_pair
from degrade_kit.flipnet.mixture import RealPairs
from degrade_kit.flipnet.pairs import Pair, SourceTile, draw_subset, kind_of, read_pairs
from degrade_kit.image import Pixels, encode_png

REALBLUR_ROOT = "RealBlur-J_ECC_IMCORR_centroid_itensity_ref"


def plant(root: Path, names: Iterable[str]) -> Path:
    """Make empty files; readers of layouts open none."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def listed(pairs: Iterable[Pair], root: Path) -> dict[str, list[tuple[str, str]]]:
    """HQ and LQ names by split."""
    found: dict[str, list[tuple[str, str]]] = {}
    for pair in pairs:
        names = pair.hq_path.relative_to(root).as_posix(), pair.lq_path.relative_to(root).as_posix()
        found.setdefault(pair.split, []).append(names)
    return found


def test_dense_haze(tmp_path: Path) -> None:
    numbers = [f"{n:02}" for n in range(1, 56)]
    root = plant(tmp_path, [f"Dense_Haze_NTIRE19/{s}/{n}_{s}.png" for n in numbers for s in ("GT", "hazy")])
    found = read_pairs("dense-haze", root)
    assert (found.layout, found.kind, found.skipped) == ("dense-haze", "haze", ())
    assert [len(found.split("train")), len(found.split("test"))] == [50, 5]
    assert listed(found.pairs, root)["test"] == [
        (f"Dense_Haze_NTIRE19/GT/{n}_GT.png", f"Dense_Haze_NTIRE19/hazy/{n}_hazy.png") for n in numbers[50:]
    ]


def test_dense_haze_and_its_folder_alone_are_read_alike(tmp_path: Path) -> None:
    root = plant(tmp_path, ["Dense_Haze_NTIRE19/GT/01_GT.png", "Dense_Haze_NTIRE19/hazy/01_hazy.png"])
    above, below = read_pairs("haze", root), read_pairs("haze", root / "Dense_Haze_NTIRE19")
    assert [pair.hq_path for pair in above.pairs] == [pair.hq_path for pair in below.pairs]


def test_lol_v1(tmp_path: Path) -> None:
    names = [f"lol_dataset/{s}/{side}/{n}.png" for s, n in (("our485", 2), ("our485", 5), ("eval15", 1)) for side in
             ("low", "high")]  # fmt: skip
    root = plant(tmp_path, [*names, "__MACOSX/lol_dataset/our485/low/._2.png", "lol_dataset/our485/low/._2.png"])
    found = read_pairs("lol", root)
    assert (found.layout, found.kind, found.skipped) == ("lol", "low-light", ())
    assert listed(found.pairs, root) == {
        "train": [(f"lol_dataset/our485/high/{n}.png", f"lol_dataset/our485/low/{n}.png") for n in (2, 5)],
        "test": [("lol_dataset/eval15/high/1.png", "lol_dataset/eval15/low/1.png")],
    }


@pytest.mark.parametrize("folder", ["LOL-v2", "LOLv2"])
def test_lol_v2(tmp_path: Path, folder: str) -> None:
    real = [f"{folder}/Real_captured/{s}/{side}/{side.lower()}00{n}.png"
            for s, n in (("Train", 1), ("Test", 690)) for side in ("Low", "Normal")]  # fmt: skip
    made = [f"{folder}/Synthetic/{s}/{side}/r1a.png" for s in ("Train", "Test") for side in ("Low", "Normal")]
    root = plant(tmp_path, [*real, *made])
    found = read_pairs("lol", root)
    assert (found.layout, found.skipped) == ("lol", ())
    assert listed(found.pairs, root) == {
        split.lower(): [
            (
                f"{folder}/Real_captured/{split}/Normal/normal00{n}.png",
                f"{folder}/Real_captured/{split}/Low/low00{n}.png",
            ),
            (f"{folder}/Synthetic/{split}/Normal/r1a.png", f"{folder}/Synthetic/{split}/Low/r1a.png"),
        ]
        for split, n in (("Train", 1), ("Test", 690))
    }


@pytest.mark.parametrize("source", ["lol", "realblur-j"])
def test_repacks_with_train_and_test_folders(tmp_path: Path, source: str) -> None:
    capital = str.capitalize if source == "lol" else str.lower
    names = [f"X/{capital(s)}/{side}/{s}7.png" for s in ("train", "test") for side in ("input", "target")]
    root = plant(tmp_path, names)
    found = read_pairs(source, root)
    assert (found.layout, found.kind) == ("train-test", kind_of(source))
    assert listed(found.pairs, root) == {
        s: [(f"X/{capital(s)}/target/{s}7.png", f"X/{capital(s)}/input/{s}7.png")] for s in ("train", "test")
    }


@pytest.mark.parametrize(
    ("above", "number", "extension"),
    [
        ("SIDD_Medium_Srgb/", "0001_", "PNG"),
        ("mnt/d/SIDD_Medium_Srgb/", "0001_", "png"),
        ("SIDD_Small_sRGB_Only/", "", "PNG"),
    ],
)
def test_sidd(tmp_path: Path, above: str, number: str, extension: str) -> None:
    scene = f"{above}Data/0001_001_S6_00100_00060_3200_L/{number}"
    root = plant(tmp_path, [f"{scene}{s}_SRGB_01{k}.{extension}" for s in ("GT", "NOISY") for k in (0, 1)])
    found = read_pairs("sidd", root)
    assert (found.layout, found.kind, found.skipped) == ("sidd", "noise", ())
    assert listed(found.pairs, root) == {
        "train": [(f"{scene}GT_SRGB_01{k}.{extension}", f"{scene}NOISY_SRGB_01{k}.{extension}") for k in (0, 1)]
    }


def make_realblur(root: Path) -> Path:
    for split, scene in (("train", 1), ("test", 2)):
        names = [(f"{REALBLUR_ROOT}/scene00{scene}/gt/gt_{k}.png", f"{REALBLUR_ROOT}/scene00{scene}/blur/blur_{k}.png")
                 for k in (1, 2)]  # fmt: skip
        plant(root, [name for pair in names for name in pair])
        (root / f"RealBlur_J_{split}_list.txt").write_text("".join(f"{hq} {lq} \n" for hq, lq in names))
    return root


def test_realblur_follows_its_lists(tmp_path: Path) -> None:
    root = make_realblur(tmp_path / "RealBlur")
    plant(root, [f"{REALBLUR_ROOT}/scene003/gt/gt_1.png"])
    (root / REALBLUR_ROOT / "scene001/blur/blur_2.png").unlink()
    found = read_pairs("realblur-j", tmp_path)
    assert (found.layout, found.kind) == ("realblur-j", "blur")
    assert {split: len(found.split(split)) for split in ("train", "test")} == {"train": 1, "test": 2}
    assert found.split("train")[0].hq_path == root / REALBLUR_ROOT / "scene001/gt/gt_1.png"
    assert found.skipped == (
        (f"RealBlur/{REALBLUR_ROOT}/scene001/blur/blur_2.png", "listed, but not there"),
        (f"RealBlur/{REALBLUR_ROOT}/scene001/gt/gt_2.png", "no LQ partner"),
        (f"RealBlur/{REALBLUR_ROOT}/scene003/gt/gt_1.png", "in no list"),
    )


def test_realblur_without_lists_is_refused_since_its_test_split_is_unknown(tmp_path: Path) -> None:
    root = make_realblur(tmp_path)
    for path in root.glob("*.txt"):
        path.unlink()
    with pytest.raises(ConfigError, match="splits are in its lists: expected RealBlur_J_"):
        read_pairs("realblur-j", root)


def test_a_line_of_a_list_that_names_no_pair_is_an_error(tmp_path: Path) -> None:
    root = make_realblur(tmp_path)
    (root / "RealBlur_J_train_list.txt").write_text("one.png\n")
    with pytest.raises(ConfigError, match=r"RealBlur_J_train_list\.txt, line 1: expected GT_PATH BLUR_PATH"):
        read_pairs("blur", root)


def test_a_pair_in_both_lists_is_an_error(tmp_path: Path) -> None:
    root = make_realblur(tmp_path)
    shutil.copy(root / "RealBlur_J_test_list.txt", root / "RealBlur_J_train_list.txt")
    with pytest.raises(ConfigError, match="listed already"):
        read_pairs("blur", root)


def test_polyu(tmp_path: Path) -> None:
    root = plant(tmp_path, [f"CroppedImages/Canon_1_{s}.JPG" for s in ("mean", "real")])
    found = read_pairs("polyu", root)
    assert (found.layout, found.kind) == ("polyu", "noise")
    assert listed(found.pairs, root) == {
        "train": [("CroppedImages/Canon_1_mean.JPG", "CroppedImages/Canon_1_real.JPG")]
    }


def test_plain_folders_pair_by_name_whatever_the_format(tmp_path: Path) -> None:
    root = plant(tmp_path, ["hq/a/1.png", "lq/a/1.jpg", "test/hq/2.png", "test/lq/2.png"])
    found = read_pairs("old-film", root)
    assert (found.layout, found.kind) == ("hq-lq", "old-film")
    assert listed(found.pairs, root) == {
        "train": [("hq/a/1.png", "lq/a/1.jpg")],
        "test": [("test/hq/2.png", "test/lq/2.png")],
    }


def test_what_is_in_no_pair_is_told_by_reason(tmp_path: Path) -> None:
    names = [
        "hq/1.png",
        "lq/1.png",
        "hq/2.png",
        "lq/3.png",
        "hq/4.png",
        "hq/4.jpg",
        "lq/4.png",
        "preview.png",
        "hq/.5.png",
    ]
    found = read_pairs("haze", plant(tmp_path, names))
    assert [pair.name for pair in found.pairs] == ["1"]
    assert found.skipped == (
        ("hq/2.png", "no LQ partner"),
        ("hq/4.jpg", "several files for one side"),
        ("hq/4.png", "several files for one side"),
        ("lq/3.png", "no HQ partner"),
        ("lq/4.png", "several files for one side"),
        ("preview.png", "not of the layout"),
    )
    assert found.skipped_by_reason()["several files for one side"] == 3


def test_links_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    root = plant(tmp_path, ["hq/1.png", "lq/1.png"])
    (root / "lq/2.png").symlink_to("nowhere.png")
    assert read_pairs("haze", root).skipped == (("lq/2.png", "unreadable"),)


def test_no_fitting_layout_says_what_was_found_and_what_is_nearest(tmp_path: Path) -> None:
    root = plant(tmp_path, ["GT/01_GT.png", "GT/02_GT.png", "foggy/01.png"])
    with pytest.raises(ConfigError) as caught:
        read_pairs("dense-haze", root)
    message = str(caught.value)
    assert f"pairs dense-haze={root}: no pair found" in message
    assert "2 images in GT, 1 images in foggy" in message
    assert "nearest is dense-haze ({GT,hazy}/NN_{GT,hazy}.png), with 2 HQ and 0 LQ files of it" in message
    shutil.rmtree(root / "GT")
    with pytest.raises(ConfigError, match=r"known are realblur-j: .*; dense-haze: .*; hq-lq: "):
        read_pairs("dense-haze", root)


def test_a_folder_with_two_data_sets_is_refused(tmp_path: Path) -> None:
    root = plant(tmp_path, ["A/hq/1.png", "A/lq/1.png", "B/x_mean.JPG", "B/x_real.JPG"])
    with pytest.raises(ConfigError, match="expected one data set, found 1 pairs of polyu, 1 pairs of hq-lq"):
        read_pairs("noise", root)


@pytest.mark.parametrize("root", ["missing", "file.png"])
def test_what_is_no_folder_is_refused(tmp_path: Path, root: str) -> None:
    plant(tmp_path, ["file.png"])
    with pytest.raises(ConfigError, match=f"pairs haze={re.escape(str(tmp_path / root))}: expected a folder"):
        read_pairs("haze", tmp_path / root)


@pytest.mark.parametrize("kind", ["", "Haze", "two words", "-x"])
def test_a_kind_is_one_word(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfigError, match="kind of pairs"):
        read_pairs(kind, tmp_path)


# -------------------------------------------------------------------------------------------------------------- subsets


def many(count: int, split: str = "train") -> list[Pair]:
    return [
        Pair("noise", f"{split}/{n}", Path("h"), Path("l"), "test" if split == "test" else "train")
        for n in range(count)
    ]


def test_a_subset_depends_on_seed_and_names_alone() -> None:
    pairs = many(50)
    taken = draw_subset(pairs, 10, seed=3)
    assert len(taken) == 10
    assert draw_subset(pairs[::-1], 10, seed=3) == taken
    assert draw_subset(pairs, 10, seed=4) != taken
    assert set(draw_subset(pairs, 5, seed=3)) < set(taken)
    fewer = [pair for pair in pairs if pair != taken[0]]
    assert set(taken[1:]) < set(draw_subset(fewer, 10, seed=3))


def test_a_subset_keeps_the_test_split_and_a_limit_of_zero_keeps_all() -> None:
    pairs = many(20) + many(5, "test")
    assert len(draw_subset(pairs, 4, seed=0)) == 9
    assert len(draw_subset(pairs, 0, seed=0)) == len(draw_subset(pairs, 100, seed=0)) == 25


@pytest.mark.slow
def test_the_papers_limit_holds_for_sidd_and_realblur_and_no_other(tmp_path: Path) -> None:
    sidd = plant(tmp_path / "s", [f"Data/{n:04}_X/{s}_SRGB_010.PNG" for n in range(1003) for s in ("GT", "NOISY")])
    for source in ("sidd", "noise"):
        found = read_pairs(source, sidd)
        assert (len(found.pairs), found.left_out) == (1000, 3)
    assert len(read_pairs("sidd", sidd, limit=0).pairs) == 1003
    assert read_pairs("sidd", sidd, limit=7, seed=1).pairs == read_pairs("sidd", sidd, limit=7, seed=1).pairs
    repack = plant(tmp_path / "r", [f"train/{s}/{n}.png" for n in range(1003) for s in ("input", "target")])
    assert len(read_pairs("realblur-j", repack).pairs) == 1000
    assert len(read_pairs("lol", repack).pairs) == 1003


# ---------------------------------------------------------------------------------------------------------------- tiles


def plant_noise(root: Path, size: tuple[int, int] = (100, 130), scenes: int = 3) -> Path:
    """SIDD's layout, one pair of each scene; LQ is HQ plus the scene's number."""
    for scene in range(1, scenes + 1):
        folder = root / f"Data/{scene:04}_{scene:03}_S6_00100_00060_3200_L"
        folder.mkdir(parents=True)
        hq = np.random.default_rng(scene).integers(0, 200, (*size, 3), np.uint8)
        for side, pixels in (("GT", hq), ("NOISY", hq + scene)):
            (folder / f"{scene:04}_{side}_SRGB_010.PNG").write_bytes(encode_png(pixels.astype(np.uint8)))
    return root


def test_large_images_give_tiles_that_are_pairs_of_their_own(tmp_path: Path) -> None:
    root = plant_noise(tmp_path)
    assert len(read_pairs("sidd", root).pairs) == 3, "smaller than two of the paper's tiles"
    found = read_pairs("sidd", root, tile=32, limit=0)
    assert len(found.pairs) == 3 * 3 * 4
    assert len({pair.name for pair in found.pairs}) == 36
    whole = {pair.lq_path: read_pair(pair) for pair in read_pairs("sidd", root, tile=0).pairs}
    for pair in found.pairs:
        assert pair.tile is not None
        rows, columns = (slice(start, start + 32) for start in (pair.tile.top, pair.tile.left))
        for part, image in zip(read_pair(pair), whole[pair.lq_path], strict=True):
            assert np.array_equal(part, image[rows, columns])
            assert part.flags.c_contiguous
    outside = replace(found.pairs[0], tile=SourceTile(80, 0, 32))
    with pytest.raises(ImageError, match="to lie within 130 x 100 pixels"):
        read_pair(outside)


def test_every_image_gives_a_tile_before_any_gives_two(tmp_path: Path) -> None:
    root = plant_noise(tmp_path)
    for limit in (2, 3, 6, 8):
        found = read_pairs("sidd", root, tile=32, limit=limit, seed=5)
        each = Counter(pair.lq_path for pair in found.pairs)
        assert each.total() == limit
        assert max(each.values()) == -(-limit // 3)
        assert found.pairs == read_pairs("sidd", root, tile=32, limit=limit, seed=5).pairs
    assert found.left_out == 36 - 8
    assert found.pairs != read_pairs("sidd", root, tile=32, limit=8, seed=6).pairs


def test_pairs_are_kept_out_by_their_names_and_give_one_tile(tmp_path: Path) -> None:
    found = read_pairs("sidd", plant_noise(tmp_path), tile=32, limit=9, kept_out=["*/????_003_*"])
    assert len(found.split("train")) == 9
    assert all("_003_" not in pair.name for pair in found.split("train"))
    assert [pair.lq_path.name for pair in found.split("test")] == ["0003_NOISY_SRGB_010.PNG"]


def test_tiles_are_judged_by_their_image_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = read_pairs("sidd", plant_noise(tmp_path), tile=32, limit=0).pairs
    seen: list[tuple[int, ...]] = []

    def register(hq: Pixels, lq: Pixels) -> registration.Registration:
        seen.append(hq.shape)
        away = 9.0 if int(lq[0, 0, 0]) - int(hq[0, 0, 0]) == 2 else 0.0
        return registration.Registration(away, away, 0.1, 0.9)

    monkeypatch.setattr(registration, "register_pair", register)
    kept, refused = registration.check_pairs(pairs)
    assert seen == [(100, 130, 3)] * 3
    assert (len(kept), {refusal.pair.name[:12] for refusal in refused}) == (24, {"Data/0002_00"})


def test_a_tile_is_trained_on_at_native_resolution(tmp_path: Path) -> None:
    pairs = read_pairs("sidd", plant_noise(tmp_path), tile=48, limit=0).pairs
    source = RealPairs(pairs, captions=["noise"] * len(pairs), policy=CropPolicy(native=0.0, flip=0.0))
    for index, pair in enumerate(pairs):
        rng = np.random.default_rng(index)
        found = source.load(index, 48, rng, rng)
        assert np.array_equal(found.hq, read_pair(pair)[0])


# ---------------------------------------------------------------------------------------------------------- sample data


@pytest.mark.parametrize(
    ("source", "folder", "layout", "kind", "train", "test"),
    [
        ("dense-haze", "pairs/Dense_Haze_NTIRE19", "dense-haze", "haze", 11, 1),
        ("lol", "pairs/LOLdataset", "lol", "low-light", 24, 6),
        ("sidd", "pairs/SIDD_Medium_Srgb", "sidd", "noise", 24, 0),
        ("polyu", "pairs/PolyU", "polyu", "noise", 40, 0),
        ("realblur-j", "pairs/RealBlur", "realblur-j", "blur", 18, 6),
        ("noise", "pairs_more/noise", "hq-lq", "noise", 35, 0),
        ("low-light", "pairs_more/lowlight", "hq-lq", "low-light", 262, 0),
    ],
)
def test_the_sample_data_are_read_in_whole(
    shared_data: Path, source: str, folder: str, layout: str, kind: str, train: int, test: int
) -> None:
    found = read_pairs(source, shared_data / folder)
    assert (found.layout, found.kind, found.skipped) == (layout, kind, ())
    assert (len(found.split("train")), len(found.split("test"))) == (train, test)
    assert all(pair.hq_path.is_file() and pair.lq_path.is_file() for pair in found.pairs)
