"""Values at a path of a JSON column as texts, whatever they are."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elanus.expr.json_path import Kind, Path, documents, extract, kernel_steps
from elanus.model.layout import offsets_of, places


def texts_at(column: pa.LargeBinaryArray, path: Path) -> pa.LargeStringArray:
    """What each row holds at `path`: strings as they read, all else as it is written; null where nothing, or null, is.

    So the number 1 and the string "1" are one text, and 1 and 1.0 are two.
    """
    from elanus.expr.span_kernel import find_spans

    found = extract(column, path)
    written = (found.kinds > Kind.NULL) & (found.kinds != Kind.STRING)
    if not written.any():
        return found.strings
    whole = documents(column)
    starts, ends = whole.starts, whole.ends
    find_spans(whole.data, whole.words, *kernel_steps(path), starts, ends)
    lengths = np.where(written, ends - starts, 0)
    begins = offsets_of(lengths)
    buffers = [np.packbits(written, bitorder="little"), begins, whole.data[places(starts, lengths)]]
    others = pa.Array.from_buffers(pa.large_string(), len(column), list(map(pa.py_buffer, buffers)))
    return pc.coalesce(found.strings, others)
