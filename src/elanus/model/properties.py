"""Properties: text by name, of collections and databases. What some of them mean, and which values they take.

A name that nothing here knows is kept and told again. Flags are written as Go reads them: `true`, `T`, `1`, ….
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from elanus.model.errors import CollectionLoaded, IllegalSchema, InvalidParameter
from elanus.model.schema import Schema, check_description
from elanus.model.types import DataType

TTL = "collection.ttl.seconds"
TTL_FIELD = "ttl_field"
"""Names the field that says when each row ends."""

MAX_TTL_S = 3_155_760_000

CONSISTENCY = "consistency_level"
"""The level of reads that name none; kept apart from the other properties, as it is told apart."""

DESCRIPTION = "collection.description"
"""That of the schema."""

DYNAMIC = "dynamicfield.enabled"
"""Whether rows may carry keys that are no fields; it is a matter of the schema."""

ALLOW_AUTO_ID = "allow_insert_auto_id"
ISOLATION = "partitionkey.isolation"
QUERY_MODE = "query_mode"
LARGE_TOPK = "large_topk"
MMAP = "mmap.enabled"

WARMUP = "warmup"
"""Of a field or an index; a collection has one for each kind of file."""

COLLECTION_WARMUPS = ("warmup.scalarField", "warmup.scalarIndex", "warmup.vectorField", "warmup.vectorIndex")
WARMUP_POLICIES = ("disable", "sync", "async")

LOADING = frozenset({MMAP, *COLLECTION_WARMUPS})
"""Properties that say how Milvus loads a collection. Elanus maps all files and keeps these for clients."""

FIXED = frozenset({"on_duplicate_key"})
"""Given when the collection is made, and never changed: what is stored has been written by it."""

MAX_FIELD_ID = "max_field_id"
"""The largest id that a field has or had: Milvus keeps it as a property, and clients are told it as one."""

_NAMESPACES = ("namespace.sharding.enabled", "namespace.mode")
_CIPHER = frozenset({"cipher.enabled", "cipher.key", "cipher.ezID"})
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


def flag(text: str) -> bool | None:
    """What a flag says; None where it says nothing."""
    return True if text in _TRUE else False if text in _FALSE else None


def is_set(properties: Mapping[str, str], name: str) -> bool:
    return flag(properties.get(name, "")) is True


def ttl_s(properties: Mapping[str, str]) -> int:
    """For how many seconds a row is there; 0 is for ever, as is a text that an earlier version took for what it was."""
    text = properties.get(TTL, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def check(properties: Mapping[str, str], schema: Schema) -> None:
    """Raise `InvalidParameter` or `IllegalSchema` unless these may be properties of a collection with `schema`."""
    for name, value in properties.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidParameter(f"properties are text by name; got {value!r} for {name!r}. Send str(value).")
        if name in FIXED:
            raise InvalidParameter(f"{name} cannot be altered: make a new collection with it and move the rows")
        if name == WARMUP:
            raise InvalidParameter(
                f"warmup key '{name}' is only allowed at field level, use {'/'.join(COLLECTION_WARMUPS)} "
                "at collection level"
            )
        if name in COLLECTION_WARMUPS and value not in WARMUP_POLICIES:
            raise InvalidParameter(f"invalid warmup value for key {name}: {wrong_warmup(value)}")
        for known in (QUERY_MODE, *_NAMESPACES):
            if name != known and name.lower() == known:
                raise InvalidParameter(f'invalid property key "{name}", did you mean "{known}"?')
    for field in schema.fields:
        check_warmup(field.params)
    _check_ttl(properties, schema)
    if DESCRIPTION in properties:
        check_description(properties[DESCRIPTION])
    if properties.get(QUERY_MODE, LARGE_TOPK) != LARGE_TOPK:
        raise InvalidParameter(f'invalid {QUERY_MODE} value "{properties[QUERY_MODE]}", valid values: [{LARGE_TOPK}]')
    isolated = flag(properties.get(ISOLATION, "false"))
    if isolated is None:
        raise InvalidParameter(f"failed to parse partition key isolation property: {properties[ISOLATION]!r}")
    if isolated and schema.partition_key is None:
        raise IllegalSchema(
            "partition key isolation mode is enabled but no partition key field is set. "
            "Please set the partition key first"
        )


def check_created(properties: Mapping[str, str], schema: Schema) -> None:
    """Raise `InvalidParameter` or `IllegalSchema` unless a collection may be made with these."""
    check(properties, schema)
    _check_flags(properties, schema)


def check_altered(
    properties: Mapping[str, str], removed: Iterable[str], schema: Schema, present: Mapping[str, str]
) -> None:
    """Raise `InvalidParameter` or `IllegalSchema` unless these may be set in, or taken from, a collection that has
    `present`.
    """
    check(properties, schema)
    _check_flags(properties, schema)
    if TTL in properties and TTL_FIELD in present:
        raise InvalidParameter(
            f"ttl field is already exists, cannot be set collection TTL: drop the property {TTL_FIELD} first"
        )
    if TTL_FIELD in properties and TTL in present:
        raise InvalidParameter(f"collection TTL is already set, cannot be set ttl field: drop the property {TTL} first")
    for doing, names in (("alter", properties), ("delete", removed)):
        for name in names:
            if name == MAX_FIELD_ID:
                raise InvalidParameter(f"cannot {doing} reserved collection property {name}")
            if name in _NAMESPACES:
                raise InvalidParameter(f"cannot {doing} {name} after collection creation")
            if name in _CIPHER:
                raise InvalidParameter("can not alter cipher related properties")
    if DYNAMIC in removed:
        raise InvalidParameter(f"cannot delete key {DYNAMIC}, dynamic field schema could support set to true/false")
    if DYNAMIC in properties and len(properties) > 1:
        raise InvalidParameter("cannot alter dynamic schema with other properties at the same time")


def check_released(names: Iterable[str], doing: str) -> None:
    """Raise `CollectionLoaded` where one of `names` cannot be altered or deleted in a collection that is loaded."""
    name = next((name for name in names if name in LOADING), None)
    if name is not None:
        what = "mmap" if name == MMAP else "warmup" if doing == "alter" else name
        raise CollectionLoaded(f"can not {doing} {what} properties if collection loaded: release it first")


def check_warmup(params: Mapping[str, object]) -> None:
    """Raise `InvalidParameter` for a warmup of a field or an index that is none."""
    value = params.get(WARMUP)
    if value is not None and value not in WARMUP_POLICIES:
        raise InvalidParameter(wrong_warmup(value))


def check_database(properties: Mapping[str, str], removed: Iterable[str] = ()) -> None:
    """Raise `InvalidParameter` unless these may be set in, or taken from, a database."""
    if not _CIPHER.isdisjoint((*properties, *removed)):
        raise InvalidParameter("can not alter cipher related properties")


def wrong_warmup(value: object) -> str:
    return f"invalid warmup policy: {value}, must be 'disable', 'sync' or 'async'"


def _check_flags(properties: Mapping[str, str], schema: Schema) -> None:
    if DYNAMIC in properties and flag(properties[DYNAMIC]) is None:
        raise InvalidParameter(f"invalid dynamic schema property value: {properties[DYNAMIC]}: it is true or false")
    if is_set(properties, ALLOW_AUTO_ID) and not schema.primary.auto_id:
        raise InvalidParameter(f"the value for {ALLOW_AUTO_ID} must be false when autoID is false")


def _check_ttl(properties: Mapping[str, str], schema: Schema) -> None:
    name = properties.get(TTL_FIELD)
    if name is not None:
        field = schema.get(name)
        if field is None:
            raise InvalidParameter(f"ttl field name {name} not found in schema: add the field first")
        if field.dtype is not DataType.TIMESTAMPTZ:
            raise InvalidParameter(f"ttl field must be timestamptz, field name = {name}")
        if TTL in properties:
            raise InvalidParameter("collection TTL and ttl field cannot be set at the same time: choose one of them")
    text = properties.get(TTL)
    if text is None:
        return
    try:
        seconds = int(text)
    except ValueError:
        raise InvalidParameter(
            "collection ttl property value not valid, parse error: collection TTL is not a valid positive integer; "
            f"got {text!r}"
        ) from None
    if not -1 <= seconds <= MAX_TTL_S:
        raise InvalidParameter(f"collection TTL is out of range, expect [-1, {MAX_TTL_S}], got {seconds}")
