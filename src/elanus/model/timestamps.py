"""Milvus's hybrid timestamps and the clock that hands them out.

A timestamp is `milliseconds since 1970 << 18 | logical counter`. One `TimestampOracle` per writer hands them out,
each larger than every one before it, also when the wall clock steps back or the process restarts
(`advance_to` is called with the largest timestamp found in the log and the manifests).
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

LOGICAL_BITS = 18
MAX_TIMESTAMP = 2**63 - 1
"""Later than anything: the delete timestamp of a row that is alive."""


def compose(milliseconds: int, logical: int = 0) -> int:
    return milliseconds << LOGICAL_BITS | logical


def milliseconds_of(timestamp: int) -> int:
    return timestamp >> LOGICAL_BITS


class Clock(Protocol):
    """Where time comes from; `FakeClock` is the test's own."""

    def now_ms(self) -> int:
        """Wall time in milliseconds since 1970."""
        ...

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start, never stepping back."""
        ...


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()


class FakeClock:
    """A clock that stands still until `advance` moves it; shipped for tests of code that waits."""

    def __init__(self, start_ms: int = 1_700_000_000_000) -> None:
        self._ms = float(start_ms)

    def advance(self, seconds: float) -> None:
        self._ms += seconds * 1000

    def now_ms(self) -> int:
        return int(self._ms)

    def monotonic_s(self) -> float:
        return self._ms / 1000


class TimestampOracle:
    """Hands out strictly rising timestamps; safe to call from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0
        self._lock = threading.Lock()

    @property
    def last(self) -> int:
        return self._last

    def next(self) -> int:
        with self._lock:
            self._last = max(self._last + 1, compose(self._clock.now_ms()))
            return self._last

    def advance_to(self, timestamp: int) -> None:
        """From now on hand out only timestamps above `timestamp`."""
        with self._lock:
            self._last = max(self._last, timestamp)
