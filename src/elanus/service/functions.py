"""Functions of a collection that is there already: added with the field whose values they make, and dropped with it."""

from __future__ import annotations

from dataclasses import replace

from elanus.engine.edits import FunctionAdded, FunctionDropped
from elanus.model.errors import InvalidParameter
from elanus.model.functions import Function, FunctionType
from elanus.model.schema import Field
from elanus.service.context import RequestContext
from elanus.service.fields import check_added
from elanus.service.indexes import IndexRequest, define
from elanus.service.instance import Instance
from elanus.text.functions import check, check_no_cascade


def add(
    ctx: RequestContext, instance: Instance, collection: str, function: Function, field: Field, index: IndexRequest
) -> None:
    """Add `field`, the `function` that makes its values, and its `index`, at once. Rows that are there have the values,
    too, in every read that begins later.

    Raises `InvalidParameter` or `MissingParameter` where `text.functions.check`, `fields.add` or `indexes.define` would
    and for the name of another index; `CollectionNotFound`.
    """
    found = instance.collection(ctx, collection)
    found.tell()
    with found.commit_mutex:
        manifest = found.versions.state
        schema = manifest.schema
        check_added(schema, field)
        if len(function.inputs) != 1 or len(function.outputs) != 1:
            raise InvalidParameter(
                f"{function.type.title} function should have exactly one input field and exactly one output field: "
                f"{function.name} has {len(function.inputs)} and {len(function.outputs)}"
            )
        if function.outputs != (field.name,):
            raise InvalidParameter(
                f'function output field "{function.outputs[0]}" must be the newly-added field "{field.name}"'
            )
        check_no_cascade(function, {schema.by_id[i].name for i in schema.outputs})
        numbered = replace(field, id=manifest.next_field_id)
        following = schema.with_function(numbered, function)
        check(following)
        definition = define(following, index)
        if definition.name in manifest.indexes:
            raise InvalidParameter(f"index name {definition.name} already exists in collection: choose another")
        found.commit_locked(FunctionAdded(function, numbered, definition, found.new_id()))
    found.host.jobs.wake(found)


def drop(ctx: RequestContext, instance: Instance, collection: str, name: str, *, with_outputs: bool = True) -> None:
    """Drop a function with the fields whose values it makes, and their indexes.

    Raises `InvalidParameter` where there is none, where these fields are the last vectors, and without `with_outputs`:
    a field and its function go together; `CollectionNotFound`.
    """
    if not name:
        raise InvalidParameter("function name is empty: say which one to drop")
    found = instance.collection(ctx, collection)
    found.tell()
    with found.commit_mutex:
        schema = found.versions.state.schema
        dropped = next((f for f in schema.functions if f.name == name), None)
        if dropped is None:
            raise InvalidParameter(f"function not found: {name}")
        if not with_outputs:
            raise InvalidParameter(
                "detaching a function without dropping its output field is not supported; drop_function always removes "
                f"the function together with its output field: {name}"
            )
        if all(field.name in dropped.outputs for field in schema.vectors):
            raise InvalidParameter(f"cannot drop function {name}: it would leave no vector field in the collection")
        found.commit_locked(FunctionDropped(name, found.new_id()))


def alter(ctx: RequestContext, instance: Instance, collection: str, name: str, altered: Function) -> None:
    """Nothing of a function can be altered: what it has made would be another thing than what it makes.

    Raises `InvalidParameter`, `CollectionNotFound`.
    """
    if altered.type is FunctionType.BM25:
        raise InvalidParameter(f"currently does not support alter BM25 function: {altered.name}")
    if altered.name != name:
        raise InvalidParameter(f"invalid function config, name not match: {name} and {altered.name}")
    schema = instance.collection(ctx, collection).schema
    known = next((f for f in schema.functions if f.name == name), None)
    if known is None:
        raise InvalidParameter(f"function {name} not found")
    raise InvalidParameter(f"function type {known.type.title} has no alterable params: drop {name} and add another")
