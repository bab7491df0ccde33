"""In every state that rows can be in, reads answer as a naive model in Python does.

A run is a seed. A failure prints it, and the operations that are left when all that are not needed have been taken
away; `--seed` repeats it as the first run.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from tests.oracle_run import Case, check

from elanus.engine.jobs import cover
from elanus.segment import growing
from elanus.vector import cost, interim, ivf

RUNS, THOROUGH_RUNS = 14, 1_500
OPERATIONS = 60


@pytest.mark.timeout(0)  # cutting a failure down takes its time
@pytest.mark.parametrize("prefer_indexes", [False, True], ids=["as planned", "by index"])
def test_reads_answer_as_the_oracle_in_every_state(
    quick_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config, seed: int, prefer_indexes: bool
) -> None:
    monkeypatch.setattr(growing, "MIN_CHUNK_ROWS", 8)
    monkeypatch.setattr(growing, "MAX_CHUNK_ROWS", 32)
    monkeypatch.setattr(cover, "COVER_ROWS", 16)
    monkeypatch.setattr(interim, "BLOCK_ROWS", 16)
    monkeypatch.setattr(ivf, "ROWS_PER_LIST", 4)
    if prefer_indexes:
        # A scan of so few rows is always the quicker way; with this, the planner takes every index it has.
        monkeypatch.setattr(cost, "SCAN_ROW_NS", 200_000.0)
    seen: Counter[str] = Counter()
    for number in range(THOROUGH_RUNS if pytestconfig.getoption("--thorough") else RUNS):
        check(Case.drawn(seed + number, OPERATIONS), quick_path, seen)
    print(seen)
