"""An engine in a folder, driven step by step, beside a plain dict that says what must be in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from elanus.engine.builders import InlineBuilders
from elanus.engine.collection import Collection
from elanus.engine.config import EngineConfig
from elanus.engine.engine import Engine
from elanus.engine.manifest import IndexDefinition
from elanus.engine.planner import SearchRequest
from elanus.engine.query import QueryRequest, count, query
from elanus.engine.reading import ReadingEngine
from elanus.engine.search import search
from elanus.engine.snapshot import Snapshot
from elanus.engine.writes import delete_keys, insert, upsert
from elanus.log.acknowledged import Acknowledged, AcknowledgedView
from elanus.log.file import FileLog
from elanus.log.file_reader import FileLogReader
from elanus.model.canonical import Batch
from elanus.model.schema import Field, Schema
from elanus.model.timestamps import FakeClock
from elanus.model.types import DataType, Metric, OnDuplicateKey
from elanus.store.disk import Disk, LocalDisk
from elanus.store.local import LocalStore

OPEN: set[EngineCase] = set()
"""Cases that no one has closed. The test's end does, also where the test failed."""

SMALL = EngineConfig(background=False, index_min_rows=4, retention_s=0.0)
"""Limits small enough that a handful of rows reaches every state; nothing runs by itself."""

COLLECTION_ID = 7


class EngineCase:
    """Opens, writes, checks and reopens one collection with an Int64 or VarChar key, a value and a vector."""

    def __init__(
        self,
        folder: Path,
        config: EngineConfig = SMALL,
        key_type: DataType = DataType.INT64,
        on_duplicate_key: OnDuplicateKey = OnDuplicateKey.KEEP,
        disk: Disk | None = None,
        follows: bool = False,
    ) -> None:
        """With `follows` another engine reads what this one writes, and is checked with it."""
        self.reader: ReadingEngine | None = None
        self.folder = folder
        self.config = config
        self.clock = FakeClock()
        self.key_type = key_type
        self.expected: dict[int, int] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.disk = disk or LocalDisk(folder)
        self.engine = self._open()
        key = Field("id", key_type, is_primary=True, max_length=32 if key_type is DataType.VARCHAR else None)
        schema = Schema((key, Field("value", DataType.INT64), Field("vector", DataType.FLOAT_VECTOR, dim=4)))
        self.engine.create_collection(COLLECTION_ID, schema.checked(), {}, on_duplicate_key)
        if follows:
            log = FileLogReader(folder / "log", AcknowledgedView(folder))
            store = LocalStore(LocalDisk(folder), writable=False)
            self.reader = ReadingEngine.open(store, log, config, self.clock, lambda _: frozenset({COLLECTION_ID}))

    def _open(self) -> Engine:
        self.store = LocalStore(self.disk)
        self.log = FileLog.open(self.disk)
        self.acknowledged = Acknowledged(self.folder, self.log.end)
        self.log.publish_to(self.acknowledged)
        engine = Engine.open(self.store, self.log, self.config, self.clock, InlineBuilders())
        OPEN.add(self)
        return engine

    @property
    def collection(self) -> Collection:
        return self.engine.collection(COLLECTION_ID)

    def reopen(self) -> None:
        """As after a crash: nothing is closed in order, only the files are."""
        self._close()
        self.clock.advance(0.01)
        self.engine = self._open()

    def close(self) -> None:
        """Stop the engine and give its files back."""
        self._close()
        if self.reader is not None:
            self.reader.close()

    def _close(self) -> None:
        OPEN.discard(self)
        self.engine.close()
        self.log.close()
        self.acknowledged.close()

    # --- writes, each told to the dict as well ---------------------------------------------------------------------

    def insert(self, keys: Iterable[int], value: int = 0) -> None:
        keys = list(keys)
        self.clock.advance(0.001)
        insert(self.collection, self.rows(keys, value))
        self.expected.update(dict.fromkeys(keys, value))

    def upsert(self, keys: Iterable[int], value: int) -> None:
        keys = list(keys)
        self.clock.advance(0.001)
        upsert(self.collection, self.rows(keys, value))
        self.expected.update(dict.fromkeys(keys, value))

    def delete(self, keys: Iterable[int]) -> None:
        keys = list(keys)
        self.clock.advance(0.001)
        delete_keys(self.collection, self.keys(keys))
        for key in keys:
            self.expected.pop(key, None)

    def keys(self, keys: list[int]) -> pa.Array:
        if self.key_type is DataType.VARCHAR:
            return pa.array([f"key-{key}" for key in keys], pa.large_string())
        return pa.array(keys, pa.int64())

    def rows(self, keys: list[int], value: int) -> Batch:
        schema = self.collection.schema
        vectors = pa.array([vector_of(key, value) for key in keys], schema.vectors[0].arrow_type)
        values = pa.array([value] * len(keys), pa.int64())
        return Batch.of(pa.RecordBatch.from_arrays([self.keys(keys), values, vectors], schema=schema.arrow_schema))

    # --- definitions and checks ------------------------------------------------------------------------------------

    def create_index(self, kind: str = "HNSW", params: dict[str, int] | None = None) -> None:
        field_id = self.collection.schema.vectors[0].id
        params = {"M": 4, "efConstruction": 16} if params is None and kind == "HNSW" else params or {}
        self.collection.create_index(IndexDefinition("vector", field_id, kind, Metric.L2, params))

    def check(self) -> None:
        """Count, query and search say what the dict says, here and in the one that follows."""
        self.check_one(self.collection.snapshot())
        if self.reader is not None:
            self.reader.catch_up()
            self.check_one(self.reader.collection(COLLECTION_ID).snapshot())

    def check_one(self, snapshot: Snapshot) -> None:
        assert count(snapshot) == len(self.expected)
        table = query(snapshot, QueryRequest(output_fields=("value", "vector")))
        got = dict(zip(table.column("id").to_pylist(), table.column("value").to_pylist(), strict=True))
        assert got == {self.keys([key])[0].as_py(): value for key, value in self.expected.items()}
        for key, vector in zip(table.column("id").to_pylist(), table.column("vector").to_pylist(), strict=True):
            number = int(str(key).removeprefix("key-"))
            assert vector == vector_of(number, self.expected[number])
        for key in list(self.expected)[:2]:
            self.check_search(key, snapshot)

    def check_search(self, key: int, snapshot: Snapshot | None = None) -> None:
        """A search for a row's own vector finds it first, and as many hits as there are rows to find."""
        schema = self.collection.schema
        wanted = np.array([vector_of(key, self.expected[key])], np.float32)
        request = SearchRequest(schema.vectors[0], wanted, limit=16, metric=Metric.L2)
        result = search(snapshot or self.collection.snapshot(), request)
        assert len(result.keys) == min(16, len(self.expected))
        assert result.scores[0] == 0
        nearest = result.keys.tolist()[0]
        same = [k for k in self.expected if vector_of(k, self.expected[k]) == vector_of(key, self.expected[key])]
        assert nearest in self.keys(same).to_pylist()


def vector_of(key: int, value: int) -> list[float]:
    """A vector that tells its key and value, exact in float32."""
    return [float(key), float(value), float(key % 7), 1.0]


def config(**changes: object) -> EngineConfig:
    return replace(SMALL, **changes)  # type: ignore[arg-type]
