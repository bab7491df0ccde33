"""Indexes of scalar fields: what answers a predicate of a filter without reading the column.

One kind of file is one module with two functions:

    build(column, params) -> Sections       in a builder process; an empty column is never given
    open_index(sections, source) -> ScalarIndex   over the mapped file, at the first filter that may use it

`registry` says which kind of index is which module. Files are caches: `ScalarIndex.answer` may always say None, and the
column is scanned. What it answers is exact, three-valued logic included.
"""
