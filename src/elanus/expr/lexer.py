r"""Tokens of the filter language, handed out one at a time, and a quick way over lists of literals.

Kinds of tokens: `name`, `keyword` (text lower-cased, `&&` `||` `!` given as and, or, not), `literal` (with its Python
value), `op`, `end`. Keywords count only when written all-lower or all-upper; `And` is a name. Booleans are true, True
and TRUE. `is null` is one token whatever space lies within it.

String literals take C escapes; a backslash before any other character stays, so that `"100\%"` reaches `like` as
`100\%`. `\x41` and `\101` are bytes, and the bytes of a literal have to be UTF-8. In `r"…"` nothing is an escape, and
behind `=~` and `!~` a backslash is the expression's own but before a quote or another backslash.
"""

from __future__ import annotations

import re

import orjson

from elanus.expr.errors import Refused
from elanus.expr.tree import Value

MAX_INT64 = 2**63 - 1

_TOKEN = re.compile(
    r"""
    [ \t\r\n]*+
    (?:
      (?P<null>(?:is[ \t\r\n]+(?:not[ \t\r\n]+)?null|IS[ \t\r\n]+(?:NOT[ \t\r\n]+)?NULL)\b)
    | (?P<raw>[rR](?:"(?:[^"\\\r\n]++|\\[^\r\n])*+"|'(?:[^'\\\r\n]++|\\[^\r\n])*+'))
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*|\$meta\b)
    | (?P<float>0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+
        | (?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?
        | [0-9]+[eE][+-]?[0-9]+)
    | (?P<int>0[xX][0-9a-fA-F]+|0[bB][01]+|[0-9]+)
    | (?P<string>"(?:[^"\\\r\n]++|\\(?:\r\n|[\s\S]))*+"|'(?:[^'\\\r\n]++|\\(?:\r\n|[\s\S]))*+')
    | (?P<op>\*\*|<<|>>|<=|>=|==|!=|=~|!~|&&|\|\||[-+*/%~!<>&^|()\[\]{},=])
    )""",
    re.VERBOSE,
)
_KEYWORDS = {
    word: keyword
    for keyword in ("and", "or", "not", "in", "like", "exists")
    for word in (keyword, keyword.upper())
}  # fmt: skip
_SYMBOLS = {"&&": "and", "||": "or", "!": "not"}
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_ESCAPE = re.compile(
    r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(\r\n|[\s\S]))"
)  # fmt: skip
_SIMPLE_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "'": "'", '"': '"', "?": "?", "\n": "", "\r\n": "",
}  # fmt: skip
_BEFORE_REGEX = ("=~", "!~")
_REGEX_ESCAPE = re.compile(r"\\([\s\S])")
_LIST_END = re.compile(r"""\[(?:[^\[\]"'\\]++|"[^"\\\r\n]*+"|'[^'\\\r\n]*+')*+\]""")
_LISTED = frozenset({int, float, str, bool})


