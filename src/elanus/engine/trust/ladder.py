"""The rungs: the parameter that an index kind is widened by, at values that grow by the square root of two.

Rung 0 looks least closely. What is measured on one rung for one `k` holds about as well for another `k` nearby, since
the breadth of a walk counts in multiples of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from elanus.model.errors import InvalidParameter
from elanus.model.types import DataType
from elanus.vector.registry import EF, IndexKind, IndexSpec

if TYPE_CHECKING:
    from elanus.engine.planner import SearchRequest

TARGET_RECALL = "target_recall"

DROPPED = "drop_ratio_search"
"""What postings are asked to leave out: nothing, where a recall is wanted. Then they are exact."""

RUNGS = 20
EXACT = RUNGS
"""Above the highest rung there is the exact scan."""

WIDE_GRAPH, WIDE_LISTS = 12, 15
"""The rung of a search that wants a recall before it is known how to reach it: for the ten nearest in a graph 1,024, of
1,024 lists 238. So closely .95 and more are found also for queries unlike the rows, in all sets that were tried."""

SURE = 0.99
"""Recalls above this one are not promised of any walk that was not measured."""

_WIDTHS = ("ef", "nprobe", "search_list", "search_list_size")
"""What a search that wants a recall leaves out, since it chooses it."""

_EXACT_CODES = frozenset({IndexKind.HNSW, IndexKind.AUTOINDEX, IndexKind.IVF_FLAT})
"""Kinds whose codes are so fine that it does not matter how many of the rows they find are scored."""


def knob_of(spec: IndexSpec) -> str | None:
    """The search parameter that a kind is widened by; None for kinds that are exact."""
    if spec.kind is IndexKind.DISKANN:
        return "search_list"
    return "ef" if spec.is_graph else "nprobe" if spec.has_lists else None


def is_widened(request: SearchRequest) -> bool:
    """Whether indexes of such vectors look more or less closely; those of others are exact, whatever their kind."""
    return request.vector_field.dtype is DataType.FLOAT_VECTOR


def value_of(spec: IndexSpec, rung: int, k: int) -> int:
    """What the parameter is on a rung, for the `k` nearest."""
    if spec.has_lists:
        # From one list to all of them, each rung as much more as the one before.
        return min(spec.nlist, math.ceil(math.pow(spec.nlist, rung / (RUNGS - 1))))
    return math.ceil(max(k, EF.default) * math.pow(2, rung / 2))


def refine_of(spec: IndexSpec, rung: int) -> float | None:
    """How many rows found by codes are scored on a rung for each that is wanted: more, where codes are coarse."""
    return None if spec.kind in _EXACT_CODES else round(math.pow(2, rung / 2), 1)


def on_rung(spec: IndexSpec, params: Mapping[str, Any], rung: int, k: int) -> dict[str, Any]:
    """`params` of a search with the width of a rung in place of theirs, and of the recall that is wanted."""
    others = {name: value for name, value in params.items() if name != TARGET_RECALL and name not in _WIDTHS}
    knob, refine = knob_of(spec), refine_of(spec, rung)
    if knob is None:
        return others
    finer = {} if refine is None or others.keys() & {"refine_k", "reorder_k"} else {"refine_k": refine}
    return {**others, **finer, knob: value_of(spec, rung, k)}


def wide_of(spec: IndexSpec, target: float) -> int:
    """The rung for a recall of which it is not known what it takes."""
    return (WIDE_LISTS if spec.has_lists else WIDE_GRAPH) if target <= SURE else EXACT


def target_of(params: Mapping[str, Any]) -> float | None:
    """The recall that a search wants. Raises `InvalidParameter` where it is none, or a width is named as well."""
    given = params.get(TARGET_RECALL)
    if given is None:
        return None
    try:
        target = math.nan if isinstance(given, bool) else float(given)
    except (TypeError, ValueError):
        target = math.nan
    if not 0 < target <= 1:
        raise InvalidParameter(
            f"param '{TARGET_RECALL}' ({given}) should be a number in range (0, 1]: send .95 for 95 of 100 neighbours, "
            "or 1 for an exact scan"
        )
    both = [name for name in _WIDTHS if name in params]
    if both:
        raise InvalidParameter(f"param '{TARGET_RECALL}' chooses what '{both[0]}' says: send one of the two")
    return target
