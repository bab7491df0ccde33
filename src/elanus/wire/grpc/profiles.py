"""Profiles in answers: JSON that clients asked for.

It is in the status of every answer, as `extra_info["profile"]`. pymilvus shows nothing of what is there, but columns:
so it is also a JSON column `$profile`, whose first row has it and whose other rows have none. An answer without rows
has no first one.
"""

from __future__ import annotations

from typing import Any

import orjson
from pymilvus.grpc_gen import schema_pb2

from elanus.service.profiles import QueryProfile, SearchProfile

PROFILE = "$profile"
"""The column; of queries also the output field by which it is asked for, since pymilvus sends no other parameter."""


def add_profile(profile: SearchProfile | QueryProfile, rows: int, status: Any, fields_data: Any) -> None:
    """Write `profile` into the status and the columns of an answer of so many `rows`."""
    text = orjson.dumps(profile)
    status.extra_info["profile"] = text.decode()
    if rows:
        column = fields_data.add(type=schema_pb2.JSON, field_name=PROFILE)
        column.scalars.json_data.data.extend([text, *[b"null"] * (rows - 1)])
