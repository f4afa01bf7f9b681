"""Points of faces from `align` through `synth` into pairs, where they lie on the same pixels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import degrade_kit as dk
from degrade_kit.adapters import restoreformer
from degrade_kit.adapters.base import locations
from degrade_kit.align import align_face
from degrade_kit.errors import ConfigError, ShardError
from degrade_kit.face_points import COMPONENTS, face_points
from degrade_kit.image import encode_png
from degrade_kit.pipelines.cli import main
from degrade_kit.streaming import Pair, PairMapDataset, PairOptions

pytestmark = pytest.mark.slow

SIDE = 96
FIVE = np.array([[36.0, 44], [60, 44], [48, 58], [39, 68], [58, 68]])


def run(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def marked(points: np.ndarray[Any, Any], size: tuple[int, int] = (SIDE, SIDE)) -> np.ndarray[Any, Any]:
    """A picture that is black but for a soft spot at each point: red, green, blue, yellow and white."""
    picture = np.zeros((*size, 3), np.float64)
    y, x = np.mgrid[: size[0], : size[1]]
    colours = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 1, 1]])
    for (column, row), colour in zip(points, colours, strict=True):
        picture += np.exp(-((x - column) ** 2 + (y - row) ** 2) / 8)[..., None] * colour
    return (255 * picture.clip(0, 1)).round().astype(np.uint8)


def spot(image: torch.Tensor, channel: int, other: int) -> tuple[float, float]:
    """The middle of what has one colour and not another."""
    weights = (image[channel].double() - image[other].double()).clip(0) ** 2
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in weights.shape), indexing="ij")
    return float((weights * columns).sum() / weights.sum()), float((weights * rows).sum() / weights.sum())


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photographs of one face, small, turned and wide, with a file of their points."""
    root = tmp_path_factory.mktemp("photos")
    turned = cv2.getRotationMatrix2D((48, 48), 10, 1.3)
    places = {"a.png": FIVE, "b.png": FIVE @ turned[:, :2].T + turned[:, 2] + 40, "c.png": FIVE * 1.5 + [60, 10]}
    for name, points in places.items():
        (root / name).write_bytes(encode_png(marked(points, (240, 300))))
    (root / "points.json").write_text(json.dumps({name: points.tolist() for name, points in places.items()}))
    return root


