"""Searches that are answered together: each gets what it would get alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from pymilvus import DataType, MilvusClient
from pymilvus.grpc_gen import common_pb2, milvus_pb2
from pymilvus.grpc_gen.milvus_pb2_grpc import MilvusServiceStub

from elanus.service import search as searches
from elanus.service.instance import Instance
from elanus.wire.grpc.asked import SearchCall
from elanus.wire.grpc.dispatch import METHODS
from elanus.wire.grpc.server import Server
from tests.wire_case import make

DIM = 4
ROWS = 60
SEARCH = METHODS["/milvus.proto.milvus.MilvusService/Search"]

ASKED = {
    "plain": {},
    "fields": {"output_fields": ["id", "title", "vector"]},
    "filter": {"dsl": "id < 7"},
    "nothing": {"dsl": "id < 0"},
    "offset": {"offset": 3},
    "rounded": {"round_decimal": 1},
    "range": {"params": '{"radius": 900.0}'},
    "fields-in-range": {"params": '{"radius": 900.0}', "output_fields": ["title"]},
}


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    instance = Instance.open(tmp_path_factory.mktemp("together"))
    yield instance
    instance.close()


@pytest.fixture(scope="module")
def server(instance: Instance) -> Iterator[Server]:
    """Serves the collection `books`, a third of its rows sealed, and another of this name in a second database."""
    server = Server.start(instance)
    for name in ("default", "other"):
        client = MilvusClient(f"http://127.0.0.1:{server.port}", dedicated=True)
        if name != "default":
            client.create_database(name)
            client.use_database(name)
        schema = client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
        schema.add_field("title", DataType.VARCHAR, max_length=100)
        make(client, "books", schema, {"vector": "HNSW"})
        rows = [{"id": n, "vector": [float(n), 1, 0, 0], "title": f"{name} {n}"} for n in range(ROWS)]
        client.insert("books", rows[: ROWS // 3])
        client.flush("books")
        client.insert("books", rows[ROWS // 3 :])
        client.close()
    yield server
    server.stop()


def vectors(*numbers: float, dim: int = DIM) -> bytes:
    values = [np.array([number, 1, 0, 0, 0][:dim], np.float32).tobytes() for number in numbers]
    placeholder = common_pb2.PlaceholderValue(tag="$0", type=common_pb2.PlaceholderType.FloatVector, values=values)
    return common_pb2.PlaceholderGroup(placeholders=[placeholder]).SerializeToString()


def request(group: bytes, nq: int, *, dsl: str = "", output_fields: Any = (), **params: Any) -> Any:
    """A request of the SDK's form, for the five nearest."""
    pairs = {"anns_field": "vector", "topk": 5, "params": "{}", **params}
    return milvus_pb2.SearchRequest(
        collection_name="books",
        dsl=dsl,
        dsl_type=common_pb2.DslType.BoolExprV1,
        placeholder_group=group,
        output_fields=output_fields,
        nq=nq,
        search_params=[common_pb2.KeyValuePair(key=key, value=str(value)) for key, value in pairs.items()],
    )


def read(message: Any) -> SearchCall:
    return SearchCall.from_bytes(message.SerializeToString())


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_together_is_as_alone(instance: Instance, server: Server, asked: dict[str, Any]) -> None:
    calls = [read(request(vectors(*ns), len(ns), **asked)) for ns in ((3, 40), (59.4, 0), (20, 21))]
    together = SEARCH.answer_together(instance, [(call, (), None, None) for call in calls])
    alone = [SEARCH.answer(instance, call, (), None) for call in calls]
    assert together == alone
    assert not any(answer.status.code for answer in alone)
    assert len({call.asked for call in calls}) == 1
    assert sum(alone[0].results.topks) == len(alone[0].results.scores)


@pytest.mark.parametrize(
    "wrong",
    [vectors(1, dim=3), vectors(), b"\xff", vectors(float("nan")), vectors(1e30)],
    ids=["dim", "none", "bytes", "nan", "long"],
)
def test_one_that_cannot_be_answered_is_left_to_say_so(instance: Instance, server: Server, wrong: bytes) -> None:
    calls = [read(request(group, 1)) for group in (vectors(1), wrong, vectors(2))]
    assert SEARCH.answer_together(instance, [(call, (), None, None) for call in calls]) is None


def test_requests_of_two_databases_are_never_one(instance: Instance, server: Server) -> None:
    calls = [read(request(vectors(n), 1)) for n in (1, 2)]
    metadata: list[Any] = [(), (("dbname", "other"),)]
    asked = [(call, headers, None, None) for call, headers in zip(calls, metadata, strict=True)]
    assert SEARCH.answer_together(instance, asked) is None
    assert SEARCH.answer_together(instance, [asked[0], asked[0]]) is not None


def test_a_server_answers_many_at_once_and_each_rightly(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []
    search = searches.for_client

    def seen(ctx: Any, instance: Instance, asked: Any, queries: Any, timestamp: int) -> Any:
        searched.append(len(queries))
        return search(ctx, instance, asked, queries, timestamp)

    monkeypatch.setattr(searches, "for_client", seen)
    fields = ["title"]
    kinds = [(request(vectors(n), 1, output_fields=fields), "default") for n in range(8)]
    kinds += [(request(vectors(n), 1, output_fields=fields), "other") for n in range(8)]
    kinds += [(request(vectors(n, n), 2, output_fields=fields), "default") for n in range(8)]
    kinds += [(request(vectors(n, dim=3), 1, output_fields=fields), "default") for n in range(4)]
    order = np.random.default_rng(5).permutation(20 * len(kinds)) // 20
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        ask = MilvusServiceStub(channel).Search.future
        calls = [ask(kinds[i][0], metadata=(("dbname", kinds[i][1]),), timeout=30) for i in order]
        for i, call in zip(order.tolist(), calls, strict=True):
            answer, number, database = call.result(), i % 8, kinds[i][1]
            if i >= 24:
                assert answer.status.code == 1100
                continue
            titles = answer.results.fields_data[0].scalars.string_data.data
            assert answer.results.topks == [5] * kinds[i][0].nq
            assert titles[::5] == [f"{database} {number}"] * kinds[i][0].nq
    assert max(searched) > 2, "none were together"
