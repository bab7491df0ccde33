"""A collection and its oracle, driven side by side through generated operations.

The machine makes a collection of a generated schema, writes to it, flushes, merges, indexes, truncates and reopens it,
steps jobs with writes in between, and tells a `Model` the same writes. After every operation all rows are compared;
queries, iterators, counts and searches are compared as they come up.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import elanus
from elanus import Collection, DuplicateKey, Elanus, InvalidParameter, Metric, OnDuplicateKey, SchemaMismatch, Settings
from elanus.engine.builders import InlineBuilders
from elanus.engine.collection import Collection as EngineCollection
from elanus.engine.jobs.collect import collect
from elanus.engine.jobs.improve import build_index, due_build, merge
from elanus.engine.jobs.seal import seal
from elanus.expr.compile import compile_filter
from elanus.model.schema import DYNAMIC_FIELD
from elanus.model.timestamps import FakeClock
from elanus.service.context import RequestContext
from elanus.service.instance import Instance
from elanus.vector.cost import Route
from tests.oracle import (
    DEFAULT_PARTITION,
    EVERYTHING,
    Copy,
    Key,
    Model,
    Question,
    Refused,
    first_difference,
    shown,
    written,
)
from tests.oracle_cases import FORMS, INDEXES, KEYS, VECTORS, IndexChoice, Row, Values, filters, in_form, schemas

NAME = "things"
METRICS = tuple(Metric)

SEEDS = st.integers(0, 2**32 - 1)


@dataclass(slots=True)
class Held:
    """An iterator, and the rows that it still has to give: those of the moment at which it was made."""

    pages: Iterator[pa.Table]
    rows: list[Copy]
    batch: int
    output_fields: list[str]


class CollectionMachine(RuleBasedStateMachine):
    folder: ClassVar[Path]
    """Where databases are made; each in a folder of its own that goes with it."""

    seen: ClassVar[Counter[str]] = Counter()
    """What the runs came across: operations, states of rows, routes of searches, hits of graphs."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(dir=self.folder))
        self.db: Elanus | None = None
        self.job: Iterator[str] | None = None
        self.held: list[Held] = []
        self.indexes: dict[str, tuple[IndexChoice, Metric]] = {}
        self.changed = False

    @initialize(
        schema=schemas(),
        on_duplicate_key=st.sampled_from([*OnDuplicateKey, OnDuplicateKey.KEEP]),
        vectors=st.sampled_from(VECTORS),
        settings=st.builds(
            Settings,
            background=st.just(False),
            index_min_rows=st.sampled_from([1, 8, 40]),
            retention_s=st.sampled_from([0.0, 600.0]),
            merge_fan_in=st.sampled_from([2, 4]),
            carry_bytes=st.sampled_from([0, 1 << 20]),
            merge_max_rows=st.sampled_from([100, 10_000]),
        ),
    )
    def make(self, schema: Any, on_duplicate_key: OnDuplicateKey, vectors: str, settings: Settings) -> None:
        self.settings = settings
        self.vectors = vectors
        self.clock = FakeClock()
        self.db = self._open()
        fields = tuple(f for f in schema.fields if not f.is_dynamic)
        given = elanus.Schema(fields, enable_dynamic_field=schema.enable_dynamic_field)
        self.collection = self.db.create_collection(NAME, given, on_duplicate_key=on_duplicate_key)
        self.model = Model(schema, on_duplicate_key)
        self.filters = filters(schema)

    def _open(self) -> Elanus:
        return Elanus(Instance.open(self.home / "db", self.settings, clock=self.clock, builders=InlineBuilders()))

    def teardown(self) -> None:
        try:
            if self.db is not None:
                while self.held:
                    self._next_page(self.held[-1])
                self.db.close()
        finally:
            shutil.rmtree(self.home, ignore_errors=True)

    # --- writes ------------------------------------------------------------------------------------------------------

    @rule(data=st.data(), count=st.integers(0, 60), seed=SEEDS, form=st.sampled_from(FORMS))
    def insert(self, data: Any, count: int, seed: int, form: str) -> None:
        values, partition = Values(self.model.schema, Random(seed), self.vectors), self._partition(data)
        rows = values.rows(count)
        if not self.auto_id:
            distinct = self.model.on_duplicate_key is OnDuplicateKey.REJECT and values.random.random() < 0.9
            keys = values.keys(count, distinct)
            if self.model.on_duplicate_key is OnDuplicateKey.REJECT and values.random.random() < 0.8:
                taken = {copy.key for copy in self.model.copies}
                keys = [key for key in keys if key not in taken]
            rows = self._keyed(rows, keys)
        self._tick("insert")
        try:
            given = rows
            if self.auto_id:
                result = self.collection.insert(in_form(form, rows, self.model.schema), partition=partition)
                given = self._keyed(rows, result.keys.to_pylist())
                assert len(given) == result.count == len(rows)
                assert len({row["id"] for row in given} | {copy.key for copy in self.model.copies}) == (
                    len(given) + len({copy.key for copy in self.model.copies})
                ), "autoID gave a key twice"
                self.model.insert(given, partition)
                return
            self.model.insert(rows, partition)
        except Refused:
            self._tick("refused insert")
            self._refuses(DuplicateKey, lambda: self.collection.insert(rows, partition=partition))
            return
        self.collection.insert(in_form(form, rows, self.model.schema), partition=partition)

    @rule(data=st.data(), count=st.integers(0, 40), seed=SEEDS, form=st.sampled_from(FORMS))
    def upsert(self, data: Any, count: int, seed: int, form: str) -> None:
        values, partition = Values(self.model.schema, Random(seed), self.vectors), self._partition(data)
        keys = values.keys(count, distinct=values.random.random() < 0.9)
        if self.model.copies and values.random.random() < 0.5:
            there = sorted({copy.key for copy in self.model.copies})
            keys = values.random.sample(there, min(count, len(there)))
        rows = self._keyed(values.rows(len(keys)), keys)
        self._tick("upsert")
        if len(set(keys)) < len(keys):
            self._tick("refused upsert")
            self._refuses(InvalidParameter, lambda: self.collection.upsert(rows, partition=partition))
            return
        result = self.collection.upsert(in_form(form, rows, self.model.schema), partition=partition)
        made = result.keys.to_pylist()
        assert result.count == len(rows)
        assert self.auto_id or made == keys
        self.model.upsert(self._keyed(rows, made), partition, keys)

    @rule(seed=SEEDS)
    def insert_one_bad_row(self, seed: int) -> None:
        """A row that does not fit makes the whole insert fail."""
        values = Values(self.model.schema, Random(seed), self.vectors)
        keys = values.keys(4, distinct=True)
        rows = values.rows(4) if self.auto_id else self._keyed(values.rows(4), keys)
        rows[values.random.randrange(4)]["vector"] = [1.0]
        self._tick("bad insert")
        self._refuses(SchemaMismatch, lambda: self.collection.insert(rows))

    @rule(data=st.data(), count=st.integers(0, 25), seed=SEEDS)
    def delete_keys(self, data: Any, count: int, seed: int) -> None:
        values, partitions = Values(self.model.schema, Random(seed), self.vectors), self._partitions(data)
        keys = values.keys(count, distinct=False)
        if self.auto_id and self.model.copies:
            keys = [copy.key for copy in values.random.choices(self.model.copies, k=count)]
        self._tick("delete keys")
        assert self.collection.delete(keys, partitions=partitions) == len(keys)
        self.model.delete(keys, partitions)

    @rule(data=st.data())
    def delete_by_filter(self, data: Any) -> None:
        asked = self._question(data, filtered=True)
        condition = compile_filter(asked.filter, self.model.schema, asked.params)
        self._tick("delete by filter")
        delete = lambda: self.collection.delete(  # noqa: E731
            filter=asked.filter, filter_params=asked.params, partitions=asked.partitions
        )
        if condition.always is True:
            self._refuses(InvalidParameter, delete)
            return
        keys = {copy.key for copy in self.model.matching(asked)}
        count = delete()
        if condition.key_lookup is None:
            assert count == len(keys), f"deleted {count} by {asked}, the oracle {len(keys)}"
        self.model.delete(keys, asked.partitions)

    @rule()
    def truncate(self) -> None:
        self._tick("truncate")
        self.collection.truncate()
        self.model.truncate()

    @rule(name=st.sampled_from(["red", "blue", "green"]))
    def create_partition(self, name: str) -> None:
        self._tick("create partition")
        self.collection.create_partition(name)
        if name not in self.model.partitions:
            self.model.partitions.append(name)

    @precondition(lambda self: len(self.model.partitions) > 1)
    @rule(data=st.data())
    def drop_partition(self, data: Any) -> None:
        name = data.draw(st.sampled_from(self.model.partitions[1:]))
        self._tick("drop partition")
        self.collection.drop_partition(name)
        self.model.drop_partition(name)

    # --- what moves rows and must not be seen ------------------------------------------------------------------------

    @precondition(lambda self: self.job is None)
    @rule()
    def flush(self) -> None:
        self._tick("flush")
        self.collection.flush()

    @precondition(lambda self: self.job is None)
    @rule()
    def compact(self) -> None:
        self._tick("compact")
        self.collection.compact()

    @precondition(lambda self: self.job is None)
    @rule()
    def do_what_is_due(self) -> None:
        self._tick("do what is due")
        self.engine.host.jobs.run_due(self.engine)

    @precondition(lambda self: self.job is None)
    @rule()
    def wait_for_indexes(self) -> None:
        self._tick("build")
        self.collection.wait_for_indexes()

    @precondition(lambda self: self.job is None)
    @rule()
    def cut_log(self) -> None:
        self._tick("cut log")
        assert self.db is not None
        self.db._instance.engine.cut_log()

    @precondition(lambda self: self.job is None)
    @rule(name=st.sampled_from(["seal", "merge", "build", "collect"]), steps=st.integers(1, 3), seed=SEEDS)
    def begin_job(self, name: str, steps: int, seed: int) -> None:
        job = self._job(name, Random(seed))
        if job is None:
            return
        self._tick(f"begin {name}")
        self.job = job
        for _ in range(steps):
            if self.job is not None:
                self._step()

    @precondition(lambda self: self.job is not None)
    @rule()
    def step_job(self) -> None:
        self._step()

    @precondition(lambda self: self.job is not None)
    @rule()
    def end_job(self) -> None:
        while self.job is not None:
            self._step()

    def _job(self, name: str, random: Random) -> Iterator[str] | None:
        engine = self.engine
        if name == "seal":
            return seal(engine)
        if name == "collect":
            return collect(engine)
        if name == "build":
            due = due_build(engine)
            return None if due is None else build_index(engine, *due, engine.host.jobs.builders)
        segments = list(engine.manifest.segments)
        chosen = random.sample(segments, random.randint(0, len(segments)))
        return merge(engine, chosen, engine.host.jobs.builders) if chosen else None

    def _step(self) -> None:
        assert self.job is not None
        self.changed = True
        if next(self.job, None) is None:
            self.job = None

    @rule()
    def reopen(self) -> None:
        """Nothing is closed in order but the files: a job under way is gone."""
        self._tick("reopen")
        while self.held:
            self._next_page(self.held[-1])
        if self.job is not None:
            self.job.close()  # type: ignore[attr-defined]
            self.job = None
        assert self.db is not None
        self.db.close()
        self.db = self._open()
        self.collection = self.db.collection(NAME)

    @rule(seconds=st.sampled_from([1.0, 700.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(data=st.data(), choice=st.sampled_from(INDEXES), metric=st.sampled_from(METRICS))
    def create_index(self, data: Any, choice: IndexChoice, metric: Metric) -> None:
        name = data.draw(st.sampled_from([f.name for f in self.model.schema.vectors]))
        self._tick(f"index {choice.kind}")
        create = lambda: self.collection.create_index(  # noqa: E731
            name, choice.kind, metric=metric, params=choice.params
        )
        known = self.indexes.get(name)
        if known is not None and known != (choice, metric):
            self._refuses(InvalidParameter, create)
            return
        create()
        self.indexes[name] = choice, metric

    @precondition(lambda self: self.indexes)
    @rule(data=st.data())
    def drop_index(self, data: Any) -> None:
        name = data.draw(st.sampled_from(sorted(self.indexes)))
        self._tick("drop index")
        self.collection.drop_index(name)
        del self.indexes[name]

    # --- reads -------------------------------------------------------------------------------------------------------

    @rule(data=st.data(), limit=st.none() | st.integers(1, 60), offset=st.integers(0, 30))
    def query(self, data: Any, limit: int | None, offset: int) -> None:
        asked, output_fields = self._question(data), self._output_fields(data)
        wanted = self.model.rows(asked)[offset : None if limit is None else offset + limit]
        table = self.collection.query(
            asked.filter,
            filter_params=asked.params,
            partitions=asked.partitions,
            output_fields=output_fields,
            limit=limit,
            offset=offset,
        )
        self.seen["queries with rows"] += bool(wanted)
        self._compare_rows(elanus.to_rows(table), wanted, output_fields)

    @rule(data=st.data())
    def count(self, data: Any) -> None:
        asked = self._question(data)
        got = self.collection.count(asked.filter, filter_params=asked.params, partitions=asked.partitions)
        assert got == len(self.model.matching(asked))

    @rule(data=st.data(), count=st.integers(1, 12), seed=SEEDS)
    def get(self, data: Any, count: int, seed: int) -> None:
        random, partitions, output_fields = Random(seed), self._partitions(data), self._output_fields(data)
        keys: list[Key] = Values(self.model.schema, random, self.vectors).keys(count, distinct=False)
        if self.model.copies:
            keys += [copy.key for copy in random.choices(self.model.copies, k=count)]
        wanted = [row for row in self.model.rows(Question(partitions=partitions)) if row.key in keys]
        got = self.collection.get(keys, partitions=partitions, output_fields=output_fields)
        self._compare_rows(got, wanted, output_fields)

    @rule(data=st.data(), batch=st.integers(1, 50), limit=st.none() | st.integers(1, 80))
    def hold_an_iterator(self, data: Any, batch: int, limit: int | None) -> None:
        asked, output_fields = self._question(data), self._output_fields(data)
        pages = self.collection.query_iterator(
            asked.filter,
            filter_params=asked.params,
            partitions=asked.partitions,
            output_fields=output_fields,
            batch_size=batch,
            limit=limit,
        )
        self._tick("iterator")
        self.held.append(Held(pages, self.model.rows(asked)[:limit], batch, output_fields))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def read_a_page(self, data: Any) -> None:
        self._next_page(data.draw(st.sampled_from(self.held)))

    def _next_page(self, held: Held) -> None:
        page = next(held.pages, None)
        if page is None:
            assert not held.rows, f"the iterator ended {len(held.rows)} rows early"
            self.held.remove(held)
            return
        assert page.num_rows, "an empty page"
        self._compare_rows(elanus.to_rows(page), held.rows[: held.batch], held.output_fields)
        del held.rows[: held.batch]

    @rule(
        data=st.data(),
        nq=st.integers(1, 4),
        limit=st.sampled_from([1, 2, 3, 5, 10, 30, 100]),
        offset=st.sampled_from([0, 0, 0, 1, 3, 20]),
        wide=st.booleans(),
        seed=SEEDS,
    )
    def search(self, data: Any, nq: int, limit: int, offset: int, wide: bool, seed: int) -> None:
        asked, output_fields = self._question(data), self._output_fields(data, or_none=True)
        f = data.draw(st.sampled_from(list(self.model.schema.vectors)))
        choice, metric = self.indexes.get(f.name, (INDEXES[0], None))
        named = metric
        if metric is None:
            named = data.draw(st.sampled_from([*METRICS, None]))
            metric = named or Metric.COSINE
        elif data.draw(st.booleans()):
            named = None
        values = Values(self.model.schema, Random(seed), self.vectors)
        queries = np.array([values.vector(f.dim or 0) for _ in range(nq)], np.float32)
        if self.model.copies and values.random.random() < 0.5:
            queries[0] = values.random.choice(self.model.copies).stored[f.name]
        request = {
            "limit": limit,
            "offset": offset,
            "filter": asked.filter,
            "filter_params": asked.params,
            "partitions": asked.partitions,
            "field": f.name if len(self.model.schema.vectors) > 1 or wide else None,
            "metric": None if named is None else named.value,
            "params": choice.wide if wide else choice.narrow,
        }
        plan = self.collection.explain(queries, **request)
        assert str(plan)
        assert sum(step.passing for step in plan.steps) == len(self.model.matching(asked)), str(plan)
        for step in plan.steps:
            self.seen[f"route {step.strategy.route}"] += 1
        self.seen["routes in one search"] = max(
            self.seen["routes in one search"], len({step.strategy.route for step in plan.steps})
        )
        exact = all(step.strategy.route is Route.SCAN for step in plan.steps)
        results = self.collection.search(queries, output_fields=output_fields, **request)
        assert len(results) == nq
        for query, hits in zip(queries, results, strict=True):
            near = self.model.near(asked, f.name, metric, query)
            low, high = (ends[offset : offset + limit] for ends in near.places())
            keys, got = hits.keys.tolist(), hits.scores.tolist()
            about = f"{metric} {query.tolist()} limit {limit} offset {offset} {asked}\n{plan}"
            assert len(hits) == len(low), f"{len(hits)} hits, the oracle has {len(low)}: {about}"
            assert len(set(keys)) == len(keys), f"a key twice: {about}"
            ranked = list(zip([-s if metric.larger_is_nearer else s for s in got], keys, strict=True))
            assert ranked == sorted(ranked), f"not in the order of score, then key: {ranked} {about}"
            for key, score, hit in zip(keys, got, hits, strict=True):
                copies = near.having(key, score)
                assert copies, f"key {key!r} does not match, or not with score {score!r}: {about}"
                entities = {written(shown(copy, self.model.schema, output_fields)) for copy in copies}
                assert written(hit["entity"]) in entities, f"{hit} is none of {entities}"
            reached = [a <= s <= b for a, s, b in zip(low, got, high, strict=True)]
            if exact:
                assert all(reached), f"{got} is not between {low} and {high}: {about}"
            elif wide:
                edge = (low if metric.larger_is_nearer else high)[-1]
                found = sum(s >= edge if metric.larger_is_nearer else s <= edge for s in got)
                self.seen["hits to find by index"] += len(low)
                self.seen["hits found by index"] += found

    # --- comparing ---------------------------------------------------------------------------------------------------

    @invariant()
    def all_rows_are_as_the_oracle_says(self) -> None:
        if self.db is None or not self.changed:
            return
        self.changed = False
        self._note_states()
        schema, wanted = self.model.schema, self.model.rows()
        assert self.collection.count() == len(self.model.copies)
        table = self.collection.query()
        names = ["id", *(f.name for f in schema.fields if not f.is_primary)]
        assert table.column_names == names
        difference = first_difference(table.column("id").to_pylist(), [copy.key for copy in wanted])
        assert not difference, f"keys: {difference}"
        for f in schema.fields:
            column = table.column(f.name)
            assert column.type == f.arrow_type, f"{f.name} came as {column.type}"
            stored = [copy.stored[f.name] for copy in wanted]
            if f.is_vector:
                got = column.combine_chunks().values.to_numpy()
                assert got.tobytes() == np.array(stored, np.float32).tobytes(), f"vectors of {f.name} differ"
            else:
                difference = first_difference(column.to_pylist(), stored, repr)
                assert not difference, f"{f.name}: {difference}"

    def _compare_rows(self, got: list[Row], wanted: list[Copy], output_fields: list[str]) -> None:
        rows = [{"id": copy.key} | shown(copy, self.model.schema, output_fields) for copy in wanted]
        difference = first_difference(got, rows)
        assert not difference, difference

    def _note_states(self) -> None:
        snapshot = self.engine.snapshot()
        units = {
            "growing": any(unit.sealed is None for unit in snapshot.units),
            "several chunks": sum(unit.sealed is None for unit in snapshot.units) > 1,
            "sealed": any(not unit.indexes for unit in snapshot.sealed),
            "indexed": any(unit.indexes for unit in snapshot.sealed),
        }
        states = [name for name, there in units.items() if there and name != "several chunks"]
        for name in [*(name for name, there in units.items() if there), " + ".join(states)]:
            self.seen[name] += 1
        self.seen["frozen"] += self.engine.follower.is_frozen

    # --- drawing -----------------------------------------------------------------------------------------------------

    @property
    def engine(self) -> EngineCollection:
        assert self.db is not None
        return self.db._instance.collection(RequestContext(), NAME)

    @property
    def auto_id(self) -> bool:
        return self.model.schema.primary.auto_id

    def _partition(self, data: Any) -> str:
        name: str = data.draw(st.sampled_from(self.model.partitions))
        return name

    def _partitions(self, data: Any) -> tuple[str, ...]:
        if len(self.model.partitions) == 1:
            return ()
        drawn = data.draw(st.just([]) | st.lists(st.sampled_from(self.model.partitions), unique=True))
        return tuple(drawn)

    def _question(self, data: Any, filtered: bool = False) -> Question:
        text, params = data.draw(self.filters if filtered else st.just(("", None)) | self.filters)
        return Question(text, params, self._partitions(data))

    def _output_fields(self, data: Any, or_none: bool = False) -> list[str]:
        names = [f.name for f in self.model.schema.fields]
        if self.model.schema.dynamic is not None:
            names += [key for key in KEYS if key.isidentifier()] + ["nowhere"]
        choices = st.sampled_from([["*"], [*names[:2], "*"]]) | st.lists(st.sampled_from(names), unique=True, min_size=1)
        drawn: list[str] = data.draw(st.just([]) | choices if or_none else choices)
        return drawn

    def _keyed(self, rows: list[Row], keys: list[Key]) -> list[Row]:
        return [row | {"id": key} for key, row in zip(keys, rows, strict=False)]

    def _tick(self, operation: str) -> None:
        self.seen[operation] += 1
        self.changed = True
        self.clock.advance(0.001)

    def _refuses(self, error: type[Exception], write: Any) -> None:
        try:
            write()
        except error:
            return
        raise AssertionError(f"no {error.__name__} was raised")


__all__ = ["Collection", "CollectionMachine", "DEFAULT_PARTITION", "DYNAMIC_FIELD", "EVERYTHING"]
