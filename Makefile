# `make` alone says what there is. Everything runs in the virtual environment .venv, made on first use and made again
# only when pyproject.toml has changed. pip asks the package index that it is configured for; to keep the CUDA libraries
# away on Linux, say  PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make serve

PYTHON ?= python3
PORT ?= 8000
HOST ?= 127.0.0.1
FUZZ_SECONDS ?= 600
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
SERVE_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.PHONY: help serve test fuzz lint models bench e2e-perf bento clean

help: ## Say what there is
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

serve: $(SERVE_STAMP) ## Serve repository/ on http://localhost:8000 (PORT=, HOST=, ARGS="--arg name=value …")
	@echo "serving repository/ at http://$(HOST):$(PORT)/v2 (Ctrl-C ends it)"
	@exec $(BIN)/bentoml serve service:service --host $(HOST) --port $(PORT) --arg model_repository=repository $(ARGS)

test: lint ## Run lint, then all tests (ARGS="-k name" for some, JOBS=1 for one after the other)
	$(BIN)/pytest -n $(JOBS) --dist loadfile $(ARGS)

fuzz: $(DEV_STAMP) ## Try anything at all on both protocols, for 10 minutes (FUZZ_SECONDS=)
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/pytest tests/fuzz --timeout=0 $(ARGS)

lint: $(DEV_STAMP) ## Check style, types and layers; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

models: $(DEV_STAMP) ## Make the models in repository/ again from their recipes
	$(BIN)/python -m models

bench: $(DEV_STAMP) ## Measure requests and CPU time beside a bare uvicorn
	$(BIN)/python -m benchmarks

e2e-perf: $(DEV_STAMP) ## Get the real perf_analyzer and run it against the service
	$(BIN)/python -m benchmarks.perf_analyzer --prepare
	$(BIN)/pytest tests/e2e/test_perf_analyzer.py $(ARGS)

bento: $(SERVE_STAMP) ## Build a Bento of the service and the models in repository/
	$(BIN)/bentoml build --arg model_repository=repository $(ARGS)

clean: ## Remove .venv and what the tools left; BentoML's own store stays
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@echo "making the virtual environment $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 …" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --upgrade pip # an old resolver gives up where packages have just been released

$(SERVE_STAMP): pyproject.toml | $(BIN)/python
	@echo "installing jubako and what it needs into $(VENV)"
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(DEV_STAMP): pyproject.toml | $(BIN)/python
	@echo "installing jubako with its development tools into $(VENV)"
	$(BIN)/pip install --quiet --editable ".[dev]"
	@touch $@ $(SERVE_STAMP)
