"""A taste of `make fuzz`: a few mutated requests for every RPC."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz import run

SECONDS = 0.007
"""For each of some 140 RPCs."""


def test_no_request_gets_an_internal_error_or_harms_what_others_see(tmp_path: Path, seed: int) -> None:
    report = run(tmp_path / "data", seed, SECONDS)
    assert not report.findings, "\n".join(map(str, report.findings))
    assert min(counts.total() for counts in report.answers.values()) > 1
