"""Analyzers, tried out: what they make of texts."""

from __future__ import annotations

from collections.abc import Sequence

from elanus.model.errors import InvalidParameter
from elanus.service.context import RequestContext
from elanus.service.instance import Instance
from elanus.text.analyzer import Analyzer, Token
from elanus.text.declared import analyzer_for, analyzers_of, has_analyzer
from elanus.text.parse import analyzer_of
from elanus.text.terms import term_of

__all__ = ["Token", "run", "run_of_field", "term_of"]


def run(ctx: RequestContext, instance: Instance, texts: Sequence[str], params: str) -> list[list[Token]]:
    """The tokens of each text by the analyzer that `params` describes, as JSON. Raises `InvalidParameter`."""
    instance.begin(ctx)
    return analyzer_of(params).tokens_of_each(texts)


def run_of_field(
    ctx: RequestContext, instance: Instance, texts: Sequence[str], collection: str, field: str, names: Sequence[str]
) -> list[list[Token]]:
    """The same by the analyzer of a field; where it has several, by those with `names`, one for all or one for each.

    Raises `CollectionNotFound`, and `InvalidParameter` for a field without an analyzer and for names that do not fit.
    """
    if not field:
        raise InvalidParameter("must set field name when collection name was set")
    if len(names) not in (0, 1, len(texts)):
        raise InvalidParameter(
            "only support set one analyzer name for all text or set analyzer name for each text, "
            f"but now analyzer name num: {len(names)}, text num: {len(texts)}"
        )
    found = instance.collection(ctx, collection).schema.field(field)
    if not has_analyzer(found):
        raise InvalidParameter(f"field {field} has no analyzer: declare it with enable_analyzer")
    if "multi_analyzer_params" not in found.params:
        return analyzer_for(found).tokens_of_each(texts)
    by_name = analyzers_of(found)
    each = _for_each(names, len(texts), by_name["default"], by_name)
    return [analyzer.tokens(text) for analyzer, text in zip(each, texts, strict=True)]


def _for_each(names: Sequence[str], count: int, default: Analyzer, by_name: dict[str, Analyzer]) -> list[Analyzer]:
    if not names:
        return [default] * count
    named = [by_name.get(name, default) for name in names]
    return named * count if len(named) == 1 else named
