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

from elanus.model.types import Metric


class FunctionType(IntEnum):
    """What a function makes of a text; the values are the protocol's codes. BM25: how often it says each word; MINHASH:
    bits that are like those of texts with much in common.
    """

    BM25 = 1
    MINHASH = 4

    @property
    def title(self) -> str:
        """As Milvus's messages call it."""
        return "BM25" if self is FunctionType.BM25 else "MinHash"


METRIC_OF = {FunctionType.BM25: Metric.BM25, FunctionType.MINHASH: Metric.MHJACCARD}
"""By what the vectors are compared that functions make."""

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
