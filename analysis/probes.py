"""Degradations that span what photographs suffer: the yardstick that paired whitening is fitted on."""

from __future__ import annotations

from degrade_kit.presets import preset
from degrade_kit.recipe import Recipe
from degrade_kit.record import Record
from degrade_kit.seeding import generator
from degrade_kit.steps import (
    RandomBlur,
    RandomColorJitter,
    RandomGaussianNoise,
    RandomHaze,
    RandomJpeg,
    RandomMotionBlur,
    RandomPoissonNoise,
    RandomResize,
    RandomWebP,
)

VERSION = 1
"""Changes with what is drawn."""

_FULL = RandomResize(scale=(1, 1), filter=("linear", "cubic"))
_DARK = RandomColorJitter(brightness=(0.08, 0.6), contrast=(1, 1), saturation=(0.5, 1), hue=(0, 0))
_RECIPES = (
    Recipe(name="clean", steps=(RandomBlur(sigma=(0.1, 0.4)),)),
    Recipe(name="blur", steps=(RandomBlur(sigma=(0.6, 8), support="full"),)),
    Recipe(name="elongated-blur", steps=(RandomBlur(kernels={"aniso": 1}, sigma=(0.6, 8), support="full"),)),
    Recipe(name="motion", steps=(RandomMotionBlur(length=(5, 40)),)),
    Recipe(name="noise", steps=(RandomGaussianNoise(level=(3, 40), gray_prob=0.3),)),
    Recipe(name="shot-noise", steps=(RandomPoissonNoise(scale=(0.5, 3)),)),
    Recipe(name="jpeg", steps=(RandomJpeg(quality=(8, 80)),)),
    Recipe(name="webp", steps=(RandomWebP(quality=(5, 70)),)),
    Recipe(name="low-resolution", steps=(RandomResize(scale=(1.5, 12), filter=("area", "linear", "cubic")), _FULL)),
    Recipe(
        name="small-jpeg",
        steps=(RandomResize(scale=(1.5, 8), filter=("area", "linear")), RandomJpeg(quality=(20, 90)), _FULL),
    ),
    Recipe(
        name="small-noise",
        steps=(RandomResize(scale=(1.5, 8), filter=("area", "linear")), RandomGaussianNoise(level=(3, 25)), _FULL),
    ),
    Recipe(name="low-light", steps=(_DARK, RandomGaussianNoise(level=(0, 12)))),
    Recipe(name="haze", steps=(RandomHaze(alpha=(0.2, 0.8)),)),
    Recipe(
        name="camera",
        steps=(
            RandomBlur(sigma=(0.2, 2.5)),
            RandomGaussianNoise(level=(1, 25), prob=0.7),
            RandomJpeg(quality=(30, 95)),
        ),
    ),
    preset("flipnet-paper"),
    preset("gfpgan"),
    preset("codeformer"),
    preset("real-esrgan"),
)


def probe_records(count: int, seed: int = 0) -> list[Record]:
    """Draw `count` records, of all kinds in turn."""
    return [
        _RECIPES[number % len(_RECIPES)].draw(generator(seed, f"probe/{VERSION}", number)) for number in range(count)
    ]
