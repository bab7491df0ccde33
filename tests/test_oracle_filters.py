"""A filter is true, false or unknown of a row as a naive interpreter says, in every state that the row may be in.

A case is one expression on one table of fifty rows in all of `STATES`. Schemas, rows and expressions are drawn from a
seed and the table's number; a failure says which, and `--seed` repeats it. `make oracle` does a million cases.
Hypothesis draws small tables the same way, and makes those that fail smaller still.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, Self

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elanus import Elanus, Schema, Settings
from elanus.engine import masks
from elanus.engine.builders import InlineBuilders
from elanus.engine.collection import Collection
from elanus.engine.query import matching_keys, select
from elanus.expr.compile import compile_filter
from elanus.expr.parser import parse
from elanus.model.types import OnDuplicateKey
from elanus.service.context import RequestContext
from elanus.service.instance import Instance
from tests.oracle import Copy, Model
from tests.oracle_cases import Row, Values, a_filter, a_schema
from tests.oracle_filter import Truth, evaluate_row

ROWS = 50
EXPRESSIONS = 250
"""On each table."""
THREE_VALUED = 0.5
"""In so many states false is told from unknown; in all it is told what is true, which is what is selected."""
FOUND = 0.2
"""Of so many the keys are looked for, too, which is the same for all but for the rows selected."""
CASES, THOROUGH_CASES = 20_000, 1_000_000
STATES = ("growing", "sealed", "sealed and growing, after deletes and upserts", "merged", "reopened")


@pytest.mark.timeout(0)  # as many as `make oracle` asks for
def test_a_filter_is_what_the_oracle_says_in_every_state_of_its_rows(
    quick_path: Path, seed: int, pytestconfig: pytest.Config
) -> None:
    cases = THOROUGH_CASES if pytestconfig.getoption("--thorough") else CASES
    truths: Counter[Truth] = Counter()
    for number in range(cases // EXPRESSIONS):
        with Table(quick_path / str(number), Random(seed + number)) as table:
            table.check_all(f"on table {seed + number}", truths)
    # Three-valued logic is met, not passed by.
    assert min(truths[truth] for truth in (True, False, None)) > truths.total() / 20, truths


@pytest.mark.timeout(0)  # making a failing table smaller takes minutes
@given(st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_filter_is_what_the_oracle_says_of_tables_that_hypothesis_draws(random: Random) -> None:
    with tempfile.TemporaryDirectory() as folder, Table(Path(folder), random, rows=5, expressions=3) as table:
        table.check_all("", Counter())


class Asked:
    """A filter as the engine has it, and what the oracle says of each copy of a row, by the copy's number."""

    def __init__(self, text: str, params: dict[str, Any] | None, schema: Schema) -> None:
        self.text = text
        self.params = params
        self.condition = compile_filter(text, schema, params)
        self.said: dict[int, Truth] = {}
        self._tree = parse(text)
        self._schema = schema

    def of(self, copy: Copy) -> Truth:
        if copy.number not in self.said:
            self.said[copy.number] = evaluate_row(self._tree, copy.plain, self._schema, self.params)
        return self.said[copy.number]


class Table:
    """A collection of a generated schema, its model, and filters that bind to it."""

    def __init__(self, folder: Path, random: Random, rows: int = ROWS, expressions: int = EXPRESSIONS) -> None:
        self.folder = folder
        self.random = random
        self.rows = rows
        self.schema = a_schema(self.random)
        self.db = self._open()
        self.collection = self.db.create_collection("things", self.schema, on_duplicate_key="keep")
        self.schema = self.collection.schema
        self.values = Values(self.schema, self.random, "grid")
        self.model = Model(self.schema, OnDuplicateKey.KEEP)
        self.questions = [Asked(*a_filter(self.random, self.schema), self.schema) for _ in range(expressions)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.db.close()

    def check_all(self, of: str, truths: Counter[Truth]) -> None:
        """Every filter in every state."""
        for state in self.states():
            for asked in self.questions:
                try:
                    self.check(asked, truths)
                except BaseException as error:
                    error.add_note(f"{asked.text!r} with {asked.params} {of}, {state}")
                    raise

    def _open(self) -> Elanus:
        quiet = Settings(background=False, index_min_rows=1_000)
        return Elanus(Instance.open(self.folder, quiet, builders=InlineBuilders()))

    def states(self) -> Iterator[str]:
        """Bring the rows from one of `STATES` into the next."""
        rows = self._with_keys(self.values.rows(self.rows), self.values.keys(self.rows, distinct=True))
        keys = self.collection.insert(rows).keys.to_pylist()
        self.model.insert(_keyed(rows, keys), "_default")
        yield STATES[0]
        self.collection.flush()
        yield STATES[1]
        gone, changed = keys[: self.rows // 6], keys[self.rows // 6 : self.rows * 2 // 5]
        self.collection.delete(gone)
        self.model.delete(gone)
        rows = _keyed(self.values.rows(len(changed)), changed)
        made = self.collection.upsert(rows).keys.to_pylist()
        self.model.upsert(_keyed(rows, made), "_default", changed)
        yield STATES[2]
        self.collection.compact()
        yield STATES[3]
        self.db.close()
        self.db = self._open()
        self.collection = self.db.collection("things")
        yield STATES[4]

    def _with_keys(self, rows: list[Row], keys: Sequence[Any]) -> list[Row]:
        return rows if self.schema.primary.auto_id else _keyed(rows, keys)

    @property
    def engine(self) -> Collection:
        return self.db._instance.collection(RequestContext(), "things")

    def check(self, asked: Asked, truths: Counter[Truth]) -> None:
        """The filter's value in each row that is there, the rows that a read selects, the keys that it finds."""
        condition, three_valued = asked.condition, self.random.random() < THREE_VALUED
        wanted = {copy.key: asked.of(copy) for copy in self.model.copies}
        truths.update(wanted.values())
        snapshot = self.engine.snapshot()
        partitions = snapshot.partition_ids(())
        seen, selected = {}, set()
        for unit in snapshot.units:
            rows = unit.view.rows
            keys = unit.view.key_column.to_pylist()
            alive = unit.view.alive(snapshot.timestamp)
            there = range(rows) if alive is None else masks.rows_of(alive).tolist()
            if three_valued:
                value = condition.evaluate(unit.view, rows).to_pylist()
                seen.update({keys[row]: value[row] for row in there})
            mask = select(snapshot, unit, condition, partitions)
            selected.update(keys if mask is None else [keys[row] for row in masks.rows_of(mask).tolist()])
        assert not three_valued or seen == wanted, [
            (key, seen.get(key), wanted[key]) for key in wanted if seen.get(key) is not wanted[key]
        ][:5]
        matching = {key for key, truth in wanted.items() if truth is True}
        assert selected == matching
        if self.random.random() < FOUND:
            assert matching_keys(snapshot, condition).to_pylist() == sorted(matching)


def _keyed(rows: list[Row], keys: Sequence[Any]) -> list[Row]:
    return [{**row, "id": key} for row, key in zip(rows, keys, strict=True)]
