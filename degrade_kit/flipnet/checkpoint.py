"""A FlipNet as one folder.

    flipnet.json             configuration, where the base model is, its fingerprint, prompts to sample with
    boosthub.safetensors     the BoostHubs
    head.safetensors         what a gated head was fitted to; absent where the head is plain
    description.json         how an exemplar is described, and description.safetensors, what the network makes of that;
                             absent where it was trained without exemplars
    lora/                    the LoRA in peft's own format; absent where the rank is 0
    base/                    the base model in diffusers' layout, where it is bundled: unet/, vae/, text_encoder/,
                             tokenizer/, scheduler/
    LICENSE                  the licence of the weights, where they have one of their own

Half a folder is never seen: it is written beside its place and renamed.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from degrade_kit.errors import ConfigError, RunError
from degrade_kit.files import expand_home, read_json, whole_folder
from degrade_kit.flipnet import foreign
from degrade_kit.flipnet.config import SamplingConfig, base_place
from degrade_kit.flipnet.description import SPACE_FILE, read_space
from degrade_kit.flipnet.folder import (
    BASE_DIR,
    CONFIG_FILE,
    NETWORKS,
    BaseReference,
    Prompts,
    check_parts,
    folder_digest,
    is_hub_id,
    model_folder,
    read_config,
    weight_files,
)
from degrade_kit.flipnet.network import FlipNet, lora_config
from degrade_kit.flipnet.weights import (
    check_finite,
    check_shapes,
    load_weights,
    network_fingerprint,
    read_weights,
    write_weights,
)

log = logging.getLogger(__name__)

BOOSTHUB_FILE = "boosthub.safetensors"
HEAD_FILE = "head.safetensors"
DESCRIBER_FILE = "description.safetensors"
LORA_DIR = "lora"
_PEFT_PREFIX = "base_model.model."


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseModel:
    """The parts of a Stable Diffusion model."""

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """What a folder holds."""

    net: FlipNet
    prompts: Prompts
    """What the model was trained to answer to; empty where only the null prompt is meant."""
    sampling: SamplingConfig
    """What gives good images in little time."""
    digest: str
    """Hash of its weights and configuration, which names the model in records."""


def load_base(
    location: str, *, revision: str | None = None, download: bool = False, dtype: torch.dtype = torch.float32
) -> BaseModel:
    """Load a model in the layout of Stable Diffusion.

    Args:
        location: A local folder, a hub id, or a name of `degrade_kit.flipnet.config.BASES`.
        revision: Of a hub id.
        download: Whether a hub id that is not in the local cache may be fetched.
        dtype: Of the weights.

    Raises:
        ConfigError: If a part is missing, damaged or of a kind that is not known, or the parts do not fit together.
    """
    diffusers, transformers = foreign.diffusers(), foreign.transformers()

    location, revision = base_place(location, revision)
    location = expand_home(location)
    folder = Path(location)
    local = folder.is_dir()
    if local:
        _check_parts(folder)
    elif not is_hub_id(location):
        raise ConfigError(f"base model {location}: no such folder")
    options: dict[str, Any] = {"revision": revision, "local_files_only": local or not download}
    bars = transformers.utils.logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()  # of seconds, on a terminal that shows a run's own
    try:
        base = BaseModel(
            unet=_whole(diffusers.UNet2DConditionModel, location, "unet", torch_dtype=dtype, **options),
            vae=_whole(_vae_class(location, options), location, "vae", torch_dtype=dtype, **options),
            text_encoder=_whole(transformers.CLIPTextModel, location, "text_encoder", dtype=dtype, **options),
            tokenizer=transformers.AutoTokenizer.from_pretrained(location, subfolder="tokenizer", **options),
            # Whatever solver it was published with: the numbers of its noise schedule are all that is taken.
            scheduler=diffusers.DDPMScheduler.from_pretrained(location, subfolder="scheduler", **options),
        )
        _check_fit(base)
        return base
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0]
        hint = (
            ""
            if local
            else (
                "; it is not in the local cache: allow the download (--download), or give a folder in diffusers' layout"
            )
        )
        raise ConfigError(f"base model {location}: cannot be loaded: {reason}{hint}") from error
    finally:
        if shown:
            bars.enable_progress_bar()


def save(
    net: FlipNet,
    folder: Path,
    base: BaseReference,
    *,
    prompts: Prompts = (),
    sampling: SamplingConfig | None = None,
    half: bool = False,
    more: Callable[[Path], None] = lambda folder: None,
) -> None:
    """Write a FlipNet; the base model too where `base.location` is `base`.

    Args:
        net: What to save.
        folder: Created, or replaced as a whole.
        base: Where the base model is to be found.
        prompts: See `Loaded.prompts`.
        sampling: See `Loaded.sampling`; the paper's where None.
        half: Store numbers in half precision, in half the space.
        more: Writes further files to the folder before it takes its place.

    Raises:
        RunError: If it cannot be written.
    """
    try:
        with whole_folder(folder) as scratch:
            hubs = _hub_tensors(net, half=half)
            check_finite(hubs, "the weights to save")
            write_weights(hubs, scratch / BOOSTHUB_FILE)
            if net.head is not None:
                write_weights(
                    {name: _stored(tensor, half=False) for name, tensor in net.head.state_dict().items()},
                    scratch / HEAD_FILE,
                )
            if net.describer is not None:
                assert net.space is not None, "a network that knows descriptions, and not how they are made"
                learned = {name: _stored(tensor, half=half) for name, tensor in net.describer.state_dict().items()}
                check_finite(learned, "the weights to save")
                write_weights(learned, scratch / DESCRIBER_FILE)
                (scratch / SPACE_FILE).write_text(net.space.to_json(), encoding="utf-8")
            if net.config.lora_rank:
                _save_lora(net, scratch / LORA_DIR, half=half)
            print_ = network_fingerprint(_bare_unet(net)) if base.location == BASE_DIR else base.fingerprint
            if base.location == BASE_DIR:
                _save_base(net, scratch / BASE_DIR, half=half)
            head = json.loads(net.config.to_json())
            reference = {"location": base.location, "revision": base.revision, "fingerprint": print_}
            text = json.dumps(
                {
                    **head,
                    "base": reference,
                    "prompts": [list(entry) for entry in prompts],
                    "sampling": dataclasses.asdict(sampling or SamplingConfig()),
                },
                indent=2,
            )
            (scratch / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
            more(scratch)
    except OSError as error:
        raise RunError(f"cannot write {folder}: {error.strerror or error}") from error


def load(
    location: str | Path,
    *,
    base_model: str | None = None,
    download: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Loaded:
    """Load a FlipNet for sampling.

    Args:
        location: A folder, or the name of a model that ships: `small` or `photos`.
        base_model: In place of the base model that the folder names.
        download: Whether a base model may be fetched from a hub.
        dtype: Of the weights.

    Raises:
        ConfigError: If a file is missing, damaged, of another network, or the base model is not the one it was
            trained on.
    """
    folder = model_folder(location)
    config, reference, prompts, sampling = read_config(folder)
    if base_model is not None:
        reference = BaseReference(location=base_model, fingerprint=reference.fingerprint)
    bundled = reference.location == BASE_DIR
    # In full precision until the fingerprint is taken: bfloat16 would round it to another one.
    base = load_base(
        str(folder / BASE_DIR) if bundled else reference.location, revision=reference.revision, download=download
    )
    found = network_fingerprint(base.unet)
    if reference.fingerprint and found != reference.fingerprint:
        raise ConfigError(
            f"{folder}: was trained on a base model with fingerprint {reference.fingerprint}, {reference.location} has "
            f"{found}; give the right one with --base-model"
        )
    try:
        net = FlipNet(base.unet, base.vae, base.text_encoder, base.tokenizer, base.scheduler, config)
    except ValueError as error:
        raise ConfigError(f"{folder}: {error}") from error
    hubs = read_weights(folder / BOOSTHUB_FILE)
    _load_hubs(net, hubs, str(folder / BOOSTHUB_FILE))
    if net.head is not None:
        load_weights(net.head, folder / HEAD_FILE)
    if net.describer is not None:
        load_weights(net.describer, folder / DESCRIBER_FILE)
        net.space = read_space(folder)
        if net.space.size != config.description:
            raise ConfigError(
                f"{folder}: expected descriptions of {config.description} numbers, {SPACE_FILE} makes {net.space.size}"
            )
    if config.lora_rank:
        _load_lora(net, folder / LORA_DIR)
    net.requires_grad_(False)
    net.to(dtype)
    return Loaded(net=net.eval(), prompts=prompts, sampling=sampling, digest=folder_digest(folder))


def _whole(kind: Any, location: str, part: str, **options: Any) -> Any:  # noqa: ANN401 (diffusers, transformers)
    """Load a network from safetensors files that hold all its weights: the libraries make up what is missing."""
    model, info = kind.from_pretrained(
        location, subfolder=part, use_safetensors=True, output_loading_info=True, **options
    )
    lost = sorted(str(key) for key in (*info["missing_keys"], *info["mismatched_keys"]))
    if lost:
        raise ValueError(f"{part}: {len(lost)} of its weights are missing or of another shape, such as {lost[0]}")
    return model


def _vae_class(location: str, options: dict[str, Any]) -> Any:  # noqa: ANN401 (diffusers)
    """Find the class that the autoencoder's configuration names."""
    from degrade_kit.flipnet.space import BlockDCT

    kl = foreign.diffusers().AutoencoderKL
    config = kl.load_config(location, subfolder="vae", **options)
    name = str(cast("dict[str, Any]", config).get("_class_name", ""))
    known = {"AutoencoderKL": kl, "BlockDCT": BlockDCT}
    if name not in known:
        raise ValueError(f"vae/config.json: expected _class_name {' or '.join(known)}, got {name!r}")
    return known[name]


