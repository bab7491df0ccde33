"""What may not be done in a database: its properties `database.force.deny.*`, as administrators set them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from elanus.model.errors import QuotaExceeded
from elanus.model.properties import is_set

_PREFIX = "database.force.deny."
_DDL = "ddl"
"""Forbids all but reading and writing."""


class Deed(StrEnum):
    """What a request does, by the end of the property that forbids it."""

    WRITING = "writing"
    READING = "reading"
    COLLECTION = "collectionDDL"
    PARTITION = "partitionDDL"
    INDEX = "index"
    FLUSH = "flush"
    COMPACTION = "compaction"


def check_allowed(properties: Mapping[str, str], deed: Deed) -> None:
    """Raise `QuotaExceeded` where the `properties` of a database forbid `deed`."""
    if not properties:
        return
    is_data = deed in (Deed.READING, Deed.WRITING)
    for name in (deed,) if is_data else (_DDL, deed):
        if is_set(properties, _PREFIX + name):
            what = deed if is_data else _DDL.upper()
            raise QuotaExceeded(
                f"quota exceeded[reason=access has been disabled by the administrator: force deny {what} in database "
                f"properties]: drop the database's property {_PREFIX}{name} first"
            )
