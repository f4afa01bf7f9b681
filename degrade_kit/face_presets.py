"""Recipes of methods that restore faces, 2021 to 2026: the numbers of their own option files.

Each says the file and the commit of its repository, and where it departs from it. All but two share one order: blur,
shrink, noise, JPEG, back to full size.
"""

from __future__ import annotations

from degrade_kit.chains import FULL, FULL_CUBIC, first_order
from degrade_kit.recipe import Recipe
from degrade_kit.steps import (
    OneOf,
    Option,
    RandomBlur,
    RandomBoxBlur,
    RandomColorJitter,
    RandomColorShift,
    RandomDenoise,
    RandomGaussianNoise,
    RandomGray,
    RandomHaze,
    RandomJpeg,
    RandomMotionBlur,
    RandomResize,
    RandomShift,
    Shuffle,
    Uneven,
)


def _flipnet_paper() -> Recipe:
    blur = RandomBlur(sigma=(0.1, 15), full_size_pixels=True)
    resize = RandomResize(scale=(0.8, 32))
    noise = RandomGaussianNoise(level=(0, 20))
    jpeg = RandomJpeg(quality=(30, 95))
    return Recipe(
        name="flipnet-paper",
        steps=(blur, resize, noise, jpeg, FULL, Shuffle(steps=(blur, resize, noise, jpeg)), FULL),
        source="FlipNet (ICCV 2025, arXiv 2508.08556), equation 9, then a second pass in shuffled order",
        notes=(
            "The paper names no kernel support (41 taken, as its peers), no resize filter (bilinear taken) and no "
            "ranges for the second pass (those of the first taken). In the second pass, too, sigma counts pixels of "
            "the full size: in pixels of a face shrunk to 16 of them it would leave a flat colour."
        ),
    )


def _psfrgan() -> Recipe:
    blur = OneOf(
        prob=0.5,
        options=(
            Option(weight=1, steps=(RandomBlur(sigma=(3, 15), support="full"),)),
            Option(weight=1, steps=(RandomBoxBlur(side=(3, 15)),)),
            Option(weight=1, steps=(RandomDenoise(method={"median": 1}, window=(3, 15)),)),
            Option(weight=1, steps=(RandomMotionBlur(length=(5, 25)),)),
        ),
    )
    return Recipe(
        name="psfrgan",
        steps=(
            RandomGray(prob=0.3, target=True),
            blur,
            # Three equally spaced quantiles: pixels drawn evenly.
            RandomResize(side=(32, 143.5, 255), filter=("linear", "cubic", "area")),
            RandomGaussianNoise(level=(0, 25.5), gray_prob=0.5, prob=0.2),
            RandomJpeg(quality=(35, 90), prob=0.7),
            FULL_CUBIC,
        ),
        source="PSFRGAN (CVPR 2021) at commit ab853cdc4957, data/ffhq_dataset.py complex_imgaug and random_gray",
        notes=(
            "Sizes are of HQ images of 512 pixels. Nearest-neighbour resizing, one of four filters, is left out; sides "
            "of the mean are drawn with fractions, and a path's two ends weigh alike. imgaug's compression of 10 to 65 "
            "is a quality of 90 to 35."
        ),
    )


def _hifacegan() -> Recipe:
    blur = OneOf(
        options=(
            Option(weight=1, steps=(RandomMotionBlur(length=(10, 20)),)),
            Option(weight=1, steps=(RandomBlur(sigma=(3, 8), support="full"),)),
        )
    )
    noise = OneOf(
        options=(
            Option(weight=1, steps=(RandomGaussianNoise(level=(20, 40)),)),
            Option(weight=1, steps=(RandomGaussianNoise(level=(28.3, 56.6)),)),
            Option(weight=1, steps=(RandomGaussianNoise(level=(3.9, 5.5)),)),
        )
    )
    down = OneOf(options=(Option(weight=1, steps=(RandomResize(factor=(0.125, 0.25), filter=("cubic",)), FULL_CUBIC)),))
    return Recipe(
        name="hifacegan",
        steps=(Shuffle(steps=(blur, noise, RandomJpeg(quality=(15, 50)), down)),),
        source="HiFaceGAN (ACM MM 2020) at commit d7996608de9d, degrade.py get_full",
        notes=(
            "All four in random order. Laplace's noise of a scale of 20 to 40, and Poisson's of a mean of 15 to 30 "
            "that is added everywhere, are normal noise of the same deviation; the light that the latter adds is "
            "left out. "
            "imgaug's compression of 50 to 85 is a quality of 50 to 15. Its authors do not know which of their "
            "mixtures the paper has."
        ),
    )


