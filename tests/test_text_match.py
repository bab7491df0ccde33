"""Conditions on the words of a text: `text_match`, `text_match_fuzzy`, `phrase_match`."""

from __future__ import annotations

import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elanus import Collection, DataType, Elanus, Field, InvalidParameter, Schema
from elanus.expr.compile import compile_filter
from elanus.expr.kinds import Type
from elanus.expr.text_match import TextMatch
from elanus.expr.typed import (
    Column,
)
from elanus.scalar import words as word_index
from elanus.scalar.sections import Source
from elanus.text import analyzer
from elanus.text.analyzer import AnalyzedColumn
from elanus.text.match import NearWords, Phrase, TextQuery, Words
from elanus.text.parse import analyzer_of
from tests.native_case import STATES, bring_to, keys_in, open_folder, vectors
from tests.wire_case import DIM, Wire, make, refused

MATCHED = {"enable_analyzer": "true", "enable_match": "true"}
ENGLISH = {**MATCHED, "analyzer_params": orjson.dumps({"type": "english"}).decode()}

SCHEMA = Schema(
    (
        Field("id", DataType.INT64, is_primary=True),
        Field("vector", DataType.FLOAT_VECTOR, dim=4),
        Field("text", DataType.VARCHAR, max_length=1000, nullable=True, params=MATCHED),
        Field("english", DataType.VARCHAR, max_length=1000, default="no words", params=ENGLISH),
        Field("plain", DataType.VARCHAR, max_length=1000, nullable=True),
        Field("number", DataType.INT64, nullable=True),
    )
)

TEXTS = [
    "The quick brown fox jumps over the lazy dog",
    "a quick, QUICK fox",
    "brown dogs and brown foxes",
    "dog bites fox",
    "",
    None,
    "vector database",
    "database of vectors; vector search",
    "Füchse sind schnell",
    "quick brown brown fox",
]


def made(db: Elanus) -> Collection:
    collection = db.create_collection("texts", SCHEMA)
    numbers = range(len(TEXTS))
    rows = {"id": list(numbers), "vector": vectors(numbers), "text": TEXTS}
    collection.insert({**rows, "english": [text or "none" for text in TEXTS], "plain": TEXTS})
    return collection


CASES = [
    ("text_match(text, 'quick')", [0, 1, 9]),
    ("text_match(text, 'QUICK, dog!')", [0, 1, 3, 9]),
    ('TEXT_MATCH(text, "füchse")', [8]),
    ("text_match(text, 'quick brown fox', minimum_should_match=2)", [0, 1, 9]),
    ("text_match(text, 'quick brown fox', minimum_should_match=3)", [0, 9]),
    ("text_match(text, 'fox', minimum_should_match=2)", []),
    ("text_match(text, 'fox fox', minimum_should_match=2)", [0, 1, 3, 9]),
    ("text_match(text, 'nowhere')", []),
    ("text_match(text, '')", []),
    ("text_match(text, '...')", []),
    ("not text_match(text, 'quick')", [2, 3, 4, 6, 7, 8]),
    ("text_match(english, 'jumping dog')", [0, 2, 3]),
    ("text_match(english, 'the')", []),
    ("text_match(english, 'none')", [4, 5]),
    ("phrase_match(text, 'quick brown')", [0, 9]),
    ("phrase_match(text, 'quick fox')", [1]),
    ("phrase_match(text, 'quick fox', 1)", [0, 1]),
    ("phrase_match(text, 'quick fox', 2)", [0, 1, 9]),
    ("phrase_match(text, 'fox bites', 1)", []),
    ("phrase_match(text, 'fox bites', 2)", [3]),
    ("phrase_match(text, 'fox')", [0, 1, 3, 9]),
    ("phrase_match(text, 'brown brown fox')", [9]),
    ("phrase_match(english, 'over dog', 2)", [0]),
    ("phrase_match(english, 'over the lazy')", [0]),
    ("text_match_fuzzy(text, 'fux', max_edit_distance=1)", [0, 1, 3, 9]),
    ("text_match_fuzzy(text, 'vectro', max_edit_distance=1)", [6, 7]),
    ("text_match_fuzzy(text, 'vectro', max_edit_distance=0)", []),
    ("text_match_fuzzy(text, 'fuechse', max_edit_distance=2)", [8]),
    ("text_match(text, 'quick') and id > 0", [1, 9]),
    ("id == 3 or text_match(text, 'vector') or plain is null", [3, 5, 6, 7]),
    ("not (text_match(text, 'quick') or id == 5)", [2, 3, 4, 6, 7, 8]),
]


