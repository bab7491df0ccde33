"""The scenarios of other people's clients are complete; `make test-clients` runs them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from clients.__main__ import CLIENTS, Outcome

ROOT = Path(__file__).parent.parent


def test_the_makefile_installs_every_client() -> None:
    named = re.search(r"^CLIENTS = (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert named is not None
    assert named[1].split() == list(CLIENTS)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_has_a_scenario_and_says_what_it_needs(client: str) -> None:
    assert list((ROOT / "clients").glob(f"{CLIENTS[client]}.*"))
    assert (ROOT / "clients" / "requirements" / f"{client}.txt").read_text(encoding="utf-8").strip()


def test_a_scenario_that_ends_early_or_says_nothing_has_failed() -> None:
    assert Outcome("x", 0, 1.0, passed=["a step"]).holds
    assert not Outcome("x", 0, 1.0).holds
    assert not Outcome("x", 1, 1.0, passed=["a step"]).holds
    assert not Outcome("x", 0, 1.0, passed=["a step"], failed=["another"]).holds


def test_a_step_that_fails_keeps_no_other_from_being_tried() -> None:
    code = """
from clients.scenario import run

def this_is_wrong():
    assert 1 == 2

def this_is_right():
    pass

run(["pytest"], [this_is_wrong, this_is_right])
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stdout.splitlines()[1:] == ["failed this is wrong", "passed this is right"]
    assert "AssertionError" in ran.stderr


def test_clients_that_are_not_installed_are_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clients", "haystack", "--environments", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "haystack; make test-clients" in ran.stderr
