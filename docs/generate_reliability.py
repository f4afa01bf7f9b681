"""Write docs/reliability.md from docs/reliability.json and the tests: no number of that page is written by hand.

python docs/generate_reliability.py

The JSON file holds what long runs counted, which are no part of the tests; `make fuzz` and `make chaos` add to it. What
it does not hold is told as not run yet.

    fuzz_examples   {reader: inputs tried}
    fuzz_seconds    {reader: seconds}
    kills           {command: {signal: runs that were ended by it}}
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
NOT_RUN = "not run yet"


class Promise(NamedTuple):
    """A thing that users may rely on."""

    text: str
    """In their words."""
    how: str
    """How it is tested."""
    tests: tuple[str, ...]
    """Files whose tests hold it, as patterns from the root of the repository."""


PROMISES = (
    Promise(
        "A file that has its final name is whole, also after `kill -9`, a full disk or a power cut.",
        "Writers are killed before, between and after their renames; the disk is full at each write and each sync.",
        ("tests/degrade_kit/test_files.py", "tests/degrade_kit/test_store.py"),
    ),
    Promise(
        "A run that was stopped goes on when the same command runs again, to the same bytes or weights; no second run "
        "takes away what a first one writes.",
        "Real processes are killed at random moments and run again; the results are compared byte by byte.",
        (
            "tests/pipelines/test_kill.py",
            "tests/pipelines/test_chaos*.py",
            "tests/chaos/**/test_*.py",
            "tests/degrade_kit/flipnet/test_training.py",
            "tests/degrade_kit/flipnet/test_checkpoint.py",
        ),
    ),
    Promise(
        "No input is dropped in silence: what cannot be used is counted by its reason, named, and ends in status 3.",
        "One damaged or odd input of each kind goes through `synth`; inputs, samples and failures must add up.",
        ("tests/pipelines/test_bad_inputs.py", "tests/degrade_kit/test_sources.py", "tests/degrade_kit/test_image.py"),
    ),
    Promise(
        "Files of others run no code, write nothing outside of the output folder, and end in a message at worst.",
        "Readers get pickles that run code, names that lead elsewhere, and files of which any value was changed.",
        (
            "tests/pipelines/dataset/test_verify.py",
            "tests/analysis/test_tensors.py",
            "tests/degrade_kit/flipnet/test_weights.py",
            "tests/fuzz/test_*.py",
            "tests/**/test_fuzz*.py",
            "tests/**/test_hostile*.py",
            "tests/**/test_untrusted*.py",
        ),
    ),
    Promise(
        "A download is the published file, or nothing: https alone, bounded, compared with its hash.",
        "A server of the test sends cut, endless, wrong and moved files, and a login page.",
        ("tests/analysis/test_download.py", "tests/analysis/test_weights.py"),
    ),
    Promise(
        "No picture is made of numbers that are not finite; an error says which precision to take.",
        "Decoders that overflow in float16 go through sampling, restoration and validation.",
        ("tests/degrade_kit/flipnet/test_precision.py",),
    ),
    Promise(
        "Machines as they are: locked-down accounts, small containers, network file systems. See "
        "[machines](machines.md).",
        "Every command runs where calls fail as they do there.",
        ("tests/pipelines/test_machines.py", "tests/pipelines/test_network_file_systems.py"),
    ),
)

NOT_PROMISED = (
    "**Power cuts on disks that lie.** A file is synced before it gets its name. Where the disk or the server behind "
    "a mount "
    "says that it has written and has not, nothing can help but `degrade-kit verify`.",
    "**Object stores.** A file is put in one go, which object stores do at once; two runs that write one URL at a "
    "time are not "
    "kept apart there, as they are in a folder.",
    "**Every version of every library.** The bytes of a data set depend on those of OpenCV and Pillow, which the data "
    "set names. "
    "Training gives equal weights on one machine with equal libraries and threads, not on two kinds of processors or "
    "GPUs.",
    "**Protection of the machine from its own user.** Files of others are read as data. Options, recipes and paths "
    "that you give "
    "are obeyed.",
    "**Code of others that is asked for by name**: trainers, Ray clusters that you join, fsspec drivers. They run "
    "with your rights.",
    "**Systems other than Linux.** It may run on macOS; nothing is tested there.",
)


def render_reliability(measured: Mapping[str, Any], root: Path = ROOT) -> str:
    """Return the Markdown page.

    Args:
        measured: Content of `docs/reliability.json`.
        root: Where `tests/` is.
    """
    parts = [
        "# Reliability",
        "What degrade-kit promises, how each promise is tested, and what it does not promise. This page is generated: "
        "numbers "
        "come from the tests\nthemselves and from `docs/reliability.json`, to which long runs add. After a change of "
        "either, run "
        "`python docs/generate_reliability.py`.",
        "## What is promised",
        _table(
            ("promise", "how it is tested", "tests"),
            [(each.text, each.how, _tests(each, root)) for each in PROMISES],
        ),
        "A test here is a function; many run with dozens of cases. `make test` runs them on every change, "
        "`make test-all` the longest too.",
        "## Readers, with inputs made at random",
        "Every reader of a file that may come from others must give the content or an error of its own, in bounded "
        "time and memory. "
        "`make fuzz`\nchanges valid files at random, and adds what it tried here.",
        _fuzz(measured),
        "## Runs, ended at random moments",
        "Each run is ended by a signal, started again, and its result compared with that of a run that nobody "
        "disturbed. `make chaos` "
        "adds to these\nnumbers.",
        _kills(measured),
        "## What is not promised",
        "\n".join(f"- {text}" for text in NOT_PROMISED),
    ]
    return "\n\n".join(parts) + "\n"


def count_tests(patterns: Sequence[str], root: Path = ROOT) -> int:
    """Count the test functions of files, each once."""
    files = {path for pattern in patterns for path in root.glob(pattern)}
    return sum(
        isinstance(node, ast.FunctionDef) and (node.name.startswith("test_") or _is_row(node))
        for path in files
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
    )


def _is_row(function: ast.FunctionDef) -> bool:
    """Whether a function is a row of the table of bad inputs, each of which is a test."""
    return any(
        isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "row"
        for mark in function.decorator_list
    )


def _tests(promise: Promise, root: Path) -> str:
    files = sorted({path.relative_to(root) for pattern in promise.tests for path in root.glob(pattern)})
    links = ", ".join(f"[{path.name}](../{path.as_posix()})" for path in files)
    return f"{_about(count_tests(promise.tests, root))}: {links}" if files else "none yet"


def _about(count: int) -> str:
    """Write a count in tens, so that the page need not be made anew for each test."""
    return str(count) if count < 10 else f"{count // 10 * 10} or more"


def _fuzz(measured: Mapping[str, Any]) -> str:
    examples: Mapping[str, int] = measured.get("fuzz_examples") or {}
    seconds: Mapping[str, float] = measured.get("fuzz_seconds") or {}
    if not examples:
        return f"*{NOT_RUN}*"
    rows = [
        (f"`{reader}`", f"{count:,}", f"{seconds[reader]:,.0f}" if reader in seconds else NOT_RUN)
        for reader, count in sorted(examples.items())
    ]
    total = f"{sum(seconds[reader] for reader in examples if reader in seconds):,.0f}"
    return _table(("reader", "inputs", "seconds"), [*rows, ("**all**", f"{sum(examples.values()):,}", total)])


def _kills(measured: Mapping[str, Any]) -> str:
    kills: Mapping[str, Mapping[str, int]] = measured.get("kills") or {}
    if not kills:
        return f"*{NOT_RUN}*"
    signals = sorted({signal for counts in kills.values() for signal in counts})
    rows = [
        (f"`{command}`", *(f"{counts[signal]:,}" if signal in counts else NOT_RUN for signal in signals))
        for command, counts in sorted(kills.items())
    ]
    totals = [f"{sum(counts.get(signal, 0) for counts in kills.values()):,}" for signal in signals]
    return _table(("command", *signals), [*rows, ("**all**", *totals)])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    found = json.loads((DOCS / "reliability.json").read_text("utf-8"))
    (DOCS / "reliability.md").write_text(render_reliability(found), encoding="utf-8")
