"""Scores are exact, the same whichever way a row was found, and ties go to the smaller row."""

import threading

import numpy as np
import pytest

from elanus.model.types import METRICS_OF, DataType, Metric
from elanus.vector import kernels, metrics


def expected(metric, queries, vectors):
    q, v = queries.astype(np.float64), vectors.astype(np.float64)
    if metric is Metric.L2:
        return ((q[:, None] - v[None]) ** 2).sum(axis=2)
    products = q @ v.T
    if metric is Metric.IP:
        return products
    lengths = np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(v, axis=1)[None]
    return np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)


def nearest(metric, scores, k, allowed=None):
    """Rows of the k best of each line, ties by the smaller row, with numpy alone."""
    costs = np.array(scores if metric is Metric.L2 else -scores)
    if allowed is not None:
        costs[:, ~allowed] = np.inf
    rows = np.argsort(costs, axis=1, kind="stable")[:, :k]
    return np.where(np.isinf(np.take_along_axis(costs, rows, axis=1)), -1, rows)


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((2_000, 24), dtype=np.float32) * rng.uniform(0.1, 9, (2_000, 1)).astype(np.float32)
    vectors[100] = 0
    vectors[1_500:1_600] = vectors[300:400]
    return vectors


@pytest.fixture(scope="module")
def queries(vectors):
    return np.ascontiguousarray(vectors[[5, 100, 310, 1_999]]) + np.float32(0.01)


@pytest.mark.parametrize("metric", METRICS_OF[DataType.FLOAT_VECTOR])
def test_scores_equal_the_definition(metric, queries, vectors):
    assert metrics.scores(metric, queries, vectors) == pytest.approx(
        expected(metric, queries, vectors), rel=1e-5, abs=1e-5
    )


def test_a_zero_vector_has_cosine_0_and_a_vector_with_itself_exactly_1(vectors):
    own = metrics.scores(Metric.COSINE, vectors[:300], vectors[:300])
    assert np.all(own[100] == 0)
    assert np.all(own[:, 100] == 0)
    diagonal = np.delete(np.diag(own), 100)
    assert np.all(diagonal == 1)
    assert np.all(np.abs(own) <= 1)


@pytest.mark.parametrize("metric", METRICS_OF[DataType.FLOAT_VECTOR])
def test_every_way_to_a_score_gives_the_same_bits(metric, queries, vectors):
    whole = metrics.scores(metric, queries, vectors)
    rows = np.arange(len(vectors))[::-1].copy()
    for q in range(len(queries)):
        assert np.array_equal(metrics.scores_by_row(metric, queries[q], vectors, rows), whole[q][rows])
    k = len(vectors)
    ways = [
        metrics.top_k(metric, queries, vectors, k),
        metrics.top_k(metric, queries, vectors, k, np.full(k // 8, 255, np.uint8)),
        metrics.top_k_of(metric, queries, vectors, rows, k),
        metrics.rescore(metric, queries, vectors, np.tile(rows, (len(queries), 1)), k),
    ]
    for scores, found in ways:
        assert np.array_equal(scores, np.take_along_axis(whole, found, axis=1))
        assert np.array_equal(found, ways[0][1])


@pytest.mark.parametrize("metric", METRICS_OF[DataType.FLOAT_VECTOR])
@pytest.mark.parametrize("k", [1, 10, 257])
def test_a_scan_returns_the_k_nearest_and_ties_by_the_smaller_row(metric, k, queries, vectors):
    whole = metrics.scores(metric, queries, vectors)
    scores, rows = metrics.top_k(metric, queries, vectors, k)
    assert np.array_equal(rows, nearest(metric, whole, k))
    assert np.array_equal(scores, np.take_along_axis(whole, rows, axis=1))


@pytest.mark.parametrize("share", [0.5, 0.1, 0.003])
def test_a_scan_under_a_bitmap_sees_the_passing_rows_alone(share, queries, vectors):
    allowed = np.random.default_rng(1).random(len(vectors)) < share
    whole = metrics.scores(Metric.IP, queries, vectors)
    bitmap = np.packbits(allowed, bitorder="little")
    scores, rows = metrics.top_k(Metric.IP, queries, vectors, 12, bitmap)
    assert np.array_equal(rows, nearest(Metric.IP, whole, 12, allowed))
    assert np.all(np.isneginf(scores) == (rows < 0))
    assert metrics.count_set(bitmap) == allowed.sum()
    assert np.array_equal(metrics.top_k_of(Metric.IP, queries, vectors, np.flatnonzero(allowed), 12)[1], rows)


@pytest.mark.parametrize(("first", "last"), [(0, 1), (3, 13), (8, 16), (1_001, 2_000), (700, 700)])
def test_a_scan_of_a_run_keeps_to_it(first, last, queries, vectors):
    whole = metrics.scores(Metric.L2, queries, vectors)
    inside = np.zeros(len(vectors), np.bool_)
    inside[first:last] = True
    allowed = np.random.default_rng(2).random(len(vectors)) < 0.6
    bitmap = np.packbits(allowed, bitorder="little")
    _, rows = metrics.top_k(Metric.L2, queries, vectors, 9, None, first, last)
    assert np.array_equal(rows, nearest(Metric.L2, whole, 9, inside))
    _, rows = metrics.top_k(Metric.L2, queries, vectors, 9, bitmap, first, last)
    assert np.array_equal(rows, nearest(Metric.L2, whole, 9, inside & allowed))


def test_missing_candidates_are_skipped_and_places_left_over_say_so(queries, vectors):
    candidates = np.full((len(queries), 6), -1, np.int64)
    candidates[:, 2] = 17
    scores, rows = metrics.rescore(Metric.L2, queries, vectors, candidates, 3)
    assert rows.tolist() == [[17, -1, -1]] * len(queries)
    assert np.all(np.isposinf(scores[:, 1:]))


def test_read_only_mapped_columns_are_read_in_place(tmp_path, queries, vectors):
    vectors.tofile(tmp_path / "column")
    mapped = np.asarray(np.memmap(tmp_path / "column", np.float32, "r", shape=vectors.shape))
    assert not mapped.flags.writeable
    assert np.array_equal(
        metrics.top_k(Metric.COSINE, queries, mapped, 5)[1], metrics.top_k(Metric.COSINE, queries, vectors, 5)[1]
    )


def test_short_kernels_keep_the_interpreter_and_others_let_it_go():
    vectors = np.zeros((200_000, 64), np.float32)
    found = np.empty((1, 1), np.float32), np.empty((1, 1), np.int64)
    ticks = [0]
    stop = threading.Event()

    def tick():
        while not stop.is_set():
            ticks[0] += 1

    def ticks_while(scan):
        before = ticks[0]
        scan(kernels.L2, vectors[:1], vectors, 0, len(vectors), metrics.NO_BITMAP, False, *found)
        return ticks[0] - before

    ticking = threading.Thread(target=tick)
    ticking.start()
    held = min(ticks_while(kernels.scan_held) for _ in range(9))
    free = max(ticks_while(kernels.scan) for _ in range(9))
    stop.set()
    ticking.join()
    # Before and after, the other thread has its 5 ms.
    assert held * 2 < free
