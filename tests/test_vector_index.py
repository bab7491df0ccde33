"""What an index promises: recall, k results, exact scores, node = row; over mapped files, from any thread."""

import gc
import threading

import numpy as np
import psutil
import pytest

from elanus.model.errors import Closed, CorruptData, FormatTooNew
from elanus.model.types import Metric
from elanus.vector import build, metrics, payload
from elanus.vector.cost import Route, choose
from elanus.vector.graph import Codes
from elanus.vector.open import VectorIndex
from elanus.vector.registry import IndexSpec, SearchParams, resolve, search_params

ROWS, DIM, K = 12_000, 48, 10
HEADER = 64

SPECS = {
    "flat": resolve("FLAT", {}),
    "ivf": resolve("IVF_FLAT", {"nlist": 64}),
    "hnsw": resolve("HNSW", {"M": 16, "efConstruction": 200}),
    "auto": resolve("AUTOINDEX", {}),
}
SEARCH = {"flat": {}, "ivf": {"nprobe": 16}, "hnsw": {"ef": 128}, "auto": {}}


def embeddings(rows, seed=0, unit=False, dim=DIM):
    """Clustered vectors of low rank, as embeddings are, of different lengths unless `unit`."""
    rng = np.random.default_rng(99)
    basis, centres = rng.standard_normal((12, dim)), rng.standard_normal((60, 12))
    rng = np.random.default_rng(seed)
    points = centres[rng.integers(0, 60, rows)] + 0.7 * rng.standard_normal((rows, 12))
    vectors = points @ basis + 0.3 * rng.standard_normal((rows, dim))
    if unit:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def write_behind_header(path, spec, metric, vectors):
    """An index file as a store keeps it: something else first, then the payload."""
    bare = path.with_suffix(".bare")
    built = build.build(spec, metric, vectors, bare, threads=1)
    path.write_bytes(b"h" * HEADER + bare.read_bytes())
    bare.unlink()
    return built


def open_index(path, spec, metric, vectors):
    return VectorIndex.open(path if spec.has_file else None, vectors, metric, spec, HEADER)


def recall(found, exact):
    hits = [len(np.intersect1d(f[f >= 0], e[e >= 0])) for f, e in zip(found, exact, strict=True)]
    return sum(hits) / max(1, int((exact >= 0).sum()))


@pytest.fixture(scope="module")
def queries():
    return embeddings(60, seed=1)


@pytest.fixture(
    scope="module",
    params=[
        (kind, metric, unit)
        for kind in SPECS
        for metric, unit in [(Metric.L2, False), (Metric.IP, False), (Metric.COSINE, False), (Metric.COSINE, True)]
        if kind in {"hnsw", "auto"} or not unit
    ],
    ids=lambda p: f"{p[0]}-{p[1]}{'-unit' if p[2] else ''}",
)
def case(request, tmp_path_factory):
    kind, metric, unit = request.param
    vectors, spec = embeddings(ROWS, unit=unit), SPECS[kind]
    path = tmp_path_factory.mktemp("index") / "index"
    built = write_behind_header(path, spec, metric, vectors) if spec.has_file else None
    index = open_index(path, spec, metric, vectors)
    return index, vectors, search_params(spec, SEARCH[kind], K), built


def test_recall_is_high_and_scores_are_exact(case, queries):
    index, vectors, params, _ = case
    scores, rows = index.search(queries, K, params)
    _, exact = metrics.top_k(index.metric, queries, vectors, K)
    assert recall(rows, exact) >= 0.95
    assert np.array_equal(scores, np.take_along_axis(metrics.scores(index.metric, queries, vectors), rows, axis=1))


def test_one_query_at_a_time_gives_the_same(case, queries):
    index, _, params, _ = case
    scores, rows = index.search(queries, K, params)
    for i in range(len(queries)):
        alone = index.search(np.ascontiguousarray(queries[i : i + 1]), K, params)
        assert np.array_equal(alone[0][0], scores[i])
        assert np.array_equal(alone[1][0], rows[i])


@pytest.mark.parametrize("share", [0.5, 0.1, 0.02, 0.01, 0.001])
def test_a_filter_of_any_selectivity_keeps_recall_and_returns_k(case, queries, share):
    index, vectors, params, _ = case
    allowed = np.random.default_rng(3).random(ROWS) < share
    bitmap = np.packbits(allowed, bitorder="little")
    scores, rows = index.search(queries, K, params, bitmap)
    _, exact = metrics.top_k(index.metric, queries, vectors, K, bitmap)
    assert recall(rows, exact) >= 0.95
    assert np.all((rows >= 0).sum(axis=1) == min(K, allowed.sum()))
    assert np.all(allowed[rows[rows >= 0]])
    better = np.diff(scores, axis=1) if index.metric is Metric.L2 else -np.diff(scores, axis=1)
    assert np.all((better >= 0) | np.isnan(better))


