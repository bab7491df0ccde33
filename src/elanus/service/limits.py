"""How much one request may ask for; the bounds and the words are Milvus's."""

from __future__ import annotations

import numpy as np

from elanus.model.errors import InvalidParameter

WHOLE = (int, np.integer)
"""What counts: asking whether something is `numbers.Integral` takes longer than all other checks of a search."""

MAX_LIMIT = 16_384
"""Hits of one query of a search."""

MAX_QUERIES = 16_384
"""Query vectors of one search."""

MAX_WINDOW = 16_384
"""offset + limit of a search, and of a query that has a limit."""

MAX_PAGE_ROWS = 16_384
"""Rows an iterator returns at once."""


def check_search(limit: int, offset: int) -> None:
    """Raise `InvalidParameter` where a search asks for no hits or too many."""
    if not isinstance(limit, WHOLE) or not 1 <= limit <= MAX_LIMIT:
        raise InvalidParameter(f"topk [{limit}] is invalid, it should be in range [1, {MAX_LIMIT}], but got {limit}")
    if not isinstance(offset, WHOLE) or not 0 <= offset <= MAX_WINDOW:
        raise InvalidParameter(
            f"offset [{offset}] is invalid, it should be in range [1, {MAX_WINDOW}], but got {offset}"
        )
    if limit + offset > MAX_WINDOW:
        raise _window(limit + offset)


def check_queries(queries: int) -> None:
    """Raise `InvalidParameter` where a search asks nothing or too much at once."""
    if not 1 <= queries <= MAX_QUERIES:
        raise InvalidParameter(
            f"nq [{queries}] is invalid, it should be in range [1, {MAX_QUERIES}], but got {queries}"
        )


def check_query(limit: int | None, offset: int) -> None:
    """Raise `InvalidParameter` where a query asks for nothing or too much; without a limit it may ask for all."""
    if not isinstance(offset, WHOLE) or offset < 0:
        raise InvalidParameter(f"invalid max query result window, offset [{offset}] is invalid, should be gte than 0")
    if limit is None:
        return
    if not isinstance(limit, WHOLE) or limit <= 0:
        raise InvalidParameter(f"invalid max query result window, limit [{limit}] is invalid, should be greater than 0")
    if limit + offset > MAX_WINDOW:
        raise _window(limit + offset)


def check_total(limit: int | None) -> None:
    """Raise `InvalidParameter` unless an iterator's limit is a count; it has no upper bound."""
    if limit is not None and (not isinstance(limit, WHOLE) or limit <= 0):
        raise InvalidParameter(f"limit [{limit}] is invalid, should be greater than 0")


def check_page(rows: int) -> None:
    if not isinstance(rows, WHOLE) or not 1 <= rows <= MAX_PAGE_ROWS:
        raise InvalidParameter(f"batch size is invalid, it should be in range [1, {MAX_PAGE_ROWS}], but got {rows}")


def _window(asked: int) -> InvalidParameter:
    return InvalidParameter(
        f"invalid max query result window, (offset+limit) should be in range [1, {MAX_WINDOW}], but got {asked}"
    )
