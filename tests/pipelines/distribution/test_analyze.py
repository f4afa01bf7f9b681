"""`degrade-kit analyze-distribution` and `fit-recipe`, from images to reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import yaml
from click.testing import CliRunner, Result

from degrade_kit.analysis import extractors
from degrade_kit.analysis.features import NAMES
from degrade_kit.analysis.patches import PatchConfig
from degrade_kit.degradation import degrade, finish
from degrade_kit.image import Pixels, decode_image, encode_png
from degrade_kit.pipelines.cli import main
from degrade_kit.pipelines.distribution.features import ExtractConfig, FilesTask, _measure_task, pick
from degrade_kit.pipelines.distribution.second_look import decide_patches
from degrade_kit.presets import preset
from degrade_kit.recipe import Recipe, load_recipe
from degrade_kit.seeding import generator
from degrade_kit.sources import open_sources
from degrade_kit.steps import RandomGaussianNoise, RandomJpeg
from degrade_kit.wording import html_text

SIZE = 64
NOISY = Recipe(name="noisy", steps=(RandomGaussianNoise(level=(10, 30)), RandomJpeg(quality=(30, 60))))


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def analyze(out: Path, *words: object) -> Result:
    """Measure by the features alone, unless other words are given."""
    words = ("--size", SIZE, "--projection", "pca", "--workers", 0, *words)
    words = words if "--patches" in words else ("--no-patches", *words)
    words = words if "--spaces" in words else ("--spaces", "none", *words)
    return run("analyze-distribution", "--out", out, *words)


def degraded(image: Pixels, recipe: Recipe, number: int) -> Pixels:
    record = recipe.draw(generator(5, "real", number))
    native = degrade(record, image)
    return finish(native.pixels, native.tail, (image.shape[0], image.shape[1]))


def save(folder: Path, images: dict[str, Pixels]) -> Path:
    folder.mkdir(parents=True)
    for name, image in images.items():
        (folder / f"{name}.png").write_bytes(encode_png(image))
    return folder


@pytest.fixture(scope="module")
def crops(astronaut: npt.NDArray[np.uint8]) -> list[Pixels]:
    rng = np.random.default_rng(0)
    found: list[Pixels] = []
    for _ in range(40):
        side = int(rng.integers(90, 200))
        top, left = rng.integers(0, 512 - side, 2)
        crop = astronaut[top : top + side, left : left + side]
        found.append(np.asarray(cv2.resize(crop, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8))
    return found


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, crops: list[Pixels]) -> Path:
    """HQ images; photographs by a hidden recipe, of others; LQ images of that recipe; data sets of two presets."""
    root = tmp_path_factory.mktemp("places")
    save(root / "hq", {f"{number:02}": crop for number, crop in enumerate(crops[:20])})
    save(root / "real", {f"{n:02}": degraded(crop, NOISY, n) for n, crop in enumerate(crops[20:])})
    save(root / "like", {f"{n:02}": degraded(crop, NOISY, 100 + n) for n, crop in enumerate(crops[:20])})
    for name in ("flipnet-paper", "gfpgan"):
        made = run("synth", "--hq", root / "hq", "--shards", root / name, "--preset", name, "--size", SIZE,
                   "--variants", 2, "--workers", 0)  # fmt: skip
        assert made.exit_code == 0, made.output
    return root


@pytest.fixture(scope="module")
def analysis(places: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "out"
    found = analyze(
        out, "--synth", f"like={places / 'like'}", "--synth", f"paper={places / 'flipnet-paper'}", "--synth",
        f"gfpgan={places / 'gfpgan'}", "--real", f"photos={places / 'real'}", "--hq", places / "hq",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    return out


def numbers(analysis: Path) -> dict[str, dict[str, Any]]:
    metrics = json.loads((analysis / "metrics.json").read_text())
    return {entry["source"]: entry for entry in metrics["comparisons"]}


@pytest.mark.long
def test_the_numbers_order_as_a_person_would(analysis: Path) -> None:
    found = numbers(analysis)
    kid = {name: entry["numbers"]["kid"]["value"] for name, entry in found.items()}
    assert kid["like"] < 0.2 * min(kid["paper"], kid["gfpgan"], kid["HQ"])
    coverage = {name: entry["numbers"]["matched"]["coverage"] for name, entry in found.items()}
    assert coverage["like"] > coverage["HQ"]
    assert coverage["like"] > 0.6 * found["like"]["null"]["matched"]["coverage"]
    assert found["HQ"]["numbers"]["auc"] > found["like"]["numbers"]["auc"]


def test_everything_is_there_and_says_how_it_was_made(analysis: Path) -> None:
    for name in ("umap.png", "least_covered.png", "parameters.png"):
        assert min(decode_image((analysis / name).read_bytes()).pixels.shape[:2]) > 100, name
    page, text = (analysis / "report.html").read_text(), (analysis / "report.md").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "://" not in page  # the pictures' base64 may hold any letters, but no colon
    for words in (
        *("like", "paper", "ideal: photos against itself", "HQ (not degraded)", "linear AUC (null)"),
        *("Against photos:", "What gives it away", "what moves it", "Fewer than 50 images"),
        "20 images, each taken for another person",
        "The classifier on patches was turned off.",
    ):
        assert words in page, words
        assert words.split("(")[0] in text.replace("\\", "")
    metrics = json.loads((analysis / "metrics.json").read_text())
    assert metrics["schema_version"] == 1
    assert metrics["features"]["whitened"] is True
    assert metrics["settings"]["size"] == SIZE
    assert {entry["name"]: entry["images"] for entry in metrics["sets"]} == {
        "like": 20, "paper": 40, "gfpgan": 40, "photos": 20, "HQ": 20,
    }  # fmt: skip
    by_pair = {(entry["source"], entry["reference"]): entry["features"] for entry in metrics["giveaways"]}
    assert by_pair.keys() == {(name, "photos") for name in ("like", "paper", "gfpgan")}
    assert all(found[0]["share"] > 0 and html_text(found[0]["words"]) in page for found in by_pair.values())
    ideal = numbers(analysis)["ideal"]
    assert ideal["source_kind"] == "ideal"
    assert ideal["numbers"] == ideal["null"]
    like = numbers(analysis)["like"]["numbers"]
    assert like["auc_interval"]["low"] <= like["auc"] == like["auc_interval"]["value"] <= like["auc_interval"]["high"]
    assert like["coverage"]["value"] == like["matched"]["coverage"]
    rows = (analysis / "embedding.csv").read_text().splitlines()
    assert rows[0] == "set,kind,image,x,y"
    assert len(rows) == 1 + 20 + 40 + 40 + 20


@pytest.mark.long
def test_a_second_run_gives_the_same_numbers_with_and_without_the_cache(
    places: Path, analysis: Path, tmp_path: Path
) -> None:
    words = (
        "--synth", f"like={places / 'like'}", "--synth", f"paper={places / 'flipnet-paper'}", "--synth",
        f"gfpgan={places / 'gfpgan'}", "--real", f"photos={places / 'real'}", "--hq", places / "hq",
    )  # fmt: skip
    cached = analyze(tmp_path / "cached", *words, "--feature-cache", analysis / ".features")
    fresh = analyze(tmp_path / "fresh", *words)
    assert cached.exit_code == fresh.exit_code == 0, cached.output + fresh.output
    for name in ("metrics.json", "embedding.csv", "report.md", "umap.png", "parameters.png", "least_covered.png"):
        expected = (analysis / name).read_bytes()
        assert (tmp_path / "cached" / name).read_bytes() == expected, name
        assert (tmp_path / "fresh" / name).read_bytes() == expected, name


@pytest.mark.long
def test_patches_and_a_learned_space_look_again(
    places: Path, analysis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two data sets of the same faces: HQ is there unasked, and no face is in training and test at once."""
    pytest.importorskip("torch")
    quick = PatchConfig(side=32, per_image=2, steps=6, batch=4, max_images=12)
    monkeypatch.setattr("degrade_kit.pipelines.distribution.second_look.PatchConfig", lambda: quick)
    monkeypatch.setattr(extractors, "_LOADERS", {**extractors._LOADERS, "vae": lambda path: lambda image: mean(image)})
    monkeypatch.setattr(extractors, "_NEEDS", {**extractors._NEEDS, "vae": ("flipnet", ())})
    found = analyze(
        tmp_path / "out", "--synth", f"paper={places / 'flipnet-paper'}", "--real", f"photos={places / 'real'}",
        "--feature-cache", analysis / ".features", "--patches", "--spaces", f"vae:{places / 'hq'}",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    entries = numbers(tmp_path / "out")
    assert entries.keys() == {"ideal", "paper", "HQ"}
    assert entries["paper"]["num_source"] == 40
    assert entries["HQ"]["num_source"] == 20
    auc = entries["paper"]["numbers"]["patches"]
    assert 0 <= auc["low"] <= auc["value"] <= auc["high"] <= 1
    assert entries["paper"]["null"]["patches"] == entries["ideal"]["numbers"]["patches"]
    assert entries["HQ"]["numbers"]["patches"] is None
    [space] = entries["paper"]["spaces"]
    assert (space["num_source"], space["num_reference"]) == (40, 20)
    assert space["space"].startswith("channel statistics of an autoencoder's latents")
    [giveaway] = json.loads((tmp_path / "out/metrics.json").read_text())["giveaways"]
    assert len(giveaway["real"]) == 6
    assert len({patch["image"].partition(" ")[0] for patch in giveaway["synthesized"]}) == 6, "one of each face"
    sheet = decode_image((tmp_path / "out/giveaway-01.png").read_bytes()).pixels
    assert sheet.shape[1] > 6 * 192
    page = (tmp_path / "out/report.html").read_text()
    assert "In learned spaces" in page
    assert "patch AUC (null)" in page
    groups = {
        entry["name"]: entry["grouped"] for entry in json.loads((tmp_path / "out/metrics.json").read_text())["sets"]
    }
    assert groups["paper"] == "40 images of 20 HQ faces"


def mean(image: Pixels) -> npt.NDArray[np.float64]:
    return np.array([*image.mean((0, 1)), *image.std((0, 1))], np.float64)


def test_patches_are_left_where_they_take_long_or_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decide_patches(None, 3, 1, 50) == (True, "")
    few, why = decide_patches(None, 12, 3, 200)
    assert not few
    assert "39 pairs of sets take about" in why
    assert "--patches asks it" in why
    assert "below 50 images it says little" in decide_patches(None, 1, 1, 49)[1]
    assert decide_patches(True, 12, 3, 5) == (True, "")
    monkeypatch.setattr("degrade_kit.pipelines.distribution.second_look.has_torch", lambda: False)
    assert "it needs PyTorch" in decide_patches(None, 1, 1, 99)[1]


@pytest.mark.slow
@pytest.mark.long
def test_umap_and_workers_give_the_same_layout_twice(places: Path, tmp_path: Path) -> None:
    for name, workers in (("one", 0), ("two", 2)):
        found = run(
            "analyze-distribution", "--out", tmp_path / name, "--size", SIZE, "--workers", workers, "--no-patches",
            "--spaces", "none", "--synth", f"paper={places / 'flipnet-paper'}", "--real", f"photos={places / 'real'}",
        )  # fmt: skip
        assert found.exit_code == 0, found.output
    for name in ("metrics.json", "embedding.csv", "umap.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


@pytest.mark.slow
def test_the_numbers_are_there_where_no_picture_can_be_drawn(
    places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--synth", f"like={places / 'like'}", "--real", f"photos={places / 'real'}", "--features", "degradation")
    for name in ("report.html", "report.md", "umap.png", "least_covered.png"):
        (tmp_path / name).write_text("of an older run")
    (tmp_path / ".degrade_kit").mkdir()
    (tmp_path / ".degrade_kit/analyze-distribution.yaml").write_text("seed: 1\n")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no picture")

    monkeypatch.setattr("degrade_kit.analysis.figures.draw_projection", broken)
    assert str(analyze(tmp_path, *words).exception) == "no picture"
    assert numbers(tmp_path)["like"]["numbers"]["kid"]["value"] < 1
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["metrics.json"]


@pytest.mark.slow
def test_a_report_says_why_its_picture_is_no_umap(
    places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(points: object, seed: int) -> None:
        raise RuntimeError("cannot cache function 'rdist': no locator available")

    monkeypatch.setattr("degrade_kit.analysis.projection._umap", broken)
    words = ("--synth", f"like={places / 'like'}", "--real", f"photos={places / 'real'}", "--features", "degradation")
    found = analyze(tmp_path, *words, "--projection", "umap")
    assert found.exit_code == 0, found.output
    for name in ("report.md", "report.html", "umap.html"):
        text = (tmp_path / name).read_text("utf-8").replace("\\", "")
        assert "PCA in place of UMAP, which cannot run here: cannot cache function" in text, name
    assert "(PCA)" in (tmp_path / "umap.html").read_text("utf-8")


@pytest.mark.slow
def test_one_image_a_set_is_too_few_and_no_error(places: Path, crops: list[Pixels], tmp_path: Path) -> None:
    save(tmp_path / "one", {"only": crops[0]})
    found = analyze(tmp_path / "out", "--synth", f"like={places / 'like'}", "--real", f"single={tmp_path / 'one'}")
    assert found.exit_code == 0, found.output
    entry = numbers(tmp_path / "out")["like"]
    assert entry["numbers"]["kid"] is None
    assert entry["numbers"]["matched"] is None
    assert "too few" in (tmp_path / "out/report.md").read_text()


@pytest.mark.slow
def test_broken_images_are_told_and_the_rest_is_measured(places: Path, tmp_path: Path) -> None:
    save(tmp_path / "some", {})
    for path in sorted((places / "real").iterdir())[:6]:
        (tmp_path / "some" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "some/broken.png").write_bytes((places / "real/00.png").read_bytes()[:300])
    found = analyze(tmp_path / "out", "--synth", f"like={places / 'like'}", "--real", f"photos={tmp_path / 'some'}")
    assert found.exit_code == 3, found.output
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    [failures] = [entry["failures"] for entry in metrics["sets"] if entry["name"] == "photos"]
    assert [failure[0] for failure in failures] == ["broken.png"]
    assert "broken.png" in (tmp_path / "out/report.md").read_text()


@pytest.mark.slow
def test_other_sizes_stop_unless_resizing_is_allowed_and_then_it_is_told(
    places: Path, crops: list[Pixels], tmp_path: Path
) -> None:
    images = {f"{number}": crop for number, crop in enumerate(crops[:6])}
    large = np.asarray(cv2.resize(crops[0], (96, 80)), np.uint8)
    save(tmp_path / "mixed", {**images, "large": large})
    words = ("--synth", f"like={places / 'like'}", "--real", f"mixed={tmp_path / 'mixed'}")
    refused = analyze(tmp_path / "out", *words)
    assert refused.exit_code == 2
    assert "1 of 7 images are not 64 x 64: large.png (96 x 80)" in refused.output
    allowed = analyze(tmp_path / "out", *words, "--allow-resize")
    assert allowed.exit_code == 0, allowed.output
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert {entry["name"]: entry["resized"] for entry in metrics["sets"]} == {"like": 0, "mixed": 1}
    assert "1 images were resized" in (tmp_path / "out/report.md").read_text()


@pytest.mark.parametrize(("limit", "status"), [("kid=1000", 0), ("kid=0.0001", 1), ("auc=0.5", 1)])
@pytest.mark.long
def test_limits_decide_the_exit_status(limit: str, status: int, places: Path, analysis: Path, tmp_path: Path) -> None:
    found = analyze(
        tmp_path / "out", "--synth", f"paper={places / 'flipnet-paper'}", "--real", f"photos={places / 'real'}",
        "--feature-cache", analysis / ".features", "--fail-above", limit,
    )  # fmt: skip
    assert found.exit_code == status, found.output
    if status:
        assert f"paper against photos: {limit.partition('=')[0]}" in found.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--synth", "a=LIKE", "--real", "a=REAL"), "the name 'a' is given 2 times"),
        (("--synth", "a=LIKE", "--real", "b=EMPTY"), "b: "),
        (("--synth", "ideal=LIKE", "--real", "b=REAL"), "the name 'ideal' is that of a real set against itself"),
        (("--synth", "a=LIKE", "--real", "b=REAL", "--spaces", "degradation"), "spaces: expected learned ones"),
        (("--synth", "a=LIKE", "--real", "b=REAL", "--spaces", "vae:/nowhere"), "no folder is at '/nowhere'"),
        (("--synth", "LIKE", "--real", "b=REAL"), "'--synth': expected NAME=PLACE"),
        (("--synth", "a=LIKE", "--real", "b=REAL", "--features", "whitened"), "whitened needs HQ faces"),
        (
            ("--synth", "a=LIKE", "--real", "b=REAL", "--features", "magic"),
            "expected one of auto, whitened, degradation",
        ),
        (("--synth", "a=LIKE", "--real", "b=REAL", "--features", "vae:/nowhere"), "no folder is at '/nowhere'"),
        (("--synth", "a=LIKE", "--real", "b=REAL", "--weights", "arniqa=x"), "--weights arniqa: not used by"),
        (("--synth", "a=LIKE", "--real", "b=REAL", "--fail-above", "fid=3"), "expected kid, frechet or auc, got 'fid'"),
        (("--synth", "a=LIKE", "--real", "b=REAL", "--fail-above", "kid=low"), "expected MEASURE=NUMBER"),
        (("--synth", "a=LIKE", "--real", "b=BROKEN"), "none of the images in"),
    ],
)
def test_what_cannot_be_is_one_message(words: tuple[str, ...], message: str, places: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/a.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    named = {
        "LIKE": places / "like",
        "REAL": places / "real",
        "EMPTY": tmp_path / "empty",
        "BROKEN": tmp_path / "broken",
    }
    filled = list(words)
    for key, place in named.items():
        filled = [word.replace(key, str(place)) for word in filled]
    found = analyze(tmp_path / "out", *filled)
    assert found.exit_code == 2, found.output
    assert message in found.output
    assert "Traceback" not in found.output
    assert not (tmp_path / "out/metrics.json").exists()


def test_a_damaged_cache_is_made_again(places: Path, tmp_path: Path) -> None:
    task = FilesTask(
        "real", open_sources(places / "real"), ExtractConfig(size=SIZE, allow_resize=False, cache=tmp_path)
    )
    calls: list[int] = []

    def measure(image: Pixels) -> npt.NDArray[np.float64]:
        calls.append(1)
        return np.full(len(NAMES), float(image.mean()))

    first = _measure_task(measure, "v1", task)
    assert len(calls) == 20
    files = sorted(tmp_path.rglob("*.npy"))
    files[0].write_bytes(files[0].read_bytes()[:40])
    again = _measure_task(measure, "v1", task)
    assert len(calls) == 21
    assert [row.features.tolist() for row in again.rows] == [row.features.tolist() for row in first.rows]
    _measure_task(measure, "v2", task)
    assert len(calls) == 41, "another version is another key"


def test_subsets_are_even_and_seeded() -> None:
    assert pick(5, 0, np.random.default_rng(0)) == pick(5, 9, np.random.default_rng(0)) == [0, 1, 2, 3, 4]
    chosen = pick(1000, 50, np.random.default_rng(0))
    assert chosen == pick(1000, 50, np.random.default_rng(0)) == sorted(set(chosen))
    assert len(chosen) == 50


@pytest.mark.slow
@pytest.mark.long
def test_a_recipe_is_fitted_and_works_in_synth(places: Path, crops: list[Pixels], tmp_path: Path) -> None:
    photos = {f"{n:02}": degraded(crop, NOISY, 300 + n) for n, crop in enumerate([*crops, *crops])}
    save(tmp_path / "photos", photos)
    words = (
        "--real", tmp_path / "photos", "--hq", places / "hq", "--size", SIZE, "--preset", "flipnet-paper",
        "--num-faces", 10, "--images-per-candidate", 8, "--candidates", 20, "--rounds", 1, "--workers", 0,
    )  # fmt: skip
    found = run("fit-recipe", *words, "--out", tmp_path / "mine.yaml")
    assert found.exit_code == 0, found.output
    again = run("fit-recipe", *words, "--out", tmp_path / "again.yaml")
    assert again.exit_code == 0
    assert (tmp_path / "mine.yaml").read_bytes() == (tmp_path / "again.yaml").read_bytes()
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert recipe.name == "flipnet-paper-fitted"
    assert "before" in recipe.source
    assert yaml.safe_load((tmp_path / "mine.yaml").read_text())["steps"][0]["one_of"]["options"]
    assert decode_image((tmp_path / "mine.png").read_bytes()).pixels.shape[2] == 3
    made = run("synth", "--hq", places / "hq", "--shards", tmp_path / "out", "--preset", tmp_path / "mine.yaml",
               "--size", SIZE, "--workers", 0)  # fmt: skip
    assert made.exit_code == 0, made.output
    assert preset("flipnet-paper").digest() != recipe.digest()


@pytest.mark.slow
@pytest.mark.long
def test_a_recipe_with_a_flipnet_is_fitted(
    places: Path, crops: list[Pixels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from degrade_kit.flipnet.checkpoint import BaseReference
    from degrade_kit.flipnet.checkpoint import save as save_model
    from degrade_kit.flipnet.sampling import SamplingConfig
    from tests.degrade_kit.flipnet.models import gated_flipnet

    model = tmp_path / "model"
    save_model(gated_flipnet(), model, BaseReference(location="base"), sampling=SamplingConfig(num_steps=1), half=True)
    monkeypatch.setattr("degrade_kit.pipelines.distribution.fit_recipe._FINAL", 4)
    start = tmp_path / "start.yaml"
    start.write_text(
        "name: learned\nsteps:\n- photo_frame:\n    side: [30, 60]\n    steps:\n"
        f"    - flipnet: {{model: {model}}}\n    - jpeg: {{quality: [40, 90]}}\n"
    )
    save(tmp_path / "photos", {f"{n:02}": crop for n, crop in enumerate([*crops, *crops])})
    found = run(
        *["fit-recipe", "--real", tmp_path / "photos", "--hq", places / "hq", "--size", SIZE, "--workers", 0],
        *["--preset", start, "--num-faces", 2, "--images-per-candidate", 2, "--candidates", 2, "--rounds", 0],
        *["--parts", 2, "--out", tmp_path / "mine.yaml"],
    )
    assert found.exit_code in {0, 1}, found.output  # four images say by chance whether it came nearer
    assert (found.exit_code == 1) == ("the fit did not bring it nearer" in found.output)
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert recipe.name == "learned-fitted"
    assert list(recipe.models.values()) == [str(model)]


FITTED = "name: mine\nsource: fitted by degrade-kit from gfpgan\nsteps: [{blur: {sigma: [1, 2]}}]\n"


@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize(
    ("out", "there", "says"),
    [
        ("mine.png", {}, "expected a file FILE.yaml"),
        ("mine", {}, "expected a file FILE.yaml"),
        ("mine.yaml", {"mine.yaml": "name: by hand\nsteps: [{blur: {sigma: [1, 2]}}]\n"}, "mine.yaml is there already"),
        ("mine.yaml", {"mine.png": "my photograph"}, "mine.png is there already"),
        ("mine.yml", {"mine.png": "mine", "mine.yaml": FITTED}, "mine.png is there already"),
        ("mine.yaml", {"mine.yaml": None}, "mine.yaml is there already"),
        ("mine.yaml", {"mine.yaml": FITTED, "mine.png": "of it"}, "found 1"),
        ("hq/mine.yaml", {}, "is inside the input --real"),
        ("start.yaml", {}, "is the input --preset"),
    ],
)
def test_a_fit_takes_no_file_but_that_of_an_earlier_one(
    out: str, there: dict[str, str | None], says: str, dry: bool, crops: list[Pixels], tmp_path: Path
) -> None:
    save(tmp_path / "hq", {"0": crops[0]})
    (tmp_path / "start.yaml").write_text(FITTED)
    for name, text in there.items():
        if text is None:
            (tmp_path / name).symlink_to(tmp_path / "gone")
        else:
            (tmp_path / name).write_text(text)
    before = {path.name: path.lstat().st_mtime_ns for path in tmp_path.iterdir()}
    found = run("fit-recipe", "--real", tmp_path / "hq", "--hq", tmp_path / "hq", "--out", tmp_path / out, "--preset",
                tmp_path / "start.yaml", "--size", SIZE, "--workers", 0, *(["--dry-run"] * dry))  # fmt: skip
    assert found.exit_code in (1, 2), found.output
    assert says in found.output
    assert {path.name: path.lstat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_too_few_photographs_to_fit_to_are_refused(places: Path, crops: list[Pixels], tmp_path: Path) -> None:
    save(tmp_path / "photos", {f"{number}": crop for number, crop in enumerate(crops[:5])})
    found = run("fit-recipe", "--real", tmp_path / "photos", "--hq", places / "hq", "--size", SIZE, "--workers", 0,
                "--out", tmp_path / "mine.yaml")  # fmt: skip
    assert found.exit_code == 2
    assert "expected at least 12 photographs that can be used, found 5" in found.output
    assert not (tmp_path / "mine.yaml").exists()
