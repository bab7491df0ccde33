"""Fields and schemas: what a collection's rows look like, and the checks a schema has to pass.

A field is known to files, logs and manifests by its `id`; its name lives in the schema alone, so renaming,
adding or dropping a field never rewrites data. Ids below 100 belong to the system:

    1  Timestamp   uint64, when the row was written (hybrid timestamp)
    2  Partition   int64, the id of the row's partition

The dynamic field is an ordinary JSON field named `$meta`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from elanus.model import geometries, instants
from elanus.model.errors import (
    IllegalSchema,
    InvalidFieldName,
    InvalidParameter,
    MissingParameter,
    VectorClusteringKey,
)
from elanus.model.functions import FIRST_FUNCTION_ID, METRIC_OF, Function, FunctionType
from elanus.model.names import check_name
from elanus.model.types import (
    CLUSTERING_KEYS,
    DENSE_VECTORS,
    ELEMENTS,
    FLOATS,
    INTEGERS,
    KEYS,
    MAX_OF,
    METRICS_OF,
    NUMPY_OF,
    TYPE_NAMES,
    VECTORS,
    DataType,
    Metric,
    arrow_type,
)

TIMESTAMP_FIELD_ID = 1
PARTITION_FIELD_ID = 2
FIRST_USER_FIELD_ID = 100
DYNAMIC_FIELD = "$meta"
TYPE_KEY = "elanus.type"
"""In the metadata of a table's column the type of its field, as Milvus writes it."""

MAX_FIELDS = 256
MAX_VECTOR_FIELDS = 10
MAX_VARCHAR_BYTES = 65_535
MAX_TEXT_BYTES = 2 << 20
"""Of one value of the type Text."""
MAX_JSON_BYTES = 65_536
MAX_ARRAY_CAPACITY = 4096
MIN_DIM, MAX_DIM, MAX_BITS = 2, 32_768, 262_144
MAX_VECTOR_SQUARE = 1e37
"""The square of a vector's length: scores of two such vectors are still within float32, whatever the metric."""
MAX_DESCRIPTION_BYTES = 1024

