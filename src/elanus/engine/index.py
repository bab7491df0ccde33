"""Index files of sealed segments, opened when a search or a filter first needs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from elanus.engine.follower import Handle, IndexOpener
from elanus.engine.manifest import IndexDefinition
from elanus.engine.snapshot import IndexHandle
from elanus.model.schema import Schema
from elanus.segment.blocks import PAYLOAD_OFFSET, map_payload
from elanus.segment.indexed import IndexFile
from elanus.segment.posting_file import PostingFile
from elanus.segment.sealed import SealedSegment
from elanus.store.base import Store
from elanus.store.header import FileKind

if TYPE_CHECKING:
    from elanus.vector.open import VectorIndex


def index_opener(store: Store, on_lost: Callable[[], None]) -> IndexOpener:
    """How a follower over `store` opens an index file: mapped, over the mapped column of its segment.

    `on_lost` is called when that of a scalar field or of sparse vectors turns out to be lost or damaged.
    """

    def handle(segment: SealedSegment, definition: IndexDefinition, schema: Schema, key: str) -> Handle:
        if definition.metric is None:
            of = definition.of(schema)
            return IndexFile(of, key, segment.rows, store.local_path, segment.column, on_lost)
        if not schema.by_id[definition.field_id].is_dense:
            metric = definition.vector_metric
            return PostingFile(definition.field_id, metric, key, store.local_path, segment.column, on_lost)

        def open_index() -> VectorIndex:
            from elanus.vector.open import VectorIndex

            vectors, sparse = segment.sparse_vectors(definition.field_id)
            spec = definition.spec
            path = store.local_path(key)
            map_payload(path, FileKind.INDEX, definition.field_id)  # checks header and trailer
            if sparse is not None and not spec.is_graph:
                sparse.fetch_all()
            index = VectorIndex.open(path, vectors, definition.vector_metric, spec, PAYLOAD_OFFSET)
            if sparse is not None and not index.walks_by_codes:
                sparse.fetch_all()
            return index

        return IndexHandle(open_index)

    return handle
