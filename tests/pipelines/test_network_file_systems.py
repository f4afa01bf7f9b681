"""Commands that train, restore, fit or caption, on file systems where calls fail as on NFS and CIFS: the same files.

The quick commands are tried in test_machines.py, under each failing call by itself.
"""

from __future__ import annotations

import errno
import functools
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from degrade_kit.pipelines import match
from degrade_kit.pipelines.cli import main
from tests.degrade_kit.flipnet.models import save_blip
from tests.pipelines import test_chaos as chaos
from tests.pipelines import test_machines as machines
from tests.pipelines.test_machines import WHOLE_FILE_SYSTEMS, failing, of_tests, run, tree
from tests.processes import SMALL_SEARCH

pytestmark = pytest.mark.long
world = chaos.world

RESTORER = (
    "import sys, pathlib, shutil\na, b = map(pathlib.Path, sys.argv[1:])\nshutil.copytree(a, b, dirs_exist_ok=True)\n"
)
COMMANDS: dict[str, Callable[[Path, Path], list[object]]] = {
    **{name: chaos.COMMANDS[name] for name in ("train-degrade", "train-restore", "restore", "degrade", "fit-recipe")},
    **{name: chaos.COMMANDS[name] for name in ("analyze-distribution", "match")},
    "caption": lambda w, out: [
        *["caption", "--hq", w / "faces", "--caption-model", w / "blip", "--device", "cpu"],
        *["--out", out / "captions.jsonl"],
    ],
    "pairs from-photos": lambda w, out: [
        *["pairs", "from-photos", "--real", w / "photos", "--out", out, "--size", 64, "--workers", 0],
        *["--restorer", shlex.join([sys.executable, str(w / "restorer.py"), "{input}", "{output}"])],
    ],
}
ENDS: dict[str, set[int]] = {"fit-recipe": {0, 1}, "pairs from-photos": {0, 3}}
"""Exit statuses that are no failure: a recipe that fits no better, and photographs of which no pair comes."""


@pytest.fixture(scope="module")
def prepared(world: Path) -> Iterator[Path]:
    save_blip(world / "blip")
    (world / "restorer.py").write_text(RESTORER, "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(match, "fit_recipe", functools.partial(match.fit_recipe, **SMALL_SEARCH))
        yield world


def end(words: list[object], allowed: set[int]) -> None:
    result = CliRunner().invoke(main, list(map(str, words)))
    assert result.exit_code in allowed, result.output + repr(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)


@pytest.mark.parametrize("name", COMMANDS)
def test_slow_commands_give_the_same_files_on_network_file_systems(
    name: str, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one message where a full quota is told when a file is synced, or a server takes nothing from root."""
    words, allowed = COMMANDS[name], ENDS.get(name, {0})

    def files(folder: Path) -> dict[str, bytes]:
        found = {made: data for made, data in tree(folder).items() if not Path(made).name.startswith(machines.SILLY)}
        return {made: chaos.timeless(data) if made.endswith("metrics.jsonl") else data for made, data in found.items()}

    out = tmp_path / "out"
    end(words(prepared, out), allowed)
    expected = files(out)
    for shim in WHOLE_FILE_SYSTEMS.values():
        shutil.rmtree(out)
        with monkeypatch.context() as patch:
            shim(patch)
            end(words(prepared, out), allowed)
        found = files(out)
        assert found.keys() == expected.keys()
        assert [made for made, data in expected.items() if found[made] != data] == []
    shutil.rmtree(out)
    with monkeypatch.context() as patch:
        patch.setattr(machines.os, "access", lambda *_: True)
        patch.setattr(machines.os, "mkdir", failing(machines.os.mkdir, errno.EACCES, of_tests))
        assert "Permission denied" in run(*words(prepared, out), code=1)
    assert not out.exists()
    with monkeypatch.context() as patch:
        sync = machines.os.fsync
        patch.setattr(machines.os, "fsync", failing(sync, errno.EDQUOT, lambda number: not machines.is_folder(number)))
        assert "Disk quota exceeded" in run(*words(prepared, out), code=1)
    # What grows by lines while a command works, and its configuration, which was read and compared.
    assert {made for made, data in files(out).items() if expected.get(made) != data} <= set(chaos.JOURNALS)
    end(words(prepared, out), allowed)
    assert files(out).keys() == expected.keys()


def test_every_command_that_writes_is_tried_on_network_file_systems() -> None:
    tried = {str(words(Path("w"), Path("o"))[0]) for words in {**COMMANDS, **machines.COMMANDS}.values()}
    # One writes nothing, one by the loop of the trainers, and one is made of others.
    left = {"bench-read", "distill", "demo"}
    assert set(main.commands) - tried - {"pairs from-photos"} == left
