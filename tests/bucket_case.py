"""A real S3-compatible server, and the proxy that fails before it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from elanus.store.bucket import Bucket
from elanus.testing.bucket_proxy import Proxy

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_numbers = count()


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Where the server listens, "host:port"; it has the bucket `elanus`."""
    from moto.server import ThreadedMotoServer  # a second, which only these tests need

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    assert server._server is not None
    server._server.app = one_put_at_a_time(server._server.app)
    host, port = server.get_host_and_port()
    make_bucket(host, port)
    yield f"{host}:{port}"
    server.stop()


def one_put_at_a_time(app: WSGIApplication) -> WSGIApplication:
    """moto looks whether an object is there and then puts it: two threads may both find that it is not. S3 lets one
    win, and a start-up probe that meets the two refuses the store.
    """
    putting = threading.Lock()

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with putting if environ["REQUEST_METHOD"] == "PUT" else nullcontext():
            return app(environ, start_response)

    return serve


def make_bucket(host: str, port: int) -> None:
    """The bucket `elanus` of the server there."""
    connection = HTTPConnection(host, port, timeout=20)
    connection.request("PUT", "/elanus", headers={"Authorization": "AWS4-HMAC-SHA256 Credential=id/1/us-east-1/s3/x"})
    assert connection.getresponse().status == 200
    connection.close()


@pytest.fixture
def proxy(s3: str) -> Iterator[Proxy]:
    proxy = Proxy(s3)
    yield proxy
    proxy.close()


@pytest.fixture
def url() -> str:
    """A place in the bucket that no other test uses."""
    return f"s3://elanus/{next(_numbers)}/db"


def options(endpoint: str) -> dict[str, Any]:
    """obstore's, for a server at this URL."""
    return {
        "endpoint": endpoint,
        "access_key_id": "id",
        "secret_access_key": "secret",
        "region": "us-east-1",
    }


def use(monkeypatch: pytest.MonkeyPatch, endpoint: str, cache: Path) -> None:
    """Have this process, and those that it starts, use a server at this URL and a cache of their own."""
    for name, value in environment(endpoint, cache).items():
        monkeypatch.setenv(name, value)


def environment(endpoint: str, cache: Path) -> dict[str, str]:
    """Of a process that uses a server at this URL and such a cache."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "XDG_CACHE_HOME": str(cache),
    }


def open_bucket(url: str, proxy: Proxy, patience_s: float = 3.0) -> Bucket:
    return Bucket(url, options(proxy.url), patience_s)
