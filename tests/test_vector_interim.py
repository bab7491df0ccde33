"""Lists over growing rows: exact scores, high recall, k results, and blocks that are left where they are."""

import numpy as np
import pytest

from elanus.model.types import Metric
from elanus.vector import metrics
from elanus.vector.interim import BLOCK_ROWS, InterimIndex
from tests.test_vector_index import embeddings, recall

BLOCKS = 4


@pytest.fixture(scope="module", params=[(m, o) for m in Metric for o in (0, 500)], ids=lambda p: f"{p[0]}-{p[1]}")
def case(request):
    metric, offset = request.param
    vectors = embeddings(BLOCKS * BLOCK_ROWS) + np.float32(offset if metric is Metric.L2 else 0)
    queries = embeddings(50, seed=1) + np.float32(offset if metric is Metric.L2 else 0)
    blocks = np.split(vectors, BLOCKS)
    index = InterimIndex.train(metric, blocks[0])
    for block in blocks:
        index = index.with_block(block)
    return index, vectors, queries


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
    assert all(np.shares_memory(block.vectors, vectors) for block in index.blocks)
    assert sum(block.codes.nbytes + block.scales.nbytes + block.members.nbytes for block in index.blocks) <= (
        len(vectors) * (vectors.shape[1] + 12)
    )


def test_an_earlier_index_stays_as_it_was(case):
    index, vectors, queries = case
    earlier = InterimIndex.train(index.metric, vectors[:BLOCK_ROWS]).with_block(vectors[:BLOCK_ROWS])
    before = earlier.search(queries, 5)
    earlier.with_block(vectors[BLOCK_ROWS : 2 * BLOCK_ROWS])
    assert np.array_equal(earlier.search(queries, 5)[1], before[1])
    assert earlier.rows == BLOCK_ROWS


def test_identical_and_zero_rows_do_no_harm():
    vectors = np.zeros((2 * BLOCK_ROWS, 16), np.float32)
    vectors[5_000:] = 1
    for metric in Metric:
        index = InterimIndex.train(metric, vectors[:BLOCK_ROWS])
        index = index.with_block(vectors[:BLOCK_ROWS]).with_block(vectors[BLOCK_ROWS:])
        scores, rows = index.search(np.ones((1, 16), np.float32), 3)
        assert np.all(rows >= 5_000)
        assert scores[0].tolist() == pytest.approx([{"L2": 0, "IP": 16, "COSINE": 1}[metric]] * 3)
