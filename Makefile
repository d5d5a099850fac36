# Two commands do all the set-up: `make demo` and `make test`. CONTRIBUTING.md says what the others do.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test check coverage sweep soak bench twins absence clean

demo: $(VENV)/.runtime
	$(BIN)/bitcraps demo

test: check
	$(BIN)/python -m pytest -q -n auto --dist worksteal

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

coverage: $(VENV)/.dev
	$(BIN)/python -m coverage run -m pytest -q tests/consensus tests/game tests/netsim tests/wire
	$(BIN)/python -m coverage report

sweep: $(VENV)/.dev
	for scenario in squall swarm wipes ailing partition crashes equivocator coalition flood churn cities party twins conspiracy nodes narrow; do \
	  $(BIN)/netsim sweep $$scenario --seeds 0..$(or $(SEEDS),1999) || exit 1; \
	done
	$(BIN)/netsim selftest
	NETSIM_EXAMPLES=$(or $(SEEDS),1999) $(BIN)/python -m pytest -q tests/netsim/test_stateful.py

# A quarter of an hour of real processes; `SEED` draws other faults.
soak: $(VENV)/.dev
	$(BIN)/netsim run soak --seed $(or $(SEED),1)

bench: $(VENV)/.dev
	$(BIN)/python -m bench.commit --nodes 4 --clients 256 --seconds 5 --json
	$(BIN)/python -m bench.runtime --json
	$(BIN)/python -m bench.agreement --voters 4 16 31 --json
	$(BIN)/python -m bench.game --json
	$(BIN)/python -m bench.catch_up --blocks 2500 --processes --json
	$(BIN)/python -m bench.proofs --json

# Every scenario of one validator that is two, at a table of four over three views.
twins: $(VENV)/.dev
	$(BIN)/python -m netsim.twins

# A voter that missed 10,000 blocks and a newcomer with nothing, with one honest peer to learn from.
absence: $(VENV)/.dev
	$(BIN)/python -m netsim.absence

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "BitCraps needs Python 3.11 or newer, and $(PYTHON) is none. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Python's venv module is missing. On Debian or Ubuntu: apt install python3-venv"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
