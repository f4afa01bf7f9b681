"""Operations of prints and film: what age and use do to a photograph, the grain of its emulsion, and the press."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import cv2
import numpy as np
import numpy.typing as npt

from degrade_kit.canvas import Canvas
from degrade_kit.linear import Planes
from degrade_kit.noise import normals
from degrade_kit.op_tools import Seat, luma
from degrade_kit.strokes import Floats, Strokes, draw_strokes, grid, walks

Inks = Literal["cmyk", "black"]
_Floats = npt.NDArray[np.floating]

_POINTS = 24
"""Points of a scratch's path."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scratches:
    """Lines where something has scraped over the print or the film.

    A scratch through all layers shows the white paper, one that fills with dirt is dark, and one that took the topmost
    layers of a colour film away is blue or cyan. It starts, ends, and pales along its way. Sources: Kokaram, "Motion
    Picture Restoration" (1998), chapter 9, for straight scratches of film; Bruni, Ferrara and Vitulano, "Color
    scratches", for their colours; Wan et al., "Bringing old photos back to life" (CVPR 2020), which lays scratches of
    scans over photographs.
    """

    name: ClassVar[str] = "scratches"
    count: int
    length: float
    """Mean length, share of the image's shorter side."""
    width: float
    """Width of the widest, share of the shorter side."""
    opacity: float
    """How much the deepest hide, in [0, 1]."""
    angle: float = 0.0
    """Mean turn from upright, radians, counter-clockwise."""
    disorder: float = 1.0
    """How far the turns spread: 0 for a film's parallel ones, 1 for all directions."""
    dark: float = 0.3
    """Share of the scratches that are dark."""
    coloured: float = 0.0
    """Share of the others that show a layer of colour film."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Scratch the picture on the canvas."""
        planes = canvas.take_planes()
        _lay_over(planes, self.layers(canvas.height, canvas.width, seat))
        canvas.set_planes(planes)

    def cover(self, height: int, width: int, seat: Seat) -> Planes:
        """Draw how much the scratches hide, shape (height, width), in [0, 1]."""
        return _together(self.layers(height, width, seat), height, width)

    def layers(self, height: int, width: int, seat: Seat) -> list[_Layer]:
        """Draw the scratches of each colour: the colour in levels, and how much it hides."""
        rng = np.random.Generator(seat.bits())
        extent = np.array([width, height]) / min(height, width)
        kind, depth, across, bend, turn, drift, long, shown, layer = rng.random((9, self.count, 1))
        angles = self.angle + self.disorder * (math.pi * (turn - 0.5) + walks(rng, self.count, _POINTS, 0.02))
        angles += 0.5 * (bend - 0.5) * self.disorder * np.linspace(0, 1, _POINTS)
        lengths = self.length * (0.3 + 1.4 * long) / _POINTS
        steps = lengths[..., None] * np.stack([np.sin(angles), np.cos(angles)], axis=-1)
        paths = np.cumsum(steps, axis=1) - steps.sum(axis=1, keepdims=True) / 2
        paths += rng.random((self.count, 1, 2)) * extent
        # How deep it goes changes on its way; where it is above the emulsion it is not seen.
        depths = np.clip(0.25 + 0.75 * depth + drift * walks(rng, self.count, _POINTS, 0.3), 0, 1)
        depths *= np.minimum(1, 4 * np.linspace(0, 1, _POINTS) * np.linspace(1, 0, _POINTS))
        colours = np.where(kind < self.dark, 0, np.where(shown < self.coloured, 2 + (layer < 0.5), 1))[:, 0]
        segments = np.stack([paths[:, :-1], paths[:, 1:]], axis=2)
        widths = np.broadcast_to(self.width * (0.25 + 0.75 * across**3), depths.shape)[:, :-1]
        values = self.opacity * depths[:, :-1]
        return _layers(_COLOURS, colours, [(segments, widths, values)], height, width)


_Colour = tuple[float, float, float]
_Layer = tuple[_Colour, Planes]
_DIRT: _Colour = (38.0, 33.0, 29.0)
_PAPER: _Colour = (238.0, 234.0, 224.0)
_COLOURS: tuple[_Colour, ...] = (_DIRT, _PAPER, (70.0, 90.0, 210.0), (90.0, 205.0, 215.0))
"""Dirt, paper; and blue and cyan: what light passes where the yellow layer, then the magenta one too, is gone."""


