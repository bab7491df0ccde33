"""The carry record: the rows of small collections, taken along so that the log files before it can go.

Its sections hold whole write records as they were written, timestamps included, and what named writes did whose rows
are in segments already. They say again what lies in the files that are about to go, and replace nothing: a record is
known by its timestamp, and counts once wherever it lies. So a crash between the carry and the dropping, and records
written while it was made, need no care. The body, one section after the other:

     0   8  collection id
     8   8  bytes of the records that follow
    16   n  records of writes and of outcomes, header and body each
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from elanus.log.record import RECORD_HEADER_BYTES, EncodedRecord, RawRecord, RecordKind, encode_body
from elanus.store.disk import Piece

_SECTION = struct.Struct("<qQ")


@dataclass(frozen=True, slots=True)
class CarryRecord:
    """By collection id, what log files about to be dropped have alone, in the order of timestamps."""

    sections: Mapping[int, Sequence[RawRecord]]
    timestamp: int = 0

    def at(self, timestamp: int) -> CarryRecord:
        return CarryRecord(self.sections, timestamp)

    def encode(self) -> EncodedRecord:
        body: list[Piece] = []
        for collection_id, records in self.sections.items():
            body.append(_SECTION.pack(collection_id, sum(raw.byte_size for raw in records)))
            body.extend(raw.data for raw in records)
        return encode_body(body, kind=RecordKind.CARRY)


def carry_of(raw: RawRecord) -> CarryRecord:
    """The carry record whose checked bytes are `raw`; its records are views of them."""
    body = raw.body
    sections: dict[int, tuple[RawRecord, ...]] = {}
    at = 0
    while at < len(body):
        collection_id, length = _SECTION.unpack_from(body, at)
        at += _SECTION.size
        end = at + length
        records: list[RawRecord] = []
        while at < end:
            records.append(RawRecord.parse(body, at))
            at += RECORD_HEADER_BYTES + records[-1].header.body_bytes
        sections[collection_id] = tuple(records)
    return CarryRecord(sections, raw.timestamp)
