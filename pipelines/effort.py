"""How long a job takes, and so where it runs: in this process, or on Ray where the work is longer than Ray's own start.

Each job makes an `Effort` of what is left to do, from some samples that it times or from the sizes of its data;
`resolve_workers` decides, for all of them alike.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from degrade_kit.degradation import make_lq
from degrade_kit.errors import ImageError
from degrade_kit.image import Pixels
from degrade_kit.network_ops import NetworkCall
from degrade_kit.pipelines.executor import ExecutorConfig, default_workers, limited_threads
from degrade_kit.pipelines.text import human_time
from degrade_kit.recipe import Recipe
from degrade_kit.seeding import generator
from degrade_kit.wording import counted_noun, human_bytes

RAY_SECONDS: Final = 10.0
"""Start and end of a local Ray: 5 s on an idle machine, 15 s on a busy one."""
MODEL_SECONDS: Final = 10.0
"""What a process needs before its first image by a diffusion model: imports of torch and diffusers, and the weights."""
MODEL_SECONDS_PER_STEP: Final = 0.5
"""Known cost of a solver step on a million pixels, by the small FlipNet on one core; a large one takes more there, and
less on a GPU. For deciding alone, where a measurement would have to load the model."""
NETWORK_SECONDS: Final = 1.0
"""Known cost of one image in a network that measures it, such as LPIPS or Inception, on one core."""
DECODE_SECONDS: Final = 0.03
"""Known cost of reading a million pixels from PNG or JPEG on one core."""
ENCODE_SECONDS: Final = 0.06
"""Known cost of writing a million pixels as PNG on one core."""
DEGRADE_SECONDS: Final = 0.2
"""Known cost of a published recipe on a million pixels on one core."""

NOTHING_DONE: Final = "dry run: nothing was written"

_Sample = TypeVar("_Sample")


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """What is left of a job, as far as samples or sizes tell."""

    seconds: float
    """Seconds of work in one process; the setup is not in it."""
    tasks: int
    """Parts that workers share: more workers than these have nothing to do."""
    setup: float = 0.0
    """Seconds before a process can begin, such as for loading a model."""
    starts: int = 1
    """Times that the job starts Ray."""

    def wall_seconds(self, workers: int, *, ray_seconds: float = RAY_SECONDS) -> float:
        """Seconds until the job is done.

        Args:
            workers: Worker processes; 0 is this process.
            ray_seconds: Seconds that Ray takes to start and end; 0 for a cluster, which runs already.
        """
        if not self.tasks:
            return 0.0
        if not workers:
            return self.setup + self.seconds
        return self.starts * (ray_seconds + self.setup) + self.seconds / min(workers, self.tasks)


def megapixels(side: int) -> float:
    """Millions of pixels in a square image; where each image has a side of its own, which 0 stands for, those of 512.

    >>> megapixels(1000), megapixels(0) == megapixels(512)
    (1.0, True)
    """
    return (side or 512) ** 2 / 1e6


def model_effort(images: float, *, side: int, steps: int, tasks: int) -> Effort:
    """Say what a diffusion model takes for some images, by its known cost.

    Args:
        images: Number of the images.
        side: In pixels, as for `megapixels`.
        steps: Solver steps of each.
        tasks: Parts that the work falls into.
    """
    seconds = MODEL_SECONDS_PER_STEP * megapixels(side) * steps * images
    return Effort(seconds=seconds, tasks=tasks, setup=MODEL_SECONDS)


def known_seconds(call: NetworkCall) -> float:
    """Seconds that one call of a FlipNet takes, by its known cost."""
    height, width = call.pixels.shape[:2]
    return MODEL_SECONDS_PER_STEP * call.op.num_steps * height * width / 1e6


class EchoNetwork:
    """In place of a network, to know what it would cost: gives every image back, and adds up the known seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.call: NetworkCall | None = None
        """The last one."""

    def __call__(self, calls: Sequence[NetworkCall]) -> list[Pixels]:
        """Answer calls as a network does; see `degrade_kit.network_ops.Network`."""
        self.seconds += sum(map(known_seconds, calls))
        self.call = calls[-1]
        return [call.pixels for call in calls]


