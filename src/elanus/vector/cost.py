"""Which way to search, and what it takes: pure functions over measured constants.

A graph walk with a filter visits rows that do not pass as well, and stops when `ef` visited ones are nearer than the
rest; to see as many passing rows as an unfiltered walk does it has to be wider, the more the fewer pass. A scan of
the passing rows costs the same whatever the graph. So below some share the scan is both faster and exact (6 % of
200 k rows, 14 % of 50 k, 3 % of 1 M); `choose` compares the two estimates.

The constants were fitted on one core of a 2.6 GHz server (480 MB shared L3, about 16 GB/s a core), 200 k × 128
and 99.5 k × 384; see the tables beside them. Only their ratios matter for the choice, and those vary little between
machines because both sides wait for memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from elanus.vector.registry import AUTO_M, IndexSpec, SearchParams


class Route(StrEnum):
    SCAN = "scan"
    """Every passing row is scored: exact."""
    GRAPH = "graph"
    LISTS = "lists"
    INTERIM = "interim lists"
    POSTINGS = "postings"
    """Rows of sparse vectors that may belong into the answer are scored: exact."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """How one segment is searched, and what one query is expected to cost."""

    route: Route
    ef: int = 0
    nprobe: int = 0
    microseconds: float = 0.0


SCAN_ROW_NS = 20.0
"""One scored row: its bit, the way to its place in memory, the comparison with the k-th best."""

SCAN_FLOAT_NS = 0.23
"""One float of a scanned vector, as it comes from memory. Measured a row: 128-d 44..57 ns, 384-d 94..120 ns."""

MASK_ROW_NS = 0.16
"""One row of a bitmap walked over, passing or not."""

CODE_ROW_NS = 4.0
"""One row of a list ranked by its code: its scale, the comparison with the worst candidate."""

CODE_FLOAT_NS = 0.075
"""One dimension of a ranked row. Measured a row: 128-d 13 ns, 384-d 32 ns."""

LIST_ROW_NS = 2.0
"""One row of a list looked up in a bitmap."""

WALK_US = 10.0
"""The way down from the top of a graph to its bottom level, and setting up."""

HOP_NS = 12.0
"""One node compared by a graph walk: its link, its place among the candidates."""

HOP_FLOAT_NS = 0.16
"""One dimension of a compared node: mostly the wait for its code. Walks of ef 64 and 256 measured: 47 and 168 µs
(128-d, M 16), 95 and 332 µs (384-d sentences, M 16, whose neighbourhoods overlap less)."""

NEW_SHARE = 0.55
"""Of a node's 2 M neighbours, those that the walk has not met before."""

HEAP_NS = 0.2
"""Candidates are kept in order, so a walk has a part that grows with ef²: 0.86 ms at ef 1,024, 128-d."""

WIDENING = 0.3
"""How much of 1 / share - 1 a filtered walk is widened by. A walk meets more rows than its ef and keeps every passing
one among them, so less than all of it is enough. Recall of ef 64 with 50, 25, 10, 5 and 2 % passing (unfiltered):

    200 k × 128 synthetic       .998  .999  .998  .996  .996   (.999)
    99 k × 384 sentences        .959  .957  .966  .976  .987   (.956)
    the latter, not widened     .933  .918  .849  .762  .598

Such a walk takes 1.1 to 1.4 times an unfiltered one with half of the rows passing, 1.4 to 1.8 times with a quarter, and
three times with a tenth, where `choose` still prefers it to the scan only if that takes longer."""


def scan_us(rows: int, passing: int, dim: int) -> float:
    """One query against the passing ones of `rows`."""
    mask = MASK_ROW_NS * rows if passing < rows else 0.0
    return (mask + passing * (SCAN_ROW_NS + SCAN_FLOAT_NS * dim)) / 1000


def graph_us(m: int, ef: int, dim: int) -> float:
    """One walk that keeps `ef` candidates."""
    compared = ef * 2 * m * NEW_SHARE
    return WALK_US + (compared * (HOP_NS + HOP_FLOAT_NS * dim) + HEAP_NS * ef * ef) / 1000


def lists_us(nlist: int, ranked: int, looked_up: int, dim: int) -> float:
    """Ranking `nlist` lists, then `ranked` of their rows by codes, of `looked_up` that a bitmap was asked for."""
    centroids = nlist * SCAN_FLOAT_NS * dim
    return (centroids + LIST_ROW_NS * looked_up + ranked * (CODE_ROW_NS + CODE_FLOAT_NS * dim)) / 1000


