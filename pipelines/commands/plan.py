"""The last lines of a plan that `--dry-run` prints, alike in every command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from degrade_kit.pipelines.effort import Effort
    from degrade_kit.pipelines.executor import ExecutorConfig


def print_estimate(executor: ExecutorConfig, effort: Effort, size: float | None = None) -> None:
    """Print where a job would run and for how long; see `degrade_kit.pipelines.effort.estimate_lines`."""
    from degrade_kit.pipelines.effort import estimate_lines

    for line in estimate_lines(executor, effort, size):
        click.echo(line)
