"""Calls that another server answers: passed on as the bytes that they are, and answered when it has answered.

Nothing is read and no thread waits. The client's deadline and its own headers go along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import grpc

from elanus.wire.grpc.call import FOREVER_S, Metadata
from elanus.wire.grpc.dispatch import Method
from elanus.wire.grpc.queues import Incoming, Outstanding, logged

_OF_GRPC = ("grpc-", ":")
"""How headers begin that are gRPC's own, and further ones."""
_FURTHER = frozenset({"user-agent", "content-type", "te"})


class Forwarder:
    """Passes calls on to the server at `address`. Safe to use from any thread."""

    def __init__(self, address: str, options: Sequence[tuple[str, Any]]) -> None:
        self._channel = grpc.insecure_channel(address, options=options)
        self._calls: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}
        self._outstanding = Outstanding()

    def forward(self, incoming: Incoming) -> None:
        """Answer `incoming` as the other server does, later."""
        try:
            future = self._call(incoming.method).future(
                incoming.take(), timeout=_timeout(incoming.remaining_s), metadata=_passed_on(incoming.metadata)
            )
        except ValueError:  # the channel is closed
            incoming.refuse(grpc.StatusCode.UNAVAILABLE.value[0], "the server is being stopped")
            return
        self._outstanding.add()
        incoming.watch(future.cancel)
        future.add_done_callback(partial(logged, self._answer, incoming))

    def behavior(self, method: Method) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        """The same for grpcio's own server: what answers `method`."""
        call = self._call(method)

        def answer(data: bytes, context: grpc.ServicerContext) -> bytes:
            try:
                answered: bytes = call(
                    data,
                    timeout=_timeout(context.time_remaining()),
                    metadata=_passed_on(context.invocation_metadata()),
                )
                return answered
            except grpc.RpcError as error:
                failed: Any = error  # a grpc.Call as well
                context.abort(failed.code(), failed.details() or "")
                raise AssertionError("abort raises") from None

        return answer

    def close(self) -> None:
        """Return when all that were passed on are answered; what is not by now, is with a failure."""
        self._channel.close()
        self._outstanding.wait()

    def _call(self, method: Method) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
        call = self._calls.get(method.path)
        if call is None:
            call = self._calls[method.path] = self._channel.unary_unary(method.path)
        return call

    def _answer(self, incoming: Incoming, future: Any) -> None:
        try:
            code = future.code()
            if code is grpc.StatusCode.OK:
                incoming.reply_bytes(future.result())
            else:
                incoming.refuse(code.value[0], future.details() or "")
        finally:
            self._outstanding.done()


def _timeout(remaining_s: float | None) -> float | None:
    return None if remaining_s is None or remaining_s > FOREVER_S else remaining_s


def _passed_on(metadata: Metadata) -> Iterable[tuple[str, Any]]:
    return [(key, value) for key, value in metadata if not key.startswith(_OF_GRPC) and key not in _FURTHER]
