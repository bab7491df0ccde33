"""What a sparse query asks in the end: what words weigh, by BM25 over all that is live in a picture of the collection,
and which values are left out.

A query's word weighs how often the query says it, times ln(1 + (N - n + 1/2) / (n + 1/2)), where N texts are there and
n of them have the word. So it is in Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond"
(Foundations and Trends in Information Retrieval 3, 2009), with the 1 that Lucene and Milvus add, so that a word which
most texts have still counts for something. What a text makes of it is in `vector.term_kernels.bm25_scores`.

Counted are the rows of all partitions that are neither deleted nor expired, whatever part of them a search asks for, so
that a row has one score for a text. A row without words is a text of no length. What was counted is kept with the
picture. Where a segment has postings they are asked, and what its hidden rows say is taken off; other rows are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from elanus.engine import masks
from elanus.engine.planner import SearchRequest, metric_of
from elanus.engine.snapshot import Snapshot
from elanus.model.schema import Field
from elanus.model.types import Metric
from elanus.model.vector_columns import PAIR
from elanus.vector.registry import weights
from elanus.vector.sparse_params import DROP_RATIO, check_search

if TYPE_CHECKING:
    from elanus.vector.exact import Queries


KEPT_TERMS = 1 << 16
"""Words whose counts are kept with a picture: 768 KiB."""


def weighed(snapshot: Snapshot, request: SearchRequest) -> SearchRequest:
    """`request` with what its words weigh in this picture, where it is one for words and does not say it yet; and
    without those of a sparse query's values that `drop_ratio_search` leaves out. Raises `InvalidParameter`.
    """
    if request.vector_field.is_dense:
        return request
    if request.scoring is None and metric_of(snapshot, request) is Metric.BM25:
        request = _of_words(snapshot, request)
    return _without_smallest(request) if DROP_RATIO in request.params else request


def _without_smallest(request: SearchRequest) -> SearchRequest:
    """Of n values of a query the n × ratio smallest, rounded down, are left out; of equal ones none or all."""
    ratio = check_search(request.params)
    queries = np.empty(len(request.queries), object)
    for number, query in enumerate(request.queries):
        pairs = np.frombuffer(query, PAIR)
        dropped = int(ratio * len(pairs))
        if dropped:
            pairs = pairs[pairs["value"] >= np.partition(pairs["value"], dropped)[dropped]]
        queries[number] = pairs.tobytes()
    params = {name: value for name, value in request.params.items() if name != DROP_RATIO}
    return request._replace(queries=queries, params=params)


def _of_words(snapshot: Snapshot, request: SearchRequest) -> SearchRequest:
    field = request.vector_field
    from elanus.vector.exact import Bm25

    definition = snapshot.manifest.index_of(field.id)
    k1, b = weights(definition.params if definition is not None else {})
    pairs = [np.frombuffer(query, PAIR) for query in request.queries]
    terms = np.unique(np.concatenate([np.empty(0, np.uint32), *(p["index"] for p in pairs)]))
    known = _known(snapshot, field, terms)
    texts = known.texts[np.searchsorted(known.terms, terms)]
    idf = np.log1p((known.rows - texts + 0.5) / (texts + 0.5))
    average = known.words / known.rows if known.words else 1.0
    return request._replace(queries=_weighted(pairs, terms, idf), scoring=Bm25(k1, b, average))


class _Counted(NamedTuple):
    """So many texts are live, with so many words together; `texts` of them have each of `terms`, which rise."""

    rows: int
    words: float
    terms: npt.NDArray[np.uint32]
    texts: npt.NDArray[np.int64]


def _known(snapshot: Snapshot, field: Field, terms: npt.NDArray[np.uint32]) -> _Counted:
    """What is counted of these `terms`, and others, kept with the picture. Threads that count at once do it twice."""
    known: _Counted | None = snapshot.counts.get(field.id)
    if known is None:
        known = _counted(snapshot, field, terms)
    else:
        new = terms[~np.isin(terms, known.terms)]
        if not len(new):
            return known
        more = _counted(snapshot, field, new)
        both = np.concatenate((known.terms, new))
        order = np.argsort(both)
        known = known._replace(terms=both[order], texts=np.concatenate((known.texts, more.texts))[order])
    if len(known.terms) <= KEPT_TERMS:
        snapshot.counts[field.id] = known
    return known


def _counted(snapshot: Snapshot, field: Field, terms: npt.NDArray[np.uint32]) -> _Counted:
    from elanus.vector.exact import count_texts

    total, words = 0, 0.0
    texts = np.zeros(len(terms), np.int64)
    for unit in snapshot.units:
        mask = snapshot.visible(unit, snapshot.manifest.live_partitions)
        rows = np.arange(unit.view.rows) if mask is None else masks.rows_of(mask)
        total += len(rows)
        file = unit.postings.get(field.id) if 2 * len(rows) > unit.view.rows else None
        postings = None if file is None else file.open()
        if postings is None:
            words += count_texts(terms, unit.view.column(field.id), rows, texts)
            continue
        hidden = np.zeros(len(terms), np.int64)
        words += postings.words
        if mask is not None:
            rest = masks.rows_of(masks.others(mask, unit.view.rows))
            words -= count_texts(terms, unit.view.column(field.id), rest, hidden)
        texts += postings.texts_with(terms) - hidden
    return _Counted(total, words, terms, texts)


def _weighted(
    pairs: list[npt.NDArray[np.void]], terms: npt.NDArray[np.uint32], idf: npt.NDArray[np.float64]
) -> Queries:
    out = np.empty(len(pairs), object)
    for number, said in enumerate(pairs):
        query = said.copy()
        query["value"] *= idf[np.searchsorted(terms, said["index"])]
        out[number] = query.tobytes()
    return out
