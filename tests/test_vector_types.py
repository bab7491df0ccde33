"""Vectors of every type: what is written is read, and searches are exact, in whatever state rows are, nulls or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elanus import DataType, Field, InvalidParameter, Schema, SchemaMismatch
from elanus.model.canonical import Batch, arrow_of
from elanus.model.columns import convert
from elanus.model.errors import NotSupported
from elanus.model.schema import check_field
from elanus.model.types import NUMERIC_VECTORS, Metric
from elanus.model.vectors import narrowed, widened
from elanus.vector import exact
from tests.native_case import open_folder
from tests.vector_case import CASES, DIM, TYPE_OF, check, ranking, rows, schema, value, vector_field


@pytest.mark.parametrize("null_share", [0.0, 0.4])
def test_vectors_mean_the_same_in_every_state(tmp_path: Path, null_share: float) -> None:
    rng = np.random.default_rng(7)
    db = open_folder(tmp_path)
    collection = db.create_collection("all", schema(nullable=null_share > 0))
    held: dict[int, Any] = {}

    def write(numbers: range, how: Any) -> None:
        made = rows(numbers, rng, null_share)
        how(made)
        held.update({row["id"]: row for row in made})

    write(range(60), collection.insert)
    check(collection, held, 1)  # growing
    collection.flush()
    check(collection, held, 2)  # sealed
    write(range(100, 130), collection.insert)
    write(range(20, 40), collection.upsert)
    assert collection.delete(filter="id < 10") == 10
    for key in range(10):
        del held[key]
    check(collection, held, 3)  # sealed and growing, with deletes
    db.close()
    db = open_folder(tmp_path)
    collection = db.collection("all")
    check(collection, held, 4)  # from the log
    collection.flush()
    collection.compact()
    check(collection, held, 5)  # merged
    db.close()
    db = open_folder(tmp_path)
    check(db.collection("all"), held, 6)  # reopened
    db.close()


def test_vector_fields_are_added_to_rows_that_are_there(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    db = open_folder(tmp_path)
    key, single = Field("id", DataType.INT64, is_primary=True), vector_field("single")
    collection = db.create_collection("grows", Schema((key, Field("n", DataType.INT64), single)))
    before = [{name: row[name] for name in ("id", "n", "single")} for row in rows(range(30), rng)]
    collection.insert(before[:15])
    collection.flush()
    collection.insert(before[15:])
    for name in TYPE_OF:
        if name != "single":
            collection.add_field(vector_field(name, nullable=True))
    nothing = dict.fromkeys(TYPE_OF)
    held = {row["id"]: nothing | row for row in before}
    # Fields come in the order in which they were declared.
    held = {number: {name: row[name] for name in ("id", "n", *TYPE_OF)} for number, row in held.items()}
    check(collection, held, 1)
    for row in rows(range(40, 60), rng):
        collection.insert(row)
        held[row["id"]] = row
    check(collection, held, 2)
    one = {"id": 3, "half": [0.25] * DIM, "sparse": {5: 1.5}}
    collection.upsert([one, {"id": 45, "half": None, "sparse": None}], partial=True)
    held[3] |= one
    held[45] |= {"half": None, "sparse": None}
    check(collection, held, 3)
    collection.create_index("half", "FLAT", metric="IP")
    collection.drop_index("half")
    collection.flush()
    collection.compact()
    check(collection, held, 4)
    db.close()


@pytest.mark.parametrize(("kind", "params"), [("HNSW", {"M": 8, "efConstruction": 64}), ("IVF_FLAT", {"nlist": 16})])
@pytest.mark.parametrize("metric", ["L2", "COSINE"])
def test_an_index_leads_to_the_vectors_that_are_not_null(
    tmp_path: Path, kind: str, params: dict[str, int], metric: str
) -> None:
    rng = np.random.default_rng(9)
    db = open_folder(tmp_path)
    fields = (Field("id", DataType.INT64, is_primary=True), Field("v", DataType.FLOAT_VECTOR, dim=16, nullable=True))
    collection = db.create_collection("docs", Schema(fields))
    collection.create_index("v", kind, metric=metric, params=params)
    vectors = (rng.normal(size=(4000, 16)) + 1).astype(np.float32)
    there = rng.random(4000) >= 0.4
    queries = (rng.normal(size=(50, 16)) + 1).astype(np.float32)

    def recall(rows: npt.NDArray[np.bool_]) -> float:
        known = np.flatnonzero(rows & there)
        right, at = queries.astype(np.float64), vectors[known].astype(np.float64)
        if metric == "COSINE":
            right, at = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (right, at))
        costs = ((right[:, None] - at) ** 2).sum(axis=2)
        nearest = known[np.argsort(costs, axis=1)[:, :10]]
        found = collection.search(queries, limit=10, params={"ef": 64, "nprobe": 8})
        assert {key for hits in found for key in hits.keys.tolist()} <= set(known.tolist())
        assert str(collection.explain(queries[0])).count({"HNSW": "graph", "IVF_FLAT": "lists"}[kind]) == 1
        return float(np.mean([len(set(a) & set(b.keys.tolist())) / 10 for a, b in zip(nearest, found, strict=True)]))

    def insert(rows: slice) -> None:
        given = [vector if known else None for vector, known in zip(vectors[rows], there[rows], strict=True)]
        collection.insert({"id": np.arange(4000)[rows], "v": given})
        collection.flush()
        collection.compact()

    alive = np.arange(4000) < 2500
    insert(slice(0, 2500))
    built = recall(alive)
    alive[2500:] = True
    insert(slice(2500, 4000))  # the graph of the first rows is extended
    gone = np.arange(4000) % 5 == 0
    collection.delete(np.flatnonzero(gone))
    collection.flush()
    collection.compact()
    assert min(built, recall(alive & ~gone)) >= 0.95
    db.close()


# --- scores ----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CASES), st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 50))
def test_scans_are_exact(case: tuple[str, Metric], seed: int, count: int, k: int) -> None:
    name, metric = case
    if name == "single":
        return
    rng = np.random.default_rng(seed)
    field = vector_field(name)
    held = rows(range(count), rng)
    stored = convert(field, [row[name] for row in held])
    query = value(name, rng)
    asked: Any = convert(field, [query])
    if field.dtype in NUMERIC_VECTORS:
        asked = widened(field.dtype, asked)
    elif isinstance(asked, pa.Array):
        asked = np.array([asked[0].as_py(), None], object)[:1]
    some = np.flatnonzero(rng.random(count) < 0.7)
    # Keys fall where rows rise: of equal scores the last row comes first.
    scores, found = exact.top_k(field.dtype, metric, asked, stored, some, k, lambda here: -here)
    right = ranking(metric, name, query, [{"id": -held[row]["id"], name: held[row][name]} for row in some])[:k]
    filled = found[0][found[0] >= 0]
    assert scores[0][: len(filled)] == pytest.approx([score for score, _ in right], rel=1e-5, abs=1e-6)
    if metric is not Metric.COSINE:
        assert filled.tolist() == [-key for _, key in right]


def test_half_width_floats_are_rounded_to_the_nearest() -> None:
    numbers = np.random.default_rng(3).normal(size=4000).astype(np.float32)
    for dtype, digits in ((DataType.FLOAT16_VECTOR, 11), (DataType.BFLOAT16_VECTOR, 8)):
        rounded = widened(dtype, narrowed(dtype, numbers))
        steps = np.exp2(np.maximum(np.floor(np.log2(np.abs(numbers))), -14) - digits)
        assert (np.abs(rounded - numbers) <= steps).all()
    one = np.float32(1)
    ties = np.array([one + np.float32(2.0**-8), one + 3 * np.float32(2.0**-8)], np.float32)
    assert widened(DataType.BFLOAT16_VECTOR, narrowed(DataType.BFLOAT16_VECTOR, ties)).tolist() == [1, 1.015625]
    odd = np.array([np.nan, -np.nan, np.inf, 3.4e38], np.float32)
    assert not np.isfinite(widened(DataType.BFLOAT16_VECTOR, narrowed(DataType.BFLOAT16_VECTOR, odd))).any()


def test_vectors_without_a_bit_are_as_far_apart_as_can_be() -> None:
    nothing = np.zeros((1, 3), np.uint8)
    found = exact.scores(DataType.BINARY_VECTOR, Metric.JACCARD, nothing, nothing, np.arange(1))
    assert found.tolist() == [[1.0]]


# --- what may be given -----------------------------------------------------------------------------------------------


def test_a_batch_with_null_vectors_goes_through_the_log_as_it_is() -> None:
    field = vector_field("half", nullable=True)
    values = convert(field, [[1.0] * DIM, None, [2.0] * DIM])
    batch = pa.RecordBatch.from_arrays([arrow_of(values)], names=["7"])
    again = pa.ipc.read_record_batch(pa.py_buffer(_message(Batch.of(batch))), batch.schema)
    assert again.equals(batch)
    assert values.take(pa.array([0])).to_pylist() == [[0x3C00] * DIM]


def _message(batch: Batch) -> bytes:
    from elanus.log.message import message_of

    return message_of(batch)


def test_the_forms_in_which_vectors_come() -> None:
    numbers = np.arange(DIM, dtype=np.float32)[None]
    half, brain, small, bits, sparse = (vector_field(n) for n in ("half", "brain", "small", "bits", "sparse"))
    as_half = numbers.astype(np.float16)
    for given_ in (
        numbers,
        as_half,
        as_half.view(np.uint16),
        [numbers[0].tolist()],
        [as_half.tobytes()],
        numbers[:, :],
    ):
        assert (convert(half, given_) == as_half.view(np.uint16)).all()
    wide = (numbers.view(np.uint32) >> 16).astype(np.uint16)
    for given_ in (numbers, wide, [wide.tobytes()], list(numbers.astype(int)), list(wide.astype(">u2"))):
        assert (convert(brain, given_) == wide).all()
    for given_ in (numbers.astype(int), [numbers[0].astype(np.int8)], [bytes(range(DIM))]):
        assert (convert(small, given_) == numbers).all()
    packed = np.array([[1, 2, 3]], np.uint8)
    for given_ in (packed, [b"\1\2\3"], [[1, 2, 3]], np.unpackbits(packed, axis=1).astype(bool), pa.array([b"\1\2\3"])):
        assert (convert(bits, given_) == packed).all()
    pairs = np.array([(2, 0.5), (7, 1.0)], "u4,f4").tobytes()
    for row in ({7: 1.0, 2: 0.5}, [(7, 1), (2, 0.5)], {"indices": [2, 7], "values": [0.5, 1.0]}, pairs):
        assert convert(sparse, [row, {}]).to_pylist() == [pairs, b""]


@pytest.mark.parametrize(
    ("name", "given_", "why"),
    [
        ("half", [[70000.0] * DIM], "it is not a number or infinity"),
        ("half", [[0.0] * DIM, [0.0] * 3], "the length(3) of float16 data should divide the dim(24)"),
        ("brain", [[float("nan")] * DIM], "row 0"),
        ("brain", ["text"], "got 'text' in row 0"),
        ("brain", [[0.0] * DIM, [1e38] * DIM], "the one in row 1 has length 4.8839e+38: scores of vectors longer than"),
        ("half", [[0.0] * DIM, None], "row 1 has none"),
        ("small", [[128] * DIM], "whole numbers from -128 to 127"),
        ("small", [[0.5] * DIM], "whole numbers from -128 to 127"),
        ("bits", [b"1234"], "the num(32) of all bits should divide the dim(24)"),
        ("bits", [b"123", [256, 0, 0]], "row 1"),
        ("sparse", [{1: -1.0}], "negative value in sparse float vector"),
        ("sparse", [{1: 1.0}, {2: float("inf")}], "in row 1"),
        ("sparse", [{2**32 - 1: 1.0}], "must be less than 2^32-1"),
        ("sparse", [{-1: 1.0}], "must be less than 2^32-1"),
        ("sparse", [[(1, 1.0), (1, 2.0)]], "unsorted or same indices in sparse float vector"),
        ("sparse", [np.array([(7, 1.0), (2, 0.5)], "u4,f4").tobytes()], "unsorted or same indices"),
        ("sparse", [b"12345"], "invalid data length in sparse float vector: 5"),
        ("sparse", [{1.5: 1.0}], "got index 1.5 in row 0"),
        ("sparse", [{1: "x"}], "in row 0"),
        ("sparse", [{1: 1.0}, {1: [1, 2], 2: 3.0}], "got value [1, 2] in row 1"),
        ("sparse", [{(1, 2): 1.0, 3: 1.0}], "got index (1, 2) in row 0"),
        ("sparse", [{1: np.zeros(2), 2: 1.0}], "got value array([0., 0.]) in row 0"),
        ("sparse", [{1: True}], "got value True in row 0"),
        ("sparse", [{1: 2**70}], "in row 0"),
        ("sparse", [None, {"indices": 5, "values": [1.0, 2.0]}], "in row 1"),
        ("sparse", [{"indices": [[1], 2], "values": [1.0, 2.0]}], "got index [1] in row 0"),
        ("sparse", [17], "got 17 in row 0"),
        ("sparse", [None], "row 0 has no value"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_row(name: str, given_: Any, why: str) -> None:
    with pytest.raises(SchemaMismatch) as caught:
        convert(vector_field(name), given_)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("field", "why"),
    [
        (Field("v", DataType.BINARY_VECTOR, dim=12), "binary vector dimension should be multiple of 8"),
        (Field("v", DataType.BINARY_VECTOR, dim=262_152), "binary vector dimension should be in range 2 ~ 262144"),
        (Field("v", DataType.FLOAT16_VECTOR, dim=32_769), "float vector dimension should be in range 2 ~ 32768"),
        (Field("v", DataType.INT8_VECTOR), "dimension is not defined"),
        (Field("v", DataType.SPARSE_FLOAT_VECTOR, dim=8), "dim should not be specified for sparse vector field"),
        (Field("v", DataType.FLOAT16_VECTOR, dim=8, default=1.0), "type not support default_value"),
    ],
)
def test_fields_that_cannot_be(field: Field, why: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        check_field(field)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("name", "kind", "metric", "error", "why"),
    [
        ("half", "BIN_FLAT", "L2", InvalidParameter, "data type Float16Vector can't build with this index BIN_FLAT"),
        ("half", "HNSW", "L2", NotSupported, "HNSW of Float16Vector is not supported"),
        ("small", "FLAT", "L2", InvalidParameter, "data type Int8Vector can't build with this index FLAT"),
        ("single", "SPARSE_WAND", "L2", InvalidParameter, "data type FloatVector can't build with this index"),
        ("bits", "BIN_FLAT", "L2", InvalidParameter, "binary vector index does not support metric type: L2"),
        ("bits", "BIN_IVF_FLAT", "SUBSTRUCTURE", InvalidParameter, "supported: [HAMMING JACCARD]"),
        ("bits", "HNSW", "HAMMING", InvalidParameter, "data type BinaryVector can't build with this index HNSW"),
        ("sparse", "SPARSE_WAND", "L2", InvalidParameter, "only IP&BM25 is the supported metric type for sparse index"),
        ("sparse", "AUTOINDEX", "BM25", InvalidParameter, "only BM25 Function output field support BM25 metric type"),
        ("half", "AUTOINDEX", "HAMMING", InvalidParameter, "float vector index does not support metric type: HAMMING"),
        ("sparse", "SPARSE_INVERTED_INDEX", None, InvalidParameter, "metric type not set for vector index"),
    ],
)
def test_indexes_that_do_not_fit(tmp_path: Path, name: str, kind: str, metric: Any, error: Any, why: str) -> None:
    with open_folder(tmp_path) as db:
        collection = db.create_collection("all", schema(nullable=False))
        with pytest.raises(error) as caught:
            collection.create_index(name, kind, metric=metric)
        assert why in str(caught.value)
        assert collection.list_indexes() == []


def test_an_index_of_other_vectors_is_done_when_it_is_defined(tmp_path: Path) -> None:
    with open_folder(tmp_path) as db:
        collection = db.create_collection("all", schema(nullable=False))
        held = {row["id"]: row for row in rows(range(40), np.random.default_rng(2))}
        collection.insert(list(held.values()))
        kinds = {"half": "FLAT", "brain": "AUTOINDEX", "small": "AUTOINDEX", "bits": "BIN_IVF_FLAT"}
        for name, kind in {**kinds, "sparse": "SPARSE_WAND"}.items():
            metric = {"bits": "JACCARD", "sparse": "IP"}.get(name, "L2")
            collection.create_index(name, kind, metric=metric)
        collection.flush()
        collection.compact()
        assert {info.state for info in collection.list_indexes()} == {"Finished"}
        query = value("bits", np.random.default_rng(5))
        hits = collection.search(query, field="bits", limit=5, params={"nprobe": 3})[0]
        right = ranking(Metric.JACCARD, "bits", query, list(held.values()))[:5]
        assert hits.keys.tolist() == [key for _, key in right]
        with pytest.raises(InvalidParameter, match="metric type not match"):
            collection.search(query, field="bits", metric="HAMMING")
        with pytest.raises(InvalidParameter, match="nprobe"):
            collection.search(query, field="bits", params={"nprobe": 0})
        with pytest.raises(InvalidParameter, match="vector type must be the same"):
            collection.search(np.ones((1, DIM)), field="small")
