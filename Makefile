# Each target does its own set-up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# three worker processes: commands of tests wait for their own; a module's tests stay in one of them.
# make test PARALLEL= runs the tests one after another.
PARALLEL ?= -n 3 --dist loadscope --no-loadscope-reorder

.PHONY: help demo test test-fast check docs gpu clean

help:
	@echo "make demo       train, validate and predict with SwinUNETR-RecA on real MRI (within 10 minutes on 2 CPU cores)"
	@echo "make test       the whole test suite"
	@echo "make test-fast  without the tests that drive whole trainings"
	@echo "make check      ruff and mypy"
	@echo "make docs       the documentation, into site/; open site/index.html"
	@echo "make gpu        tests and benchmarks on a CUDA device, within eight minutes; benchmarks/results/gpu.json"
	@echo "make clean      remove .venv, .demo and site"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed, got " + sys.version.split()[0] + "; run: make PYTHON=/path/to/python3")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo-ready: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(VENV)/.dev-ready: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	@touch $@

$(VENV)/.docs-ready: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	@touch $@

demo: $(VENV)/.demo-ready
	@$(BIN)/python examples/demo.py

test: $(VENV)/.dev-ready
	$(BIN)/python -m pytest $(PARALLEL)

test-fast: $(VENV)/.dev-ready
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

check: $(VENV)/.dev-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs-ready
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --fresh-env --doctree-dir $(VENV)/doctrees --quiet docs site

gpu: $(VENV)/.dev-ready
	$(BIN)/python benchmarks/gpu.py

clean:
	rm -rf $(VENV) .demo site
