"""Indexes of smaller codes than a byte a dimension: candidates by codes, and answers by the stored vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elanus import DataType, Field, InvalidParameter, Schema
from elanus.model.errors import NotSupported
from elanus.model.types import Metric
from elanus.vector import build, coded, metrics, payload
from elanus.vector.metrics import Rows, Vectors
from elanus.vector.open import VectorIndex
from elanus.vector.registry import IndexKind, InvalidSearchParameter, check_dim, resolve, search_params
from tests.native_case import open_folder
from tests.test_vector_index import embeddings, recall

ROWS, DIM, K = 3_000, 32, 10

KINDS = {
    "SQ4U": ("HNSW_SQ", {"M": 16, "efConstruction": 100, "sq_type": "SQ4U"}, {"ef": 64}),
    "SQ6": ("HNSW_SQ", {"M": 16, "efConstruction": 100, "sq_type": "sq6"}, {"ef": 64}),
    "SQ8": ("HNSW_SQ", {"M": 16, "efConstruction": 100}, {"ef": 64}),
    "BF16": ("HNSW_SQ", {"M": 16, "efConstruction": 100, "sq_type": "BF16"}, {"ef": 64}),
    "FP16": ("HNSW_SQ", {"M": 16, "efConstruction": 100, "sq_type": "FP16"}, {"ef": 64}),
    "PQ": ("HNSW_PQ", {"M": 16, "efConstruction": 100, "m": 16}, {"ef": 64}),
    "PRQ": ("HNSW_PRQ", {"M": 16, "efConstruction": 100, "m": 4, "nrq": 2, "nbits": 6}, {"ef": 64, "refine_k": 10}),
    "DISKANN": ("DISKANN", {"max_degree": 32}, {"search_list": 64}),
    "DISKANN, bytes": ("DISKANN", {"max_degree": 32, "pq_code_budget_gb_ratio": 0.25}, {"search_list": 64}),
    "DISKANN, parts": ("DISKANN", {"max_degree": 32, "pq_code_budget_gb_ratio": 0.0625}, {"search_list": 64}),
    "IVF_SQ8": ("IVF_SQ8", {"nlist": 32}, {"nprobe": 8}),
    "IVF_PQ": ("IVF_PQ", {"nlist": 32, "m": 16, "nbits": 6}, {"nprobe": 8}),
    "IVF_RABITQ": ("IVF_RABITQ", {"nlist": 32, "refine": True, "refine_type": "SQ8"}, {"nprobe": 8, "refine_k": 20}),
    "SCANN": ("SCANN", {"nlist": 32}, {"nprobe": 8, "reorder_k": 100}),
}


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return embeddings(ROWS, dim=DIM)


@pytest.fixture(scope="module")
def queries() -> Vectors:
    return embeddings(60, seed=1, dim=DIM)


def opened(
    path: Path, name: str, metric: Metric, vectors: Vectors, present: Rows | None = None
) -> tuple[VectorIndex, build.Built]:
    spec = resolve(*KINDS[name][:2])
    made = build.build(spec, metric, vectors, path, present=present)
    return VectorIndex.open(path, vectors, metric, spec), made


@pytest.mark.parametrize("name", KINDS)
def test_what_codes_find_is_scored_by_the_stored_vectors(
    tmp_path: Path, vectors: Vectors, queries: Vectors, name: str
) -> None:
    """Near the truth, with and without a filter; k hits whenever k rows pass; scores are those of a scan."""
    metric = list(Metric)[list(KINDS).index(name) % 3]
    index, made = opened(tmp_path / "index", name, metric, vectors)
    params = search_params(index.spec, KINDS[name][2], K)
    assert made.rows == ROWS
    exact_scores, exact = metrics.top_k(metric, queries, vectors, K)
    scores, rows = index.search(queries, K, params)
    assert recall(rows, exact) > 0.93
    for found, of_query, query in zip(rows, scores, queries, strict=True):
        assert len(set(found.tolist())) == K
        of_found = metrics.scores(metric, query[None], vectors[found])[0]
        assert np.allclose(of_query, of_found, rtol=1e-5, atol=1e-5)
        assert (np.diff(of_query) * (-1 if metric.larger_is_nearer else 1) >= -1e-6).all()
    assert np.allclose(scores[:, 0], exact_scores[:, 0], rtol=1e-5, atol=1e-5) or recall(rows, exact) < 1
    for share in (2, 30, 1_000):
        passing = np.arange(ROWS) % share == 1
        bitmap = np.packbits(passing, bitorder="little")
        wanted = metrics.top_k(metric, queries, vectors, K, bitmap)[1]
        found = index.search(queries, K, params, bitmap)[1]
        assert passing[found[found >= 0]].all()
        assert ((found >= 0).sum(axis=1) == min(K, passing.sum())).all()
        assert recall(found, wanted) > 0.93
    index.close()


@pytest.mark.parametrize("name", ["SQ4U", "SCANN"])
def test_rows_without_a_vector_are_not_found(tmp_path: Path, vectors: Vectors, queries: Vectors, name: str) -> None:
    present = np.flatnonzero(np.arange(ROWS) % 3 > 0)
    there = np.zeros(ROWS, np.bool_)
    there[present] = True
    held = np.where(there[:, None], vectors, np.float32(0))
    index, _ = opened(tmp_path / "index", name, Metric.L2, held, present)
    bitmap = np.packbits(there, bitorder="little")
    found = index.search(queries, K, search_params(index.spec, KINDS[name][2], K), bitmap)[1]
    assert there[found].all()
    assert recall(found, metrics.top_k(Metric.L2, queries, held, K, bitmap)[1]) > 0.93


@pytest.mark.parametrize("name", ["SQ6", "IVF_SQ8"])
def test_a_merge_goes_on_from_the_largest_index(tmp_path: Path, vectors: Vectors, queries: Vectors, name: str) -> None:
    """Links are taken over, codes are made anew; lists are built anew."""
    count = ROWS * 3 // 4
    index, _ = opened(tmp_path / "old", name, Metric.COSINE, vectors[:count])
    moved = np.arange(count)
    moved[::7] = -1
    moved[moved >= 0] = np.arange((moved >= 0).sum())
    merged = np.ascontiguousarray(np.concatenate([vectors[:count][moved >= 0], vectors[count:]]))
    old = payload.read(tmp_path / "old", 0)
    made = build.extend(index.spec, Metric.COSINE, old, moved, merged, tmp_path / "new")
    assert made.extended == index.spec.is_graph
    again = VectorIndex.open(tmp_path / "new", merged, Metric.COSINE, index.spec)
    found = again.search(queries, K, search_params(index.spec, KINDS[name][2], K))[1]
    assert recall(found, metrics.top_k(Metric.COSINE, queries, merged, K)[1]) > 0.93


def test_codes_are_as_small_as_they_say(tmp_path: Path, vectors: Vectors) -> None:
    sizes = {name: opened(tmp_path / name, name, Metric.L2, vectors)[1].size for name in ("SQ6", "FP16")}
    assert np.allclose((sizes["FP16"] - sizes["SQ6"]) / ROWS, DIM * 10 / 8, rtol=0.02)
    assert not payload.read(tmp_path / "SQ6", 0).sections[coded.SECTION].flags.writeable, "it is mapped, not copied"


def test_parameters_are_checked() -> None:
    for kind, params, message in (
        ("IVF_PQ", {}, "param 'm' not exist in json"),
        ("IVF_PQ", {"m": 8, "nbits": 25}, "param 'nbits' (25) should be in range [1, 24]"),
        ("HNSW_SQ", {"sq_type": "SQ5"}, "param 'sq_type' (SQ5) should be one of SQ4U, SQ6, SQ8, BF16, FP16"),
        ("HNSW_PRQ", {"nrq": 17}, "param 'nrq' (17) should be in range [1, 16]"),
        ("IVF_RABITQ", {"refine_type": "SQ9"}, "param 'refine_type' (SQ9) should be one of"),
        ("DISKANN", {"max_degree": 513}, "param 'max_degree' (513) should be in range [1, 512]"),
        ("DISKANN", {"pq_code_budget_gb_ratio": 0}, "param 'pq_code_budget_gb_ratio' (0) should be in range (0, 1.0]"),
    ):
        with pytest.raises(InvalidParameter) as refused:
            resolve(kind, params)
        assert message in str(refused.value)
        assert refused.value.code == 1100
    with pytest.raises(InvalidParameter, match="dimension must be able to be divided by `m`, dimension: 30, m: 7"):
        check_dim(resolve("IVF_PQ", {"m": 7}), 30)
    with pytest.raises(NotSupported, match="GPU_CAGRA needs a GPU"):
        resolve("GPU_CAGRA", {})
    for kind, params, given, message in (
        ("HNSW_SQ", {}, {"refine_k": 0.5}, r"param 'refine_k' \(0.5\) should be in range \[1"),
        ("HNSW_PQ", {}, {"ef": 3}, r"ef\(3\) should be larger than k\(10\)"),
        ("DISKANN", {}, {"search_list": 3}, r"search_list\(3\) should be larger than k\(10\)"),
        ("SCANN", {}, {"reorder_k": 3}, r"reorder_k\(3\) should be larger than k\(10\)"),
        ("IVF_RABITQ", {}, {"rbq_bits_query": 9}, r"param 'rbq_bits_query' \(9\) should be in range \[0, 8\]"),
    ):
        with pytest.raises(InvalidSearchParameter, match=message):
            search_params(resolve(kind, params), given, 10)


@pytest.mark.parametrize("name", ["DISKANN", "IVF_RABITQ"])
def test_collections_have_such_indexes(tmp_path: Path, vectors: Vectors, name: str) -> None:
    """Built by a builder, found again after deletes, a merge and a new start; and refused where they do not fit."""
    kind, params, asked = KINDS[name]
    fields = (Field("id", DataType.INT64, is_primary=True), Field("vector", DataType.FLOAT_VECTOR, dim=DIM))
    db = open_folder(tmp_path / "db")
    collection = db.create_collection("c", Schema((*fields, Field("bits", DataType.BINARY_VECTOR, dim=16))))
    with pytest.raises(InvalidParameter, match="can't build with this index"):
        collection.create_index("bits", kind, metric="HAMMING", params=params)
    collection.create_index("vector", kind, metric="L2", params=params)
    for begin in range(0, ROWS, ROWS // 2):
        rows = range(begin, begin + ROWS // 2)
        collection.insert([{"id": n, "vector": vectors[n], "bits": b"ab"} for n in rows])
        collection.flush()
    gone = list(range(0, ROWS, 5))
    collection.delete(gone)
    alive = np.arange(ROWS) % 5 > 0
    wanted = metrics.top_k(Metric.L2, vectors[:40], vectors, K, np.packbits(alive, bitorder="little"))[1]
    for state in ("two segments", "merged", "opened again"):
        if state == "merged":
            collection.compact()
        if state == "opened again":
            db.close()
            db = open_folder(tmp_path / "db")
            collection = db.collection("c")
        collection.wait_for_indexes()
        hits = collection.search(vectors[:40], field="vector", limit=K, params=asked)
        found = np.array([[hit["id"] for hit in of_query] for of_query in hits])
        assert alive[found].all()
        assert recall(found, wanted) > 0.93, state
        plan = str(collection.explain(vectors[:1], field="vector", limit=K, params=asked))
        assert IndexKind(kind) in plan
        assert ("lists" if kind.startswith("IVF") else "graph") in plan
    db.close()
