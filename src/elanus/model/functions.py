"""Functions of a schema: fields whose values are made of those of other fields.

A function says what it takes and what it makes by the names of fields, as clients do, and lives in the schema as they
do. What it makes is stored like any other column, once, when the row is written; only rows that were written before
the function was added have it made anew when they are read (`text.functions`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class FunctionType(IntEnum):
    """What a function does; the values are the protocol's codes. BM25 makes of a text how often it says each word."""

    BM25 = 1


FIRST_FUNCTION_ID = 100


@dataclass(frozen=True, slots=True)
class Function:
    """`inputs` and `outputs` are names of fields. `id` is 0 until the schema has been given to a collection."""

    name: str
    type: FunctionType
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    id: int = 0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {
            "name": self.name,
            "type": self.type.name,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "params": dict(self.params),
            "description": self.description,
            "id": self.id,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Function:
        lists = {"inputs": tuple(data["inputs"]), "outputs": tuple(data["outputs"])}
        return cls(**{**data, **lists, "type": FunctionType[data["type"]]})
