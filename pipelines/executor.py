"""Runs one piece of work over many tasks, in this process or on Ray: same results, errors and retries.

The only module that imports Ray. A task is small, long-running and repeatable; its result is small: pixels never pass
through Ray's object store.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import logging
import math
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar, cast

from degrade_kit import image_bounds
from degrade_kit.errors import ConfigError, DegradeKitError, RunError
from degrade_kit.files import is_abandoned, scratch_path, temporary_folder
from degrade_kit.pipelines.machine import processors, shared_memory
from degrade_kit.pipelines.signals import Interrupt, patient, terminable
from degrade_kit.wording import human_bytes

log = logging.getLogger(__name__)

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")

_OBJECT_STORE = 128 * 1024 * 1024
"""Bytes for what Ray's processes hand each other; tasks and results are small."""
MAX_RETRIES = 3
"""Times that a task is started again after its worker has died; one that went with its machine is not counted."""
WAIT_SECONDS = 600.0
"""Seconds without a single worker after which a run on a cluster gives up; see `ExecutorConfig.wait`."""
_TELL_SECONDS = 5.0
"""Seconds without a single worker after which a run says what it waits for."""
_LOOK_SECONDS = 2.0
"""Seconds between two looks at what a cluster has, and that a machine has to be known as gone."""
_LOST_SECONDS = 30.0
"""Seconds after the loss of a machine in which a worker that cannot be started is put down to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutorConfig:
    """Where tasks run."""

    workers: int | None = None
    """Worker processes; 0 runs the tasks in this process. None leaves it to the job, which knows how much there is to
    do: see `degrade_kit.pipelines.effort.resolve_workers`. A cluster is asked for this many, those beyond what it has
    too, so that an autoscaler adds machines; None is one for each processor that it has, those that join it later
    included."""
    ray_address: str | None = None
    """Address of a running Ray cluster to join; None starts a local one where there are workers."""
    threads: int = 1
    """Threads of OpenCV and BLAS in each worker: workers share the machine, and one thread gives the same bits
    always."""
    gpus: float = 0.0
    """GPUs of each worker on Ray; below 1, workers share one. Work in this process takes what it finds."""
    wait: float = WAIT_SECONDS
    """Seconds that a run on a cluster waits while there is no place for a single worker, as until an autoscaler has
    started a machine."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 0:
            raise ConfigError(f"workers: expected 0 or more, got {self.workers}")
        if not self.gpus >= 0:
            raise ConfigError(f"gpus_per_worker: expected 0 or more, got {self.gpus}")
        if not self.wait >= 0:
            raise ConfigError(f"wait: expected 0 or more seconds, got {self.wait}")


@dataclass(frozen=True)  # with slots, `Stateful[Task, Result](...)` fails in Python 3.11
class Stateful(Generic[_Task, _Result]):
    """Work that needs a costly state, such as a model: made once in each worker process, for its first task.

    >>> import functools
    >>> def load(factor: int):
    ...     return lambda task: factor * task
    >>> outcomes = run_tasks(Stateful(functools.partial(load, 3)), [1, 2], ExecutorConfig(workers=0))
    >>> [outcome.result for outcome in outcomes]
    [3, 6]
    """

    setup: Callable[[], Callable[[_Task], _Result]]
    """Makes the state and returns the function of a task that uses it. Picklable: a module-level function, or a partial
    of one. Its errors end the run, those of this project too: other workers would meet them again."""


Work: TypeAlias = Callable[[_Task], _Result] | Stateful[_Task, _Result]


@dataclass(frozen=True, slots=True)
class Outcome(Generic[_Task, _Result]):
    """How one task ended."""

    task: _Task
    result: _Result | None
    error: str
    """Empty where there is a result."""


def run_tasks(
    work: Work[_Task, _Result], tasks: Iterable[_Task], config: ExecutorConfig
) -> Iterator[Outcome[_Task, _Result]]:
    """Yield the outcome of every task as it ends, in any order.

    A first Ctrl-C lets the tasks in flight end and then raises `Interrupted`; a second one, or SIGTERM, drops them.

    Args:
        work: A module-level function, or what makes one for each worker; its errors of this project become outcomes,
            all others are raised. A task whose worker dies is run again, `MAX_RETRIES` times.
        tasks: Picklable; taken one by one, so that a long list need not be known at the start.
        config: Where to run.

    Raises:
        Interrupted: After Ctrl-C.
        KeyboardInterrupt: After a second Ctrl-C or SIGTERM.
        RunError: If Ray cannot be started or joined, or there is no place for a worker: here not enough GPUs, on a
            cluster nothing free for `config.wait`.
        ConfigError: If workers are asked for and Ray is not installed.
    """
    assert config.workers is not None or config.ray_address is not None, "resolve_workers comes first"
    if not config.workers and config.ray_address is None:
        yield from _run_here(work, tasks, config)
    else:
        yield from _run_on_ray(work, tasks, config)


