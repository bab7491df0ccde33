"""Whole documents: an index of a JSON path with the cast type JSON, which knows every path of keys below it.

For each path there is what an index of that path would hold, of each cast type of which values occur there, over the
rows that have such a value alone: so the file grows with the values and not with rows times paths. Sections, of a path
with the number p and a cast type c:

    p.present     uint32: the rows that have something there but null, rising; not there where all have
    p.c.in        uint32: the rows that have a value of the cast type, rising; not there where all have
    p.c.…         the sections of `sorted` for these values, or for ARRAY types of `elements`

`meta["paths"]` lists the keys of each path below the index's own; `meta["is_complete"]` says that no document has
another of at most `MOST_STEPS` keys. What is in arrays, other than their elements, is not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.expr import json_path, truth
from elanus.expr.json_arrays import ContainsJson
from elanus.expr.json_path import Documents, Kind, Path
from elanus.expr.typed import CompareJson, IsNull, JsonPath, Junction, Like, MemberJson, Predicate
from elanus.scalar import sorted as sorted_values
from elanus.scalar.casts import SCALARS, are_of, lists_of, values_of
from elanus.scalar.sections import Array, ScalarIndex, Sections, Source

MOST_PATHS = 1_024
"""Documents with more have keys that are data. Paths that are met later are scanned."""

MOST_STEPS = 8
ARENA_BYTES = 1 << 16
BLOCK_ROWS = 65_536

Rows = npt.NDArray[np.uint32]


def build(column: pa.Array, steps: Path) -> Sections:
    """The index of what lies below a path of a JSON column."""
    texts = json_path.documents(column)
    paths, is_complete, found = _walked(column, texts, steps)
    numbers, rows, places = found
    order = np.argsort(numbers, kind="stable")
    cuts = np.cumsum(np.bincount(numbers, minlength=len(paths)))[:-1]
    arrays: dict[str, Array] = {}
    for number, chosen in enumerate(np.split(order, cuts)):
        _add_path(arrays, str(number), texts, rows[chosen], places[chosen])
    return Sections({"paths": paths, "is_complete": is_complete}, arrays)


def _walked(
    column: pa.Array, texts: Documents, steps: Path
) -> tuple[list[list[str]], bool, tuple[npt.NDArray[np.int32], Rows, npt.NDArray[np.int64]]]:
    """(the paths, whether these are all, (number, row, place) of each value)."""
    from elanus.scalar.document_kernel import OVERFLOW, PATHS, walk

    known = column.is_valid().to_numpy(zero_copy_only=False)
    offsets = np.append(texts.starts, texts.ends[-1:])
    slots, parents = np.full(4 * MOST_PATHS, -1, np.int32), np.zeros(MOST_PATHS, np.int32)
    key_ends, arena = np.zeros(MOST_PATHS, np.int64), np.empty(ARENA_BYTES, np.uint8)
    last_rows, state = np.full(MOST_PATHS, -1, np.int64), np.array([1, 0], np.int64)
    blocks = []
    for begin in range(0, len(column), BLOCK_ROWS):
        of_rows = offsets[begin : begin + BLOCK_ROWS + 1]
        most = len(of_rows) + int(np.count_nonzero(texts.data[of_rows[0] : of_rows[-1]] == ord(":")))
        out = np.empty(most, np.int32), np.empty(most, np.uint32), np.empty(most, np.int64)
        table = slots, parents, key_ends, arena, state, last_rows
        in_block = known[begin : begin + BLOCK_ROWS]
        below = *json_path.kernel_steps(steps), MOST_STEPS
        count = walk(texts.data, texts.words, of_rows, in_block, begin, *below, *table, *out)
        blocks.append(tuple(part[:count] for part in out))
    paths: list[list[str]] = [[]]
    for number in range(1, state[PATHS]):
        key = arena[key_ends[number - 1] : key_ends[number]].tobytes().decode()
        paths.append([*paths[parents[number]], key])
    numbers, rows, places = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return paths, not state[OVERFLOW], (numbers, rows, places)


def _add_path(arrays: dict[str, Array], name: str, texts: Documents, rows: Rows, places: npt.NDArray[np.int64]) -> None:
    """Add the sections of one path, whose values are in `rows` at `places`."""
    total = len(texts.starts)

    def add(of: str, column: pa.Array, held: Rows) -> None:
        made = sorted_values.build(column, {})
        arrays.update({f"{name}.{of}.{section}": array for section, array in made.arrays.items()})
        if len(held) < total:
            arrays[f"{name}.{of}.in"] = held

    there = Documents(texts.data, texts.words, places, texts.ends[rows])
    found = json_path.values_at(there)
    present = rows[found.kinds > Kind.NULL]
    if len(present) < total:
        arrays[f"{name}.present"] = present
    for cast in SCALARS:
        values = values_of(found, cast).drop_null()
        if len(values):
            add(cast, values, rows[are_of(found, cast)])
    is_array = found.kinds == Kind.ARRAY
    if is_array.any():
        lists = Documents(texts.data, texts.words, places[is_array], there.ends[is_array])
        for cast in SCALARS:
            column = lists_of(lists, (), cast, np.ones(len(lists.starts), np.bool_))
            if len(column.flatten()):
                add(f"ARRAY_{cast}", column, rows[is_array])


def open_index(sections: Sections, source: Source) -> ScalarIndex:
    return DocumentIndex(sections, source)


class DocumentIndex:
    """See the module."""

    def __init__(self, sections: Sections, source: Source) -> None:
        self._source = source
        self._numbers = {tuple(keys): number for number, keys in enumerate(sections.meta["paths"])}
        self._is_complete = bool(sections.meta["is_complete"])
        self._present: dict[int, Rows] = {}
        self._sections: dict[int, dict[str, dict[str, Array]]] = {}
        """Those of each path, by cast type."""
        for name, array in sections.arrays.items():
            number, of, *section = name.split(".", 2)
            if section:
                self._sections.setdefault(int(number), {}).setdefault(of, {})[section[0]] = array
            else:
                self._present[int(number)] = array
        self._opened: dict[int, list[_Values]] = {}

    def answer(self, node: Predicate) -> pa.BooleanArray | None:
        field_id, path = _place_of(node) or (0, ())
        steps = self._source.steps
        if field_id != self._source.field_id or path[: len(steps)] != steps:
            return None
        below = path[len(steps) :]
        number = self._numbers.get(below)
        rows = self._source.rows
        if number is None:
            if not self._is_complete or len(below) > MOST_STEPS or any(isinstance(step, int) for step in below):
                return None
            if isinstance(node, IsNull):
                return truth.everywhere(not node.negated, rows)
            return pa.nulls(rows, pa.bool_())
        if isinstance(node, IsNull):
            held = np.full(rows, node.negated)
            if number in self._present:
                held[:] = not node.negated
                held[self._present[number]] = node.negated
            return truth.pack(held)
        found = (values.answer(node) for values in self._values(number, path))
        return next((answer for answer in found if answer is not None), None)

    def _values(self, number: int, steps: Path) -> list[_Values]:
        """What there is of a path, of each cast type. Two threads may both open it; one result is kept."""
        opened = self._opened.get(number)
        if opened is None:
            source = replace(self._source, steps=steps)
            of_casts = self._sections.get(number, {}).items()
            opened = self._opened[number] = [_Values(cast, arrays, source) for cast, arrays in of_casts]
        return opened


class _Values:
    """The values of one cast type at one path, over the rows that have one."""

    def __init__(self, cast: str, arrays: Mapping[str, Array], source: Source) -> None:
        held: Rows | None = arrays.get("in")
        self._held = held
        self._rows = source.rows
        self._known: npt.NDArray[np.bool_] | None = None
        if held is not None:
            self._known = np.zeros(source.rows, np.bool_)
            self._known[held] = True
        of = replace(source, rows=source.rows if held is None else len(held), is_array=cast.startswith("ARRAY_"))
        self._index = sorted_values.open_index(Sections({}, arrays), of)

    def answer(self, node: Predicate) -> pa.BooleanArray | None:
        found = self._index.answer(node)
        if found is None or self._held is None:
            return found
        all_rows = np.zeros(self._rows, np.bool_)
        all_rows[self._held] = found.to_numpy(zero_copy_only=False)
        return truth.pack(all_rows, self._known)


def _place_of(node: Predicate) -> tuple[int, Path] | None:
    """(field, path) that is all that `node` reads; None where it reads something else, or more."""
    path: object = None
    match node:
        case CompareJson() | MemberJson() | Like() | IsNull():
            path = node.operand
        case ContainsJson():
            path = node.path
        case Junction():
            places = {_place_of(term) for term in node.terms}
            return places.pop() if len(places) == 1 else None
    return (path.field.id, path.steps) if isinstance(path, JsonPath) else None
