"""`degrade-kit make-testset`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from degrade_kit.pipelines.commands.options import (
    config_option,
    echo_licence,
    executor_config,
    executor_options,
    quiet_model_loading,
    weights_option,
)
from degrade_kit.pipelines.commands.plan import print_estimate
from degrade_kit.pipelines.commands.progress import ProgressLine
from degrade_kit.pipelines.text import counted
from degrade_kit.wording import counted_noun

if TYPE_CHECKING:
    from degrade_kit.pipelines.evaluation.testset import Aligner, OriginalsConfig
    from degrade_kit.pipelines.executor import ExecutorConfig
    from degrade_kit.pipelines.inputs.align import AlignConfig
    from degrade_kit.progress import OnProgress


@click.command("make-testset")
@click.option("--hq", metavar="PLACE", help="HQ faces, as in `synth`.  [default: none]")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the set.")
@click.option(
    "--preset", default="flipnet-paper", show_default=True, metavar="NAME|FILE.yaml", help="Recipe; see `presets`."
)
@click.option("--count", type=click.IntRange(1), default=3000, show_default=True, help="Pairs.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of faces and all draws.")
@click.option("--size", type=click.IntRange(16, 4096), default=512, show_default=True, help="Side, pixels.")
@click.option("--flipnet", metavar="small|DIR", help="FlipNet that makes a share of the LQ images.  [default: none]")
@click.option(
    "--share", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="The FlipNet's, where there is one."
)
@click.option("--base-model", metavar="DIR", help="In place of the FlipNet's own base model.  [default: its own]")
@click.option("--steps", "num_steps", type=click.IntRange(1, 1000), help="Solver steps.  [default: the model's]")
@click.option(
    "--device", metavar="NAME", help="Of the FlipNet: cuda or cpu.  [default: the first GPU, or else the CPU]"
)
@click.option(
    "--from-originals",
    "originals",
    metavar="PLACE",
    help="Real photographs, in place of --hq: lq/ alone, as LFW-Test has it.  [default: none]",
)
@click.option("--align", is_flag=True, help="Frame the faces of --from-originals as FFHQ is.  [default: off]")
@click.option(
    "--detector",
    default="packaged",
    show_default=True,
    type=click.Choice(["packaged", "yunet"]),
    help="Of --align; see `align`.",
)
@weights_option
@click.option(
    "--landmarks",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE.json",
    help="Five points of each photograph, in place of a detector; see `align`.  [default: none]",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and do nothing.  [default: off]")
@executor_options
@config_option
def make_testset_command(
    hq: str | None,
    out: Path,
    preset: str,
    count: int,
    seed: int,
    size: int,
    flipnet: str | None,
    share: float,
    base_model: str | None,
    num_steps: int | None,
    device: str | None,
    originals: str | None,
    align: bool,
    detector: str,
    weights: dict[str, Path],
    landmarks: Path | None,
    dry_run: bool,
    workers: int | None,
    ray_address: str | None,
) -> None:
    """Make a fixed set of LQ images to judge restorers by.

    \b
    Examples:
      degrade-kit make-testset --hq celeba_hq --out celeba_test --flipnet runs/degrade/model --share 0.5 --count 3000
      degrade-kit make-testset --from-originals lfw --align --out lfw_test

    Writes OUT/lq, OUT/hq and OUT/records.jsonl. The same faces, options and library versions give the same bytes. A
    stopped run goes on when run again. Exit status 3 if some photographs of --from-originals cannot be used.
    """  # noqa: D301 (click reads the \b itself)
    if (hq is None) == (originals is None):
        raise click.UsageError("expected either --hq or --from-originals")
    from degrade_kit.pipelines.evaluation import testset

    executor = executor_config(workers, ray_address)
    if originals is not None:
        real = testset.OriginalsConfig(
            originals=originals,
            align=align,
            detector=detector,
            landmarks=landmarks,
            size=size,
            yunet=weights.get("yunet"),
        )
        if dry_run:
            _print_real_plan(real, out, executor)
            return
        with ProgressLine() as progress:
            found = testset.make_real_testset(real, out, progress, align=_align(executor))
        click.echo(f"{counted_noun(found.images, 'image')} in {out / 'lq'}, digest {found.digest[:16]}")
        click.echo(f"next: restore them, then degrade-kit evaluate --restored RESULTS --faces FACES --out {out}_eval")
        if found.failures:
            click.echo(f"not usable: {counted(found.failures)}", err=True)
            sys.exit(3)
        return
    from degrade_kit.pipelines.makers.flipnet_settings import FlipNetSettings
    from degrade_kit.presets import resolve_recipe

    settings = None
    if flipnet is not None:
        from degrade_kit.flipnet.config import require_packages

        require_packages()
        quiet_model_loading()
        settings = FlipNetSettings(
            model=flipnet, base_model=base_model, device=device, overrides={"num_steps": num_steps}
        )
        from degrade_kit.flipnet.checkpoint import model_folder
        from degrade_kit.flipnet.licence import licence_notice

        echo_licence(licence_notice(model_folder(flipnet)))
    assert hq is not None
    config = testset.TestsetConfig(
        hq=hq, recipe=resolve_recipe(preset), count=count, seed=seed, flipnet=settings, share=share, size=size
    )
    if dry_run:
        config, sources = testset.check_testset(config, out, executor)
        click.echo(f"{count:,} pairs of {size} pixels from {len(sources):,} faces in {hq}, in {out}/lq and {out}/hq")
        if flipnet is not None:
            click.echo(f"{share:.0%} of the LQ images by FlipNet {flipnet}, the others by {config.recipe.name}")
        effort, written = testset.effort(config, sources)
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
        from degrade_kit.pipelines.inputs.align import effort, plan_alignment

        print_estimate(executor, effort(plan_alignment(_align_config(real, out / "lq"))))
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