def train_on_workers(
    function: Callable[[_Task], Any], task: _Task, count: int, *, gpus: float = 0.0, ray_address: str | None = None
) -> None:
    """Run one function in several processes that PyTorch's process group joins, by Ray Train.

    Args:
        function: A module-level function that trains; Accelerate finds its rank in the environment.
        task: Its argument, picklable.
        count: Processes.
        gpus: Of each process; 0 trains on CPUs, with the gloo backend.
        ray_address: As in `ExecutorConfig`.

    Raises:
        ConfigError: If Ray or a part of it is not installed.
        RunError: If a process failed; its own message is told.
    """
    with _ray(ExecutorConfig(workers=count + 1, ray_address=ray_address, gpus=gpus)), terminable():
        try:
            from ray.train import RunConfig, ScalingConfig
            from ray.train.torch import TorchTrainer
        except ImportError as error:
            raise ConfigError(
                f"several processes need Ray Train: pip install 'degrade-kit[train]' ({error}); or give --workers 0"
            ) from error
        scaling: Any = ScalingConfig(
            num_workers=count, use_gpu=gpus > 0, resources_per_worker={"CPU": 1, **({"GPU": gpus} if gpus else {})}
        )
        storage = temporary_folder()
        trainer: Any = TorchTrainer(
            functools.partial(_train_one, function, task),
            scaling_config=scaling,
            run_config=cast("Any", RunConfig)(storage_path=str(storage)),
        )
        try:
            trainer.fit()
        except Exception as error:
            causes = [str(cause).strip().splitlines()[-1] for cause in (error.__cause__, error) if cause is not None]
            raise RunError(f"a training process failed: {causes[0]}") from error
        finally:
            shutil.rmtree(storage, ignore_errors=True)


def _train_one(function: Callable[[_Task], Any], task: _Task) -> None:
    function(task)


def ray_version() -> str | None:
    """Version of the Ray that is installed, None if there is none; does not import it."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ray")
    except PackageNotFoundError:
        return None


def default_workers() -> int:
    """Most workers worth starting: one per processor that this process may use, or 0 where Ray is not installed."""
    return 0 if ray_version() is None else processors()


@contextlib.contextmanager
def limited_threads(count: int) -> Generator[None]:
    """Limit OpenCV and BLAS to `count` threads inside the block."""
    import cv2
    from threadpoolctl import threadpool_limits

    before = cv2.getNumThreads()
    cv2.setNumThreads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        cv2.setNumThreads(before)


def _run_here(
    work: Work[_Task, _Result], tasks: Iterable[_Task], config: ExecutorConfig
) -> Iterator[Outcome[_Task, _Result]]:
    worker = _Worker(work)
    with Interrupt() as interrupt, terminable():
        for task in tasks:
            interrupt.check()
            yield worker.run(task, config.threads)
        interrupt.check()


def _keep_memory() -> None:
    """Tell the C library to keep freed memory: an image's worth of fresh pages costs more than an operation on it.

    Only glibc has the call; the limit of what it keeps is a few images' worth of a worker's memory.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 64 << 20)
        library.mallopt(_M_TRIM_THRESHOLD, 64 << 20)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # from malloc.h


class _Worker(Generic[_Task, _Result]):
    """Runs tasks in the process that it is in; on Ray, an actor."""

    def __init__(self, work: Work[_Task, _Result]) -> None:
        self._setup: Callable[[], Callable[[_Task], _Result]]
        self._setup = work.setup if isinstance(work, Stateful) else lambda: work
        self._function: Callable[[_Task], _Result] | None = None

    def machine(self) -> str:
        """The machine of the cluster that this worker runs on."""
        import ray

        return cast("Any", ray).get_runtime_context().get_node_id()

    def run(self, task: _Task, threads: int) -> Outcome[_Task, _Result]:
        _keep_memory()
        with limited_threads(threads):
            if self._function is None:  # not in `__init__`: of an error there, Ray tells the text alone
                self._function = self._setup()
            try:
                return Outcome(task, self._function(task), "")
            except DegradeKitError as error:
                return Outcome(task, None, str(error))


_Remote: TypeAlias = Any
"""Something of Ray, which has no types: an actor, or the reference to what it will give."""


