"""A gRPC channel without a network: calls of a client in this process go straight to the services.

The SDK takes any object that looks like `grpc.Channel`. Request and response messages are handed over as they are: they
are not serialised, and no thread but the caller's is involved. `elanus.connect` gives such a channel to the real
`pymilvus.MilvusClient`.

A call here cannot be interrupted from outside: a timeout is the deadline that the services look at, and a future is
done when it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Self

import grpc

from elanus.service.instance import Instance
from elanus.wire.grpc.dispatch import METHODS, Method


class InProcessChannel(grpc.Channel):  # type: ignore[misc]
    """Serves one `instance`, and closes with `on_close`."""

    def __init__(self, instance: Instance, on_close: Callable[[], None]) -> None:
        self._instance = instance
        self._on_close = on_close

    def unary_unary(self, method: str, *_serializers: Any, **_options: Any) -> grpc.UnaryUnaryMultiCallable:
        found = METHODS.get(method)
        return _Unimplemented(method) if found is None else _Callable(found, self._instance)

    def unary_stream(self, method: str, *_serializers: Any, **_options: Any) -> Any:
        return _Unimplemented(method)

    def stream_unary(self, method: str, *_serializers: Any, **_options: Any) -> Any:
        return _Unimplemented(method)

    def stream_stream(self, method: str, *_serializers: Any, **_options: Any) -> Any:
        return _Unimplemented(method)

    def subscribe(self, callback: Callable[[Any], None], try_to_connect: bool = False) -> None:
        """Tell `callback` that the channel is ready, which it is until it is closed."""
        callback(grpc.ChannelConnectivity.READY)

    def unsubscribe(self, callback: Callable[[Any], None]) -> None:
        """Nothing will be told any more, and nothing was to come."""

    def close(self) -> None:
        self._on_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class _Callable(grpc.UnaryUnaryMultiCallable):  # type: ignore[misc]
    def __init__(self, method: Method, instance: Instance) -> None:
        self._method = method
        self._instance = instance

    def __call__(
        self, request: Any, timeout: float | None = None, metadata: Any = None, *_more: Any, **_rest: Any
    ) -> Any:
        return self._method.answer(self._instance, request, _pairs(metadata), timeout)

    def with_call(
        self, request: Any, timeout: float | None = None, metadata: Any = None, *_more: Any, **_rest: Any
    ) -> Any:
        done = _Done(self(request, timeout, metadata))
        return done.result(), done

    def future(
        self, request: Any, timeout: float | None = None, metadata: Any = None, *_more: Any, **_rest: Any
    ) -> Any:
        return _Done(self(request, timeout, metadata))


class _Done(grpc.Future, grpc.Call):  # type: ignore[misc]
    """The outcome of a call that is over."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def result(self, timeout: float | None = None) -> Any:
        return self._response

    def exception(self, timeout: float | None = None) -> None:
        return None

    def traceback(self, timeout: float | None = None) -> None:
        return None

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        fn(self)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return False

    def cancel(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    def running(self) -> bool:
        return False

    def done(self) -> bool:
        return True

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> None:
        return None

    def initial_metadata(self) -> tuple[()]:
        return ()

    def trailing_metadata(self) -> tuple[()]:
        return ()

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.OK

    def details(self) -> str:
        return ""


class UnimplementedError(grpc.RpcError, grpc.Call):  # type: ignore[misc]
    """As a server answers a method that it does not have."""

    def __init__(self, method: str) -> None:
        super().__init__(f"{method} is not implemented")
        self._method = method

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNIMPLEMENTED

    def details(self) -> str:
        return f"Method not found: {self._method}"


class _Unimplemented:
    def __init__(self, method: str) -> None:
        self._method = method

    def __call__(self, *_arguments: Any, **_options: Any) -> Any:
        raise UnimplementedError(self._method)

    with_call = future = __call__


def _pairs(metadata: Any) -> Iterable[tuple[str, Any]]:
    return metadata or ()
