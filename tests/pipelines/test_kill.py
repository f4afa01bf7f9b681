"""Runs of the real command that are killed, then run again: whole files only, the same bytes, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from degrade_kit.shards import iterate_samples

SHARDS, PER_SHARD = 6, 8
# Enough variants that a shard takes about a second: kills hit shards in work.
COMMAND = [
    *[sys.executable, "-m", "degrade_kit.pipelines.cli", "synth", "--size", "256", "--seed", "5"],
    *["--samples-per-shard", str(PER_SHARD), "--variants", "24"],
]
GO_ON = "run the same command again to go on"
PATIENCE = 120.0
"""Seconds that anything may take on a machine with much else to do."""
ORPHAN_PATIENCE = 30.0
RAY_AGENTS = re.compile(r"ray::(DashboardAgent|RuntimeEnvAgent)")
"""Two idle helpers of Ray, which try for a minute to tell a cluster that was killed of its death."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find processes"),
]


class Run:
    """The command `degrade-kit synth` in a session of its own."""

    started: ClassVar[list[Run]] = []
    """All runs of this module, whose helpers the last test waits for."""

    def __init__(self, faces: Path, out: Path, workers: int, log: Path, temporary: Path) -> None:
        self.out = out
        self._log = log
        self._mark = f"RUN_MARK={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        with log.open("wb") as stream, ctrl_c_reaches_children():
            self.process = subprocess.Popen(
                [*COMMAND, "--hq", str(faces), "--shards", str(out), "--workers", str(workers)],
                env={**os.environ, name: value, "TMPDIR": str(temporary)},
                stdout=stream,
                stderr=stream,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        Run.started.append(self)

    @property
    def said(self) -> str:
        return self._log.read_text("utf-8")

    def processes(self) -> dict[int, str]:
        """Processes of this run that live, by their session or their environment, which Ray's titles may overwrite."""
        found: dict[int, str] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
                state, session = fields[0], int(fields[3])
                marked = self._mark.encode() in (folder / "environ").read_bytes()
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
            except OSError:
                continue  # it ended, or is somebody else's
            if (marked or session == self.process.pid) and state != "Z":
                found[int(folder.name)] = title
        return found

    def scratch(self) -> dict[str, int]:
        """Shards in work, and the process that writes each."""
        names = [path.name for path in (self.out / ".degrade_kit" / "tmp").glob(".shard-*.tar.*")]
        return {name.split(".")[1]: int(name.split(".")[3].split("-")[1]) for name in names}

    def done(self) -> set[str]:
        return {path.stem for path in (self.out / ".degrade_kit").glob("shard-*.json")}

    def until(self, condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
        """Wait until `condition` holds; the run must not end before."""

        def holds() -> bool:
            return bool(condition()) or self.process.poll() is not None

        poll(holds, f"{what}; the run says:\n{self.said}", patience)
        assert condition(), f"the run ended with {self.process.returncode} before {what}:\n{self.said}"

    def in_work(self) -> None:
        """Wait until a shard is being written, so that what happens next happens in the midst of it."""
        self.until(self.scratch, "a shard was in work")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def press_ctrl_c(self) -> None:
        """As a terminal does it: the whole foreground group gets the signal, Ray's processes too."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> int:
        """Wait for the end and return the exit status."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still there after {PATIENCE} s: {self.processes()}\n{self.said}")

    def leaves_no_orphans(self, but: re.Pattern[str] | None = None, patience: float = ORPHAN_PATIENCE) -> None:
        """Wait until no process is left.

        Args:
            but: Titles of processes that may stay.
            patience: Seconds.
        """

        def orphans() -> dict[int, str]:
            return {pid: title for pid, title in self.processes().items() if but is None or not but.match(title)}

        poll(lambda: not orphans(), lambda: f"orphans: {orphans()}", patience)


@pytest.fixture(autouse=True)
def _no_run_outlives_its_test() -> Iterator[None]:
    first = len(Run.started)
    yield
    for run in Run.started[first:]:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()


@contextlib.contextmanager
def ctrl_c_reaches_children() -> Generator[None]:
    """Children ignore SIGINT where this process does, as one does that a shell script starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def poll(condition: Callable[[], object], failure: str | Callable[[], str], patience: float) -> None:
    """Wait until `condition` holds, looking 100 times a second."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"gave up after {patience} s: {failure if isinstance(failure, str) else failure()}")
        time.sleep(0.01)


@pytest.fixture(scope="module")
def temporary() -> Iterator[Path]:
    """A short path, since Ray's sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="dk-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory, astronaut: npt.NDArray[np.uint8]) -> Path:
    folder = tmp_path_factory.mktemp("many_faces")
    bgr = np.ascontiguousarray(astronaut[:, :, ::-1])
    for number in range(SHARDS * PER_SHARD):
        left, top = 60 + 2 * number, number % 40
        assert cv2.imwrite(str(folder / f"{number:03}.png"), bgr[top : top + 256, left : left + 256])
    return folder


@pytest.fixture(scope="module")
def expected(faces: Path, tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> dict[str, bytes]:
    """Every file of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run = Run(faces, folder / "out", 0, folder / "log", temporary)
    assert run.end() == 0, run.said
    files = files_in(folder / "out")
    assert sum(name.endswith(".tar") for name in files) == SHARDS
    return files


@pytest.fixture
def start(faces: Path, tmp_path: Path, temporary: Path) -> Callable[[int], Run]:
    """Start the command, or start it again, on the test's one output folder."""

    def start(workers: int) -> Run:
        return Run(faces, tmp_path / "out", workers, tmp_path / f"log{len(Run.started)}", temporary)

    return start


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_nothing_partial(out: Path, expected: dict[str, bytes]) -> None:
    """Whatever stands under a final name is what the undisturbed run has there."""
    for name, data in files_in(out).items():
        if name.startswith(".degrade_kit/tmp/"):
            continue
        if name.endswith(".tar"):
            assert sum(1 for _ in iterate_samples(out / name)) == PER_SHARD
        assert expected.get(name) == data, f"{name} is not what an undisturbed run makes"
    tars = {path.stem for path in out.glob("*.tar")}
    assert {path.stem for path in (out / ".degrade_kit").glob("shard-*.json")} <= tars


def assert_whole(out: Path, expected: dict[str, bytes]) -> None:
    """All files, no other, and not one scratch file."""
    found = files_in(out)
    assert sorted(found) == sorted(expected)
    assert found == expected


def test_a_killed_worker_is_replaced(start: Callable[[int], Run], expected: dict[str, bytes]) -> None:
    run = start(2)
    run.in_work()
    worker = next(iter(run.scratch().values()))
    title = run.processes().get(worker, "")
    os.kill(worker, signal.SIGKILL)

    assert run.end() == 0, run.said
    assert title.startswith("ray::"), title
    assert_whole(run.out, expected)
    run.leaves_no_orphans()


@pytest.mark.long
def test_a_driver_killed_at_any_moment_leaves_whole_files(
    start: Callable[[int], Run], expected: dict[str, bytes]
) -> None:
    rng = random.Random(0)
    moments = [0, *sorted(rng.sample(range(1, SHARDS - 2), 2))]
    for shards in moments:  # 0 is before the first shard, while Ray starts
        run = start(2)
        run.until((run.out / ".degrade_kit").exists, "the output was claimed")
        run.until(lambda run=run, shards=shards: len(run.done()) >= shards, f"{shards} shards were done")
        try:
            run.process.wait(rng.uniform(0, 1))
        except subprocess.TimeoutExpired:
            run.signal(signal.SIGKILL)
        assert run.end() == -signal.SIGKILL or shards > 0
        assert_nothing_partial(run.out, expected)
        # The next run starts at once: workers of this one may still write.

    run = start(2)
    assert run.end() == 0, run.said
    assert_whole(run.out, expected)
    for each in Run.started[-len(moments) - 1 :]:
        each.leaves_no_orphans(but=RAY_AGENTS)


@pytest.mark.long
def test_sigterm_stops_at_once(start: Callable[[int], Run], expected: dict[str, bytes]) -> None:
    run = start(2)
    run.in_work()
    run.signal(signal.SIGTERM)

    assert run.end() == 130
    assert run.said.splitlines()[-1] == f"stopped; {GO_ON}"
    assert "SIGTERM received" not in run.said  # as Ray's own handler says above a stack of C++ calls
    run.leaves_no_orphans()
    assert_nothing_partial(run.out, expected)
    assert not (run.out / "manifest.json").exists()
    again = start(0)
    assert again.end() == 0, again.said
    assert_whole(run.out, expected)


@pytest.mark.long
def test_ctrl_c_finishes_the_shards_in_work(start: Callable[[int], Run], expected: dict[str, bytes]) -> None:
    run = start(2)
    run.in_work()
    in_work = set(run.scratch())
    run.press_ctrl_c()

    assert run.end() == 130, run.said
    assert "press Ctrl-C again" in run.said
    assert run.said.splitlines()[-1] == f"error: stopped; {GO_ON}"
    run.leaves_no_orphans()
    assert in_work <= run.done()
    assert run.scratch() == {}
    assert not (run.out / "manifest.json").exists()
    assert_nothing_partial(run.out, expected)
    kept = len(run.done())
    again = start(0)
    assert again.end() == 0, again.said
    assert f"{kept} kept from before" in again.said
    assert_whole(run.out, expected)


@pytest.mark.long
def test_a_second_ctrl_c_drops_the_shards_in_work(start: Callable[[int], Run], expected: dict[str, bytes]) -> None:
    run = start(2)
    run.in_work()
    run.press_ctrl_c()
    run.until(lambda: "press Ctrl-C again" in run.said, "the first Ctrl-C was answered")
    run.press_ctrl_c()

    assert run.end() == 130, run.said
    assert run.said.splitlines()[-1] == f"stopped; {GO_ON}"
    run.leaves_no_orphans()
    assert len(run.done()) < SHARDS
    assert_nothing_partial(run.out, expected)
    again = start(0)
    assert again.end() == 0, again.said
    assert_whole(run.out, expected)


@pytest.mark.long
def test_ctrl_c_while_ray_starts_leaves_nothing_behind(start: Callable[[int], Run]) -> None:
    run = start(2)
    run.until(lambda: (run.out / ".degrade_kit" / "config.yaml").exists(), "the output was claimed")
    run.press_ctrl_c()

    assert run.end() == 130, run.said
    assert GO_ON in run.said
    run.leaves_no_orphans()
    assert run.scratch() == {}


@pytest.mark.long
def test_sigterm_while_ray_starts_leaves_nothing_behind(start: Callable[[int], Run], temporary: Path) -> None:
    run = start(2)
    run.until(lambda: any(title.endswith("gcs_server") or "/gcs_server" in title for title in run.processes().values()),
              "Ray was starting")  # fmt: skip
    run.signal(signal.SIGTERM)

    assert run.end() == 130, run.said
    assert run.said.splitlines() == [f"stopped; {GO_ON}"]
    run.leaves_no_orphans()
    assert run.scratch() == {}
    assert list(temporary.iterdir()) == []


@pytest.mark.long
def test_a_raylet_that_dies_while_ray_starts_is_one_message(start: Callable[[int], Run], temporary: Path) -> None:
    run = start(2)

    def raylets() -> list[int]:
        return [pid for pid, title in run.processes().items() if title.partition(" ")[0].endswith("/raylet/raylet")]

    run.until(raylets, "Ray was starting")
    for pid in raylets():
        os.kill(pid, signal.SIGKILL)

    assert run.end() == 1, run.said
    assert "Traceback" not in run.said
    assert run.said.splitlines()[-1].startswith("error: Ray could not be started or joined: ")
    run.leaves_no_orphans()
    assert run.scratch() == {}
    assert list(temporary.iterdir()) == []


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_run_without_workers_goes_on_after(
    number: signal.Signals, start: Callable[[int], Run], expected: dict[str, bytes]
) -> None:
    run = start(0)
    run.until(lambda: run.done() and run.scratch(), "a shard was done and one in work")
    run.signal(number)

    assert run.end() == (-signal.SIGKILL if number == signal.SIGKILL else 130), run.said
    assert (GO_ON in run.said) == (number != signal.SIGKILL)
    assert bool(run.scratch()) == (number == signal.SIGKILL)
    run.leaves_no_orphans()
    assert_nothing_partial(run.out, expected)
    kept = len(run.done())
    again = start(0)
    assert again.end() == 0, again.said
    assert f"{kept} kept from before" in again.said
    assert_whole(run.out, expected)


def test_ray_helpers_of_killed_runs_end_by_themselves() -> None:
    """Stands last: by now most of their minute is over."""
    for run in Run.started:
        run.leaves_no_orphans(patience=PATIENCE)
