"""`degrade-kit distill`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from degrade_kit.pipelines.commands.options import DEVICE, echo_licence, quiet_model_loading
from degrade_kit.pipelines.commands.words import command, option, word
from degrade_kit.pipelines.text import human_time


@command("distill", "Train a FlipNet to degrade in few steps")
@word("--hq", ", whose crops are degraded", required=True)
@word("--flipnet", ", the teacher", default="photos-teacher")
@word("--out", ": a folder for the run", required=True)
@word("--solver-steps", " of the student; several times for several", multiple=True, default=(1, 2, 4))
@option(
    "--teacher-steps",
    type=click.IntRange(1, 1000),
    default=20,
    help="DDIM steps of the teacher, a multiple of each --solver-steps.",
)
@word("--steps", default=1000)
@word("--batch-size", ": crops in a step", default=16)
@word("--size", " of the crops", type=click.IntRange(32, 4096), default=64)
@word("--learning-rate", default=2e-4)
@word("--mixed-precision", default="no")
@option(
    "--images",
    type=click.IntRange(20),
    default=400,
    help="LQ images of teacher and student that are compared in the end.",
)
@word("--seed", ": crops, prompts and noise", default=0)
@word("--base-model", unset="the FlipNet's own")
@word("--device", unset=DEVICE)
@word("--threads", default=0)
@word("--data-workers", unset="up to 8 beside a GPU, none on a CPU")
@word("--download", ": a hub's base model")
@word("--dry-run")
def distill_command(
    hq: str,
    flipnet: str,
    out: Path,
    solver_steps: tuple[int, ...],
    teacher_steps: int,
    num_steps: int,
    batch_size: int,
    size: int,
    learning_rate: float,
    mixed_precision: str,
    images: int,
    seed: int,
    base_model: str | None,
    device: str | None,
    threads: int,
    data_workers: int | None,
    download: bool,
    dry_run: bool,
) -> None:
    """Distill a FlipNet: a student learns to give in 1, 2 or 4 steps what the teacher gives in 20.

    \b
    Examples:
      degrade-kit distill --hq faces --out runs/few
      degrade-kit distill --hq ffhq --flipnet runs/degrade/model --size 512 --mixed-precision bf16 --out runs/few

    In the end it is judged: the energy distance of its images to the teacher's must be within what two sets of the
    teacher's own are apart, and the five variants of a face at least 90 % as different. `OUT/model` takes the fewest
    steps that pass. Run it again to resume. Exit status 3 if no number of steps passes.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.flipnet.config import require_packages

    require_packages()
    if not download:
        quiet_model_loading()
    from degrade_kit.pipelines.models.paths import check_distill_paths

    check_distill_paths(flipnet, hq, base_model=base_model, download=download)
    from degrade_kit.flipnet.distill import DistillConfig
    from degrade_kit.flipnet.folder import model_folder
    from degrade_kit.flipnet.licence import licence_notice
    from degrade_kit.pipelines.models.distill import DistillRun, distill_here, distill_plan_text

    config = DistillConfig(
        seed=seed,
        num_steps=num_steps,
        batch_size=batch_size,
        crop_sizes=(size,),
        learning_rate=learning_rate,
        warmup_steps=min(50, num_steps // 10),
        decay="cosine",
        ema_decay=0.99,
        mixed_precision=mixed_precision,  # pyright: ignore[reportArgumentType] (a choice)
        gradient_checkpointing=size >= 512,
        checkpoint_steps=100,
        validation_steps=max(num_steps, 1),
        solver_steps=solver_steps,
        teacher_steps=teacher_steps,
    )
    run = DistillRun(
        flipnet=flipnet,
        faces=hq,
        out_dir=out,
        config=config,
        face_size=max(size, 256),
        images=images,
        base_model=base_model,
        device=device,
        data_workers=data_workers,
        download=download,
        threads=threads,
    )
    if dry_run:
        click.echo(distill_plan_text(run))
        click.echo("dry run: nothing was written")
        return

    def progress(metrics: dict[str, float | int]) -> None:
        step = int(metrics["step"])
        if step % 50 == 0 or step == num_steps:
            left = (num_steps - step) / max(metrics["steps_per_second"], 1e-9)
            click.echo(
                f"step {step:,} of {num_steps:,}  loss {metrics['loss']:.4f}  "
                f"{metrics['steps_per_second']:.2f} steps/s  {human_time(left)} left",
                err=True,
            )

    found = distill_here(run, progress)
    for row in found:
        click.echo(
            f"{row.num_steps} steps: distance {row.distance:.3f} (null {row.null:.3f}), variants "
            f"{row.diversity:.0%} as different, {row.flops / 1e9:.2f} GFLOP an image (teacher "
            f"{row.teacher_flops / 1e9:.2f}): {'passes' if row.passes else 'does not pass'}"
        )
    echo_licence(licence_notice(model_folder(flipnet)))
    model = out / "model"
    click.echo(f"model {model}")
    click.echo(f"next: degrade-kit degrade FACE.png --flipnet {shlex.quote(str(model))} --out look")
    if not any(row.passes for row in found):
        sys.exit(3)
