"""Fields of a collection that is there already: what of them may be altered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from elanus.engine.manifest import FieldAltered
from elanus.model.errors import CollectionLoaded, InvalidParameter
from elanus.model.schema import check_field
from elanus.model.types import DataType
from elanus.service.context import RequestContext
from elanus.service.instance import Instance

MAX_LENGTH = "max_length"
DESCRIPTION = "field.description"

LOADING = frozenset({"mmap.enabled", "warmup"})
"""Parameters that say how Milvus loads a field. Elanus maps all files and keeps these for clients."""

ALTERABLE = frozenset({MAX_LENGTH, DESCRIPTION}) | LOADING


def alter(
    ctx: RequestContext,
    instance: Instance,
    collection: str,
    field: str,
    params: Mapping[str, str],
    removed: Sequence[str] = (),
) -> None:
    """Set some of the `ALTERABLE` parameters of `field`, or take away some of `LOADING`. Rows stay as they are.

    A shorter `max_length` holds for rows to come. Raises `InvalidParameter` for other parameters and a field that is
    not there, `CollectionNotFound`, and `CollectionLoaded` for `LOADING` while clients have the collection loaded.
    """
    found = instance.collection(ctx, collection)
    for key in (*(key for key in params if key not in ALTERABLE), *(key for key in removed if key not in LOADING)):
        raise InvalidParameter(f"{key} does not allow update in collection field param: {field} keeps its own")
    with found.commit_mutex:
        altered = found.schema.get(field)
        if altered is None or altered.is_dynamic:
            raise InvalidParameter(f"field {field} does not exist in collection {collection}")
        if not LOADING.isdisjoint((*params, *removed)) and found.manifest.loaded is not None:
            raise CollectionLoaded(
                f"can not alter collection field properties if collection loaded[collection={collection}]: "
                "release it first"
            )
        max_length = _length(altered.dtype, params[MAX_LENGTH]) if MAX_LENGTH in params else None
        if max_length is not None:
            check_field(replace(altered, max_length=max_length))
        kept = {key: value for key, value in params.items() if key in LOADING}
        found.commit_locked(FieldAltered(altered.id, max_length, params.get(DESCRIPTION), kept, tuple(removed)))


def _length(dtype: DataType, text: str) -> int:
    if dtype is not DataType.VARCHAR:
        raise InvalidParameter(f"can not modify the maxlength for non-string types: it holds {dtype.name}")
    try:
        return int(text)
    except ValueError:
        raise InvalidParameter(f"{MAX_LENGTH} should be an integer; got {text!r}") from None
