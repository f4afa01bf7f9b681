"""degrade-kit: training data for blind face restoration.

`recipe` holds ranges and draws; `record` holds what was drawn; `degradation` runs it on an image. Around them:
`presets` (published recipes), `steps` and `ops` (what a recipe and a record are made of), `kernels`, `linear`, `canvas`
and `noise` (how it is computed, fast and exactly), `image` (the image contract, decoding and encoding), `image_files`
(files as bytes: complete, and without metadata), `sources` (where faces come from), `hq` and `align` (how they become
HQ images), `seeding` (which generator belongs to a sample), `shards` (the data set on disk), `reader` and `epoch_order`
(its pairs by number, and the order of an epoch), `streaming` (both as torch data sets; it alone needs torch), `files`
and `errors`. The folders `analysis`, `restore` and `pipelines` stand on these.

Every promised name hangs here and is imported when it is first used: `import degrade_kit` itself loads nothing.

>>> import numpy as np
>>> import degrade_kit as dk
>>> hq = np.full((64, 64, 3), 0.5, np.float32)
>>> record = dk.preset("gfpgan").draw(dk.generator(seed=0, path="00000.png", variant=0))
>>> lq = dk.apply(record, hq)
>>> lq.shape, lq.dtype
((64, 64, 3), dtype('float32'))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from degrade_kit.degradation import apply, degrade, finish, make_target
    from degrade_kit.errors import ConfigError, DegradeKitError, ImageError, RunError, ShardError
    from degrade_kit.presets import PRESETS, preset
    from degrade_kit.recipe import Recipe, load_recipe
    from degrade_kit.record import Record
    from degrade_kit.seeding import generator

_HOMES = {
    "PRESETS": "presets",
    "ConfigError": "errors",
    "DegradeKitError": "errors",
    "ImageError": "errors",
    "Recipe": "recipe",
    "Record": "record",
    "RunError": "errors",
    "ShardError": "errors",
    "apply": "degradation",
    "degrade": "degradation",
    "finish": "degradation",
    "generator": "seeding",
    "load_recipe": "recipe",
    "make_target": "degradation",
    "preset": "presets",
}
"""The module of each promised name."""

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


def __getattr__(name: str) -> Any:  # noqa: ANN401 (whatever hangs there)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
