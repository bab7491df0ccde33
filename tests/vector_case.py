"""Rows with a vector of every type, and their scores by definition, in float64 and without Elanus."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from elanus import DataType, Field, Schema
from elanus.model.types import METRICS_OF, Metric

DIM = 24

TYPE_OF = {
    "single": DataType.FLOAT_VECTOR,
    "half": DataType.FLOAT16_VECTOR,
    "brain": DataType.BFLOAT16_VECTOR,
    "small": DataType.INT8_VECTOR,
    "bits": DataType.BINARY_VECTOR,
    "sparse": DataType.SPARSE_FLOAT_VECTOR,
}
"""A field of each type."""

CASES = [(name, metric) for name, dtype in TYPE_OF.items() for metric in METRICS_OF[dtype]]

Values = dict[str, Any]


def vector_field(name: str, nullable: bool = False) -> Field:
    dtype = TYPE_OF[name]
    return Field(name, dtype, dim=None if dtype is DataType.SPARSE_FLOAT_VECTOR else DIM, nullable=nullable)


def schema(nullable: bool) -> Schema:
    key = Field("id", DataType.INT64, is_primary=True)
    return Schema((key, Field("n", DataType.INT64), *(vector_field(name, nullable) for name in TYPE_OF)))


def value(name: str, rng: np.random.Generator) -> Any:
    """A vector for a field, such that both types of half-width floats have its numbers; equal ones come up often."""
    if name == "small":
        return rng.integers(-128, 128, DIM).tolist()
    if name == "bits":
        return np.packbits(rng.random(DIM) < rng.choice([0.0, 0.2, 0.6])).tobytes()
    if name == "sparse":
        indexes = rng.choice([*range(12), 2**31, 2**32 - 2], rng.integers(0, 7), replace=False)
        return {int(index): float(rng.integers(0, 9)) / 4 for index in indexes}
    return (rng.integers(-8, 9, DIM) / 4).tolist()


def rows(numbers: Any, rng: np.random.Generator, null_share: float = 0.0) -> list[Values]:
    return [
        {"id": number, "n": number % 5}
        | {name: None if rng.random() < null_share else value(name, rng) for name in TYPE_OF}
        for number in numbers
    ]


def score(metric: Metric, query: Any, vector: Any) -> float | None:
    """The score of `vector`; None where it is no hit."""
    if isinstance(query, dict):
        product = sum(weight * vector.get(index, 0.0) for index, weight in query.items())
        return product if product > 0 else None
    if isinstance(query, bytes):
        q, v = int.from_bytes(query), int.from_bytes(vector)
        match metric:
            case Metric.HAMMING:
                return (q ^ v).bit_count()
            case Metric.JACCARD:
                return 1 - (q & v).bit_count() / ((q | v).bit_count() or 1)
            case Metric.SUBSTRUCTURE:
                return 0.0 if q & v == q else None
            case _:
                return 0.0 if q & v == v else None
    a, b = np.array(query, np.float64), np.array(vector, np.float64)
    match metric:
        case Metric.L2:
            return float(((a - b) ** 2).sum())
        case Metric.IP:
            return float(a @ b)
        case _:
            lengths = math.sqrt(float(a @ a) * float(b @ b))
            return float(a @ b) / lengths if lengths else 0.0


def ranking(metric: Metric, name: str, query: Any, held: list[Values]) -> list[tuple[float, int]]:
    """(score, key) of all hits, nearest first, of equal ones the smallest key first."""
    found = [(score(metric, query, row[name]), row["id"]) for row in held if row[name] is not None]
    hits = [(s, key) for s, key in found if s is not None]
    sign = -1 if metric.larger_is_nearer else 1
    return sorted(hits, key=lambda hit: (sign * np.float32(hit[0]), hit[1]))
