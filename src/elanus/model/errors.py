"""Every error Elanus raises, with the code Milvus clients know it by.

    ElanusError
    ├── InvalidParameter            1100  the request itself is wrong
    │   ├── MissingParameter        1101
    │   ├── SchemaMismatch          1100  rows do not fit the collection's schema
    │   └── InvalidFieldName        1701
    ├── CollectionNotFound           100
    ├── CollectionNotLoaded          101
    ├── CollectionLimit              102
    ├── CollectionLoaded             104
    ├── IllegalSchema                105  the fields do not go together
    ├── VectorClusteringKey          107
    ├── SchemaOutdated               109  the client's picture of the schema is not the one in force
    ├── PartitionNotFound            200
    ├── PartitionNotLoaded           201
    ├── IndexNotFound                700
    ├── IndexExists                  702  an index stands in the way of a change
    ├── DatabaseNotFound             800
    ├── DatabaseLimit                801
    ├── InvalidDatabaseName          802
    ├── AliasNotFound               1600
    ├── AliasNameTaken              1601  the name belongs to a collection
    ├── AliasExists                 1602  the alias points elsewhere
    ├── DuplicateKey                1100  `on_duplicate_key="reject"` met a key that exists
    ├── QuotaExceeded                  9  the database's properties forbid it
    ├── MemoryLimit                    3  a budget has no room for the request
    ├── NotSupported                  10  a part of Milvus that Elanus does not have (yet)
    ├── ResourceGroupNotFound        300
    ├── AddressInUse                   2  the server cannot listen where it was told to
    ├── DeadlineExceeded            10001
    └── StoreError                  1001  the folder or bucket failed
        ├── KeyNotFound             1000
        ├── KeyExists               1001  put-if-absent lost
        ├── CorruptData             1002  a checksum or a format did not hold
        ├── FormatTooNew            1002  written by a newer Elanus
        ├── AlreadyOpen                5  another process holds the folder for writing
        ├── ReadOnly                   2  opened for reading only
        ├── Closed                     2  used after `close`
        └── WriterStopped              2  a sync failed: nothing more is acknowledged

A message says what was asked, what is wrong with it, and what to do. Errors are raised where they are known
and translated once, at the wire.
"""

from __future__ import annotations


class ElanusError(Exception):
    """Root of the tree. `code` is Milvus's error code; `retriable` says whether the same call may succeed later."""

    code: int = 5
    retriable: bool = False

    @property
    def message(self) -> str:
        return str(self)


class InvalidParameter(ElanusError, ValueError):
    code = 1100


class MissingParameter(InvalidParameter):
    code = 1101


class InvalidFieldName(InvalidParameter):
    code = 1701


class SchemaMismatch(InvalidParameter):
    pass


class CollectionNotFound(ElanusError, LookupError):
    code = 100


class CollectionNotLoaded(ElanusError):
    code = 101


class CollectionLimit(ElanusError):
    code = 102


class CollectionLoaded(ElanusError):
    code = 104


class IllegalSchema(ElanusError, ValueError):
    code = 105


class VectorClusteringKey(ElanusError, ValueError):
    code = 107


class SchemaOutdated(ElanusError):
    code = 109


class PartitionNotFound(ElanusError, LookupError):
    code = 200


class PartitionNotLoaded(ElanusError):
    code = 201


class IndexNotFound(ElanusError, LookupError):
    code = 700


class IndexExists(ElanusError):
    code = 702


class DatabaseNotFound(ElanusError, LookupError):
    code = 800


class DatabaseLimit(ElanusError):
    code = 801


class InvalidDatabaseName(ElanusError, ValueError):
    code = 802


class AliasNotFound(ElanusError, LookupError):
    code = 1600


class AliasNameTaken(ElanusError):
    code = 1601


class AliasExists(ElanusError):
    code = 1602


class DuplicateKey(InvalidParameter):
    pass


class QuotaExceeded(ElanusError):
    code = 9


class MemoryLimit(ElanusError, MemoryError):
    code = 3
    retriable = True


class NotSupported(ElanusError):
    code = 10


class ResourceGroupNotFound(ElanusError, LookupError):
    code = 300


class AddressInUse(ElanusError, OSError):
    code = 2


class DeadlineExceeded(ElanusError, TimeoutError):
    code = 10001
    retriable = True


class StoreError(ElanusError):
    code = 1001


class KeyNotFound(StoreError, LookupError):
    code = 1000


class KeyExists(StoreError):
    pass


class CorruptData(StoreError):
    code = 1002


class FormatTooNew(StoreError):
    code = 1002


class AlreadyOpen(StoreError):
    code = 5


class ReadOnly(StoreError):
    code = 2


class Closed(StoreError):
    code = 2


class WriterStopped(StoreError):
    code = 2
