# Each target works as the first command on a fresh machine with Python 3.11+ and apt.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TORCH  := torch==2.13.0

.PHONY: help setup setup-dev system demo test lint types imports bench clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(VENV)/.ready: pyproject.toml constraints/cpu.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed"; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || deploy/install-system.sh python3-venv
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints/cpu.txt -e .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints/cpu.txt -e '.[dev]'
	@touch $@

setup: $(VENV)/.ready ## Install the node into .venv

setup-dev: $(VENV)/.ready-dev ## Install the node and the tools for development

system: ## Install the programs that tests talk to (DCMTK, Orthanc, dicom3tools, PostgreSQL), where allowed
	@deploy/install-system.sh dcmtk orthanc dicom3tools postgresql

demo: setup ## Run the main job: push a study, get the corrected series back
	$(BIN)/dicom-node demo

test: setup-dev system lint types imports ## Check style, types, layers, and run all tests
	$(BIN)/python -m pytest

lint: setup-dev ## Style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup-dev ## Types
	$(BIN)/mypy

imports: setup-dev ## Who may import whom
	$(BIN)/lint-imports

bench: setup-dev ## Measure speed and quality; prints ratios against baselines of the same run
	$(BIN)/python tests/benchmarks/bench_projector.py
	$(BIN)/python tests/benchmarks/bench_hipct.py

clean: ## Remove what the targets made
	rm -rf $(VENV) demo-out
