"""Rows that are there for a time only: `collection.ttl.seconds` after they were written they are hidden from reads.

A read's picture says from which timestamp on rows are seen (`Snapshot.expired_before`). It moves in steps of `STEP_MS`,
so that what searches have worked out about a picture holds for that long. As long as no row has expired the picture
is the plain one. Merges leave expired rows out; where nothing else calls for one, segments are looked at again now and
then. A longer time given later brings no row back that a merge has left out.
"""

from __future__ import annotations

from dataclasses import replace

from elanus.engine.snapshot import Snapshot
from elanus.model.properties import ttl_s
from elanus.model.timestamps import Clock, compose

STEP_MS = 100
LOOK_AGAIN_S = 60.0, 86_400.0
"""At least and at most so long after the last look at what has expired."""


class Expiry:
    """The newest picture of one collection without its expired rows. Safe to use from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: tuple[Snapshot, Snapshot] | None = None

    def shown(self, snapshot: Snapshot) -> Snapshot:
        """`snapshot` as it is seen now."""
        before = self.before(snapshot)
        if not before or not any(unit.oldest < before for unit in snapshot.units):
            return snapshot
        last = self._last
        if last is not None and last[0] is snapshot and last[1].expired_before == before:
            return last[1]
        shown = replace(snapshot, expired_before=before, plans={}, earlier_plans={})
        self._last = snapshot, shown
        return shown

    def before(self, snapshot: Snapshot) -> int:
        """The timestamp before which rows have expired by now; 0 where they never do."""
        seconds = ttl_s(snapshot.manifest.properties)
        if not seconds:
            return 0
        return compose(max(0, (self._clock.now_ms() - seconds * 1000) // STEP_MS * STEP_MS))

    def look_again_s(self, snapshot: Snapshot) -> float | None:
        """In how many seconds to look again for segments with many expired rows; None for never."""
        seconds = ttl_s(snapshot.manifest.properties)
        least, most = LOOK_AGAIN_S
        return min(most, max(least, seconds / 8)) if seconds and snapshot.units else None
