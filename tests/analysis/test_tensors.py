"""The one reader of weight files that others made."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from degrade_kit.analysis.networks import (
    ArcFace,
    Inception,
    Vgg,
    arcface18,
    arcface18_name,
    load_arcface18,
    load_iresnet,
    load_vgg,
)
from degrade_kit.analysis.tensors import load_published, read_plain, read_tensors
from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.weights import write_weights

State = dict[str, torch.Tensor]


def plain(state: State) -> Any:  # noqa: ANN401 (what a file holds)
    return state


def parallel(state: State) -> Any:  # noqa: ANN401
    return {f"module.{name}": tensor for name, tensor in state.items()}


def compiled(state: State) -> Any:  # noqa: ANN401
    return {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}


def lightning(state: State) -> Any:  # noqa: ANN401
    return {"state_dict": state, "epoch": 3, "optimizer_states": [{}]}


def basicsr(state: State) -> Any:  # noqa: ANN401
    return {"params": {name: torch.zeros_like(tensor) for name, tensor in state.items()}, "params_ema": state}


def nested(state: State) -> Any:  # noqa: ANN401
    return {"model": {"state_dict": parallel(state)}}


WRAPS = [plain, parallel, compiled, lightning, basicsr, nested]


@pytest.mark.slow
@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("network", ["vgg", "iresnet", "arcface18"])
def test_every_network_is_read_out_of_every_wrapper(network: str, wrap: Any, tmp_path: Path) -> None:  # noqa: ANN401
    torch.manual_seed(0)
    path = tmp_path / "file.pth"
    if network == "vgg":
        original, size = Vgg(19, "conv1_2"), 16
        torch.save(wrap(original.state_dict()), path)
        loaded = load_vgg(path, 19, "conv1_2")
        images = torch.rand(1, 3, size, size)
        assert torch.equal(loaded(images, ["conv1_2"])[0], original(images, ["conv1_2"])[0])
        return
    if network == "iresnet":
        identity = ArcFace((1, 1, 1, 1), (8, 8, 8, 16), 32).eval()
        torch.save(wrap(identity.state_dict()), path)
        found = load_iresnet(path)
        crops = torch.rand(2, 3, 112, 112)
    else:
        identity = arcface18().eval()
        torch.save(wrap({arcface18_name(name): value for name, value in identity.state_dict().items()}), path)
        found = load_arcface18(path)
        crops = torch.rand(2, 1, 128, 128)
    with torch.no_grad():
        assert torch.equal(found(crops), identity(crops))
    assert not any(parameter.requires_grad for parameter in found.parameters())
    assert not found.training


def test_safetensors_are_read_as_torch_files_are(tmp_path: Path) -> None:
    state = {"module.a": torch.ones(2), "module.b": torch.zeros(3)}
    write_weights(state, tmp_path / "one.safetensors")
    torch.save(state, tmp_path / "one.pth")
    one, two = (read_tensors(tmp_path / f"one.{ending}", "a network") for ending in ("safetensors", "pth"))
    assert {name: tensor.tolist() for name, tensor in one.items()} == {"a": [1, 1], "b": [0, 0, 0]}
    assert {name: tensor.tolist() for name, tensor in two.items()} == {"a": [1, 1], "b": [0, 0, 0]}


def test_a_name_that_only_some_tensors_begin_with_is_kept(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(2), "b": torch.ones(2)}, tmp_path / "file.pth")
    assert set(read_tensors(tmp_path / "file.pth", "a network")) == {"module.a", "b"}


def test_batch_counters_that_older_files_lack_keep_their_value(tmp_path: Path) -> None:
    network = torch.nn.BatchNorm2d(3)
    state = {name: value + 1 for name, value in network.state_dict().items() if value.is_floating_point()}
    torch.save(state, tmp_path / "old.pth")
    load_published(network, tmp_path / "old.pth", "a layer")
    assert network.weight.tolist() == [2, 2, 2]


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('ran')",)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"a": Evil()}, "cannot be read without running code"),
        ({"a": torch.tensor([1.0, float("nan")])}, "1 of 1 tensors contain NaN or infinity; first a"),
        ({"step": 3}, "holds no tensors; expected a network"),
        ([torch.ones(2)], "expected a network: a dictionary, found list"),
    ],
)
def test_a_file_that_is_no_network_says_what_it_is(content: object, told: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(ConfigError, match=f"file.pth: .*{told}|file.pth: {told}"):
        read_tensors(tmp_path / "file.pth", "a network")


def test_what_torch_fidelity_unpickles_is_our_own_file_of_checked_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a path, and reads it by `torch.load` without saying how: nothing of the user's file may come so far."""
    read: list[tuple[Path, int, Any]] = []

    class Extractor(torch.nn.Module):
        def __init__(self, name: str, features: list[str], path: str) -> None:
            super().__init__()
            folder = Path(path).parent
            read.append((Path(path), folder.stat().st_mode & 0o077, torch.load(path, weights_only=True)))

    for module, content in {
        "torch_fidelity": {},
        "torch_fidelity.feature_extractor_inceptionv3": {"FeatureExtractorInceptionV3": Extractor},
        "torch_fidelity.interpolate_compat_tensorflow": {"interpolate_bilinear_2d_like_tensorflow1x": None},
    }.items():
        fake = types.ModuleType(module)
        fake.__dict__.update(content)
        monkeypatch.setitem(sys.modules, module, fake)
    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ConfigError, match="cannot be read without running code"):
        Inception(tmp_path / "evil.pth")
    assert not read
    torch.save({"state_dict": {"module.a": torch.ones(2)}, "note": "text"}, tmp_path / "good.pth")
    Inception(tmp_path / "good.pth")
    [(path, open_to_others, content)] = read
    assert tmp_path not in path.parents
    assert not open_to_others
    assert {name: tensor.tolist() for name, tensor in content.items()} == {"a": [1, 1]}
    assert not path.exists()


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_file_that_is_cut_short_or_missing_says_so(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"file.{ending}"
    with pytest.raises(ConfigError, match=rf"file\.{ending}: no such file; expected a network"):
        read_tensors(path, "a network")
    state = {"a": torch.ones(5000)}
    write_weights(state, path) if ending == "safetensors" else torch.save(state, path)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(ConfigError, match="cut short"):
        read_tensors(path, "a network")


def test_arrays_in_a_file_are_read(tmp_path: Path) -> None:
    torch.save({"mean": np.arange(3.0), "cov": np.eye(3), "name": "FFHQ", "size": 512}, tmp_path / "stats.pth")

    found = read_plain(tmp_path / "stats.pth", "statistics")
    assert found["mean"].tolist() == [0, 1, 2]
    assert found["size"] == 512


def test_an_iresnet_that_is_another_network_is_told(tmp_path: Path) -> None:
    torch.save(Vgg(16, "conv1_1").state_dict(), tmp_path / "vgg.pth")
    with pytest.raises(ConfigError, match=r"vgg\.pth: not an IResNet .*: it has no 'layer1\.0\.conv2\.weight'"):
        load_iresnet(tmp_path / "vgg.pth")
