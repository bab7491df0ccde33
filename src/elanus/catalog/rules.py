"""The catalog's versions as JSON, for `store.versioned.VersionedState`.

state  {"epoch", "last_id", "databases": [{"name", "id", "created", "properties",
        "collections": [[name, id, created], …], "aliases": {alias: collection}}, …]}
edit   {"edit": class name, field: value, …}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from elanus.catalog import state as catalog
from elanus.catalog.state import CatalogState, CollectionEntry, Database, Edit

_EDITS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Edit)}


class CatalogRules:
    """See `StateRules`."""

    def initial(self) -> CatalogState:
        return catalog.initial()

    def apply(self, state: CatalogState, edit: Edit) -> CatalogState:
        return catalog.apply(state, edit)

    def rebase(self, edit: Edit, state: CatalogState) -> Edit | None:
        return catalog.rebase(edit, state)

    def dump_state(self, state: CatalogState) -> dict[str, Any]:
        return {
            "epoch": state.epoch,
            "last_id": state.last_id,
            "dropped": [list(item) for item in state.dropped.items()],
            "databases": [
                {
                    "name": d.name,
                    "id": d.id,
                    "created": d.created,
                    "properties": dict(d.properties),
                    "collections": [[entry.name, entry.id, entry.created] for entry in d.collections.values()],
                    "aliases": dict(d.aliases),
                }
                for d in state.databases.values()
            ],
        }

    def load_state(self, data: Mapping[str, Any]) -> CatalogState:
        databases = [
            Database(**{**d, "collections": {name: CollectionEntry(name, *rest) for name, *rest in d["collections"]}})
            for d in data["databases"]
        ]
        return CatalogState(**{**data, "databases": {d.name: d for d in databases}, "dropped": dict(data["dropped"])})

    def dump_edit(self, edit: Edit) -> dict[str, Any]:
        return {"edit": type(edit).__name__, **{name: getattr(edit, name) for name in edit.__slots__}}

    def load_edit(self, data: Mapping[str, Any]) -> Edit:
        fields = {key: tuple(v) if isinstance(v, list) else v for key, v in data.items() if key != "edit"}
        made: Edit = _EDITS[data["edit"]](**fields)
        return made
