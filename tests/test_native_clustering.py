"""A clustering key: the rows of a sealed segment are sorted by it, and conditions on its order look at no others."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from elanus import Collection, DataType, Elanus, Field, InvalidParameter, Schema
from elanus.model.errors import IllegalSchema, VectorClusteringKey
from elanus.segment.clustering import Span, ranges_of
from tests.native_case import DIM, STATES, bring_to, keys_in, open_folder, vector

VALUES: dict[DataType, Any] = {
    DataType.INT8: lambda n: n - 9,
    DataType.INT64: lambda n: (n - 9) * 10**17,
    DataType.FLOAT: lambda n: n / 2 - 4,
    DataType.DOUBLE: lambda n: (n - 9) * 1e300 / 16,
    DataType.VARCHAR: lambda n: f"é{n:02}",
}


def key_of(dtype: DataType, **more: Any) -> Field:
    length = 32 if dtype is DataType.VARCHAR else None
    return Field("at", dtype, is_clustering_key=True, max_length=length, **more)


def made(folder: Path, *fields: Field) -> tuple[Elanus, Collection]:
    db = open_folder(folder)
    schema = Schema(
        (
            Field("id", DataType.INT64, is_primary=True),
            Field("vector", DataType.FLOAT_VECTOR, dim=DIM),
            Field("size", DataType.INT32),
            *fields,
        )
    )
    return db, db.create_collection("c", schema)


def row(number: int, **values: Any) -> dict[str, Any]:
    return {"id": number, "vector": vector(number), "size": number % 7, **values}


def literal(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else repr(value)


@pytest.mark.parametrize("dtype", VALUES)
@pytest.mark.parametrize("state", STATES)
def test_conditions_on_the_order_mean_the_same_in_every_state(tmp_path: Path, state: str, dtype: DataType) -> None:
    value_of = VALUES[dtype]
    db, collection = made(tmp_path / "db", key_of(dtype, nullable=True))
    collection.create_partition("other")
    rng = np.random.default_rng(3)
    numbers = rng.integers(0, 18, 400)
    rows = [row(i, at=None if i % 11 == 0 else value_of(int(n))) for i, n in enumerate(numbers)]
    collection.insert(rows[:250])
    db, collection = bring_to(state, db, collection, tmp_path / "db")
    collection.insert(rows[250:], partition="other")
    collection.delete(filter="size == 3")
    db, collection = bring_to(state, db, collection, tmp_path / "db")
    there = {r["id"]: r for r in rows if r["size"] != 3}

    def expected(passes: Any) -> list[int]:
        return sorted(i for i, r in there.items() if r["at"] is not None and passes(r))

    low, high = value_of(4), value_of(13)
    bounds = literal(low), literal(high)
    assert keys_in(collection, f"at >= {bounds[0]}") == expected(lambda r: r["at"] >= low)
    assert keys_in(collection, f"at < {bounds[1]}") == expected(lambda r: r["at"] < high)
    assert keys_in(collection, f"at == {bounds[0]}") == expected(lambda r: r["at"] == low)
    assert keys_in(collection, f"{bounds[0]} < at <= {bounds[1]}") == expected(lambda r: low < r["at"] <= high)
    assert keys_in(collection, f"at > {bounds[1]} and at < {bounds[0]}") == []
    assert keys_in(collection, f"at > {bounds[0]} and at >= {bounds[1]} and size != 5") == expected(
        lambda r: r["at"] >= high and r["size"] != 5
    )
    assert keys_in(collection, f"at <= {bounds[0]} and size == 2") == expected(
        lambda r: r["at"] <= low and r["size"] == 2
    )
    assert keys_in(collection, f"at < {bounds[0]} or size == 2") == sorted(
        {*expected(lambda r: r["at"] < low), *(i for i, r in there.items() if r["size"] == 2)}
    )
    assert keys_in(collection, f"not (at < {bounds[0]})") == expected(lambda r: r["at"] >= low)
    assert keys_in(collection, "at is null") == sorted(i for i, r in there.items() if r["at"] is None)
    assert keys_in(collection, f"at >= {bounds[0]}", partitions=["other"]) == [
        i for i in expected(lambda r: r["at"] >= low) if i >= 250
    ]
    nearest = collection.search([vector(0)], limit=400, filter=f"at > {bounds[0]} and size < 2", metric="L2")
    assert sorted(hit["id"] for hit in nearest[0]) == expected(lambda r: r["at"] > low and r["size"] < 2)
    db.close()


def test_sealed_rows_are_sorted_by_it_within_their_partition_and_tenant(tmp_path: Path) -> None:
    db, collection = made(
        tmp_path / "db", key_of(DataType.INT64), Field("tenant", DataType.INT64, is_partition_key=True)
    )
    rng = np.random.default_rng(5)
    rows = [row(i, at=int(rng.integers(0, 50)), tenant=int(rng.integers(0, 6))) for i in range(300)]
    collection.insert(rows)
    collection.flush()
    inner = db._instance.collection(db._ctx, "c")
    (unit,) = inner.snapshot().sealed
    columns = [unit.view.partitions.tolist()]
    columns += [unit.view.column(inner.schema.field(name).id).to_pylist() for name in ("tenant", "at", "id")]
    order = list(zip(*columns, strict=True))
    assert all(a <= b for a, b in pairwise(order))
    mine = sorted(r["id"] for r in rows if r["tenant"] == 2 and 10 < r["at"] < 40)
    assert keys_in(collection, "tenant == 2 and 10 < at < 40") == mine
    assert keys_in(collection, "10 < at < 40") == sorted(r["id"] for r in rows if 10 < r["at"] < 40)
    db.close()


def test_a_key_that_was_added_later_holds_for_the_segments_that_follow(tmp_path: Path) -> None:
    db, collection = made(tmp_path / "db")
    collection.insert([row(i) for i in range(20)])
    collection.flush()
    collection.add_field(key_of(DataType.INT64, nullable=True, default=5))
    collection.insert([row(i, at=40 - i) for i in range(20, 40)])
    collection.flush()
    for _ in range(2):
        assert keys_in(collection, "at >= 4 and at < 9") == [*range(20), *range(32, 37)]
        assert keys_in(collection, "at > 5") == list(range(20, 35))
        collection.compact()
    with pytest.raises(InvalidParameter, match="already has another clustering key field"):
        collection.add_field(Field("more", DataType.INT64, nullable=True, is_clustering_key=True))
    with pytest.raises(InvalidParameter, match="cannot drop clustering key field: at"):
        collection.drop_field("at")
    db.close()


def test_what_cannot_be_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IllegalSchema, match="more than one clustering key, field name = at, too") as raised:
        made(tmp_path / "a", key_of(DataType.INT8), Field("too", DataType.INT8, is_clustering_key=True))
    assert raised.value.code == 105
    for dtype in (DataType.BOOL, DataType.JSON):
        with pytest.raises(IllegalSchema, match="clustering key field at has unsupported data type"):
            made(tmp_path / dtype.name, key_of(dtype))
    with pytest.raises(VectorClusteringKey) as vectors:
        made(tmp_path / "v", Field("at", DataType.FLOAT_VECTOR, dim=4, is_clustering_key=True))
    assert vectors.value.code == 107


def test_a_span_is_found_without_a_look_at_other_rows() -> None:
    column = pa.array([*range(50), None, *range(20, 40), None, None], pa.int64())
    runs = [(0, 51), (51, 73)]
    assert ranges_of(column, Span().within(">=", 30), runs) == [(30, 50), (61, 71)]
    assert ranges_of(column, Span().within(">", 30).within("<=", 32).within(">=", 30), runs) == [(31, 33), (62, 64)]
    assert ranges_of(column, Span().within("<", 20), runs) == [(0, 20)]
    assert ranges_of(column, Span().within("==", 7).within(">", 7), runs) == []
