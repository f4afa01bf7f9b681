"""Tasks in this process and on a real Ray, which runs in a process of its own: it changes environment and signals."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import multiprocessing
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pytest
import threadpoolctl

import degrade_kit.pipelines.executor
from degrade_kit.errors import ConfigError, ImageError, RunError
from degrade_kit.pipelines.executor import (
    MAX_RETRIES,
    ExecutorConfig,
    Outcome,
    Stateful,
    default_workers,
    limited_threads,
    ray_version,
    run_tasks,
)
from degrade_kit.pipelines.signals import Interrupted

HERE = ExecutorConfig(workers=0)
WORKERS = 2


# ------------------------------------------------------------------------------------------------------ in this process


def double(number: int) -> int:
    if number == 13:
        raise ImageError("unlucky", "the number is 13")
    if number < 0:
        raise ValueError("expected a natural number")
    return 2 * number


def test_each_task_has_an_outcome() -> None:
    outcomes = list(run_tasks(double, [1, 2], HERE))

    assert outcomes == [Outcome(1, 2, ""), Outcome(2, 4, "")]


def test_an_error_of_this_project_is_an_outcome_and_others_go_on() -> None:
    outcomes = list(run_tasks(double, [13, 1], HERE))

    assert outcomes == [Outcome(13, None, "unlucky: the number is 13"), Outcome(1, 2, "")]


def test_a_bug_is_raised() -> None:
    with pytest.raises(ValueError, match="natural"):
        list(run_tasks(double, [-1], HERE))


def test_tasks_are_taken_one_by_one() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(3):
            taken.append(number)
            yield number

    outcomes = run_tasks(double, tasks(), HERE)

    assert next(outcomes).task == 0
    assert taken == [0]


def interrupt(times: int) -> int:
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGINT)
    return times


def terminate(_: int) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_ctrl_c_finishes_the_task_in_work(caplog: pytest.LogCaptureFixture) -> None:
    before = handlers()
    outcomes = run_tasks(interrupt, [0, 1, 0], HERE)

    assert [next(outcomes).result, next(outcomes).result] == [0, 1]
    with pytest.raises(Interrupted, match="run the same command again to go on"):
        next(outcomes)
    assert "press Ctrl-C again" in caplog.text
    assert handlers() == before


def test_ctrl_c_in_the_last_task_is_not_lost() -> None:
    outcomes = run_tasks(interrupt, [1], HERE)

    assert next(outcomes).result == 1
    with pytest.raises(Interrupted):
        next(outcomes)


@pytest.mark.parametrize(("function", "task"), [(interrupt, 2), (terminate, 0)])
def test_a_second_ctrl_c_and_sigterm_drop_the_task_in_work(function: Callable[[int], Any], task: int) -> None:
    before = handlers()

    with pytest.raises(KeyboardInterrupt):
        list(run_tasks(function, [task], HERE))
    assert handlers() == before


def threads_here(_: object) -> tuple[int, set[int], str | None]:
    pools = {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}
    return cv2.getNumThreads(), pools, os.environ.get("OMP_NUM_THREADS")


def test_threads_are_limited_inside_the_block_alone() -> None:
    cv2.setNumThreads(2)
    try:
        before = threads_here(None)
        with limited_threads(1):
            opencv, blas, _ = threads_here(None)
            assert (opencv, blas | {1}) == (1, {1})
        assert threads_here(None) == before
        with pytest.raises(KeyError), limited_threads(1):
            raise KeyError
        assert threads_here(None) == before
    finally:
        cv2.setNumThreads(1)  # as tests/conftest.py has it


def test_tasks_run_with_the_threads_asked_for() -> None:
    (outcome,) = run_tasks(threads_here, [0], ExecutorConfig(workers=0, threads=1))

    assert outcome.result is not None
    assert outcome.result[0] == 1


def doubler(setups: list[int]) -> Callable[[int], int]:
    setups.append(os.getpid())
    return double


def test_a_state_is_made_once_and_only_for_a_task() -> None:
    setups: list[int] = []
    work = Stateful(functools.partial(doubler, setups))

    assert list(run_tasks(work, [], HERE)) == []
    assert setups == []
    assert [outcome.result for outcome in run_tasks(work, [1, 13, 3], HERE)] == [2, None, 6]
    assert setups == [os.getpid()]


def unmade() -> Callable[[int], int]:
    raise ConfigError("no checkpoint there")


def test_a_state_that_cannot_be_made_ends_the_run() -> None:
    with pytest.raises(ConfigError, match="no checkpoint there"):
        list(run_tasks(Stateful(unmade), [1, 2], HERE))


def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.metadata.version

    def version(name: str) -> str:
        if name == "ray":
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_without_ray_the_default_is_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ray_version() is not None
    assert default_workers() >= 1
    without_ray(monkeypatch)

    assert ray_version() is None
    assert default_workers() == 0
    assert [outcome.result for outcome in run_tasks(double, [1], HERE)] == [2]


@pytest.mark.parametrize("config", [ExecutorConfig(workers=2), ExecutorConfig(workers=0, ray_address="auto")])
def test_without_ray_workers_are_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, config: ExecutorConfig
) -> None:
    without_ray(monkeypatch)

    with pytest.raises(ConfigError, match=r"pip install 'degrade-kit\[ray\]'.*--workers 0"):
        list(run_tasks(double, [1], config))


def test_ray_is_not_started_for_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(config: ExecutorConfig) -> None:
        raise AssertionError(f"started for {config}")

    monkeypatch.setattr(degrade_kit.pipelines.executor, "_ray", started)

    assert list(run_tasks(double, [], ExecutorConfig(workers=2))) == []


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://[::1]:1"])
def test_an_address_where_nothing_answers_is_an_error_at_once(address: str) -> None:
    with pytest.raises(RunError, match="no Ray cluster answers at"):
        list(run_tasks(double, [1], ExecutorConfig(workers=0, ray_address=address)))


# --------------------------------------------------------------------------------------------------------------- on Ray


@dataclass(frozen=True)
class Job:
    """A task for `work`."""

    name: str
    notes: str
    """A folder in which each attempt leaves a file."""


def work(job: Job) -> Any:  # noqa: ANN401 (whatever the name asks for)
    attempts = len(list(Path(job.notes).glob(f"{job.name}.*")))
    Path(job.notes, f"{job.name}.{attempts}").touch()
    if job.name == "refused":
        raise ImageError("too small", "8 pixels")
    if job.name == "dies always" or (job.name == "dies once" and attempts == 0):
        os.kill(os.getpid(), signal.SIGKILL)
    if job.name == "buggy":
        raise ValueError("a bug, with a message of its own")
    if job.name == "where":
        return {"pid": os.getpid(), "parents": parents(), "address": cluster_address(), "threads": threads_here(None)}
    return job.name


def parents() -> dict[str, dict[str, str]]:
    """Environment of each process above this one, of the same session, by its program's name."""
    found: dict[str, dict[str, str]] = {}
    pid = os.getppid()
    while pid > 1:
        lines = Path(f"/proc/{pid}/environ").read_bytes().decode("utf-8", "replace").split("\0")
        name = Path(f"/proc/{pid}/comm").read_text("utf-8").strip()
        found[name] = dict(line.split("=", 1) for line in lines if "=" in line)
        if name == "raylet":
            break
        pid = int(Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[1])
    return found


