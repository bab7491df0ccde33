"""Vectors of every type as Milvus clients send, read and search them, null or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pymilvus import DataType
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from tests.vector_case import DIM, TYPE_OF, ranking, rows
from tests.wire_case import refusal, refused

if TYPE_CHECKING:
    from pymilvus import MilvusClient

METRIC_OF = {"single": "L2", "half": "L2", "brain": "IP", "small": "L2", "bits": "HAMMING", "sparse": "IP"}
KIND_OF = {"bits": "BIN_IVF_FLAT", "sparse": "SPARSE_INVERTED_INDEX"}

Row = dict[str, Any]


def sent(name: str, value: Any) -> Any:
    """A vector as the SDK takes it."""
    if value is None or name in ("single", "bits", "sparse"):
        return value
    if name == "small":
        return np.array(value, np.int8)
    if name == "half":
        return np.array(value, np.float16)
    return (np.array(value, np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()


def read(name: str, value: Any) -> Any:
    """A vector as the SDK gives it back, as `vector_case` has it."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], bytes):
        value = value[0]
    if value is None or name in ("bits", "sparse"):
        return value
    if name == "single":
        return list(value)
    if name == "small":
        return np.frombuffer(value, np.int8).tolist()
    if name == "half":
        return np.frombuffer(value, np.float16).tolist()
    return (np.frombuffer(value, np.uint16).astype(np.uint32) << 16).view(np.float32).tolist()


def sent_row(row: Row) -> Row:
    return {name: sent(name, value) if name in TYPE_OF else value for name, value in row.items()}


def read_row(row: Row) -> Row:
    return {name: read(name, row[name]) if name in TYPE_OF else row[name] for name in row}


def make(client: MilvusClient, nullable: bool = False, names: Any = TYPE_OF) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("n", DataType.INT64)
    for name in names:
        dim = {} if name == "sparse" else {"dim": DIM}
        schema.add_field(name, DataType(int(TYPE_OF[name])), nullable=nullable, **dim)
    client.create_collection("all", schema=schema, consistency_level="Strong")
    index(client, names)
    client.load_collection("all")


def index(client: MilvusClient, names: Any) -> None:
    params = client.prepare_index_params()
    for name in names:
        params.add_index(name, index_type=KIND_OF.get(name, "AUTOINDEX"), metric_type=METRIC_OF[name])
    client.create_index("all", params, sync=False)


def check(client: MilvusClient, held: dict[int, Row]) -> None:
    from elanus import Metric

    expected = [held[key] for key in sorted(held)]
    found = client.query("all", filter="id >= 0", output_fields=["*"])
    assert [read_row(row) for row in found] == expected
    some = [row["id"] for row in expected[3:6]]
    assert [read_row(row) for row in client.get("all", ids=some, output_fields=["*"])] == expected[3:6]
    assert client.query("all", filter="", output_fields=["count(*)"])[0]["count(*)"] == len(held)
    rng = np.random.default_rng(len(held))
    for name, metric in METRIC_OF.items():
        queries = [row[name] for row in rows(range(2), rng)]
        answers = client.search(
            "all",
            [sent(name, query) for query in queries],
            anns_field=name,
            limit=7,
            search_params={"metric_type": metric},
            output_fields=[name],
        )
        for query, hits in zip(queries, answers, strict=True):
            right = ranking(Metric(metric), name, query, expected)[:7]
            assert [hit["id"] for hit in hits] == [key for _, key in right], name
            assert [hit["distance"] for hit in hits] == pytest.approx([score for score, _ in right], rel=1e-5)
            assert [read(name, hit["entity"][name]) for hit in hits] == [held[key][name] for _, key in right]


@pytest.mark.parametrize("null_share", [0.0, 0.4])
def test_rows_come_back_and_are_found_as_they_were_sent(client: MilvusClient, null_share: float) -> None:
    make(client, nullable=null_share > 0)
    rng = np.random.default_rng(1)
    held = {row["id"]: row for row in rows(range(40), rng, null_share)}
    assert client.insert("all", [sent_row(row) for row in held.values()])["insert_count"] == 40
    check(client, held)
    client.flush("all")
    changed = rows(range(30, 50), rng, null_share)
    client.upsert("all", [sent_row(row) for row in changed])
    held |= {row["id"]: row for row in changed}
    check(client, held)


def test_a_collection_tells_the_dim_of_dense_vectors(client: MilvusClient) -> None:
    make(client, nullable=True)
    fields = {field["name"]: field for field in client.describe_collection("all")["fields"]}
    assert fields["bits"]["params"] == {"dim": DIM}
    assert fields["sparse"]["params"] == {}
    assert (fields["half"]["type"], fields["half"]["nullable"]) == (DataType.FLOAT16_VECTOR, True)
    assert client.describe_index("all", "bits")["index_type"] == "BIN_IVF_FLAT"
    assert client.describe_index("all", "sparse")["metric_type"] == "IP"


