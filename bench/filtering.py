"""count(*) by filters through gRPC on a million sealed rows, without scalar indexes and with them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import elanus
from bench import database
from bench.context import Context
from bench.measure import Spread
from bench.report import Figure
from elanus import DataType, Field, Schema

if TYPE_CHECKING:
    from pymilvus import MilvusClient

ROWS, ROUNDS = 1_000_000, 15
NUMBERS, WORDS = 100_000, 26 * 26 * 100

PLAIN, INDEXED = "plain", "indexed"

INDEXES = (
    ("number", "STL_SORT", {}),
    ("word", "INVERTED", {}),
    ("few", "BITMAP", {}),
    ("tags", "INVERTED", {}),
    ("note", "INVERTED", {"json_path": "note['a']['b']", "json_cast_type": "DOUBLE"}),
)

FILTERS: tuple[tuple[str, str, float], ...] = (
    ("int == c", "number == {n}", 20.0),
    ("varchar == c", "word == '{word}'", 20.0),
    ("varchar like 'ab%'", "word like '{two}%'", 20.0),
    ("int in [1,000 values]", "number in {thousand}", 20.0),
    ('json["a"]["b"] > c', "note['a']['b'] > {high}", 60.0),
    ("array_contains", "array_contains(tags, {n})", 20.0),
    ("three-way and", "number < {low} and few == {few} and word like '{two}%'", 20.0),
)
"""What, the filter, and how many milliseconds it may take without an index."""

WITH_INDEX_MS = 4.0


def run(context: Context) -> list[Figure]:
    count = context.rows(ROWS)
    folder = context.prepared("filters", lambda path: build(path, count))
    figures = []
    with served(folder) as client:
        for what, text, bound_ms in FILTERS:
            for name, bound in ((PLAIN, bound_ms), (INDEXED, WITH_INDEX_MS)):
                took = [_count_ms(client, name, _filled(text, turn)) for turn in range(-2, ROUNDS)][2:]
                how = "with an index" if name == INDEXED else "no index"
                label = f"count(*) where {what}, {count:,} rows, gRPC, {how}"
                figures.append(Figure("filter", label, Spread.of(took), "ms", bound))
    return figures


def _filled(text: str, turn: int) -> str:
    """The filter with other constants each time, so that no cache of answers is measured."""
    random = np.random.default_rng(turn + 100)
    word = _word(int(random.integers(WORDS)))
    return text.format(
        n=int(random.integers(NUMBERS)),
        word=word,
        two=word[:2],
        thousand=random.integers(0, NUMBERS, 1000).tolist(),
        high=NUMBERS - int(random.integers(100, 2000)),
        low=NUMBERS // 2 + turn,
        few=int(random.integers(50)),
    )


def _count_ms(client: MilvusClient, name: str, text: str) -> float:
    begin = time.perf_counter()
    client.query(name, filter=text, output_fields=["count(*)"])
    return (time.perf_counter() - begin) * 1e3


def _word(number: int) -> str:
    first, rest = divmod(number, 2600)
    second, tail = divmod(rest, 100)
    return f"{chr(97 + first)}{chr(97 + second)}{tail}"


def build(folder: Path, count: int) -> None:
    """The collections `PLAIN` and `INDEXED` of the same rows, one sealed segment each."""
    fields = (
        Field("id", DataType.INT64, is_primary=True),
        Field("vector", DataType.FLOAT_VECTOR, dim=2),
        Field("number", DataType.INT64),
        Field("few", DataType.INT32),
        Field("word", DataType.VARCHAR, max_length=16),
        Field("tags", DataType.ARRAY, element=DataType.INT64, max_capacity=4),
        Field("note", DataType.JSON),
    )
    random = np.random.default_rng(5)
    words = pa.array([_word(i) for i in range(WORDS)], pa.large_string())
    with elanus.open(folder, settings=database.BULK) as db:
        collections = [db.create_collection(name, Schema(fields)) for name in (PLAIN, INDEXED)]
        for begin in range(0, count, database.BATCH_ROWS):
            size = min(database.BATCH_ROWS, count - begin)
            inner = pa.array(random.integers(0, NUMBERS, size)).cast(pa.string())
            rows = {
                "id": np.arange(begin, begin + size),
                "vector": np.ones((size, 2), np.float32),
                "number": random.integers(0, NUMBERS, size),
                "few": random.integers(0, 50, size).astype(np.int32),
                "word": words.take(pa.array(random.integers(0, WORDS, size))),
                "tags": pa.array(random.integers(0, NUMBERS, (size, 4)).tolist()),
                "note": pc.binary_join_element_wise('{"x": "some text", "a": {"b": ', inner, "}}", ""),
            }
            for collection in collections:
                collection.insert(rows)
        for collection in collections:
            collection.flush()
            collection.create_index("vector", "FLAT", metric="L2")
        for field, kind, params in INDEXES:
            collections[1].create_index(field, kind, params=params)
        collections[1].wait_for_indexes()


@contextmanager
def served(folder: Path) -> Iterator[MilvusClient]:
    """A client of `elanus serve` over `folder`, with both collections loaded."""
    from pymilvus import MilvusClient

    main = "from elanus.cli import main; main()"
    command = [sys.executable, "-c", main, "serve", "--data", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        client = MilvusClient(f"http://127.0.0.1:{process.stdout.readline().rsplit(':', 1)[1].strip()}")
        for name in (PLAIN, INDEXED):
            client.load_collection(name)
        yield client
        client.close()
    finally:
        process.terminate()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
