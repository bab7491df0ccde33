"""Texts as sparse vectors: how often each word stands in them, a word known by a number.

The number of a word is the CRC-32 (ISO 3309) of its first bytes of UTF-8, modulo 2^32 - 1, as in Milvus, so that
`run_analyzer` tells it with its hashes. Words with one number count as one word.
"""

from __future__ import annotations

from zlib import crc32

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model.layout import layout, offsets_of
from elanus.model.vector_columns import PAIR
from elanus.model.vectors import MAX_INDEX, PAIR_BYTES
from elanus.text.analyzer import Analyzed, Analyzer

HASHED_BYTES = 100
"""How much of a long word its number is made of."""

_MODULUS = MAX_INDEX + 1
_POLYNOMIAL = 0xEDB88320
_BITS = np.uint64(32)


def term_of(word: str) -> int:
    """The number of a word."""
    return crc32(word.encode()[:HASHED_BYTES]) % _MODULUS


def term_rows(analyzer: Analyzer, column: pa.Array) -> pa.Array:
    """The words of each text of a large_string column, as stored sparse vectors (large_binary) of the same length.

    The values are counts. A text without words, or null, has an empty vector.
    """
    pairs = [np.empty(0, PAIR)]
    lengths = [np.empty(0, np.int64)]
    for _, block in analyzer.blocks(column):
        found, of_rows = _counted(block)
        pairs.append(found)
        lengths.append(np.bincount(of_rows, minlength=len(block.spans.rows) - 1))
    ends = offsets_of(np.concatenate(lengths) * PAIR_BYTES)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(np.concatenate(pairs).view(np.uint8))]
    return pa.Array.from_buffers(pa.large_binary(), len(column), buffers)


def _counted(block: Analyzed) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int64]]:
    """The pairs of a block's rows, one row's after the other's, and the row of each."""
    terms, rows, _ = block.occurrences()
    keys = (rows.astype(np.uint64) << _BITS) | _numbers(block.vocabulary)[terms]
    keys.sort()
    first = np.ones(len(keys), np.bool_)
    first[1:] = keys[1:] != keys[:-1]
    firsts = np.flatnonzero(first)
    distinct = keys[firsts]
    pairs = np.empty(len(firsts), PAIR)
    pairs["index"] = distinct.astype(np.uint32)
    pairs["value"] = np.diff(np.append(firsts, len(keys)))
    return pairs, (distinct >> _BITS).astype(np.int64)


def _numbers(vocabulary: pa.Array) -> npt.NDArray[np.uint64]:
    """`term_of` each of some words."""
    from elanus.text.kernels import checksums

    data, offsets = layout(vocabulary)
    numbers = np.empty(len(vocabulary), np.uint32)
    checksums(data, offsets, HASHED_BYTES, _TABLE, numbers)
    return numbers.astype(np.uint64) % np.uint64(_MODULUS)


def _table() -> npt.NDArray[np.uint32]:
    """What a byte does to the checksum."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> np.uint32(1) ^ np.uint32(_POLYNOMIAL), table >> np.uint32(1))
    return table


_TABLE = _table()