def _run_on_ray(
    work: Work[_Task, _Result], tasks: Iterable[_Task], config: ExecutorConfig
) -> Iterator[Outcome[_Task, _Result]]:
    tasks = iter(tasks)
    first = next(tasks, _END)
    if first is _END:
        return  # Ray takes seconds to start
    waiting = itertools.chain([first], tasks)
    # Ctrl-C waits for Ray's start, as SIGTERM does.
    with Interrupt() as interrupt, terminable(), _ray(config) as ray:
        crew = _Crew(ray, work, config)
        exhausted = False
        while True:
            if interrupt.requested:
                exhausted = True
                crew.drop_queue()
            while not exhausted and crew.wants_tasks():
                task = next(waiting, _END)
                exhausted = task is _END
                if not exhausted:
                    crew.submit(task)
            crew.deal()
            if not crew.flying and not crew.queue:
                break
            yield from crew.collect()
        interrupt.check()


_END: Any = object()


@dataclass(frozen=True, slots=True)
class _Attempt(Generic[_Task]):
    """A task to do."""

    task: _Task
    start: int = 1
    """1 the first time that it is started."""


@dataclass(frozen=True, slots=True)
class _Member:
    """A worker that runs."""

    actor: _Remote
    machine: str


class _Crew(Generic[_Task, _Result]):
    """Actors, each with one task at a time.

    Ray is asked for as many as there are tasks, up to a number, and gives them places as they come free; a task goes to
    none that has no place yet. Those that die are replaced here and not by Ray, which would not stop at one that dies
    while it makes its state.
    """

    def __init__(self, ray: _Remote, work: Work[_Task, _Result], config: ExecutorConfig) -> None:
        self._ray, self._work, self._config = ray, work, config
        options = {"num_cpus": 1, "num_gpus": config.gpus, "scheduling_strategy": "SPREAD"}
        self._actor = ray.remote(**options)(_Worker)
        self.queue: deque[_Attempt[_Task]] = deque()
        """Tasks without a worker."""
        self.flying: dict[_Remote, tuple[_Attempt[_Task], _Member]] = {}
        """Tasks in work, by the reference of the outcome."""
        self._asked: dict[_Remote, _Remote] = {}
        """Actors that have no place yet, by the reference of the first word."""
        self._idle: list[_Member] = []
        self._failed = 0
        """Actors that died before their first word, since the last one that lived."""
        self._alone: float | None = None
        """Since when there has been no worker."""
        self._told = False
        self._looked = self._lost_at = -math.inf
        self._lost: set[str] = set()
        """Machines that had left the cluster when one was missed last."""
        self._size = 0
        if config.gpus and config.ray_address is None and self._places() == 0:
            found = ray.cluster_resources().get("GPU", 0)
            raise RunError(f"each worker needs {config.gpus:g} GPUs and Ray finds {found:g}; see `nvidia-smi`")

    def wants_tasks(self) -> bool:
        """Whether there may be a worker for one more task."""
        return len(self.flying) + len(self.queue) < self._most()

    def submit(self, task: _Task) -> None:
        """Take a task."""
        self.queue.append(_Attempt(task))

    def drop_queue(self) -> None:
        """Forget the tasks that no worker has begun."""
        self.queue.clear()

    def deal(self) -> None:
        """Give the waiting tasks to those who are free, and ask for workers for the others."""
        while self.queue and self._idle:
            attempt, member = self.queue.popleft(), self._idle.pop()
            self.flying[member.actor.run.remote(attempt.task, self._config.threads)] = (attempt, member)
        while len(self._asked) < len(self.queue):
            actor = self._actor.remote(self._work)
            self._asked[actor.machine.remote()] = actor
        if not self.queue:  # what others hold may be what somebody else's job waits for
            for actor in (*self._asked.values(), *(member.actor for member in self._idle)):
                self._ray.kill(actor)
            self._asked.clear()
            self._idle.clear()

    def collect(self) -> Iterator[Outcome[_Task, _Result]]:
        """Wait a moment for what ends, and give its outcomes."""
        # The time limit lets Python run the signal handler, which it cannot do inside Ray's wait; two Ctrl-C within
        # it count as one.
        done, _ = self._ray.wait([*self.flying, *self._asked], num_returns=1, timeout=0.1)
        for reference in done:
            if reference in self._asked:
                self._welcome(reference)
            elif (outcome := self._outcome(reference)) is not None:
                yield outcome
        self._wait_for_workers()

    def _outcome(self, reference: _Remote) -> Outcome[_Task, _Result] | None:
        """The outcome of a task that ended; None if its worker died and it waits for another."""
        attempt, member = self.flying.pop(reference)
        try:
            outcome = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:
            self._ray.kill(member.actor)  # it may be cut off and not dead
            start = attempt.start if self._is_gone(member.machine) else attempt.start + 1
            if start <= MAX_RETRIES + 1:
                self.queue.appendleft(_Attempt(attempt.task, start))
                return None
            reason = str(error).strip().splitlines()[0]
            return Outcome(attempt.task, None, f"its worker died {attempt.start} times ({reason})")
        self._idle.append(member)
        return outcome

    def _welcome(self, reference: _Remote) -> None:
        """Take in an actor that has a place, or forget one that died before it had said a word."""
        actor = self._asked.pop(reference)
        try:
            self._idle.append(_Member(actor, self._ray.get(reference)))
            self._failed = 0
        except self._ray.exceptions.RayError as error:
            self._ray.kill(actor)
            self._failed += not self._lost_machines()
            if self._failed > MAX_RETRIES + self._most():
                reason = str(error).strip().splitlines()[-1].strip()
                raise RunError(f"no worker could be started, in {self._failed} tries: {reason}") from error

    def _most(self) -> int:
        """Most tasks at a time."""
        if self._config.workers and (self._config.ray_address is not None or not self._config.gpus):
            return self._config.workers
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked, self._size = now, max(1, self._places())
        return self._size

    def _places(self) -> int:
        """Workers that Ray has room for, if nobody else is there."""
        found = self._ray.cluster_resources()
        places = self._config.workers or int(found.get("CPU", 0))
        return min(places, int(found.get("GPU", 0) / self._config.gpus + 1e-9)) if self._config.gpus else places

    def _is_gone(self, machine: str) -> bool:
        """Whether a machine of a cluster has left it."""
        return self._comes_true(lambda: machine in self._gone())

    def _lost_machines(self) -> bool:
        """Whether a machine has left the cluster lately: where an actor without a first word was, nobody knows."""
        before = len(self._lost)
        if self._comes_true(lambda: len(self._gone()) > before):
            self._lost, self._lost_at = self._gone(), time.monotonic()
        return time.monotonic() - self._lost_at < _LOST_SECONDS

    def _gone(self) -> set[str]:
        return {node["NodeID"] for node in self._ray.nodes() if not node["Alive"]}

    def _comes_true(self, happened: Callable[[], bool]) -> bool:
        """Whether it happens that a machine is known to have left the cluster, which takes a moment."""
        if self._config.ray_address is None:
            return False
        end = time.monotonic() + _LOOK_SECONDS
        while not happened():
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    def _wait_for_workers(self) -> None:
        """On a cluster, say what is waited for while there is no worker at all, and give up after a time."""
        if self._config.ray_address is None or self.flying or self._idle or not self._asked:
            self._alone, self._told = None, False
            return
        now = time.monotonic()
        self._alone = now if self._alone is None else self._alone
        if now - self._alone >= self._config.wait:
            raise RunError(
                f"no worker found a place in {self._config.wait:g} seconds, in which the run waited for "
                f"{self._missing()}; add machines, give a longer --wait, or see by `ray status` what holds them"
            )
        if not self._told and now - self._alone >= _TELL_SECONDS and self._free() < self._share:
            self._told = True
            log.warning("waiting for %s; an autoscaler is asked, for up to %g seconds (--wait)", self._missing(),
                        self._config.wait)  # fmt: skip

    @property
    def _share(self) -> float:
        return self._config.gpus or 1

    def _free(self) -> float:
        return self._ray.available_resources().get(self._kind, 0)

    @property
    def _kind(self) -> str:
        return "GPU" if self._config.gpus else "CPU"

    def _missing(self) -> str:
        wanted = self._share * len(self._asked)
        there = self._ray.cluster_resources().get(self._kind, 0)
        plural = "s" if wanted != 1 else ""
        return f"{wanted:g} {self._kind}{plural}: {there:g} there, {self._free():g} of them free"


