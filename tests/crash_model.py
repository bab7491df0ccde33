"""What a database must hold, as a plain value; reading everything that is there; and the comparison of the two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from elanus import Collection, Database, DataType, Elanus, Field, Schema, to_rows

DEFAULT = "_default"
NARROW = Schema(
    (
        Field("id", DataType.INT64, is_primary=True),
        Field("value", DataType.INT64),
        Field("vector", DataType.FLOAT_VECTOR, dim=4),
    )
)
WIDE = Schema(
    (
        Field("id", DataType.VARCHAR, is_primary=True, max_length=32),
        Field("value", DataType.INT32),
        Field("vector", DataType.FLOAT_VECTOR, dim=4),
        Field("text", DataType.VARCHAR, max_length=512, nullable=True),
        Field("about", DataType.JSON, nullable=True),
    ),
    enable_dynamic_field=True,
)
Name = tuple[str, str]
"""Database and collection. A collection whose name begins with "w" is a wide one."""


class Row(NamedTuple):
    """`value` tells everything else that is in a row, so a row is right when its other columns fit these three."""

    key: int
    value: int
    partition: str


@dataclass(frozen=True, slots=True)
class Shelf:
    """A collection as it must be. `rows` in the order they were written, copies of a key included."""

    rows: tuple[Row, ...] = ()
    partitions: frozenset[str] = frozenset({DEFAULT})
    index: str = ""
    aliases: frozenset[str] = frozenset()
    properties: frozenset[tuple[str, str]] = frozenset()
    on_duplicate_key: str = "keep"

    @property
    def newest(self) -> dict[int, int]:
        return {row.key: row.value for row in self.rows}

    @property
    def found(self) -> dict[str, Any]:
        """What reading it answers."""
        counts = dict.fromkeys(self.partitions, 0)
        for row in self.rows:
            counts[row.partition] += 1
        return {
            "count": len(self.rows),
            "partitions": counts,
            "values": self.newest,
            "index": self.index,
            "aliases": self.aliases,
            "properties": self.properties,
        }

    def without(self, gone: Callable[[Row], bool]) -> Shelf:
        return replace(self, rows=tuple(row for row in self.rows if not gone(row)))

    def written(self, keys: Sequence[int], value: int, partition: str, *, replacing: bool) -> Shelf:
        kept = self.without(lambda row: row.key in keys) if replacing else self
        return replace(self, rows=(*kept.rows, *(Row(key, value, partition) for key in keys)))


@dataclass(frozen=True, slots=True)
class World:
    databases: frozenset[str] = frozenset({"default"})
    shelves: Mapping[Name, Shelf] = field(default_factory=dict)

    @property
    def found(self) -> dict[Any, Any]:
        return {name: shelf.found for name, shelf in self.shelves.items()} | {"databases": self.databases}

    def put(self, name: Name, shelf: Shelf) -> World:
        return replace(self, shelves={**self.shelves, name: shelf})

    def take(self, name: Name) -> World:
        return replace(self, shelves={n: s for n, s in self.shelves.items() if n != name})


def row_data(name: Name, keys: Sequence[int], value: int) -> dict[str, Any]:
    """The rows of `keys` as columns."""
    data: dict[str, Any] = {
        "id": [key_of(name, key) for key in keys],
        "value": [value] * len(keys),
        "vector": np.array([vector_of(key, value) for key in keys], np.float32).reshape(-1, 4),
    }
    if is_wide(name):
        for column in ("text", "about", "extra"):
            data[column] = [wide_values(key, value)[column] for key in keys]
    return data


def is_wide(name: Name) -> bool:
    return name[1].startswith("w")


def key_of(name: Name, key: int) -> int | str:
    return f"key-{key}" if is_wide(name) else key


def vector_of(key: int, value: int) -> list[float]:
    return [float(key), float(value), float(key % 7), 1.0]


def wide_values(key: int, value: int) -> dict[str, Any]:
    text = None if key % 3 == 0 else f"text {key} {value} " * 20  # so that a few rows are longer than a sector
    return {"text": text, "about": None if key % 5 == 0 else {"key": key, "values": [value]}, "extra": 10 * key}


# --- reading and comparing -----------------------------------------------------------------------------------------


def collection_of(db: Elanus, name: Name) -> Collection:
    return database_of(db, name).collection(name[1])


def database_of(db: Elanus, name: Name) -> Database:
    return db if name[0] == "default" else db.database(name[0])


def read(db: Elanus) -> dict[Any, Any]:
    """Everything that is there, in the form of `World.found`. What does not fit together raises."""
    found: dict[Any, Any] = {"databases": frozenset(db.list_databases())}
    for database in db.list_databases():
        for collection in database_of(db, (database, "")).list_collections():
            name = (database, collection)
            found[name] = _read_collection(collection_of(db, name), name)
    return found


def _read_collection(collection: Collection, name: Name) -> dict[str, Any]:
    info = collection.describe()
    table = collection.query(output_fields=["*"])
    values: dict[int, int] = {}
    for row in to_rows(table):
        key = int(str(row["id"]).removeprefix("key-"))
        values[key] = value = row["value"]
        assert list(row["vector"]) == vector_of(key, value), row
        if is_wide(name):
            assert {column: row.get(column) for column in ("text", "about", "extra")} == wide_values(key, value)
    index = collection.list_indexes()
    return {
        "count": collection.count(),
        "partitions": {p: collection.count(partitions=[p]) for p in info.partitions},
        "values": values,
        "index": index[0].kind if index else "",
        "aliases": frozenset(info.aliases),
        "properties": frozenset(info.properties.items()),
    }


def check_reads(db: Elanus, world: World) -> None:
    """Searches, counts by filter and gets answer what the model says."""
    for name, shelf in world.shelves.items():
        collection = collection_of(db, name)
        newest = shelf.newest
        if not newest:
            assert not list(collection.search([[0.0, 0.0, 0.0, 1.0]], limit=3, metric="L2")[0])
            continue
        key = min(newest, key=lambda k: (k * 7919) % 31)
        query = np.array(vector_of(key, newest[key]), np.float32)
        nearest: dict[int, float] = {}
        for row in shelf.rows:
            distance = float(((np.array(vector_of(row.key, row.value), np.float32) - query) ** 2).sum())
            nearest[row.key] = min(distance, nearest.get(row.key, distance))
        hits = collection.search(query, limit=8, metric="L2", params=_WIDE_SEARCH.get(shelf.index))[0]
        assert [hit["distance"] for hit in hits] == sorted(nearest.values())[:8]
        assert len({hit["id"] for hit in hits}) == len(hits)
        assert all(hit["distance"] == nearest[int(str(hit["id"]).removeprefix("key-"))] for hit in hits)
        value = newest[key]
        assert collection.count(f"value == {value}") == sum(row.value == value for row in shelf.rows)
        assert [row["value"] for row in collection.get([key_of(name, key)])] == [value]


_WIDE_SEARCH = {"HNSW": {"ef": 256}, "IVF_FLAT": {"nprobe": 2}}
