"""`make fuzz`: texts that are no filters, or strange ones, are answered or refused, and soon.

    python -m tests.fuzz_filters [--seconds 60] [--seed N]

Three kinds are drawn: any characters; tokens of the language in any order, nested where they nest; filters that mean
something, with pieces taken out, doubled, exchanged. Held of each: it is refused with `InvalidParameter`, or bound and
run over some rows; nothing takes longer than a text of its length may; where `x` binds, `(x) and (y)` is true in no
row in which `x` is not.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson

from elanus.expr.bind import BoundFilter, bind
from elanus.expr.parser import parse
from elanus.model.errors import InvalidParameter
from tests.filter_cases import KEYS, SCHEMA, Table, literal, quoted
from tests.oracle_cases import Values, a_filter
from tests.oracle_expressions import Filter

LONGEST_S = 0.1
"""For ten thousand characters, in time of the processor: it may have other things to do."""
LONGEST = 10_000

TOKENS = [
    "(", ")", "[", "]", "{", "}", ",", "==", "!=", "<", "<=", ">", ">=", "=~", "!~", "=", "+", "-", "*", "/", "%",
    "**", "&", "|", "^", "~", "<<", ">>", "and", "or", "not", "&&", "||", "!", "in", "not in", "like", "exists",
    "is null", "IS NOT NULL", "true", "False", "0", "7", "010", "0x1F", "0b1", "08", "1.5", "1e3", "0x1p3",
    "1e400", "99999999999", "9223372036854775808", "'a'", '"b"', "''", r'"\x41"', r"r'\d'", '"(a"', "'%a_'", "'\\",
    '"', "\\", "$meta", "$", "a", "id", "tiny", "real", "single", "text", "flag", "doc", "vector", "doc['a']",
    "$meta['b']", "a[0]", "{p}", "{q}", "[1, 2]", "['a', 1.5]", "[]", "random_sample(", "starts_with(", "empty(",
    "text_match(", "array_contains(", "json_contains_all(", "st_within(", "array_length(", "f(", "match_any(",
    "ISO", "INTERVAL", "'P1D'", " ", "\n", "\0", "é", "😀", "#", "--",
]  # fmt: skip

REPEATED = [
    "(", "-", "~", "not ", "!", "[", "[[", "{", "a and ", "a == 1 and ", "a == 1 or ", '"\\\\', "'", "\\", "r'\\",
    "a[", "a[0]", 'a["b"]', 'a["b"][', "f(", "exists ", "1 < ", "1 + ", "2 ** ", "a < b < ", "is ",
    "is" + " " * 50, " ", "é", "\0", "$meta[", "0x", "9", "9" * 50 + " ", ".", "a =~ 'a' or ",
    "text =~ '(a?){1000}' or ", "text =~ '[' or ", "a in [1,", "[1,", "['a',", "text like '%a%b%c%' or ", "'a' ",
    "json_contains(", "{p} and ", "a & ", "1 << ", "id == 1 or ", "id in [1, 2] or ", "not (", "((a)) or ", "-(-",
    "1 - ", "id - ", "f(a,", "(id == 1) and ", "((id == 1) and (", "id == 1 and (id == 2 or (",
    "random_sample(0.5) and ", "text == 'a' or ", 'doc["a"] == 1 or ',
]  # fmt: skip
"""What a parser may take long for, or nest too deep for, when it is written over and over."""

ENDS = ["", " a == 1", "'", "]", ")" * 2000]

Params = dict[str, Any] | None
PARAMS: dict[str, Any] = {"p": 5, "q": ["a", 1, 2.5, True]}


def repeated() -> Iterator[str]:
    for piece in REPEATED:
        for end in ENDS:
            yield (piece * (LONGEST // len(piece) + 1))[: LONGEST - len(end)] + end


def drawn(draw: random.Random) -> Filter:
    """A text of one of the three kinds, and what fills its templates."""
    kind = draw.random()
    if kind < 0.2:
        codes = [draw.randrange(draw.choice([128, 0x3000])) for _ in range(draw.randrange(60))]
        return "".join(map(chr, codes)), None
    if kind < 0.5:
        return draw.choice(["", " "]).join(draw.choices(TOKENS, k=draw.randrange(1, 25))), None
    text, params = a_filter(draw, SCHEMA)
    for _ in range(draw.randrange(4)):
        at, to = sorted(draw.choices(range(len(text) + 1), k=2))
        to = min(to, at + 12)
        value = literal(draw.choice([1, -2.5, True, "x"]))
        new = draw.choice(["", text[at:to] * 2, draw.choice(TOKENS), quoted(draw.choice(KEYS)), value])
        text = text[:at] + new + text[to:]
    return text, params


def a_table(draw: random.Random) -> list[dict[str, Any]]:
    values = Values(SCHEMA, draw, "grid")
    rows = values.rows(12)
    table = []
    for number, row in enumerate(rows):
        known = {f.name: row.get(f.name) for f in SCHEMA.fields if not f.is_vector}
        extra = {name: value for name, value in row.items() if SCHEMA.get(name) is None}
        table.append(known | {"id": number, "small": known["small"] or 0, **_texts(known, extra)})
    return table


def _texts(known: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    values = {"doc": known["doc"], "$meta": known["$meta"] if known["$meta"] is not None else extra}
    return {name: v if v is None or isinstance(v, bytes) else orjson.dumps(v) for name, v in values.items()}


class Fuzz:
    """Tries texts over one table. `outcomes` counts what came of them."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.rows = a_table(self.draw)
        self.table = Table(self.rows)
        self.outcomes: Counter[str] = Counter()
        self._last: tuple[str, Params, BoundFilter] | None = None

    def try_one(self, text: str, params: Params = None) -> None:
        """Raises `AssertionError`, or whatever the text was not to raise."""
        bound, took = self._bound(text, params)
        if took > LONGEST_S:
            bound, took = self._bound(text, params)  # something else may have been counted
        assert took <= LONGEST_S, f"{took * 1000:.0f} ms for {len(text)} characters: {text[:60]!r}…"
        if isinstance(bound, str):
            assert bound.startswith("failed to create query plan: cannot parse expression: "), text
            self.outcomes["refused"] += 1
            return
        self.outcomes["bound"] += 1
        truths = bound.evaluate(self.table, len(self.rows))
        assert len(truths) == len(self.rows), text
        if bound.sample is None:
            self._narrows(text, params, bound, truths.to_pylist())

    def _bound(self, text: str, params: Params) -> tuple[BoundFilter | str, float]:
        """The filter, or why it is refused; and the seconds that it took."""
        start = time.process_time()
        try:
            bound: BoundFilter | str = bind(parse(text), SCHEMA, PARAMS | (params or {}))
        except InvalidParameter as refused:
            bound = str(refused)
        return bound, time.process_time() - start

    def _narrows(self, text: str, params: Params, bound: BoundFilter, truths: list[bool | None]) -> None:
        """`(text) and (other)`, either way round, is true where both are and nowhere else."""
        other = self._last
        self._last = text, params, bound
        if other is None or (params and other[1]) or len(text) + len(other[0]) > LONGEST:
            return
        others = other[2].evaluate(self.table, len(self.rows)).to_pylist()
        wanted = [one is True and two is True for one, two in zip(truths, others, strict=True)]
        for joined in (f"({text}) and ({other[0]})", f"({other[0]}) && ({text})"):
            both, _ = self._bound(joined, params or other[1])
            if isinstance(both, str):
                assert "nesting depth" in both or "repeat too much" in both, joined
                continue
            found = both.evaluate(self.table, len(self.rows)).to_pylist()
            assert [truth is True for truth in found] == wanted, joined
        self.outcomes["joined"] += 1


def run(seed: int, seconds: float) -> Counter[str]:
    """Fuzz for so long; what came of it. Raises what `Fuzz.try_one` does, with the text."""
    fuzz = Fuzz(seed)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        text, params = drawn(fuzz.draw)
        try:
            fuzz.try_one(text, params)
        except BaseException as error:
            error.add_note(f"filter {text!r} with {params}, seed {seed}")
            raise
    return fuzz.outcomes


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    given = options.parse_args()
    sys.stdout.write(f"filters, seed {given.seed}: {dict(run(given.seed, given.seconds))}\n")


if __name__ == "__main__":
    main()
