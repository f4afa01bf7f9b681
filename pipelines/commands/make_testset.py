"""`degrade-kit make-testset`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from degrade_kit.pipelines.commands.options import (
    echo_licence,
    executor_config,
    executor_options,
    network_options,
    network_settings,
    weights_option,
)
from degrade_kit.pipelines.commands.plan import print_estimate
from degrade_kit.pipelines.commands.progress import ProgressLine
from degrade_kit.pipelines.commands.words import command, not_with, only_with, option, word
from degrade_kit.pipelines.text import counted
from degrade_kit.wording import counted_noun

if TYPE_CHECKING:
    from degrade_kit.pipelines.evaluation.testset import Aligner, OriginalsConfig
    from degrade_kit.pipelines.executor import ExecutorConfig
    from degrade_kit.pipelines.inputs.align import AlignConfig
    from degrade_kit.progress import OnProgress


_SYNTHETIC = only_with("hq")


@command("make-testset", "Make a fixed set of LQ images to judge restorers by")
@word("--hq", "; either this or --real", unset="none")
@word("--real", "; the set is made of them: lq/ alone, as LFW-Test has it", unset="none")
@word("--out", ": a folder for the set", required=True)
@word("--preset", default="flipnet-paper", needs=_SYNTHETIC)
@option("--count", type=click.IntRange(1), default=3000, needs=_SYNTHETIC, help="Pairs to make.")
@word("--seed", ": faces and degradations", default=0, needs=_SYNTHETIC)
@word("--size", type=click.IntRange(16, 4096), default=512)
@word("--flipnet", unset="none", needs=_SYNTHETIC)
@word("--mix", default=0.5, needs=only_with("flipnet"))
@word("--solver-steps", unset="the FlipNet's own", needs=only_with("flipnet"))
@network_options
@option("--align", is_flag=True, needs=only_with("real"), help="Frame the faces of --real as FFHQ is.")
@word("--detector", default="packaged", needs=(only_with("align"), not_with("landmarks")))
@weights_option
@word("--landmarks", ", in place of a detector; see `align`", unset="none", needs=only_with("align"))
@word("--dry-run")
@executor_options
def make_testset_command(
    hq: str | None,
    real: str | None,
    out: Path,
    preset: str,
    count: int,
    seed: int,
    size: int,
    flipnet: str | None,
    mix: float,
    solver_steps: int | None,
    captions: Path | None,
    align: bool,
    detector: str,
    weights: dict[str, Path],
    landmarks: Path | None,
    dry_run: bool,
    workers: int | None,
    ray_address: str | None,
    wait: float,
    **options: Any,  # noqa: ANN401 (those of the network)
) -> None:
    """Make a fixed set of LQ images to judge restorers by.

    \b
    Examples:
      degrade-kit make-testset --hq celeba_hq --out celeba_test --flipnet runs/degrade/model --mix 0.5 --count 3000
      degrade-kit make-testset --real lfw --align --out lfw_test

    Writes OUT/lq, OUT/hq and OUT/records.jsonl. The same faces, options and library versions give the same bytes. A
    stopped run goes on when run again. Exit status 3 if some photographs of --real cannot be used.
    """  # noqa: D301 (click reads the \b itself)
    if (hq is None) == (real is None):
        raise click.UsageError("expected either --hq or --real")
    from degrade_kit.pipelines.evaluation import testset

    executor = executor_config(workers, ray_address, wait)
    if real is not None:
        photographs = testset.OriginalsConfig(
            originals=real,
            align=align,
            detector=detector,
            landmarks=landmarks,
            size=size,
            yunet=weights.get("yunet"),
        )
        if dry_run:
            _print_real_plan(photographs, out, executor)
            return
        with ProgressLine() as progress:
            found = testset.make_real_testset(photographs, out, progress, align=_align(executor))
        click.echo(f"{counted_noun(found.images, 'image')} in {out / 'lq'}, digest {found.digest[:16]}")
        click.echo(f"next: restore them, then degrade-kit evaluate --restored RESULTS --hq FACES --out {out}_eval")
        if found.failures:
            click.echo(f"not usable: {counted(found.failures)}", err=True)
            sys.exit(3)
        return
    from degrade_kit.pipelines.makers.captions import open_captions
    from degrade_kit.pipelines.makers.networks import flipnet_recipe, flipnet_step, licences
    from degrade_kit.presets import resolve_recipe

    assert hq is not None
    recipe = resolve_recipe(preset)
    offshelf = None if flipnet is None else flipnet_recipe(flipnet_step(flipnet, steps=solver_steps))
    for each in (recipe, offshelf):
        for notice in licences(each) if each is not None else ():
            echo_licence(notice)
    config = testset.TestsetConfig(
        hq=hq,
        recipe=recipe,
        count=count,
        seed=seed,
        offshelf=offshelf,
        share=mix,
        size=size,
        network=network_settings(options),
        captions=open_captions(captions, recipe),
    )
    if dry_run:
        sources = testset.check_testset(config, out, executor)
        click.echo(f"{count:,} pairs of {size} pixels from {len(sources):,} faces in {hq}, in {out}/lq and {out}/hq")
        if flipnet is not None:
            click.echo(f"{mix:.0%} of the LQ images by FlipNet {flipnet}, the others by {config.recipe.name}")
        effort, written = testset.testset_effort(config, sources)
        print_estimate(executor, effort, written)
        return
    with ProgressLine() as progress:
        made = testset.make_testset(config, out, executor, progress)
    pairs = counted_noun(made.pairs, "pair")
    click.echo(f"{pairs} in {out}, {made.offshelf:,} of them by the FlipNet, digest {made.digest[:16]}")
    for name, reason in made.unusable[:5]:
        click.echo(f"another face took the place of {name}: {reason}", err=True)
    click.echo(f"next: restore {out / 'lq'}, then degrade-kit evaluate --restored RESULTS --reference {out / 'hq'}")


def _print_real_plan(real: OriginalsConfig, out: Path, executor: ExecutorConfig) -> None:
    from degrade_kit.pipelines.evaluation import testset

    sources = testset.check_real_testset(real, out)
    click.echo(f"{len(sources):,} photographs in {real.originals}, {real.size} pixels, into {out}/lq")
    if real.align:
        from degrade_kit.pipelines.inputs.align import align_effort, plan_alignment

        print_estimate(executor, align_effort(plan_alignment(_align_config(real, out / "lq"))))
    else:
        from degrade_kit.pipelines.executor import ExecutorConfig

        print_estimate(ExecutorConfig(workers=0), *testset.real_effort(real, sources))


def _align_config(real: OriginalsConfig, out: Path) -> AlignConfig:
    """As `align` has it; of several faces in a photograph the central one, as LFW does."""
    from degrade_kit.pipelines.inputs.align import AlignConfig

    return AlignConfig(
        input=real.originals,
        out_dir=out,
        detector=real.detector,
        yunet=real.yunet,
        landmarks=real.landmarks,
        size=real.size,
        face="central",
    )


def _align(executor: ExecutorConfig) -> Aligner:
    """Frame the faces of originals as `align` does."""
    from degrade_kit.pipelines.inputs.align import align_sources

    def align(config: OriginalsConfig, out: Path, progress: OnProgress) -> dict[str, int]:
        return align_sources(_align_config(config, out), executor, progress=progress).failures

    return align
