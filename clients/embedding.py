"""Texts to vectors, without a model: each word is hashed to a place, so texts that share words lie near each other.

The hashing trick (Weinberger et al., 2009), with signs, normalised. The same text has the same vector in every process.
"""

from __future__ import annotations

import hashlib
import math
import re

DIM = 64


def embed(text: str) -> list[float]:
    """A unit vector of `DIM` numbers."""
    vector = [0.0] * DIM
    for word in re.findall(r"\w+", text.lower()):
        digest = hashlib.sha256(word.encode()).digest()
        vector[digest[0] % DIM] += 1.0 if digest[1] % 2 else -1.0
    length = math.sqrt(sum(x * x for x in vector))
    if not length:
        vector[0] = length = 1.0
    return [x / length for x in vector]
