"""An oracle for whole collections: a list of rows in plain Python, read one row at a time.

`Model` is what a collection has to look like after the writes it was told of, and how its reads have to be answered.
It shares the parser of filters with the engine and nothing else: no Arrow, no masks, no segments, no kernels. Rows
never move and never change, so it does not know the states that the engine's rows go through.

What it says of a search is a range for each place of the answer: scores are computed in double precision, and the
engine's are float32 sums, so each is allowed the rounding of its own sum (see `rounding`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from elanus.expr.parser import parse
from elanus.model.schema import DYNAMIC_FIELD, Field, Schema
from elanus.model.types import DataType, Metric, OnDuplicateKey
from tests.oracle_filter import evaluate_row

Key = int | str
Vector = npt.NDArray[np.float32]

DEFAULT_PARTITION = "_default"


class Refused(Exception):
    """The write must be refused, and nothing of it may be seen."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A row that was written; several may hold the same key. `stored` and `plain` hold a value for every field.

    `stored` are the values as the engine has to return them: JSON as text, a Float as the float32 it was rounded to,
    vectors as float32 arrays. `plain` are the same as a filter reads them: JSON as Python objects.
    """

    key: Key
    partition: str
    stored: Mapping[str, Any]
    plain: Mapping[str, Any]
    number: int


@dataclass(frozen=True, slots=True)
class Question:
    """Which rows a read is about."""

    filter: str = ""
    params: Mapping[str, Any] | None = None
    partitions: tuple[str, ...] = ()


EVERYTHING = Question()


@dataclass(slots=True)
class Model:
    schema: Schema
    on_duplicate_key: OnDuplicateKey
    partitions: list[str] = field(default_factory=lambda: [DEFAULT_PARTITION])
    copies: list[Copy] = field(default_factory=list)
    _numbers: int = 0

    # --- writes ------------------------------------------------------------------------------------------------------

    def insert(self, rows: Sequence[Mapping[str, Any]], partition: str) -> None:
        """`rows` hold their keys, also those that the engine made. Raises `Refused` as "reject" says."""
        keys = [row[self.schema.primary.name] for row in rows]
        if self.on_duplicate_key is OnDuplicateKey.REJECT:
            if len(set(keys)) < len(keys) or set(keys) & {copy.key for copy in self.copies}:
                raise Refused
        elif self.on_duplicate_key is OnDuplicateKey.REPLACE:
            rows = list({row[self.schema.primary.name]: row for row in rows}.values())
            self.delete(keys)
        self._add(rows, partition)

    def upsert(self, rows: Sequence[Mapping[str, Any]], partition: str, replaced: Sequence[Key]) -> None:
        """`replaced` are the keys that were given; those in `rows` differ from them under autoID."""
        if len(set(replaced)) < len(replaced):
            raise Refused
        self.delete(replaced)
        self._add(rows, partition)

    def delete(self, keys: Iterable[Key], partitions: Sequence[str] = ()) -> None:
        """All copies go."""
        gone = set(keys)
        self.copies = [
            copy for copy in self.copies if copy.key not in gone or (partitions and copy.partition not in partitions)
        ]

    def truncate(self) -> None:
        self.copies = []

    def drop_partition(self, name: str) -> None:
        self.partitions.remove(name)
        self.copies = [copy for copy in self.copies if copy.partition != name]

    def _add(self, rows: Sequence[Mapping[str, Any]], partition: str) -> None:
        for row in rows:
            stored = {f.name: stored_value(f, row, self.schema) for f in self.schema.fields}
            plain = {f.name: plain_value(f, stored[f.name]) for f in self.schema.fields}
            key = stored[self.schema.primary.name]
            self.copies.append(Copy(key, partition, stored, plain, self._numbers))
            self._numbers += 1

    # --- reads -------------------------------------------------------------------------------------------------------

    def matching(self, asked: Question = EVERYTHING) -> list[Copy]:
        """Every copy that matches."""
        found = [copy for copy in self.copies if not asked.partitions or copy.partition in asked.partitions]
        if asked.filter.strip():
            tree = parse(asked.filter)
            found = [copy for copy in found if evaluate_row(tree, copy.plain, self.schema, asked.params) is True]
        return found

    def rows(self, asked: Question = EVERYTHING) -> list[Copy]:
        """The newest matching copy of every key, in rising key order."""
        newest = {copy.key: copy for copy in sorted(self.matching(asked), key=lambda copy: copy.number)}
        return [newest[key] for key in sorted(newest)]

    def near(self, asked: Question, field_name: str, metric: Metric, query: Vector) -> Near:
        """How near every matching copy is to `query`."""
        copies = self.matching(asked)
        vectors = np.array([copy.stored[field_name] for copy in copies], np.float64).reshape(-1, len(query))
        return Near(metric, copies, scores(metric, query, vectors), rounding(metric, query, vectors))


# --- values ----------------------------------------------------------------------------------------------------------


def stored_value(f: Field, row: Mapping[str, Any], schema: Schema) -> Any:
    """What is kept of the field `f` of a row as a user gave it."""
    if f.is_dynamic and f.name not in row:
        return orjson.dumps({name: value for name, value in row.items() if schema.get(name) is None})
    value = row.get(f.name)
    if value is None:
        value = f.default
    if value is None:
        return b"{}" if f.is_dynamic else None
    if f.dtype is DataType.JSON:
        return value if isinstance(value, bytes) else orjson.dumps(value)
    if f.element is not None:
        return None if value is None else [_rounded(f.element, element) for element in value]
    if f.dtype is DataType.FLOAT:
        return float(np.float32(value))
    if f.dtype is DataType.DOUBLE:
        return float(value)
    return np.asarray(value, np.float32) if f.is_vector else value


def _rounded(dtype: DataType, element: Any) -> Any:
    if dtype is DataType.FLOAT:
        return float(np.float32(element))
    return float(element) if dtype is DataType.DOUBLE else element


def plain_value(f: Field, stored: Any) -> Any:
    return json.loads(stored) if f.dtype is DataType.JSON and stored is not None else stored


# --- nearness --------------------------------------------------------------------------------------------------------

ULP = 2.0**-24
"""The rounding of one float32 operation, relative to its result."""


def scores(metric: Metric, query: Vector, vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The exact scores of `vectors` (n, dim): L2 squared, IP as it is, COSINE in [-1, 1], of zeros 0."""
    wanted = query.astype(np.float64)
    if metric is Metric.L2:
        return ((vectors - wanted) ** 2).sum(axis=1)
    products = vectors @ wanted
    if metric is Metric.IP:
        return products
    lengths = np.sqrt((vectors**2).sum(axis=1) * (wanted**2).sum())
    return np.divide(products, lengths, out=np.zeros(len(vectors)), where=lengths > 0)


