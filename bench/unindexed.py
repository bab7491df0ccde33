"""count(*) with a filter through gRPC on a million rows, sealed and growing, without scalar indexes.

busy  Searches of one client while others count with a JSON filter: the p99 beside its quiet value.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pymilvus import MilvusClient

import elanus
from bench import database
from bench.context import Context
from bench.measure import Floats, Spread, latencies_s
from bench.report import Figure, plot_latencies
from bench.serving import served
from elanus import DataType, Field, Schema

SEARCHED = "searched"
ROWS, CALLS, SEARCHES, BUSY_SEARCHES, DIM = 1_000_000, 15, 500, 2_000, 32
SEALED_MS, JSON_MS, JSON_GROWING_MS = 20.0, 60.0, 1_000.0
GAP_S = 0.005
"""Between one client's searches: a stream, not a race for the processor."""

FILTERS: dict[str, str] = {
    "int == c": "number == {c}",
    "varchar == c": 'name == "{prefix}{c:07d}"',
    "varchar like 'ab%'": 'name like "{prefix}%"',
    "int in [1,000 values]": "number in [{listed}]",
    "three-way and": 'number > {c} and name like "{prefix}%" and share < 0.5',
    'json["a"]["b"] > c': 'document["a"]["b"] > {c}',
    "dynamic key == c": 'colour == "colour {few}"',
}


def run(context: Context) -> list[Figure]:
    count = context.rows(ROWS)
    figures = []
    for state in ("sealed", "growing"):
        folder = context.prepared(f"unindexed-{state}", lambda path, s=state: _build(path, count, sealed=s == "sealed"))
        with served(folder) as address:
            client = MilvusClient(address)
            client.load_collection(database.NAME)
            for name, template in FILTERS.items():
                is_json = "json" in name or "dynamic" in name
                bound = SEALED_MS if not is_json else JSON_MS if state == "sealed" else JSON_GROWING_MS
                measured = _counted(client, template, context.rounds).scaled(1e3)
                figures.append(
                    Figure("unindexed", f"count(*) where {name}, {count:,} {state} rows", measured, "ms", bound)
                )
            if state == "sealed":
                figures += _busy(client, address, context)
            client.close()
    return figures


def _counted(client: MilvusClient, template: str, rounds: int) -> Spread:
    """Seconds of a count, another constant each time so that nothing is answered from memory."""
    drawn = iter(np.random.default_rng(11).integers(0, ROWS, (10**5, 1_000)))

    def one(_: int) -> None:
        client.query(database.NAME, filter=_filled(template, next(drawn)), output_fields=["count(*)"])

    one(0), one(1)
    return Spread.of([float(np.median(latencies_s(one, CALLS))) for _ in range(rounds)])


def _filled(template: str, numbers: npt.NDArray[np.int64]) -> str:
    c = int(numbers[0])
    return template.format(c=c, prefix=_prefix(c), few=c % 64, listed=",".join(map(str, numbers)))


def _prefix(number: int) -> str:
    return chr(97 + number % 26) + chr(97 + number // 26 % 26)


def _busy(client: MilvusClient, address: str, context: Context) -> list[Figure]:
    queries = context.source.queries(SEARCHES)[:, :DIM]

    def search(i: int) -> None:
        time.sleep(GAP_S)
        started = time.perf_counter()
        client.search(SEARCHED, [queries[i % SEARCHES]], limit=10)
        took.append(time.perf_counter() - started)

    client.load_collection(SEARCHED)
    took: list[float] = []
    latencies_s(search, 50)
    took.clear()
    latencies_s(search, BUSY_SEARCHES)
    quiet: Floats = np.array(took)
    took.clear()
    done, counted = threading.Event(), [0]

    def counting() -> None:
        other = MilvusClient(address)
        while not done.is_set():
            other.query(database.NAME, filter=f'document["a"]["b"] > {counted[0]}', output_fields=["count(*)"])
            counted[0] += 1
        other.close()

    thread = threading.Thread(target=counting)
    thread.start()
    latencies_s(search, BUSY_SEARCHES)
    done.set()
    thread.join()
    busy: Floats = np.array(took)
    plot_latencies({"quiet": quiet, "while JSON is counted": busy}, "one search", context.out / "unindexed.png")
    before, after = (float(np.quantile(times, 0.99)) for times in (quiet, busy))
    ratio = Spread.of([after / before])
    return [
        Figure("unindexed", "search p99 while JSON is counted / quiet", ratio, "×", 3.0, note=f"{counted[0]} counts"),
        Figure("unindexed", "search p99, quiet", Spread.of([before * 1e3]), "ms"),
    ]


def _build(folder: Path, count: int, *, sealed: bool) -> None:
    key = Field("id", DataType.INT64, is_primary=True)
    fields = (
        Field("vector", DataType.FLOAT_VECTOR, dim=DIM),
        Field("number", DataType.INT64),
        Field("name", DataType.VARCHAR, max_length=64),
        Field("share", DataType.DOUBLE),
        Field("document", DataType.JSON),
    )
    rng = np.random.default_rng(5)
    with elanus.open(folder, settings=database.BULK) as db:
        collection = db.create_collection(database.NAME, Schema((key, *fields), enable_dynamic_field=True))
        for begin in range(0, count, database.BATCH_ROWS):
            keys = np.arange(begin, min(count, begin + database.BATCH_ROWS))
            numbers, b = rng.integers(0, ROWS, len(keys)), rng.integers(0, ROWS, len(keys))
            columns = {
                "id": keys,
                "vector": rng.standard_normal((len(keys), DIM), np.float32),
                "number": numbers,
                "name": pa.array([f"{_prefix(n)}{n:07d}" for n in numbers.tolist()], pa.large_string()),
                "share": rng.random(len(keys)),
                "document": _texts(
                    '{{"kind":"thing {0}","a":{{"name":"n{1}","b":{1}}},"tags":["x","y{0}"],"z":{0}.5}}', keys, b
                ),
                "$meta": _texts('{{"size":{0},"colour":"colour {2}"}}', keys, b),
            }
            collection.insert(columns)
        collection.create_index("vector", "FLAT", metric="L2")
        if sealed:
            collection.flush()
            searched = db.create_collection(SEARCHED, dimension=DIM, metric="L2")
            vectors = rng.standard_normal((count // 10, DIM), np.float32)
            searched.insert({"id": np.arange(len(vectors)), "vector": vectors})
            searched.flush()
            searched.wait_for_indexes()


def _texts(template: str, keys: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64]) -> pa.Array:
    texts = [template.format(k, n, k % 64) for k, n in zip(keys.tolist(), numbers.tolist(), strict=True)]
    return pa.array(texts, pa.large_string()).cast(pa.large_binary())
