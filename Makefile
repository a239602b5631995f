# make demo: the main job on made clips; a preset names the action in VIDEO=FILE at its end.
# make test: each behavior once, models on both backends; XLA compiles with less effort, in half of the time. make test-all: everything on both, and what is long.
# All set everything up first.
PYTHON ?= python3
BIN := .venv/bin
# Two processes: what Keras traces and compiles keeps one core busy. tests/conftest.py says which tests share one.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadgroup
VIDEO ?= $(firstword $(wildcard ../shared/data/clips/abseiling_k400.mp4))
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
	$(BIN)/clipzoo demo --out demo $(if $(VIDEO),--video "$(VIDEO)")

test: setup lint
	$(PYTEST) -m "not keras and not slow"
	XLA_FLAGS=--xla_backend_optimization_level=1 KERAS_BACKEND=jax $(PYTEST) -m "keras and not slow"
	KERAS_BACKEND=tensorflow $(PYTEST) -m "keras and not slow"

test-all: setup lint
	$(BIN)/python -m pip install --quiet --editable ".[ray]"
	$(PYTEST) -m "not keras"
	KERAS_BACKEND=jax $(PYTEST) -m keras
	KERAS_BACKEND=tensorflow $(PYTEST) -m keras
	KERAS_BACKEND=jax $(BIN)/python -m tests.support.kills --kills 5 --workers 1
	KERAS_BACKEND=tensorflow $(BIN)/python -m tests.support.kills --kills 5
	KERAS_BACKEND=jax $(BIN)/python -m tests.support.kills --kills 5 --drop-optimizer
	bash tests/extras.sh
	bash tests/uses.sh
	bash tests/oldest.sh

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv demo
