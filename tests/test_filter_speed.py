"""What compiling and running filters may cost. On a quiet machine only: `pytest -m bench`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from elanus.expr.bind import bind
from elanus.expr.compile import compile_filter
from elanus.expr.json_path import extract, validate
from elanus.expr.parser import parse
from tests.filter_cases import SCHEMA

pytestmark = pytest.mark.bench

ROWS = 1_000_000


def quickest_ms(run: Callable[[], Any], times: int = 10) -> float:
    """The least of several runs: what the work costs when nothing else runs."""
    best = float("inf")
    run()
    for _ in range(times):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best * 1000


class Million:
    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        names = pa.array([f"name{i}" for i in range(1000)], pa.large_string())
        columns = {
            "id": rng.integers(0, 10**12, ROWS),
            "small": rng.integers(0, 1000, ROWS).astype(np.int16),
            "medium": rng.integers(0, 1000, ROWS).astype(np.int32),
            "real": rng.random(ROWS),
            "text": names.take(pa.array(rng.integers(0, 1000, ROWS))),
            "$meta": [f'{{"title": "some title text here", "n": {i}}}'.encode() for i in range(ROWS)],
        }
        self.columns = {SCHEMA.field(n).id: pa.array(v, SCHEMA.field(n).arrow_type) for n, v in columns.items()}

    def column(self, field_id: int) -> pa.Array:
        return self.columns[field_id]


@pytest.fixture(scope="module")
def million() -> Million:
    return Million()


@pytest.mark.parametrize(
    ("text", "bound_ms"),
    [
        ("id == 5", 1.0),
        ("small == 5", 1.0),
        ("real < 0.5", 1.0),
        ("1 < medium <= 5", 2.0),
        ("text == 'name5'", 2.0),
        ("text like 'name1%'", 10.0),
        ("id in {keys}", 12.0),
        ("small == 5 and n > 3", 10.0),
        ("n > 3", 500.0),
    ],
)
def test_running_over_a_million_rows(million: Million, text: str, bound_ms: float) -> None:
    keys = np.random.default_rng(1).integers(0, 10**12, 10_000)
    compiled = compile_filter(text, SCHEMA, {"keys": keys})
    assert quickest_ms(lambda: compiled.evaluate(million, ROWS)) <= bound_ms


def test_compiling() -> None:
    text = "medium > 5 and text in ['a', 'b'] and color == 3"
    assert quickest_ms(lambda: bind(parse(text), SCHEMA), 200) <= 0.1
    assert quickest_ms(lambda: compile_filter(text, SCHEMA), 200) <= 0.002


def test_ten_thousand_keys() -> None:
    ints = f"id in {np.random.default_rng(1).integers(0, 10**12, 10_000).tolist()}"
    strings = f"text in {[f'key{i}' for i in range(10_000)]}"
    assert quickest_ms(lambda: bind(parse(ints), SCHEMA)) <= 6
    assert quickest_ms(lambda: bind(parse(strings), SCHEMA)) <= 6


def test_json(million: Million) -> None:
    documents = million.column(SCHEMA.field("$meta").id)
    assert quickest_ms(lambda: extract(documents, ("n",)), 3) <= 400
    assert quickest_ms(lambda: validate(documents), 3) <= 400
