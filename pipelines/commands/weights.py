"""`degrade-kit weights`."""

from __future__ import annotations

import json

import click

from pipelines.commands.options import parse_assignments, weights_option


@click.command("weights")
@weights_option
@click.option("--hash", "hash_files", is_flag=True, help="Compare the SHA-256 of what is found.  [default: off]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.  [default: a table]")
def weights_command(weights: tuple[str, ...], hash_files: bool, as_json: bool) -> None:
    """List files of others' making: what needs them, and whether they are here.

    \b
    Examples:
      degrade-kit weights
      DEGRADE_KIT_WEIGHTS=~/weights:/data/weights degrade-kit weights --hash

    Nothing is downloaded. Put the files, under their public names, into a folder that the environment variable
    DEGRADE_KIT_WEIGHTS lists, or give a command --weights NAME=PATH.
    """  # noqa: D301 (click reads the \b itself)
    from restore.weights import WEIGHTS, find, hash_state, parse_given

    given = parse_given(parse_assignments(weights, "--weights", "NAME=PATH"))
    rows: list[dict[str, str | None]] = []
    for name, weight in WEIGHTS.items():
        found = find(name, given)
        state = hash_state(weight, found.path) if hash_files and found.path is not None else None
        rows.append(
            {
                "name": name,
                "file": weight.files[0],
                "path": None if found.path is None else str(found.path),
                "sha256": weight.sha256 or None,
                "hash": state,
                "needed_by": weight.needed_by,
                "origin": weight.origin,
                "size": weight.size,
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        there = f"found    {row['path']}" if row["path"] else "missing"
        click.echo(f"{row['name']:<16} {there}{_HASHES.get(row['hash'], '')}")
        click.echo(f"{'':<16} {row['file']}, {row['size']}, {row['origin']}; for {row['needed_by']}")
    looked = find("vgg19", {}).looked
    click.echo(f"looked in: {', '.join(looked)}, and in installed packages; folders of models: in the hub's cache")


_HASHES = {
    None: "",
    "ok": "  (hash as published)",
    "other": "  (NOT the published file: another hash)",
    "unknown": "  (no hash is published)",
}
