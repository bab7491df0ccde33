"""How a figure is measured: two sides in turn, at least five rounds, median and spread.

A shared machine drifts: clocks, other processes, the page cache. So A and B are never measured one after the other as
wholes. Every round measures both, first A then B and then the other way round, and the figure is the median of the
rounds' ratios. A round is short enough that both sides see the same machine.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
MIN_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, smallest and largest of some rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float] | Floats) -> Spread:
        data = np.asarray(values, dtype=np.float64)
        return cls(float(np.median(data)), float(data.min()), float(data.max()))

    def scaled(self, factor: float) -> Spread:
        return Spread(self.median * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`a` and `b` as measured round by round; `ratio` is that of the rounds, not of the medians."""

    a: Spread
    b: Spread
    ratio: Spread


def compare(a: Callable[[], float], b: Callable[[], float], rounds: int) -> Comparison:
    """Call `a` and `b` in turn for `rounds` rounds (at least five); each call returns what it measured."""
    if rounds < MIN_ROUNDS:
        raise ValueError(f"{rounds} rounds say too little about the spread: take at least {MIN_ROUNDS}")
    of_a, of_b = np.zeros(rounds), np.zeros(rounds)
    for i in range(rounds):
        if i % 2 == 0:
            of_a[i], of_b[i] = a(), b()
        else:
            of_b[i], of_a[i] = b(), a()
    return Comparison(Spread.of(of_a), Spread.of(of_b), Spread.of(of_a / of_b))


def latencies_s(call: Callable[[int], object], count: int) -> Floats:
    """Seconds of `call(0)`, …, `call(count - 1)`, one by one. The cyclic collector runs before, not between."""
    return latencies_and_cpu_s(call, count)[0]


def latencies_and_cpu_s(call: Callable[[int], object], count: int) -> tuple[Floats, float]:
    """`latencies_s`, and the CPU seconds of a call, those of all threads of this process counted."""
    took = np.zeros(count)
    gc.collect()
    cpu = time.process_time()
    for i in range(count):
        started = time.perf_counter()
        call(i)
        took[i] = time.perf_counter() - started
    return took, (time.process_time() - cpu) / count


def load() -> str:
    """The load average over 1, 5 and 15 minutes, so that a reader can see what else ran."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())
