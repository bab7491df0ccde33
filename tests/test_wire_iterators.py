"""Iterators of Milvus clients: page after page of one picture."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymilvus import MilvusClient
from pymilvus.client.search_iterator import SearchIteratorV2
from pymilvus.grpc_gen import milvus_pb2
from pymilvus.orm.iterator import SearchIterator

from tests.test_wire_search import pairs, request
from tests.wire_case import DIM, Wire, book, books, keys, make_books, refused, served, vector

ROWS = 50


def pages(iterator: Any, meanwhile: Callable[[], None] = lambda: None) -> list[list[Any]]:
    """The keys of each page; `meanwhile` is called after each."""
    found = []
    while page := iterator.next():
        found.append([row["id"] for row in page])
        meanwhile()
    iterator.close()
    return found


def disturb(client: MilvusClient) -> Callable[[], None]:
    """What writes rows before, among and behind those that an iterator has yet to show, and moves all of them."""
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        client.insert("books", books([-count, 1000 + count]))
        client.upsert("books", [book(30 + count, title="changed")])
        client.delete("books", ids=[count, 49 - count])
        client.flush("books")
        if count == 2:
            number = client.compact("books")
            while client.get_compaction_state(number) != "Completed":
                pass

    return step


def test_a_query_iterator_shows_every_row_once(client: MilvusClient) -> None:
    make_books(client, rows=ROWS)
    assert pages(client.query_iterator("books", batch_size=20)) == [
        list(range(20)),
        list(range(20, 40)),
        list(range(40, ROWS)),
    ]
    assert pages(client.query_iterator("books", batch_size=50)) == [list(range(ROWS))]
    assert pages(client.query_iterator("books", batch_size=7, limit=9)) == [list(range(7)), [7, 8]]
    filtered = client.query_iterator("books", batch_size=3, filter="id > 40 and id < 46", output_fields=["title"])
    assert pages(filtered) == [[41, 42, 43], [44, 45]]
    assert pages(client.query_iterator("books", filter="id > 99")) == []
    assert pages(client.query_iterator("books", batch_size=30, offset=45)) == [[45, 46, 47, 48, 49]]


def test_a_query_iterator_shows_the_rows_as_they_were_when_it_was_made(client: MilvusClient) -> None:
    make_books(client, rows=ROWS)
    iterator = client.query_iterator("books", batch_size=10, output_fields=["title"])
    shown: list[Any] = []
    step = disturb(client)
    while page := iterator.next():
        shown += [(row["id"], row["title"]) for row in page]
        step()
    iterator.close()
    assert shown == [(n, f"book {n}") for n in range(ROWS)]
    assert keys(client, filter="id < 0") != []


def test_a_query_iterator_goes_on_from_its_file(client: MilvusClient, tmp_path: Path) -> None:
    make_books(client, rows=ROWS)
    place = str(tmp_path / "place")
    first = client.query_iterator("books", batch_size=20, iterator_cp_file=place)
    assert [row["id"] for row in first.next()] == list(range(20))
    disturb(client)()
    again = client.query_iterator("books", batch_size=20, iterator_cp_file=place)
    assert pages(again) == [list(range(20, 40)), list(range(40, ROWS))]
    assert not Path(place).exists()


def test_a_query_iterator_goes_on_after_a_restart(tmp_path: Path) -> None:
    place = str(tmp_path / "place")
    with served(tmp_path / "data") as server:
        client = MilvusClient(server.address, dedicated=True)
        make_books(client, rows=ROWS)
        first = client.query_iterator("books", batch_size=20, iterator_cp_file=place)
        assert [row["id"] for row in first.next()] == list(range(20))
        disturb(client)()
        client.close()
        server.process.kill()
        server.end()
    with served(tmp_path / "data") as server:
        client = MilvusClient(server.address, dedicated=True)
        again = client.query_iterator("books", batch_size=20, iterator_cp_file=place)
        assert pages(again) == [list(range(20, 40)), list(range(40, ROWS))]
        client.close()


def test_a_search_iterator_shows_every_row_once_nearest_first(client: MilvusClient) -> None:
    make_books(client)
    client.insert("books", [{"id": n, "vector": [n % 5, n // 5, 0, 0]} for n in range(ROWS)])
    query = [[0.2, 0.1, 0.0, 0.0]]
    wanted = [hit["id"] for hit in client.search("books", query, limit=ROWS)[0]]
    iterator = client.search_iterator("books", query, batch_size=7)
    assert isinstance(iterator, SearchIteratorV2)
    assert [key for page in pages(iterator) for key in page] == wanted
    limited = client.search_iterator("books", query, batch_size=7, limit=16, output_fields=["id"])
    assert [key for page in pages(limited) for key in page] == wanted[:16]


def test_a_search_iterator_passes_ties_whole(client: MilvusClient) -> None:
    make_books(client)
    client.insert("books", [{"id": n, "vector": [n // 20, 0, 0, 0]} for n in range(ROWS)])
    iterator = client.search_iterator("books", [[0.0, 0, 0, 0]], batch_size=7)
    assert [key for page in pages(iterator) for key in page] == list(range(ROWS))


def test_a_search_iterator_shows_the_rows_as_they_were_when_it_was_made(client: MilvusClient) -> None:
    make_books(client, rows=ROWS)
    iterator = client.search_iterator("books", [vector(0)], batch_size=10)
    found = pages(iterator, disturb(client))
    assert [key for page in found for key in page] == list(range(ROWS))


def test_a_search_iterator_obeys_filters_ranges_and_partitions(client: MilvusClient) -> None:
    make_books(client, rows=ROWS)
    client.create_partition("books", "new")
    client.insert("books", books([100, 101]), partition_name="new")
    query = [vector(0)]

    def found(**more: Any) -> list[Any]:
        iterator = client.search_iterator("books", query, batch_size=10, **more)
        return [key for page in pages(iterator) for key in page]

    assert found(filter="id >= 40 and id < 60") == list(range(40, 50))
    assert found(partition_names=["new"]) == [100, 101]
    within = {"params": {"radius": 30.0**2, "range_filter": 15.0**2}}
    assert found(search_params=within) == list(range(15, 30))
    assert found(filter="id > 999") == []


@pytest.mark.parametrize("metric", ["IP", "COSINE"])
def test_a_search_iterator_knows_where_larger_is_nearer(client: MilvusClient, metric: str) -> None:
    client.create_collection("books", DIM, metric_type=metric)
    generator = np.random.default_rng(1)
    client.insert("books", [{"id": n, "vector": generator.normal(size=DIM)} for n in range(ROWS)])
    query = [[1.0, 0.5, -1.0, 0.0]]
    wanted = [hit["id"] for hit in client.search("books", query, limit=ROWS)[0]]
    assert [key for page in pages(client.search_iterator("books", query, batch_size=9)) for key in page] == wanted


@pytest.mark.skipif("handler" not in signature(SearchIterator).parameters, reason="this SDK makes it another way")
def test_the_first_kind_of_search_iterator_works_too(client: MilvusClient) -> None:
    """That of old clients, which widen a range: the newer kind is what the SDK makes of itself."""
    make_books(client, rows=ROWS)
    handler = client._handler
    iterator = SearchIterator(
        handler=handler,
        context=client._generate_call_context(),
        collection_name="books",
        data=[vector(0)],
        ann_field="vector",
        param={"metric_type": "L2", "params": {}},
        batch_size=10,
        limit=-1,
        expr=None,
        partition_names=None,
        output_fields=None,
        timeout=None,
        round_decimal=-1,
        schema=client.describe_collection("books"),
        rpc_options={},
    )
    assert [key for page in pages(iterator, disturb(client)) for key in page] == list(range(ROWS))


def test_what_an_iterator_may_not(client: MilvusClient) -> None:
    make_books(client, rows=3)
    for size in (0, -1, 16_385):
        with pytest.raises(Exception, match=r"batch|limit"):
            client.search_iterator("books", [vector(0)], batch_size=size).next()
        with pytest.raises(Exception, match=r"batch|limit"):
            client.query_iterator("books", batch_size=size).next()
    with pytest.raises(Exception, match="multiple vector"):
        client.search_iterator("books", [vector(0), vector(1)])
    with refused(1100, "cannot parse"):
        client.query_iterator("books", filter="id >>> 3")


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"search_iter_batch_size": 0}, 1100),
        ({"search_iter_batch_size": 16_385}, 1100),
        ({"search_iter_batch_size": "many"}, 1100),
        ({}, 1101),
        ({"search_iter_batch_size": 2, "search_iter_last_bound": "far"}, 1100),
        ({"search_iter_batch_size": 2, "search_iter_last_bound": "nan"}, 1100),
        ({"search_iter_batch_size": 2, "offset": 1}, 1100),
    ],
)
def test_a_wrong_page_is_refused(client: MilvusClient, stub: Any, given: dict[str, Any], code: int) -> None:
    make_books(client, rows=3)
    asked = pairs(topk=2, anns_field="vector", iterator="True", search_iter_v2="True", **given)
    answer = stub.Search(request(search_params=asked))
    assert answer.status.code == code, answer


def test_a_page_that_is_asked_for_again_is_the_same(client: MilvusClient, stub: Any) -> None:
    make_books(client, rows=9)

    def page(bound: float | None, seen: int) -> milvus_pb2.SearchResults:
        more: dict[str, Any] = {} if bound is None else {"search_iter_last_bound": bound}
        more |= {"iterator": "True", "search_iter_v2": "True", "search_iter_batch_size": 3}
        asked = pairs(topk=3, anns_field="vector", **more)
        return stub.Search(request(search_params=asked, guarantee_timestamp=seen))

    first = page(None, 0)
    seen = first.session_ts
    assert first.results.search_iterator_v2_results.token
    bound = first.results.search_iterator_v2_results.last_bound
    second = page(bound, seen)
    client.insert("books", books([50, 3]))
    assert page(bound, seen).results == second.results
    assert page(None, seen).results.ids == first.results.ids


def test_a_picture_that_is_no_longer_kept_is_said_so(remote: Wire) -> None:
    make_books(remote.client, rows=9)
    begun = pairs(iterator="True", limit=3)
    asked = milvus_pb2.QueryRequest(
        collection_name="books", expr="id >= 0", query_params=begun, guarantee_timestamp=1 << 18
    )
    answer = remote.stub.Query(asked)
    assert answer.status.code == 1100
    assert "begin a new iterator" in answer.status.reason


def test_an_iterator_whose_alias_was_pointed_elsewhere_is_told_so(client: MilvusClient) -> None:
    make_books(client, "blue", rows=ROWS)
    make_books(client, "green", rows=ROWS)
    client.create_alias("blue", "current")
    of_a_search = client.search_iterator("current", [vector(0)], batch_size=5)
    of_a_query = client.query_iterator("current", batch_size=5)
    assert len(of_a_search.next()) == len(of_a_query.next()) == 5
    client.alter_alias("green", "current")
    for iterator in (of_a_search, of_a_query):
        with refused(1100, "alias or database may have been changed"):
            iterator.next()
