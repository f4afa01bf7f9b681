"""Steps of recipes for prints and film: damage, age, grain, and the press."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from degrade_kit import ops
from degrade_kit.checks import Range, number, numbers_of, probability, span, whole_span
from degrade_kit.print_ops import Inks
from degrade_kit.step_base import BaseStep, Drawn, Rng, draw_weighted, draw_whole, uniform
from degrade_kit.weather_steps import turned


@dataclass(frozen=True, kw_only=True)
class RandomScratches(BaseStep):
    """Scratches of a print, all directions; of a film, with `disorder` near 0, upright ones.

    Sources: Kokaram (1998), chapter 9; Wan et al., "Bringing old photos back to life" (CVPR 2020).
    """

    name: ClassVar[str] = "scratches"
    count: Range = field(default=(3.0, 25.0), metadata={"check": whole_span(0, 500)})
    """Range of how many; whole numbers, both ends included."""
    length: Range = field(default=(0.2, 0.7), metadata={"check": span(0, 4)})
    """Range of the mean length, share of the image's shorter side."""
    width: Range = field(default=(0.002, 0.006), metadata={"check": span(0, 0.1)})
    """Range of the widest one's width, share of the shorter side."""
    opacity: Range = field(default=(0.4, 1.0), metadata={"check": span(0, 1)})
    """Range of how much the deepest hide."""
    angle: float = field(default=30.0, metadata={"check": number(0, 90)})
    """Standard deviation of the mean turn from upright, degrees."""
    disorder: Range = field(default=(0.3, 1.0), metadata={"check": span(0, 1)})
    """Range of how far the turns spread about it."""
    dark: Range = field(default=(0.0, 0.5), metadata={"check": span(0, 1)})
    """Range of the share that is dark."""
    coloured: Range = field(default=(0.0, 0.0), metadata={"check": span(0, 1)})
    """Range of the share of the others that show a layer of colour film."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(
            ops.Scratches(
                count=draw_whole(rng, self.count),
                length=uniform(rng, self.length),
                width=uniform(rng, self.width),
                opacity=uniform(rng, self.opacity),
                angle=turned(rng, self.angle),
                disorder=uniform(rng, self.disorder),
                dark=uniform(rng, self.dark),
                coloured=uniform(rng, self.coloured),
            )
        )


@dataclass(frozen=True, kw_only=True)
class RandomCreases(BaseStep):
    """Folds across a print. Source: Wan et al., "Bringing old photos back to life" (CVPR 2020)."""

    name: ClassVar[str] = "creases"
    count: Range = field(default=(1.0, 3.0), metadata={"check": whole_span(0, 50)})
    """Range of how many; whole numbers, both ends included."""
    depth: Range = field(default=(0.2, 0.9), metadata={"check": span(0, 1)})
    """Range of how much of the emulsion is broken, and of the shading."""
    width: Range = field(default=(0.003, 0.01), metadata={"check": span(0.0005, 0.1)})
    """Range of the broken line's width, share of the image's shorter side."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(
            ops.Creases(
                count=draw_whole(rng, self.count), depth=uniform(rng, self.depth), width=uniform(rng, self.width)
            )
        )


