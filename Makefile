# Everything runs in one virtual environment made from nothing but python3 and pip.
# The first run installs; later runs start at once, until pyproject.toml changes.

PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python

.PHONY: help demo test lint crash fuzz bench clean
.NOTPARALLEL:

help:
	@echo "make demo    store and search the documentation of the Python standard library"
	@echo "make test    all tests, within ten minutes"
	@echo "make lint    ruff and strict mypy"
	@echo "make crash   the long crash suites: 1,000 kills, 400 of a server under clients, 100,000 crash states"
	@echo "make fuzz    a minute of mutated requests for every RPC; less with SECONDS=3, again with SEED=N"
	@echo "make bench   every figure beside its bound, into bench-results/"
	@echo "make clean   remove the environment and everything built"

# One stamp for each extra of pyproject.toml, so that `make demo` installs only what the demonstration needs.
$(VENV)/.ready-%: pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Elanus needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x "$(RUN)" || "$(PYTHON)" -m venv "$(VENV)"
	@echo "installing elanus[$*] into $(VENV) ..."
	@"$(RUN)" -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	@touch "$@"

demo: $(VENV)/.ready-demo
	@"$(RUN)" -m demo

test: $(VENV)/.ready-dev
	@"$(RUN)" -m pytest

lint: $(VENV)/.ready-dev
	@"$(RUN)" -m ruff check .
	@"$(RUN)" -m ruff format --check .
	@"$(RUN)" -m mypy --strict src

crash: $(VENV)/.ready-dev
	@"$(RUN)" -m pytest -m crash --thorough

fuzz: $(VENV)/.ready-dev
	@"$(RUN)" -m tests.fuzz $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

bench: $(VENV)/.ready-bench
	@"$(RUN)" -m bench

clean:
	rm -rf "$(VENV)" build dist bench-results .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
