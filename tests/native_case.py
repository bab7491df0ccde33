"""Databases in real folders, as a user opens them, with small limits so that a few rows reach every state."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from elanus import Collection, DataType, Elanus, Field, Schema, Settings
from elanus.engine.builders import InlineBuilders
from elanus.service.instance import Instance

DIM = 4

QUIET = Settings(background=False, index_min_rows=8, retention_s=600.0)
"""Nothing runs by itself, and a segment of eight rows is worth an index."""

BOOKS = Schema(
    (
        Field("id", DataType.INT64, is_primary=True),
        Field("vector", DataType.FLOAT_VECTOR, dim=DIM),
        Field("title", DataType.VARCHAR, max_length=64),
        Field("pages", DataType.INT32, nullable=True),
        Field("price", DataType.DOUBLE, default=9.5),
        Field("sold", DataType.BOOL, nullable=True),
        Field("about", DataType.JSON, nullable=True),
    ),
    enable_dynamic_field=True,
)


def open_folder(folder: Path, **changes: Any) -> Elanus:
    return Elanus(Instance.open(folder, replace(QUIET, **changes), builders=InlineBuilders()))


def vector(number: int) -> list[float]:
    """A vector of its own for each number; that of a number nearby is nearer in L2."""
    return [float(number), 1.0, 0.0, 0.0]


def vectors(numbers: Any) -> npt.NDArray[np.float32]:
    return np.array([vector(number) for number in numbers], np.float32).reshape(-1, DIM)


def book(number: int, **values: Any) -> dict[str, Any]:
    return {"id": number, "vector": vector(number), "title": f"book {number}", **values}


def books(numbers: Any, **values: Any) -> list[dict[str, Any]]:
    return [book(number, **values) for number in numbers]


def keys_in(collection: Collection, filter: str = "", **more: Any) -> list[Any]:  # noqa: A002
    """The keys of the rows that match, as a query finds them."""
    keys: list[Any] = collection.query(filter, output_fields=["id"], **more).column("id").to_pylist()
    return keys


def until(true: Callable[[], bool], within_s: float = 120) -> None:
    """Return once `true()`: for what the database does by itself, in its own time."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"not after {within_s} s"
        time.sleep(0.01)


class Pair:
    """A collection with indexes and one without, that hold the same rows."""

    def __init__(self, folder: Path, schema: Schema) -> None:
        self.folder = folder
        self.db = open_folder(folder)
        self.collections = [self.db.create_collection(name, schema) for name in ("indexed", "plain")]

    @property
    def indexed(self) -> Collection:
        return self.collections[0]

    def each(self, method: str, *arguments: Any, **named: Any) -> None:
        for collection in self.collections:
            getattr(collection, method)(*arguments, **named)

    def reopen(self) -> None:
        self.db.close()
        self.db = open_folder(self.folder)
        self.collections = [self.db.collection(name) for name in ("indexed", "plain")]

    def agree(self, filters: Iterable[str]) -> None:
        """Both answer each of these filters alike."""
        for text in filters:
            indexed, plain = (keys_in(collection, text) for collection in self.collections)
            assert indexed == plain, text

    def close(self) -> None:
        self.db.close()


def asked_index(collection: Collection, text: str) -> str:
    """The index that a filter asks; empty for none."""
    return str(collection.explain([1.0, 0.0], filter=text)).partition("asking index ")[2].partition("\n")[0]


STATES = ("growing", "sealed", "indexed", "reopened")
"""The states in which rows are, and in which every read has to answer alike."""


def bring_to(state: str, db: Elanus, collection: Collection, folder: Path) -> tuple[Elanus, Collection]:
    """Take the rows written so far into `state`."""
    if state in ("sealed", "indexed", "reopened"):
        collection.flush()
    if state == "indexed":
        if not collection.list_indexes():
            collection.create_index("vector", "HNSW", metric="L2", params={"M": 4, "efConstruction": 32})
        collection.compact()
    if state == "reopened":
        db.close()
        db = open_folder(folder)
        collection = db.collection(collection.name)
    return db, collection
