# make run   set everything up and run the default pipeline on the demo data
# make test  set everything up and run the tests
# make viz, make mlflow, make compare  the lineage, the runs in a browser, the runs in the terminal
# make docs  the documentation as a site; make bench: timings against the authors' schedule
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# cpu or gpu: which faiss to install
FAISS ?= cpu

.PHONY: run test test-fast lint format viz mlflow compare docs docs-serve bench clean

run: $(VENV)/.run
	$(BIN)/kedro run

test: $(VENV)/.test
	$(BIN)/pytest

test-fast: $(VENV)/.test
	$(BIN)/pytest -m "not slow"

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
	$(BIN)/mlflow ui

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

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: set PYTHON")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[$(FAISS)]"
	touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[$(FAISS),test,docs]"
	touch $(VENV)/.run $@

clean:
	rm -rf $(VENV) build .viz
