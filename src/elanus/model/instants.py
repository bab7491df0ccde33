"""Timestamptz: moments as int64 microseconds since 1970 (UTC), and the texts that stand for them.

Read are `2025-01-31T10:00:00` and, with a space for the T, the same; a fraction of a second may follow (cut to
microseconds), then `Z`, `+08:00` or, behind a form with a space, `+08`. Without an offset clocks of a time zone are
meant, see `timezones`. Years are 0000 to 9999, offsets -12:00 to +14:00. These are the forms that Milvus takes.

Written is the first form with an offset, fractions without the zeros at their end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.model.errors import InvalidParameter
from elanus.model.timezones import Zone, zone_named

if TYPE_CHECKING:
    from types import ModuleType

PARTS = ("year", "month", "day", "hour", "minute", "second", "microsecond")
"""What a moment can be taken apart into."""

Micros = npt.NDArray[np.int64]

_MILLION = 1_000_000
_DURATION = re.compile(
    r"P(?:(\d{1,20})Y)?(?:(\d{1,20})M)?(?:(\d{1,20})D)?(?:T(?:(\d{1,20})H)?(?:(\d{1,20})M)?(?:(\d{1,20})S)?)?\Z", re.A
)
FIRST, LAST = -62_167_219_200_000_000, 253_402_300_799_999_999
"""The years 0000 to 9999, which are those that texts can name."""
_MOST = (1 << 31) - 1
"""The largest number of a duration: those of Milvus are added to C's ints."""


def _kernel() -> ModuleType:
    from elanus.model import instant_kernel

    return instant_kernel


def _fixed(values: Any, dtype: type = np.int64) -> Any:
    """`values` as an array that is not written to: a kernel is compiled once for these, and again for others."""
    fixed: npt.NDArray[Any] = np.ascontiguousarray(values, dtype).view()
    fixed.setflags(write=False)
    return fixed


def read(texts: pa.Array, zone: Zone) -> tuple[Micros, npt.NDArray[np.uint8]]:
    """The moments of `texts` (large_string), and what each text was found to be (`instant_kernel.WRONG` and so on).

    Those of texts that are wrong or null are anything.
    """
    kernel = _kernel()
    rows = len(texts)
    micros, kinds = np.empty(rows, np.int64), np.empty(rows, np.uint8)
    if rows:
        _, offsets, data = texts.buffers()
        places = np.frombuffer(offsets, np.int64, rows + 1, texts.offset * 8)
        kernel.read(_fixed(np.frombuffer(data or b"", np.uint8), np.uint8), _fixed(places), kinds, micros)
        local = kinds == kernel.LOCAL
        if local.any():
            shown = micros[local]
            seconds = shown // _MILLION
            micros[local] = zone.moment_of(seconds) * _MILLION + (shown - seconds * _MILLION)
    return micros, kinds


def is_wrong(kinds: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Which texts stand for no moment."""
    kernel = _kernel()
    return np.isin(kinds, (kernel.WRONG, kernel.FAR_OFFSET))


def moment(text: str, zone: Zone) -> int:
    """The moment of one text. Raises `InvalidParameter` with Milvus's words."""
    kernel = _kernel()
    try:
        micros, kinds = read(pa.array([text], pa.large_string()), zone)
    except UnicodeEncodeError:
        kinds = np.array([kernel.WRONG])
    if kinds[0] == kernel.FAR_OFFSET:
        raise InvalidParameter(
            f"UTC offset hour {int(int(micros[0]) / 3600)} is out of the valid range [-12, 14]: {text}"
        )
    if kinds[0] == kernel.WRONG:
        raise InvalidParameter(f"invalid timestamp string: '{text}'. Does not match any known format")
    return int(micros[0])


def written(micros: Micros, zone: Zone) -> pa.Array:
    """The texts (large_string) of moments as clocks of `zone` show them."""
    kernel = _kernel()
    out = np.empty(len(micros) * kernel.LONGEST, np.uint8)
    offsets = np.empty(len(micros) + 1, np.int64)
    kernel.write(_fixed(micros), _fixed(zone.offset_at(micros // _MILLION)), out, offsets)
    return pa.Array.from_buffers(pa.large_string(), len(micros), [None, pa.py_buffer(offsets), pa.py_buffer(out)])


def texts_of(column: pa.ChunkedArray) -> pa.Array:
    """The texts of Arrow's timestamps in microseconds, as clocks of their type's zone show them; null where null."""
    array = column.combine_chunks()
    texts = written(array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False), zone_named(array.type.tz))
    return pc.if_else(array.is_valid(), texts, pa.scalar(None, pa.large_string())) if array.null_count else texts


def parts_of(micros: Micros, zone: Zone, names: tuple[str, ...]) -> Micros:
    """Moments taken apart as clocks of `zone` show them: (moments, parts), the parts named by `PARTS` in this order."""
    out = np.empty((len(micros), len(PARTS)), np.int64)
    _kernel().parts(_fixed(micros), _fixed(zone.offset_at(micros // _MILLION)), out)
    return np.ascontiguousarray(out[:, [PARTS.index(name) for name in names]])


@dataclass(frozen=True, slots=True)
class Duration:
    """So many months, days and seconds, all of one sign."""

    months: int
    days: int
    seconds: int

    def __neg__(self) -> Duration:
        return Duration(-self.months, -self.days, -self.seconds)

    def after(self, micros: Any) -> Micros:
        """The moments that are this much later; see `instant_kernel.shift`."""
        given = _fixed(micros)
        out = np.empty(len(given), np.int64)
        _kernel().shift(given, self.months, self.days, self.seconds, out)
        return out


def duration(text: str) -> Duration:
    """An ISO 8601 duration of whole numbers, such as `P1Y2M3DT4H5M6S`. Raises `InvalidParameter`."""
    match = _DURATION.match(text)
    if match is None:
        raise InvalidParameter(f"invalid ISO 8601 duration: {text}")
    years, months, days, hours, minutes, seconds = (int(number or 0) for number in match.groups())
    if max(years, months, days, hours, minutes, seconds) > _MOST:
        raise InvalidParameter(f"invalid ISO 8601 duration: {text}: a number in it is larger than {_MOST}")
    return Duration(12 * years + months, days, 3600 * hours + 60 * minutes + seconds)
