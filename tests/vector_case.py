"""Rows with a vector of every type, and their scores by definition, in float64 and without Elanus."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from elanus import Collection, DataType, Field, Schema, to_rows
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
            case Metric.MHJACCARD:  # 24 bits are no hashes of 32: bytes are compared
                return sum(a == b for a, b in zip(query, vector, strict=True)) / len(query) or None
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


def check(collection: Collection, held: dict[int, Any], seed: int, k: int = 12) -> None:
    """Every row is read as it was written, and found with the score and in the order that the definition says."""
    expected = [held[key] for key in sorted(held)]
    assert to_rows(collection.query()) == expected
    assert collection.count() == len(expected)
    rng = np.random.default_rng(seed)
    for name, metric in CASES:
        queries = [value(name, rng) for _ in range(2)]
        for filter_, some in (("", expected), ("n != 3", [row for row in expected if row["n"] != 3])):
            found = collection.search(queries, field=name, metric=metric, limit=k, offset=1, filter=filter_)
            for query, hits in zip(queries, found, strict=True):
                right = ranking(metric, name, query, some)[1 : k + 1]
                assert hits.scores == pytest.approx([score for score, _ in right], rel=1e-5, abs=1e-6), (name, metric)
                if name not in ("single", "half", "brain") or metric is not Metric.COSINE:
                    # Cosines that are equal may differ in their last bit.
                    assert hits.keys.tolist() == [key for _, key in right], (name, metric)
