"""Looks into a database folder without opening it: for reading only, and beside a writer.

No lock is taken, nothing is written, nothing is recovered. That is safe, since files in the Store never change, and a
writer may be at work meanwhile: what it deletes between our look at a manifest and at its files is asked for again in
the newest manifest, and a log that seems damaged is read again before it is called so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

from elanus.catalog.catalog import PREFIX as CATALOG
from elanus.catalog.catalog import Catalog
from elanus.engine.edits import Edit
from elanus.engine.host import collection_prefix
from elanus.engine.manifest import Manifest
from elanus.engine.manifest_rules import ManifestRules
from elanus.log.carry import carry_of
from elanus.log.record import RecordKind
from elanus.log.tail import LogFileHeader, find_tail, is_unborn, read_frames
from elanus.model.errors import CorruptData, ElanusError, KeyNotFound, StoreError
from elanus.segment.blocks import verify_file
from elanus.segment.meta import KEYS_FILE
from elanus.store.disk import LocalDisk
from elanus.store.header import FileKind, unpack_small
from elanus.store.local import LocalStore
from elanus.store.reasons import store_error
from elanus.store.versioned import VersionedState

LOG = "log"
READS = 3
"""A writer appends while we read: a frame may seem torn, and yet be followed by another. Read again it is whole."""

_SMALL = {".delta", ".checkpoint", ".deletes"}


@dataclass(frozen=True, slots=True)
class LogContents:
    """`files` by name with their lengths; `rows` by collection id and timestamp, those that each write brings."""

    files: Mapping[str, int]
    rows: Mapping[int, Mapping[int, int]]

    def rows_after(self, collection_id: int, timestamp: int) -> int:
        """How many rows of a collection the log holds that no segment has, among them ones deleted since."""
        return sum(count for at, count in self.rows.get(collection_id, {}).items() if at > timestamp)


class Folder:
    """The database in the folder `path`, as it is. Raises `StoreError` where there is none, and `FormatTooNew`."""

    def __init__(self, path: Path) -> None:
        if not (path / "store" / CATALOG).is_dir():
            raise StoreError(f"{path} is no database: it has no folder store/{CATALOG}. Name one that Elanus has made.")
        self._disk = LocalDisk(path)
        self.store = LocalStore(self._disk, writable=False)

    def catalog(self) -> Catalog:
        return Catalog.read(self.store)

    def manifest(self, collection_id: int) -> Manifest:
        """The newest manifest of a collection. Raises `CorruptData`."""
        prefix = f"{collection_prefix(collection_id)}/manifest"
        versions: VersionedState[Manifest, Edit] = VersionedState(
            self.store, prefix, ManifestRules(), FileKind.MANIFEST
        )
        manifest = versions.load()
        if not versions.version:
            raise CorruptData(f"{prefix} is empty, though the catalog names its collection. Restore it from a backup.")
        return manifest

    def objects(self) -> dict[str, int]:
        """All keys in the Store with the sizes of their files: what manifests name, their history, and garbage."""
        return {key: size for key in self.store.keys("") if (size := self.size(key)) is not None}

    def size(self, key: str) -> int | None:
        """The length of the file `key`; None where there is none."""
        try:
            return self.store.size(key)
        except KeyNotFound:
            return None

    def log(self) -> LogContents:
        """What lies in the log. Raises `CorruptData` where it is damaged, naming file and offset."""
        failure: ElanusError | None = None
        for _ in range(READS):
            try:
                return self._read_log()
            except ElanusError as error:
                failure = error
            except OSError as error:
                failure = store_error(error, "read", LOG)
        assert failure is not None
        raise failure

    def verify(self, key: str) -> None:
        """Read a file of the Store and check all its checksums. Raises `CorruptData`, `KeyNotFound`, `StoreError`."""
        if Path(key).suffix in _SMALL:
            unpack_small(_kind(key), self.store.get(key), key)
        else:
            verify_file(self.store.local_path(key), _kind(key))

    def damages(self) -> Iterator[ElanusError]:
        """What is wrong with any file, error by error: bytes that changed, files that are missing, a damaged log."""
        for key in self.store.keys(""):
            try:
                self.verify(key)
            except KeyNotFound:
                pass  # collected meanwhile, or named below
            except ElanusError as error:
                yield error
        try:
            entries = [entry for db in self.catalog().state.databases.values() for entry in db.collections.values()]
        except ElanusError as error:
            yield error
            entries = []
        for entry in entries:
            try:
                yield from self._missing(entry.id)
            except ElanusError as error:
                yield error
        try:
            self.log()
        except ElanusError as error:
            yield error

    def _missing(self, collection_id: int) -> Iterator[ElanusError]:
        """The files that the newest manifest names and that are not there; asked twice, since files may just go."""
        named = self.manifest(collection_id).keys()
        missing = {key for key in named if self.size(key) is None}
        for key in sorted(missing & self.manifest(collection_id).keys() if missing else ()):
            yield CorruptData(f"{key} is missing, though a manifest names it. Restore it from a backup or a copy.")

    def _read_log(self) -> LogContents:
        files = {name: self._disk.read(f"{LOG}/{name}") for name in self._disk.names(LOG) if name.endswith(".log")}
        sizes = {name: len(data) for name, data in files.items()}
        if files and is_unborn(files[max(files)]):
            del files[max(files)]
        headers = {name: LogFileHeader.unpack(data, int(name[:20]), name) for name, data in files.items()}
        for before, after in pairwise(headers.values()):
            if after.sequence != before.sequence + 1:
                raise CorruptData(f"log file {before.sequence + 1} is missing. Restore it from a backup or a copy.")
        ends = [header.previous_end for header in headers.values()][1:]
        if files:
            ends.append(find_tail(files[max(files)], headers[max(files)], max(files)).end)
        rows: dict[int, dict[int, int]] = {}
        for (name, data), end in zip(files.items(), ends, strict=True):
            view = memoryview(data)
            for _, raw in chain.from_iterable(f.raw(view) for f in read_frames(data, headers[name], name, end)):
                nested = chain(*carry_of(raw).sections.values()) if raw.header.kind == RecordKind.CARRY else (raw,)
                for record in nested:
                    if record.header.kind == RecordKind.WRITE:
                        of_collection = rows.setdefault(record.header.collection_id, {})
                        of_collection[record.header.timestamp] = record.header.row_count
        return LogContents(sizes, rows)


def _kind(key: str) -> FileKind:
    """What the file has to hold, by its name."""
    match Path(key).suffix:
        case ".delta" | ".checkpoint":
            return FileKind.CATALOG if key.startswith(f"{CATALOG}/") else FileKind.MANIFEST
        case ".deletes":
            return FileKind.DELETES
        case ".column":
            return FileKind.COLUMN
        case ".paths":
            return FileKind.PATHS
        case _:
            return FileKind.KEYS if Path(key).name == KEYS_FILE else FileKind.INDEX
