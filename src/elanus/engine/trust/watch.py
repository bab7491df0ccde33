"""What is known of the recall of one collection's searches. All its pictures have the same watch.

A search looks at `is_open` and is done, unless the sampler has time for one: then it hands over one of its queries, and
the watch is closed until the sampler opens it again. So what a search spends does not depend on how many there are, and
what waits for the sampler is one query a collection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import randrange
from threading import Lock
from typing import TYPE_CHECKING

from elanus.engine.trust.evidence import Case, Evidence, Measured
from elanus.model.schema import Schema

if TYPE_CHECKING:
    from elanus.engine.planner import Plan, SearchRequest

MOST_CASES = 64
"""Cases of a collection that are remembered, 50 KiB each at most; those that were measured last."""

Take = Callable[["SearchRequest", Schema], bool]
"""Takes a search of one query, and the schema it is of; whether it did."""

_NONE = Evidence()


class Watch:
    """`is_open` says whether a search is wanted; `cases` is what was measured, the oldest first."""

    def __init__(self) -> None:
        self.is_open = False
        self.cases: Mapping[Case, Evidence] = {}
        self._take: Take | None = None
        self._adding = Lock()

    def begin(self, take: Take) -> None:
        """Hand searches to `take` from now on."""
        self._take = take
        self.is_open = True

    def end(self) -> None:
        """The collection is gone: let go of everything."""
        self._take = None
        self.is_open = False
        self.cases = {}

    def open(self) -> None:
        """The sampler has time for another search."""
        self.is_open = self._take is not None

    @property
    def is_over(self) -> bool:
        """Whether nobody measures these searches."""
        return self._take is None

    def offer(self, schema: Schema, request: SearchRequest, made: Plan) -> None:
        """A search of a collection of this `schema` that was answered by `made`: one of its queries may be measured."""
        take = self._take
        if take is None or not len(request.queries) or (made.condition is not None and made.condition.sample):
            return
        self.is_open = False
        chosen = randrange(len(request.queries))
        if not take(request._replace(queries=request.queries[chosen : chosen + 1].copy(), output_fields=()), schema):
            self.open()

    def evidence(self, case: Case) -> Evidence:
        """What is known of a case; nothing where nothing is."""
        return self.cases.get(case, _NONE)

    def add(self, case: Case, measured: Measured) -> None:
        with self._adding:
            others = {key: known for key, known in self.cases.items() if key != case}
            for oldest in list(others)[: max(0, len(others) + 1 - MOST_CASES)]:
                del others[oldest]
            self.cases = {**others, case: self.evidence(case).with_more(measured)}
