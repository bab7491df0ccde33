"""Scalar index files of a segment: written in a builder process, opened when a filter first asks, and asked.

A file is an index payload (`vector.payload`) in the form of big files (`blocks`): what the kind's module makes is its
sections, and `meta` says under "scalar" what the file is of. Task of a builder process:

    scalar.build    {"kind", "params", "column": {"path", "field_id"}, "json": null or [steps],
                     "element": null or the name of a type, "output"}

It writes the bare payload `output` and returns {"rows"}. What lies at a JSON path is read by `scalar.casts`. Files of
older versions may say that they are not "exact", and are not asked.

A damaged or lost file is as none: filters scan, the log says which it was, and a job builds it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from elanus.expr import json_path
from elanus.expr.typed import Predicate
from elanus.model.arrays import unpacked
from elanus.model.errors import CorruptData
from elanus.model.types import DataType
from elanus.scalar import casts, documents, ngram
from elanus.scalar.registry import JSON_CAST_TYPE, RTREE, TEXT, module_of
from elanus.scalar.sections import ScalarIndex, Sections, Source
from elanus.segment.column import open_column
from elanus.segment.index_file import LazyIndexFile
from elanus.vector import payload
from elanus.vector.payload import Payload


@dataclass(frozen=True, slots=True)
class IndexOf:
    """What a file is built for: a kind with its parameters, of a field, or of a path (else None) of a JSON field; with
    `element`, of a field of arrays of such elements.
    """

    kind: str
    params: Mapping[str, Any]
    field_id: int
    steps: json_path.Path | None = None
    element: DataType | None = None

    def to_arguments(self, column: Path, output: Path) -> dict[str, Any]:
        """Of `scalar.build`, for the column file `column`."""
        return {
            "kind": self.kind,
            "params": dict(self.params),
            "column": {"path": str(column), "field_id": self.field_id},
            "json": None if self.steps is None else list(self.steps),
            "element": None if self.element is None else self.element.name,
            "output": str(output),
        }


def build_memory(of: IndexOf, rows: int, column_bytes: int) -> int:
    """About how many bytes building takes, for a column file of `column_bytes`."""
    # Elements of arrays, or values of all paths, may be all that the texts hold.
    several = casts.is_array(of.params) or of.params.get(JSON_CAST_TYPE) == casts.WHOLE
    paths = 0 if of.steps is None else 40 * rows + (8 * column_bytes if several else 0)
    grams = 64 * min(column_bytes, ngram.MOST_BYTES) if of.kind == "NGRAM" else 0
    if of.kind == TEXT:
        return 64 * rows + 12 * column_bytes
    if of.kind == RTREE:
        return 160 * rows + 2 * column_bytes
    return 64 * rows + 3 * column_bytes + paths + grams


def build(arguments: Mapping[str, Any], progress: Callable[[float], None]) -> Mapping[str, Any]:
    """The task `scalar.build`; see the module."""
    source = arguments["column"]
    column = open_column(Path(source["path"]), source["field_id"])
    steps = arguments["json"]
    progress(0.0)
    params, more = arguments["params"], {}
    if steps is not None and params[JSON_CAST_TYPE] == casts.WHOLE:
        made = documents.build(column, tuple(steps))
    else:
        values = column
        if steps is not None:
            values, more[casts.PRESENT] = casts.at_path(column, tuple(steps), params)
        elif arguments["element"] is not None:
            values = unpacked(DataType[arguments["element"]], column)
        made = module_of(arguments["kind"]).build(values, params)
    described = {"kind": arguments["kind"], "field_id": source["field_id"], "steps": steps}
    meta = {**made.meta, "rows": len(column), "scalar": described}
    payload.write(Path(arguments["output"]), meta, {**made.arrays, **more})
    return {"rows": len(column)}


class IndexFile(LazyIndexFile[ScalarIndex]):
    """That of a scalar field in a segment of so many `rows`."""

    INSTEAD = "filters scan"

    def __init__(
        self,
        of: IndexOf,
        key: str,
        rows: int,
        locate: Callable[[str], Path],
        column: Callable[[int], pa.Array],
        on_lost: Callable[[], None],
    ) -> None:
        super().__init__(of.field_id, key, locate, column, on_lost)
        self.of = of
        self._rows = rows

    def answer(self, node: Predicate) -> pa.BooleanArray | None:
        """`node` for every row; None where this index cannot tell. Raises `StoreError` where it cannot be fetched."""
        index = self.open()
        return None if index is None else index.answer(node)

    def _over(self, file: Payload, path: Path) -> ScalarIndex | None:
        described = file.meta.get("scalar", {})
        steps = None if self.of.steps is None else list(self.of.steps)
        expected = {"kind": self.of.kind, "field_id": self.of.field_id, "steps": steps}
        if file.meta.get("rows") != self._rows or any(described.get(key) != value for key, value in expected.items()):
            raise CorruptData(f"index file {path} was built for other data: drop and rebuild the index")
        if not described.get("exact", True):
            return None
        source = Source(
            self.of.field_id,
            self.of.steps is not None,
            self.of.steps or (),
            self._rows,
            self.of.element is not None or casts.is_array(self.of.params),
            lambda: self._column(self.of.field_id),
        )
        sections = Sections(file.meta, file.sections)
        if self.of.params.get(JSON_CAST_TYPE) == casts.WHOLE:
            return documents.open_index(sections, source)
        index = module_of(self.of.kind).open_index(sections, source)
        present = file.sections.get(casts.PRESENT)
        return index if present is None else casts.AtPath(index, present, source)


class Indexed:
    """The scalar indexes of one segment, by their names, as a filter asks them: called with a predicate, it answers for
    every row. Where it is given `heard`, it adds to it the names of those that answered.
    """

    def __init__(self, files: Mapping[str, IndexFile], heard: set[str] | None = None) -> None:
        self._files = files
        self._heard = heard
        self._by_field: dict[int, list[tuple[str, IndexFile]]] = {}
        for name, file in files.items():
            self._by_field.setdefault(file.of.field_id, []).append((name, file))

    def __call__(self, node: Predicate) -> pa.BooleanArray | None:
        fields = set(node.fields())
        if len(fields) != 1:  # none is of several
            return None
        for name, file in self._by_field.get(fields.pop(), ()):
            answer = file.answer(node)
            if answer is not None:
                if self._heard is not None:
                    self._heard.add(name)
                return answer
        return None

    @property
    def lost(self) -> set[str]:
        """The Store keys of those whose file was found to be lost or damaged."""
        return {file.key for file in self._files.values() if file.is_lost}

    def heard_by(self, heard: set[str]) -> Indexed:
        """The same, for somebody who wants to know which of them answer."""
        return Indexed(self._files, heard)

    def open(self) -> None:
        """Map all files now. Raises `StoreError` where one cannot be fetched."""
        for file in self._files.values():
            file.open()
