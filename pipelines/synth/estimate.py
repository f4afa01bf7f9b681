"""What a data set will cost, from a few samples that are made and thrown away."""

from __future__ import annotations

import time
from dataclasses import dataclass

from degrade_kit.errors import ImageError
from degrade_kit.hq import prepare
from degrade_kit.pipelines.executor import limited_threads
from degrade_kit.pipelines.makers.recipe_maker import Prepared, RecipeMaker, VariantMaker
from degrade_kit.pipelines.synth.plan import Plan


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
