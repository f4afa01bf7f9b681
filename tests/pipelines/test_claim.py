from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from degrade_kit.errors import RunError
from degrade_kit.pipelines.claim import Claim
from degrade_kit.store import Store, open_store

CLAIM = Claim(
    what="a run",
    file="settings.yaml",
    resolved={"seed": 1, "train": {"rate": 0.5, "steps": 10}, "sizes": (1, 2)},
    comparable=lambda found: {**found, "train": {key: found["train"][key] for key in ("rate",)}},
    option="--place",
    otherwise="--overwrite to replace it",
)
numbers = itertools.count()


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(tmp_path / "out" if request.param == "local" else f"memory://claim{next(numbers)}/out")


def content(store: Store) -> dict[str, bytes]:
    return {name: store.read(name) for name in store.names()}


def test_a_new_output_is_taken(store: Store) -> None:
    CLAIM.check(store)
    assert content(store) == {}
    CLAIM.take(store)
    assert list(content(store)) == ["settings.yaml"]


def test_a_folder_with_hidden_files_alone_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").touch()
    store = open_store(tmp_path)
    CLAIM.take(store)
    assert store.names() == [".DS_Store", "settings.yaml"]


def test_an_output_of_the_same_configuration_is_gone_on_with(store: Store) -> None:
    CLAIM.take(store)
    store.write("result", b"kept")
    longer = replace(CLAIM, resolved={**CLAIM.resolved, "train": {"rate": 0.5, "steps": 20}})
    longer.take(store)
    assert store.read("result") == b"kept"
    assert b"steps: 20" in store.read("settings.yaml")


def test_an_output_of_another_configuration_is_refused_key_by_key(store: Store) -> None:
    CLAIM.take(store)
    before = content(store)
    other = replace(CLAIM, resolved={"seed": 2, "train": {"rate": 0.25, "steps": 10}, "sizes": (1, 2)})
    with pytest.raises(RunError, match="holds a run of another configuration") as caught:
        other.take(store)
    assert str(caught.value).splitlines()[1:] == [
        "  seed: there 1, now 2",
        "  train.rate: there 0.5, now 0.25",
        "give the old options to go on with it, --overwrite to replace it, or another --place",
    ]
    assert content(store) == before


def test_an_output_of_something_else_is_refused_by_what_is_there(store: Store) -> None:
    store.write("notes.txt", b"mine")
    store.write("sub/more.txt", b"mine too")
    before = content(store)
    with pytest.raises(RunError, match=r"is not empty .*notes.txt and 1 more\); give an empty or a new --place"):
        CLAIM.take(store)
    assert content(store) == before


@pytest.mark.parametrize("text", [b"[1]", b"{", b"\xff"])
def test_an_output_whose_configuration_is_damaged_is_refused(store: Store, text: bytes) -> None:
    store.write("settings.yaml", text)
    with pytest.raises(RunError, match=r"settings\.yaml is damaged"):
        CLAIM.take(store)
    assert store.read("settings.yaml") == text


HOLD = """
import sys
from degrade_kit.pipelines.claim import Claim
from degrade_kit.store import open_store
with Claim(what="a run", file="settings.yaml", resolved={"seed": 1}).taken(open_store(sys.argv[1])):
    print("in", flush=True)
    sys.stdin.read()
"""


def test_an_output_that_a_run_works_in_is_refused_until_that_ends(tmp_path: Path) -> None:
    ours, out = Claim(what="a run", file="settings.yaml", resolved={"seed": 1}), open_store(tmp_path / "out")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "out")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        with (
            pytest.raises(RunError, match=rf"out is in use by another run: process {process.pid} on "),
            ours.taken(out),
        ):
            pass
        process.communicate()
    with ours.taken(out):
        pass
    assert list(content(out)) == ["settings.yaml"]


def test_an_output_of_another_configuration_is_not_held(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    CLAIM.take(store)
    other = replace(CLAIM, resolved={"seed": 2, "train": {"rate": 0.5}, "sizes": ()})
    with pytest.raises(RunError, match="another configuration"), other.taken(store):
        pass
    assert list(content(store)) == ["settings.yaml"]


def test_a_remote_output_is_taken_without_being_held() -> None:
    store = open_store(f"memory://claim{next(numbers)}/out")
    with CLAIM.taken(store), CLAIM.taken(store):
        assert list(content(store)) == ["settings.yaml"]