@pytest.fixture(scope="module")
def made(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 80 pixels of faces that were aligned at 96."""
    out = tmp_path_factory.mktemp("made")
    run("align", "--input", photos, "--landmarks", photos / "points.json", "--out", out / "faces", "--size", SIDE)
    lines = out / "faces" / "align.jsonl"
    run("synth", "--hq", out / "faces", "--landmarks", lines, "--shards", out / "set", "--preset", "gfpgan",
        "--variants", 2, "--size", 80, "--workers", 0)  # fmt: skip
    return out / "set"


def test_points_travel_from_align_into_the_shards(made: Path) -> None:
    for sample in dk.open_shards(made).samples():
        face = sample.points()
        assert face is not None
        hq = torch.from_numpy(sample.hq().transpose(2, 0, 1))
        assert face.points[2] == pytest.approx(spot(hq, 2, 0), abs=0.6)  # the nose, which alone is blue
        left, right = face.points[:2]
        assert left[1] == pytest.approx(right[1], abs=0.6)
        assert [square[:2] for square in face.components[:2]] == [left, right]
    assert "landmarks" in (made / "README.md").read_text()
    run("verify", made, "--workers", 0)


def test_the_same_data_set_without_landmarks_has_the_same_images(made: Path, tmp_path: Path) -> None:
    faces = made.parent / "faces"
    report = dk.synthesize(faces, tmp_path / "out", preset="gfpgan", variants=2, size=80, workers=0)
    assert report.complete
    pairs = zip(dk.open_shards(made).samples(), dk.open_shards(tmp_path / "out").samples(), strict=True)
    for having, plain in pairs:
        assert plain.points() is None
        assert {name: data for name, data in having.members.items() if name != "json"} == {
            name: data for name, data in plain.members.items() if name != "json"
        }
        assert {name: having.info[name] for name in plain.info} == plain.info


@pytest.mark.parametrize(("crop", "onthefly"), [(None, None), (48, None), (None, "gfpgan"), (64, "restoreformer++")])
def test_points_lie_on_the_same_pixels_of_cropped_mirrored_and_shifted_pairs(
    crop: int | None, onthefly: str | None, made: Path
) -> None:
    recipe = None if onthefly is None else dk.preset(onthefly)
    options = PairOptions(crop=crop, flip=True, landmarks=True, onthefly=recipe, onthefly_prob=1.0)
    pairs, seen = PairMapDataset(made, options), set[bool]()
    for epoch in range(4):
        for item in range(len(pairs)):
            pair = pairs.at(epoch, item)
            nose = pair["points"][2]
            seen.add(pair["mirrored"])
            side = pair["hq"].shape[1]
            if nose.min() > 6 and nose.max() < side - 7:
                assert nose.tolist() == pytest.approx(spot(pair["hq"], 2, 0), abs=0.7)
            # Left is left in the picture, mirrored or not.
            assert pair["points"][0][0] < pair["points"][1][0]
            assert pair["left_eye"][:2].tolist() == pair["points"][0].tolist()
    assert seen == {True, False}


def test_other_readers_give_the_same_points(made: Path) -> None:
    options = PairOptions(landmarks=True)
    by_key = {pair["key"]: pair for pair in dk.webdataset(made, options)}
    for pair in dk.PairDataset(made, options, shuffle=False):
        assert torch.equal(pair["mouth"], by_key[pair["key"]]["mouth"])
        assert "mouth" not in next(iter(dk.PairDataset(made)))


# ------------------------------------------------------------------------------------------------ locations for GFPGAN


def gfpgan_locations(components: dict[str, list[float]], flipped: bool, out_size: int, ratio: float) -> Any:  # noqa: ANN401
    """As GFPGAN's data set says, written anew: exchanged and mirrored at `out_size`, eyes enlarged, a box from it."""
    parts = {name: list(components[name]) for name in components}
    if flipped:
        parts["left_eye"], parts["right_eye"] = parts["right_eye"], parts["left_eye"]
        for part in parts.values():
            part[0] = out_size - part[0]
    boxes: dict[str, torch.Tensor] = {}
    for name, (x, y, half) in parts.items():
        reach = half * ratio if name != "mouth" else half
        boxes[f"loc_{name}"] = torch.tensor([x - reach + 1, y - reach + 1, x + reach, y + reach])
    return boxes


def test_locations_are_those_of_gfpgan_s_data_set(made: Path) -> None:
    dataset = restoreformer.DegradeKitPairs(
        dataroot=str(made), use_hflip=True, crop_components=True, eye_enlarge_ratio=1.4, seed=3
    )
    plain = PairMapDataset(made, PairOptions(flip=True, seed=3, landmarks=True))
    infos = [sample.info for sample in dk.open_shards(made).samples()]
    seen = set[bool]()
    for index, info in enumerate(infos):
        for epoch in range(4):
            flipped = bool(plain.at(epoch, index)["mirrored"])
            seen.add(flipped)
            sample = dataset[index]  # its next epoch
            expected = gfpgan_locations(json.loads(info["components"]), flipped, 80, 1.4)
            for name, box in expected.items():
                assert sample[name].dtype == torch.float32
                assert sample[name].shape == (4,)
                torch.testing.assert_close(sample[name], box, atol=1e-4, rtol=0)
    assert seen == {True, False}


def test_facial_discriminators_take_a_step_on_a_batch(made: Path) -> None:
    """GFPGAN's and RestoreFormer's own formula of regions, with a discriminator of one layer for each part."""
    ops = pytest.importorskip("torchvision.ops")
    dataset = restoreformer.DegradeKitPairs(dataroot=str(made), crop_components=True, eye_enlarge_ratio=1.4)
    batch = torch.utils.data.default_collate([dataset[index] for index in range(len(dataset))])
    gt, output = batch["gt"], batch["lq"].clone().requires_grad_()

    def regions(image: torch.Tensor, name: str, size: int) -> torch.Tensor:
        numbers = torch.arange(len(image))[:, None].float()
        return ops.roi_align(image, torch.cat([numbers, batch[name]], 1), size)

    for name, size in (("loc_left_eye", 80), ("loc_right_eye", 80), ("loc_mouth", 120)):
        real, fake = regions(gt, name, size), regions(output, name, size)
        assert real.shape == (len(dataset), 3, size, size)
        assert (real.amax((1, 2, 3)) > 0).all(), "the region shows the part, which is bright"
        critic = torch.nn.Conv2d(3, 1, 8, stride=4)
        before = critic.weight.detach().clone()
        optimiser = torch.optim.Adam(critic.parameters(), lr=1e-3)
        loss = torch.nn.functional.softplus(-critic(real)).mean() + torch.nn.functional.softplus(critic(fake)).mean()
        loss.backward()
        optimiser.step()
        assert not torch.equal(critic.weight, before)
    assert output.grad is not None
    assert (output.grad != 0).any()


def test_without_components_a_sample_is_as_before(made: Path) -> None:
    assert set(restoreformer.DegradeKitPairs(dataroot=str(made))[0]) == {"lq", "gt", "gt_path"}


def test_a_mirrored_box_is_exchanged(made: Path) -> None:
    pair: Pair = {name: torch.tensor([10.0 * number, 5, 2]) for number, name in enumerate(COMPONENTS)}
    assert locations({**pair, "mirrored": False}, 2.0)["loc_left_eye"].tolist() == [-3, 2, 4, 9]
    assert locations({**pair, "mirrored": True}, 1.0)["loc_mouth"].tolist() == [20, 4, 23, 7]
    assert locations(pair, None) == {}


# ------------------------------------------------------------------------------------------------------ what is missing


def test_faces_without_points_are_counted_and_left_out(made: Path, tmp_path: Path) -> None:
    faces = made.parent / "faces"
    lines = (faces / "align.jsonl").read_text().splitlines(keepends=True)
    some = tmp_path / "some.jsonl"
    some.write_text("".join(lines[:2]))
    report = dk.synthesize(faces, tmp_path / "out", landmarks=some, preset="gfpgan", size=80, workers=0)
    assert report.failures == {"no landmarks": 1}
    assert report.num_samples == 2
    assert "does not name this image" in (tmp_path / "out/.degrade_kit/failures.jsonl").read_text()


def test_other_landmarks_are_another_data_set(made: Path, tmp_path: Path) -> None:
    faces = made.parent / "faces"
    with pytest.raises(dk.RunError, match="landmarks"):
        dk.synthesize(faces, made, preset="gfpgan", variants=2, size=80, workers=0)
    moved = tmp_path / "elsewhere.jsonl"
    moved.write_bytes((faces / "align.jsonl").read_bytes())
    report = dk.synthesize(faces, made, landmarks=moved, preset="gfpgan", variants=2, size=80, workers=0)
    assert report.shards_made == 0


def test_trainers_say_that_a_data_set_has_no_landmarks(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    dk.synthesize(made.parent / "faces", out, preset="gfpgan", size=80, workers=0)
    with pytest.raises(ConfigError, match="has no landmarks; make it with `synth --landmarks`"):
        restoreformer.DegradeKitPairs(dataroot=str(out), crop_components=True)
    with pytest.raises(ShardError, match="no landmarks"):
        next(iter(dk.PairDataset(out, PairOptions(landmarks=True))))
    with pytest.raises(ConfigError, match="crop_components: expected true or false, got 'yes'"):
        restoreformer.DegradeKitPairs(dataroot=str(out), crop_components="yes")
    with pytest.raises(ConfigError, match="eye_enlarge_ratio: expected a positive number, got 0"):
        restoreformer.DegradeKitPairs(dataroot=str(made), crop_components=True, eye_enlarge_ratio=0)


# ------------------------------------------------------------------------------------------------------ aligned already


def test_images_that_are_aligned_already_keep_their_pixels_and_get_points(made: Path, tmp_path: Path) -> None:
    faces, found = made.parent / "faces", tmp_path / "found"
    points = tmp_path / "points.json"
    five = {
        path.name: [list(map(float, point)) for point in sample["points"]]
        for path in sorted(faces.glob("*.png"))
        for sample in map(json.loads, (faces / "align.jsonl").read_text().splitlines())
        if sample["output"] == path.name
    }
    points.write_text(json.dumps(five))
    said = run("align", "--input", faces, "--landmarks", points, "--points-only", "--out", found, "--workers", 0)

    assert f"points of 3 faces of 3 photos in {found}/align.jsonl; 0 photos done before" in said
    assert f"next: degrade-kit synth --hq {faces} --landmarks {found}/align.jsonl --shards shards" in said
    assert sorted(path.name for path in found.iterdir()) == ["align.jsonl", "align.yaml", "align_failures.jsonl"]
    for line in map(json.loads, (found / "align.jsonl").read_text().splitlines()):
        assert line["output"] == line["source"]
        np.testing.assert_allclose(line["points"], five[line["source"]], atol=0.01)
        expected = face_points(np.array(five[line["source"]]), side=SIDE).to_plain()["components"]
        assert line["components"] == expected
    again = run("align", "--input", faces, "--landmarks", points, "--points-only", "--out", found, "--workers", 0)
    assert "3 photos done before" in again


def test_lines_of_an_older_version_get_their_points_by_another_run(photos: Path, tmp_path: Path) -> None:
    arguments = ["--landmarks", photos / "points.json", "--out", tmp_path / "faces", "--size", SIDE, "--workers", 0]
    run("align", "--input", photos, *arguments)
    path = tmp_path / "faces/align.jsonl"
    new = path.read_text()
    old = [json.loads(line) for line in new.splitlines()]
    for line in old:
        del line["points"], line["components"]
    path.write_text("".join(json.dumps(line) + "\n" for line in old))
    said = run("align", "--input", photos, *arguments)
    assert "3 photos done before" in said
    texts = zip(path.read_text().splitlines(), new.splitlines(), strict=True)
    for line, before in (map(json.loads, pair) for pair in texts):
        np.testing.assert_allclose(line["points"], before["points"], atol=0.05)


def test_a_face_is_the_same_whether_it_is_aligned_or_resized(photos: Path) -> None:
    points = np.array(json.loads((photos / "points.json").read_text())["c.png"])
    picture = marked(points, (240, 300))
    small, large = (align_face(picture, points, size) for size in (48, 96))
    face = face_points(points, side=100)
    np.testing.assert_allclose(small.points(face).resized(2).components, large.points(face).components, atol=1e-6)
    assert replace(small, padded=0.5).points(face) == small.points(face)
