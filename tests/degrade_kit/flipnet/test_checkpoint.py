from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from degrade_kit import files
from degrade_kit.errors import ConfigError, RunError
from degrade_kit.flipnet import checkpoint
from degrade_kit.flipnet.checkpoint import BaseModel, BaseReference, load, load_base, read_config, save
from degrade_kit.flipnet.config import BASES, FlipNetConfig
from degrade_kit.flipnet.network import FlipNet
from degrade_kit.flipnet.sampling import SamplingConfig, latent_size, sample
from degrade_kit.flipnet.weights import network_fingerprint
from degrade_kit.image import encode_png
from tests.degrade_kit.flipnet.models import (
    PUBLISHED,
    assemble,
    gated_flipnet,
    save_base,
    save_published,
    tiny_base,
    tiny_flipnet,
)

PROMPTS = (("dark, strong noise", 0.75), ("", 0.25))


def output(net: FlipNet) -> Tensor:
    """What a network makes of one image, for a prompt and with guidance."""
    source = torch.Generator().manual_seed(5)
    image = torch.rand(1, 3, 64, 64, generator=source) * 2 - 1
    noise = torch.randn(2, *latent_size(net, 64, 64), generator=source)
    return sample(net, image, noise, ["strong noise"] * 2, SamplingConfig(num_steps=3))


def base_of(net: FlipNet) -> BaseModel:
    """The base model in a network; `tiny_flipnet` has changed its last layer."""
    return BaseModel(
        unet=checkpoint._bare_unet(net),
        vae=net.vae,
        text_encoder=net.text_encoder,
        tokenizer=net.tokenizer,
        scheduler=net.scheduler,
    )


@pytest.fixture(scope="module")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(base_of(tiny_flipnet()), tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, base_dir: Path) -> Path:
    """A FlipNet with LoRA on a base model in another folder."""
    folder = tmp_path_factory.mktemp("models") / "made"
    net = tiny_flipnet()
    reference = BaseReference(location=str(base_dir), fingerprint=network_fingerprint(base_of(net).unet))
    save(net, folder, reference, prompts=PROMPTS, sampling=SamplingConfig(num_steps=7))
    return folder


@pytest.fixture
def model(made: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(made, tmp_path / "model"))


@pytest.mark.slow
@pytest.mark.long
def test_lora_on_a_referenced_base_comes_back_to_the_last_bit(made: Path) -> None:
    loaded, original = load(made), tiny_flipnet()
    written, found = original.state_dict(), loaded.net.state_dict()
    assert found.keys() == written.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in written.items())
    assert (output(loaded.net) - output(original)).abs().max() < 1e-5
    assert loaded.net.config == FlipNetConfig(lora_rank=4)
    assert loaded.prompts == PROMPTS
    assert loaded.sampling == SamplingConfig(num_steps=7)
    assert not [name for name, parameter in loaded.net.named_parameters() if parameter.requires_grad]
    assert not (made / "base").exists()


@pytest.mark.slow
def test_a_bundled_gated_model_comes_back_in_half_precision(tmp_path: Path) -> None:
    net = gated_flipnet()
    before = output(net)
    save(net, tmp_path / "model", BaseReference(location="base"), half=True)
    assert torch.equal(output(net), before), "saving changes nothing"
    assert load_file(tmp_path / "model/base/unet/diffusion_pytorch_model.safetensors")["conv_in.weight"].dtype == (
        torch.float16
    )
    shutil.move(tmp_path / "model", tmp_path / "moved")
    after = output(load(tmp_path / "moved").net)
    assert (after - before).abs().max() < 2e-2
    assert before.std() > 0.05


@pytest.mark.slow
def test_the_base_model_is_known_again_in_another_precision(made: Path) -> None:
    assert load(made, dtype=torch.bfloat16).net.unet.dtype == torch.bfloat16


@pytest.mark.slow
def test_peft_reads_the_lora_folder(made: Path) -> None:
    from peft import PeftModel

    net = tiny_flipnet()
    alone: Any = copy.deepcopy(base_of(net).unet).eval()
    adapted: Any = PeftModel.from_pretrained(alone, str(made / "lora")).eval()
    rows, steps = torch.randn(2, 4, 8, 8), torch.tensor([3, 700])
    tokens = net.encode_prompts(["haze", ""])
    with torch.no_grad():
        assert torch.allclose(adapted(rows, steps, tokens).sample, net.read(rows, steps, tokens, None), atol=1e-6)


@pytest.mark.slow
def test_the_same_lora_fused_gives_the_same_images(made: Path) -> None:
    net = load(made).net
    before = output(net)
    net.unet.fuse_lora()
    assert (output(net) - before).abs().max() < 1e-5


