# make run   set everything up and run the default pipeline on the demo data
# make test  set everything up and run the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# cpu or gpu: which faiss to install
FAISS ?= cpu

.PHONY: run test test-fast lint format viz mlflow clean

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

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: set PYTHON")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[$(FAISS)]"
	touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[$(FAISS),test]"
	touch $(VENV)/.run $@

clean:
	rm -rf $(VENV) build .viz
