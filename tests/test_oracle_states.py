"""In every state that rows can be in, reads answer as a naive model in Python does.

A run is a seed. A failure prints it, and the operations that are left when all that are not needed have been taken
away; `--seed` repeats it as the first run.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from elanus.engine import answers
from elanus.engine.jobs import cover
from elanus.segment import growing
from elanus.vector import cost, interim, ivf
from tests.oracle_run import JOBS, Case, check

RUNS, THOROUGH_RUNS = 25, 1_500
OPERATIONS = 60

LEAST_RECALL = 0.95
"""Of graphs that are asked for more candidates than there are rows."""

STATES = (
    "growing", "sealed", "indexed", "growing + sealed", "growing + indexed", "sealed + indexed",
    "growing + sealed + indexed", "empty", "several chunks", "several segments", "frozen",
)  # fmt: skip
WAYS = (
    "route scan",
    "scalar indexes",
    "refused insert",
    "refused upsert",
    "pages",
    "groups",
    *(f"begun {job}" for job in JOBS),
)
WAYS_BY_INDEX = ("route graph", "route lists", "route interim lists", "searches on several routes")


@pytest.mark.timeout(0)  # cutting a failure down takes its time
@pytest.mark.parametrize("prefer_indexes", [False, True], ids=["as planned", "by index"])
def test_reads_answer_as_the_oracle_in_every_state(
    quick_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config, seed: int, prefer_indexes: bool
) -> None:
    make_limits_small(monkeypatch, prefer_indexes)
    seen: Counter[str] = Counter()
    for number in range(THOROUGH_RUNS if pytestconfig.getoption("--thorough") else RUNS):
        check(Case.drawn(seed + number, OPERATIONS), quick_path, seen)
    missing = [name for name in (*STATES, *WAYS, *(WAYS_BY_INDEX if prefer_indexes else ())) if not seen[name]]
    assert not missing, f"the runs never met {missing}: {seen}"
    if prefer_indexes:
        recall = seen["hits found by graph"] / seen["hits to find by graph"]
        assert recall >= LEAST_RECALL, f"graphs found {recall:.3f} of the hits"


def make_limits_small(monkeypatch: pytest.MonkeyPatch, prefer_indexes: bool) -> None:
    """So that some dozens of rows make several chunks, lists and blocks."""
    monkeypatch.setattr(growing, "MIN_CHUNK_ROWS", 8)
    monkeypatch.setattr(growing, "MAX_CHUNK_ROWS", 32)
    monkeypatch.setattr(cover, "COVER_ROWS", 16)
    monkeypatch.setattr(answers, "WIDEST", 8)
    monkeypatch.setattr(interim, "LISTS", 4)
    monkeypatch.setattr(ivf, "ROWS_PER_LIST", 4)
    if prefer_indexes:
        # A scan of so few rows is always the quicker way; with this, the planner takes every index it has.
        monkeypatch.setattr(cost, "SCAN_ROW_NS", 200_000.0)
