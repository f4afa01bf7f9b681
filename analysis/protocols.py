"""How published evaluations of face restorers measure: each a frozen table, so that a number can name its own.

One and the same pair of images has an SSIM of 0.38 by one of these and 0.44 by another, and the scripts that print it
do not say so. Here every number carries the `id` of its protocol, and numbers of different ids are never in one table.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from degrade_kit.errors import ConfigError
from degrade_kit.files import sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """Everything that a number depends on besides the images."""

    name: str
    source: str
    """The script that measures so."""
    crop: int = 0
    """Pixels left out at each border for PSNR and SSIM, which take all three channels of RGB."""
    match_moments: bool = False
    """Whether mean and deviation of each channel are set to those of the reference before PSNR and SSIM."""
    psnr_floor: float = 0.0
    """Added to the mean squared error (of values in [0, 1]) before the logarithm; 0 lets equal images be +inf."""
    ssim: Literal["gaussian"] = "gaussian"
    """11 x 11 Gaussian window of sigma 1.5, borders left out, mean over pixels and channels (Wang et al. 2004)."""
    lpips_net: Literal["vgg"] = "vgg"
    """Trunk, with the linear heads of LPIPS v0.1."""
    lpips_channels: Literal["rgb", "bgr"] = "rgb"
    lpips_range: tuple[float, float] = (-1.0, 1.0)
    """Where 0 and 255 lie when LPIPS gets them."""
    fid_resize: Literal["bilinear", "tf1"] = "bilinear"
    """Resizing to 299 pixels: PyTorch's bilinear without antialiasing, in [-1, 1]; or TensorFlow 1's."""
    fid_first: int = 0
    """How many images, the first by name, FID takes; 0 is all."""
    fid_reference: str
    """What published numbers compare with."""
    fid_weights: str
    """Name in `degrade-kit weights` of its statistics; empty where the images themselves are needed."""
    identity_weights: Literal["arcface-deg", "arcface-idd"] = "arcface-deg"
    """Name in `degrade-kit weights`: VQFR's ResNet-18, or that of GFPGAN's identity loss."""
    identity_gray: Literal["opencv", "swapped"] = "opencv"
    """Grey by OpenCV in 8 bits, or by weights for RGB laid on BGR in float; both are then resized to 128 pixels."""
    identity_range: tuple[float, float] = (-1.0, 1.0)
    """Where black and white lie when the network gets them."""
    identity_unit: Literal["degrees", "radians"] = "degrees"
    identity_least: float = 0.0
    """Angles below this, in degrees, are left out of the mean; they are counted in any case below one degree."""
    pairing: str = ""
    """How the script pairs files. Here it is always by name, and what has no partner is an error."""

    @property
    def id(self) -> str:
        """Name, and a hash of all that is in the table.

        >>> PROTOCOLS["vqfr"].id.startswith("vqfr@")
        True
        """
        text = json.dumps({key: value for key, value in asdict(self).items() if key not in _WORDS}, sort_keys=True)
        return f"{self.name}@{sha256(text)[:8]}"

    def to_mapping(self) -> dict[str, Any]:
        """Convert to plain values for `metrics.json`."""
        return {"id": self.id, **asdict(self)}


_WORDS: Final = ("name", "source", "pairing")

_TABLE: Final = (
    Protocol(
        name="basicsr-rgb",
        source="BasicSR 1.4.2 calculate_psnr, calculate_ssim, calculate_fid_folder; LPIPS and Deg. as VQFR's "
        "scripts, but with no image left out",
        fid_reference="inception_FFHQ_512-f7b384ab.pth",
        fid_weights="ffhq512-basicsr",
        pairing="by name",
    ),
    Protocol(
        name="vqfr",
        source="VQFR metric_paper/, to which GFPGAN and DifFace refer",
        match_moments=True,
        fid_reference="inception_FFHQ_512.pth",
        fid_weights="ffhq512-vqfr",
        fid_first=3000,
        identity_least=1.0,
        pairing="two sorted listings side by side: one missing file shifts all that follow",
    ),
    Protocol(
        name="restoreformer",
        source="RestoreFormer++ scripts/metrics, which DAEFR uses too; LPIPS is the second of the two printed",
        lpips_channels="bgr",
        fid_reference="inception_FFHQ_512-f7b384ab.pth",
        fid_weights="ffhq512-basicsr",
        identity_weights="arcface-idd",
        identity_gray="swapped",
        identity_range=(0.0, 1.0),
        identity_unit="radians",
        pairing="by name; a missing file counts as 0 in the mean",
    ),
    Protocol(
        name="pmrf",
        source="PMRF evaluation: BasicSR's tensor functions, torch-fidelity, Deg. of VQFR",
        psnr_floor=1e-8,
        fid_resize="tf1",
        fid_reference="all 70,000 FFHQ images at 512 pixels",
        fid_weights="",
        identity_least=1.0,
        pairing="by name",
    ),
)
PROTOCOLS: Final = {protocol.name: protocol for protocol in _TABLE}
DEFAULT: Final = "basicsr-rgb"


def protocol_named(name: str) -> Protocol:
    """Look up the protocol of that name.

    Raises:
        ConfigError: If there is none.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {name!r}")
    return PROTOCOLS[name]