@pytest.mark.parametrize("state", STATES)
def test_rows_are_found_by_their_words_whatever_state_they_are_in(tmp_path: Path, state: str) -> None:
    db = open_folder(tmp_path)
    try:
        db, collection = bring_to(state, db, made(db), tmp_path)
        for condition, expected in CASES:
            assert keys_in(collection, condition) == expected, condition
        collection.delete([0])
        collection.upsert({"id": [1], "vector": vectors([1]), "text": ["slow fox"], "english": ["x"]})
        collection.insert({"id": [20], "vector": vectors([20]), "text": ["quick again"]})
        assert keys_in(collection, "text_match(text, 'quick')") == [9, 20]
        assert keys_in(collection, "text_match(english, 'word')") == [20]
        db, collection = bring_to(state, db, collection, tmp_path)
        assert keys_in(collection, "text_match(text, 'quick')") == [9, 20]
        assert keys_in(collection, "phrase_match(text, 'slow fox')") == [1]
        assert collection.count("text_match(text, 'quick')") == 2
        hits = collection.search(vectors([9])[0], limit=5, filter="text_match(text, 'quick')", field="vector")
        assert [hit["id"] for hit in hits[0]] == [9, 20]
    finally:
        db.close()


def answered_by_index(db: Elanus, condition: str) -> list[bool]:
    """Of each sealed segment, whether its text index answers."""
    snapshot = db._instance.collection(db._ctx, "texts").snapshot()
    node = compile_filter(condition, snapshot.manifest.schema).root
    return [unit.indexed is not None and unit.indexed(node) is not None for unit in snapshot.sealed]


def test_sealed_rows_are_found_by_an_index_that_nobody_has_to_create(tmp_path: Path) -> None:
    with open_folder(tmp_path) as db:
        collection = made(db)
        collection.flush()
        assert answered_by_index(db, "text_match(text, 'a')") == [False]
        collection.compact()
        assert collection.list_indexes() == []
        for condition, expected in CASES:
            assert keys_in(collection, condition) == expected, condition
            if (
                condition.startswith(("text_match", "phrase_match"))
                and " and " not in condition
                and "''" not in condition
            ):
                assert answered_by_index(db, condition) == [True] or expected == [], condition
        collection.delete([0])
        numbers = [20, 21, 22, 23, 24, 25, 26, 27, 28]
        collection.insert({"id": numbers, "vector": vectors(numbers), "text": ["quick again"] * 9})
        collection.flush()
        collection.compact()
        assert answered_by_index(db, "text_match(text, 'quick')") == [True]
        assert keys_in(collection, "phrase_match(text, 'quick again')") == numbers
        assert keys_in(collection, "text_match(text, 'quick')") == [1, 9, *numbers]
        collection.drop_field("text")
        assert keys_in(collection, "text_match(english, 'jumps')") == []
        assert keys_in(collection, "text_match(english, 'dog')") == [2, 3]
    with open_folder(tmp_path) as db:
        assert answered_by_index(db, "text_match(english, 'dog')") == [True]
        assert keys_in(db.collection("texts"), "text_match(english, 'dog')") == [2, 3]


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("text_match(plain, 'a')", 'field "plain" does not enable match'),
        ("text_match(number, 'a')", "text match operation on non-string is unsupported"),
        ("phrase_match(number, 'a')", "phrase match operation on non-string is unsupported"),
        ("text_match(nope, 'a')", "field nope not exist"),
        ("text_match(text)", "takes 2 to 3 arguments"),
        ("text_match(text, 1)", "should be a string"),
        ("text_match(text, plain)", "should be a string"),
        ("text_match(text, 'a', 2)", "expected minimum_should_match"),
        ("text_match(text, 'a', slop=2)", 'invalid option "slop" for text_match'),
        ("text_match(text, 'a', minimum_should_match=0)", "minimum_should_match should be >= 1, got 0"),
        ("text_match(text, 'a', minimum_should_match=1001)", "minimum_should_match should be <= 1000, got 1001"),
        ("text_match(text, 'a', minimum_should_match=1.5)", "const integer"),
        ("text_match_fuzzy(text, 'a')", "takes 3 arguments"),
        ("text_match_fuzzy(text, 'a', max_edit_distance=3)", "max_edit_distance should be in \\[0, 2\\], got 3"),
        ("phrase_match(text, 'a', -1)", "should not be a negative"),
        ("phrase_match(text, 'a', 4294967296)", 'exceeds the range of "uint32"'),
        ("phrase_match(text, 'a', 1.0)", "const integer"),
        ("id in [1] and (minimum_should_match=1)", "mismatched input '='"),
        ("phrase_match(text, slop=1)", "is an argument of no function here"),
        ("Text_Match(text, 'a')", "Text_Match not found"),
    ],
)
def test_what_is_no_condition_on_words_is_refused(tmp_path_factory: Any, condition: str, reason: str) -> None:
    with open_folder(tmp_path_factory.getbasetemp() / "refusals") as db:
        collection = db.create_collection("texts", SCHEMA)
        with pytest.raises(InvalidParameter, match=reason):
            collection.query(condition)


