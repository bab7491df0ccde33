"""A write that is sent again under its request's name is done once, and answered as it was."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymilvus import MilvusClient

import elanus
from elanus import DataType, DuplicateKey, Elanus, Field, InvalidParameter, Schema, StoreError, WriterStopped
from elanus.engine.builders import InlineBuilders
from elanus.engine.retries import RecentWrites, WriteKind, identity_of
from elanus.engine.writes import WriteResult
from elanus.log.carry import CarryRecord
from elanus.log.record import WriteRecord
from elanus.model.digest import digest_of
from elanus.model.timestamps import FakeClock, compose
from elanus.model.types import VECTORS
from elanus.service import rows
from elanus.service.context import RequestContext
from elanus.service.instance import Instance
from elanus.store.disk import LocalDisk
from elanus.testing.faulty import FaultyDisk, Operation
from elanus.wire.grpc.server import Server
from tests.native_case import QUIET, vector

AUTO_ID = Schema(
    (Field("id", DataType.INT64, is_primary=True, auto_id=True), Field("vector", DataType.FLOAT_VECTOR, dim=4))
)
AUTO_TEXT = Schema(
    (
        Field("id", DataType.VARCHAR, is_primary=True, auto_id=True, max_length=32),
        Field("vector", DataType.FLOAT_VECTOR, dim=4),
    )
)


class GatedDisk(FaultyDisk):
    """A disk whose syncs of the log wait while `gate` is not set."""

    def __init__(self, folder: Path) -> None:
        super().__init__(LocalDisk(folder))
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Semaphore(0)

    def check(self, kind: Operation, name: str) -> None:
        if kind == "sync" and name.startswith("log") and not self.gate.is_set():
            self.waiting.release()
            self.gate.wait(60)
        super().check(kind, name)


class Case:
    """A database in a folder with its own clock and disk, and the writes of the service, each under a name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.disk = GatedDisk(folder)
        self.instance = self._open()
        Elanus(self.instance).create_collection("c", dimension=4)

    def _open(self) -> Instance:
        settings = replace(QUIET, retry_writes=8)
        return Instance.open(self.folder, settings, clock=self.clock, disk=self.disk, builders=InlineBuilders())

    @property
    def db(self) -> Elanus:
        return Elanus(self.instance)

    def reopen(self) -> None:
        self.instance.close()
        self.disk.heal()
        self.clock.advance(0.01)
        self.instance = self._open()

    def insert(self, name: str, keys: Any = (1, 2), collection: str = "c", value: int = 0, **more: Any) -> WriteResult:
        self.clock.advance(0.001)
        return rows.insert(named(name), self.instance, collection, self._rows(collection, keys, value), **more)

    def upsert(self, name: str, keys: Any = (1, 2), collection: str = "c", value: int = 0) -> WriteResult:
        self.clock.advance(0.001)
        data = [{"id": key, "vector": vector(value)} for key in keys]
        return rows.upsert(named(name), self.instance, collection, data)

    def _rows(self, collection: str, keys: Any, value: int) -> list[dict[str, Any]]:
        if self.db.collection(collection).schema.primary.auto_id:
            return [{"vector": vector(key)} for key in keys]
        return [{"id": key, "vector": vector(value)} for key in keys]

    def delete(self, name: str, keys: Any) -> WriteResult:
        self.clock.advance(0.001)
        return rows.delete_keys(named(name), self.instance, "c", list(keys))

    def delete_where(self, name: str, condition: str, params: dict[str, Any] | None = None) -> WriteResult:
        self.clock.advance(0.001)
        return rows.delete_where(named(name), self.instance, "c", condition, params)

    def count(self, collection: str = "c") -> int:
        return self.db.collection(collection).count()


def named(name: str) -> RequestContext:
    return RequestContext(request_id=name)


def same(one: WriteResult, two: WriteResult) -> bool:
    return one.keys.equals(two.keys) and (one.count, one.timestamp) == (two.count, two.timestamp)


