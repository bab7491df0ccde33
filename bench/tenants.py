"""Searches within one tenant of a collection with a partition key, through gRPC: another tenant each time.

They are asked by `pymilvus`, whose own work in a call is measured with them, and in the same turn by a bare stub,
for which the messages that `pymilvus` sends are made beforehand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
from pymilvus import MilvusClient
from pymilvus.client.prepare import Prepare
from pymilvus.grpc_gen.milvus_pb2_grpc import MilvusServiceStub

import elanus
from bench import database
from bench.context import Context
from bench.data import Vectors, nearest
from bench.measure import Spread, latencies_s
from bench.report import Figure
from bench.serving import served
from elanus import DataType, Field, Schema

ROWS, TENANTS, K, SEARCHES, CHECKED = 1_000_000, 1_000, 10, 500, 50
SEARCH_MS = 1.2


def run(context: Context) -> list[Figure]:
    count = context.rows(ROWS)
    rows = context.source.rows(count)
    queries = context.source.queries(SEARCHES)
    folder = context.prepared("tenants", lambda path: build(path, rows))
    found: list[set[int]] = []
    with served(folder) as address:
        client = MilvusClient(address)
        client.load_collection(database.NAME)

        def search(i: int) -> None:
            hits = client.search(database.NAME, [queries[i % SEARCHES]], filter=_filter(i), limit=K)[0]
            found.append({hit["id"] for hit in hits})

        messages = [_message(queries, i) for i in range(SEARCHES)]
        with grpc.insecure_channel(address.removeprefix("http://")) as channel:
            stub = MilvusServiceStub(channel)
            latencies_s(search, 50)
            medians, bare = [], []
            for _ in range(context.rounds):
                found.clear()
                medians.append(float(np.median(latencies_s(search, SEARCHES))) * 1e3)
                took = latencies_s(lambda i: stub.Search(messages[i % SEARCHES]), SEARCHES)
                bare.append(float(np.median(took)) * 1e3)
        client.close()
    label = f"search within one of {TENANTS:,} tenants, {count:,} rows × {rows.shape[1]}, gRPC"
    return [
        Figure("tenant", f"{label}, by pymilvus, median", Spread.of(medians), "ms", SEARCH_MS),
        Figure("tenant", f"{label}, by a bare stub, median", Spread.of(bare), "ms", SEARCH_MS),
        Figure("tenant", f"{label}, recall", Spread.of([_recall(rows, queries, found)]), "", 1.0, "at least"),
    ]


def build(folder: Path, rows: Vectors) -> None:
    """One sealed segment; row i is of tenant i modulo `TENANTS`."""
    fields = (
        Field("id", DataType.INT64, is_primary=True),
        Field("tenant", DataType.VARCHAR, max_length=32, is_partition_key=True),
        Field("vector", DataType.FLOAT_VECTOR, dim=rows.shape[1]),
    )
    names = pa.array([_name(tenant) for tenant in range(TENANTS)], pa.large_string())
    with elanus.open(folder, settings=database.BULK) as db:
        collection = db.create_collection(database.NAME, Schema(fields))
        for begin in range(0, len(rows), database.BATCH_ROWS):
            keys = np.arange(begin, min(len(rows), begin + database.BATCH_ROWS))
            tenants = names.take(pa.array(keys % TENANTS))
            collection.insert({"id": keys, "tenant": tenants, "vector": rows[keys]})
        collection.flush()
        collection.create_index("vector", "FLAT", metric="L2")


def _asked(i: int) -> int:
    """The tenant of search i: no two that follow each other, nor of the same partition as a rule."""
    return i * 7 % TENANTS


def _filter(i: int) -> str:
    return f'tenant == "{_name(_asked(i))}"'


def _message(queries: Vectors, i: int) -> Any:
    """What `pymilvus` sends for search i."""
    one = [queries[i % SEARCHES]]
    return Prepare.search_requests_with_expr(database.NAME, "vector", {}, K, data=one, expr=_filter(i))


def _name(tenant: int) -> str:
    return f"tenant {tenant:04d}"


def _recall(rows: Vectors, queries: Vectors, found: list[set[int]]) -> float:
    shares = []
    for i in range(CHECKED):
        tenant = _asked(i)
        of_tenant = np.ascontiguousarray(rows[tenant::TENANTS])
        right = tenant + TENANTS * nearest(of_tenant, queries[i : i + 1], K)[1][0]
        shares.append(len(found[i] & set(right.tolist())) / K)
    return float(np.mean(shares))
