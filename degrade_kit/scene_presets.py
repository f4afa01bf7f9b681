"""Recipes for kinds of photographs rather than of a paper: old prints, phones at night, networks, screens, film.

Their ranges are this project's own: each step has a published source, and what it draws was set by eye, at full
resolution, beside photographs of the kind. `degrade_kit.presets` looks them up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from degrade_kit.recipe import Recipe
from degrade_kit.steps import (
    Enlarge,
    OneOf,
    Option,
    PhotoFrame,
    RandomBanding,
    RandomBlur,
    RandomCameraShake,
    RandomColorJitter,
    RandomCreases,
    RandomDefocus,
    RandomDenoise,
    RandomDust,
    RandomFade,
    RandomFilmGrain,
    RandomGlare,
    RandomGray,
    RandomHalftone,
    RandomInterlace,
    RandomJpeg,
    RandomLowLight,
    RandomPalette,
    RandomScratches,
    RandomScreenCapture,
    RandomSepia,
    RandomSharpen,
    RandomTone,
    RandomWatermark,
    Repost,
    Step,
)

_OWN: Final = "this project's own ranges, set by eye; the steps' sources are in docs/recipes.md"


def _old_print() -> Recipe:
    silver: tuple[Step, ...] = (
        RandomGray(target=True),
        RandomFilmGrain(level=(3, 14), size=(0.5, 1.1), colour=(0, 0)),
        RandomFade(cyan=(0.1, 0.5), magenta=(0.1, 0.5), yellow=(0.05, 0.4), stain=(0, 0.25), prob=0.6),
        RandomSepia(amount=(0.3, 0.9), prob=0.5),
    )
    colour: tuple[Step, ...] = (
        RandomFilmGrain(level=(3, 12), size=(0.5, 1.1), colour=(0.2, 0.6)),
        RandomFade(cyan=(0.2, 0.6), magenta=(0, 0.3), yellow=(0.05, 0.4), stain=(0, 0.3)),
    )
    newspaper: tuple[Step, ...] = (
        RandomGray(target=True),
        RandomHalftone(period=(2.2, 4), inks={"black": 1}, gain=(0.05, 0.2), blur=(0.5, 1)),
        RandomFade(cyan=(0, 0.2), magenta=(0, 0.2), yellow=(0, 0.2), stain=(0.05, 0.35)),
    )
    return Recipe(
        name="old-print",
        steps=(
            PhotoFrame(
                side=(96, 320),
                turn=4.0,
                steps=(
                    RandomBlur(sigma=(0.4, 1.6), support="full"),
                    RandomTone(exposure=0.25, gamma=0.15, contrast=0.15, white_balance=0.0, saturation=0.1),
                    OneOf(
                        options=(
                            Option(weight=0.6, steps=silver),
                            Option(weight=0.32, steps=colour),
                            Option(weight=0.08, steps=newspaper),
                        )
                    ),
                    RandomCreases(count=(1, 2), depth=(0.15, 0.8), width=(0.002, 0.006), prob=0.3),
                    RandomScratches(count=(2, 20), width=(0.001, 0.004), opacity=(0.3, 0.9), prob=0.6),
                    RandomDust(specks=(20, 200), hairs=(0, 2), size=(0.002, 0.008), prob=0.75),
                    RandomSharpen(prob=0.3),
                    RandomJpeg(quality=(60, 95)),
                ),
            ),
        ),
        source=_OWN,
        notes="Black-and-white prints have a gray target, so that a restorer does not learn to invent colours.",
    )


def _phone_night() -> Recipe:
    return Recipe(
        name="phone-night",
        steps=(
            PhotoFrame(
                side=(64, 224),
                steps=(
                    RandomCameraShake(length=(1, 7), prob=0.5),
                    RandomDefocus(radius=(0.5, 2), prob=0.3),
                    RandomGlare(strength=(0.1, 0.7), rays=(0, 6), prob=0.25),
                    RandomTone(exposure=0.0, gamma=0.1, contrast=0.05, white_balance=0.25, saturation=0.15),
                    RandomLowLight(gamma=(1.2, 2.6), alpha=(0.85, 1), beta=(0.4, 0.9), shot=(0.001, 0.008)),
                    # The phone brightens what it got, noise and all, and smooths it.
                    RandomColorJitter(
                        brightness=(1.1, 2.4), contrast=(0.85, 1.1), saturation=(0.6, 1.1), hue=(0, 0), prob=0.8
                    ),
                    RandomDenoise(method={"bilateral": 1, "median": 0.3}, strength=(10, 45), prob=0.75),
                    RandomSharpen(amount=(0.3, 1.2), prob=0.6),
                    RandomJpeg(quality=(60, 95)),
                ),
            ),
        ),
        source=_OWN,
    )


def _social_media() -> Recipe:
    return Recipe(
        name="social-media",
        steps=(
            PhotoFrame(
                side=(80, 280),
                steps=(
                    RandomBlur(sigma=(0.2, 1), support="full"),
                    RandomDenoise(strength=(8, 40), prob=0.4),
                    RandomTone(prob=0.6),
                    RandomSharpen(amount=(0.1, 0.9), prob=0.5),
                    RandomWatermark(prob=0.06),
                    OneOf(
                        options=(
                            Option(weight=0.6, steps=(Repost(times=(1, 4), factor=(0.7, 1.3)),)),
                            Option(weight=0.25, steps=(Repost(times=(1, 3), codec={"jpeg": 1, "webp": 1}),)),
                            # A screenshot of a post, posted again.
                            Option(weight=0.11, steps=(Enlarge(factor=(0.6, 1.6)), Repost(times=(1, 2)))),
                            Option(
                                weight=0.04,
                                steps=(RandomPalette(colours=(48, 256)), RandomJpeg(quality=(70, 95), prob=0.5)),
                            ),
                        )
                    ),
                ),
            ),
        ),
        source=_OWN,
    )


def _screen_photo() -> Recipe:
    return Recipe(
        name="screen-photo",
        steps=(
            PhotoFrame(
                side=(96, 288),
                steps=(
                    RandomBlur(sigma=(0.3, 1.2), support="full"),
                    RandomBanding(levels=(24, 96), prob=0.2),
                    RandomTone(exposure=0.25, gamma=0.15, contrast=0.1, white_balance=0.08, saturation=0.15),
                    RandomGlare(strength=(0.05, 0.5), spread=(0.15, 0.6), rays=(0, 0), prob=0.3),
                    RandomScreenCapture(pitch=(0.9, 2.6), contrast=(0.03, 0.45)),
                    RandomDenoise(strength=(6, 20), radius=(0.7, 1.5), prob=0.4),
                    RandomSharpen(amount=(0.2, 0.8), prob=0.4),
                    RandomJpeg(quality=(55, 92)),
                ),
            ),
        ),
        source=_OWN,
    )


def _film() -> Recipe:
    return Recipe(
        name="film",
        steps=(
            PhotoFrame(
                side=(80, 256),
                turn=6.0,
                steps=(
                    RandomDefocus(radius=(0.4, 2), prob=0.4),
                    RandomBlur(sigma=(0.4, 1.2), support="full"),
                    RandomTone(exposure=0.3, gamma=0.15, contrast=0.12, white_balance=0.1, saturation=0.2),
                    RandomGray(target=True, prob=0.3),
                    RandomFilmGrain(level=(5, 18), size=(0.5, 1.2), colour=(0, 0.4)),
                    RandomFade(cyan=(0.05, 0.45), magenta=(0, 0.2), yellow=(0, 0.3), stain=(0, 0), prob=0.35),
                    RandomScratches(
                        count=(1, 6),
                        length=(0.6, 2),
                        width=(0.001, 0.003),
                        opacity=(0.3, 0.8),
                        angle=1.0,
                        disorder=(0, 0.02),
                        coloured=(0, 0.3),
                        prob=0.3,
                    ),
                    RandomDust(specks=(3, 40), hairs=(0, 1), size=(0.003, 0.01), dark=(0.2, 0.8), prob=0.45),
                    RandomInterlace(motion=(0.3, 2.5), fields={"weave": 1, "blend": 2}, prob=0.15),
                    RandomJpeg(quality=(50, 92)),
                ),
            ),
        ),
        source=_OWN,
        notes="A frame of a film, scanned or broadcast. Of a compressed video, see `video-frame` and the step `video`.",
    )


SCENES: Mapping[str, Recipe] = {
    recipe.name: recipe for recipe in (_old_print(), _phone_night(), _social_media(), _screen_photo(), _film())
}
"""Every such recipe by name."""
