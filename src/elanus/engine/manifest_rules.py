"""How `VersionedState` keeps manifests: their edits as JSON, and the rules of `manifest`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from elanus.engine.edits import (
    ConsistencySet,
    Edit,
    FieldAdded,
    FieldAltered,
    FunctionAdded,
    IndexAltered,
    IndexDefined,
    LoadSet,
    PropertiesSet,
    Replaced,
    Sealed,
    Truncated,
    apply,
    rebase,
)
from elanus.engine.manifest import DeleteFile, IndexDefinition, Loaded, Manifest, SegmentEntry
from elanus.model.functions import Function
from elanus.model.schema import Field
from elanus.model.types import Consistency

_EDITS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Edit)}


class ManifestRules:
    """How `VersionedState` reads, writes, applies and rebases manifests; see `StateRules`."""

    def initial(self) -> Manifest:
        return Manifest(schemas=())

    def apply(self, state: Manifest, edit: Edit) -> Manifest:
        return apply(state, edit)

    def rebase(self, edit: Edit, state: Manifest) -> Edit | None:
        return rebase(state, edit)

    def dump_state(self, state: Manifest) -> dict[str, Any]:
        return state.to_dict()

    def load_state(self, data: Mapping[str, Any]) -> Manifest:
        return Manifest.from_dict(data)

    def dump_edit(self, edit: Edit) -> dict[str, Any]:
        out: dict[str, Any] = {"edit": type(edit).__name__}
        match edit:
            case Sealed(segment, deletes, applied_to, sealed_to):
                out |= {
                    "segment": segment and segment.to_dict(),
                    "deletes": {str(i): [file.key, file.rows] for i, file in deletes.items()},
                    "deletes_applied_to": applied_to,
                    "sealed_to": sealed_to,
                }
            case Replaced(inputs, output):
                out |= {"inputs": list(inputs), "output": output and output.to_dict()}
            case IndexDefined(definition):
                out |= {"definition": definition.to_dict()}
            case Truncated(sealed_to):
                out |= {"sealed_to": sealed_to}
            case PropertiesSet(properties, removed):
                out |= {"properties": dict(properties), "removed": list(removed)}
            case IndexAltered(name, params, removed):
                out |= {"name": name, "params": dict(params), "removed": list(removed)}
            case FieldAltered():
                out |= {name: getattr(edit, name) for name in edit.__slots__}
                out |= {"params": dict(edit.params), "removed": list(edit.removed)}
            case FieldAdded(field, timestamp):
                out |= {"field": field.to_dict(), "timestamp": timestamp}
            case FunctionAdded(function, field, definition, timestamp):
                out |= {"function": function.to_dict(), "field": field.to_dict()}
                out |= {"definition": definition.to_dict(), "timestamp": timestamp}
            case ConsistencySet(consistency):
                out |= {"consistency": int(consistency)}
            case LoadSet(loaded):
                out |= {"loaded": loaded and loaded.to_dict()}
            case _:
                out |= {name: getattr(edit, name) for name in edit.__slots__}
        return out

    def load_edit(self, data: Mapping[str, Any]) -> Edit:
        fields = {key: value for key, value in data.items() if key != "edit"}
        kind = _EDITS[data["edit"]]
        if kind is Sealed:
            fields["segment"] = fields["segment"] and SegmentEntry.from_dict(fields["segment"])
            fields["deletes"] = {int(i): DeleteFile(*file) for i, file in fields["deletes"].items()}
        elif kind is Replaced:
            fields["inputs"] = tuple(fields["inputs"])
            fields["output"] = fields["output"] and SegmentEntry.from_dict(fields["output"])
        elif kind is IndexDefined:
            fields["definition"] = IndexDefinition.from_dict(fields["definition"])
        elif kind in (PropertiesSet, IndexAltered, FieldAltered):
            fields["removed"] = tuple(fields["removed"])
        elif kind is FieldAdded:
            fields["field"] = Field.from_dict(fields["field"])
        elif kind is FunctionAdded:
            fields["function"] = Function.from_dict(fields["function"])
            fields["field"] = Field.from_dict(fields["field"])
            fields["definition"] = IndexDefinition.from_dict(fields["definition"])
        elif kind is ConsistencySet:
            fields["consistency"] = Consistency(fields["consistency"])
        elif kind is LoadSet:
            fields["loaded"] = fields["loaded"] and Loaded.from_dict(fields["loaded"])
        made: Edit = kind(**fields)
        return made