LETTERS = st.lists(st.sampled_from(["a", "b", "c", "ab", "ba", "äb", "abc"]), max_size=7)
STANDARD = analyzer_of("")


def spread(words: list[str], phrase: list[str]) -> int | None:
    """The least slop with which the phrase is in the text."""
    where = [[i for i, word in enumerate(words) if word == wanted] for wanted in phrase]
    moved = ([place - shift for shift, place in enumerate(chosen)] for chosen in product(*where))
    return min((max(chosen) - min(chosen) for chosen in moved), default=None)


def edits(a: str, b: str) -> int:
    d = {(i, 0): i for i in range(len(a) + 1)} | {(0, j): j for j in range(len(b) + 1)}
    for i, j in product(range(1, len(a) + 1), range(1, len(b) + 1)):
        d[i, j] = min(d[i - 1, j] + 1, d[i, j - 1] + 1, d[i - 1, j - 1] + (a[i - 1] != b[j - 1]))
        if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
            d[i, j] = min(d[i, j], d[i - 2, j - 2] + 1)
    return d[len(a), len(b)]


@settings(max_examples=150, deadline=None)
@given(st.lists(LETTERS, min_size=1, max_size=8), LETTERS, st.integers(0, 4))
def test_matches_are_those_of_a_plain_reading(rows: list[list[str]], query: list[str], number: int) -> None:
    column = pa.array([" ".join(words) for words in rows], pa.large_string())
    tokens = STANDARD.tokens(" ".join(query))
    least, distance = number + 1, number % 2 + 1
    texts = AnalyzedColumn(STANDARD, column)
    index = word_index.open_index(
        word_index.build(column, {}), Source(101, False, (), len(rows), False, lambda: column)
    )
    expected: list[tuple[TextQuery, list[bool]]] = [
        (Words.of(tokens, least), [sum(word in words for word in query) >= least for words in rows]),
        (
            NearWords.of(tokens, distance),
            [any(edits(word, other) <= distance for word in words for other in query) for words in rows],
        ),
    ]
    if query:
        widths = [spread(words, query) for words in rows]
        phrase = Phrase.of(tokens, number)
        expected.append((phrase, [width is not None and width <= number for width in widths]))
    for asked, matching in expected:
        assert asked.scan(texts).tolist() == matching
        answer = index.answer(TextMatch(Column(Field("text", DataType.VARCHAR, id=101), Type.STRING), asked, ""))
        assert answer is not None
        assert answer.to_pylist() == matching


@settings(max_examples=40, deadline=None)
@given(st.lists(LETTERS.filter(bool), min_size=1, max_size=6), st.sampled_from(["ab", "abc", "acb", "äbc"]))
def test_edits_and_two_word_phrases_are_counted_as_tantivy_counts_them(rows: list[list[str]], word: str) -> None:
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_text_field("text", tokenizer_name="words")
    builder.add_integer_field("row", stored=True, fast=True)
    schema = builder.build()
    index = tantivy.Index(schema)
    index.register_tokenizer("words", tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).build())
    writer = index.writer(num_threads=1)
    for row, words in enumerate(rows):
        writer.add_document(tantivy.Document(text=" ".join(words), row=row))
    writer.commit()
    index.reload()
    searcher = index.searcher()

    def theirs(query: Any) -> list[int]:
        return sorted(searcher.doc(address)["row"][0] for _, address in searcher.search(query, len(rows)).hits)

    texts = AnalyzedColumn(STANDARD, pa.array([" ".join(words) for words in rows], pa.large_string()))
    for distance in (1, 2):
        query = tantivy.Query.fuzzy_term_query(schema, "text", word, distance, True)
        assert np.flatnonzero(NearWords.of(STANDARD.tokens(word), distance).scan(texts)).tolist() == theirs(query)
    for slop in (0, 1, 3):
        query = tantivy.Query.phrase_query(schema, "text", ["ab", "ba"], slop)
        assert np.flatnonzero(Phrase.of(STANDARD.tokens("ab ba"), slop).scan(texts)).tolist() == theirs(query)


