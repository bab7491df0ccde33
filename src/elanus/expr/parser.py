"""From text to syntax tree: a Pratt parser.

Precedence, highest first; binary operators of one line are left-associative, `**` too:

    name["key"][0]   f(…)   name is null   ISO "…"   INTERVAL "…"
    exists x
    like, =~, !~
    **
    + - ~ (unary)
    * / %
    + -
    << >>
    in, not in
    < <= > >=, and the chains a < b < c
    == !=
    &
    ^
    |
    not (unary; also !)
    and &&
    or ||

That is C's order, so `a & 1 == 1` is `a & (1 == 1)`. It is Milvus's grammar but for `not`: there it binds as tightly as
the other unary operators, by which `not a == 1` could only be an error. Here it takes the whole comparison, which
is what Milvus's manual shows; every filter that Milvus accepts means the same.

Bounds: `MAX_CHARACTERS`, because a filter is one request; `MAX_DEPTH`, because parser, binder and evaluation
recurse with the tree, some two Python frames a level, and Python allows a thousand in all. Terms of `and` and `or`,
however many, are siblings and do not count.
"""

from __future__ import annotations

from elanus.expr.calls import NOT_SUPPORTED
from elanus.expr.errors import Refused
from elanus.expr.lexer import MAX_INT64, Lexer
from elanus.expr.tree import (
    And,
    Binary,
    Call,
    Chain,
    Comparison,
    Exists,
    Expression,
    Interval,
    Iso,
    Like,
    ListOf,
    Literal,
    LiteralList,
    Membership,
    Name,
    Named,
    Node,
    Not,
    NullTest,
    Or,
    Path,
    Regex,
    Template,
    Unary,
)

MAX_CHARACTERS = 16 * 1024 * 1024
"""A list of some hundred thousand string keys; parsing it takes about a second."""

MAX_DEPTH = 128
"""Milvus's own tests nest a hundred levels; nobody writes more by hand."""

_OR, _AND, _NOT, _BIT_OR, _BIT_XOR, _BIT_AND, _EQUALITY, _RELATION, _IN, _SHIFT, _ADD, _MULTIPLY, _SIGN, _POWER = range(
    1, 15
)
_LIKE, _EXISTS = 15, 16

_ARITHMETIC = {
    "|": _BIT_OR, "^": _BIT_XOR, "&": _BIT_AND, "<<": _SHIFT, ">>": _SHIFT, "+": _ADD, "-": _ADD,
    "*": _MULTIPLY, "/": _MULTIPLY, "%": _MULTIPLY, "**": _POWER,
}  # fmt: skip
_BINDING = _ARITHMETIC | {
    "or": _OR, "and": _AND, "==": _EQUALITY, "!=": _EQUALITY,
    "<": _RELATION, "<=": _RELATION, ">": _RELATION, ">=": _RELATION,
    "in": _IN, "not": _IN, "like": _LIKE, "=~": _LIKE, "!~": _LIKE,
}  # fmt: skip
_SAME_WAY = {"<": ("<", "<="), "<=": ("<", "<="), ">": (">", ">="), ">=": (">", ">=")}
_SIGNS = frozenset("+-~")
_TIMES: dict[str, type[Iso | Interval]] = {"iso": Iso, "ISO": Iso, "interval": Interval, "INTERVAL": Interval}
"""Names that make times of the text behind them."""


def parse(text: str) -> Expression:
    """The syntax tree of `text`; raises `InvalidParameter` that shows the expression and the place of the fault."""
    try:
        parser = _Parser(text)
        return Expression(text, parser.whole(), tuple(parser.calls))
    except Refused as refused:
        raise refused.about(text) from None