def cluster_address() -> str:
    import ray

    return ray.get_runtime_context().gcs_address


JOIN = """
import ray, sys
ray.init(address=sys.argv[1], log_to_driver=False)
print("joined", ray.cluster_resources())
"""


def try_to_join(address: str, patience: float = 60.0) -> str:
    """What a driver without the token says, until it is in or has been refused."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            [sys.executable, "-c", JOIN, address], env={**environment, "HOME": "/nonexistent"}, stdout=said, stderr=said
        ) as process,
    ):
        deadline = time.monotonic() + patience
        try:
            while True:
                ended = process.poll() is not None
                said.seek(0)
                text = said.read().decode("utf-8", "replace")
                if ended or "InvalidAuthToken" in text or "joined" in text:
                    return text
                assert time.monotonic() < deadline, text
                time.sleep(0.05)  # between two looks
        finally:
            process.kill()


@dataclass(frozen=True)
class RayRun:
    """What happened in a process that ran tasks on Ray."""

    outcomes: list[Outcome[Job, Any]]
    most_in_flight: int
    stranger: str
    """What a driver without the token said."""
    bug: BaseException | None
    """What a second run, with a bug in its task, raised."""
    environment: dict[str, str]
    left_behind: list[str]
    """In the folder for temporary files."""
    modes: dict[str, int]
    """Permissions of what was there while Ray ran."""


def run_on_ray(notes: str) -> RayRun:
    config = ExecutorConfig(workers=WORKERS)
    names = ["where", "dies once", *map(str, range(8)), "refused", "dies always"]
    taken = most = 0
    stranger = ""
    modes: dict[str, int] = {}

    def tasks() -> Iterator[Job]:
        nonlocal taken
        for name in names:
            taken += 1
            yield Job(name, notes)

    outcomes: list[Outcome[Job, Any]] = []
    for outcome in run_tasks(work, tasks(), config):
        most = max(most, taken - len(outcomes))
        outcomes.append(outcome)
        if outcome.task.name == "where":
            assert outcome.result is not None
            stranger = try_to_join(outcome.result["address"])
            modes = {path.name: path.stat().st_mode & 0o777 for path in Path(os.environ["TMPDIR"]).iterdir()}
    bug = None
    try:
        list(run_tasks(work, [Job("buggy", notes)], ExecutorConfig(workers=1)))
    except ValueError as error:
        bug = error
    return RayRun(outcomes, most, stranger, bug, dict(os.environ), os.listdir(os.environ["TMPDIR"]), modes)


@contextlib.contextmanager
def fresh_process() -> Generator[Callable[..., Any]]:
    """Call functions in a new process, whose Ray keeps its files in a short path that is removed."""
    folder = tempfile.mkdtemp(prefix="dk-", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("RAY_")]:
            patch.delenv(name)
        patch.setenv("TMPDIR", folder)
        # A cluster that is not there: only --ray-address names one.
        patch.setenv("RAY_ADDRESS", "127.0.0.1:1")
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield lambda function, *arguments: pool.submit(function, *arguments).result(timeout=300)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def ray_run(tmp_path_factory: pytest.TempPathFactory) -> RayRun:
    with fresh_process() as call:
        return call(run_on_ray, str(tmp_path_factory.mktemp("notes")))


def outcome_of(run: RayRun, name: str) -> Outcome[Job, Any]:
    (outcome,) = [outcome for outcome in run.outcomes if outcome.task.name == name]
    return outcome


def result_of(run: RayRun, name: str) -> Any:  # noqa: ANN401 (see `work`)
    return outcome_of(run, name).result


@pytest.mark.long
def test_ray_gives_every_outcome_once(ray_run: RayRun) -> None:
    assert len(ray_run.outcomes) == 12
    for number in map(str, range(8)):
        outcome = outcome_of(ray_run, number)
        assert (outcome.result, outcome.error) == (number, "")


def test_an_error_on_ray_is_an_outcome(ray_run: RayRun) -> None:
    outcome = outcome_of(ray_run, "refused")

    assert (outcome.result, outcome.error) == (None, "too small: 8 pixels")


def test_a_task_whose_worker_died_runs_again(ray_run: RayRun) -> None:
    outcome = outcome_of(ray_run, "dies once")

    assert (outcome.result, outcome.error) == ("dies once", "")
    assert len(list(Path(outcome.task.notes).glob("dies once.*"))) == 2


def test_a_task_that_always_kills_its_worker_is_given_up(ray_run: RayRun) -> None:
    outcome = outcome_of(ray_run, "dies always")

    assert outcome.result is None
    assert outcome.error.startswith(f"its worker died {MAX_RETRIES + 1} times")
    assert len(list(Path(outcome.task.notes).glob("dies always.*"))) == MAX_RETRIES + 1


def test_a_bug_on_ray_is_raised_as_itself(ray_run: RayRun) -> None:
    assert type(ray_run.bug) is ValueError
    assert str(ray_run.bug) == "a bug, with a message of its own"


def test_few_tasks_are_in_flight(ray_run: RayRun) -> None:
    assert ray_run.most_in_flight == WORKERS


def test_a_stranger_is_refused(ray_run: RayRun) -> None:
    assert "InvalidAuthToken" in ray_run.stranger
    assert "joined" not in ray_run.stranger


def test_ray_itself_has_the_token(ray_run: RayRun) -> None:
    result = result_of(ray_run, "where")

    assert result["pid"] != os.getpid()
    raylet = result["parents"]["raylet"]
    assert raylet["RAY_AUTH_MODE"] == "token"
    assert raylet["RAY_AUTH_TOKEN"] == ray_run.environment["RAY_AUTH_TOKEN"]
    assert len(raylet["RAY_AUTH_TOKEN"]) == 64
    assert raylet["RAY_USAGE_STATS_ENABLED"] == "0"


def test_a_worker_has_one_thread(ray_run: RayRun) -> None:
    opencv, blas, openmp = result_of(ray_run, "where")["threads"]

    assert (opencv, blas | {1}, openmp) == (1, {1}, "1")


def test_ray_leaves_nothing_behind(ray_run: RayRun) -> None:
    assert ray_run.left_behind == []


def test_nobody_else_can_enter_the_folder_of_ray(ray_run: RayRun) -> None:
    sessions = {name: mode for name, mode in ray_run.modes.items() if name.startswith("dk-")}
    assert sessions
    assert set(sessions.values()) == {0o700}


# ------------------------------------------------------------------------------------------------------ a state on Ray


def load(notes: str, dies: str = "never") -> Callable[[Job], tuple[int, Any]]:
    """A state that knows its process."""
    pid, starts = os.getpid(), len(list(Path(notes).glob("setup.*")))
    Path(notes, f"setup.{pid}").touch()
    if dies == "always" or (dies == "once" and starts == 0):
        os.kill(pid, signal.SIGKILL)
    return lambda job: (pid, work(job))


@dataclass(frozen=True)
class StatefulRun:
    """What came of work with a state."""

    outcomes: list[Outcome[Job, tuple[int, Any]]]
    outcomes_after_a_death_in_setup: list[Outcome[Job, tuple[int, Any]]]
    outcomes_without_a_state: list[Outcome[Job, tuple[int, Any]]]
    raised: list[Exception]
    """By a state that cannot be made, and by workers that need more GPUs than there are."""


def run_stateful(notes: str) -> StatefulRun:
    folders = [Path(notes, name) for name in ("tasks", "once", "always")]
    for folder in folders:
        folder.mkdir()
    tasks, once, always = map(str, folders)
    names = ["dies once", *map(str, range(8)), "refused", "dies always"]
    one, two = ExecutorConfig(workers=1), ExecutorConfig(workers=WORKERS)
    raised: list[Exception] = []
    for setup, config in ((unmade, one), (functools.partial(load, notes), ExecutorConfig(workers=1, gpus=1000))):
        try:
            list(run_tasks(Stateful[Any, Any](setup), [1], config))
        except (ConfigError, RunError) as error:
            raised.append(error)
    return StatefulRun(
        list(run_tasks(Stateful(functools.partial(load, tasks)), [Job(name, tasks) for name in names], two)),
        list(run_tasks(Stateful(functools.partial(load, once, "once")), [Job("a", once)], one)),
        list(run_tasks(Stateful(functools.partial(load, always, "always")), [Job("a", always)], one)),
        raised,
    )


@pytest.fixture(scope="module")
def stateful_run(tmp_path_factory: pytest.TempPathFactory) -> StatefulRun:
    with fresh_process() as call:
        return call(run_stateful, str(tmp_path_factory.mktemp("notes")))


@pytest.mark.long
def test_a_state_on_ray_is_made_once_in_each_process(stateful_run: StatefulRun) -> None:
    results = [outcome.result for outcome in stateful_run.outcomes if outcome.result is not None]
    notes = Path(stateful_run.outcomes[0].task.notes)
    made = [int(path.suffix[1:]) for path in notes.glob("setup.*")]

    assert sorted(name for _, name in results) == sorted(["dies once", *map(str, range(8))])
    assert {pid for pid, _ in results} <= set(made)
    # Two at first, and another for each of those that died.
    assert WORKERS <= len(made) <= WORKERS + 1 + MAX_RETRIES + 1


@pytest.mark.long
def test_outcomes_with_a_state_are_those_without(stateful_run: StatefulRun) -> None:
    errors = {outcome.task.name: outcome.error for outcome in stateful_run.outcomes if outcome.error}

    assert errors.pop("refused") == "too small: 8 pixels"
    assert errors.pop("dies always").startswith(f"its worker died {MAX_RETRIES + 1} times")
    assert errors == {}


@pytest.mark.long
def test_a_worker_that_dies_while_it_makes_its_state_is_replaced(stateful_run: StatefulRun) -> None:
    (outcome,) = stateful_run.outcomes_after_a_death_in_setup

    assert outcome.result is not None
    assert outcome.result[1] == "a"


@pytest.mark.long
def test_workers_that_never_get_to_their_state_are_given_up(stateful_run: StatefulRun) -> None:
    (outcome,) = stateful_run.outcomes_without_a_state

    assert outcome.error.startswith(f"its worker died {MAX_RETRIES + 1} times")
    assert len(list(Path(outcome.task.notes).glob("setup.*"))) == MAX_RETRIES + 1


@pytest.mark.long
def test_what_stops_all_workers_is_raised(stateful_run: StatefulRun) -> None:
    unmade_error, gpu_error = stateful_run.raised

    assert type(unmade_error) is ConfigError
    assert str(unmade_error) == "no checkpoint there"
    assert "each worker needs 1000 GPUs and Ray finds" in str(gpu_error)


# ------------------------------------------------------------------------------------------------------ a Ray elsewhere

CLUSTER = """
import ray, sys
address = ray.init(
    address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=128 << 20
).address_info["gcs_address"]
print("address", address, flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Cluster:
    """A Ray that another process has started."""

    address: str
    token: str
    process: subprocess.Popen[str]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    token = secrets.token_hex(32)
    folder = tempfile.mkdtemp(prefix="dk-", dir="/tmp")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "TMPDIR": folder}
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            words = process.stdout.readline().split()
            assert words[:1] == ["address"], words
            yield Cluster(words[1], token, process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)
    shutil.rmtree(folder, ignore_errors=True)


