"""Elanus, a vector database in your process.

    import elanus

    with elanus.open("./my.elanus") as db:
        docs = db.create_collection("docs", dimension=384)
        docs.insert({"id": [1, 2], "vector": vectors, "title": ["one", "two"]})
        for hit in docs.search(query, limit=10, filter="title like 'o%'", output_fields=["title"])[0]:
            print(hit["id"], hit["distance"], hit["entity"]["title"])

All a user needs is here: `open` and what it returns, the types of schemas, and the errors. The engine is imported when
its first name is used, so that a builder process, or a program that only makes schemas, does not load it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from elanus.model import errors
from elanus.model.errors import (
    AliasExists,
    AliasNameTaken,
    AliasNotFound,
    AlreadyOpen,
    Closed,
    CollectionLimit,
    CollectionNotFound,
    CorruptData,
    DatabaseLimit,
    DatabaseNotFound,
    DuplicateKey,
    ElanusError,
    FormatTooNew,
    IndexNotFound,
    InvalidDatabaseName,
    InvalidParameter,
    MemoryLimit,
    PartitionNotFound,
    ReadOnly,
    SchemaMismatch,
    StoreError,
    WriterStopped,
)
from elanus.model.functions import Function, FunctionType
from elanus.model.schema import Field, Schema
from elanus.model.types import DataType, Metric, OnDuplicateKey
from elanus.version import __version__

if TYPE_CHECKING:
    from elanus.native.collection import Collection
    from elanus.native.database import Database, Elanus, Settings, open  # noqa: A004
    from elanus.native.results import Hit, Hits, SearchResults
    from elanus.native.rows import to_rows
    from elanus.wire.client import connect

_HOMES = {
    "Collection": "native.collection",
    "Database": "native.database",
    "Elanus": "native.database",
    "Hit": "native.results",
    "Hits": "native.results",
    "SearchResults": "native.results",
    "Settings": "native.database",
    "connect": "wire.client",
    "open": "native.database",
    "to_rows": "native.rows",
}
"""The modules in which the names live that are imported when they are first used."""

__all__ = [
    "AliasExists",
    "AliasNameTaken",
    "AliasNotFound",
    "AlreadyOpen",
    "Closed",
    "Collection",
    "CollectionLimit",
    "CollectionNotFound",
    "CorruptData",
    "DataType",
    "Database",
    "DatabaseLimit",
    "DatabaseNotFound",
    "DuplicateKey",
    "Elanus",
    "ElanusError",
    "Field",
    "FormatTooNew",
    "Function",
    "FunctionType",
    "Hit",
    "Hits",
    "IndexNotFound",
    "InvalidDatabaseName",
    "InvalidParameter",
    "MemoryLimit",
    "Metric",
    "OnDuplicateKey",
    "PartitionNotFound",
    "ReadOnly",
    "Schema",
    "SchemaMismatch",
    "SearchResults",
    "Settings",
    "StoreError",
    "WriterStopped",
    "__version__",
    "connect",
    "errors",
    "open",
    "to_rows",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'elanus' has no attribute {name!r}")
    found = getattr(import_module(f"elanus.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
