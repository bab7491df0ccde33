"""The kinds of vector index: their names, parameters, ranges and defaults, and the checks of them.

    kind        build                              search
    FLAT        –                                  –
    IVF_FLAT, IVF_SQ8
                nlist 1..65536 (128)               nprobe 1..65536 (8)
    IVF_PQ      nlist, m (divides dim),            nprobe
                nbits 1..24 (8)
    IVF_RABITQ  nlist, refine, refine_type         nprobe, rbq_bits_query 0..8 (0), refine_k >= 1
    SCANN       nlist, with_raw_data               nprobe, reorder_k >= k
    HNSW        M 2..2048 (30), efConstruction     ef >= k (max(k, 16))
                1.. (360)
    HNSW_SQ     M, efConstruction, sq_type (SQ8)   ef, refine_k
    HNSW_PQ     M, efConstruction, m (32), nbits   ef, refine_k
    HNSW_PRQ    M, efConstruction, m (2),          ef, refine_k
                nrq 1..16 (2), nbits
    DISKANN     max_degree 1..512 (56),            search_list >= k (max(k, 16))
                search_list_size 1.. (100),
                pq_code_budget_gb_ratio (0.125)
    AUTOINDEX   – (HNSW, M 18, efConstruction      ef >= k (max(2 k, 80))
                240, over compact codes)
    BIN_FLAT    –                                  –
    BIN_IVF_FLAT  nlist 1..65536 (128)             nprobe 1..65536 (8)
    SPARSE_INVERTED_INDEX, SPARSE_WAND             drop_ratio_search 0..<1 (0)
                inverted_index_algo, …             dim_max_score_ratio 0.5..1.3, refine_factor 1..
                bm25_k1 0..3 (1.2), bm25_b 0..1 (0.75)
    MINHASH_LSH   mh_lsh_band, …

Whatever the codes, the rows they find are scored from the stored vectors: `refine` is always on, and the types of
refining are names only. Files are built of float32 and of sparse vectors alone (`Manifest.builds`). Kinds of bits, and
FLAT and AUTOINDEX of other vectors, are names that clients give to exact scans: their parameters are checked and told
again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from elanus.model.errors import InvalidParameter, NotSupported
from elanus.model.types import METRICS_OF, NUMERIC_VECTORS, TYPE_NAMES, DataType, Metric
from elanus.vector.parameters import AnyParameter, Choice, InvalidSearchParameter, Parameter, Ratio, number_of


class IndexKind(StrEnum):
    FLAT = "FLAT"
    IVF_FLAT = "IVF_FLAT"
    IVF_SQ8 = "IVF_SQ8"
    IVF_PQ = "IVF_PQ"
    IVF_RABITQ = "IVF_RABITQ"
    SCANN = "SCANN"
    HNSW = "HNSW"
    HNSW_SQ = "HNSW_SQ"
    HNSW_PQ = "HNSW_PQ"
    HNSW_PRQ = "HNSW_PRQ"
    DISKANN = "DISKANN"
    AUTOINDEX = "AUTOINDEX"
    BIN_FLAT = "BIN_FLAT"
    BIN_IVF_FLAT = "BIN_IVF_FLAT"
    SPARSE_INVERTED_INDEX = "SPARSE_INVERTED_INDEX"
    SPARSE_WAND = "SPARSE_WAND"
    MINHASH_LSH = "MINHASH_LSH"


ON_GPUS = frozenset({"GPU_BRUTE_FORCE", "GPU_IVF_FLAT", "GPU_IVF_PQ", "GPU_CAGRA"})
"""Vector indexes of Milvus that are built and searched by a GPU, which Elanus does not use."""

LISTS = frozenset({IndexKind.IVF_FLAT, IndexKind.IVF_SQ8, IndexKind.IVF_PQ, IndexKind.IVF_RABITQ, IndexKind.SCANN})
GRAPHS = frozenset(
    {
        IndexKind.HNSW, IndexKind.AUTOINDEX, IndexKind.HNSW_SQ, IndexKind.HNSW_PQ, IndexKind.HNSW_PRQ,
        IndexKind.DISKANN,
    }
)  # fmt: skip
"""The kinds that files are built for, by how they are searched."""

KINDS_OF: dict[DataType, tuple[IndexKind, ...]] = {
    DataType.FLOAT_VECTOR: (
        IndexKind.FLAT, IndexKind.IVF_FLAT, IndexKind.IVF_SQ8, IndexKind.IVF_PQ, IndexKind.IVF_RABITQ, IndexKind.SCANN,
        IndexKind.HNSW, IndexKind.HNSW_SQ, IndexKind.HNSW_PQ, IndexKind.HNSW_PRQ, IndexKind.DISKANN,
        IndexKind.AUTOINDEX,
    ),
    DataType.FLOAT16_VECTOR: (IndexKind.FLAT, IndexKind.AUTOINDEX),
    DataType.BFLOAT16_VECTOR: (IndexKind.FLAT, IndexKind.AUTOINDEX),
    DataType.INT8_VECTOR: (IndexKind.AUTOINDEX,),
    DataType.BINARY_VECTOR: (
        IndexKind.BIN_FLAT,
        IndexKind.BIN_IVF_FLAT,
        IndexKind.MINHASH_LSH,
        IndexKind.AUTOINDEX,
    ),
    DataType.SPARSE_FLOAT_VECTOR: (IndexKind.SPARSE_INVERTED_INDEX, IndexKind.SPARSE_WAND, IndexKind.AUTOINDEX),
}  # fmt: skip
"""The kinds that there are for each type of vectors."""

SPARSE_KINDS = (IndexKind.SPARSE_INVERTED_INDEX, IndexKind.SPARSE_WAND)
"""Both, and AUTOINDEX of sparse vectors, are postings (`posting_index`), whatever `inverted_index_algo` says."""

SPARSE_ALGORITHMS = ("TAAT_NAIVE", "DAAT_WAND", "DAAT_MAXSCORE", "BLOCK_MAX_MAXSCORE", "BLOCK_MAX_WAND", "SINDI")

ELEMENT_BITS = "mh_element_bit_width"
MAX_K1 = 3.0
MAX_INT32 = 2**31 - 1
MAX_NLIST = 65_536

AUTO_M = 18
AUTO_EF_CONSTRUCTION = 240
AUTO_MIN_EF = 80
"""Default breadth of an AUTOINDEX search for small k: recall .97 on 99.5 k sentence embeddings (ef 64: .962)."""


M = Parameter("M", 2, 2048, 30)
EF_CONSTRUCTION = Parameter("efConstruction", 1, MAX_INT32, 360)
NLIST = Parameter("nlist", 1, MAX_NLIST, 128)
EF = Parameter("ef", 1, MAX_INT32, 16)
NPROBE = Parameter("nprobe", 1, MAX_NLIST, 8)
NBITS = Parameter("nbits", 1, 24, 8)
REFINE_K = Ratio("refine_k", MAX_INT32, 1.0)
SEARCH_LIST = Parameter("search_list", 1, MAX_INT32, 16)
REORDER_K = Parameter("reorder_k", 1, MAX_INT32, 0)
RABITQ_BITS = Parameter("rbq_bits_query", 0, 8, 0)
MAX_DEGREE = Parameter("max_degree", 1, 512, 56)
SEARCH_LIST_SIZE = Parameter("search_list_size", 1, MAX_INT32, 100)
CODE_RATIO = Ratio("pq_code_budget_gb_ratio", 1.0, 0.125)
SUBQUANTIZERS = "m"
SQ_TYPE = Choice("sq_type", ("SQ4U", "SQ6", "SQ8", "BF16", "FP16"), "SQ8")
_TRUTH = ("TRUE", "FALSE")
_REFINING = (
    Choice("refine", _TRUTH, "FALSE"),
    Choice("refine_type", ("SQ4U", "SQ6", "SQ8", "BF16", "FP16", "FP32", "FLAT"), "FP32"),
)
"""Checked and told again: what is found is always scored from the stored vectors."""
BAND = Parameter("mh_lsh_band", 1, MAX_INT32, 1)

BUILD_PARAMETERS: dict[IndexKind, tuple[AnyParameter, ...]] = {
    IndexKind.FLAT: (),
    IndexKind.IVF_FLAT: (NLIST,),
    IndexKind.IVF_SQ8: (NLIST,),
    IndexKind.IVF_PQ: (NLIST, Parameter(SUBQUANTIZERS, 1, 65_536, 0), NBITS),
    IndexKind.IVF_RABITQ: (NLIST, *_REFINING),
    IndexKind.SCANN: (NLIST, Choice("with_raw_data", _TRUTH, "TRUE")),
    IndexKind.HNSW: (M, EF_CONSTRUCTION),
    IndexKind.HNSW_SQ: (M, EF_CONSTRUCTION, SQ_TYPE, *_REFINING),
    IndexKind.HNSW_PQ: (M, EF_CONSTRUCTION, Parameter(SUBQUANTIZERS, 1, 65_536, 32), NBITS, *_REFINING),
    IndexKind.HNSW_PRQ: (
        M, EF_CONSTRUCTION, Parameter(SUBQUANTIZERS, 1, 65_536, 2), Parameter("nrq", 1, 16, 2), NBITS, *_REFINING,
    ),
    IndexKind.DISKANN: (MAX_DEGREE, SEARCH_LIST_SIZE, CODE_RATIO),
    IndexKind.AUTOINDEX: (),
    IndexKind.BIN_FLAT: (),
    IndexKind.BIN_IVF_FLAT: (NLIST,),
    IndexKind.SPARSE_INVERTED_INDEX: (),
    IndexKind.SPARSE_WAND: (),
    IndexKind.MINHASH_LSH: (BAND,),
}  # fmt: skip

_NOT_KIND_PARAMETERS = frozenset({"index_type", "metric_type", "params", "mmap.enabled", "mmap_enabled", "index_name"})


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """A kind with all its build parameters resolved; 0 where the kind has none of them."""

    kind: IndexKind
    m: int = 0
    ef_construction: int = 0
    nlist: int = 0
    coding: tuple[tuple[str, Any], ...] = ()
    """What its codes are made by: names and values."""

    @property
    def is_graph(self) -> bool:
        return self.kind in GRAPHS

    @property
    def has_lists(self) -> bool:
        return self.kind in LISTS

    @property
    def has_file(self) -> bool:
        """Whether the kind has anything to build; FLAT, and what there is for bits, scans."""
        return self.is_graph or self.has_lists or self.kind in SPARSE_KINDS

    def code(self, name: str) -> Any:
        """A value of `coding`."""
        return dict(self.coding)[name]

    def to_dict(self) -> dict[str, Any]:
        data = {**asdict(self), "kind": self.kind.value, "coding": dict(self.coding)}
        if not self.coding:  # as files of kinds without have it
            del data["coding"]
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> IndexSpec:
        coding = tuple(data.get("coding", {}).items())
        return cls(**{**data, "kind": IndexKind(data["kind"]), "coding": coding})


class Weights(NamedTuple):
    """What BM25 makes of a word that stands often in a text (`k1`: of no account at 0), and in a long one (`b`)."""

    k1: float = 1.2
    b: float = 0.75


@dataclass(frozen=True, slots=True)
class SearchParams:
    """What a search asks of an index: `ef` of graphs, `nprobe` of lists; 0 where the kind has none.

    `refine` is how many rows found by codes are scored for each that is wanted, at least; 0 where nothing was said.
    """

    ef: int = 0
    nprobe: int = 0
    refine: float = 0.0
    query_bits: int = 0


def resolve(index_type: str, params: Mapping[str, Any]) -> IndexSpec:
    """The spec for an index type and its build parameters, with defaults filled in.

    Raises `NotSupported` for a type that Milvus has and Elanus has not, `InvalidParameter` for an unknown one, a value
    out of range, or a parameter given to AUTOINDEX.
    """
    try:
        kind = IndexKind(index_type or IndexKind.AUTOINDEX)
    except ValueError:
        known = ", ".join(IndexKind)
        if index_type in ON_GPUS:
            raise NotSupported(
                f"index type {index_type} needs a GPU, and Elanus found none to use: choose one of {known}"
            ) from None
        raise InvalidParameter(
            f"invalid parameter[expected=valid index][actual=invalid index type: {index_type}]: choose one of {known}"
        ) from None
    if kind in SPARSE_KINDS:
        _check_sparse(params)
    if kind is IndexKind.MINHASH_LSH and str(params.get(ELEMENT_BITS, 32)) not in ("8", "16", "32", "64"):
        raise InvalidParameter(f"param '{ELEMENT_BITS}' ({params[ELEMENT_BITS]}) should be one of 8, 16, 32, 64")
    if kind is IndexKind.AUTOINDEX:
        extra = sorted(set(params) - _NOT_KIND_PARAMETERS)
        if extra:
            raise InvalidParameter(
                f"only metric type can be passed when use AutoIndex; got {', '.join(extra)}: "
                "leave them out, or choose HNSW or IVF_FLAT"
            )
        return IndexSpec(kind, m=AUTO_M, ef_construction=AUTO_EF_CONSTRUCTION)
    values: dict[str, Any] = {
        p.name: p.read(params[p.name], InvalidParameter) if p.name in params else p.default
        for p in BUILD_PARAMETERS[kind]
    }
    m, ef_construction = values.get("M", 0), values.get("efConstruction", 0)
    if kind is IndexKind.DISKANN:
        # Its degree is that of the lowest level, which holds every node and has 2 M links a node.
        m, ef_construction = max(2, values["max_degree"] // 2), values["search_list_size"]
    if kind is IndexKind.IVF_PQ and not values[SUBQUANTIZERS]:
        raise InvalidParameter(f"param '{SUBQUANTIZERS}' not exist in json: an index of {kind} needs it")
    coding = tuple((name, values[name]) for name in _CODED_BY.get(kind, ()))
    return IndexSpec(kind, m=m, ef_construction=ef_construction, nlist=values.get("nlist", 0), coding=coding)


_CODED_BY = {
    IndexKind.IVF_PQ: (SUBQUANTIZERS, NBITS.name),
    IndexKind.HNSW_SQ: (SQ_TYPE.name,),
    IndexKind.HNSW_PQ: (SUBQUANTIZERS, NBITS.name),
    IndexKind.HNSW_PRQ: (SUBQUANTIZERS, "nrq", NBITS.name),
    IndexKind.DISKANN: (CODE_RATIO.name,),
}
"""The parameters of each kind that its codes depend on."""


def check_dim(spec: IndexSpec, dim: int) -> None:
    """Raise `InvalidParameter` where vectors of `dim` cannot be cut into as many parts as `spec` says."""
    m = dict(spec.coding).get(SUBQUANTIZERS)
    if m and dim % m:
        raise InvalidParameter(f"dimension must be able to be divided by `m`, dimension: {dim}, m: {m}")


def check_fits(spec: IndexSpec, dtype: DataType, metric: Metric | None) -> None:
    """Raise `InvalidParameter` where Milvus has no such index of such vectors, `NotSupported` where Elanus has none."""
    if spec.kind not in KINDS_OF[dtype]:
        dense = spec.kind in KINDS_OF[DataType.FLOAT_VECTOR]
        later = dtype in (DataType.FLOAT16_VECTOR, DataType.BFLOAT16_VECTOR) or spec.is_graph
        if dense and later and dtype in NUMERIC_VECTORS:
            raise NotSupported(
                f"index type {spec.kind} of {TYPE_NAMES[dtype]} is not supported by this version of Elanus: choose one "
                f"of {', '.join(KINDS_OF[dtype])}"
            )
        raise InvalidParameter(
            f"data type {TYPE_NAMES[dtype]} can't build with this index {spec.kind}: choose one of "
            f"{', '.join(KINDS_OF[dtype])}"
        )
    if (spec.kind is IndexKind.MINHASH_LSH) != (metric is Metric.MHJACCARD) and spec.kind is not IndexKind.AUTOINDEX:
        raise InvalidParameter(
            f"metric type {metric} and index {spec.kind} do not go together: MINHASH_LSH is of MHJACCARD"
        )
    if spec.kind is IndexKind.BIN_IVF_FLAT and metric not in (None, Metric.HAMMING, Metric.JACCARD):
        raise InvalidParameter(f"metric type {metric} not found or not supported, supported: [HAMMING JACCARD]")


_OF_VECTORS = {
    DataType.BINARY_VECTOR: "binary vector index does not support metric type: {name}",
    DataType.SPARSE_FLOAT_VECTOR: "only IP&BM25 is the supported metric type for sparse index",
    DataType.INT8_VECTOR: "int vector index does not support metric type: {name}",
}


def metric_for(dtype: DataType, name: str | None, metrics: Sequence[Metric]) -> Metric:
    """That of `metrics` called `name`, or without one the first, for vectors of `dtype`. Raises `InvalidParameter`."""
    if name is None:
        return metrics[0]
    if isinstance(name, str):
        found = next((metric for metric in metrics if metric == name.upper()), None)
        if found is not None:
            return found
        for metric, made_by in ((Metric.BM25, "BM25"), (Metric.MHJACCARD, "MinHash")):
            if (metric,) == metrics:
                raise InvalidParameter(
                    f"index metric type of {made_by} function output field must be {metric}, got {name}"
                )
        if name.upper() == Metric.BM25 and dtype is DataType.SPARSE_FLOAT_VECTOR:
            raise _no_metric("only BM25 Function output field support BM25 metric type", dtype)
    said = _OF_VECTORS.get(dtype, "float vector index does not support metric type: {name}")
    raise _no_metric(said.format(name=name), dtype)


def _no_metric(said: str, dtype: DataType) -> InvalidParameter:
    return InvalidParameter(
        f"{said}: invalid parameter[expected=valid index params][actual=invalid index params]: choose "
        f"{', '.join(METRICS_OF[dtype])}"
    )


def _check_sparse(params: Mapping[str, Any]) -> None:
    algorithm = params.get("inverted_index_algo")
    if algorithm is not None and algorithm not in SPARSE_ALGORITHMS:
        raise InvalidParameter(
            f"sparse inverted index algo {algorithm} not found or not supported, supported: "
            f"[{' '.join(SPARSE_ALGORITHMS)}]"
        )
    check_ratio(params, "drop_ratio_build", InvalidParameter)
    for name, most in (("bm25_k1", MAX_K1), ("bm25_b", 1.0), ("bm25_avgdl", MAX_INT32)):
        if name in params and not 0 <= number_of(params[name]) <= most:
            raise InvalidParameter(
                f"Out of range in json: param '{name}' ({params[name]}) should be in range [0.000000, {most:f}]"
            )


def check_ratio(params: Mapping[str, Any], name: str, error: type[InvalidParameter]) -> None:
    given = params.get(name)
    if given is None:
        return
    if not 0 <= number_of(given) < 1:
        raise error(f"Out of range in json: param '{name}' ({given}) should be in range [0.000000, 1.000000)")


def weights(params: Mapping[str, Any]) -> Weights:
    """Those of BM25 in the parameters of an index."""
    return Weights(*(float(params.get(f"bm25_{name}", default)) for name, default in Weights._field_defaults.items()))


def search_params(spec: IndexSpec, params: Mapping[str, Any], k: int) -> SearchParams:
    """The search parameters for the `k` nearest. Raises `InvalidSearchParameter` when the index would refuse them."""
    if spec.is_graph:
        given = params.get("ef")
        if spec.kind is IndexKind.DISKANN:
            given = params.get(SEARCH_LIST.name, params.get(SEARCH_LIST_SIZE.name))
        found = _graph_params(spec.kind, given, k)
        return replace(found, refine=_refine(params)) if REFINE_K.name in params else found
    if spec.has_lists or spec.kind is IndexKind.BIN_IVF_FLAT:
        nprobe = _read(NPROBE, params)
        return SearchParams(0, min(nprobe, spec.nlist), _refine(params, k), _read(RABITQ_BITS, params))
    return SearchParams()


def _read(parameter: Parameter, params: Mapping[str, Any]) -> int:
    given = params.get(parameter.name)
    if given is None:
        return parameter.default
    return parameter.read(given, InvalidSearchParameter, "Out of range in json: ")


def _refine(params: Mapping[str, Any], k: int = 0) -> float:
    """How many candidates are scored for each of the `k` that are wanted; 0 where nothing is said."""
    if REFINE_K.name in params:
        found = REFINE_K.read(params[REFINE_K.name], InvalidSearchParameter, "Out of range in json: ")
        if found < 1:
            raise InvalidSearchParameter(
                f"Out of range in json: param '{REFINE_K.name}' ({found}) should be in range [1, {MAX_INT32}]"
            )
        return found
    reordered = _read(REORDER_K, params)
    if reordered and reordered < k:
        raise InvalidSearchParameter(f"Out of range in json: reorder_k({reordered}) should be larger than k({k})")
    return reordered / k if reordered else 0.0


@lru_cache(maxsize=1024)
def _graph_params(kind: IndexKind, given: Any, k: int) -> SearchParams:
    if given is None:
        return SearchParams(ef=max(2 * k, AUTO_MIN_EF) if kind is IndexKind.AUTOINDEX else max(k, EF.default))
    parameter = SEARCH_LIST if kind is IndexKind.DISKANN else EF
    ef = parameter.read(given, InvalidSearchParameter, "Out of range in json: ")
    if ef < k:
        name = parameter.name
        raise InvalidSearchParameter(
            f"Out of range in json: {name}({ef}) should be larger than k({k}): raise {name}, or lower limit + offset"
        )
    return SearchParams(ef=ef)


def check_metric(given: str | None, built: Metric) -> None:
    """Raise `InvalidParameter` if a search names another metric than the index was built with."""
    if given and given.upper() != built:
        raise InvalidParameter(f"metric type not match: invalid parameter[expected={built}][actual={given}]")
