"""MinHash: signatures of texts, of which two agree in about the share of runs of words that the texts have in common.

A signature is so many hashes of 32 bits. Each is the least that one permutation x -> (a x + b) mod 2^61 - 1, cut to 32
bits, makes of the hashes of a text's runs (Broder, "On the resemblance and containment of documents", 1997). Runs
are of words as the field's analyzer cuts them, spelled one behind the other, or of bytes.

    num_hashes     how many; the field has 32 bits for each, and says it where this does not
    shingle_size   words or bytes in a run (3)
    hash_function  xxhash64, which is also xxhash (default): XXH64; sha1
    token_level    word (default) or char
    seed           of the permutations (1234)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model.errors import InvalidParameter
from elanus.model.layout import layout
from elanus.text.analyzer import Analyzer

HASH_BITS = 32

_PRIME = (1 << 61) - 1
_CHARACTERS, _WORDS = ("char", "character"), ("word",)
_XXHASH, _SHA1 = ("xxhash", "xxhash64"), ("sha1",)


@dataclass(frozen=True, slots=True)
class MinHash:
    hashes: int
    shingle: int
    is_sha1: bool
    by_characters: bool
    seed: int

    @classmethod
    def of(cls, params: Mapping[str, str], field: str, dim: int) -> MinHash:
        """That of a function with these `params`, for a `field` of `dim` bits. Raises `InvalidParameter`."""
        given = {key.lower(): value for key, value in params.items()}
        hashes = _number("num_hashes", given, 0, least=1)
        if hashes and hashes * HASH_BITS != dim:
            raise InvalidParameter(
                f"minhash function output field '{field}' dim {dim} does not match expected dim {hashes * HASH_BITS} "
                f"(numHashes {hashes} * one minhash signature size of 32bit)"
            )
        if dim % HASH_BITS:
            raise InvalidParameter(
                f"minhash function output field '{field}' dim {dim} is not multiple of 32 (one minhash signature size)"
            )
        function = given.get("hash_function", "xxhash64").lower()
        if function not in _XXHASH + _SHA1:
            raise InvalidParameter(f"unknown hash function: {function} (expected 'xxhash64' or 'sha1')")
        level = given.get("token_level", "word").lower()
        if level not in _CHARACTERS + _WORDS:
            raise InvalidParameter(f"unknown token_level: {level} (expected 'char' or 'word')")
        shingle, seed = _number("shingle_size", given, 3, least=1), _number("seed", given, 1234)
        return cls(dim // HASH_BITS, shingle, function in _SHA1, level in _CHARACTERS, seed)

    def signatures(self, analyzer: Analyzer, column: pa.Array) -> npt.NDArray[np.uint8]:
        """Those of the texts of a large_string column, (rows, 4 hashes) bytes; one without a run is all ones."""
        from elanus.text import minhash_kernels

        out = np.full((len(column), self.hashes), 0xFFFFFFFF, np.uint32)
        factors, terms = _permutations(self.hashes, self.seed)
        if self.by_characters:
            data, offsets = layout(column)
            minhash_kernels.of_bytes(data, offsets, self.shingle, self.is_sha1, factors, terms, out)
        else:
            for first, block in analyzer.blocks(column):
                words, rows, _ = block.occurrences()
                count = len(block.spans.rows) - 1
                bounds = np.searchsorted(rows, np.arange(count + 1))
                data, offsets = layout(block.vocabulary)
                part = out[first : first + count]
                minhash_kernels.of_words(data, offsets, words, bounds, self.shingle, self.is_sha1, factors, terms, part)
        return out.view(np.uint8)


@lru_cache(maxsize=64)
def _permutations(hashes: int, seed: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The factors and the terms of permutations, of PCG64: it gives the same for a seed in every release of numpy."""
    raw = np.random.PCG64(seed % (1 << 64)).random_raw(2 * hashes).astype(np.uint64)
    return raw[::2] % np.uint64(_PRIME - 1) + np.uint64(1), raw[1::2] % np.uint64(_PRIME)


def _number(name: str, given: Mapping[str, Any], default: int, least: int | None = None) -> int:
    try:
        value = int(given.get(name, default))
    except ValueError:
        raise InvalidParameter(f"param {name}:{given[name]} is not a number") from None
    if name in given and least is not None and value < least:
        raise InvalidParameter(f"param {name}:{value} must be positive")
    return value