def test_vectors_are_left_out_nulled_and_set_by_partial_updates(client: MilvusClient) -> None:
    make(client, nullable=True)
    rng = np.random.default_rng(2)
    held = {row["id"]: row for row in rows(range(20), rng)}
    client.insert("all", [sent_row(row) for row in held.values()])
    client.insert("all", [{"id": 20, "n": 1}])
    held[20] = dict.fromkeys(TYPE_OF) | {"id": 20, "n": 1}
    set_, cleared, fresh = rows([5, 6, 7], rng)
    client.upsert("all", [sent_row({"id": 5, **{n: set_[n] for n in TYPE_OF}})], partial_update=True)
    held[5] |= {n: set_[n] for n in TYPE_OF}
    client.upsert("all", [{"id": 6, "half": None, "sparse": None, "bits": None}], partial_update=True)
    held[6] |= {"half": None, "sparse": None, "bits": None}
    client.upsert("all", [{"id": cleared["id"] + 1, "n": fresh["n"]}], partial_update=True)
    held[7] |= {"n": fresh["n"]}
    held = {key: {name: row[name] for name in ("id", "n", *TYPE_OF)} for key, row in held.items()}
    check(client, held)


def test_fields_of_vectors_are_added(client: MilvusClient) -> None:
    make(client, names=["single"])
    rng = np.random.default_rng(3)
    before = [{name: row[name] for name in ("id", "n", "single")} for row in rows(range(10), rng)]
    client.insert("all", before)
    added = [name for name in TYPE_OF if name != "single"]
    for name in added:
        dim = {} if name == "sparse" else {"dim": DIM}
        client.add_collection_field("all", name, DataType(int(TYPE_OF[name])), nullable=True, **dim)
    index(client, added)
    held = {row["id"]: {name: row.get(name) for name in ("id", "n", *TYPE_OF)} for row in before}
    after = rows(range(10, 25), rng)
    client.insert("all", [sent_row(row) for row in after])
    held |= {row["id"]: row for row in after}
    check(client, held)


def test_iterators_go_through_all_that_is_there(client: MilvusClient) -> None:
    make(client, nullable=True)
    held = rows(range(60), np.random.default_rng(4), 0.5)
    client.insert("all", [sent_row(row) for row in held])
    for name, metric in METRIC_OF.items():
        query = next(row[name] for row in held if row[name])
        pages = client.search_iterator(
            "all",
            [sent(name, query)],
            batch_size=7,
            anns_field=name,
            limit=-1,
            search_params={"metric_type": metric},
        )
        found = []
        while page := pages.next():
            found += [hit["id"] for hit in page]
        pages.close()
        from elanus import Metric

        assert sorted(found) == sorted(key for _, key in ranking(Metric(metric), name, query, held))
    read_ = client.query_iterator("all", batch_size=13, output_fields=["half", "sparse"])
    rows_read = []
    while page := read_.next():
        rows_read += page
    assert [read_row(row) for row in rows_read] == [{n: row[n] for n in ("half", "sparse", "id")} for row in held]


def test_ranges_and_rounding(client: MilvusClient) -> None:
    make(client)
    held = rows(range(40), np.random.default_rng(5))
    client.insert("all", [sent_row(row) for row in held])
    found = client.search(
        "all",
        [held[0]["bits"]],
        anns_field="bits",
        limit=20,
        search_params={"metric_type": "HAMMING", "params": {"radius": 9, "range_filter": 4}},
    )[0]
    from elanus import Metric

    right = [hit for hit in ranking(Metric.HAMMING, "bits", held[0]["bits"], held) if 4 <= hit[0] < 9][:20]
    assert [(hit["distance"], hit["id"]) for hit in found] == right
    halves = client.search("all", [[0.3] * DIM], anns_field="half", limit=3, search_params={}, round_decimal=1)[0]
    assert all(hit["distance"] == pytest.approx(round(hit["distance"], 1)) for hit in halves)


