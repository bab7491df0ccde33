"""The gRPC server: a socket, the threads that answer, and `dispatch` behind them.

Reads are answered by the threads that take them from gRPC (`queues`). Writes are begun by the threads that take them,
from a queue of their own, and answered by one thread when they are durable, so that no thread waits for the disk for
each of a thousand inserts. Changes of definitions, and reads that wait for a time to come, have pools. On the way of a
request there is no interceptor.

Of several servers behind one port (`cli/workers.py`) one writes, and the others pass on to it what is no read
(`forward.py`).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from elanus.model.errors import AddressInUse, StoreError
from elanus.service import times
from elanus.service.context import Ticket
from elanus.service.instance import Instance
from elanus.wire.grpc import queues
from elanus.wire.grpc.dispatch import METHODS, SERVICE, Method, Pool
from elanus.wire.grpc.forward import Forwarder
from elanus.wire.grpc.queues import CallQueue, Incoming, Outstanding, logged

THREADS: dict[Pool, int] = {Pool.READ: (os.cpu_count() or 1) + 1, Pool.WAIT: 32, Pool.WRITE: 16, Pool.DEFINE: 8}
"""Reads compute: as many as there are cores may take long while a further thread answers the others (`turns`). Of
writes so many may wait for each other, or for room, while a further one is begun; so many reads may wait for a time to
come. Definitions are rare, but a flush may take a while."""

LONG_QUERIES = 16
"""A search of so many queries takes long. Where another thread takes over for fewer, both lose more than they gain:
with ten queries and 8 clients on two cores 12,400 are answered a second for 95 µs each, without 13,800 for 75."""

MAX_REQUEST_BYTES = 256 << 20
"""Milvus takes 128 MiB; an insert that fits there has to fit here."""

MAX_RESPONSE_BYTES = 512 << 20

GRACE_S = 10.0
"""What is in flight when the server stops has so long to end."""

_MESSAGE_SIZES = (
    ("grpc.max_send_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
)
"""Of a server that passes calls on to another."""

_UNREADABLE = object()
"""Stands for a request whose bytes are no message."""


class Server:
    """A listening server; made by `start`."""

    def __init__(
        self,
        server: grpc.Server,
        taken: list[CallQueue],
        pools: dict[Pool, ThreadPoolExecutor],
        replies: Replies,
        forwarder: Forwarder | None,
        port: int,
        alive: Any,
    ) -> None:
        self.port = port
        self._forwarder = forwarder
        self._server = server
        self._queues = taken
        self._pools = pools
        self._replies = replies
        self._health = alive

    @classmethod
    def start(
        cls,
        instance: Instance,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        shares: bool = False,
        joins: bool = False,
        writer: str = "",
        also: str = "",
    ) -> Server:
        """Listen at `host`:`port` (0: any free one) and serve `instance`. Raises `AddressInUse`.

        A `host` of the form `unix:/path` listens at a socket of the file system. Where it `shares` the port others may
        listen there as well, and one that `joins` takes a port that others have; `also` is a further address to listen
        at. What is no read is passed on to the server at the address `writer`, if one is given.
        """
        pools = {
            pool: ThreadPoolExecutor(count, thread_name_prefix=f"elanus-{pool.value}")
            for pool, count in THREADS.items()
        }
        server = grpc.server(
            pools[Pool.DEFINE],
            options=[
                ("grpc.so_reuseport", int(shares)),
                ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
                ("grpc.max_send_message_length", MAX_RESPONSE_BYTES),
                # The SDK pings every ten seconds, also without calls; a server that minds would hang up on it.
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.http2.max_ping_strikes", 0),
            ],
        )
        replies = Replies()
        forwarder = Forwarder(writer, _MESSAGE_SIZES) if writer else None
        taken = _queues(server, instance, pools, replies, forwarder)
        if not taken:
            handlers = {m.name: _rpc(m, instance, pools[m.pool], forwarder) for m in METHODS.values()}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.full_name, handlers),))
        alive = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(alive, server)
        for name in ("", SERVICE.full_name):
            alive.set(name, health_pb2.HealthCheckResponse.SERVING)
        reflection.enable_server_reflection((SERVICE.full_name, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        try:
            bound = _listen(server, host, port, joins=joins)
            if also:
                server.add_insecure_port(also)
        except AddressInUse:
            for pool in pools.values():
                pool.shutdown()
            replies.stop()
            if forwarder is not None:
                forwarder.close()
            raise
        server.start()
        for queue in taken:
            queue.start()
        return cls(server, taken, pools, replies, forwarder, bound, alive)

    def stop(self, grace_s: float = GRACE_S) -> None:
        """Take no new calls, and return when those in flight have ended or `grace_s` is over."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()
        for queue in self._queues:
            queue.stop()
        for pool in self._pools.values():
            pool.shutdown()
        self._replies.stop()
        if self._forwarder is not None:
            self._forwarder.close()
        for queue in self._queues:
            queue.close()


