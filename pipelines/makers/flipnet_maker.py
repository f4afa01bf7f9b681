"""LQ images by a FlipNet, alone or mixed with a recipe: the maker that a Ray actor holds."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from degrade_kit.canvas import Canvas
from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.degrader import Degrader, draw_prompt, flipnet_record
from degrade_kit.image import Pixels, encode_png
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.makers.flipnet_settings import FlipNetSettings
from degrade_kit.pipelines.makers.recipe_maker import Prepared, make_variant
from degrade_kit.record import Record
from degrade_kit.seeding import generator
from degrade_kit.shards import Variant

AHEAD: Final = 4
"""Faces that are read while the model works."""

_T = TypeVar("_T")


class FlipNetMaker:
    """Makes variants by a model and, in a mix, by a recipe; see `VariantMaker` in `recipe_maker`.

    Faces are read, and finished images encoded, in threads beside the model.

    Args:
        config: Of the data set; has FlipNet settings.
        degrader: The model.
    """

    def __init__(self, config: SynthConfig, degrader: Degrader) -> None:
        assert config.flipnet is not None
        self._config, self._degrader, self._settings = config, degrader, config.flipnet
        self.busy = 0.0
        """Seconds in the model."""

    def variants(self, faces: Iterable[Prepared]) -> Iterator[list[Variant]]:
        """Make the variants of each face; see `VariantMaker`."""
        with ThreadPoolExecutor(max_workers=1) as encoder:
            waiting: list[Future[Variant]] | None = None
            for face in _ahead(iter(faces), AHEAD):
                made = self._variants(face, encoder)
                # The face before was encoded while the model made this one.
                if waiting is not None:
                    yield [future.result() for future in waiting]
                waiting = made
            if waiting is not None:
                yield [future.result() for future in waiting]

    def _variants(self, face: Prepared, encoder: ThreadPoolExecutor) -> list[Future[Variant]]:
        records = [self.draw(face.name, number) for number in range(self._config.variants)]
        start = time.perf_counter()
        wanted = [record for record in records if record.by_model]
        images = iter(make_images(self._degrader, face.hq, wanted, self._settings.batch_size))
        self.busy += time.perf_counter() - start
        return [
            encoder.submit(self._encode, record, face.hq, next(images) if record.by_model else None)
            for record in records
        ]

    def draw(self, name: str, number: int) -> Record:
        """The record of a variant: a function of seed, source and number."""
        config, settings = self._config, self._settings
        rng = generator(config.seed, name, number)
        if config.mode == "mix" and rng.random() >= config.mix:
            return config.recipe.draw(rng)
        prompt = draw_prompt(settings.prompts or (), rng)
        return flipnet_record(settings.digest, prompt, int(rng.integers(2**48)), settings.sampling)

    def _encode(self, record: Record, hq: Pixels, made: Pixels | None) -> Variant:
        config = self._config
        if made is None:
            origin = f"recipe:{config.recipe.name}@{config.recipe.digest()}"
            return make_variant(record, Canvas(pixels=hq), origin, "png", full=config.lq_size == "full")
        return flipnet_variant(record, made)


def make_images(degrader: Degrader, hq: Pixels, records: Sequence[Record], batch_size: int) -> list[Pixels]:
    """LQ images of one face, at most `batch_size` at once.

    Faces are not mixed in a batch: sums over a larger batch may be taken in another order, and round a pixel another
    way, so that the pixels of a face would depend on its neighbours.
    """
    made: list[Pixels] = []
    for start in range(0, len(records), batch_size):
        made += degrader.run([hq], [records[start : start + batch_size]])[0]
    return made


def flipnet_variant(record: Record, made: Pixels) -> Variant:
    """A model's image, encoded as a data set holds it: complete, without loss."""
    height, width = made.shape[:2]
    return Variant(
        data=encode_png(made),
        extension="png",
        width=width,
        height=height,
        origin=f"flipnet:{getattr(record.steps[0], 'model')}",  # noqa: B009 (an operation of many)
        record=record,
        tail="[]",
        target="[]",
    )


def load_degrader(settings: FlipNetSettings | None, *, download: bool = False) -> Degrader:
    """The model of a data set.

    Raises:
        ConfigError: If it is not there, or not the same any more.
    """
    assert settings is not None
    degrader = Degrader.load(
        settings.model,
        base_model=settings.base_model,
        download=download,
        device=settings.device,
        dtype=settings.dtype,
    )
    if settings.digest and degrader.digest != settings.digest:
        raise ConfigError(f"{settings.model}: expected the FlipNet {settings.digest}, found {degrader.digest}")
    return degrader


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
