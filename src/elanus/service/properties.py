"""Properties of a collection: text by name, for settings that may change while it lives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from elanus.engine.manifest import Manifest
from elanus.model import properties as rules
from elanus.model.errors import IndexExists, InvalidParameter
from elanus.model.types import Consistency
from elanus.service import fields, timezones
from elanus.service.context import RequestContext
from elanus.service.instance import Instance


def alter(
    ctx: RequestContext,
    instance: Instance,
    collection: str,
    properties: Mapping[str, str] | None = None,
    removed: Sequence[str] = (),
) -> None:
    """Set properties or take some away, one of the two.

    Raises `InvalidParameter`, `IllegalSchema`, `CollectionNotFound`; `CollectionLoaded` for what says how it is loaded
    while clients have it loaded, and `IndexExists` for what an index of vectors depends on.
    """
    if not (properties or removed):
        raise InvalidParameter("no properties or delete keys provided: name properties to set, or keys to delete")
    if properties and removed:
        raise InvalidParameter("cannot provide both DeleteKeys and ExtraParams: send one of them")
    given = dict(properties or {})
    found = instance.collection(ctx, collection)
    rules.check_altered(given, removed, found.schema, found.manifest.properties)
    timezones.check(given)
    level = given.pop(rules.CONSISTENCY, None)
    consistency = consistency_named(level) if level is not None else None
    if found.manifest.loaded is not None:
        rules.check_released(given, "alter")
        rules.check_released(removed, "delete")
    _check_indexes(found.manifest, given, removed)
    dynamic = given.pop(rules.DYNAMIC, None)
    if dynamic is not None:
        fields.set_dynamic(ctx, instance, collection, enabled=rules.flag(dynamic) is True)
    if consistency is not None:
        found.set_consistency(consistency)
    description = given.pop(rules.DESCRIPTION, None)
    if description is not None:
        found.set_description(description)
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


def _check_indexes(manifest: Manifest, given: Mapping[str, str], removed: Sequence[str]) -> None:
    """Raise `IndexExists` where what would change is a matter of an index that is there."""
    indexed = next((d for d in manifest.indexes.values() if d.metric is not None), None)
    if indexed is None:
        return
    after = {name: value for name, value in manifest.properties.items() if name not in removed}
    after |= given
    before, after_isolation = (rules.is_set(properties, rules.ISOLATION) for properties in (manifest.properties, after))
    for name, changes in (
        ("partition key isolation mode", before != after_isolation),
        (rules.QUERY_MODE, manifest.properties.get(rules.QUERY_MODE) != after.get(rules.QUERY_MODE)),
    ):
        if changes:
            raise IndexExists(
                f"can not alter {name} if the collection already has a vector index. Please drop the index first"
                f"[indexName={indexed.name}]"
            )
