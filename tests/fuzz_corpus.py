"""Valid requests to begin from, and the collections that they are about.

Each RPC has at least one: what a client sends for those that matter, an empty message for the rest. Whoever reads the
names below finds what a mutation may write into a text to be understood a little further.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from elanus.wire.grpc.dispatch import METHODS

TARGET = "fuzzed"
"""The collection that most requests are about."""

DIM = 4
ROWS = 50

TEXTS: tuple[str, ...] = (
    "", " ", "0", "-1", "1", "16384", "65536", "2147483648", "9223372036854775807", "9223372036854775808", "1e400",
    "-0.0", "nan", "inf", "true", "None", "null", "[]", "{}", '{"a": 1}', '{"nprobe": -1}', '{"ef": 1e9}',
    '{"radius": "x"}', "[1, 2", "\x00", "a\x00b", "ü", "\U0001f600", "🙈" * 200, "a" * 256, "a" * 70_000,
    "../../etc/passwd", "%s%n{0}", "$meta", "_default", TARGET, "fuzz_alias", "part", "default", "id", "vector",
    "title", "note", "*", "count(*)", "L2", "COSINE", "JACCARD", "HNSW", "IVF_FLAT", "AUTOINDEX", "INVERTED", "FLAT",
    "dim", "max_length", "params", "topk", "limit", "offset", "metric_type", "radius", "range_filter", "iterator",
    "search_iter_v2", "search_iter_batch_size", "search_iter_last_bound", "anns_field", "collection.ttl.seconds",
    "mmap.enabled", "index_type", "round_decimal", "group_by_field", "id > 0", "id in [1, 2, 3]", "id in []",
    "id == 1 or", "not (id > 1)", "title like '%a%'", 'title == "\\u0000"', "id / 0 == 1", "id % 0 == 0",
    "id == 9223372036854775808", "id ** 1000 > 1", "id == {x}", "note['a'][0] > 1", "exists note['a']", "id << 1",
    "json_contains(note['a'], 1)", "array_length(note) > 1", "vector == 1", "title > 1", "1 == 1",
    "id > 1 and " * 60 + "id > 1", "(" * 500 + "id > 0" + ")" * 500, "not " * 500 + "id > 0", "[" * 500,
    "-" * 500 + "1 == id", "text_match(title, 'a')", "random_sample(0.5)", "title in ['a', 1]", "id > 1e308 * 10",
    "'a' + 'b' == title", "phrase_match(title, 'a', 1)", "title like '" + "%a" * 50 + "'",
)  # fmt: skip

NESTED: dict[tuple[str, str], type[Any]] = {
    ("CreateCollectionRequest", "schema"): schema_pb2.CollectionSchema,
    ("SearchRequest", "placeholder_group"): common_pb2.PlaceholderGroup,
    ("AddCollectionFieldRequest", "schema"): schema_pb2.FieldSchema,
}
"""Fields of bytes that hold a message: it is mutated as one."""


def is_repeated(field: Any) -> bool:
    """Whether a field of a message holds any number of values; protobuf before 6.31 has another word for it."""
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED)


def _add_field(one: dict[str, Any]) -> Any:
    request = milvus_pb2.AlterCollectionSchemaRequest(**one)
    field = schema_pb2.FieldSchema(name="added", data_type=schema_pb2.Int64, nullable=True)
    request.action.add_request.field_infos.add(field_schema=field)
    return request


def _drop_field(one: dict[str, Any]) -> Any:
    request = milvus_pb2.AlterCollectionSchemaRequest(**one)
    request.action.drop_request.field_name = "added"
    return request


def _bm25() -> Any:
    function = schema_pb2.FunctionSchema(name="bm25", type=schema_pb2.BM25)
    function.input_field_names.append("title")
    function.output_field_names.append("words")
    return function


def _add_function(one: dict[str, Any]) -> Any:
    request = milvus_pb2.AlterCollectionSchemaRequest(**one)
    field = schema_pb2.FieldSchema(name="words", data_type=schema_pb2.SparseFloatVector)
    index = _pairs(index_type="SPARSE_INVERTED_INDEX", metric_type="BM25", bm25_k1="1.2")
    request.action.add_request.field_infos.add(field_schema=field, index_name="words", extra_params=index)
    request.action.add_request.func_schema.append(_bm25())
    return request


def _drop_function(one: dict[str, Any]) -> Any:
    request = milvus_pb2.AlterCollectionSchemaRequest(**one)
    request.action.drop_request.function_name = "bm25"
    request.action.drop_request.drop_function_output_fields = True
    return request


def _pairs(**values: Any) -> list[common_pb2.KeyValuePair]:
    return [
        common_pb2.KeyValuePair(key=key, value=value if isinstance(value, str) else orjson.dumps(value).decode())
        for key, value in values.items()
    ]


def _text(key: str, value: str) -> list[common_pb2.KeyValuePair]:
    return [common_pb2.KeyValuePair(key=key, value=value)]


def schema(name: str) -> schema_pb2.CollectionSchema:
    field, kinds = schema_pb2.FieldSchema, schema_pb2.DataType
    fields = [
        field(name="id", is_primary_key=True, data_type=kinds.Int64),
        field(name="vector", data_type=kinds.FloatVector, type_params=_pairs(dim=str(DIM))),
        field(name="title", data_type=kinds.VarChar, type_params=_pairs(max_length="64"), nullable=True),
        field(name="price", data_type=kinds.Double, nullable=True),
        field(name="small", data_type=kinds.Int8, default_value=schema_pb2.ValueField(int_data=7)),
        field(name="flag", data_type=kinds.Bool, nullable=True),
        field(name="note", data_type=kinds.JSON, nullable=True),
    ]
    return schema_pb2.CollectionSchema(name=name, fields=fields, enable_dynamic_field=True)


def _columns(rows: int) -> list[schema_pb2.FieldData]:
    data, scalars, kinds = schema_pb2.FieldData, schema_pb2.ScalarField, schema_pb2.DataType
    numbers = list(range(rows))
    vectors = schema_pb2.VectorField(
        dim=DIM, float_vector=schema_pb2.FloatArray(data=[float(n) for n in numbers for _ in range(DIM)])
    )
    texts = [orjson.dumps({"a": [n, "x"], "b": {"c": n}}) for n in numbers]
    return [
        data(field_name="id", type=kinds.Int64, scalars=scalars(long_data=schema_pb2.LongArray(data=numbers))),
        data(field_name="vector", type=kinds.FloatVector, vectors=vectors),
        data(
            field_name="title",
            type=kinds.VarChar,
            scalars=scalars(string_data=schema_pb2.StringArray(data=[f"title {n}" for n in numbers])),
            valid_data=[n % 3 > 0 for n in numbers],
        ),
        data(
            field_name="price",
            type=kinds.Double,
            scalars=scalars(double_data=schema_pb2.DoubleArray(data=[n / 2 for n in numbers])),
            valid_data=[True] * rows,
        ),
        data(field_name="small", type=kinds.Int8, scalars=scalars(int_data=schema_pb2.IntArray(data=[5] * rows))),
        data(field_name="flag", type=kinds.Bool, scalars=scalars(bool_data=schema_pb2.BoolArray(data=[True] * rows))),
        data(field_name="note", type=kinds.JSON, scalars=scalars(json_data=schema_pb2.JSONArray(data=texts))),
        data(
            field_name="$meta",
            is_dynamic=True,
            type=kinds.JSON,
            scalars=scalars(json_data=schema_pb2.JSONArray(data=texts)),
        ),
    ]


def _queries(count: int) -> bytes:
    values = [np.full(DIM, n, "<f4").tobytes() for n in range(count)]
    placeholder = common_pb2.PlaceholderValue(tag="$0", type=common_pb2.PlaceholderType.FloatVector, values=values)
    return bytes(common_pb2.PlaceholderGroup(placeholders=[placeholder]).SerializeToString())


def _search(filter: str = "", **more: Any) -> milvus_pb2.SearchRequest:  # noqa: A002
    params = {"topk": "5", "anns_field": "vector", "metric_type": "L2", "round_decimal": "-1", "params": {"nprobe": 4}}
    return milvus_pb2.SearchRequest(
        collection_name=TARGET,
        dsl=filter,
        placeholder_group=_queries(2),
        dsl_type=common_pb2.DslType.BoolExprV1,
        output_fields=["*"],
        nq=2,
        search_params=_pairs(**{**params, **more}),
    )


def _template(**values: schema_pb2.TemplateValue) -> dict[str, schema_pb2.TemplateValue]:
    return values


def create_collection(name: str) -> milvus_pb2.CreateCollectionRequest:
    return milvus_pb2.CreateCollectionRequest(
        collection_name=name,
        schema=schema(name).SerializeToString(),
        shards_num=1,
        properties=_text("collection.ttl.seconds", "0"),
    )


def create_index(name: str) -> milvus_pb2.CreateIndexRequest:
    return milvus_pb2.CreateIndexRequest(
        collection_name=name,
        field_name="vector",
        index_name="vector",
        extra_params=_pairs(index_type="HNSW", metric_type="L2", params={"M": 8, "efConstruction": 60}),
    )


def insert(name: str, rows: int) -> milvus_pb2.InsertRequest:
    return milvus_pb2.InsertRequest(collection_name=name, fields_data=_columns(rows), num_rows=rows)


def _important() -> dict[str, list[Any]]:
    m, value = milvus_pb2, schema_pb2.TemplateValue
    numbers = schema_pb2.TemplateArrayValue(long_data=schema_pb2.LongArray(data=[1, 2, 3]))
    json = schema_pb2.TemplateArrayValue(json_data=schema_pb2.JSONArray(data=[b"1", b'"a"']))
    one = {"collection_name": TARGET}
    part = {**one, "partition_name": "part"}
    return {
        "CreateCollection": [create_collection("made")],
        "Insert": [insert(TARGET, 3), insert("fuzz_alias", 1)],
        "Upsert": [m.UpsertRequest(collection_name=TARGET, fields_data=_columns(3), num_rows=3)],
        "Delete": [
            m.DeleteRequest(collection_name=TARGET, expr="id in [1, 2]"),
            m.DeleteRequest(collection_name=TARGET, expr="price > 100 and title like 'a%'"),
            m.DeleteRequest(
                collection_name=TARGET,
                expr="id in {keys}",
                expr_template_values=_template(keys=value(array_val=numbers)),
            ),
        ],
        "Search": [
            _search(),
            _search("id > 3 and note['b']['c'] < 40"),
            _search(params={"radius": 100, "range_filter": 0}, iterator="True"),
            _search(search_iter_v2="True", search_iter_batch_size="5", iterator="True"),
        ],
        "Query": [
            m.QueryRequest(collection_name=TARGET, expr="id > 3", output_fields=["*"], query_params=_pairs(limit="5")),
            m.QueryRequest(collection_name=TARGET, expr="title like 'title 1%'", output_fields=["count(*)"]),
            m.QueryRequest(
                collection_name=TARGET,
                expr="id in {keys} or json_contains_any(note['a'], {any}) or price < {x}",
                output_fields=["title", "dynamic"],
                expr_template_values=_template(
                    keys=value(array_val=numbers), any=value(array_val=json), x=value(float_val=3.5)
                ),
                query_params=_pairs(limit="10", offset="2", iterator="True"),
            ),
        ],
        "CreateIndex": [
            create_index(TARGET),
            m.CreateIndexRequest(
                collection_name=TARGET, field_name="title", index_name="t", extra_params=_pairs(index_type="INVERTED")
            ),
        ],
        "AlterIndex": [
            m.AlterIndexRequest(**one, index_name="vector", extra_params=_pairs(**{"mmap.enabled": "true"}))
        ],
        "AlterCollection": [m.AlterCollectionRequest(**one, properties=_pairs(**{"collection.ttl.seconds": "60"}))],
        "AddCollectionField": [m.AddCollectionFieldRequest(**one, schema=schema("x").fields[2].SerializeToString())],
        "AlterCollectionSchema": [_add_field(one), _drop_field(one), _add_function(one), _drop_function(one)],
        "AddCollectionFunction": [m.AddCollectionFunctionRequest(**one, functionSchema=_bm25())],
        "AlterCollectionFunction": [
            m.AlterCollectionFunctionRequest(**one, function_name="bm25", functionSchema=_bm25())
        ],
        "DropCollectionFunction": [m.DropCollectionFunctionRequest(**one, function_name="bm25")],
        "CreateDatabase": [
            m.CreateDatabaseRequest(db_name="made_db", properties=_text("database.max.collections", "3"))
        ],
        "AlterDatabase": [m.AlterDatabaseRequest(db_name="default", properties=_text("database.max.collections", "9"))],
        "CreateAlias": [m.CreateAliasRequest(**one, alias="made_alias")],
        "AlterAlias": [m.AlterAliasRequest(**one, alias="fuzz_alias")],
        "RenameCollection": [m.RenameCollectionRequest(oldName=TARGET, newName="made")],
        "Flush": [m.FlushRequest(collection_names=[TARGET])],
        "FlushAll": [
            m.FlushAllRequest(),
            m.FlushAllRequest(flush_targets=[m.FlushAllTarget(collection_names=[TARGET])]),
        ],
        "CreatePartition": [m.CreatePartitionRequest(**{**part, "partition_name": "made"})],
        "LoadPartitions": [m.LoadPartitionsRequest(**one, partition_names=["part"], replica_number=1)],
        "ReleasePartitions": [m.ReleasePartitionsRequest(**one, partition_names=["part"])],
        "ShowPartitions": [m.ShowPartitionsRequest(**one, partition_names=["part"])],
        "GetLoadState": [m.GetLoadStateRequest(**one, partition_names=["part"])],
        "GetLoadingProgress": [m.GetLoadingProgressRequest(**one, partition_names=["part"])],
        "BatchDescribeCollection": [m.BatchDescribeCollectionRequest(collection_name=[TARGET, "none"])],
        "ShowCollections": [m.ShowCollectionsRequest(), m.ShowCollectionsRequest(collection_names=[TARGET])],
        "GetPersistentSegmentInfo": [m.GetPersistentSegmentInfoRequest(collectionName=TARGET)],
        "GetQuerySegmentInfo": [m.GetQuerySegmentInfoRequest(collectionName=TARGET)],
        "DescribeIndex": [m.DescribeIndexRequest(**one), m.DescribeIndexRequest(**one, field_name="vector")],
        "GetCompactionState": [m.GetCompactionStateRequest(compactionID=1)],
        "RunAnalyzer": [
            m.RunAnalyzerRequest(placeholder=[b"The quick, brown fox"], analyzer_params='{"type": "english"}'),
            m.RunAnalyzerRequest(
                placeholder=[b"a", b"b c"],
                analyzer_params='{"tokenizer": "whitespace", "filter": ["lowercase", {"type": "length", "max": 3}]}',
                with_detail=True,
                with_hash=True,
            ),
            m.RunAnalyzerRequest(**one, field_name="title", placeholder=[b"a"], analyzer_names=["default"]),
        ],
        "Connect": [m.ConnectRequest(client_info=common_pb2.ClientInfo(sdk_type="Python", reserved={"a": "b"}))],
    }


def corpus() -> dict[str, list[Any]]:
    """For each RPC the requests to begin from. Those that name a collection or a partition have ours there."""
    given = _important()
    found = {}
    for method in METHODS.values():
        if method.name in given:
            found[method.name] = given[method.name]
            continue
        request = method.request()
        for name, value in (("collection_name", TARGET), ("partition_name", "part"), ("alias", "fuzz_alias")):
            field = method.request.DESCRIPTOR.fields_by_name.get(name)
            if field is not None and field.type == field.TYPE_STRING and not is_repeated(field):
                setattr(request, name, value)
        found[method.name] = [method.request(), request] if request.ByteSize() else [request]
    assert not given.keys() - found.keys(), "no such RPC"
    return found
