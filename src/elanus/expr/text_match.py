"""`text_match`, `text_match_fuzzy` and `phrase_match`: conditions on the words of a text.

    text_match(f, "red fox")                                 one of the words
    text_match(f, "red quick fox", minimum_should_match=2)   two of them at least
    text_match_fuzzy(f, "foks", max_edit_distance=1)         a word that is nearly one of them
    phrase_match(f, "red fox", 1)                            both, in this order, with room for one word more

The field has to be declared with `enable_match`; the query's text is cut into words as its texts are. Null is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from elanus.expr import tree, truth
from elanus.expr.binding import Binding, Constant, check_count, checked_text
from elanus.expr.errors import Refused
from elanus.expr.kinds import Type
from elanus.expr.simplify import where_known
from elanus.expr.typed import (
    Column,
    Function,
    Predicate,
    Rows,
    shown,
)
from elanus.model.schema import Field
from elanus.model.types import DataType
from elanus.text.analyzer import AnalyzedColumn, Token
from elanus.text.declared import analyzer_for, is_matched
from elanus.text.match import MAX_EDITS, NearWords, Phrase, TextQuery, Words

MINIMUM = "minimum_should_match"
EDITS = "max_edit_distance"
MAX_MINIMUM = 1000
MAX_PHRASE = 256
"""Where a text says one word over and over, the time that a phrase of it takes grows with the cube of its length."""
MAX_SLOP = 2**32 - 1


@dataclass(frozen=True, slots=True)
class TextMatch(Function):
    """A query of words over a text field."""

    operand: Column
    query: TextQuery
    text: str
    """Its normal form."""

    @property
    def cost(self) -> float:
        return 800.0

    def fields(self) -> Iterator[int]:
        return self.operand.fields()

    def truth(self, rows: Rows) -> pa.BooleanArray:
        column, field = rows.column(self.operand), self.operand.field
        texts = rows.shared((AnalyzedColumn, field.id), lambda: AnalyzedColumn(analyzer_for(field), column))
        return truth.unknown_where_null(truth.pack(self.query.scan(texts)), column)

    def __str__(self) -> str:
        return self.text


def text_match(binding: Binding, node: tree.Call) -> Predicate:
    check_count(node, 2, 3)
    option = node.arguments[2] if len(node.arguments) == 3 else None
    least = 1
    if option is not None:
        least = _whole(binding, _named(option, MINIMUM, "text_match"), MINIMUM)
        if least < 1:
            raise Refused(f"{MINIMUM} should be >= 1, got {least}", option.position)
        if least > MAX_MINIMUM:
            raise Refused(f"{MINIMUM} should be <= {MAX_MINIMUM}, got {least}", option.position)
    detail = f", {MINIMUM}={least}" if option is not None else ""
    return _bound(binding, node, "text match", detail, lambda tokens: Words.of(tokens, least))


def text_match_fuzzy(binding: Binding, node: tree.Call) -> Predicate:
    check_count(node, 3, 3)
    option = node.arguments[2]
    edits = _whole(binding, _named(option, EDITS, "text_match_fuzzy"), EDITS)
    if not 0 <= edits <= MAX_EDITS:
        raise Refused(f"{EDITS} should be in [0, {MAX_EDITS}], got {edits}", option.position)

    def query(tokens: Sequence[Token]) -> TextQuery:
        return NearWords.of(tokens, edits) if edits else Words.of(tokens)

    return _bound(binding, node, "text match fuzzy", f", {EDITS}={edits}", query)


def phrase_match(binding: Binding, node: tree.Call) -> Predicate:
    check_count(node, 2, 3)
    slop = 0
    if len(node.arguments) == 3:
        given = node.arguments[2]
        slop = _whole(binding, given, '"slop"')
        if slop < 0:
            raise Refused(f'"slop" should not be a negative interger. "slop" passed: {slop}', given.position)
        if slop > MAX_SLOP:
            raise Refused(f'"slop" exceeds the range of "uint32". "slop" expression passed: {slop}', given.position)
    detail = f", {slop}" if slop else ""

    def query(tokens: Sequence[Token]) -> TextQuery:
        phrase = Phrase.of(tokens, slop)
        if len(phrase.said) > MAX_PHRASE:
            raise Refused(f"a phrase has at most {MAX_PHRASE} words; this one has {len(phrase.said)}", node.position)
        return phrase

    return _bound(binding, node, "phrase match", detail, query)


def _bound(
    binding: Binding, node: tree.Call, what: str, detail: str, make: Callable[[Sequence[Token]], TextQuery]
) -> Predicate:
    """The predicate of a call whose first arguments are a field and a text."""
    column = _text_field(binding, node.arguments[0], what)
    given = binding.value(node.arguments[1])
    if not isinstance(given, Constant) or not isinstance(given.value, str):
        raise Refused(f"the query of {what} should be a string", node.arguments[1].position)
    checked_text(given.value, node)
    query = make(_tokens(binding, column.field, given.value))
    if query.is_empty:
        return where_known(column, truth=False)
    return TextMatch(column, query, f"{node.name.lower()}({column}, {shown(given.value)}{detail})")


def _tokens(binding: Binding, field: Field, text: str) -> Sequence[Token]:
    """The words of `text` as those of the field are cut.

    An analyzer takes little longer for many short texts than for one, so all of the expression are cut at once.
    """
    cut: dict[str, Sequence[Token]] = binding.shared.setdefault((analyzer_for, field.id), {})
    if text not in cut:
        others = () if cut else _texts_asked(binding, field.name)
        texts = list(dict.fromkeys((text, *others)))
        cut.update(zip(texts, analyzer_for(field).tokens_of_each(texts), strict=True))
    return cut[text]


def _texts_asked(binding: Binding, field: str) -> Iterator[str]:
    """The texts that the calls of the expression ask `field` for, so far as they are literals or templates."""
    for call in binding.calls:
        match call.arguments:
            case (tree.Name(name=name), tree.Literal() | tree.Template() as asked, *_) if name == field:
                bound = binding.value(asked)
                if isinstance(bound, Constant) and isinstance(bound.value, str) and _is_unicode(bound.value):
                    yield bound.value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text_field(binding: Binding, node: tree.Node, what: str) -> Column:
    operand = _named_text(binding, node) or binding.operand(node, what)
    if not isinstance(operand, Column) or operand.field.arrow_type != pa.large_string():
        raise Refused(f"{what} operation on non-string is unsupported", node.position)
    _check_matched(operand.field, node)
    return operand


def _named_text(binding: Binding, node: tree.Node) -> Column | None:
    """The Text field that `node` names; None where it names something else. Other conditions may not have one."""
    field = binding.schema.get(node.name) if isinstance(node, tree.Name) else None
    return Column(field, Type.STRING) if field is not None and field.dtype is DataType.TEXT else None


def _check_matched(field: Field, node: tree.Node) -> None:
    if not is_matched(field):
        raise Refused(
            f'field "{field.name}" does not enable match: declare it with enable_analyzer and enable_match',
            node.position,
        )


def _named(node: tree.Node, name: str, function: str) -> tree.Node:
    """The value of the argument `name=value`."""
    if not isinstance(node, tree.Named) or node.name.lower() != name:
        given = node.name if isinstance(node, tree.Named) else "that has no name"
        raise Refused(f'invalid option "{given}" for {function}, expected {name}', node.position)
    return node.value


def _whole(binding: Binding, node: tree.Node, what: str) -> int:
    value = binding.value(node)
    if not isinstance(value, Constant) or type(value.value) is not int:
        raise Refused(f"{what} should be a const integer expression", node.position)
    return value.value