class Lexer:
    """The current token (`kind`, `text`, `value`, `position`) of `source`; `advance` moves to the next."""

    __slots__ = ("_next", "kind", "position", "source", "text", "value")

    def __init__(self, source: str) -> None:
        self.source = source
        self._next = 0
        self.kind = ""
        self.text = ""
        self.value: Value = False
        self.position = 0
        self.advance()

    def advance(self) -> None:
        match = _TOKEN.match(self.source, self._next)
        if match is None:
            self._stop()
            return
        kind = match.lastgroup
        assert kind is not None
        before, text = self.text, match[kind]
        self._next = match.end()
        self.position = at = self._next - len(text)
        if kind == "name":
            keyword = _KEYWORDS.get(text)
            if keyword is not None:
                self.kind, self.text = "keyword", keyword
            elif text in _BOOLEANS:
                self.kind, self.text, self.value = "literal", text, _BOOLEANS[text]
            else:
                self.kind, self.text = "name", text
        elif kind == "op":
            symbol = _SYMBOLS.get(text)
            self.kind, self.text = ("op", text) if symbol is None else ("keyword", symbol)
        elif kind == "null":
            self.kind, self.text = "keyword", "is not null" if "not" in text.lower() else "is null"
        else:
            self.kind, self.text = "literal", text
            if kind == "int":
                self.value = _integer(text, at)
            elif kind == "float":
                self.value = _floating(text, at)
            elif kind == "raw":
                self.value = text[2:-1]
            elif before in _BEFORE_REGEX:
                self.value = _regex_text(text)
            else:
                self.value = _string(text[1:-1], at)

    def _stop(self) -> None:
        """No token is left: the text is at its end, or what follows is none."""
        rest = self.source[self._next :].lstrip(" \t\r\n")
        self.position = self._next = at = len(self.source) - len(rest)
        if rest:
            raise Refused(f"token recognition error at: {_shown(self.source, at)}", at, syntax=True)
        self.kind, self.text = "end", "<EOF>"

    def literals(self) -> tuple[Value, ...] | None:
        """The values of the list whose `[` is the current token, the token after its `]` made current.

        None, with nothing moved, when the list cannot be read as a JSON array: it is then to be read token by token.
        Costs about 60 ns a value, a hundredth of reading tokens.
        """
        source, start = self.source, self.position
        close = source.find("]", start)
        values = _json_list(source[start : close + 1]) if close >= 0 else None
        if values is None and close >= 0:
            # A bracket inside a string: find the one that closes the list.
            match = _LIST_END.match(source, start)
            if match is not None and match.end() != close + 1:
                close = match.end() - 1
                values = _json_list(source[start : close + 1])
        if values is None:
            return None
        self._next = close + 1
        self.advance()
        return values


def _json_list(text: str) -> tuple[Value, ...] | None:
    if "\\" in text:
        return None
    if "'" in text:
        if '"' in text:
            return None
        text = text.replace("'", '"')
    try:
        values = orjson.loads(text)
    except ValueError:
        return None
    kinds = set(map(type, values))
    if not kinds <= _LISTED:
        return None
    # An integer beyond 64 bits comes back as a float, and one beyond int64 as an integer: both are errors here.
    if float in kinds and any(type(v) is float and abs(v) >= 2.0**63 for v in values):
        return None
    if int in kinds and max(values if len(kinds) == 1 else (v for v in values if type(v) is int)) > MAX_INT64:
        return None
    return tuple(values)


def _integer(text: str, position: int) -> int:
    if text[0] == "0" and len(text) > 1:
        prefix = text[1]
        if prefix in "xX":
            value = int(text, 16)
        elif prefix in "bB":
            value = int(text, 2)
        elif text.strip("01234567"):
            raise Refused(f"invalid octal integer {text}", position, syntax=True)
        else:
            value = int(text, 8)
    elif len(text) > 20:
        value = MAX_INT64 + 2
    else:
        value = int(text)
    # One past the largest is let through for the parser to negate.
    if value > MAX_INT64 + 1:
        raise Refused(f"integer {text[:40]} is out of the range of Int64", position, syntax=True)
    return value


def _floating(text: str, position: int) -> float:
    try:
        value = float.fromhex(text) if text[:2] in ("0x", "0X") else float(text)
    except OverflowError:
        value = float("inf")
    if value == float("inf"):
        raise Refused(f"number {text[:40]} is out of the range of Double", position, syntax=True)
    return value


def _string(body: str, position: int) -> str:
    if "\\" not in body:
        return body
    out = bytearray()
    at = 0
    try:
        for match in _ESCAPE.finditer(body):
            out += body[at : match.start()].encode()
            at = match.end()
            octal, byte, short, long, other = match.groups()
            if octal is not None:
                out.append(int(octal, 8))
            elif byte is not None:
                out.append(int(byte, 16))
            elif other is not None:
                out += _SIMPLE_ESCAPES.get(other, match.group()).encode()
            else:
                out += chr(int(short or long, 16)).encode()
        out += body[at:].encode()
        return out.decode()
    except ValueError as reason:
        raise Refused(
            f"string literal is not valid UTF-8 once its escapes are read: {reason}", position, syntax=True
        ) from None


def _regex_text(literal: str) -> str:
    """A string literal, with its quotes, as a regular expression: only its quote and a backslash can be escaped."""
    quote = literal[0]
    return _REGEX_ESCAPE.sub(lambda m: m[1] if m[1] in (quote, "\\") else m[0], literal[1:-1])


def _shown(source: str, position: int) -> str:
    return repr(source[position : position + 20])
