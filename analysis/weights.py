"""Which third-party files are needed for what, and where they are; `degrade_kit.analysis.download` fetches them.

`find` looks for a file, for every command, in this order: where `--weights NAME=PATH` says; in the folders that the
environment variable DEGRADE_KIT_WEIGHTS lists, by any of its public names; in torch hub's cache; in the packages that
carry it. A folder of a model is looked for in the hub's cache, where diffusers and transformers find it. What is read
is read by `degrade_kit.analysis.tensors`, NumPy or OpenCV, and never runs code.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from degrade_kit.errors import ConfigError, nearest
from degrade_kit.files import file_sha256
from degrade_kit.flipnet.config import SD21_BASE

VARIABLE: Final = "DEGRADE_KIT_WEIGHTS"


@dataclass(frozen=True, kw_only=True, slots=True)
class Weight:
    """A file, or a folder of a model, that somebody else made."""

    name: str
    """What it is called here."""
    files: tuple[str, ...]
    """Names under which people have it; the first is the best known."""
    needed_by: str
    origin: str
    """Who publishes it."""
    size: str
    """About."""
    sha256: str = ""
    """Whole, or its first digits, which some publishers put into the name; empty where it is not known."""
    packages: tuple[tuple[str, str], ...] = ()
    """Python packages that carry it, and where within."""
    other_files: tuple[str, ...] = ()
    """Other versions that serve as well; their hashes are other ones."""
    url: str = ""
    """Where its authors serve it; empty where no plain address does."""
    by_hand: str = ""
    """How to get it where `url` is empty."""
    folder: bool = False
    """Whether it is a model's folder, which diffusers or transformers take from the hub's cache by themselves."""
    otherwise: str = ""
    """How a command is given another place of a folder."""


_DRIVE: Final = "take it, in a browser, from the folder that its authors share: https://drive.google.com/drive/folders/"

_TABLE: Final = (
    Weight(
        name="lpips-vgg",
        files=("vgg16-397923af.pth",),
        needed_by="evaluate: LPIPS",
        origin="torchvision",
        size="528 MB",
        sha256="397923af",
        url="https://download.pytorch.org/models/vgg16-397923af.pth",
    ),
    Weight(
        name="lpips-vgg-heads",
        files=("lpips-vgg-heads.pth", "vgg.pth"),
        needed_by="evaluate: LPIPS",
        origin="package lpips 0.1.4, weights/v0.1/vgg.pth",
        size="7 kB",
        sha256="a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        packages=(
            ("lpips", "weights/v0.1/vgg.pth"),
            ("torchmetrics", "functional/image/lpips_models/vgg.pth"),
        ),
        url="https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/vgg.pth",
    ),
    Weight(
        name="inception",
        files=("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth"),
        needed_by="evaluate: FID; analyze-distribution --features inception",
        origin="torch-fidelity 0.2.0, pytorch-fid",
        size="95 MB",
        sha256="6726825d",
        url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth",
    ),
    Weight(
        name="ffhq512-basicsr",
        files=("inception_FFHQ_512-f7b384ab.pth",),
        needed_by="evaluate: FID against FFHQ, of basicsr-rgb and restoreformer",
        origin="BasicSR",
        size="32 MB",
        sha256="f7b384ab",
        by_hand=f"{_DRIVE}13cWIQyHX3iNmZRJ5v8v3kdyrT9RBTAi9",
    ),
    Weight(
        name="ffhq512-vqfr",
        files=("inception_FFHQ_512.pth",),
        needed_by="evaluate: FID against FFHQ, of vqfr",
        origin="VQFR metric_weights",
        size="32 MB",
        by_hand=f"{_DRIVE}1k3RCSliF6PsujCMIdCD1hNM63EozlDIZ",
    ),
    Weight(
        name="arcface-deg",
        files=("resnet18_110.pth",),
        needed_by="evaluate: identity angle (Deg.) of basicsr-rgb, vqfr and pmrf",
        origin="VQFR metric_weights, from ronghuaiyang/arcface-pytorch",
        size="88 MB",
        by_hand=f"{_DRIVE}1k3RCSliF6PsujCMIdCD1hNM63EozlDIZ",
    ),
    Weight(
        name="arcface-idd",
        files=("arcface_resnet18.pth",),
        needed_by="evaluate: identity angle (IDD) of restoreformer",
        origin="GFPGAN v0.1.0",
        size="88 MB",
        url="https://github.com/TencentARC/GFPGAN/releases/download/v0.1.0/arcface_resnet18.pth",
    ),
    Weight(
        name="landmarks",
        files=("alignment_WFLW_4HG.pth",),
        needed_by="evaluate: landmark distance (LMD)",
        origin="facexlib v0.1.0",
        size="193 MB",
        packages=(("facexlib", "weights/alignment_WFLW_4HG.pth"),),
        url="https://github.com/xinntao/facexlib/releases/download/v0.1.0/alignment_WFLW_4HG.pth",
    ),
    Weight(
        name="niqe",
        files=("niqe_pris_params.npz",),
        needed_by="evaluate: NIQE",
        origin="BasicSR, basicsr/metrics",
        size="12 kB",
        sha256="2a7c182a68c9e7f1b2e2e5ec723279d6f65d912b6fcaf37eb2bf03d7367c4296",
        packages=(("basicsr", "metrics/niqe_pris_params.npz"),),
        url="https://raw.githubusercontent.com/XPixelGroup/BasicSR/master/basicsr/metrics/niqe_pris_params.npz",
    ),
    Weight(
        name="vgg19",
        files=("vgg19-dcbb9e9d.pth",),
        needed_by="train-restore --perceptual vgg19",
        origin="torchvision",
        size="548 MB",
        sha256="dcbb9e9d",
        url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    ),
    Weight(
        name="arcface-iresnet",
        files=("backbone.pth",),
        needed_by="train-restore --embedding arcface",
        origin="insightface arcface_torch, such as ms1mv3_arcface_r50_fp16",
        size="174 MB",
        by_hand="take backbone.pth from a folder that its authors share: "
        "https://github.com/deepinsight/insightface/tree/master/recognition/arcface_torch#model-zoo",
    ),
    Weight(
        name="arniqa",
        files=("ARNIQA.pth",),
        needed_by="analyze-distribution --features arniqa",
        origin="miccunifi/ARNIQA",
        size="108 MB",
        url="https://github.com/miccunifi/ARNIQA/releases/download/weights/ARNIQA.pth",
    ),
    Weight(
        name="yunet",
        files=("face_detection_yunet_2023mar.onnx",),
        other_files=("yunet_n_dynamic.onnx",),
        needed_by="align --detector yunet, make-testset --detector yunet",
        origin="OpenCV Zoo; libfacedetection.train",
        size="0.2 MB",
        sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        url="https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/"
        "face_detection_yunet_2023mar.onnx",
    ),
    Weight(
        name="sd21-base",
        files=(f"models--{SD21_BASE.replace('/', '--')}",),
        needed_by="train-degrade --config sd21, train-restore --config sd21",
        origin=f"hub {SD21_BASE}",
        size="5 GB",
        folder=True,
        by_hand=f"a folder of many files: `hf download {SD21_BASE}`, into the hub's cache",
        otherwise="--base-model DIR",
    ),
    Weight(
        name="blip",
        files=("models--Salesforce--blip-image-captioning-base",),
        needed_by="train-degrade --config sd21, train-restore --config sd21: captions",
        origin="hub Salesforce/blip-image-captioning-base",
        size="1 GB",
        folder=True,
        by_hand="a folder of many files: `hf download Salesforce/blip-image-captioning-base`, into the hub's cache",
        otherwise="`captions: DIR` in the data section of the configuration",
    ),
)
WEIGHTS: Final = {weight.name: weight for weight in _TABLE}


@dataclass(frozen=True, slots=True)
class FoundWeight:
    """Where a file is, or where it is not."""

    weight: Weight
    path: Path | None
    looked: tuple[str, ...]
    """Places that were looked in, for people."""

    def missing(self) -> str:
        """Say what is not there, where it was looked for and what to do."""
        weight = self.weight
        file = f"{weight.files[0]} ({weight.size}, {weight.origin})"
        get = f"`degrade-kit weights --download {weight.name}`" if weight.url else weight.by_hand
        return f"needs {file}. Looked in: {', '.join(self.looked)}. Get it: {get}; or give --weights {weight.name}=PATH"


def find(name: str, given: Mapping[str, Path]) -> FoundWeight:
    """Look for a file.

    Args:
        name: As in `WEIGHTS`.
        given: What `--weights` says, by name.

    Raises:
        ConfigError: If it is given, and nothing is there.
    """
    weight = WEIGHTS[name]
    if name in given:
        if not given[name].exists():
            raise ConfigError(f"--weights {name}={given[name]}: nothing is there")
        return FoundWeight(weight, given[name], (str(given[name]),))
    looked: list[str] = []
    for label, folder in _places(weight):
        looked.append(label)
        for file in (*weight.files, *weight.other_files) if folder.is_dir() else ():
            path = folder / file
            if path.is_dir() if weight.folder else path.is_file():
                return FoundWeight(weight, path, tuple(looked))
    for package, inside in weight.packages:
        looked.append(f"package {package}")
        folder = _package(package)
        if folder is not None and (folder / inside).is_file():
            return FoundWeight(weight, folder / inside, tuple(looked))
    return FoundWeight(weight, None, tuple(looked))


def weight_named(name: str) -> Weight:
    """A file by its name here.

    Raises:
        ConfigError: If the name is unknown.
    """
    if name not in WEIGHTS:
        raise ConfigError(f"unknown name `{name}`; {nearest(name, WEIGHTS)}")
    return WEIGHTS[name]


def parse_given(assignments: Iterable[tuple[str, str]]) -> dict[str, Path]:
    """What `--weights` says, by name.

    Raises:
        ConfigError: If a name is unknown, or that of a folder.
    """
    given: dict[str, Path] = {}
    for name, path in assignments:
        if name not in WEIGHTS:
            raise ConfigError(f"--weights: unknown name `{name}`; {nearest(name, WEIGHTS)}")
        if WEIGHTS[name].folder:
            raise ConfigError(f"--weights: `{name}` is a folder of a model; give it by {WEIGHTS[name].otherwise}")
        given[name] = Path(path).expanduser()
    return given


def hash_state(weight: Weight, path: Path) -> Literal["ok", "other", "unknown"]:
    """Whether the file's SHA-256 is the known one; `unknown` where none is known."""
    if not weight.sha256 or path.is_dir() or path.name in weight.other_files:
        return "unknown"
    return "ok" if file_sha256(path).startswith(weight.sha256) else "other"


def _places(weight: Weight) -> list[tuple[str, Path]]:
    """Folders to look in, and what they are called."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if weight.folder:
        hub = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or cache / "huggingface") / "hub")
        return [(str(hub), hub)]
    folders = [Path(entry).expanduser() for entry in os.environ.get(VARIABLE, "").split(os.pathsep) if entry]
    places = [(f"{VARIABLE} ({folder})", folder) for folder in folders] or [(f"{VARIABLE} (not set)", Path(os.devnull))]
    hub = Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "checkpoints"
    return [*places, (str(hub), hub)]


def _package(name: str) -> Path | None:
    """Folder of an installed package, which is not imported."""
    spec = importlib.util.find_spec(name)
    return None if spec is None or not spec.submodule_search_locations else Path(spec.submodule_search_locations[0])