def rounding(metric: Metric, query: Vector, vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How far a float32 score may lie from the exact one, each.

    A float32 sum of n products, in whatever order, is off by at most (n + 2) roundings of the sum of their sizes. For
    L2 the differences add one more each. Sums of small integers are exact, so those are allowed nothing.
    """
    wanted = query.astype(np.float64)
    steps = len(query) + 4
    whole = _small_integers(wanted) & _small_integers(vectors)
    if metric is Metric.L2:
        sizes = ((vectors - wanted) ** 2).sum(axis=1)
    else:
        sizes = np.abs(vectors * wanted).sum(axis=1)
    if metric is Metric.COSINE:
        lengths = np.sqrt((vectors**2).sum(axis=1) * (wanted**2).sum())
        return 2 * steps * ULP * np.divide(sizes, lengths, out=np.zeros(len(vectors)), where=lengths > 0) + 2 * ULP
    return np.where(whole, 0.0, steps * ULP * sizes + 1e-44)


def _small_integers(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    whole: npt.NDArray[np.bool_] = ((values == np.round(values)) & (np.abs(values) <= 256)).all(axis=-1)
    return whole


@dataclass(frozen=True, slots=True)
class Near:
    """The copies a search may find, the exact score of each, and by how much the engine's may differ."""

    metric: Metric
    copies: Sequence[Copy]
    exact: npt.NDArray[np.float64]
    slack: npt.NDArray[np.float64]

    def places(self) -> tuple[list[float], list[float]]:
        """For every place of the full answer the lowest and highest score that may stand there.

        A key is as near as the nearest of its copies.
        """
        sign = -1.0 if self.metric.larger_is_nearer else 1.0
        low: dict[Key, float] = {}
        high: dict[Key, float] = {}
        for copy, exact, slack in zip(self.copies, self.exact, self.slack, strict=True):
            low[copy.key] = min(low.get(copy.key, np.inf), sign * exact - slack)
            high[copy.key] = min(high.get(copy.key, np.inf), sign * exact + slack)
        first, last = sorted(low.values()), sorted(high.values())
        if sign < 0:
            return [-score for score in last], [-score for score in first]
        return first, last

    def ranked(self) -> list[Key]:
        """All keys in the order of score, then key. To be held against an engine only where nothing was rounded."""
        sign = -1.0 if self.metric.larger_is_nearer else 1.0
        best: dict[Key, float] = {}
        for copy, exact in zip(self.copies, self.exact, strict=True):
            best[copy.key] = min(best.get(copy.key, np.inf), sign * exact)
        return sorted(best, key=lambda key: (best[key], key))

    def groups(self, name: str) -> dict[str, list[Key]] | None:
        """The keys by the value of their nearest copies in the field `name`, groups and keys nearest first; None where
        a key has several nearest copies, or ones that rounding may make the nearest, that differ in it.
        """
        sign = -1.0 if self.metric.larger_is_nearer else 1.0
        value_of: dict[Key, str] = {}
        for key in (ranked := self.ranked()):
            mine = [i for i, copy in enumerate(self.copies) if copy.key == key]
            edge = min(sign * self.exact[i] + self.slack[i] for i in mine)
            values = {
                written(self.copies[i].stored[name]) for i in mine if sign * self.exact[i] - self.slack[i] <= edge
            }
            if len(values) > 1:
                return None
            value_of[key] = values.pop()
        groups: dict[str, list[Key]] = {}
        for key in ranked:
            groups.setdefault(value_of[key], []).append(key)
        return groups

    def having(self, key: Key, score: float) -> list[Copy]:
        """The copies of `key` that may have got `score`."""
        return [
            copy
            for copy, exact, slack in zip(self.copies, self.exact, self.slack, strict=True)
            if copy.key == key and abs(exact - score) <= slack
        ]


# --- comparing -------------------------------------------------------------------------------------------------------

Names = Sequence[str] | None
"""Fields that were asked for; None for all of them."""


def shown(copy: Copy, schema: Schema, output_fields: Sequence[str]) -> dict[str, Any]:
    """A copy as a user gets it, as a dict: the fields asked for, dynamic keys beside them.

    `output_fields` are names of fields, `*`, `$meta`, or dynamic keys.
    """
    out: dict[str, Any] = {}
    extra = json.loads(copy.stored[DYNAMIC_FIELD]) if schema.dynamic is not None else {}
    everything = "*" in output_fields
    for f in schema.fields:
        if f.is_dynamic:
            if everything or f.name in output_fields:
                out |= extra
        elif everything or f.name in output_fields:
            out[f.name] = copy.stored[f.name].tolist() if f.is_vector else copy.plain[f.name]
    if not everything and DYNAMIC_FIELD not in output_fields:
        out |= {name: value for name, value in extra.items() if name in output_fields}
    return out


def written(value: Any) -> str:
    """A value so that only equal values of equal types look alike: 1, 1.0 and True differ, and so do the two zeros."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {written(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        return repr(float(value))  # JSON readers give back integers past 64 bits as doubles
    return repr(value)


def first_difference(got: Sequence[Any], wanted: Sequence[Any], write: Callable[[Any], str] = written) -> str:
    """Where two sequences differ, in words; empty where they do not."""
    for place, (one, other) in enumerate(zip(got, wanted, strict=False)):
        if write(one) != write(other):
            return f"place {place}: got {write(one)}, the oracle has {write(other)}"
    return "" if len(got) == len(wanted) else f"got {len(got)}, the oracle has {len(wanted)}"
