"""Record banks: files of records that were found near photographs of a set. They hold numbers, and no picture.

A record is a pure function of numbers, so it carries over to any face: a few hundred rows say how the photographs of a
set are degraded, and can be passed on where the photographs may not. `degrade_kit.analysis.bank_search` finds them; the
step `bank` of a recipe draws from them, and varies what it draws.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import numpy as np

from degrade_kit.checks import by_name, checked, choice, each, fields
from degrade_kit.errors import ConfigError, nearest
from degrade_kit.files import read_json, sha256
from degrade_kit.network_ops import FlipNetImage
from degrade_kit.ops import Frame, Jpeg, Op, Rescale, Resize, ResizeSide, Tone, Unframe, WebP
from degrade_kit.record import limited, ops_from_plain, ops_to_plain
from degrade_kit.step_base import normal, uniform

SHIPPED: Final = Path(__file__).parent / "banks"
"""Folder of the banks that come with the package."""
_MAX_BYTES: Final = 16 << 20
_FORMAT: Final = 1


Told = Literal["side", "file", "tone"]
"""The size of the face in the photograph, quality and subsampling of the photograph's own file, or light and colour."""


@dataclass(frozen=True, slots=True)
class Bank:
    """Records of one set of photographs."""

    name: str
    source: str
    """Which photographs, how many, and how near the records come."""
    records: tuple[tuple[Op, ...], ...]
    """The operations of each; each ends at the full size."""
    told: tuple[Told, ...] = ()
    """What is not varied: size and file where the photographs told them, and the light, which is bounded as it is."""
    licence: str = ""
    """Under which terms the bank can be passed on, and what the terms of the photographs are."""
    models: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    """Where each FlipNet is that a record needs, by its digest: the name of one that ships, or a folder."""

    @property
    def digest(self) -> str:
        """Hash of all that is drawn from: twelve hexadecimal digits."""
        rows = [ops_to_plain(ops) for ops in self.records]
        return sha256(json.dumps([rows, self.told] if self.told else rows, sort_keys=True))[:12]

    def to_json(self) -> str:
        """Write the bank as its file holds it, one record a line."""
        head: dict[str, Any] = {"format": _FORMAT, "name": self.name, "source": self.source}
        head |= {"licence": self.licence, "told": self.told}
        if self.models:
            head["models"] = dict(self.models)
        rows = ",\n".join(json.dumps(ops_to_plain(ops), separators=(",", ":")) for ops in self.records)
        return f'{json.dumps(head)[:-1]}, "records": [\n{rows}\n]}}\n'


def rounded(ops: Sequence[Op]) -> tuple[Op, ...]:
    """Round the numbers of a record to four digits: no more of them can be seen, and a bank is half as large."""

    def of(op: Op) -> dict[str, Any]:
        values = ((field.name, getattr(op, field.name)) for field in dataclasses.fields(op))
        return {name: float(f"{value:.4g}") for name, value in values if isinstance(value, float)}

    return tuple(dataclasses.replace(op, **of(op)) for op in ops)