def face_recipes() -> tuple[Recipe, ...]:
    """All of them, in the order in which they are listed."""
    gfpgan = first_order(sigma=(0.1, 10), scale=(0.8, 8), noise=(0, 20), jpeg=(60, 100))
    restoreformer = first_order(sigma=(0.1, 10), scale=(0.8, 8), noise=(0, 20), jpeg=(60, 100), support=(39, 41))
    gray_pair = RandomGray(prob=0.01, target=True)
    difface = (*first_order(sigma=(0.1, 15), scale=(0.8, 32), noise=(0, 20), jpeg=(30, 100)), gray_pair)
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
            steps=first_order(sigma=(1, 15), scale=(4, 30), noise=(0, 20), jpeg=(30, 80)),
            source="CodeFormer (NeurIPS 2022), options/CodeFormer_stage2.yml; stage 3's *_large keys are the same",
        ),
        Recipe(
            name="codeformer-stage3-small",
            steps=first_order(sigma=(0.1, 10), scale=(1, 12), noise=(0, 15), jpeg=(60, 100)),
            source="CodeFormer, options/CodeFormer_stage3.yml",
        ),
        Recipe(
            name="codeformer-stage3-large",
            steps=first_order(sigma=(1, 15), scale=(4, 30), noise=(0, 20), jpeg=(30, 80)),
            source="CodeFormer, options/CodeFormer_stage3.yml, keys *_large",
        ),
        Recipe(
            name="diffbir-v1-face",
            steps=first_order(sigma=(0.1, 10), scale=(0.8, 8), noise=(0, 20), jpeg=(60, 100)),
            source="DiffBIR (ECCV 2024) at commit 314724e, configs/dataset/face_train.yaml",
        ),
        Recipe(
            name="diffbir-v2",
            steps=first_order(sigma=(0.1, 12), scale=(1, 12), noise=(0, 15), jpeg=(30, 100)),
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
                    steps=first_order(
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
            steps=first_order(sigma=(0.1, 15), scale=(0.8, 30), noise=(0, 20), jpeg=(30, 100), support=(39, 41)),
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
            steps=first_order(sigma=(1, 15), scale=(1, 30), noise=(0, 20), jpeg=(30, 90)),
            source="VQFR v2 (ECCV 2022), options/train/VQFR/train_vqfr_v2_B16_200K.yml",
        ),
        Recipe(
            name="vqfr-v1",
            steps=gfpgan,
            source="VQFR (ECCV 2022) at commit 239c77a78152, options/train/VQFR/train_vqfr_v1_B16_200K.yml",
        ),
        Recipe(
            name="gpen",
            steps=(RandomGray(prob=0.2, target=True), *gfpgan),
            source=(
                "GPEN (CVPR 2021) at commit 2c7367029833, training/data_loader/dataset_face.py GFPGAN_degradation; the "
                "image is gray before it is degraded"
            ),
            notes="The released code; a comment in it says that the paper's own model differs.",
        ),
        Recipe(
            name="codeformer-colorization",
            steps=(
                *first_order(sigma=(1, 15), scale=(4, 30), noise=(0, 20), jpeg=(30, 80)),
                RandomColorShift(limit=20, prob=0.3),
                RandomGray(prob=0.01),
                RandomColorJitter(prob=0.3),
            ),
            source="CodeFormer at commit b33cc7d639d6, options/CodeFormer_colorization.yml, datasets.train",
        ),
        Recipe(
            name="osediff-face",
            steps=first_order(sigma=(1, 15), scale=(1, 30), noise=(0, 20), jpeg=(30, 100)),
            source="OSEDiff (NeurIPS 2024) at commit fcc4f09c7ed6, dataloaders/params_codeformer.yml",
        ),
        Recipe(
            name="resshift-face",
            steps=difface,
            source="ResShift (NeurIPS 2023) at commit 3ce1d81e8402, configs/faceir_gfpgan512_lpips.yaml, data.train",
        ),
        Recipe(
            name="stablesr-face",
            steps=difface,
            source=(
                "StableSR (IJCV 2024) at commit 398ee9383777, configs/stableSRNew/v2-finetune_face_T_512.yaml, "
                "data.params.train.params"
            ),
        ),
        _psfrgan(),
        _hifacegan(),
        Recipe(
            name="gcfsr",
            steps=(
                OneOf(
                    options=tuple(
                        Option(
                            weight=count, steps=(RandomResize(scale=(scale, scale), filter=("cubic_aa",), clip=True),)
                        )
                        for scale, count in ((64, 4), (32, 2), (16, 2), (8, 1), (4, 1))
                    )
                ),
                FULL_CUBIC,
            ),
            source="GCFSR (CVPR 2022) at commit ea9a28e1f987, options/train_gcfsr.yml, datasets.train.downsample_list",
            notes=(
                "Super-resolution of HQ images of 1024 pixels: 64 leaves 16 of them. Enlarged by OpenCV's cubic filter "
                "(a = -0.75), where the source has MATLAB's (a = -0.5)."
            ),
        ),
    )