RESERVED_FIELD_NAMES = frozenset({"RowID", "Timestamp", "$meta", "$namespace_id", "__virtual_pk__"})
_FUNCTIONS = (
    "exists", "json_contains", "json_contains_all", "json_contains_any",
    "array_contains", "array_contains_all", "array_contains_any", "array_length",
    "text_match", "phrase_match", "random_sample",
)  # fmt: skip
KEYWORDS = frozenset(
    {
        "and", "or", "not", "in", "like",
        "true", "True", "TRUE", "false", "False", "FALSE",
        *_FUNCTIONS, *map(str.upper, _FUNCTIONS),
    }
)  # fmt: skip
"""No field is called so, in this very spelling; nor `null` in any."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a schema.

    `id` is 0 until the schema has been given to a collection. `max_length` counts bytes of UTF-8; of an array it is
    that of its strings. An array holds up to `max_capacity` elements of the type `element`. `default` is a Python value
    of the field's type, or None for no default; that of a Timestamptz is microseconds since 1970, once the schema has
    been given to a collection, and before that a text or datetime too; that of a Geometry is WKT.
    """

    name: str
    dtype: DataType
    id: int = 0
    is_primary: bool = False
    auto_id: bool = False
    nullable: bool = False
    default: Any = None
    dim: int | None = None
    max_length: int | None = None
    element: DataType | None = None
    max_capacity: int | None = None
    is_dynamic: bool = False
    is_partition_key: bool = False
    is_clustering_key: bool = False
    description: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    """What a client declared beside that and expects to be told again, such as `mmap.enabled`."""

    @property
    def arrow_type(self) -> pa.DataType:
        return arrow_type(self.dtype, self.dim)

    @property
    def is_vector(self) -> bool:
        return self.dtype in VECTORS

    @property
    def is_dense(self) -> bool:
        """Whether it holds vectors that are rows of a matrix."""
        return self.dtype in DENSE_VECTORS

    @property
    def width(self) -> int:
        """Elements of `NUMPY_OF` in a dense vector: its `dim`, of bits an eighth of it."""
        assert self.dim is not None, "a field of dense vectors has a dim"
        return self.dim // 8 if self.dtype is DataType.BINARY_VECTOR else self.dim

    @property
    def held_default(self) -> Any:
        """The default as a column holds it."""
        if self.dtype is DataType.GEOMETRY and self.default is not None:
            return geometries.wkb_of(self.default)
        return self.default

    @property
    def metadata(self) -> dict[str, str] | None:
        """What a table's column needs to say of itself, since its Arrow type does not."""
        silent = self.is_vector and self.dtype is not DataType.FLOAT_VECTOR
        return {TYPE_KEY: TYPE_NAMES[self.dtype]} if silent else None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form that leaves out what has its default value."""
        out: dict[str, Any] = {"name": self.name, "type": self.dtype.name, "id": self.id}
        for key in ("is_primary", "auto_id", "nullable", "is_dynamic", "is_partition_key", "is_clustering_key"):
            if getattr(self, key):
                out[key] = True
        for key in ("default", "dim", "max_length", "max_capacity"):
            if getattr(self, key) is not None:
                out[key] = getattr(self, key)
        if self.element is not None:
            out["element"] = self.element.name
        if self.description:
            out["description"] = self.description
        if self.params:
            out["params"] = dict(self.params)
        return out

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Field:
        rest = {key: value for key, value in data.items() if key not in ("type", "element")}
        element = DataType[data["element"]] if "element" in data else None
        return cls(dtype=DataType[data["type"]], element=element, **rest)


DYNAMIC = Field(DYNAMIC_FIELD, DataType.JSON, is_dynamic=True, nullable=True)
"""The field of the keys that are no fields."""


@dataclass(frozen=True)
class Schema:
    """The fields of a collection, in order, and whether rows may carry others (`enable_dynamic_field`).

    What `functions` make of some fields is the values of others, which nobody sends.

    `version` counts changes from 1; records in the log and segments name the version they were written with.
    Raises `InvalidParameter` from `checked` when the fields do not make a schema.
    """

    fields: tuple[Field, ...]
    enable_dynamic_field: bool = False
    description: str = ""
    version: int = 1
    functions: tuple[Function, ...] = ()
    _by_name: dict[str, Field] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {f.name: f for f in self.fields})

    def get(self, name: str) -> Field | None:
        return self._by_name.get(name)

    def field(self, name: str) -> Field:
        """The field called `name`; raises `InvalidParameter` when there is none."""
        found = self._by_name.get(name)
        if found is None:
            known = ", ".join(f.name for f in self.fields if not f.is_dynamic)
            raise InvalidParameter(f"field {name} not exist; the collection's fields are: {known}")
        return found

    @cached_property
    def primary(self) -> Field:
        return next(f for f in self.fields if f.is_primary)

    @cached_property
    def dynamic(self) -> Field | None:
        return next((f for f in self.fields if f.is_dynamic), None)

    @cached_property
    def partition_key(self) -> Field | None:
        """The field by whose values rows are dealt out to partitions."""
        return next((f for f in self.fields if f.is_partition_key), None)

    @cached_property
    def clustering_key(self) -> Field | None:
        """The field by whose values the rows of a sealed segment are sorted within their partition."""
        return next((f for f in self.fields if f.is_clustering_key), None)

    @cached_property
    def sorted_by(self) -> tuple[Field, ...]:
        """The fields that the rows of a partition are sorted by, before the primary key."""
        return tuple(f for f in (self.partition_key, self.clustering_key) if f is not None)

    @cached_property
    def vectors(self) -> tuple[Field, ...]:
        return tuple(f for f in self.fields if f.is_vector)

    @cached_property
    def by_id(self) -> dict[int, Field]:
        return {f.id: f for f in self.fields}

    @cached_property
    def outputs(self) -> Mapping[int, Function]:
        """The functions by the ids of the fields whose values they make."""
        return {self.field(name).id: function for function in self.functions for name in function.outputs}

    def is_hidden(self, field: Field) -> bool:
        """Whether the values of `field` are made by BM25: they are compared with words, and told to nobody."""
        function = self.outputs.get(field.id)
        return function is not None and function.type is FunctionType.BM25

    def metrics_of(self, field: Field) -> tuple[Metric, ...]:
        """The metrics by which the vectors of `field` are compared, the default first."""
        function = self.outputs.get(field.id)
        return METRICS_OF[field.dtype] if function is None else (METRIC_OF[function.type],)

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """Columns named by field id, in field order: how rows are held in batches and in the log."""
        return pa.schema([pa.field(str(f.id), f.arrow_type) for f in self.fields])

    def with_field(self, field: Field) -> Schema:
        """The next version of this schema, with `field`, which has an id, behind the others."""
        return replace(
            self,
            fields=(*self.fields, field),
            enable_dynamic_field=self.enable_dynamic_field or field.is_dynamic,
            version=self.version + 1,
        )

    def without(self, field_id: int) -> Schema:
        """The next version of this schema, without the field with this id."""
        return replace(
            self,
            fields=tuple(f for f in self.fields if f.id != field_id),
            enable_dynamic_field=self.enable_dynamic_field and not self.by_id[field_id].is_dynamic,
            version=self.version + 1,
        )

    def with_function(self, field: Field, function: Function) -> Schema:
        """The next version of this schema, with `field` and the `function` that makes its values."""
        known = (FIRST_FUNCTION_ID - 1, *(f.id for f in self.functions))
        numbered = replace(function, id=1 + max(known))
        return replace(self.with_field(field), functions=(*self.functions, numbered))

    def without_function(self, name: str) -> Schema:
        """The next version of this schema, without the function of this name and the fields whose values it makes."""
        dropped = next(f for f in self.functions if f.name == name)
        return replace(
            self,
            fields=tuple(f for f in self.fields if f.name not in dropped.outputs),
            functions=tuple(f for f in self.functions if f is not dropped),
            version=self.version + 1,
        )

    def to_dict(self) -> dict[str, Any]:
        out = {
            "version": self.version,
            "fields": [f.to_dict() for f in self.fields],
            "enable_dynamic_field": self.enable_dynamic_field,
            "description": self.description,
        }
        return {**out, "functions": [f.to_dict() for f in self.functions]} if self.functions else out

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Schema:
        return cls(
            fields=tuple(Field.from_dict(f) for f in data["fields"]),
            enable_dynamic_field=data["enable_dynamic_field"],
            description=data["description"],
            version=data["version"],
            functions=tuple(Function.from_dict(f) for f in data.get("functions", ())),
        )

    def checked(self) -> Schema:
        """This schema with ids given to its fields and `$meta` appended when it is dynamic.

        Raises `InvalidParameter` with Milvus's reasons: no or several primary keys, duplicate names, missing or
        excessive `dim` and `max_length`, defaults of the wrong type, too many fields.
        """
        fields = list(self.fields)
        if len(fields) > MAX_FIELDS:
            raise InvalidParameter(f"maximum field's number should be limited to {MAX_FIELDS}")
        check_description(self.description)
        names: set[str] = set()
        for f in fields:
            check_field(f)
            if f.name in names:
                raise InvalidParameter(f"duplicated field name {f.name}")
            names.add(f.name)
        _check_primary(fields)
        _check_partition_key(fields)
        _check_clustering_key(fields)
        vectors = sum(f.is_vector for f in fields)
        if not vectors:
            raise InvalidParameter("schema does not contain vector field")
        if vectors > MAX_VECTOR_FIELDS:
            raise InvalidParameter(f"maximum vector field's number should be limited to {MAX_VECTOR_FIELDS}")
        if self.enable_dynamic_field:
            fields.append(DYNAMIC)
        numbered = tuple(replace(f, id=FIRST_USER_FIELD_ID + i) for i, f in enumerate(fields))
        functions = tuple(replace(f, id=FIRST_FUNCTION_ID + i) for i, f in enumerate(self.functions))
        return replace(self, fields=numbered, functions=functions)


def check_description(text: str) -> None:
    """Raise `InvalidParameter` where a collection's description is too long."""
    if len(text.encode()) > MAX_DESCRIPTION_BYTES:
        raise InvalidParameter(f"the length of a collection description must not exceed {MAX_DESCRIPTION_BYTES} bytes")