@pytest.mark.slow
def test_another_base_model_is_refused(made: Path, tmp_path: Path) -> None:
    base = tiny_base()
    with torch.no_grad():
        base.unet.conv_in.weight.add_(0.01)
    other = save_base(base, tmp_path / "other")
    with pytest.raises(ConfigError, match=r"trained on a base model with fingerprint \w+, .*other has .*--base-model"):
        load(made, base_model=str(other))


def damage(path: Path, change: Any) -> None:  # noqa: ANN401 (a function of all tensors)
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def put_nan(tensors: dict[str, Tensor]) -> None:
    for name in sorted(tensors)[:3]:
        tensors[name].view(-1)[-1] = torch.nan


@pytest.mark.slow
@pytest.mark.parametrize("name", ["boosthub.safetensors", "lora/adapter_model.safetensors"])
def test_nan_weights_are_counted(model: Path, name: str) -> None:
    damage(model / name, put_nan)
    first = sorted(load_file(model / name))[0]
    with pytest.raises(ConfigError, match=rf"{name}: 3 of \d+ tensors contain NaN or infinity; first {first}"):
        load(model)


@pytest.mark.slow
def test_nan_weights_of_the_base_model_are_told(tmp_path: Path) -> None:
    base = save_base(tiny_base(), tmp_path / "base")
    damage(base / "vae/diffusion_pytorch_model.safetensors", put_nan)
    with pytest.raises(ConfigError, match=r"vae/.* tensors contain NaN"):
        load_base(str(base))


def test_nan_weights_are_not_saved(tmp_path: Path) -> None:
    net = tiny_flipnet()
    with torch.no_grad():
        next(iter(net.hubs.values())).to_out.weight[0, 0] = torch.inf
    with pytest.raises(ConfigError, match="the weights to save: 1 of"):
        save(net, tmp_path / "model", BaseReference(location="x"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_weights_of_another_network_are_told_in_short(model: Path) -> None:
    def widen(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors)[:20]:
            tensors[name] = torch.zeros(8, 768)
        tensors["surplus"] = torch.zeros(1)

    damage(model / "boosthub.safetensors", widen)
    with pytest.raises(ConfigError) as caught:
        load(model)
    message = str(caught.value)
    assert "weights of another network: 0 missing, 1 unexpected, 20 of another shape" in message
    assert message.count("is 8x768, expected") == 3
    assert "Stable Diffusion 1.x" in message
    assert len(message) < 800


@pytest.mark.slow
def test_a_base_model_with_missing_weights_is_refused(tmp_path: Path) -> None:
    base = save_base(tiny_base(), tmp_path / "base")
    damage(base / "unet/diffusion_pytorch_model.safetensors", lambda tensors: tensors.pop("conv_in.weight"))
    with pytest.raises(ConfigError, match=r"unet: 1 of its weights are missing .* such as conv_in\.weight"):
        load_base(str(base))


@pytest.mark.slow
def test_a_base_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    base = save_base(tiny_base(), tmp_path / "base")
    config = base / "vae/config.json"
    config.write_text(config.read_text().replace("AutoencoderKL", "AutoencoderTiny"))
    with pytest.raises(ConfigError, match="expected _class_name AutoencoderKL or BlockDCT, got 'AutoencoderTiny'"):
        load_base(str(base))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


def write_png(path: Path) -> None:
    path.write_bytes(encode_png(np.zeros((32, 32, 3), np.uint8)))


def write_pickle(path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut, r"cut short: its header says \d+ bytes, it has \d+"),
        (cut_short, "not a safetensors file, or cut short"),
        (write_png, "not a safetensors file, or cut short .*PNG"),
        (write_pickle, "a pickled torch file, .* convert it to safetensors"),
        (Path.unlink, "cannot be read: No such file"),
    ],
)
def test_a_file_that_is_no_weights_is_told(model: Path, change: Any, message: str) -> None:  # noqa: ANN401
    change(model / "boosthub.safetensors")
    with pytest.raises(ConfigError, match=f"boosthub.safetensors: {message}"):
        load(model)


def test_a_pickled_base_model_is_refused(tmp_path: Path) -> None:
    base = save_base(tiny_base(), tmp_path / "base")
    (base / "unet/diffusion_pytorch_model.safetensors").unlink()
    write_pickle(base / "unet/diffusion_pytorch_model.bin")
    with pytest.raises(
        ConfigError, match=r"expected unet/\*.safetensors, found diffusion_pytorch_model.bin, a pickled"
    ):
        load_base(str(base))


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument:UserWarning")  # diffusers still gives it
@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("./nowhere", "no such folder"),
        ("/nowhere/at/all", "no such folder"),
        ("nobody/nothing", "not in the local cache: allow the download"),
    ],
)
def test_a_base_model_that_is_not_there_is_told(location: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"base model {location}: .*{message}"):
        load_base(location)


