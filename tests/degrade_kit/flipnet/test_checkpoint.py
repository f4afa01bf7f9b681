from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from degrade_kit.errors import ConfigError, RunError
from degrade_kit.flipnet import checkpoint, foreign
from degrade_kit.flipnet.checkpoint import BaseReference, load, load_base, save
from degrade_kit.flipnet.config import FlipNetConfig
from degrade_kit.flipnet.network import FlipNet
from degrade_kit.flipnet.sampling import SamplingConfig, latent_size, sample
from degrade_kit.flipnet.weights import fingerprint
from tests.degrade_kit.flipnet.models import assemble, gated_flipnet, save_base, tiny_base


def made(net: FlipNet) -> torch.Tensor:
    source = torch.Generator().manual_seed(0)
    images = torch.rand(1, 3, 64, 64, generator=source) * 2 - 1
    noise = torch.randn(2, *latent_size(net, 64, 64), generator=source)
    return sample(net, images, noise, ["haze", "clean"], SamplingConfig(num_steps=2))


@pytest.fixture
def base_folder(tmp_path: Path) -> Path:
    return save_base(tiny_base(), tmp_path / "sd")


@pytest.fixture
def lora_model(base_folder: Path, tmp_path: Path) -> tuple[FlipNet, Path]:
    base = load_base(str(base_folder))
    print_ = fingerprint(base.unet)
    net = assemble(base, FlipNetConfig(lora_rank=4), randomize=True)
    save(net, tmp_path / "model", BaseReference(location=str(base_folder), fingerprint=print_))
    return net, tmp_path / "model"


def test_lora_on_a_named_base_comes_back_as_it_was(lora_model: tuple[FlipNet, Path]) -> None:
    net, folder = lora_model
    found = load(folder)
    assert (made(found.net) - made(net)).abs().max() < 1e-5
    assert found.sampling == SamplingConfig()


def test_peft_reads_the_lora_folder(lora_model: tuple[FlipNet, Path], base_folder: Path) -> None:
    from peft import PeftModel

    net, folder = lora_model
    model: Any = PeftModel.from_pretrained(load_base(str(base_folder)).unet, str(folder / "lora"))
    theirs = [tensor for name, tensor in model.named_parameters() if "lora_B" in name]
    ours = [tensor for name, tensor in net.unet.named_parameters() if "lora_B" in name]
    assert len(theirs) == len(ours) > 0
    assert all(torch.equal(a, b) for a, b in zip(theirs, ours, strict=True))


def test_a_bundled_base_in_half_precision_makes_nearly_the_same_images(tmp_path: Path) -> None:
    net = gated_flipnet()
    prompts = (("haze", 0.5), ("clean", 0.5))
    sampling = SamplingConfig(num_steps=3, guidance=1.0)
    save(net, tmp_path / "m", BaseReference(location="base"), prompts=prompts, sampling=sampling, half=True)
    found = load(tmp_path / "m")
    assert (made(found.net) - made(net)).abs().max() < 2e-2
    assert (found.prompts, found.sampling) == (prompts, sampling)
    assert not any(parameter.requires_grad for parameter in found.net.parameters())


def test_fused_lora_makes_the_same_images(lora_model: tuple[FlipNet, Path]) -> None:
    net, _ = lora_model
    before = made(net)
    net.unet.fuse_lora()
    assert (made(net) - before).abs().max() < 1e-4


def test_another_base_model_is_told_by_its_fingerprint(lora_model: tuple[FlipNet, Path], tmp_path: Path) -> None:
    _, folder = lora_model
    other = tiny_base()
    with torch.no_grad():
        other.unet.conv_in.weight.add_(0.1)
    with pytest.raises(ConfigError, match="was trained on a base model with fingerprint"):
        load(folder, base_model=str(save_base(other, tmp_path / "other")))


def test_a_base_model_without_a_part_or_with_pickles_is_refused(base_folder: Path) -> None:
    weights = next((base_folder / "unet").glob("*.safetensors"))
    pickled = weights.with_name("diffusion_pytorch_model.bin")
    weights.rename(pickled)
    with pytest.raises(ConfigError, match=r"found diffusion_pytorch_model\.bin, a pickled file; convert it"):
        load_base(str(base_folder))
    shutil.rmtree(base_folder / "vae")
    with pytest.raises(ConfigError, match="no folder vae; expected diffusers' layout"):
        load_base(str(base_folder))
    with pytest.raises(ConfigError, match="no such folder"):
        load_base("./nowhere/at/all")


# diffusers hands its hub library an argument that this no longer takes.
@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument:UserWarning")
def test_a_hub_model_that_is_not_there_says_how_to_get_it() -> None:
    with pytest.raises(ConfigError, match=r"allow the download \(--download\), or give a folder"):
        load_base("nobody/no-such-model")


def damage(path: Path, how: str) -> None:
    # Copies: what the file's own memory map holds goes with the file.
    tensors = {name: tensor.clone() for name, tensor in foreign.safetensors_torch().load_file(path).items()}
    if how == "nan":
        tensors[next(iter(tensors))].view(-1)[0] = torch.nan
        foreign.safetensors_torch().save_file(tensors, path)
    elif how == "shapes":
        name = next(iter(tensors))
        tensors[name] = torch.zeros(7, 768)
        foreign.safetensors_torch().save_file(tensors, path)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif how == "png":
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    elif how == "pickle":
        torch.save(tensors, path)
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("nan", r"boosthub\.safetensors: 1 of \d+ tensors contain NaN or infinity; first "),
        ("shapes", r"0 missing, 0 unexpected, 1 of another shape; .* is 7x768, expected .*Stable Diffusion 1\.x"),
        ("cut", r"cut short: its header says \d+ bytes, it has \d+"),
        ("png", r"not a safetensors file, or cut short \(108 bytes; it begins b'\\x89PNG"),
        ("pickle", "a pickled torch file, which may run code when it is read; convert it"),
        ("gone", "cannot be read: No such file"),
    ],
)
def test_damaged_weights_are_one_clear_error(lora_model: tuple[FlipNet, Path], how: str, message: str) -> None:
    _, folder = lora_model
    damage(folder / "boosthub.safetensors", how)
    with pytest.raises(ConfigError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boost_windw": 3}, "unknown key `boost_windw`; did you mean `boost_window`"),
        ({"boost_window": 2}, "boost_window: expected 0 or an odd number, got 2"),
        ({"lora_rank": "many"}, "lora_rank: expected int, got 'many'"),
        ({"mode": "sharpen"}, "'sharpen' is not a valid Mode"),
        ({"format": 99}, "format 99 is not the format 1"),
        ({"sampling": {"steps": 3}}, "sampling: unknown key `steps`; did you mean `num_steps`"),
        ({"base": 3}, "`base` or `prompts` is not what a FlipNet has"),
    ],
)
def test_a_wrong_configuration_is_named(lora_model: tuple[FlipNet, Path], change: dict[str, Any], message: str) -> None:
    _, folder = lora_model
    path = folder / "flipnet.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ConfigError, match=message):
        load(folder)


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no flipnet\.json: not a FlipNet; give a folder that `degrade-kit train"):
        load(tmp_path)


def test_a_save_that_fails_leaves_the_old_model(
    lora_model: tuple[FlipNet, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, folder = lora_model
    before = made(net)

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_save_lora", full)
    with pytest.raises(RunError, match="No space left on device"):
        save(net, folder, BaseReference(location="nowhere"))
    assert (made(load(folder).net) - before).abs().max() < 1e-5
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []
