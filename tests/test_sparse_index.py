"""Postings of sparse vectors: they answer as a scan does, in every state, to the bit and to the key.

The oracle multiplies in float64, one row at a time, from the rows alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from pymilvus import MilvusClient

from elanus import Collection, DataType, Elanus, Field, InvalidParameter, Schema
from elanus.engine.planner import SearchRequest
from elanus.engine.ranking import Bounds, search_within
from elanus.model.errors import CorruptData
from elanus.model.types import Metric
from elanus.model.vector_columns import PAIR
from elanus.vector import exact, payload, posting_index
from elanus.vector.posting_index import Postings
from elanus.vector.posting_search_kernels import WINDOW
from tests.native_case import open_folder
from tests.test_full_text import changed, written
from tests.test_full_text import check as check_texts
from tests.wire_case import refused

SPARSE = Field("v", DataType.SPARSE_FLOAT_VECTOR, nullable=True)
NUMBER = Field("n", DataType.INT64)
ROWS, INDEXES = 1_500, 60

Vector = dict[int, float] | None


def vector(rng: np.random.Generator, most: int = 24) -> Vector:
    """Small whole numbers, so that many scores are equal; some rows are empty, and some null."""
    kind = rng.random()
    if kind < 0.04:
        return None if kind < 0.02 else {}
    # Low indexes are in more rows.
    chosen = np.unique((INDEXES * rng.random(rng.integers(1, most)) ** 2).astype(int))
    return dict(zip(chosen.tolist(), rng.integers(1, 5, len(chosen)).astype(float).tolist(), strict=True))


def score(query: dict[int, float], held: Vector) -> float:
    return sum(value * held.get(index, 0.0) for index, value in query.items()) if held else 0.0


def expected(held: dict[Any, Vector], query: dict[int, float]) -> list[tuple[Any, float]]:
    hits = [(key, score(query, vector)) for key, vector in held.items()]
    return sorted([hit for hit in hits if hit[1] > 0], key=lambda hit: (-hit[1], hit[0]))


def check(collection: Collection, held: dict[Any, Vector], *, by: str) -> None:
    """Searches find what the oracle does: without a filter, with half, a hundredth and a thousandth of the rows."""
    rng = np.random.default_rng(5)
    queries = [q for q in (vector(rng) for _ in range(4)) if q]
    number = {key: int(str(key).removeprefix("k")) % 1000 for key in held}
    for below, limit in ((1000, 10), (1000, 700), (500, 30), (10, 30), (1, 30)):
        filter_ = "" if below == 1000 else f"n < {below}"
        some = {key: held[key] for key in held if number[key] < below}
        found = collection.search(queries, field="v", limit=limit, filter=filter_)
        for query, hits in zip(queries, found, strict=True):
            right = expected(some, query)[:limit]
            assert hits.keys.tolist() == [key for key, _ in right]
            assert hits.scores.tolist() == [score for _, score in right]
    (page,) = collection.search(queries[:1], field="v", limit=7, offset=9)
    assert page.keys.tolist() == [key for key, _ in expected(held, queries[0])[9:16]]
    assert within(collection, queries[0], 9.0, 20.0) == [k for k, s in expected(held, queries[0]) if 9 < s <= 20][:40]
    routes = {step.strategy.route.value for step in collection.explain(queries, field="v").steps}
    assert routes == set(by.split()), collection.explain(queries, field="v")


def within(collection: Collection, query: dict[int, float], radius: float, range_filter: float) -> list[Any]:
    """The keys of the first forty hits with scores in these bounds."""
    snapshot = collection._instance.collection(collection._ctx, collection.name).snapshot()
    asked = np.empty(1, object)
    asked[0] = np.array(list(query.items()), PAIR).tobytes()
    request = SearchRequest(snapshot.manifest.schema.field("v"), asked, limit=40)
    found: list[Any] = search_within(snapshot, request, Bounds(radius, range_filter)).keys.tolist()
    return found


def rows_of(numbers: range, rng: np.random.Generator, held: dict[Any, Vector], key: Any = int) -> list[dict[str, Any]]:
    made = [{"id": key(i), "n": i % 1000, "v": vector(rng)} for i in numbers]
    held.update({row["id"]: row["v"] for row in made})
    return made


def test_postings_answer_as_a_scan_does_in_every_state(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    held: dict[Any, Vector] = {}
    db = open_folder(tmp_path)
    schema = Schema((Field("id", DataType.INT64, is_primary=True), NUMBER, SPARSE))
    collection = db.create_collection("docs", schema)
    collection.insert(rows_of(range(ROWS), rng, held))
    check(collection, held, by="scan")  # growing
    collection.flush()
    check(collection, held, by="scan")  # sealed
    collection.create_index("v", "SPARSE_INVERTED_INDEX", metric="IP")
    collection.wait_for_indexes()
    check(collection, held, by="postings")
    collection.upsert(rows_of(range(100, 160), rng, held))
    collection.delete([key for key in held if key % 9 == 4])
    held = {key: v for key, v in held.items() if key % 9 != 4}
    check(collection, held, by="postings scan")  # with deletes, and rows that grow
    db.close()
    db = open_folder(tmp_path)
    collection = db.collection("docs")
    check(collection, held, by="postings scan")  # from the log
    collection.insert(rows_of(range(ROWS, 2 * ROWS), rng, held))
    collection.flush()
    collection.compact()
    check(collection, held, by="postings")  # merged
    db.close()
    db = open_folder(tmp_path)
    check(db.collection("docs"), held, by="postings")
    db.close()


def test_of_equal_scores_the_smallest_keys_come_first_where_rows_are_in_another_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    held: dict[Any, Vector] = {}
    db = open_folder(tmp_path)
    schema = Schema((Field("id", DataType.VARCHAR, max_length=16, is_primary=True), NUMBER, SPARSE))
    collection = db.create_collection("docs", schema)
    collection.create_index("v", "SPARSE_WAND", metric="IP", params={"inverted_index_algo": "DAAT_WAND"})
    collection.create_partition("other")
    made = rows_of(range(ROWS), rng, held, key=lambda i: f"k{i}")
    collection.insert(made[::2], partition="other")
    collection.insert(made[1::2])
    collection.flush()
    collection.wait_for_indexes()
    check(collection, held, by="postings")
    db.close()


def test_words_are_counted_and_scored_by_postings_in_every_state(tmp_path: Path) -> None:
    db = open_folder(tmp_path)
    collection, texts = written(db, rows=1300)
    collection.create_index("sparse", "SPARSE_INVERTED_INDEX", metric="BM25", params={"bm25_k1": 1.6, "bm25_b": 0.4})
    collection.flush()
    collection.compact()

    def routes() -> set[str]:
        return {step.strategy.route.value for step in collection.explain(["fox"], field="sparse").steps}

    assert routes() == {"postings"}
    check_texts(collection, texts, 1.6, 0.4)
    changed(collection, texts)
    assert routes() == {"postings", "scan"}
    check_texts(collection, texts, 1.6, 0.4)
    collection.drop_index("sparse")
    collection.create_index("sparse", "AUTOINDEX", metric="BM25")
    collection.flush()
    collection.compact()
    check_texts(collection, texts)
    db.close()
    db = open_folder(tmp_path)
    collection = db.collection("texts")
    assert routes() == {"postings"}
    check_texts(collection, texts)
    db.close()


def test_a_lost_or_torn_file_costs_time_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(3)
    held: dict[Any, Vector] = {}
    db = open_folder(tmp_path)
    schema = Schema((Field("id", DataType.INT64, is_primary=True), NUMBER, SPARSE))
    collection = db.create_collection("docs", schema)
    collection.create_index("v", "SPARSE_INVERTED_INDEX", metric="IP")
    collection.insert(rows_of(range(ROWS), rng, held))
    collection.flush()
    for spoil in (Path.unlink, torn):
        collection.wait_for_indexes()
        db.close()
        (file,) = (f for f in tmp_path.rglob("*.index") if f.name != "keys.index")
        spoil(file)
        db = open_folder(tmp_path)
        collection = db.collection("docs")
        check(collection, held, by="scan")
        assert "an index is left aside" in caplog.text
        caplog.clear()
    collection.wait_for_indexes()
    check(collection, held, by="postings")
    db.close()


def torn(file: Path) -> None:
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


# --- the parts of the query ------------------------------------------------------------------------------------------


@pytest.fixture(params=["growing", "indexed"])
def docs(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Collection]:
    """Row 0 has the index 1 alone, row 1 all the others; and many more that count less."""
    db: Elanus = open_folder(tmp_path)
    collection = db.create_collection("docs", Schema((Field("id", DataType.INT64, is_primary=True), NUMBER, SPARSE)))
    collection.create_index("v", "SPARSE_INVERTED_INDEX", metric="IP")
    rows = [{1: 1.0}, {2: 1.0, 3: 1.0, 4: 1.0, 5: 1.0}, *({2: 0.25, 9: 1.0} for _ in range(1500))]
    collection.insert([{"id": key, "n": key, "v": v} for key, v in enumerate(rows)])
    if request.param == "indexed":
        collection.flush()
        collection.compact()
    yield collection
    db.close()


QUERY = {1: 1.0, 2: 0.39, 3: 0.38, 4: 0.37, 5: 0.36}


@pytest.mark.parametrize(
    ("ratio", "scores"),
    [(0.0, [1.5, 1.0, 0.0975]), (0.19, [1.5, 1.0, 0.0975]), ("0.4", [1.0, 0.77, 0.0975]), (0.8, [1.0])],
)
def test_the_smallest_values_of_a_query_are_left_out(docs: Collection, ratio: Any, scores: list[float]) -> None:
    (hits,) = docs.search([QUERY], field="v", limit=3, params={"drop_ratio_search": ratio})
    assert hits.scores.tolist() == pytest.approx(scores)
    assert hits.keys.tolist() == ([1, 0, 2] if scores[0] > 1 else [0, 1, 2][: len(scores)])


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("drop_ratio_search", 1.0, "should be in range [0.000000, 1.000000)"),
        ("drop_ratio_search", "much", "should be in range [0.000000, 1.000000)"),
        ("dim_max_score_ratio", 0.49, "should be in range [0.500000, 1.300000]"),
        ("refine_factor", 0, "should be in range [1, 2147483647]"),
    ],
)
def test_search_parameters_have_their_ranges(docs: Collection, name: str, given: Any, said: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        docs.search([QUERY], field="v", params={name: given})
    assert said in str(caught.value)
    fine = {"dim_max_score_ratio": 0.5, "refine_factor": 4}
    assert docs.search([QUERY], field="v", limit=1, params=fine)[0].keys.tolist() == [1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"quant_type": "u16"}, "quant_type u16 not found or not supported, supported: [fp16 fp32]"),
        ({"inverted_index_codec": "other"}, "supported: [block_streamvbyte block_maskedvbyte]"),
        ({"block_max_block_size": 0}, "(0) should be in range [1, 2147483647]: invalid parameter"),
        ({"sindi_window_size": 512}, "'sindi_window_size' (512) should be in range [1024, 65535]"),
        ({"inverted_index_algo": "OTHER"}, "sparse inverted index algo OTHER not found or not supported"),
    ],
)
def test_parameters_of_the_index_have_their_ranges(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    db = open_folder(tmp_path)
    collection = db.create_collection("docs", Schema((Field("id", DataType.INT64, is_primary=True), NUMBER, SPARSE)))
    with pytest.raises(InvalidParameter) as caught:
        collection.create_index("v", "SPARSE_INVERTED_INDEX", metric="IP", params=given)
    assert said in str(caught.value)
    db.close()


def test_a_client_asks_for_scores_within_bounds_and_drops_values(client: MilvusClient) -> None:
    from pymilvus import DataType as Type

    schema = client.create_schema()
    schema.add_field("id", Type.INT64, is_primary=True)
    schema.add_field("v", Type.SPARSE_FLOAT_VECTOR)
    client.create_collection("docs", schema=schema)
    params = client.prepare_index_params()
    params.add_index("v", index_type="SPARSE_INVERTED_INDEX", metric_type="IP", params={"inverted_index_algo": "SINDI"})
    client.create_index("docs", params, sync=False)
    client.load_collection("docs")
    client.insert("docs", [{"id": i, "v": {1: float(i), 2: 1.0}} for i in range(60)])

    def found(query: dict[int, float], **params: float) -> list[int]:
        hits = client.search("docs", [query], anns_field="v", limit=5, search_params={"params": params})[0]
        return [hit["id"] for hit in hits]

    assert found({1: 1.0, 2: 0.5}, radius=10.5, range_filter=20.5) == [20, 19, 18, 17, 16]
    assert found({1: 0.5, 2: 1.0}, radius=10.5, range_filter=20.5, drop_ratio_search=0.6) == []
    assert found({1: 0.5, 2: 1.0}, drop_ratio_search=0.6) == [0, 1, 2, 3, 4]
    with refused(65535, "should be in range [0.500000, 1.300000]"):
        found({1: 1.0}, dim_max_score_ratio=1.4)


# --- the kernels -----------------------------------------------------------------------------------------------------


def column(rows: list[npt.NDArray[np.void]]) -> pa.Array:
    return pa.array([row.tobytes() for row in rows], pa.large_binary())


def pairs(rng: np.random.Generator, most: int, indexes: int, *, counted: bool) -> npt.NDArray[np.void]:
    chosen = np.sort(rng.choice(indexes, int(rng.integers(0, min(most, indexes) + 1)), replace=False))
    made = np.empty(len(chosen), PAIR)
    made["index"] = chosen
    made["value"] = rng.geometric(0.5, len(chosen)) * (1 if counted else rng.random(len(chosen)) ** 3)
    return made


@pytest.mark.parametrize("metric", [Metric.IP, Metric.BM25])
@pytest.mark.parametrize(("rows", "indexes"), [(WINDOW + 5_000, 12), (3_000, 800), (1, 3)])
def test_scores_are_those_of_a_scan_to_the_bit(tmp_path: Path, metric: Metric, rows: int, indexes: int) -> None:
    rng = np.random.default_rng(rows)
    of_texts = metric is Metric.BM25
    stored = column([pairs(rng, 9, indexes, counted=of_texts) for _ in range(rows)])
    posting_index.build(stored, metric, tmp_path / "index")
    postings = Postings.open(payload.read(tmp_path / "index"), stored, metric)
    queries = np.empty(12, object)
    queries[:] = [pairs(rng, 30, indexes + 3, counted=False).tobytes() for _ in range(12)]
    keys = rng.permutation(rows)
    for scoring in (exact.Bm25(1.2, 0.75, 6.0), exact.Bm25(0.0, 1.0, 2.5)) if of_texts else (None,):
        for share, k, of_keys in ((1.0, 10, None), (1.0, 400, keys), (0.3, 10, keys), (0.01, 30, None)):
            passes = rng.random(rows) < share
            bitmap = None if share == 1 else np.packbits(passes, bitorder="little")
            some = np.flatnonzero(passes)
            keys_at = (lambda at: at) if of_keys is None else of_keys.__getitem__
            asked = DataType.SPARSE_FLOAT_VECTOR, metric, queries, stored, some, k, keys_at, scoring
            for right, found in zip(
                exact.top_k(*asked), postings.search(queries, k, of_keys, bitmap, scoring), strict=True
            ):
                assert (right == found).all()


def test_a_query_of_very_many_indexes_is_answered_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    stored = column([pairs(rng, 40, 9_000, counted=False) for _ in range(300)])
    posting_index.build(stored, Metric.IP, tmp_path / "index")
    postings = Postings.open(payload.read(tmp_path / "index"), stored, Metric.IP)
    queries = np.empty(1, object)
    whole = np.empty(8_000, PAIR)
    whole["index"], whole["value"] = np.arange(8_000), 1
    for few, passes in ((4_000, None), (8_000, None), (8_000, np.arange(300) % 3 == 0)):
        queries[0] = whole[:few].tobytes()
        some = np.arange(300) if passes is None else np.flatnonzero(passes)
        asked = DataType.SPARSE_FLOAT_VECTOR, Metric.IP, queries, stored, some, 20, lambda at: at
        bitmap = None if passes is None else np.packbits(passes, bitorder="little")
        for right, found in zip(exact.top_k(*asked), postings.search(queries, 20, None, bitmap), strict=True):
            assert (right == found).all()


def test_postings_of_another_column_are_not_opened(tmp_path: Path) -> None:
    stored = column([np.array([(1, 1.0)], PAIR)])
    posting_index.build(stored, Metric.IP, tmp_path / "index")
    opened = payload.read(tmp_path / "index")
    with pytest.raises(CorruptData, match="rows differ"):
        Postings.open(opened, column([np.array([(1, 1.0)], PAIR)] * 2), Metric.IP)
    with pytest.raises(CorruptData, match="metric differ"):
        Postings.open(opened, stored, Metric.BM25)
