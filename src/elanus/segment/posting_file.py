"""The file of postings of a segment's sparse column: written in a builder process, opened when it is first asked for.

It is an index payload (`vector.posting_index`) in the form of big files (`blocks`). Task of a builder process:

    sparse.build    {"metric", "column": {"path", "field_id"}, "output"}

It writes the bare payload `output` and returns {"rows", "size"}. A damaged or lost file is as none: searches scan, the
log says which it was, and a job builds it anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from elanus.model.errors import CorruptData, FormatTooNew, KeyNotFound
from elanus.model.types import Metric
from elanus.segment.blocks import PAYLOAD_OFFSET, map_payload
from elanus.segment.column import open_column
from elanus.store.header import FileKind
from elanus.vector import payload

if TYPE_CHECKING:  # it loads compilers and kernels, which only searches need
    from elanus.vector.posting_index import Postings

_log = logging.getLogger("elanus.indexes")


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


class PostingFile:
    """The file with a Store key, at the path that `locate` gives for it, over the column that `column` gives.

    `is_lost` says that it was found to be lost or damaged; `on_lost` is called then.
    """

    def __init__(
        self,
        field_id: int,
        metric: Metric,
        key: str,
        locate: Callable[[str], Path],
        column: Callable[[int], pa.Array],
        on_lost: Callable[[], None],
    ) -> None:
        self.field_id = field_id
        self.key = key
        self.is_lost = False
        self._metric = metric
        self._locate = locate
        self._column = column
        self._on_lost = on_lost
        self._opened: Postings | None = None
        self._unusable = False

    def open(self) -> Postings | None:
        """The postings; None where they cannot be asked. Two threads may both open them; one result is kept.

        Raises `StoreError` where the file cannot be fetched.
        """
        if self._opened is not None or self._unusable:
            return self._opened
        from elanus.vector.posting_index import Postings

        column = self._column(self.field_id)
        try:
            path = self._locate(self.key)
            map_payload(path, FileKind.INDEX, self.field_id)  # checks header and trailer
            self._opened = Postings.open(payload.read(path, PAYLOAD_OFFSET), column, self._metric)
        except (CorruptData, FormatTooNew, KeyNotFound) as error:
            _log.warning("an index is left aside, searches scan instead: %s", error)
            self._unusable, self.is_lost = True, not isinstance(error, FormatTooNew)
            if self.is_lost:
                self._on_lost()
        return self._opened
