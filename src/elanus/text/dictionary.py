"""Some texts in which others are looked up: terms of a vocabulary, words that make up compounds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.model.layout import layout

Ints = npt.NDArray[np.int64]


class Dictionary:
    """Distinct texts (large_string) by their numbers. Immutable."""

    def __init__(self, texts: pa.Array) -> None:
        from elanus.text import dictionary_kernels

        data, offsets = layout(texts)
        table = np.full(1 << (2 * len(texts) + 1).bit_length(), -1, np.int32)
        dictionary_kernels.fill(data, offsets, table)
        self._known = data, offsets, table
        self._longest = int(pc.max(pc.binary_length(texts)).as_py() or 0)

    def numbers(self, texts: pa.Array) -> Ints:
        """The number of each of `texts` (large_string), -1 of those that are none of its own."""
        from elanus.text import dictionary_kernels

        found = np.empty(len(texts), np.int64)
        dictionary_kernels.find(*layout(texts), *self._known, found)
        return found

    def pieces(self, texts: pa.Array) -> tuple[Ints, Ints, Ints]:
        """(how many pieces each text is cut into, where in the data of `texts` these begin, and where they end).

        Cut is what consists of its texts, from the left and always the longest that fits; all else stays whole.
        """
        from elanus.text import dictionary_kernels

        known = *layout(texts), *self._known, self._longest
        counts = np.empty(len(texts), np.int64)
        dictionary_kernels.count_pieces(*known, counts)
        starts, ends = (np.empty(int(counts.sum()), np.int64) for _ in range(2))
        dictionary_kernels.cut_pieces(*known, counts, starts, ends)
        return counts, starts, ends
