"""The server's way with gRPC's queues, and without it where another grpcio is installed."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from pymilvus import MilvusClient, MilvusException
from pymilvus.grpc_gen import milvus_pb2
from pymilvus.grpc_gen.milvus_pb2_grpc import MilvusServiceStub

from elanus.service.instance import Instance
from elanus.store.disk import LocalDisk
from elanus.testing.faulty import FaultyDisk, Operation
from elanus.wire.grpc import queues
from elanus.wire.grpc.dispatch import METHODS
from elanus.wire.grpc.queues import CallQueue, Incoming
from elanus.wire.grpc.server import Server

VERSION = milvus_pb2.GetVersionRequest()
SEARCH = METHODS["/milvus.proto.milvus.MilvusService/Search"]
HAS = METHODS["/milvus.proto.milvus.MilvusService/HasCollection"]


@pytest.mark.parametrize("taken", [True, False], ids=["queues", "without"])
def test_every_method_answers_either_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: bool) -> None:
    if not taken:
        monkeypatch.setattr(queues, "_USED", (*queues._USED, "SomethingThatIsNoMore"))
    before = set(threading.enumerate())
    instance = Instance.open(tmp_path)
    server = Server.start(instance)
    named = {thread.name.rpartition("_")[0] for thread in threading.enumerate() if thread not in before}
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        for method in METHODS.values():
            call = channel.unary_unary(method.path, method.request.SerializeToString, method.response.FromString)
            assert isinstance(call(method.request(), timeout=20), method.response), method.name
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(SEARCH.path)(b"\xff", timeout=20)
        assert caught.value.details() == "the request cannot be read: it is no SearchRequest"
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/milvus.proto.milvus.MilvusService/Unheard")(b"", timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    server.stop()
    instance.close()
    assert ("elanus-calls" in named) is taken
    assert not {thread.name for thread in threading.enumerate() if thread.name.startswith("elanus-calls")}


def test_more_calls_at_once_than_were_requested_in_advance(tmp_path: Path) -> None:
    instance = Instance.open(tmp_path)
    server = Server.start(instance)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = MilvusServiceStub(channel)
        calls = [stub.GetVersion.future(VERSION, timeout=30) for _ in range(50 * queues.REQUESTED)]
        assert {call.result().version for call in calls} == {stub.GetVersion(VERSION).version}
    server.stop()
    instance.close()


def test_calls_that_come_together_do_not_wait_for_the_long_one_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether they were read, or answered and not yet sent, when it began."""
    monkeypatch.setattr(queues, "_LOOK_S", 2.0)
    release = threading.Event()

    def answer(calls: Sequence[Incoming]) -> list[Any]:
        if calls[0].request.collection_name == "long":
            assert release.wait(20)
        return [HAS.response(value=True)]

    server = grpc.server(ThreadPoolExecutor(1))
    queue = CallQueue(server, [HAS], lambda incoming: incoming.read() and queue.answer_soon(incoming, answer), 2, "t")
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    queue.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = MilvusServiceStub(channel).HasCollection.future
        took = []
        for turn in range(60):
            release.clear()
            names = ["short"] * 8
            names[turn % 8] = "long"
            calls = [call(milvus_pb2.HasCollectionRequest(collection_name=name), timeout=20) for name in names]
            long = calls.pop(turn % 8)
            began = time.monotonic()
            assert all(short.result(timeout=10).value for short in calls)
            assert not long.done()
            release.set()
            assert long.result(timeout=10).value
            took.append(time.monotonic() - began)
    assert max(took) < 1.5, "somebody waited until a thread with nothing to do looked"
    server.stop(None).wait()
    queue.stop()
    queue.close()


