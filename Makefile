# Everything runs in one virtual environment made from nothing but python3 and pip.
# The first run installs; later runs start at once, until pyproject.toml changes.

PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
# Releases to install instead of the newest.
PINS =
CLIENTS = langchain llama_index haystack node pymilvus-3.0 pymilvus-2.6 pymilvus-2.5

.PHONY: help demo test test-clients test-lowest lint crash oracle fuzz bench clean
.NOTPARALLEL:

help:
	@echo "make demo          store and search the documentation of the Python standard library"
	@echo "make test          all tests, in about a quarter of an hour"
	@echo "make test-lowest   the same with the oldest releases that pyproject.toml admits; with Python 3.11 or 3.12"
	@echo "make test-clients  LangChain, LlamaIndex, Haystack, Node and older pymilvus, each against a server"
	@echo "make lint          ruff and strict mypy"
	@echo "make crash         the long crash suites: 1,000 kills, 400 of a server under clients, 100,000 crash states"
	@echo "make oracle        a million filters against a naive interpreter, in every state of their rows; hours"
	@echo "make fuzz          a minute of mutated requests for every RPC, and one of filters; less with SECONDS=3, again with SEED=N"
	@echo "make bench         every figure beside its bound, into bench-results/"
	@echo "make clean         remove the environments and everything built"

# One stamp for each extra of pyproject.toml, so that `make demo` installs only what the demonstration needs.
$(VENV)/.ready-%: pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Elanus needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x "$(RUN)" || "$(PYTHON)" -m venv "$(VENV)"
	@echo "installing elanus[$*] into $(VENV) ..."
	@"$(RUN)" -m pip install --quiet --disable-pip-version-check --editable ".[$*]" $(PINS)
	@touch "$@"

demo: $(VENV)/.ready-demo
	@"$(RUN)" -m demo

# Two processes: much of the suite waits for servers, disks and clocks. A file stays with one of them, and so do its servers.
test: $(VENV)/.ready-dev
	@"$(RUN)" -m pytest -q --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Read from pyproject.toml itself, so that no second list of bounds can go stale.
LOWEST = import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
    print(*(d.split(",")[0].replace(">=", "==") for d in p["dependencies"] + p["optional-dependencies"]["dev"]))

test-lowest:
	@$(MAKE) VENV=.venv-lowest PINS="$$("$(PYTHON)" -c '$(LOWEST)')" test

# One environment for each client, without Elanus. Node's own comes with Node, so that none need be installed.
.venv-clients/%/.ready: clients/requirements/%.txt
	@test -x "$(@D)/bin/python" || "$(PYTHON)" -m venv "$(@D)"
	@echo "installing $* into $(@D) ..."
	@"$(@D)/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade --requirement "$<"
	@touch "$@"

.venv-clients/node/.packages: clients/package.json .venv-clients/node/.ready
	@cp "$<" "$(@D)"
	@ln -sf ../../clients/node_case.mjs "$(@D)"
	@PATH="$(abspath $(@D))/bin:$$PATH" npm install --prefix "$(@D)" --no-package-lock --no-audit --no-fund --silent
	@touch "$@"

test-clients: $(VENV)/.ready-dev $(CLIENTS:%=.venv-clients/%/.ready) .venv-clients/node/.packages
	@"$(RUN)" -m clients

lint: $(VENV)/.ready-dev
	@"$(RUN)" -m ruff check .
	@"$(RUN)" -m ruff format --check .
	@"$(RUN)" -m mypy --strict src

crash: $(VENV)/.ready-dev
	@"$(RUN)" -m pytest -m crash --thorough

oracle: $(VENV)/.ready-dev
	@"$(RUN)" -m pytest -q --thorough tests/test_oracle_filters.py $(if $(SEED),--seed $(SEED))

fuzz: $(VENV)/.ready-dev
	@"$(RUN)" -m tests.fuzz $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))
	@"$(RUN)" -m tests.fuzz_filters $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

bench: $(VENV)/.ready-bench
	@"$(RUN)" -m bench

clean:
	rm -rf "$(VENV)" .venv-lowest .venv-clients build dist bench-results .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
