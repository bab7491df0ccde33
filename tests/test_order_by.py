"""Reads sorted by fields, in every state of the rows, as an oracle has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from elanus import Collection, InvalidParameter
from tests.native_case import BOOKS, STATES, book, bring_to, open_folder
from tests.wire_case import book as wire_book
from tests.wire_case import make_books, refused, vector

if TYPE_CHECKING:
    from pymilvus import MilvusClient

Row = dict[str, Any]
Value = Callable[[Row], Any]

TITLES = ("b", "a", "é", "B", "", "ab")


def made(n: int) -> Row:
    at = [2, 1.5, "b", None, True, [1], {"a": 1}, "a", -3, False, "B", 10**17 + 1, 10**17]
    about = None if n % 17 == 0 else {"at": at[n % len(at)]} if n % 5 else {}
    row = book(n, title=TITLES[n % 6], pages=n % 4 if n % 7 else None, price=n * 7 % 5 / 2, about=about)
    return row | {"sold": [True, False, None][n % 3]} | ({"tag": n % 3} if n % 2 else {})


def of_json(value: Any) -> Any:
    """What JSON is compared by: its kind, then its value."""
    if value is None:
        return None
    kinds: list[tuple[type, ...]] = [(str,), (int, float), (list,), (bool,), (dict,)]
    kind = 3 if isinstance(value, bool) else next(i for i, types in enumerate(kinds) if isinstance(value, types))
    return kind, str(value) if kind in (2, 4) else value


BY: dict[str, Value] = {
    "title": lambda row: row["title"].encode(),
    "pages": lambda row: row["pages"],
    "price": lambda row: row["price"],
    "sold": lambda row: row["sold"],
    "id": lambda row: row["id"],
}
PATHS: dict[str, Value] = {
    'about["at"]': lambda row: of_json((row["about"] or {}).get("at")),
    "tag": lambda row: row.get("tag"),
}


def sort(rows: list[Row], names: tuple[str, ...]) -> list[Row]:
    """`rows`, which keep their order where all is equal."""
    rows = list(rows)
    for name in reversed(names):
        field, direction, nulls = (*name.split(":"), "", "")[:3]
        value = (BY | PATHS)[field]
        down = direction == "desc"
        first = nulls == "nulls_first" if nulls else down
        known = [row for row in rows if value(row) is not None]
        nothing = [row for row in rows if value(row) is None]
        known.sort(key=value, reverse=False)
        if down:  # equal ones are not turned round
            known = [row for _, same in sorted(_runs(known, value), key=lambda run: -run[0]) for row in same]
        rows = nothing + known if first else known + nothing
    return rows


def _runs(rows: list[Row], value: Value) -> list[tuple[int, list[Row]]]:
    runs: list[list[Row]] = []
    for row in rows:
        if runs and value(runs[-1][0]) == value(row):
            runs[-1].append(row)
        else:
            runs.append([row])
    return list(enumerate(runs))


ASKED = (
    ("title",),
    ("title:desc",),
    ("pages", "price:desc"),
    ("pages:desc", "title"),
    ("sold:asc:nulls_first", "pages:desc:nulls_last"),
    ("id:desc",),
)


def compare(collection: Collection, rows: list[Row]) -> None:
    by_key = sorted(rows, key=lambda row: row["id"])
    even = [row for row in by_key if row["id"] % 2 == 0]
    for names in ASKED:
        got = collection.query(order_by=names, output_fields=["pages"]).column("id").to_pylist()
        assert got == [row["id"] for row in sort(by_key, names)], names
        page = collection.query("id % 2 == 0", order_by=names, limit=7, offset=3).column("id").to_pylist()
        assert page == [row["id"] for row in sort(even, names)[3:10]], names
    for names in (*ASKED, ('about["at"]',), ('about["at"]:desc', "tag:desc")):
        near = sorted(by_key, key=lambda row: (abs(row["id"] - 20), row["id"]))[:30]
        found = collection.search([20, 1, 0, 0], metric="L2", limit=25, offset=5, order_by=names, output_fields=["id"])
        wanted = [row["id"] for row in sort(near, names)[5:]]
        assert (found.all_keys.tolist(), [hit["entity"] for hit in found[0]]) == (wanted, [{"id": n} for n in wanted])
        assert found.all_scores.tolist() == [float((n - 20) ** 2) for n in wanted]


@pytest.mark.parametrize("state", STATES)
def test_reads_are_sorted(quick_path: Path, state: str) -> None:
    db = open_folder(quick_path / "db")
    collection = db.create_collection("books", BOOKS)
    held = {n: made(n) for n in range(90)}
    collection.insert(list(held.values()))
    db, collection = bring_to(state, db, collection, quick_path / "db")
    changed = [made(n + 1) | {"id": n, "vector": made(n)["vector"]} for n in range(10, 25)]
    collection.upsert(changed)
    collection.delete(list(range(0, 90, 8)))
    held |= {row["id"]: row for row in changed}
    compare(collection, [row for n, row in held.items() if n % 8])
    db.close()


def test_groups_are_sorted_by_their_nearest_rows(quick_path: Path) -> None:
    with open_folder(quick_path / "db") as db:
        collection = db.create_collection("books", BOOKS)
        collection.insert([book(n, title=f"t{n % 3}", price=-float(n % 3), pages=n) for n in range(12)])
        asked: Row = {"group_by": "title", "group_size": 2, "limit": 2, "metric": "L2", "order_by": "price"}
        found = collection.search([[0, 1, 0, 0], [11, 1, 0, 0]], **asked)
        assert [keys.tolist() for keys in found.keys] == [[1, 4, 0, 3], [11, 8, 10, 7]]
        later = collection.search([0, 1, 0, 0], **asked, offset=1)
        assert later.all_keys.tolist() == [1, 4, 0, 3], "of three groups the first is that of price -2"
        nothing = collection.search([0, 1, 0, 0], **asked, filter="id < 0", output_fields=["pages"])
        assert nothing.all_keys.tolist() == []


def test_what_rows_cannot_be_sorted_by(quick_path: Path) -> None:
    with open_folder(quick_path / "db") as db:
        collection = db.create_collection("books", BOOKS)
        wrong = {
            "vector": "order_by field 'vector' has type FloatVector which is not sortable",
            "about": "order_by field 'about' has type JSON which is not sortable",
            "tag": "order_by field 'tag' does not exist in collection schema",
            'about["x"]': "does not exist in collection schema",
            ":asc": "order_by field '' does not exist in collection schema",
            "price:up": "invalid order direction 'up' for field 'price', must be 'asc' or 'desc'",
            "price:asc:nowhere": "invalid null ordering 'nowhere'",
            "price:asc:nulls_last:x": "too many order_by field options",
        }
        for name, reason in wrong.items():
            with pytest.raises(InvalidParameter) as caught:
                collection.query(order_by=name)
            assert reason in str(caught.value)
        with pytest.raises(InvalidParameter, match="not supported with multi-field"):
            collection.search([0, 0, 0, 0], group_by=["title", "sold"], order_by="price")


# --- Milvus clients --------------------------------------------------------------------------------------------------


def test_clients_sort_what_they_read(client: MilvusClient) -> None:
    make_books(client)
    client.insert("books", [wire_book(n, at={"a,b:c": n % 3}, n=n % 2) for n in range(9)])
    for _ in range(2):
        rows = client.query("books", "id >= 0", limit=4, order_by_fields=[{"field": "id", "order": "DESC"}])
        assert [row["id"] for row in rows] == [8, 7, 6, 5]
        rows = client.query("books", limit=2, offset=1, order_by="id:desc")
        assert [row["id"] for row in rows] == [7, 6]
        by = [{"field": "n", "order": "desc"}, {"field": 'at["a,b:c"]'}]
        hits = client.search("books", [vector(0), vector(8)], limit=4, order_by_fields=by)
        assert [[hit["id"] for hit in one] for one in hits] == [[3, 1, 0, 2], [7, 5, 6, 8]]
        client.flush("books")


def test_what_clients_may_not_sort(client: MilvusClient) -> None:
    make_books(client, rows=3)
    with refused(1100, "ORDER BY requires explicit limit"):
        client.query("books", "id >= 0", order_by_fields=["id"])
    with refused(1100, "ORDER BY with iterator is not supported"):
        client.query_iterator("books", order_by_fields=["id"])
    with refused(1100, "order_by is not supported when using search iterator"):
        client.search_iterator("books", [vector(0)], order_by_fields="id")
    with refused(1100, "order_by field 'n' does not exist"):
        client.query("books", limit=3, order_by_fields=["n"])
