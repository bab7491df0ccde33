"""Canonical batches, as tests look at them."""

from __future__ import annotations

from typing import Any

from elanus.model.canonical import Batch, sliced


def held_by(batch: Batch) -> dict[int, list[Any]]:
    """The values by field id, as Python has them."""
    return {field_id: batch.arrow(field_id).to_pylist() for field_id in batch.columns}


def part_of(batch: Batch, begin: int, count: int) -> Batch:
    """`count` rows, from `begin` on: views."""
    return Batch({i: sliced(values, begin, count) for i, values in batch.columns.items()}, count)
