"""The operations of a `Script` as calls of the native API, and what that API sees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from elanus import DataType, Elanus, Field, Schema
from tests.kill_views import Key, Seen
from tests.kills import DIM, INDEX_KINDS, Op, Story, rows_of


def perform(db: Elanus, story: Story, op: Op) -> None:
    """Make the call that `op` stands for."""
    if op.kind == "create_collection":
        found = db.create_collection(op.name, schema_of(story), on_duplicate_key=story.on_duplicate_key)
        assert found.name == op.name
        return
    if op.kind == "drop_collection":
        db.drop_collection(op.name, purge=op.partition == "purge")
        return
    collection = db.collection(op.collection)
    match op.kind:
        case "insert":
            collection.insert(rows_of(story, op), partition=op.partition)
        case "upsert":
            collection.upsert(rows_of(story, op), partition=op.partition)
        case "delete_keys":
            collection.delete([story.key(number) for number in op.keys])
        case "delete_in_partition":
            collection.delete([story.key(number) for number in op.keys], partitions=[op.partition])
        case "delete_stamp" | "delete_range":
            collection.delete(filter=story.filter_of(op))
        case "create_partition":
            collection.create_partition(op.name)
        case "drop_partition":
            collection.drop_partition(op.name)
        case "create_index":
            collection.create_index("vector", op.name, metric="L2", params=INDEX_KINDS[op.name])
        case "drop_index":
            collection.drop_index(op.name)
        case "truncate":
            collection.truncate()
        case "flush":
            collection.flush()
        case "compact":
            collection.compact()
        case kind:
            raise AssertionError(f"no such operation: {kind}")


def schema_of(story: Story) -> Schema:
    max_length = 32 if story.key_type is DataType.VARCHAR else None
    return Schema(
        (
            Field("id", story.key_type, is_primary=True, max_length=max_length),
            Field("stamp", DataType.INT64),
            Field("note", DataType.VARCHAR, max_length=64),
            Field("vector", DataType.FLOAT_VECTOR, dim=DIM),
        )
    )


class NativeView:
    def __init__(self, db: Elanus) -> None:
        self._db = db

    def collections(self) -> list[str]:
        return list(self._db.list_collections())

    def indexes(self, collection: str) -> list[str]:
        return [index.kind for index in self._db.collection(collection).list_indexes()]

    def partitions(self, collection: str) -> list[str]:
        return list(self._db.collection(collection).list_partitions())

    def rows(self, collection: str, partition: str) -> Seen:
        table = self._db.collection(collection).query(partitions=[partition])
        keys, stamps, notes = (table.column(name).to_pylist() for name in ("id", "stamp", "note"))
        return Seen(keys, stamps, notes, table.column("vector").combine_chunks().flatten().to_numpy())

    def count(self, collection: str, partition: str | None = None) -> int:
        found = self._db.collection(collection)
        if partition is not None:
            return found.count(partitions=[partition])
        everything = found.query(output_fields=["stamp"]).num_rows
        assert found.count() == everything
        return everything

    def nearest(self, collection: str, queries: npt.NDArray[np.float32]) -> list[tuple[Key, float, int]]:
        found = self._db.collection(collection).search(queries, limit=3, metric="L2", output_fields=["stamp"])
        return [(hits[0]["id"], hits[0]["distance"], hits[0]["entity"]["stamp"]) for hits in found]

    def get(self, collection: str, keys: Sequence[Key]) -> list[tuple[Key, int]]:
        rows = self._db.collection(collection).get(list(keys), output_fields=["stamp"])
        return [(row["id"], row["stamp"]) for row in rows]
