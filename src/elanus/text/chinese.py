"""The jieba tokenizer: Chinese words, by a dictionary, and by a hidden Markov model where that has none.

The package jieba is an extra, `elanus[chinese]`: the dictionary and the model are its, `jieba_kernels` does the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from math import log, nan
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model.errors import InvalidParameter
from elanus.model.layout import layout
from elanus.text.tokenizers import Spans, Texts

_DEFAULT = "_default_"


@dataclass(frozen=True, eq=False)
class Jieba:
    """`search` gives the words within long words, too; `hmm` guesses words that are in no dictionary."""

    words: tuple[str, ...]
    with_dictionary: bool
    search: bool
    hmm: bool
    counts_characters: bool = True

    def spans(self, texts: Texts) -> Spans:
        from elanus.text import jieba_kernels

        known = _dictionary(self.words, self.with_dictionary)
        rows = np.empty(len(texts.offsets), np.int64)
        table = known.keys, known.logs, known.log_total
        tokens = jieba_kernels.cut(texts.data, texts.offsets, *table, self.hmm, self.search, _model(), rows)
        return Spans(rows, *tokens)


@dataclass(frozen=True, eq=False)
class _Dictionary:
    """See `jieba_kernels`; `log_total` is the logarithm of all frequencies together."""

    keys: npt.NDArray[np.uint64]
    logs: npt.NDArray[np.float64]
    log_total: float


def jieba_of(params: Mapping[str, Any]) -> Jieba:
    """Raises `InvalidParameter`, also when the package is not there."""
    for key in params:
        if key not in ("type", "dict", "mode", "hmm"):
            raise InvalidParameter(f"jieba tokenizer: {key} is no option of it; there are dict, mode and hmm")
    listed = params.get("dict", [_DEFAULT])
    if not isinstance(listed, list):
        raise InvalidParameter("jieba tokenizer dict must be array")
    if not all(isinstance(word, str) for word in listed):
        raise InvalidParameter("jieba tokenizer dict item must be string")
    if "_extend_default_" in listed:
        raise InvalidParameter("jieba tokenizer dict: _extend_default_ is not in this version of Elanus; use _default_")
    if listed.count(_DEFAULT) > 1:
        raise InvalidParameter("jieba tokenizer dict can only set one system dict")
    mode = params.get("mode", "search")
    if mode not in ("search", "exact"):
        raise InvalidParameter('jieba tokenizer mode must be "exact" or "search"')
    hmm = params.get("hmm", True)
    if not isinstance(hmm, bool):
        raise InvalidParameter("jieba tokenizer hmm must be boolean")
    words = tuple(word for word in listed if word and word != _DEFAULT)
    _package()
    return Jieba(words, _DEFAULT in listed, mode == "search", hmm)


@lru_cache(maxsize=4)
def _dictionary(words: tuple[str, ...], with_dictionary: bool) -> _Dictionary:
    from elanus.text import jieba_kernels

    cutter = _cutter(words, with_dictionary)
    known = pa.array(list(cutter.FREQ), pa.large_string())
    # The logarithms are Python's, to the bit: words of nearly equal probability shall be cut as jieba cuts them.
    logs = np.array([log(frequency) if frequency else nan for frequency in cutter.FREQ.values()], np.float64)
    data, offsets = layout(known)
    hashes = np.empty(len(known), np.uint64)
    jieba_kernels.hash_words(data, offsets, hashes)
    assert len(np.unique(hashes)) == len(hashes), "two words of the dictionary have one hash"
    size = 1 << (2 * len(hashes) + 1).bit_length()
    table = np.zeros(size, np.uint64), np.empty(size, np.float64)
    jieba_kernels.fill(hashes, logs, *table)
    return _Dictionary(*table, log(cutter.total))


@cache
def _model() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(start, move, emission) of the hidden Markov model, by the numbers of states, as logarithms."""
    from elanus.text.jieba_kernels import NEVER

    _package()
    from jieba import finalseg

    letters = "BEMS"
    start = np.array([finalseg.start_P[letter] for letter in letters])
    moves = np.array([[finalseg.trans_P[a].get(b, NEVER) for b in letters] for a in letters])
    emitted = np.full((4, 1 << 16), NEVER)
    for state, letter in enumerate(letters):
        emission = finalseg.emit_P[letter]
        emitted[state, [ord(c) for c in emission]] = list(emission.values())
    return start, moves, emitted


@lru_cache(maxsize=4)
def _cutter(words: tuple[str, ...], with_dictionary: bool) -> Any:
    jieba = _package()
    cutter = jieba.Tokenizer()
    if with_dictionary:
        cutter.initialize()
    else:
        cutter.FREQ, cutter.total, cutter.initialized = {}, 1, True
    for word in words:
        cutter.add_word(word)
    return cutter


def _package() -> Any:
    try:
        import jieba
    except ImportError:
        raise InvalidParameter(
            "the jieba tokenizer needs the package jieba, which is not installed: pip install 'elanus[chinese]'"
        ) from None
    import logging

    jieba.setLogLevel(logging.WARNING)
    return jieba
