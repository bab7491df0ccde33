"""Compiled kernels of MinHash: hashes of runs of bytes, and the least of what permutations make of them.

XXH64 is that of xxHash's specification (doc/xxhash_spec.md there) with seed 0, SHA-1 that of FIPS 180-4. Arithmetic is
that of unsigned integers, which wrap around.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from elanus.model.compiled import compiled

_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)
_MERSENNE = np.uint64((1 << 61) - 1)
_LOW = np.uint64(0xFFFFFFFF)


@compiled
def _turned(value: Any, bits: int) -> Any:
    return (value << np.uint64(bits)) | (value >> np.uint64(64 - bits))


@compiled
def _word(data: Any, at: int, size: int) -> Any:
    value = np.uint64(0)
    for i in range(size):
        value |= np.uint64(data[at + i]) << np.uint64(8 * i)
    return value


@compiled
def _round(lane: Any, value: Any) -> Any:
    return _turned(lane + value * _P2, 31) * _P1


@compiled
def xxh64(data: Any, at: int, length: int) -> Any:
    """The hash of `length` bytes from `at` on."""
    end = at + length
    if length >= 32:
        one, two, three, four = _P1 + _P2, _P2, np.uint64(0), np.uint64(0) - _P1
        while at + 32 <= end:
            one = _round(one, _word(data, at, 8))
            two = _round(two, _word(data, at + 8, 8))
            three = _round(three, _word(data, at + 16, 8))
            four = _round(four, _word(data, at + 24, 8))
            at += 32
        found = _turned(one, 1) + _turned(two, 7) + _turned(three, 12) + _turned(four, 18)
        for lane in (one, two, three, four):
            found = (found ^ _round(np.uint64(0), lane)) * _P1 + _P4
    else:
        found = _P5
    found += np.uint64(length)
    while at + 8 <= end:
        found = _turned(found ^ _round(np.uint64(0), _word(data, at, 8)), 27) * _P1 + _P4
        at += 8
    if at + 4 <= end:
        found = _turned(found ^ (_word(data, at, 4) * _P1), 23) * _P2 + _P3
        at += 4
    while at < end:
        found = _turned(found ^ (np.uint64(data[at]) * _P5), 11) * _P1
        at += 1
    found = (found ^ (found >> np.uint64(33))) * _P2
    found = (found ^ (found >> np.uint64(29))) * _P3
    return found ^ (found >> np.uint64(32))


@compiled
def _left(value: Any, bits: int) -> Any:
    """A word of 32 bits turned, in 64."""
    return ((value << np.uint64(bits)) | (value >> np.uint64(32 - bits))) & _LOW


@compiled
def sha1(data: Any, at: int, length: int) -> Any:
    """The first four bytes, the first one the lowest, of the digest of `length` bytes from `at` on."""
    a0, b0 = np.uint64(0x67452301), np.uint64(0xEFCDAB89)
    c0, d0, e0 = np.uint64(0x98BADCFE), np.uint64(0x10325476), np.uint64(0xC3D2E1F0)
    words = np.empty(80, np.uint64)
    blocks = (length + 9 + 63) // 64
    for block in range(blocks):
        for i in range(16):
            value = np.uint64(0)
            for j in range(4):
                place = 64 * block + 4 * i + j
                byte = np.uint64(0)
                if place < length:
                    byte = np.uint64(data[at + place])
                elif place == length:
                    byte = np.uint64(0x80)
                elif place >= 64 * blocks - 8:
                    byte = (np.uint64(8 * length) >> np.uint64(8 * (64 * blocks - 1 - place))) & np.uint64(0xFF)
                value = value << np.uint64(8) | byte
            words[i] = value
        for i in range(16, 80):
            words[i] = _left(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1)
        a, b, c, d, e = a0, b0, c0, d0, e0
        for i in range(80):
            if i < 20:
                mixed, constant = (b & c) | ((~b & _LOW) & d), np.uint64(0x5A827999)
            elif i < 40:
                mixed, constant = b ^ c ^ d, np.uint64(0x6ED9EBA1)
            elif i < 60:
                mixed, constant = (b & c) | (b & d) | (c & d), np.uint64(0x8F1BBCDC)
            else:
                mixed, constant = b ^ c ^ d, np.uint64(0xCA62C1D6)
            turned = (_left(a, 5) + mixed + e + constant + words[i]) & _LOW
            e, d, c, b, a = d, c, _left(b, 30), a, turned
        a0, b0, c0 = (a0 + a) & _LOW, (b0 + b) & _LOW, (c0 + c) & _LOW
        d0, e0 = (d0 + d) & _LOW, (e0 + e) & _LOW
    digest = np.uint64(0)
    for j in range(4):
        digest |= ((a0 >> np.uint64(24 - 8 * j)) & np.uint64(0xFF)) << np.uint64(8 * j)
    return digest


@compiled
def _fold(data: Any, at: int, length: int, is_sha1: bool, factors: Any, terms: Any, least: Any) -> None:
    """Take one run of bytes into `least`: of each permutation, the smallest that it has made of any."""
    found = sha1(data, at, length) if is_sha1 else xxh64(data, at, length) & _LOW
    for i in range(len(factors)):
        value = factors[i] * found + terms[i]
        value = (value & _MERSENNE) + (value >> np.uint64(61))
        if value >= _MERSENNE:
            value -= _MERSENNE
        low = np.uint32(value & _LOW)
        if low < least[i]:
            least[i] = low


@compiled
def of_bytes(data: Any, offsets: Any, shingle: int, is_sha1: bool, factors: Any, terms: Any, out: Any) -> None:
    """Signatures `out` (rows, permutations) of texts, of every run of `shingle` bytes; a shorter text is one run."""
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        length = min(shingle, end - begin)
        if length:
            for at in range(begin, end - length + 1):
                _fold(data, at, length, is_sha1, factors, terms, out[row])


@compiled
def of_words(
    data: Any, offsets: Any, words: Any, rows: Any, shingle: int, is_sha1: bool, factors: Any, terms: Any, out: Any
) -> None:
    """The same of every run of `shingle` words; those of row i are `words[rows[i]:rows[i + 1]]`, and word w is spelled
    `data[offsets[w]:offsets[w + 1]]`.
    """
    run = np.empty(256, np.uint8)
    for row in range(len(rows) - 1):
        count = min(shingle, rows[row + 1] - rows[row])
        if not count:
            continue
        for first in range(rows[row], rows[row + 1] - count + 1):
            length = 0
            for word in words[first : first + count]:
                length += offsets[word + 1] - offsets[word]
            if length > len(run):
                run = np.empty(2 * length, np.uint8)
            at = 0
            for word in words[first : first + count]:
                size = offsets[word + 1] - offsets[word]
                run[at : at + size] = data[offsets[word] : offsets[word + 1]]
                at += size
            _fold(run, 0, length, is_sha1, factors, terms, out[row])
