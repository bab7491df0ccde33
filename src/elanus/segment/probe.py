"""Probes: primary keys as 64-bit numbers that can be sorted and searched all at once.

An Int64 key's probe is the key with its sign bit flipped: probes sort as keys do, and equal probes are equal keys.

A VarChar key's probe is a hash. Over the bytes b of the key and an odd base B, all modulo 2^64:

    probe = mix(sum((b[i] + 1) * B^i) + length * C)

(mix: the finaliser of splitmix64, Steele, Lea and Flood 2014). The sum needs no loop over keys: the bytes of many keys
lie end to end, so one running sum S over `(b + 1) * B^position` gives the sum of each as
`(S[end] - S[start]) * B^-start`, B being odd and so invertible. Different keys may share a probe; whoever searches
compares the real keys.
The values are in files: changing them is a new format version.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model.canonical import Values, numbers_of
from elanus.model.schema import MAX_VARCHAR_BYTES

Probes = npt.NDArray[np.uint64]

_SIGN = np.uint64(1 << 63)
_BASE = 0x9E6C63D0676A9A99
_INVERSE = pow(_BASE, -1, 1 << 64)
_LENGTH = 0xD6E8FEB86659FD93
_MIX_FIRST = 0xBF58476D1CE4E5B9
_MIX_SECOND = 0x94D049BB133111EB
_ALL_BITS = (1 << 64) - 1

_BLOCK_BYTES = 1 << 16
"""Bytes hashed at a time: their running sums (8 bytes each) stay in the processor's cache. Above any key's length."""
assert _BLOCK_BYTES > MAX_VARCHAR_BYTES


def probe(keys: Values) -> Probes:
    """The probes of `keys` (int64 or large_string, without nulls), (len(keys),)."""
    if isinstance(keys, np.ndarray) or pa.types.is_int64(keys.type):
        return numbers_of(keys, np.int64).view(np.uint64) ^ _SIGN
    if not pa.types.is_large_string(keys.type):
        raise TypeError(f"keys are int64 or large_string, got {keys.type}")
    return _text_probes(keys)


def is_exact(key_type: pa.DataType) -> bool:
    """Whether equal probes mean equal keys."""
    return bool(pa.types.is_int64(key_type))


def mix(values: Probes) -> Probes:
    """The splitmix64 finaliser: spreads every bit of a number over all 64."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(_MIX_FIRST)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(_MIX_SECOND)
    return values ^ (values >> np.uint64(31))


def mix_one(value: int) -> int:
    """`mix` of one number."""
    value = ((value ^ (value >> 30)) * _MIX_FIRST) & _ALL_BITS
    value = ((value ^ (value >> 27)) * _MIX_SECOND) & _ALL_BITS
    return value ^ (value >> 31)


def _text_probes(keys: pa.Array) -> Probes:
    count = len(keys)
    sums = np.zeros(count, np.uint64)
    if count == 0:
        return sums
    _, offset_buffer, data_buffer = keys.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64, count + 1, keys.offset * 8)
    if count == 1:
        begin, end = offsets.tolist()
        sums[0] = _one_text_probe(np.frombuffer(data_buffer, np.uint8, end - begin, begin)) if end > begin else 0
        return sums
    lengths = np.diff(offsets).view(np.uint64)
    if offsets[-1] > offsets[0]:
        data = np.frombuffer(data_buffer, np.uint8)
        first = 0
        while first < count:
            # As many keys as fit into a block; of a longer one, which no field can hold, the beginning counts.
            room = int(offsets[first]) + _BLOCK_BYTES
            last = min(max(first + 1, int(np.searchsorted(offsets, room, side="right")) - 1), count)
            sums[first:last] = _sums(data, np.minimum(offsets[first : last + 1], room))
            first = last
    return mix(sums + lengths * np.uint64(_LENGTH))


def _one_text_probe(key: npt.NDArray[np.uint8]) -> int:
    """The probe of one key: in a stream of single writes a handful of calls counts, see `_text_probes`."""
    terms = key[:_BLOCK_BYTES].astype(np.uint64)
    terms += np.uint64(1)
    return mix_one((int(np.dot(terms, _powers()[0][: len(terms)])) + len(key) * _LENGTH) & _ALL_BITS)


def _sums(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Probes:
    """`sum((b[i] + 1) * B^i)` of each of the keys that lie end to end between `offsets`."""
    begin, end = int(offsets[0]), int(offsets[-1])
    running = np.zeros(end - begin + 1, np.uint64)
    powers, inverses = _powers()
    terms = data[begin:end].astype(np.uint64)
    terms += np.uint64(1)
    terms *= powers[: end - begin]
    np.cumsum(terms, out=running[1:])
    at = running[offsets - begin]
    return (at[1:] - at[:-1]) * inverses[offsets[:-1] - begin]


@lru_cache(maxsize=1)
def _powers() -> tuple[Probes, Probes]:
    """B^i and B^-i for i in 0 .. _BLOCK_BYTES, modulo 2^64."""
    tables = []
    for base in (_BASE, _INVERSE):
        factors = np.full(_BLOCK_BYTES + 1, base, np.uint64)
        factors[0] = 1
        tables.append(np.multiply.accumulate(factors))
    return tables[0], tables[1]