def network_seconds(recipe: Recipe, face: Pixels, draws: int) -> float:
    """The known cost of what FlipNets do for an image of a recipe, in the mean of some draws; 0 where it has none."""
    if not recipe.models:
        return 0.0
    echo = EchoNetwork()
    for number in range(draws):
        make_lq(recipe.draw(generator(0, "effort", number)), face, echo)
    return echo.seconds / draws


def resolve_workers(config: ExecutorConfig, effort: Callable[[], Effort]) -> ExecutorConfig:
    """Decide how many workers a job has, where that was left open: none if they would not be sooner done.

    Args:
        config: Where to run; a number of workers and the address of a cluster are obeyed.
        effort: Finds out what is left to do; called only where it decides.
    """
    if config.workers is not None or config.ray_address is not None:
        return config
    most = default_workers()
    if not most or config.gpus:  # GPUs are given to workers; without them this process would take the first alone
        return dataclasses.replace(config, workers=most)
    found = effort()
    workers = min(most, found.tasks)
    sooner = workers > 1 and found.wall_seconds(workers) < found.wall_seconds(0)
    return dataclasses.replace(config, workers=workers if sooner else 0)


def seconds_each(samples: Sequence[_Sample], work: Callable[[_Sample], object], *, most: float = 2.0) -> float:
    """Mean seconds that `work` takes on one sample, with the threads of a worker.

    The first sample is not counted where there is another: it pays for imports and cold files. Samples that cannot be
    used count as the others do, since a run meets such too.

    Args:
        samples: Some, spread over the job.
        work: Does with a sample what the job does, and keeps nothing.
        most: Seconds after which no other sample is taken.
    """
    taken: list[float] = []
    with limited_threads(1):
        for sample in samples:
            start = time.perf_counter()
            with contextlib.suppress(ImageError):
                work(sample)
            taken.append(time.perf_counter() - start)
            if sum(taken) > most:
                break
    counted = taken[1:] or taken
    return sum(counted) / len(counted) if counted else 0.0


def spread(count: int, most: int) -> list[int]:
    """At most `most` whole numbers below `count`, evenly spread, the first and the last among them.

    >>> spread(9, 3), spread(2, 8), spread(5, 1), spread(0, 3)
    ([0, 4, 8], [0, 1], [0], [])
    """
    if count <= most:
        return list(range(count))
    return [i * (count - 1) // max(most - 1, 1) for i in range(most)]


def describe_effort(config: ExecutorConfig, effort: Effort) -> str:
    """Say where a job runs, and for how long.

    Args:
        config: As `resolve_workers` gave it.
        effort: As that function was given it.

    >>> from degrade_kit.pipelines.executor import ExecutorConfig
    >>> describe_effort(ExecutorConfig(workers=0), Effort(seconds=3, tasks=8))
    'about 3 s in this process'
    >>> describe_effort(ExecutorConfig(workers=4), Effort(seconds=80, tasks=8))
    "about 30 s on 4 Ray workers, 10 s of it Ray's start"
    """
    if config.ray_address is not None:
        known = f"{config.workers} workers of " if config.workers else ""
        seconds = effort.wall_seconds(config.workers or 1, ray_seconds=0)
        share = "" if config.workers else ", for one worker,"
        return f"about {human_time(seconds)}{share} on {known}the Ray cluster at {config.ray_address}"
    assert config.workers is not None, "resolve_workers has given a number"
    if not config.workers:
        return f"about {human_time(effort.wall_seconds(0))} in this process"
    workers = min(config.workers, max(effort.tasks, 1))
    ray = human_time(effort.starts * RAY_SECONDS)
    return (
        f"about {human_time(effort.wall_seconds(workers))} on {counted_noun(workers, 'Ray worker')}, {ray} of it Ray's "
        "start"
    )


def estimate_lines(executor: ExecutorConfig, effort: Effort, size: float | None = None) -> list[str]:
    """Say what a plan ends with: where the job would run, for how long, and that nothing was written.

    Args:
        executor: What is asked for.
        effort: What is left to do.
        size: Bytes that will be written, where that is worth saying.
    """
    where = describe_effort(resolve_workers(executor, lambda: effort), effort)
    return [where if size is None else f"about {human_bytes(size)}; {where}", NOTHING_DONE]
