"""The kinds of vector index: their names, parameters, ranges and defaults, and the checks of them.

    kind        build                              search
    FLAT        –                                  –
    IVF_FLAT    nlist 1..65536 (128)               nprobe 1..65536 (8)
    HNSW        M 2..2048 (30), efConstruction     ef >= k (max(k, 16))
                1.. (360)
    AUTOINDEX   – (HNSW, M 18, efConstruction      ef >= k (max(2 k, 80))
                240, over compact codes)
    BIN_FLAT    –                                  –
    BIN_IVF_FLAT  nlist 1..65536 (128)             nprobe 1..65536 (8)
    SPARSE_INVERTED_INDEX, SPARSE_WAND             drop_ratio_search 0..<1 (0)
                inverted_index_algo, …
                bm25_k1 0..3 (1.2), bm25_b 0..1 (0.75)
    MINHASH_LSH   mh_lsh_band, …

Files are built of float32 vectors alone (`Manifest.builds`). The last five kinds, and FLAT and AUTOINDEX of other
vectors, are names that clients give to exact scans: their parameters are checked and told again.

Parameters arrive as text or as numbers. Messages are Milvus's where its clients look at them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from elanus.model.errors import InvalidParameter, NotSupported
from elanus.model.types import METRICS_OF, NUMERIC_VECTORS, TYPE_NAMES, DataType, Metric


class InvalidSearchParameter(InvalidParameter):
    """A search parameter that the index refuses; Milvus passes on its kernel's error, which has no code of its own."""

    code = 65535


class IndexKind(StrEnum):
    FLAT = "FLAT"
    IVF_FLAT = "IVF_FLAT"
    HNSW = "HNSW"
    AUTOINDEX = "AUTOINDEX"
    BIN_FLAT = "BIN_FLAT"
    BIN_IVF_FLAT = "BIN_IVF_FLAT"
    SPARSE_INVERTED_INDEX = "SPARSE_INVERTED_INDEX"
    SPARSE_WAND = "SPARSE_WAND"
    MINHASH_LSH = "MINHASH_LSH"


LATER = frozenset(
    {
        "IVF_SQ8", "IVF_PQ", "IVF_RABITQ", "SCANN", "DISKANN", "HNSW_SQ", "HNSW_PQ", "HNSW_PRQ",
        "GPU_BRUTE_FORCE", "GPU_IVF_FLAT", "GPU_IVF_PQ", "GPU_CAGRA",
    }
)  # fmt: skip
"""Vector indexes of Milvus that Elanus does not have (yet)."""

KINDS_OF: dict[DataType, tuple[IndexKind, ...]] = {
    DataType.FLOAT_VECTOR: (IndexKind.FLAT, IndexKind.IVF_FLAT, IndexKind.HNSW, IndexKind.AUTOINDEX),
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
}
"""The kinds that there are for each type of vectors."""

SPARSE_ALGORITHMS = ("TAAT_NAIVE", "DAAT_WAND", "DAAT_MAXSCORE", "BLOCK_MAX_MAXSCORE", "BLOCK_MAX_WAND", "SINDI")

ELEMENT_BITS = "mh_element_bit_width"
MAX_K1 = 3.0
MAX_INT32 = 2**31 - 1
MAX_NLIST = 65_536

