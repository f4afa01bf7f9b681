"""What a data set will cost, from a few samples that are made and thrown away."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from degrade_kit.canvas import Canvas
from degrade_kit.errors import ImageError
from degrade_kit.hq import prepare
from degrade_kit.network_ops import NetworkCall
from degrade_kit.pipelines.effort import (
    MODEL_SECONDS,
    NOTHING_DONE,
    EchoNetwork,
    Effort,
    estimate_lines,
    known_seconds,
    resolve_workers,
    seconds_each,
    spread,
)
from degrade_kit.pipelines.executor import ExecutorConfig, limited_threads
from degrade_kit.pipelines.makers.networks import load_networks
from degrade_kit.pipelines.makers.recipe_maker import Prepared, draw_record, make_variant
from degrade_kit.pipelines.synth.given import given_variants
from degrade_kit.pipelines.synth.plan import Plan
from degrade_kit.pipelines.text import counted
from degrade_kit.wording import counted_noun

_TRIES = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What one sample costs, from a few that were made."""

    seconds: float
    """Seconds of a CPU, and of networks by their known cost, or as `measure_networks` found it."""
    bytes: float
    usable: int
    """How many of the inputs tried could be used."""
    failures: Mapping[str, int]
    """The others, by what is wrong with them."""
    setup: float = 0.0
    """Seconds before a process can make its first."""
    network_seconds: float = 0.0
    """Those of `seconds` that are a network's."""
    call: NetworkCall | None = None
    """One of the calls of a network, if there was any."""


def estimate(plan: Plan) -> Estimate:
    """Make a few samples, evenly spread, and keep nothing of them; networks are not run, their cost is known."""
    hq_sizes: list[int] = []
    lq_sizes: list[int] = []
    config, echo = plan.config, EchoNetwork()
    failures = Counter[str]()

    def make(index: int) -> None:
        try:
            hq = prepare(plan.sources.read(index), config.image)
        except ImageError as error:
            failures[error.reason] += 1
            raise
        full = config.lq_size == "full"
        if plan.given:
            raw = plan.sources.read(index)
            try:
                made = given_variants(plan.given, index, raw, hq, config.image, plan.lq_extension, full=full)
            except ImageError as error:
                failures[error.reason] += 1
                raise
            lq_sizes.extend(len(variant.data) + 1024 for variant in made)
        hq_sizes.append(len(hq.data) + 4096)
        if plan.given:
            return
        face, canvas = Prepared(plan.sources.names[index], hq.pixels, ""), Canvas(pixels=hq.pixels)
        for number in range(config.variants):
            record = draw_record(config, face, number)
            made = make_variant(record, canvas, "", plan.lq_extension, full=full, network=echo)
            lq_sizes.append(len(made.data) + 1024)

    seconds = seconds_each(spread(len(plan.sources.names), _TRIES), make)
    usable = len(hq_sizes)
    by_network = echo.seconds / max(usable, 1)
    return Estimate(
        seconds=seconds + by_network,
        bytes=(sum(hq_sizes) + sum(lq_sizes)) / max(usable, 1),
        usable=usable,
        failures=failures,
        setup=MODEL_SECONDS if config.recipe.models else 0.0,
        network_seconds=by_network,
        call=echo.call,
    )


def measure_networks(plan: Plan, found: Estimate) -> Estimate:
    """Load the networks of a recipe, and run two steps of one, in place of their known cost."""
    if found.call is None:
        return found
    start = time.perf_counter()
    network = load_networks(plan.config.recipe, plan.config.network, threads=1)
    setup = time.perf_counter() - start
    taken: list[float] = []
    with limited_threads(1):
        for steps in (1, 2):
            call = dataclasses.replace(found.call, op=dataclasses.replace(found.call.op, num_steps=steps))
            calls = [call] * network.rows(call)
            start = time.perf_counter()
            network(calls)
            taken.append((time.perf_counter() - start) / len(calls))
    step = max(taken[1] - taken[0], 0.1 * taken[1])  # the first run pays for what is made once, too
    ratio = (taken[1] + step * (found.call.op.num_steps - 2)) / known_seconds(found.call)
    by_network = ratio * found.network_seconds
    seconds = found.seconds - found.network_seconds + by_network
    return dataclasses.replace(found, seconds=seconds, network_seconds=by_network, setup=setup)


def synth_effort(plan: Plan, samples: int, shards: int, found: Estimate | None = None) -> Effort:
    """Say what it takes to make some shards.

    Args:
        plan: Of the data set.
        samples: Samples in those shards.
        shards: Number of the shards.
        found: From `estimate` or `measure_networks`, if they were asked already.
    """
    found = found or estimate(plan)
    return Effort(seconds=found.seconds * samples, tasks=shards, setup=found.setup)


def describe_plan(
    plan: Plan, sample: Estimate, out: str, todo: Sequence[int], executor: ExecutorConfig
) -> tuple[str, ...]:
    """Say in lines what a run would do, estimated from a few samples.

    Args:
        plan: From `make_plan`.
        sample: From `estimate`.
        out: Where the data set goes.
        todo: Numbers of the shards to make.
        executor: Where to run.
    """
    count, config = len(plan.sources.names), plan.config
    lines = [
        f"{count:,} images in {config.hq} ({len(plan.sources.skipped):,} more cannot be read)",
        f"{config.maker}; {counted_noun(config.variants, 'variant')}{'' if config.lq else f', seed {config.seed}'}",
    ]
    if config.recipe.models:
        calls = (
            "none in those tried" if sample.call is None else f"{sample.network_seconds:.2g} s of a sample are theirs"
        )
        lines.append(f"FlipNets: {', '.join(config.recipe.models.values())}; {calls}")
    lines += [
        f"HQ as .{config.image.format} at {config.image.size or 'their own'} pixels, LQ as .{plan.lq_extension}",
        f"{counted_noun(plan.num_shards, 'shard')} of {counted_noun(config.samples_per_shard, 'sample')} in {out}, "
        f"{len(todo):,} of them to make",
    ]
    if not sample.usable:
        return (*lines, f"none of the images tried can be used: {counted(sample.failures)}", NOTHING_DONE)
    lines.append(f"{sample.seconds * 1e3:.0f} ms for an image with its variants, from {sample.usable} tried")
    samples = plan.count(todo)
    measured = synth_effort(plan, samples, len(todo), sample)
    # As the run itself decides, which knows the cost of networks and does not measure it.
    decided = resolve_workers(
        executor, lambda: measured if sample.call is None else synth_effort(plan, samples, len(todo))
    )
    return (*lines, *estimate_lines(decided, measured, sample.bytes * samples))
