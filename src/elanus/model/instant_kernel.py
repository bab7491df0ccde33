"""Compiled kernels between microseconds since 1970 and what calendars say. Imported only where they are needed.

Texts are a column in Arrow's large_string layout: text i is `data[offsets[i]:offsets[i + 1]]`. The calendar is the
proleptic Gregorian one, by Hinnant's `days_from_civil` and `civil_from_days` (howardhinnant.github.io/date_algorithms).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from elanus.model.compiled import compiled

WRONG, ABSOLUTE, LOCAL, FAR_OFFSET = range(4)
"""What a text is: none of a moment, one with its offset, one without, one with an offset that is out of bounds."""

MAX_OFFSET, MIN_OFFSET = 14 * 3600, -12 * 3600

LONGEST = 34
"""Bytes of the longest text that `write` writes, of a year outside 0000 to 9999: zones make such of its ends."""


@compiled
def days_of(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 to a date."""
    if month <= 2:
        year -= 1
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


@compiled
def date_of(days: int) -> tuple[int, int, int]:
    """(year, month, day) of so many days since 1970-01-01."""
    days += 719468
    era = days // 146097
    of_era = days - era * 146097
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    day = of_year - (153 * month + 2) // 5 + 1
    month += 3 if month < 10 else -9
    return year + era * 400 + (1 if month <= 2 else 0), month, day


@compiled
def _digits(data: Any, at: int, end: int, count: int) -> int:
    """The number of `count` digits at `at`; -1 where there are not so many."""
    if at + count > end:
        return -1
    value = 0
    for place in range(at, at + count):
        digit = data[place] - 48
        if digit < 0 or digit > 9:
            return -1
        value = value * 10 + digit
    return value


@compiled
def _is(data: Any, at: int, end: int, byte: int) -> bool:
    return at < end and data[at] == byte


@compiled
def _month_days(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


@compiled
def _read_one(data: Any, at: int, end: int) -> tuple[int, int]:
    """(kind, microseconds) of the text from `at` to `end`; of a LOCAL one as if clocks showed UTC."""
    year, month, day = _digits(data, at, end, 4), _digits(data, at + 5, end, 2), _digits(data, at + 8, end, 2)
    if year < 0 or not 1 <= month <= 12 or not 1 <= day <= _month_days(year, month):
        return WRONG, 0
    if not (_is(data, at + 4, end, 45) and _is(data, at + 7, end, 45)):
        return WRONG, 0
    at += 10
    spaced = _is(data, at, end, 32)
    if not spaced and not _is(data, at, end, 84):
        return WRONG, 0
    at += 1
    while spaced and _is(data, at, end, 32):
        at += 1
    hour = _digits(data, at, end, 2)  # an hour may have a single digit
    at += 2
    if hour < 0:
        hour = _digits(data, at - 2, end, 1)
        at -= 1
    minute, second = _digits(data, at + 1, end, 2), _digits(data, at + 4, end, 2)
    if not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60):
        return WRONG, 0
    if not (_is(data, at, end, 58) and _is(data, at + 3, end, 58)):
        return WRONG, 0
    at += 6
    micros = 0
    if (_is(data, at, end, 46) or _is(data, at, end, 44)) and _digits(data, at + 1, end, 1) >= 0:
        at += 1
        unit = 100_000
        while at < end and 48 <= data[at] <= 57:
            micros += unit * (data[at] - 48)
            unit //= 10
            at += 1
    seconds = days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second
    micros += seconds * 1_000_000
    if at == end:
        return LOCAL, micros
    if _is(data, at, end, 90) and at + 1 == end:
        return ABSOLUTE, micros
    if not (_is(data, at, end, 43) or _is(data, at, end, 45)):
        return WRONG, 0
    hours, minutes = _digits(data, at + 1, end, 2), 0
    if at + 6 == end and _is(data, at + 3, end, 58):
        minutes = _digits(data, at + 4, end, 2)
    elif not (at + 3 == end and spaced):
        return WRONG, 0
    if not (0 <= hours <= 24 and 0 <= minutes <= 60):
        return WRONG, 0
    offset = hours * 3600 + minutes * 60
    if data[at] == 45:
        offset = -offset
    if offset > MAX_OFFSET or offset < MIN_OFFSET:
        return FAR_OFFSET, offset
    return ABSOLUTE, micros - offset * 1_000_000