@dataclass(frozen=True, kw_only=True)
class RandomDust(BaseStep):
    """Specks and hairs. Sources: Kokaram (1998), blotches; Wan et al. (CVPR 2020), dust spots."""

    name: ClassVar[str] = "dust"
    specks: Range = field(default=(20.0, 200.0), metadata={"check": whole_span(0, 5000)})
    """Range of how many; whole numbers, both ends included."""
    hairs: Range = field(default=(0.0, 4.0), metadata={"check": whole_span(0, 100)})
    size: Range = field(default=(0.003, 0.012), metadata={"check": span(0, 0.1)})
    """Range of the largest speck's radius, share of the image's shorter side."""
    opacity: Range = field(default=(0.5, 1.0), metadata={"check": span(0, 1)})
    """Range of how much the densest hide."""
    dark: Range = field(default=(0.0, 1.0), metadata={"check": span(0, 1)})
    """Range of the share that is dark."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(
            ops.Dust(
                specks=draw_whole(rng, self.specks),
                hairs=draw_whole(rng, self.hairs),
                size=uniform(rng, self.size),
                opacity=uniform(rng, self.opacity),
                dark=uniform(rng, self.dark),
            )
        )


@dataclass(frozen=True, kw_only=True)
class RandomFade(BaseStep):
    """Dyes that have bleached and paper that has yellowed. Source: Gschwind and Frey (1994)."""

    name: ClassVar[str] = "fade"
    cyan: Range = field(default=(0.1, 0.6), metadata={"check": span(0, 1)})
    """Range of the share of the cyan dye that is lost, the least stable of most prints."""
    magenta: Range = field(default=(0.0, 0.3), metadata={"check": span(0, 1)})
    yellow: Range = field(default=(0.0, 0.4), metadata={"check": span(0, 1)})
    stain: Range = field(default=(0.0, 0.3), metadata={"check": span(0, 1)})
    """Range of the share of blue that yellowed paper swallows."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(
            ops.Fade(
                cyan=uniform(rng, self.cyan),
                magenta=uniform(rng, self.magenta),
                yellow=uniform(rng, self.yellow),
                stain=uniform(rng, self.stain),
            )
        )


@dataclass(frozen=True, kw_only=True)
class RandomSepia(BaseStep):
    """A toned print. Source: W3C, Filter Effects Module Level 1, `sepia()`."""

    name: ClassVar[str] = "sepia"
    amount: Range = field(default=(0.5, 1.0), metadata={"check": span(0, 1)})
    """Range of the toned image's share."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(ops.Sepia(amount=uniform(rng, self.amount)))


@dataclass(frozen=True, kw_only=True)
class RandomFilmGrain(BaseStep):
    """Grain of film. Source: Newson, Delon and Galerne (Computer Graphics Forum 2017)."""

    name: ClassVar[str] = "film_grain"
    level: Range = field(default=(4.0, 20.0), metadata={"check": span(0, 255)})
    """Range of the standard deviation in the middle tones, 0..255 scale."""
    size: Range = field(default=(0.4, 1.2), metadata={"check": span(0, 20)})
    """Range of a grain's standard deviation, in pixels of the image as it is then."""
    colour: Range = field(default=(0.0, 0.7), metadata={"check": span(0, 1)})
    """Range of how much the three layers' grain differs; 0 is black-and-white film."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(
            ops.FilmGrain(
                level=uniform(rng, self.level), size=uniform(rng, self.size), colour=uniform(rng, self.colour)
            )
        )


@dataclass(frozen=True, kw_only=True)
class RandomHalftone(BaseStep):
    """Printed in dots, in a newspaper or a magazine, and scanned. Sources: Ulichney (1987); ISO 12647-2."""

    name: ClassVar[str] = "halftone"
    period: Range = field(default=(2.5, 6.0), metadata={"check": span(1.5, 100)})
    """Range of the distance of the dots, in pixels of the image as it is then."""
    angle: Range = field(default=(-0.1, 0.1), metadata={"check": span(-7, 7)})
    """Range of the turn of all screens, radians."""
    inks: dict[Inks, float] = field(
        default_factory=lambda: {"cmyk": 1.0, "black": 1.0}, metadata={"check": numbers_of(("cmyk", "black"))}
    )
    """Inks with weights: cmyk, black."""
    gain: Range = field(default=(0.0, 0.12), metadata={"check": span(0, 0.25)})
    """Range of how much the ink spreads, share of the tone in the middle tones; newspapers: 0.2."""
    blur: Range = field(default=(0.4, 1.2), metadata={"check": span(0, 20)})
    """Range of the scanner's blur, standard deviation in pixels."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(
            ops.Halftone(
                period=uniform(rng, self.period),
                angle=uniform(rng, self.angle),
                inks=draw_weighted(rng, self.inks),
                gain=uniform(rng, self.gain),
                blur=uniform(rng, self.blur),
            )
        )