def carried(case: Case) -> list[CarryRecord]:
    log = case.instance.engine._log_file.read()
    return [record for _, record in log if isinstance(record, CarryRecord)]


@pytest.fixture
def case(quick_path: Path) -> Iterator[Case]:
    made = Case(quick_path)
    yield made
    made.disk.heal()
    made.instance.close()


# --- what is one request, and what another ---------------------------------------------------------------------------


def test_an_insert_sent_again_is_answered_as_the_first_and_writes_nothing(case: Case) -> None:
    first = case.insert("a")
    end = case.instance.engine._log_file.end
    assert same(case.insert("a"), first)
    assert case.instance.engine._log_file.end == end
    assert case.count() == 2


def test_without_a_name_every_request_is_another(case: Case) -> None:
    assert case.insert("").timestamp < case.insert("").timestamp
    assert case.count() == 4


def test_one_name_for_different_requests_hides_none(case: Case) -> None:
    """Clients also use names for tracing: one for all that they do on behalf of somebody."""
    collection = case.db.collection("c")
    collection.create_partition("p")
    case.db.create_collection("d", dimension=4)
    stamps = [
        written.timestamp
        for written in (
            case.insert("trace"),
            case.insert("trace", [1]),
            case.insert("trace", value=1),
            case.insert("trace", partition="p"),
            case.insert("trace", collection="d"),
            case.upsert("trace", [7]),
            case.insert("trace", [7]),
            case.delete("trace", [7]),
            case.delete("trace", [8]),
            case.delete_where("trace", "id in [7]"),
            case.delete_where("trace", "id in {keys}", {"keys": [7]}),
            case.delete_where("trace", "id in {keys}", {"keys": [8]}),
            case.insert("other trace"),
        )
    ]
    assert len(set(stamps)) == len(stamps)


def test_an_upsert_sent_again_does_not_undo_what_came_after_it(case: Case) -> None:
    first = case.upsert("a", value=1)
    case.upsert("b", value=2)
    assert same(case.upsert("a", value=1), first)
    assert case.db.collection("c").get([1], output_fields=["vector"])[0]["vector"] == vector(2)


def test_a_delete_sent_again_leaves_what_was_written_after_it(case: Case) -> None:
    case.insert("")
    first = case.delete("a", [1, 2, 3])
    case.insert("", [1])
    assert same(case.delete("a", [1, 2, 3]), first)
    assert case.count() == 1


def test_a_delete_by_filter_sent_again_has_its_count_and_leaves_what_was_written_after_it(case: Case) -> None:
    case.insert("")
    first = case.delete_where("a", "id < 10 and id > {least}", {"least": 0})
    assert first.count == 2
    case.insert("", [1])
    for _ in range(2):
        again = case.delete_where("a", "id < 10 and id > {least}", {"least": 0})
        assert (again.count, again.timestamp) == (2, first.timestamp)
        assert case.count() == 1
        case.reopen()


@pytest.mark.parametrize("schema", [AUTO_ID, AUTO_TEXT], ids=["int", "text"])
def test_keys_that_were_made_are_made_once(case: Case, schema: Schema) -> None:
    case.db.create_collection("auto", schema)
    first = case.insert("a", range(3), "auto")
    assert len(set(first.keys.to_pylist())) == 3
    assert same(case.insert("a", range(3), "auto"), first)
    replaced = case.upsert("b", first.keys.to_pylist(), "auto", value=1)
    assert same(case.upsert("b", first.keys.to_pylist(), "auto", value=1), replaced)
    case.reopen()
    assert same(case.insert("a", range(3), "auto"), first)
    assert same(case.upsert("b", first.keys.to_pylist(), "auto", value=1), replaced)
    assert case.count("auto") == 3
    assert case.db.collection("auto").query(output_fields=["id"]).column("id").to_pylist() == replaced.keys.to_pylist()


