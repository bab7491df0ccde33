"""`elanus serve --workers`: several processes behind one port are one server."""

from __future__ import annotations

import random
import signal
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import psutil
import pytest
from pymilvus import MilvusClient, MilvusException
from pymilvus.grpc_gen import milvus_pb2
from pymilvus.grpc_gen.milvus_pb2_grpc import MilvusServiceStub

from elanus.engine.collection import Collection
from elanus.service.instance import Instance
from elanus.testing.bucket_proxy import Proxy
from elanus.wire.grpc.forward import _passed_on
from elanus.wire.grpc.server import Server
from tests.bucket_case import use
from tests.native_case import until
from tests.test_serve import failure, one_sentence
from tests.test_wire_iterators import pages
from tests.wire_case import Served, served

WORKERS = 3


def clients_of_all(server: Served, count: int = 8) -> list[MilvusClient]:
    """Clients with connections of their own (gRPC shares one otherwise): the system deals them out, so that with so
    many hardly ever all go to one process.
    """
    own = {"grpc.use_local_subchannel_pool": 1}
    return [MilvusClient(server.address, dedicated=True, grpc_options=own) for _ in range(count)]


def workers_of(server: Served) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(server.process.pid).children():
        with suppress(psutil.Error):  # it has just ended
            if "elanus.cli.worker" in child.cmdline():
                found.append(child)
    return found


