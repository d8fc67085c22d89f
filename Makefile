# `make help` lists what there is. Everything runs in .venv, which `make setup` makes from requirements.lock.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The interpreter that .venv is made from: the first of these that is 3.10 to 3.13, or yours: make setup PYTHON=python3.12
PYTHON ?=
CANDIDATES := python3 python3.13 python3.12 python3.11 python3.10

VENV := .venv
BIN := $(VENV)/bin
# The names of the stamps hold hashes of what they were made from: a changed lock makes .venv anew, a changed
# pyproject.toml only installs interp itself again, and otherwise there is nothing to do.
LOCKED := $(VENV)/.locked-$(shell cksum < requirements.lock | tr -d ' ')
STAMP := $(VENV)/.interp-$(shell cksum < pyproject.toml | tr -d ' ')

# Two workers or as many as there are cores, up to four; a file's tests stay in one worker.
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$(( n > 4 ? 4 : n )))
PYTEST := $(BIN)/python -m pytest
# What `make check` runs: the tests that load no model.
FAST := tests/test_architecture.py tests/test_package.py tests/report tests/stats tests/prompts tests/docs/test_pages.py
PARALLEL := -n $(WORKERS) --dist loadfile

.PHONY: help setup demo test check docs fmt slow bench lock clean

help: ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS=$$'\t' read -r name what; do printf '  make %-7s %s\n' "$$name" "$$what"; done

setup: $(LOCKED) $(STAMP) ## make .venv with everything in it (a second run takes no time)

$(LOCKED):
	@pick=""; \
	for p in $(if $(PYTHON),"$(PYTHON)",$(CANDIDATES)); do \
	  if "$$p" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1; then pick="$$p"; break; fi; \
	done; \
	if [ -z "$$pick" ]; then \
	  echo "interp needs Python 3.10 to 3.13; tried: $(if $(PYTHON),$(PYTHON),$(CANDIDATES))." >&2; \
	  echo "Name one: make setup PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	if ! "$$pick" -c 'import venv, ensurepip' >/dev/null 2>&1; then \
	  echo "$$pick cannot make virtual environments (Debian and Ubuntu: install python3-venv)." >&2; exit 1; \
	fi; \
	echo "set-up: $$("$$pick" --version) in $(VENV)"; \
	"$$pick" -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off -r requirements.lock
	@touch $@

$(STAMP): | $(LOCKED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/.interp-* && touch $@
	@echo "set-up: done"

demo: setup ## what has the shipped model memorised? ends in an HTML report (< 1 min once set up)
	@$(BIN)/interp demo --out demo

test: setup ## everything but slow, gpu and bench: unit, identity, doctests, notebooks
	@$(PYTEST) $(PARALLEL) -rs --nbmake tests interp notebooks/*.ipynb

check: setup ## before each commit: format, lint, types, the fast tests (< 1 min)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyrefly check --python-interpreter-path $(BIN)/python --summary=none
	@$(PYTEST) -q $(PARALLEL) $(FAST)

docs: setup ## build the site of docs/ into .site/ (REPOSITORY_URL=https://... for links into the code)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file .mkdocs.yml
	@echo "docs: open .site/index.html"

fmt: setup ## put the code into shape
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

slow: setup ## the tests that take minutes each
	@$(PYTEST) -m "slow" tests

bench: setup ## measure speed beside the peers (adds nnsight and sae-lens to .venv); wants a quiet machine
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock --no-build-isolation -e ".[bench]"
	@$(PYTEST) -m "bench" -s tests/bench

lock: ## write requirements.lock anew (needs uv: pip install uv)
	@command -v uv >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	@{ echo "# Exact versions for Python 3.10 to 3.13, written by \`make lock\` from pyproject.toml; do not edit."; \
	  echo "# CUDA packages are left out: torch itself asks for those that its build needs."; \
	  uv pip compile pyproject.toml --extra dev --extra notebooks --extra sae --extra docs --universal --python-version 3.10 \
	    --no-header --no-annotate --no-emit-index-url --quiet | grep -vE '^(nvidia-|cuda-|triton)'; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock

clean: ## remove .venv and everything that tools leave behind
	rm -rf $(VENV) demo build dist .site .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