def _check_primary(fields: Sequence[Field]) -> None:
    primaries = [f for f in fields if f.is_primary]
    if not primaries:
        raise InvalidParameter("primary key is not specified: mark one Int64 or VarChar field with is_primary")
    if len(primaries) > 1:
        raise InvalidParameter(f"there are more than one primary key: {', '.join(f.name for f in primaries)}")
    primary = primaries[0]
    if primary.dtype not in KEYS:
        raise InvalidParameter(f"the data type of primary key {primary.name} should be Int64 or VarChar")
    if primary.nullable:
        raise InvalidParameter(f"primary field not support null: {primary.name} is one")
    if primary.default is not None:
        raise InvalidParameter(f"primary field not support default_value: {primary.name} is one")


def _check_partition_key(fields: Sequence[Field]) -> None:
    keys = [f for f in fields if f.is_partition_key]
    if len(keys) > 1:
        raise InvalidParameter(f"there are more than one partition key, field name = {keys[0].name}, {keys[1].name}")
    for key in keys:
        if key.is_primary:
            raise InvalidParameter("the partition key field must not be primary field")
        if key.nullable:
            raise InvalidParameter("partition key field not support nullable")
        if key.dtype not in KEYS:
            raise InvalidParameter("the data type of partition key should be Int64 or VarChar")


