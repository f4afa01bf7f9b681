"""Recipes of methods for any photograph, 2021 to 2026: super-resolution, diffusion, video, and trainers' defaults.

Most are Real-ESRGAN's chain with other numbers; `degrade_kit.chains` says what each number is called in option files.
They are made for a scale of 4 or 2: the LQ image has that part of the size, and is enlarged bicubically here. Every
sample has its own draws, where most sources share sizes, kinds of noise and orders in a batch.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

from degrade_kit.chains import ANY_FILTER, FIRST, FULL_CUBIC, SECOND, ChainPass, second_order
from degrade_kit.codec_steps import Enlarge, RandomVideo
from degrade_kit.linear import Filter
from degrade_kit.ops import KernelKind
from degrade_kit.recipe import Recipe
from degrade_kit.steps import (
    OneOf,
    Option,
    RandomBlur,
    RandomCovarianceNoise,
    RandomDecimate,
    RandomGaussianNoise,
    RandomJpeg,
    RandomPoissonNoise,
    RandomResize,
    RandomSincBlur,
    RandomSpeckleNoise,
    Shuffle,
    Step,
)

_BATCH: Final = "Every sample has its own draws, where the original shares resize, noise type and order in a batch; "
_CODEC: Final = "a real JPEG codec in place of DiffJPEG; no sharpening of the HQ image."


def sr_recipes() -> tuple[Recipe, ...]:
    """All of them, in the order in which they are listed."""
    return (
        _real_esrgan(),
        _bsrgan(),
        _bsrgan_plus(),
        _real_esrgan_x2(),
        _dasr(),
        *_stablesr(),
        *_seesr(),
        *_resshift(),
        _realbasicvsr(),
        _vcisr(),
        *_trainers(),
        *_the_same(),
    )


def _real_esrgan() -> Recipe:
    return Recipe(
        name="real-esrgan",
        steps=second_order(),
        source="Real-ESRGAN (ICCVW 2021), options/train_realesrgan_x4plus.yml and realesrgan_model.py feed_data",
        notes=(
            "Made for x4 super-resolution: the LQ image has a quarter of the size and is enlarged bicubically, as "
            "DiffBIR v2.1 does for restoration. Every sample has its own draws, where the original shares resize, "
            "noise type and order in a batch; a real JPEG codec in place of DiffJPEG; no sharpening of the HQ image."
        ),
    )


def _real_esrgan_x2() -> Recipe:
    return Recipe(
        name="real-esrgan-x2",
        steps=second_order(scale=2),
        source="Real-ESRGAN (ICCVW 2021) at commit a4abfb2979a7, options/train_realesrgan_x2plus.yml",
        notes="Made for x2 super-resolution. " + _BATCH + _CODEC,
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
            FULL_CUBIC,
        ),
        source="BSRGAN (Zhang et al., ICCV 2021), utils/utils_blindsr.py degradation_bsrgan, sf=4",
        notes=(
            "Made for x4 super-resolution: enlarged bicubically to the full size. The camera pipeline, which the "
            "source runs only where a trained ISP model is passed, is left out, as in its default call."
        ),
    )


def _bsrgan_plus() -> Recipe:
    sizes = tuple(range(7, 26, 2))
    aniso = RandomBlur(kernels={"aniso": 1}, variance=(0, 8), support=sizes, rotation=(0, math.pi))
    blur = OneOf(
        options=(
            Option(weight=0.5, steps=(aniso,)),
            Option(weight=0.5, steps=(RandomBlur(sigma=(0, 2.8), support=sizes),)),
        )
    )
    filters: tuple[Filter, ...] = ("linear", "cubic", "area")
    resize = OneOf(
        options=(
            Option(weight=0.2, steps=(Enlarge(factor=(1, 2), filter=filters),)),
            Option(weight=0.7, steps=(Enlarge(factor=(0.125, 1), filter=filters),)),
            Option(weight=0.1, steps=()),
        )
    )
    noise = OneOf(
        options=(
            Option(weight=0.4, steps=(RandomGaussianNoise(level=(2, 25), whole=True),)),
            Option(weight=0.4, steps=(RandomGaussianNoise(level=(2, 25), whole=True, gray_prob=1.0),)),
            Option(weight=0.2, steps=(RandomCovarianceNoise(level=25),)),
        )
    )
    poisson = OneOf(
        prob=0.1,
        options=tuple(
            Option(weight=1, steps=(RandomPoissonNoise(scale=ends, gray_prob=0.5),))
            for ends in ((0.16, 0.5), (0.5, 1.6))
        ),
    )
    speckle = RandomSpeckleNoise(level=(2 / 255, 25 / 255), gray_prob=0.5, prob=0.1)
    jpeg = RandomJpeg(quality=(30, 95))
    noises = Shuffle(steps=(noise, poisson, speckle))
    in_order = (blur, resize, noises, jpeg, blur, resize, noises)
    everything = (blur, resize, noise, poisson, speckle, jpeg, blur, resize, noise, poisson, speckle)
    return Recipe(
        name="bsrgan-plus",
        steps=(
            OneOf(
                options=(
                    Option(weight=0.5, steps=(Shuffle(steps=everything),)),
                    Option(weight=0.5, steps=in_order),
                )
            ),
            RandomResize(scale=(4, 4), filter=filters),
            jpeg,
            FULL_CUBIC,
        ),
        source="BSRGAN at commit 5ce1a9c6ae29, utils/utils_blindsr.py degradation_bsrgan_plus, sf=4",
        notes=(
            "Made for x4 super-resolution: enlarged bicubically to the full size. The camera pipeline, which needs a "
            "trained model that the source passes none of, and the sharpening of HQ images are left out, and so are "
            "speckle of correlated channels, one in five, and clips behind resizes. Poisson noise of 100 to 10,000 "
            "photons at white, drawn log-uniformly, is two ranges of the strength here, which is 1 at 256 photons."
        ),
    )


def _dasr() -> Recipe:
    kernels: dict[KernelKind, float] = {"iso": 0.65, "aniso": 0.35}
    sizes = tuple(range(9, 22, 2))
    plain = ChainPass(kernels=kernels, sizes=sizes, sinc=0.0)

    def one_stage(numbers: ChainPass) -> tuple[Step, ...]:
        last = RandomResize(scale=(4, 4), filter=ANY_FILTER)
        return (*numbers.blur(), *numbers.resize(), *numbers.noise(), *numbers.compress(), last)

    weak = dataclasses.replace(
        plain, sigma=(0.2, 0.8), up_down_keep=(0.1, 0.2, 0.7), factors=(0.85, 1.2), level=(1, 10), poisson=(0.05, 0.5),
        jpeg=(90, 95),
    )  # fmt: skip
    standard = dataclasses.replace(
        plain, sigma=(0.2, 1.5), up_down_keep=(0.3, 0.4, 0.3), factors=(0.5, 1.2), level=(1, 20), poisson=(0.05, 1.5),
        jpeg=(50, 95),
    )  # fmt: skip
    *severe, _ = second_order(plain, dataclasses.replace(SECOND, kernels=kernels, sizes=sizes, sinc=0.0))
    return Recipe(
        name="dasr",
        steps=(
            OneOf(
                options=(
                    Option(weight=0.3, steps=one_stage(weak)),
                    Option(weight=0.3, steps=one_stage(standard)),
                    Option(weight=0.4, steps=tuple(severe)),
                )
            ),
            FULL_CUBIC,
        ),
        source="DASR (ECCV 2022) at commit b2269e432782, options/train/DASR/train_DASR.yml; kernels of 9 to 21 pixels",
        notes="Three levels, one of them in two passes. " + _BATCH + _CODEC,
    )


_MILD: Final = dataclasses.replace(FIRST, factors=(0.3, 1.5), level=(1, 15), poisson=(0.05, 2), jpeg=(60, 95))
_MILD_AGAIN: Final = dataclasses.replace(
    SECOND, blur_prob=0.5, factors=(0.6, 1.2), level=(1, 12), poisson=(0.05, 1), jpeg=(60, 100)
)
"""What the diffusion era took from Real-ESRGAN, and made milder."""


def _stablesr() -> tuple[Recipe, ...]:
    narrow = {"generalized": (0.5, 2.0), "plateau": (1.0, 1.5)}
    first = dataclasses.replace(_MILD, sigma=(0.2, 1.5), **narrow)
    second = dataclasses.replace(_MILD_AGAIN, sigma=(0.2, 1.0), **narrow)
    sizes = " `blur_kernel_size2` 11 pads kernels in the options; the code draws them of 7 to 21 pixels, as here."
    with_clean = second_order(first, second, clean_prob=0.01)
    without = second_order(first, second)
    return (
        Recipe(
            name="stablesr",
            steps=with_clean,
            source=(
                "StableSR (IJCV 2024) at commit 398ee9383777, configs/stableSRNew/v2-finetune_text_T_512.yaml, "
                "degradation and data.params.train.params"
            ),
            notes=_BATCH + _CODEC + " One image of a hundred stays as it is." + sizes,
        ),
        Recipe(
            name="s3diff",
            steps=with_clean,
            source="S3Diff (arXiv 2409.17058) at commit 6a2e0a47676f, configs/sr.yaml, degradation and train",
            notes="The numbers of `stablesr`.",
        ),
        Recipe(
            name="ccsr",
            steps=without,
            source=(
                "CCSR (arXiv 2401.00877) at commit 15778ed541da, "
                "configs/dataset/general_deg_stablesr_realesrgan_train.yaml"
            ),
            notes="The numbers of `stablesr`, but no image stays as it is." + sizes,
        ),
        Recipe(
            name="adcsr",
            steps=without,
            source="AdcSR (CVPR 2025) at commit d0b2871e3de9, config.yml",
            notes="The numbers of `ccsr`.",
        ),
    )


def _seesr() -> tuple[Recipe, ...]:
    steps = second_order(_MILD, _MILD_AGAIN)
    same = "The numbers of `seesr`."
    return (
        Recipe(
            name="seesr",
            steps=steps,
            source="SeeSR (CVPR 2024) at commit 8edecc71c4f3, dataloaders/params_realesrgan.yml",
            notes="StableSR's ranges of resize, noise and JPEG with Real-ESRGAN's kernels. " + _CODEC,
        ),
        Recipe(
            name="pasd",
            steps=steps,
            source="PASD (ECCV 2024) at commit 396f9ac24f9f, pasd/dataloader/params_realesrgan.yml",
            notes=same,
        ),
        Recipe(
            name="pisa-sr",
            steps=steps,
            source="PiSA-SR (CVPR 2025) at commit 9c76e12e261d, src/datasets/params.yml",
            notes=same,
        ),
        Recipe(
            name="faithdiff",
            steps=steps,
            source="FaithDiff (CVPR 2025) at commit f11af6c81a03, dataloader/train_kernel.yml",
            notes=same,
        ),
        Recipe(
            name="dloral",
            steps=steps,
            source="DLoRAL (NeurIPS 2025) at commit 40c130864e26, src/datasets/params.yml",
            notes=same,
        ),
        Recipe(
            name="tsd-sr",
            steps=steps,
            source="TSD-SR (CVPR 2025) at commit e901821469ea, README.md: 'the same degradation pipeline as SeeSR'",
            notes=same,
        ),
    )


def _resshift() -> tuple[Recipe, ...]:
    first = dataclasses.replace(FIRST, sizes=tuple(range(3, 20, 2)))
    second = dataclasses.replace(SECOND, sizes=tuple(range(3, 14, 2)))
    steps = second_order(first, second, second_prob=0.5)
    kernels: dict[KernelKind, float] = {"iso": 0.6, "aniso": 0.4}
    mild = ChainPass(
        kernels=kernels, sizes=(3, 5, 7, 9, 11), sigma=(0.2, 0.8), factors=(0.5, 1.5), level=(1, 15),
        poisson=(0.05, 0.3), jpeg=(70, 95), generalized=(1, 1.5), plateau=(1, 1.2),
    )  # fmt: skip
    # There is no second pass, but its JPEG closes the chain, and its kernels' sizes are the last sinc's.
    again = dataclasses.replace(SECOND, sizes=(3, 5), jpeg=(80, 100))
    size = "Kernels are smaller than `blur_kernel_size`, from 3 pixels on, as the code draws them. "
    half = "The second pass happens in one of two. " + size + _BATCH + _CODEC
    return (
        Recipe(
            name="resshift",
            steps=steps,
            source=(
                "ResShift (NeurIPS 2023) at commit 3ce1d81e8402, configs/realsr_swinunet_realesrgan256_journal.yaml, "
                "degradation and data.train.params"
            ),
            notes=half,
        ),
        Recipe(
            name="resshift-x2",
            steps=second_order(first, second, scale=2, second_prob=0.5),
            source="ResShift at commit 3ce1d81e8402, configs/realsr_realesrgan256_x2.yaml",
            notes=half,
        ),
        Recipe(
            name="resshift-test",
            steps=second_order(mild, again, second_prob=0.0, final_sinc=0.2),
            source="ResShift at commit 3ce1d81e8402, configs/degradation_testing_realesrgan.yaml: its ImageNet-Test",
            notes=size + _CODEC,
        ),
        Recipe(
            name="invsr",
            steps=steps,
            source="InvSR (CVPR 2025) at commit 609788cd076f, configs/sd-turbo-sr-ldis.yaml",
            notes="The numbers of `resshift`.",
        ),
        Recipe(
            name="sinsr",
            steps=steps,
            source="SinSR (CVPR 2024) at commit f1735490e980, configs/SinSR.yaml",
            notes="The numbers of `resshift`.",
        ),
    )


def _realbasicvsr() -> Recipe:
    def video(low: float, high: float) -> Step:
        return RandomVideo(codec={"h264": 2, "mpeg4": 1}, bitrate=(low, high))

    back = (RandomResize(scale=(4, 4), filter=ANY_FILTER), RandomSincBlur(support=SECOND.sizes, prob=0.8))
    return Recipe(
        name="realbasicvsr",
        steps=(
            *FIRST.blur(),
            *FIRST.resize(),
            *FIRST.noise(),
            *FIRST.compress(),
            video(0.153, 1.53),
            *SECOND.blur(),
            *SECOND.rescale(),
            *SECOND.noise(),
            *SECOND.compress(),
            OneOf(
                options=(
                    Option(weight=0.5, steps=(video(0.153, 1.53), *back)),
                    Option(weight=0.5, steps=(*back, video(2.44, 24))),
                )
            ),
            FULL_CUBIC,
        ),
        source=(
            "RealBasicVSR (CVPR 2022) at commit b908e08323c8, configs/realbasicvsr_c64b20_1x30x8_lr5e-5_150k_reds.py, "
            "train_pipeline; also in mmagic"
        ),
        notes=(
            "One frame in place of a clip, so steps from frame to frame are left out. Bit rates of 10,000 to 100,000 a "
            "frame are given for each pixel of the 256 a side of HQ, or of the 64 of LQ, and drawn log-uniformly, no "
            "more than 24. No sharpening of the HQ image."
        ),
    )


def _vcisr() -> Recipe:
    back = RandomResize(scale=(4, 4), filter=ANY_FILTER)
    sinc = RandomSincBlur(support=SECOND.sizes, prob=0.8)
    jpeg = RandomJpeg(quality=SECOND.jpeg)
    video = OneOf(
        options=(
            Option(weight=0.4, steps=(RandomVideo(codec={"h264": 1}, crf=(20, 32)),)),
            Option(weight=0.2, steps=(RandomVideo(codec={"h265": 1}, crf=(25, 37)),)),
            Option(weight=0.4, steps=(RandomVideo(codec={"mpeg2": 1, "mpeg4": 1}, bitrate=(18.8, 24)),)),
        )
    )
    return Recipe(
        name="vcisr",
        steps=(
            *FIRST.blur(),
            *FIRST.resize(),
            *FIRST.noise(),
            *FIRST.compress(),
            *SECOND.blur(),
            *SECOND.rescale(),
            *SECOND.noise(),
            OneOf(
                options=(
                    Option(weight=0.95, steps=(back, video)),
                    Option(weight=0.025, steps=(back, sinc, jpeg)),
                    Option(weight=0.025, steps=(jpeg, back, sinc)),
                )
            ),
            FULL_CUBIC,
        ),
        source="VCISR (WACV 2024) at commit 11a4080d81ef, opt.py with degradation/degradation_esr_v2.py",
        notes=(
            "Video codecs in place of the last JPEG in 19 of 20. Bit rates of 3800 to 5800 kbit/s at 25 frames of 90 x "
            "90 pixels a second are near lossless: 18.8 to 28.6 bits a pixel, no more than 24 here. Left out: encoder "
            "presets, frame rates and the change of the frame's width by 0.8 to 1.35 around the codec. " + _CODEC
        ),
    )


def _trainers() -> tuple[Recipe, ...]:
    neosr_first = ChainPass(
        up_down_keep=(0.3, 0.4, 0.3), factors=(0.5, 1.5), gaussian_prob=0.2, level=(0, 2), poisson=(0.05, 0.25),
        gray_prob=0.1, jpeg=(40, 95),
    )  # fmt: skip
    neosr_second = ChainPass(
        sigma=(0.2, 1.5), blur_prob=0.4, up_down_keep=(0.3, 0.4, 0.3), factors=(0.3, 1.5), gaussian_prob=0.2,
        level=(0, 2), poisson=(0.05, 0.1), gray_prob=0.1, jpeg=(35, 95),
    )  # fmt: skip
    filters: tuple[Filter, ...] = ("linear", "cubic")
    trainner_first = ChainPass(
        blur_prob=0, factors=(0.4, 1.5), filters=filters, keep_resamples=False, gaussian_prob=0, level=(0, 0),
        poisson=(0, 0), jpeg=(75, 95),
    )  # fmt: skip
    trainner_second = dataclasses.replace(trainner_first, up_down_keep=(0.3, 0.4, 0.3), factors=(0.6, 1.2))
    return (
        Recipe(
            name="neosr",
            steps=second_order(neosr_first, neosr_second),
            source="neosr at commit 31c7022620c6, options/train_compact_otf.toml, degradations",
            notes="Kernels of 7 to 21 pixels, as the code draws them, whatever `blur_kernel_size` says. " + _CODEC,
        ),
        Recipe(
            name="trainner-redux",
            steps=second_order(trainner_first, trainner_second, final_sinc=0, final_filters=filters),
            source=(
                "traiNNer-redux at commit 686293190aca, options/_templates/train/Compact/Compact_OTF_fidelity.yml; "
                "blur and noise have a probability of 0 there"
            ),
            notes="Bilinear and bicubic filters alone: nearest-exact and Lanczos, each one of four, are left out.",
        ),
    )


def _the_same() -> tuple[Recipe, ...]:
    """Methods that publish the very numbers of Real-ESRGAN or BSRGAN."""
    real_esrgan, bsrgan = second_order(), _bsrgan().steps
    same = "The numbers of `real-esrgan`."
    sources = {
        "osediff": "OSEDiff (NeurIPS 2024) at commit fcc4f09c7ed6, dataloaders/params_realesrgan.yml",
        "diffbir-v2.1": "DiffBIR v2.1 at commit 3f8b5304245b, configs/train/train_stage2_v2.1.yaml",
        "diffbir-v1-realesrgan": "DiffBIR v1 at commit 314724e, configs/dataset/general_deg_realesrgan_train.yaml",
        "hypir": "HYPIR (SIGGRAPH 2025) at commit b61d107c6cef, configs/sd2_train.yaml",
        "real-hat": (
            "HAT (CVPR 2023) at commit 1638a9a82258, options/train/train_Real_HAT_GAN_SRx4_finetune_from_mse_model.yml"
        ),
        "ldl": "LDL (CVPR 2022) at commit 2d22dddc8e42, options/train/LDL/train_Realworld_LDL.yml",
        "a-esrgan": "A-ESRGAN (arXiv 2112.10046) at commit e1a71deb4a47, options/train_aesrgan_x4plus.yml",
    }
    return (
        *(
            Recipe(name=name, steps=real_esrgan, source=source, notes=same + (_SHARP if name in _SHARPENED else ""))
            for name, source in sources.items()
        ),
        Recipe(
            name="dreamclear",
            steps=second_order(clean_prob=0.01),
            source="DreamClear (NeurIPS 2024) at commit fbe0938c653d, tools/make_paired_data.py",
            notes="The numbers of `real-esrgan`, but one image of a hundred stays as it is.",
        ),
        *(
            Recipe(name=name, steps=bsrgan, source=source, notes="The numbers of `bsrgan`.")
            for name, source in {
                "swinir-real": (
                    "SwinIR (ICCVW 2021) in KAIR at commit fc1732f4a451, "
                    "options/swinir/train_swinir_sr_realworld_x4_gan.json: degradation_type bsrgan"
                ),
                "femasr": "FeMaSR (ACM MM 2022) at commit 1ca4295a2430, README.md: 'degradation_bsrgan'",
            }.items()
        ),
    )


_SHARPENED: Final = ("diffbir-v2.1",)
_SHARP: Final = " Its HQ images are sharpened first; they are not here."
