"""The jieba tokenizer: Chinese words, by a dictionary, and by a hidden Markov model where that has none.

The package jieba is an extra, `elanus[chinese]`. It is Python and holds the interpreter while it works, some
microseconds a character.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from elanus.model.errors import InvalidParameter
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
        cutter = _cutter(self.words, self.with_dictionary)
        mode = "search" if self.search else "default"
        data, offsets = texts.data.tobytes(), texts.offsets.tolist()
        rows, starts, ends, positions = np.zeros(len(offsets), np.int64), [], [], []
        for row in range(len(offsets) - 1):
            text = data[offsets[row] : offsets[row + 1]].decode()
            at = np.zeros(len(text) + 1, np.int64)
            np.cumsum([len(c.encode()) for c in text], out=at[1:])
            at += offsets[row]
            for _, start, end in cutter.tokenize(text, mode, self.hmm):
                starts.append(at[start])
                ends.append(at[end])
                positions.append(start)
            rows[row + 1] = len(starts)
        return Spans(rows, *(np.array(column, np.int32) for column in (starts, ends, positions)))


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


@cache
def _cutter(words: tuple[str, ...], with_dictionary: bool) -> Any:
    jieba = _package()
    if with_dictionary:
        cutter = jieba.Tokenizer()
        cutter.initialize()
    else:
        cutter = jieba.Tokenizer()
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
