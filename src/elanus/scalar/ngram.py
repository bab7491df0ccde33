r"""Grams: which rows hold each short run of bytes, to look for literals in the middle of texts.

A `like` whose literals are long enough looks up the grams of those, joins the rarest, and tries the pattern on the rows
that are left. So grams may be coarser than what was asked for: runs of bytes of at most two lengths, `min_gram` and
`max_gram`, each at most eight, where Milvus counts characters, which have a byte at least. Sections, of a length g:

    <g>.grams      (d,) uint64, rising: g bytes, the first one highest
    <g>.offsets    (d + 1,) int64: gram i stands in the rows rows[offsets[i]:offsets[i + 1]]
    <g>.rows       uint32, rising for each gram
    valid          (n + 7) // 8 uint8: the rows that are not null; not there where all are not

Columns of very long texts have no grams, and are scanned.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.expr import json_path
from elanus.expr.like import Pattern, Shape
from elanus.expr.typed import Like, Predicate
from elanus.scalar import asked
from elanus.scalar.sections import Array, Sections, Source, bits_of

LONGEST = 8
"""Bytes of a gram: what a number of 64 bits holds."""

MOST_BYTES = 64 << 20
"""Of text: building sorts a pair of numbers for each byte."""

JOINED = 4
"""How many of a pattern's grams, the rarest, are joined before rows are looked at."""

FEWEST_SKIPPED = 4
"""A scan is quicker where more than one row in so many is left."""

_LITERAL = re.compile(r"(?:\\.|[^%_\\])+", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def build(column: pa.Array, params: Mapping[str, Any]) -> Sections:
    arrays: dict[str, Array] = {}
    if column.null_count:
        arrays["valid"] = bits_of(column)
    texts = pa.concat_arrays([column.fill_null("")])
    _, offset_buffer, data_buffer = texts.buffers()
    ends = np.frombuffer(offset_buffer, np.int64)[: len(texts) + 1]
    size = int(ends[-1])
    data = np.frombuffer(data_buffer, np.uint8)[:size] if size else np.empty(0, np.uint8)
    lengths = sorted({min(int(params[key]), LONGEST) for key in ("min_gram", "max_gram")})
    if size > MOST_BYTES:
        lengths = []
    for length in lengths:
        _add_grams(arrays, length, data, ends)
    return Sections({"lengths": lengths}, arrays)


def _add_grams(arrays: dict[str, Array], length: int, data: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> None:
    counts = np.maximum(np.diff(ends) - length + 1, 0)
    rows = np.repeat(np.arange(len(counts), dtype=np.uint32), counts)
    begins = np.arange(len(rows)) + np.repeat(ends[:-1] - (np.cumsum(counts) - counts), counts)
    grams = _grams(data, length)[begins] if len(begins) else np.empty(0, np.uint64)
    order = np.argsort(grams, kind="stable")
    grams, rows = grams[order], rows[order]
    other = np.ones(len(grams), np.bool_)
    other[1:] = (grams[1:] != grams[:-1]) | (rows[1:] != rows[:-1])
    grams, rows = grams[other], rows[other]
    distinct, firsts = np.unique(grams, return_index=True)
    arrays[f"{length}.grams"] = distinct
    arrays[f"{length}.offsets"] = np.append(firsts, len(grams)).astype(np.int64)
    arrays[f"{length}.rows"] = rows


def _grams(data: npt.NDArray[np.uint8], length: int) -> npt.NDArray[np.uint64]:
    """The gram that begins at each byte of `data` where one has room."""
    count = len(data) - length + 1
    grams = np.zeros(max(count, 0), np.uint64)
    for place in range(length if count > 0 else 0):
        grams = (grams << np.uint64(8)) | data[place : place + count]
    return grams


def open_index(sections: Sections, source: Source) -> Grams:
    return Grams(sections, source)


class Grams:
    """See the module."""

    def __init__(self, sections: Sections, source: Source) -> None:
        self._source = source
        self._lengths: list[int] = sections.meta["lengths"]
        self._arrays = sections.arrays
        self._valid = sections.arrays.get("valid")

    def answer(self, node: Predicate) -> pa.BooleanArray | None:
        if not (isinstance(node, Like) and asked.reads_only(node, self._source)):
            return None
        candidates = self._candidates(node.pattern)
        if candidates is None or len(candidates) * FEWEST_SKIPPED > self._source.rows:
            return None
        truth = np.zeros(self._source.rows, np.bool_)
        if len(candidates):
            matching = node.pattern.match(self._texts(candidates)).fill_null(False)
            truth[candidates[matching.to_numpy(zero_copy_only=False)]] = True
        validity = None if self._valid is None else pa.py_buffer(self._valid)
        bits = pa.py_buffer(np.packbits(truth, bitorder="little"))
        return pa.Array.from_buffers(pa.bool_(), len(truth), [validity, bits])

    def _texts(self, rows: npt.NDArray[np.uint32]) -> pa.Array:
        taken = self._source.column().take(pa.array(rows))
        return json_path.extract(taken, self._source.steps).strings if self._source.is_json else taken

    def _candidates(self, pattern: Pattern) -> npt.NDArray[np.uint32] | None:
        """The rows that may match, rising; None where the pattern has no literal that is long enough."""
        found: list[npt.NDArray[np.uint32]] = []
        for literal in _literals(pattern):
            length = max((length for length in self._lengths if length <= len(literal)), default=None)
            if length is not None:
                found += self._rarest(np.unique(_grams(np.frombuffer(literal, np.uint8), length)), length)
        if not found:
            return None
        joined, *others = sorted(found, key=len)[:JOINED]
        for rows in others:
            joined = np.intersect1d(joined, rows, assume_unique=True)
        return joined

    def _rarest(self, grams: npt.NDArray[np.uint64], length: int) -> list[npt.NDArray[np.uint32]]:
        """The rows of those of `grams` that fewest rows hold."""
        known, offsets, rows = (self._arrays[f"{length}.{name}"] for name in ("grams", "offsets", "rows"))
        if not len(known):
            return [np.empty(0, np.uint32)]
        places = np.minimum(np.searchsorted(known, grams), len(known) - 1)
        if not (known[places] == grams).all():
            return [np.empty(0, np.uint32)]
        begins, ends = offsets[places], offsets[places + 1]
        chosen = np.argsort(ends - begins)[:JOINED]
        return [rows[begins[i] : ends[i]] for i in chosen.tolist()]


def _literals(pattern: Pattern) -> list[bytes]:
    """What every match holds, end to end with nothing between."""
    if pattern.shape is Shape.REGEX:
        return []
    if pattern.shape is not Shape.MIXED:
        return [pattern.needle.encode()]
    return [_ESCAPED.sub(r"\1", literal).encode() for literal in _LITERAL.findall(pattern.source)]
