# Everything sets itself up: each target that needs the environment makes or refreshes .venv first.

PYTHON ?= python3
ARGS ?=
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# Only `make lock` needs a resolver for all platforms at once; it gets an environment of its own.
LOCK_VENV := .venv-lock
BENCH_VENV := .venv-bench
UV_VERSION := 0.13.8

# Written for the oldest Python that may be found: it must run there to say that it is too old.
PYTHON_CHECK := import sys; v = sys.version_info[:2]; \
  v < (3, 11) and sys.exit("Vexil needs Python 3.11, 3.12 or 3.13; this is %d.%d. Say which: make PYTHON=python3.12" % v); \
  v > (3, 13) and sys.exit("Vexil is not tested on Python %d.%d yet. Say which: make PYTHON=python3.13" % v)

.DEFAULT_GOAL := help
.PHONY: help setup dev test check lint format-check types layers tidy format soak chaos-check bench bench-peers wheel-test proto lock clean

help: ## Print this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'
	@printf '\n  ARGS="..." is passed on by dev, test, soak, chaos-check, bench and lock; PYTHON=... picks the interpreter of .venv\n'

setup: $(READY) ## Make or refresh .venv from requirements.lock

$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo 'There is no "$(PYTHON)" here. Say which: make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c '$(PYTHON_CHECK)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes --requirement requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

dev: $(READY) ## Run a local cluster of several regions
	$(BIN)/vexil dev $(ARGS)

test: $(READY) ## Run all tests (not the benchmarks)
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup $(ARGS)

check: lint format-check types layers tidy ## Everything static: ruff, mypy, import-linter, the house rules

lint: $(READY)
	$(BIN)/ruff check .

format-check: $(READY)
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports --no-logo

tidy: $(READY)
	$(BIN)/pytest -q tests/unit/test_tidy.py

format: $(READY) ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

soak: $(READY) ## Simulate fresh worlds until told to stop (ARGS="--minutes 30"); prints seeds a minute
	$(BIN)/vexil chaos sim --seeds fresh $(ARGS)

chaos-check: $(READY) ## Plant every known bug and see that the simulation catches it (at most 40 minutes)
	$(BIN)/vexil chaos check --planted $(ARGS)

bench: $(READY) ## Run the benchmarks
	$(BIN)/python -m tests.benchmarks $(ARGS)

bench-peers: $(READY) ## Make or refresh .venv-bench, where the peers of the benchmarks live (bench does it too)
	$(BIN)/python -m tests.benchmarks.sdk_peers.environment

wheel-test: $(READY) ## Build the wheel and try it in clean environments
	$(BIN)/python -m tests.wheel

proto: $(READY) ## Write the message code of vexil.node.grpc from its .proto files
	$(BIN)/python -m grpc_tools.protoc --proto_path=node --python_out=node --pyi_out=node node/vexil/node/grpc/proto/*.proto

lock: ## Renew both lock files from pyproject.toml (ARGS=--upgrade takes newer versions)
	$(PYTHON) -m venv $(LOCK_VENV)
	$(LOCK_VENV)/bin/python -m pip --disable-pip-version-check --quiet install uv==$(UV_VERSION)
	$(LOCK_VENV)/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
		--extra node --extra openfeature --extra chaos --extra dev --no-emit-index-url --no-emit-find-links \
		--custom-compile-command 'make lock' $(ARGS) --output-file requirements.lock pyproject.toml
	$(LOCK_VENV)/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
		--group bench --no-emit-index-url --no-emit-find-links \
		--custom-compile-command 'make lock' $(ARGS) --output-file requirements-bench.lock

clean: ## Remove environments, builds and caches (not .vexil, the data of `make dev`, nor chaos-artefacts)
	rm -rf $(VENV) $(LOCK_VENV) $(BENCH_VENV) dist build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find crdt sdk node chaos tests -name __pycache__ -type d -prune -exec rm -rf {} +
