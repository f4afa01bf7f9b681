"""LQ images by a recipe with a network in it: the maker that a Ray actor holds.

Records fall into segments. Threads read faces and run what a CPU does, up to each record's first call of a network; the
network answers the calls of several faces together; and threads do the rest, while it answers the next ones.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from degrade_kit.canvas import Canvas
from degrade_kit.degradation import NativeLq, degrade_segments
from degrade_kit.image import Pixels
from degrade_kit.network_ops import Network, NetworkCall
from degrade_kit.ops import network_calls
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.makers.recipe_maker import Prepared, draw_record, encode_variant, origin_of
from degrade_kit.record import Record
from degrade_kit.shards import Variant

AHEAD: Final = 1
"""Groups of faces that are read and begun while the network works."""

_T = TypeVar("_T")


class NetworkMaker:
    """Makes variants with a network; see `VariantMaker` in `recipe_maker`.

    Args:
        config: Of the data set.
        lq_extension: Format of all LQ images of the data set.
        network: Answers the calls of the recipe's networks.
        threads: Threads beside the network.
    """

    def __init__(self, config: SynthConfig, lq_extension: str, network: Network, threads: int = 1) -> None:
        self._config, self._extension, self._network, self._threads = config, lq_extension, network, threads
        self.busy = 0.0
        """Seconds in the network."""

    def variants(self, faces: Iterable[Prepared]) -> Iterator[list[Variant]]:
        """Make the variants of each face; see `VariantMaker`."""
        with ThreadPoolExecutor(max_workers=self._threads) as pool:
            before: list[_Job] = []
            for jobs in _ahead(self._begun(iter(faces), pool), AHEAD):
                self._answer(jobs, pool)
                # The faces before were finished while the network answered for these.
                yield from self._finished(before)
                before = jobs
            yield from self._finished(before)

    def _begun(self, faces: Iterator[Prepared], pool: ThreadPoolExecutor) -> Iterator[list[_Job]]:
        """Yield groups of jobs, as many as the network is given at a time, each at its first call."""
        together = max(1, self._config.network.batch_size // self._config.variants)
        while group := list(itertools.islice(faces, together)):
            jobs: list[Future[_Job]] = []
            for face in group:
                canvas = Canvas(pixels=face.hq)
                canvas.planes()  # which threads would make at the same time
                for number in range(self._config.variants):
                    record = draw_record(self._config, face, number)
                    jobs.append(pool.submit(_Job, record, canvas, self._encode))
            yield [job.result() for job in jobs]

    def _answer(self, jobs: list[_Job], pool: ThreadPoolExecutor) -> None:
        """Let the network answer all calls of these jobs; the last part of each may still be in a thread afterwards."""
        waiting: list[_Job] = []
        for job in jobs:
            if job.call is None:
                job.last = pool.submit(job.finish)
            else:
                waiting.append(job)
        while waiting:
            start = time.perf_counter()
            made = self._network([job.call for job in waiting if job.call is not None])
            self.busy += time.perf_counter() - start
            for job, pixels in zip(waiting, made, strict=True):
                job.calls_left -= 1
                job.last = pool.submit(job.go_on, pixels)
            waiting = [job for job in waiting if job.calls_left]
            for job in waiting:
                job.wait()

    def _finished(self, jobs: list[_Job]) -> Iterator[list[Variant]]:
        variants = self._config.variants
        for start in range(0, len(jobs), variants):
            yield [job.result() for job in jobs[start : start + variants]]

    def _encode(self, record: Record, native: NativeLq, hq: Canvas) -> Variant:
        config = self._config
        origin = origin_of(record, config.recipe)
        return encode_variant(record, native, hq.full_size, origin, self._extension, full=config.lq_size == "full")


class _Job:
    """A variant in work: run up to its first call of a network when it is made.

    Args:
        record: What to do.
        hq: Canvas of the HQ image.
        encode: Makes the variant of record, native LQ image and HQ image.
    """

    def __init__(self, record: Record, hq: Canvas, encode: Callable[[Record, NativeLq, Canvas], Variant]) -> None:
        self._record, self._hq, self._encode = record, hq, encode
        self._work = degrade_segments(record, hq)
        self._native: NativeLq | None = None
        self._variant: Variant | None = None
        self.call: NetworkCall | None = None
        self.calls_left = network_calls(record.steps)
        self.last: Future[None] | None = None
        """What a thread does for it."""
        self._send(None)

    def go_on(self, pixels: Pixels) -> None:
        """Take the network's answer and run up to the next call, or to the end."""
        self._send(pixels)
        if self.call is None:
            self.finish()

    def finish(self) -> None:
        """Encode the LQ image."""
        assert self._native is not None
        self._variant = self._encode(self._record, self._native, self._hq)
        self._native = None

    def wait(self) -> None:
        """Wait for the thread that does something for it, and raise its error."""
        assert self.last is not None
        self.last.result()

    def result(self) -> Variant:
        """Wait for the variant."""
        self.wait()
        assert self._variant is not None
        return self._variant

    def _send(self, pixels: Pixels | None) -> None:
        try:
            self.call = next(self._work) if pixels is None else self._work.send(pixels)
        except StopIteration as end:
            self.call, self._native = None, end.value


def _ahead(items: Iterator[_T], depth: int) -> Iterator[_T]:
    """The same items, made in a thread, at most `depth` of them before they are asked for."""
    ready: queue.Queue[Any] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(entry: Any) -> bool:  # noqa: ANN401 (an item, an error or the end)
        while not stopped.is_set():
            try:
                ready.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def fill() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
        except BaseException as error:
            put((None, error))
        else:
            put((None, StopIteration()))

    thread = threading.Thread(target=fill, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        stopped.set()
        thread.join()