class _Parser:
    """One text's parse. A method that reads something starts at its first token and ends at the token after it."""

    __slots__ = ("_depth", "_lexer", "calls")

    def __init__(self, text: str) -> None:
        if len(text) > MAX_CHARACTERS:
            raise Refused(
                f"the expression has {len(text)} characters, more than the {MAX_CHARACTERS} allowed. "
                "Split its lists over several requests.",
                None,
            )
        self._lexer = Lexer(text)
        self._depth = 0
        self.calls: list[Call] = []

    def whole(self) -> Node:
        root = self._expression(0)
        if self._lexer.kind != "end":
            raise self._unexpected("<EOF>")
        return root

    def _unexpected(self, expecting: str) -> Refused:
        lexer = self._lexer
        return Refused(f"mismatched input '{lexer.text[:40]}' expecting {expecting}", lexer.position, syntax=True)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Refused(
                f"the nesting depth of the expression exceeds {MAX_DEPTH}: use fewer parentheses or operators",
                self._lexer.position,
            )

    def _expression(self, binding: int) -> Node:
        """An expression whose operators all bind more tightly than `binding`."""
        depth = self._depth
        self._deeper()
        left = self._operand()
        lexer = self._lexer
        while lexer.kind == "op" or lexer.kind == "keyword":
            own = _BINDING.get(lexer.text, 0)
            if own <= binding:
                break
            if own > _AND:
                # A chain of operators leans to the left: one level of tree for each.
                self._deeper()
            left = self._joined(left, own)
        self._depth = depth
        return left

    def _joined(self, left: Node, own: int) -> Node:
        """`left`, the current operator and what follows it."""
        lexer = self._lexer
        op, position = lexer.text, lexer.position
        lexer.advance()
        if own in (_AND, _OR):
            terms = [left, self._expression(own)]
            while lexer.kind == "keyword" and lexer.text == op:
                lexer.advance()
                terms.append(self._expression(own))
            return And(position, tuple(terms)) if own == _AND else Or(position, tuple(terms))
        if own == _RELATION:
            middle = self._expression(own)
            if lexer.kind == "op" and lexer.text in _SAME_WAY[op]:
                last_op = lexer.text
                lexer.advance()
                return Chain(position, left, op, middle, last_op, self._expression(own))
            return Comparison(position, op, left, middle)
        if own == _EQUALITY:
            return Comparison(position, op, left, self._expression(own))
        if own == _IN:
            if op == "not":
                if lexer.kind != "keyword" or lexer.text != "in":
                    raise self._unexpected("'in'")
                lexer.advance()
            return Membership(position, left, self._expression(own), op == "not")
        if own == _LIKE:
            if op != "like":
                return Regex(position, left, self._regex(), op == "!~")
            return Like(position, left, self._expression(own))
        return Binary(position, op, left, self._expression(own))

    def _regex(self) -> Node:
        """The pattern of `=~`."""
        lexer = self._lexer
        text, position = lexer.text, lexer.position
        if lexer.kind == "op" and text == "{":
            return self._template()
        if lexer.kind != "literal" or not isinstance(lexer.value, str):
            raise Refused(f"regex pattern should be a string literal or template variable, got: {text[:40]}", position)
        value = lexer.value
        lexer.advance()
        return Literal(position, value)

    def _operand(self) -> Node:
        lexer = self._lexer
        kind, text, position = lexer.kind, lexer.text, lexer.position
        if kind == "name":
            return self._named()
        if kind == "literal":
            value = lexer.value
            if type(value) is int and value > MAX_INT64:
                raise Refused(f"integer {text} is out of the range of Int64", position, syntax=True)
            lexer.advance()
            return Literal(position, value)
        if kind == "keyword":
            if text == "not":
                lexer.advance()
                return Not(position, self._expression(_NOT))
            if text == "exists":
                lexer.advance()
                return Exists(position, self._expression(_EXISTS))
        elif kind == "op":
            if text == "(":
                lexer.advance()
                inner = self._expression(0)
                self._expect(")")
                return inner
            if text == "[":
                return self._list()
            if text == "{":
                return self._template()
            if text in _SIGNS:
                return self._signed()
        raise self._unexpected("an expression")

    def _signed(self) -> Node:
        lexer = self._lexer
        op, position = lexer.text, lexer.position
        lexer.advance()
        if op == "-" and lexer.kind == "literal" and type(lexer.value) is int and lexer.value == MAX_INT64 + 1:
            lexer.advance()
            return Literal(position, -MAX_INT64 - 1)
        operand = self._expression(_SIGN)
        if isinstance(operand, Literal) and op != "~":
            value = operand.value
            if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool)):
                return Literal(position, -value if op == "-" and value != -MAX_INT64 - 1 else value)
        return Unary(position, op, operand)

    def _expect(self, text: str) -> None:
        if self._lexer.kind != "op" or self._lexer.text != text:
            raise self._unexpected(f"'{text}'")
        self._lexer.advance()

    def _template(self) -> Template:
        lexer = self._lexer
        position = lexer.position
        lexer.advance()
        name = lexer.text
        if lexer.kind != "name":
            raise self._unexpected("the name of a parameter")
        lexer.advance()
        self._expect("}")
        return Template(position, name)

    def _list(self) -> Node:
        lexer = self._lexer
        position = lexer.position
        values = lexer.literals()
        if values is not None:
            return LiteralList(position, values)
        lexer.advance()
        items: list[Node] = []
        while lexer.kind != "op" or lexer.text != "]":
            items.append(self._expression(0))
            if lexer.kind != "op" or lexer.text != ",":
                break
            lexer.advance()
        self._expect("]")
        literals = tuple(item.value for item in items if type(item) is Literal)
        return LiteralList(position, literals) if len(literals) == len(items) else ListOf(position, tuple(items))

    def _named(self) -> Node:
        lexer = self._lexer
        name, position = lexer.text, lexer.position
        lexer.advance()
        if lexer.kind == "literal" and isinstance(lexer.value, str) and name in _TIMES:
            text = lexer.value
            lexer.advance()
            return _TIMES[name](position, text)
        node: Node
        if lexer.kind == "op" and lexer.text == "[":
            node = Path(position, name, self._steps())
        elif lexer.kind == "op" and lexer.text == "(" and name != "$meta":
            if name.lower() in NOT_SUPPORTED:  # their arguments need not be of this language
                raise Refused(f"function {name} is not supported by this version of Elanus", position)
            call = Call(position, name, self._arguments())
            self.calls.append(call)
            return call
        else:
            node = Name(position, name)
        if lexer.kind == "keyword" and lexer.text in ("is null", "is not null"):
            negated = lexer.text == "is not null"
            lexer.advance()
            return NullTest(position, node, negated)
        return node

    def _steps(self) -> tuple[str | int, ...]:
        lexer = self._lexer
        steps: list[str | int] = []
        while lexer.kind == "op" and lexer.text == "[":
            lexer.advance()
            step = lexer.value
            if lexer.kind != "literal" or type(step) not in (str, int) or step == "" or step == MAX_INT64 + 1:
                raise self._unexpected('a key in quotes or an index: f["key"], f[0]')
            assert isinstance(step, (str, int))
            steps.append(step)
            lexer.advance()
            self._expect("]")
        if len(steps) > MAX_DEPTH:
            raise Refused(f"a path of more than {MAX_DEPTH} steps", lexer.position)
        return tuple(steps)

    def _arguments(self) -> tuple[Node, ...]:
        lexer = self._lexer
        lexer.advance()
        arguments: list[Node] = []
        while lexer.kind != "op" or lexer.text != ")":
            arguments.append(self._argument())
            if lexer.kind != "op" or lexer.text != ",":
                break
            lexer.advance()
        self._expect(")")
        return tuple(arguments)

    def _argument(self) -> Node:
        """An expression, or `name=expression`."""
        lexer = self._lexer
        node = self._expression(0)
        if type(node) is Name and lexer.kind == "op" and lexer.text == "=":
            lexer.advance()
            return Named(node.position, node.name, self._expression(0))
        return node
