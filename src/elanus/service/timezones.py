"""The property `timezone` of databases and collections, and what is read and shown by it.

A collection that is made without one takes its database's. A read may name another for itself; a write may not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from elanus.model.instants import moment
from elanus.model.schema import Field, Schema
from elanus.model.timezones import DEFAULT_TIMEZONE, Zone, check_timezone, zone_named
from elanus.model.types import DataType

TIMEZONE = "timezone"


def check(properties: Mapping[str, str]) -> None:
    """Raise `InvalidParameter` where the properties name a zone that does not exist."""
    if TIMEZONE in properties:
        check_timezone(properties[TIMEZONE])


def inherited(properties: Mapping[str, str], of_database: Mapping[str, str]) -> dict[str, str]:
    """The properties of a new collection: those given, and the zone of its database."""
    found = {TIMEZONE: of_database[TIMEZONE]} if TIMEZONE in of_database else {}
    return {**found, **properties}


def timezone_of(properties: Mapping[str, str]) -> str:
    """The name of the zone of a collection with these properties."""
    return properties.get(TIMEZONE, DEFAULT_TIMEZONE)


def zone_of(properties: Mapping[str, str]) -> Zone:
    return zone_named(timezone_of(properties))


def with_default_read(field: Field, zone: Zone) -> Field:
    """`field` with a default of text or datetime as the moment it stands for. Raises `InvalidParameter`."""
    if field.dtype is DataType.TIMESTAMPTZ and isinstance(field.default, (str, datetime)):
        return replace(field, default=moment(str(field.default), zone))
    return field


def with_defaults_read(schema: Schema, zone: Zone) -> Schema:
    return replace(schema, fields=tuple(with_default_read(field, zone) for field in schema.fields))
