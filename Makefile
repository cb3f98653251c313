# All commands of this project. Needs python3 (3.11 or newer) and make; the rest it gets itself, into dot folders here.

PYTHON ?= python3
FOLDER ?=
ARGS ?=
SEED ?=
SEEDS ?=
JOBS ?= 2
FIRST_SEED ?= 1
MINUTES ?= 10
MUTANTS ?= 300
TIMES ?= 3
ONLY ?= *

VENV := .venv
BIN := $(VENV)/bin
DEMO_READY := $(VENV)/.demo-ready
MUTATION_READY := $(VENV)/.mutation-ready
READY := $(VENV)/.ready

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help venv demo test lint format types contracts unit docs bench stress storm interleave stalls soak mutation conformance others everywhere wheel-check clean

help: ## List these commands.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

venv: $(READY) ## Make the virtual environment, unless it is there and fresh.

demo: $(DEMO_READY) ## Index a tree of real files: make demo [FOLDER=path].
	@$(BIN)/python docs/examples/index_tree.py $(if $(FOLDER),"$(FOLDER)") $(ARGS)

# The unit tests come last, so that the number of tests is the last line.
test: lint types contracts docs unit ## Everything a change must pass: within five minutes on two cores.

lint: $(READY) ## Style and common mistakes.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## Mend what `make lint` can mend.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# In tests/typing a line that must not type-check carries a `type: ignore[code]`: mypy reports those that are not needed.
types: $(READY) ## mypy --strict.
	$(BIN)/mypy
	$(if $(wildcard tests/typing/*.py),$(BIN)/mypy tests/typing)
	$(if $(wildcard docs/examples/*.py),$(BIN)/mypy docs/examples)

contracts: $(READY) ## Who may import whom.
	$(BIN)/lint-imports --cache-dir .build/import-linter

unit: $(READY) ## The tests, with coverage, JOBS at a time: make unit [ARGS="-k name"] [JOBS=2].
	$(BIN)/python -m pytest --cov --cov-report=term -n $(JOBS) --dist worksteal $(ARGS)

docs: $(READY) ## Build the pages into .build/site; a broken link is an error.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict -f .mkdocs.yml

bench: $(READY) ## Each figure beside the peer's, from the same run.
	$(BIN)/python tests/benchmarks/run.py $(ARGS)

stress: $(READY) ## The slow, seeded tests, and the model tests with other examples each time: minutes.
	$(BIN)/python -m pytest -m slow $(ARGS)
	EXAMPLES=500 $(BIN)/python -m pytest -q tests/model $(ARGS)

storm: $(READY) ## Whole runs of the core, each made by one seed: make storm [SEEDS=10000 or 5000:6000] [SEED=17].
	$(BIN)/python tests/storm/run.py $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),10000))

interleave: $(READY) ## Many schedules of each race, line by line: make interleave [SEEDS=2000] [FIRST_SEED=1] [ARGS="-k door"].
	SEEDS=$(or $(SEEDS),2000) FIRST_SEED=$(FIRST_SEED) $(BIN)/python -m pytest -q tests/interleavings -m "slow or not slow" --timeout 3600 $(ARGS)

stalls: $(READY) ## Tests whose threads stall at random, as on a busy machine: make stalls [TIMES=3] [ARGS="tests/threads -k hedge"].
	TIMES=$(TIMES) PYTHONPATH=tests $(BIN)/python -m pytest -p stalls -q -n 8 --dist worksteal $(or $(ARGS),tests/threads tests/contract)

soak: $(READY) ## Everything for real under faults, judged from outside: make soak [MINUTES=10] [ARGS="--seed 1"].
	$(BIN)/python tests/soak/run.py --minutes $(MINUTES) $(ARGS)

mutation: $(MUTATION_READY) ## Small changes that tests must catch: make mutation [MUTANTS=300, 0 for all] [SEED=1] [ONLY='*/gate.py'].
	$(BIN)/python tests/mutation/run.py --mutants $(MUTANTS) --seed $(or $(SEED),1) --only '$(ONLY)' --jobs $(JOBS) $(ARGS)

conformance: $(READY) ## CPython's own Executor tests, on every interpreter here that has them.
	$(BIN)/python .ci/each_python.py tests/conformance/run.py $(ARGS)

others: $(READY) ## The same as everywhere, but for the interpreter of the virtual environment, where `make test` ran.
	$(BIN)/python .ci/each_python.py --others -m pytest -q -n $(JOBS) --dist worksteal $(ARGS)

everywhere: $(READY) ## The tests on every interpreter from 3.11 up that is here.
	$(BIN)/python .ci/each_python.py -m pytest -q -n $(JOBS) --dist worksteal $(ARGS)

wheel-check: $(READY) ## Build, install into an empty environment, run the tests from another folder.
	$(BIN)/python .ci/wheel_check.py

clean: ## Remove all that these commands made.
	rm -rf .venv .venvs .build .hypothesis .ruff_cache .mypy_cache .pytest_cache .import_linter_cache
	find scheduler pools policies tests docs .ci -name __pycache__ -type d -prune -exec rm -rf {} +

# Two stamps, because the demo needs seconds of installing and the development tools need a minute.
$(DEMO_READY): pyproject.toml
	@command -v "$(PYTHON)" > /dev/null \
	  || { echo "There is no '$(PYTHON)' here: install Python 3.11 or newer, or run make PYTHON=/path/to/python."; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; '$(PYTHON)' is $$("$(PYTHON)" -V). Run make PYTHON=/path/to/python."; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2> /dev/null \
	  || { echo "'$(PYTHON)' lacks venv or ensurepip; on Debian and Ubuntu install python3-venv."; exit 1; }
	@echo "Making the virtual environment $(VENV) ..."
	@"$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --upgrade "pip>=25.1"  # the first that knows dependency groups
	@$(BIN)/python -m pip install -qq --editable ".[demo]"
	@touch $@

$(READY): $(DEMO_READY)
	@echo "Installing the development tools ..."
	@$(BIN)/python -m pip install -qq --editable ".[all]" --group dev
	@touch $@

$(MUTATION_READY): $(READY)
	@$(BIN)/python -m pip install -qq --group mutation
	@touch $@
