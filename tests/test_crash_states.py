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
    """Four ninths of the states for the scripts, as many for random ones, and some for every step that is killed."""
    rng = random.Random(seed)
    part = effort.crash_states * 4 // 9
    lives = max(20, part // 100)
    kills = [Interrupted(step, all=effort.crash_states > 10_000) for step in range(len(INTERRUPTED))]
    return [
        *(Task(killed, max(3, effort.crash_states // 2_000), rng.randrange(2**31)) for killed in kills),
        *(Task(name, part // len(SCRIPTS) + 1, rng.randrange(2**31)) for name in SCRIPTS),
        *(Task(rng.randrange(2**31), part // lives + 1, number) for number in range(lives)),
    ]


def test_no_moment_of_a_power_failure_loses_what_was_acknowledged(effort: Effort, seed: int) -> None:
    report = run_tasks(tasks(effort, seed))
    assert not report.failures, "\n".join(report.failures)
    assert_varied(report, effort.crash_states)


def assert_varied(report: Report, wanted: int) -> None:
    """The states were as many and as different as they are meant to be."""
    assert report.states >= wanted, report.tried
    for what in ("NOTHING", "EVERYTHING", "DATA", "TORN", "SCATTERED", "of a second power failure"):
        assert report.tried[what] > wanted // 20, report.tried
    assert report.tried["unacknowledged and there"] > wanted // 50
    assert report.tried["torn tails"] > wanted // 500
