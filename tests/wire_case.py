"""Milvus clients of a real server process, and of a database in this one.

What a test asks of `client` or `stub` is asked twice: of `elanus serve` over a socket of this machine, and of
`elanus.connect`. Both live as long as the tests do; after each test the database `default` is emptied.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from pymilvus import MilvusClient

DIM = 4

SERVE = """
import os, threading
def watch():
    while os.read(0, 1):
        pass
    os._exit(86)
threading.Thread(target=watch, daemon=True).start()
from elanus.cli import main
main()
"""
"""The command `elanus`, in a process that ends with the one that holds its standard input."""


@dataclass
class Served:
    """A running `elanus serve`. `errors` grows with what it writes to standard error."""

    process: subprocess.Popen[str]
    folder: Path | str
    port: int
    errors: list[str]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def end(self, within_s: float = 30) -> int:
        """Wait until it has ended; returns its exit code."""
        code = self.process.wait(within_s)
        self.process.communicate()
        return code


def start(folder: Path | str, *options: str) -> subprocess.Popen[str]:
    """`elanus serve`, as a process that dies with this one."""
    return subprocess.Popen(
        [sys.executable, "-c", SERVE, "serve", "--data", str(folder), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def served(folder: Path | str, *options: str) -> Iterator[Served]:
    """`elanus serve` on a free port, ready for clients; killed at the end if it has not ended."""
    process = start(folder, "--port", "0", *options)
    assert process.stdout is not None
    assert process.stderr is not None
    errors: list[str] = []
    reader = threading.Thread(target=errors.extend, args=(process.stderr,), daemon=True)
    try:
        line = process.stdout.readline()
        assert line.startswith("elanus "), f"{line}{process.stderr.read()}"
        reader.start()
        yield Served(process, folder, int(line.rsplit(":", 1)[1]), errors)
    finally:
        process.kill()
        process.wait()
        if reader.is_alive():
            reader.join()
        for pipe in (process.stdin, process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


class Wire(NamedTuple):
    """A way to a database: the SDK's client, and the bare RPCs. `another` makes further clients, and is None where
    there can be only one.
    """

    client: MilvusClient
    stub: Any
    another: Callable[[], MilvusClient] | None


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture(scope="session")
def over_socket(server: Served) -> Iterator[Wire]:
    import grpc
    from pymilvus import MilvusClient
    from pymilvus.grpc_gen.milvus_pb2_grpc import MilvusServiceStub

    client = MilvusClient(server.address, dedicated=True)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield Wire(client, MilvusServiceStub(channel), lambda: MilvusClient(server.address, dedicated=True))
    client.close()


@pytest.fixture(scope="session")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    from pymilvus.grpc_gen.milvus_pb2_grpc import MilvusServiceStub

    import elanus

    client = elanus.connect(tmp_path_factory.mktemp("connected"))
    yield Wire(client, MilvusServiceStub(client._handler._channel), None)
    client.close()


@pytest.fixture(params=["server", "in process"])
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    """The two ways, one after the other."""
    found: Wire = request.getfixturevalue("over_socket" if request.param == "server" else "in_process")
    yield found
    empty(found.client)


@pytest.fixture
def client(wire: Wire) -> MilvusClient:
    return wire.client


@pytest.fixture
def stub(wire: Wire) -> Any:
    return wire.stub


@pytest.fixture
def remote(over_socket: Wire) -> Iterator[Wire]:
    """The way over the socket alone: for what needs a second client or a network."""
    yield over_socket
    empty(over_socket.client)


def empty(client: MilvusClient) -> None:
    """Leave the database `default` as it was made, and no other."""
    client.use_database("default")
    for database in client.list_databases():
        client.use_database(database)
        for collection in client.list_collections():
            for alias in client.list_aliases(collection)["aliases"]:
                client.drop_alias(alias)
            client.drop_collection(collection)
        client.use_database("default")
        if database != "default":
            client.drop_database(database)


@contextmanager
def refused(code: int, match: str = "") -> Iterator[None]:
    """What stands inside fails, with Milvus's code and a reason in which `match` is found."""
    from pymilvus import MilvusException

    with pytest.raises(MilvusException) as caught:
        yield
    assert (caught.value.code, match in caught.value.message) == (code, True), caught.value


def refusal(status: Any) -> int:
    """The code of a response's status that says no: both codes, a reason, and no traceback in it."""
    assert status.code
    assert status.error_code
    assert status.reason
    assert "Traceback" not in status.reason
    assert status.detail == status.reason
    return int(status.code)


def vector(number: int) -> list[float]:
    """A vector of its own for each number; that of a number nearby is nearer in L2."""
    return [float(number), 1.0, 0.0, 0.0]


def book(number: int, **values: Any) -> dict[str, Any]:
    return {"id": number, "vector": vector(number), "title": f"book {number}", **values}


def books(numbers: Any, **values: Any) -> list[dict[str, Any]]:
    return [book(number, **values) for number in numbers]


def make_books(client: MilvusClient, name: str = "books", rows: int = 0, **options: Any) -> None:
    """A loaded collection as `create_collection(name, DIM, metric_type="L2")` makes it, with books 0, 1, …

    The SDK waits half a second for an index, were it there at once; this does not.
    """
    from pymilvus import DataType

    schema = client.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    make(client, name, schema, {"vector": "AUTOINDEX"}, **options)
    if rows:
        client.insert(name, books(range(rows)))


def make(client: MilvusClient, name: str, schema: Any, indexes: dict[str, str], **options: Any) -> None:
    """A loaded collection with L2 `indexes`, by field."""
    client.create_collection(name, schema=schema, **options)
    params = client.prepare_index_params()
    for field, kind in indexes.items():
        params.add_index(field, index_type=kind, metric_type="L2")
    client.create_index(name, params, sync=False)
    client.load_collection(name)


def keys(client: MilvusClient, name: str = "books", filter: str = "id >= 0", **more: Any) -> list[Any]:  # noqa: A002
    """The keys of the rows that match, as a query finds them."""
    return [row["id"] for row in client.query(name, filter, output_fields=["id"], **more)]