def synth_on(cluster: Cluster, faces: Path, out: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [
        sys.executable,
        "-m",
        "degrade_kit.pipelines.cli",
        "synth",
        "--hq",
        str(faces),
        "--shards",
        str(out),
        "--size",
        "64",
    ]
    return subprocess.run(
        [*command, "--samples-per-shard", "2", "--ray-address", cluster.address],
        env={**inherited, "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.long
def test_a_cluster_is_joined_and_left_running(cluster: Cluster, faces_dir: Path, tmp_path: Path) -> None:
    for out in ("first", "second"):
        result = synth_on(cluster, faces_dir, tmp_path / out, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=cluster.token)
        assert result.returncode == 0, result.stderr
        assert "6 samples" in result.stdout
        assert cluster.process.poll() is None
    tars = [sorted(path.read_bytes() for path in (tmp_path / out).glob("*.tar")) for out in ("first", "second")]
    assert tars[0] == tars[1]
    assert len(tars[0]) == 3


@pytest.mark.long
def test_a_cluster_is_not_joined_without_its_token(cluster: Cluster, faces_dir: Path, tmp_path: Path) -> None:
    result = synth_on(cluster, faces_dir, tmp_path / "out", RAY_AUTH_MODE="token")

    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: Ray could not be started or joined: Token authentication")
    assert not list((tmp_path / "out").glob("*.tar"))


def script(code: str, *words: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script of a user in a process without variables of Ray, but for those that are given."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | variables
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=180, env=environment)


@pytest.mark.slow
@pytest.mark.long
def test_a_script_that_imported_ray_before_makes_a_data_set(faces_dir: Path, tmp_path: Path) -> None:
    code = (
        "import sys, ray\nimport degrade_kit as dk\n"
        "print(dk.synthesize(sys.argv[1], sys.argv[2], size=64, workers=1).num_samples)\n"
    )
    done = script(code, faces_dir, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "6"
    assert "Ray was imported before without RAY_AUTH_MODE=token" in done.stderr


@pytest.mark.slow
@pytest.mark.long
def test_a_process_whose_token_is_taken_away_starts_ray_again(faces_dir: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys\nimport degrade_kit as dk\n"
        "for out in sys.argv[2:]:\n"
        "    print(dk.synthesize(sys.argv[1], out, size=64, workers=1).digest)\n"
        "    del os.environ['RAY_AUTH_TOKEN']\n"
    )
    done = script(code, faces_dir, tmp_path / "one", tmp_path / "two", RAY_AUTH_TOKEN="a" * 64)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.split()
    assert first == second
