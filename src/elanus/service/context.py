"""Who asks, where, and until when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic

from elanus.catalog.state import DEFAULT_DATABASE
from elanus.log.commit import Ticket
from elanus.model.errors import DeadlineExceeded
from elanus.model.types import Consistency

__all__ = ["DEFAULT_DATABASE", "RequestContext", "Ticket"]


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Goes with every request, so that access, quota, audit and cancellation find what they need.

    `deadline` is a time of `time.monotonic()` after which nobody waits for the answer any more; None is never.
    `gone` says whether the caller has gone before that; None where nobody can tell.
    """

    database: str = DEFAULT_DATABASE
    principal: str = ""
    deadline: float | None = None
    request_id: str = ""
    gone: Callable[[], bool] | None = None
    consistency: Consistency | None = None
    """What a read has to see, where that is not everything anyhow (see `engine.reading`): None is the collection's."""

    later: list[Ticket] | None = None
    """Where a list, a write does not wait until it is durable: its ticket is put there, and whoever made this request
    waits before anybody hears of the write."""

    def settle(self, ticket: Ticket) -> None:
        """Wait for a write, or leave that for later."""
        if self.later is None:
            ticket.wait()
        else:
            self.later.append(ticket)

    def within(self, database: str) -> RequestContext:
        """This request in another database; the same where none is named."""
        return replace(self, database=database) if database else self

    def check_deadline(self) -> None:
        """Raise `DeadlineExceeded` when it is too late to begin."""
        if self.deadline is not None and monotonic() >= self.deadline:
            raise DeadlineExceeded("the request's deadline had passed before it began: allow it more time")

    def check_waiting(self) -> None:
        """Raise `DeadlineExceeded` when nobody waits for the answer any more. For calls that do nothing but wait."""
        self.check_deadline()
        if self.gone is not None and self.gone():
            raise DeadlineExceeded("the request's caller has gone")
