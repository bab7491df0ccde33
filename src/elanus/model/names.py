"""Names: what may be one, and the errors of Milvus for what may not.

A name is at most 255 bytes, begins with a letter or an underscore, and goes on with letters, digits and underscores.
Names of partitions may also begin with a digit and hold `-`, those of indexes hold `[` and `]`.
"""

from __future__ import annotations

import re

from elanus.model.errors import ElanusError, InvalidDatabaseName, InvalidFieldName, InvalidParameter

MAX_NAME_BYTES = 255

_REST = re.compile(r"[A-Za-z0-9_]*\Z")
_REST_OF = {"partition": re.compile(r"[A-Za-z0-9_-]*\Z"), "index": re.compile(r"[A-Za-z0-9_\[\]]*\Z")}
_FIRST = re.compile(r"[A-Za-z_]")
_FIRST_OF = {"partition": re.compile(r"[A-Za-z0-9_]")}


def check_name(name: str, what: str) -> None:
    """Raise unless `name` may name a `what`: collection, alias, database, partition, field or index.

    Raises `InvalidDatabaseName`, `InvalidFieldName`, or `InvalidParameter` for the others.
    """
    wrong = _wrong(name, what)
    if wrong:
        raise _error(name, what, wrong)


def _wrong(name: str, what: str) -> str:
    """What is wrong with `name`, as a sentence without its first capital; empty where nothing is."""
    if not isinstance(name, str) or not name.strip():
        return "should not be empty"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"the length of a {_kind(what)} must be less than {MAX_NAME_BYTES} characters"
    if not _FIRST_OF.get(what, _FIRST).match(name):
        return f"the first character of a {_kind(what)} must be an underscore or letter"
    if not _REST_OF.get(what, _REST).match(name):
        return f"{_kind(what)} can only contain numbers, letters and underscores"
    return ""


def _kind(what: str) -> str:
    return "collection alias" if what == "alias" else f"{what} name"


def _error(name: str, what: str, wrong: str) -> ElanusError:
    if what == "database":
        reason = "database name couldn't be empty" if wrong.startswith("should") and not name else wrong
        if reason.startswith("should"):
            reason = "the first character of a database name must be an underscore or letter"
        return InvalidDatabaseName(f"{reason}: invalid database name[database={name}]")
    sentence = wrong[0].upper() + wrong[1:]
    if what == "field":
        return InvalidFieldName(f"Invalid field name: {name}. {sentence}.: field name invalid[field={name}]")
    if what in ("collection", "alias"):
        if wrong.startswith("should"):
            wrong = f"{_kind(what)} should not be empty"
        return InvalidParameter(f"Invalid {_kind(what)}: {name}. {wrong}")
    if wrong.startswith("should"):
        name, sentence = "", f"{what.capitalize()} name should not be empty"  # blanks count for nothing
    return InvalidParameter(f"Invalid {what} name: {name}. {sentence}.")
