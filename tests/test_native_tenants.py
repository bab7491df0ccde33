"""A partition key: each tenant's rows are in one partition, lie together, and are found without looking at others'."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elanus import Collection, DataType, Elanus, Field, InvalidParameter, Schema
from elanus.model.layout import layout
from elanus.segment.tenants import partitions_of, ranges_of
from elanus.segment.text_bounds import bound
from tests.native_case import DIM, STATES, bring_to, keys_in, open_folder, vector, vectors

TYPES = {DataType.INT64: lambda n: n * 1_000_003 - 5, DataType.VARCHAR: lambda n: f"tenant {n} ü"}


def schema_of(dtype: DataType) -> Schema:
    return Schema(
        (
            Field("id", DataType.INT64, is_primary=True),
            Field("vector", DataType.FLOAT_VECTOR, dim=DIM),
            Field("tenant", dtype, is_partition_key=True, max_length=32 if dtype is DataType.VARCHAR else None),
            Field("size", DataType.INT32),
        )
    )


def quoted(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


def row(number: int, tenant: Any, size: int = 0) -> dict[str, Any]:
    return {"id": number, "vector": vector(number), "tenant": tenant, "size": size}


def made(folder: Path, dtype: DataType = DataType.INT64, **more: Any) -> tuple[Elanus, Collection]:
    db = open_folder(folder)
    return db, db.create_collection("c", schema_of(dtype), **more)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("state", STATES)
def test_reads_of_tenants_find_their_rows_in_every_state(tmp_path: Path, state: str, dtype: DataType) -> None:
    name_of = TYPES[dtype]
    db, collection = made(tmp_path / "db", dtype, num_partitions=4)
    rng = np.random.default_rng(7)
    tenants = rng.integers(0, 20, 300)
    collection.insert([row(n, name_of(int(t)), n % 5) for n, t in enumerate(tenants)])
    db, collection = bring_to(state, db, collection, tmp_path / "db")
    collection.insert([row(n, name_of(n % 20), 1) for n in range(300, 340)])
    collection.upsert([row(n, name_of(3), 9) for n in range(0, 300, 50)])
    collection.delete(filter=f"tenant == {quoted(name_of(5))} and size == 2")
    db, collection = bring_to(state, db, collection, tmp_path / "db")
    of = {n: int(t) for n, t in enumerate(tenants)} | {n: n % 20 for n in range(300, 340)}
    size = {n: n % 5 for n in range(300)} | dict.fromkeys(range(300, 340), 1)
    of |= dict.fromkeys(range(0, 300, 50), 3)
    size |= dict.fromkeys(range(0, 300, 50), 9)
    gone = [n for n in of if of[n] == 5 and size[n] == 2]
    for n in gone:
        del of[n]
    assert gone
    for t in (*range(20), 77):
        mine = sorted(n for n in of if of[n] == t)
        condition = f"tenant == {quoted(name_of(t))}"
        assert keys_in(collection, condition) == mine
        assert collection.count(f"size == 1 and {condition}") == sum(size[n] == 1 for n in mine)
        assert keys_in(collection, f"{condition} and id in [1, 2, 3, 301]") == [n for n in mine if n in (1, 2, 3, 301)]
        nearest = sorted(mine, key=lambda n: (n - 150) ** 2)[:3]
        (hits,) = collection.search(vectors([150.1]), limit=3, filter=condition, metric="L2")
        assert {hit["id"] for hit in hits} == set(sorted(mine, key=lambda n: abs(n - 150.1))[:3])
        assert len(hits) == len(nearest)
    some = ", ".join(quoted(name_of(t)) for t in (3, 4, 3, 99))
    assert keys_in(collection, f"tenant in [{some}]") == sorted(n for n in of if of[n] in (3, 4))
    assert keys_in(collection, f"not (tenant in [{some}])") == sorted(n for n in of if of[n] not in (3, 4))
    either = f"tenant == {quoted(name_of(3))} or size == 4"
    assert keys_in(collection, either) == sorted(n for n in of if of[n] == 3 or size[n] == 4)
    assert keys_in(collection, limit=7) == sorted(of)[:7]
    assert collection.count() == len(of)
    db.close()


@pytest.mark.parametrize("dtype", TYPES)
def test_a_tenants_rows_lie_together_in_one_partition(tmp_path: Path, dtype: DataType) -> None:
    name_of = TYPES[dtype]
    db, collection = made(tmp_path / "db", dtype)
    names = collection.list_partitions()
    assert names == [f"_default_{n}" for n in range(16)]
    collection.insert([row(n, name_of(n % 50)) for n in range(2_000)])
    collection.compact()
    collection.flush()
    (unit,) = db._instance.collection(db._ctx, "c").snapshot().sealed
    held = unit.view.column(collection.schema.field("tenant").id).to_pylist()
    runs = 1 + sum(a != b for a, b in pairwise(held))
    assert runs == 50
    assert len(set(zip(held, unit.view.partitions.tolist(), strict=True))) == 50
    assert len(set(unit.view.partitions.tolist())) > 10
    db.close()


def test_where_a_tenant_is_never_changes() -> None:
    """These numbers are in files."""
    assert partitions_of(np.array([0, 1, -1, 2**63 - 1, -(2**63)]), 16).tolist() == [11, 15, 14, 12, 1]
    assert partitions_of(pa.array(["", "a", "ü", "x" * 300], pa.large_string()), 16).tolist() == [1, 14, 16, 6]


def test_tenants_are_found_in_sorted_runs() -> None:
    column = pa.array([1, 1, 4, 9, 0, 4, 4, 7])
    runs = [(0, 4), (4, 8)]
    assert ranges_of(column, pa.array([4, 9, 5, 4]), runs) == [(2, 3), (3, 4), (5, 7)]
    assert ranges_of(column, pa.array([4]), runs[1:]) == [(5, 7)]
    assert ranges_of(column, pa.array([], pa.int64()), runs) == []
    texts = pa.array(["", "a", "ab", "z", "ÿ", "\U0001f600", "a", "a", "b"], pa.large_string())
    some = pa.array(["a", "\U0001f600", "c", ""], pa.large_string())
    assert ranges_of(texts, some, [(0, 6), (6, 9)]) == [(0, 1), (1, 2), (5, 6), (6, 8)]
    assert ranges_of(texts[1:], some[:1], [(0, 5)]) == [(0, 1)]


@given(st.lists(st.text("ab\u00ff\U0001f600", max_size=3)), st.text("ab\u00ff\U0001f600", max_size=3))
def test_bounds_of_texts_are_those_of_a_sorted_list(texts: list[str], text: str) -> None:
    ordered = sorted(t.encode() for t in texts)
    laid_out = layout(pa.array(ordered, pa.large_binary()))
    wanted = np.frombuffer(text.encode(), np.uint8)
    for start in (0, len(ordered) // 2):
        for behind, found in ((False, bisect_left), (True, bisect_right)):
            got = bound(*laid_out, wanted, start, len(ordered), behind)
            assert got == found(ordered, text.encode(), start, len(ordered))


KINDS = {
    "nullable": ("HNSW", "L2"),
    "half": ("FLAT", "COSINE"),
    "bits": ("BIN_FLAT", "HAMMING"),
    "sparse": ("SPARSE_INVERTED_INDEX", "IP"),
}


def test_searches_of_a_tenant_are_those_of_any_filter(tmp_path: Path) -> None:
    """Whatever the vectors and however large the tenant: as with a field of the same values that says no place."""
    fields = (
        Field("id", DataType.INT64, is_primary=True),
        Field("tenant", DataType.VARCHAR, is_partition_key=True, max_length=16),
        Field("same", DataType.VARCHAR, max_length=16),
        Field("nullable", DataType.FLOAT_VECTOR, dim=DIM, nullable=True),
        Field("half", DataType.FLOAT16_VECTOR, dim=DIM),
        Field("bits", DataType.BINARY_VECTOR, dim=16),
        Field("sparse", DataType.SPARSE_FLOAT_VECTOR),
    )
    rng = np.random.default_rng(1)
    db = open_folder(tmp_path / "db")
    collection = db.create_collection("c", Schema(fields), num_partitions=2)
    rows = []
    for n in range(6_000):
        name = f"t{n % 8}" if n % 3 else "large"
        dense = (rng.integers(0, 9, DIM) / 4).astype(np.float32)  # scores that are often equal
        row = {"id": n, "tenant": name, "same": name, "nullable": dense if n % 7 else None, "half": dense}
        rows.append(row | {"bits": rng.integers(0, 256, 2).astype(np.uint8).tobytes(), "sparse": {n % 20: 1.0, 30: 1}})
    collection.insert(rows)
    collection.flush()
    for field, (kind, metric) in KINDS.items():
        collection.create_index(field, kind, metric=metric)
    collection.wait_for_indexes()
    plan = collection.explain(rows[8]["nullable"], filter="tenant == 'large'", field="nullable", limit=10)
    assert "graph ef=" in str(plan), "a large tenant is looked for in the graph"
    for removed in ((), range(0, 6_000, 5)):
        collection.delete(list(removed))
        for name in ("large", "t1", "t7", "nobody"):
            for field in KINDS:
                query = rows[9][field] if field != "nullable" else rows[8][field]
                limit = 3_000 if field == "nullable" else 40  # a graph may miss some; a scan misses none
                asked = {"field": field, "limit": limit}
                found = collection.search([query], filter=f"tenant == '{name}'", **asked)[0]
                expected = collection.search([query], filter=f"same == '{name}'", **asked)[0]
                assert [hit["id"] for hit in found] == [hit["id"] for hit in expected]
                alive = [n for n, row in enumerate(rows) if n not in removed and row["tenant"] == name]
                mine = [n for n in alive if rows[n][field] is not None]
                assert len(found) == min(limit, len(mine))
                assert {hit["id"] for hit in found} <= set(mine)
                found = collection.search([query], filter=f"tenant == '{name}'", field=field, limit=10)[0]
                assert len(found) == min(10, len(mine))
                assert {hit["id"] for hit in found} <= set(mine)
    db.close()


def test_partitions_are_not_named(tmp_path: Path) -> None:
    db, collection = made(tmp_path / "db")
    collection.insert([row(1, 7)])
    refusal = "not support manually specifying the partition names if partition key mode is used"
    for call in (
        lambda: collection.insert([row(2, 7)], partition="_default_0"),
        lambda: collection.upsert([row(2, 7)], partition="_default_0"),
        lambda: collection.query("id > 0", partitions=["_default_0"]),
        lambda: collection.count(partitions=["_default_0"]),
        lambda: collection.get([1], partitions=["_default_0"]),
        lambda: collection.search(vectors([1]), partitions=["_default_0"]),
        lambda: collection.delete([1], partitions=["_default_0"]),
        lambda: collection.delete(filter="tenant == 7", partitions=["_default_0"]),
        lambda: collection.query_iterator(partitions=["_default_0"]),
    ):
        with pytest.raises(InvalidParameter, match=refusal):
            call()
    with pytest.raises(InvalidParameter, match="disable create partition if partition key mode is used"):
        collection.create_partition("p")
    with pytest.raises(InvalidParameter, match="disable drop partition if partition key mode is used"):
        collection.drop_partition("_default_0")
    assert keys_in(collection) == [1]
    db.close()


def test_what_cannot_be_a_partition_key_is_refused(tmp_path: Path) -> None:
    db = open_folder(tmp_path / "db")
    schema = schema_of(DataType.INT64)

    def changed(name: str, **changes: Any) -> Schema:
        return Schema(tuple(replace(f, **changes) if f.name == name else f for f in schema.fields))

    for wrong, reason in (
        (changed("size", is_partition_key=True), "there are more than one partition key, field name = tenant, size"),
        (changed("tenant", nullable=True), "partition key field not support nullable"),
        (changed("tenant", dtype=DataType.INT32), "the data type of partition key should be Int64 or VarChar"),
    ):
        with pytest.raises(InvalidParameter, match=reason):
            db.create_collection("c", wrong)
    with pytest.raises(InvalidParameter, match="must not be primary field"):
        db.create_collection("c", Schema((replace(schema.fields[0], is_partition_key=True), schema.fields[1])))
    for number, reason in ((1025, r"partition number \(1025\) exceeds"), (-1, "should be greater than 0")):
        with pytest.raises(InvalidParameter, match=reason):
            db.create_collection("c", schema, num_partitions=number)
    with pytest.raises(InvalidParameter, match="num_partitions should only be specified with partition key field"):
        db.create_collection("d", dimension=4, num_partitions=3)
    collection = db.create_collection("c", schema, num_partitions=1024)
    assert len(collection.list_partitions()) == 1024
    with pytest.raises(InvalidParameter, match="cannot drop partition key field: tenant"):
        collection.drop_field("tenant")
    with pytest.raises(InvalidParameter, match="different parameters"):
        db.create_collection("c", schema)
    db.close()