def test_calls_that_are_alike_are_answered_at_once_each_by_its_own_answer() -> None:
    begun, release, together = threading.Event(), threading.Event(), list[list[str]]()

    def answer(calls: Sequence[Incoming]) -> list[Any]:
        names = [incoming.request.collection_name for incoming in calls]
        together.append(names)
        if names == ["first"]:
            begun.set()
            assert release.wait(20)
        return [HAS.response(value=name.endswith("!")) for name in names]

    def serve(incoming: Incoming) -> None:
        assert incoming.read()
        kind = incoming.request.collection_name[0]
        queue.answer_soon(incoming, answer, kinds.get(kind))

    kinds = {"a": object(), "b": object()}
    server = grpc.server(ThreadPoolExecutor(1))
    queue = CallQueue(server, [HAS], serve, 1, "t")
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    queue.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = MilvusServiceStub(channel).HasCollection.future
        names = ["first", *("a1!", "a2", "b1", "b2!", "a3", "solo", "solo", "a4!") * 20]
        calls = [call(milvus_pb2.HasCollectionRequest(collection_name=names[0]), timeout=20)]
        assert begun.wait(20)
        calls += [call(milvus_pb2.HasCollectionRequest(collection_name=name), timeout=20) for name in names[1:]]
        release.set()
        assert [one.result(timeout=20).value for one in calls] == [name.endswith("!") for name in names]
    assert sorted(name for group in together for name in group) == sorted(names)
    assert max(len(group) for group in together) > 1
    assert all(len({name[0] for name in group}) == 1 for group in together)
    assert all(len(group) == 1 for group in together if group[0] == "solo")
    server.stop(None).wait()
    queue.stop()
    queue.close()


def test_a_write_is_answered_by_what_became_of_it(tmp_path: Path) -> None:
    disk = FaultyDisk(LocalDisk(tmp_path))
    instance = Instance.open(tmp_path, disk=disk)
    server = Server.start(instance)
    client = MilvusClient(f"http://127.0.0.1:{server.port}", dedicated=True)
    client.create_collection("books", dimension=2)
    rows = [{"id": number, "vector": [number, 0]} for number in range(3)]
    assert client.insert("books", rows[:1])["insert_count"] == 1
    disk.fail("write", "log/*", errno.ENOSPC, times=1)
    with pytest.raises(MilvusException, match="free space"):
        client.insert("books", rows[1:2])
    assert client.insert("books", rows[2:])["insert_count"] == 1
    assert [row["id"] for row in client.query("books", "id >= 0", output_fields=["id"])] == [0, 2]
    client.close()
    server.stop()
    instance.close()


class SlowDisk(FaultyDisk):
    """One sync of the log takes until `go`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(LocalDisk(folder))
        self.slow, self.syncing, self.go = threading.Event(), threading.Event(), threading.Event()

    def check(self, kind: Operation, name: str) -> None:
        if kind == "sync" and name.startswith("log/") and self.slow.is_set():
            self.syncing.set()
            assert self.go.wait(20)
        super().check(kind, name)


def test_stopping_waits_for_writes_that_are_not_durable_yet(tmp_path: Path) -> None:
    disk = SlowDisk(tmp_path)
    instance = Instance.open(tmp_path, disk=disk)
    server = Server.start(instance)
    client = MilvusClient(f"http://127.0.0.1:{server.port}", dedicated=True)
    client.create_collection("books", dimension=2)
    answers: list[Any] = []
    disk.slow.set()
    row = {"id": 1, "vector": [1, 0]}
    writing = threading.Thread(target=lambda: answers.append(client.insert("books", [row])["insert_count"]))
    writing.start()
    assert disk.syncing.wait(20)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    time.sleep(0.2)
    assert not answers
    assert stopping.is_alive()
    disk.go.set()
    stopping.join()
    writing.join()
    assert answers == [1]
    client.close()
    instance.close()


def test_an_answer_that_comes_after_the_server_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue outlives all who may still answer; gRPC would end the process otherwise."""
    instance = Instance.open(tmp_path)
    server = Server.start(instance)
    began, answered = threading.Semaphore(0), []

    def slowly(incoming: Incoming, response: Any) -> None:
        began.release()
        time.sleep(1)
        reply(incoming, response)
        answered.append(incoming.method.name)

    reply = Incoming.reply
    monkeypatch.setattr(Incoming, "reply", slowly)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = MilvusServiceStub(channel)
        calls = [stub.GetVersion.future(VERSION), stub.Search.future(milvus_pb2.SearchRequest())]
        for _ in calls:
            assert began.acquire(timeout=20)
        server.stop(0)
        assert sorted(answered) == ["GetVersion", "Search"]
        for call in calls:
            assert call.exception(20) is not None
    instance.close()