def test_queries_of_another_type_are_refused(client: MilvusClient) -> None:
    make(client)
    client.insert("all", [sent_row(row) for row in rows(range(3), np.random.default_rng(6))])
    single, half, bits = [0.5] * DIM, np.ones(DIM, np.float16), b"\1\2\3"
    assert len(client.search("all", [single], anns_field="half", limit=3)[0]) == 3  # float32 is rounded to what it has
    for name, query in (("bits", single), ("small", single), ("sparse", single), ("single", half)):
        with refused(1100, "vector type must be the same"):
            client.search("all", [query], anns_field=name, limit=3)
    with refused(1100, "vector dimension mismatch"):
        client.search("all", [np.ones(DIM + 1, np.float16)], anns_field="half", limit=3)
    with refused(1100, "expected vector size(dim) 24, actual 16"):
        client.search("all", [b"\1\2"], anns_field="bits", limit=3)
    with refused(1100, "metric type not match"):
        client.search("all", [bits], anns_field="bits", limit=3, search_params={"metric_type": "JACCARD"})


def field(name: str, count: int, **parts: Any) -> schema_pb2.FieldData:
    data = schema_pb2.FieldData(type=int(TYPE_OF[name]), field_name=name)
    data.vectors.dim = parts.pop("dim", DIM)
    for part, value in parts.items():
        if part == "sparse":
            data.vectors.sparse_float_vector.contents.extend(value)
        else:
            setattr(data.vectors, part, value)
    assert count
    return data


@pytest.mark.parametrize(
    ("name", "parts", "why"),
    [
        ("half", {"float16_vector": b"1" * (2 * DIM)}, "is not equal to passed num_rows"),
        ("half", {"float16_vector": b"1" * (2 * DIM + 2)}, "of float16 data should divide the row width(48)"),
        ("half", {"float16_vector": b"1" * 3}, "send two for each number"),
        ("half", {"float16_vector": b"\0\x7c" * (2 * DIM)}, "not a number or infinity"),
        ("brain", {"bfloat16_vector": b"1" * (4 * DIM + 2)}, "of bfloat data should divide the row width(48)"),
        ("small", {"int8_vector": b"1" * (2 * DIM + 1)}, "of int8 data should divide the row width(24)"),
        ("bits", {"binary_vector": b"1" * 7}, "the num(56) of all bits should divide the dim(24)"),
        (
            "bits",
            {"binary_vector": b"123456", "dim": 16},
            "the dim (16) of field data(bits) is not equal",
        ),
        (
            "bits",
            {"int8_vector": b"123456"},
            "binary vector field 'bits' is illegal, array type mismatch: invalid parameter[expected=need binary vector",
        ),
        ("sparse", {"sparse": [b"", b"1234"]}, "invalid data length in sparse float vector: 4"),
        ("sparse", {"sparse": [b"", b"\xff\xff\xff\xff\0\0\0\0"]}, "must be less than 2^32-1"),
        ("sparse", {"sparse": [b"", b"\0\0\0\0\0\0\x80\xbf"]}, "negative value in sparse float vector"),
        ("sparse", {"sparse": [b"", b"\0\0\0\0\0\0\x80\x7f"]}, "not a number or infinity"),
        ("sparse", {"sparse": [b""]}, "is not equal to passed num_rows"),
        ("sparse", {"sparse": [b"", bytes(16)]}, "unsorted or same indices in sparse float vector"),
        ("brain", {"bfloat16_vector": b"\0\x7f" * (2 * DIM)}, "are beyond float32"),
        (
            "half",
            {},
            "float16 vector field 'half' is illegal, array type mismatch: invalid parameter[expected=need float16",
        ),
    ],
)
def test_columns_that_do_not_fit_are_refused(client: MilvusClient, stub: Any, name: str, parts: Row, why: str) -> None:
    make(client, names=[name])
    keys = [schema_pb2.FieldData(type=schema_pb2.Int64, field_name=key) for key in ("id", "n")]
    for key in keys:
        key.scalars.long_data.data.extend([1, 2])
    request = milvus_pb2.InsertRequest(collection_name="all", num_rows=2, fields_data=[*keys, field(name, 2, **parts)])
    answer = stub.Insert(request)
    assert refusal(answer.status) == 1100
    assert why in answer.status.reason
    assert client.query("all", filter="id > 0") == []


def test_a_vector_that_has_to_be_there_cannot_be_null(client: MilvusClient, stub: Any) -> None:
    make(client, names=["half"])
    keys = [schema_pb2.FieldData(type=schema_pb2.Int64, field_name=key) for key in ("id", "n")]
    for key in keys:
        key.scalars.long_data.data.extend([1, 2])
    data = field("half", 2, float16_vector=b"\0\0" * DIM)
    data.valid_data.extend([True, False])
    request = milvus_pb2.InsertRequest(collection_name="all", num_rows=2, fields_data=[*keys, data])
    answer = stub.Insert(request)
    assert refusal(answer.status) == 1100
    assert "the field half of row 1 has no vector" in answer.status.reason
