"""Search by keys: rows in place of query vectors, over the wire and in Python, whatever state the rows are in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pymilvus import DataType, Function, FunctionType
from pymilvus.exceptions import ParamError
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from elanus import InvalidParameter
from tests.native_case import BOOKS, STATES, book, bring_to, open_folder, vectors
from tests.test_wire_vectors import make as make_all
from tests.test_wire_vectors import sent, sent_row
from tests.vector_case import TYPE_OF, rows
from tests.wire_case import book as wire_book
from tests.wire_case import make, make_books, refusal, refused, vector

if TYPE_CHECKING:
    from pymilvus import MilvusClient


def hits(found: Any) -> list[list[tuple[Any, float]]]:
    return [[(hit["id"], hit["distance"]) for hit in one] for one in found]


@pytest.mark.parametrize("flushed", [False, True])
def test_vectors_of_every_type_are_found_by_their_rows(client: MilvusClient, flushed: bool) -> None:
    make_all(client, nullable=True)
    held = {row["id"]: row for row in rows(range(60), np.random.default_rng(7), null_share=0.3)}
    client.insert("all", [sent_row(row) for row in held.values()])
    if flushed:
        client.flush("all")
    asked = [31, 3, 59, 10, 0, 44, 7, 12, 20]
    for name in TYPE_OF:
        given = [key for key in asked if held[key][name] is not None]
        assert 0 < len(given) < len(asked)
        by_vector = client.search(
            "all", [sent(name, held[key][name]) for key in given], anns_field=name, limit=5, output_fields=["n"]
        )
        by_key = client.search("all", ids=asked, anns_field=name, limit=5, output_fields=["n"])
        answers = dict(zip(asked, by_key, strict=True))
        assert [list(answers[key]) for key in given] == [list(one) for one in by_vector]
        assert all(len(answers[key]) == 0 for key in asked if key not in given)


def test_rows_without_vectors_find_nothing(client: MilvusClient) -> None:
    make_all(client, nullable=True, names=("single", "sparse"))
    client.insert("all", [{"id": n, "n": n} for n in range(3)])
    found = client.search("all", ids=[2, 0], anns_field="sparse", limit=3, output_fields=["n"])
    assert [len(one) for one in found] == [0, 0]


def test_texts_are_found_by_their_rows(client: MilvusClient) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=20)
    schema.add_field("text", DataType.VARCHAR, max_length=200, enable_analyzer=True, nullable=True)
    schema.add_field("words", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(Function("bm25", FunctionType.BM25, ["text"], ["words"]))
    client.create_collection("texts", schema=schema, consistency_level="Strong")
    params = client.prepare_index_params()
    params.add_index("words", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
    client.create_index("texts", params, sync=False)
    client.load_collection("texts")
    texts = {"a": "a red fox runs", "b": "the fox sleeps", "c": None, "d": "red wine, red fox", "é": "bread"}
    client.insert("texts", [{"id": key, "text": text} for key, text in texts.items()])
    for _ in range(2):
        by_key = hits(client.search("texts", ids=["d", "c", "é", "b"], limit=4))
        by_text = hits(client.search("texts", [texts["d"], texts["é"], texts["b"]], limit=4))
        assert by_key == [by_text[0], [], *by_text[1:]]
        assert by_key[0][0][0] == "d"
        client.flush("texts")


def test_all_else_that_is_asked_holds(client: MilvusClient) -> None:
    make_books(client, rows=50)
    client.flush("books")
    client.insert("books", [wire_book(n, year=n) for n in range(50, 60)])
    found = client.search("books", ids=[55, 20], limit=2, offset=1, filter="id < 53", output_fields=["title", "year"])
    assert [[hit["id"] for hit in one] for one in found] == [[51, 50], [19, 21]]
    assert found[0][0]["entity"] == {"title": "book 51", "year": 51}
    within = {"metric_type": "L2", "params": {"radius": 4.5, "range_filter": 0.5}}
    ranged = client.search("books", ids=[7, 58], limit=9, search_params=within)
    assert [sorted(hit["id"] for hit in one) for one in ranged] == [[5, 6, 8, 9], [56, 57, 59]]


def test_the_row_as_it_is_now_is_searched_for(client: MilvusClient) -> None:
    make_books(client, rows=30)
    client.flush("books")
    client.upsert("books", {"id": 5, "vector": vector(20), "title": "moved"})
    client.insert("books", [{"id": 7, "vector": vector(25), "title": "a copy"}])
    found = client.search("books", ids=[7, 5], limit=2)
    assert [{hit["id"] for hit in one} for one in found] == [{7, 25}, {5, 20}]
    client.delete("books", ids=[5])
    with refused(1100, "some of the provided primary key IDs do not exist: missing IDs = [5 99]"):
        client.search("books", ids=[4, 5, 99], limit=2)


def test_rows_are_looked_for_where_is_searched(client: MilvusClient) -> None:
    make_books(client, rows=10)
    client.create_partition("books", "other")
    client.insert("books", [wire_book(n) for n in range(10, 15)], partition_name="other")
    found = client.search("books", ids=[11], limit=2, partition_names=["other"])
    assert [hit["id"] for hit in found[0]] == [11, 10]
    with refused(1100, "missing IDs = [3]"):
        client.search("books", ids=[11, 3], limit=2, partition_names=["other"])
    client.release_partitions("books", ["other"])
    with refused(1100, "missing IDs = [11]"):
        client.search("books", ids=[3, 11], limit=2)
    client.release_collection("books")
    with refused(101, "not loaded"):
        client.search("books", ids=[3], limit=2)


def test_what_cannot_be_searched_for_is_refused(client: MilvusClient, stub: Any) -> None:
    make_books(client, rows=10)
    with refused(1100, "duplicate IDs found in search request"):
        client.search("books", ids=[1, 2, 1])
    with refused(1100, "primary key is int64, but IDs type mismatch"):
        client.search("books", ids=["1"])
    with refused(1100, "nq [16385] is invalid, nq (number of search vector per search request)"):
        client.search("books", ids=list(range(16385)))
    with refused(1100, "metric type not match"):
        client.search("books", ids=[1], search_params={"metric_type": "IP"})
    with pytest.raises(ParamError, match="not both"):
        client.search("books", data=[vector(1)], ids=[1])
    empty = milvus_pb2.SearchRequest(collection_name="books", ids=schema_pb2.IDs(int_id=schema_pb2.LongArray()))
    empty.search_params.add(key="topk", value="3")
    assert refusal(stub.Search(empty).status) == 1100
    # Of two that cannot be together the later one counts, as protobuf has it.
    both = milvus_pb2.SearchRequest(ids=schema_pb2.IDs(int_id=schema_pb2.LongArray(data=[4]))).SerializeToString()
    request = milvus_pb2.SearchRequest(collection_name="books", placeholder_group=b"no vectors")
    request.search_params.add(key="topk", value="1")
    answer = stub.Search(milvus_pb2.SearchRequest.FromString(request.SerializeToString() + both))
    assert answer.results.ids.int_id.data == [4]
    schema = client.create_schema()
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=9)
    for name in "ab":
        schema.add_field(name, DataType.FLOAT_VECTOR, dim=2)
    make(client, "two", schema, {"a": "FLAT", "b": "FLAT"})
    with refused(1100, "multiple vector fields exist, please specify anns_field in search_params"):
        client.search("two", ids=["x"])
    with refused(1100, "primary key is varchar, but IDs type mismatch"):
        client.search("two", ids=[1], anns_field="a")
    with refused(1100, "missing IDs = [y x]"):
        client.search("two", ids=["y", "x"], anns_field="a")


def test_pages_go_on_from_one_row(client: MilvusClient, stub: Any) -> None:
    make_books(client, rows=10)
    paged = {"topk": "2", "iterator": "True", "search_iter_v2": "True", "search_iter_batch_size": "2"}
    for keys in ([0], [0, 1]):
        request = milvus_pb2.SearchRequest(collection_name="books", ids=schema_pb2.IDs())
        request.ids.int_id.data.extend(keys)
        for name, value in paged.items():
            request.search_params.add(key=name, value=value)
        answer = stub.Search(request)
        if len(keys) > 1:
            assert refusal(answer.status) == 1100
            continue
        assert answer.results.ids.int_id.data == [0, 1]
        request.search_params.add(key="search_iter_id", value=answer.results.search_iterator_v2_results.token)
        bound = str(answer.results.search_iterator_v2_results.last_bound)
        request.search_params.add(key="search_iter_last_bound", value=bound)
        assert stub.Search(request).results.ids.int_id.data == [2, 3]


@pytest.mark.parametrize("state", STATES)
def test_rows_are_found_by_rows_in_every_state(tmp_path: Path, state: str) -> None:
    with open_folder(tmp_path) as db:
        collection = db.create_collection("books", BOOKS)
        collection.insert([book(n) for n in range(50)])
        db, collection = bring_to(state, db, collection, tmp_path)
        by_key = collection.search(ids=np.array([30, 10]), limit=3, metric="L2", output_fields=["pages"])
        by_vector = collection.search(vectors([30, 10]), limit=3, metric="L2", output_fields=["pages"])
        assert by_key.to_table() == by_vector.to_table()
        assert [keys.tolist() for keys in collection.search(ids=20, limit=1).keys] == [[20]]
        assert str(collection.explain(ids=20, limit=1)) == str(collection.explain(vectors([20]), limit=1))
        for wrong in ({}, {"vectors": vectors([1]), "ids": [1]}, {"ids": []}, {"ids": [1, None]}, {"ids": 50}):
            with pytest.raises(InvalidParameter):
                collection.search(**wrong)
        db.close()
