"""Grouped searches: complete groups, the nearest first, in every state of the rows, as an oracle has them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from elanus import Collection, ElanusError, InvalidParameter, OnDuplicateKey
from elanus.engine import answers
from tests.native_case import BOOKS, STATES, book, bring_to, open_folder
from tests.test_wire_search import pairs, request
from tests.wire_case import book as wire_book
from tests.wire_case import make, make_books, refused, vector

if TYPE_CHECKING:
    from pymilvus import MilvusClient

Row = dict[str, Any]
Value = Callable[[Row], Any]


def made(numbers: Iterable[int]) -> list[Row]:
    """Books whose distances to `vector(n)` are whole, most of them of few groups, some of a group of their own."""
    rows = []
    for n in numbers:
        about = {"author": ["Eco", 7, 7.5, True, None, [n % 2], {"a": 'b"'}][n % 7], "deep": {"at": [n % 3]}}
        more = {"shelf": f"s{n % 4}"} if n % 5 else {}
        rows.append(
            book(
                n,
                title=f"t{n % 40 if n % 3 else 0}",
                pages=None if n % 11 == 0 else min(n % 13, 4),
                sold=[True, False, None][n % 3],
                about=None if n % 9 == 0 else about,
                **more,
            )
        )
    return rows


def text(value: Any) -> Any:
    """What stands at a JSON path, as text."""
    return value if value is None or isinstance(value, str) else json.dumps(value, separators=(",", ":"))


BY: dict[str | tuple[str, ...], Value] = {
    "title": lambda row: row["title"],
    "pages": lambda row: row["pages"],
    "sold": lambda row: row["sold"],
    "id": lambda row: row["id"],
    'about["author"]': lambda row: text((row["about"] or {}).get("author")),
    "about['deep']['at'][0]": lambda row: row["about"] and row["about"]["deep"]["at"][0],
    "about": lambda row: text(row["about"]),
    "shelf": lambda row: row.get("shelf"),
    "nowhere": lambda row: None,
    ("sold", "pages"): lambda row: (row["sold"], row["pages"]),
}


def groups(rows: Iterable[Row], query: int, value: Value, limit: int, size: int, offset: int = 0) -> list[int]:
    """The keys that a grouped search has to find."""
    found: dict[Any, list[int]] = {}
    for row in sorted(rows, key=lambda row: ((row["vector"][0] - query) ** 2, row["id"])):
        found.setdefault(value(row), []).append(row["id"])
    return [key for keys in list(found.values())[offset : offset + limit] for key in keys[:size]]


def compare(collection: Collection, rows: list[Row]) -> None:
    even = [row for row in rows if row["id"] % 2 == 0]
    for by, value in BY.items():
        for limit, size, offset in ((3, 4, 0), (50, 1, 0), (2, 10, 2)):
            queries = [3, 60, 1000]
            asked: Row = {"limit": limit, "offset": offset, "group_by": by, "group_size": size, "metric": "L2"}
            vectors = [[float(n), 1.0, 0.0, 0.0] for n in queries]
            wanted = [groups(rows, query, value, limit, size, offset) for query in queries]
            assert [keys.tolist() for keys in collection.search(vectors, **asked).keys] == wanted, (by, asked)
            found = collection.search(vectors[0], filter="id % 2 == 0", output_fields=["id"], **asked)
            assert [hit["entity"]["id"] for hit in found[0]] == groups(even, 3, value, limit, size, offset)


@pytest.mark.parametrize(("state", "widest"), [*((state, 1) for state in STATES), ("sealed", 4096)])
def test_groups_are_complete_and_the_nearest_first(
    quick_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, widest: int
) -> None:
    """Also after deletes and upserts, with rows growing beside, and merged."""
    monkeypatch.setattr(answers, "WIDEST", widest)
    db = open_folder(quick_path / "db")
    collection = db.create_collection("books", BOOKS)
    held = {row["id"]: row for row in made(range(120))}
    collection.insert(list(held.values()))
    db, collection = bring_to(state, db, collection, quick_path / "db")
    changed = [row | {"title": "new", "pages": 3} for row in made(range(10, 30))]
    collection.upsert(changed)
    collection.delete(list(range(0, 120, 9)))
    held |= {row["id"]: row for row in changed}
    rows = [row for key, row in held.items() if key % 9]
    compare(collection, rows)
    if state == "sealed":
        collection.compact()
        compare(collection, rows)
    db.close()


@pytest.mark.parametrize("widest", [1, 4096], ids=["by their groups", "as found"])
def test_a_key_is_in_the_group_of_its_nearest_copy(
    quick_path: Path, monkeypatch: pytest.MonkeyPatch, widest: int
) -> None:
    monkeypatch.setattr(answers, "WIDEST", widest)
    with open_folder(quick_path / "db") as db:
        collection = db.create_collection("copies", BOOKS, on_duplicate_key=OnDuplicateKey.KEEP)
        far = [book(n, title="far") | {"vector": [100.0 + n, 0, 0, 0]} for n in range(20)]
        near = [book(n, title=f"near {n % 3}") | {"vector": [float(n), 0, 0, 0]} for n in range(0, 20, 2)]
        others = [book(n, title="far") | {"vector": [float(100 + n), 0, 0, 0]} for n in range(20, 23)]
        collection.insert(far)
        collection.flush()
        collection.insert(near + others)
        best: dict[int, Row] = {}
        for row in far + near + others:
            best[row["id"]] = min(best.get(row["id"], row), row, key=lambda r: r["vector"][0])
        for limit, size in ((1, 1), (4, 3), (10, 10)):
            wanted = groups(best.values(), 0, lambda row: row["title"], limit, size)
            found = collection.search(
                [0, 0, 0, 0], metric="L2", limit=limit, group_by="title", group_size=size, output_fields=["title"]
            )
            assert found.all_keys.tolist() == wanted
            assert [hit["entity"]["title"] for hit in found[0]] == [best[key]["title"] for key in wanted]


@pytest.mark.parametrize("kind", ["HNSW", "IVF_FLAT"])
def test_an_index_hides_no_group(quick_path: Path, kind: str) -> None:
    """One group has nearly all rows, and all that are near; the others are found all the same, and whole."""
    random = np.random.default_rng(5)
    with open_folder(quick_path / "db") as db:
        collection = db.create_collection("many", BOOKS)
        collection.create_index("vector", kind, metric="L2")
        titles = np.where(np.arange(6_000) < 5_900, "most", [f"t{n // 10}" for n in range(6_000)])
        vectors = random.normal(size=(6_000, 4)) + 8.0 * (np.arange(6_000) >= 5_900)[:, None]
        keys = np.arange(6_000)
        collection.insert({"id": keys, "vector": vectors.astype(np.float32), "title": titles})
        collection.compact()
        found = collection.search(
            random.normal(size=(3, 4)),
            limit=11,
            group_by="title",
            group_size=5,
            output_fields=["title"],
            params={"ef": 11} if kind == "HNSW" else {"nprobe": 1},
        )
        for hits in found:
            shown = [hit["entity"]["title"] for hit in hits]
            assert len(set(shown)) == 11
            assert shown == [title for title in dict.fromkeys(shown) for _ in range(5)]
            heads = hits.scores[::5].tolist()
            assert heads == sorted(heads)
        if kind == "HNSW":
            with pytest.raises(ElanusError, match="ef"):
                collection.search(np.zeros(4), limit=11, group_by="title", params={"ef": 10})


def test_what_cannot_be_grouped(quick_path: Path) -> None:
    with open_folder(quick_path / "db") as db:
        collection = db.create_collection("books", BOOKS)
        collection.insert(made(range(5)))
        wrong = {
            "price": "unsupported data type DOUBLE for group by",
            "vector": "unsupported data type VECTOR_FLOAT for group by",
            "21": "cannot parse identifier: 21",
            "sold is null or sold": "cannot parse identifier",
            'title["x"]': "not supported accessed with",
            ("sold", "about"): "not supported for multi-field",
        }
        for by, reason in wrong.items():
            with pytest.raises(InvalidParameter, match=reason):
                collection.search([1, 1, 0, 0], group_by=by)
        for size in (0, -3, 11):
            with pytest.raises(InvalidParameter, match=f"input group size:{size}"):
                collection.search([1, 1, 0, 0], group_by="title", group_size=size)


# --- Milvus clients --------------------------------------------------------------------------------------------------


def test_clients_group_hits(client: MilvusClient) -> None:
    make_books(client)
    client.insert("books", [wire_book(n, title=f"t{n % 3}", about=f"a{n % 4}" if n % 2 else n % 4) for n in range(40)])
    for _ in range(2):
        for size in (1, 5):
            found = client.search(
                "books",
                [vector(0), vector(20)],
                limit=2,
                offset=1,
                group_by_field="title",
                group_size=size,
                strict_group_size=True,
                output_fields=["title"],
            )
            shown = [[hit["entity"]["title"] for hit in hits] for hits in found]
            assert shown == [["t1"] * size + ["t2"] * size, ["t1"] * size + ["t0"] * size]
        by_plural = client.search("books", [vector(0)], limit=20, group_by_fields=["id"])
        assert len(by_plural[0]) == 20
        dynamic = client.search("books", [vector(0)], limit=9, group_by_field="about", output_fields=["about"])
        assert [hit["entity"]["about"] for hit in dynamic[0]] == [0, "a1", 2, "a3"]
        by_key = client.search("books", ids=[6, 5], limit=1, group_by_field="title", group_size=2)
        assert [[hit["id"] for hit in hits] for hits in by_key] == [[6, 3], [5, 2]]
        client.flush("books")


def test_clients_cast_what_json_holds(client: MilvusClient) -> None:
    from pymilvus import DataType

    make_books(client)
    values = [1, 1.5, "1", True, None, 2, [1]]
    client.insert("books", [wire_book(n, about={"at": values[n]}) for n in range(len(values))])

    def found(**more: Any) -> list[int]:
        hits = client.search("books", [vector(0)], limit=9, group_by_field="about['at']", group_size=9, **more)[0]
        return [hit["id"] for hit in hits]

    assert found() == [0, 2, 1, 3, 4, 5, 6]
    assert found(json_type=DataType.INT64) == [0, 1, 2, 3, 4, 6, 5]
    assert found(json_type=DataType.BOOL) == [0, 1, 2, 4, 5, 6, 3]
    assert found(json_type=DataType.VARCHAR) == [0, 1, 3, 4, 5, 6, 2]
    with refused(1100, "failed to cast json value to Int64"):
        found(json_type=DataType.INT64, strict_cast=True)


def test_the_answer_says_what_hits_are_grouped_by(client: MilvusClient, stub: Any) -> None:
    from pymilvus import DataType

    schema = client.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    schema.add_field("flag", DataType.BOOL, nullable=True)
    schema.add_field("at", DataType.TIMESTAMPTZ, nullable=True)
    make(client, "books", schema, {"vector": "FLAT"})
    flags, times = [True, None, True, False], ["2025-01-01T00:00:00Z", None, "2025-01-01T01:00:00+01:00", None]
    rows = [{"id": n, "vector": vector(n), "flag": flags[n], "at": times[n], "tag": n // 2} for n in range(4)]
    client.insert("books", rows)

    def values(name: str) -> Any:
        asked = pairs(anns_field="vector", topk=4, group_by_field=name, group_size=2)
        results = stub.Search(request(search_params=asked)).results
        assert [results.group_by_field_value] == list(results.group_by_field_values)
        return results.group_by_field_value

    by_flag = values("flag")
    assert (by_flag.field_name, list(by_flag.valid_data)) == ("flag", [True, True, True, False])
    assert list(by_flag.scalars.bool_data.data) == [False, True, True, False]
    assert list(values("at").scalars.string_data.data)[2:] == ["2025-01-01T00:00:00Z"] * 2
    assert list(values("tag").scalars.string_data.data) == ["1", "1", "0", "0"]


def test_what_clients_may_not_group(client: MilvusClient) -> None:
    make_books(client, rows=5)
    with refused(1100, "Not allowed to do range-search when doing search-group-by"):
        client.search("books", [vector(0)], group_by_field="title", search_params={"params": {"radius": 9.0}})
    with refused(1100, "Not allowed to do groupBy when doing iteration"):
        client.search_iterator("books", [vector(0)], group_by_field="title")
    with refused(1100, "not supported for multi-field group_by"):
        client.search("books", [vector(0)], group_by_fields=["title", "id"])
    with refused(1100, "exceeds configured max group size:10"):
        client.search("books", [vector(0)], group_by_field="title", group_size=11)
