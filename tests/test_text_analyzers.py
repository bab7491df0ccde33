"""Analyzers: what they make of texts, and what is said of those that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
import tantivy
from hypothesis import given, settings
from hypothesis import strategies as st

from elanus import DataType, Field, InvalidParameter, Schema
from elanus.model.layout import layout
from elanus.text.analyzer import BLOCK_ROWS
from elanus.text.chinese import Jieba, _cutter
from elanus.text.parse import analyzer_of
from elanus.text.tokenizers import Texts
from tests.native_case import open_folder
from tests.wire_case import DIM, Wire, refused


def tokens(text: str, **params: Any) -> list[str]:
    return [token.text for token in analyzer_of(orjson.dumps(params).decode() if params else "").tokens(text)]


def custom(text: str, *chain: Any, tokenizer: Any = "standard") -> list[str]:
    return tokens(text, tokenizer=tokenizer, filter=list(chain))


@pytest.mark.parametrize(
    ("params", "text", "expected"),
    [
        ({}, "The QUICK-brown fox's", ["the", "quick", "brown", "fox", "s"]),
        ({"type": "standard", "stop_words": ["of", "_english_"]}, "The ship of fools", ["ship", "fools"]),
        ({"type": "english"}, "The runners were running with dogs", ["runner", "were", "run", "dog"]),
        ({"type": "english", "stop_words": ["run"]}, "running dogs", ["dog"]),
        ({"tokenizer": "standard"}, "Ünïcode ÇA va", ["Ünïcode", "ÇA", "va"]),
        ({"tokenizer": "whitespace"}, "a-b  c\td", ["a-b", "c", "d"]),
        ({"tokenizer": {"type": "char_group", "delimiters": ["-", "digit"]}}, "a-b1c d", ["a", "b", "c d"]),
        ({"tokenizer": {"type": "ngram", "min_gram": 2, "max_gram": 3}}, "äbcd", ["äb", "äbc", "bc", "bcd", "cd"]),
        ({"tokenizer": {"type": "ngram", "min_gram": 1, "max_gram": 2, "prefix_only": True}}, "äb c", ["ä", "äb"]),
    ],
)
def test_built_in_analyzers_and_tokenizers(params: dict[str, Any], text: str, expected: list[str]) -> None:
    assert tokens(text, **params) == expected


@pytest.mark.parametrize(
    ("chain", "text", "expected"),
    [
        (["lowercase"], "ÄÖ İ ΑΣ", ["äö", "i̇", "ασ"]),
        (["asciifolding"], "Çedille Ærø", ["Cedille", "AEro"]),
        (["alphanumonly"], "ab äb 12", ["ab", "12"]),
        (["decimaldigit"], "٣٤ x५", ["34", "x5"]),
        ([{"type": "length", "max": 3}], "abc abcd ä äää", ["abc", "ä"]),
        ([{"type": "stop", "stop_words": ["_french_", "chat"]}], "le chat et nous chantons", ["chantons"]),
        ([{"type": "stemmer", "language": "German"}], "Häuser laufend", ["Haus", "laufend"]),
        ([{"type": "regex", "expr": "^a"}], "abc bcd a", ["abc", "a"]),
        ([{"type": "decompounder", "word_list": ["dampf", "schiff", "fahrt"]}], "dampfschifffahrt dampfer",
         ["dampf", "schiff", "fahrt", "dampfer"]),
        ([{"type": "synonym", "synonyms": ["big, large", "tv => television, set"]}], "large tv",
         ["large", "big", "tv", "television", "set"]),
        ([{"type": "synonym", "expand": False, "synonyms": ["big, large", "tv => set"]}], "large tv", ["big", "set"]),
        (["lowercase", {"type": "stop", "stop_words": ["the"]}], "The THE end", ["end"]),
        ([{"type": "stop", "stop_words": ["the"]}, "lowercase"], "The the", ["the"]),
    ],
)  # fmt: skip
def test_filters(chain: list[Any], text: str, expected: list[str]) -> None:
    assert custom(text, *chain) == expected


def test_filters_of_punctuation_and_chinese_characters() -> None:
    parted = "a , 好 好! ..."
    assert custom(parted, "removepunct", tokenizer="whitespace") == ["a", "好"]
    assert custom(parted, "cncharonly", tokenizer="whitespace") == ["好", "好!"]
    assert custom(parted, "cnalphanumonly", tokenizer="whitespace") == ["a", "好", "好!"]


def test_chinese_is_cut_by_a_dictionary_and_offsets_count_bytes() -> None:
    found = analyzer_of('{"type": "chinese"}').tokens("我来到北京, OK")
    assert [t.text for t in found] == ["我", "来到", "北京", "OK"]
    assert [(t.start, t.end, t.position, t.length) for t in found] == [
        (0, 3, 0, 1),
        (3, 9, 1, 2),
        (9, 15, 3, 2),
        (17, 19, 7, 2),
    ]
    whole = {"type": "jieba", "mode": "search"}
    assert custom("中华人民共和国", tokenizer=whole) == ["中华", "华人", "人民", "共和", "共和国", "中华人民共和国"]
    assert custom("中华人民共和国", tokenizer={"type": "jieba", "mode": "exact"}) == ["中华人民共和国"]
    own = {"type": "jieba", "dict": ["结巴分词器"], "hmm": False, "mode": "exact"}
    assert custom("milvus结巴分词器中文", tokenizer=own) == ["milvus", "结巴分词器", "中", "文"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["中文", "zhong", "wen", "OK", "绿色", "lü", "se"]),
        ({"keep_full_pinyin": False, "keep_joined_full_pinyin": True}, ["中文", "zhongwen", "OK", "绿色", "lüse"]),
        ({"keep_full_pinyin": False, "keep_separate_first_letter": True}, ["中文", "zw", "OK", "绿色", "ls"]),
        (
            {"keep_original": False, "keep_joined_full_pinyin": True, "keep_separate_first_letter": True},
            ["zhong", "wen", "zhongwen", "zw", "lü", "se", "lüse", "ls"],
        ),
        ({"keep_original": False, "keep_full_pinyin": False}, []),
    ],
)
def test_chinese_words_are_found_by_their_sound(options: dict[str, bool], expected: list[str]) -> None:
    assert custom("中文OK绿色", {"type": "pinyin", **options}, tokenizer="jieba") == expected


def test_a_syllable_stands_where_its_character_does() -> None:
    found = analyzer_of('{"tokenizer": "jieba", "filter": ["pinyin"]}').tokens("来到北京")
    assert [(t.text, t.start, t.end, t.position) for t in found] == [
        ("来到", 0, 6, 0), ("lai", 0, 6, 0), ("dao", 0, 6, 1),
        ("北京", 6, 12, 2), ("bei", 6, 12, 2), ("jing", 6, 12, 3),
    ]  # fmt: skip
    found = analyzer_of('{"tokenizer": "standard", "filter": ["pinyin"]}').tokens("a 来到北京")
    assert [(t.text, t.position) for t in found] == [
        ("a", 0), ("来到北京", 1), ("lai", 1), ("dao", 2), ("bei", 1), ("jing", 1),
    ]  # fmt: skip


CHINESE = st.text(
    st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF)
    | st.sampled_from(
        "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法所民得经"
    )
    | st.sampled_from("aZ09+#&._%- ,。\r\n\u3000é😀"),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(CHINESE, min_size=1, max_size=4), st.booleans(), st.booleans(), st.sampled_from([(), ("在不了", "a.9")])
)
def test_chinese_is_cut_as_the_package_jieba_cuts_it(
    texts: list[str], search: bool, hmm: bool, words: tuple[str, ...]
) -> None:
    tokenizer = Jieba(words, True, search, hmm)
    theirs = _cutter(words, True)
    column = pa.array(texts, pa.large_string())
    spans = tokenizer.spans(Texts(*layout(column)))
    for i, text in enumerate(texts):
        own = range(spans.rows[i], spans.rows[i + 1])
        begin = sum(len(before.encode()) for before in texts[:i])
        encoded = text.encode()
        found = [(encoded[spans.starts[j] - begin : spans.ends[j] - begin].decode(), spans.positions[j]) for j in own]
        mode = "search" if search else "default"
        expected = [(word, start) for word, start, _ in theirs.tokenize(text, mode, hmm)]
        assert found == expected


def test_what_a_filter_drops_leaves_its_place_empty() -> None:
    found = analyzer_of('{"type": "english"}').tokens("one of the houses")
    assert [(t.text, t.start, t.end, t.position) for t in found] == [("one", 0, 3, 0), ("hous", 11, 17, 3)]


def test_a_word_with_a_nul_in_it_is_no_trouble() -> None:
    assert custom("running\0dogs running \0", {"type": "stemmer", "language": "english"}, tokenizer="whitespace") == [
        "running\0dogs", "run", "\0",
    ]  # fmt: skip


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.text(
    "aAä ßİ-ǅΣ2²½ⅷ\u0301\u200dก", max_size=12
)


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_standard_tokens_are_those_of_tantivy(texts: list[str]) -> None:
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    theirs = builder.filter(tantivy.Filter.lowercase()).build()
    analyzer = analyzer_of("")
    for text in texts:
        found = analyzer.tokens(text)
        expected = theirs.pre_tokenize(text).tokens
        assert [(t.text, t.position) for t in found] == [(t.text, t.position) for t in expected]
        assert [(len(text.encode()[: t.start].decode()), len(text.encode()[: t.end].decode())) for t in found] == [
            (t.char_offset_from, t.char_offset_to) for t in expected
        ]


def parted(word: str, listed: list[str]) -> list[str]:
    """What a decompounder makes of a word, read plainly."""
    parts, rest = [], word
    while rest:
        part = max((part for part in listed if rest.startswith(part)), key=len, default=None)
        if part is None:
            return [word]
        parts.append(part)
        rest = rest[len(part) :]
    return parts


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text("aäb", min_size=1, max_size=6), min_size=1, max_size=5),
    st.lists(st.text("aäb", min_size=1, max_size=3), min_size=1, max_size=4),
)
def test_compounds_are_parted_from_the_left_by_the_longest_word(words: list[str], listed: list[str]) -> None:
    found = custom(" ".join(words), {"type": "decompounder", "word_list": listed})
    assert found == [part for word in words for part in parted(word, listed)]


@settings(max_examples=50, deadline=None)
@given(st.lists(TEXTS | CHINESE, max_size=4))
def test_texts_are_cut_together_as_each_alone(texts: list[str]) -> None:
    for params in ("", '{"type": "english"}', '{"tokenizer": "jieba", "filter": ["pinyin"]}'):
        analyzer = analyzer_of(params)
        assert analyzer.tokens_of_each(texts) == [analyzer.tokens(text) for text in texts]


def test_a_long_column_is_analyzed_in_blocks_without_a_difference() -> None:
    rows = BLOCK_ROWS + 3
    column = pa.array([f"w{i % 7} End{i}" for i in range(rows)], pa.large_string()).slice(1)
    seen = 0
    for first, block in analyzer_of("").blocks(column):
        assert first == seen
        words = block.vocabulary.take(pa.array(block.terms[block.forms[block.ids]])).to_pylist()
        count = len(block.spans.rows) - 1
        assert words == [word for i in range(seen + 1, seen + count + 1) for word in (f"w{i % 7}", f"end{i}")]
        seen += count
    assert seen == rows - 1


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ("{", "no JSON"),
        ("[1]", "should be a JSON object"),
        ('{"type": 1}', "type should be string"),
        ('{"type": "klingon"}', "standard, english and chinese"),
        ('{"filter": []}', "tokenizer name or type must be set"),
        ('{"tokenizer": 1}', "string or dict"),
        ('{"tokenizer": {}}', "must set type"),
        ('{"tokenizer": "icu"}', "not in this version"),
        ('{"tokenizer": "nope"}', "unsupported tokenizer"),
        ('{"tokenizer": "standard", "filters": []}', "unknown analyzer option key: filters"),
        ('{"tokenizer": "standard", "filter": {}}', "should be array"),
        ('{"tokenizer": "standard", "filter": ["nope"]}', "filter not found"),
        ('{"tokenizer": "standard", "filter": [{}]}', "no type field"),
        ('{"tokenizer": "standard", "filter": [{"type": "length", "max": -1}]}', "max param"),
        ('{"tokenizer": "standard", "filter": [{"type": "stop", "stop_words": 1}]}', "should be array"),
        ('{"tokenizer": "standard", "filter": [{"type": "stop", "stop_words": ["_thai_"]}]}', "no stop words"),
        ('{"tokenizer": "standard", "filter": [{"type": "stemmer", "language": "latin"}]}', "unsupport language"),
        ('{"tokenizer": "standard", "filter": [{"type": "regex", "expr": "("}]}', "regex expression invalid"),
        ('{"tokenizer": "standard", "filter": [{"type": "decompounder", "word_list": []}]}', "empty"),
        ('{"tokenizer": "standard", "filter": [{"type": "synonym", "synonyms": ["a b"]}]}', "space between words"),
        ('{"tokenizer": "standard", "filter": [{"type": "synonym", "synonyms": ["a\\\\x"]}]}', "escaped"),
        ('{"tokenizer": "standard", "filter": [{"type": "pinyin", "keep_original": 1}]}', "must be a boolean value"),
        ('{"tokenizer": "standard", "filter": [{"type": "regex", "expr": "(\\\\pL{100})+"}]}', "repeats too much"),
        ('{"tokenizer": "standard", "filter": [{"type": "synonym", "synonyms_file": {}}]}', "file resource"),
        ('{"tokenizer": {"type": "char_group", "delimiters": ["nope"]}}', "not a char"),
        ('{"tokenizer": {"type": "ngram", "min_gram": 3, "max_gram": 2}}', "must not be greater"),
        ('{"tokenizer": {"type": "jieba", "mode": "fast"}}', "exact"),
    ],
)
def test_what_is_no_analyzer_is_refused_with_the_reason(params: str, reason: str) -> None:
    with pytest.raises(InvalidParameter, match=reason):
        analyzer_of(params)


MULTI = {"by_field": "lang", "analyzers": {"default": {}, "en": {"type": "english"}}, "alias": {"english": "en"}}


def declared(**params: str) -> Schema:
    return Schema(
        (
            Field("id", DataType.INT64, is_primary=True),
            Field("vector", DataType.FLOAT_VECTOR, dim=4),
            Field("lang", DataType.VARCHAR, max_length=8),
            Field("text", DataType.VARCHAR, max_length=100, params=params),
        )
    )


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"enable_match": "true"}, "must also enable_analyzer"),
        ({"analyzer_params": '{"type": "no"}'}, "validate analyzer failed for field: text, error: unknown build-in"),
        ({"multi_analyzer_params": orjson.dumps(MULTI).decode(), "enable_match": "true"}, "only support for bm25"),
        ({"multi_analyzer_params": orjson.dumps(MULTI).decode(), "analyzer_params": "{}"}, "should be none"),
        ({"multi_analyzer_params": "{}"}, "by_field"),
        ({"multi_analyzer_params": '{"by_field": "nope"}'}, "not exist"),
        ({"multi_analyzer_params": '{"by_field": "id"}'}, "is not string"),
        ({"multi_analyzer_params": '{"by_field": "lang", "analyzers": {}}'}, "must set default"),
        ({"multi_analyzer_params": '{"by_field": "lang", "analyzers": {"default": {"type": "no"}}}'}, "name: default"),
    ],
)
def test_a_schema_with_a_wrong_analyzer_makes_no_collection(
    tmp_path: Path, params: dict[str, str], reason: str
) -> None:
    enabled = {} if params == {"enable_match": "true"} else {"enable_analyzer": "true"}
    with open_folder(tmp_path) as db:
        with pytest.raises(InvalidParameter, match=reason):
            db.create_collection("texts", declared(**enabled, **params))
        assert not db.has_collection("texts")


def test_an_analyzer_is_tried_out_natively(tmp_path: Path) -> None:
    with open_folder(tmp_path) as db:
        db.create_collection(
            "texts", declared(enable_analyzer="true", multi_analyzer_params=orjson.dumps(MULTI).decode())
        )
        found = db.run_analyzer(["Running dogs"], {"type": "english"})
        assert [token.text for token in found[0]] == ["run", "dog"]
        by_field = db.run_analyzer(["Running", "Dogs"], collection="texts", field="text", names=["english", "xx"])
        assert [[token.text for token in tokens] for tokens in by_field] == [["run"], ["dogs"]]
        with pytest.raises(InvalidParameter, match="no analyzer"):
            db.run_analyzer(["a"], collection="texts", field="lang")


def test_an_analyzer_is_tried_out_by_a_client(wire: Wire) -> None:
    from pymilvus import DataType as Kind

    client = wire.client
    schema = client.create_schema()
    schema.add_field("id", Kind.INT64, is_primary=True)
    schema.add_field("vector", Kind.FLOAT_VECTOR, dim=DIM)
    schema.add_field(
        "text",
        Kind.VARCHAR,
        max_length=100,
        enable_analyzer=True,
        enable_match=True,
        analyzer_params={"type": "english"},
    )
    client.create_collection("texts", schema=schema)
    told = {f["name"]: f["params"] for f in client.describe_collection("texts")["fields"]}["text"]
    assert str(told["enable_match"]).lower() == "true"

    assert list(client.run_analyzer("Running dogs", {"type": "english"}).tokens) == ["run", "dog"]
    detailed = client.run_analyzer(["Ä b"], {"tokenizer": "standard"}, with_detail=True, with_hash=True)
    first, second = detailed[0].tokens
    assert (first["token"], first["start_offset"], first["end_offset"], first["position"]) == ("Ä", 0, 2, 0)
    assert (second["token"], second["start_offset"], second["end_offset"], second["hash"]) == ("b", 3, 4, 0x71BEEFF9)
    of_field = client.run_analyzer(["Running"], collection_name="texts", field_name="text")
    assert list(of_field[0].tokens) == ["run"]
    with refused(1100, "unsupported tokenizer"):
        client.run_analyzer("a", {"tokenizer": "icu"})
    with refused(1100, "field nope not exist"):
        client.run_analyzer("a", collection_name="texts", field_name="nope")
