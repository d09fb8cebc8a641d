# Gatewright: what can be done with a checkout. `make` alone prints this list.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEVELOPED := $(VENV)/.developed

.DEFAULT_GOAL := help
.PHONY: help install develop run test lint format bench soak docs lock servers clean

help: ## print this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## set up .venv with the program and its server extras, nothing else

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: set PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "the venv module is missing: on Debian, apt-get install python3-venv" >&2; exit 1; }

$(INSTALLED): $(VENV)/bin/python requirements.lock pyproject.toml setup.py security/limits/_chains.c specs/_records.c gateway/_answer.c
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@# Starts are quicker by a third where Python may not keep what it compiles (PYTHONDONTWRITEBYTECODE).
	@$(BIN)/python -m compileall -q gatewright.py specs security backends sso gateway
	@touch $@

develop: $(DEVELOPED) ## the same, with what tests and checks need

$(DEVELOPED): $(INSTALLED) requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@touch $@

run: $(INSTALLED) ## serve the demo on 127.0.0.1:8000 and print what to try
	@exec $(BIN)/gatewright demo

servers: ## install the servers that tests run against, where that is possible (Debian, root)
	@.ci/servers

test: $(DEVELOPED) servers ## run every test, the files of two at a time
	$(BIN)/pytest --numprocesses 2 --dist loadfile $(PYTEST_ARGS)

lint: $(DEVELOPED) ## check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(DEVELOPED) ## put the sources into the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(DEVELOPED) ## measure, beside peers where they can be installed, and print tables (BENCH_ARGS=--quick)
	$(BIN)/python tests/bench/run.py $(BENCH_ARGS)

soak: $(DEVELOPED) ## minutes of load and of killed processes
	$(BIN)/pytest -m soak -s tests

docs: $(INSTALLED) ## write the reference of settings, commands and problems to site/
	$(BIN)/gatewright docs export site

lock: ## pin every dependency anew (needs uv)
	uv pip compile --quiet --python-version 3.11 --no-header --no-annotate --generate-hashes --extra postgresql --extra redis --extra webauthn --extra hashes \
		pyproject.toml -o requirements.lock
	uv pip compile --quiet --python-version 3.11 --no-header --no-annotate --generate-hashes --extra postgresql --extra redis --extra webauthn --extra hashes \
		--group dev pyproject.toml -o requirements-dev.lock

clean: ## remove what was built and measured; the installation in var/ stays
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis site
