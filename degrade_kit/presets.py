"""Recipes of published methods, one table; every number has its source. Beside them the banks, and recipes of our own.

Common to the face methods and left to the trainer's reader: the horizontal flip, since a stored HQ file serves all its
variants. Quality factors are whole numbers (basicsr 1.4.2 draws a float, which every OpenCV refuses). `support` 41 cuts
kernels as published: a sigma of 15 then acts like 10.4.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from degrade_kit.bank import Bank, load_bank, shipped_banks
from degrade_kit.checks import Range
from degrade_kit.errors import ConfigError, nearest
from degrade_kit.ops import KernelKind
from degrade_kit.recipe import Recipe, load_recipe, recipe_from_mapping
from degrade_kit.scene_presets import SCENES
from degrade_kit.steps import (
    FromBank,
    OneOf,
    Option,
    PhotoFrame,
    RandomBlur,
    RandomColorJitter,
    RandomColorShift,
    RandomCovarianceNoise,
    RandomDecimate,
    RandomFlipNet,
    RandomGaussianNoise,
    RandomGray,
    RandomHaze,
    RandomJpeg,
    RandomPoissonNoise,
    RandomResize,
    RandomShift,
    RandomSincBlur,
    Shuffle,
    Step,
    Uneven,
)

_FULL = RandomResize(scale=(1, 1))
_FULL_CUBIC = RandomResize(scale=(1, 1), filter=("cubic",))
_ANY_FILTER = ("area", "linear", "cubic")


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


def preset_names() -> list[str]:
    """Names that `preset` knows: published methods, banks, their mixtures, kinds of photographs, what networks make."""
    return [*PRESETS, *shipped_banks(), *MIXTURES, *SCENES, *LEARNED]


MIXTURES: dict[str, dict[str, float]] = {
    "real-world": {"press-photo": 1.0, "web-photo": 1.0, "crowd": 1.0, "video-frame": 0.5},
}
"""Presets that draw from several banks, with their shares."""


def _flipnet_real() -> Recipe:
    return Recipe(
        name="flipnet-real",
        steps=(
            PhotoFrame(
                side=(64, 224),
                steps=(
                    RandomFlipNet(model="small"),
                    RandomJpeg(quality=(60, 95), subsampling={"4:2:0": 0.8, "4:4:4": 0.2}),
                ),
            ),
        ),
        source=(
            "the small FlipNet at the size that faces have in photographs, 64 to 224 pixels, with a photograph's file "
            "behind it; sizes, turn and qualities as in press and web photographs (LFW, RMFD)"
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


def _first_order(
    *,
    sigma: Range,
    scale: Range,
    noise: Range,
    jpeg: Range,
    support: int | tuple[int, ...] = 41,
    after_blur: tuple[Step, ...] = (),
) -> tuple[Step, ...]:
    """Blur, shrink, noise, JPEG, back to full size: the model of GFPGAN (Wang et al., CVPR 2021), equation 1."""
    return (
        RandomBlur(kernels={"iso": 0.5, "aniso": 0.5}, sigma=sigma, support=support),
        *after_blur,
        RandomResize(scale=scale),
        RandomGaussianNoise(level=noise),
        RandomJpeg(quality=jpeg),
        _FULL,
    )


def _flipnet_paper() -> Recipe:
    blur = RandomBlur(sigma=(0.1, 15), full_size_pixels=True)
    resize = RandomResize(scale=(0.8, 32))
    noise = RandomGaussianNoise(level=(0, 20))
    jpeg = RandomJpeg(quality=(30, 95))
    return Recipe(
        name="flipnet-paper",
        steps=(blur, resize, noise, jpeg, _FULL, Shuffle(steps=(blur, resize, noise, jpeg)), _FULL),
        source="FlipNet (ICCV 2025, arXiv 2508.08556), equation 9, then a second pass in shuffled order",
        notes=(
            "The paper names no kernel support (41 taken, as its peers), no resize filter (bilinear taken) and no "
            "ranges for the second pass (those of the first taken). In the second pass, too, sigma counts pixels of "
            "the full size: in pixels of a face shrunk to 16 of them it would leave a flat colour."
        ),
    )


def _real_esrgan() -> Recipe:
    kernels: dict[KernelKind, float] = {
        "iso": 0.45,
        "aniso": 0.25,
        "generalized_iso": 0.12,
        "generalized_aniso": 0.03,
        "plateau_iso": 0.12,
        "plateau_aniso": 0.03,
    }
    sizes = tuple(range(7, 22, 2))

    def blur(sigma: Range, prob: float) -> Step:
        return OneOf(
            prob=prob,
            options=(
                Option(weight=0.9, steps=(RandomBlur(kernels=kernels, sigma=sigma, support=sizes),)),
                # A sinc in one blur of ten; sizes below 13, three of the eight, have a higher lowest cut-off.
                Option(weight=0.1 * 3 / 8, steps=(RandomSincBlur(support=(7, 9, 11)),)),
                Option(
                    weight=0.1 * 5 / 8,
                    steps=(RandomSincBlur(support=(13, 15, 17, 19, 21), cutoff=(math.pi / 5, math.pi)),),
                ),
            ),
        )

    def resize(up: float, down: float, keep: float, factors: Range, base: float) -> Step:
        low, high = factors
        return OneOf(
            options=(
                Option(weight=up, steps=(RandomResize(factor=(base, base * high), filter=_ANY_FILTER),)),
                Option(weight=down, steps=(RandomResize(factor=(base * low, base), filter=_ANY_FILTER),)),
                Option(weight=keep, steps=(RandomResize(factor=(base, base), filter=_ANY_FILTER),)),
            )
        )

    def noise(level: Range, poisson: Range) -> Step:
        return OneOf(
            options=(
                Option(weight=0.5, steps=(RandomGaussianNoise(level=level, gray_prob=0.4),)),
                Option(weight=0.5, steps=(RandomPoissonNoise(scale=poisson, gray_prob=0.4),)),
            )
        )

    jpeg = RandomJpeg(quality=(30, 95))
    back = (RandomResize(scale=(4, 4), filter=_ANY_FILTER), RandomSincBlur(support=sizes, prob=0.8))
    return Recipe(
        name="real-esrgan",
        steps=(
            blur((0.2, 3), 1.0),
            resize(0.2, 0.7, 0.1, (0.15, 1.5), 1.0),
            noise((1, 30), (0.05, 3)),
            jpeg,
            blur((0.2, 1.5), 0.8),
            resize(0.3, 0.4, 0.3, (0.3, 1.2), 0.25),
            noise((1, 25), (0.05, 2.5)),
            OneOf(options=(Option(weight=0.5, steps=(*back, jpeg)), Option(weight=0.5, steps=(jpeg, *back)))),
            _FULL_CUBIC,
        ),
        source="Real-ESRGAN (ICCVW 2021), options/train_realesrgan_x4plus.yml and realesrgan_model.py feed_data",
        notes=(
            "Made for x4 super-resolution: the LQ image has a quarter of the size and is enlarged bicubically, as "
            "DiffBIR v2.1 does for restoration. Every sample has its own draws, where the original shares resize, "
            "noise type and order in a batch; a real JPEG codec in place of DiffJPEG; no sharpening of the HQ image."
        ),
    )


def _bsrgan() -> Recipe:
    def pass_at(factor: int, base: float) -> tuple[Step, ...]:
        """Degradation by `factor` of an image already shrunk by `base`; after `degradation_bsrgan`."""
        sizes = tuple(range(7, 26, 2))
        blur = OneOf(
            options=(
                Option(
                    weight=0.5,
                    steps=(
                        RandomBlur(
                            kernels={"aniso": 1}, variance=(0, 4 + factor), support=sizes, rotation=(0, math.pi)
                        ),
                    ),
                ),
                Option(weight=0.5, steps=(RandomBlur(sigma=(0, 2 + 0.2 * factor), support=sizes),)),
            )
        )
        shrink = OneOf(
            options=(
                Option(
                    weight=0.75,
                    steps=(
                        RandomResize(scale=(base, 2 * base * factor), filter=("linear", "cubic", "area"), clip=True),
                    ),
                ),
                Option(weight=0.25, steps=(RandomDecimate(factor=factor, sigma=(0.1, 0.6 * factor)),)),
            )
        )
        settle = RandomResize(scale=(base * factor, base * factor), filter=("linear", "cubic", "area"), clip=True)
        noise = OneOf(
            options=(
                Option(weight=0.4, steps=(RandomGaussianNoise(level=(2, 25), whole=True),)),
                Option(weight=0.4, steps=(RandomGaussianNoise(level=(2, 25), whole=True, gray_prob=1.0),)),
                Option(weight=0.2, steps=(RandomCovarianceNoise(level=25),)),
            )
        )
        jpeg = RandomJpeg(quality=(30, 95), prob=0.9)
        return (Shuffle(steps=(blur, blur, shrink, settle, noise, jpeg), in_order=(2, 3)),)

    halve = OneOf(
        options=(
            Option(weight=0.5, steps=(RandomResize(scale=(2, 2), filter=("linear", "cubic", "area"), clip=True),)),
            Option(weight=0.5, steps=(RandomResize(scale=(2, 2), filter=("cubic_aa",), clip=True),)),
        )
    )
    return Recipe(
        name="bsrgan",
        steps=(
            OneOf(
                options=(
                    Option(weight=0.75, steps=pass_at(4, 1.0)),
                    Option(weight=0.25, steps=(halve, *pass_at(2, 2.0))),
                )
            ),
            RandomJpeg(quality=(30, 95)),
            _FULL_CUBIC,
        ),
        source="BSRGAN (Zhang et al., ICCV 2021), utils/utils_blindsr.py degradation_bsrgan, sf=4",
        notes=(
            "Made for x4 super-resolution: enlarged bicubically to the full size. The camera pipeline, which the "
            "source runs only where a trained ISP model is passed, is left out, as in its default call."
        ),
    )


def _table() -> tuple[Recipe, ...]:
    gfpgan = _first_order(sigma=(0.1, 10), scale=(0.8, 8), noise=(0, 20), jpeg=(60, 100))
    restoreformer = _first_order(sigma=(0.1, 10), scale=(0.8, 8), noise=(0, 20), jpeg=(60, 100), support=(39, 41))
    gray_pair = RandomGray(prob=0.01, target=True)
    difface = (*_first_order(sigma=(0.1, 15), scale=(0.8, 32), noise=(0, 20), jpeg=(30, 100)), gray_pair)
    return (
        _flipnet_paper(),
        Recipe(
            name="gfpgan",
            steps=(*gfpgan, RandomColorShift(limit=20, prob=0.3), RandomGray(prob=0.01), RandomColorJitter(prob=0.3)),
            source="GFPGAN (CVPR 2021), options/train_gfpgan_v1.yml; the colour steps run after the last upsampling",
        ),
        Recipe(
            name="gfpgan-no-colorization",
            steps=(*gfpgan, gray_pair),
            source="GFPGAN, options/train_gfpgan_v1.yml, comment 'If you do not want colorization, please set'",
        ),
        Recipe(
            name="codeformer",
            steps=_first_order(sigma=(1, 15), scale=(4, 30), noise=(0, 20), jpeg=(30, 80)),
            source="CodeFormer (NeurIPS 2022), options/CodeFormer_stage2.yml; stage 3's *_large keys are the same",
        ),
        Recipe(
            name="codeformer-stage3-small",
            steps=_first_order(sigma=(0.1, 10), scale=(1, 12), noise=(0, 15), jpeg=(60, 100)),
            source="CodeFormer, options/CodeFormer_stage3.yml",
        ),
        Recipe(
            name="codeformer-stage3-large",
            steps=_first_order(sigma=(1, 15), scale=(4, 30), noise=(0, 20), jpeg=(30, 80)),
            source="CodeFormer, options/CodeFormer_stage3.yml, keys *_large",
        ),
        Recipe(
            name="diffbir-v1-face",
            steps=_first_order(sigma=(0.1, 10), scale=(0.8, 8), noise=(0, 20), jpeg=(60, 100)),
            source="DiffBIR (ECCV 2024) at commit 314724e, configs/dataset/face_train.yaml",
        ),
        Recipe(
            name="diffbir-v2",
            steps=_first_order(sigma=(0.1, 12), scale=(1, 12), noise=(0, 15), jpeg=(30, 100)),
            source="DiffBIR v2, configs/train/train_stage1.yaml and train_stage2.yaml (general images)",
        ),
        Recipe(
            name="restoreformer",
            steps=restoreformer,
            source="RestoreFormer (CVPR 2022), configs/RestoreFormer.yaml; kernel size 39 or 41",
        ),
        Recipe(
            name="restoreformer++",
            steps=(
                RandomShift(limit=32, prob=0.2),
                Uneven(
                    square_prob=0.1,
                    side=(0.25, 0.5),
                    steps=_first_order(
                        sigma=(0.1, 10),
                        scale=(0.8, 8),
                        noise=(0, 20),
                        jpeg=(60, 100),
                        support=(39, 41),
                        after_blur=(RandomHaze(alpha=(0.75, 0.95), prob=0.008),),
                    ),
                ),
                RandomGray(prob=0.008, target=True),
            ),
            source="RestoreFormer++ (TPAMI 2023), configs/RestoreFormerPlusPlus.yaml; FFHQUnevenDegradationDataset",
            notes="The square's side is 128 to 256 of 512 pixels; exposure is off in the published configuration.",
        ),
        Recipe(
            name="daefr",
            steps=_first_order(sigma=(0.1, 15), scale=(0.8, 30), noise=(0, 20), jpeg=(30, 100), support=(39, 41)),
            source="DAEFR (ICLR 2024), configs/DAEFR.yaml",
        ),
        Recipe(
            name="daefr-association",
            steps=restoreformer,
            source="DAEFR, configs/LQ_codebook.yaml and Association_stage.yaml",
        ),
        Recipe(
            name="difface",
            steps=difface,
            source="DifFace (TPAMI 2024), configs/training/swinir_ffhq512.yaml",
        ),
        Recipe(
            name="pmrf",
            steps=difface,
            source="PMRF (ICLR 2025), utils/create_degradation.py create_degradation('difface')",
        ),
        Recipe(
            name="vqfr-v2",
            steps=_first_order(sigma=(1, 15), scale=(1, 30), noise=(0, 20), jpeg=(30, 90)),
            source="VQFR v2 (ECCV 2022), options/train/VQFR/train_vqfr_v2_B16_200K.yml",
        ),
        _real_esrgan(),
        _bsrgan(),
    )


PRESETS: dict[str, Recipe] = {recipe.name: recipe for recipe in _table()}
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
