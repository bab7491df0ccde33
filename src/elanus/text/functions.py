"""What functions make of texts, and the checks that they have to pass.

    BM25   one VarChar or Text field with an analyzer -> one SparseFloatVector field: how often each word stands there

    MINHASH  one VarChar or Text field -> one BinaryVector field: a signature (`minhash`)

BM25 with several analyzers: a row's is that which the value of another field names, as the text field declares it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.model.canonical import Batch, vector_array
from elanus.model.errors import InvalidParameter, MissingParameter
from elanus.model.functions import Function, FunctionType
from elanus.model.schema import Field, Schema
from elanus.model.types import TYPE_NAMES, DataType
from elanus.text.analyzer import Analyzer
from elanus.text.declared import analyzer_for, analyzers_of, decided_by, has_analyzer
from elanus.text.minhash import MinHash
from elanus.text.terms import term_rows

_MAKES = {FunctionType.BM25: DataType.SPARSE_FLOAT_VECTOR, FunctionType.MINHASH: DataType.BINARY_VECTOR}

ColumnOf = Callable[[int], pa.Array]
"""All values of a field, by its id."""


# --- what they make --------------------------------------------------------------------------------------------------


def derived(schema: Schema, field: Field, column: ColumnOf) -> pa.Array:
    """The values of a `field` of `schema` that is made by a function, of the rows whose other fields `column` gives."""
    function = schema.outputs[field.id]
    text = schema.field(function.inputs[0])
    if function.type is FunctionType.MINHASH:
        return vector_array(_minhash(function, field).signatures(analyzer_for(text), column(text.id)))
    decides = decided_by(text)
    if decides is None:
        return term_rows(analyzer_for(text), column(text.id))
    return _by_several(text, column(text.id), column(schema.field(decides).id))


def _minhash(function: Function, field: Field) -> MinHash:
    assert field.dim is not None, "a vector of bits has a dim"
    return MinHash.of(function.params, field.name, field.dim)


def query_signatures(schema: Schema, field: Field, texts: pa.Array) -> npt.NDArray[np.uint8]:
    """What MinHash makes of texts that the `field` is searched for: (texts, bytes)."""
    function = schema.outputs[field.id]
    return _minhash(function, field).signatures(analyzer_for(schema.field(function.inputs[0])), texts)


def with_outputs(batch: Batch, schema: Schema) -> Batch:
    """A batch of all other fields of `schema` with those that functions make."""
    made = {i: derived(schema, schema.by_id[i], batch.arrow) for i in schema.outputs}
    return Batch({**batch.columns, **made}, batch.num_rows) if made else batch


def query_analyzer(text: Field, name: str = "") -> Analyzer:
    """What queries of a text field are cut by; where it has several analyzers, by that of this name."""
    if decided_by(text) is None:
        return analyzer_for(text)
    by_name = analyzers_of(text)
    return by_name.get(name, by_name["default"])


def _by_several(text: Field, texts: pa.Array, names: pa.Array) -> pa.Array:
    by_name = analyzers_of(text)
    rows_of: dict[Analyzer, npt.NDArray[np.int64]] = {}
    rest = np.ones(len(texts), np.bool_)
    default = by_name["default"]
    for analyzer in dict.fromkeys(by_name.values()):
        if analyzer is not default:
            called = pa.array([name for name, known in by_name.items() if known is analyzer], names.type)
            chosen = pc.is_in(names, value_set=called).to_numpy(zero_copy_only=False)
            rows_of[analyzer] = np.flatnonzero(chosen)
            rest &= ~chosen
    rows_of[default] = np.flatnonzero(rest)
    parts = [term_rows(analyzer, texts.take(pa.array(rows))) for analyzer, rows in rows_of.items() if len(rows)]
    if not parts:
        return term_rows(default, texts)
    back = np.empty(len(texts), np.int64)
    back[np.concatenate(list(rows_of.values()))] = np.arange(len(texts))
    return pa.concat_arrays(parts).take(pa.array(back))


# --- what they may be ------------------------------------------------------------------------------------------------


def check(schema: Schema) -> None:
    """Raise `InvalidParameter` or `MissingParameter` unless the functions of `schema` can be."""
    made: set[str] = set()
    names: set[str] = set()
    for function in schema.functions:
        _check_names(function)
        if function.name in names:
            raise InvalidParameter(f"duplicate function name: {function.name}")
        names.add(function.name)
        _check_input(function, [_named(schema, "input", name) for name in function.inputs])
        outputs = [_named(schema, "output", name) for name in function.outputs]
        for field in outputs:
            _check_role(function, field)
            if field.name in made:
                raise InvalidParameter(
                    f"duplicate function output field: function {function.name}, field {field.name}: each field is "
                    "made by one function"
                )
            made.add(field.name)
        _check_output(function, outputs)
    for function in schema.functions:
        check_no_cascade(function, made)


def check_field_droppable(schema: Schema, field: Field) -> None:
    """Raise `InvalidParameter` where a function needs `field`, or makes it."""
    for function in schema.functions:
        for role, names in (("input", function.inputs), ("output", function.outputs)):
            if field.name in names:
                raise InvalidParameter(
                    f"field is referenced by function {function.name} as {role}, drop function first: {field.name}"
                )
        for text in map(schema.field, function.inputs):
            if decided_by(text) == field.name:
                raise InvalidParameter(
                    f"field is referenced by function {function.name} as input, drop function first: {field.name} "
                    f"decides the analyzer of {text.name}"
                )


def check_no_cascade(function: Function, made: set[str]) -> None:
    """Raise `InvalidParameter` where a function takes what another one makes."""
    for name in function.inputs:
        if name in made:
            raise InvalidParameter(
                f"function {function.name} input field {name} is the output of another function; function cascade is "
                "not supported"
            )


def _named(schema: Schema, role: str, name: str) -> Field:
    field = schema.get(name)
    if field is None:
        raise InvalidParameter(f"function {role} field not found: {name}")
    return field


def _check_names(function: Function) -> None:
    if not function.name:
        raise MissingParameter("function name cannot be empty")
    for role, fields in (("input", function.inputs), ("output", function.outputs)):
        if not fields:
            raise MissingParameter(f"function {role} field names cannot be empty, function: {function.name}")
        for name in fields:
            if not name:
                raise MissingParameter(f"function {role} field name cannot be empty string, function: {function.name}")
            if role == "output" and name in function.inputs:
                raise InvalidParameter(
                    "a single field cannot be both input and output in the same function, function: "
                    f"{function.name}, field: {name}"
                )
            if fields.count(name) > 1:
                raise InvalidParameter(
                    f"each function {role} field should be used exactly once in the same function, function: "
                    f"{function.name}, {role} field: {name}"
                )
    if function.type is FunctionType.BM25 and function.params:
        raise InvalidParameter(f"BM25 function accepts no params: got {', '.join(function.params)}")


def _check_role(function: Function, field: Field) -> None:
    where = f"function {function.name}, field {field.name}"
    if field.is_primary:
        raise InvalidParameter(f"function output field cannot be primary key: {where}")
    if field.is_partition_key or field.is_clustering_key:
        raise InvalidParameter(f"function output field cannot be partition key or clustering key: {where}")
    if field.nullable:
        raise InvalidParameter(f"function output field cannot be nullable: {where}")


def _check_input(function: Function, fields: list[Field]) -> None:
    if len(fields) != 1 or fields[0].dtype not in (DataType.VARCHAR, DataType.TEXT):
        raise InvalidParameter(
            f"{function.type.title} function input field must be a VARCHAR/TEXT field, got {len(fields)} field with "
            f"type {TYPE_NAMES[fields[0].dtype]}"
        )
    if function.type is FunctionType.BM25 and not has_analyzer(fields[0]):
        raise InvalidParameter(
            f"BM25 function input field must set enable_analyzer to true: {fields[0].name} of function {function.name} "
            "does not"
        )


def _check_output(function: Function, fields: list[Field]) -> None:
    name, wanted = function.type.title, _MAKES[function.type]
    if len(fields) != 1:
        raise InvalidParameter(f"{name} function only need 1 output field, but got {len(fields)}: {function.name}")
    if fields[0].dtype is not wanted:
        raise InvalidParameter(
            f"{name} function output field must be a {TYPE_NAMES[wanted]} field, but got "
            f"{TYPE_NAMES[fields[0].dtype]}: {fields[0].name} of function {function.name}"
        )
    if function.type is FunctionType.MINHASH:
        _minhash(function, fields[0])
