"""A Bloom filter over probes: says for certain that a key is not in a segment, touching one cache line a key.

The filter is an array of 64-bit words. A probe chooses one word with the high half of its mixed value and
`BITS_SET` bits in it with the low half (a blocked Bloom filter: Putze, Sanders and Singler 2007, with blocks of one
word). With 10 bits a key about 2 % of absent keys pass.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from elanus.segment.probe import Probes, mix, mix_one

BITS_PER_KEY = 10
BITS_SET = 4

_HALF = np.uint64(32)
_SIX = np.uint64(63)
_ONE = np.uint64(1)


def build(probes: Probes) -> npt.NDArray[np.uint64]:
    """The filter of `probes`, in words; at least one word."""
    words = np.zeros(max(1, -(-len(probes) * BITS_PER_KEY // 64)), np.uint64)
    places, bits = _places(probes, len(words))
    np.bitwise_or.at(words, places, bits)
    return words


def may_hold(words: npt.NDArray[np.uint64], probes: Probes) -> npt.NDArray[np.bool_]:
    """For each probe: False when it is certainly not in the filter."""
    places, bits = _places(probes, len(words))
    passed: npt.NDArray[np.bool_] = (words[places] & bits) == bits
    return passed


def may_hold_one(words: npt.NDArray[np.uint64], probe: int) -> bool:
    """`may_hold` of one probe, in a tenth of the time: a single write asks every segment."""
    mixed = mix_one(probe)
    word = int(words[((mixed >> 32) * len(words)) >> 32])
    return all(word >> ((mixed >> (6 * turn)) & 63) & 1 for turn in range(BITS_SET))


def _places(probes: Probes, size: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    mixed = mix(probes)
    places = ((mixed >> _HALF) * np.uint64(size)) >> _HALF
    bits = _ONE << (mixed & _SIX)
    for turn in range(1, BITS_SET):
        bits |= _ONE << ((mixed >> np.uint64(6 * turn)) & _SIX)
    return places.view(np.int64), bits
