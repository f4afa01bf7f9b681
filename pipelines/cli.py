"""All commands under `degrade-kit`. Importing this module costs click alone; each command imports what it runs."""

from __future__ import annotations

import difflib
import io
import logging
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, cast

import click

from degrade_kit.pipelines.commands.align import align_command
from degrade_kit.pipelines.commands.analyze import analyze_command
from degrade_kit.pipelines.commands.bench_read import bench_read_command
from degrade_kit.pipelines.commands.caption import caption_command
from degrade_kit.pipelines.commands.compare import compare_command
from degrade_kit.pipelines.commands.degrade import degrade_command
from degrade_kit.pipelines.commands.demo import demo_command
from degrade_kit.pipelines.commands.distill import distill_command
from degrade_kit.pipelines.commands.doctor import doctor_command
from degrade_kit.pipelines.commands.evaluate import evaluate_command
from degrade_kit.pipelines.commands.export import export_command
from degrade_kit.pipelines.commands.fit_recipe import fit_recipe_command
from degrade_kit.pipelines.commands.import_recipe import import_recipe_command
from degrade_kit.pipelines.commands.inspect import inspect_command
from degrade_kit.pipelines.commands.join import join_command
from degrade_kit.pipelines.commands.make_testset import make_testset_command
from degrade_kit.pipelines.commands.match import match_command
from degrade_kit.pipelines.commands.pairs import pairs_command
from degrade_kit.pipelines.commands.pairs_from_photos import pairs_from_photos_command
from degrade_kit.pipelines.commands.presets import presets_command
from degrade_kit.pipelines.commands.preview import preview_command
from degrade_kit.pipelines.commands.replay import replay_command
from degrade_kit.pipelines.commands.restore import restore_command
from degrade_kit.pipelines.commands.synth import synth_command
from degrade_kit.pipelines.commands.train_degrade import train_degrade_command
from degrade_kit.pipelines.commands.train_restore import train_restore_command
from degrade_kit.pipelines.commands.verify import verify_command
from degrade_kit.pipelines.commands.view import view_command
from degrade_kit.pipelines.commands.weights import weights_command
from degrade_kit.pipelines.signals import terminable

EXIT_ERROR, EXIT_USAGE, EXIT_INCOMPLETE, EXIT_INTERRUPTED = 1, 2, 3, 130


GROUPS: Mapping[str, Sequence[click.Command]] = {
    "Make data": (
        demo_command,
        presets_command,
        import_recipe_command,
        preview_command,
        align_command,
        caption_command,
        synth_command,
        match_command,
        degrade_command,
    ),
    "Look at data": (
        inspect_command,
        view_command,
        verify_command,
        replay_command,
        export_command,
        join_command,
        bench_read_command,
        doctor_command,
    ),
    "Judge data and models": (
        analyze_command,
        fit_recipe_command,
        make_testset_command,
        evaluate_command,
        compare_command,
    ),
    "Train and run models": (
        pairs_command,
        pairs_from_photos_command,
        train_degrade_command,
        distill_command,
        train_restore_command,
        restore_command,
        weights_command,
    ),
}
"""Every command, under the heading that the help gives it, in the order of the help and of docs/cli.md."""


class _Group(click.Group):
    """Turns errors of this project into one message, and hints at the command that was meant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the help."""
        del ctx
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each group of commands under its heading."""
        del ctx
        width = max(map(len, self.commands))
        for heading, members in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{member.name:{width}}", member.get_short_help_str(54)) for member in members])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if (two := " ".join(args[:2])) in self.commands and len(args) > 1:
            args = [two, *args[2:]]  # `pairs from-photos` beside `pairs`
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"{error.message}{hint}", ctx) from error

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 (as click has it)
        try:
            with terminable():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("stopped; run the same command again to go on", err=True)
            sys.exit(EXIT_INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            from degrade_kit.errors import shortage

            lack = shortage(error)
            status = EXIT_ERROR if lack else _exit_status(error)
            if status is None:
                raise
            if ctx.params["debug"]:
                traceback.print_exc()
            text = str(error) or type(error).__name__
            click.echo(f"error: {text}" if lack in text else f"error: {text}; {lack}", err=True)
            sys.exit(status)


def _exit_status(error: Exception) -> int | None:
    """Exit status of an error that is no fault of this program, None of any other."""
    from degrade_kit.errors import ConfigError, DegradeKitError

    if isinstance(error, ConfigError):
        return EXIT_USAGE
    if isinstance(error, DegradeKitError):
        return EXIT_INTERRUPTED if type(error).__name__ == "Interrupted" else EXIT_ERROR
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return EXIT_ERROR  # a file that cannot be read or written; the message names it
    return None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--debug", is_flag=True, help="Show the traceback of an error, and log more.  [default: off]")
@click.option(
    "--image-bounds",
    type=click.FloatRange(1, 10),
    metavar="FACTOR",
    help="Multiply the bounds on pixels, memory, time and bytes of one image, from 1 to 10.  "
    "[default: DEGRADE_KIT_IMAGE_BOUNDS, or 1]",
)
@click.version_option(package_name="degrade-kit")
@click.pass_context
def main(context: click.Context, debug: bool, image_bounds: float | None) -> None:
    """Training data for blind face restoration: LQ/HQ pairs in WebDataset shards.

    Begin with `degrade-kit demo`, then `degrade-kit synth --hq FACES --shards OUT`.

    Exit status: 0 all that was asked for is there; 1 an error; 2 wrong usage or configuration; 3 finished, but some
    inputs or shards are missing; 130 stopped by Ctrl-C or SIGTERM.
    """
    stdout: Any = sys.stdout
    if isinstance(stdout, io.TextIOWrapper) and stdout.errors == "strict":
        cast("io.TextIOWrapper", stdout).reconfigure(errors="backslashreplace")  # names of files need not be text
    logging.basicConfig(
        stream=sys.stderr, level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s: %(message)s"
    )
    if debug:
        for noisy in ("PIL", "asyncio", "matplotlib"):
            logging.getLogger(noisy).setLevel(logging.INFO)
    from degrade_kit import image_bounds as bounds
    from degrade_kit.pipelines.machine import keep_to_threads

    keep_to_threads()
    if image_bounds is not None:
        context.with_resource(bounds.image_bounds_raised(image_bounds))
    bounds.image_bounds()  # before a command begins: what the environment says may be no number


for each in GROUPS.values():
    for member in each:
        main.add_command(member)


if __name__ == "__main__":
    main()
