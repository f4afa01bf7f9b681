"""`degrade-kit make-testset`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
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
from degrade_kit.pipelines.commands.words import Needs, command, not_with, only_with, option, word
from degrade_kit.pipelines.text import counted
from degrade_kit.wording import counted_noun

if TYPE_CHECKING:
    from degrade_kit.pipelines.evaluation.testset import Aligner, OriginalsConfig, TestsetConfig
    from degrade_kit.pipelines.executor import ExecutorConfig
    from degrade_kit.pipelines.inputs.align import AlignConfig
    from degrade_kit.progress import OnProgress


_UNNAMED = Needs(met=lambda given: given["name"] is None, otherwise="with NAME@VERSION, which says it")
_SYNTHETIC = (only_with("hq"), _UNNAMED)


@command("make-testset", "Make a fixed set of LQ images to judge restorers by")
@click.argument("name", required=False, metavar="[NAME@VERSION]")
@word("--hq", "; either this or --real", unset="none")
@word("--real", "; the set is made of them: lq/ alone, as LFW-Test has it", unset="none", needs=_UNNAMED)
@word("--out", ": a folder for the set", unset="none; needed but to look at NAME@VERSION")
@word("--preset", default="flipnet-paper", needs=_SYNTHETIC)
@option("--count", type=click.IntRange(1), default=3000, needs=_SYNTHETIC, help="Pairs to make.")
@word("--seed", ": faces and degradations", default=0, needs=_SYNTHETIC)
@word("--size", type=click.IntRange(16, 4096), default=512, needs=_UNNAMED)
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
    name: str | None,
    hq: str | None,
    real: str | None,
    out: Path | None,
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
      degrade-kit make-testset ffhq-press-photo@1
      degrade-kit make-testset ffhq-press-photo@1 --hq ffhq --out ffhq-press-photo-1

    NAME@VERSION is a published set, which others can make again: faces by their numbers in FFHQ or CelebA-HQ, a recipe,
    and digests; alone it says what they are, and whether this installation makes the same. docs/evaluation.md has all.

    Writes OUT/lq, OUT/hq and OUT/records.jsonl. The same faces, options and library versions give the same bytes. A
    stopped run goes on when run again. Exit status 3 if some photographs of --real cannot be used.
    """  # noqa: D301 (click reads the \b itself)
    if name is not None and hq is None and out is None:
        _print_named(name)
        return
    if (hq is None) == (real is None):
        raise click.UsageError("expected either --hq or --real")
    if out is None:
        raise click.UsageError("Missing option '--out'.")
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
    if name is not None:
        from degrade_kit.pipelines.evaluation.named_sets import named_set

        _make(testset.TestsetConfig.of_named(named_set(name), hq), out, executor, dry_run=dry_run)
        return
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
    _make(config, out, executor, dry_run=dry_run)


def _make(config: TestsetConfig, out: Path, executor: ExecutorConfig, *, dry_run: bool) -> None:
    from degrade_kit.pipelines.evaluation import testset

    if dry_run:
        sources = testset.check_testset(config, out, executor)
        click.echo(
            f"{config.count:,} pairs of {config.size} pixels from {len(sources):,} faces in {config.hq}, "
            f"in {out}/lq and {out}/hq"
        )
        if config.offshelf is not None:
            click.echo(f"{config.share:.0%} of the LQ images by the FlipNet, the others by {config.recipe.name}")
        effort, written = testset.testset_effort(config, sources)
        print_estimate(executor, effort, written)
        return
    with ProgressLine() as progress:
        made = testset.make_testset(config, out, executor, progress)
    pairs = counted_noun(made.pairs, "pair")
    click.echo(f"{pairs} in {out}, {made.offshelf:,} of them by the FlipNet, digest {made.digest[:16]}")
    for face, reason in made.unusable[:5]:
        click.echo(f"another face took the place of {face}: {reason}", err=True)
    if made.published is not None:
        click.echo(f"{made.published.name}: the published set, by records; faces {made.published.faces[:16]}")
        _print_digests(made.published.records, made.published.pixels, made.published.builds)
    click.echo(f"next: restore {out / 'lq'}, then degrade-kit evaluate --restored RESULTS --reference {out / 'hq'}")


def _print_named(name: str) -> None:
    """Say what a published set is, and whether this installation makes the same."""
    from degrade_kit.pipelines.evaluation.named_sets import SIZE, named_set, pixels_digest

    named = named_set(name)
    named.check_records()
    pixels = pixels_digest(named.recipe)
    click.echo(f"{name}: {len(named.faces.numbers):,} pairs of {SIZE} pixels by the recipe {named.recipe.name}")
    click.echo(named.faces.words)
    _print_digests(named.records, pixels, named.builds(pixels))
    folder = name.replace("@", "-")
    click.echo(f"next: degrade-kit make-testset {name} --hq {named.faces.name.upper()} --out {folder}")


def _print_digests(records: str, pixels: str, builds: Sequence[str]) -> None:
    from degrade_kit.pipelines.evaluation.named_sets import build_words

    click.echo(f"records {records}: as published")
    if builds:
        click.echo(f"pixels  {pixels}: as published for {'; '.join(builds)}")
    else:
        click.echo(
            f"pixels  {pixels}: not published; of the same records {build_words()} makes LQ images that may differ in "
            "some levels, as docs/evaluation.md says under Pixels and builds"
        )


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
