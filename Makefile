# Fresh machine: `make demo` and `make test` do all the set-up. Needs Python 3.11+, Java 17+ and make.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo test up down status lint bench faults pictures
help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is missing. Install Python 3.11 or newer, or name it: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $$($(PYTHON) --version) is too old. Install Python 3.11 or newer, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@command -v java >/dev/null || { echo "error: Java is missing. Install Java 17 or newer (Debian: apt-get install openjdk-17-jre-headless)."; exit 1; }
	@echo "Installing Python packages, about 2 GB; this takes some minutes."
	$(PYTHON) -m venv $(VENV) || { echo "error: no venv module. Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install $(if $(MAKE_TERMOUT),,--quiet) --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: $(STAMP) ## install everything into .venv, .jars and .web
	@$(BIN)/python -m compileall -q shop_streams
	@$(BIN)/python -m shop_streams.web.build
	@$(BIN)/python -m shop_streams.local.jars
	@$(BIN)/python -m shop_streams.local.training

demo: setup ## a day of shop traffic through the whole stack; ONCE=1 checks the numbers and stops
	$(BIN)/shop-streams demo $(if $(ONCE),--once,)

test: setup ## the tests, on the real Kafka, PostgreSQL, Spark and Dagster; FAST=1 only those without servers, LONG=1 the longest too
	$(BIN)/python -m pytest $(if $(FAST),--fast) $(if $(LONG),--long) $(if $(ARGS),$(ARGS),-n 2 --dist loadfile --no-loadscope-reorder)

up: setup ## start the embedded stack in the background
	$(BIN)/shop-streams up --detach

down: $(STAMP) ## stop the embedded stack
	$(BIN)/shop-streams down

status: $(STAMP) ## what runs, where, and how far behind the streams are
	$(BIN)/shop-streams status

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup ## speed, as ratios against baselines measured in the same run
	$(BIN)/python -m shop_streams_tests.bench $(ARGS)

pictures: setup ## make docs/img/*.png from a new demo, in a real browser (Chromium)
	$(BIN)/python -m shop_streams_tests.pictures

faults: setup ## traffic under kill -9, pauses and a full disk, checked by an oracle; DURATION=300 SEED=1
	$(BIN)/python -m shop_streams_tests.faults --duration $(or $(DURATION),300) --seed $(or $(SEED),1)
	$(BIN)/python -m shop_streams_tests.faults.late_commits --seed $(or $(SEED),1)
	$(BIN)/python -m shop_streams_tests.faults.locked_kafka
