# Each target works as the first command on a fresh machine with Python 3.11+ and apt.
# The first that is new enough; `make PYTHON=...` names another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV   := .venv
BIN    := $(VENV)/bin
TORCH  := torch==2.13.0

.PHONY: help setup setup-dev system demo test fuzz lint types imports bench soak clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(VENV)/.ready: pyproject.toml constraints/cpu.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed"; exit 1; }
	@# Debian's Python without its venv package leaves a folder without pip behind.
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 && $(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		deploy/install-system.sh $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])') && \
		$(PYTHON) -m venv --clear $(VENV); }
	@echo "installing into $(VENV): this takes a few minutes the first time"
	$(BIN)/python -m pip install -q --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints/cpu.txt -e .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints/cpu.txt -e '.[dev,train]'
	@touch $@

setup: $(VENV)/.ready ## Install the node into .venv

setup-dev: $(VENV)/.ready-dev ## Install the node, and the tools for development and training

system: ## Install the programs that tests talk to (DCMTK, Orthanc, dicom3tools, PostgreSQL), where allowed
	@deploy/install-system.sh dcmtk orthanc dicom3tools postgresql systemd

demo: setup ## Run the main job: push a study, get the corrected series back
	$(BIN)/dicom-node demo

test: setup-dev system lint types imports ## Check style, types, layers, and run all tests
	$(BIN)/python -m pytest

SECONDS ?= 120
FUZZ_SECONDS ?= $(SECONDS)
fuzz: setup-dev ## Fuzz what strangers send, two minutes in all; FUZZ_SECONDS=14400 for a night, FUZZ_CORPUS=folder to learn
	$(BIN)/python tests/fuzz/fuzzing.py --seconds $(FUZZ_SECONDS) $(if $(FUZZ_CORPUS),--corpus $(FUZZ_CORPUS))

lint: setup-dev ## Style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup-dev ## Types
	$(BIN)/mypy

imports: setup-dev ## Who may import whom
	$(BIN)/lint-imports

bench: setup-dev ## Measure speed and quality; prints ratios against baselines of the same run
	for benchmark in tests/benchmarks/bench_*.py; do $(BIN)/python $$benchmark || exit 1; done

SEEDS ?= 1000
FIRST ?= 1
JOBS  ?= 1
soak: setup-dev system ## Kill nodes at every fault point: SEEDS (1000) from FIRST, JOBS at a time, or one SEED with its plan
	$(BIN)/python tests/integration/soak.py $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --first $(FIRST)) --jobs $(JOBS)

clean: ## Remove what the targets made
	rm -rf $(VENV) demo-out
