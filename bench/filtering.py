"""count(*) by filters through gRPC on a million sealed rows: without scalar indexes, with them, and by another server.

`--peer URI` names a running Milvus, where a collection `PEER` is made of the same rows at its first use and kept. In
each round all sides are asked in turn, each `CALLS` times in a row and with the same constants, none of which comes
twice, so that no cache of answers is measured. A side's figure of a round is its median. The peer is not asked what
its version does not know.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pymilvus import DataType as MilvusType
from pymilvus import MilvusClient

import elanus
from bench import database
from bench.context import Context
from bench.measure import Spread
from bench.report import Figure
from bench.serving import served
from elanus import DataType, Field, Schema

ROWS, CALLS = 1_000_000, 15
NUMBERS, WORDS, LABELS, TOLD = 100_000, 26 * 26 * 100, 1_000, 8
PEER_BATCH = 20_000

PLAIN, INDEXED, PEER = "plain", "indexed", "elanus_bench_filters"

INDEXES = (
    ("number", "STL_SORT", {}),
    ("word", "INVERTED", {}),
    ("few", "BITMAP", {}),
    ("labels", "INVERTED", {}),
    ("note", "INVERTED", {"json_path": "note['a']['b']", "json_cast_type": "DOUBLE"}),
)

FILTERS: tuple[tuple[str, str, float], ...] = (
    ("int == c", "number == {n}", 20.0),
    ("varchar == c", "word == '{word}'", 20.0),
    ("varchar like 'ab%'", "word like '{two}%'", 20.0),
    ("int in [1,000 values]", "number in {thousand}", 20.0),
    ('json["a"]["b"] > c', "note['a']['b'] > {high}", 60.0),
    ("array_contains", "array_contains(labels, {label})", 20.0),
    ("three-way and", "number < {low} and few == {few} and word like '{two}%'", 20.0),
)
"""What, the filter, and how many milliseconds it may take without an index."""

TEXT_MATCH, TEXT_MATCH_MS = "text_match(told, '{word}')", 5.0
WITH_INDEX_MS = 4.0


def run(context: Context) -> list[Figure]:
    count = context.rows(ROWS)
    folder = context.prepared("filters", lambda path: build(path, count))
    with served(folder) as address:
        client = MilvusClient(address)
        for name in (PLAIN, INDEXED):
            client.load_collection(name)
        if context.peer is None:
            figures = _figures(client, None, count, context.rounds)
        else:
            peer = MilvusClient(context.peer)
            fill_peer(peer, count, context.say)
            figures = _figures(client, peer, count, context.rounds)
            peer.close()
        client.close()
    return figures


def _figures(client: MilvusClient, peer: MilvusClient | None, count: int, rounds: int) -> list[Figure]:
    figures = []
    for what, text, bound_ms in FILTERS:
        label = f"count(*) where {what}, {count:,} rows, gRPC"
        sides = [(client, PLAIN, "no index", bound_ms), (client, INDEXED, "with an index", WITH_INDEX_MS)]
        if peer is not None:
            sides.append((peer, PEER, "the peer, no index", None))
        medians: list[list[float]] = [[] for _ in sides]
        for turn in range(-1, rounds):
            for (asked, name, _, _), took in zip(sides, medians, strict=True):
                took.append(_median_ms(asked, name, text, turn))
        for (_, _, side, bound), took in zip(sides, medians, strict=True):
            figures.append(Figure("filter", f"{label}, {side}", Spread.of(took[1:]), "ms", bound))
    took = [_median_ms(client, INDEXED, TEXT_MATCH, turn) for turn in range(-1, rounds)][1:]
    label = f"count(*) where text_match, {count:,} rows of {TOLD} words, gRPC"
    return [*figures, Figure("filter", label, Spread.of(took), "ms", TEXT_MATCH_MS)]


def _median_ms(client: MilvusClient, name: str, text: str, turn: int) -> float:
    asked = [_filled(text, turn * CALLS + call) for call in range(CALLS)]
    return float(np.median([_count_ms(client, name, one) for one in asked]))


def _filled(text: str, turn: int) -> str:
    random = np.random.default_rng(turn + 100)
    word = _word(int(random.integers(WORDS)))
    return text.format(
        n=int(random.integers(NUMBERS)),
        word=word,
        two=word[:2],
        thousand=random.integers(0, NUMBERS, 1000).tolist(),
        high=NUMBERS - int(random.integers(100, 2000)),
        label=int(random.integers(LABELS)),
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
        Field("note", DataType.JSON),
        Field("labels", DataType.ARRAY, element=DataType.INT32, max_capacity=8),
    )
    told = Field("told", DataType.VARCHAR, max_length=200, params={"enable_analyzer": "true", "enable_match": "true"})
    with elanus.open(folder, settings=database.BULK) as db:
        plain = db.create_collection(PLAIN, Schema(fields))
        indexed = db.create_collection(INDEXED, Schema((*fields, told)))
        for rows, told_words in _batches(count, database.BATCH_ROWS):
            plain.insert(rows)
            indexed.insert({**rows, "told": told_words})
        for collection in (plain, indexed):
            collection.flush()
            collection.create_index("vector", "FLAT", metric="L2")
        for field, kind, params in INDEXES:
            indexed.create_index(field, kind, params=params)
        indexed.wait_for_indexes()


def _batches(count: int, size: int) -> Iterator[tuple[dict[str, Any], pa.Array]]:
    """(columns, texts of `TOLD` words) of all rows, always the same ones."""
    random = np.random.default_rng(5)
    words = pa.array([_word(i) for i in range(WORDS)], pa.large_string())
    for begin in range(0, count, size):
        rows = min(size, count - begin)
        inner = pa.array(random.integers(0, NUMBERS, rows)).cast(pa.string())
        labels = pa.array(random.integers(0, LABELS, 5 * rows).astype(np.int32))
        told = [words.take(pa.array(random.integers(0, WORDS, rows))) for _ in range(TOLD)]
        yield (
            {
                "id": np.arange(begin, begin + rows),
                "vector": np.ones((rows, 2), np.float32),
                "number": random.integers(0, NUMBERS, rows),
                "few": random.integers(0, 50, rows).astype(np.int32),
                "word": words.take(pa.array(random.integers(0, WORDS, rows))),
                # JSON text is bytes: a column of strings would be documents that are strings.
                "note": pc.binary_join_element_wise('{"x": "some text", "a": {"b": ', inner, "}}", "").cast(
                    pa.large_binary()
                ),
                "labels": pa.ListArray.from_arrays(pa.array(np.arange(0, 5 * rows + 1, 5, np.int32)), labels),
            },
            pc.binary_join_element_wise(*told, pa.scalar(" ", pa.large_string())),
        )


def fill_peer(client: MilvusClient, count: int, say: Callable[[str], None]) -> None:
    """The same rows as the collection `PEER` of a Milvus, unless they are there."""
    if client.has_collection(PEER):
        client.load_collection(PEER)
        return
    say(f"filling the collection {PEER} of the peer, once ...")
    schema = MilvusClient.create_schema()
    schema.add_field("id", MilvusType.INT64, is_primary=True)
    schema.add_field("vector", MilvusType.FLOAT_VECTOR, dim=2)
    schema.add_field("number", MilvusType.INT64)
    schema.add_field("few", MilvusType.INT32)
    schema.add_field("word", MilvusType.VARCHAR, max_length=16)
    schema.add_field("note", MilvusType.JSON)
    schema.add_field("labels", MilvusType.ARRAY, element_type=MilvusType.INT32, max_capacity=8)
    client.create_collection(PEER, schema=schema, consistency_level="Strong")
    for columns, _ in _batches(count, PEER_BATCH):
        lists = {
            name: values.tolist() if isinstance(values, np.ndarray) else values.to_pylist()
            for name, values in columns.items()
        }
        lists["note"] = [{"x": "some text", "a": {"b": int(text[30:-2])}} for text in lists["note"]]
        names = list(lists)
        client.insert(PEER, [dict(zip(names, row, strict=True)) for row in zip(*lists.values(), strict=True)])
    client.flush(PEER)
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_index(PEER, indexes)
    client.load_collection(PEER)
