"""Record and HQ image in, LQ image out: a pure function, in the parts that writers and readers of shards need."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from degrade_kit.canvas import Canvas, Encoded
from degrade_kit.image import Image, Pixels, check_image, to_float
from degrade_kit.linear import OPENCV_FILTERS
from degrade_kit.network_ops import Network, Segments, run_together
from degrade_kit.ops import Op, Resize, Seat, run_all, run_segments
from degrade_kit.record import Record


@dataclass(frozen=True, slots=True)
class NativeLq:
    """An LQ image before the last upsampling, with what remains to be done to it."""

    canvas: Canvas
    tail: tuple[Op, ...]
    """Steps for `finish`; see `Record.split`."""

    @property
    def encoded(self) -> Encoded | None:
        """The last lossy file of the chain, where the chain's native part ends with one."""
        return self.canvas.encoded()

    @property
    def pixels(self) -> Pixels:
        """The image, uint8, shape (native height, native width, 3)."""
        return self.canvas.pixels()


def degrade(record: Record, hq: Pixels | Image | Canvas, network: Network | None = None) -> NativeLq:
    """Run a record up to its native LQ image.

    Args:
        record: What to do.
        hq: Shape (height, width, 3), RGB; uint8, or float32 in [0, 1]. A canvas of it saves converting it for each of
            many records.
        network: Does the steps of a FlipNet, where the record has any.

    Raises:
        ConfigError: If the record has a FlipNet's step and the network is not its.
    """
    if record.by_model:
        return run_together([degrade_segments(record, hq)], network)[0]
    steps, tail = record.split()
    canvas = hq.fork() if isinstance(hq, Canvas) else _canvas(hq)
    run_all(steps, canvas, Seat(record.seed, ()))
    return NativeLq(canvas, tail)


def degrade_segments(record: Record, hq: Pixels | Image | Canvas) -> Segments[NativeLq]:
    """Do what `degrade` does, but stop where a network has to go on: for whoever runs many records at a time."""
    steps, tail = record.split()
    canvas = hq.fork() if isinstance(hq, Canvas) else _canvas(hq)
    yield from run_segments(steps, canvas, Seat(record.seed, ()))
    return NativeLq(canvas, tail)


def finish(native: Pixels, tail: tuple[Op, ...], size: tuple[int, int], scale: int = 1) -> Pixels:
    """Upsample a native LQ image and run the colour steps that follow: what a reader of shards does.

    Args:
        native: uint8, shape (native height, native width, 3).
        tail: From `Record.split`, or the `lq0_tail` field of a sample.
        size: Height and width of the HQ image.
        scale: How many times smaller than HQ the LQ image becomes, for super-resolution. A native image of that size
            is taken as it is, one that is smaller is enlarged to it by its own filter, and from any other the full
            size is made and averaged over `scale` x `scale` pixels.

    Raises:
        ValueError: If the size is no multiple of `scale`.
    """
    if scale > 1:
        if size[0] % scale or size[1] % scale:
            raise ValueError(f"{size[1]} x {size[0]} pixels are no multiple of {scale}, by which LQ is to be smaller")
        small = size[0] // scale, size[1] // scale
        enlarges = len(tail) == 1 and isinstance(tail[0], Resize)
        if enlarges and native.shape[0] <= small[0] and native.shape[1] <= small[1]:
            return finish(native, tail, small)
        full = finish(native, tail, size)
        return np.asarray(cv2.resize(full, small[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    if not tail:
        return native
    if len(tail) == 1 and isinstance(tail[0], Resize):
        height, width = size
        if native.shape[:2] == size:
            return native
        # In float: OpenCV's linear filter for uint8 cuts off where it should round, and darkens by 0.1 of a level.
        pixels = cv2.resize(native.astype(np.float32), (width, height), interpolation=OPENCV_FILTERS[tail[0].filter])
        return np.asarray(cv2.convertScaleAbs(np.clip(pixels, 0, 255, out=pixels)), np.uint8)
    canvas = Canvas(pixels=native)
    canvas.full_size = size
    run_all(tail, canvas, Seat(0, ()))  # nothing in a tail draws noise
    return canvas.pixels()


def make_lq(record: Record, hq: Pixels | Image, network: Network | None = None, scale: int = 1) -> Pixels:
    """Make the LQ image of a record at the size of its HQ image, uint8: `degrade` and `finish` in one.

    Args:
        record: What is done.
        hq: Height x width x 3.
        network: Does the steps of a FlipNet, where there are any.
        scale: How many times smaller than HQ it becomes; see `finish`.

    Raises:
        ValueError: If the record ends at another size, as one that was altered may, or HQ's is no multiple of `scale`.
    """
    native = degrade(record, hq, network)
    made = finish(native.pixels, native.tail, (hq.shape[0], hq.shape[1]), scale)
    if (made.shape[0] * scale, made.shape[1] * scale) != hq.shape[:2]:
        raise ValueError(f"the record ends at {made.shape[1]} x {made.shape[0]} pixels, not at the HQ image's size")
    return made


def make_target(record: Record, hq: Pixels) -> Pixels:
    """Make the training target: the HQ image itself unless the recipe changes it (gray faces, shifted faces)."""
    if not record.target:
        return hq
    canvas = Canvas(pixels=hq)
    run_all(record.target, canvas, Seat(record.seed, ()))
    return canvas.pixels()


def apply(record: Record, hq: Image, network: Network | None = None) -> Image:
    """Make the LQ image of `record`, exactly as a reader of shards gets it.

    Args:
        record: What to do.
        hq: See `degrade_kit.image`.
        network: Does the steps of a FlipNet, where the record has any.

    Returns:
        Float32 in [0, 1], in steps of 1/255, of the size of `hq`, or `record.lq_scale` times smaller.

    Raises:
        ValueError: If `hq` breaks the image contract, or its size is no multiple of `record.lq_scale`.
        ConfigError: If the record has a FlipNet's step and the network is not its.
    """
    check_image(hq, "hq")
    return to_float(make_lq(record, hq, network, record.lq_scale))


def _canvas(hq: Pixels | Image) -> Canvas:
    if hq.dtype == np.uint8:
        return Canvas(pixels=np.asarray(hq, np.uint8))
    planes = np.ascontiguousarray(hq.transpose(2, 0, 1), np.float32) * np.float32(255)
    return Canvas(planes=planes)
