"""Writes that are sent again because their answer was lost, and are not done again.

A client may name a request, and sends it under the same name when it tries again. Name, collection, kind of write and
a digest of all that was asked make an *identity*, which lies in the log with what was done. So what the log has, is
known after a restart too, by the same path as its rows: `LogFollower.apply` tells `RecentWrites` of every record. What
leaves the log when it is cut, because its rows are in segments, leaves its outcome in the carry record.

A request that asks for anything else is another request, whatever its name: names that a client uses for tracing, the
same one for many writes, hide none of them.

Identities are compared and nothing else, so another version of Elanus may make others of the same request; then what
is sent again just while one takes the place of the other is written again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from enum import StrEnum

import numpy as np
import xxhash

from elanus.log.outcomes import Outcome
from elanus.log.record import WriteRecord
from elanus.model.canonical import Values
from elanus.model.schema import Schema
from elanus.model.timestamps import Clock, milliseconds_of

NO_IDENTITY = b""
"""Of a request without a name: nobody can tell whether it was sent before."""


class WriteKind(StrEnum):
    INSERT = "insert"
    UPSERT = "upsert"
    DELETE = "delete"


def identity_of(collection_id: int, kind: WriteKind, request_id: str, *asked: bytes) -> bytes:
    """The identity, 16 bytes, of the request that calls itself `request_id`; `asked` holds all it asks for.

    An xxh3_128: requests that are not made to collide do not.
    """
    state = xxhash.xxh3_128()
    for part in (str(collection_id).encode(), kind.encode(), request_id.encode(), *asked):
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.digest()


class RecentWrites:
    """The named writes of one collection: what the newest of them did, and which may be under way.

    At most `limit` are known, each for `keep_s`, by `clock`. One that failed stays under way until it is sent again or
    `limit` others are: to look once more costs little, and who is interrupted while it waits cannot say how it ended.

    Invariants (`_lock` guards them): an identity is in one of the two dicts or in none; `_outcomes` is in the order
    of the log, `_under_way` in that of `claim`.
    """

    def __init__(self, limit: int, keep_s: float, clock: Clock) -> None:
        self._limit = limit
        self._keep_ms = keep_s * 1000
        self._clock = clock
        self._lock = threading.Lock()
        self._outcomes: OrderedDict[bytes, Outcome] = OrderedDict()
        self._under_way: OrderedDict[bytes, None] = OrderedDict()

    def claim(self, identity: bytes, settle: Callable[[], object]) -> Outcome | None:
        """What this write did; None where it has not been done and the caller, from now on, does it.

        The caller holds the collection's `write_mutex`, and keeps it until its record has a place in the log. `settle`
        returns when every record that has one is applied, or has failed.
        """
        if identity in self._under_way:
            settle()
        with self._lock:
            self._forget_old()
            outcome = self._outcomes.get(identity)
            if outcome is None:
                self._under_way[identity] = None
                if len(self._under_way) > self._limit:
                    self._under_way.popitem(last=False)
            return outcome

    def learn(self, record: WriteRecord, schema: Schema) -> None:
        """Know `record`, which has an identity, and whose rows readers see."""
        rows, keys, primary = record.rows, record.delete_keys, schema.primary
        count = rows.num_rows if rows is not None else 0 if keys is None else len(keys)
        first_key = _first(rows.columns[primary.id]) if rows is not None and primary.auto_id else None
        with self._lock:
            self._under_way.pop(record.identity, None)
            self._outcomes[record.identity] = Outcome(record.timestamp, count, first_key)
            self._outcomes.move_to_end(record.identity)
            self._forget_old()

    def recall(self, outcomes: Iterable[tuple[bytes, Outcome]]) -> None:
        """Know what an earlier life knew of writes whose records are gone; before `learn` is told of later ones."""
        with self._lock:
            self._outcomes.update(sorted(outcomes, key=lambda pair: pair[1].timestamp))
            self._forget_old()

    def known(self, until: int) -> list[tuple[bytes, Outcome]]:
        """What is known of writes with timestamps up to `until`, in the log's order."""
        with self._lock:
            self._forget_old()
            return [(identity, done) for identity, done in self._outcomes.items() if done.timestamp <= until]

    def _forget_old(self) -> None:
        oldest_ms = self._clock.now_ms() - self._keep_ms
        while self._outcomes:
            oldest = next(iter(self._outcomes.values()))
            if len(self._outcomes) <= self._limit and milliseconds_of(oldest.timestamp) >= oldest_ms:
                return
            self._outcomes.popitem(last=False)


def _first(keys: Values) -> int:
    """The first of keys that were made, which are numbers or the text of numbers."""
    return int(keys[0] if isinstance(keys, np.ndarray) else keys[0].as_py())
