"""Calls taken straight from gRPC's completion queues.

The server of grpcio reads its queue with one thread, passes each call on to a pool, and there waits until that first
thread has read the message, too: three changes of thread, which is most of what an empty call costs (380 µs of CPU on
two cores; 170 µs without them). Here the thread that finds a call in the queue reads its message and, where that
computes and does not wait, answers it.

Calls that are answered so are read, answered and sent a few at a time (decision 0020): what one step needs is still in
the caches for the next call, and calls that ask the same are answered at once.

Each `CallQueue` is one queue of a `grpc.Server`, beside the server's own: ports, health, reflection and shutdown remain
grpcio's. This is the one module that reaches into grpcio (`supported` says whether it can); where that fails, the
server does without (`server.py`).

The life of a call: requested in advance with its method as tag; `_Arrival` when a client has called; `Incoming` once
its message is there; ready, where the queue is to answer it (`answer_soon`); answered, until the answer is sent. A call
is answered exactly once, by `reply` or `refuse`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError

from elanus.wire.grpc.dispatch import Method
from elanus.wire.grpc.turns import Turn, Turns

try:
    from grpc._cython import cygrpc
except ImportError:  # another grpcio than those we know
    cygrpc = None

_log = logging.getLogger("elanus.wire")

REQUESTED = 16
"""Calls of a method that are requested in advance; more that come at once wait inside gRPC."""

TOGETHER = 4
"""So many calls are read, then answered, then sent. With one by one and 8 clients on two cores 3,110 searches a second
of 200,000 × 128 and 2,650 of 99,000 × 384; with four 4,110 and 3,460, with eight 3,490 and 3,340."""

_LOOK_S = 0.2
"""How often a thread with nothing to do looks whether it should end."""

_AT_ONCE = 0.0
"""A time of the past: a look at the queue until then is not a wait. (Until now is one: gRPC rounds up.)"""

_NO_FLAGS = 0

_USED = (
    "CompletionQueue",
    "ReceiveCloseOnServerOperation",
    "ReceiveMessageOperation",
    "SendInitialMetadataOperation",
    "SendMessageOperation",
    "SendStatusFromServerOperation",
    "StatusCode",
)
_USED_OF_SERVER = ("register_completion_queue", "register_method", "request_registered_call")


def supported(server: grpc.Server) -> bool:
    """Whether the installed grpcio has what is used here."""
    core = getattr(getattr(server, "_state", None), "server", None)
    return all(hasattr(cygrpc, name) for name in _USED) and all(hasattr(core, name) for name in _USED_OF_SERVER)


def logged(work: Callable[..., None], *arguments: Any) -> None:
    """Do `work` for a call: what nobody expected goes to the log, ends no thread, and is not lost in a pool."""
    try:
        work(*arguments)
    except Exception:  # noqa: BLE001 - as said
        _log.exception("a call failed in a way that nobody expected")


class Outstanding:
    """How many calls are still to be answered. Safe to use from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.count = 0

    def add(self) -> None:
        with self._changed:
            self.count += 1

    def done(self) -> None:
        with self._changed:
            self.count -= 1
            if not self.count:
                self._changed.notify_all()

    def wait(self) -> None:
        """Return when there is none."""
        with self._changed:
            self._changed.wait_for(lambda: not self.count)


class Incoming:
    """A call of `method` whose message has come; `request` is what it says, once it was `read`."""

    __slots__ = ("_call", "_data", "_deadline", "_gone", "_then", "_watched", "metadata", "method", "request")

    def __init__(self, method: Method, call: Any, data: bytes, metadata: Any, deadline: float) -> None:
        self.method = method
        self.metadata = metadata
        self.request: Any = None
        self._data = data
        self._call = call
        self._deadline = deadline
        self._gone = False
        self._watched = False
        self._then: Callable[[], object] | None = None

    def take(self) -> bytes:
        """The message, in place of `read`."""
        data, self._data = self._data, b""
        return data

    @property
    def remaining_s(self) -> float:
        """How long the client still waits."""
        return max(0.0, self._deadline - time.time())

    def gone(self) -> bool:
        """Whether the client has given up; known only after `watch`."""
        return self._gone

    def read(self) -> bool:
        """Read the message; False, and the call is refused, where its bytes are none."""
        try:
            self.request = self.method.read(self._data)
        except DecodeError:
            self.refuse(cygrpc.StatusCode.invalid_argument, self.method.unreadable)
            return False
        self._data = b""
        return True

    def watch(self, then: Callable[[], object] | None = None) -> None:
        """Learn from now on when the client gives up, and call `then`. It costs an event, so calls answered at once do
        without.
        """
        self._watched = True
        self._then = then
        self._call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),), self._closed)

    def reply(self, response: Any) -> None:
        try:
            data = response.SerializeToString()
        except Exception:  # noqa: BLE001 - protobuf raises several kinds for messages beyond 2 GiB
            _log.exception("the response of %s cannot be sent", self.method.name)
            self.refuse(cygrpc.StatusCode.internal, f"the response of {self.method.name} cannot be sent; see the log")
            return
        self.reply_bytes(data)

    def reply_bytes(self, data: bytes) -> None:
        self._end(cygrpc.StatusCode.ok, b"", cygrpc.SendMessageOperation(data, _NO_FLAGS))

    def refuse(self, code: Any, why: str) -> None:
        """End the call with a status of gRPC and no message."""
        self._end(code, why.encode())

    def _end(self, code: Any, details: bytes, *message: Any) -> None:
        operations = [
            cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS),
            *message,
            cygrpc.SendStatusFromServerOperation(None, code, details, _NO_FLAGS),
        ]
        if not self._watched:
            operations.append(cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS))
        self._call.start_server_batch(operations, _ended)

    def _closed(self, event: Any) -> None:
        self._gone = bool(event.batch_operations[0].cancelled())
        then, self._then = self._then, None
        if self._gone and then is not None:
            then()


