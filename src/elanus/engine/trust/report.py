"""What was measured of a collection's searches, and what to raise for a recall that is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from elanus.engine.trust.evidence import ENOUGH, Case, Evidence, FilterClass, interval
from elanus.engine.trust.ladder import EXACT, TARGET_RECALL, knob_of, refine_of, value_of
from elanus.model.types import DataType

if TYPE_CHECKING:
    from elanus.engine.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class RecallEntry:
    """The recall of the searches of one sort: by one index, for about `k` hits, with filters of one class.

    `recall` is that of `samples` live queries, as they were answered; it is known to `error`, more or less, with a
    chance of 95 %. NaN and 0 where none was measured. `parameter` is what the index is widened by, empty where every
    search is exact, and `asked` from what to what it was (0: an exact scan). `calibrated` counts the queries that the
    advice rests on: also those that were given to `calibrate`. `advised` is what the parameter has to be for the
    recall that is wanted; None where it is not known yet, 0 where only an exact scan will do. `refine_k` goes with it
    where codes are coarse.
    """

    field: str
    index: str
    kind: str
    built: bool
    filters: FilterClass
    k: int
    samples: int
    recall: float
    error: float
    parameter: str
    asked: tuple[int, int]
    calibrated: int
    advised: int | None
    refine_k: float | None = None

    @property
    def advice(self) -> str:
        """What to do for the recall that is wanted, in words."""
        if not self.parameter:
            return "lower drop_ratio_search" if self.recall < 1 else "every search is exact"
        if self.advised is None:
            return f"no advice before {ENOUGH} queries are known: {self.calibrated} are"
        if not self.advised:
            return f"no {self.parameter} is known to suffice: search with {TARGET_RECALL} 1, an exact scan"
        low, high = self.asked
        finer = "" if self.refine_k is None else f", with refine_k {self.refine_k:g}"
        if self.samples and low and low >= self.advised:
            return f"{self.parameter} {self.advised} is enough{finer}"
        was = "" if not self.samples else f" from {low}" if low == high else f" from {low} to {high}"
        return f"raise {self.parameter} to {self.advised}{was}{finer}"

    def __str__(self) -> str:
        of = f"{self.field} by {self.index} ({self.kind}{'' if self.built else ', being built'})"
        known = f"{self.recall:.3f} ± {self.error:.3f}, {self.samples} queries" if self.samples else "not measured"
        return f"{of}, {self.filters}: recall@{self.k} {known}; {self.advice}"


@dataclass(frozen=True, slots=True)
class RecallReport:
    """What is known of the recall of a collection's searches; `str(report)` is meant to be read.

    `wanted` is the recall that the advice is for. What is not listed was not searched, or not yet measured.
    """

    wanted: float
    entries: tuple[RecallEntry, ...]

    def __str__(self) -> str:
        if not self.entries:
            return "no search has been measured yet"
        return "\n".join([f"recall, with what to do for {self.wanted:g}", *(f"  {entry}" for entry in self.entries)])


def report(snapshot: Snapshot, wanted: float) -> RecallReport:
    """What is known of searches by the fields and indexes that `snapshot` has."""
    entries = []
    for case, evidence in list(snapshot.watch.cases.items()):
        entry = _entry(snapshot, case, evidence, wanted)
        if entry is not None:
            entries.append(entry)
    order = list(FilterClass)
    return RecallReport(wanted, tuple(sorted(entries, key=lambda e: (e.field, e.k, order.index(e.filters), e.built))))


def _entry(snapshot: Snapshot, case: Case, evidence: Evidence, wanted: float) -> RecallEntry | None:
    """None where the field or the index is gone."""
    field = snapshot.manifest.schema.by_id.get(case.field_id)
    definition = snapshot.manifest.index_of(case.field_id)
    if field is None or (definition is not None and definition.spec != case.spec):
        return None
    measured, k = evidence.measured, int(evidence.measured.k.max())
    live = ~np.isnan(measured.asked)
    recalls, widths = measured.asked[live], measured.widths[live]
    by_index = field.dtype is DataType.FLOAT_VECTOR and not np.isnan(measured.costs).all()
    knob = knob_of(case.spec) if by_index else None
    advised, refine_k = None, None
    if knob is not None and len(evidence) >= ENOUGH:
        rung = evidence.aim(wanted).highest
        advised = 0 if rung >= EXACT else value_of(case.spec, rung, k)
        refine_k = refine_of(case.spec, rung) if advised else None
    return RecallEntry(
        field=field.name,
        index=definition.name if definition is not None else "no index",
        kind=case.spec.kind.value,
        built=case.built,
        filters=case.filters,
        k=k,
        samples=len(recalls),
        recall=float(recalls.mean()) if len(recalls) else float("nan"),
        error=interval(recalls, k),
        parameter=knob or "",
        asked=(int(widths.min()), int(widths.max())) if len(widths) else (0, 0),
        calibrated=len(evidence),
        advised=advised,
        refine_k=refine_k,
    )
