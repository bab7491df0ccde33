"""Time zones as arrays: when each of a zone's offsets from UTC begins, searched by numpy for whole columns at once.

They come from the zone's file (TZif, RFC 9636), which lies where `zoneinfo` finds it. Behind the last time of a file
its rule (POSIX's TZ) holds: it is spelled out until the year 10,000.
"""

from __future__ import annotations

import importlib.resources
import os
import re
import struct
import zoneinfo
from dataclasses import dataclass
from datetime import UTC as UTC_ZONE
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from elanus.model.errors import InvalidParameter

DEFAULT_TIMEZONE = "UTC"

Seconds = npt.NDArray[np.int64]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC_ZONE)
_DAY = 86_400
_BEFORE_ALL = -(1 << 62)
_FIRST = -62_135_596_800 + 2 * _DAY
"""The first second whose local time `datetime` can hold in every zone."""
_RULE = re.compile(
    r"(?:<[^>]+>|[A-Za-z]+)(?P<standard>[-+0-9:]+)(?:<[^>]+>|[A-Za-z]+)(?P<daylight>[-+0-9:]*)"
    r",(?P<begins>[^,]+),(?P<ends>[^,]+)\Z"
)
_HEADER = struct.Struct(">4sc15x6L")


@dataclass(frozen=True, eq=False, slots=True)
class Zone:
    """From `starts[i]` (seconds since 1970, UTC) on, local time is `offsets[i]` seconds ahead of UTC."""

    name: str
    starts: Seconds
    offsets: Seconds

    def offset_at(self, seconds: Seconds) -> Seconds:
        """How far local time is ahead at these moments."""
        return self.offsets[np.searchsorted(self.starts, seconds, "right") - 1]

    def moment_of(self, local: Seconds) -> Seconds:
        """The moments at which clocks show `local`, given as if they were of UTC.

        Of what clocks show twice, or never, the moment is one that Go's `time.Date` takes, as Milvus does: that by the
        offset at `local` itself, unless another holds by then; then by that one.
        """
        first = np.searchsorted(self.starts, local, "right") - 1
        by_first = local - self.offsets[first]
        then = np.searchsorted(self.starts, by_first, "right") - 1
        return np.where(then == first, by_first, local - self.offsets[then])


UTC = Zone(DEFAULT_TIMEZONE, np.array([_BEFORE_ALL]), np.zeros(1, np.int64))


@lru_cache(maxsize=128)
def zone_named(name: str) -> Zone:
    """The zone with this IANA name. Raises `InvalidParameter` where there is none."""
    if name == DEFAULT_TIMEZONE:
        return UTC
    try:
        zone = zoneinfo.ZoneInfo(name)
        data = _file_of(name)
        times = _times_in(data)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError, struct.error):
        raise InvalidParameter(f"unknown or invalid IANA Time Zone ID: {name}") from None
    # Before its first time a zone has the offset that it had just before it.
    first = _offset(zone, max(int(times[0]) - 1, _FIRST) if len(times) else 0)
    offsets = _offsets(zone, np.maximum(times, _FIRST))
    rule_times, rule_offsets = _rule(_footer_of(data), int(times[-1]) if len(times) else 0)
    starts = np.concatenate(([_BEFORE_ALL], times, rule_times))
    offsets = np.concatenate(([first], offsets, rule_offsets))
    changes = np.concatenate(([True], np.diff(offsets) != 0))
    return Zone(name, starts[changes], offsets[changes])


def check_timezone(name: str) -> None:
    """Raise `InvalidParameter` unless there is a zone with this name."""
    if not isinstance(name, str):
        raise InvalidParameter(f"properties are text by name; got {name!r} for a time zone. Send its name.")
    zone_named(name)


def _offset(zone: zoneinfo.ZoneInfo, seconds: int) -> int:
    ahead = (_EPOCH + timedelta(seconds=seconds)).astimezone(zone).utcoffset()
    assert ahead is not None
    return int(ahead.total_seconds())


def _offsets(zone: zoneinfo.ZoneInfo, seconds: Seconds) -> Seconds:
    return np.array([_offset(zone, at) for at in seconds.tolist()], np.int64)


def _file_of(name: str) -> bytes:
    for folder in zoneinfo.TZPATH:
        path = Path(folder, *name.split("/"))
        if os.path.isfile(path):
            return path.read_bytes()
    return importlib.resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()


def _times_in(data: bytes) -> Seconds:
    """The times at which the offset of a TZif file changes, seconds since 1970."""
    magic, version, *counts = _HEADER.unpack_from(data)
    if magic != b"TZif":
        raise ValueError("no TZif file")
    begin, width = _HEADER.size, 4
    if version >= b"2":
        utc_flags, standard_flags, leaps, times, types, letters = counts
        begin += 5 * times + 6 * types + letters + 8 * leaps + standard_flags + utc_flags + _HEADER.size
        _, _, *counts = _HEADER.unpack_from(data, begin - _HEADER.size)
        width = 8
    return np.frombuffer(data, f">i{width}", counts[3], begin).astype(np.int64)


def _footer_of(data: bytes) -> str:
    """The last line of a TZif file."""
    return data.rstrip(b"\n").rpartition(b"\n")[2].decode("latin-1")


def _rule(footer: str, last: int) -> tuple[Seconds, Seconds]:
    """When the offset changes behind `last` until the year 10,000, and to what, by a rule such as
    `CET-1CEST,M3.5.0,M10.5.0/3`: daylight saving time begins and ends on such days, at such local times.
    """
    match = _RULE.match(footer)
    if match is None:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    standard = -_seconds(match["standard"])
    daylight = -_seconds(match["daylight"]) if match["daylight"] else standard + 3600
    years = np.arange(np.datetime64(last, "s").astype("M8[Y]").astype(np.int64), 10_000 - 1970)
    begins = _on_days(match["begins"], years) - standard
    ends = _on_days(match["ends"], years) - daylight
    times = np.concatenate((begins, ends))
    offsets = np.repeat([daylight, standard], len(years))
    order = np.argsort(times, kind="stable")
    order = order[times[order] > last]
    return times[order], offsets[order]


def _on_days(text: str, years: Seconds) -> Seconds:
    """The local times in each of `years` (since 1970) that a part of a rule names, in seconds."""
    day, _, time = text.partition("/")
    seconds = _seconds(time) if time else 2 * 3600
    if day[0] != "M":  # the day of the year: from 1 without February 29 (J), or from 0 with it
        days = years.astype("M8[Y]").astype("M8[D]").astype(np.int64) + int(day.lstrip("J"))
        if day[0] == "J":
            leap = (years.astype("M8[Y]") + 1).astype("M8[D]") - years.astype("M8[Y]").astype("M8[D]") == 366
            days += np.where(leap & (int(day[1:]) >= 60), 0, -1)
        return days * _DAY + seconds
    month, week, weekday = map(int, day[1:].split("."))
    months = (12 * years + month - 1).astype("M8[M]")
    firsts = months.astype("M8[D]").astype(np.int64)
    days = firsts + (weekday - firsts - 4) % 7 + 7 * (week - 1)  # 1970 began on a Thursday, day 4
    days -= np.where(days >= (months + 1).astype("M8[D]").astype(np.int64), 7, 0)
    return days * _DAY + seconds


def _seconds(text: str) -> int:
    parts = [int(part) for part in text.lstrip("+-").split(":")]
    seconds = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    return -seconds if text[0] == "-" else seconds