def choose(spec: IndexSpec, rows: int, passing: int, k: int, params: SearchParams, dim: int) -> Strategy:
    """How to find the k nearest of the `passing` among `rows`, as well as an unfiltered search with `params` would."""
    scan = Strategy(Route.SCAN, microseconds=scan_us(rows, passing, dim))
    if not spec.has_file or passing <= k:
        return scan
    share = passing / rows
    if spec.has_lists:
        if params.nprobe >= spec.nlist:
            return scan  # who asks for every list asks for the exact answer, and lists are ranked by codes
        # Lists go on until as many passing rows are ranked as the unfiltered search would rank.
        ranked = min(passing, math.ceil(rows * params.nprobe / spec.nlist))
        lists = lists_us(spec.nlist, ranked, 0 if passing == rows else math.ceil(ranked / share), dim)
        return scan if scan.microseconds <= lists else Strategy(Route.LISTS, 0, params.nprobe, lists)
    ef = max(params.ef, k)
    if passing < rows:
        ef = min(rows, math.ceil(ef * (1 + WIDENING * (1 / share - 1))))
    walk = graph_us(spec.m or AUTO_M, ef, dim)
    return scan if scan.microseconds <= walk else Strategy(Route.GRAPH, ef, 0, walk)


PAIR_NS = 3.5
"""One pair of a scanned sparse vector, beside `SPARSE_ROW_NS` a row: 100,000 rows of 18 pairs 12 ms, of 60 pairs 27."""

SPARSE_ROW_NS = 60.0

POSTINGS_US = 40.0
POSTING_NS = 1.2
"""One posting of a query's indexes. Most are not looked at, but the rows that are left have to be scored: TF-IDF of
100,000 sentences, 168,000 postings, 10 hits 230 µs, 100 hits 600."""


def choose_postings(rows: int, passing: int, pairs: float, met: float) -> Strategy:
    """Whether the `passing` ones among rows of so many sparse `pairs` are scanned, or postings asked, of which a query
    meets `met`.
    """
    mask = MASK_ROW_NS * rows if passing < rows else 0.0
    scan = (mask + passing * (SPARSE_ROW_NS + PAIR_NS * pairs)) / 1000
    postings = POSTINGS_US + POSTING_NS * met / 1000
    return (
        Strategy(Route.POSTINGS, microseconds=postings) if postings < scan else Strategy(Route.SCAN, microseconds=scan)
    )


INTERIM_US = 20.0
INTERIM_SHARE = 0.15
"""Of the time that a scan takes, what interim lists over the same rows take: 284 of 2,010 µs at 128-d."""


def choose_interim(covered: int, rows: int, passing: int, dim: int) -> Strategy:
    """Whether rows of which the first `covered` have interim lists are searched with them, or scanned."""
    scan = scan_us(rows, passing, dim)
    lists = INTERIM_US + INTERIM_SHARE * scan_us(covered, covered, dim)
    rest = scan_us(rows - covered, round(passing * (rows - covered) / rows), dim)
    if lists + rest >= scan:
        return Strategy(Route.SCAN, microseconds=scan)
    return Strategy(Route.INTERIM, microseconds=lists + rest)


GRAPH_BUILD_SLACK = 1.3
"""What building holds beside the finished structures: locks, visited marks of each thread, growing arrays."""

BUILDER_BYTES = 200 << 20
"""A builder process with its libraries and compiled kernels, before the first row."""


def index_bytes(spec: IndexSpec, rows: int, dim: int) -> int:
    """About how large the index of `rows` vectors is, mapped pages and anonymous memory together."""
    if spec.has_lists:
        return rows * (dim + 12) + 4 * dim * spec.nlist
    if not spec.is_graph:
        return 0
    return rows * (dim + 4 * round(2 * spec.m * (1 + 0.5 / spec.m)) + 13)


def build_bytes(spec: IndexSpec, rows: int, dim: int, *, spread: bool = False) -> int:
    """Memory to ask of the budget before `rows` vectors are indexed; mapped input pages are not counted.

    Where some rows have no vector the finished links are `spread` over all of them.
    """
    if spec.has_lists:
        sample = 4 * dim * min(rows, 128 * spec.nlist)
        return BUILDER_BYTES + rows * (dim + 24) + 3 * sample + 8 * dim * 65_536
    links = rows * (10 * spec.m + 32) if spread else 0
    return BUILDER_BYTES + links + int(GRAPH_BUILD_SLACK * (index_bytes(spec, rows, dim) + 2 * dim * rows))