Answer = Callable[[Sequence[Incoming]], Iterable[Any]]
"""Makes the responses to calls that were read."""


class _Ready(NamedTuple):
    """A call to be answered, together with those for which `alike` is the same object; None is alike to nothing."""

    incoming: Incoming
    answer: Answer
    alike: Any


class CallQueue:
    """A completion queue for `methods` of `server`, which has not been started, and the threads that read it in turns.

    `serve` gets every call, in the thread that found it, and sees to it that it is answered, now or later. Where it
    takes long, another thread goes on with the queue, with what is ready, and with what is answered and not sent; so
    long calls do not keep others waiting as long as there are fewer of them than `threads`.
    """

    def __init__(
        self,
        server: grpc.Server,
        methods: Iterable[Method],
        serve: Callable[[Incoming], None],
        threads: int,
        name: str,
    ) -> None:
        self._core: Any = server._state.server
        self._queue = cygrpc.CompletionQueue()
        self._methods = tuple(methods)
        self.serve = serve
        self._turns = Turns()
        self._ready: deque[_Ready] = deque()
        self._answered: deque[tuple[Incoming, Any]] = deque()
        self._core.register_completion_queue(self._queue)
        for method in self._methods:
            self._core.register_method(method.path)
        self._threads = [threading.Thread(target=self._run, name=f"{name}_{i}", daemon=True) for i in range(threads)]

    def start(self) -> None:
        """Take calls; the server has been started."""
        for method in self._methods:
            arrival = _Arrival(self, method)
            for _ in range(REQUESTED):
                self.ask_for(arrival)
        for thread in self._threads:
            thread.start()

    def ask_for(self, arrival: _Arrival) -> None:
        """Request one more call."""
        try:
            self._core.request_registered_call(self._queue, self._queue, arrival.method.path, arrival)
        except ValueError:  # the server is being stopped
            return

    def answer_soon(self, incoming: Incoming, answer: Answer, alike: Any = None) -> None:
        """Said by `serve`: reply with what `answer` returns, when a few more calls that are there have been read.

        Calls that come one after the other and for which `alike` is one and the same object are given to it at once.
        """
        self._ready.append(_Ready(incoming, answer, alike))

    def expect_long(self) -> None:
        """Said of the call that this thread is at: another thread need not wait to find out."""
        self._send()
        self._turns.pass_on()

    def stop(self) -> None:
        """Return when no thread reads the queue any more. The server has been stopped."""
        self._turns.stop()
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """Give the queue up. Nobody may answer a call after this: gRPC would end the process."""
        self._queue.shutdown()
        while self._queue.poll(time.time() + _LOOK_S).tag is not None:
            pass

    def _run(self) -> None:
        has_turn = self._turns.has
        while (turn := self._turns.take()) is not None:
            self._send()
            while has_turn(turn):
                self._read(turn)
                while self._ready and has_turn(turn):
                    turn.begin()
                    logged(self._answer)
                self._send()
                turn.end()

    def _read(self, turn: Turn) -> None:
        """Take what comes: the next event, and if a call is ready then, more of what is there."""
        until = _AT_ONCE if self._ready else time.time() + _LOOK_S
        while len(self._ready) < TOGETHER:
            event = self._queue.poll(until)
            took = event.tag
            if took is None:
                return
            turn.begin()
            logged(took, event)
            if not self._ready:
                return
            until = _AT_ONCE

    def _answer(self) -> None:
        try:
            first = self._ready.popleft()
        except IndexError:  # another thread has just taken over, and has it
            return
        calls = [first.incoming]
        if first.alike is not None:
            calls += self._take_alike(first.alike)
        self._answered.extend(zip(calls, first.answer(calls), strict=True))

    def _take_alike(self, alike: Any) -> Iterator[Incoming]:
        """The next calls that are ready, for as long as they are alike."""
        try:
            while self._ready[0].alike is alike:
                ready = self._ready.popleft()
                if ready.alike is not alike:  # another thread has just taken over, and has the one that was seen
                    self._ready.appendleft(ready)
                    return
                yield ready.incoming
        except IndexError:
            return

    def _send(self) -> None:
        while self._answered:
            try:
                incoming, response = self._answered.popleft()
            except IndexError:  # another thread has sent it
                return
            logged(incoming.reply, response)


class _Arrival:
    """The tag of calls requested for `method`."""

    __slots__ = ("_queue", "method")

    def __init__(self, queue: CallQueue, method: Method) -> None:
        self._queue = queue
        self.method = method

    def __call__(self, event: Any) -> None:
        if not event.success:  # the server is being stopped
            return
        self._queue.ask_for(self)
        call, metadata, deadline = event.call, event.invocation_metadata, event.call_details.deadline

        def read(message: Any) -> None:
            data = message.batch_operations[0].message()
            incoming = Incoming(self.method, call, data, metadata, deadline)
            if data is None:
                incoming.refuse(cygrpc.StatusCode.cancelled, "the call ended before its message had come")
            else:
                self._queue.serve(incoming)

        call.start_server_batch((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), read)


def _ended(_event: Any) -> None:
    """The tag of last batches: nothing is left to do."""