def _check_fit(base: BaseModel) -> None:
    """Refuse other models that have the same folders, such as those that inpaint, or read two texts.

    Raises:
        ValueError: If the parts do not fit together.
    """
    reads, gives = base.unet.config.cross_attention_dim, base.text_encoder.config.hidden_size
    if reads != gives:
        raise ValueError(f"unet: expected one that reads texts of {gives} numbers a token, got {reads}")
    takes, has = base.unet.config.in_channels, base.vae.config.latent_channels
    if takes != has:
        raise ValueError(f"unet: expected one that takes the autoencoder's {has} channels, got {takes}")
    if base.scheduler.config.prediction_type == "epsilon" and not base.scheduler.alphas_cumprod[-1] > 0:
        raise ValueError("scheduler: its last step has no signal, where a prediction of epsilon says nothing")


def _check_parts(folder: Path) -> None:
    check_parts(folder)
    for part in NETWORKS:
        for path in weight_files(folder / part):
            read_weights(path)


def _hub_tensors(net: FlipNet, *, half: bool) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": _stored(tensor, half=half)
        for name, hub in net.hubs.items()
        for key, tensor in hub.state_dict().items()
    }


def _load_hubs(net: FlipNet, tensors: dict[str, Tensor], where: str) -> None:
    expected = {f"{name}.{key}": tensor for name, hub in net.hubs.items() for key, tensor in hub.state_dict().items()}
    check_shapes(expected, tensors, where)
    for name, hub in net.hubs.items():
        hub.load_state_dict({key: tensors[f"{name}.{key}"] for key in hub.state_dict()})


