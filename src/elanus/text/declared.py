"""What a schema declares of its texts, and the checks that it has to pass.

A field's parameters are text: `enable_analyzer`, `enable_match` (filters may ask for its words), and `analyzer_params`
or `multi_analyzer_params`, both JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from elanus.model.errors import InvalidParameter
from elanus.model.properties import is_set
from elanus.model.schema import Field
from elanus.model.types import DataType
from elanus.text.analyzer import Analyzer
from elanus.text.parse import analyzer_of

ANALYZER = "analyzer_params"
"""The parameter that says what analyzer a field has."""
ENABLE_ANALYZER = "enable_analyzer"


def has_analyzer(field: Field) -> bool:
    return _is_text(field) and is_set(field.params, ENABLE_ANALYZER)


def is_matched(field: Field) -> bool:
    """Whether filters may ask for the words of `field`."""
    return _is_text(field) and is_set(field.params, "enable_match")


def analyzer_for(field: Field) -> Analyzer:
    """The analyzer of a field that has one and not several."""
    return analyzer_of(field.params.get(ANALYZER, ""))


def analyzers_of(field: Field) -> dict[str, Analyzer]:
    """The analyzers of a field with several, by their names and the other names that they go by."""
    declared = _parsed(field)
    named = {name: _analyzer(params) for name, params in declared["analyzers"].items()}
    for alias, name in declared.get("alias", {}).items():
        if name in named:
            named.setdefault(alias, named[name])
    return named


def decided_by(field: Field) -> str | None:
    """The name of the field that decides which of several analyzers a row has; None where `field` has not several."""
    if "multi_analyzer_params" not in field.params:
        return None
    return str(_parsed(field)["by_field"])


def check_texts(fields: Iterable[Field]) -> None:
    """Raise `InvalidParameter` unless what the fields declare of their texts makes analyzers."""
    by_name = {field.name: field for field in fields}
    for field in by_name.values():
        _check(field, by_name)


def _check(field: Field, by_name: Mapping[str, Field]) -> None:
    if is_matched(field) and not has_analyzer(field):
        raise InvalidParameter(
            f"field {field.name} which has enable_match or is input of BM25 function must also enable_analyzer"
        )
    if not has_analyzer(field):
        return
    if "multi_analyzer_params" not in field.params:
        _checked(field, "", lambda: analyzer_for(field))
        return
    if is_matched(field):
        raise InvalidParameter(f"multi analyzer now only support for bm25, but now field {field.name} enable match")
    if ANALYZER in field.params:
        raise InvalidParameter(f"field {field.name} analyzer params should be none if has multi analyzer params")
    declared = _parsed(field)
    by_field = declared.get("by_field")
    if by_field is None:
        raise InvalidParameter("multi analyzer params now must set by_field to specify with field decide analyzer")
    if not isinstance(by_field, str):
        raise InvalidParameter(f"multi analyzer params by_field must be string but now: {by_field}")
    if by_field not in by_name:
        raise InvalidParameter(f"multi analyzer dependent field {by_field} not exist in the collection")
    if by_name[by_field].dtype is not DataType.VARCHAR:
        raise InvalidParameter(
            f"multi analyzer params now only support by string field, but field {by_field} is not string"
        )
    alias = declared.get("alias", {})
    if not isinstance(alias, dict) or not all(isinstance(name, str) for name in alias.values()):
        raise InvalidParameter(f"multi analyzer alias must be string map but now: {alias}")
    analyzers = declared.get("analyzers")
    if not isinstance(analyzers, dict):
        raise InvalidParameter("multi analyzer params must set analyzers, a map from names to analyzer params")
    if "default" not in analyzers:
        raise InvalidParameter("multi analyzer must set default analyzer for all unknown value")
    for name, params in analyzers.items():
        _checked(field, f", name: {name}", lambda params=params: _analyzer(params))


def _checked(field: Field, which: str, make: Any) -> None:
    try:
        make()
    except InvalidParameter as error:
        raise InvalidParameter(f"validate analyzer failed for field: {field.name}{which}, error: {error}") from None


def _analyzer(params: Any) -> Analyzer:
    return analyzer_of(orjson.dumps(params).decode())


def _parsed(field: Field) -> dict[str, Any]:
    text = field.params["multi_analyzer_params"]
    try:
        declared = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidParameter(f"multi_analyzer_params of field {field.name} is no JSON: {error}") from None
    if not isinstance(declared, dict):
        raise InvalidParameter(f"multi_analyzer_params of field {field.name} should be a JSON object")
    return declared


def _is_text(field: Field) -> bool:
    return field.dtype in (DataType.VARCHAR, DataType.TEXT)
