"""`elanus.connect`: the SDK's own client on a folder of this process, whatever release the SDK is of."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import grpc
import pymilvus
import pytest
from pymilvus import MilvusClient

import elanus
from elanus import AlreadyOpen
from elanus.wire.channel import InProcessChannel
from tests.wire_case import books, keys, make_books, refused, vector


def test_the_client_is_the_sdks_own_and_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    client = elanus.connect(tmp_path)
    assert type(client) is MilvusClient
    assert isinstance(client._handler._channel, InProcessChannel)
    make_books(client, rows=3)
    assert keys(client) == [0, 1, 2]
    client.close()


def test_the_folder_is_held_until_the_client_is_closed(tmp_path: Path) -> None:
    client = elanus.connect(tmp_path)
    make_books(client, rows=3)
    with pytest.raises(AlreadyOpen):
        elanus.connect(tmp_path)
    client.close()
    client.close()
    with elanus.open(tmp_path) as db:
        assert db.collection("books").query("id >= 0", output_fields=["id"]).num_rows == 3
    again = elanus.connect(tmp_path)
    assert keys(again) == [0, 1, 2]
    again.close()


def test_two_folders_are_two_databases(tmp_path: Path) -> None:
    one, other = elanus.connect(tmp_path / "one"), elanus.connect(tmp_path / "other")
    make_books(one, rows=3)
    assert other.list_collections() == []
    make_books(other, rows=1)
    assert (keys(one), keys(other)) == ([0, 1, 2], [0])
    one.close()
    assert keys(other) == [0]
    other.close()


def test_options_are_those_of_the_client(tmp_path: Path) -> None:
    client = elanus.connect(tmp_path)
    client.create_database("shop")
    client.close()
    client = elanus.connect(tmp_path, db_name="shop", timeout=10)
    make_books(client)
    client.use_database("default")
    assert client.list_collections() == []
    client.close()


def test_what_cannot_be_opened_leaves_the_folder_free(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="uri"):
        elanus.connect(tmp_path, uri="http://localhost:19530")
    elanus.connect(tmp_path).close()


def test_threads_share_a_client(tmp_path: Path) -> None:
    client = elanus.connect(tmp_path)
    make_books(client)
    threads = [threading.Thread(target=client.insert, args=("books", books([n]))) for n in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert keys(client) == list(range(32))
    client.close()


def test_calls_have_the_forms_that_grpc_has(in_process: Any) -> None:
    from pymilvus.grpc_gen import milvus_pb2

    stub, asked = in_process.stub, milvus_pb2.ListDatabasesRequest()
    future = stub.ListDatabases.future(asked, timeout=5)
    told: list[Any] = []
    future.add_done_callback(told.append)
    assert told == [future]
    assert (future.done(), future.running(), future.cancelled(), future.cancel()) == (True, False, False, False)
    assert (future.exception(), future.code()) == (None, grpc.StatusCode.OK)
    assert list(future.result().db_names) == ["default"]
    response, call = stub.ListDatabases.with_call(asked, metadata=(("dbname", "default"),))
    assert response == future.result()
    assert call.code() is grpc.StatusCode.OK


class WithoutChannel(MilvusClient):
    """A client of a release whose connection takes no channel."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        if "channel" in options:
            raise TypeError("unexpected keyword argument 'channel'")
        super().__init__(*arguments, **options)


class WithAnotherChannel(MilvusClient):
    """A client of a release that knows no `channel` and does not say so."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        if options.pop("channel", None) is not None:
            self._handler = self
            self._channel = None
            return
        super().__init__(*arguments, **options)

    def close(self) -> None:
        if self._handler is not self:
            super().close()


@pytest.mark.parametrize("kind", [WithoutChannel, WithAnotherChannel])
def test_a_client_that_takes_no_channel_is_connected_through_a_unix_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[MilvusClient]
) -> None:
    monkeypatch.setattr(pymilvus, "MilvusClient", kind)
    before = set(Path(os.environ.get("TMPDIR", "/tmp")).glob("elanus-*/socket"))
    client = elanus.connect(tmp_path)
    (place,) = set(Path(os.environ.get("TMPDIR", "/tmp")).glob("elanus-*/socket")) - before
    assert place.parent.stat().st_mode & 0o077 == 0
    make_books(client, rows=3)
    assert keys(client) == [0, 1, 2]
    assert client.search("books", [vector(1)], limit=1)[0][0]["id"] == 1
    with refused(100):
        client.describe_collection("absent")
    with pytest.raises(AlreadyOpen):
        elanus.connect(tmp_path)
    client.close()
    assert not place.parent.exists()
    with elanus.open(tmp_path) as db:
        assert db.collection("books").query("id >= 0", output_fields=["id"]).num_rows == 3


OTHER_PYTHON = os.environ.get("ELANUS_OTHER_PYTHON", "")
"""The Python of an environment with another release of the SDK in it, the lowest that is allowed or the newest."""


@pytest.mark.skipif(not OTHER_PYTHON, reason="ELANUS_OTHER_PYTHON names no environment with another SDK")
@pytest.mark.timeout(600)
def test_another_release_of_the_sdk_passes_these_tests() -> None:
    here = Path(__file__).parent
    subjects = ("channel", "collections", "indexes", "rows", "query", "search", "iterators", "rpcs")
    tests = [here / f"test_wire_{subject}.py" for subject in subjects]
    command = [OTHER_PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, tests)]
    environment = {**os.environ, "ELANUS_OTHER_PYTHON": "", "PYTHONPATH": str(here.parent / "src")}
    done = subprocess.run(command, cwd=here.parent, env=environment, capture_output=True, text=True, check=False)
    assert sys.executable != OTHER_PYTHON
    assert done.returncode == 0, done.stdout[-5000:]