def check_one_server(clients: list[MilvusClient], rounds: int) -> None:
    """Whatever a client has done, each of the others sees at once."""
    draw = random.Random(rounds)
    clients[0].create_collection("seen", dimension=4, metric_type="L2")
    for number in range(rounds):
        writer, reader = draw.sample(clients, 2)
        writer.insert("seen", [{"id": number, "vector": [float(number), 0.0, 0.0, 0.0]}])
        assert reader.query("seen", filter=f"id == {number}", output_fields=["id"]) == [{"id": number}]
        assert reader.search("seen", [[float(number), 0.0, 0.0, 0.0]], limit=1)[0][0]["id"] == number
        if number % 20 == 19:
            writer.flush("seen")
            assert writer.delete("seen", ids=[number - 1])["delete_count"] == 1
            assert reader.query("seen", filter=f"id == {number - 1}", output_fields=["id"]) == []
    for number in range(rounds // 10):
        writer, reader = draw.sample(clients, 2)
        writer.create_collection(f"made_{number}", dimension=4)
        assert reader.has_collection(f"made_{number}")
        reader.insert(f"made_{number}", [{"id": 1, "vector": [0.0] * 4}])
        assert len(draw.choice(clients).query(f"made_{number}", filter="id > 0")) == 1
        reader.drop_collection(f"made_{number}")
        with pytest.raises(MilvusException, match="not found"):
            writer.query(f"made_{number}", filter="id > 0")


def test_what_one_connection_has_done_every_other_sees(tmp_path: Path) -> None:
    with served(tmp_path / "db", "--workers", str(WORKERS)) as server:
        assert len(workers_of(server)) == WORKERS - 1
        clients = clients_of_all(server)
        connected = [len(process.net_connections("tcp")) for process in workers_of(server)]
        assert sum(connected) > len(connected), "no client speaks with a worker: they only listen"
        check_one_server(clients, 100)
        server.process.send_signal(signal.SIGTERM)
        assert server.end() == 0
        for client in clients:
            client.close()


def test_over_a_bucket_too(tmp_path: Path, url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, proxy.url, tmp_path)
    with served(url, "--workers", "2") as server:
        clients = clients_of_all(server, 6)
        check_one_server(clients, 40)
        for client in clients:
            client.close()


def test_a_page_of_an_iterator_may_come_from_any_of_them(tmp_path: Path) -> None:
    with served(tmp_path / "db", "--workers", "2") as server:
        clients = clients_of_all(server, 4)
        clients[0].create_collection("seen", dimension=4, metric_type="L2")
        clients[0].insert("seen", [{"id": n, "vector": [float(n), 0.0, 0.0, 0.0]} for n in range(300)])
        for client in clients:
            rows = client.query_iterator("seen", batch_size=50, output_fields=["id"])
            client.insert("seen", [{"id": 1000, "vector": [0.0] * 4}])
            client.delete("seen", ids=[7])
            seen = [key for page in pages(rows) for key in page]
            assert sorted(set(seen)) == sorted(seen)
            assert set(range(8, 300)) <= set(seen)
            client.insert("seen", [{"id": 7, "vector": [7.0, 0.0, 0.0, 0.0]}])
            found = client.search_iterator("seen", [[0.0] * 4], batch_size=40, limit=200, output_fields=["id"])
            assert len({key for page in pages(found) for key in page}) == 200
        for client in clients:
            client.close()


def test_a_worker_that_is_killed_is_started_again_and_nothing_else_notices(tmp_path: Path) -> None:
    with served(tmp_path / "db", "--workers", str(WORKERS)) as server:
        clients = clients_of_all(server)
        clients[0].create_collection("seen", dimension=4)
        acknowledged: list[int] = []
        stop = threading.Event()

        def write(thread: int) -> None:
            key = thread * 1_000_000
            while not stop.is_set():
                with suppress(MilvusException):  # the connection is gone with its worker: the next try has another
                    clients[thread].upsert("seen", [{"id": key, "vector": [0.0] * 4}])
                    acknowledged.append(key)
                    key += 1

        threads = [threading.Thread(target=write, args=(n,)) for n in range(len(clients))]
        for thread in threads:
            thread.start()
        for _ in range(2):
            until(lambda: len(workers_of(server)) == WORKERS - 1)
            before = workers_of(server)
            before[0].kill()
            until(lambda: before[0].pid not in [p.pid for p in workers_of(server)])  # noqa: B023 - it is run at once
            until(lambda: len(workers_of(server)) == WORKERS - 1)
        stop.set()
        for thread in threads:
            thread.join()
        for client in clients_of_all(server):
            found = client.query("seen", filter="id >= 0", output_fields=["id"])
            assert {row["id"] for row in found} >= set(acknowledged)
            assert len(found) <= len(acknowledged) + len(clients)


def test_workers_end_with_the_writer_however_that_ends(tmp_path: Path) -> None:
    for end in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        with served(tmp_path / "db", "--workers", str(WORKERS)) as server:
            workers = workers_of(server)
            assert len(workers) == WORKERS - 1
            server.process.send_signal(end)
            assert server.end() == (-9 if end == signal.SIGKILL else 0)
            _, alive = psutil.wait_procs(workers, 30)
            assert alive == []


def test_the_port_is_shared_with_nobody_else(tmp_path: Path) -> None:
    with served(tmp_path / "db", "--workers", "2") as server:
        for more in ([], ["--workers", "2"]):
            one_sentence(failure(tmp_path / "other", "--port", str(server.port), *more), f":{server.port}", "--port")
        one_sentence(failure(tmp_path / "db", "--port", "0", "--workers", "2"), str(server.process.pid))


def test_several_that_only_read_share_a_port(tmp_path: Path) -> None:
    with served(tmp_path / "db") as writer:
        client = MilvusClient(writer.address, dedicated=True)
        client.create_collection("seen", dimension=4)
        with served(tmp_path / "db", "--read-only", "--workers", "2") as readers:
            clients = clients_of_all(readers)
            for number in range(20):
                client.insert("seen", [{"id": number, "vector": [0.0] * 4}])
                for other in clients:
                    assert other.query("seen", output_fields=["count(*)"])[0]["count(*)"] == number + 1
            for other in clients:
                with pytest.raises(MilvusException, match="reading only"):
                    other.insert("seen", [{"id": 1, "vector": [0.0] * 4}])


def test_several_that_only_read_a_bucket_follow_its_writer_elsewhere(
    tmp_path: Path, url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, proxy.url, tmp_path)
    with served(url) as writer:
        client = MilvusClient(writer.address, dedicated=True)
        client.create_collection("seen", dimension=4)
        with served(url, "--read-only", "--workers", "2") as readers:
            for number in range(5):
                client.insert("seen", [{"id": number, "vector": [0.0] * 4}])
                for other in clients_of_all(readers, 6):
                    found = other.query("seen", filter="id >= 0", output_fields=["id"], consistency_level="Strong")
                    assert len(found) == number + 1
                    other.close()
        client.close()


def test_a_client_that_gives_up_is_not_worked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it asked was passed on; else twelve such calls would keep the writer from all others."""
    release = threading.Event()
    monkeypatch.setattr(Collection, "flush", lambda self: release.wait(60))
    with ExitStack() as closing:
        writer = Instance.open(tmp_path / "db")
        closing.callback(writer.close)
        at_writer = Server.start(writer, also=f"unix:{tmp_path}/writer")
        closing.callback(at_writer.stop)
        closing.callback(release.set)
        reader = Instance.open(tmp_path / "db", read_only=True)
        closing.callback(reader.close)
        worker = Server.start(reader, writer=f"unix:{tmp_path}/writer")
        closing.callback(worker.stop)
        client = MilvusClient(f"http://127.0.0.1:{worker.port}", dedicated=True)
        client.create_collection("seen", dimension=4)
        channel = closing.enter_context(grpc.insecure_channel(f"127.0.0.1:{worker.port}"))
        stub = MilvusServiceStub(channel)
        calls = [stub.Flush.future(milvus_pb2.FlushRequest(collection_names=["seen"])) for _ in range(6)]
        forwarder = worker._forwarder
        assert forwarder is not None
        until(lambda: forwarder._outstanding.count == 6)
        for call in calls:
            call.cancel()
        until(lambda: not forwarder._outstanding.count)
        assert client.has_collection("seen")
        client.close()


def test_headers_of_clients_are_passed_on_and_those_of_grpc_are_not() -> None:
    sent = [("tenant-id", "7"), ("dbname", "x"), ("user-agent", "g"), ("te", "trailers"), ("grpc-timeout", "1S")]
    assert list(_passed_on(sent)) == sent[:2]


def test_what_is_passed_on_keeps_its_deadline_its_headers_and_its_errors(tmp_path: Path) -> None:
    with served(tmp_path / "db", "--workers", str(WORKERS)) as server:
        client = MilvusClient(server.address, dedicated=True)
        client.create_database("other")
        client.create_collection("seen", dimension=4)
        for _ in range(8):
            with grpc.insecure_channel(
                f"127.0.0.1:{server.port}", options=[("grpc.use_local_subchannel_pool", 1)]
            ) as c:
                stub = MilvusServiceStub(c)
                named = stub.ShowCollections(milvus_pb2.ShowCollectionsRequest(), metadata=[("dbname", "other")])
                assert list(named.collection_names) == []
                absent = stub.DropPartition(milvus_pb2.DropPartitionRequest(collection_name="absent"))
                assert absent.code == 100 or absent.error_code
                insert = c.unary_unary("/milvus.proto.milvus.MilvusService/Insert")
                with pytest.raises(grpc.RpcError) as refused:
                    insert(b"\xff\xff\xff")
                assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                later = milvus_pb2.FlushAllRequest()
                assert stub.FlushAll(later, timeout=20).status.code == 0
        client.close()
