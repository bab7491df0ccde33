"""Index parameters: defaults, ranges, and the messages that clients look at."""

import pytest

from elanus.model.errors import InvalidParameter
from elanus.model.types import Metric
from elanus.vector import registry
from elanus.vector.registry import IndexKind, IndexSpec, InvalidSearchParameter, SearchParams, resolve, search_params


def test_defaults_are_milvus_s():
    assert resolve("HNSW", {}) == IndexSpec(IndexKind.HNSW, m=30, ef_construction=360)
    assert resolve("IVF_FLAT", {}) == IndexSpec(IndexKind.IVF_FLAT, nlist=128)
    assert resolve("AUTOINDEX", {}) == IndexSpec(IndexKind.AUTOINDEX, m=18, ef_construction=240)
    assert resolve("", {"metric_type": "L2"}).kind is IndexKind.AUTOINDEX
    assert search_params(resolve("IVF_FLAT", {}), {}, 10) == SearchParams(nprobe=8)
    assert search_params(resolve("HNSW", {}), {}, 10) == SearchParams(ef=16)
    assert search_params(resolve("HNSW", {}), {}, 100) == SearchParams(ef=100)


def test_parameters_come_as_text_or_numbers():
    assert resolve("HNSW", {"M": "16", "efConstruction": 200}) == IndexSpec(IndexKind.HNSW, 16, 200)
    assert search_params(resolve("HNSW", {}), {"ef": "64"}, 10) == SearchParams(ef=64)


@pytest.mark.parametrize(
    ("index_type", "params", "message"),
    [
        ("HNSW", {"M": 2049}, "param 'M' (2049) should be in range [2, 2048]"),
        ("HNSW", {"M": "1"}, "param 'M' (1) should be in range [2, 2048]"),
        ("HNSW", {"efConstruction": 0}, "param 'efConstruction' (0) should be in range [1, 2147483647]"),
        ("HNSW", {"M": "many"}, "param 'M' (many) should be an integer"),
        ("HNSW", {"M": True}, "should be an integer"),
        ("HNSW", {"M": float("nan")}, "should be an integer"),
        ("IVF_FLAT", {"nlist": 65537}, "param 'nlist' (65537) should be in range [1, 65536]"),
        ("IVF_HNSW", {}, "invalid index type: IVF_HNSW"),
        ("AUTOINDEX", {"M": 16}, "only metric type can be passed when use AutoIndex"),
    ],
)
def test_bad_build_parameters_are_refused_with_code_1100(index_type, params, message):
    with pytest.raises(InvalidParameter) as caught:
        resolve(index_type, params)
    assert message in str(caught.value)
    assert caught.value.code == 1100


@pytest.mark.parametrize(
    ("spec", "params", "k", "message"),
    [
        (resolve("HNSW", {}), {"ef": 5}, 10, "ef(5) should be larger than k(10)"),
        (resolve("HNSW", {}), {"ef": 0}, 1, "param 'ef' (0) should be in range"),
        (resolve("IVF_FLAT", {}), {"nprobe": 0}, 10, "param 'nprobe' (0) should be in range [1, 65536]"),
    ],
)
def test_bad_search_parameters_are_refused_with_the_kernel_s_code(spec, params, k, message):
    with pytest.raises(InvalidSearchParameter) as caught:
        search_params(spec, params, k)
    assert message in str(caught.value)
    assert caught.value.code == 65535


def test_more_probes_than_lists_means_all_lists():
    assert search_params(resolve("IVF_FLAT", {"nlist": 16}), {"nprobe": 64}, 10).nprobe == 16


def test_a_spec_survives_json():
    for kind in IndexKind:
        spec = resolve(kind, {"m": 8} if kind is IndexKind.IVF_PQ else {})
        assert IndexSpec.from_dict(spec.to_dict()) == spec


def test_another_metric_than_the_index_s_is_refused():
    registry.check_metric(None, Metric.COSINE)
    registry.check_metric("cosine", Metric.COSINE)
    with pytest.raises(
        InvalidParameter, match=r"metric type not match: invalid parameter\[expected=COSINE\]\[actual=L2\]"
    ):
        registry.check_metric("L2", Metric.COSINE)
