"""Recipes of published methods, one table; every number has its source. Beside them the banks, and recipes of our own.

Common to the face methods and left to the trainer's reader: the horizontal flip, since a stored HQ file serves all its
variants. Quality factors are whole numbers (basicsr 1.4.2 draws a float, which every OpenCV refuses). `support` 41 cuts
kernels as published: a sigma of 15 then acts like 10.4.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from degrade_kit.bank import Bank, load_bank, shipped_banks
from degrade_kit.camera_steps import RandomDenoise
from degrade_kit.checks import by_name, checked, each, fields, number
from degrade_kit.errors import ConfigError, nearest
from degrade_kit.face_presets import face_recipes
from degrade_kit.files import read_json
from degrade_kit.recipe import Recipe, load_recipe, recipe_from_mapping
from degrade_kit.scene_presets import SCENES
from degrade_kit.sr_presets import sr_recipes
from degrade_kit.steps import FromBank, OneOf, Option, PhotoFrame, RandomFlipNet, RandomJpeg


def preset(name: str) -> Recipe:
    """Look up the recipe of a published method, or one that comes with the package: of banks, or of its FlipNet.

    Raises:
        ConfigError: If there is none of that name; the message names the nearest one.
    """
    if name in PRESETS:
        return PRESETS[name]
    if name in shipped_banks():
        return Recipe(name=name, steps=(FromBank(file=name),), source=_source_of(load_bank(name)))
    if name in MIXTURES:
        shares = MIXTURES[name]
        options = tuple(Option(weight=share, steps=(FromBank(file=bank),)) for bank, share in shares.items())
        said = ", ".join(f"{share:g} {bank}" for bank, share in shares.items())
        terms = "; ".join(f"{bank}: {load_bank(bank).licence}" for bank in shares)
        return Recipe(name=name, steps=(OneOf(options=options),), source=f"mixture of banks ({said}). {terms}")
    if name in SCENES:
        return SCENES[name]
    if name in LEARNED:
        return LEARNED[name]()
    raise ConfigError(f"unknown preset `{name}`; {nearest(name, preset_names())}")


COMMITS: dict[str, str] = {
    **dict.fromkeys(("gfpgan", "gfpgan-no-colorization"), "7552a7791caa"),
    **dict.fromkeys(("codeformer", "codeformer-stage3-small", "codeformer-stage3-large"), "b33cc7d639d6"),
    "diffbir-v2": "3f8b5304245b",
    **dict.fromkeys(("restoreformer", "restoreformer++"), "59d250f45d6b"),
    **dict.fromkeys(("daefr", "daefr-association"), "02d501097413"),
    "difface": "5c9ab801b287",
    "pmrf": "b6f16a41af45",
    "vqfr-v2": "239c77a78152",
    "real-esrgan": "a4abfb2979a7",
    "bsrgan": "5ce1a9c6ae29",
}
"""Commits at which the files were read that older presets name in `source`; the others say it there. FlipNet has none,
since its authors published no code."""


NO_NUMBERS: dict[str, str] = {
    "SUPIR (CVPR 2024)": "no training code nor options at commit bda91af20000",
    "OSDFace (CVPR 2025)": "inference alone at commit 065222742848",
    "KEEP (ECCV 2024)": "a data set class without its options at commit 5c7c4721c3f3",
    "DR2 (CVPR 2023)": "inference alone at commit 09c97ed1c74a; it needs no degradation to train with",
    "PGDiff (NeurIPS 2023)": "inference alone at commit 8634514f72d9",
    "SCUNet (MIR 2023)": "no training code at commit 52e440a80a65",
    "DMDNet (TPAMI 2023)": "inference alone at commit 37f2e0e54dff",
}
"""Methods whose repositories hold no numbers of a degradation, and what was found there."""


def preset_names() -> list[str]:
    """Names that `preset` knows: published methods, banks, their mixtures, kinds of photographs, what networks make."""
    return [*PRESETS, *shipped_banks(), *MIXTURES, *SCENES, *LEARNED]


def equal_presets() -> list[list[str]]:
    """Group the names that `preset` knows by what they do: methods that publish the same numbers stand together."""
    groups: dict[str, list[str]] = {}
    for name in preset_names():
        groups.setdefault(preset(name).digest(), []).append(name)
    return list(groups.values())


MIXTURES: dict[str, dict[str, float]] = {
    "real-world": {"press-photo": 3.0, "web-photo": 5.0, "crowd": 1.5, "video-frame": 0.5},
}
"""Presets that draw from several banks, with their shares: larger where equal ones covered least."""


_EXEMPLARS: Final = Path(__file__).parent / "flipnet" / "exemplars.json"
"""Photographs that `flipnet-real` degrades like: how they are described, how large the faces in them are, how their
files were written where these tell, and how much faces are turned where no aligner turned them."""
_FILE: Final = fields({"quality": each(int), "subsampling": by_name(float)})
_KIND: Final = fields({"sides": each(int), "descriptions": each(each(float))}, {"file": _FILE, "turn": number(0, 90)})
_RETOUCHED: Final = ("web",)
"""Kinds of photographs of which skin is smooth before anything degrades them."""
_A_FILE: Final = RandomJpeg(quality=(60, 95), subsampling={"4:2:0": 0.8, "4:4:4": 0.2})


def in_a_photograph(step: RandomFlipNet, sides: Sequence[float]) -> PhotoFrame:
    """Let a FlipNet act on a photograph in which the face has a side within [least, largest] pixels, and write that."""
    return PhotoFrame(side=tuple(sides), steps=(step, _A_FILE))


def _like(name: str, kind: Mapping[str, Any]) -> PhotoFrame:
    """Degrade like each photograph of a kind, with a file and an enlargement as theirs, as far as that is known."""
    more: dict[str, Any] = {"turn": kind["turn"]} if "turn" in kind else {}
    if "file" in kind:
        file = RandomJpeg(quality=tuple(kind["file"]["quality"]), subsampling=kind["file"]["subsampling"])
        more["filter"] = {"cubic": 1.0}  # as `align` enlarges
    else:  # crops of photographs, to which anything may have been done
        file = _A_FILE
    retouched = (RandomDenoise(),) if name in _RETOUCHED else ()
    like = RandomFlipNet(model="photos", like=kind["descriptions"])
    return PhotoFrame(side=tuple(kind["sides"]), steps=(*retouched, like, file), **more)


def _flipnet_real() -> Recipe:
    kinds = checked(read_json(_EXEMPLARS), fields({"format": int, "kinds": by_name(_KIND)}), _EXEMPLARS.name)["kinds"]
    options = tuple(Option(weight=1.0, steps=(_like(name, kind),)) for name, kind in kinds.items())
    return Recipe(
        name="flipnet-real",
        steps=(OneOf(options=options),),
        source=(
            "the FlipNet photos, like each of 48 press photographs (LFW, people who are not in LFW-Test), 48 web "
            "photographs (RMFD) and 39 faces in crowds (like WIDER FACE's), a third of the images each, at the sizes "
            "that faces have in these, framed and with a file behind it as theirs are. What is told of the photographs "
            "are eleven numbers each, and no picture"
        ),
        notes=(
            "At the full size the same network's images are far from photographs, and without a codec behind it a "
            "small classifier knows its trace at once; docs/recipes.md says how near it comes. Needs the extra flipnet."
        ),
    )


LEARNED: dict[str, Callable[[], Recipe]] = {"flipnet-real": _flipnet_real}
"""Presets that a network of the package makes, by name; made when asked for, since the network's files are read."""


def _source_of(bank: Bank) -> str:
    """What a data set's card says of a bank: where it is from, and under which terms."""
    return f"{bank.source}. {bank.licence}" if bank.licence else bank.source


PRESETS: dict[str, Recipe] = {recipe.name: recipe for recipe in (*face_recipes(), *sr_recipes())}
"""Every preset by name."""


def resolve_recipe(name: str | os.PathLike[str] | Mapping[str, Any] | Recipe) -> Recipe:
    """Look up a preset by name, read a recipe file by its path, or take a recipe, or what such a file holds, as it is.

    Raises:
        ConfigError: If it is none of them, or something in it is wrong.
    """
    if isinstance(name, Recipe):
        return name
    if isinstance(name, Mapping):
        return recipe_from_mapping(name, "recipe")
    if isinstance(name, os.PathLike):
        return load_recipe(os.fspath(name))
    if name in preset_names():
        return preset(name)
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        return load_recipe(name)
    raise ConfigError(f"unknown preset `{name}`; {nearest(name, preset_names())} (a recipe file ends in .yaml)")
