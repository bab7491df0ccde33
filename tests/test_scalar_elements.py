"""Indexes of arrays: what a row's array contains is answered by the sorted elements of all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from elanus import DataType, Elanus, Field, InvalidParameter, Schema
from tests.native_case import Pair, asked_index, open_folder

ELEMENTS: dict[DataType, list[Any]] = {
    DataType.BOOL: [True, False],
    DataType.INT8: [-128, -1, 0, 1, 127],
    DataType.INT64: [-(2**63), 2**63 - 1, 2**53, 2**53 + 1, *range(200)],
    DataType.FLOAT: [0.0, -0.0, 0.5, 0.1, 3e38],
    DataType.DOUBLE: [0.0, -0.0, 1.5, 1e308],
    DataType.VARCHAR: ["", "a", "ab", "zürich", "中文", "\U0010ffff", *(f"t{i}" for i in range(200))],
}
ARRAYS = {f"of_{dtype.name.lower()}": dtype for dtype in ELEMENTS}
SCHEMA = Schema(
    (
        Field("id", DataType.INT64, is_primary=True),
        Field("vector", DataType.FLOAT_VECTOR, dim=2),
        *(
            Field(name, DataType.ARRAY, element=dtype, max_capacity=8, nullable=True, max_length=_length)
            for name, dtype in ARRAYS.items()
            for _length in [16 if dtype is DataType.VARCHAR else None]
        ),
    )
)
FILTERS = (
    "array_contains(of_int64, 7)", "array_contains_any(of_int64, [7.0])", f"array_contains(of_int64, {2**53 + 1})",
    "array_contains(of_int64, 1000)", "array_contains_all(of_int64, [7, 8])", "array_contains_all(of_int64, [7, 1000])",
    "array_contains_all(of_int64, [])", "array_contains_any(of_int64, [])", "array_contains_any(of_int64, [7, 1000])",
    f"array_contains_any(of_int64, {list(range(0, 200, 2))})", "not array_contains(of_int64, 7)",
    f"array_contains_all(of_int64, [{2**63 - 1}, 7])", "array_contains(of_int8, -128)", "array_contains(of_int8, 300)",
    "array_contains_all(of_int8, [0, 1])", "array_contains_any(of_int8, [127, 0])", "array_contains(of_bool, true)",
    "array_contains_all(of_bool, [true, false])", "array_contains(of_float, 0.1)", "array_contains(of_float, 0)",
    "array_contains_all(of_float, [0.0, 0.5])", "array_contains(of_double, 1e308)", "array_contains(of_double, 0.0)",
    "array_contains(of_varchar, '')", "array_contains(of_varchar, 'zürich')", "array_contains(of_varchar, 'none')",
    "array_contains_all(of_varchar, ['t1', '中文'])", "array_contains_any(of_varchar, ['t1', '中文', 'a'])",
    "array_contains(of_varchar, 't7') and array_contains(of_int64, 7)", "of_int64 is null",
    "array_length(of_int64) == 0",
    "of_int64[0] == 7", "array_contains(of_varchar, 't7') or of_int64[1] > 5",
)  # fmt: skip


def a_row(random: Random, key: int) -> dict[str, Any]:
    def an_array(dtype: DataType) -> list[Any] | None:
        return random.choice([None, [], *([random.choices(ELEMENTS[dtype], k=random.randint(1, 8))] * 6)])

    return {"id": key, "vector": [1.0, 0.0], **{name: an_array(dtype) for name, dtype in ARRAYS.items()}}


@pytest.fixture
def folder(quick_path: Path) -> Path:
    return quick_path / "db"


@pytest.fixture
def db(folder: Path) -> Iterator[Elanus]:
    with open_folder(folder) as opened:
        yield opened


@pytest.mark.parametrize("kind", ["INVERTED", "BITMAP", "AUTOINDEX"])
def test_what_arrays_contain_is_answered_alike_with_an_index_and_without(folder: Path, kind: str) -> None:
    random = Random(kind)
    with closing(Pair(folder, SCHEMA)) as pair:
        indexed = pair.indexed
        for name, dtype in ARRAYS.items():
            if kind != "BITMAP" or dtype not in (DataType.FLOAT, DataType.DOUBLE):
                indexed.create_index(name, kind)
        pair.each("upsert", [a_row(random, key) for key in range(300)])
        pair.each("flush")
        indexed.wait_for_indexes()
        pair.each("upsert", [a_row(random, key) for key in range(250, 320)])
        pair.agree(FILTERS)
        pair.each("flush")
        pair.each("compact")
        pair.agree(FILTERS)
        assert asked_index(indexed, "array_contains(of_int64, 7)") == "of_int64"
        assert asked_index(indexed, "array_contains_all(of_varchar, ['t1', 'a'])") == "of_varchar"
        assert asked_index(indexed, "not array_contains_any(of_bool, [true])") == "of_bool"


@pytest.mark.parametrize(
    ("field", "kind", "message"),
    [
        ("of_double", "BITMAP", "bitmap index are only supported on bool, int, string for array field"),
        ("of_int64", "STL_SORT", "STL_SORT are only supported on numeric, varchar or timestamptz field, got Array"),
        ("of_varchar", "Trie", "TRIE are only supported on varchar field"),
        ("of_varchar", "NGRAM", "ngram index can only be created on VARCHAR or JSON field"),
    ],
)
def test_what_an_index_of_arrays_may_not(db: Elanus, field: str, kind: str, message: str) -> None:
    collection = db.create_collection("arrays", SCHEMA)
    with pytest.raises(InvalidParameter, match=message):
        collection.create_index(field, kind)
