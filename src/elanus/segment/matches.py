"""Looking up many probes at once in a sorted array of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.segment.probe import Probes
from elanus.segment.view import Rows

Places = npt.NDArray[np.int64]


def matches(ordered: Probes, wanted: Probes, distinct: bool = False) -> tuple[Places, Places]:
    """All pairs (i, j) with `wanted[i] == ordered[j]`, as two arrays, by rising i.

    `ordered` rises; `distinct` promises that it holds nothing twice, which saves a search. Searching is several
    times faster when `wanted` rises too: neighbours then share the path through the cache.
    """
    low = ordered.searchsorted(wanted)
    if distinct:
        if not len(ordered):
            return low[:0], low[:0]
        (found,) = (ordered[np.minimum(low, len(ordered) - 1)] == wanted).nonzero()
        return found, low[found]
    counts = ordered.searchsorted(wanted, side="right") - low
    (found,) = counts.nonzero()
    counts = counts[found]
    total = int(counts.sum())
    if total == len(found):
        return found, low[found]
    # Each hit stands for a run of equal probes: write the runs' numbers one after the other.
    ends = np.cumsum(counts)
    places = np.arange(total) - np.repeat(ends - counts - low[found], counts)
    return np.repeat(found, counts), places


def same_keys(keys: pa.Array, which: Places, column: pa.Array, rows: Rows) -> npt.NDArray[np.bool_]:
    """Whether `keys[which[i]]` is the key in `column[rows[i]]`, for every i."""
    if len(which) == 1:
        # A stream of single writes: two values are compared ten times faster than two arrays are made.
        return np.array([keys[int(which[0])].as_py() == column[int(rows[0])].as_py()])
    asked, held = keys.take(pa.array(which)), column.take(pa.array(rows))
    equal: npt.NDArray[np.bool_] = pc.equal(asked, held).to_numpy(zero_copy_only=False)
    return equal
