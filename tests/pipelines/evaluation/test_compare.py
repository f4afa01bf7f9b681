"""`degrade-kit compare`: one table of what may stand in one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner, Result

from degrade_kit.image import Pixels, decode_image, encode_png
from degrade_kit.pipelines.cli import main
from degrade_kit.pipelines.sheet import Tile, contact_sheet


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def save(folder: Path, images: list[Pixels]) -> Path:
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        (folder / f"{number:02}.png").write_bytes(encode_png(image))
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, astronaut: npt.NDArray[np.uint8]) -> Path:
    """Evaluations `soft`, `softer`, `near` (to soft), `half` (other images) and `vqfr` (another protocol)."""
    root = tmp_path_factory.mktemp("compare")
    hq = [np.ascontiguousarray(astronaut[20 * n : 20 * n + 64, 150:214]) for n in range(8)]
    save(root / "hq", hq)
    save(root / "hq_half", hq[:4])
    rng = np.random.default_rng(0)
    methods = {
        "soft": [np.asarray(cv2.GaussianBlur(image, (0, 0), 1.0), np.uint8) for image in hq],
        "softer": [np.asarray(cv2.GaussianBlur(image, (0, 0), 2.5), np.uint8) for image in hq],
    }
    signs = [rng.integers(-n % 2 - 1, n % 2 + 2, hq[0].shape) for n in range(8)]
    methods["near"] = [
        np.clip(image.astype(int) + (sign if n % 2 else 0), 0, 255).astype(np.uint8) if n % 2 else
        np.asarray(cv2.GaussianBlur(hq[n], (0, 0), 0.97), np.uint8)
        for n, (image, sign) in enumerate(zip(methods["soft"], signs, strict=True))
    ]  # fmt: skip
    for name, images in methods.items():
        save(root / name, images)
        evaluate(root, name, root / name, root / "hq")
    save(root / "half", methods["soft"][:4])
    evaluate(root, "half", root / "half", root / "hq_half")
    evaluate(root, "vqfr", root / "soft", root / "hq", "--protocol", "vqfr")
    return root


def evaluate(root: Path, name: str, restored: Path, reference: Path, *words: object) -> None:
    found = run("evaluate", "--restored", restored, "--reference", reference, "--out", root / "eval" / name,
                "--workers", 0, *words)  # fmt: skip
    assert found.exit_code == 0, found.output


@pytest.mark.slow
def test_the_best_stands_out_in_every_format(root: Path, tmp_path: Path) -> None:
    found = run("compare", root / "eval" / "softer", f"Soft_1={root / 'eval' / 'soft'}", "--out", tmp_path)
    assert found.exit_code == 0, found.output
    markdown, page, latex = ((tmp_path / f"compare.{kind}").read_text() for kind in ("md", "html", "tex"))
    soft = next(line for line in markdown.splitlines() if line.startswith("| Soft"))

    assert "PSNR ↑" in markdown
    assert soft.startswith("| Soft\\_1 | **")
    assert next(line for line in markdown.splitlines() if line.startswith("| softer")).count("**") == 0
    assert "<td><b>" in page
    assert r"Soft\_1 & \textbf{" in latex
    assert r"PSNR $\uparrow$" in latex
    assert "basicsr-rgb@" in latex


def test_what_is_not_clearly_worse_is_marked(root: Path, tmp_path: Path) -> None:
    found = run("compare", *(root / "eval" / name for name in ("soft", "near", "softer")), "--out", tmp_path)
    assert found.exit_code == 0, found.output
    lines = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in found.output.splitlines()}

    marked = [name for name in ("soft", "near", "softer") if lines[name][1].startswith("≈")]
    assert len(marked) == 1
    assert marked != ["softer"]


def test_different_protocols_are_refused(root: Path, tmp_path: Path) -> None:
    found = run("compare", root / "eval" / "soft", root / "eval" / "vqfr", "--out", tmp_path / "out")

    assert found.exit_code == 2
    assert "different protocols" in found.output
    assert "soft: basicsr-rgb@" in found.output
    assert "vqfr: vqfr@" in found.output
    assert not (tmp_path / "out").exists()


def test_different_test_sets_are_refused_or_get_a_table_each(root: Path, tmp_path: Path) -> None:
    words = ("compare", f"m={root / 'eval' / 'soft'}", f"m={root / 'eval' / 'half'}", "--out", tmp_path / "out")
    refused, taken = run(*words), run(*words, "--several-sets")

    assert refused.exit_code == 2
    assert "different test sets" in refused.output
    assert "hq (8 images, " in refused.output
    assert "hq\\_half (4 images, " in taken.output
    assert taken.exit_code == 0, taken.output
    assert "## PSNR by test set" in taken.output


def test_the_sheet_shows_lq_methods_and_reference(root: Path, tmp_path: Path) -> None:
    words = ("compare", root / "eval" / "soft", root / "eval" / "softer", "--rows", 3, "--out")
    assert run(*words, tmp_path / "one").exit_code == 0
    assert run(*words, tmp_path / "two", "--lq", root / "near").exit_code == 0
    one, two = (decode_image((tmp_path / name / "sheet.png").read_bytes()).pixels for name in ("one", "two"))

    assert one.shape[0] == two.shape[0]
    assert one.shape[1] * 4 == pytest.approx(two.shape[1] * 3, rel=0.02)


def test_lq_images_that_were_evaluated_too_are_shown_once_and_first(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    words = ("compare", root / "eval" / "soft", f"input={root / 'eval' / 'softer'}", "--lq", "softer", "--rows", 1)
    assert run(*words, "--out", tmp_path).exit_code == 0
    sheet = decode_image((tmp_path / "sheet.png").read_bytes()).pixels

    assert sheet.shape[1] == 6 + 3 * (208 + 6)
    for column, folder in enumerate(("softer", "soft", "hq")):
        pixels = decode_image((root / folder / "00.png").read_bytes()).pixels
        shown = contact_sheet([[Tile(pixels, ())]])[6:214, 6:214]
        strip = sheet[:, 6 + column * 214 :][:, :208]
        assert any(np.array_equal(strip[top : top + 208], shown) for top in range(len(strip) - 207)), folder


@pytest.mark.slow
def test_images_that_are_gone_cost_the_sheet_alone(root: Path, tmp_path: Path) -> None:
    image = root / "soft" / "00.png"
    gone = save(tmp_path / "gone", [decode_image(image.read_bytes()).pixels] * 8)
    evaluate(tmp_path, "gone", gone, root / "hq")
    for path in gone.iterdir():
        path.unlink()
    found = run("compare", tmp_path / "eval" / "gone", root / "eval" / "soft", "--out", tmp_path / "out")

    assert found.exit_code == 0, found.output
    assert "no sheet: gone: " in found.output
    assert (tmp_path / "out" / "compare.md").is_file()


def test_a_damaged_evaluation_is_refused(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "eval" / "soft", tmp_path / "soft")
    for text in ("{", "[]", '{"schema_version": 1}'):
        (tmp_path / "soft" / "metrics.json").write_text(text)
        found = run("compare", tmp_path / "soft", "--out", tmp_path / "out")
        assert found.exit_code == 2
        assert "no evaluation of `degrade-kit evaluate`" in found.output
    described = json.loads((root / "eval" / "soft" / "metrics.json").read_text())
    del described["metrics"]["psnr"]["value"]
    (tmp_path / "soft" / "metrics.json").write_text(json.dumps(described))
    found = run("compare", tmp_path / "soft", root / "eval" / "softer", "--out", tmp_path / "out")
    assert found.exit_code == 2
    assert "field metrics.psnr.value: expected it, or null in its place, found no such field" in found.output


def test_other_folders_and_equal_names_are_refused(root: Path, tmp_path: Path) -> None:
    assert "no evaluation of `degrade-kit evaluate`" in run("compare", root / "hq", "--out", tmp_path / "out").output
    twice = run("compare", root / "eval" / "soft", root / "eval" / "soft", "--out", tmp_path / "out")
    assert twice.exit_code == 2
    assert "'soft' is there twice" in twice.output