@pytest.mark.parametrize("policy", ["reject", "replace"])
def test_what_a_collection_does_with_known_keys_is_done_once(case: Case, policy: str) -> None:
    case.db.create_collection("d", dimension=4, on_duplicate_key=policy)
    keys = [1, 2] if policy == "reject" else [2, 1, 2]
    first = case.insert("a", keys, "d")
    assert first.count == 2
    assert same(case.insert("a", keys, "d"), first)
    case.reopen()
    assert same(case.insert("a", keys, "d"), first)
    if policy == "reject":
        with pytest.raises(DuplicateKey):
            case.insert("b", keys, "d")
    assert case.count("d") == 2


def test_a_dropped_partition_or_a_new_collection_of_the_name_is_no_longer_asked(case: Case) -> None:
    case.db.collection("c").create_partition("p")
    first = case.insert("a", partition="p")
    case.db.collection("c").drop_partition("p")
    assert same(case.insert("a", partition="p"), first)
    case.db.drop_collection("c")
    case.db.create_collection("c", dimension=4)
    case.insert("b")
    assert case.insert("b").count == case.count() == 2


# --- restarts --------------------------------------------------------------------------------------------------------


def test_after_a_restart_a_request_is_still_known(case: Case) -> None:
    first = case.insert("a")
    for _ in range(2):
        case.reopen()
        assert same(case.insert("a"), first)
    assert case.count() == 2


def test_sealed_rows_do_not_make_their_request_forgotten(case: Case) -> None:
    first = case.insert("a")
    case.db.collection("c").flush()
    case.insert("")
    case.reopen()
    assert same(case.insert("a"), first)
    assert case.count() == 4


def test_a_request_is_carried_forward_with_its_rows(case: Case) -> None:
    first = case.insert("a")
    deleted = case.delete("b", [2])
    case.instance.engine.cut_log()
    case.reopen()
    case.instance.engine.cut_log()
    case.reopen()
    assert same(case.insert("a"), first)
    assert same(case.delete("b", [2]), deleted)
    assert case.count() == 1


@pytest.mark.parametrize("touched", [True, False], ids=["touched", "untouched"])
def test_a_request_whose_rows_are_sealed_is_known_after_cuts_and_restarts(case: Case, touched: bool) -> None:
    case.db.create_collection("auto", AUTO_ID)
    first, made, deleted = case.insert("a"), case.insert("b", range(3), "auto"), case.delete("c", [2])
    for name in ("c", "auto"):
        case.db.collection(name).flush()
    for number in range(3):
        case.instance.engine.cut_log()
        case.reopen()
        if touched:
            case.insert("", [10 + number])
            case.db.collection("c").flush()
    assert all(not raw.is_write for tail in case.instance.engine._tails.values() for raw in tail)
    assert same(case.insert("a"), first)
    assert same(case.insert("b", range(3), "auto"), made)
    assert same(case.delete("c", [2]), deleted)
    assert case.count("auto") == 3
    assert case.count() == (4 if touched else 1)


@pytest.mark.parametrize("touched", [True, False], ids=["touched", "untouched"])
def test_a_cut_lets_go_of_requests_that_are_too_old_to_be_known(case: Case, touched: bool) -> None:
    case.insert("a")
    case.db.collection("c").flush()
    case.instance.engine.cut_log()
    assert carried(case)
    if not touched:
        case.reopen()
    case.clock.advance(case.instance.engine.config.retry_s + 1)
    case.instance.engine.cut_log()
    assert not carried(case)


def test_a_power_failure_after_the_carry_and_before_the_log_goes_leaves_each_request_once(case: Case) -> None:
    first = case.insert("a")
    case.db.collection("c").flush()
    later = case.insert("b", [3])
    case.disk.fail("unlink", "log/*", errno.EIO)
    with pytest.raises(StoreError, match="EIO"):
        case.instance.engine.cut_log()
    case.reopen()
    assert same(case.insert("a"), first)
    assert same(case.insert("b", [3]), later)
    assert case.count() == 3


