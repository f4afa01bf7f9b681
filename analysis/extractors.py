"""What turns an image into a feature vector: the handcrafted features, or a learned model from local weights.

`degradation` needs nothing. The others take a folder that is given with them, or a file that `degrade-kit weights`
lists; nothing is fetched.
"""

# torch, diffusers, transformers and torch-fidelity have parts without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from degrade_kit.analysis.distances import Features
from degrade_kit.analysis.weights import WEIGHTS, locate
from degrade_kit.errors import ConfigError
from degrade_kit.files import expand_home, file_sha256, sha256
from degrade_kit.image import Pixels
from degrade_kit.sources import data_files

Measure = Callable[[Pixels], Features]
"""(H, W, 3) uint8 to (D,)."""

DEGRADATION: Final = "degradation"
_TITLES: Final = {
    DEGRADATION: "handcrafted degradation features",
    "checkpoint": "pooled features of a FlipNet's condition branch",
    "arniqa": "ARNIQA (Agnolucci et al. 2024)",
    "efficientnet": "EfficientNet-Lite0 of ImageNet, channels at four depths",
    "inception": "Inception v3, pool3 (as FID)",
    "dinov2": "DINOv2, class token",
    "vae": "channel statistics of an autoencoder's latents",
}
_NEEDS: Final = {
    "checkpoint": ("flipnet", ("torch", "diffusers", "transformers")),
    "arniqa": ("metrics", ("torch", "torchvision")),
    "efficientnet": ("spaces", ("torch", "efficientnet_lite_pytorch")),
    "inception": ("metrics", ("torch", "torch_fidelity")),
    "dinov2": ("flipnet", ("torch", "transformers")),
    "vae": ("flipnet", ("torch", "diffusers")),
}
"""Extra of this toolkit and packages, as they are imported."""


@dataclass(frozen=True, slots=True)
class Extractor:
    """A way to measure images; small to pickle, loaded where it works."""

    kind: str
    path: str = ""

    @property
    def handcrafted(self) -> bool:
        """Whether features are the handcrafted ones, which are scaled or whitened before they are compared."""
        return self.kind == DEGRADATION

    @property
    def title(self) -> str:
        """For people."""
        return _TITLES[self.kind] + (f", {Path(self.path).name}" if self.path and self.kind not in WEIGHTS else "")

    def key(self) -> str:
        """Equal keys give equal features: the version of the code, or a hash of the weights."""
        if self.handcrafted:
            from degrade_kit.analysis.features import VERSION

            return f"{DEGRADATION}-{VERSION}"
        return f"{self.kind}-{_digest(Path(self.path))}"

    def load(self) -> Measure:
        """Get ready to measure.

        Raises:
            ConfigError: If a package or a weight is missing, or the weights are of another network.
        """
        if self.handcrafted:
            from degrade_kit.analysis.features import degradation_features

            return degradation_features
        return _LOADERS[self.kind](Path(self.path))


def parse_extractor(text: str, given: Mapping[str, Path]) -> Extractor:
    """Read `degradation`, the name of a learned one whose file is listed, or KIND:DIR of another.

    Args:
        text: What to read.
        given: What `--weights` says, by name.

    Raises:
        ConfigError: If the kind is unknown, its weights are not there, or a package is missing.
    """
    kind, colon, path = text.partition(":")
    path = expand_home(path)
    if text == DEGRADATION:
        return Extractor(DEGRADATION)
    if kind not in _LOADERS or (kind in WEIGHTS and colon):
        known = ", ".join([DEGRADATION, *(name if name in WEIGHTS else f"{name}:DIR" for name in _LOADERS)])
        raise ConfigError(f"features: expected one of auto, whitened, {known}; got {text!r}")
    if kind in WEIGHTS:
        found = locate(kind, given)
        if found.path is None:
            raise ConfigError(f"features: {kind} {found.missing()}")
        path = str(found.path)
    elif not path or not Path(path).is_dir():
        raise ConfigError(f"features: {kind} needs its folder: {kind}:DIR; no folder is at {path or 'no path'!r}")
    extra, packages = _NEEDS[kind]
    for package in packages:
        if importlib.util.find_spec(package) is None:
            named = package.replace("_", "-")
            raise ConfigError(f"features: {kind} needs {named}: pip install 'degrade-kit[{extra}]'")
    return Extractor(kind, str(Path(path).resolve()))


