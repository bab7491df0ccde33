"""Column files and the block form: what is written is read, where it lies is known, damage is noticed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elanus.model.canonical import vectors_of
from elanus.model.errors import CorruptData, FormatTooNew, StoreError
from elanus.model.types import DataType, arrow_type
from elanus.segment.blocks import BLOCK_BYTES, PAYLOAD_OFFSET, map_payload, verify_file, wrap_payload
from elanus.segment.column import data_offset, open_column, write_column, write_vectors
from elanus.store.header import HEADER_BYTES, FileKind

VECTOR = arrow_type(DataType.FLOAT_VECTOR, 128)
SAMPLES = {
    "bool": pa.array([True, None, False] * 11),
    "int8": pa.array([1, -1, 127], pa.int8()),
    "int64": pa.array(range(1000)),
    "timestamps": pa.array([1, 2**63 - 1], pa.uint64()),
    "double with nulls": pa.array([1.5, None, float("nan")]),
    "text": pa.array(["", "ü", None, "x" * 70_000], pa.large_string()),
    "json": pa.array([b'{"a":1}', None, b"[]"], pa.large_binary()),
    "empty texts": pa.array(["", ""], pa.large_string()),
    "all null": pa.nulls(9, pa.float32()),
    "a slice": pa.array(range(100), pa.int32()).slice(33, 41),
    "a slice of bools": pa.array([True, False, None] * 20).slice(5, 21),
}


def vector_column(rows: int, dim: int = 128) -> pa.Array:
    flat = np.random.default_rng(rows).random(rows * dim, dtype=np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), type=arrow_type(DataType.FLOAT_VECTOR, dim))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_column_is_read_as_it_was_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / "101.column"
    size = write_column(path, 101, SAMPLES[name])
    assert size == path.stat().st_size
    column = open_column(path, 101)
    assert column.type == SAMPLES[name].type
    assert column.to_pylist() == pytest.approx(SAMPLES[name].to_pylist(), nan_ok=True)
    assert verify_file(path).field_id == 101


@pytest.mark.parametrize("rows", [1, 1000, 5000])
@pytest.mark.parametrize("dim", [2, 3, 128, 1000])
def test_vectors_lie_in_the_file_as_one_aligned_matrix(tmp_path: Path, rows: int, dim: int) -> None:
    column = vector_column(rows, dim)
    path = tmp_path / "v"
    write_column(path, 10**12, column)
    offset = data_offset(path)
    assert offset % 64 == 0
    raw = np.memmap(path, np.float32, "r", offset, (rows, dim))
    np.testing.assert_array_equal(raw, vectors_of(column))
    opened = vectors_of(open_column(path))
    np.testing.assert_array_equal(opened, raw)
    assert opened.ctypes.data % 64 == 0
    assert not opened.flags.writeable
    assert opened.flags.c_contiguous


@pytest.mark.parametrize("sizes", [[1], [3, 1, 4000], [5000, 5000, 0, 17]])
def test_vectors_that_come_in_blocks_make_the_same_file(tmp_path: Path, sizes: list[int]) -> None:
    column = vector_column(sum(sizes))
    whole = vectors_of(column)
    ends = np.cumsum(sizes)
    blocks = (whole[end - size : end] for size, end in zip(sizes, ends, strict=True))
    size = write_vectors(tmp_path / "blocks", 101, VECTOR, sum(sizes), blocks)
    assert size == write_column(tmp_path / "whole", 101, column)
    assert (tmp_path / "blocks").read_bytes() == (tmp_path / "whole").read_bytes()


def test_too_few_vectors_make_no_file_that_opens(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="were announced"):
        write_vectors(tmp_path / "v", 101, VECTOR, 10, [vectors_of(vector_column(9))])
    with pytest.raises(CorruptData):
        open_column(tmp_path / "v")


def test_numbers_and_vectors_are_opened_without_a_copy(tmp_path: Path) -> None:
    write_column(tmp_path / "n", 1, pa.array(np.arange(100_000)))
    write_column(tmp_path / "v", 2, vector_column(10_000))
    before = pa.total_allocated_bytes()
    column, vectors = open_column(tmp_path / "n"), vectors_of(open_column(tmp_path / "v"))
    assert column.to_numpy(zero_copy_only=True)[-1] == 99_999
    assert vectors.base is not None
    assert pa.total_allocated_bytes() - before < 10_000


def test_a_column_stays_readable_when_its_file_is_removed(tmp_path: Path) -> None:
    write_column(tmp_path / "n", 1, pa.array(np.arange(100_000)))
    column = open_column(tmp_path / "n")
    (tmp_path / "n").unlink()
    assert column.to_numpy().sum() == 99_999 * 50_000


def test_an_open_column_holds_no_file_descriptor(tmp_path: Path) -> None:
    write_column(tmp_path / "n", 1, pa.array([1]))
    before = len(os.listdir("/dev/fd"))
    columns = [open_column(tmp_path / "n") for _ in range(20)]
    assert len(os.listdir("/dev/fd")) == before
    assert len(columns) == 20


def test_any_arrow_reads_the_payload(tmp_path: Path) -> None:
    write_column(tmp_path / "t", 103, SAMPLES["text"])
    payload = map_payload(tmp_path / "t", FileKind.COLUMN).to_pybytes()
    assert (tmp_path / "t").read_bytes()[PAYLOAD_OFFSET : PAYLOAD_OFFSET + len(payload)] == payload
    table = pa.ipc.open_file(payload).read_all()
    assert table.column_names == ["103"]
    assert table.column(0).to_pylist() == SAMPLES["text"].to_pylist()


@pytest.mark.parametrize("block", [0, 1, 4])
def test_verify_names_the_file_and_the_damaged_block(tmp_path: Path, block: int) -> None:
    path = tmp_path / "101.column"
    write_column(path, 101, vector_column(10_000))
    verify_file(path)
    _flip(path, HEADER_BYTES + block * BLOCK_BYTES + 1000)
    with pytest.raises(CorruptData, match=rf"101\.column.* block {block} "):
        verify_file(path)


@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_passes_verification(tmp_path_factory: pytest.TempPathFactory, share: float, bit: int) -> None:
    path = tmp_path_factory.mktemp("flip") / "c"
    size = write_column(path, 101, SAMPLES["text"])
    _flip(path, int(size * share), 1 << bit)
    with pytest.raises((CorruptData, FormatTooNew)):
        verify_file(path, FileKind.COLUMN)


@given(share=st.floats(0, 1, exclude_max=True))
def test_a_shortened_file_is_not_opened(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    path = tmp_path_factory.mktemp("cut") / "c"
    size = write_column(path, 101, SAMPLES["text"])
    os.truncate(path, int(size * share))
    with pytest.raises(CorruptData, match="bytes long"):
        open_column(path)


def test_another_fields_file_is_not_taken(tmp_path: Path) -> None:
    write_column(tmp_path / "c", 101, SAMPLES["int64"])
    with pytest.raises(CorruptData, match="belongs to field 101, not to field 102"):
        open_column(tmp_path / "c", 102)


def test_a_file_of_another_kind_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "bare").write_bytes(b"graph")
    wrap_payload(tmp_path / "bare", tmp_path / "index", FileKind.INDEX, 101)
    with pytest.raises(CorruptData, match="INDEX where COLUMN belongs"):
        open_column(tmp_path / "index")


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 7])
def test_a_librarys_file_is_wrapped_whole(tmp_path: Path, size: int) -> None:
    content = np.random.default_rng(size).bytes(size)
    (tmp_path / "bare").write_bytes(content)
    written = wrap_payload(tmp_path / "bare", tmp_path / "index", FileKind.INDEX, 101)
    assert written == (tmp_path / "index").stat().st_size
    assert map_payload(tmp_path / "index", FileKind.INDEX, 101).to_pybytes() == content
    assert (tmp_path / "index").read_bytes()[PAYLOAD_OFFSET : PAYLOAD_OFFSET + size] == content
    assert verify_file(tmp_path / "index").kind is FileKind.INDEX


def test_a_disk_that_takes_no_more_is_a_store_error(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    os.symlink("/dev/full", tmp_path / "c")
    with pytest.raises(StoreError, match="cannot write"):
        write_column(tmp_path / "c", 1, SAMPLES["int64"])


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    write_column(tmp_path / "c", 1, SAMPLES["int64"])
    with pytest.raises(StoreError, match="cannot write"):
        write_column(tmp_path / "c", 1, SAMPLES["int8"])
    assert open_column(tmp_path / "c").to_pylist() == list(range(1000))


def _flip(path: Path, at: int, bits: int = 0xFF) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ bits]))
