"""What a data set will cost, from a few samples that are made and thrown away."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from degrade_kit.errors import ImageError
from degrade_kit.hq import prepare
from degrade_kit.image import Pixels, encode_png
from degrade_kit.pipelines.effort import (
    NOTHING_DONE,
    Effort,
    estimate_lines,
    model_effort,
    resolve_workers,
    seconds_each,
    spread,
)
from degrade_kit.pipelines.executor import ExecutorConfig, limited_threads
from degrade_kit.pipelines.makers.flipnet_settings import FlipNetSettings
from degrade_kit.pipelines.makers.recipe_maker import Prepared, RecipeMaker
from degrade_kit.pipelines.synth.plan import Plan
from degrade_kit.pipelines.text import counted
from degrade_kit.wording import counted_noun

_TRIES = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What one sample costs, from a few that were made."""

    seconds: float
    bytes: float
    usable: int
    """How many of the inputs tried could be used."""
    failures: Mapping[str, int]
    """The others, by what is wrong with them."""
    setup: float = 0.0
    """Seconds before a process can make its first."""


def estimate(plan: Plan) -> Estimate:
    """Make a few samples, evenly spread, and keep nothing of them.

    Of a FlipNet only two steps on one image are run, whatever the solver has, and the rest is reckoned from them.
    """
    hq_sizes: list[int] = []
    lq_sizes: list[int] = []
    maker = RecipeMaker(plan.config, plan.lq_extension)
    faces: list[Pixels] = []
    failures = Counter[str]()

    def make(index: int) -> None:
        try:
            hq = prepare(plan.sources.read(index), plan.config.image)
        except ImageError as error:
            failures[error.reason] += 1
            raise
        faces[:] = [hq.pixels]
        hq_sizes.append(len(hq.data) + 4096)
        if plan.config.mode != "flipnet":
            made = next(maker.variants([Prepared(plan.sources.names[index], hq.pixels)]))
            lq_sizes.append(sum(len(variant.data) + 1024 for variant in made))

    seconds = seconds_each(spread(len(plan.sources.names), _TRIES), make)
    hq_size, lq_size = (sum(sizes) / max(len(sizes), 1) for sizes in (hq_sizes, lq_sizes))
    found = Estimate(seconds=seconds, bytes=hq_size + lq_size, usable=len(hq_sizes), failures=failures)
    settings, share = plan.config.flipnet, plan.config.flipnet_share
    if settings is None or not share or not faces:
        return found
    setup, seconds_by_model = _time_model(settings, faces[0])
    by_model = plan.config.variants * share
    return dataclasses.replace(
        found,
        seconds=seconds * (1 - share) + by_model * seconds_by_model,
        # What a model makes is stored whole, without loss.
        bytes=hq_size + lq_size * (1 - share) + by_model * len(encode_png(faces[0])),
        setup=setup,
    )


def synth_effort(plan: Plan, samples: int, shards: int, found: Estimate | None = None) -> Effort:
    """Say what it takes to make some shards.

    Where a FlipNet makes images, its known cost is taken: to measure it, this process would have to load it first.

    Args:
        plan: Of the data set.
        samples: Samples in those shards.
        shards: Number of the shards.
        found: From `estimate`, if it was asked already.
    """
    if found is not None or plan.config.flipnet is None:
        found = found or estimate(plan)
        return Effort(seconds=found.seconds * samples, tasks=shards, setup=found.setup)
    return model_effort(
        samples * plan.config.variants * plan.config.flipnet_share,
        side=plan.config.image.size,
        steps=plan.config.flipnet.sampling.num_steps,
        tasks=shards,
    )


def _time_model(settings: FlipNetSettings, face: Pixels) -> tuple[float, float]:
    """Seconds to load a FlipNet, and for one image by it, from runs of one step and of two."""
    start = time.perf_counter()
    import torch

    from degrade_kit.flipnet.degrader import flipnet_record
    from degrade_kit.pipelines.makers.flipnet_maker import load_degrader, make_images

    torch.set_num_threads(1)  # as a worker has it
    degrader = load_degrader(settings, download=settings.download)
    setup = time.perf_counter() - start
    prompt = settings.prompts[0][0] if settings.prompts else ""
    taken: list[float] = []
    with limited_threads(1):
        for steps in (1, 2):
            sampling = dataclasses.replace(settings.sampling, num_steps=steps)
            start = time.perf_counter()
            make_images(degrader, face, [flipnet_record(settings.digest, prompt, 0, sampling)], 1)
            taken.append(time.perf_counter() - start)
    step = max(taken[1] - taken[0], 0.1 * taken[1])  # the first run pays for what is made once, too
    return setup, taken[1] + step * (settings.sampling.num_steps - 2)


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
        f"{config.maker}; {counted_noun(config.variants, 'variant')}, seed {config.seed}",
    ]
    if config.flipnet is not None:
        prompts = config.flipnet.prompts or (("", 1.0),)
        total = sum(weight for _, weight in prompts)
        shown = ", ".join(f"{prompt or 'null'} ({weight / total:.0%})" for prompt, weight in prompts[:8])
        more = f" and {len(prompts) - 8} more" if len(prompts) > 8 else ""
        lines.append(f"prompts: {shown}{more}")
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
    decided = resolve_workers(
        executor, lambda: measured if config.flipnet is None else synth_effort(plan, samples, len(todo))
    )
    return (*lines, *estimate_lines(decided, measured, sample.bytes * samples))
