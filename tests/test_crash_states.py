"""Power fails at every moment of scripted lives of a database; the engine opens what is left, and nothing is missing.

What each state has to satisfy is in `crash_check`, the lives are in `crash_script`. A failure names script, seed,
moment and loss: the same seed leads to the same state.
"""

from __future__ import annotations

import random

import pytest

from tests.conftest import Effort
from tests.crash_check import Interrupted, Report, Task, run_tasks
from tests.crash_script import INTERRUPTED, SCRIPTS

pytestmark = pytest.mark.crash


def tasks(effort: Effort, seed: int) -> list[Task]:
    """A third of the states each for steps killed at any moment, for the scripts, and for random ones."""
    rng = random.Random(seed)
    third = effort.crash_states // 3
    every = third > 10_000
    of_a_kill = max(3, third // 550)
    kills = [Task(Interrupted(step, every), of_a_kill, rng.randrange(2**31)) for step in range(len(INTERRUPTED))]
    scripts = [Task(name, third // len(SCRIPTS) + 1, rng.randrange(2**31)) for name in SCRIPTS]
    lives = max(20, third // 100)
    return [*kills, *scripts, *(Task(rng.randrange(2**31), third // lives + 1, number) for number in range(lives))]


def test_no_moment_of_a_power_failure_loses_what_was_acknowledged(effort: Effort, seed: int) -> None:
    report = run_tasks(tasks(effort, seed))
    assert not report.failures, "\n".join(report.failures)
    assert_varied(report, effort.crash_states)


def assert_varied(report: Report, wanted: int) -> None:
    """The states were as many and as different as they are meant to be."""
    assert report.states >= 0.9 * wanted
    for what in ("NOTHING", "EVERYTHING", "DATA", "TORN", "SCATTERED", "of a second power failure"):
        assert report.tried[what] > wanted // 20, report.tried
    assert report.tried["unacknowledged and there"] > wanted // 50
    assert report.tried["torn tails"] > wanted // 500
