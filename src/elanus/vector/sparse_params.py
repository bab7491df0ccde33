"""Parameters of indexes of sparse vectors beside those in `registry`: how Milvus would lay postings out, and searches.

Here postings are laid out in one way, and their bounds are exact. What Milvus would refuse is refused; what it takes
is kept and told, and changes no answer but for `drop_ratio_search`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elanus.model.errors import InvalidParameter
from elanus.model.types import Metric
from elanus.vector.parameters import InvalidSearchParameter, Parameter, number_of
from elanus.vector.registry import MAX_INT32, check_ratio

DROP_RATIO = "drop_ratio_search"
MAX_SCORE_RATIO = "dim_max_score_ratio"

BLOCK_SIZE = Parameter("block_max_block_size", 1, MAX_INT32, 128)
WINDOW_SIZE = Parameter("sindi_window_size", 1_024, 65_535, 65_535)
REFINE_FACTOR = Parameter("refine_factor", 1, MAX_INT32, 1)

CODECS = ("block_streamvbyte", "block_maskedvbyte")
QUANT_TYPES = {Metric.IP: ("fp16", "fp32"), Metric.BM25: ("u16", "u32")}


def check_build(params: Mapping[str, Any], metric: Metric) -> None:
    """Raise `InvalidParameter` for parameters of an index that Milvus would refuse."""
    for name, known in (("inverted_index_codec", CODECS), ("quant_type", QUANT_TYPES[metric])):
        given = params.get(name)
        if given is not None and given not in known:
            raise InvalidParameter(
                f"{name} {given} not found or not supported, supported: [{' '.join(known)}]: invalid parameter"
            )
    for parameter in (BLOCK_SIZE, WINDOW_SIZE):
        if parameter.name in params:
            try:
                parameter.read(params[parameter.name], InvalidParameter, "Out of range in json: ")
            except InvalidParameter as error:
                raise InvalidParameter(f"{error}: invalid parameter") from None


def check_search(params: Mapping[str, Any]) -> float:
    """The share of a query's values, the smallest, that a search does without.

    Bounds are exact here and scores those of the query, so `dim_max_score_ratio` and `refine_factor` change nothing.
    Raises `InvalidSearchParameter`.
    """
    check_ratio(params, DROP_RATIO, InvalidSearchParameter)
    ratio = params.get(MAX_SCORE_RATIO)
    if ratio is not None and not 0.5 <= number_of(ratio) <= 1.3:
        raise InvalidSearchParameter(
            f"Out of range in json: param '{MAX_SCORE_RATIO}' ({ratio}) should be in range [0.500000, 1.300000]"
        )
    if REFINE_FACTOR.name in params:
        REFINE_FACTOR.read(params[REFINE_FACTOR.name], InvalidSearchParameter, "Out of range in json: ")
    return float(params.get(DROP_RATIO) or 0)
