"""degrade-kit: training data for blind face restoration.

`recipe` holds ranges and draws; `record` holds what was drawn; `degradation` runs it on an image. Around them:
`presets` (published recipes), `steps` and `ops` (what a recipe and a record are made of), `kernels`, `linear`, `canvas`
and `noise` (how it is computed, fast and exactly), `image` (the image contract, decoding and encoding), `image_files`
(files as bytes: complete, and without metadata), `sources` (where faces come from), `hq` and `align` (how they become
HQ images), `seeding` (which generator belongs to a sample), `shards` (the data set on disk), `reader` and `epoch_order`
(its pairs by number, and the order of an epoch), `streaming` (both as torch data sets; it alone needs torch), `files`
and `errors`. The folders `analysis`, `restore` and `pipelines` stand on these.

Every promised name hangs here and is imported when it is first used: `import degrade_kit` itself loads nothing. They
are listed in `__init__.pyi`, and described in docs/api.md.

>>> import numpy as np
>>> import degrade_kit as dk
>>> hq = np.full((64, 64, 3), 0.5, np.float32)
>>> record = dk.preset("gfpgan").draw(dk.generator(seed=0, path="00000.png", variant=0))
>>> lq = dk.apply(record, hq)
>>> lq.shape, lq.dtype
((64, 64, 3), dtype('float32'))
"""

from __future__ import annotations


def __getattr__(name: str) -> object:
    homes = _homes()
    if name == "__all__":
        return list(homes)
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    try:
        home = importlib.import_module(homes[name] if homes[name] != __name__ else f"{__name__}.{name}")
        value = getattr(home, name) if homes[name] != __name__ else home
    except ModuleNotFoundError as error:
        raise ImportError(
            f"degrade_kit.{name} needs {error.name}, which is not installed; `degrade-kit doctor` says what brings it",
            name=error.name,
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_homes()})


def _homes() -> dict[str, str]:
    """The module of each promised name, as `__init__.pyi` lists them: the list that type checkers read is the list."""
    if not _known:
        import pkgutil
        import re

        listed = pkgutil.get_data(__name__, "__init__.pyi")
        assert listed is not None, "the file is installed with this one"
        lines = re.findall(r"^from ([\w.]+) import (\w+) as \w+$", listed.decode("utf-8"), re.MULTILINE)
        _known.update({name: module for module, name in lines})
    return _known


_known: dict[str, str] = {}
