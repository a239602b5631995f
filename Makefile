# make demo: the main job on made clips. make test: each behaviour once, both backends.
# make test-all: the same, and what is long. All set everything up first.
PYTHON ?= python3
BIN := .venv/bin
EXTRAS := tensorflow,jax,export,runtime,dev

.PHONY: setup demo test test-all lint clean

setup: .venv/.ready

.venv/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "clipzoo needs Python 3.11 to 3.13; $(PYTHON) is $$($(PYTHON) --version). Say: make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable ".[$(EXTRAS)]"
	touch $@

demo: setup
	$(BIN)/clipzoo demo --out demo

test: setup lint
	$(BIN)/python -m pytest -m "not keras and not slow"
	KERAS_BACKEND=jax $(BIN)/python -m pytest -m "keras and not slow"
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest -m "keras and not slow"

test-all: setup lint
	$(BIN)/python -m pytest -m "not keras"
	KERAS_BACKEND=jax $(BIN)/python -m pytest -m keras
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest -m keras

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv demo