def _save_lora(net: FlipNet, folder: Path, *, half: bool) -> None:
    """Save LoRA as peft's own `save_pretrained` does: `PeftModel.from_pretrained` reads it too."""
    lora_config(net.config.lora_rank).save_pretrained(str(folder))
    tensors = {f"{_PEFT_PREFIX}{name}": _stored(tensor, half=half) for name, tensor in _lora_tensors(net).items()}
    check_finite(tensors, "the LoRA to save")
    write_weights(tensors, folder / "adapter_model.safetensors")


def _lora_tensors(net: FlipNet) -> dict[str, Tensor]:
    return foreign.peft_utils().get_peft_model_state_dict(net.unet, adapter_name="default")


def _load_lora(net: FlipNet, folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = {name.removeprefix(_PEFT_PREFIX): tensor for name, tensor in read_weights(path).items()}
    check_shapes(_lora_tensors(net), tensors, str(path))
    foreign.peft_utils().set_peft_model_state_dict(net.unet, tensors, adapter_name="default")


def _bare_unet(net: FlipNet) -> nn.Module:
    """Return the base network alone: without BoostHubs, and with the names that it has without LoRA."""
    with torch.device("meta"):
        bare = foreign.diffusers().UNet2DConditionModel.from_config(net.unet.config)
    bare.load_state_dict(_base_tensors(net), assign=True)
    return bare


def _base_tensors(net: FlipNet) -> dict[str, Tensor]:
    return {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in net.unet.state_dict().items()
        if ".attn1.processor." not in name and ".lora_" not in name
    }


def _save_base(net: FlipNet, folder: Path, *, half: bool) -> None:
    unet = _bare_unet(net)
    if half:
        unet = unet.to(torch.float16)
    check_finite(unet.state_dict(), "the base model to save")
    cast("Any", unet).save_pretrained(folder / "unet")
    net.vae.save_pretrained(folder / "vae")
    text_encoder = net.text_encoder
    if half:
        import copy

        text_encoder = copy.deepcopy(text_encoder).to(torch.float16)
    text_encoder.save_pretrained(folder / "text_encoder")
    tokenizer: Any = net.tokenizer
    if hasattr(tokenizer, "backend_tokenizer"):  # it would keep how it was called last
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(folder / "tokenizer")
    net.scheduler.save_pretrained(folder / "scheduler")
    for part in ("unet", "vae"):
        _forget_place(folder / part / "config.json")


def _forget_place(path: Path) -> None:
    """Take out of a configuration where diffusers loaded it from: the digest of a model is not that of a machine."""
    fields = read_json(path)
    if fields.pop("_name_or_path", None) is not None:
        path.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", "utf-8")


def _stored(tensor: Tensor, *, half: bool) -> Tensor:
    return tensor.detach().to("cpu", torch.float16 if half else torch.float32).contiguous().clone()
