"""Records of the log give back what was put into them, from the bytes where they lie."""

from dataclasses import fields, replace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elanus.log.carry import CarryRecord, carry_of
from elanus.log.outcomes import Outcome, outcomes_of, outcomes_record
from elanus.log.record import FenceRecord, RawRecord, WriteRecord, body_holds, fence_of, header_at
from elanus.model.canonical import Batch
from elanus.model.errors import CorruptData
from tests.batch_case import held_by, part_of

SCHEMA = pa.schema(
    [
        ("100", pa.int64()),
        ("101", pa.large_string()),
        ("102", pa.list_(pa.field("item", pa.float32()), 4)),
        ("2", pa.int64()),
    ]
)


def rows(keys):
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([float(k) for k in keys for _ in range(4)], pa.float32()), 4)
    columns = [pa.array(keys, pa.int64()), pa.array([f"text {k}" for k in keys], pa.large_string()), vectors]
    return Batch.of(pa.record_batch([*columns, pa.array([1] * len(keys), pa.int64())], schema=SCHEMA))


def through_bytes(record, timestamp=5):
    return record.encode().raw(timestamp)


int_keys = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5).map(lambda keys: pa.array(keys, pa.int64()))
text_keys = st.lists(st.text(max_size=9), max_size=5).map(lambda keys: pa.array(keys, pa.large_string()))


@given(
    collection_id=st.integers(0, 2**62),
    schema_version=st.integers(1, 2**31),
    keys=st.lists(st.integers(-100, 100), max_size=6),
    deletes=st.one_of(st.none(), int_keys, text_keys),
    partitions=st.lists(st.integers(1, 2**62), max_size=4).map(tuple),
    timestamp=st.integers(1, 2**63 - 1),
    identity=st.sampled_from([b"", bytes(range(16))]),
)
def test_a_write_comes_back_as_it_was(collection_id, schema_version, keys, deletes, partitions, timestamp, identity):
    written = rows(keys) if keys else None
    record = WriteRecord(collection_id, schema_version, written, deletes, partitions, identity=identity)
    raw = through_bytes(record, timestamp)
    assert raw.byte_size == record.encode().byte_size == len(raw.data)
    assert raw.byte_size % 8 == 0
    assert (raw.collection_id, raw.schema_version, raw.timestamp) == (collection_id, schema_version, timestamp)
    assert (raw.row_count, raw.delete_count) == (len(keys), 0 if deletes is None else len(deletes))
    back = raw.decode(SCHEMA)
    assert back.timestamp == timestamp
    assert back.identity == identity
    assert raw.has_identity == bool(identity)
    assert back.delete_partitions == partitions
    assert back.rows is None if not keys else held_by(back.rows) == held_by(record.rows)
    assert back.delete_keys is None if not deletes else back.delete_keys.equals(deletes)


def test_a_record_without_an_identity_has_the_bytes_that_it_had_before_there_were_any():
    write = WriteRecord(7, 3, rows([1]), pa.array([5]), (9,))
    plain, named = through_bytes(write).data, through_bytes(replace(write, identity=b"sixteen bytes...")).data
    assert (plain[58:60].tolist(), named[58:60].tolist()) == ([0, 0], [2, 0])
    assert plain[16:58] == named[16:58]
    assert named[64:80] == b"sixteen bytes..."
    assert plain[64:] == named[80:]


def test_a_slice_of_a_large_batch_takes_its_own_bytes_only():
    raw = through_bytes(WriteRecord(1, 1, part_of(rows(list(range(10_000))), 5000, 2)))
    assert raw.byte_size < 1000
    assert raw.decode(SCHEMA).rows.arrow(100).to_pylist() == [5000, 5001]


def test_rows_are_decoded_where_they_lie():
    raw = through_bytes(WriteRecord(1, 1, rows(list(range(100)))))
    start = pa.py_buffer(raw.data).address
    batch = raw.decode(SCHEMA).rows
    for field_id in batch.columns:
        for buffer in batch.arrow(field_id).buffers():
            assert buffer is None or start <= buffer.address < start + len(raw.data)


