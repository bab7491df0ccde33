"""The table of all RPCs, and how one is answered.

Those that Elanus does not have answer "not supported" by name. Whatever a request holds, it is answered by a response
message: an error of Elanus with its code, anything else as an internal error whose traceback goes to the log and not to
the client. RPCs whose response has no place for a refusal are left out: gRPC itself says that they are not implemented.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from google.protobuf.message_factory import GetMessageClass
from pymilvus.grpc_gen import milvus_pb2

from elanus.model.errors import ElanusError, NotSupported
from elanus.service.context import Ticket
from elanus.service.instance import Instance
from elanus.wire.grpc import (
    aliases,
    analyzers,
    collections,
    databases,
    flushing,
    functions,
    indexes,
    loading,
    partitions,
    query,
    resources,
    rows,
    search,
    system,
)
from elanus.wire.grpc.call import Call, Metadata, call_of
from elanus.wire.grpc.status import INTERNAL, fail, has_status, set_status, status_of, succeed

_log = logging.getLogger("elanus.wire")

SERVICE = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"]

Handler = Callable[[Call, Any], Any]

Asked = tuple[Any, Metadata, float | None, Callable[[], bool] | None]
"""A request, and what `call_of` wants to know of its call."""


class Pool(Enum):
    """The threads that answer an RPC: reads wait for no write, and nothing waits for changes of definitions.

    Reads of a time to come do WAIT.
    """

    READ = "read"
    WAIT = "wait"
    WRITE = "write"
    DEFINE = "define"


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC: its messages, what answers it, and what reads a request from its bytes or raises `DecodeError`.

    `together`, where there is one, answers several requests at once, of which all but what differs in each call is one
    object. It raises an `ElanusError` where one of them cannot be answered, or they must not be together.
    """

    name: str
    handler: Handler
    together: Callable[[Sequence[Call], Sequence[Any]], list[Any]] | None
    read: Callable[[bytes], Any]
    request: type[Any]
    response: type[Any]
    pool: Pool

    @property
    def path(self) -> str:
        return f"/{SERVICE.full_name}/{self.name}"

    @property
    def unreadable(self) -> str:
        """What a client is told whose bytes are no request of this method."""
        return f"the request cannot be read: it is no {self.request.DESCRIPTOR.name}"

    def answer(
        self,
        instance: Instance,
        request: Any,
        metadata: Metadata,
        remaining_s: float | None,
        gone: Callable[[], bool] | None = None,
        later: list[Ticket] | None = None,
    ) -> Any:
        """The response to `request`, whatever happens. The rest as in `call_of`."""
        try:
            response = self.handler(call_of(instance, request, metadata, remaining_s, gone, later), request)
            succeed(response)
            return response
        except ElanusError as error:
            return self.failed(error)
        except Exception as error:  # noqa: BLE001 - a client gets a response, the log what happened
            _log.exception("%s failed", self.name)
            response = self.response()
            set_status(
                status_of(response), INTERNAL, f"{self.name}: internal error: {type(error).__name__}; see the log"
            )
            return response

    def answer_together(self, instance: Instance, asked: Sequence[Asked]) -> list[Any] | None:
        """The responses to some requests; None where they have to be answered one by one, to say what is wrong."""
        assert self.together is not None
        try:
            calls = [call_of(instance, *one) for one in asked]
            responses = self.together(calls, [request for request, *_ in asked])
        except ElanusError:  # it will be said of the call that it is true of
            return None
        except Exception:  # noqa: BLE001 - as in `answer`; alone each of them may well be answered
            _log.exception("%d calls of %s at once failed", len(asked), self.name)
            return None
        for response in responses:
            succeed(response)
        return responses

    def failed(self, error: ElanusError) -> Any:
        """The response that says `error`."""
        response = self.response()
        fail(status_of(response), error)
        return response


_HANDLERS: dict[str, Handler] = {
    **system.METHODS,
    **databases.METHODS,
    **collections.METHODS,
    **functions.METHODS,
    **partitions.METHODS,
    **aliases.METHODS,
    **analyzers.METHODS,
    **indexes.METHODS,
    **loading.METHODS,
    **rows.METHODS,
    **query.METHODS,
    **search.METHODS,
    **flushing.METHODS,
    **resources.METHODS,
}

_READS = {*search.METHODS, *query.METHODS}
_WRITES = set(rows.METHODS)


def _unsupported(name: str) -> Handler:
    def answer(_call: Call, _request: Any) -> Any:
        raise NotSupported(f"{name} is not supported by this version of Elanus")

    return answer


def _method(descriptor: Any) -> Method:
    name = descriptor.name
    pool = Pool.READ if name in _READS else Pool.WRITE if name in _WRITES else Pool.DEFINE
    request = GetMessageClass(descriptor.input_type)
    return Method(
        name,
        _HANDLERS.get(name) or _unsupported(name),
        search.TOGETHER.get(name),
        search.READERS.get(name) or request.FromString,
        request,
        GetMessageClass(descriptor.output_type),
        pool,
    )


METHODS: dict[str, Method] = {
    m.path: m
    for m in (_method(d) for d in SERVICE.methods if not d.client_streaming and not d.server_streaming)
    if has_status(m.response)
}
"""By path. The rest is unimplemented, as gRPC says it: the two streaming RPCs, which belong to replication between
servers, and Dummy and GetReplicateInfo, whose responses have no place for an error.
"""
