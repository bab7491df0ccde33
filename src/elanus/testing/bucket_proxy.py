"""A proxy before an S3-compatible server that fails on purpose, in the ways that networks and stores fail.

A `Fault` names what it is about by method and path; `Proxy.fail` adds one, for a number of requests or for good.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

_HOP_HEADERS = {"connection", "keep-alive", "transfer-encoding", "content-length"}
"""Said between two that talk to each other directly, and not passed on."""

_BUSY = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"


class Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Kind(Enum):
    SLOW = "slow"
    """It is answered `seconds` later."""

    BUSY = "busy"
    """It is refused with 503, and not done."""

    LOST = "lost"
    """The connection breaks before it is done."""

    UNANSWERED = "unanswered"
    """It is done, and the connection breaks before the answer."""

    TORN = "torn"
    """The answer breaks off in the middle of its body."""

    STALE = "stale"
    """It is answered as the same request was answered before; for listings."""

    CARELESS = "careless"
    """It is done whether or not the object exists: If-None-Match is not passed on."""


@dataclass
class Fault:
    kind: Kind
    method: str
    path: str
    """A pattern of `fnmatch`, for path and query together."""
    times: int | None
    seconds: float


class Proxy:
    """Listens at `url`, on a free port of this machine, and passes everything on to `upstream`, "host:port"."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, str]] = []
        """Method and path of each that came, in order."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with suppress(ConnectionError, TimeoutError):
                    super().handle_one_request()

            def log_message(self, *_: Any) -> None: ...

            def do_GET(self) -> None:
                proxy._handle(self)

            do_PUT = do_HEAD = do_POST = do_DELETE = do_GET  # noqa: N815 - as http.server names them

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="bucket-proxy", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fail(
        self, kind: Kind, method: str = "*", path: str = "*", *, times: int | None = None, seconds: float = 0.0
    ) -> None:
        """Do `kind` to the next `times` requests (None: to all) with this method and path."""
        with self._lock:
            self._faults.append(Fault(kind, method, path, times, seconds))

    def heal(self) -> None:
        """Fail no more."""
        with self._lock:
            self._faults.clear()

    def _due(self, method: str, path: str) -> dict[Kind, Fault]:
        """The faults of one request, each of which is one time fewer then."""
        due: dict[Kind, Fault] = {}
        with self._lock:
            self.requests.append((method, path))
            for fault in self._faults:
                if fault.times != 0 and fnmatchcase(method, fault.method) and fnmatchcase(path, fault.path):
                    due.setdefault(fault.kind, fault)
                    if fault.times is not None:
                        fault.times -= 1
        return due

    def _handle(self, asked: BaseHTTPRequestHandler) -> None:
        due = self._due(asked.command, asked.path)
        body = asked.rfile.read(int(asked.headers.get("Content-Length", 0)))
        if Kind.SLOW in due:
            time.sleep(due[Kind.SLOW].seconds)
        if Kind.LOST in due:
            _hang_up(asked)
        elif Kind.BUSY in due:
            _send(asked, Answer(503, [], _BUSY))
        elif Kind.STALE in due and asked.path in self._answers:
            _send(asked, self._answers[asked.path])
        else:
            answer = self._pass_on(asked, body, careless=Kind.CARELESS in due)
            if asked.command == "GET":
                self._answers[asked.path] = answer
            if Kind.UNANSWERED in due:
                _hang_up(asked)
            else:
                _send(asked, answer, torn=Kind.TORN in due)

    def _pass_on(self, asked: BaseHTTPRequestHandler, body: bytes, *, careless: bool) -> Answer:
        dropped = _HOP_HEADERS | {"if-none-match"} if careless else _HOP_HEADERS
        headers = {name: value for name, value in asked.headers.items() if name.lower() not in dropped}
        upstream = HTTPConnection(self._upstream, timeout=30)
        try:
            upstream.request(asked.command, asked.path, body, headers)
            response = upstream.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            upstream.close()


def _send(asked: BaseHTTPRequestHandler, answer: Answer, *, torn: bool = False) -> None:
    """Answer; where `torn`, with half of the body."""
    asked.send_response_only(answer.status)
    length = str(len(answer.body))
    for name, value in answer.headers:
        if name.lower() == "content-length" and asked.command == "HEAD":
            length = value
        elif name.lower() not in _HOP_HEADERS:
            asked.send_header(name, value)
    asked.send_header("Content-Length", length)
    asked.end_headers()
    asked.wfile.write(answer.body[: len(answer.body) // 2] if torn else answer.body)
    if torn:
        _hang_up(asked)


def _hang_up(asked: BaseHTTPRequestHandler) -> None:
    asked.close_connection = True
    with suppress(OSError):
        asked.connection.shutdown(socket.SHUT_RDWR)