def shipped_banks() -> list[str]:
    """Names of the banks that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.json"))


def load_bank(file: str | Path) -> Bank:
    """Read a bank that comes with the package, or a file.

    Args:
        file: Name of one that comes with the package, or a file.

    Raises:
        ConfigError: If there is none, or it is damaged.
    """
    path = Path(file)
    if path.suffix == ".json":
        return _read(path)
    if str(file) not in shipped_banks():
        raise ConfigError(f"bank {file}: expected a file that ends in .json, or {nearest(str(file), shipped_banks())}")
    return _read_shipped(str(file))


@functools.lru_cache(maxsize=8)
def _read_shipped(name: str) -> Bank:
    """Read a bank of the package once: no run changes it, and a mixture names several."""
    return _read(SHIPPED / f"{name}.json")


def _read(path: Path) -> Bank:
    data = checked(read_json(path, max_bytes=_MAX_BYTES), _CHECK, path.name)
    if data["format"] != _FORMAT or not data["records"]:
        raise ConfigError(f"{path.name}: expected a bank of format {_FORMAT} with at least one record")
    records: list[tuple[Op, ...]] = []
    for number, entry in enumerate(data["records"]):
        try:
            ops = ops_from_plain(entry)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"damaged: {path.name}: record {number}: {error}") from error
        last = ops[-1] if ops else None
        if not isinstance(last, Unframe) and not (isinstance(last, Resize) and last.scale == 1):
            raise ConfigError(f"damaged: {path.name}: record {number} does not end at the full size")
        records.append(ops)
    models: dict[str, str] = data.get("models", {})
    if unknown := networks_of(records) - set(models):
        raise ConfigError(f"damaged: {path.name}: it does not say where the FlipNet {min(unknown)} is")
    return Bank(
        data["name"],
        data["source"],
        tuple(records),
        tuple(data.get("told", ())),
        str(data.get("licence", "")),
        models,
    )


def networks_of(records: Sequence[Sequence[Op]]) -> set[str]:
    """Digests of the FlipNets that records need."""
    return {op.model for ops in records for op in ops if isinstance(op, FlipNetImage)}


_CHECK: Final = fields(
    {"format": int, "name": str, "source": str, "records": each(each(dict))},
    may={"licence": str, "told": each(choice(("side", "file", "tone"))), "models": by_name(str)},
)


# --------------------------------------------------------------------------------------------------------- varied draws

_RATIOS: Final = {
    "sigma_x", "level", "scale", "strength", "radius", "amount", "length", "shot", "read", "gamma", "contrast",
    "saturation", "factor", "bitrate",
}  # fmt: skip
"""Fields that are varied by a factor."""


def varied(ops: Sequence[Op], width: float, rng: np.random.Generator, told: Collection[Told] = ()) -> tuple[Op, ...]:
    """Vary the numbers of a record: strengths by a factor, qualities and places by a little.

    Args:
        ops: The record's operations.
        width: Standard deviation of the factors' logarithm; 0 changes only where the blocks of a codec lie.
        rng: Draws the variation.
        told: What stays as it is: the side of the photograph, its last file, or its tone.
    """
    varied_ops: list[Op] = []
    frame: Frame | None = None
    file = _last_file(ops) if "file" in told else -1
    for place, op in enumerate(ops):
        if isinstance(op, Frame):
            frame = Frame(
                side=op.side if "side" in told else max(8, round(op.side * math.exp(0.5 * width * normal(rng)))),
                angle=op.angle + 0.3 * width * normal(rng),
                right=uniform(rng, (-8.0, 8.0)),
                down=uniform(rng, (-8.0, 8.0)),
            )
            varied_ops.append(frame)
        elif isinstance(op, Unframe) and frame is not None:
            same = {name: getattr(frame, name) for name in ("side", "angle", "right", "down")}
            varied_ops.append(dataclasses.replace(op, **same))
        elif (
            isinstance(op, Resize)
            or place == file
            or (isinstance(op, ResizeSide) and "side" in told)
            or (isinstance(op, Tone) and "tone" in told)
        ):
            varied_ops.append(op)
        else:
            varied_ops.append(_varied(op, width, rng))
    return _as_large(ops, varied_ops, 1 if "side" in told else 2)


def _last_file(ops: Sequence[Op]) -> int:
    """Place of the last file of a record; -1 if it has none."""
    return max((place for place, op in enumerate(ops) if isinstance(op, (Jpeg, WebP))), default=-1)


def _as_large(ops: Sequence[Op], varied_ops: list[Op], least: int) -> tuple[Op, ...]:
    """Let a photograph that is resized come to the size that it had, where there are at least so many resizes."""
    places = [place for place, op in enumerate(ops) if isinstance(op, Rescale)]
    if len(places) >= least:
        # The last of them makes up for what was varied in those before it.
        before, now = (
            math.prod(cast("Rescale", steps[place]).factor for place in places[:-1]) for steps in (ops, varied_ops)
        )
        last = cast("Rescale", ops[places[-1]])
        varied_ops[places[-1]] = dataclasses.replace(last, factor=limited("rescale.factor", last.factor * before / now))
    return tuple(varied_ops)


def _varied(op: Op, width: float, rng: np.random.Generator) -> Op:
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(op):
        value = getattr(op, field.name)
        if field.name == "quality":
            changes["quality"] = int(min(max(round(value + 40 * width * normal(rng)), 1), 100))
        elif field.name == "side":
            changes["side"] = max(1, round(value * math.exp(0.5 * width * normal(rng))))
        elif field.name == "crf":
            changes["crf"] = int(limited(f"{op.name}.crf", round(value + 20 * width * normal(rng))))
        elif field.name == "exposure":
            changes["exposure"] = value + width * normal(rng)
        elif field.name in _RATIOS and value > 0:
            changes[field.name] = limited(f"{op.name}.{field.name}", value * math.exp(width * normal(rng)))
    if "sigma_x" in changes:  # both, so that what is round stays round
        changes["sigma_y"] = getattr(op, "sigma_y") * (changes["sigma_x"] / getattr(op, "sigma_x"))  # noqa: B009
    return dataclasses.replace(op, **changes)