# --- what is under way, and what fails -------------------------------------------------------------------------------


def at_once(*calls: Callable[[], WriteResult]) -> list[WriteResult | StoreError]:
    outcomes: list[Any] = [None] * len(calls)

    def one(number: int) -> None:
        try:
            outcomes[number] = calls[number]()
        except StoreError as error:
            outcomes[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return outcomes


def test_a_request_sent_again_while_the_first_is_under_way_waits_for_its_answer(case: Case) -> None:
    case.disk.gate.clear()
    answers: list[WriteResult] = []
    threads = [threading.Thread(target=lambda: answers.append(case.insert("a"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert case.disk.waiting.acquire(timeout=60)
    assert not answers
    case.disk.gate.set()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 3
    assert all(same(answer, answers[0]) for answer in answers)
    assert case.count() == 2


def test_of_many_at_once_each_request_is_done_once(case: Case) -> None:
    names = [str(number) for number in range(6)]
    calls = [lambda name=name: case.insert(name, [int(name)]) for name in names for _ in range(4)]
    answers = at_once(*calls)
    assert len({answer.timestamp for answer in answers if isinstance(answer, WriteResult)}) == len(names)
    assert case.count() == len(names)


def test_a_write_that_found_the_disk_full_is_tried_again(case: Case) -> None:
    case.disk.fail("write", "log/*", errno.ENOSPC, times=1)
    with pytest.raises(StoreError, match="ENOSPC"):
        case.insert("a")
    written = case.insert("a")
    assert same(case.insert("a"), written)
    case.reopen()
    assert same(case.insert("a"), written)
    assert case.count() == 2


def test_of_requests_at_once_whose_first_write_fails_one_is_done(case: Case) -> None:
    case.disk.fail("write", "log/*", errno.ENOSPC, times=1)
    answers = at_once(*[lambda: case.insert("a")] * 5)
    done = [answer for answer in answers if isinstance(answer, WriteResult)]
    assert done
    assert all(same(answer, done[0]) for answer in done)
    assert same(case.insert("a"), done[0])
    assert case.count() == 2


def test_a_write_that_was_refused_is_refused_again(case: Case) -> None:
    for _ in range(2):
        with pytest.raises(InvalidParameter, match="duplicate"):
            case.upsert("a", [1, 1])
    assert case.upsert("a", [1]).count == 1


def test_a_write_in_doubt_is_done_once_whatever_became_of_it(case: Case) -> None:
    case.disk.fail("sync", "log/*", errno.EIO, times=1)
    with pytest.raises(WriterStopped):
        case.insert("a")
    with pytest.raises(WriterStopped):
        case.insert("a")
    case.reopen()
    assert case.insert("a").count == case.count() == 2


# --- how many, and for how long --------------------------------------------------------------------------------------


def test_a_request_is_known_for_ten_minutes(case: Case) -> None:
    first = case.insert("a")
    case.clock.advance(599)
    assert same(case.insert("a"), first)
    case.reopen()
    assert same(case.insert("a"), first)
    case.clock.advance(2)
    assert case.insert("a").timestamp > first.timestamp
    case.reopen()
    assert case.count() == 4


def record(name: bytes, timestamp: int) -> WriteRecord:
    return WriteRecord(1, 1, delete_keys=pa.array([1]), identity=name * 16, timestamp=timestamp)


def test_the_oldest_are_forgotten_first_and_no_more_than_allowed_are_known() -> None:
    clock = FakeClock()
    recent = RecentWrites(limit=3, keep_s=60, clock=clock)
    for name in (b"1", b"2", b"1", b"3", b"4"):
        clock.advance(0.001)
        recent.learn(record(name, compose(clock.now_ms())), AUTO_ID)
    known = {name: recent.claim(name * 16, settle=lambda: None) for name in (b"1", b"2", b"3", b"4")}
    assert [name for name, outcome in known.items() if outcome] == [b"1", b"3", b"4"]
    for number in range(100):
        recent.claim(bytes([number]) * 16, settle=lambda: None)
    assert len(recent._under_way) == 3
    clock.advance(61)
    recent.claim(b"1" * 16, settle=lambda: None)
    assert not recent._outcomes


def test_what_is_claimed_is_settled_before_it_is_claimed_again() -> None:
    recent = RecentWrites(limit=3, keep_s=60, clock=(clock := FakeClock()))
    settled = []

    def settle() -> None:
        settled.append(1)
        if len(settled) == 2:
            recent.learn(record(b"1", compose(clock.now_ms())), AUTO_ID)

    assert recent.claim(b"1" * 16, settle) is None
    assert recent.claim(b"1" * 16, settle) is None
    outcome = recent.claim(b"1" * 16, settle)
    assert outcome is not None
    assert outcome.count == 1
    assert len(settled) == 2


# --- identities ------------------------------------------------------------------------------------------------------

COLUMNS: dict[DataType, st.SearchStrategy[Any]] = {
    DataType.BOOL: st.booleans(),
    DataType.INT8: st.integers(-128, 127),
    DataType.INT16: st.integers(-(2**15), 2**15 - 1),
    DataType.INT32: st.integers(-(2**31), 2**31 - 1),
    DataType.INT64: st.integers(-(2**63), 2**63 - 1),
    DataType.FLOAT: st.floats(width=32, allow_nan=False),
    DataType.DOUBLE: st.floats(allow_nan=False),
    DataType.VARCHAR: st.text(max_size=4),
    DataType.JSON: st.binary(max_size=4),
    DataType.ARRAY: st.binary(max_size=4),
    DataType.GEOMETRY: st.binary(max_size=4),
    DataType.TEXT: st.text(max_size=4),
    DataType.TIMESTAMPTZ: st.integers(-(2**63), 2**63 - 1),
    DataType.FLOAT_VECTOR: st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=2),
    DataType.BINARY_VECTOR: st.lists(st.integers(0, 255), min_size=1, max_size=1),
    DataType.FLOAT16_VECTOR: st.lists(st.integers(0, 2**16 - 1), min_size=2, max_size=2),
    DataType.BFLOAT16_VECTOR: st.lists(st.integers(0, 2**16 - 1), min_size=2, max_size=2),
    DataType.INT8_VECTOR: st.lists(st.integers(-128, 127), min_size=2, max_size=2),
    DataType.SPARSE_FLOAT_VECTOR: st.binary(max_size=4),
}
"""What a column of each type holds."""

DIMS = {**dict.fromkeys(VECTORS - {DataType.SPARSE_FLOAT_VECTOR}, 2), DataType.BINARY_VECTOR: 8}


@pytest.mark.parametrize("dtype", DataType)
@given(data=st.data())
def test_columns_have_one_digest_if_they_hold_the_same(dtype: DataType, data: st.DataObject) -> None:
    kind = Field("f", dtype, dim=DIMS.get(dtype)).arrow_type
    values = st.lists(st.none() | COLUMNS[dtype], max_size=9)
    one, other, around = data.draw(values), data.draw(values), data.draw(values)
    column = pa.array(one, kind)
    sliced = pa.array([*around, *one, *around], kind).slice(len(around), len(one))
    assert digest_of([column]) == digest_of([sliced])
    assert (digest_of([column]) == digest_of([pa.array(other, kind)])) == (repr(one) == repr(other))


def test_what_lies_beneath_nulls_does_not_count() -> None:
    mask = pa.array([False, True, False])
    one = with_nulls(pa.array([1, 2, 3]), mask)
    other = with_nulls(pa.array([1, 99, 3]), mask)
    assert one.equals(other)
    assert digest_of([one]) == digest_of([other])
    assert digest_of([one]) != digest_of([pa.array([1, 3])])


def with_nulls(values: pa.Array, mask: pa.Array) -> pa.Array:
    """`values` with nulls where `mask` is, and what was there still beneath them."""
    bits = pa.array([not m.as_py() for m in mask]).buffers()[1]
    return pa.Array.from_buffers(values.type, len(values), [bits, values.buffers()[1]])


def test_parts_of_a_request_do_not_run_into_each_other() -> None:
    def of(*parts: bytes, name: str = "a", kind: WriteKind = WriteKind.INSERT, collection: int = 1) -> bytes:
        return identity_of(collection, kind, name, *parts)

    all_different = [
        of(b"ab", b"c"), of(b"a", b"bc"), of(b"abc"), of(b"ab", b"c", name="b"), of(name="ab"), of(collection=2),
        of(b"ab", b"c", kind=WriteKind.UPSERT), of(b"ab", b"c", collection=2), of(), of(b""),
    ]  # fmt: skip
    assert len(set(all_different)) == len(all_different)
    assert {len(identity) for identity in all_different} == {16}


# --- through the client ----------------------------------------------------------------------------------------------


def rows_of(keys: Any) -> list[dict[str, Any]]:
    return [{"id": key, "vector": vector(key)} for key in keys]


def count_of(client: MilvusClient, collection: str) -> int:
    return int(client.query(collection, output_fields=["count(*)"])[0]["count(*)"])


def test_a_client_sends_again_what_it_has_sent_and_the_answers_are_alike(quick_path: Path) -> None:
    def answers(client: MilvusClient) -> list[Any]:
        return [
            client.insert("c", rows_of(range(4)), client_request_id="insert"),
            client.insert("auto", [{"vector": vector(1)}], client_request_id="insert"),
            client.upsert("c", rows_of([3, 4]), client_request_id="upsert"),
            client.delete("c", ids=[0, 77], client_request_id="delete keys"),
            client.delete("c", filter="id > 0 and id < 3", client_request_id="delete"),
        ]

    client = elanus.connect(quick_path)
    client.create_collection("c", dimension=4)
    client.create_collection("auto", dimension=4, auto_id=True)
    first = answers(client)
    assert [answer.get("delete_count") for answer in first] == [None, None, None, 2, 2]
    client.insert("c", rows_of([0, 1]))
    assert answers(client) == first
    client.close()
    client = elanus.connect(quick_path)
    assert answers(client) == first
    assert (count_of(client, "c"), count_of(client, "auto")) == (4, 1)
    client.close()


class Unavailable(grpc.RpcError):  # type: ignore[misc]
    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return "the connection was lost"


def test_the_sdk_repeats_a_write_whose_answer_was_lost_with_its_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server goes away between the write and its answer, and comes back; the SDK does the rest by itself."""
    address = f"unix:{tmp_path}/socket"
    instance = Instance.open(tmp_path / "db", QUIET, builders=InlineBuilders())
    server = Server.start(instance, address)
    client = MilvusClient(uri=address, dedicated=True)
    client.create_collection("c", dimension=4, auto_id=True)
    insert = type(client._handler._stub.Insert).__call__
    answered: list[Any] = []

    def lose_the_first(call: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal instance, server
        answer = insert(call, *arguments, **options)
        if not str(call._method).rstrip("'").endswith("/Insert"):
            return answer
        answered.append(answer)
        if len(answered) > 1:
            return answer
        server.stop(0)
        instance.close()
        instance = Instance.open(tmp_path / "db", QUIET, builders=InlineBuilders())
        server = Server.start(instance, address)
        raise Unavailable

    monkeypatch.setattr(type(client._handler._stub.Insert), "__call__", lose_the_first)
    result = client.insert("c", [{"vector": vector(1)}, {"vector": vector(2)}], client_request_id="a")
    assert len(answered) == 2
    assert list(result["ids"]) == list(answered[0].IDs.int_id.data)
    assert count_of(client, "c") == 2
    client.close()
    server.stop(0)
    instance.close()