@contextlib.contextmanager
def _ray(config: ExecutorConfig) -> Generator[Any]:
    """Ray, started or joined."""
    if ray_version() is None:
        raise ConfigError(
            "workers run on Ray, which is not installed: pip install 'degrade-kit[ray]', or give --workers 0 to "
            "work in this process"
        )
    if config.ray_address is not None:
        _check_reachable(config.ray_address)
    _set_environment(config)
    import ray as untyped

    ray = cast("Any", untyped)
    with contextlib.ExitStack() as cleanup:
        with patient(), _handlers_kept(ray):  # a start that is broken off leaves processes behind
            try:
                if config.ray_address is not None:
                    ray.init(
                        address=config.ray_address,
                        log_to_driver=False,
                        logging_level=logging.ERROR,
                        runtime_env={"env_vars": _passed_on()},
                    )
                else:
                    assert config.workers is not None, "there is no cluster to ask"
                    folder = str(cleanup.enter_context(_session_folder()))
                    ray.init(
                        address="local",  # RAY_ADDRESS is not ours to follow
                        num_cpus=config.workers,
                        include_dashboard=False,
                        log_to_driver=False,
                        logging_level=logging.ERROR,
                        object_store_memory=_OBJECT_STORE,
                        _temp_dir=folder,
                        _plasma_directory=_object_store_folder(folder),
                    )
            except Exception as error:  # Ray raises a bare one where a part of it dies, or takes too long, at the start
                with contextlib.suppress(Exception):
                    ray.shutdown()  # of the parts that live
                # Ray's own error may name the address alone; that the token was refused stands last in its cause.
                reasons = [*str(error).strip().splitlines()[:1], *str(error.__cause__ or "").strip().splitlines()[-1:]]
                raise RunError(f"Ray could not be started or joined: {': '.join(reasons)}") from error
            cleanup.callback(_shut_down, ray)
        yield ray


