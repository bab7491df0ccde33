"""`elanus serve`: how it begins, ends, and says why it cannot."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from pymilvus import MilvusClient
from pymilvus.grpc_gen import milvus_pb2
from pymilvus.grpc_gen.milvus_pb2_grpc import MilvusServiceStub

import elanus
from tests.conftest import Effort
from tests.test_wire_rows import request
from tests.wire_case import Wire, books, keys, make_books, served, start


def failure(folder: Path, *options: str) -> str:
    """What a server that cannot start says, after it has ended as a failed command does."""
    process = start(folder, *options)
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = process.stdout.read(), process.stderr.read()
    assert (process.wait(60), out) == (1, ""), err
    process.communicate()
    return err


def one_sentence(text: str, *parts: str) -> None:
    assert len(text.strip().splitlines()) == 1, text
    assert text.startswith("elanus: ")
    assert "Traceback" not in text
    for part in parts:
        assert part in text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_finish_what_is_in_flight(tmp_path: Path, number: int) -> None:
    acknowledged: list[int] = []
    with served(tmp_path) as server:
        client = MilvusClient(server.address, dedicated=True)
        make_books(client)

        def write(thread: int) -> None:
            with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                stub = MilvusServiceStub(channel)
                for key in range(thread * 1_000_000, (thread + 1) * 1_000_000):
                    try:
                        answer = stub.Insert(request([key]), timeout=30)
                    except grpc.RpcError as error:
                        assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)  # noqa: PT017
                        return
                    assert answer.status.code == 0, answer.status
                    acknowledged.append(key)

        later = (int(time.time() * 1000) + 1500) << 18
        waiting: list[Any] = []

        def read() -> None:
            with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                asked = milvus_pb2.QueryRequest(collection_name="books", expr="id == 0", guarantee_timestamp=later)
                waiting.append(MilvusServiceStub(channel).Query(asked, timeout=30).status.code)

        threads = [threading.Thread(target=write, args=(n,)) for n in range(4)] + [threading.Thread(target=read)]
        for thread in threads:
            thread.start()
        while len(acknowledged) < 50:
            time.sleep(0.01)
        server.process.send_signal(number)
        for thread in threads:
            thread.join()
        assert server.end() == 0
        assert waiting == [0]
        assert "Traceback" not in "".join(server.errors)
        client.close()
    with elanus.open(tmp_path) as db:
        found = db.collection("books").query("id >= 0", output_fields=["id"]).column("id").to_pylist()
    assert sorted(acknowledged) == found


@pytest.mark.crash
def test_no_signal_is_lost_on_the_way_to_a_thread_that_goes_to_sleep(effort: Effort, seed: int) -> None:
    program = textwrap.dedent(
        """
        import os
        import threading
        from elanus.cli.stop import StopSignal

        def compete():
            while True:
                os.getpid()

        stop = StopSignal()
        for _ in range(3):
            threading.Thread(target=compete, daemon=True).start()
        os.write(1, b"x")
        stop.wait()
        os._exit(0)
        """
    )
    chance = random.Random(seed)
    for _ in range(effort.kills):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.read(1)
            time.sleep(chance.uniform(0, 0.03))
            process.send_signal(signal.SIGTERM)
            try:
                assert process.wait(30) == 0
            finally:
                process.kill()


def test_it_says_where_it_listens_and_what_it_serves(tmp_path: Path) -> None:
    with served(tmp_path / "new" / "folder") as server:
        assert (tmp_path / "new" / "folder" / "lock").exists()
        with socket.create_connection(("127.0.0.1", server.port), timeout=5):
            pass


def test_it_listens_on_the_address_of_another_family(tmp_path: Path) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with served(tmp_path, "--host", "::1") as server, grpc.insecure_channel(f"[::1]:{server.port}") as channel:
        assert MilvusServiceStub(channel).CheckHealth(milvus_pb2.CheckHealthRequest(), timeout=10).isHealthy


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = failure(tmp_path, "--port", str(port))
    one_sentence(text, f"127.0.0.1:{port}", "--port")
    with elanus.open(tmp_path):
        pass


@pytest.mark.parametrize("host", ["203.0.113.7", "nowhere.invalid"])
def test_an_address_that_is_not_of_this_machine_is_said(tmp_path: Path, host: str) -> None:
    one_sentence(failure(tmp_path, "--host", host, "--port", "0"), host, "--host")


def test_a_folder_that_another_process_holds_is_said(tmp_path: Path) -> None:
    with elanus.open(tmp_path):
        one_sentence(failure(tmp_path, "--port", "0"), str(tmp_path), str(os.getpid()))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    one_sentence(failure(tmp_path, "--port", "0"), str(tmp_path))


def test_a_file_where_the_folder_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    one_sentence(failure(tmp_path / "file", "--port", "0"), str(tmp_path / "file"))


def test_a_damaged_folder_is_said_and_left_as_it_is(tmp_path: Path) -> None:
    with elanus.open(tmp_path) as db:
        db.create_collection("books", dimension=4)
    (catalog, *_) = sorted((tmp_path / "store" / "catalog").iterdir())
    damaged = bytearray(catalog.read_bytes())
    damaged[-1] ^= 1
    catalog.write_bytes(damaged)
    one_sentence(failure(tmp_path, "--port", "0"), catalog.name)
    assert catalog.read_bytes() == damaged


def test_a_killed_server_has_lost_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        client = MilvusClient(server.address, dedicated=True)
        make_books(client, rows=3)
        client.insert("books", books([7]))
        server.process.kill()
        server.end()
        client.close()
    with served(tmp_path) as server:
        client = MilvusClient(server.address, dedicated=True)
        assert keys(client) == [0, 1, 2, 7]
        client.close()


@pytest.mark.skipif(not hasattr(psutil.Process, "rlimit"), reason="the system tells no limits of other processes")
def test_a_server_may_hold_as_many_connections_as_the_system_allows(tmp_path: Path) -> None:
    limit = psutil.RLIMIT_NOFILE
    soft, hard = psutil.Process().rlimit(limit)
    assert soft < hard
    with served(tmp_path) as server:
        assert psutil.Process(server.process.pid).rlimit(limit) == (hard, hard)


def test_a_call_whose_deadline_has_passed_writes_nothing(over_socket: Wire, in_process: Wire) -> None:
    """gRPC rounds deadlines up to milliseconds: a call over a socket may be quick enough."""
    for wire in (over_socket, in_process):
        make_books(wire.client)
        codes = {}
        for number in range(50):
            try:
                codes[number] = wire.stub.Insert(request([number]), timeout=0).status.code
            except grpc.RpcError as error:  # the client did not wait to be told
                assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # noqa: PT017
        rows = set(keys(wire.client))
        assert set(codes.values()) <= ({0, 10_001} if wire is over_socket else {10_001})
        assert {number for number, code in codes.items() if code == 0} <= rows
        assert not {number for number, code in codes.items() if code} & rows
        wire.client.drop_collection("books")


def test_a_call_that_fails_at_its_deadline_while_it_waits_for_a_thread_writes_nothing(tmp_path: Path) -> None:
    """More inserts at once than there are threads that write: those that are late are not begun."""
    with served(tmp_path) as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        client = MilvusClient(server.address, dedicated=True)
        make_books(client)
        stub = MilvusServiceStub(channel)
        futures = [stub.Insert.future(request([n] * 2_000), timeout=0.05) for n in range(200)]
        outcomes = [future.result().status.code if future.exception() is None else 10_001 for future in futures]
        client.flush("books")
        rows = [row["id"] for row in client.query("books", "id >= 0", output_fields=["id"])]
        assert {n for n, code in enumerate(outcomes) if code == 0} <= set(rows)
        assert len(rows) < 200 * 2_000
        client.close()
