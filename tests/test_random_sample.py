"""`random_sample(p)`: of the rows that match, about that part, another one each time, wherever the rows are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elanus import Collection, Elanus, InvalidParameter
from tests.native_case import BOOKS, STATES, bring_to, keys_in, open_folder, vectors

ROWS = 2_000


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Elanus]:
    with open_folder(tmp_path) as opened:
        yield opened


def filled(db: Elanus) -> Collection:
    collection = db.create_collection("books", BOOKS)
    keys = np.arange(ROWS)
    sold = [None if key % 3 == 2 else key % 3 == 0 for key in keys]
    collection.insert({"id": keys, "vector": vectors(keys), "title": [f"t{key % 10}" for key in keys], "sold": sold})
    collection.delete(np.arange(0, ROWS, 4))
    return collection


LEFT = ROWS - ROWS // 4


@pytest.mark.parametrize("state", STATES)
def test_a_sample_holds_that_part_of_the_rows_that_match(db: Elanus, tmp_path: Path, state: str) -> None:
    db, collection = bring_to(state, db, filled(db), tmp_path)
    with db:
        keys = keys_in(collection, "random_sample(0.1)")
        assert len(keys) == len(set(keys)) == pytest.approx(LEFT * 0.1, abs=3)
        assert all(key % 4 for key in keys)
        assert collection.count("random_sample(0.1)") == pytest.approx(LEFT * 0.1, abs=3)
        matching = set(keys_in(collection, "sold == true and id > 100"))
        sampled = keys_in(collection, "sold == true and (id > 100 and random_sample(0.5))")
        assert set(sampled) <= matching
        assert len(sampled) == pytest.approx(len(matching) / 2, abs=3)
        hits = collection.search([3.0, 1, 0, 0], limit=ROWS, filter="id < 1000 and random_sample(0.25)")[0]
        assert len(hits.keys) == pytest.approx(750 * 0.25, abs=3)
        assert max(hits.keys) < 1000


def test_each_read_draws_anew(db: Elanus) -> None:
    collection = filled(db)
    collection.flush()
    asked: dict[str, Any] = {"filter": "id >= 0 and random_sample(0.1)"}
    searches = [tuple(collection.search([3.0, 1, 0, 0], limit=ROWS, **asked)[0].keys) for _ in range(3)]
    assert len(set(searches)) == 3
    assert len({tuple(keys_in(collection, "random_sample(0.1)")) for _ in range(3)}) == 3
    # Every row is drawn sooner or later, and none more often than chance has it.
    drawn = np.bincount(np.concatenate([keys_in(collection, "random_sample(0.5)") for _ in range(100)]), minlength=ROWS)
    assert (drawn[np.arange(ROWS) % 4 > 0] > 20).all()
    assert drawn.max() < 80


def test_a_sample_among_keys_and_of_nothing(db: Elanus) -> None:
    collection = filled(db)
    found = keys_in(collection, f"id in {list(range(1, 401, 4))} and random_sample(0.5)")
    assert len(found) == pytest.approx(50, abs=2)
    assert keys_in(collection, "id < 0 and random_sample(0.9)") == []
    assert keys_in(collection, "false and random_sample(0.9)") == []


def test_a_sample_can_be_deleted(db: Elanus) -> None:
    collection = filled(db)
    gone = collection.delete(filter="random_sample(0.5)")
    assert gone == pytest.approx(LEFT / 2, abs=3)
    assert collection.count() == LEFT - gone


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("random_sample(0.1) and id > 5", "can only be the last expression in the logical and expression"),
        ("id > 5 and random_sample(0.1) and sold == true", "can only be the last expression in the logical and"),
        ("random_sample(0.5) and random_sample(0.5)", "can only be the last expression in the logical and expression"),
        ("id > 5 or random_sample(0.1)", "random sample expression cannot be used in logical and expression"),
        ("not random_sample(0.1)", "random sample expression cannot be used in unary expression"),
        ("not (id > 5 and random_sample(0.1))", "random sample expression cannot be used in unary expression"),
        ("random_sample(0)", "the sample factor should be between 0 and 1"),
        ("random_sample(1)", "the sample factor should be between 0 and 1"),
        ("random_sample(-0.1)", "the sample factor should be between 0 and 1"),
        ("random_sample(1e-11)", "the sample factor should be between 0 and 1"),
        ("random_sample('a')", '"float factor" should be a const float expression'),
        ("random_sample(id)", '"float factor" should be a const float expression'),
        ("random_sample()", "takes 1 arguments"),
        ("random_sample(0.1) == true", "a condition cannot be an operand"),
        ("Random_Sample(0.1)", "function Random_Sample not found"),
    ],
)
def test_a_sample_stands_last(db: Elanus, condition: str, reason: str) -> None:
    collection = db.create_collection("books", BOOKS)
    with pytest.raises(InvalidParameter) as caught:
        collection.query(condition)
    assert reason in str(caught.value)