def _passed_on() -> dict[str, str]:
    """What workers of a cluster, which were started elsewhere, need of this process's environment."""
    return {name: os.environ[name] for name in (image_bounds.VARIABLE,) if name in os.environ}


def _shut_down(ray: _Remote) -> None:
    with patient():
        ray.shutdown()


@contextlib.contextmanager
def _handlers_kept(ray: _Remote) -> Generator[None]:
    """Keep Ray's start from handling SIGTERM, which it does by leaving at once and without a word."""
    utils = ray._private.utils
    theirs = getattr(utils, "set_sigterm_handler", None)
    if theirs is None:
        yield
        return
    utils.set_sigterm_handler = lambda handler: None  # pyright: ignore[reportUnknownLambdaType] (Ray has no types)
    try:
        yield
    finally:
        utils.set_sigterm_handler = theirs


@contextlib.contextmanager
def _session_folder() -> Generator[Path]:
    """Where a Ray of ours keeps logs and sockets; without it, every run would leave some megabytes behind.

    Ray lets everybody write to the folder that it is given and to all that it makes in it; to the one around it, it
    does nothing, and so nobody else comes that far.
    """
    base = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    # The name of a Unix socket has 107 bytes at most, and Ray's end in /session_YYYY-MM-DD_hh-mm-ss_ffffff_PID/sockets/
    # plasma_store, up to 69 bytes.
    if len(os.fsencode(base)) > 107 - 69 - len("/dk-12345678/r"):
        base = "/tmp"
    for note in Path(base).glob("dk-????????/.run.*"):
        if is_abandoned(note):
            shutil.rmtree(note.parent, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="dk-", dir=base, ignore_cleanup_errors=True) as private:
        scratch_path(Path(private) / "run").touch()
        folder = Path(private) / "r"
        folder.mkdir()
        yield folder


def _object_store_folder(session: str) -> str | None:
    """Where Ray keeps what its processes share: its own choice, /dev/shm, unless that is too small or not there."""
    free = shared_memory()
    if free is not None and free > _OBJECT_STORE:
        return None
    found = "is not there" if free is None else f"has only {human_bytes(free)} free"
    log.warning("/dev/shm %s, so Ray keeps its %s in %s; nothing large passes there", found,
                human_bytes(_OBJECT_STORE), session)  # fmt: skip
    return session


def _check_reachable(address: str) -> None:
    """Stop at a wrong address: Ray would try it for 20 minutes, and would not heed Ctrl-C meanwhile."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if not port.isdecimal():
        return  # such as `auto`
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise RunError(
            f"no Ray cluster answers at {address}: {error}; `ray start --head` prints the right one"
        ) from error


@functools.cache
def _first_token() -> str:
    """The token that this process begins with: Ray keeps the first that it reads, whatever becomes of the variable."""
    return os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32)


def _set_environment(config: ExecutorConfig) -> None:
    """Set what Ray and its workers read from the environment at their start."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # A handler in C++, which prints a stack of calls at SIGTERM and cannot be waited for.
    os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, str(config.threads))
    token = _first_token()
    if config.ray_address is None and "ray" in sys.modules and os.environ.get("RAY_AUTH_MODE") != "token":
        # Ray reads this when it is imported, and could not be started otherwise now.
        log.warning("Ray was imported before without RAY_AUTH_MODE=token: whoever reaches its ports may use it")
    elif config.ray_address is None:
        # Ray listens on all interfaces and runs what it is told to: nobody without this token may tell it.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", token)
