"""Query vectors, checked and in the form in which they are compared.

FloatVector                    (nq, dim) float32
Float16Vector, BFloat16Vector  (nq, dim) float32, of numbers that the type has: others are rounded to it
Int8Vector                     (nq, dim) float32, of whole numbers
BinaryVector                   (nq, dim / 8) uint8
SparseFloatVector              (nq,) objects, the bytes of a row each; of BM25 a text's words with their counts
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model.canonical import vectors_of
from elanus.model.columns import convert
from elanus.model.errors import InvalidParameter, SchemaMismatch
from elanus.model.functions import FunctionType
from elanus.model.schema import MAX_VECTOR_SQUARE, Field, Schema
from elanus.model.types import NUMPY_OF, TYPE_NAMES, DataType
from elanus.model.vectors import widened
from elanus.text.functions import query_analyzer, query_signatures
from elanus.text.terms import term_rows

ANALYZER_NAME = "analyzer_name"
"""The parameter of a search that says which of several analyzers cuts its texts."""

Queries = npt.NDArray[Any]

_HALVES = frozenset({DataType.FLOAT16_VECTOR, DataType.BFLOAT16_VECTOR})


class EncodedQueries(NamedTuple):
    """Query vectors as clients send them: the bytes of each, of vectors of type `dtype`; of texts (VarChar) UTF-8."""

    dtype: DataType
    values: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.values)


def query_vectors(field: Field, queries: Any) -> Queries:
    """`queries` of vector field `field`, one or several, in the form of the module.

    Raises `InvalidParameter` for another shape, another dim, text, NaN, infinity, and what is too long to be scored.
    """
    if isinstance(queries, EncodedQueries):
        queries = _decoded(field, queries)
    elif isinstance(queries, np.ndarray) and field.dtype not in _HALVES and field.dtype is not DataType.FLOAT_VECTOR:
        _check_float32(field, queries)
    if field.dtype is DataType.FLOAT_VECTOR:
        return _floats(field, queries)
    return _others(field, queries)


def text_queries(schema: Schema, field: Field, queries: Any, analyzer: str = "") -> Queries:
    """Texts, one or several, as queries of a `field` that a function makes, as it makes it of texts; for BM25, of
    several analyzers by the one of that name, or the default. Raises `InvalidParameter` for anything else than texts.
    """
    function = schema.outputs[field.id]
    wanted = f"please provide varchar/text for {function.type.title} Function based search, got"
    if isinstance(queries, EncodedQueries):
        texts = _decoded_texts(queries, wanted)
    else:
        texts = [queries] if isinstance(queries, str) else list(queries) if isinstance(queries, (list, tuple)) else []
    if not texts or set(map(type, texts)) - {str}:
        got = TYPE_NAMES[DataType.FLOAT_VECTOR] if isinstance(queries, np.ndarray) else type(queries).__name__
        raise InvalidParameter(f"{wanted} {got}")
    try:
        column = pa.array(texts, pa.large_string())
    except UnicodeEncodeError:
        raise InvalidParameter("a text to search for holds half of a surrogate pair, which UTF-8 cannot") from None
    return of_texts(schema, field, column, analyzer)


def of_texts(schema: Schema, field: Field, texts: pa.Array, analyzer: str = "") -> Queries:
    """`text_queries` of a column of texts without nulls."""
    function = schema.outputs[field.id]
    if function.type is FunctionType.MINHASH:
        return query_signatures(schema, field, texts)
    return _objects(term_rows(query_analyzer(schema.field(function.inputs[0]), analyzer), texts))


def stored_queries(field: Field, column: pa.Array) -> Queries:
    """The vectors of a column of the field as queries, without those that are null."""
    if not field.is_dense:
        return _objects(column.drop_null())
    vectors = vectors_of(column)
    if column.null_count:
        vectors = vectors[column.is_valid().to_numpy(zero_copy_only=False)]
    if field.dtype is DataType.FLOAT_VECTOR or field.dtype is DataType.BINARY_VECTOR:
        return vectors
    return widened(field.dtype, vectors)


def _decoded_texts(queries: EncodedQueries, wanted: str) -> list[str]:
    if queries.dtype is not DataType.VARCHAR:
        raise InvalidParameter(f"{wanted} {TYPE_NAMES[queries.dtype]}")
    try:
        return [value.decode() for value in queries.values]
    except UnicodeDecodeError as error:
        raise InvalidParameter(f"a text to search for is not UTF-8: {error}") from None


def _objects(rows: pa.Array) -> Queries:
    """Stored sparse vectors as queries."""
    objects = np.empty(len(rows), object)
    objects[:] = rows.to_pylist()
    return objects


def _decoded(field: Field, queries: EncodedQueries) -> Any:
    dtype, values = queries
    if dtype is not field.dtype:
        raise InvalidParameter(
            f"vector type must be the same, field {field.name} - type {TYPE_NAMES[field.dtype]}, search info type "
            f"{TYPE_NAMES[dtype]}: send queries of the field's type"
        )
    if dtype is not DataType.SPARSE_FLOAT_VECTOR:
        size = field.width * NUMPY_OF[dtype].itemsize
        wrong = next((len(value) for value in values if len(value) != size), None)
        if wrong is not None:
            per_byte = 8 if dtype is DataType.BINARY_VECTOR else 1
            raise _wrong_dim(field, per_byte * (wrong // NUMPY_OF[dtype].itemsize))
    return list(values)


def _check_float32(field: Field, queries: npt.NDArray[Any]) -> None:
    """Only half-width floats are compared with float32: rounding those to whole numbers would lose what they say."""
    if queries.dtype.kind == "f":
        raise InvalidParameter(
            f"vector type must be the same, field {field.name} - type {TYPE_NAMES[field.dtype]}, search info type "
            "FloatVector: send queries of the field's type"
        )


def _others(field: Field, queries: Any) -> Queries:
    """Queries are held to what rows of the field are held to."""
    if _is_one(field, queries):
        queries = [queries]
    try:
        held = convert(field, queries)
    except SchemaMismatch as error:
        raise InvalidParameter(f"query vectors: {error}") from error
    if not isinstance(held, np.ndarray):
        if held.null_count:
            raise InvalidParameter("a query has no vector: send one for each")
        return _objects(held)
    if field.dtype is DataType.BINARY_VECTOR:
        return held
    return widened(field.dtype, held)


def _is_one(field: Field, queries: Any) -> bool:
    """Whether this is a single vector, not several."""
    if isinstance(queries, np.ndarray):
        return queries.ndim == 1 and queries.dtype != object
    if isinstance(queries, (bytes, bytearray, dict)):
        return True
    if not isinstance(queries, (list, tuple)) or not len(queries):
        return False
    first = queries[0]
    if field.dtype is DataType.SPARSE_FLOAT_VECTOR:
        return isinstance(first, tuple) and len(first) == 2 and not isinstance(first[0], (list, tuple))
    return isinstance(first, (int, float, np.generic))


def _floats(field: Field, queries: Any) -> npt.NDArray[np.float32]:
    try:
        given = np.asarray(queries)
    except ValueError:
        given = np.empty(0, object)
    if given.ndim == 1:
        given = given[None]
    if given.dtype.kind not in "fiu" or given.ndim != 2:
        raise InvalidParameter(
            f"queries of field {field.name} are numbers of shape (nq, {field.dim}); got {given.dtype} of {given.shape}"
        )
    if given.shape[1] != field.dim:
        raise _wrong_dim(field, given.shape[1])
    vectors = np.ascontiguousarray(given, np.float32)
    if not np.vdot(vectors, vectors) <= MAX_VECTOR_SQUARE:  # `dot` would warn of what overflows
        _check_lengths(vectors)
    return vectors


def _wrong_dim(field: Field, got: int) -> InvalidParameter:
    return InvalidParameter(
        f"vector dimension mismatch, expected vector size(dim) {field.dim}, actual {got}: "
        f"send queries of the dim of field {field.name}"
    )


def _check_lengths(vectors: npt.NDArray[np.float32]) -> None:
    if not np.isfinite(vectors).all():
        raise InvalidParameter("a query vector holds a value that is not a number or infinity: send finite numbers")
    if np.square(vectors, dtype=np.float64).sum(axis=1).max() > MAX_VECTOR_SQUARE:
        raise InvalidParameter(
            f"a query vector is longer than {math.sqrt(MAX_VECTOR_SQUARE):.3g}: its scores are beyond float32. "
            "Scale it down"
        )
