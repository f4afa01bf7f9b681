"""`degrade-kit evaluate`, from folders of images to numbers."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner, Result

from degrade_kit.analysis.judge import METRICS, ImageMetric, PairMetric
from degrade_kit.analysis.metrics import psnr, ssim
from degrade_kit.analysis.protocols import PROTOCOLS
from degrade_kit.analysis.summary import bootstrap
from degrade_kit.analysis.weights import WEIGHTS
from degrade_kit.files import file_sha256
from degrade_kit.image import Pixels, encode_png
from degrade_kit.pipelines.cli import main
from tests.by_path import load_module
from tests.pipelines.models.runs import needs_ray

SIDE = 64
NAMES = ("a", "b", "sub/c", "d", "e", "f")


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def evaluate(out: Path, *words: object) -> Result:
    return run("evaluate", "--out", out, "--workers", 0, *words)


def metrics(out: Path) -> dict[str, Any]:
    return json.loads((out / "metrics.json").read_text())


def save(folder: Path, images: dict[str, Pixels], suffix: str = "") -> Path:
    for name, image in images.items():
        path = folder / f"{name}{suffix}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(image))
    return folder


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEGRADE_KIT_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture(scope="module")
def images(astronaut: npt.NDArray[np.uint8]) -> dict[str, Pixels]:
    return {
        name: np.ascontiguousarray(astronaut[30 * number : 30 * number + SIDE, 150 : 150 + SIDE])
        for number, name in enumerate(NAMES)
    }


def blurred(image: Pixels, sigma: float = 1.5) -> Pixels:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


@pytest.fixture
def hq(tmp_path: Path, images: dict[str, Pixels]) -> Path:
    return save(tmp_path / "hq", images)


@pytest.fixture
def restored(tmp_path: Path, images: dict[str, Pixels]) -> Path:
    return save(tmp_path / "restored", {name: blurred(image) for name, image in images.items()}, "_00")


def test_numbers_are_means_of_what_each_image_has(
    tmp_path: Path, hq: Path, restored: Path, images: dict[str, Pixels]
) -> None:
    found = evaluate(tmp_path / "out", "--restored", restored, "--reference", hq, "--suffix", "_00")
    assert found.exit_code == 0, found.output
    ours = PROTOCOLS["basicsr-rgb"]
    expected = {
        name: tuple(measure(blurred(image), image, ours) for measure in (psnr, ssim)) for name, image in images.items()
    }
    described = metrics(tmp_path / "out")
    with (tmp_path / "out" / "per_image.csv").open() as file:
        rows = list(csv.DictReader(file))

    assert [row["image"] for row in rows] == sorted(NAMES)
    for row in rows:
        assert (float(row["psnr"]), float(row["ssim"])) == pytest.approx(expected[row["image"]], rel=1e-5)
        assert row["protocol"] == PROTOCOLS["basicsr-rgb"].id
    for number, name in enumerate(("psnr", "ssim")):
        entry = described["metrics"][name]
        assert entry["value"] == pytest.approx(np.mean([pair[number] for pair in expected.values()]))
        assert entry["low"] < entry["value"] < entry["high"]
        assert entry["images"] == len(NAMES)
    assert {entry["protocol"] for entry in described["metrics"].values()} == {PROTOCOLS["basicsr-rgb"].id}
    assert "basicsr-rgb@" in (tmp_path / "out" / "report.md").read_text()
    assert (tmp_path / "out" / "sheet.png").is_file()


@pytest.mark.slow
def test_the_numbers_are_there_where_no_sheet_can_be_drawn(
    tmp_path: Path, images: dict[str, Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--restored", save(tmp_path / "r", images), "--reference", save(tmp_path / "hq", images))
    assert evaluate(tmp_path / "out", *words).exit_code == 0
    expected = {name: (tmp_path / "out" / name).read_bytes() for name in ("metrics.json", "per_image.csv")}

    def broken(*_: object) -> None:
        raise RuntimeError("no sheet")

    monkeypatch.setattr("degrade_kit.pipelines.evaluation.evaluate.draw_sheet", broken)
    assert str(evaluate(tmp_path / "out", *words).exception) == "no sheet"
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert found == expected, "with nothing of the older run's report"


@pytest.mark.slow
@pytest.mark.long
def test_two_workers_find_the_numbers_of_one_process(
    tmp_path: Path, images: dict[str, Pixels], astronaut: npt.NDArray[np.uint8]
) -> None:
    needs_ray()
    more = {
        f"more/{shift}": np.ascontiguousarray(astronaut[shift : shift + SIDE, 150:214]) for shift in range(0, 300, 10)
    }
    all_of_them = {**images, **more}  # three tasks of sixteen images
    hq = save(tmp_path / "hq", all_of_them)
    restored = save(tmp_path / "restored", {name: blurred(image) for name, image in all_of_them.items()})
    found: dict[int, Path] = {}
    for workers in (0, 2):
        out = found[workers] = tmp_path / f"out{workers}"
        # The last word wins over the one of `evaluate`.
        result = evaluate(out, "--restored", restored, "--reference", hq, "--hq", hq, "--workers", workers)
        assert result.exit_code == 0, result.output

    for name in ("metrics.json", "per_image.csv", "report.md", "report.html", "sheet.png"):
        assert (found[0] / name).read_bytes() == (found[2] / name).read_bytes(), name
    measured = metrics(found[2])["metrics"]
    assert {"psnr", "ssim", "kid-degradation"} <= {
        name for name, entry in measured.items() if entry["value"] is not None
    }


def test_what_has_no_partner_is_listed_on_each_side(tmp_path: Path, hq: Path, restored: Path) -> None:
    found = evaluate(tmp_path / "out", "--restored", restored, "--reference", hq)

    assert found.exit_code == 2
    assert "6 of 6 references have no restored image: a, b, d, e, f, ..." in found.output
    assert "6 of 6 restored images have no reference: a_00, b_00, d_00, e_00, f_00, ..." in found.output
    assert "--suffix _00" in found.output
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_missing_image_is_an_error_unless_it_is_allowed_and_then_counted(
    tmp_path: Path, hq: Path, restored: Path
) -> None:
    words = ("--restored", restored, "--reference", hq, "--suffix", "_00")
    whole = evaluate(tmp_path / "whole", *words)
    assert whole.exit_code == 0
    (restored / "sub" / "c_00.png").unlink()
    (restored / "z_00.png").write_bytes((restored / "a_00.png").read_bytes())
    (restored / "odd.png").write_bytes((restored / "a_00.png").read_bytes())
    refused, allowed = evaluate(tmp_path / "out", *words), evaluate(tmp_path / "out", *words, "--allow-missing")

    assert refused.exit_code == 2
    assert "1 of 6 references have no restored image: sub/c; 2 of 7 restored images" in refused.output
    assert allowed.exit_code == 0
    described = metrics(tmp_path / "out")
    assert described["test_set"]["missing"] == ["sub/c"]
    assert described["test_set"]["extra"] == ["odd", "z"]
    assert described["metrics"]["psnr"]["images"] == 5
    assert described["test_set"]["sha256"] != metrics(tmp_path / "whole")["test_set"]["sha256"]


def test_two_names_that_differ_in_extension_only_are_refused(tmp_path: Path, hq: Path) -> None:
    shutil.copy(hq / "a.png", hq / "a.jpg")

    found = evaluate(tmp_path / "out", "--restored", hq, "--reference", hq)
    assert found.exit_code == 2
    assert "a.jpg and a.png have one name" in found.output


def test_images_of_another_size_or_damaged_ones_are_an_error(
    tmp_path: Path, hq: Path, images: dict[str, Pixels]
) -> None:
    out = save(tmp_path / "small", {**images, "b": images["b"][:48, :48].copy()})
    (out / "d.png").write_bytes((out / "d.png").read_bytes()[:200])
    found = evaluate(tmp_path / "out", "--restored", out, "--reference", hq)

    assert found.exit_code == 2
    assert "2 of 6 images cannot be measured: b: 48 x 48, its reference 64 x 64; d: truncated" in found.output
    allowed = evaluate(tmp_path / "out", "--restored", out, "--reference", hq, "--allow-missing")
    assert allowed.exit_code == 0
    assert len(metrics(tmp_path / "out")["test_set"]["missing"]) == 2


@pytest.mark.slow
def test_equal_images_are_counted_apart(tmp_path: Path, hq: Path, images: dict[str, Pixels]) -> None:
    out = save(tmp_path / "some", {name: image if name == "a" else blurred(image) for name, image in images.items()})
    found = evaluate(tmp_path / "out", "--restored", out, "--reference", hq)
    described = metrics(tmp_path / "out")["metrics"]

    assert "1 equal to their references" in found.output
    assert (described["psnr"]["images"], described["psnr"]["infinite"]) == (5, 1)
    assert described["ssim"]["images"] == 6
    assert evaluate(tmp_path / "same", "--restored", hq, "--reference", hq).exit_code == 0
    assert metrics(tmp_path / "same")["metrics"]["psnr"]["value"] is None


@pytest.mark.slow
def test_a_data_set_serves_as_reference(tmp_path: Path, hq: Path, restored: Path) -> None:
    made = run("synth", "--hq", hq, "--shards", tmp_path / "shards", "--size", SIDE, "--workers", 0)
    assert made.exit_code == 0, made.output
    words = ("--restored", restored, "--suffix", "_00")
    by_folder = evaluate(tmp_path / "folder", *words, "--reference", hq)
    by_shards = evaluate(tmp_path / "by_shards", *words, "--reference", tmp_path / "shards")
    assert by_folder.exit_code == by_shards.exit_code == 0, by_shards.output
    keyed = tmp_path / "keyed"
    keyed.mkdir()
    for number, name in enumerate(sorted(NAMES)):
        shutil.copy(restored / f"{name}_00.png", keyed / f"{number:09}_lq0.png")
    by_key = evaluate(tmp_path / "by_key", "--restored", keyed, "--suffix", "_lq0", "--reference", tmp_path / "shards")
    assert by_key.exit_code == 0, by_key.output

    first, second, third = (metrics(tmp_path / name) for name in ("folder", "by_shards", "by_key"))
    assert first["test_set"]["sha256"] == second["test_set"]["sha256"]
    assert first["metrics"] == second["metrics"]
    assert first["metrics"]["psnr"] == third["metrics"]["psnr"]


def test_real_sets_are_judged_without_references(tmp_path: Path, hq: Path, restored: Path, shared_data: Path) -> None:
    found = evaluate(
        tmp_path / "out", "--restored", restored, "--hq", hq,
        "--weights", f"niqe={shared_data / 'weights' / 'niqe_pris_params.npz'}",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    described = metrics(tmp_path / "out")["metrics"]

    assert described["psnr"] | {"status": ""} == described["psnr"] | {"value": None, "status": ""}
    assert "give --reference" in described["psnr"]["status"]
    assert described["kid-degradation"]["value"] > 0
    assert described["kid-degradation"]["against"] == "6 faces in hq"
    assert abs(described["kid-degradation"]["null"]) < described["kid-degradation"]["value"]
    assert described["niqe"]["undefined"] == 6  # images of 64 pixels have no block of NIQE
    alone = evaluate(tmp_path / "alone", "--restored", restored)
    assert alone.exit_code == 0
    assert "give --hq" in metrics(tmp_path / "alone")["metrics"]["kid-degradation"]["status"]


@pytest.mark.slow
def test_a_sharper_set_is_nearer_to_sharp_faces(tmp_path: Path, hq: Path, images: dict[str, Pixels]) -> None:
    found: list[float] = []
    for sigma in (0.5, 1.0, 2.0):
        out = save(tmp_path / f"{sigma}", {name: blurred(image, sigma) for name, image in images.items()})
        assert evaluate(tmp_path / f"out{sigma}", "--restored", out, "--reference", hq).exit_code == 0
        found.append(metrics(tmp_path / f"out{sigma}")["metrics"]["frechet-degradation"]["value"])

    assert found == sorted(found)


@pytest.mark.slow
def test_a_rerun_gives_the_same_bytes(tmp_path: Path, hq: Path, restored: Path) -> None:
    words = ("--restored", restored, "--reference", hq, "--suffix", "_00")
    assert evaluate(tmp_path / "one", *words).exit_code == evaluate(tmp_path / "two", *words).exit_code == 0

    for name in ("metrics.json", "per_image.csv", "report.md", "report.html", "sheet.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_report_within_what_it_judges_is_refused(hq: Path) -> None:
    found = evaluate(hq / "eval", "--restored", hq, "--reference", hq)

    assert found.exit_code == 2
    assert "is inside the input --restored" in found.output


@pytest.mark.slow
def test_missing_weights_are_told_with_places_and_option(tmp_path: Path, hq: Path, restored: Path) -> None:
    evaluate(tmp_path / "out", "--restored", restored, "--reference", hq, "--suffix", "_00")

    entry = metrics(tmp_path / "out")["metrics"]["deg"]
    assert entry["value"] is None
    assert entry["status"] == (
        "skipped: needs resnet18_110.pth (88.0 MB, VQFR metric_weights, from ronghuaiyang/arcface-pytorch). Looked in: "
        f"DEGRADE_KIT_WEIGHTS (not set), {tmp_path / 'torch' / 'hub' / 'checkpoints'}. Get it: "
        f"{WEIGHTS['arcface-deg'].by_hand}; or give --weights arcface-deg=PATH"
    )


# -------------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.long
def test_the_bootstrap_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(100):
        low, high = bootstrap(rng.normal(3, 1, 40))
        inside += low <= 3 <= high

    assert 87 <= inside <= 100
    assert bootstrap(np.full(3, 2.0)) == (2, 2)


def test_vqfr_leaves_out_near_identical_faces_and_restoreformer_takes_radians() -> None:
    angles = [0.5, 30.0, 60.0]
    deg = METRICS["deg"]
    assert isinstance(deg, PairMetric)

    ours, vqfr = (deg.summarise(angles, PROTOCOLS[name]) for name in ("basicsr-rgb", "vqfr"))
    theirs = deg.summarise(np.radians(angles).tolist(), PROTOCOLS["restoreformer"])
    assert ours.value == pytest.approx(np.mean(angles))
    assert (vqfr.value, vqfr.images, vqfr.left_out) == (pytest.approx(45), 2, 1)
    assert theirs.value == pytest.approx(np.radians(np.mean(angles)))
    assert [each.near_identical for each in (ours, vqfr, theirs)] == [1, 1, 1]


@pytest.mark.slow
def test_a_metric_is_added_by_one_entry(
    tmp_path: Path, hq: Path, restored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = ImageMetric(
        name="brightness",
        title="Brightness",
        better="higher",
        decimals=1,
        unit=lambda protocol: "levels",
        load=lambda setup: lambda image: float(image.mean()),
        note=lambda summary: f"Brightness of {summary.images} images says little.",
    )
    monkeypatch.setitem(METRICS, toy.name, toy)
    words = ("--restored", restored, "--suffix", "_00", "--reference", hq)
    found = evaluate(tmp_path / "out", *words)
    assert found.exit_code == 0, found.output
    with (tmp_path / "out" / "per_image.csv").open() as file:
        values = [float(row["brightness"]) for row in csv.DictReader(file)]
    entry = metrics(tmp_path / "out")["metrics"]["brightness"]
    report = (tmp_path / "out" / "report.md").read_text()

    assert entry["value"] == pytest.approx(np.mean(values), rel=1e-5)
    assert (entry["unit"], entry["better"], entry["images"]) == ("levels", "higher", len(NAMES))
    assert f"Brightness             {entry['value']:.1f} levels" in found.output
    assert "Brightness of 6 images says little." in report
    assert run("compare", f"one={tmp_path / 'out'}", "--out", tmp_path / "table").exit_code == 0
    assert "Brightness ↑" in (tmp_path / "table" / "compare.md").read_text()


# ------------------------------------------------------------------------------------------------------------- networks


regenerate = load_module(Path(__file__).resolve().parents[2] / "golden" / "regenerate.py")


@pytest.fixture(scope="module")
def network_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file, with random numbers, under its public name."""
    torch = pytest.importorskip("torch")
    fidelity_module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    from degrade_kit.analysis.networks import Vgg, arcface18, arcface18_name

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    arcface = {arcface18_name(name): value for name, value in arcface18().state_dict().items()}
    torch.save(Vgg(16, "relu5_3").state_dict(), folder / "vgg16-397923af.pth")
    heads = {
        f"lin{number}.model.1.weight": torch.full((1, width, 1, 1), 0.1)
        for number, width in enumerate((64, 128, 256, 512, 512))
    }
    torch.save(heads, folder / "lpips-vgg-heads.pth")
    for name in ("resnet18_110.pth", "arcface_resnet18.pth"):
        torch.save({f"module.{key}": value for key, value in arcface.items()}, folder / name)

    class Untrained(fidelity_module.FeatureExtractorInceptionV3):
        def load_state_dict(self, *_: object, **__: object) -> None: ...

    torch.save({}, folder / "empty.pth")
    inception = Untrained("fid", ["2048"], str(folder / "empty.pth"))
    torch.save(
        regenerate.fill(inception.state_dict()),
        folder / "weights-inception-2015-12-05-6726825d.pth",
    )
    rng = np.random.default_rng(0)
    torch.save(
        {"name": "FFHQ", "size": 512, "mean": rng.random(2048), "cov": np.eye(2048)},
        folder / "inception_FFHQ_512-f7b384ab.pth",
    )
    return folder


