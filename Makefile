# `make help` says what there is. PYTHON chooses the interpreter (3.11 or newer), PYTEST_ARGS goes to pytest:
#   make test PYTEST_ARGS='tests/unit -x'
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Python does not find itself in an empty environment, as cron and some CI systems give it.
export PATH := $(or $(PATH),/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)

PYTHON ?= python3
PYTEST_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help dev demo check format test sim mutants docs servers bench clean

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

dev: $(STAMP) ## Make .venv with Headway (editable) and all the tools

$(STAMP): setup.cfg
	@tests/servers/install.sh venv $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: dev ## Run a real pipeline to its end, from nothing and without any server
	@examples/demo.sh

check: dev ## Lint, format, types and architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: dev ## Put the code into the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: dev ## Run the tests; installs RabbitMQ and PostgreSQL where it may
	@tests/servers/install.sh servers
	$(BIN)/python -m pytest $(PYTEST_ARGS)

SEEDS ?= 1000
FIRST ?= 0
SEED ?=

sim: dev ## Simulate a cluster: SEEDS=100000 for more, SEED=7 for one with its steps
	@PYTHONPATH=tests $(BIN)/python -m simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --first $(FIRST))

mutants: dev ## Plant bugs in a copy, and count the seeds until the simulation finds each
	@PYTHONPATH=tests $(BIN)/python -m simulation.mutants

docs: dev ## Write the pages that are made of the code
	$(BIN)/python -m headway.protocol.diagram >docs/states.md
	$(BIN)/python -m headway.protocol.schema >docs/reference/dag.schema.json
	$(BIN)/python -m headway.cli.config_example >docs/reference/headway.toml

servers: dev ## Start a private RabbitMQ and PostgreSQL, print their URLs, stay until Ctrl-C
	@tests/servers/install.sh servers
	@PYTHONPATH=tests exec $(BIN)/python -m servers

bench: dev ## Measure against the bare loop; on a machine that does nothing else
	@tests/servers/install.sh servers
	$(BIN)/python benchmarks/run.py wide 2000
	$(BIN)/python benchmarks/run.py mapped 500
	$(BIN)/python benchmarks/run.py mapped 5000
	$(BIN)/python benchmarks/run.py chain 40
	$(BIN)/python benchmarks/run.py processes 2000

clean: ## Remove what the other targets made
	rm -rf $(VENV) .demo build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