def _check_clustering_key(fields: Sequence[Field]) -> None:
    keys = [f for f in fields if f.is_clustering_key]
    for key in keys:
        check_clusters(key)
    if len(keys) > 1:
        raise IllegalSchema(f"there are more than one clustering key, field name = {keys[0].name}, {keys[1].name}")


def check_clusters(f: Field) -> None:
    """Raise unless rows can be sorted by the values of `f`."""
    if f.is_vector:
        raise VectorClusteringKey(f"vector clustering key not allowed: field {f.name} is a vector, choose a scalar")
    if f.dtype not in CLUSTERING_KEYS:
        raise IllegalSchema(
            f"clustering key field {f.name} has unsupported data type {TYPE_NAMES[f.dtype]}: choose a number or VarChar"
        )


def check_field(f: Field) -> None:
    """Raise `InvalidParameter` or `InvalidFieldName` unless `f` may be a field of a schema."""
    if f.name in RESERVED_FIELD_NAMES:
        raise InvalidParameter(f"Invalid field name: {f.name}. The name is reserved by the system.")
    check_name(f.name, "field")
    if f.name in KEYWORDS or f.name.lower() == "null":
        raise InvalidFieldName(
            f"Invalid field name: {f.name}. {f.name} is keyword in milvus.: field name invalid[field={f.name}]"
        )
    if f.auto_id and not f.is_primary:
        raise InvalidParameter(f"only the primary field could be with auto_id; field {f.name} is not primary")
    if f.is_dense:
        _check_dim(f, f.dim)
    elif f.dtype is DataType.SPARSE_FLOAT_VECTOR:
        if f.dim is not None:
            raise InvalidParameter(
                f"dim should not be specified for sparse vector field {f.name}({f.id}): its rows have as many numbers "
                "as they need"
            )
    elif f.dim is not None:
        raise InvalidParameter(f"field {f.name} of type {f.dtype.name} takes no dim")
    _check_array(f)
    if DataType.VARCHAR in (f.dtype, f.element):
        if f.max_length is None:
            raise InvalidParameter(f"type param(max_length) should be specified for the field({f.name}) of VarChar")
        if not 1 <= f.max_length <= MAX_VARCHAR_BYTES:
            raise InvalidParameter(
                f"the maximum length specified for the field({f.name}) should be in (0, {MAX_VARCHAR_BYTES}], "
                f"but got {f.max_length} instead"
            )
    if f.dtype is DataType.TEXT and f.max_length is not None and not 1 <= f.max_length <= MAX_TEXT_BYTES:
        raise InvalidParameter(
            f"the maximum length specified for the field({f.name}) should be in (0, {MAX_TEXT_BYTES}], "
            f"but got {f.max_length} instead"
        )
    if f.default is not None:
        _check_default(f)


