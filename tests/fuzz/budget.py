"""How long to fuzz: a few examples, always the same, with all tests; `make fuzz` draws others as long as asked."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from degrade_kit.errors import DegradeKitError
from degrade_kit.files import write_whole
from tests.limits import time_limit

T = TypeVar("T")
SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
"""What `make fuzz` spends on each reader; 0 in a run of all tests."""
LOG = Path(__file__).resolve().parents[2] / "docs" / "reliability.json"
"""What `make fuzz` has done so far, by reader."""
EACH = 10.0
"""Seconds that a reader may take for one file of a few kB, at most: a hundred times what it takes."""
_ROUND = 200


def fuzz(reader: str, cases: st.SearchStrategy[T], check: Callable[[T], None], examples: int = 60) -> None:
    """Hand damaged files to a reader, each within a limit of time.

    Args:
        reader: Its name in the log.
        cases: What may be wrong.
        check: Reads one; returns whatever is right, and raises for what is not.
        examples: How many, in a run of all tests.
    """
    count, began = 0, time.monotonic()

    def one(case: T) -> None:
        nonlocal count
        if SECONDS and time.monotonic() - began > SECONDS:
            return  # the rest of a round
        count += 1
        with time_limit(EACH):
            check(case)

    quiet = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
    if not SECONDS:
        settings(quiet, max_examples=min(examples, settings().max_examples))(given(cases)(one))()
        return
    try:
        while time.monotonic() - began < SECONDS:
            phases = (Phase.generate, Phase.shrink)
            random_ones = settings(quiet, max_examples=_ROUND, derandomize=False, database=None, phases=phases)
            seed(random.SystemRandom().getrandbits(64))(random_ones(given(cases)(one)))()
    finally:
        _note(reader, count, time.monotonic() - began)


def complaint(read: Callable[[], object]) -> str | None:
    """What a reader says of a damaged file, by the toolkit's own errors alone; None where it reads it."""
    try:
        read()
    except DegradeKitError as error:
        return str(error)
    return None


def _note(reader: str, examples: int, seconds: float) -> None:
    """Add to the log."""
    found = json.loads(LOG.read_text()) if LOG.exists() else {}
    for key, value in (("fuzz_examples", examples), ("fuzz_seconds", round(seconds))):
        by_reader = found.setdefault(key, {})
        by_reader[reader] = by_reader.get(reader, 0) + value
        found[key] = dict(sorted(by_reader.items()))
    write_whole(LOG, json.dumps(found, indent=1) + "\n")
