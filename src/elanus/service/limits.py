"""How much one request may ask for; the bounds and the words are Milvus's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from elanus.model.errors import InvalidParameter
from elanus.model.properties import LARGE_TOPK, QUERY_MODE

WHOLE = (int, np.integer)
"""What counts: asking whether something is `numbers.Integral` takes longer than all other checks of a search."""

MAX_LIMIT = 16_384
"""Rows that one query may ask for, those included that it skips."""

LARGE_LIMIT = 1_000_000
"""The same where the collection has the property `query_mode=large_topk`."""

MAX_QUERIES = 16_384
"""Query vectors of one search."""

MAX_HITS = (100 << 20) // 12
"""Hits of one search, of all queries together: with a key of eight bytes and a score of four they fill the 100 MiB that
Milvus allows an answer. While a search runs it takes some five times as much memory."""

MAX_PAGE_ROWS = 16_384
"""Rows an iterator returns at once."""


def most_hits(properties: Mapping[str, str]) -> int:
    """How many rows one query of a collection may ask for, what it skips included."""
    return LARGE_LIMIT if properties.get(QUERY_MODE) == LARGE_TOPK else MAX_LIMIT


def check_search(limit: int, offset: int, most: int = MAX_LIMIT) -> None:
    """Raise `InvalidParameter` where a search asks for no hits or too many; `most` are allowed."""
    if not isinstance(limit, WHOLE) or not 1 <= limit <= most:
        raise InvalidParameter(f"topk [{limit}] is invalid, it should be in range [1, {most}], but got {limit}")
    if not isinstance(offset, WHOLE) or not 0 <= offset <= most:
        raise InvalidParameter(f"offset [{offset}] is invalid, it should be in range [1, {most}], but got {offset}")
    if limit + offset > most:
        raise _window(limit + offset, most)


def check_queries(queries: int) -> None:
    """Raise `InvalidParameter` where a search asks nothing or too much at once."""
    if not 1 <= queries <= MAX_QUERIES:
        raise InvalidParameter(
            f"nq [{queries}] is invalid, nq (number of search vector per search request) should be in range "
            f"[1, {MAX_QUERIES}], but got {queries}"
        )


def check_hits(queries: int, hits: int) -> None:
    """Raise `InvalidParameter` where `queries` that ask for so many `hits` each, skipped ones included, ask for more
    than there is memory for.
    """
    if queries * hits > MAX_HITS:
        raise InvalidParameter(
            f"number of result entries is too large: {queries} queries of {hits} hits each, and at most {MAX_HITS} "
            "hits are answered at once. Send fewer queries, or a smaller limit."
        )


def check_query(limit: int | None, offset: int, most: int = MAX_LIMIT) -> None:
    """Raise `InvalidParameter` where a query asks for nothing or too much; without a limit it may ask for all."""
    if not isinstance(offset, WHOLE) or offset < 0:
        raise InvalidParameter(f"invalid max query result window, offset [{offset}] is invalid, should be gte than 0")
    if limit is None:
        return
    if not isinstance(limit, WHOLE) or limit <= 0:
        raise InvalidParameter(f"invalid max query result window, limit [{limit}] is invalid, should be greater than 0")
    if limit + offset > most:
        raise _window(limit + offset, most)


def check_total(limit: int | None) -> None:
    """Raise `InvalidParameter` unless an iterator's limit is a count; it has no upper bound."""
    if limit is not None and (not isinstance(limit, WHOLE) or limit <= 0):
        raise InvalidParameter(f"limit [{limit}] is invalid, should be greater than 0")


def check_page(rows: int) -> None:
    if not isinstance(rows, WHOLE) or not 1 <= rows <= MAX_PAGE_ROWS:
        raise InvalidParameter(f"batch size is invalid, it should be in range [1, {MAX_PAGE_ROWS}], but got {rows}")


def _window(asked: int, most: int) -> InvalidParameter:
    return InvalidParameter(
        f"invalid max query result window, (offset+limit) should be in range [1, {most}], but got {asked}"
    )
