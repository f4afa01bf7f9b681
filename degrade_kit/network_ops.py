"""The operation of a record that a neural network does, and how it meets one: it is handed in, and called in batches.

A record with such an operation falls into segments. `degrade_kit.ops.run_segments` runs what a CPU does, and stops with
a `NetworkCall` wherever a network has to go on; whoever holds the network answers many calls at once, of any records.
Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, Protocol, TypeAlias, TypeVar

from degrade_kit.canvas import Canvas
from degrade_kit.errors import ConfigError
from degrade_kit.image import Pixels
from degrade_kit.op_tools import Seat

DESCRIPTION_LIMIT: Final = 50.0
"""No number of a description of a photograph is larger."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FlipNetImage:
    """The image at the size that it has, degraded by a diffusion model; see `degrade_kit.flipnet.degrader`.

    The model's noise follows from the record's seed and the step's place, as that of every other operation.
    """

    name: ClassVar[str] = "flipnet"
    model: str
    """Digest of the model's folder."""
    prompt: str
    """Empty is the null prompt."""
    negative_prompt: str = ""
    num_steps: int
    solver: Literal["ddim", "dpm++", "lcm"] = "ddim"
    guidance: float = 1.0
    phi: float = 1.0
    later: ClassVar[tuple[str, ...]] = ("description",)
    description: tuple[float, ...] = ()
    """Describes the photograph that the image is degraded like; empty where there is none."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Refuse: a network is needed, which a record does not hold."""
        del canvas, seat
        raise ConfigError(
            f"the FlipNet {self.model} degrades this image: give the network, as `network=Networks(recipe)` or "
            "`network=Degrader.load(FOLDER)`"
        )


@dataclass(frozen=True, slots=True)
class NetworkCall:
    """An image that waits for a network."""

    op: FlipNetImage
    pixels: Pixels
    """uint8, shape (height, width, 3)."""
    seat: Seat
    """Where the noise follows from."""


_T = TypeVar("_T")

Segments: TypeAlias = Generator[NetworkCall, Pixels, _T]
"""Work that stops at every call of a network, to be sent the image that came of it; it ends with its result."""


class Network(Protocol):
    """What answers calls: one FlipNet, or several by their digests."""

    def __call__(self, calls: Sequence[NetworkCall]) -> list[Pixels]:
        """Make the image of each call, of its size; each is a function of its call alone.

        Raises:
            ConfigError: If a call is of a network that is not here.
        """
        ...


def run_together(work: Sequence[Segments[_T]], network: Network | None) -> list[_T]:
    """Run work to its end, all that waits for a network at a time in one call of it.

    Raises:
        ConfigError: If there is no network and one is needed, or it is not the one that is needed.
    """
    results: dict[int, _T] = {}
    waiting = _advance(work, dict.fromkeys(range(len(work))), results)
    while waiting:
        calls = list(waiting.values())
        if network is None:
            calls[0].op.run(Canvas(pixels=calls[0].pixels), calls[0].seat)
        assert network is not None
        waiting = _advance(work, dict(zip(waiting, network(calls), strict=True)), results)
    return [results[number] for number in range(len(work))]


def _advance(
    work: Sequence[Segments[_T]], answers: dict[int, Pixels | None] | dict[int, Pixels], results: dict[int, _T]
) -> dict[int, NetworkCall]:
    """Go on with work that has its answer, None to begin; returns the next calls, and fills in results."""
    waiting: dict[int, NetworkCall] = {}
    for number, answer in answers.items():
        try:
            waiting[number] = next(work[number]) if answer is None else work[number].send(answer)
        except StopIteration as end:
            results[number] = end.value
    return waiting
