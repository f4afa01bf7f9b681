"""Steps of recipes for detail and edges: a mean over squares, bright fringes, drawn outlines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from degrade_kit import ops
from degrade_kit.checks import Range, probability, span, whole_span
from degrade_kit.step_base import BaseStep, Drawn, Rng, draw_whole, happens, uniform


@dataclass(frozen=True, kw_only=True)
class RandomBoxBlur(BaseStep):
    """Mean over a square, everywhere or where there is most detail. Source of the latter: RealRestorer."""

    name: ClassVar[str] = "box_blur"
    side: Range = field(metadata={"check": span(1, 200)})
    """Range of the square's side, in pixels of the image as it is then."""
    busy_prob: float = field(default=0.0, metadata={"check": probability})
    """Probability that only places of much detail are blurred."""
    busy: Range = field(default=(0.4, 0.8), metadata={"check": span(0.01, 100)})
    """Range of the variance of luma there, as a multiple of the image's mean."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        side = uniform(rng, self.side)
        busy = uniform(rng, self.busy) if happens(rng, self.busy_prob) else 0.0
        drawn.steps.append(ops.BoxBlur(side=side, busy=busy))


@dataclass(frozen=True, kw_only=True)
class RandomHalo(BaseStep):
    """Bright fringes along edges, and no dark ones. Source of the idea: WTP Dataset Destroyer."""

    name: ClassVar[str] = "halo"
    amount: Range = field(default=(0.5, 3.0), metadata={"check": span(0, 50)})
    radius: Range = field(default=(0.8, 3.0), metadata={"check": span(0.1, 50)})
    """Range of the blur's standard deviation, in pixels of the image as it is then."""
    threshold: Range = field(default=(0.0, 4.0), metadata={"check": span(0, 255)})
    """Range of what is taken off each difference, 0..255 scale."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(
            ops.Halo(
                amount=uniform(rng, self.amount),
                radius=uniform(rng, self.radius),
                threshold=uniform(rng, self.threshold),
            )
        )


@dataclass(frozen=True, kw_only=True)
class RandomOutline(BaseStep):
    """Lines where there are edges. Source: Canny (PAMI 1986); the idea is WTP Dataset Destroyer's."""

    name: ClassVar[str] = "outline"
    low: Range = field(default=(20.0, 120.0), metadata={"check": span(0, 2000)})
    """Range of the gradient above which an edge goes on; less draws more lines."""
    above: Range = field(default=(20.0, 120.0), metadata={"check": span(0, 2000)})
    """Range of how much more it takes to begin one."""
    width: Range = field(default=(1.0, 2.0), metadata={"check": whole_span(1, 32)})
    """Range of a line's pixels across; whole numbers, both ends included."""
    opacity: Range = field(default=(0.3, 1.0), metadata={"check": span(0, 1)})
    """Range of how much the lines hide."""
    white_prob: float = field(default=0.2, metadata={"check": probability})
    """Probability of white lines in place of black ones."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        low = uniform(rng, self.low)
        drawn.steps.append(
            ops.Outline(
                low=low,
                high=low + uniform(rng, self.above),
                width=draw_whole(rng, self.width),
                opacity=uniform(rng, self.opacity),
                level=255 if happens(rng, self.white_prob) else 0,
            )
        )