def parse_spaces(text: str, given: Mapping[str, Path]) -> list[Extractor]:
    """Read which learned spaces are looked at beside the main one: names as for `parse_extractor`, with commas.

    `auto` takes the first two of `arniqa`, `efficientnet` and the small FlipNet for which files and packages are here;
    `none` takes none.

    Args:
        text: What to read.
        given: What `--weights` says, by name.

    Raises:
        ConfigError: If one is unknown or handcrafted, its weights are not there, or a package is missing.
    """
    if text == "none":
        return []
    if text != "auto":
        found = [parse_extractor(part.strip(), given) for part in text.split(",")]
        if any(extractor.handcrafted for extractor in found):
            raise ConfigError(f"spaces: expected learned ones, got {DEGRADATION!r}, which is not")
        return found
    from degrade_kit.flipnet.folder import SMALL

    at_hand: list[Extractor] = []
    for candidate in ("arniqa", "efficientnet", f"checkpoint:{SMALL}"):
        with contextlib.suppress(ConfigError):
            at_hand.append(parse_extractor(candidate, given))
    return at_hand[:2]


def _digest(path: Path) -> str:
    files = data_files(path) if path.is_dir() else [path]
    return sha256("".join(map(file_sha256, files)))[:16]


def _tensor(image: Pixels) -> Any:  # noqa: ANN401 (a tensor)
    """(1, 3, H, W) in [0, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255


def _numpy(tensor: Any) -> Features:  # noqa: ANN401 (a tensor)
    return tensor.detach().double().cpu().numpy().reshape(-1)


def _imagenet(tensor: Any) -> Any:  # noqa: ANN401 (a tensor)
    import torch

    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (tensor - mean[:, None, None]) / std[:, None, None]


def _load_vae(path: Path) -> Measure:
    """Means and deviations of latent channels, and of their differences between neighbours: (4 C,)."""
    import torch

    diffusers: Any = importlib.import_module("diffusers")
    folder = path / "vae" if (path / "vae").is_dir() else path
    try:
        vae: Any = diffusers.AutoencoderKL.from_pretrained(folder, use_safetensors=True, local_files_only=True).eval()
    except Exception as error:
        raise ConfigError(f"{folder}: not a diffusers autoencoder: {str(error).splitlines()[0]}") from error
    factor = 2 ** (len(vae.config.block_out_channels) - 1)

    @torch.no_grad()
    def measure(image: Pixels) -> Features:
        height, width = (side // factor * factor for side in image.shape[:2])
        latents = vae.encode(_tensor(image[:height, :width]) * 2 - 1).latent_dist.mode()[0]
        across, down = latents.diff(dim=2), latents.diff(dim=1)
        parts = [latents.mean((1, 2)), latents.std((1, 2)), across.std((1, 2)), down.std((1, 2))]
        return _numpy(torch.cat(parts))

    return measure


def _load_inception(path: Path) -> Measure:
    """2048 numbers, from the network and resizing of the original FID."""
    from degrade_kit.analysis.perceptual import load_inception

    return load_inception(path, "tf1")


def _load_dinov2(path: Path) -> Measure:
    """The class token of a transformers folder; the image is brought to a multiple of 14 pixels near 518."""
    import torch
    import torch.nn.functional as F

    transformers: Any = importlib.import_module("transformers")
    try:
        network = transformers.AutoModel.from_pretrained(path, use_safetensors=True, local_files_only=True).eval()
    except Exception as error:
        raise ConfigError(f"{path}: not a transformers model: {str(error).splitlines()[0]}") from error
    side = int(network.config.image_size) // int(network.config.patch_size) * int(network.config.patch_size)

    @torch.no_grad()
    def measure(image: Pixels) -> Features:
        sized = F.interpolate(_tensor(image), (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        return _numpy(network(_imagenet(sized)).last_hidden_state[:, 0])

    return measure


def _load_arniqa(path: Path) -> Measure:
    """ResNet-50's pooled features at full and half size, each of length 1: (4096,)."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from degrade_kit.analysis.tensors import read_tensors, select

    torchvision: Any = importlib.import_module("torchvision")
    network = nn.Sequential(*list(torchvision.models.resnet50(weights=None).children())[:-1]).eval()
    what = "ARNIQA's encoder"
    found = {name.rpartition("model.")[2]: value for name, value in read_tensors(path, what).items()}
    network.load_state_dict(select(found, network.state_dict(), path, what))

    @torch.no_grad()
    def measure(image: Pixels) -> Features:
        full = _tensor(image)
        half = F.interpolate(full, scale_factor=0.5, mode="bilinear", antialias=True)
        return _numpy(torch.cat([F.normalize(network(_imagenet(each)).flatten(1)) for each in (full, half)], dim=1))

    return measure


