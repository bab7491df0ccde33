"""What the manifest knows of a sealed segment: enough to leave it alone without opening it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from elanus.model.statistics import FieldStatistics

KEYS_FILE: Final = "keys.index"
PATHS_SUFFIX: Final = ".paths"


def column_file(field_id: int) -> str:
    """The name of a field's file in the segment's folder."""
    return f"{field_id}.column"


def paths_file(field_id: int) -> str:
    """The name of the file of a JSON field's frequent paths."""
    return f"{field_id}{PATHS_SUFFIX}"


@dataclass(frozen=True, slots=True)
class SegmentMeta:
    """A sealed segment of `rows` rows, at least one. Its files have Store keys below `prefix`.

    `columns` maps the field ids that it holds, timestamps (1) included, to the sizes of their files. `partitions` are
    runs (partition id, first row, rows) that cover all rows, rising by id. No key is below `min_key` or above
    `max_key`; a bound that would be a long text is shortened or, above, None. `unique`: no two rows have the same key.
    `schema_version` is that of the schema it was written with. Where `clustered_by` is the id of a field, each
    partition's rows are sorted by it, and by key only where that is the same; 0 is none. `null_vectors` says of fields
    of dense vectors how many are null, where some are; older versions did not count them, and it says all.
    `statistics` are of all its rows, by field id. `paths` maps the JSON fields whose frequent paths are extracted
    (`paths.py`) to the sizes of those files. Segments of older versions have neither.
    """

    id: int
    prefix: str
    rows: int
    schema_version: int
    key_field: int
    columns: Mapping[int, int]
    keys_bytes: int
    min_timestamp: int
    max_timestamp: int
    partitions: tuple[tuple[int, int, int], ...]
    min_key: int | str
    max_key: int | str | None
    unique: bool
    clustered_by: int = 0
    null_vectors: Mapping[int, int] = field(default_factory=dict)
    statistics: Mapping[int, FieldStatistics] = field(default_factory=dict)
    paths: Mapping[int, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """The size of all its files."""
        return sum(self.columns.values()) + sum(self.paths.values()) + self.keys_bytes

    @property
    def keys_key(self) -> str:
        return f"{self.prefix}/{KEYS_FILE}"

    def column_key(self, field_id: int) -> str:
        return f"{self.prefix}/{column_file(field_id)}"

    def paths_key(self, field_id: int) -> str:
        return f"{self.prefix}/{paths_file(field_id)}"

    def keys(self) -> tuple[str, ...]:
        """The Store keys of its files."""
        columns, paths = map(self.column_key, self.columns), map(self.paths_key, self.paths)
        return (*columns, *paths, self.keys_key)

    def partition_range(self, partition: int) -> tuple[int, int]:
        """The run (start, stop) of rows of `partition`; (0, 0) when it has none here."""
        for found, start, count in self.partitions:
            if found == partition:
                return start, start + count
        return 0, 0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {
            "id": self.id,
            "prefix": self.prefix,
            "rows": self.rows,
            "schema_version": self.schema_version,
            "key_field": self.key_field,
            "columns": {str(field_id): size for field_id, size in self.columns.items()},
            "keys_bytes": self.keys_bytes,
            "min_timestamp": self.min_timestamp,
            "max_timestamp": self.max_timestamp,
            "partitions": [list(run) for run in self.partitions],
            "min_key": self.min_key,
            "max_key": self.max_key,
            "unique": self.unique,
            "clustered_by": self.clustered_by,
            **({"null_vectors": {str(i): n for i, n in self.null_vectors.items()}} if self.null_vectors else {}),
            "paths": {str(field_id): size for field_id, size in self.paths.items()},
            "statistics": {str(field_id): known.to_list() for field_id, known in self.statistics.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SegmentMeta:
        apart = ("columns", "partitions", "null_vectors", "statistics", "paths")
        nulls = data.get("null_vectors", {})
        if isinstance(nulls, list):
            nulls = dict.fromkeys(nulls, data["rows"])
        rest = {key: value for key, value in data.items() if key not in apart}
        return cls(
            columns={int(field_id): size for field_id, size in data["columns"].items()},
            partitions=tuple((run[0], run[1], run[2]) for run in data["partitions"]),
            null_vectors={int(field_id): count for field_id, count in nulls.items()},
            statistics={int(i): FieldStatistics.from_list(known) for i, known in data.get("statistics", {}).items()},
            paths={int(field_id): size for field_id, size in data.get("paths", {}).items()},
            **rest,
        )
