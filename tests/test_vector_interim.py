"""Lists over growing rows: exact scores, high recall, k results, and blocks that are left where they are."""

import numpy as np
import pytest

from elanus.model.types import METRICS_OF, DataType, Metric
from elanus.vector import metrics
from elanus.vector.interim import LISTS, InterimIndex
from tests.test_vector_index import embeddings, recall

BLOCK_ROWS, BLOCKS = 8_192, 4
ENDS = [BLOCK_ROWS * (i + 1) for i in range(BLOCKS)]


@pytest.fixture(
    scope="module",
    params=[(m, o) for m in METRICS_OF[DataType.FLOAT_VECTOR] for o in (0, 500)],
    ids=lambda p: f"{p[0]}-{p[1]}",
)
def case(request):
    metric, offset = request.param
    vectors = embeddings(BLOCKS * BLOCK_ROWS) + np.float32(offset if metric is Metric.L2 else 0)
    queries = embeddings(50, seed=1) + np.float32(offset if metric is Metric.L2 else 0)
    return InterimIndex.train(metric, vectors).over(vectors, ENDS), vectors, queries


def test_recall_is_high_and_scores_are_exact(case):
    index, vectors, queries = case
    scores, rows = index.search(queries, 10)
    assert recall(rows, metrics.top_k(index.metric, queries, vectors, 10)[1]) >= 0.95
    assert np.array_equal(scores, np.take_along_axis(metrics.scores(index.metric, queries, vectors), rows, axis=1))


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.0002])
def test_k_rows_come_back_whenever_k_rows_pass(case, share):
    index, vectors, queries = case
    allowed = np.random.default_rng(2).random(len(vectors)) < share
    bitmap = np.packbits(allowed, bitorder="little")
    _, rows = index.search(queries, 10, bitmap)
    assert np.all((rows >= 0).sum(axis=1) == min(10, allowed.sum()))
    assert np.all(allowed[rows[rows >= 0]])
    assert recall(rows, metrics.top_k(index.metric, queries, vectors, 10, bitmap)[1]) >= 0.95


def test_a_block_is_searched_where_it_lies(case):
    index, vectors, _ = case
    assert all(np.shares_memory(block.rows.vectors, vectors) for block in index.blocks)
    coded = [block.rows for block in index.blocks]
    assert sum(rows.codes.nbytes + rows.scales.nbytes + rows.members.nbytes for rows in coded) <= (
        len(vectors) * (vectors.shape[1] + 12)
    )


def test_an_earlier_index_stays_as_it_was(case):
    index, vectors, queries = case
    earlier = InterimIndex.train(index.metric, vectors).over(vectors, [BLOCK_ROWS])
    before = earlier.search(queries, 5)
    later = earlier.over(vectors, ENDS[:2])
    assert later.blocks[0] is earlier.blocks[0]
    assert np.array_equal(earlier.search(queries, 5)[1], before[1])
    assert earlier.rows == BLOCK_ROWS


def test_rows_in_one_block_are_found_as_those_in_many(case):
    index, vectors, queries = case
    whole = index.over(vectors, [len(vectors)])
    assert len(whole.blocks) == 1
    for mine, other in zip(whole.search(queries, 10), index.search(queries, 10), strict=True):
        assert np.array_equal(mine, other)


def test_centroids_are_outgrown_by_four_times_the_rows_and_never_once_there_are_all():
    few = InterimIndex.train(Metric.L2, embeddings(1_024))
    assert [few.outgrown(rows) for rows in (1_024, 4_000, 4_096)] == [False, False, True]
    full = InterimIndex.train(Metric.L2, embeddings(10_000))
    assert len(full.centroids) == LISTS
    assert not full.outgrown(1_000_000)


def test_identical_and_zero_rows_do_no_harm():
    vectors = np.zeros((2 * BLOCK_ROWS, 16), np.float32)
    vectors[5_000:] = 1
    for metric in METRICS_OF[DataType.FLOAT_VECTOR]:
        index = InterimIndex.train(metric, vectors).over(vectors, ENDS[:2])
        scores, rows = index.search(np.ones((1, 16), np.float32), 3)
        assert np.all(rows >= 5_000)
        assert scores[0].tolist() == pytest.approx([{"L2": 0, "IP": 16, "COSINE": 1}[metric]] * 3)
