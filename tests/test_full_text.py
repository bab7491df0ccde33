"""BM25: a function makes of texts how often they say each word, and a search for words scores by that.

The oracle scores in float64, one document at a time, from the texts alone.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import elanus
from elanus import (
    Collection,
    DataType,
    Elanus,
    Field,
    Function,
    FunctionType,
    InvalidParameter,
    Schema,
    SchemaMismatch,
    Settings,
)
from elanus.engine.builders import InlineBuilders
from elanus.model.timestamps import FakeClock
from elanus.model.vector_columns import PAIR
from elanus.service.instance import Instance
from elanus.text.parse import analyzer_of
from elanus.text.terms import term_of, term_rows
from tests.native_case import QUIET, keys_in, open_folder

TEXT = Field("text", DataType.VARCHAR, max_length=2000, nullable=True, params={"enable_analyzer": "true"})
SPARSE = Field("sparse", DataType.SPARSE_FLOAT_VECTOR)
BM25 = Function("bm25", FunctionType.BM25, ("text",), ("sparse",))
OTHERS = (
    Field("id", DataType.INT64, is_primary=True),
    TEXT,
    Field("vector", DataType.FLOAT_VECTOR, dim=2),
    Field("shelf", DataType.INT64),
)
SCHEMA = Schema((*OTHERS, SPARSE), functions=(BM25,))

WORDS = "fox dog quick lazy brown jumps over moon river stone Müller straße 狐狸 one two three".split()
QUERIES = (
    "fox",
    "quick fox dog",
    "moon MOON moon river",
    "狐狸 straße unheard",
    "unheard of",
    "",
    "one two three stone",
)

Texts = dict[int, str | None]


def text_of(random: random.Random) -> str | None:
    kind = random.random()
    if kind < 0.06:
        return None if kind < 0.03 else ""
    return " ".join(random.choices(WORDS, weights=range(len(WORDS), 0, -1), k=random.randint(1, 30)))


def row(key: int, text: str | None) -> dict[str, Any]:
    return {"id": key, "text": text, "vector": [1.0, 0.0], "shelf": key % 3}


def words_of(text: str | None) -> list[str]:
    """As the standard analyzer cuts these texts."""
    return (text or "").lower().split()


def expected(texts: Texts, query: str, k1: float = 1.2, b: float = 0.75, shown: Any = None) -> list[tuple[int, float]]:
    """(key, score) of the texts that have a word of the query, best first; `shown` of the keys."""
    counts = {key: Counter(words_of(text)) for key, text in texts.items()}
    average = sum(sum(count.values()) for count in counts.values()) / max(1, len(counts))
    texts_with = {word: sum(word in count for count in counts.values()) for word in words_of(query)}
    found = []
    for key, count in counts.items():
        score = 0.0
        for word, said in Counter(words_of(query)).items():
            if count[word]:
                n = texts_with[word]
                idf = math.log(1 + (len(counts) - n + 0.5) / (n + 0.5))
                damped = k1 * (1 - b + b * sum(count.values()) / average)
                score += said * idf * count[word] * (k1 + 1) / (count[word] + damped)
        if score and (shown is None or shown(key)):
            found.append((key, score))
    return sorted(found, key=lambda pair: (-np.float32(pair[1]), pair[0]))


def check(collection: Collection, texts: Texts, k1: float = 1.2, b: float = 0.75) -> None:
    """That every search answers as the oracle does, also of some shelves, and of pages."""
    every = collection.search(list(QUERIES), field="sparse", limit=len(texts))
    for query, hits in zip(QUERIES, every, strict=True):
        agree(hits, expected(texts, query, k1, b))
    one_shelf = {"filter": "shelf == 1", "output_fields": ["text"], "limit": len(texts)}
    (some,) = collection.search("quick fox", field="sparse", **one_shelf)
    agree(some, expected(texts, "quick fox", k1, b, lambda key: key % 3 == 1))
    assert [hit["entity"]["text"] for hit in some] == [texts[hit["id"]] for hit in some]
    (page,) = collection.search("fox dog", field="sparse", limit=5, offset=3, metric="BM25")
    agree(page, expected(texts, "fox dog", k1, b)[3:8])


def agree(hits: Any, wanted: list[tuple[int, float]]) -> None:
    scores = [hit["distance"] for hit in hits]
    assert np.allclose(scores, [score for _, score in wanted], rtol=1e-5)
    assert scores == sorted(scores, reverse=True)
    by_key = dict(wanted)
    assert {hit["id"] for hit in hits} == by_key.keys()
    assert all(math.isclose(hit["distance"], by_key[hit["id"]], rel_tol=1e-5) for hit in hits)


def written(db: Elanus, schema: Schema = SCHEMA, rows: int = 150) -> tuple[Collection, Texts]:
    chance = random.Random(5)
    texts: Texts = {key: text_of(chance) for key in range(rows)}
    collection = db.create_collection("texts", schema)
    collection.insert([row(key, text) for key, text in texts.items()])
    return collection, texts


def changed(collection: Collection, texts: Texts) -> None:
    """Some texts go, others change: whole rows and by partial updates, that of the text or of anything else."""
    chance = random.Random(6)
    collection.delete([key for key in texts if key % 7 == 3])
    for key in [key for key in texts if key % 7 == 3]:
        del texts[key]
    keys = sorted(texts)
    new = {key: text_of(chance) for key in keys[::5]}
    collection.upsert([row(key, text) for key, text in new.items()])
    parts = {key: text_of(chance) for key in keys[1::9]}
    collection.upsert([{"id": key, "text": text} for key, text in parts.items()], partial=True)
    texts.update(new | parts)
    collection.upsert([{"id": key, "vector": [0.0, 1.0]} for key in keys[2::9]], partial=True)
    collection.upsert([row(1000 + key, "fox stone") for key in range(3)])
    texts.update({1000 + key: "fox stone" for key in range(3)})


def test_scores_are_those_of_the_formula_in_every_state(tmp_path: Path) -> None:
    db = open_folder(tmp_path / "db")
    collection, texts = written(db)
    check(collection, texts)
    collection.flush()
    check(collection, texts)
    changed(collection, texts)
    check(collection, texts)
    collection.flush()
    collection.compact()
    check(collection, texts)
    collection.insert([row(2000 + key, "dog dog over the moon") for key in range(5)])
    texts.update({2000 + key: "dog dog over the moon" for key in range(5)})
    db.close()
    db = open_folder(tmp_path / "db")
    check(db.collection("texts"), texts)
    db.close()


def test_a_function_that_is_added_makes_of_rows_that_are_there_what_it_makes_of_new_ones(tmp_path: Path) -> None:
    db = open_folder(tmp_path / "db")
    collection, texts = written(db, Schema(OTHERS), rows=60)
    collection.flush()
    growing = {200 + key: text for key, text in enumerate(("fox on the moon", None, "dog"))}
    collection.insert([row(key, text) for key, text in growing.items()])
    texts.update(growing)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "db").rglob("*.column")}
    collection.add_function(BM25, SPARSE)
    check(collection, texts)
    assert {path: path.stat().st_mtime_ns for path in files} == files
    changed(collection, texts)
    check(collection, texts)
    db.close()
    db = open_folder(tmp_path / "db")
    collection = db.collection("texts")
    check(collection, texts)
    collection.flush()
    check(collection, texts)
    collection.compact()
    check(collection, texts)
    with pytest.raises(InvalidParameter, match="field is referenced by function bm25 as input, drop function first"):
        collection.drop_field("text")
    with pytest.raises(InvalidParameter, match="field is referenced by function bm25 as output, drop function first"):
        collection.drop_field("sparse")
    collection.drop_function("bm25")
    assert collection.describe().schema.functions == ()
    assert collection.describe().indexes == ()
    assert [f.name for f in collection.describe().schema.fields] == ["id", "text", "vector", "shelf"]
    collection.insert([row(5000, "again")])
    collection.add_function(Function("other", FunctionType.BM25, ("text",), ("sparse",)), SPARSE)
    check(collection, texts | {5000: "again"})
    db.close()
    db = open_folder(tmp_path / "db")
    check(db.collection("texts"), texts | {5000: "again"})
    db.close()


def test_weights_are_those_of_the_index_and_partitions_change_no_score(tmp_path: Path) -> None:
    db = open_folder(tmp_path / "db")
    collection, texts = written(db, rows=60)
    collection.create_partition("other")
    collection.insert([row(100, "fox fox"), row(101, "dog")], partition="other")
    texts.update({100: "fox fox", 101: "dog"})
    (hits,) = collection.search("fox dog", field="sparse", partitions=["other"], limit=9)
    agree(hits, expected(texts, "fox dog", shown=lambda key: key >= 100))  # what counts is the whole collection
    collection.create_index("sparse", "SPARSE_INVERTED_INDEX", params={"bm25_k1": 0.5, "bm25_b": "1.0"})
    check(collection, texts, 0.5, 1.0)
    db.close()


def test_texts_that_have_expired_are_not_counted(tmp_path: Path) -> None:
    clock = FakeClock()
    db = Elanus(Instance.open(tmp_path / "db", QUIET, clock=clock, builders=InlineBuilders()))
    collection, texts = written(db, rows=30)
    clock.advance(60)
    collection.set_properties({"collection.ttl.seconds": "100"})
    later = {100 + key: f"fox on the moon {key}" for key in range(20)}
    collection.insert([row(key, text) for key, text in later.items()])
    check(collection, texts | later)
    clock.advance(60)
    check(collection, later)
    collection.flush()
    check(collection, later)
    db.close()


def test_what_a_function_makes_is_given_and_told_by_nobody(tmp_path: Path) -> None:
    db = open_folder(tmp_path / "db")
    collection, _ = written(db, rows=3)
    for write in (collection.insert, collection.upsert):
        with pytest.raises(SchemaMismatch, match="attempt to insert bm25 function output field"):
            write([{**row(1, "fox"), "sparse": {1: 1.0}}])
    with pytest.raises(SchemaMismatch, match="attempt to insert bm25 function output field"):
        collection.upsert([{"id": 1, "sparse": {1: 1.0}}], partial=True)
    assert collection.query("id == 1").column_names == ["id", "text", "vector", "shelf"]
    for read in (
        lambda: collection.query("id == 1", output_fields=["sparse"]),
        lambda: collection.search("fox", field="sparse", output_fields=["sparse"]),
    ):
        with pytest.raises(InvalidParameter, match="not allowed to retrieve raw data of field sparse"):
            read()
    for wrong in ({1: 1.0}, [[1.0, 2.0]], np.ones((1, 2), np.float32), [], ["fox", 1]):
        with pytest.raises(InvalidParameter, match="please provide varchar/text for BM25 Function based search"):
            collection.search(wrong, field="sparse")
    with pytest.raises(InvalidParameter, match="metric type not match"):
        collection.search("fox", field="sparse", metric="IP")
    assert keys_in(collection) == [0, 1, 2]
    db.close()


def test_a_word_is_known_by_the_number_that_analyzers_tell() -> None:
    assert term_of("123456789") == 0xCBF43926  # the check value of this CRC
    (made,) = term_rows(analyzer_of(""), pa.array(["狐狸 fox " + "x" * 40 + " fox"], pa.large_string())).to_pylist()
    pairs = dict(np.frombuffer(made, PAIR).tolist())
    assert pairs == {term_of("狐狸"): 1.0, term_of("fox"): 2.0, term_of("x" * 40): 1.0}
    assert term_of("é" * 60) == term_of("é" * 50)


def test_several_analyzers_cut_texts_by_another_field_and_queries_by_name(tmp_path: Path) -> None:
    several = {
        "enable_analyzer": "true",
        "multi_analyzer_params": '{"by_field": "language", "alias": {"en": "english"}, "analyzers": '
        '{"english": {"type": "english"}, "default": {"tokenizer": "whitespace"}}}',
    }
    schema = Schema(
        (
            Field("id", DataType.INT64, is_primary=True),
            Field("text", DataType.VARCHAR, max_length=99, params=several),
            Field("language", DataType.VARCHAR, max_length=9),
            SPARSE,
        ),
        functions=(BM25,),
    )
    db = open_folder(tmp_path / "db")
    collection = db.create_collection("texts", schema)
    rows = [("running foxes", "english"), ("running foxes", "fr"), ("Foxes run", "en"), ("run", "")]
    collection.insert([{"id": i, "text": text, "language": name} for i, (text, name) in enumerate(rows)])

    def found(query: str, **params: str) -> list[int]:
        (hits,) = collection.search(query, field="sparse", params=params)
        return sorted(hit["id"] for hit in hits)

    assert found("running") == [1]
    assert found("running", analyzer_name="english") == [0, 2, 3]
    assert found("running", analyzer_name="en") == [0, 2, 3]
    assert found("running", analyzer_name="none such") == [1]
    collection.upsert([{"id": 1, "language": "english"}], partial=True)
    assert found("running", analyzer_name="english") == [0, 1, 2, 3]
    collection.flush()
    assert found("fox", analyzer_name="en") == [0, 1, 2]
    db.close()


CASES = [
    (("", ("text",), ("sparse",)), "function name cannot be empty"),
    (("f", (), ("sparse",)), "function input field names cannot be empty"),
    (("f", ("text",), ()), "function output field names cannot be empty"),
    (("f", ("none",), ("sparse",)), "function input field not found: none"),
    (("f", ("text",), ("none",)), "function output field not found: none"),
    (("f", ("text",), ("text",)), "a single field cannot be both input and output in the same function"),
    (("f", ("text", "text"), ("sparse",)), "each function input field should be used exactly once"),
    (
        ("f", ("id",), ("sparse",)),
        "BM25 function input field must be a VARCHAR/TEXT field, got 1 field with type Int64",
    ),
    (("f", ("plain",), ("sparse",)), "BM25 function input field must set enable_analyzer to true"),
    (
        ("f", ("text",), ("vector",)),
        "BM25 function output field must be a SparseFloatVector field, but got FloatVector",
    ),
    (("f", ("text",), ("sparse", "vector")), "BM25 function only need 1 output field, but got 2"),
    (("f", ("text",), ("id",)), "function output field cannot be primary key: function f, field id"),
    (("f", ("text",), ("nullable",)), "function output field cannot be nullable: function f, field nullable"),
]


@pytest.mark.parametrize(("parts", "reason"), CASES)
def test_a_function_that_cannot_be_is_refused(tmp_path: Path, parts: Any, reason: str) -> None:
    fields = (
        *SCHEMA.fields,
        Field("plain", DataType.VARCHAR, max_length=9),
        Field("nullable", DataType.SPARSE_FLOAT_VECTOR, nullable=True),
    )
    name, inputs, outputs = parts
    db = open_folder(tmp_path / "db")
    with pytest.raises(InvalidParameter, match=reason):
        db.create_collection("c", Schema(fields, functions=(Function(name, FunctionType.BM25, inputs, outputs),)))
    with pytest.raises(InvalidParameter, match="duplicate function name: bm25"):
        db.create_collection("c", Schema(fields, functions=(BM25, BM25)))
    other = Function("other", FunctionType.BM25, ("text",), ("sparse",))
    with pytest.raises(InvalidParameter, match="duplicate function output field: function other, field sparse"):
        db.create_collection("c", Schema(fields, functions=(BM25, other)))
    assert db.list_collections() == []
    db.close()


def test_functions_come_and_go_while_threads_write_search_and_merge(tmp_path: Path) -> None:
    """Rows of the schema before and of the one after are found alike, and no search fails but for want of the field."""
    settings = Settings(seal_rows=300, seal_burst_s=0.0, index_min_rows=64, merge_fan_in=2)
    texts: Texts = {}
    with elanus.open(tmp_path / "db", settings=settings) as db:
        collection = db.create_collection("texts", Schema(OTHERS))
        done = threading.Event()
        failures: list[BaseException] = []

        def write(thread: int) -> None:
            chance = random.Random(thread)
            try:
                key = thread * 1_000_000
                while not done.is_set():
                    new = {key + i: text_of(chance) for i in range(7)}
                    collection.insert([row(k, text) for k, text in new.items()])
                    texts.update(new)
                    key += 7
                    time.sleep(0.002)
            except BaseException as error:
                failures.append(error)
                raise

        def read() -> None:
            while not done.is_set():
                try:
                    collection.search(["fox dog", "moon"], field="sparse", limit=5, output_fields=["*"])
                except InvalidParameter as error:
                    if "fieldName(sparse) not found" not in str(error):
                        failures.append(error)
                except BaseException as error:
                    failures.append(error)
                    raise

        threads = [threading.Thread(target=write, args=(n,)) for n in range(2)] + [threading.Thread(target=read)]
        for thread in threads:
            thread.start()
        for turn in range(6):
            collection.add_function(BM25, SPARSE)
            time.sleep(0.05)
            if turn % 2:
                collection.flush()
            if turn < 5:
                collection.drop_function("bm25")
        done.set()
        for thread in threads:
            thread.join()
        assert not failures
        check(collection, texts)
    with elanus.open(tmp_path / "db", settings=settings) as db:
        check(db.collection("texts"), texts)