@settings(max_examples=60, deadline=None)
@given(st.text("ab", min_size=20, max_size=40), st.lists(st.integers(0, 159), max_size=3), st.integers(1, 2))
def test_long_words_are_compared_in_a_band_without_a_difference(word: str, changes: list[int], most: int) -> None:
    other = word
    for change in changes:
        at, kind = change // 4 % len(other), change % 4
        swapped = other[at : at + 2][::-1]
        other = other[:at] + ("", "c" + other[at], "c", swapped)[kind] + other[at + (2 if kind == 3 else 1) :]
    near = NearWords((word,), most).near(pa.array([other], pa.large_string()))
    assert bool(near[0]) is (edits(word, other) <= most)


def test_many_questions_of_one_text_are_bound_and_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each alone, they would take some 0.5 ms to cut what is asked for, and 5 ms to cut the rows again."""
    text = " or ".join(f"text_match(text, 'w{i} x{i}')" for i in range(400))
    compile_filter("text_match(text, 'kernels are compiled')", SCHEMA)
    started = time.process_time()
    bound = compile_filter(text, SCHEMA)
    assert time.process_time() - started < 0.1
    column = pa.array([f"w{i} of many words that say nothing" for i in range(10_000)], pa.large_string())

    class Columns:
        def column(self, field_id: int) -> pa.Array:
            return column

    def answered() -> list[int]:
        return np.flatnonzero(bound.evaluate(Columns(), len(column)).to_numpy(zero_copy_only=False)).tolist()

    assert answered() == list(range(400))
    started = time.process_time()
    answered()
    assert time.process_time() - started < 0.8
    monkeypatch.setattr(analyzer, "KEPT_BYTES", 16 * 7 * 4000)
    monkeypatch.setattr(analyzer, "BLOCK_ROWS", 3000)
    few = compile_filter("text_match(text, 'w1 w5000') or text_match(text, 'w9999')", SCHEMA)
    assert few.evaluate(Columns(), len(column)).true_count == 3


def test_clients_find_rows_by_their_words(wire: Wire) -> None:
    from pymilvus import DataType as Kind

    client = wire.client
    schema = client.create_schema()
    schema.add_field("id", Kind.INT64, is_primary=True)
    schema.add_field("vector", Kind.FLOAT_VECTOR, dim=DIM)
    schema.add_field("text", Kind.VARCHAR, max_length=200, enable_analyzer=True, enable_match=True, nullable=True)
    schema.add_field("plain", Kind.VARCHAR, max_length=200, nullable=True)
    make(client, "texts", schema, {"vector": "AUTOINDEX"})
    rows = [{"id": i, "vector": [float(i)] * DIM, "text": text} for i, text in enumerate(TEXTS)]
    client.insert("texts", rows)

    def found(condition: str, **params: Any) -> list[int]:
        return [row["id"] for row in client.query("texts", condition, filter_params=params, output_fields=["id"])]

    assert found("text_match(text, {query})", query="vector") == [6, 7]
    assert found("phrase_match(text, {query}, 0)", query="vector database") == [6]
    assert found("text_match_fuzzy(text, {query}, max_edit_distance=1)", query="databse") == [6, 7]
    assert client.query("texts", "text_match(text, 'quick fox')", output_fields=["count(*)"])[0]["count(*)"] == 4
    with refused(1100, "failed to create query plan: cannot parse expression"):
        found("text_match(plain, 'a')")
    client.delete("texts", filter="text_match(text, 'vector')")
    assert found("text_match(text, 'vector') or id == 3") == [3]
