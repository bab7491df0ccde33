"""A filter bound to a schema, as the engine uses it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.expr.evaluate import Columns, Indexed, evaluate
from elanus.expr.simplify import joined
from elanus.expr.typed import Always, Column, Compare, Junction, Member, Predicate
from elanus.model.schema import Field


@dataclass(frozen=True, eq=False)
class BoundFilter:
    """A filter ready to run over the rows of one schema. Immutable; any thread may use it at any time.

    It equals itself alone, so that it can be a key: lists of `in` are arrays, which have no hash.

    `always` is its value where it is the same for all rows, else None. `key_lookup`, when not None, are the keys for
    which it is true, and nothing else is: `pk == x`, `pk in […]`. `narrowed` covers `pk in […] and rest` too, and
    `tenants` the same of the partition key.

    Where `sample` is not None, of the rows for which it is true only that share is meant, drawn by who reads.
    """

    text: str
    root: Predicate
    primary: Field
    partition_key: Field | None = None
    clustering_key: Field | None = None
    sample: float | None = None

    @cached_property
    def fields(self) -> frozenset[int]:
        """The ids of the fields that it reads."""
        return frozenset(self.root.fields())

    @property
    def always(self) -> bool | None:
        if self.sample is not None and isinstance(self.root, Always) and self.root.truth:
            return None
        return self.root.truth if isinstance(self.root, Always) else None

    @cached_property
    def key_lookup(self) -> pa.Array | None:
        keys, rest = self.narrowed or (None, None)
        return keys if rest is None and self.sample is None else None

    @cached_property
    def narrowed(self) -> tuple[pa.Array, BoundFilter | None] | None:
        """(keys, rest): it is true only in rows with one of `keys` for which `rest` (None: nothing more) is true too.

        None when no such keys are known. The rest is meant for `evaluate_at`, on the rows found by their keys.
        """
        return self._split(self.primary)

    @cached_property
    def tenants(self) -> tuple[pa.Array, BoundFilter | None] | None:
        """As `narrowed`, with values of the partition key."""
        return self._split(self.partition_key) if self.partition_key is not None else None

    @cached_property
    def ordered(self) -> tuple[tuple[tuple[str, Any], ...], BoundFilter | None] | None:
        """(bounds, rest): as `narrowed`, with all comparisons (op, value) of the clustering key with constants."""
        if self.clustering_key is None:
            return None
        conjunction = isinstance(self.root, Junction) and self.root.op == "and"
        terms = self.root.terms if isinstance(self.root, Junction) and conjunction else (self.root,)
        bounds = {i: bound for i, term in enumerate(terms) if (bound := _bound_of(term, self.clustering_key))}
        if not bounds:
            return None
        rest = [term for i, term in enumerate(terms) if i not in bounds]
        return tuple(bounds.values()), replace(self, root=joined("and", rest)) if rest else None

    def _split(self, field: Field) -> tuple[pa.Array, BoundFilter | None] | None:
        values = _values_of(self.root, field)
        if values is not None:
            return values, None
        if not isinstance(self.root, Junction) or self.root.op != "and":
            return None
        for i, term in enumerate(self.root.terms):
            values = _values_of(term, field)
            if values is not None:
                rest = joined("and", [*self.root.terms[:i], *self.root.terms[i + 1 :]])
                return values, replace(self, root=rest)
        return None

    def evaluate(self, columns: Columns, rows: int, indexed: Indexed | None = None) -> pa.BooleanArray:
        """True, false or, as null, unknown for each of `rows` rows; only the true ones match."""
        return evaluate(self.root, columns, rows, indexed)

    def evaluate_at(self, columns: Columns, rows: npt.NDArray[np.int64]) -> pa.BooleanArray:
        """The same for the rows with these numbers, in this order; reads nothing of the others."""
        return evaluate(self.root, columns, rows)

    def describe(self) -> str:
        """The filter in normal form: templates filled, constants folded, terms in the order in which they are tried."""
        if self.sample is None:
            return str(self.root)
        return f"({self.root}) and random_sample({self.sample!r})"

    def __str__(self) -> str:
        return self.describe()


def _bound_of(term: Predicate, field: Field) -> tuple[str, Any] | None:
    """What `term` says of the order of `field`, where it says nothing else."""
    if not isinstance(term, Compare) or not isinstance(term.operand, Column) or term.operand.field.id != field.id:
        return None
    return (term.op, term.scalar.as_py()) if term.op != "!=" else None


def _values_of(term: Predicate, field: Field) -> pa.Array | None:
    """The values of `field` for which `term` is true, where nothing else is looked at."""
    if not isinstance(term, (Compare, Member)) or not isinstance(term.operand, Column):
        return None
    if term.operand.field.id != field.id:
        return None
    if isinstance(term, Member):
        return term.values
    return pa.array([term.value], field.arrow_type) if term.op == "==" else None
