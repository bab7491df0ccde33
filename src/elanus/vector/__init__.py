"""Nearest neighbours: exact scores, the registry of index kinds, and the indexes that candidates come from.

    registry   the kinds of index, their parameters and the checks of them
    metrics    exact scores and exact scans
    kernels    the compiled loops beneath `metrics`
    payload    the bytes of an index file
    graph      HNSW over stored vectors or compact codes
    repair     taking dropped rows out of a graph
    ivf        lists of rows around centroids: IVF_FLAT
    list_kernels  the compiled loops beneath `ivf` and `interim`
    interim    growing rows: lists over blocks, quick to build
    jobs       the tasks of builder processes
    build      what builder processes run
    open       an index file and its column, ready to search
    cost       which way to search, by measured costs; memory of builds

Every index proposes rows; their scores are always computed by one kernel from the stored float32 vectors, so a row
has the same score whichever way it was found.
"""
