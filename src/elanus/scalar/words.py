"""The words of a text field: for each its texts, and where in them it stands. The kind is TEXT.

Nobody creates it: every field that is declared with `enable_match` has one (decision 0028). It answers the predicates
of `expr.text_match`. Sections, of a column of n rows, with d distinct terms:

    terms.offsets, .data   the terms as the analyzer gives them, UTF-8, rising by bytes
    offsets                (d + 1,) int64: term i is in rows[offsets[i]:offsets[i + 1]]
    rows                   uint32: the rows of term 0, rising, then those of term 1 …
    counts                 of the least unsigned dtype that fits: how often the term stands in that row
    starts                 (d + 1,) int64: the places of term i are positions[starts[i]:starts[i + 1]]
    positions              of the least unsigned dtype: for each row of a term its places there, rising
    valid                  (n + 7) // 8 uint8: the rows that are not null; not there where all are not

`meta["analyzer"]` is the parameter that the field's analyzer was made of, and `meta["edition"]` names the packages by
whose tables it cut: by others it may cut elsewhere, and the file is then left aside.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.expr.text_match import TextMatch
from elanus.expr.typed import Predicate
from elanus.model.bits import of_rows
from elanus.model.layout import Items
from elanus.scalar.sections import Array, Sections, Source, bits_of, strings_to
from elanus.text.declared import ANALYZER
from elanus.text.filters import texts_of
from elanus.text.match import NearWords, Phrase, Words
from elanus.text.parse import analyzer_of

Bits = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


def edition(analyzer: str) -> str:
    """The packages by whose tables an analyzer, given by its parameter, cuts texts, with their versions."""
    packages = ("tantivy", "jieba", "pypinyin") if '"pinyin"' in analyzer else ("tantivy", "jieba")
    return " ".join(f"{name} {_version(name)}" for name in packages)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def build(column: pa.Array, params: Mapping[str, Any]) -> Sections:
    from elanus.text.posting_kernels import ordered

    arrays: dict[str, Array] = {}
    rows = len(column)
    if column.null_count:
        arrays["valid"] = bits_of(column)
    vocabulary, terms, of_rows, positions = _occurrences(column, params)
    count = len(vocabulary)
    offsets, order = np.zeros(count + 1, np.int64), np.empty(len(terms), np.int64)
    ordered(terms, offsets, order)
    terms, of_rows, positions = terms[order], of_rows[order], positions[order]
    # A place is the first of its row and term where either differs from the place before.
    first = np.ones(len(terms), np.bool_)
    first[1:] = (terms[1:] != terms[:-1]) | (of_rows[1:] != of_rows[:-1])
    firsts = np.flatnonzero(first)
    strings_to(arrays, "terms", vocabulary)
    arrays["offsets"] = np.searchsorted(firsts, offsets).astype(np.int64)
    arrays["rows"] = of_rows[firsts].astype(np.uint32)
    arrays["counts"] = _narrowed(np.diff(np.append(firsts, len(terms))))
    arrays["starts"] = offsets
    arrays["positions"] = _narrowed(positions)
    analyzer = _text(params)
    return Sections({"rows": rows, "analyzer": analyzer, "edition": edition(analyzer)}, arrays)


def _occurrences(column: pa.Array, params: Mapping[str, Any]) -> tuple[pa.Array, Ints, Ints, Ints]:
    """(the distinct terms, rising; which of them, in which row, and where, each word is), by row."""
    blocks = [
        (first, block.vocabulary, block.occurrences()) for first, block in analyzer_of(_text(params)).blocks(column)
    ]
    vocabularies = pa.chunked_array([vocabulary.cast(pa.large_binary()) for _, vocabulary, _ in blocks])
    distinct = pc.unique(vocabularies)
    distinct = distinct.take(pc.array_sort_indices(distinct))
    terms, rows, positions = [], [], []
    for first, vocabulary, (of_terms, in_rows, of_positions) in blocks:
        numbers = pc.index_in(vocabulary.cast(pa.large_binary()), value_set=distinct).to_numpy(zero_copy_only=False)
        terms.append(numbers[of_terms].astype(np.int32))
        rows.append((in_rows + first).astype(np.uint32))
        positions.append(of_positions.astype(np.int32))
    return distinct, np.concatenate(terms), np.concatenate(rows), np.concatenate(positions)


def _text(params: Mapping[str, Any]) -> str:
    return str(params.get(ANALYZER, ""))


def _narrowed(numbers: npt.NDArray[Any]) -> Array:
    """The same in the least unsigned dtype that holds them."""
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))


def open_index(sections: Sections, source: Source) -> WordIndex:
    return WordIndex(sections, source)


class WordIndex:
    def __init__(self, sections: Sections, source: Source) -> None:
        arrays = sections.arrays
        self._rows_count = source.rows
        self._field_id = source.field_id
        self._analyzer = sections.meta["analyzer"]
        self._is_current = sections.meta["edition"] == edition(self._analyzer)
        self._terms = texts_of(arrays["terms.data"], arrays["terms.offsets"])
        self._offsets: Ints = arrays["offsets"]
        self._rows = arrays["rows"]
        self._counts = arrays["counts"]
        self._starts: Ints = arrays["starts"]
        self._positions = arrays["positions"]
        self._valid = arrays.get("valid")

    def answer(self, node: Predicate) -> pa.BooleanArray | None:
        if not isinstance(node, TextMatch) or node.operand.field.id != self._field_id or not self._is_current:
            return None
        if node.operand.field.params.get(ANALYZER, "") != self._analyzer:
            return None
        query = node.query
        if isinstance(query, Words):
            return self._packed(self._with_words(query))
        if isinstance(query, NearWords):
            near = query.near(self._terms)
            return self._packed(self._with_any(np.flatnonzero(near)))
        if isinstance(query, Phrase):
            return self._packed(self._with_phrase(query))
        return None

    # --- what is true where, a bit a row --------------------------------------------------------------------------

    def _with_words(self, query: Words) -> Bits:
        from elanus.text.posting_kernels import add_weight

        found = list(zip(self._numbers(query.weights), query.weights.values(), strict=True))
        if query.least == 1:
            return self._with_any(number for number, _ in found if number is not None)
        weights = np.zeros(self._rows_count, np.uint32)
        for number, weight in found:
            if number is not None:
                add_weight(self._rows_of(number), weight, weights)
        return np.packbits(weights >= query.least, bitorder="little")

    def _with_any(self, numbers: Iterable[int]) -> Bits:
        from elanus.model.bit_kernels import set_bits

        bits = np.zeros((self._rows_count + 7) // 8, np.uint8)
        for number in numbers:
            set_bits(self._rows_of(number), bits)
        return bits

    def _with_phrase(self, query: Phrase) -> Bits:
        from elanus.text.posting_kernels import phrase_at

        numbers = [number for number in self._numbers(query.words) if number is not None]
        if len(numbers) < len(query.words):
            return np.zeros((self._rows_count + 7) // 8, np.uint8)
        rows = self._with_all(numbers)
        if len(query.said) > 1 and len(rows):
            begins, ends = zip(*(self._places_of(number, rows) for number in numbers), strict=True)
            held = np.zeros(len(rows), np.uint8)
            places = self._positions, np.stack(begins), np.stack(ends)
            phrase_at(*places, query.said, query.shifts, query.slop, held)
            rows = rows[held.view(np.bool_)]
        return of_rows(rows, self._rows_count)

    def _with_all(self, numbers: Sequence[int]) -> npt.NDArray[np.uint32]:
        """The rows that have all of these terms, rising."""
        from elanus.text.posting_kernels import shared

        rows, *others = sorted((self._rows_of(number) for number in numbers), key=len)
        for other in others:
            both = np.empty(len(rows), np.uint32)
            rows = both[: shared(rows, other, both)]
        return rows

    def _places_of(self, number: int, rows: npt.NDArray[np.uint32]) -> tuple[Ints, Ints]:
        """Where in `positions` the places of a term in each of some of its rows begin and end."""
        from elanus.text.posting_kernels import places_of

        begins, ends = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
        counts = self._counts[self._offsets[number] : self._offsets[number + 1]]
        places_of(self._rows_of(number), counts, self._starts[number], rows, begins, ends)
        return begins, ends

    def _rows_of(self, number: int) -> npt.NDArray[np.uint32]:
        rows: npt.NDArray[np.uint32] = self._rows[self._offsets[number] : self._offsets[number + 1]]
        return rows

    def _numbers(self, words: Iterable[str]) -> Iterator[int | None]:
        """The number of each word among the terms; None where it is none."""
        terms = Items(self._terms)
        for word in map(str.encode, words):
            place = bisect_left(terms, word)
            yield place if place < len(terms) and terms[place] == word else None

    def _packed(self, bits: Bits) -> pa.BooleanArray:
        valid = None if self._valid is None else pa.py_buffer(self._valid)
        return pa.Array.from_buffers(pa.bool_(), self._rows_count, [valid, pa.py_buffer(bits)])
