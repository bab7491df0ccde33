"""A filter bound to a schema, as the engine uses it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.expr.evaluate import Columns, evaluate
from elanus.expr.simplify import joined
from elanus.expr.typed import Always, Column, Compare, Junction, Member, Predicate
from elanus.model.schema import Field


@dataclass(frozen=True, eq=False)
class BoundFilter:
    """A filter ready to run over the rows of one schema. Immutable; any thread may use it at any time.

    It equals itself alone, so that it can be a key: lists of `in` are arrays, which have no hash.

    `always` is its value where it is the same for all rows, else None. `key_lookup`, when not None, are the keys for
    which it is true, and nothing else is: `pk == x`, `pk in […]`. `narrowed` covers `pk in […] and rest` too.
    """

    text: str
    root: Predicate
    primary: Field

    @cached_property
    def fields(self) -> frozenset[int]:
        """The ids of the fields that it reads."""
        return frozenset(self.root.fields())

    @property
    def always(self) -> bool | None:
        return self.root.truth if isinstance(self.root, Always) else None

    @cached_property
    def key_lookup(self) -> pa.Array | None:
        return self._keys(self.root)

    @cached_property
    def narrowed(self) -> tuple[pa.Array, BoundFilter | None] | None:
        """(keys, rest): it is true only in rows with one of `keys` for which `rest` (None: nothing more) is true too.

        None when no such keys are known. The rest is meant for `evaluate_at`, on the rows found by their keys.
        """
        keys = self.key_lookup
        if keys is not None:
            return keys, None
        if not isinstance(self.root, Junction) or self.root.op != "and":
            return None
        for i, term in enumerate(self.root.terms):
            keys = self._keys(term)
            if keys is not None:
                rest = joined("and", [*self.root.terms[:i], *self.root.terms[i + 1 :]])
                return keys, BoundFilter(self.text, rest, self.primary)
        return None

    def _keys(self, term: Predicate) -> pa.Array | None:
        if not isinstance(term, (Compare, Member)) or not isinstance(term.operand, Column):
            return None
        if term.operand.field.id != self.primary.id:
            return None
        if isinstance(term, Member):
            return term.values
        return pa.array([term.scalar]) if term.op == "==" else None

    def evaluate(self, columns: Columns, rows: int) -> pa.BooleanArray:
        """True, false or, as null, unknown for each of `rows` rows; only the true ones match."""
        return evaluate(self.root, columns, rows)

    def evaluate_at(self, columns: Columns, rows: npt.NDArray[np.int64]) -> pa.BooleanArray:
        """The same for the rows with these numbers, in this order; reads nothing of the others."""
        return evaluate(self.root, columns, rows)

    def describe(self) -> str:
        """The filter in normal form: templates filled, constants folded, terms in the order in which they are tried."""
        return str(self.root)

    def __str__(self) -> str:
        return self.describe()
