"""Writes the folder that every later Elanus has to open: `python -m tests.format_fixture tests/fixtures/format-N`.

It is written once for each format version, by the Elanus that introduced it, and never again: `db/` is the folder as
it was left by a process that closed it, `expected.json` what was read from it then. It has a file of every kind, every
data type and key type, every kind of index, and rows in every place where rows can be: in segments, deleted from
them, in a carry record, and in the log alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import elanus
from elanus import Collection, DataType, Elanus, Field, Schema, Settings

DIM = 8
SETTINGS = Settings(background=False, index_min_rows=16, retention_s=0.0)
DATABASES = ("default", "second")

EVERYTHING = Schema(
    (
        Field("id", DataType.INT64, is_primary=True),
        Field("vector", DataType.FLOAT_VECTOR, dim=DIM),
        Field("flag", DataType.BOOL, nullable=True),
        Field("tiny", DataType.INT8),
        Field("small", DataType.INT16, nullable=True),
        Field("middle", DataType.INT32, default=7),
        Field("large", DataType.INT64, nullable=True),
        Field("single", DataType.FLOAT),
        Field("double", DataType.DOUBLE, nullable=True),
        Field("text", DataType.VARCHAR, max_length=64, nullable=True),
        Field("document", DataType.JSON, nullable=True),
    ),
    description="every type",
    enable_dynamic_field=True,
)
BY_NAME = Schema(
    (Field("name", DataType.VARCHAR, is_primary=True, max_length=32), Field("vector", DataType.FLOAT_VECTOR, dim=DIM))
)


def main(folder: Path) -> None:
    with elanus.open(folder / "db", settings=SETTINGS) as db:
        write(db)
    with elanus.open(folder / "db", settings=SETTINGS) as db:
        text = json.dumps(everything(db), indent=1, sort_keys=True)
    (folder / "expected.json").write_text(text + "\n")


def write(db: Elanus) -> None:
    kinds = db.create_collection("everything", EVERYTHING, properties={"collection.ttl.seconds": "0"})
    db.create_alias("all_types", "everything")
    kinds.create_index("vector", "HNSW", metric="COSINE", params={"M": 4, "efConstruction": 32}, name="graph")
    kinds.create_partition("even")
    fill(kinds, range(1, 60, 2))
    fill(kinds, range(0, 60, 2), partition="even")
    kinds.flush()
    kinds.delete([3, 4, 5])
    kinds.delete(filter="tiny == 7")
    kinds.flush()
    kinds.upsert(rows_of(range(10, 14)))
    kinds.wait_for_indexes()

    for name, kind, metric, params in (
        ("lists", "IVF_FLAT", "IP", {"nlist": 2}),
        ("graph", "HNSW", "L2", {"M": 4, "efConstruction": 32}),
        ("automatic", "AUTOINDEX", "COSINE", {}),
        ("exact", "FLAT", "L2", {}),
    ):
        collection = db.create_collection(name, BY_NAME, on_duplicate_key="replace")
        collection.create_index("vector", kind, metric=metric, params=params)
        for numbers in (range(40), range(35, 45)):
            collection.insert({"name": [f"row {n}" for n in numbers], "vector": vectors(numbers)})
            collection.flush()
        collection.wait_for_indexes()
        collection.delete(["row 1", "row 41"])

    second = db.create_database("second", {"database.replica.number": "1"})
    counted = second.create_collection("counted", dimension=DIM, auto_id=True)
    counted.insert({"vector": vectors(range(5)), "n": range(5)})
    db.create_collection("dropped", dimension=DIM).insert({"id": [1], "vector": vectors([1])})
    db.drop_collection("dropped")
    for number in range(70):  # so that the catalog has a checkpoint
        db.alter_alias("all_types", "exact" if number % 2 else "everything")
    db.alter_alias("all_types", "everything")
    # Rows carried forward once, and rows after them in the log.
    db._instance.engine.cut_log()
    fill(kinds, range(100, 105))
    counted.insert({"vector": vectors(range(5, 8)), "n": range(5, 8)})
    kinds.delete([100])


def vectors(numbers: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.stack([np.random.default_rng(n).standard_normal(DIM, np.float32) for n in numbers])


def rows_of(numbers: Any) -> list[dict[str, Any]]:
    return [
        {
            "id": n,
            "vector": vectors([n])[0],
            "flag": n % 3 == 0 if n % 4 else None,
            "tiny": n % 100 - 50,
            "small": n * 300 if n % 5 else None,
            "large": -n * 2**40 if n % 7 else None,
            "single": n / 3,
            "double": n / 7 if n % 2 else None,
            "text": f"ключ {n}" if n % 6 else None,
            "document": {"n": n, "list": [n, "a", None]} if n % 3 else None,
            "extra": {"of": n},
        }
        for n in numbers
    ]


def fill(collection: Collection, numbers: Any, partition: str = "_default") -> None:
    collection.insert(rows_of(numbers), partition=partition)


def everything(db: Elanus) -> dict[str, Any]:
    """All that can be read, as JSON."""
    found: dict[str, Any] = {}
    for name in DATABASES:
        database = db.database(name)
        found[name] = {
            "aliases": database.list_aliases(),
            "collections": {c: contents(database.collection(c)) for c in database.list_collections()},
        }
    return found


def contents(collection: Collection) -> dict[str, Any]:
    rows = elanus.to_rows(collection.query(output_fields=["*"]))
    key = collection.schema.primary.name
    return {
        "schema": [
            [f.name, f.dtype.name, f.is_primary, f.auto_id, f.nullable, f.default, f.max_length, f.dim]
            for f in collection.schema.fields
        ],
        "partitions": {p: collection.count(partitions=[p]) for p in collection.list_partitions()},
        "properties": collection.properties,
        "indexes": [[i.name, str(i.kind), str(i.metric), dict(i.params)] for i in collection.list_indexes()],
        "rows": [{name: plain(value) for name, value in row.items()} for row in rows],
        "nearest to its first row": [plain(k) for k in collection.search(rows[0]["vector"], limit=3)[0].keys],
        "the first row by its key": plain(collection.get(rows[0][key], output_fields=[key])[0][key]),
    }


def plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


if __name__ == "__main__":
    main(Path(sys.argv[1]))
