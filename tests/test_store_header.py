"""Files say what they are: the 64-byte header and the form of small files."""

import struct

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from elanus.model.errors import CorruptData, FormatTooNew
from elanus.store.header import HEADER_BYTES, FileHeader, FileKind, pack_small, unpack_header, unpack_small


def _sealed(fields: bytes) -> bytes:
    return fields + struct.pack("<Q", xxhash.xxh3_64_intdigest(fields))


def test_the_bytes_of_a_header_are_these():
    header = FileHeader(FileKind.COLUMN, field_id=101, payload_bytes=7, own=b"own").pack()
    fields = b"ELANUS\r\n" + struct.pack("<HHB3xQQ", 1, 4, 0, 101, 7) + b"own".ljust(24, b"\0")
    assert header == _sealed(fields)
    assert len(header) == HEADER_BYTES
    read = unpack_header(FileKind.COLUMN, header + b"payload", "f")
    assert (read.field_id, read.payload_bytes, read.own[:3]) == (101, 7, b"own")


def test_the_bytes_of_a_small_file_are_these():
    packed = pack_small(FileKind.CATALOG, b"payload")
    header = FileHeader(FileKind.CATALOG, payload_bytes=7).pack()
    assert packed == header + b"payload" + struct.pack("<Q", xxhash.xxh3_64_intdigest(b"payload"))


@given(st.binary(max_size=300))
def test_a_small_file_gives_its_payload_back(payload):
    assert unpack_small(FileKind.MARKER, pack_small(FileKind.MARKER, payload), "f") == payload


@given(st.binary(min_size=1, max_size=40), st.data())
def test_any_changed_bit_is_noticed_and_the_file_named(payload, data):
    packed = bytearray(pack_small(FileKind.MANIFEST, payload))
    bit = data.draw(st.integers(0, len(packed) * 8 - 1))
    packed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptData, match=r"c/17/0003\.delta: .*Restore"):
        unpack_small(FileKind.MANIFEST, bytes(packed), "c/17/0003.delta")


@pytest.mark.parametrize("length", [0, 1, 63, 64, 70, 78])
def test_a_short_file_is_noticed(length):
    packed = pack_small(FileKind.MANIFEST, b"payload")
    with pytest.raises(CorruptData, match=f"it is {length} bytes long"):
        unpack_small(FileKind.MANIFEST, packed[:length], "f")


def test_bytes_after_the_end_are_noticed():
    with pytest.raises(CorruptData, match="should have"):
        unpack_small(FileKind.MANIFEST, pack_small(FileKind.MANIFEST, b"payload") + b"x", "f")


def test_a_file_of_a_later_version_is_too_new_not_corrupt():
    header = _sealed(b"ELANUS\r\n" + struct.pack("<HHB3xQQ", 3, 2, 0, 0, 0) + bytes(24))
    with pytest.raises(FormatTooNew, match=r"f: it has format version 3, .* up to 1"):
        unpack_header(FileKind.MANIFEST, header, "f")


def test_an_encrypted_file_is_too_new():
    header = _sealed(b"ELANUS\r\n" + struct.pack("<HHB3xQQ", 1, 2, 1, 0, 0) + bytes(24))
    with pytest.raises(FormatTooNew, match="encrypted"):
        unpack_header(FileKind.MANIFEST, header, "f")


def test_a_file_of_another_kind_is_named():
    with pytest.raises(CorruptData, match="it holds CATALOG where MANIFEST belongs"):
        unpack_small(FileKind.MANIFEST, pack_small(FileKind.CATALOG, b""), "f")


def test_a_file_of_another_program_is_named():
    with pytest.raises(CorruptData, match="not how a file of Elanus begins"):
        unpack_small(FileKind.MANIFEST, b"PK\3\4" + bytes(100), "f")
