"""Analyzers from what a schema or a request says of them, as Milvus writes it: JSON.

    {"type": "english", "stop_words": ["of"]}                                a built-in analyzer
    {"tokenizer": "standard", "filter": ["lowercase", {"type": "length", "max": 40}]}

Nothing, or an empty object, is the standard analyzer. Everything here raises `InvalidParameter`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from elanus.model.errors import InvalidParameter
from elanus.text import filters, tokenizers, unicode
from elanus.text.analyzer import Analyzer
from elanus.text.filters import Matching, Replaced, Shorter, Stemmed, Stopped, TokenFilter
from elanus.text.regex_weight import MAX_WEIGHT, weight
from elanus.text.synonyms import synonyms_of
from elanus.text.tokenizers import Tokenizer

MAX_GRAM = 255
"""Characters of the longest token that `ngram` makes."""

ABSENT_TOKENIZERS = ("grpc", "icu", "language_identifier", "lindera", "thai")
"""Tokenizers of Milvus that Elanus does not have."""

MAX_PART = 255
"""Characters of the longest word of a decompounder. A compound is looked at from each place as far as this."""

_PINYIN_OPTIONS = {
    "keep_original": True,
    "keep_full_pinyin": True,
    "keep_joined_full_pinyin": False,
    "keep_separate_first_letter": False,
}

Json = Mapping[str, Any]


@lru_cache(maxsize=256)
def analyzer_of(params: str) -> Analyzer:
    """The analyzer that `params` describes, as JSON text."""
    if not params:
        return _of_object({})
    try:
        parsed = orjson.loads(params)
    except orjson.JSONDecodeError as error:
        raise InvalidParameter(f"analyzer params are no JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise InvalidParameter(f"analyzer params should be a JSON object, not {params[:60]}")
    return _of_object(parsed)


def _of_object(params: Json) -> Analyzer:
    if not params:
        return Analyzer(tokenizers.standard(), (_lowercase(),))
    if "type" in params:
        return _built_in(params)
    if "tokenizer" not in params:
        raise InvalidParameter("analyzer params: tokenizer name or type must be set")
    for key in params:
        if key not in ("tokenizer", "filter"):
            raise InvalidParameter(f"unknown analyzer option key: {key}; the options are tokenizer and filter")
    tokenizer = _tokenizer(params["tokenizer"])
    return Analyzer(tokenizer, _filters(params.get("filter", []), tokenizer))


def _built_in(params: Json) -> Analyzer:
    kind = params["type"]
    if not isinstance(kind, str):
        raise InvalidParameter("analyzer type should be string")
    stop_words = _stopped(params["stop_words"], "filter stop_words") if "stop_words" in params else ()
    if kind == "standard":
        return Analyzer(tokenizers.standard(), (_lowercase(), *stop_words))
    if kind == "english":
        english = _lowercase(), Stemmed("english"), Stopped((), ("english",))
        return Analyzer(tokenizers.standard(), (*english, *stop_words))
    if kind == "chinese":
        return Analyzer(_tokenizer("jieba"), (Matching(filters.HAN_OR_ALPHANUMERIC), *stop_words))
    raise InvalidParameter(
        f"unknown build-in analyzer type: {kind}; Elanus has standard, english and chinese, "
        "others can be put together from a tokenizer and filters"
    )


# --- tokenizers ------------------------------------------------------------------------------------------------------


def _tokenizer(params: Any) -> Tokenizer:
    if isinstance(params, str):
        kind, params = params, None
    elif isinstance(params, dict):
        if "type" not in params:
            raise InvalidParameter("customized tokenizer must set type")
        kind = params["type"]
        if not isinstance(kind, str):
            raise InvalidParameter("tokenizer type should be string")
    else:
        raise InvalidParameter("tokenizer name should be string or dict")
    if kind == "standard":
        return tokenizers.standard()
    if kind == "whitespace":
        return tokenizers.whitespace()
    if kind == "jieba":
        from elanus.text.chinese import jieba_of

        return jieba_of(params or {})
    if kind in ("char_group", "ngram"):
        if params is None:
            raise InvalidParameter(f"{kind.replace('_', ' ')} tokenizer must be customized")
        return _char_group(params) if kind == "char_group" else _grams(params)
    available = "standard, whitespace, char_group, ngram and jieba"
    if kind in ABSENT_TOKENIZERS:
        raise InvalidParameter(f"unsupported tokenizer: {kind} is not in this version of Elanus, which has {available}")
    raise InvalidParameter(f"unsupported tokenizer: {kind}; there are {available}")


def _char_group(params: Json) -> Tokenizer:
    delimiters = params.get("delimiters")
    if delimiters is None:
        raise InvalidParameter("char group tokenizer delimiters can't be empty")
    if not isinstance(delimiters, list):
        raise InvalidParameter("char group tokenizer delimiters must be a vector")
    characters, groups = "", []
    for delimiter in delimiters:
        if not isinstance(delimiter, str):
            raise InvalidParameter("char group tokenizer delimiter in delimiters must be string")
        if len(delimiter) == 1:
            characters += delimiter
        elif unicode.group(delimiter) is None:
            raise InvalidParameter(f"{delimiter} not a char or name of build-in char group")
        else:
            groups.append(delimiter)
    return tokenizers.char_group(characters, tuple(groups))


def _grams(params: Json) -> Tokenizer:
    sizes = []
    for key in ("min_gram", "max_gram"):
        size = params.get(key)
        if type(size) is not int or not 1 <= size <= MAX_GRAM:
            raise InvalidParameter(f"ngram tokenizer {key} should be a whole number from 1 to {MAX_GRAM}, not {size}")
        sizes.append(size)
    if sizes[0] > sizes[1]:
        raise InvalidParameter("ngram tokenizer min_gram must not be greater than max_gram")
    return tokenizers.Grams(sizes[0], sizes[1], _flag(params, "prefix_only", False, "ngram tokenizer"))


# --- filters ---------------------------------------------------------------------------------------------------------


def _lowercase() -> TokenFilter:
    return Replaced(unicode.lower)


@cache
def _named() -> dict[str, TokenFilter]:
    """The filters that take no options."""
    return {
        "lowercase": _lowercase(),
        "asciifolding": Replaced(unicode.ascii_folded),
        "alphanumonly": Matching(filters.ALPHANUMERIC_ONLY),
        "cncharonly": Matching(filters.HAN),
        "cnalphanumonly": Matching(filters.HAN_OR_ALPHANUMERIC),
        "removepunct": Matching(filters.PUNCTUATION_OR_SPACE, wanted=False),
        "decimaldigit": Replaced(unicode.decimal_digits),
        "arabic_normalization": Replaced(unicode.arabic_normalized),
    }


def _filters(params: Any, tokenizer: Tokenizer) -> tuple[TokenFilter, ...]:
    if not isinstance(params, list):
        raise InvalidParameter("filter params should be array")
    chain: list[TokenFilter] = []
    for given in params:
        if given == "pinyin" or (isinstance(given, dict) and given.get("type") == "pinyin"):
            chain.append(_pinyin(given if isinstance(given, dict) else {}, tokenizer))
        elif isinstance(given, str):
            if given not in _named():
                raise InvalidParameter(
                    f"build analyzer failed, filter not found :{given}. By name alone there are {', '.join(_named())}; "
                    f"with options, as an object with a type, {', '.join(_WITH_OPTIONS)}, and both ways pinyin"
                )
            chain.append(_named()[given])
        elif isinstance(given, dict):
            chain.extend(_with_options(given))
        else:
            raise InvalidParameter(f"a filter should be a name or an object with a type, not {given}")
    return tuple(chain)


def _with_options(params: Json) -> tuple[TokenFilter, ...]:
    kind = params.get("type")
    if kind is None:
        raise InvalidParameter("no type field in filter params")
    if not isinstance(kind, str):
        raise InvalidParameter("filter type should be string")
    for key in params:
        if key.endswith("_file"):
            raise InvalidParameter(
                f"filter {kind}: {key} names a file resource, which Elanus does not have; give a list"
            )
    build = _WITH_OPTIONS.get(kind)
    if build is not None:
        return build(params)
    raise InvalidParameter(f"unsupport filter type: {kind}; there are {', '.join(_WITH_OPTIONS)} and pinyin")


def _pinyin(params: Json, tokenizer: Tokenizer) -> TokenFilter:
    from elanus.text import pinyin

    asked = []
    for key, default in _PINYIN_OPTIONS.items():
        value = params.get(key, default)
        if not isinstance(value, bool):
            raise InvalidParameter(f"{key} must be a boolean value")
        asked.append(value)
    pinyin.check_package()
    return pinyin.Pinyin(asked[0], asked[1], asked[2], asked[3], tokenizer.counts_characters)


def _length(params: Json) -> tuple[TokenFilter, ...]:
    most = params.get("max")
    if type(most) is not int or most < 0:
        raise InvalidParameter("lenth max param was none or not uint")
    return (Shorter(most),)


def _stop(params: Json) -> tuple[TokenFilter, ...]:
    return _stopped(params["stop_words"], "stop_words") if "stop_words" in params else ()


def _stopped(words: Any, label: str) -> tuple[TokenFilter, ...]:
    listed, languages = [], []
    for word in _strings(words, label):
        language = word[1:-1] if len(word) > 2 and word[0] == word[-1] == "_" else ""
        if language in filters.LANGUAGES_WITH_STOP_WORDS:
            languages.append(language)
        elif language in ("arabic", "chinese", "thai"):
            raise InvalidParameter(
                f"{label}: Elanus has no stop words for {word}; list them, or take one of "
                + ", ".join(f"_{known}_" for known in filters.LANGUAGES_WITH_STOP_WORDS)
            )
        else:
            listed.append(word)
    return (Stopped(tuple(listed), tuple(languages)),) if listed or languages else ()


def _stemmer(params: Json) -> tuple[TokenFilter, ...]:
    language = params.get("language")
    if not isinstance(language, str):
        raise InvalidParameter("stemmer language field should be string")
    language = language.lower().replace("arabig", "arabic")
    if language not in filters.LANGUAGES:
        raise InvalidParameter(
            f"create stemmer failed : unsupport language: {language}; there are {', '.join(filters.LANGUAGES)}"
        )
    return (Stemmed(language),)


def _decompounder(params: Json) -> tuple[TokenFilter, ...]:
    words = params.get("word_list")
    if not isinstance(words, list):
        raise InvalidParameter("decompounder word list should be array")
    if not all(isinstance(word, str) for word in words):
        raise InvalidParameter("decompounder word list item should be string")
    if not any(words):
        raise InvalidParameter("decompounder word list is empty")
    if any(len(word) > MAX_PART for word in words):
        raise InvalidParameter(f"decompounder word list item should have at most {MAX_PART} characters")
    return (filters.Decompounded(tuple(word for word in words if word)),)


def _regex(params: Json) -> tuple[TokenFilter, ...]:
    if "expr" not in params:
        raise InvalidParameter("must set expr for regex filter")
    expression = params["expr"]
    if not isinstance(expression, str):
        raise InvalidParameter("expr must be string")
    if weight(expression) > MAX_WEIGHT:
        raise InvalidParameter(f"regex expression invalid, expr:{expression[:200]}, err: it repeats too much")
    try:
        pc.match_substring_regex(pa.array([""]), expression)
    except pa.ArrowInvalid as error:
        raise InvalidParameter(f"regex expression invalid, expr:{expression}, err: {error}") from None
    return (Matching(expression),)


def _synonym(params: Json) -> tuple[TokenFilter, ...]:
    expand = _flag(params, "expand", True, "create synonym filter failed,")
    rows = params.get("synonyms", [])
    if not isinstance(rows, list):
        raise InvalidParameter("create synonym filter failed, `synonyms` must be array")
    if not all(isinstance(row, str) for row in rows):
        raise InvalidParameter("create synonym filter failed, item in `synonyms` must be string")
    return (filters.Synonyms(synonyms_of(rows, expand)),)


_WITH_OPTIONS: dict[str, Callable[[Json], tuple[TokenFilter, ...]]] = {
    "length": _length,
    "stop": _stop,
    "decompounder": _decompounder,
    "stemmer": _stemmer,
    "regex": _regex,
    "synonym": _synonym,
}


def _flag(params: Json, key: str, default: bool, what: str) -> bool:
    value = params.get(key, default)
    if not isinstance(value, bool):
        raise InvalidParameter(f"{what} `{key}` must be bool")
    return value


def _strings(value: Any, label: str) -> list[str]:
    if not isinstance(value, list):
        raise InvalidParameter(f"{label} should be array")
    if not all(isinstance(item, str) for item in value):
        raise InvalidParameter(f"{label} list item should be string")
    return value
