"""What named writes did, for whoever sends them again once their records have left the log.

A record of outcomes lies in a carry record, in the section of its collection, and has the timestamp of the newest of
them. It says nothing about rows. Its body holds 48 bytes for each, little-endian, in the log's order:

     0  16  identity of the request
    16   8  timestamp of the write
    24   8  rows written or keys deleted
    32   8  first of the keys that were made
    40   1  1 if keys were made, else 0
    41   7  zeros
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from elanus.log.record import RawRecord, RecordKind, encode_body
from elanus.model.canonical import Values
from elanus.model.ids import consecutive_keys
from elanus.model.schema import Schema

_OUTCOME = struct.Struct("<16sQQq?7x")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a write did: so many rows written or keys deleted. `first_key` is that of keys made for it, else None."""

    timestamp: int
    count: int
    first_key: int | None

    def keys(self, schema: Schema, named: Values) -> Values:
        """The keys of the rows: those that the request had `named`, unless they were made for it."""
        if self.first_key is None:
            return named
        return consecutive_keys(schema.primary.dtype, self.first_key, self.count)


def outcomes_record(collection_id: int, outcomes: Sequence[tuple[bytes, Outcome]]) -> RawRecord:
    """The record of `outcomes`, (identity, outcome) pairs in the log's order, of which there is one at least."""
    body = [
        _OUTCOME.pack(identity, done.timestamp, done.count, done.first_key or 0, done.first_key is not None)
        for identity, done in outcomes
    ]
    encoded = encode_body([b"".join(body)], collection_id=collection_id, kind=RecordKind.OUTCOMES)
    return encoded.raw(outcomes[-1][1].timestamp)


def outcomes_of(raw: RawRecord) -> Iterator[tuple[bytes, Outcome]]:
    """The (identity, outcome) pairs of the record whose checked bytes are `raw`."""
    for identity, timestamp, count, first_key, made in _OUTCOME.iter_unpack(raw.body):
        yield identity, Outcome(timestamp, count, first_key if made else None)
