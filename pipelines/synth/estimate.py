"""What a data set will cost, from a few samples that are made and thrown away."""

from __future__ import annotations

import time
from dataclasses import dataclass

from degrade_kit.errors import ImageError
from degrade_kit.hq import prepare
from degrade_kit.pipelines.executor import limited_threads
from degrade_kit.pipelines.makers.recipe_maker import Prepared, RecipeMaker, VariantMaker
from degrade_kit.pipelines.synth.plan import Plan
from degrade_kit.pipelines.text import human_bytes, human_time


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What one sample costs, from a few that were made."""

    seconds: float
    bytes: float
    usable: int
    """How many of the inputs tried could be used."""


def estimate(plan: Plan) -> Estimate:
    """Make a few samples, evenly spread, and keep nothing of them."""
    count = len(plan.sources.names)
    maker: VariantMaker = RecipeMaker(plan.config, plan.lq_extension)
    tries = 8
    if plan.config.mode != "onthefly":
        from degrade_kit.pipelines.makers.flipnet_maker import FlipNetMaker, load_degrader

        maker, tries = FlipNetMaker(plan.config, load_degrader(plan.config.flipnet)), 2
    size = usable = 0
    start = time.perf_counter()
    with limited_threads(1):
        for index in sorted({i * (count - 1) // (tries - 1) for i in range(tries)}):
            try:
                hq = prepare(plan.sources.read(index), plan.config.image)
            except ImageError:
                continue
            usable += 1
            size += len(hq.data) + 4096
            face = Prepared(plan.sources.names[index], hq.pixels)
            size += sum(len(variant.data) + 1024 for variant in next(maker.variants([face])))
    divisor = max(usable, 1)
    return Estimate(seconds=(time.perf_counter() - start) / divisor, bytes=size / divisor, usable=usable)


def describe_plan(plan: Plan, sample: Estimate, out: str, workers: int) -> str:
    """Say in lines what a run would do, estimated from a few samples."""
    count, config = len(plan.sources.names), plan.config
    lines = [
        f"{count:,} images in {config.hq} ({len(plan.sources.skipped):,} more cannot be read)",
        f"{config.maker}; {config.variants} variants, seed {config.seed}",
    ]
    if config.flipnet is not None:
        prompts = config.flipnet.prompts or (("", 1.0),)
        total = sum(weight for _, weight in prompts)
        shown = ", ".join(f"{prompt or 'null'} ({weight / total:.0%})" for prompt, weight in prompts[:8])
        more = f" and {len(prompts) - 8} more" if len(prompts) > 8 else ""
        lines.append(f"prompts: {shown}{more}")
    lines += [
        f"HQ as .{config.image.format} at {config.image.size or 'their own'} pixels, LQ as .{plan.lq_extension}",
        f"{plan.num_shards:,} shards of {config.samples_per_shard:,} samples in {out}",
    ]
    if not sample.usable:
        return "\n".join([*lines, "none of the images tried can be used"])
    processes = max(workers, 1)
    lines.append(
        f"about {human_bytes(sample.bytes * count)} and {human_time(sample.seconds * count / processes)} with "
        f"{processes} process{'es' * (processes > 1)}, from {sample.usable} images tried "
        f"({sample.seconds * 1e3:.0f} ms each)"
    )
    return "\n".join([*lines, "dry run: nothing was written"])
