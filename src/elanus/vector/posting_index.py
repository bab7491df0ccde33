"""The postings of a column of sparse vectors: for each index the rows that have it, and about how much it counts there.

Sections of the payload; P postings of D indexes lie in B blocks, one for each window of `WINDOW` rows in which an index
has any:

    dims          (D,) uint32, the indexes that have a value in any row, rising
    first_blocks  (D + 1,) int64, the blocks of each
    windows       (B,) uint16, the window of a block; begins (B + 1,) int64, its first posting; tops (B,) uint8, the
                  largest of its codes
    rows          (P,) uint16, the row within its window, rising within a block; codes (P,) uint8
    highest       (D,) float32, the largest value of each index
    counts, lengths   of texts alone, (C,) float64: what a code stands for

A code is a value as a part of its index's highest, in 255ths, rounded up. Of texts it stands for a count that is not
smaller, and a length that is not larger, than those of the row; codes rise with the score that they have by the usual
weights, so that the top of a block is a good bound by any. So three bytes a pair say what a row can score at most, and
rows that may belong into the answer are scored from the column itself (decision 0039). A value of 0 is not posted.

`meta`: "postings": the version of all this, "rows", "metric", "window", "texts" with the number of all their words,
"met": how many postings a query like the column's rows meets.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model.bits import rows_of
from elanus.model.errors import CorruptData
from elanus.model.layout import offsets_of
from elanus.model.types import DataType, Metric
from elanus.model.vectors import pair_bounds, pair_offsets, pairs_of
from elanus.vector import exact, payload
from elanus.vector.exact import Bm25, KeysAt, Queries
from elanus.vector.metrics import NO_BITMAP, Bitmap, Rows, Scores
from elanus.vector.payload import Array, Payload
from elanus.vector.posting_search_kernels import WINDOW, count_postings, posted, search_postings, write_postings
from elanus.vector.registry import Weights

VERSION = 1

COUNT_ENDS = (1.0, 2.0, 3.0, 4.0, 6.0, 10.0, 20.0)
"""How often a text says a word, in classes that end there; the last one ends with the largest count."""

LENGTH_CLASSES = 32

MOST_TERMS = 4_096
"""A query of more indexes is answered by a scan: its sums would be too coarse to leave anything out."""

_NO_KEYS: Rows = np.empty(0, np.int64)
_PARTS: npt.NDArray[np.float64] = np.arange(256) / 255
"""What the codes of numbers stand for, as shares of the highest of their index."""

_SECTIONS = ("dims", "first_blocks", "windows", "begins", "tops", "rows", "codes", "highest")


def build(column: pa.Array, metric: Metric, path: Path) -> int:
    """Write the postings of `column` to the new file `path`; returns the file's length."""
    words, offsets = pairs_of(column), pair_offsets(column)
    floats = words.view(np.float32)
    first, last = offsets[0] // 8, offsets[-1] // 8
    dims = np.unique(words[2 * first : 2 * last : 2])
    slots = np.empty(last - first, np.uint32)
    counts, blocks = np.zeros(len(dims), np.int64), np.zeros(len(dims), np.int64)
    highest = np.zeros(len(dims), np.float32)
    count_postings(dims, words, floats, offsets, slots, counts, blocks, highest)
    of_texts = metric is Metric.BM25
    coding = _Coding.of(column, highest) if of_texts else _NO_CODING
    first_blocks = offsets_of(blocks)
    places = np.cumsum(counts) - counts
    sections: dict[str, Array] = {
        "dims": dims,
        "first_blocks": first_blocks,
        "windows": np.empty(first_blocks[-1], np.uint16),
        "begins": np.full(first_blocks[-1] + 1, counts.sum()),
        "tops": np.empty(first_blocks[-1], np.uint8),
        "rows": np.empty(counts.sum(), np.uint16),
        "codes": np.empty(counts.sum(), np.uint8),
    }
    write_postings(
        floats,
        offsets,
        slots,
        highest,
        coding.count_ends,
        coding.length_classes,
        coding.code_of,
        places,
        first_blocks[:-1].copy(),
        *(sections[name] for name in ("windows", "begins", "tops", "rows", "codes")),
    )
    sections["highest"] = np.ones(len(dims), np.float32) if of_texts else highest
    if of_texts:
        sections |= {"counts": coding.counts, "lengths": coding.lengths}
    met = float((counts.astype(np.float64) ** 2).sum()) / max(1, len(column))
    meta = {
        "postings": VERSION,
        "rows": len(column),
        "metric": metric.value,
        "window": WINDOW,
        "texts": float(floats[2 * first + 1 : 2 * last : 2].sum(dtype=np.float64)) if of_texts else None,
        "met": met,
    }
    return payload.write(path, meta, sections)


