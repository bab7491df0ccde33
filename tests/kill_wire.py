"""The operations of a `Script` as calls of a Milvus client, what such a client sees, and its threads of writers."""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from pymilvus import DataType, MilvusClient, MilvusException
from pymilvus.client.cache import GlobalCache

from elanus import DataType as Type
from tests.kill_views import Key, Seen
from tests.kills import DIM, INDEX_KINDS, MAIN, THREADS, Entry, Event, Op, Script, Story, note_of, rows_of

WITHOUT = ("create_index", "drop_index")
"""A Milvus client may drop an index of a released collection alone, which nobody else could use meanwhile."""

QUICK = {"grpc.initial_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 500}
"""How soon a channel looks for a server that has come back: by itself it waits a second at first."""


def connect(port: int) -> MilvusClient:
    """A client with a connection of its own."""
    return MilvusClient(f"http://127.0.0.1:{port}", dedicated=True, grpc_options=QUICK)


def forget_schemas() -> None:
    """The SDK keeps schemas by address and name, and another folder may be served at the same address later."""
    GlobalCache.schema.clear()


def perform(client: MilvusClient, story: Story, op: Op, options: dict[str, Any]) -> None:
    """Make the calls that `op` stands for, each with `options`."""
    name = op.collection
    match op.kind:
        case "create_collection":
            client.create_collection(op.name, schema=_schema_of(story), **options)
            make_readable(client, story, op.name, **options)
        case "drop_collection":
            client.drop_collection(op.name, **options)
        case "insert":
            client.insert(name, _entities(story, op), partition_name=op.partition, **options)
        case "upsert":
            client.upsert(name, _entities(story, op), partition_name=op.partition, **options)
        case "delete_keys" | "delete_in_partition" if op.keys:
            partition = op.partition if op.kind == "delete_in_partition" else None
            client.delete(name, [story.key(number) for number in op.keys], partition_name=partition, **options)
        case "delete_keys" | "delete_in_partition":
            pass  # without keys, the client would ask for a filter
        case "delete_stamp" | "delete_range":
            client.delete(name, filter=story.filter_of(op), **options)
        case "create_partition":
            client.create_partition(name, op.name, **options)
        case "drop_partition":
            if client.has_partition(name, op.name, **options):  # not where the call is made again and was done
                client.release_partitions(name, [op.name], **options)
            client.drop_partition(name, op.name, **options)
        case "truncate":
            client.truncate_collection(name, **options)
        case "flush":
            client.flush(name, _async=True, **options)  # the call ends when it is flushed; nothing is to be polled
        case "compact":
            client.compact(name, **options)
        case kind:
            raise AssertionError(f"no such operation: {kind}")


def make_readable(client: MilvusClient, story: Story, collection: str, **options: Any) -> None:
    """Index and load a collection, whether it is or is not."""
    kind = list(INDEX_KINDS)[story.number % len(INDEX_KINDS)]
    params = client.prepare_index_params()
    params.add_index("vector", index_type=kind, metric_type="L2", params=INDEX_KINDS[kind])
    client.create_index(collection, params, sync=False, **options)
    client.load_collection(collection, **options)


def _schema_of(story: Story) -> Any:
    schema = MilvusClient.create_schema()
    if story.key_type is Type.VARCHAR:
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=32)
    else:
        schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("stamp", DataType.INT64)
    schema.add_field("note", DataType.VARCHAR, max_length=64)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    return schema


def _entities(story: Story, op: Op) -> list[dict[str, Any]]:
    columns = rows_of(story, op)
    columns["stamp"] = columns["stamp"].tolist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


class WireView:
    """What a client sees. It first makes readable what a kill has left half way there."""

    def __init__(self, client: MilvusClient, story: Story) -> None:
        self._client = client
        self._story = story

    def collections(self) -> list[str]:
        names = self._client.list_collections()
        for name in names:
            make_readable(self._client, self._story, name)
        return list(names)

    def indexes(self, collection: str) -> list[str]:
        return []

    def partitions(self, collection: str) -> list[str]:
        return list(self._client.list_partitions(collection))

    def rows(self, collection: str, partition: str) -> Seen:
        fields = ["id", "stamp", "note", "vector"]
        rows = self._client.query(collection, "stamp >= 0", output_fields=fields, partition_names=[partition])
        keys, stamps, notes, vectors = ([row[name] for row in rows] for name in fields)
        return Seen(keys, stamps, notes, np.array(vectors, np.float32))

    def count(self, collection: str, partition: str | None = None) -> int:
        named = [] if partition is None else [partition]
        ((counted,),) = (
            row.values() for row in self._client.query(collection, output_fields=["count(*)"], partition_names=named)
        )
        return int(counted)

    def nearest(self, collection: str, queries: npt.NDArray[np.float32]) -> list[tuple[Key, float, int]]:
        found = self._client.search(collection, list(queries), limit=3, output_fields=["stamp"])
        return [(hits[0]["id"], hits[0]["distance"], hits[0]["entity"]["stamp"]) for hits in found]

    def get(self, collection: str, keys: Sequence[Key]) -> list[tuple[Key, int]]:
        return [(row["id"], row["stamp"]) for row in self._client.get(collection, list(keys), ["stamp"])]


_GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""How calls end whose server does. The SDK gives its exceptions such a code too."""


class Writers:
    """The threads of one life, and one that reads, each with one of `clients` (THREADS + 1).

    Without ids (`names_requests` false) a call is made once, and what becomes of one that meets the kill is unknown:
    its thread ends. With ids it is made again, under the same id, until it is answered: by the SDK, which gives up as
    soon as it finds nobody listening, and then by the thread, when it is told that the server is back.
    `entries` is the ledger: who appends to the list has seen what it says.
    """

    def __init__(self, story: Story, clients: Sequence[MilvusClient], *, names_requests: bool) -> None:
        self.entries: list[Entry] = []
        self.failures: list[str] = []
        self.searched = 0
        self.called_again = 0
        self._story = story
        self._names_requests = names_requests
        self._begun, self._expected, self._ending, self._back = (threading.Event() for _ in range(4))
        self._threads = [
            threading.Thread(target=self._write, args=(client, thread), name=f"writer-{thread}")
            for thread, client in enumerate(clients[:THREADS])
        ]
        self._threads.append(threading.Thread(target=self._read, args=(clients[THREADS],), name="reader"))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def expect_the_kill(self) -> None:
        """Say that from now on calls may find no server."""
        self._expected.set()

    def end(self) -> None:
        """Say that the server was killed: the calls that are under way are the last ones."""
        self._ending.set()
        self._begun.set()

    def server_is_back(self) -> None:
        self._back.set()

    def join(self) -> None:
        """Wait until all threads have ended. Asserts that nothing failed that must not."""
        for thread in self._threads:
            thread.join()
        assert not self.failures, "\n".join(self.failures)

    def _write(self, client: MilvusClient, thread: int) -> None:
        if 0 < thread < THREADS - 1:
            self._begun.wait()
        for number, op in enumerate(Script(self._story, thread)):
            if self._ending.is_set():
                return
            self._note(Event.INVOKED, thread, number)
            if not self._call(partial(perform, client, self._story, op), f"{thread}-{number}", f"{thread}: {op}"):
                return
            self._note(Event.ACKNOWLEDGED, thread, number)
            if number == 0 and thread == 0:
                self._begun.set()

    def _read(self, client: MilvusClient) -> None:
        self._begun.wait()
        chance = random.Random(self._story.life)
        while not self._ending.wait(0.01) and self._call(partial(self._read_some, client, chance), "read", "a read"):
            self.searched += 1

    def _read_some(self, client: MilvusClient, chance: random.Random, options: dict[str, Any]) -> None:
        """Search and count while rows come and go. What is found is what somebody wrote."""
        query = [chance.uniform(-1, 1) for _ in range(DIM)]
        (hits,) = client.search(MAIN, [query], limit=10, output_fields=["stamp", "note"], **options)
        for hit in hits:
            wanted = note_of(self._story.number_of(hit["id"]), hit["entity"]["stamp"])
            assert hit["entity"]["note"] == wanted, hit
        client.query(MAIN, "stamp % 2 == 0", output_fields=["count(*)"], **options)

    def _call(self, call: Callable[[dict[str, Any]], None], request: str, what: str) -> bool:
        """Whether `call` was answered. Where it never will be, that is noted if it has to be."""
        options: dict[str, Any] = {"retry_times": 0}
        if self._names_requests:
            story = self._story
            options = {"client_request_id": f"{story.seed}-{story.number}-{story.life}-{request}"}
        while True:
            try:
                call(options)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test is to know
                if not self._is_the_kill(error):
                    self.failures.append(f"{what}\n{traceback.format_exc()}")
                    return False
                if not self._names_requests:
                    return False
                self.called_again += 1
                self._back.wait()
            else:
                return True

    def _is_the_kill(self, error: Exception) -> bool:
        """Whether a call failed because its server is gone, which is announced before it goes."""
        if isinstance(error, MilvusException):
            gone = error.code in _GONE or "Fail connecting to server" in error.message
        else:
            gone = isinstance(error, grpc.RpcError) and error.code() in _GONE
        return gone and self._expected.is_set()

    def _note(self, event: Event, thread: int, number: int) -> None:
        self.entries.append(Entry(event, thread, number, time.monotonic_ns()))