def _check_dim(f: Field, dim: int | None) -> None:
    if dim is None:
        raise InvalidParameter(
            f"dimension is not defined in field type params of field {f.name}, check type param `dim` for vector field"
        )
    if dim < MIN_DIM:
        raise InvalidParameter(f"invalid dimension: {dim}. should be in range {MIN_DIM} ~ {MAX_DIM}")
    kind, most = ("binary", MAX_BITS) if f.dtype is DataType.BINARY_VECTOR else ("float", MAX_DIM)
    if kind == "binary" and dim % 8:
        raise InvalidParameter(
            f"invalid dimension: {dim} of field {f.name}. binary vector dimension should be multiple of 8. "
        )
    if dim > most:
        raise InvalidParameter(
            f"invalid dimension: {dim} of field {f.name}. {kind} vector dimension should be in range {MIN_DIM} ~ {most}"
        )


def _check_array(f: Field) -> None:
    if f.dtype is not DataType.ARRAY:
        if f.element is not None or f.max_capacity is not None:
            raise InvalidParameter(f"field {f.name} of type {f.dtype.name} takes no element type and no max_capacity")
        return
    if f.element is None:
        raise InvalidParameter(f"element data type None is not valid: say of what type the array {f.name} is")
    if f.element not in ELEMENTS:
        raise InvalidParameter(f"element type {TYPE_NAMES[f.element]} is not supported: array field {f.name}")
    if f.max_capacity is None:
        raise MissingParameter(f"type param(max_capacity) should be specified for array field {f.name}")
    if not 0 < f.max_capacity <= MAX_ARRAY_CAPACITY:
        raise InvalidParameter(
            f"the maximum capacity specified for a Array should be in (0, {MAX_ARRAY_CAPACITY}]: field {f.name} has "
            f"{f.max_capacity}"
        )


def _check_default(f: Field) -> None:
    value, dtype = f.default, f.dtype
    wrong = InvalidParameter(f"type of default value {value!r} of field {f.name} does not fit {dtype.name}")
    if dtype is DataType.BOOL:
        if not isinstance(value, bool):
            raise wrong
    elif dtype in INTEGERS:
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong
        bits = NUMPY_OF[dtype].itemsize * 8 - 1
        if not -(1 << bits) <= value < 1 << bits:
            raise InvalidParameter(f"[{value}] is out of range for default value of field {f.name} ({dtype.name})")
    elif dtype is DataType.TIMESTAMPTZ:
        if type(value) is not int:
            raise wrong
        if not instants.FIRST <= value <= instants.LAST:
            raise InvalidParameter(f"[{value}] is out of range for default value of field {f.name} ({dtype.name})")
    elif dtype is DataType.GEOMETRY:
        try:
            geometries.wkb_of(value)
        except (TypeError, ValueError) as error:
            raise InvalidParameter(f"invalid default value for geometry field {f.name}: {error}") from None
    elif dtype in FLOATS:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise wrong
        if not abs(value) <= MAX_OF[dtype]:
            raise InvalidParameter(f"[{value}] is out of range for default value of field {f.name} ({dtype.name})")
    elif dtype is DataType.VARCHAR:
        if not isinstance(value, str):
            raise wrong
        if f.max_length is not None and len(value.encode()) > f.max_length:
            raise InvalidParameter(
                f"the length ({len(value.encode())}) of string exceeds max length ({f.max_length}): "
                f"default value of field {f.name}"
            )
    else:
        raise InvalidParameter(f"type not support default_value, type:{TYPE_NAMES[dtype]}, name:{f.name}")
