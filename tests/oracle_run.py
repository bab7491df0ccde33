"""A collection and its oracle, driven side by side through generated operations.

A run makes a collection of a generated schema, writes to it, flushes, merges, indexes, truncates and reopens it, steps
jobs with writes in between, and tells a `Model` the same writes. After every operation all rows are compared; queries,
iterators, counts and searches are compared as they come up.

A run is a seed. `check` runs one, and where it fails takes away operations, rows and fields for as long as it still
does, and says which are left.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa

import elanus
from elanus import (
    DuplicateKey,
    Elanus,
    Field,
    InvalidParameter,
    Metric,
    OnDuplicateKey,
    Schema,
    SchemaMismatch,
    Settings,
)
from elanus.engine.builders import InlineBuilders
from elanus.engine.collection import Collection as EngineCollection
from elanus.engine.jobs.collect import collect
from elanus.engine.jobs.cover import cover
from elanus.engine.jobs.improve import build_index, due_build, merge
from elanus.engine.jobs.seal import seal
from elanus.expr.compile import compile_filter
from elanus.model.timestamps import FakeClock
from elanus.model.types import INTEGERS, METRICS_OF, DataType, arrow_type
from elanus.service.context import RequestContext
from elanus.service.instance import Instance
from elanus.vector.cost import Route
from tests.filter_cases import KEYS
from tests.oracle import Copy, Key, Model, Question, Refused, first_difference, shown, written
from tests.oracle_cases import (
    FORMS,
    INDEXES,
    VECTORS,
    IndexChoice,
    Row,
    Values,
    a_filter,
    a_scalar_index,
    a_schema,
    in_form,
)

NAME = "things"

OPERATIONS = {
    "insert": 14,
    "upsert": 8,
    "insert_one_bad_row": 1,
    "delete_keys": 5,
    "delete_by_filter": 4,
    "truncate": 0.5,
    "create_partition": 2,
    "drop_partition": 0.7,
    "flush": 4,
    "compact": 2,
    "do_what_is_due": 3,
    "wait_for_indexes": 2,
    "cut_log": 1.5,
    "begin_job": 5,
    "step_job": 7,
    "reopen": 3,
    "wait": 1,
    "create_index": 3,
    "drop_index": 0.7,
    "index_a_scalar_field": 5,
    "query": 8,
    "count": 3,
    "get": 3,
    "hold_an_iterator": 2,
    "read_a_page": 4,
    "search": 16,
    "search_groups": 4,
}
"""How often each is drawn. They are methods of `Run`, each called with its own `Random` and a largest size."""

GROUPED_BY = INTEGERS | {DataType.BOOL, DataType.VARCHAR}

JOBS = ("seal", "merge", "build", "cover", "collect")
"""What may be under way while other operations happen."""

LARGEST = 60
"""Rows of one write, at most."""


@dataclass(frozen=True, slots=True)
class Operation:
    name: str
    seed: int
    size: int = LARGEST


@dataclass(frozen=True, slots=True)
class Case:
    """What a run does; everything is drawn from `seed` first, and may be cut down afterwards."""

    seed: int
    schema: Schema
    on_duplicate_key: OnDuplicateKey
    settings: Settings
    vectors: str
    operations: tuple[Operation, ...]

    @staticmethod
    def drawn(seed: int, operations: int) -> Case:
        random = Random(seed)
        settings = Settings(
            background=False,
            index_min_rows=random.choice([1, 4, 30]),
            retention_s=random.choice([0.0, 600.0]),
            merge_fan_in=random.choice([2, 4]),
            carry_bytes=random.choice([0, 1 << 20]),
            merge_max_rows=random.choice([100, 10_000]),
        )
        schema = a_schema(random)
        on_duplicate_key = random.choice([*OnDuplicateKey, OnDuplicateKey.KEEP])
        vectors = random.choice(VECTORS)
        names = random.choices(list(OPERATIONS), list(OPERATIONS.values()), k=operations)
        if random.random() < 0.7:
            names[:5] = "create_partition", "insert", "insert", "create_index", "compact"
            names[5:8] = ["index_a_scalar_field"] * 3
        drawn = tuple(Operation(name, random.getrandbits(32)) for name in names)
        return Case(seed, schema, on_duplicate_key, settings, vectors, drawn)


@dataclass(slots=True)
class Held:
    """An iterator, and the rows that it still has to give: those of the moment at which it was made."""

    pages: Iterator[pa.Table]
    rows: list[Copy]
    batch: int
    output_fields: list[str]


class Run:
    """`seen` counts what came up: operations, states of rows, routes of searches, hits of indexes."""

    def __init__(self, case: Case, folder: Path, seen: Counter[str]) -> None:
        self.case = case
        self.folder = folder
        self.seen = seen
        self.story: list[str] = []
        self.clock = FakeClock()
        self.held: list[Held] = []
        self.indexes: dict[str, tuple[IndexChoice, Metric]] = {}
        self.job: Iterator[str] | None = None
        self.db = self._open()
        try:
            self.collection = self.db.create_collection(NAME, case.schema, on_duplicate_key=case.on_duplicate_key)
        except BaseException:
            self.db.close()
            raise
        self.schema = case.schema.checked()
        self.model = Model(self.schema, case.on_duplicate_key)

    def _open(self) -> Elanus:
        return Elanus(Instance.open(self.folder, self.case.settings, clock=self.clock, builders=InlineBuilders()))

    def play(self) -> None:
        """Do everything, compare all along, and close."""
        try:
            for operation in self.case.operations:
                self.clock.advance(0.001)
                self.story.append(operation.name)
                getattr(self, operation.name)(Random(operation.seed), operation.size)
                self.compare_all()
            self._drain_iterators()
        finally:
            self.db.close()

    def _says(self, *what: object) -> None:
        """Add to the story's last line."""
        self.story[-1] = " ".join([self.story[-1], *map(str, what)])

    # --- writes ------------------------------------------------------------------------------------------------------

    def insert(self, random: Random, size: int) -> None:
        values, partition, form = self._values(random), random.choice(self.model.partitions), random.choice(FORMS)
        rejects = self.model.on_duplicate_key is OnDuplicateKey.REJECT
        rows = values.rows(random.randint(0, size))
        self._says(len(rows), "rows", form, "into", partition)
        if self.auto_id:
            result = self.collection.insert(in_form(form, rows, self.schema), partition=partition)
            keys = result.keys.to_pylist()
            known = {copy.key for copy in self.model.copies}
            assert result.count == len(rows) == len(set(keys) - known), "autoID gave no key, or one twice"
            self.model.insert(_keyed(rows, keys), partition)
            return
        keys = values.keys(len(rows), distinct=rejects and random.random() < 0.9)
        if rejects and random.random() < 0.8:
            taken = {copy.key for copy in self.model.copies}
            keys = [key for key in keys if key not in taken]
        rows = _keyed(rows, keys)
        self._says(keys if len(keys) < 8 else f"with {len(set(keys))} keys")
        try:
            self.model.insert(rows, partition)
        except Refused:
            self.seen["refused insert"] += 1
            _refuses(DuplicateKey, lambda: self.collection.insert(rows, partition=partition))
            return
        self.seen["inserted"] += len(rows)
        self.collection.insert(in_form(form, rows, self.schema), partition=partition)

    def upsert(self, random: Random, size: int) -> None:
        values, partition, form = self._values(random), random.choice(self.model.partitions), random.choice(FORMS)
        count = random.randint(0, size)
        keys = values.keys(count, distinct=random.random() < 0.9)
        if self.model.copies and random.random() < 0.5:
            there = sorted({copy.key for copy in self.model.copies})
            keys = random.sample(there, min(count, len(there)))
        rows = _keyed(values.rows(len(keys)), keys)
        self._says(len(rows), "rows", form, "into", partition, keys if len(keys) < 8 else "")
        if len(set(keys)) < len(keys):
            self.seen["refused upsert"] += 1
            _refuses(InvalidParameter, lambda: self.collection.upsert(rows, partition=partition))
            return
        result = self.collection.upsert(in_form(form, rows, self.schema), partition=partition)
        made = result.keys.to_pylist()
        assert result.count == len(rows)
        assert self.auto_id or made == keys
        self.model.upsert(_keyed(rows, made), partition, keys)

    def insert_one_bad_row(self, random: Random, size: int) -> None:
        """A row that does not fit makes the whole insert fail."""
        values = self._values(random)
        rows = values.rows(4) if self.auto_id else _keyed(values.rows(4), values.keys(4, distinct=True))
        rows[random.randrange(4)]["vector"] = [1.0]
        _refuses(SchemaMismatch, lambda: self.collection.insert(rows))

    def delete_keys(self, random: Random, size: int) -> None:
        partitions = self._some_partitions(random)
        keys = self._values(random).keys(random.randint(0, size // 2), distinct=False)
        if self.auto_id and self.model.copies:
            keys = [copy.key for copy in random.choices(self.model.copies, k=len(keys))]
        self._says(len(keys), keys if len(keys) < 8 else "", "in", partitions)
        assert self.collection.delete(keys, partitions=partitions) == len(keys)
        self.model.delete(keys, partitions)

    def delete_by_filter(self, random: Random, size: int) -> None:
        asked = self._a_question(random, filtered=True)
        condition = compile_filter(asked.filter, self.schema, asked.params)
        if condition.always is True:
            _refuses(InvalidParameter, lambda: self._delete(asked))
            return
        keys = {copy.key for copy in self.model.matching(asked)}
        count = self._delete(asked)
        if condition.key_lookup is None:
            assert count == len(keys), f"deleted {count}, the oracle {len(keys)}"
        self.model.delete(keys, asked.partitions)

    def _delete(self, asked: Question) -> int:
        return self.collection.delete(filter=asked.filter, filter_params=asked.params, partitions=asked.partitions)

    def truncate(self, random: Random, size: int) -> None:
        self.collection.truncate()
        self.model.truncate()

    def create_partition(self, random: Random, size: int) -> None:
        name = random.choice(["red", "blue", "green"])
        self._says(name)
        self.collection.create_partition(name)
        if name not in self.model.partitions:
            self.model.partitions.append(name)

    def drop_partition(self, random: Random, size: int) -> None:
        if len(self.model.partitions) > 1:
            name = random.choice(self.model.partitions[1:])
            self._says(name)
            self.collection.drop_partition(name)
            self.model.drop_partition(name)

    # --- what moves rows and must not be seen ------------------------------------------------------------------------

    def flush(self, random: Random, size: int) -> None:
        self._end_job()
        self.collection.flush()

    def compact(self, random: Random, size: int) -> None:
        self._end_job()
        self.collection.compact()

    def do_what_is_due(self, random: Random, size: int) -> None:
        self._end_job()
        self.engine.host.jobs.run_due(self.engine)

    def wait_for_indexes(self, random: Random, size: int) -> None:
        self._end_job()
        self.collection.wait_for_indexes()

    def cut_log(self, random: Random, size: int) -> None:
        self._end_job()
        self.db._instance.engine.cut_log()

    def begin_job(self, random: Random, size: int) -> None:
        """Begin a job and leave it; what comes next happens in its middle."""
        self._end_job()
        jobs = self._jobs(random)
        name = random.choice(sorted(jobs))
        self._says(name)
        self.seen[f"begun {name}"] += 1
        self.job = jobs[name]()
        for _ in range(random.randint(1, 3)):
            self._step()

    def step_job(self, random: Random, size: int) -> None:
        self._step()

    def _jobs(self, random: Random) -> dict[str, Callable[[], Iterator[str]]]:
        """What there is to do now."""
        engine = self.engine
        jobs = {"seal": lambda: seal(engine), "cover": lambda: cover(engine), "collect": lambda: collect(engine)}
        segments = list(engine.manifest.segments)
        if segments:
            chosen = random.sample(segments, random.randint(1, len(segments)))
            jobs["merge"] = lambda: merge(engine, chosen, engine.host.jobs.builders)
        due = due_build(engine)
        if due is not None:
            jobs["build"] = lambda: build_index(engine, *due, engine.host.jobs.builders)
        return jobs

    def _step(self) -> None:
        if self.job is not None:
            done = next(self.job, None)
            self._says(done)
            if done is None:
                self.job = None

    def _end_job(self) -> None:
        """There is one job of a kind at a time, so one that is under way ends before another begins."""
        while self.job is not None:
            self._step()
            self.compare_all()

    def reopen(self, random: Random, size: int) -> None:
        """Nothing is closed in order but the files: a job under way is gone."""
        self._drain_iterators()
        if self.job is not None:
            self.job.close()  # type: ignore[attr-defined]
            self.job = None
        self.db.close()
        self.db = self._open()
        self.collection = self.db.collection(NAME)

    def wait(self, random: Random, size: int) -> None:
        self.clock.advance(random.choice([1.0, 700.0]))

    def create_index(self, random: Random, size: int) -> None:
        name = random.choice(self.schema.vectors).name
        choice, metric = random.choice(INDEXES), random.choice(METRICS_OF[DataType.FLOAT_VECTOR])
        self._says(choice.kind, metric, "on", name)
        known = self.indexes.get(name)
        if known is not None and known != (choice, metric):
            self._says("refused")
            _refuses(InvalidParameter, lambda: self._create_index(name, choice, metric))
            return
        self._create_index(name, choice, metric)
        self.indexes[name] = choice, metric

    def _create_index(self, name: str, choice: IndexChoice, metric: Metric) -> None:
        self.collection.create_index(name, choice.kind, metric=metric, params=choice.params)

    def index_a_scalar_field(self, random: Random, size: int) -> None:
        """Filters are asked of it from then on; an earlier one of the same field goes."""
        f = random.choice([f for f in self.schema.fields if not f.is_vector])
        kind, field, params = a_scalar_index(random, f)
        self._says(kind, "on", field, params)
        for info in self.collection.list_indexes():
            if info.metric is None and info.field == field:
                self.collection.drop_index(info.name)
        self.collection.create_index(field, kind, params=params)
        self.seen["scalar indexes"] += 1

    def drop_index(self, random: Random, size: int) -> None:
        if self.indexes:
            name = random.choice(sorted(self.indexes))
            self.collection.drop_index(name)
            del self.indexes[name]

    # --- reads -------------------------------------------------------------------------------------------------------

    def query(self, random: Random, size: int) -> None:
        asked, output_fields = self._a_question(random), self._some_fields(random)
        limit = random.choice([None, random.randint(1, 8), random.randint(1, LARGEST)])
        offset = random.choice([0, 0, random.randint(0, 30)])
        self._says("limit", limit, "offset", offset, output_fields)
        table = self.collection.query(
            asked.filter,
            filter_params=asked.params,
            partitions=asked.partitions,
            output_fields=output_fields,
            limit=limit,
            offset=offset,
        )
        wanted = self.model.rows(asked)[offset : None if limit is None else offset + limit]
        self.seen["rows of queries"] += len(wanted)
        self._compare_rows(elanus.to_rows(table), wanted, output_fields)

    def count(self, random: Random, size: int) -> None:
        asked = self._a_question(random)
        got = self.collection.count(asked.filter, filter_params=asked.params, partitions=asked.partitions)
        wanted = len(self.model.matching(asked))
        assert got == wanted, f"counted {got}, the oracle {wanted}"

    def get(self, random: Random, size: int) -> None:
        partitions, output_fields = self._some_partitions(random), self._some_fields(random)
        keys: list[Key] = self._values(random).keys(random.randint(1, 12), distinct=False)
        if self.model.copies:
            keys += [copy.key for copy in random.choices(self.model.copies, k=12)]
        wanted = [row for row in self.model.rows(Question(partitions=partitions)) if row.key in keys]
        self._says(keys, "in", partitions, output_fields)
        got = self.collection.get(keys, partitions=partitions, output_fields=output_fields)
        self._compare_rows(got, wanted, output_fields)

    def hold_an_iterator(self, random: Random, size: int) -> None:
        asked, output_fields = self._a_question(random), self._some_fields(random)
        batch, limit = random.randint(1, 50), random.choice([None, random.randint(1, 80)])
        self._says("batch", batch, "limit", limit, output_fields)
        pages = self.collection.query_iterator(
            asked.filter,
            filter_params=asked.params,
            partitions=asked.partitions,
            output_fields=output_fields,
            batch_size=batch,
            limit=limit,
        )
        self.held.append(Held(pages, self.model.rows(asked)[:limit], batch, output_fields))

    def read_a_page(self, random: Random, size: int) -> None:
        if self.held:
            self._next_page(random.choice(self.held))

    def _next_page(self, held: Held) -> None:
        page = next(held.pages, None)
        if page is None:
            assert not held.rows, f"the iterator ended {len(held.rows)} rows early"
            self.held.remove(held)
            return
        assert page.num_rows, "an empty page"
        self.seen["pages"] += 1
        self._compare_rows(elanus.to_rows(page), held.rows[: held.batch], held.output_fields)
        del held.rows[: held.batch]

    def _drain_iterators(self) -> None:
        while self.held:
            self._next_page(self.held[-1])

    def search(self, random: Random, size: int) -> None:
        asked = self._a_question(random)
        output_fields = random.choice([[], self._some_fields(random)])
        field, choice, metric, asked_metric, queries = self._nearness(random)
        wide = random.random() < 0.7
        limit, offset = random.choice([1, 2, 3, 5, 10, 30, 100]), random.choice([0, 0, 0, 1, 3, 20])
        self._says(choice.kind, metric, "wide" if wide else "", "limit", limit, "offset", offset, output_fields)
        request: dict[str, Any] = {
            "limit": limit,
            "offset": offset,
            "filter": asked.filter,
            "filter_params": asked.params,
            "partitions": asked.partitions,
            "field": field.name if len(self.schema.vectors) > 1 else random.choice([None, field.name]),
            "metric": asked_metric,
            "params": choice.wide if wide else choice.narrow,
        }
        plan = self.collection.explain(queries, **request)
        self._says(str(plan))
        passing = sum(step.passing for step in plan.steps)
        assert passing == len(self.model.matching(asked)), f"explain counts {passing} rows"
        routes = [step.strategy.route for step in plan.steps]
        self.seen.update(f"route {route}" for route in routes)
        self.seen["searches on several routes"] += len(set(routes)) > 1
        if choice.kind == "FLAT" or (choice.kind == "IVF_FLAT" and wide):
            assert not {Route.GRAPH, Route.LISTS} & set(routes), f"{choice.kind} is exact when all of it is probed"
        exact = all(route is Route.SCAN for route in routes)
        results = self.collection.search(queries, output_fields=output_fields, **request)
        assert len(results) == len(queries)
        for query, hits in zip(queries, results, strict=True):
            near = self.model.near(asked, field.name, metric, query)
            low, high = (ends[offset : offset + limit] for ends in near.places())
            keys, scores = hits.keys.tolist(), hits.scores.tolist()
            assert len(keys) == len(low), f"{len(keys)} hits, the oracle has {len(low)}"
            assert len(set(keys)) == len(keys), f"a key twice in {keys}"
            costs = [-score if metric.larger_is_nearer else score for score in scores]
            ranked = list(zip(costs, keys, strict=True))
            assert ranked == sorted(ranked), f"not in the order of score, then key: {scores}, {keys}"
            if exact and not near.slack.any():
                best = near.ranked()[offset : offset + limit]
                assert keys == best, f"the keys are {keys}, the oracle's {best}"
            for hit in hits:
                copies = near.having(hit["id"], hit["distance"])
                assert copies, f"key {hit['id']!r} does not match, or has another score than {hit['distance']!r}"
                entities = {written(shown(copy, self.schema, output_fields)) for copy in copies}
                assert written(hit["entity"]) in entities, f"{written(hit['entity'])} is none of {entities}"
            self.seen["hits"] += len(keys)
            if exact:
                in_place = [a <= score <= b for a, score, b in zip(low, scores, high, strict=True)]
                assert all(in_place), f"scores {scores} of {keys} are not between {low} and {high}"
            elif wide and keys and self._graphs_can_tell(metric, routes):
                edge = (low if metric.larger_is_nearer else high)[-1]
                found = sum(score >= edge if metric.larger_is_nearer else score <= edge for score in scores)
                self.seen["hits to find by graph"] += len(keys)
                self.seen["hits found by graph"] += found

    def _nearness(self, random: Random) -> tuple[Field, IndexChoice, Metric, Metric | None, Any]:
        """A field, its index, the metric and whether it is named, and some queries."""
        field = random.choice(self.schema.vectors)
        choice, metric = self.indexes.get(field.name, (INDEXES[0], None))
        asked_metric = None if metric is not None and random.random() < 0.5 else metric
        if metric is None:
            asked_metric = random.choice([Metric.L2, Metric.IP, Metric.COSINE, None])
            metric = asked_metric or Metric.COSINE
        values = self._values(random)
        queries = np.array([values.vector(field.dim or 0) for _ in range(random.choice([1, 1, 2, 5]))], np.float32)
        if self.model.copies and random.random() < 0.5:
            queries[0] = random.choice(self.model.copies).stored[field.name]
        return field, choice, metric, asked_metric, queries

    def search_groups(self, random: Random, size: int) -> None:
        asked = self._a_question(random)
        field, choice, metric, asked_metric, queries = self._nearness(random)
        by = random.choice([f for f in self.schema.fields if f.dtype in GROUPED_BY])
        limit, offset, of_group = random.choice([1, 2, 5, 30]), random.choice([0, 0, 1, 4]), random.choice([1, 2, 4])
        self._says(choice.kind, metric, "by", by.name, "limit", limit, "offset", offset, "of each", of_group)
        request: dict[str, Any] = {
            "filter": asked.filter,
            "filter_params": asked.params,
            "partitions": asked.partitions,
            "field": field.name,
            "metric": asked_metric,
            "params": choice.wide,
        }
        exact = all(step.strategy.route is Route.SCAN for step in self.collection.explain(queries, **request).steps)
        results = self.collection.search(
            queries, limit=limit, offset=offset, group_by=by.name, group_size=of_group, **request
        )
        for query, hits in zip(queries, results, strict=True):
            near = self.model.near(asked, field.name, metric, query)
            groups = near.groups(by.name)
            if groups is None:
                continue  # which copy of a key is the nearest is not said
            of = {key: value for value, keys in groups.items() for key in keys}
            got = list(map(of.__getitem__, hits.keys.tolist()))
            counts = {value: got.count(value) for value in dict.fromkeys(got)}
            assert got == [value for value, count in counts.items() for _ in range(count)], "a group comes in pieces"
            assert len(counts) == min(limit, max(0, len(groups) - offset)), f"{len(counts)} of {len(groups)} groups"
            assert all(n == min(of_group, len(groups[value])) for value, n in counts.items()), f"{counts}, {groups}"
            self.seen["groups"] += len(counts)
            if exact and not near.slack.any():
                shown = list(groups.values())[offset : offset + limit]
                assert hits.keys.tolist() == [key for keys in shown for key in keys[:of_group]], f"of {groups}"

    def _graphs_can_tell(self, metric: Metric, routes: Sequence[Route]) -> bool:
        """Whether graphs must find nearly all: not where cosines differ by less than codes of two bytes can say."""
        blurred = metric is Metric.COSINE and self.case.vectors == "far"
        return set(routes) <= {Route.SCAN, Route.GRAPH} and not blurred

    # --- comparing ---------------------------------------------------------------------------------------------------

    def compare_all(self) -> None:
        """Every row, every value, the count."""
        self._note_states()
        wanted = self.model.rows()
        count = self.collection.count()
        assert count == len(self.model.copies), f"{count} rows, the oracle has {len(self.model.copies)}"
        table = self.collection.query()
        assert table.column_names == ["id", *(f.name for f in self.schema.fields if not f.is_primary)]
        difference = first_difference(table.column("id").to_pylist(), [copy.key for copy in wanted])
        assert not difference, f"keys: {difference}"
        for f in self.schema.fields:
            column = table.column(f.name)
            shown_as = f.arrow_type if f.element is None else pa.large_list(arrow_type(f.element))
            assert column.type == shown_as, f"{f.name} came as {column.type}"
            stored = [copy.stored[f.name] for copy in wanted]
            if f.is_vector:
                got = column.combine_chunks().values.to_numpy()
                assert got.tobytes() == np.array(stored, np.float32).tobytes(), f"vectors of {f.name} differ"
            else:
                difference = first_difference(column.to_pylist(), stored, repr)
                assert not difference, f"{f.name}: {difference}"

    def _compare_rows(self, got: list[Row], wanted: list[Copy], output_fields: Sequence[str]) -> None:
        rows = [{"id": copy.key} | shown(copy, self.schema, output_fields) for copy in wanted]
        difference = first_difference(got, rows)
        assert not difference, difference

    def _note_states(self) -> None:
        snapshot = self.engine.snapshot()
        states = {
            "growing": any(unit.sealed is None for unit in snapshot.units),
            "sealed": any(not unit.indexes for unit in snapshot.sealed),
            "indexed": any(unit.indexes for unit in snapshot.sealed),
        }
        self.seen[" + ".join(name for name, there in states.items() if there) or "empty"] += 1
        self.seen["several chunks"] += sum(unit.sealed is None for unit in snapshot.units) > 1
        self.seen["several segments"] += len(snapshot.sealed) > 1
        self.seen["frozen"] += self.engine.follower.is_frozen

    # --- drawing -----------------------------------------------------------------------------------------------------

    @property
    def engine(self) -> EngineCollection:
        return self.db._instance.collection(RequestContext(), NAME)

    @property
    def auto_id(self) -> bool:
        return self.schema.primary.auto_id

    def _values(self, random: Random) -> Values:
        return Values(self.schema, random, self.case.vectors)

    def _some_partitions(self, random: Random) -> tuple[str, ...]:
        if random.random() < 0.6:
            return ()
        return tuple(random.sample(self.model.partitions, random.randint(0, len(self.model.partitions))))

    def _a_question(self, random: Random, filtered: bool = False) -> Question:
        text, params = a_filter(random, self.schema) if filtered or random.random() < 0.6 else ("", None)
        asked = Question(text, params, self._some_partitions(random))
        self._says(asked)
        return asked

    def _some_fields(self, random: Random) -> list[str]:
        names = [f.name for f in self.schema.fields]
        if random.random() < 0.4:
            return random.choice([["*"], [*names[:2], "*"]])
        if self.schema.dynamic is not None:
            names += [key for key in KEYS if key.isidentifier()] + ["nowhere"]
        return random.sample(names, random.randint(1, len(names)))


def _keyed(rows: list[Row], keys: Sequence[Key]) -> list[Row]:
    return [row | {"id": key} for key, row in zip(keys, rows, strict=False)]


def _refuses(error: type[Exception], write: Any) -> None:
    try:
        write()
    except error:
        return
    raise AssertionError(f"no {error.__name__} was raised")


# --- runs and their failures -----------------------------------------------------------------------------------------

SHRINK_S = 90.0
"""How long a failing run is cut down."""


@dataclass(frozen=True, slots=True)
class Failure:
    case: Case
    error: Exception
    story: tuple[str, ...]

    def __str__(self) -> str:
        case = self.case
        changed = {
            f.name: getattr(case.settings, f.name)
            for f in fields(case.settings)
            if getattr(case.settings, f.name) != f.default
        }
        made = f"dynamic: {case.schema.enable_dynamic_field}, on_duplicate_key: {case.on_duplicate_key}"
        return "\n".join(
            [
                f"repeat with --seed {case.seed}; what is left of it:",
                *(f"  {field.to_dict()}" for field in case.schema.fields),
                f"  {made}, vectors: {case.vectors}, settings: {changed}",
                *(f"  {number}. {line}" for number, line in enumerate(self.story, 1)),
                f"{type(self.error).__name__}: {self.error}",
            ]
        )


def check(case: Case, folder: Path, seen: Counter[str]) -> None:
    """Play `case`. Where that fails, cut it down for a while and raise with what is left."""
    failure = failure_of(case, folder, seen)
    if failure is not None:
        shrunk = cut_down(failure, folder)
        raise AssertionError(str(shrunk)) from shrunk.error


def failure_of(case: Case, folder: Path, seen: Counter[str]) -> Failure | None:
    home = Path(tempfile.mkdtemp(dir=folder))
    run = Run(case, home / "db", seen)
    try:
        run.play()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the run is about
        return Failure(case, error, tuple(run.story))
    finally:
        shutil.rmtree(home)
    return None


def cut_down(failure: Failure, folder: Path) -> Failure:
    """A smaller case that fails with the same kind of error, when there is one and it is found in time."""
    deadline = time.monotonic() + SHRINK_S
    failure = replace(failure, case=replace(failure.case, operations=failure.case.operations[: len(failure.story)]))
    again = True
    while again:
        again = False
        for smaller in smaller_cases(failure.case):
            if time.monotonic() > deadline:
                return failure
            found = failure_of(smaller, folder, Counter())
            if found is not None and type(found.error) is type(failure.error):
                failure, again = found, True
                break
    return failure


def smaller_cases(case: Case) -> Iterator[Case]:
    """The case without a run of operations, long ones first; with smaller writes; without a field."""
    operations = case.operations
    length = len(operations) // 2
    while length:
        for start in reversed(range(0, len(operations) - length + 1, max(1, length // 2))):
            yield replace(case, operations=operations[:start] + operations[start + length :])
        length //= 2
    for place, operation in enumerate(operations):
        for size in (1, 3, 10, 30):
            if size < operation.size:
                less = (*operations[:place], replace(operation, size=size), *operations[place + 1 :])
                yield replace(case, operations=less)
    scalars = [f for f in case.schema.fields if not f.is_primary and f.name != "vector"]
    for f in scalars:
        yield replace(case, schema=replace(case.schema, fields=tuple(g for g in case.schema.fields if g is not f)))
    if case.schema.enable_dynamic_field:
        yield replace(case, schema=replace(case.schema, enable_dynamic_field=False))