def test_a_base_model_without_a_part_is_told(tmp_path: Path) -> None:
    base = save_base(tiny_base(), tmp_path / "base")
    shutil.rmtree(base / "tokenizer")
    with pytest.raises(ConfigError, match="no folder tokenizer; expected diffusers' layout"):
        load_base(str(base))


@pytest.mark.slow
def test_a_base_model_brings_its_words(base_dir: Path) -> None:
    found, made_here = load_base(str(base_dir)), tiny_base()
    text = "Strong noise, haze"
    assert found.tokenizer(text).input_ids == made_here.tokenizer(text).input_ids
    ids = torch.tensor([made_here.tokenizer(text).input_ids])
    assert torch.equal(found.text_encoder(ids)[0], made_here.text_encoder(ids)[0])
    assert found.scheduler.config.prediction_type == "epsilon"


@pytest.mark.slow
@pytest.mark.parametrize("name", BASES)
def test_a_published_folder_is_read_as_it_is(name: str, tmp_path: Path) -> None:
    told = PUBLISHED[name]
    folder = save_published(tmp_path / "base", name)
    loaded = load_base(str(folder))
    end = len(loaded.tokenizer) - 1
    assert loaded.tokenizer("haze").input_ids == [end - 1, end - 2, end]
    assert loaded.scheduler.config.prediction_type == told["scheduler"].get("prediction_type", "epsilon")
    assert float(loaded.scheduler.alphas_cumprod[-1]) == pytest.approx(0.00466, abs=1e-5)
    old = load_file(folder / "vae/diffusion_pytorch_model.safetensors")
    query = loaded.vae.decoder.mid_block.attentions[0].to_q.weight
    assert torch.equal(query, old["decoder.mid_block.attentions.0.query.weight"])
    assert loaded.vae.config.scaling_factor == 0.18215
    words = load_file(folder / "text_encoder/model.safetensors")["text_model.embeddings.token_embedding.weight"]
    assert any(torch.equal(words, tensor) for tensor in loaded.text_encoder.state_dict().values())
    net = assemble(loaded, FlipNetConfig(lora_rank=4), randomize=False)
    tokens = net.encode_prompts(["haze", ""])
    assert tokens.shape == (2, 77, told["text"]["hidden_size"])
    assert torch.equal(tokens[0, 0], tokens[1, 0])
    assert not torch.equal(tokens[0, 1], tokens[1, 1])


def test_parts_that_do_not_fit_together_are_refused() -> None:
    def refused(base: BaseModel, message: str, **unet: int) -> None:
        if unet:
            base = dataclasses.replace(base, unet=SimpleNamespace(config=SimpleNamespace(**unet)))
        with pytest.raises(ValueError, match=message):
            checkpoint._check_fit(base)

    base = tiny_base()
    checkpoint._check_fit(base)
    checkpoint._check_fit(tiny_base("v_prediction", zero_snr=True))
    refused(base, "the autoencoder's 4 channels, got 9", in_channels=9, cross_attention_dim=32)  # inpainting
    refused(base, "texts of 32 numbers a token, got 64", in_channels=4, cross_attention_dim=64)  # two text models
    refused(tiny_base(zero_snr=True), "its last step has no signal")


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_a_folder_that_is_no_model_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ConfigError, match=r"no flipnet\.json: not a FlipNet; give a folder that `degrade-kit train-degr"
    ):
        load(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora_rnak": 4}, "unknown key `lora_rnak`; .*lora_rank"),
        ({"lora_rank": "4"}, "lora_rank: expected int, got '4'"),
        ({"mode": "sideways"}, "'sideways' is not a valid Mode"),
        ({"format": 2}, "format 2 is not the format 1"),
        ({"sampling": {"solver": "euler"}}, "sampling: solver: expected one of ddim, dpm"),
        ({"base": None}, "base: expected `key: value` pairs, got None"),
        ({"base": {"location": "x", "finger": ""}}, "base: unknown key `finger`"),
        ({"base": {}}, "base: missing .*'location'"),
        ({"prompts": [["dark"]]}, r"prompts\[0\]: expected"),
    ],
)
def test_a_wrong_configuration_is_told_with_the_key(model: Path, change: dict[str, Any], message: str) -> None:
    path = model / "flipnet.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ConfigError, match=rf"flipnet\.json: (.*: )?{message}"):
        load(model)