@pytest.mark.slow
def test_every_network_metric_runs_from_local_files(
    tmp_path: Path, hq: Path, restored: Path, network_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEGRADE_KIT_WEIGHTS", str(network_weights))
    for name, weight in WEIGHTS.items():  # these networks have random weights
        if not weight.folder and (path := network_weights / weight.files[0]).exists():
            monkeypatch.setitem(WEIGHTS, name, replace(weight, sha256=file_sha256(path)))
    words = ("--restored", restored, "--reference", hq, "--suffix", "_00")
    found: dict[str, dict[str, Any]] = {}
    for name in ("basicsr-rgb", "restoreformer", "pmrf"):
        result = evaluate(tmp_path / name, *words, "--protocol", name)
        assert result.exit_code == 0, result.output
        found[name] = metrics(tmp_path / name)["metrics"]

    assert all(entry[name]["value"] > 0 for entry in found.values() for name in ("lpips", "deg"))
    assert found["basicsr-rgb"]["lpips"]["value"] == found["pmrf"]["lpips"]["value"]
    assert found["restoreformer"]["deg"]["unit"] == "rad"
    assert found["basicsr-rgb"]["fid"]["against"] == "inception_FFHQ_512-f7b384ab.pth"
    assert found["basicsr-rgb"]["fid"]["against_sha256"]
    assert "as --hq" in found["pmrf"]["fid"]["status"]
    by_faces = evaluate(tmp_path / "faces", *words, "--protocol", "pmrf", "--hq", hq)
    assert by_faces.exit_code == 0, by_faces.output
    assert metrics(tmp_path / "faces")["metrics"]["fid"]["value"] > 0


def test_fid_features_are_those_of_torch_fidelity(network_weights: Path, images: dict[str, Pixels]) -> None:
    import torch

    from degrade_kit.analysis.perceptual import load_inception

    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")

    path = network_weights / "weights-inception-2015-12-05-6726825d.pth"
    reference = module.FeatureExtractorInceptionV3("fid", ["2048"], str(path))
    image = images["a"]
    expected = reference(torch.from_numpy(image).permute(2, 0, 1)[None])[0].numpy().ravel()

    assert expected.max() > 0.1
    assert load_inception(path, "tf1")(image) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert load_inception(path, "bilinear")(image) != pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_statistics_of_another_kind_are_refused(tmp_path: Path) -> None:
    from degrade_kit.analysis.judge import read_fid_statistics
    from degrade_kit.errors import ConfigError

    np.savez(tmp_path / "ffhq_clean_trainval70k_512.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    np.savez(tmp_path / "small.npz", mu=np.zeros(64), sigma=np.eye(64))
    with pytest.raises(ConfigError, match="clean-fid, whose resizing is another"):
        read_fid_statistics(tmp_path / "ffhq_clean_trainval70k_512.npz")
    with pytest.raises(ConfigError, match="expected 2048 features"):
        read_fid_statistics(tmp_path / "small.npz")