@compiled
def read(data: Any, offsets: Any, kinds: Any, micros: Any) -> None:
    """Fill `kinds` (uint8) and `micros` (int64) with what each text says."""
    for row in range(len(kinds)):
        kind, moment = _read_one(data, offsets[row], offsets[row + 1])
        kinds[row] = kind
        micros[row] = moment


@compiled
def _write_digits(out: Any, at: int, value: int, count: int) -> int:
    for place in range(count - 1, -1, -1):
        out[at + place] = 48 + value % 10
        value //= 10
    return at + count


@compiled
def write(micros: Any, ahead: Any, out: Any, offsets: Any) -> None:
    """Write each moment as clocks `ahead` seconds of UTC show it, `2025-01-31T10:00:00.5+08:00`, into `out`.

    `out` has `LONGEST` bytes for each; `offsets` (one more than moments) become those of the texts.
    """
    at = 0
    offsets[0] = 0
    for row in range(len(micros)):
        seconds = micros[row] // 1_000_000
        fraction = micros[row] - seconds * 1_000_000
        seconds += ahead[row]
        days = seconds // 86400
        rest = seconds - days * 86400
        year, month, day = date_of(days)
        if year < 0:
            out[at] = 45
            at += 1
            year = -year
        at = _write_digits(out, at, year, 4 if year <= 9999 else 5)
        out[at] = 45
        at = _write_digits(out, at + 1, month, 2)
        out[at] = 45
        at = _write_digits(out, at + 1, day, 2)
        out[at] = 84
        at = _write_digits(out, at + 1, rest // 3600, 2)
        out[at] = 58
        at = _write_digits(out, at + 1, rest % 3600 // 60, 2)
        out[at] = 58
        at = _write_digits(out, at + 1, rest % 60, 2)
        if fraction:
            out[at] = 46
            at = _write_digits(out, at + 1, fraction, 6)
            while out[at - 1] == 48:
                at -= 1
        if ahead[row] == 0:
            out[at] = 90
            at += 1
        else:
            out[at] = 43 if ahead[row] > 0 else 45
            minutes = abs(ahead[row]) // 60
            at = _write_digits(out, at + 1, minutes // 60, 2)
            out[at] = 58
            at = _write_digits(out, at + 1, minutes % 60, 2)
        offsets[row + 1] = at


@compiled
def parts(micros: Any, ahead: Any, out: Any) -> None:
    """Fill `out` (moments, 7) with year, month, day, hour, minute, second and microsecond as clocks show them."""
    for row in range(len(micros)):
        seconds = micros[row] // 1_000_000
        out[row, 6] = micros[row] - seconds * 1_000_000
        seconds += ahead[row]
        days = seconds // 86400
        rest = seconds - days * 86400
        out[row, 0], out[row, 1], out[row, 2] = date_of(days)
        out[row, 3], out[row, 4], out[row, 5] = rest // 3600, rest % 3600 // 60, rest % 60


@compiled
def shift(micros: Any, months: int, days: int, seconds: int, out: Any) -> None:
    """Move each moment: first its month, the day of the month staying as it is and a day that the month does not have
    reaching into the next one, as C's `timegm` has it; then days and seconds. What int64 cannot hold is its nearest.
    """
    limit = np.int64(9_223_372_036_854)
    for row in range(len(micros)):
        whole = micros[row] // 1_000_000
        fraction = micros[row] - whole * 1_000_000
        day_number = whole // 86400
        rest = whole - day_number * 86400
        year, month, day = date_of(day_number)
        month_number = year * 12 + month - 1 + months
        moved = days_of(month_number // 12, month_number % 12 + 1, 1) + day - 1 + days
        moved = moved * 86400 + rest + seconds
        moved = min(max(moved, -limit), limit - 1)
        out[row] = moved * 1_000_000 + fraction
