"""One call of an RPC: the database it is for and what came with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, NamedTuple

from elanus.model.types import Consistency
from elanus.service.context import DEFAULT_DATABASE, RequestContext, Ticket
from elanus.service.instance import Instance

Metadata = Iterable[tuple[str, Any]]
"""The headers of a call."""


FOREVER_S = 365 * 86_400.0
"""A call without a deadline may say that it has longer than this."""


class Call(NamedTuple):
    instance: Instance
    ctx: RequestContext


def call_of(
    instance: Instance,
    request: Any,
    metadata: Metadata,
    remaining_s: float | None,
    gone: Callable[[], bool] | None = None,
    later: list[Ticket] | None = None,
) -> Call:
    """The call that `request` makes: in the database it names, or its headers do, or `default`.

    `remaining_s` is how long its caller still waits, None for ever; `gone` says whether it has gone. `later` gets what
    a write has to wait for, where the caller of this function does.
    """
    database = getattr(request, "db_name", "")
    request_id = ""
    for key, value in metadata:
        if key == "dbname":
            database = database or _text(value)
        elif key in ("client-request-id", "client_request_id"):
            request_id = _text(value)
    deadline = None if remaining_s is None or remaining_s > FOREVER_S else monotonic() + remaining_s
    consistency = None if instance.reader is None else _consistency(request)
    ctx = RequestContext(database or DEFAULT_DATABASE, "", deadline, request_id, gone, consistency, later)
    return Call(instance, ctx)


def _consistency(request: Any) -> Consistency | None:
    """What a read asks for; None where that is up to the collection."""
    if getattr(getattr(request, "asked", request), "use_default_consistency", True):
        return None
    return _NAMED.get(request.guarantee_timestamp, Consistency.SESSION)


_NAMED = {0: Consistency.STRONG, 1: Consistency.EVENTUALLY, 2: Consistency.BOUNDED}
"""By guarantee timestamp."""


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
