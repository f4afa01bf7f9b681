from __future__ import annotations

import sys
import time

import pytest

from degrade_kit.pipelines.commands.progress import ProgressLine, progress_text
from degrade_kit.progress import Progress


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def images(done: int, total: int = 10, *, of: str = "", note: str = "", kept: int = 0) -> Progress:
    return Progress(noun="image", done=done, total=total, of=of, note=note, kept=kept)


@pytest.mark.parametrize(
    ("progress", "seconds", "text"),
    [
        (images(5), 2.0, "5/10 images, 2.5 images/s, 2 s left"),
        (images(10), 2.0, "10/10 images, 5.0 images/s, in 2 s"),
        (images(1, 1), 1.0, "1/1 images, 1.0 images/s, in 1 s"),
        (images(1), 20.0, "1/10 images, 20 s/image, 3 min left"),
        (images(8, kept=6), 1.0, "8/10 images, 2.0 images/s, 1 s left"),
        (images(6, kept=6), 0.0, "6/10 images"),
        (images(2, of="faces", note="1 not usable"), 1.0, "faces: 2/10 images, 2.0 images/s, 4 s left, 1 not usable"),
        (Progress(noun="byte", done=1_500_000, total=3_000_000), 1.0, "1.5 MB of 3.0 MB, 1.5 MB/s, 1 s left"),
        (Progress(noun="byte", done=1_500_000, total=None), 1.0, "1.5 MB, 1.5 MB/s"),
        (Progress(noun="pair", done=0, total=0), 1.0, "0/0 pairs"),
    ],
)
def test_a_line_tells_counts_rate_and_time_left(progress: Progress, seconds: float, text: str) -> None:
    assert progress_text(progress, seconds) == text


def test_off_a_terminal_there_is_a_line_each_half_minute_and_a_last_one(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressLine() as progress:
        for done in range(1, 11):
            clock.now += 10
            progress(images(done))
    said = capsys.readouterr()
    assert [line.partition(" ")[0] for line in said.err.splitlines()] == ["3/10", "6/10", "9/10", "10/10"]
    assert said.out == ""


def test_on_a_terminal_the_line_is_written_over_and_the_last_one_stays(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with ProgressLine() as progress:
        for done in (1, 2, 3, 10):
            clock.now += 0.15
            progress(images(done))
    assert capsys.readouterr().err == (
        "\r\x1b[K2/10 images, 6.7 images/s, 1 s left\r\x1b[K10/10 images, 16.7 images/s, in 1 s\n"
    )


def test_a_run_that_ends_early_still_shows_how_far_it_came(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> None:
        with ProgressLine() as progress:
            clock.now += 1
            progress(images(4))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert capsys.readouterr().err == "4/10 images, 4.0 images/s, 2 s left\n"


def test_parts_have_a_last_line_and_a_rate_each(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine() as progress:
        clock.now += 10
        progress(images(10, of="restored"))
        clock.now += 5
        progress(images(10, of="faces"))
    assert capsys.readouterr().err.splitlines() == [
        "restored: 10/10 images, 1.0 images/s, in 10 s",
        "faces: 10/10 images, 2.0 images/s, in 5 s",
    ]
