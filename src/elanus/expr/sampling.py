"""`random_sample(p)`: of the rows for which all before it is true, each with the chance `p`.

It is no condition, since whether a row is taken depends on no value of it: it stands last in the filter's `and`, and
the engine draws once all else is decided, deletes and partitions too. What is drawn is another in every read.
"""

from __future__ import annotations

from dataclasses import dataclass

from elanus.expr import tree
from elanus.expr.binding import Binding, Constant, check_count
from elanus.expr.errors import Refused
from elanus.expr.typed import Predicate

NEAREST = 1e-10
"""How near to 0 and 1 a share may be."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The `share`, between 0 and 1, of the rows for which `of` is true."""

    of: Predicate
    share: float


def bind_share(binding: Binding, node: tree.Call) -> float:
    """The share that a call of `random_sample` asks for; raises `Refused`."""
    check_count(node, 1, 1)
    bound = binding.value(node.arguments[0])
    if not isinstance(bound, Constant) or isinstance(bound.value, (bool, str)):
        raise Refused(
            '"float factor" should be a const float expression: write a number between 0 and 1', node.position
        )
    share = float(bound.value)
    if not NEAREST < share < 1 - NEAREST:
        raise Refused(
            "the sample factor should be between 0 and 1 and not too close to 0 or 1(the difference should be larger "
            f"than 1e-10), but got {bound.value}",
            node.position,
        )
    return share
