"""`elanus inspect`: what a database folder holds, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from pathlib import Path

import typer

from elanus.engine.host import collection_prefix
from elanus.engine.manifest import Manifest, SegmentEntry
from elanus.model.errors import ElanusError
from elanus.model.schema import TIMESTAMP_FIELD_ID, Field, Schema
from elanus.ops.inspect import Folder, LogContents
from elanus.segment.meta import KEYS_FILE, PATHS_SUFFIX


def run(path: Path, verify: bool) -> int:
    """Print the listing of the folder `path`, and with `verify` what is damaged; the exit code: 1 if anything is."""
    folder = Folder(path)
    errors = []
    for line in listing(folder):
        if isinstance(line, ElanusError):
            errors.append(line)
        else:
            typer.echo(line)
    if verify:
        errors = list(folder.damages())
        if not errors:
            typer.echo("verified: every file is there, and every checksum holds")
    for error in errors:
        typer.echo(f"elanus: {error}", err=True)
    return 1 if errors else 0


def listing(folder: Folder) -> Iterator[str | ElanusError]:
    """Line by line: each collection with its segments and their files, the log, and what else lies there.

    A collection that cannot be read gives its error in place of lines; the others go on.
    """
    log = _log(folder)
    named: set[str] = set()
    for database in folder.catalog().state.databases.values():
        for entry in database.collections.values():
            try:
                manifest = folder.manifest(entry.id)
            except ElanusError as error:
                yield error
                continue
            named |= manifest.keys()
            waiting = log.rows_after(entry.id, manifest.sealed_to) if isinstance(log, LogContents) else 0
            yield from _collection(f"{database.name}.{entry.name}", entry.id, manifest, waiting, folder)
            aliases = [alias for alias, target in database.aliases.items() if target == entry.name]
            if aliases:
                yield f"  aliases {', '.join(sorted(aliases))}"
            yield ""
    if isinstance(log, LogContents):
        yield f"log: {_files(log.files)}"
    else:
        yield log
    objects = folder.objects()
    segments = {key: size for key, size in objects.items() if "/segments/" in key}
    yield f"segments: {_files({key: size for key, size in segments.items() if key in named})}"
    yield f"history and garbage: {_files({key: size for key, size in segments.items() if key not in named})}"
    yield f"catalog and manifests: {_files({key: size for key, size in objects.items() if key not in segments})}"


def _log(folder: Folder) -> LogContents | ElanusError:
    try:
        return folder.log()
    except ElanusError as error:
        return error


def _collection(name: str, collection_id: int, manifest: Manifest, waiting: int, folder: Folder) -> Iterator[str]:
    entries = list(manifest.segments.values())
    deleted = sum(entry.deletes.rows for entry in entries if entry.deletes is not None)
    rows = f"{sum(entry.meta.rows for entry in entries):,} rows in {_count(entries, 'segment')}"
    rows += f", {deleted:,} of them deleted" if deleted else ""
    rows += f", {waiting:,} more in the log" if waiting else ""
    yield f"{name}: {rows}"
    yield f"  in store/{collection_prefix(collection_id)}"
    yield f"  fields {', '.join(_field(field) for field in manifest.schema.fields)}"
    if len(manifest.partitions) > 1:
        yield f"  partitions {', '.join(manifest.partitions)}"
    for index in manifest.indexes.values():
        done = sum(index.id in entry.indexes for entry in entries)
        field = manifest.schema.by_id[index.field_id].name
        built = f"built for {done} of {_count(entries, 'segment')}"
        yield f"  index {index.name}: {index.kind}{f' {index.metric}' if index.metric else ''} on {field}, {built}"
    for entry in entries:
        yield from _segment(entry, manifest, folder)


def _segment(entry: SegmentEntry, manifest: Manifest, folder: Folder) -> Iterator[str]:
    sizes = {key: folder.size(key) for key in sorted(entry.keys())}
    deleted = f", {entry.deletes.rows:,} deleted" if entry.deletes is not None else ""
    whole = _size(sum(size or 0 for size in sizes.values()))
    yield f"  segment {Path(entry.meta.prefix).name}: {entry.meta.rows:,} rows{deleted}, {whole}"
    for key, size in sizes.items():
        shown = "missing" if size is None else _size(size)
        yield f"    {shown:>10}  {Path(key).name:<30} {_holds(entry, key, manifest)}"


def _holds(entry: SegmentEntry, key: str, manifest: Manifest) -> str:
    """What is in a file of a segment."""
    columns = {entry.meta.column_key(field_id): field_id for field_id in entry.meta.columns}
    if key in columns:
        schema: Schema = manifest.schema_of(entry.meta.schema_version)
        return "timestamps" if columns[key] == TIMESTAMP_FIELD_ID else schema.by_id[columns[key]].name
    if Path(key).suffix == PATHS_SUFFIX:
        return "columns of JSON paths"
    if Path(key).name == KEYS_FILE:
        return "keys, sorted"
    if entry.deletes is not None and key == entry.deletes.key:
        return "deletes"
    names = {entry.indexes.get(index.id): index.name for index in manifest.indexes.values()}
    return f"index {names.get(key, '(dropped)')}"


def _field(field: Field) -> str:
    size = f"({field.dim or field.max_length})" if field.dim or field.max_length else ""
    return f"{field.name} {field.dtype.name}{size}{' key' if field.is_primary else ''}"


def _files(sizes: Mapping[str, int]) -> str:
    return f"{_count(sizes, 'file')}, {_size(sum(sizes.values()))}"


def _count(things: Sized, name: str) -> str:
    return f"{len(things):,} {name}{'' if len(things) == 1 else 's'}"


def _size(count: float) -> str:
    if count < 1024:
        return f"{count} B"
    for unit in ("KiB", "MiB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} GiB"
