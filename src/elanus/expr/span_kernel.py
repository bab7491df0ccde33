"""The compiled side of `json_texts`: where in a document a value stands."""

from __future__ import annotations

from typing import Any

import numpy as np

from elanus.expr.json_kernel import _after_value, _locate
from elanus.model.compiled import compiled


@compiled
def find_spans(data: Any, words: Any, keys: Any, key_offsets: Any, indexes: Any, starts: Any, ends: Any) -> None:
    """The span in `data` of the value at one path of each document, an empty one where there is none.

    `starts` and `ends` are those of the documents before, and those of the values afterwards; the path is as
    `json_kernel.extract` takes it.
    """
    scratch = np.empty(4, np.uint8)
    for row in range(len(starts)):
        end = ends[row]
        at = _locate(data, words, starts[row], end, keys, key_offsets, indexes, scratch)
        starts[row], ends[row] = 0, 0
        if at >= 0:
            starts[row], ends[row] = at, _after_value(data, words, at, end)