def test_a_filter_far_from_the_query_still_returns_k(case, queries):
    """The passing rows are those the walk would meet last: the planner cannot know, the search must notice."""
    index, vectors, params, _ = case
    whole = metrics.scores(index.metric, queries[:1], vectors)[0]
    order = np.argsort(whole if index.metric is Metric.L2 else -whole)
    allowed = np.zeros(ROWS, np.bool_)
    allowed[order[-ROWS * 7 // 10 :]] = True
    _, rows = index.search(queries[:1], K, params, np.packbits(allowed, bitorder="little"))
    assert np.all(rows >= 0)
    assert np.all(allowed[rows])


@pytest.mark.parametrize("passing", [0, 1, K - 1, K])
def test_when_few_rows_pass_all_of_them_come_back(case, queries, passing):
    index, _, params, _ = case
    allowed = np.zeros(ROWS, np.bool_)
    allowed[np.random.default_rng(4).choice(ROWS, passing, replace=False)] = True
    _, rows = index.search(queries[:3], K, params, np.packbits(allowed, bitorder="little"), passing)
    for found in rows:
        assert set(found[found >= 0]) == set(np.flatnonzero(allowed))


def test_limits_as_large_as_the_column_return_every_row_once(tmp_path):
    vectors = embeddings(300)
    for name, spec in SPECS.items():
        path = tmp_path / name
        if spec.has_file:
            write_behind_header(path, spec, Metric.L2, vectors)
        index = open_index(path, spec, Metric.L2, vectors)
        for k in (300, 400):
            _, rows = index.search(vectors[:2], k, search_params(spec, {}, k))
            for found in rows:
                assert sorted(found[found >= 0]) == list(range(300))
                assert np.all(found[300:] == -1)


def test_equal_scores_come_in_row_order(tmp_path):
    vectors = np.repeat(embeddings(500), 4, axis=0)
    for name in ("hnsw", "auto"):
        write_behind_header(tmp_path / name, SPECS[name], Metric.COSINE, vectors)
        index = open_index(tmp_path / name, SPECS[name], Metric.COSINE, vectors)
        scores, rows = index.search(np.ascontiguousarray(vectors[::40]), 12, SearchParams(ef=100))
        ties = scores[:, 1:] == scores[:, :-1]
        assert ties.any()
        assert np.all(rows[:, 1:][ties] > rows[:, :-1][ties])


def test_an_index_file_holds_no_second_copy_of_the_vectors(case):
    _, vectors, _, built = case
    if built is None:
        return
    if built.codes == "f32":
        assert built.size < vectors.nbytes
    assert built.size / ROWS <= {"": 14 + DIM, "f32": 180, "bf16": 180 + 2 * DIM, "sq8": 180 + DIM}[built.codes]


def test_the_default_index_of_768_dimensions_stays_within_its_memory(tmp_path):
    vectors = embeddings(3_000, dim=768)
    built = build.build(SPECS["auto"], Metric.COSINE, vectors, tmp_path / "index", threads=1)
    copied_per_node = 4 + 8 + 1  # levels and link offsets in faiss's objects, and a visited mark
    assert built.codes == "sq8"
    assert built.size / 3_000 + copied_per_node <= 1_200


def test_one_outlier_or_a_common_offset_does_not_cost_recall(tmp_path, queries):
    outlier = embeddings(6_000)
    outlier[77] *= 1e4
    offset = embeddings(6_000) + np.float32(5_000)
    for name, vectors, asked, codes in [("a", outlier, queries, "bf16"), ("b", offset, queries + 5_000, "sq8")]:
        built = build.build(SPECS["auto"], Metric.L2, vectors, tmp_path / name, threads=1)
        assert built.codes == codes
        index = VectorIndex.open(tmp_path / name, vectors, Metric.L2, SPECS["auto"])
        asked = asked.astype(np.float32)
        _, rows = index.search(asked, K, search_params(index.spec, {}, K))
        assert recall(rows, metrics.top_k(Metric.L2, asked, vectors, K)[1]) >= 0.95


def test_many_threads_search_one_index(case, queries):
    index, _, params, _ = case
    _, expected = index.search(queries, K, params)
    wrong = []

    def ask(offset):
        for i in range(offset, len(queries), 4):
            if not np.array_equal(index.search(np.ascontiguousarray(queries[i : i + 1]), K, params)[1][0], expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_closing_unmaps_the_file_and_later_searches_say_so(tmp_path, queries):
    vectors, path = embeddings(2_000), tmp_path / "index"
    write_behind_header(path, SPECS["hnsw"], Metric.L2, vectors)
    index = open_index(path, SPECS["hnsw"], Metric.L2, vectors)
    index.search(queries, K, SearchParams(ef=32))
    maps = [m.path for m in psutil.Process().memory_maps()]
    assert str(path) in maps
    gc.disable()
    try:
        index.close()
        assert str(path) not in [m.path for m in psutil.Process().memory_maps()]
    finally:
        gc.enable()
    with pytest.raises(Closed):
        index.search(queries, K, SearchParams(ef=32))


def test_damaged_foreign_and_newer_files_are_refused(tmp_path):
    vectors, path = embeddings(2_000), tmp_path / "index"
    write_behind_header(path, SPECS["hnsw"], Metric.L2, vectors)
    whole = path.read_bytes()

    def open_as(data, metric=Metric.L2, spec=SPECS["hnsw"], column=vectors):
        path.write_bytes(data)
        return VectorIndex.open(path, column, metric, spec, HEADER)

    assert open_as(whole).rows == 2_000
    for cut in (HEADER + 8, HEADER + 60, len(whole) - 4_096):
        with pytest.raises(CorruptData, match="rebuild the index"):
            open_as(whole[:cut])
    with pytest.raises(CorruptData, match="no index payload"):
        open_as(whole[:HEADER] + b"garbage!" + whole[HEADER + 8 :])
    with pytest.raises(FormatTooNew, match="version 9"):
        open_as(whole[: HEADER + 8] + (9).to_bytes(4, "little") + whole[HEADER + 12 :])
    with pytest.raises(CorruptData, match="metric is L2, not IP"):
        open_as(whole, metric=Metric.IP)
    with pytest.raises(CorruptData, match="rows is 2000, not 1000"):
        open_as(whole, column=vectors[:1_000])


def test_the_planner_scans_when_few_pass_and_walks_when_many_do():
    spec, params = SPECS["hnsw"], SearchParams(ef=64)
    assert choose(spec, 200_000, 200_000, 10, params, 128).route is Route.GRAPH
    assert choose(spec, 200_000, 100_000, 10, params, 128).route is Route.GRAPH
    assert choose(spec, 200_000, 2_000, 10, params, 128).route is Route.SCAN
    assert choose(spec, 200_000, 5, 10, params, 128).route is Route.SCAN
    assert choose(SPECS["flat"], 200_000, 200_000, 10, SearchParams(), 128).route is Route.SCAN
    assert choose(SPECS["ivf"], 200_000, 200_000, 10, SearchParams(nprobe=8), 128).route is Route.LISTS
    efs = [choose(spec, 10**6, 10**6 * share // 100, 10, params, 128).ef for share in (100, 50, 25, 10)]
    assert efs == sorted(efs)
    assert efs[0] == 64


def merged(old, others, dropped):
    """A merge as compaction does it: old rows without the dropped ones and the others, in an order of its own."""
    kept = np.flatnonzero(~dropped)
    rows = np.concatenate([old[kept], others])
    order = np.random.default_rng(5).permutation(len(rows))
    place = np.empty(len(rows), np.int64)
    place[order] = np.arange(len(rows))
    new_of_old = np.full(len(old), -1, np.int64)
    new_of_old[kept] = place[: len(kept)]
    return np.ascontiguousarray(rows[order]), new_of_old


@pytest.mark.parametrize("kind", ["hnsw", "auto"])
@pytest.mark.parametrize("share_dropped", [0.0, 0.2])
@pytest.mark.parametrize(("metric", "unit"), [(Metric.L2, False), (Metric.COSINE, False), (Metric.COSINE, True)])
def test_extending_keeps_node_equal_row_and_recall(tmp_path, queries, kind, share_dropped, metric, unit):
    spec = SPECS[kind]
    old, others = embeddings(4_000, unit=unit), embeddings(2_000, seed=8, unit=unit)
    build.build(spec, metric, old, tmp_path / "old", threads=1)
    dropped = np.random.default_rng(6).random(len(old)) < share_dropped
    vectors, new_of_old = merged(old, others, dropped)
    built = build.extend(spec, metric, payload.read(tmp_path / "old"), new_of_old, vectors, tmp_path / "new", threads=1)
    assert built.extended
    assert built.rows == len(vectors)
    index = VectorIndex.open(tmp_path / "new", vectors, metric, spec)
    itself = index.search(vectors, 1, SearchParams(ef=40))[1][:, 0]
    assert np.mean(itself == np.arange(len(vectors))) >= 0.99
    _, rows = index.search(queries, K, SearchParams(ef=80))
    assert recall(rows, metrics.top_k(metric, queries, vectors, K)[1]) >= 0.95


def test_extending_by_rows_of_other_lengths_compares_all_by_their_directions(tmp_path, queries):
    spec, old = SPECS["hnsw"], embeddings(4_000, unit=True)
    build.build(spec, Metric.COSINE, old, tmp_path / "old")
    vectors, new_of_old = merged(old, embeddings(2_000, seed=8), np.zeros(4_000, np.bool_))
    opened = payload.read(tmp_path / "old")
    assert build.extend(spec, Metric.COSINE, opened, new_of_old, vectors, tmp_path / "new").extended
    index = VectorIndex.open(tmp_path / "new", vectors, Metric.COSINE, spec)
    _, rows = index.search(queries, K, SearchParams(ef=80))
    assert recall(rows, metrics.top_k(Metric.COSINE, queries, vectors, K)[1]) >= 0.95


def test_extending_builds_anew_where_the_old_graph_does_not_serve(tmp_path):
    spec, old = SPECS["hnsw"], embeddings(1_000)
    build.build(spec, Metric.L2, old, tmp_path / "old")
    opened = payload.read(tmp_path / "old")
    vectors, new_of_old = merged(old, embeddings(200, seed=8), np.zeros(1_000, np.bool_))
    other_m = IndexSpec(spec.kind, m=8, ef_construction=50)
    assert not build.extend(other_m, Metric.L2, opened, new_of_old, vectors, tmp_path / "b").extended
    none_left = np.full(1_000, -1, np.int64)
    assert not build.extend(spec, Metric.L2, opened, none_left, vectors, tmp_path / "c").extended


@pytest.mark.parametrize("metric", [Metric.L2, Metric.IP, Metric.COSINE])
@pytest.mark.parametrize("codes", [Codes.F32, Codes.BF16, Codes.SQ8])
def test_walks_compare_by_each_of_the_codes(tmp_path, queries, metric, codes, monkeypatch):
    vectors = embeddings(4_000, unit=metric is Metric.COSINE)
    monkeypatch.setattr(build, "_serves", lambda tried, *_: tried is codes)
    built = build.build(SPECS["hnsw"], metric, vectors, tmp_path / "index", threads=1)
    assert built.codes == codes
    index = VectorIndex.open(tmp_path / "index", vectors, metric, SPECS["hnsw"])
    _, rows = index.search(queries, K, SearchParams(ef=128))
    assert recall(rows, metrics.top_k(metric, queries, vectors, K)[1]) >= 0.95


@pytest.mark.parametrize("dim", [1, 3, 17, 130, 3_001])
@pytest.mark.parametrize("metric", [Metric.L2, Metric.IP, Metric.COSINE])
def test_walks_of_any_dimension(tmp_path, metric, dim):
    """Sums of the codes of one byte are rounded to what fits in 32 bits: coarser, the more dimensions."""
    vectors, asked = embeddings(1_000, dim=dim), embeddings(20, seed=1, dim=dim)
    build.build(SPECS["hnsw"], metric, vectors, tmp_path / "index", threads=1)
    index = VectorIndex.open(tmp_path / "index", vectors, metric, SPECS["hnsw"])
    scores, _ = index.search(asked, K, SearchParams(ef=256))
    exact, _ = metrics.top_k(metric, asked, vectors, K)
    assert np.mean(scores == exact) >= 0.95


def test_files_without_squares_are_walked_all_the_same(tmp_path, queries):
    vectors, path = embeddings(2_000), tmp_path / "index"
    build.build(SPECS["auto"], Metric.L2, vectors, path, threads=1)
    opened = payload.read(path)
    sections = {name: array for name, array in opened.sections.items() if name != "squares"}
    payload.write(tmp_path / "older", opened.meta, sections)
    found = [
        VectorIndex.open(of, vectors, Metric.L2, SPECS["auto"]).search(queries, K, SearchParams(ef=64))
        for of in (path, tmp_path / "older")
    ]
    assert np.array_equal(*(rows for _, rows in found))
