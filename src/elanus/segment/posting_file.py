"""The file of postings of a segment's sparse column: written in a builder process, opened when it is first asked for.

It is an index payload (`vector.posting_index`) in the form of big files (`blocks`). Task of a builder process:

    sparse.build    {"metric", "column": {"path", "field_id"}, "output"}

It writes the bare payload `output` and returns {"rows", "size"}. A damaged or lost file is as none: searches scan, the
log says which it was, and a job builds it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from elanus.model.types import Metric
from elanus.segment.column import open_column
from elanus.segment.index_file import LazyIndexFile
from elanus.vector.payload import Payload

if TYPE_CHECKING:  # it loads compilers and kernels, which only searches need
    from elanus.vector.posting_index import Postings


def build(arguments: Mapping[str, Any], progress: Callable[[float], None]) -> Mapping[str, Any]:
    """The task `sparse.build`; see the module."""
    from elanus.vector import posting_index

    source = arguments["column"]
    column = open_column(Path(source["path"]), source["field_id"])
    progress(0.0)
    size = posting_index.build(column, Metric(arguments["metric"]), Path(arguments["output"]))
    return {"rows": len(column), "size": size}


def build_memory(column_bytes: int) -> int:
    """About how many bytes building takes, for a column file of `column_bytes`."""
    return 2 * column_bytes


class PostingFile(LazyIndexFile["Postings"]):
    """That of a sparse field, built for searches by `metric`."""

    INSTEAD = "searches scan"

    def __init__(
        self,
        field_id: int,
        metric: Metric,
        key: str,
        locate: Callable[[str], Path],
        column: Callable[[int], pa.Array],
        on_lost: Callable[[], None],
    ) -> None:
        super().__init__(field_id, key, locate, column, on_lost)
        self._metric = metric

    def open(self) -> Postings | None:
        """As that of every file. Raises `StoreError` also where the column cannot be read: no fault of this file's."""
        if self._opened is None:
            self._column(self.field_id)
        return super().open()

    def _over(self, file: Payload, path: Path) -> Postings:
        from elanus.vector.posting_index import Postings

        return Postings.open(file, self._column(self.field_id), self._metric)
