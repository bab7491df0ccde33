"""From keys to rows: probes, the key index of a sealed segment, the sorted runs of a growing one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elanus.model.errors import CorruptData
from elanus.segment import bloom
from elanus.segment.blocks import verify_file
from elanus.segment.key_runs import KeyRuns
from elanus.segment.keys import KeyIndex, write_keys
from elanus.segment.matches import matches
from elanus.segment.probe import probe

INTS = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 30), max_size=200)
TEXTS = st.lists(st.text(max_size=12) | st.sampled_from(["", "a", "aa", "a\0", "\0", "\0\0"]), max_size=200)


def ints(values: list[int]) -> pa.Array:
    return pa.array(values, pa.int64())


def texts(values: list[str]) -> pa.Array:
    return pa.array(values, pa.large_string())


def open_index(folder: Path, keys: pa.Array) -> KeyIndex:
    path = folder / "keys.index"
    path.unlink(missing_ok=True)
    written = write_keys(path, 100, keys)
    assert written.bytes == path.stat().st_size
    index = KeyIndex.open(path, None if pa.types.is_int64(keys.type) else keys)
    assert index.unique is written.unique
    return index


def check_finds_all(index: KeyIndex, keys: pa.Array, wanted: pa.Array) -> None:
    held, asked = keys.to_pylist(), wanted.to_pylist()
    assert index.find(wanted).tolist() == [row for row, key in enumerate(held) if key in set(asked)]
    which, rows = index.find_pairs(wanted)
    for one in asked[:5]:
        alone = index.find(pa.array([one], wanted.type)).tolist()
        assert alone == [row for row, key in enumerate(held) if key == one]
    pairs = [(i, row) for i, a in enumerate(asked) for row, key in enumerate(held) if key == a]
    assert sorted(zip(which.tolist(), rows.tolist(), strict=True)) == pairs


@given(INTS)
def test_probes_of_ints_sort_as_the_keys_do(values: list[int]) -> None:
    order = np.argsort(probe(ints(values)), kind="stable").tolist()
    assert [values[i] for i in order] == sorted(values)


@given(TEXTS)
def test_different_short_texts_have_different_probes(values: list[str]) -> None:
    assert len(set(probe(texts(values)).tolist())) == len(set(values))


@given(TEXTS, st.integers(0, 50), st.integers(0, 50))
def test_a_probe_does_not_depend_on_the_keys_around_it(values: list[str], start: int, count: int) -> None:
    whole = probe(texts(values))
    np.testing.assert_array_equal(probe(texts(values).slice(start, count)), whole[start : start + count])
    assert [int(probe(texts([v]))[0]) for v in values] == whole.tolist()


def test_probes_of_long_and_short_keys_in_turn() -> None:
    values = ["x" * n for n in (0, 65_535, 1, 65_535, 0, 40_000, 40_000, 7, 200_000, 3)]
    whole = probe(texts(values)).tolist()
    assert [int(probe(texts([v]))[0]) for v in values] == whole
    assert len(set(whole)) == len(set(values))


def test_probes_are_format() -> None:
    """These values are in files of released versions."""
    assert probe(ints([-1, 0, 1])).tolist() == [2**63 - 1, 2**63, 2**63 + 1]
    assert [hex(p) for p in probe(texts(["", "a", "key 1", "ü"])).tolist()] == GOLDEN_PROBES


GOLDEN_PROBES = ["0x0", "0x5988cf3c44f4551a", "0x42c2f11518df14e9", "0x8b27cc4003e199a8"]


@given(INTS.filter(bool), INTS)
def test_the_index_finds_every_copy_of_int_keys_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, values: list[int], asked: list[int]
) -> None:
    keys = ints(values)
    index = open_index(tmp_path_factory.mktemp("k"), keys)
    assert index.unique == (len(set(values)) == len(values))
    check_finds_all(index, keys, ints(asked + values[::2]))


@given(TEXTS.filter(bool), TEXTS)
def test_the_index_finds_every_copy_of_text_keys_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, values: list[str], asked: list[str]
) -> None:
    keys = texts(values)
    index = open_index(tmp_path_factory.mktemp("k"), keys)
    assert index.unique == (len(set(values)) == len(values))
    check_finds_all(index, keys, texts(asked + values[::2]))


def colliding_texts() -> tuple[str, str]:
    """Two texts with one polynomial hash modulo 2^64, whatever the (odd) base: Thue-Morse and its complement."""
    word = "a"
    for _ in range(11):
        word += word.translate(str.maketrans("ab", "ba"))
    return word, word.translate(str.maketrans("ab", "ba"))


def test_keys_whose_hashes_collide_are_told_apart(tmp_path: Path) -> None:
    one, other = colliding_texts()
    assert len(set(probe(texts([one, other])).tolist())) == 1, "they collide"
    keys = texts(["first", one, "between", other])
    index = open_index(tmp_path, keys)
    assert index.unique, "their probes are equal, the keys are not"
    check_finds_all(index, keys, texts([one]))
    check_finds_all(index, keys, texts([other, one, "x"]))
    only_one = texts(["first", one])
    check_finds_all(open_index(tmp_path, only_one), only_one, texts([other]))
    doubled = texts([one, other, one])
    index = open_index(tmp_path, doubled)
    assert not index.unique
    check_finds_all(index, doubled, texts([one]))


def test_a_million_keys_are_found_and_absent_ones_are_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    values = rng.permutation(1_000_000) * 3
    index = open_index(tmp_path, pa.array(values))
    asked = rng.integers(0, 3_000_000, 50_000)
    found = index.find(pa.array(asked))
    np.testing.assert_array_equal(found, np.flatnonzero(np.isin(values, asked)))


def test_the_bloom_filter_passes_all_that_are_there_and_few_others() -> None:
    rng = np.random.default_rng(6)
    there, absent = rng.integers(0, 2**63, (2, 200_000)).astype(np.uint64)
    words = bloom.build(there)
    assert bloom.may_hold(words, there).all()
    assert bloom.may_hold(words, absent).mean() < 0.03
    one_by_one = [bloom.may_hold_one(words, probe) for probe in absent[:5000].tolist()]
    assert one_by_one == bloom.may_hold(words, absent[:5000]).tolist()
    assert words.nbytes * 8 <= 10 * len(there) + 64


def test_damage_to_the_index_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "keys.index"
    write_keys(path, 100, pa.array(np.arange(1000)))
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptData, match="block 0"):
        verify_file(path)


@given(
    st.lists(st.integers(0, 20), max_size=40).map(lambda v: np.sort(np.array(v, np.uint64))),
    st.lists(st.integers(0, 25), max_size=40).map(lambda v: np.array(v, np.uint64)),
)
def test_matches_are_all_equal_pairs(ordered: np.ndarray, wanted: np.ndarray) -> None:
    expected = [(i, j) for i, w in enumerate(wanted) for j, o in enumerate(ordered) if w == o]
    assert list(zip(*(part.tolist() for part in matches(ordered, wanted)), strict=True)) == expected
    distinct = np.unique(ordered)
    expected = [(i, j) for i, w in enumerate(wanted) for j, o in enumerate(distinct) if w == o]
    assert list(zip(*(part.tolist() for part in matches(distinct, wanted, True)), strict=True)) == expected


@given(
    st.lists(st.tuples(st.integers(1, 700), st.booleans()), min_size=1, max_size=12), st.randoms(use_true_random=False)
)
def test_runs_find_what_was_there_when_they_were_taken(sizes: list[tuple[int, bool]], random: object) -> None:
    rng = np.random.default_rng(random.randrange(2**32))
    runs, held, taken = KeyRuns(), np.empty(0, np.uint64), []
    for size, rising in sizes:
        probes = rng.integers(0, 3000, size).astype(np.uint64)
        if rising:
            probes = np.arange(len(held), len(held) + size, dtype=np.uint64)
        runs.append(probes)
        held = np.concatenate((held, probes))
        taken.append((runs.keys(), len(held)))
    for keys, count in taken:
        wanted = rng.integers(0, 3000, int(rng.integers(1, 40))).astype(np.uint64)
        which, rows = keys.find(wanted)
        expected = [(i, row) for i, w in enumerate(wanted) for row in np.flatnonzero(held[:count] == w).tolist()]
        assert sorted(zip(which.tolist(), rows.tolist(), strict=True)) == expected


def test_many_single_appends_leave_few_runs() -> None:
    runs = KeyRuns()
    for i in range(60_000):
        runs.append(np.array([(i * 2654435761) % 2**32], np.uint64))
    keys = runs.keys()
    assert len(keys.runs) <= 8
    assert sum(len(run.probes) for run in keys.runs) + keys.tail_rows == 60_000
