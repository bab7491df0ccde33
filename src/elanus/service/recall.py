"""The recall of searches: what was measured, and measuring on request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from elanus.engine.query import column_of, find
from elanus.engine.snapshot import Snapshot
from elanus.engine.trust.evidence import KEPT
from elanus.engine.trust.ladder import TARGET_RECALL, target_of
from elanus.engine.trust.measure import measured
from elanus.engine.trust.report import RecallReport, report
from elanus.model.denial import Deed
from elanus.model.errors import InvalidParameter
from elanus.model.schema import Field
from elanus.service.context import RequestContext
from elanus.service.instance import Instance
from elanus.service.queries import Queries, stored_queries
from elanus.service.search import asked_of, vector_field

__all__ = ["Gauge", "RecallReport", "calibrate", "metrics", "recall_report"]

WANTED = 0.95

DRAWN = 64
"""Rows that stand for queries where none are given."""


def recall_report(ctx: RequestContext, instance: Instance, collection: str, wanted: float = WANTED) -> RecallReport:
    """What was measured of searches of a collection, with advice for the recall that is `wanted`, in (0, 1].

    Raises `InvalidParameter` for another one, `CollectionNotFound`.
    """
    target = target_of({TARGET_RECALL: wanted})
    assert target is not None
    return report(instance.readable(ctx, collection).snapshot(), target)


class Gauge(NamedTuple):
    """A figure that goes up and down: its name, what it is of, and its value now."""

    name: str
    labels: Mapping[str, str]
    value: float


def metrics(ctx: RequestContext, instance: Instance) -> list[Gauge]:
    """What was measured of all collections that are open: `elanus_recall`, its `elanus_recall_error` (95 %) and the
    number of `elanus_recall_queries`, by database, collection, field, index, kind, filter class and k.
    """
    instance.begin(ctx)
    gauges = []
    for database in instance.catalog.state.databases.values():
        for entry in database.collections.values():
            collection = instance.engine.opened(entry.id)
            if collection is None or not collection.watch.cases:
                continue
            for found in report(collection.snapshot(), WANTED).entries:
                if not found.samples:
                    continue
                labels = {
                    "database": database.name,
                    "collection": entry.name,
                    "field": found.field,
                    "index": found.index,
                    "kind": found.kind,
                    "built": str(found.built).lower(),
                    "filter": found.filters.value,
                    "k": str(found.k),
                }
                gauges += [
                    Gauge("elanus_recall", labels, found.recall),
                    Gauge("elanus_recall_error", labels, found.error),
                    Gauge("elanus_recall_queries", labels, found.samples),
                ]
    return gauges


def calibrate(
    ctx: RequestContext, instance: Instance, collection: str, queries: Any = None, **asked: Any
) -> RecallReport:
    """Measure `queries` now, at most 256, as those that `search` would be asked with the same arguments.

    None are rows of the collection, drawn by chance. Takes an exact scan for each of them. Returns the new report.
    Raises as `search` does.
    """
    if queries is None:
        snapshot = instance.collection(ctx, collection, Deed.READING).snapshot()
        queries = _drawn(snapshot, vector_field(snapshot.manifest.schema, asked.get("field")))
    snapshot, request = asked_of(ctx, instance, collection, queries, **asked)
    if len(request.queries) > KEPT:
        raise InvalidParameter(f"{len(request.queries)} queries are more than are remembered: send at most {KEPT}")
    case, found = measured(snapshot, request, lambda: None, was_asked=False)
    snapshot.watch.add(case, found)
    return report(snapshot, target_of(request.params) or WANTED)


def _drawn(snapshot: Snapshot, field: Field) -> Queries:
    """The vectors of some rows, drawn by chance. Raises `InvalidParameter` where rows are made of texts."""
    if field.id in snapshot.manifest.schema.outputs:
        raise InvalidParameter(f"field {field.name} is made of texts: send some that are searched for")
    found = find(snapshot, None, (), None)
    number = min(DRAWN, len(found))
    rows = np.random.default_rng().choice(len(found), number, replace=False)
    return stored_queries(field, column_of(snapshot, found[rows], field.id))
