# make run   set everything up and run the default pipeline on the demo data
# make test  set everything up and run the tests
# make viz, make mlflow, make compare  the lineage, the runs in a browser, the runs in the terminal
# make soak  runs that are killed, over and over
# make docs  the documentation as a site; make bench: timings against the authors' schedule
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# cpu or gpu: which faiss to install
FAISS ?= cpu
# one after another: make test WORKERS=0
WORKERS ?= logical
PYTEST = $(BIN)/pytest -n $(WORKERS) --maxprocesses 4 --dist worksteal

.PHONY: run test test-fast lint format viz mlflow compare docs docs-serve bench bench-gpu leaderboard soak clean

run: $(VENV)/.run
	$(BIN)/kedro run

test: $(VENV)/.test
	$(PYTEST)

test-fast: $(VENV)/.test
	$(PYTEST) -m "not slow"

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

viz: $(VENV)/.run
	$(BIN)/kedro viz run

mlflow: $(VENV)/.run
	@$(BIN)/python -m uniformaly_pipeline.tracking.views
	PYTHONWARNINGS=ignore $(BIN)/mlflow ui

# make compare ARGS="--differing --last 5"
compare: $(VENV)/.run
	$(BIN)/python -m uniformaly_pipeline.tracking.compare $(ARGS)

docs: $(VENV)/.test
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

docs-serve: $(VENV)/.test
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve

# make bench ARGS="--quick"
bench: $(VENV)/.test
	$(BIN)/python -m benchmarks $(ARGS)

# all methods and backbones at hand on all data sets at hand: make leaderboard ARGS="--seeds 0+1+2"
leaderboard: $(VENV)/.test
	$(BIN)/python -m benchmarks.leaderboard $(ARGS)

# the GPU's table, and parity and invariance on it; says so where there is none
bench-gpu: $(VENV)/.test
	$(BIN)/python -m benchmarks.gpu $(ARGS)

# make soak ARGS="--kills 30"
soak: $(VENV)/.test
	$(BIN)/python -m tools.soak $(ARGS)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: set PYTHON")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(BIN)/python
	@echo "Installing the project into $(VENV), once: some 170 packages, a few minutes"
	@$(BIN)/python tools/install.py --editable ".[$(FAISS)]"
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	@echo "Installing the project and what tests it into $(VENV), once: a few minutes"
	@$(BIN)/python tools/install.py --editable ".[$(FAISS),test,docs]"
	@touch $(VENV)/.run $@

clean:
	rm -rf $(VENV) build .viz