def _layers(
    colours: Sequence[_Colour],
    chosen: npt.NDArray[np.integer],
    shapes: Sequence[tuple[Floats, Floats, Floats]],
    height: int,
    width: int,
) -> list[_Layer]:
    """Draw shapes by their colours: points, widths and values of each, the first axis of all being that of `chosen`."""
    layers: list[_Layer] = []
    for number, colour in enumerate(colours):
        own = chosen == number
        if own.any():
            parts = [
                Strokes(points[own].reshape(-1, points.shape[-2], 2), widths[own].ravel(), values[own].ravel())
                for points, widths, values in shapes
            ]
            layers.append((colour, draw_strokes(parts, height, width, soften=0.0008)))
    return layers


def _lay_over(planes: Planes, layers: list[_Layer]) -> None:
    """Hide an image behind layers, one on the other, in its own memory."""
    for colour, cover in layers:
        planes *= 1 - cover
        for plane, level in zip(planes, colour, strict=True):
            plane += np.float32(level) * cover


def _together(layers: list[_Layer], height: int, width: int) -> Planes:
    """What several layers, one on the other, hide."""
    left = np.ones((height, width), np.float32)
    for _, cover in layers:
        left *= 1 - cover
    return 1 - left


@dataclass(frozen=True, kw_only=True, slots=True)
class Creases:
    """Folds across a print: the emulsion is broken along them, and the paper's bend catches the light beside them.

    Source: Wan et al., "Bringing old photos back to life" (CVPR 2020), names creases among the structured defects; the
    shading is that of a bent matt surface under light from one side (Lambert).
    """

    name: ClassVar[str] = "creases"
    count: int
    depth: float
    """How much of the emulsion is broken, and how strong the shading is, in [0, 1]."""
    width: float
    """Width of the broken line, share of the image's shorter side."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Fold the picture on the canvas; clips to [0, 255]."""
        planes = canvas.take_planes()
        broken, shade = self.parts(canvas.height, canvas.width, seat)
        planes *= 1 + np.float32(0.45 * self.depth) * shade
        _lay_over(planes, [(_PAPER, broken)])
        canvas.set_planes(np.clip(planes, 0, 255, out=planes))

    def cover(self, height: int, width: int, seat: Seat) -> Planes:
        """Draw how much the folds change, shape (height, width), in [0, 1]."""
        broken, shade = self.parts(height, width, seat)
        return np.maximum(broken, np.float32(0.45 * self.depth) * np.abs(shade))

    def parts(self, height: int, width: int, seat: Seat) -> tuple[Planes, Planes]:
        """Draw where the emulsion is gone, in [0, 1], and how light falls on the bend, in [-1, 1]."""
        rng = np.random.Generator(seat.bits())
        x, y = grid(height, width)
        extent = np.array([width, height]) / min(height, width)
        shade = np.zeros((height, width), np.float32)
        strokes: list[Strokes] = []
        for _ in range(self.count):
            through = (0.15 + 0.7 * rng.random(2)) * extent
            angle = math.pi * rng.random()
            along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
            places = np.linspace(-1.6, 1.6, 161)
            jag = walks(rng, 1, places.size, 0.002)[0] + 0.0012 * (rng.random(places.size) - 0.5)
            jag -= jag[places.size // 2]
            path = through + places[:, None] * along + jag[:, None] * across
            gone = np.clip(self.depth * 1.6 * rng.random(places.size) + 0.5 * self.depth - 0.2, 0, 1)
            widths = self.width * (0.4 + 0.6 * rng.random(places.size))
            pieces = np.stack([path[:-1], path[1:]], axis=1)
            seen = (np.abs(pieces).max(axis=(1, 2)) < 3) & (gone[:-1] > 0.02)
            strokes.append(Strokes(pieces[seen], widths[:-1][seen], gone[:-1][seen]))
            distance = (x - np.float32(through[0])) * np.float32(across[0])
            distance += (y - np.float32(through[1])) * np.float32(across[1])
            distance -= np.asarray(np.interp(_along(x, y, through, along), places, jag), np.float32)
            lit = 1.0 if rng.random() < 0.5 else -1.0
            reach = self.width * (3 + 4 * rng.random())
            shade += (
                np.float32(lit)
                * np.tanh(distance / np.float32(self.width))
                * np.exp(-np.abs(distance) / np.float32(reach))
            )
        return draw_strokes(strokes, height, width, soften=0.0005), np.clip(shade, -1, 1)


def _along(x: Planes, y: Planes, through: _Floats, along: _Floats) -> _Floats:
    """How far along a line each pixel lies."""
    return (x - through[0]) * along[0] + (y - through[1]) * along[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dust:
    """Specks and hairs on the print, the negative or the scanner's glass.

    On a negative, or where the emulsion came off, they are white; on the print dark. Most are small. Source: Kokaram,
    "Motion Picture Restoration" (1998), blotches ("dirt and sparkle"); Wan et al. (CVPR 2020), dust spots.
    """

    name: ClassVar[str] = "dust"
    specks: int
    hairs: int
    size: float
    """Radius of the largest speck, share of the image's shorter side; hairs are some twenty times as long."""
    opacity: float
    """How much the densest hide, in [0, 1]."""
    dark: float = 0.4
    """Share that is dark."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Strew dust over the canvas."""
        planes = canvas.take_planes()
        _lay_over(planes, self.layers(canvas.height, canvas.width, seat))
        canvas.set_planes(planes)

    def cover(self, height: int, width: int, seat: Seat) -> Planes:
        """Draw how much the dust hides, shape (height, width), in [0, 1]."""
        return _together(self.layers(height, width, seat), height, width)

    def layers(self, height: int, width: int, seat: Seat) -> list[_Layer]:
        """Draw the dust of each colour: the colour in levels, and how much it hides."""
        rng = np.random.Generator(seat.bits())
        extent = np.array([width, height]) / min(height, width)
        size, dense, turn = rng.random((3, self.specks, 1))
        # Most are small: the fifth power of a uniform number.
        radii = self.size * (0.12 + 0.88 * size**5) * (0.45 + 0.75 * rng.random((self.specks, 9)))
        angles = np.linspace(0, 2 * math.pi, 9, endpoint=False) + turn
        outlines = rng.random((self.specks, 1, 2)) * extent + _polar(radii, angles)
        specks = (outlines[:, None], np.zeros((self.specks, 1)), self.opacity * (0.5 + 0.5 * dense))
        long, curl, turn = rng.random((3, self.hairs, 1))
        angles = 2 * math.pi * turn + 5 * (curl - 0.5) * np.linspace(0, 1, _POINTS)
        angles += walks(rng, self.hairs, _POINTS, 0.12)
        steps = _polar(np.broadcast_to(self.size * (12 + 25 * long) / _POINTS, angles.shape), angles)
        paths = rng.random((self.hairs, 1, 2)) * extent + np.cumsum(steps, axis=1)
        thin = np.full((self.hairs, 1), min(0.2 * self.size, 0.004))
        hairs = (paths[:, None], thin, np.full((self.hairs, 1), 0.85 * self.opacity))
        layers: list[_Layer] = []
        for shapes, count in ((specks, self.specks), (hairs, self.hairs)):
            bright = (rng.random(count) >= self.dark).astype(int)
            layers += _layers((_DIRT, _PAPER), bright, [shapes], height, width)
        return layers


def _polar(radii: Floats, angles: Floats) -> Floats:
    """Vectors of these lengths and directions, one more axis."""
    return radii[..., None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fade:
    """Dyes that have bleached, and paper that has yellowed.

    A dye's density falls by a share that is the same everywhere, so blacks turn brown or red first; most prints lose
    cyan. Density is a logarithm of light, so the share is an exponent. Sources: Gschwind and Frey, "Electronic imaging,
    a tool for the reconstruction of faded color photographs" (1994), for the linear loss of densities; Trumpy et al.,
    on faded film, for the loss of cyan that leaves a pinkish cast.
    """

    name: ClassVar[str] = "fade"
    cyan: float
    """Share of the cyan dye that is lost, in [0, 1]."""
    magenta: float
    yellow: float
    stain: float = 0.0
    """How much the paper has yellowed, in [0, 1]: the share of blue that it swallows."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Let the picture fade; clips to [0, 255]."""
        del seat
        planes = canvas.take_planes()
        planes *= np.float32(1 / 255)
        np.clip(planes, 0, 1, out=planes)
        stains = (1 - 0.05 * self.stain, 1 - 0.3 * self.stain, 1 - self.stain)
        for plane, loss, stain in zip(planes, (self.cyan, self.magenta, self.yellow), stains, strict=True):
            # A print's black is not without light: it reflects a hundredth of it.
            plane *= np.float32(1 - _PRINT_BLACK)
            plane += np.float32(_PRINT_BLACK)
            cv2.pow(plane, 1 - loss, dst=plane)
            plane -= np.float32(_PRINT_BLACK)
            plane *= np.float32(255 * stain / (1 - _PRINT_BLACK))
        canvas.set_planes(np.clip(planes, 0, 255, out=planes))


_PRINT_BLACK = 10 ** (-2 / 2.2)
"""Value of a print's deepest black, of density 2, at a gamma of 2.2."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sepia:
    """The browns of a toned print, where silver has become sulphide.

    Source: W3C, Filter Effects Module Level 1, `sepia()`: one matrix, blended with the image.
    """

    name: ClassVar[str] = "sepia"
    amount: float
    """Share of the toned image, in [0, 1]."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Tone the canvas; clips to [0, 255]."""
        del seat
        planes = canvas.planes()
        matrix = (self.amount * _SEPIA + (1 - self.amount) * np.eye(3)).astype(np.float32)
        toned = (matrix @ planes.reshape(3, -1)).reshape(planes.shape)
        canvas.set_planes(np.clip(toned, 0, 255, out=toned))


_SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])


@dataclass(frozen=True, kw_only=True, slots=True)
class FilmGrain:
    """The grain of an emulsion: silver, or clouds of dye, that covers more or less of each spot by chance.

    A share u of the area that grains cover has a deviation in proportion to the root of u (1 - u), so the grain is
    strongest in middle tones; it is as coarse as the grains. Source: Newson, Delon and Galerne, "A stochastic film
    grain model for resolution-independent rendering" (Computer Graphics Forum 2017), its Boolean model, whose field is
    taken as normal: a pixel holds many grains.
    """

    name: ClassVar[str] = "film_grain"
    level: float
    """Standard deviation in the middle tones, 0..255 scale."""
    size: float
    """Standard deviation of a grain's shape, in pixels."""
    colour: float = 0.0
    """How much the three layers' grain differs: 0 for black-and-white film, 1 for layers of their own."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Add the grain to the canvas; clips to [0, 255]."""
        planes = canvas.take_planes()
        np.clip(planes, 0, 255, out=planes)
        share = planes * np.float32(1 / 255)
        share *= 1 - share
        amplitude = np.sqrt(share, out=share)
        amplitude *= np.float32(2 * self.level)
        planes += amplitude * self.field(canvas.height, canvas.width, seat)
        canvas.set_planes(np.clip(planes, 0, 255, out=planes))

    def field(self, height: int, width: int, seat: Seat) -> Planes:
        """Draw the grain, shape (1 or 3, height, width), of standard deviation 1."""
        fields = normals((4 if self.colour else 1, height, width), seat.bits())
        if self.size > 0.2:
            taps = np.asarray(cv2.getGaussianKernel(2 * math.ceil(3 * self.size) + 1, self.size), np.float64)
            # A blur of white noise scales its deviation by the root of the sum of its squared weights: undone here.
            taps /= math.sqrt(float((taps**2).sum()))
            fields = np.stack([np.asarray(cv2.sepFilter2D(one, -1, taps, taps), np.float32) for one in fields])
        if not self.colour:
            return fields
        own, common = np.float32(self.colour), np.float32(math.sqrt(1 - self.colour**2))
        return np.asarray(own * fields[1:] + common * fields[:1], np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Halftone:
    """Printed in dots whose size follows the tone, by one ink or by four whose screens are turned against each other.

    Sources: Ulichney, "Digital Halftoning" (1987), clustered dots; Adobe, PostScript Language Reference, for the spot
    function of two cosines; ISO 12647-2 for screens turned by 15, 75, 0 and 45 degrees; Yule, "Principles of Color
    Reproduction" (1967), for the masking equations by which the inks' tones follow from colours.
    """

    name: ClassVar[str] = "halftone"
    period: float
    """Distance of the dots, in pixels."""
    angle: float = 0.0
    """Turn of all screens, radians, counter-clockwise."""
    inks: Inks = "cmyk"
    gain: float = 0.1
    """How much the ink spreads, share of the tone in the middle tones."""
    blur: float = 0.6
    """Standard deviation of the scanner's blur, pixels."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Print the canvas and scan it again."""
        del seat
        planes = canvas.take_planes()
        planes *= np.float32(1 / 255)
        np.clip(planes, 0, 1, out=planes)
        out = np.empty_like(planes)
        for plane, level in zip(out, _WHITE, strict=True):
            plane[...] = np.float32(255 * level)
        for ink, tone in self._separations(planes):
            tone += np.float32(4 * self.gain) * tone * (1 - tone)
            covered = self.dots(tone, ink)
            for plane, level in zip(out, _INKS[ink], strict=True):
                plane *= 1 - np.float32(1 - level) * covered
        if self.blur > 0:
            for plane in out:
                cv2.GaussianBlur(plane, (0, 0), max(self.blur, 0.05), dst=plane)
        canvas.set_planes(out)

    def _separations(self, planes: Planes) -> list[tuple[str, Planes]]:
        if self.inks == "black":
            return [("black", 1 - luma(planes))]
        # Each ink absorbs some of what is another's, which separations take back.
        colours = ("cyan", "magenta", "yellow")
        absorbed = np.array(
            [[1 - level / white for level, white in zip(_INKS[ink], _WHITE, strict=True)] for ink in colours]
        )
        masking = np.linalg.inv(absorbed.T).astype(np.float32)
        inks = np.clip((masking @ (1 - planes).reshape(3, -1)).reshape(planes.shape), 0, 1)
        # Half of the gray that three inks would make is black's.
        black = inks.min(axis=0) ** 2 * np.float32(0.5)
        inks -= black
        return [*zip(colours, inks, strict=True), ("black", black)]

    def dots(self, tone: Planes, ink: str) -> Planes:
        """Cover of the dots of one ink, shape (height, width), in [0, 1]."""
        height, width = tone.shape
        turn = self.angle + math.radians(_SCREENS[ink])
        unit = 2 * math.pi / self.period
        x = np.arange(width, dtype=np.float32)
        y = np.arange(height, dtype=np.float32)[:, None]
        cos, sin = np.float32(unit * math.cos(turn)), np.float32(unit * math.sin(turn))
        spot = np.cos(cos * x - sin * y) + np.cos(sin * x + cos * y)
        rank = np.asarray(np.interp(spot.ravel(), *_spot_ranks()), np.float32).reshape(tone.shape)
        # The rank's change over one pixel, so that the edges of dots are as soft as the pixels.
        edge = np.float32(min(2.2 / self.period, 1.0))
        covered = ((1 + edge) * tone - edge / 2 - rank) / edge + np.float32(0.5)
        return np.asarray(np.clip(covered, 0, 1), np.float32)


@functools.cache
def _spot_ranks() -> tuple[_Floats, _Floats]:
    """Values of the spot function, and the share of a cell in which it is below each of them."""
    wave = np.cos(2 * math.pi * (np.arange(256) + 0.5) / 256)
    values = np.sort((wave + wave[:, None]).ravel())
    ranks = (np.arange(values.size) + 0.5) / values.size
    return values[::64], ranks[::64]


_WHITE = (0.97, 0.96, 0.93)
_INKS = {
    "cyan": (0.0, 0.62, 0.87),
    "magenta": (0.88, 0.0, 0.49),
    "yellow": (1.0, 0.93, 0.0),
    "black": (0.13, 0.12, 0.12),
}
_SCREENS = {"cyan": 15.0, "magenta": 75.0, "yellow": 0.0, "black": 45.0}
"""Degrees."""
