"""`degrade-kit weights`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from degrade_kit.pipelines.commands.options import parse_weights
from degrade_kit.pipelines.commands.types import WEIGHT_NAME
from degrade_kit.pipelines.commands.words import command, not_with, only_with, option, word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from degrade_kit.analysis.weights import Weight


@command("weights", "List or fetch third-party weights: LPIPS, ArcFace")
@click.argument("names", nargs=-1, metavar="[NAME]...", type=WEIGHT_NAME)
@word(
    "--weights",
    multiple=True,
    callback=parse_weights,
    unset="DEGRADE_KIT_WEIGHTS, torch hub's cache",
    needs=not_with("download"),
)
@option("--hash", "hash_files", is_flag=True, needs=not_with("download"), help="Compare the SHA-256 of what is found.")
@word("--json", needs=not_with("download"))
@word("--download", ": those of NAME, or all, in place of the list")
@word(
    "--out",
    ": a folder for what is fetched",
    unset="the first folder of DEGRADE_KIT_WEIGHTS",
    needs=only_with("download"),
)
def weights_command(
    names: tuple[str, ...],
    weights: dict[str, Path],
    hash_files: bool,
    as_json: bool,
    download: bool,
    out: Path | None,
) -> None:
    """List third-party weights: what needs them, and whether they are installed.

    \b
    Examples:
      degrade-kit weights
      DEGRADE_KIT_WEIGHTS=~/weights:/data/weights degrade-kit weights --hash
      degrade-kit weights --download lpips-vgg lpips-vgg-heads --out ~/weights

    NAME: only these; all of them without one. Nothing is downloaded without --download. Put the files, under their
    public names, into a folder that the environment variable DEGRADE_KIT_WEIGHTS lists, or give a command --weights
    NAME=PATH.
    """  # noqa: D301 (click reads the \b itself)
    from degrade_kit.analysis.weights import WEIGHTS, find, hash_state, weight_named
    from degrade_kit.files import file_sha256

    chosen = [weight_named(name) for name in names] or list(WEIGHTS.values())
    if download:
        _download(chosen, out, named=bool(names))
        return
    rows: list[dict[str, str | None]] = []
    for weight in chosen:
        found = find(weight.name, weights)
        state = digest = None
        if hash_files and found.path is not None:
            state = hash_state(weight, found.path)
            digest = file_sha256(found.path) if state == "unknown" and found.path.is_file() else None
        rows.append(
            {
                "name": weight.name,
                "file": weight.files[0],
                "path": None if found.path is None else str(found.path),
                "sha256": weight.sha256 or None,
                "hash": state,
                "found_sha256": digest,
                "needed_by": weight.needed_by,
                "origin": weight.origin,
                "size": weight.size,
                "url": weight.url or None,
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        there = f"found    {row['path']}" if row["path"] else "missing"
        digits = f"; its SHA-256 is {row['found_sha256']}" if row["found_sha256"] else ""
        checked = f"  ({_CHECKED[row['hash']]}{digits})" if row["hash"] else ""
        click.echo(f"{row['name']:<16} {there}{checked}")
        click.echo(f"{'':<16} {row['file']}, {row['size']}, {row['origin']}; for {row['needed_by']}")
    looked = find("vgg19", {}).looked
    click.echo(f"looked in: {', '.join(looked)}, and in installed packages; folders of models: in the hub's cache")


def _download(chosen: Sequence[Weight], out: Path | None, *, named: bool) -> None:
    """Fetch those that are missing; one that was named and cannot be fetched is an error, before anything is."""
    from degrade_kit.analysis.download import check_there, download, download_folder, hash_to_fetch
    from degrade_kit.analysis.weights import find, hash_state
    from degrade_kit.errors import ConfigError
    from degrade_kit.pipelines.commands.progress import ProgressLine

    folder = download_folder(out)
    missing: list[Weight] = []
    for weight in chosen:
        path = folder / weight.files[0] if out is not None else find(weight.name, {}).path
        if path is not None and path.exists():
            state = "" if weight.folder else f" ({_CHECKED[check_there(weight, path)]})"
            click.echo(f"{weight.name}: there already: {path}{state}")
            continue
        try:
            if not weight.url:
                raise ConfigError(f"{weight.name}: cannot be downloaded by this command: {weight.by_hand}")
            hash_to_fetch(weight, folder)
        except ConfigError as error:
            if named:
                raise
            click.echo(str(error))
            continue
        missing.append(weight)
    for weight in missing:
        click.echo(f"{weight.name}: {weight.url} ({weight.size})")
        with ProgressLine() as progress:
            path = download(weight, folder, progress)
        click.echo(f"{weight.name}: {path} ({_CHECKED[hash_state(weight, path)]})")


_CHECKED = {
    "ok": "hash as published",
    "noted": "hash as its .sha256 file has it",
    "begin": "the first digits of its hash are as published, more are not known",
    "other": "NOT the published file",
    "unknown": "no hash is published",
}