def test_every_record_header_and_body_is_checked():
    data = through_bytes(WriteRecord(1, 1, rows([1, 2]), pa.array([3]), (1,), identity=bytes(16))).data
    header = header_at(data, 0)
    assert header is not None
    assert body_holds(header, data, 0)
    for at in range(len(data)):
        bad = bytearray(data)
        bad[at] ^= 0x10
        found = header_at(memoryview(bad), 0)
        assert found is None or not body_holds(found, memoryview(bad), 0), f"byte {at} was changed unnoticed"


def test_a_record_decoded_with_the_wrong_schema_is_told():
    raw = through_bytes(WriteRecord(7, 3, rows([1, 2])))
    with pytest.raises(CorruptData, match=r"collection 7.* schema version 3, cannot be decoded"):
        raw.decode(pa.schema([*SCHEMA, ("103", pa.int64())]))


def test_a_fence_holds_its_epoch():
    assert fence_of(through_bytes(FenceRecord(9))) == FenceRecord(9, 5)


def test_carried_records_are_the_bytes_that_were_written():
    names = {n: bytes([n] * 16) if n % 3 else b"" for n in range(1, 6)}
    writes = {
        n: through_bytes(WriteRecord(n % 2, 1, rows([n, n + 1]), identity=name), timestamp=n)
        for n, name in names.items()
    }
    carry = CarryRecord({1: [writes[1], writes[3], writes[5]], 0: [writes[2], writes[4]], 9: []})
    back = carry_of(through_bytes(carry, 77))
    assert back.timestamp == 77
    assert list(back.sections) == [1, 0, 9]
    assert [raw.timestamp for raw in back.sections[1]] == [1, 3, 5]
    assert back.sections[9] == ()
    for collection_id, raws in back.sections.items():
        for raw in raws:
            assert bytes(raw.data) == bytes(writes[raw.timestamp].data)
            assert raw.collection_id == collection_id
            assert raw.decode(SCHEMA).rows.arrow(100).to_pylist() == [raw.timestamp, raw.timestamp + 1]
            assert raw.decode(SCHEMA).identity == names[raw.timestamp]


def test_what_was_carried_can_be_carried_again():
    write = through_bytes(WriteRecord(1, 1, rows([1])), timestamp=3)
    once = carry_of(through_bytes(CarryRecord({1: [write]})))
    twice = carry_of(through_bytes(CarryRecord({1: [*once.sections[1], write]})))
    assert [bytes(raw.data) for raw in twice.sections[1]] == [bytes(write.data)] * 2


OUTCOMES = [
    (bytes(range(16)), Outcome(1, 2, None)),
    (b"sixteen bytes...", Outcome(2**63, 2**40, 0)),
    (bytes(16), Outcome(2**63 + 1, 0, -(2**63))),
]


def test_outcomes_come_back_as_they_were_also_from_a_carry():
    raw = outcomes_record(9, OUTCOMES)
    assert (raw.is_write, raw.collection_id, raw.timestamp, raw.row_count) == (False, 9, 2**63 + 1, 0)
    carried = carry_of(through_bytes(CarryRecord({9: [through_bytes(WriteRecord(9, 1, rows([1]))), raw]})))
    assert [record.is_write for record in carried.sections[9]] == [True, False]
    for record in (raw, carried.sections[9][1]):
        assert list(outcomes_of(record)) == OUTCOMES


def test_the_bytes_of_outcomes_are_format():
    assert bytes(outcomes_record(9, OUTCOMES[:2]).body).hex() == (
        "000102030405060708090a0b0c0d0e0f0100000000000000020000000000000000000000000000000000000000000000"
        "7369787465656e2062797465732e2e2e0000000000000080000000000001000000000000000000000100000000000000"
    )  # fmt: skip


def test_a_raw_record_is_a_view():
    data = memoryview(bytes(8) + bytes(through_bytes(WriteRecord(1, 1, rows([1]))).data))
    raw = RawRecord.parse(data, 8)
    assert raw.data.obj is data.obj


@pytest.mark.parametrize(
    "record",
    [
        WriteRecord(1, 2, rows([3]), pa.array([4]), (5, 6), 7, b"8"),
        CarryRecord({1: []}, 2),
        FenceRecord(1, 2),
    ],
)
def test_a_record_keeps_all_that_it_holds_when_its_time_comes(record):
    assert all(getattr(record, field.name) for field in fields(record)), "a field with its default says nothing"
    assert record.at(99) == replace(record, timestamp=99)
