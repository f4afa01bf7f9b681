"""How the public sets of real pairs lie on disk: which file is HQ, which LQ, and which belong together.

A layout looks at one relative path and says what it is, a `Role`, or nothing. Two files with the same key and different
sides are a pair. What each set looks like, as its official archive unpacks and as public repacks have it:

    dense-haze   Dense_Haze_NTIRE19/{GT,hazy}/NN_{GT,hazy}.png, 51 to 55 are the test split (Ancuti et al., ICIP
                 2019); NH-HAZE's flat NN_{GT,hazy}.png too
    lol          v1: {our485,eval15}/{low,high}/N.png, eval15 is the test split (Wei et al., BMVC 2018);
                 v2: {Real_captured,Synthetic}/{Train,Test}/{Low,Normal}/, names led by low and normal, or equal
                 (Yang et al., TIP 2021)
    sidd         Data/SCENE/[NNNN_]{GT,NOISY}_SRGB_NNN.PNG: Medium with the number in front, Small without
                 (Abdelhamed et al., CVPR 2018)
    realblur-j   RealBlur_J_{train,test}_list.txt, each line "GT_PATH BLUR_PATH", relative to the list (Rim et al.,
                 ECCV 2020)
    polyu        NAME_{mean,real}.JPG (Xu et al., arXiv 1804.02603)
    train-test   {train,test}/{input,target}/NAME: repacks of LOL (Retinexformer's) and RealBlur-J (MPRNet's)
    hq-lq        [train/|test/]{hq,lq}/NAME: anything of your own

Case does not matter. Every layout may lie at any depth.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

Split = Literal["train", "test"]
Side = Literal["hq", "lq"]


@dataclass(frozen=True, slots=True)
class Role:
    """What a file is to a layout."""

    side: Side
    key: str
    """The same for both files of a pair, and for no others."""
    split: Split = "train"


@dataclass(frozen=True, slots=True)
class Layout:
    """How one data set lies on disk."""

    name: str
    expected: str
    """What the layout expects, for messages."""
    role: Callable[[str], Role | None]
    """Role of a path relative to the data set's folder, with forward slashes; None where the file plays none."""


def _dense_haze(path: str) -> Role | None:
    found = re.fullmatch(r"(.*/)?(\d+)_(gt|hazy)\.\w+", path, re.IGNORECASE)
    if found is None:
        return None
    folder, number, side = found.groups()
    parent = re.sub(r"(?i)(^|/)(gt|hazy)/$", r"\1", folder or "")
    return Role("hq" if side.lower() == "gt" else "lq", parent + number, "test" if 51 <= int(number) <= 55 else "train")


def _lol(path: str) -> Role | None:
    parts = path.split("/")
    if len(parts) < 3:
        return None
    *above, subset, side, file = parts
    stem = posixpath.splitext(file)[0]
    if subset.lower() in ("our485", "eval15") and side.lower() in ("low", "high"):
        return Role(
            "hq" if side.lower() == "high" else "lq",
            "/".join([*above, subset, stem]),
            "test" if subset.lower() == "eval15" else "train",
        )
    if above and above[-1].lower() in ("real_captured", "synthetic") and side.lower() in ("low", "normal"):
        number = re.sub(r"^(low|normal)(?=.)", "", stem, flags=re.IGNORECASE)
        return Role("hq" if side.lower() == "normal" else "lq", "/".join([*above, subset, number]), _split(subset))
    return None


def _sidd(path: str) -> Role | None:
    found = re.fullmatch(r"((?:.*/)?Data/[^/]+/(?:\d{4}_)?)(GT|NOISY)_SRGB_(\d{3})\.\w+", path, re.IGNORECASE)
    if found is None:
        return None
    head, side, number = found.groups()
    return Role("hq" if side.upper() == "GT" else "lq", head + number)


def _polyu(path: str) -> Role | None:
    found = re.fullmatch(r"(.+)_(mean|real)\.\w+", path, re.IGNORECASE)
    return None if found is None else Role("hq" if found[2].lower() == "mean" else "lq", found[1])


def _train_test(path: str) -> Role | None:
    found = re.fullmatch(r"((?:.*/)?(train|test)/)(input|target)/(.+)\.\w+", path, re.IGNORECASE)
    if found is None:
        return None
    head, subset, side, name = found.groups()
    return Role("hq" if side.lower() == "target" else "lq", head + name, _split(subset))


def _hq_lq(path: str) -> Role | None:
    found = re.fullmatch(r"((?:.*/)?)(hq|lq)/(.+)\.\w+", path, re.IGNORECASE)
    if found is None:
        return None
    head, side, name = found.groups()
    return Role("hq" if side.lower() == "hq" else "lq", head + name, _split(posixpath.basename(head.rstrip("/"))))


def _split(folder: str) -> Split:
    return "test" if folder.lower() == "test" else "train"


REALBLUR: Final = "realblur-j"
REALBLUR_EXPECTED: Final = "RealBlur_J_{train,test}_list.txt beside RealBlur-J_ECC_IMCORR_centroid_itensity_ref/"

LAYOUTS: Final = (
    Layout("dense-haze", "{GT,hazy}/NN_{GT,hazy}.png", _dense_haze),
    Layout("lol", "{our485,eval15}/{low,high}/N.png or {Train,Test}/{Low,Normal}/ in Real_captured or Synthetic", _lol),
    Layout("sidd", "Data/SCENE/{GT,NOISY}_SRGB_NNN.PNG", _sidd),
    Layout("polyu", "NAME_{mean,real}.JPG", _polyu),
    Layout("train-test", "{train,test}/{input,target}/NAME", _train_test),
    Layout("hq-lq", "{hq,lq}/NAME", _hq_lq),
)
"""All but RealBlur-J's, which its lists define."""
