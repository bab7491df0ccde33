"""Requests made from others: of messages, whose result can always be read, and of bytes, whose result may not."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

from google.protobuf.message import DecodeError

from tests.fuzz_corpus import NESTED, TEXTS, is_repeated

INTEGERS = (
    0,
    1,
    2,
    3,
    -1,
    -2,
    5,
    100,
    1024,
    16_384,
    16_385,
    65_536,
    2**31 - 1,
    -(2**31),
    2**32,
    2**53,
    2**63 - 1,
    -(2**63),
)
FLOATS = (0.0, -0.0, 1.0, 1e-45, 1e20, 3.4e38, 1e308, float("inf"), float("-inf"), float("nan"))

MANY = (1, 2, 20, 3000)
"""By how many entries a repeated field grows."""

MOST_BYTES = 1 << 20
"""A request that has grown beyond this is given up: it is the number of requests that finds faults, not their size."""


def mutate(request: Any, chance: random.Random) -> Any:
    """A message like `request` in which one to four things are changed."""
    changed = type(request)()
    changed.CopyFrom(request)
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 4))):
        _change_somewhere(changed, chance)
        if changed.ByteSize() > MOST_BYTES:
            return request
    return changed


def mutate_bytes(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Bytes like `data`: with bits or bytes changed, cut, or spliced with those of `other`."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        kind = chance.randrange(6)
        at = chance.randrange(len(out) + 1)
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << chance.randrange(8)
        elif kind == 1 and out:
            out[at % len(out)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif kind == 2:
            del out[at:]
        elif kind == 3:
            del out[at : at + chance.randrange(1, 9)]
        elif kind == 4:
            out[at:at] = chance.randbytes(chance.randrange(1, 9))
        else:
            begin = chance.randrange(len(other) + 1)
            out[at:at] = other[begin : begin + chance.randrange(1, 200)]
    return bytes(out)


def _change_somewhere(message: Any, chance: random.Random) -> None:
    """Change a field of `message` or, more often, of a message within."""
    inner = list(_messages_in(message))
    if inner and chance.random() < 0.75:
        _change_somewhere(chance.choice(inner), chance)
        return
    fields = message.DESCRIPTOR.fields
    if not fields:
        return
    there = [field for field, _ in message.ListFields()]
    field = chance.choice(there) if there and chance.random() < 0.7 else chance.choice(fields)
    if chance.random() < 0.1:
        message.ClearField(field.name)
    elif is_repeated(field):
        _change_repeated(message, field, chance)
    elif field.cpp_type == field.CPPTYPE_MESSAGE:
        getattr(message, field.name).SetInParent()
    else:
        _set(message, field, chance)


def _messages_in(message: Any) -> list[Any]:
    found = []
    for field, value in message.ListFields():
        if field.cpp_type != field.CPPTYPE_MESSAGE:
            continue
        if not is_repeated(field):
            found.append(value)
        elif _is_map(field):
            found += [value[key] for key in value] if _holds_messages(field) else []
        else:
            found += list(value)
    return found


def _is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _holds_messages(field: Any) -> bool:
    value = field.message_type.fields_by_name["value"]
    return bool(value.cpp_type == value.CPPTYPE_MESSAGE)


def _set(message: Any, field: Any, chance: random.Random) -> None:
    now = getattr(message, field.name)
    nested = NESTED.get((message.DESCRIPTOR.name, field.name))
    if nested is not None and chance.random() < 0.9:
        with suppress(DecodeError):  # bytes that were changed before are changed as bytes
            setattr(message, field.name, mutate(nested.FromString(now), chance).SerializeToString())
            return
    setattr(message, field.name, _value(field, now, chance))


def _value(field: Any, now: Any, chance: random.Random) -> Any:
    """A value for a single `field` or an entry of a repeated one, that it can hold."""
    kind = field.cpp_type
    if kind == field.CPPTYPE_BOOL:
        return not now
    if kind in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return chance.choice((*FLOATS, chance.uniform(-1e3, 1e3)))
    if kind == field.CPPTYPE_ENUM:
        return chance.choice((*(value.number for value in field.enum_type.values), 9999, -1))
    if kind == field.CPPTYPE_STRING:
        if field.type == field.TYPE_BYTES:
            text = chance.choice(TEXTS).encode() if chance.random() < 0.3 else b""
            return chance.choice((text, mutate_bytes(now or b"", text, chance), chance.randbytes(chance.randrange(40))))
        return _text(now or "", chance)
    bits = 32 if kind in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32) else 64
    value = chance.choice((*INTEGERS, chance.randrange(-(2**63), 2**63), chance.randrange(100))) % 2**bits
    signed = kind in (field.CPPTYPE_INT32, field.CPPTYPE_INT64)
    return value - 2**bits if signed and value >= 2 ** (bits - 1) else value


def _text(now: str, chance: random.Random) -> str:
    if not now or chance.random() < 0.7:
        return chance.choice(TEXTS)
    at = chance.randrange(len(now) + 1)
    more = chance.choice((chance.choice(TEXTS)[:300], chr(chance.randrange(1, 128)), "", now))
    return now[:at] + more + now[at + chance.randrange(3) :]


def _change_repeated(message: Any, field: Any, chance: random.Random) -> None:
    values = getattr(message, field.name)
    if _is_map(field):
        key = _text("", chance)
        if _holds_messages(field):
            values[key].SetInParent()
        else:
            values[key] = _value(field.message_type.fields_by_name["value"], None, chance)
        return
    if values and chance.random() < 0.4:
        place = chance.randrange(len(values))
        if chance.random() < 0.5:
            del values[place]
        elif field.cpp_type != field.CPPTYPE_MESSAGE:
            values[place] = _value(field, values[place], chance)
        return
    count = chance.choice(MANY)
    if field.cpp_type == field.CPPTYPE_MESSAGE:
        one = type(values.add())()
        del values[-1]
        if values and chance.random() < 0.8:
            one.CopyFrom(chance.choice(values))
        values.extend([one] * min(count, 1 + MOST_BYTES // (one.ByteSize() + 8)))
    else:
        value = _value(field, None, chance)
        values.extend([value] * (1 if isinstance(value, (str, bytes)) and len(value) > 1000 else count))
