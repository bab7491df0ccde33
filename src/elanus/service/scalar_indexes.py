"""Indexes of scalar fields: which kinds fit which fields.

Filters need no index to be right. A definition is checked as Milvus checks it, kept, and told again; what is built
for it is a matter of `scalar.registry`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elanus.engine.manifest import JSON_PATH, IndexDefinition
from elanus.model.errors import InvalidParameter, MissingParameter
from elanus.model.names import check_name
from elanus.model.schema import Field
from elanus.model.types import FLOATS, INTEGERS, TYPE_NAMES, DataType
from elanus.scalar import paths
from elanus.scalar.registry import JSON_CAST_TYPE
from elanus.vector.registry import IndexKind

JSON_CAST_FUNCTION = "json_cast_function"

NEVER_MAPPED = frozenset({"STL_SORT"})
"""Kinds that Milvus maps no file of, so that `mmap.enabled` is an error. Here every index file is mapped."""

AUTO = "AUTOINDEX"

_SCALARS = frozenset({DataType.BOOL, *INTEGERS, *FLOATS, DataType.VARCHAR, DataType.JSON})

_FIELDS_OF: dict[str, frozenset[DataType]] = {
    "INVERTED": _SCALARS | {DataType.ARRAY},
    "BITMAP": frozenset({DataType.BOOL, *INTEGERS, DataType.VARCHAR, DataType.JSON, DataType.ARRAY}),
    "STL_SORT": frozenset({*INTEGERS, *FLOATS, DataType.VARCHAR, DataType.JSON, DataType.TIMESTAMPTZ}),
    "Trie": frozenset({DataType.VARCHAR}),
    "NGRAM": frozenset({DataType.VARCHAR, DataType.JSON}),
    "RTREE": frozenset({DataType.GEOMETRY}),
    AUTO: _SCALARS | {DataType.TIMESTAMPTZ, DataType.ARRAY, DataType.GEOMETRY},
}

_REFUSALS = {
    "INVERTED": "INVERTED are not supported on {type} field",
    "BITMAP": "bitmap index are only supported on bool, int, string and array field",
    "STL_SORT": "STL_SORT are only supported on numeric, varchar or timestamptz field, got {type}",
    "Trie": "TRIE are only supported on varchar field",
    "NGRAM": "ngram index can only be created on VARCHAR or JSON field",
    "RTREE": "RTREE index can only be built on geometry field",
    AUTO: "create auto index on type:{type} is not supported",
}

_CASTS_OF: dict[str, frozenset[str]] = {
    "INVERTED": frozenset({"BOOL", "DOUBLE", "VARCHAR", "ARRAY_BOOL", "ARRAY_DOUBLE", "ARRAY_VARCHAR", "JSON"}),
    "BITMAP": frozenset({"BOOL", "VARCHAR"}),
    "STL_SORT": frozenset({"DOUBLE", "VARCHAR"}),
    "NGRAM": frozenset({"VARCHAR"}),
}
_CASTS_OF[AUTO] = frozenset({"BOOL", "DOUBLE", "VARCHAR", "JSON"})
"""Which cast types each kind takes."""


def define(field: Field, asked_for: str, kind: str, params: Mapping[str, Any], name: str) -> IndexDefinition:
    """The definition of a scalar index on `field`, which was asked for as `asked_for` (a dynamic key names `$meta`).

    Raises `InvalidParameter` for a kind that does not exist or does not fit, `MissingParameter` for JSON without a
    cast type.
    """
    if field.dtype is DataType.TEXT:
        raise InvalidParameter("TEXT field does not support user-created scalar index: declare it with enable_match")
    kind = "Trie" if kind.upper() == "TRIE" else kind or AUTO
    if kind != AUTO and kind in set(IndexKind):
        raise InvalidParameter(f"index {kind} only supports vector data type; {field.name} is no vector")
    if kind not in _FIELDS_OF:
        raise InvalidParameter(f"invalid parameter[expected=valid index][actual=invalid index type: {kind}]")
    if kind == "BITMAP" and field.is_primary:
        raise InvalidParameter("create bitmap index on primary key not supported")
    if kind == "BITMAP" and field.element in FLOATS:
        raise InvalidParameter("bitmap index are only supported on bool, int, string for array field")
    if field.dtype not in _FIELDS_OF[kind]:
        raise InvalidParameter(_REFUSALS[kind].format(type=TYPE_NAMES[field.dtype]))
    given = dict(params)
    if field.dtype is DataType.JSON:
        _check_json(kind, given)
        _check_path(field, str(given.setdefault(JSON_PATH, asked_for)))
    if kind == "NGRAM":
        _check_grams(given)
    if name:
        check_name(name, "index")
    return IndexDefinition(name or _default_name(field, asked_for, given), field.id, kind, None, given)


def _default_name(field: Field, asked_for: str, params: Mapping[str, Any]) -> str:
    """The field's name, and for a path below it that path: each path has an index of its own."""
    parsed = paths.parse(str(params.get(JSON_PATH, "")))
    below = "".join(f"/{step}" for step in parsed[1]) if parsed is not None else ""
    return f"{field.name}/{asked_for}{below}" if field.is_dynamic else asked_for + below


def _check_json(kind: str, params: dict[str, Any]) -> None:
    cast = str(params.get(JSON_CAST_TYPE, "")).strip().upper()
    if kind == "NGRAM" and cast != "VARCHAR":
        if not cast:
            raise MissingParameter("JSON field with ngram index must specify json_cast_type")
        raise InvalidParameter(f"JSON field with ngram index only supports VARCHAR cast type, got: {cast}")
    if not cast:
        raise MissingParameter("json index must specify cast type: missing parameter[missing_param=json_cast_type]")
    if cast not in _CASTS_OF[kind]:
        where = {"INVERTED": "", AUTO: " for HYBRID index"}.get(kind, f" for {kind} index")
        raise InvalidParameter(f"json_cast_type {cast} is not supported{where}")
    params[JSON_CAST_TYPE] = cast
    if kind == "INVERTED" and JSON_CAST_FUNCTION in params:
        function = params[JSON_CAST_FUNCTION] = str(params[JSON_CAST_FUNCTION]).strip().upper()
        if function != "STRING_TO_DOUBLE":
            raise InvalidParameter(f"json_cast_function {function} is not supported")
        if cast != "DOUBLE":
            raise InvalidParameter(f"json_cast_function {function} is not supported for json_cast_type {cast}")


def _check_path(field: Field, path: str) -> None:
    """Raise `InvalidParameter` unless `path` is a path within `field`."""
    parsed = paths.parse(path)
    if parsed is None:
        wrong = "mismatched input '/'" if path.startswith("/") else f"cannot parse identifier: {path}"
        raise InvalidParameter(f"{wrong}: a JSON path is a name and keys or places behind it, as in a['b'][0]")
    if not field.is_dynamic and parsed[0] != field.name:
        raise InvalidParameter(
            f"fieldID not match with field name: json_path {path} begins with {parsed[0]}, the field is {field.name}"
        )


def _check_grams(params: Mapping[str, Any]) -> None:
    if "min_gram" not in params or "max_gram" not in params:
        raise MissingParameter("Ngram index must specify both min_gram and max_gram")
    sizes = []
    for key in ("min_gram", "max_gram"):
        try:
            sizes.append(int(params[key]))
        except (TypeError, ValueError):
            raise InvalidParameter(f"{key} for Ngram index must be an integer, got: {params[key]}") from None
    low, high = sizes
    if not 0 < low <= high:
        raise InvalidParameter(f"invalid min_gram or max_gram value for Ngram index, min_gram: {low}, max_gram: {high}")
