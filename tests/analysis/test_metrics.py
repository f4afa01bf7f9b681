"""PSNR, SSIM and NIQE against basicsr's own numbers, LPIPS and the identity angle against lpips's and gfpgan's."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import skimage.metrics
from hypothesis import given
from hypothesis import strategies as st

from degrade_kit.analysis.metrics import load_niqe, niqe, psnr, ssim
from degrade_kit.analysis.protocols import PROTOCOLS, Protocol, protocol_named
from degrade_kit.errors import ConfigError
from degrade_kit.image import Pixels, to_pixels
from tests.by_path import load_module
from tests.strategies import images

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
EXPECTED: dict[str, dict[str, float]] = json.loads((GOLDEN / "metrics.json").read_text())
PAIRS = list(EXPECTED)


regenerate = load_module(GOLDEN / "regenerate.py")


def fidelity(restored: Pixels, reference: Pixels, protocol: Protocol) -> tuple[float, float]:
    return psnr(restored, reference, protocol), ssim(restored, reference, protocol)


@pytest.mark.parametrize("name", PAIRS)
def test_psnr_and_ssim_are_those_of_basicsr(name: str) -> None:
    lq, hq = regenerate.judged_pair(name)
    ours = PROTOCOLS["basicsr-rgb"]

    assert psnr(lq, hq, ours) == pytest.approx(EXPECTED[name]["psnr"], abs=1e-9)
    assert ssim(lq, hq, ours) == pytest.approx(EXPECTED[name]["ssim"], abs=1e-9)


@pytest.mark.parametrize("name", PAIRS)
def test_ssim_is_scikit_images_gaussian_one(name: str) -> None:
    lq, hq = regenerate.judged_pair(name)
    expected = skimage.metrics.structural_similarity(
        lq, hq, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, channel_axis=2
    )

    assert ssim(lq, hq, PROTOCOLS["basicsr-rgb"]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
@given(image=images(min_side=12), level=st.integers(1, 60), seed=st.integers(0, 99))
def test_psnr_and_ssim_are_symmetric_bounded_and_fall_with_noise(
    image: npt.NDArray[np.float32], level: int, seed: int
) -> None:
    hq = to_pixels(image)
    signs = np.random.default_rng(seed).choice([-1, 1], hq.shape)
    weak, strong = (np.clip(hq + signs * each, 0, 255).astype(np.uint8) for each in (level, 2 * level))
    ours = PROTOCOLS["basicsr-rgb"]
    noise, likeness = fidelity(weak, hq, ours)

    assert fidelity(hq, weak, ours) == pytest.approx((noise, likeness))
    assert -1 <= likeness <= 1
    assert psnr(strong, hq, ours) <= noise
    for protocol in PROTOCOLS.values():
        assert all(not math.isnan(value) for value in fidelity(weak, hq, protocol))


@pytest.mark.parametrize("name", PAIRS)
def test_vqfr_matches_moments_as_its_script_does(name: str) -> None:
    lq, hq = regenerate.judged_pair(name)
    theirs = PROTOCOLS["vqfr"]

    assert psnr(lq, hq, theirs) == pytest.approx(
        EXPECTED[name]["psnr_vqfr"], abs=1e-4
    )  # the script computes in float32
    assert ssim(lq, hq, theirs) == pytest.approx(EXPECTED[name]["ssim_vqfr"], abs=1e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_pmrf_adds_its_floor(name: str) -> None:
    lq, hq = regenerate.judged_pair(name)

    assert psnr(lq, hq, PROTOCOLS["pmrf"]) == pytest.approx(EXPECTED[name]["psnr_pmrf"], abs=1e-4)


def test_equal_images_have_infinite_psnr_and_ssim_one() -> None:
    _, hq = regenerate.judged_pair("small")

    assert fidelity(hq, hq, PROTOCOLS["basicsr-rgb"]) == (math.inf, pytest.approx(1))
    assert psnr(hq, hq, PROTOCOLS["pmrf"]) == pytest.approx(80)


def test_protocols_differ_on_one_pair_and_have_ids_of_their_own() -> None:
    lq, hq = regenerate.judged_pair("tinted")
    found = {name: ssim(lq, hq, protocol) for name, protocol in PROTOCOLS.items()}

    assert abs(found["vqfr"] - found["basicsr-rgb"]) > 0.01
    assert len({protocol.id for protocol in PROTOCOLS.values()}) == len(PROTOCOLS)


def test_an_unknown_protocol_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"basicsr-rgb, vqfr, restoreformer, pmrf; got|got 'skimage'"):
        protocol_named("skimage")


def test_images_of_different_sizes_or_below_the_window_are_refused() -> None:
    image = np.zeros((16, 16, 3), np.uint8)

    with pytest.raises(ValueError, match="one size"):
        fidelity(image, image[:12], PROTOCOLS["basicsr-rgb"])
    with pytest.raises(ValueError, match="at least 11"):
        ssim(image[:8], image[:8], PROTOCOLS["basicsr-rgb"])


@pytest.mark.parametrize("name", [name for name in PAIRS if "niqe" in EXPECTED[name]])
def test_niqe_is_that_of_basicsr(name: str, shared_data: Path) -> None:
    lq, _ = regenerate.judged_pair(name)

    # basicsr resizes in float32.
    found = niqe(lq, load_niqe(shared_data / "weights" / "niqe_pris_params.npz"))
    assert found == pytest.approx(EXPECTED[name]["niqe"], rel=1e-4)


def test_niqe_of_a_small_or_flat_image_is_nan(shared_data: Path) -> None:
    model = load_niqe(shared_data / "weights" / "niqe_pris_params.npz")

    assert math.isnan(niqe(np.zeros((96, 100, 3), np.uint8), model))
    assert math.isnan(niqe(np.full((192, 192, 3), 90, np.uint8), model))


def test_a_file_that_is_not_niqes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "niqe.npz"
    np.savez(path, other=np.zeros(3))

    with pytest.raises(ConfigError, match="not NIQE's parameters"):
        load_niqe(path)


# ------------------------------------------------------------------------------------------------------------- networks

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of networks with numbers that mean nothing, as people have them."""
    from degrade_kit.analysis.networks import Vgg, arcface18, arcface18_name

    folder = tmp_path_factory.mktemp("weights")
    torch.save(regenerate.fill(Vgg(16, "relu5_3").state_dict()), folder / "vgg.pth")
    heads = {
        f"lin{number}.model.1.weight": torch.full((1, width, 1, 1), 0.1 * (number + 1))
        for number, width in enumerate((64, 128, 256, 512, 512))
    }
    torch.save(heads, folder / "heads.pth")
    arcface = regenerate.fill({arcface18_name(name): value for name, value in arcface18().state_dict().items()})
    torch.save({f"module.{name}": value for name, value in arcface.items()}, folder / "arcface.pth")
    return folder