@pytest.mark.parametrize("text", ["{", "[]", "\ud800"])
def test_a_configuration_that_is_no_json_object_is_told(model: Path, text: str) -> None:
    (model / "flipnet.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError, match=r"flipnet\.json: (not JSON|all of it: expected an object)"):
        read_config(model)


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["write_weights", "publish"])
def test_a_save_that_fails_leaves_the_old_folder(model: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    before = {path: path.read_bytes() for path in model.rglob("*") if path.is_file()}
    owner = files if broken == "publish" else checkpoint
    whole = getattr(owner, broken)

    def fill(*arguments: Any) -> None:  # noqa: ANN401
        if broken == "write_weights" and "lora" not in str(arguments[1]):
            return whole(*arguments)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(owner, broken, fill)
    with pytest.raises(RunError, match=r"cannot write .*model: No space left on device"):
        save(tiny_flipnet(), model, BaseReference(location="x"))
    assert {path: path.read_bytes() for path in model.rglob("*") if path.is_file()} == before
    assert [path.name for path in model.parent.iterdir()] == ["model"]


def test_a_rename_that_fails_puts_the_old_folder_back(model: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files._replace_folder(tmp_path / "missing", model)
    assert (model / "flipnet.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_digest_follows_the_weights_and_not_the_place(model: Path, made: Path) -> None:
    assert checkpoint.folder_digest(model) == checkpoint.folder_digest(made)
    (model / "._flipnet.json").write_bytes(b"\0\x05\x16\x07")  # as macOS leaves on a memory stick
    assert checkpoint.folder_digest(model) == checkpoint.folder_digest(made)
    damage(model / "boosthub.safetensors", lambda tensors: next(iter(tensors.values())).add_(1))
    assert checkpoint.folder_digest(model) != checkpoint.folder_digest(made)


@pytest.mark.slow
def test_a_model_has_the_same_files_whatever_its_tokenizer_did_before(tmp_path: Path) -> None:
    net = gated_flipnet()
    for name in ("fresh", "used"):
        save(net, tmp_path / name, BaseReference(location="base"))
        net.tokenizer(["a face"], padding="max_length", max_length=4, truncation=True)
    tokens = "base/tokenizer/tokenizer.json"
    assert (tmp_path / "fresh" / tokens).read_bytes() == (tmp_path / "used" / tokens).read_bytes()


@pytest.mark.slow
def test_a_model_that_is_loaded_and_saved_has_the_same_files_wherever_it_lay(tmp_path: Path) -> None:
    save(gated_flipnet(), tmp_path / "first", BaseReference(location="base"))
    shutil.copytree(tmp_path / "first", tmp_path / "elsewhere")
    for name in ("first", "elsewhere"):
        save(load(tmp_path / name).net, tmp_path / f"again_{name}", BaseReference(location="base"))
    assert checkpoint.folder_digest(tmp_path / "again_first") == checkpoint.folder_digest(tmp_path / "again_elsewhere")
    assert str(tmp_path) not in "".join(path.read_text("utf-8") for path in tmp_path.glob("again_first/**/*.json"))


@pytest.mark.slow
def test_what_a_network_learned_of_exemplars_comes_back(tmp_path: Path) -> None:
    net = gated_flipnet(exemplars=True)
    save(net, tmp_path / "model", BaseReference(location="base"))
    found = load(tmp_path / "model").net
    assert found.describer is not None
    assert net.describer is not None
    assert found.space is not None
    assert net.space is not None
    assert found.space.to_json() == net.space.to_json()
    for name, tensor in net.describer.state_dict().items():
        assert torch.equal(found.describer.state_dict()[name], tensor)
    digest = checkpoint.folder_digest(tmp_path / "model")
    space = json.loads((tmp_path / "model" / "description.json").read_text())
    space["matrix"] = [row[:-1] for row in space["matrix"]]
    (tmp_path / "model" / "description.json").write_text(json.dumps(space))
    assert checkpoint.folder_digest(tmp_path / "model") != digest
    with pytest.raises(ConfigError, match=r"expected descriptions of 11 numbers, description\.json makes 10"):
        load(tmp_path / "model")
    (tmp_path / "model" / "description.json").unlink()
    with pytest.raises(ConfigError, match="cannot degrade like a photograph"):
        load(tmp_path / "model")
    (tmp_path / "model" / "description.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"description\.safetensors: cannot be read"):
        load(tmp_path / "model")
