"""In every state that rows can be in, reads answer as a naive model in Python does.

A failure prints the operations that led to it, shrunk, as a program; in the thorough run also the line
`@reproduce_failure` or `--hypothesis-seed` that repeats it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.oracle_machine import CollectionMachine

from elanus.segment import growing
from elanus.vector import cost

SHORT_RUNS, THOROUGH_RUNS = 30, 1_500


@pytest.mark.timeout(900)  # shrinking a failure takes its time
@pytest.mark.parametrize("prefer_indexes", [False, True], ids=["as planned", "by index"])
def test_reads_answer_as_the_oracle_in_every_state(
    quick_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config, prefer_indexes: bool
) -> None:
    monkeypatch.setattr(growing, "MIN_CHUNK_ROWS", 8)
    monkeypatch.setattr(growing, "MAX_CHUNK_ROWS", 32)
    if prefer_indexes:
        # A scan of so few rows is always the quicker way; with this, the planner takes every index it has.
        monkeypatch.setattr(cost, "SCAN_ROW_NS", 200_000.0)
    thorough = pytestconfig.getoption("--thorough")

    class Machine(CollectionMachine):
        folder = quick_path
        seen = Counter()

    runs = settings(
        max_examples=THOROUGH_RUNS if thorough else SHORT_RUNS,
        stateful_step_count=60 if thorough else 40,
        phases=set(Phase) - {Phase.explain},
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(Machine, settings=runs)
    print(Machine.seen)