class Replies:
    """Answers writes when they are durable, in a thread of its own: whoever leads the commit has to go on leading."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="elanus-reply")
        self._outstanding = Outstanding()

    def when_durable(self, ticket: Ticket, reply: Callable[[StoreError | None], None]) -> None:
        """Have `reply` called, with what went wrong or None."""
        self._outstanding.add()
        ticket.then(lambda error: self._pool.submit(self._reply, reply, error))

    def stop(self) -> None:
        """Return when all that were to be answered have been. Nothing new may come."""
        self._outstanding.wait()
        self._pool.shutdown()

    def _reply(self, reply: Callable[[StoreError | None], None], error: StoreError | None) -> None:
        logged(reply, error)
        self._outstanding.done()


def _listen(server: grpc.Server, host: str, port: int, *, joins: bool) -> int:
    """The port that `server` listens at; one that `joins` takes it with others. Raises `AddressInUse`."""
    if host.startswith("unix:"):
        address = host
    else:
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if not joins:
            _check_free(address, host, port)
    try:
        return int(server.add_insecure_port(address))
    except RuntimeError as error:
        raise _cannot_listen(address, str(error)) from error


def _check_free(address: str, host: str, port: int) -> None:
    """Raise `AddressInUse` where nobody could listen. gRPC would say so on standard error, in words of its own."""
    failure: OSError | None = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise _cannot_listen(address, error.strerror or str(error)) from error
    for family, kind, protocol, _, place in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
                return
        except OSError as error:
            failure = error
    if failure is not None:
        raise _cannot_listen(address, failure.strerror or str(failure)) from failure


def _cannot_listen(address: str, reason: str) -> AddressInUse:
    return AddressInUse(f"cannot listen at {address}: {reason}. Choose another address with --port or --host.")


def _queues(
    server: grpc.Server,
    instance: Instance,
    pools: dict[Pool, ThreadPoolExecutor],
    replies: Replies,
    forwarder: Forwarder | None,
) -> list[CallQueue]:
    """The queues of all methods: reads and writes have one of their own. No queue where grpcio is not as expected."""
    if not queues.supported(server):
        return []

    def answer(incoming: Incoming) -> Any:
        return incoming.method.answer(
            instance, incoming.request, incoming.metadata, incoming.remaining_s, incoming.gone
        )

    def answer_all(calls: Sequence[Incoming]) -> Iterable[Any]:
        together = None
        if len(calls) > 1:
            asked = [(c.request, c.metadata, c.remaining_s, c.gone) for c in calls]
            together = calls[0].method.answer_together(instance, asked)
        return together or map(answer, calls)

    def long_answer(calls: Sequence[Incoming]) -> Iterable[Any]:
        reading.expect_long()
        return map(answer, calls)

    def reply(incoming: Incoming) -> None:
        incoming.reply(answer(incoming))

    def read_and_reply(incoming: Incoming) -> None:
        if incoming.read():
            reply(incoming)

    def read(incoming: Incoming) -> None:
        if not incoming.read():
            return
        if times.has_come(instance, incoming.request.guarantee_timestamp):
            if getattr(incoming.request, "nq", 1) >= LONG_QUERIES:
                reading.answer_soon(incoming, long_answer)
            else:
                reading.answer_soon(incoming, answer_all, getattr(incoming.request, "asked", None))
        else:
            incoming.watch()
            pools[Pool.WAIT].submit(logged, reply, incoming)

    def write(incoming: Incoming) -> None:
        if not incoming.read():
            return
        method, later = incoming.method, list[Ticket]()
        response = method.answer(instance, incoming.request, incoming.metadata, incoming.remaining_s, None, later)
        if not later:
            incoming.reply(response)
            return
        (ticket,) = later
        replies.when_durable(ticket, lambda error: incoming.reply(response if error is None else method.failed(error)))

    def other(incoming: Incoming) -> None:
        incoming.watch()
        pools[incoming.method.pool].submit(logged, read_and_reply, incoming)

    if forwarder is not None:
        write = other = forwarder.forward
    reads = [m for m in METHODS.values() if m.pool is Pool.READ]
    writes = [m for m in METHODS.values() if m.pool is Pool.WRITE]
    others = [m for m in METHODS.values() if m.pool not in (Pool.READ, Pool.WRITE)]
    reading = CallQueue(server, reads, read, THREADS[Pool.READ], "elanus-read")
    return [
        reading,
        CallQueue(server, writes, write, THREADS[Pool.WRITE], "elanus-write"),
        CallQueue(server, others, other, 1, "elanus-calls"),
    ]


def _rpc(
    method: Method, instance: Instance, pool: ThreadPoolExecutor, forwarder: Forwarder | None
) -> grpc.RpcMethodHandler:
    if forwarder is not None and method.pool is not Pool.READ:
        return grpc.unary_unary_rpc_method_handler(forwarder.behavior(method))
    answer: Callable[..., Any] = method.answer

    def read(data: bytes) -> Any:
        # Were the error left to grpcio, it would log a traceback and keep some kilobytes for each such request.
        try:
            return method.read(data)
        except DecodeError:
            return _UNREADABLE

    def behavior(request: Any, context: grpc.ServicerContext) -> Any:
        if request is _UNREADABLE:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, method.unreadable)
        return answer(
            instance,
            request,
            context.invocation_metadata(),
            context.time_remaining(),
            lambda: not context.is_active(),
        )

    # grpcio looks for the pool of a method at the function that answers it.
    behavior.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return grpc.unary_unary_rpc_method_handler(
        behavior,
        request_deserializer=read,
        response_serializer=method.response.SerializeToString,
    )
