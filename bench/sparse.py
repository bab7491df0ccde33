"""Searches of sparse vectors through gRPC: real sentences as TF-IDF rows, the ten best of each, exactly.

A client in a process of its own asks with bare stubs, for which the messages that `pymilvus` sends are made beforehand,
on several connections at once. With a wanted recall of 1 the same searches are scans: that is the other side, and what
the answers are compared with, keys and scores.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

import elanus
from bench import database
from bench.context import Context
from bench.measure import Spread
from bench.report import Figure
from bench.serving import served
from elanus import DataType, Field, Schema

ROWS, K, QUERIES, CHECKED, CONNECTIONS = 100_000, 10, 1_000, 40, 4
SEARCHES_PER_S = 1_000
INDEXED: dict[str, Any] = {}
SCANNED: dict[str, Any] = {"target_recall": 1.0}
WORD = re.compile(r"\w+")

Pairs = npt.NDArray[np.void]
PAIR = np.dtype([("index", "<u4"), ("value", "<f4")])


def run(context: Context) -> list[Figure]:
    if context.sentences is None:
        context.say("skipped: say with --sentences where a Parquet file is that has texts in its column `text`")
        return []
    texts = pq.read_table(context.sentences, columns=["text"]).column("text").to_pylist()[: context.rows(ROWS)]
    rows = tf_idf(texts)
    folder = context.prepared("sparse", lambda path: build(path, rows))
    rng = np.random.default_rng(11)
    asked = rng.choice(len(rows), QUERIES, replace=False)
    whole = [rows[i] for i in asked]
    halves = [row[np.sort(rng.permutation(len(row))[: max(1, len(row) // 2)])] for row in whole]
    label = f"{len(rows):,} sentences as TF-IDF rows, {K} best"
    figures = []
    with served(folder) as address:
        for name, queries in (("half of a sentence", halves), ("a whole sentence", whole)):
            rates: list[float] = []
            for _ in range(context.rounds + 1):
                rates.append(_asked(address, INDEXED, queries, CONNECTIONS)["per_s"])
            alone = [_asked(address, INDEXED, queries[:300], 1)["median_ms"] for _ in range(context.rounds)]
            scans = [_asked(address, SCANNED, queries[:CHECKED], 1)["median_ms"] for _ in range(context.rounds)]
            right = _asked(address, SCANNED, queries[:CHECKED], 1)["hits"]
            found = _asked(address, INDEXED, queries[:CHECKED], 1)["hits"]
            what = f"{label} for {name}"
            same = float(np.mean([a == b for a, b in zip(right, found, strict=True)]))
            figures += [
                Figure(
                    "sparse",
                    f"{what}, {CONNECTIONS} connections",
                    Spread.of(rates[1:]),
                    "/s",
                    SEARCHES_PER_S,
                    "at least",
                ),
                Figure("sparse", f"{what}, one connection, median", Spread.of(alone), "ms"),
                Figure("sparse", f"{what}, by a scan, median", Spread.of(scans), "ms"),
                Figure("sparse", f"{what}, answers equal to those of a scan", Spread.of([same]), "", 1.0, "at least"),
            ]
    return figures


def tf_idf(texts: list[str]) -> list[Pairs]:
    """(1 + ln count) ln(N / texts with the word), divided by the row's length."""
    counts = [Counter(WORD.findall(text.lower())) for text in texts]
    texts_with = Counter(word for count in counts for word in count)
    number = {word: i for i, word in enumerate(texts_with)}
    rows = []
    for count in counts:
        row = np.array(
            sorted((number[w], (1 + math.log(n)) * math.log(len(texts) / texts_with[w])) for w, n in count.items()),
            PAIR,
        )
        row["value"] /= np.linalg.norm(row["value"]) or 1
        rows.append(row)
    return rows


def build(folder: Path, rows: list[Pairs]) -> None:
    fields = (Field("id", DataType.INT64, is_primary=True), Field("vector", DataType.SPARSE_FLOAT_VECTOR))
    with elanus.open(folder, settings=database.BULK) as db:
        collection = db.create_collection(database.NAME, Schema(fields))
        for begin in range(0, len(rows), database.BATCH_ROWS):
            some = rows[begin : begin + database.BATCH_ROWS]
            vectors = pa.array([row.tobytes() for row in some], pa.large_binary())
            collection.insert({"id": np.arange(begin, begin + len(some)), "vector": vectors})
        collection.flush()
        collection.create_index("vector", "SPARSE_INVERTED_INDEX", metric="IP")
        collection.wait_for_indexes()


def _asked(address: str, params: dict[str, Any], queries: list[Pairs], connections: int) -> dict[str, Any]:
    """What a client in a process of its own measured of these searches."""
    said = json.dumps(
        {
            "address": address.removeprefix("http://"),
            "params": params,
            "connections": connections,
            "queries": [query.tobytes().hex() for query in queries],
        }
    )
    ran = subprocess.run([sys.executable, "-m", "bench.sparse"], input=said, capture_output=True, text=True, check=True)
    measured: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return measured


def client() -> None:
    """The other side of `_asked`."""
    from pymilvus import MilvusClient
    from pymilvus.client.prepare import Prepare
    from pymilvus.grpc_gen.milvus_pb2_grpc import MilvusServiceStub

    asked = json.load(sys.stdin)
    setup = MilvusClient(f"http://{asked['address']}")
    setup.load_collection(database.NAME)
    setup.close()
    messages = []
    for query in asked["queries"]:
        pairs = np.frombuffer(bytes.fromhex(query), PAIR)
        data = [dict(zip(pairs["index"].tolist(), pairs["value"].tolist(), strict=True))]
        params = {"params": asked["params"]}
        messages.append(Prepare.search_requests_with_expr(database.NAME, "vector", params, K, data=data))
    took = np.zeros(len(messages))
    hits: list[Any] = [None] * len(messages)

    def ask(first: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
        with grpc.insecure_channel(asked["address"], options) as channel:
            stub = MilvusServiceStub(channel)
            for i in range(first, len(messages), asked["connections"]):
                began = time.perf_counter()
                results = stub.Search(messages[i]).results
                took[i] = time.perf_counter() - began
                hits[i] = list(results.ids.int_id.data), list(results.scores)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(asked["connections"])]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    per_s = len(messages) / (time.perf_counter() - began)
    print(json.dumps({"per_s": per_s, "median_ms": float(np.median(took)) * 1e3, "hits": hits}))


if __name__ == "__main__":
    client()
