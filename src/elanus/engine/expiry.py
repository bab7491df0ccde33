"""Rows that are there for a time only: when it is over they are hidden from reads (see `segment.expired`).

A read's picture says what has expired (`Snapshot.expired`). It moves in steps of `STEP_MS`, so that what searches have
worked out about a picture holds for that long. As long as no row has expired the picture is the plain one. Merges leave
expired rows out; where nothing else calls for one, segments are looked at again now and then. A longer time given later
brings no row back that a merge has left out.
"""

from __future__ import annotations

from elanus.engine.snapshot import Snapshot
from elanus.model.properties import TTL_FIELD, ttl_s
from elanus.model.timestamps import Clock, compose
from elanus.segment.expired import NOTHING, Expired

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
        expired = self.now(snapshot)
        if not expired or not any(unit.may_hold(expired) for unit in snapshot.units):
            return snapshot
        last = self._last
        if last is not None and last[0] is snapshot and last[1].expired == expired:
            return last[1]
        shown = snapshot.without(expired)
        self._last = snapshot, shown
        return shown

    def now(self, snapshot: Snapshot) -> Expired:
        """What has expired by now."""
        return self.at(snapshot, self._clock.now_ms())

    def step(self, snapshot: Snapshot) -> int:
        """The timestamp at which `now` was what it is; 0 where rows never expire."""
        now_ms = self._clock.now_ms()
        return compose(now_ms // STEP_MS * STEP_MS) if self.at(snapshot, now_ms) else 0

    def at(self, snapshot: Snapshot, now_ms: int) -> Expired:
        """What has expired by `now_ms`, milliseconds since 1970."""
        properties = snapshot.manifest.properties
        seconds, name = ttl_s(properties), properties.get(TTL_FIELD)
        if not seconds and name is None:
            return NOTHING
        if seconds:
            return Expired(compose(max(0, (now_ms - seconds * 1000) // STEP_MS * STEP_MS)))
        field = snapshot.manifest.schema.get(name or "")
        return NOTHING if field is None else Expired(0, field.id, now_ms // STEP_MS * STEP_MS * 1000)

    def look_again_s(self, snapshot: Snapshot) -> float | None:
        """In how many seconds to look again for segments with many expired rows; None for never."""
        expired = self.now(snapshot)
        if not expired or not snapshot.units:
            return None
        if expired.field_id:
            wait_s = (min(unit.first_end(expired.field_id) for unit in snapshot.units) - expired.moment) / 1e6
        else:
            wait_s = ttl_s(snapshot.manifest.properties) / 8
        least, most = LOOK_AGAIN_S
        return min(most, max(least, wait_s))
