"""Nearest neighbours: exact scores, the registry of index kinds, and the indexes that candidates come from.

    registry   the kinds of index, their parameters and the checks of them
    metrics    exact scores and exact scans
    kernels    the compiled loops beneath `metrics`, `ivf` and `interim`
    payload    the bytes of an index file
    graph      HNSW over stored vectors or compact codes
    repair     taking dropped rows out of a graph
    ivf        IVF_FLAT
    interim    growing rows: lists over a block, quick to build
    build      what builder processes run
    open       an index file and its column, ready to search
    cost       which way to search, by measured costs; memory of builds

Every index proposes rows; their scores are always computed by one kernel from the stored float32 vectors, so a row
has the same score whichever way it was found.
"""
