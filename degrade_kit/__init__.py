"""degrade-kit: training data for blind face restoration.

`recipe` holds ranges and draws; `record` holds what was drawn; `degrade` runs it on an image. Around them: `presets`
(published recipes), `steps` and `ops` (what a recipe and a record are made of), `kernels`, `linear`, `canvas` and
`noise` (how it is computed, fast and exactly), `image` (the image contract, decoding and encoding), `containers` (files
as bytes: complete, and without metadata), `sources` (where faces come from), `prepare` and `align` (how they become HQ
images), `seeding` (which generator belongs to a sample), `shards` (the data set on disk), `reader` and `order` (its
pairs by number, and the order of an epoch), `streaming` (both as torch data sets; it alone needs torch) and `errors`.

>>> import numpy as np
>>> import degrade_kit as dk
>>> hq = np.full((64, 64, 3), 0.5, np.float32)
>>> record = dk.preset("gfpgan").draw(dk.generator(seed=0, path="00000.png", variant=0))
>>> lq = dk.apply(record, hq)
>>> lq.shape, lq.dtype
((64, 64, 3), dtype('float32'))
"""

from __future__ import annotations

from degrade_kit.degrade import apply, degrade, finish, make_target
from degrade_kit.errors import ConfigError, DegradeKitError, ImageError, RunError, ShardError
from degrade_kit.presets import PRESETS, preset
from degrade_kit.recipe import Recipe, load_recipe
from degrade_kit.record import Record
from degrade_kit.seeding import generator

__all__ = [
    "PRESETS",
    "ConfigError",
    "DegradeKitError",
    "ImageError",
    "Recipe",
    "Record",
    "RunError",
    "ShardError",
    "apply",
    "degrade",
    "finish",
    "generator",
    "load_recipe",
    "make_target",
    "preset",
]
