from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from degrade_kit.errors import ConfigError, RunError
from degrade_kit.files import SCRATCH
from degrade_kit.pipelines.claim import Claim, check_apart, report_claim
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


def test_a_report_takes_the_place_of_another_one_and_of_nothing_else(store: Store) -> None:
    def claim(number: int) -> Claim:
        return report_claim("look", "a look", ["report.md", "part-*.png"], {"number": number, "path": Path("a")}, [])

    claim(1).take(store)
    for name in ("report.md", "part-1.png", "part-2.png", "notes.txt", "sub/deep.txt", ".features/a.npz"):
        store.write(name, b"1")
    before = content(store)
    claim(2).check(store)
    assert content(store) == before
    claim(2).take(store)
    assert store.names() == [".degrade_kit/look.yaml", ".features/a.npz", "notes.txt", "sub/deep.txt"]
    assert b"number: 2" in store.read(".degrade_kit/look.yaml")
    with pytest.raises(RunError, match="was not made by this command"):
        CLAIM.check(store)


def test_a_folder_that_another_command_has_begun_is_refused(store: Store) -> None:
    report_claim("look", "a look", [], {}, []).take(store)
    with pytest.raises(RunError, match=r"not made by this command \(it holds \.degrade_kit/look\.yaml\)"):
        report_claim("other", "another", [], {}, []).check(store)


APART = {"a/b": "a/bc", "a": "b", "a/b.png": "a", "s3://x/a": "s3://x/ab", "a/{0..3}.tar": "b", "a/x.tar": "a/out"}
WITHIN = [
    *[("a", "a"), ("a", "a/b"), ("a/", "./a"), ("a", "a/b/../c"), ("a/b/..", "a/c"), ("link", "a/b"), ("a", "link/b")],
    *[("a/b.png", "a/b.png"), ("a/{0..3}.tar", "a/out"), ("a/*.tar", "a"), (".", "a"), ("/", "a"), ("~", "~/b")],
    *[("s3://x/a", "s3://x/a/b"), ("s3://x/a/", "s3://x/a"), ("a", "file:a/b")],
]


@pytest.mark.parametrize(("place", "out"), APART.items())
def test_places_beside_each_other_are_apart(
    place: str, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_apart(out, [("--hq", place), ("--real", None)])


@pytest.mark.parametrize(("place", "out"), WITHIN)
def test_an_output_within_an_input_is_found_whatever_it_is_called(
    place: str, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^--place .* the input --hq .*; give another --place$"):
        check_apart(out, [("--real", None), ("--hq", place)], "--place")


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


@pytest.mark.slow
@pytest.mark.slow
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


def test_the_first_process_of_a_training_holds_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for rank, holds in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        with CLAIM.taken_by_one(tmp_path / rank):
            assert (tmp_path / rank / SCRATCH / "lock").exists() == holds
    assert not (tmp_path / "1").exists()


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