@pytest.mark.slow
@pytest.mark.long
def test_lpips_is_that_of_its_package(weights: Path) -> None:
    from degrade_kit.analysis.perceptual import load_lpips

    measure = load_lpips(weights / "vgg.pth", weights / "heads.pth", PROTOCOLS["basicsr-rgb"])
    for name in ("blocks", "small"):
        lq, hq = regenerate.judged_pair(name)
        assert measure(lq, hq) == pytest.approx(EXPECTED[name]["lpips"], rel=1e-4)
        assert measure(hq, hq) == 0


@pytest.mark.slow
@pytest.mark.long
def test_the_identity_angle_is_that_of_gfpgans_network(weights: Path) -> None:
    from degrade_kit.analysis.perceptual import load_identity_angle

    measure = load_identity_angle(weights / "arcface.pth", PROTOCOLS["basicsr-rgb"])
    for name in PAIRS:
        lq, hq = regenerate.judged_pair(name)
        assert measure(lq, hq) == pytest.approx(EXPECTED[name]["degrees"], abs=0.02)
        assert measure(lq, hq) == pytest.approx(measure(hq, lq), abs=1e-3)
        assert measure(hq, hq) == pytest.approx(0, abs=1e-3)


@pytest.mark.slow
def test_restoreformer_gives_the_networks_other_inputs(weights: Path) -> None:
    from degrade_kit.analysis.perceptual import identity_input, load_lpips

    lq, hq = regenerate.judged_pair("small")
    ours, theirs = PROTOCOLS["basicsr-rgb"], PROTOCOLS["restoreformer"]
    assert identity_input(hq, ours).min() < -0.5
    assert identity_input(hq, theirs).min() >= 0
    expected = hq[..., ::-1].astype(np.float32) @ np.array([0.2989, 0.5870, 0.1140], np.float32) / 255
    assert float(identity_input(hq, theirs).mean()) == pytest.approx(float(expected.mean()), abs=2e-3)
    by_rgb, by_bgr = (load_lpips(weights / "vgg.pth", weights / "heads.pth", each)(lq, hq) for each in (ours, theirs))
    assert by_rgb != pytest.approx(by_bgr, rel=1e-3)


@pytest.mark.slow
def test_wrong_weights_say_what_is_wrong(weights: Path, tmp_path: Path) -> None:
    from degrade_kit.analysis.perceptual import load_identity_angle, load_lpips

    with pytest.raises(ConfigError, match=r"not ArcFace's ResNet-18: weights of another network: \d+ missing"):
        load_identity_angle(weights / "vgg.pth", PROTOCOLS["basicsr-rgb"])
    with pytest.raises(ConfigError, match="not LPIPS's heads for VGG: weights of another network"):
        load_lpips(weights / "vgg.pth", weights / "arcface.pth", PROTOCOLS["basicsr-rgb"])
    cut = tmp_path / "cut.pth"
    cut.write_bytes((weights / "arcface.pth").read_bytes()[:5000])
    with pytest.raises(ConfigError, match="damaged or cut short; expected ArcFace's ResNet-18"):
        load_identity_angle(cut, PROTOCOLS["basicsr-rgb"])
    broken = torch.load(weights / "arcface.pth", weights_only=True)
    broken["module.fc5.bias"][0] = float("nan")
    torch.save(broken, tmp_path / "nan.pth")
    with pytest.raises(ConfigError, match="contain NaN"):
        load_identity_angle(tmp_path / "nan.pth", PROTOCOLS["basicsr-rgb"])


def test_landmarks_lie_a_quarter_pixel_towards_the_higher_neighbour() -> None:
    from degrade_kit.analysis.perceptual import heatmap_points

    maps = np.zeros((2, 64, 64))
    maps[0, 20, 30], maps[0, 20, 31], maps[0, 19, 30] = 1, 0.5, 0.5
    maps[1, 40, 10], maps[1, 40, 9] = 1, 0.2

    assert heatmap_points(maps).tolist() == [[30.75, 20.25], [10.25, 40.5]]
