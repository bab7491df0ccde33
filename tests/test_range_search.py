"""Searches within bounds of the score, as an oracle has them, however many rows are nearer than the bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elanus import InvalidParameter, Metric
from elanus.engine import answers
from tests.native_case import BOOKS, STATES, books, bring_to, open_folder
from tests.oracle import scores


@pytest.mark.parametrize("widest", [1, 4096], ids=["by scores", "as found"])
@pytest.mark.parametrize("state", STATES)
def test_a_range_has_all_of_its_rows(
    quick_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, widest: int
) -> None:
    monkeypatch.setattr(answers, "WIDEST", widest)
    db = open_folder(quick_path / "db")
    collection = db.create_collection("books", BOOKS)
    collection.insert(books(range(100)))
    db, collection = bring_to(state, db, collection, quick_path / "db")
    collection.upsert([row | {"vector": [float(row["id"]), 2.0, 0.0, 0.0]} for row in books(range(40, 50))])
    collection.delete(list(range(0, 100, 7)))
    rows = {n: [float(n), 2.0 if 40 <= n < 50 else 1.0, 0.0, 0.0] for n in range(100) if n % 7}
    keys, vectors = np.array(list(rows)), np.array(list(rows.values()))
    queries = np.array([[45, 1, 0, 0], [3, 1, 0, 0], [500, 1, 0, 0]], np.float32)
    for radius, range_filter in ((400.0, None), (401.0, 25.0), (1e6, 900.0), (1.0, None), (2.0, 1.0), (1e9, 0.0)):
        for limit, offset in ((5, 0), (100, 0), (3, 4)):
            wanted = []
            for query in queries:
                exact = scores(Metric.L2, query, vectors)
                kept = np.flatnonzero((exact < radius) & (exact >= (range_filter or 0.0)))
                order = kept[np.lexsort((keys[kept], exact[kept]))]
                wanted.append(keys[order[offset : offset + limit]].tolist())
            found = collection.search(
                queries, metric="L2", radius=radius, range_filter=range_filter, limit=limit, offset=offset
            )
            assert [found_keys.tolist() for found_keys in found.keys] == wanted, (radius, range_filter, limit, offset)
    with pytest.raises(InvalidParameter, match="range_filter"):
        collection.search(queries, metric="L2", range_filter=3.0)
    with pytest.raises(InvalidParameter, match="range-search when doing search-group-by"):
        collection.search(queries, radius=3.0, group_by="title")
    db.close()
