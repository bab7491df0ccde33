"""Functions of a schema through Milvus's protocol: declared, described, searched by, added and dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.wire_case import Wire

if TYPE_CHECKING:
    from pymilvus import MilvusClient

TEXTS = ["a quick fox", "the lazy dog", "fox and dog and fox", "", "nothing here"]


def schema_of(client: MilvusClient, *, with_function: bool = True, analyzer: bool = True) -> Any:
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=100, enable_analyzer=analyzer)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    if with_function:
        schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
        schema.add_function(bm25())
    return schema


def bm25(name: str = "bm25", output: str = "sparse") -> Any:
    from pymilvus import Function, FunctionType

    return Function(name=name, function_type=FunctionType.BM25, input_field_names=["text"], output_field_names=[output])


def params(client: MilvusClient, field: str = "sparse", **more: Any) -> Any:
    made = client.prepare_index_params()
    made.add_index(field, **{"index_type": "SPARSE_INVERTED_INDEX", "metric_type": "BM25", **more})
    return made


def make(client: MilvusClient, *, with_function: bool = True) -> None:
    client.create_collection("texts", schema=schema_of(client, with_function=with_function))
    made = client.prepare_index_params()
    made.add_index("vector", index_type="FLAT", metric_type="L2")
    if with_function:
        made.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25", params={"bm25_k1": 1.5})
    client.create_index("texts", made, sync=False)
    client.load_collection("texts")
    client.insert("texts", [{"id": i, "text": text, "vector": [0.0, 1.0]} for i, text in enumerate(TEXTS)])


def refused(do: Callable[[], object], reason: str = "") -> int:
    """The code with which it is refused, for a reason in which these words are."""
    from pymilvus import MilvusException

    with pytest.raises(MilvusException) as caught:
        do()
    assert reason in caught.value.message
    return int(caught.value.code)


def found(client: MilvusClient, query: str = "fox", **more: Any) -> list[int]:
    (hits,) = client.search("texts", [query], anns_field="sparse", limit=10, **more)
    return [hit["id"] for hit in hits]


def test_texts_are_found_by_their_words(client: MilvusClient) -> None:
    make(client)
    described = client.describe_collection("texts")
    (function,) = described["functions"]
    ids = {field["name"]: field["field_id"] for field in described["fields"]}
    assert (function["name"], function["type"], function["id"]) == ("bm25", 1, 100)
    assert (function["input_field_names"], function["output_field_names"]) == (["text"], ["sparse"])
    assert (function["input_field_ids"], function["output_field_ids"]) == ([ids["text"]], [ids["sparse"]])
    assert [f["name"] for f in described["fields"] if f.get("is_function_output")] == ["sparse"]
    assert client.describe_index("texts", "sparse")["metric_type"] == "BM25"
    assert found(client) == [2, 0]
    assert found(client, filter="id < 2", search_params={"metric_type": "BM25"}) == [0]
    (hits,) = client.search("texts", ["fox dog"], anns_field="sparse", limit=10, output_fields=["*"])
    assert [hit["entity"]["text"] for hit in hits] == [TEXTS[2], TEXTS[0], TEXTS[1]]
    assert all("sparse" not in hit["entity"] for hit in hits)
    scores = [hit["distance"] for hit in hits]
    within = {"params": {"radius": scores[1], "range_filter": scores[0] + 1}}
    assert found(client, "fox dog", search_params=within) == [2]
    pages = client.search_iterator("texts", ["fox dog"], anns_field="sparse", batch_size=2, limit=10)
    keys = []
    while page := pages.next():
        keys += [hit["id"] for hit in page]
    assert keys == [2, 0, 1]
    client.upsert("texts", [{"id": 4, "text": "fox"}], partial_update=True)
    client.delete("texts", ids=[2])
    assert found(client) == [4, 0]
    assert sorted(client.query("texts", ids=[0], output_fields=["*"])[0]) == ["id", "text", "vector"]
    assert refused(lambda: client.query("texts", ids=[0], output_fields=["sparse"])) == 1100
    assert refused(lambda: client.search("texts", [{1: 1.0}], anns_field="sparse")) == 1100
    assert refused(lambda: client.search("texts", ["fox"], anns_field="vector")) == 1100
    assert refused(lambda: client.search("texts", ["fox"], anns_field="sparse", search_params={"metric_type": "IP"}))
    assert client.search("texts", [[0.0, 1.0]], anns_field="vector", limit=1)[0][0]["distance"] == 0


def test_definitions_are_checked(client: MilvusClient, stub: Any) -> None:
    from pymilvus.grpc_gen import schema_pb2

    client.create_collection("texts", schema=schema_of(client))
    wrong = [
        ({"metric_type": "IP"}, "index metric type of BM25 function output field must be BM25, got IP"),
        ({"params": {"bm25_k1": 3.5}}, "param 'bm25_k1' (3.5) should be in range"),
        ({"params": {"bm25_b": "x"}}, "param 'bm25_b' (x) should be in range"),
        ({"index_type": "HNSW"}, "data type SparseFloatVector can't build with this index HNSW"),
    ]
    for asked, reason in wrong:
        assert refused(lambda asked=asked: client.create_index("texts", params(client, **asked)), reason) == 1100
    client.create_index("texts", params(client, index_type="AUTOINDEX", metric_type=""), sync=False)
    assert client.describe_index("texts", "sparse")["metric_type"] == "BM25"
    reason = "BM25 function input field must set enable_analyzer to true"
    assert refused(lambda: client.create_collection("other", schema=schema_of(client, analyzer=False)), reason) == 1100
    for kind, name in ((schema_pb2.TextEmbedding, "TextEmbedding"), (schema_pb2.Rerank, "Rerank")):
        request = _creation(client, kind)
        answer = stub.CreateCollection(request)
        assert (answer.code, f"{name} functions are not supported" in answer.reason) == (10, True)
    assert client.list_collections() == ["texts"]


def _creation(client: MilvusClient, kind: int) -> Any:
    from pymilvus.client.prepare import Prepare
    from pymilvus.grpc_gen import schema_pb2

    request = Prepare.create_collection_request("other", schema_of(client))
    message = schema_pb2.CollectionSchema.FromString(request.schema)
    message.functions[0].type = kind
    request.schema = message.SerializeToString()
    return request


def test_a_function_is_added_and_dropped_with_its_field_and_its_index(client: MilvusClient, wire: Wire) -> None:
    from pymilvus import DataType, FieldSchema
    from pymilvus.grpc_gen import milvus_pb2

    make(client, with_function=False)
    field = FieldSchema("sparse", DataType.SPARSE_FLOAT_VECTOR)

    def add(**more: Any) -> None:
        client.add_function_field("texts", **{"field_schema": field, "func": bm25(), **more})

    wrong = params(client, metric_type="IP")
    assert refused(lambda: add(index_params=wrong), "index metric type of BM25 function output field must be BM25")
    other = bm25(output="another")
    assert refused(lambda: add(index_params=params(client), func=other), "must be the newly-added field") == 1100
    taken = FieldSchema("vector", DataType.SPARSE_FLOAT_VECTOR)
    assert refused(
        lambda: add(index_params=params(client, "vector"), field_schema=taken, func=bm25(output="vector")),
        "duplicated field name vector",
    )
    add(index_params=params(client))
    assert found(client) == [2, 0]
    client.insert("texts", [{"id": 9, "text": "fox", "vector": [0.0, 1.0]}])
    assert found(client) == [9, 2, 0]
    more = FieldSchema("more", DataType.SPARSE_FLOAT_VECTOR)
    again = bm25(output="more")
    reason = "duplicate function name: bm25"
    assert refused(lambda: add(index_params=params(client, "more"), field_schema=more, func=again), reason) == 1100
    for name, role in (("text", "input"), ("sparse", "output")):
        reason = f"field is referenced by function bm25 as {role}, drop function first"
        assert refused(lambda name=name: client.drop_collection_field("texts", name), reason) == 1100
    asked = milvus_pb2.AlterCollectionSchemaRequest(collection_name="texts")
    asked.action.drop_request.function_name = "bm25"
    answer = wire.stub.AlterCollectionSchema(asked).alter_status
    assert (answer.code, "detaching a function" in answer.reason) == (1100, True)
    client.drop_function_field("texts", "bm25")
    assert refused(lambda: client.drop_function_field("texts", "bm25"), "function not found: bm25") == 1100
    described = client.describe_collection("texts")
    assert described.get("functions", []) == []
    assert [f["name"] for f in described["fields"]] == ["id", "text", "vector"]
    assert client.list_indexes("texts") == ["vector"]
    client.drop_collection_field("texts", "text")


def test_what_would_leave_no_vectors_is_refused_and_so_are_the_calls_that_are_no_more(
    client: MilvusClient, stub: Any
) -> None:
    from pymilvus import DataType
    from pymilvus.grpc_gen import milvus_pb2

    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=100, enable_analyzer=True)
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(bm25())
    client.create_collection("texts", schema=schema)
    reason = "cannot drop function bm25: it would leave no vector field in the collection"
    assert refused(lambda: client.drop_function_field("texts", "bm25"), reason) == 1100
    for name in ("Add", "Drop"):
        message = getattr(milvus_pb2, f"{name}CollectionFunctionRequest")(collection_name="texts")
        answer = getattr(stub, f"{name}CollectionFunction")(message)
        assert (answer.code, f"{name}CollectionFunction RPC is no longer supported" in answer.reason) == (1100, True)
    reason = "currently does not support alter BM25 function"
    assert refused(lambda: client.alter_collection_function("texts", "bm25", bm25()), reason) == 1100


def test_texts_are_found_by_their_signatures(client: MilvusClient) -> None:
    from pymilvus import DataType, Function, FunctionType

    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=100)
    schema.add_field("bits", DataType.BINARY_VECTOR, dim=512)
    schema.add_function(
        Function(
            name="signed",
            function_type=FunctionType.MINHASH,
            input_field_names=["text"],
            output_field_names=["bits"],
            params={"num_hashes": 16},
        )
    )
    client.create_collection("texts", schema=schema)
    made = params(client, "bits", index_type="MINHASH_LSH", metric_type="MHJACCARD", params={"mh_lsh_band": 8})
    client.create_index("texts", made, sync=False)
    client.load_collection("texts")
    client.insert("texts", [{"id": i, "text": text} for i, text in enumerate(TEXTS[:3])])
    assert client.describe_collection("texts")["functions"][0]["params"] == {"num_hashes": "16"}
    (hits,) = client.search("texts", [TEXTS[2]], anns_field="bits", limit=1, output_fields=["bits"])
    assert (hits[0]["id"], hits[0]["distance"], len(hits[0]["entity"]["bits"])) == (2, 1.0, 64)
    assert (
        refused(lambda: client.search("texts", [bytes(64)], anns_field="bits"), "please provide varchar/text") == 1100
    )