AUTO_M = 18
AUTO_EF_CONSTRUCTION = 240
AUTO_MIN_EF = 80
"""Default breadth of an AUTOINDEX search for small k: recall .97 on 99.5 k sentence embeddings (ef 64: .962)."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """An integer parameter with its range and default, both ends included."""

    name: str
    low: int
    high: int
    default: int

    def read(self, given: Any, error: type[InvalidParameter], prefix: str = "") -> int:
        try:
            value = int(given) if not isinstance(given, (bool, float)) or given == int(given) else None
        except (TypeError, ValueError):
            value = None
        if value is None or isinstance(given, bool):
            raise error(f"{prefix}param '{self.name}' ({given}) should be an integer in [{self.low}, {self.high}]")
        if not self.low <= value <= self.high:
            raise error(f"{prefix}param '{self.name}' ({value}) should be in range [{self.low}, {self.high}]")
        return value


M = Parameter("M", 2, 2048, 30)
EF_CONSTRUCTION = Parameter("efConstruction", 1, MAX_INT32, 360)
NLIST = Parameter("nlist", 1, MAX_NLIST, 128)
EF = Parameter("ef", 1, MAX_INT32, 16)
NPROBE = Parameter("nprobe", 1, MAX_NLIST, 8)
BAND = Parameter("mh_lsh_band", 1, MAX_INT32, 1)

BUILD_PARAMETERS: dict[IndexKind, tuple[Parameter, ...]] = {
    IndexKind.FLAT: (),
    IndexKind.IVF_FLAT: (NLIST,),
    IndexKind.HNSW: (M, EF_CONSTRUCTION),
    IndexKind.AUTOINDEX: (),
    IndexKind.BIN_FLAT: (),
    IndexKind.BIN_IVF_FLAT: (NLIST,),
    IndexKind.SPARSE_INVERTED_INDEX: (),
    IndexKind.SPARSE_WAND: (),
    IndexKind.MINHASH_LSH: (BAND,),
}

_NOT_KIND_PARAMETERS = frozenset({"index_type", "metric_type", "params", "mmap.enabled", "mmap_enabled", "index_name"})


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """A kind with all its build parameters resolved; 0 where the kind has none of them."""

    kind: IndexKind
    m: int = 0
    ef_construction: int = 0
    nlist: int = 0

    @property
    def is_graph(self) -> bool:
        return self.kind in (IndexKind.HNSW, IndexKind.AUTOINDEX)

    @property
    def has_file(self) -> bool:
        """Whether the kind has anything to build; FLAT, and what there is for bits and sparse vectors, scans."""
        return self.kind in (IndexKind.IVF_FLAT, IndexKind.HNSW, IndexKind.AUTOINDEX)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "kind": self.kind.value}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> IndexSpec:
        return cls(**{**data, "kind": IndexKind(data["kind"])})


class Weights(NamedTuple):
    """What BM25 makes of a word that stands often in a text (`k1`: of no account at 0), and in a long one (`b`)."""

    k1: float = 1.2
    b: float = 0.75


@dataclass(frozen=True, slots=True)
class SearchParams:
    """What a search asks of an index: `ef` of graphs, `nprobe` of lists; 0 where the kind has none."""

    ef: int = 0
    nprobe: int = 0


def resolve(index_type: str, params: Mapping[str, Any]) -> IndexSpec:
    """The spec for an index type and its build parameters, with defaults filled in.

    Raises `NotSupported` for a type that Milvus has and Elanus has not, `InvalidParameter` for an unknown one, a value
    out of range, or a parameter given to AUTOINDEX.
    """
    try:
        kind = IndexKind(index_type or IndexKind.AUTOINDEX)
    except ValueError:
        known = ", ".join(IndexKind)
        if index_type in LATER:
            raise NotSupported(
                f"index type {index_type} is not supported by this version of Elanus: choose one of {known}"
            ) from None
        raise InvalidParameter(
            f"invalid parameter[expected=valid index][actual=invalid index type: {index_type}]: choose one of {known}"
        ) from None
    if kind in (IndexKind.SPARSE_INVERTED_INDEX, IndexKind.SPARSE_WAND):
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
    values = {
        p.name: p.read(params[p.name], InvalidParameter) if p.name in params else p.default
        for p in BUILD_PARAMETERS[kind]
    }
    return IndexSpec(
        kind, m=values.get("M", 0), ef_construction=values.get("efConstruction", 0), nlist=values.get("nlist", 0)
    )


def check_fits(spec: IndexSpec, dtype: DataType, metric: Metric | None) -> None:
    """Raise `InvalidParameter` where Milvus has no such index of such vectors, `NotSupported` where Elanus has none."""
    if spec.kind not in KINDS_OF[dtype]:
        dense = spec.kind in KINDS_OF[DataType.FLOAT_VECTOR]
        later = dtype in (DataType.FLOAT16_VECTOR, DataType.BFLOAT16_VECTOR) or spec.kind is IndexKind.HNSW
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
    _check_ratio(params, "drop_ratio_build", InvalidParameter)
    for name, most in (("bm25_k1", MAX_K1), ("bm25_b", 1.0), ("bm25_avgdl", MAX_INT32)):
        if name in params and not 0 <= _number(params[name]) <= most:
            raise InvalidParameter(
                f"Out of range in json: param '{name}' ({params[name]}) should be in range [0.000000, {most:f}]"
            )


def _check_ratio(params: Mapping[str, Any], name: str, error: type[InvalidParameter]) -> None:
    given = params.get(name)
    if given is None:
        return
    if not 0 <= _number(given) < 1:
        raise error(f"Out of range in json: param '{name}' ({given}) should be in range [0.000000, 1.000000)")


def _number(given: Any) -> float:
    try:
        return float(given)
    except (TypeError, ValueError):
        return math.nan


def weights(params: Mapping[str, Any]) -> Weights:
    """Those of BM25 in the parameters of an index."""
    return Weights(*(float(params.get(f"bm25_{name}", default)) for name, default in Weights._field_defaults.items()))


def search_params(spec: IndexSpec, params: Mapping[str, Any], k: int) -> SearchParams:
    """The search parameters for the `k` nearest. Raises `InvalidSearchParameter` when the index would refuse them."""
    if spec.is_graph:
        return _graph_params(spec.kind, params.get("ef"), k)
    if spec.kind in (IndexKind.SPARSE_INVERTED_INDEX, IndexKind.SPARSE_WAND):
        _check_ratio(params, "drop_ratio_search", InvalidSearchParameter)
    if spec.kind in (IndexKind.IVF_FLAT, IndexKind.BIN_IVF_FLAT):
        given = params.get("nprobe")
        if given is None:
            return SearchParams(nprobe=min(NPROBE.default, spec.nlist))
        nprobe = NPROBE.read(given, InvalidSearchParameter, "Out of range in json: ")
        return SearchParams(nprobe=min(nprobe, spec.nlist))
    return SearchParams()


@lru_cache(maxsize=1024)
def _graph_params(kind: IndexKind, given: Any, k: int) -> SearchParams:
    if given is None:
        return SearchParams(ef=max(2 * k, AUTO_MIN_EF) if kind is IndexKind.AUTOINDEX else max(k, EF.default))
    ef = EF.read(given, InvalidSearchParameter, "Out of range in json: ")
    if ef < k:
        raise InvalidSearchParameter(
            f"Out of range in json: ef({ef}) should be larger than k({k}): raise ef, or lower limit + offset"
        )
    return SearchParams(ef=ef)


def check_metric(given: str | None, built: Metric) -> None:
    """Raise `InvalidParameter` if a search names another metric than the index was built with."""
    if given and given.upper() != built:
        raise InvalidParameter(f"metric type not match: invalid parameter[expected={built}][actual={given}]")
