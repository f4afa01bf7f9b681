"""What JPEG files tell: read from files that OpenCV and Pillow wrote, and nothing from what is none."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from degrade_kit.codec_ops import SUBSAMPLINGS, Subsampling
from degrade_kit.jpeg_file import read_jpeg_facts

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_quality_and_subsampling_are_those_that_the_file_was_written_with(subsampling: Subsampling) -> None:
    for quality in (1, 5, 30, 49, 50, 51, 75, 90, 99, 100):
        options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SUBSAMPLINGS[subsampling]]
        facts = read_jpeg_facts(cv2.imencode(".jpg", PIXELS, options)[1].tobytes())
        assert facts is not None
        assert (facts.quality, facts.exact, facts.subsampling) == (quality, True, subsampling)


def test_a_progressive_file_with_a_comment_and_a_grayscale_one_are_read() -> None:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "JPEG", quality=63, progressive=True, comment=b"\xff\xd8 not a marker")
    facts = read_jpeg_facts(file.getvalue())
    assert facts is not None
    assert (facts.quality, facts.subsampling) == (63, "4:2:0")
    file = io.BytesIO()
    Image.fromarray(PIXELS[..., 0]).save(file, "JPEG", quality=88)
    facts = read_jpeg_facts(file.getvalue())
    assert facts is not None
    assert (facts.quality, facts.subsampling) == (88, None)


def test_tables_of_a_camera_have_the_nearest_quality_and_are_not_exact() -> None:
    data = bytearray(cv2.imencode(".jpg", PIXELS, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes())
    place = data.index(b"\xff\xdb") + 5
    data[place + 10] += 1
    facts = read_jpeg_facts(bytes(data))
    assert facts is not None
    assert (facts.quality, facts.exact) == (80, False)


def test_what_is_no_jpeg_file_tells_nothing() -> None:
    whole = cv2.imencode(".jpg", PIXELS)[1].tobytes()
    for data in (b"", b"\xff\xd8", b"\x89PNG", whole[:20], whole[: whole.index(b"\xff\xdb") + 30]):
        assert read_jpeg_facts(data) is None
