"""Statistics of drawn parameters: small, and mergeable over shards."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from degrade_kit.checks import COUNT, by_name, each, fields, number
from degrade_kit.errors import ConfigError
from degrade_kit.ops import FlipNetImage, Op, Resize, Uneven
from degrade_kit.record import Record

BINS = 20

PARAMETERS: dict[str, tuple[float, float]] = {
    "blur.sigma_x": (0, 20),
    "blur.sigma_y": (0, 20),
    "sinc_blur.cutoff": (0, math.pi),
    "motion_blur.length": (0, 100),
    "resize.scale": (0, 40),
    "decimate.sigma": (0, 5),
    "gaussian_noise.level": (0, 60),
    "poisson_noise.scale": (0, 5),
    "jpeg.quality": (0, 100),
    "webp.quality": (0, 100),
    "haze.alpha": (0, 1),
    "color_jitter.brightness": (0, 2),
    "color_jitter.contrast": (0, 2),
    "color_jitter.saturation": (0, 2),
    "color_jitter.hue": (-0.5, 0.5),
}
"""Parameters that are counted, with the range of their histogram; what lies outside falls into the first or last
bin."""

SEVERITY = (0.0, 1.0)
"""Range of the histogram of severities."""

_COUNTED: dict[str, list[tuple[str, str]]] = {}
for _name in PARAMETERS:
    _COUNTED.setdefault(_name.partition(".")[0], []).append((_name.partition(".")[2], _name))


@dataclass
class Summary:
    """Count, extremes, moments and a histogram of one parameter."""

    count: int = 0
    low: float = math.inf
    high: float = -math.inf
    total: float = 0.0
    squares: float = 0.0
    bins: list[int] = field(default_factory=lambda: [0] * BINS)

    def add(self, value: float, limits: tuple[float, float]) -> None:
        """Count one value of the parameter."""
        start, stop = limits
        self.count += 1
        self.low, self.high = min(self.low, value), max(self.high, value)
        self.total += value
        self.squares += value * value
        position = int((value - start) / (stop - start) * BINS)
        self.bins[min(max(position, 0), BINS - 1)] += 1

    def merge(self, other: Summary) -> None:
        """Count everything that `other` has counted."""
        self.count += other.count
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.total += other.total
        self.squares += other.squares
        self.bins = [mine + theirs for mine, theirs in zip(self.bins, other.bins, strict=True)]

    @property
    def mean(self) -> float:
        """Arithmetic mean; 0 of nothing."""
        return self.total / self.count if self.count else 0.0

    @property
    def std(self) -> float:
        """Standard deviation; 0 of nothing."""
        return math.sqrt(max(self.squares / self.count - self.mean**2, 0.0)) if self.count else 0.0

    def to_plain(self) -> dict[str, Any]:
        """Convert to plain values that JSON holds."""
        return {
            "count": self.count,
            "min": self.low,
            "max": self.high,
            "sum": self.total,
            "sum_squares": self.squares,
            "bins": self.bins,
        }

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Summary:
        """Make a summary from what `to_plain` gave, once it is checked."""
        return cls(data["count"], data["min"], data["max"], data["sum"], data["sum_squares"], list(data["bins"]))


def _bins(value: Any, key: str) -> list[int]:  # noqa: ANN401 (parsed JSON)
    found = each(COUNT)(value, key)
    if len(found) != BINS:
        raise ConfigError(f"{key}: expected {BINS} numbers, got {len(found)}")
    return found


_VALUE = number(-1e100, 1e100)
"""Far beyond all sums, and the square of a sum of many is a number still."""
_SUMMARY = fields({"count": COUNT, **dict.fromkeys(("min", "max", "sum", "sum_squares"), _VALUE), "bins": _bins})
_STATISTICS = fields(
    {
        "records": COUNT,
        "ops": by_name(COUNT),
        "parameters": by_name(_SUMMARY),
    },
    may={"prompts": by_name(COUNT), "severity": _SUMMARY},
)


class Statistics:
    """Summaries by parameter name, and how often each operation, and each prompt of a FlipNet, was drawn.

    Severities are counted apart, by `add_severity`: they follow from records by a table that may be measured anew.
    """

    def __init__(self) -> None:
        self.ops: dict[str, int] = {}
        self.prompts: dict[str, int] = {}
        self.parameters: dict[str, Summary] = {}
        self.severity = Summary()
        self.records = 0

    def add(self, record: Record) -> None:
        """Count the parameters of one record."""
        self.records += 1
        for op in _flatten(record.steps):
            if isinstance(op, Resize) and op.scale == 1.0:
                continue  # going back to the full size is no choice
            self.ops[op.name] = self.ops.get(op.name, 0) + 1
            if isinstance(op, FlipNetImage):
                self.prompts[op.prompt] = self.prompts.get(op.prompt, 0) + 1
            for parameter, name in _COUNTED.get(op.name, ()):
                summary = self.parameters.setdefault(name, Summary())
                summary.add(float(getattr(op, parameter)), PARAMETERS[name])

    def add_severity(self, value: float) -> None:
        """Count the severity of one record, in [0, 1]; see `degrade_kit.record_severity`."""
        self.severity.add(value, SEVERITY)

    def merge(self, other: Statistics) -> None:
        """Count everything that `other` has counted."""
        self.records += other.records
        for name, count in other.ops.items():
            self.ops[name] = self.ops.get(name, 0) + count
        for prompt, count in other.prompts.items():
            self.prompts[prompt] = self.prompts.get(prompt, 0) + count
        for name, summary in other.parameters.items():
            self.parameters.setdefault(name, Summary()).merge(summary)
        self.severity.merge(other.severity)

    def to_plain(self) -> dict[str, Any]:
        """Convert to plain values in a fixed order.

        `prompts` is there where a FlipNet made images, and `severity` where severities were counted.
        """
        prompts = {"prompts": dict(sorted(self.prompts.items()))} if self.prompts else {}
        return {
            "records": self.records,
            "ops": dict(sorted(self.ops.items())),
            **prompts,
            "parameters": {name: summary.to_plain() for name, summary in sorted(self.parameters.items())},
            **({"severity": self.severity.to_plain()} if self.severity.count else {}),
        }

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Statistics:
        """Make statistics from what `to_plain` gave.

        Raises:
            ConfigError: If it is something else.
        """
        _STATISTICS(data, "")
        statistics = cls()
        statistics.records = data["records"]
        statistics.ops = dict(data["ops"])
        statistics.prompts = dict(data.get("prompts", {}))
        statistics.parameters = {name: Summary.from_plain(plain) for name, plain in data["parameters"].items()}
        if "severity" in data:
            statistics.severity = Summary.from_plain(data["severity"])
        return statistics


def values(record: Record) -> dict[str, list[float]]:
    """List the counted parameters of one record, by the names of `PARAMETERS`, in the order in which they act."""
    found: dict[str, list[float]] = {}
    for op in _flatten(record.steps):
        if isinstance(op, Resize) and op.scale == 1.0:
            continue
        for parameter, name in _COUNTED.get(op.name, ()):
            found.setdefault(name, []).append(float(getattr(op, parameter)))
    return found


def _flatten(ops: Iterable[Op]) -> Iterable[Op]:
    for op in ops:
        if isinstance(op, Uneven):
            yield from _flatten(op.inside)
            yield from _flatten(op.outside)
        else:
            yield op