class _Coding:
    """How the codes of texts are chosen: `code_of` (count classes, length classes), and the class of each row."""

    def __init__(
        self,
        count_ends: npt.NDArray[np.float32],
        length_classes: npt.NDArray[np.uint8],
        code_of: npt.NDArray[np.uint8],
        counts: npt.NDArray[np.float64],
        lengths: npt.NDArray[np.float64],
    ) -> None:
        self.count_ends = count_ends
        self.length_classes = length_classes
        self.code_of = code_of
        self.counts = counts
        self.lengths = lengths

    @classmethod
    def of(cls, column: pa.Array, highest: npt.NDArray[np.float32]) -> _Coding:
        bounds = pair_bounds(column)
        values = np.append(pairs_of(column).view(np.float32)[1::2], np.float32(0))
        lengths = np.add.reduceat(values, bounds[:-1], dtype=np.float64) if len(column) else np.empty(0)
        said = bounds[1:] > bounds[:-1]  # of a row without words reduceat takes one that is not its own
        largest = float(highest.max(initial=1.0))
        ends = np.array([*(end for end in COUNT_ENDS if end < largest), largest], np.float32)
        places = np.linspace(0, 1, LENGTH_CLASSES, endpoint=False)
        lows = np.unique(np.quantile(lengths[said], places, method="lower")) if said.any() else np.ones(1)
        classes = np.clip(np.searchsorted(lows, lengths, side="right") - 1, 0, None).astype(np.uint8)
        counts, low_of = np.repeat(ends.astype(np.float64), len(lows)), np.tile(lows, len(ends))
        usual = Bm25(*Weights(), average=float(lengths[said].mean()) if said.any() else 1.0)
        order = np.argsort(_shape_of(counts, low_of, usual), kind="stable")
        code_of = np.empty(len(order), np.uint8)
        code_of[order] = np.arange(len(order))
        return cls(ends, classes, code_of.reshape(len(ends), len(lows)), counts[order], low_of[order])


_NO_CODING = _Coding(
    np.empty(0, np.float32), np.empty(0, np.uint8), np.empty((0, 0), np.uint8), np.empty(0), np.empty(0)
)


def _shape_of(
    counts: npt.NDArray[np.float64], lengths: npt.NDArray[np.float64], scoring: Bm25
) -> npt.NDArray[np.float64]:
    """What BM25 makes of a word of weight 1 that stands so often in a text of such a length."""
    k1, b, average = scoring
    made: npt.NDArray[np.float64] = counts * (k1 + 1) / (counts + k1 * (1 - b + b * lengths / average))
    return made


class Postings:
    """Postings ready to be searched, over the mapped column that they were built from. Any number of threads may."""

    def __init__(
        self, meta: Mapping[str, Any], sections: Mapping[str, Array], column: pa.Array, metric: Metric
    ) -> None:
        self.metric = metric
        self.met = float(meta["met"])
        self.words = float(meta["texts"] or 0.0)
        self._column = column
        self._pairs = pairs_of(column)
        self._offsets = pair_offsets(column)
        self._blocks = sections["dims"], sections["first_blocks"], sections["windows"], sections["begins"]
        self._postings = sections["tops"], sections["rows"], sections["codes"], sections["highest"]
        self._coding = sections.get("counts"), sections.get("lengths")

    @classmethod
    def open(cls, opened: Payload, column: pa.Array, metric: Metric) -> Postings:
        """Those of the payload over `column`. Raises `CorruptData` where they are of another one or another metric."""
        expected = {"postings": VERSION, "rows": len(column), "metric": metric.value, "window": WINDOW}
        wrong = [key for key, value in expected.items() if opened.meta.get(key) != value]
        names = _SECTIONS + (("counts", "lengths") if metric is Metric.BM25 else ())
        if wrong or not set(names) <= opened.sections.keys():
            raise CorruptData(
                f"an index file was built for other data ({', '.join(wrong) or 'sections'} differ): "
                "drop and rebuild the index"
            )
        return cls(opened.meta, opened.sections, column, metric)

    @property
    def row_pairs(self) -> float:
        """How many pairs a row has, on an average."""
        return float(self._offsets[-1] - self._offsets[0]) / 8 / max(1, len(self._column))

    def texts_with(self, terms: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
        """How many of all rows have each of `terms` (m,)."""
        counts = np.empty(len(terms), np.int64)
        dims, first_blocks, _, begins = self._blocks
        posted(dims, first_blocks, begins, terms, counts)
        return counts

    def search(
        self,
        queries: Queries,
        k: int,
        keys: Rows | None = None,
        bitmap: Bitmap | None = None,
        scoring: Bm25 | None = None,
    ) -> tuple[Scores, Rows]:
        """The k best rows: scores and rows (nq, k), best first, -1 where there are no more: what `exact.top_k` finds.

        Of equal scores the smallest of `keys` (n,) come first; None says that rows are in the order of their keys.
        """
        lengths = np.fromiter(map(len, queries), np.int64, len(queries)) // 8
        if lengths.max(initial=0) > MOST_TERMS:
            return self._scan(queries, k, keys, bitmap, scoring)
        said = np.frombuffer(b"".join(queries), np.uint32)
        starts = offsets_of(lengths)
        counts, low_of = self._coding
        of_texts, shape = False, _PARTS
        if scoring is not None and counts is not None and low_of is not None:
            of_texts, shape = True, _shape_of(counts, low_of, scoring)
        found = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        search_postings(
            starts,
            np.ascontiguousarray(said[::2]),
            np.ascontiguousarray(said[1::2]).view(np.float32),
            *self._blocks,
            *self._postings,
            shape,
            self._pairs,
            self._pairs.view(np.float32),
            self._offsets,
            of_texts,
            *(scoring or Bm25(0.0, 0.0, 1.0)),
            bitmap is not None,
            NO_BITMAP if bitmap is None else bitmap,
            keys is not None,
            _NO_KEYS if keys is None else keys,
            *found,
        )
        return found

    def _scan(
        self, queries: Queries, k: int, keys: Rows | None, bitmap: Bitmap | None, scoring: Bm25 | None
    ) -> tuple[Scores, Rows]:
        rows = np.arange(len(self._column)) if bitmap is None else rows_of(bitmap)
        keys_at: KeysAt = (lambda some: some) if keys is None else keys.__getitem__
        dtype = DataType.SPARSE_FLOAT_VECTOR
        return exact.top_k(dtype, self.metric, queries, self._column, rows, k, keys_at, scoring)
