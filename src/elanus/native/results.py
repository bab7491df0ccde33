"""What a search returns: arrays first, dicts when somebody looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, TypedDict, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.native.rows import Row, to_rows
from elanus.service.output import cut
from elanus.service.search import SearchAnswer


class Hit(TypedDict):
    """One row that was found. `distance` is the score; `entity` holds the output fields, dynamic keys among them."""

    id: int | str
    distance: float
    entity: Row


class Hits(Sequence[Hit]):
    """The hits of one query, nearest first."""

    def __init__(self, results: SearchResults, start: int, stop: int) -> None:
        self._results = results
        self._start = start
        self._stop = stop

    @property
    def keys(self) -> npt.NDArray[Any]:
        """The keys: (hits,) int64, or objects (str) for VarChar keys."""
        return self._results.all_keys[self._start : self._stop]

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """The scores, (hits,): squared distances for L2 (smaller is nearer), else larger is nearer."""
        return self._results.all_scores[self._start : self._stop]

    def to_table(self) -> pa.Table:
        """The key, `distance` and the output fields, one row a hit."""
        return self._results.to_table().slice(self._start, len(self)).drop_columns(["query"])

    def __len__(self) -> int:
        return self._stop - self._start

    @overload
    def __getitem__(self, place: int) -> Hit: ...

    @overload
    def __getitem__(self, place: slice) -> list[Hit]: ...

    def __getitem__(self, place: int | slice) -> Hit | list[Hit]:
        return self._results.hits[self._start : self._stop][place]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self._results.hits[self._start : self._stop])

    def __repr__(self) -> str:
        return repr(list(self))


class SearchResults(Sequence[Hits]):
    """The hits of each query, in the order of the queries. Dicts are made when a hit is first looked at."""

    def __init__(self, answer: SearchAnswer) -> None:
        self._answer = answer
        self._result = answer.result

    @property
    def keys(self) -> list[npt.NDArray[Any]]:
        """For each query the keys of its hits: (hits,) int64, or objects (str) for VarChar keys."""
        return [hits.keys for hits in self]

    @property
    def scores(self) -> list[npt.NDArray[np.float32]]:
        """For each query the scores of its hits, (hits,) float32, nearest first."""
        return [hits.scores for hits in self]

    @property
    def all_keys(self) -> npt.NDArray[Any]:
        """The keys of all hits, query after query."""
        return self._result.keys

    @property
    def all_scores(self) -> npt.NDArray[np.float32]:
        """The scores of all hits, query after query."""
        return self._result.scores

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Where the hits of each query begin among all, (queries + 1,)."""
        return self._result.offsets

    def to_table(self) -> pa.Table:
        """All hits: `query` (its number, int64), the key, `distance` (float32), and the output fields."""
        result, output, key = self._result, self._answer.output, self._answer.key_field
        queries = np.repeat(np.arange(len(self)), np.diff(result.offsets))
        keys, scores = pa.array(result.keys, key.arrow_type), pa.array(result.scores)
        columns = {"query": pa.array(queries), key.name: keys, "distance": scores}
        if result.fields is not None:
            fields = cut(result.fields, output)
            columns |= {name: fields.column(name) for name in output.fields if name not in columns}
        table = pa.table(columns)
        if result.fields is not None:  # what a column says of itself
            told = [fields.schema.field(f.name) if f.name in fields.column_names else f for f in table.schema]
            table = table.cast(pa.schema(told))
        return table

    @cached_property
    def hits(self) -> list[Hit]:
        """All hits as dicts, query after query."""
        result, output = self._result, self._answer.output
        entities: Sequence[Row] = [{} for _ in result.scores]
        if result.fields is not None:
            entities = to_rows(cut(result.fields.select(list(output.fields)), output))
        return [
            {"id": key, "distance": score, "entity": entity}
            for key, score, entity in zip(result.keys.tolist(), result.scores.tolist(), entities, strict=True)
        ]

    def __len__(self) -> int:
        return len(self._result.offsets) - 1

    @overload
    def __getitem__(self, place: int) -> Hits: ...

    @overload
    def __getitem__(self, place: slice) -> list[Hits]: ...

    def __getitem__(self, place: int | slice) -> Hits | list[Hits]:
        if isinstance(place, slice):
            return [self[number] for number in range(len(self))[place]]
        number = range(len(self))[place]
        offsets = self._result.offsets
        return Hits(self, int(offsets[number]), int(offsets[number + 1]))

    def __repr__(self) -> str:
        return f"SearchResults({[list(hits) for hits in self]})"