_CENTRE: Final = 320
"""Side of the middle of an image, pixels, that EfficientNet looks at: a face's own, and a third of the time."""
_DEPTHS: Final = (2, 4, 10, 15)
"""Blocks of EfficientNet-Lite0 that are read, at a quarter, an eighth, a sixteenth and a 32nd of the side."""


def _load_efficientnet(path: Path) -> Measure:
    """Means and deviations of the channels after four blocks, of the middle of the image at its own size: (992,)."""
    import torch

    from degrade_kit.analysis.tensors import read_tensors, select

    package: Any = importlib.import_module("efficientnet_lite_pytorch")
    network: Any = package.EfficientNet.from_name("efficientnet-lite0").eval()
    what = "EfficientNet-Lite0's weights"
    network.load_state_dict(select(read_tensors(path, what), network.state_dict(), path, what))
    kept: list[Any] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:  # noqa: ANN401 (a hook's)
        del module, inputs
        kept.append(output[0])

    for depth in _DEPTHS:
        network._blocks[depth].register_forward_hook(keep)

    @torch.no_grad()
    def measure(image: Pixels) -> Features:
        top, left = (max(0, (side - _CENTRE) // 2) for side in image.shape[:2])
        kept.clear()
        network.extract_features(_imagenet(_tensor(image[top : top + _CENTRE, left : left + _CENTRE])))
        return _numpy(torch.cat([part for each in kept for part in (each.mean((1, 2)), each.std((1, 2)))]))

    return measure


def _load_checkpoint(path: Path) -> Measure:
    """Means and deviations of the U-Net's middle and last downward channels when the image is its clean condition.

    Restoration networks sort images by degradation without being told to (Liu et al., "Discovering distinctive
    semantics in super-resolution networks"); degradation and restoration FlipNets are read alike.
    """
    import torch

    from degrade_kit.flipnet.checkpoint import load

    net = load(path).net.eval()
    kept: list[Any] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:  # noqa: ANN401 (a hook's)
        del module, inputs
        kept.append(output[0] if isinstance(output, tuple) else output)

    net.unet.down_blocks[-1].register_forward_hook(keep)
    net.unet.mid_block.register_forward_hook(keep)

    @torch.no_grad()
    def measure(image: Pixels) -> Features:
        multiple = net.multiple
        height, width = (side // multiple * multiple for side in image.shape[:2])
        latents = net.encode_images(_tensor(image[:height, :width]) * 2 - 1)
        kept.clear()
        net.write(latents, torch.zeros(1, dtype=torch.long), net.encode_prompts([""]))
        return _numpy(torch.cat([part for each in kept for part in (each[0].mean((1, 2)), each[0].std((1, 2)))]))

    return measure


_LOADERS: Final[dict[str, Callable[[Path], Measure]]] = {
    "checkpoint": _load_checkpoint,
    "arniqa": _load_arniqa,
    "efficientnet": _load_efficientnet,
    "inception": _load_inception,
    "dinov2": _load_dinov2,
    "vae": _load_vae,
}
