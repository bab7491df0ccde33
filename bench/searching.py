"""Search in process against the bare index, and search while the database works behind it.

quiet  A is a native search, B is `index.search(q, k, params=...)` of faiss on the same graph, the very links and codes
       that the native search walks: one query, one thread, one segment. The ratio of medians has a bound.
busy   The same searches while 1,000 rows arrive each second and are sealed and indexed behind them. The p99 is
       compared with its quiet value; recall is checked all the while against an exact scan of what had been
       acknowledged when the query began.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt

from bench import database
from bench.context import Context
from bench.data import Vectors, nearest
from bench.measure import Floats, Spread, compare, latencies_and_cpu_s, latencies_s
from bench.report import Figure, plot_latencies

ROWS, K, M, EF_CONSTRUCTION, EF = 200_000, 10, 16, 200, 64
QUERIES = 1_000
ARRIVING_PER_S, ARRIVING_BATCH = 1_000, 10
BUSY_S = 75.0
CHECKED_EVERY = 101
"""Not a divisor of the number of queries: each is checked some time."""


def quiet(context: Context) -> list[Figure]:
    """A native search costs at most 1.3 times the bare call."""
    faiss.omp_set_num_threads(1)
    rows, queries = context.source.rows(context.rows(ROWS)), context.source.queries(QUERIES)
    folder = context.prepared("hnsw", lambda path: _build(path, rows))
    params = faiss.SearchParametersHNSW(efSearch=EF)
    seen: dict[str, list[Floats]] = {"native": [], "bare faiss": []}
    cpu: list[float] = []

    with database.opened(folder) as collection:
        bare = collection.bare_graph()

        def native() -> float:
            took, cpu_a_call = latencies_and_cpu_s(lambda i: collection.nearest(queries[i], K, {"ef": EF}), QUERIES)
            cpu.append(cpu_a_call)
            seen["native"].append(took)
            return float(np.median(took))

        def faiss_alone() -> float:
            took = latencies_s(lambda i: bare.search(queries[i : i + 1], K, params=params), QUERIES)
            seen["bare faiss"].append(took)
            return float(np.median(took))

        native(), faiss_alone()  # the first round touches pages and compiles; it does not count
        for times in seen.values():
            times.clear()
        measured = compare(native, faiss_alone, context.rounds)
        truth, _ = nearest(rows, queries, K)
        found = [_recall(rows, q, collection.nearest(q, K, {"ef": EF}), t) for q, t in zip(queries, truth, strict=True)]
        bare_found = bare.search(queries, K, params=params)[1]
        found_bare = [_recall(rows, q, f, t) for q, f, t in zip(queries, bare_found, truth, strict=True)]

    plot_latencies({k: np.concatenate(v) for k, v in seen.items()}, "one query", context.out / "search.png")
    what = f"{len(rows):,} × {rows.shape[1]}, HNSW M {M} efConstruction {EF_CONSTRUCTION}, ef {EF}, k {K}"
    return [
        Figure("search", "native / bare faiss, median", measured.ratio, "×", 1.3, note=what),
        Figure("search", "native, median", measured.a.scaled(1e6), "µs"),
        Figure("search", "bare faiss, median", measured.b.scaled(1e6), "µs"),
        Figure("search", "native, CPU a call", Spread.of(cpu[1:]).scaled(1e6), "µs"),
        Figure("search", "native, recall", Spread.of([float(np.mean(found))]), "", 0.95, "at least"),
        Figure("search", "bare faiss, recall", Spread.of([float(np.mean(found_bare))]), ""),
    ]


def busy(context: Context) -> list[Figure]:
    """The p99 stays within three times its quiet value while rows arrive, and recall holds."""
    faiss.omp_set_num_threads(1)
    rows, queries = context.source.rows(context.rows(ROWS)), context.source.queries(QUERIES)
    prepared = context.prepared("hnsw", lambda path: _build(path, rows))
    folder = context.fresh("busy")
    database.copy(prepared, folder)
    truth, _ = nearest(rows, queries, K)
    extra = context.source.rows(len(rows) + int(2 * BUSY_S * ARRIVING_PER_S))[len(rows) :]
    with database.opened(folder) as collection:

        def search(i: int) -> object:
            return collection.nearest(queries[i], K, {"ef": EF})

        latencies_s(search, QUERIES)
        before = [_p99(latencies_s(search, QUERIES)) for _ in range(context.rounds)]
        arrivals = Arrivals(collection, extra, first_key=len(rows))
        arrivals.start()
        watched = _watch(collection, rows, queries, truth, arrivals, BUSY_S)
        indexed = collection.segments()
    quiet_p99, parts = Spread.of(before), np.array_split(watched.took, context.rounds)
    during = Spread.of([_p99(part) for part in parts])
    rate = arrivals.acknowledged / arrivals.lasted_s
    plot_latencies({"while rows arrive": watched.took}, "one query", context.out / "busy.png")
    return [
        Figure("busy", "p99 / quiet p99", during.scaled(1 / quiet_p99.median), "×", 3.0, note=f"segments: {indexed}"),
        Figure("busy", "p99, quiet", quiet_p99.scaled(1e3), "ms"),
        Figure("busy", "p99, while rows arrive", during.scaled(1e3), "ms"),
        Figure("busy", "lowest recall of any second", Spread.of([min(watched.recall)]), "", 0.95, "at least"),
        Figure("busy", "rows that arrived", Spread.of([rate]), "rows/s", 0.95 * ARRIVING_PER_S, "at least"),
    ]


class Arrivals:
    """A thread that inserts `ARRIVING_BATCH` rows at a time, `ARRIVING_PER_S` a second, and knows what is acknowledged.

    Invariant: rows `vectors[:acknowledged]` have been acknowledged; the number only grows.
    """

    def __init__(self, collection: database.Rows, vectors: Vectors, first_key: int) -> None:
        self._collection = collection
        self._vectors = vectors
        self._first_key = first_key
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="arrivals")
        self._failure: BaseException | None = None
        self.acknowledged = 0
        self.lasted_s = 0.0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()
        if self._failure:
            raise self._failure

    def known(self, upto: int) -> Vectors:
        """The first `upto` of them."""
        return self._vectors[:upto]

    def _run(self) -> None:
        started = time.perf_counter()
        try:
            while not self._ended.is_set():
                due = started + self.acknowledged / ARRIVING_PER_S
                if self._ended.wait(max(0.0, due - time.perf_counter())):
                    break
                begin = self.acknowledged
                keys = self._first_key + np.arange(begin, begin + ARRIVING_BATCH)
                self._collection.insert(keys, self._vectors[begin : begin + ARRIVING_BATCH])
                self.acknowledged = begin + ARRIVING_BATCH
        except BaseException as failure:  # noqa: BLE001 - handed to `stop`, which raises it
            self._failure = failure
        self.lasted_s = time.perf_counter() - started


@dataclass(slots=True)
class Watched:
    """Latencies of all searches, and the mean recall of each second."""

    took: Floats
    recall: list[float] = field(default_factory=list)


def _watch(
    collection: database.Rows, rows: Vectors, queries: Vectors, truth: Vectors, arrivals: Arrivals, lasts_s: float
) -> Watched:
    """Search for so long. What is to be checked is kept until then: an exact scan between two searches would leave
    nothing of the database in the caches.
    """
    took: list[float] = []
    kept: list[tuple[float, int, int, Vectors]] = []
    started = begun = time.perf_counter()
    i = 0
    while begun - started < lasts_s:
        at, acknowledged = i % len(queries), arrivals.acknowledged
        begun = time.perf_counter()
        hits = collection.nearest_scores(queries[at], K, {"ef": EF})
        took.append(time.perf_counter() - begun)
        if i % CHECKED_EVERY == 0:
            kept.append((begun - started, at, acknowledged, hits))
        i += 1
    arrivals.stop()
    recall: list[list[float]] = [[] for _ in range(int(lasts_s))]
    for when, at, acknowledged, hits in kept:
        # A hit that is as near as the k-th of what was acknowledged is right, whether it came before or after.
        late = ((arrivals.known(acknowledged) - queries[at]) ** 2).sum(axis=1)
        kth = np.partition(np.concatenate([truth[at], late]), K - 1)[K - 1]
        recall[min(int(when), len(recall) - 1)].append(float((hits <= kth * (1 + 1e-5)).sum()) / K)
    return Watched(np.array(took), [float(np.mean(second)) for second in recall if second])


def _build(folder: Path, rows: Vectors) -> None:
    database.build(folder, rows, {"M": M, "efConstruction": EF_CONSTRUCTION})


def _recall(rows: Vectors, query: Vectors, found: npt.NDArray[np.int64], truth: Vectors) -> float:
    """The share of the true neighbours found; rows as near as the last of them count, whichever they are."""
    distances = ((rows[found[found >= 0]] - query) ** 2).sum(axis=1)
    return float((distances <= truth[-1] * (1 + 1e-5)).sum()) / len(truth)


def _p99(took: Floats) -> float:
    return float(np.percentile(took, 99))
