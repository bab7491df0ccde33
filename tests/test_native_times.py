"""Timestamptz: what goes in and out in process, and filters, in every state that rows can be in, beside `datetime`."""

from __future__ import annotations

import operator
import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elanus import DataType, Field, Schema, to_rows
from elanus.model.errors import InvalidParameter, SchemaMismatch
from elanus.model.instants import duration, moment, parts_of, read, written
from elanus.model.timezones import zone_named
from tests.native_case import STATES, bring_to, open_folder, vector

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = ("UTC", "Asia/Shanghai", "America/New_York", "Europe/Dublin", "Africa/Casablanca", "Australia/Lord_Howe")

EVENTS = Schema(
    (
        Field("id", DataType.INT64, is_primary=True),
        Field("vector", DataType.FLOAT_VECTOR, dim=4),
        Field("at", DataType.TIMESTAMPTZ),
        Field("until", DataType.TIMESTAMPTZ, nullable=True),
    )
)

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}

any_moment = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 30)).map(lambda d: d.replace(tzinfo=UTC))


def micros_of(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def text_of(at: datetime, zone: str) -> str:
    """As Milvus writes a time: no zeros at the end of a fraction, offsets in whole minutes."""
    local = at.astimezone(zoneinfo.ZoneInfo(zone))
    offset = int(local.utcoffset().total_seconds())  # type: ignore[union-attr]
    fraction = f".{local.microsecond:06}".rstrip("0").rstrip(".")
    sign, minutes = "-" if offset < 0 else "+", abs(offset) // 60
    shown = "Z" if offset == 0 else f"{sign}{minutes // 60:02}:{minutes % 60:02}"
    return local.replace(tzinfo=None, microsecond=0).isoformat() + fraction + shown


@given(at=any_moment, zone=st.sampled_from(ZONES))
def test_moments_are_written_and_taken_apart_as_datetime_does(at: datetime, zone: str) -> None:
    micros = np.array([micros_of(at)])
    assert written(micros, zone_named(zone)).to_pylist() == [text_of(at, zone)]
    local = at.astimezone(zoneinfo.ZoneInfo(zone))
    parts = parts_of(micros, zone_named(zone), ("microsecond", "year", "month", "day", "hour", "minute", "second"))
    assert parts.tolist() == [
        [local.microsecond, local.year, local.month, local.day, local.hour, local.minute, local.second]
    ]


@given(at=any_moment, zone=st.sampled_from(ZONES), offset=st.integers(-12 * 60, 14 * 60))
def test_texts_are_read_as_datetime_reads_them(at: datetime, zone: str, offset: int) -> None:
    sign, minutes = "-" if offset < 0 else "+", abs(offset)
    with_offset = at.replace(tzinfo=None).isoformat() + f"{sign}{minutes // 60:02}:{minutes % 60:02}"
    assert moment(with_offset, zone_named(zone)) == micros_of(at) - offset * 60_000_000
    local = at.replace(tzinfo=zoneinfo.ZoneInfo(zone))
    there_and_back = local.astimezone(UTC).astimezone(zoneinfo.ZoneInfo(zone)).replace(tzinfo=None)
    found = moment(str(at.replace(tzinfo=None)), zone_named(zone))
    if there_and_back == at.replace(tzinfo=None) and local.utcoffset() == local.replace(fold=1).utcoffset():
        assert found == micros_of(local.astimezone(UTC))
    else:  # clocks show it twice, or never
        assert found in {micros_of(local.replace(fold=fold).astimezone(UTC)) for fold in (0, 1)}


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("2025-01-31T10:00:00Z", "2025-01-31T10:00:00Z"),
        ("2025-01-31 10:00:00Z", "2025-01-31T10:00:00Z"),
        ("2025-01-31 10:00:00+08", "2025-01-31T02:00:00Z"),
        ("2025-01-31   9:00:00-05:30", "2025-01-31T14:30:00Z"),
        ("2025-01-31T10:00:00.123456789Z", "2025-01-31T10:00:00.123456Z"),
        ("2025-01-31T10:00:00,5", "2025-01-31T10:00:00.5Z"),
        ("2024-02-29T23:59:59.999999", "2024-02-29T23:59:59.999999Z"),
        ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_every_form_that_milvus_takes_is_read(text: str, means: str) -> None:
    assert written(np.array([moment(text, zone_named("UTC"))]), zone_named("UTC")).to_pylist() == [means]


@pytest.mark.parametrize(
    "text",
    ["", "now", "2025-01-31", "2025-02-29T00:00:00Z", "2025-13-01T00:00:00Z", "2025-01-31T24:00:00Z",
     "2025-1-31T00:00:00Z", "2025-01-31T10:00:60Z", "2025-01-31T10:00:00+08", "2025-01-31T10:00:00.Z",
     "2025-01-31T10:00:00Z ", "2025-01-31t10:00:00Z", "20250131T100000Z", "2025-01-31T10:00:00+0800",
     "2025-01-31T10:00Z", "12025-01-31T10:00:00Z", "2025-01-31T10:00:00é"],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid timestamp string: "):
        moment(text, zone_named("UTC"))


def test_offsets_are_bounded_as_in_milvus() -> None:
    with pytest.raises(InvalidParameter, match=r"UTC offset hour 15 is out of the valid range \[-12, 14\]"):
        moment("2025-01-31T10:00:00+15:00", zone_named("UTC"))
    with pytest.raises(InvalidParameter, match=r"UTC offset hour -13 is out of the valid range \[-12, 14\]"):
        moment("2025-01-31 10:00:00-13", zone_named("UTC"))
    assert moment("2025-01-31T10:00:00+14:00", zone_named("UTC")) == 1738267200000000


@given(
    at=any_moment,
    months=st.integers(-30, 30),
    days=st.integers(-400, 400),
    seconds=st.integers(-100_000, 100_000),
)
def test_intervals_move_as_the_calendar_of_c_does(at: datetime, months: int, days: int, seconds: int) -> None:
    sign = 1
    by = duration(f"P{abs(months)}M{abs(days)}DT{abs(seconds)}S")
    month = at.year * 12 + at.month - 1 + sign * abs(months)
    first = at.replace(year=month // 12, month=month % 12 + 1, day=1)
    want = micros_of(first) + ((at.day - 1 + abs(days)) * 86400 + abs(seconds)) * 1_000_000
    assert by.after([micros_of(at)]).tolist() == [want]


def test_months_reach_into_the_next_where_a_day_is_not_there() -> None:
    utc = zone_named("UTC")
    moved = duration("P1M").after([moment("2025-01-31T00:00:00Z", utc)])
    assert written(moved, utc).to_pylist() == ["2025-03-03T00:00:00Z"]
    back = (-duration("P1Y")).after([moment("2024-02-29T00:00:00Z", utc)])
    assert written(back, utc).to_pylist() == ["2023-03-01T00:00:00Z"]


def test_intervals_beyond_what_can_be_held_are_the_nearest_that_can() -> None:
    far = duration("P2147483647Y").after([0])
    assert far[0] > 9_000_000_000_000_000_000
    with pytest.raises(InvalidParameter, match="invalid ISO 8601 duration"):
        duration("P2147483648Y")


@pytest.mark.parametrize("text", ["", "1D", "P1.5D", "P1W", "P1H", "PT1D", "P1D2M", "p1d", "P-1D", "P1DT1H "])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid ISO 8601 duration"):
        duration(text)


def test_a_column_of_texts_is_read_at_once() -> None:
    many = pa.array(["2025-01-31T10:00:00.5+08:00", None, "2025-07-01 00:00:00"] * 1000, pa.large_string())
    micros, _ = read(many[1:], zone_named("America/New_York"))
    assert micros[1::3].tolist() == [moment("2025-07-01T04:00:00Z", zone_named("UTC"))] * 1000


# --- rows and filters ------------------------------------------------------------------------------------------------

MOMENTS = [
    datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
    EPOCH,
    datetime(2024, 2, 29, 12, tzinfo=UTC),
    datetime(2025, 1, 31, 10, 0, 0, 500000, UTC),
    datetime(2025, 3, 9, 6, 59, 59, tzinfo=UTC),
    datetime(2025, 3, 9, 7, tzinfo=UTC),
    datetime(2025, 11, 2, 5, 30, tzinfo=UTC),
    datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC),
]


def events(count: int = 40) -> list[dict[str, Any]]:
    """Every moment, with another or none beside it."""
    return [
        {
            "id": i,
            "vector": vector(i),
            "at": MOMENTS[i % len(MOMENTS)].isoformat(),
            "until": None if i % 5 == 0 else MOMENTS[(3 * i + 1) % len(MOMENTS)].isoformat(),
        }
        for i in range(count)
    ]


def _moved(at: datetime, interval: tuple[str, int, int, int] | None) -> datetime:
    if interval is None:
        return at
    sign = 1 if interval[0] == "+" else -1
    month = at.year * 12 + at.month - 1 + sign * interval[1]
    first = at.replace(year=month // 12, month=month % 12 + 1, day=1)
    return first + timedelta(days=at.day - 1) + sign * timedelta(days=interval[2], hours=interval[3])


@pytest.mark.parametrize("state", [*STATES, "merged"])
def test_filters_agree_with_datetime_in_every_state(tmp_path: Path, state: str) -> None:
    db = open_folder(tmp_path)
    collection = db.create_collection("events", EVENTS, properties={"timezone": "America/New_York"})
    rows = events()
    collection.insert(rows[:25])
    if state == "merged":
        collection.flush()
    collection.insert(rows[25:])
    collection.upsert([{**rows[3], "at": "2030-01-01T00:00:00"}])  # of New York
    collection.delete([4, 11])
    rows[3]["at"] = "2030-01-01T05:00:00+00:00"
    rows = [row for row in rows if row["id"] not in (4, 11)]
    db, collection = bring_to("indexed" if state == "merged" else state, db, collection, tmp_path)
    zone = zoneinfo.ZoneInfo("America/New_York")
    checked = 0
    for field in ("at", "until"):
        for op, compare in _COMPARISONS.items():
            for interval in (None, ("+", 0, 1, 2), ("-", 13, 0, 0), ("+", 1, 30, 0)):
                for value in MOMENTS[1:6:2]:
                    naive = value.astimezone(zone).replace(tzinfo=None).isoformat()
                    moved = field
                    if interval is not None:
                        sign, months, days, hours = interval
                        moved = f"{field} {sign} INTERVAL 'P{months}M{days}DT{hours}H'"
                    want = [
                        row["id"]
                        for row in rows
                        if row[field] and compare(_moved(datetime.fromisoformat(row[field]), interval), value)
                    ]
                    found = collection.query(f"{moved} {op} ISO '{naive}'", output_fields=["id"])
                    assert found["id"].to_pylist() == want, (moved, op, naive)
                    mirrored = f"iso '{value.isoformat()}' {_FLIPPED[op]} {moved.replace('INTERVAL', 'interval')}"
                    assert collection.query(mirrored, output_fields=["id"])["id"].to_pylist() == want, mirrored
                    checked += 1
    assert checked == 144
    both = [row for row in rows if row["until"]]
    assert collection.query("at < until", output_fields=["id"])["id"].to_pylist() == [
        row["id"] for row in both if datetime.fromisoformat(row["at"]) < datetime.fromisoformat(row["until"])
    ]
    assert collection.count("not (until > ISO '1900-01-01T00:00:00Z')") == 0
    assert collection.count("until is null") == len(rows) - len(both)
    low, high = MOMENTS[2].isoformat(), MOMENTS[5].isoformat()
    want = [row["id"] for row in rows if MOMENTS[2] <= datetime.fromisoformat(row["at"]) < MOMENTS[5]]
    assert collection.query(f"ISO '{low}' <= at < ISO '{high}'", output_fields=["id"])["id"].to_pylist() == want
    listed = f"at in [ISO '{low}', {micros_of(MOMENTS[5])}]"
    want = [row["id"] for row in rows if datetime.fromisoformat(row["at"]) in (MOMENTS[2], MOMENTS[5])]
    assert collection.query(listed, output_fields=["id"])["id"].to_pylist() == want
    got = {row["id"]: row for row in collection.get([row["id"] for row in rows])}
    for row in rows:
        for field in ("at", "until"):
            shown = row[field] and text_of(datetime.fromisoformat(row[field]), "America/New_York")
            assert got[row["id"]][field] == shown
    db.close()


@pytest.mark.parametrize(
    ("filter", "reason"),
    [
        ("id > ISO '2025-01-01T00:00:00Z'", "field 'id' is not a timestamptz datatype"),
        ("id + INTERVAL 'P1D' > 5", "field 'id' is not a timestamptz datatype"),
        ("at > ISO 'yesterday'", "invalid timestamp string: 'yesterday'"),
        ("at > ISO '2025-01-01T00:00:00+15:00'", "UTC offset hour 15 is out of the valid range"),
        ("at + INTERVAL '1 day' > ISO '2025-01-01T00:00:00Z'", "invalid ISO 8601 duration: 1 day"),
        ("at * INTERVAL 'P1D' > ISO '2025-01-01T00:00:00Z'", "added and subtracted only"),
        ("at > INTERVAL 'P1D'", "an INTERVAL stands behind"),
        ("at > '2025-01-01T00:00:00Z'", "comparisons between Timestamptz and VarChar are not supported"),
        ("at > 1.5", "comparisons between Timestamptz and Double are not supported"),
        ("at + 1 > 5", "'add' can only be used"),
        ("at in ['2025-01-01T00:00:00Z']", "cannot be casted to Timestamptz"),
        ("at > ISO 5", "mismatched input"),
        ("at like 'a'", "like operation"),
    ],
)
def test_filters_that_mean_nothing_are_refused(tmp_path: Path, filter: str, reason: str) -> None:  # noqa: A002
    with open_folder(tmp_path) as db, pytest.raises(InvalidParameter) as refused:
        db.create_collection("events", EVENTS).query(filter)
    assert reason in str(refused.value)


def test_everything_that_is_a_time_is_taken(tmp_path: Path) -> None:
    with open_folder(tmp_path) as db:
        collection = db.create_collection("events", EVENTS, properties={"timezone": "Asia/Shanghai"})
        numbers = {"id": [1, 2], "vector": np.zeros((2, 4), np.float32)}
        aware, naive = datetime(2025, 1, 31, 2, tzinfo=UTC), datetime(2025, 1, 31, 10)
        for at in (
            ["2025-01-31T02:00:00Z", naive],
            [aware, "2025-01-31 10:00:00"],
            [naive, aware],
            np.array(["2025-01-31T10:00:00"] * 2, "M8[ns]"),
            pa.array([aware, aware], pa.timestamp("ms", "UTC")),
            pa.array([naive, naive], pa.timestamp("s")),
            pa.array(["2025-01-31T10:00:00"] * 2),
        ):
            collection.upsert({**numbers, "at": at, "until": [None, aware]})
            table = collection.query()
            assert table["at"].type == pa.timestamp("us", "Asia/Shanghai")
            assert table["at"].to_pylist() == [aware, aware]
            assert table["until"].to_pylist() == [None, aware]
            assert to_rows(table)[1]["until"] == "2025-01-31T10:00:00+08:00"
        collection.upsert(table)
        assert collection.query().equals(table)
        for at in ([5, 6], np.array([5, 6]), [b"2025-01-31T02:00:00Z"] * 2, pa.array([1.5, 2.5])):
            with pytest.raises(SchemaMismatch, match="timestamptz field data must be a string array"):
                collection.upsert({**numbers, "at": at})
        with pytest.raises(SchemaMismatch, match=r"got invalid timestamptz string 'tomorrow': .*row 1"):
            collection.upsert({**numbers, "at": ["2025-01-31T02:00:00Z", "tomorrow"]})
        with pytest.raises(SchemaMismatch, match="years 0000 to 9999"):
            collection.upsert({**numbers, "at": np.array(["12025-01-31T10:00:00"] * 2, "M8[us]")})
        assert collection.count() == 2


def test_a_default_is_read_once_and_added_fields_have_it(tmp_path: Path) -> None:
    db = open_folder(tmp_path)
    schema = Schema((*EVENTS.fields, Field("made", DataType.TIMESTAMPTZ, default="2025-01-31T10:00:00")))
    collection = db.create_collection("events", schema, properties={"timezone": "Asia/Shanghai"})
    assert collection.schema.field("made").default == moment("2025-01-31T02:00:00Z", zone_named("UTC"))
    collection.insert(events(3))
    collection.flush()
    collection.insert([{**row, "id": row["id"] + 10} for row in events(3)])
    collection.add_field(Field("seen", DataType.TIMESTAMPTZ, nullable=True))
    collection.add_field(Field("due", DataType.TIMESTAMPTZ, nullable=True, default=datetime(2026, 1, 1, tzinfo=UTC)))
    collection.upsert([{"id": 1, "seen": "2025-01-31 10:00:00Z"}], partial=True)
    for _ in ("open", "again"):
        assert collection.count("made == ISO '2025-01-31T10:00:00'") == 6
        assert collection.count("due == ISO '2026-01-01T00:00:00Z'") == 6
        assert collection.query("seen is not null", output_fields=["id"])["id"].to_pylist() == [1]
        assert collection.get([11])[0]["due"] == "2026-01-01T08:00:00+08:00"
        db.close()
        db = open_folder(tmp_path)
        collection = db.collection("events")
    with pytest.raises(InvalidParameter, match="invalid timestamp string: 'never'"):
        collection.add_field(Field("late", DataType.TIMESTAMPTZ, nullable=True, default="never"))
    with pytest.raises(InvalidParameter, match="does not fit TIMESTAMPTZ"):
        collection.add_field(Field("late", DataType.TIMESTAMPTZ, nullable=True, default=1.5))
    db.close()


def test_the_time_zone_is_the_collections_else_its_databases(tmp_path: Path) -> None:
    with open_folder(tmp_path) as db:
        other = db.create_database("other", {"timezone": "Asia/Tokyo"})
        theirs = other.create_collection("events", EVENTS)
        own = other.create_collection("own", EVENTS, properties={"timezone": "America/New_York"})
        for collection in (theirs, own):
            collection.insert([{"id": 1, "vector": vector(1), "at": "2025-01-31T10:00:00"}])
        assert theirs.get([1])[0]["at"] == "2025-01-31T10:00:00+09:00"
        assert own.get([1])[0]["at"] == "2025-01-31T10:00:00-05:00"
        assert theirs.search(vector(1), limit=1, output_fields=["at"])[0][0]["entity"] == {
            "at": "2025-01-31T10:00:00+09:00"
        }
        own.set_properties({"timezone": "UTC"})
        assert own.get([1])[0]["at"] == "2025-01-31T15:00:00Z"
        assert own.delete(filter="at == ISO '2025-01-31T15:00:00'") == 1
        for properties in ({"timezone": "Mars/Olympus"}, {"timezone": ""}, {"timezone": "../UTC"}):
            with pytest.raises(InvalidParameter, match="unknown or invalid IANA Time Zone ID: "):
                own.set_properties(properties)
            with pytest.raises(InvalidParameter, match="unknown or invalid IANA Time Zone ID: "):
                db.create_database("third", properties)
            with pytest.raises(InvalidParameter, match="unknown or invalid IANA Time Zone ID: "):
                db.alter_database("other", properties)
            with pytest.raises(InvalidParameter, match="unknown or invalid IANA Time Zone ID: "):
                db.create_collection("third", EVENTS, properties=properties)
