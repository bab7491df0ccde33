"""Properties of a collection: text by name, for settings that may change while it lives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from elanus.model.errors import CollectionLoaded, InvalidParameter
from elanus.model.types import Consistency
from elanus.service import fields
from elanus.service.context import RequestContext
from elanus.service.instance import Instance

LOADING = frozenset(
    {"mmap.enabled", "warmup.scalarField", "warmup.scalarIndex", "warmup.vectorField", "warmup.vectorIndex"}
)
"""Properties that say how Milvus loads a collection. Elanus maps all files and keeps these for clients."""

CONSISTENCY = "consistency_level"
"""The property by which clients alter the level; it is kept apart from the others, as it is told apart."""

DYNAMIC = "dynamicfield.enabled"
"""The property by which rows are let carry keys that are no fields; it is a matter of the schema."""

FIXED = frozenset({"on_duplicate_key"})
"""Given when the collection is made, and never changed: what is stored has been written by it."""


def alter(
    ctx: RequestContext,
    instance: Instance,
    collection: str,
    properties: Mapping[str, str] | None = None,
    removed: Sequence[str] = (),
) -> None:
    """Set properties or take some away, one of the two.

    Raises `InvalidParameter`, `CollectionNotFound`, and `CollectionLoaded` for `LOADING` while clients have it loaded.
    """
    if bool(properties) == bool(removed):
        raise InvalidParameter("alter collection needs properties to set or keys to delete: send one of them, not both")
    given = dict(properties or {})
    check(given)
    found = instance.collection(ctx, collection)
    how_loaded = [key for key in (*given, *removed) if key in LOADING]
    if how_loaded and found.manifest.loaded is not None:
        raise CollectionLoaded(
            f"can not alter {how_loaded[0].split('.')[0]} properties if collection loaded[collection={collection}]: "
            "release it first"
        )
    dynamic = given.pop(DYNAMIC, None)
    if dynamic is not None:
        if dynamic.lower() not in ("true", "false"):
            raise InvalidParameter(f"{DYNAMIC} is true or false; got {dynamic!r}")
        fields.set_dynamic(ctx, instance, collection, enabled=dynamic.lower() == "true")
    level = given.pop(CONSISTENCY, None)
    if level is not None:
        found.set_consistency(consistency_named(level))
    if given or removed:
        found.set_properties(given, tuple(removed))


def consistency_named(text: str) -> Consistency:
    """The level that a property names, by name or number. Raises `InvalidParameter`."""
    try:
        return Consistency(int(text)) if text.isdigit() else Consistency[text.upper()]
    except (KeyError, ValueError):
        known = ", ".join(level.name.title() for level in Consistency)
        raise InvalidParameter(f"invalid consistency level: {text}: choose one of {known}") from None


def get(ctx: RequestContext, instance: Instance, collection: str) -> dict[str, str]:
    return dict(instance.collection(ctx, collection).manifest.properties)


def check(properties: Mapping[str, str]) -> None:
    """Raise `InvalidParameter` unless names and values are text and none is fixed."""
    for name, value in properties.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidParameter(f"properties are text by name; got {value!r} for {name!r}. Send str(value).")
        if name in FIXED:
            raise InvalidParameter(f"{name} cannot be altered: make a new collection with it and move the rows")
