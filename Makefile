# Needs make and Python >= 3.11; everything else goes into .venv, at the versions of constraints.txt.
# Another Python: make book PYTHON=python3.13

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
BENCH  := .venv-bench

# One thread a process: the build and the tests already run two processes, and BLAS threads that
# compete for the same cores cost far more than they bring.
export OPENBLAS_NUM_THREADS := 1
export OMP_NUM_THREADS      := 1
export PYTHONHASHSEED       := 0
# What a shell may have set for other work; book/build.py drops the same.
unexport MPLBACKEND MATPLOTLIBRC PYTHONPATH PYTHONWARNINGS
# Keep a reader's own IPython start-up files out of the book.
export IPYTHONDIR := $(CURDIR)/$(VENV)/ipython

# The stamp carries the version: another Python makes another environment.
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)
READY   := $(VENV)/ready-$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help book notebooks claims lint test mutants results bench serve clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

book: $(READY) ## execute the chapters that changed and build _build/html
	@$(BIN)/python book/build.py html

notebooks: $(READY) ## execute the chapters that changed and write book/*.ipynb
	@$(BIN)/python book/build.py notebooks

claims: $(READY) ## check every displayed equation and its misprints, and print what was found
	@$(BIN)/python book/claims.py

lint: $(READY) ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Each line is a way to be wrong that the others do not see. nbval sets up matplotlib as a notebook
# does, so only the unit tests may name a backend.
test: lint ## style, types, unit tests, doctests, equations, notebooks, and a cold build of the pages
	MPLBACKEND=agg $(BIN)/python -m pytest
	$(BIN)/python book/claims.py
	$(BIN)/python -m pytest --nbval --nbval-current-env -n 2 --dist loadfile book
	$(BIN)/python book/build.py html --committed
	$(BIN)/python -m pytest tests/pages

mutants: $(READY) ## change the code in many small ways: does a test notice? (about 15 minutes)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  --no-build-isolation --editable ".[mutation]"
	$(BIN)/python tests/survivors.py

results: $(READY) ## recompute the stored tables of the chapters (about an hour and a half)
	$(BIN)/python book/results/trainers.py
	$(BIN)/python book/results/softmax.py
	$(BIN)/python book/results/rivals.py
	$(BIN)/python book/results/lottery.py
	$(BIN)/python book/results/transfer.py
	$(BIN)/python book/results/samples.py

bench: ## time a training step beside PyTorch and JAX, in an environment of its own (three minutes)
	@test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	@$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt flit_core
	@$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  --no-build-isolation --editable ".[bench]"
	$(BENCH)/bin/python benchmarks/speed.py

serve: book ## serve the book on http://localhost:8000
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html 8000

clean: ## remove what was built (the environment stays: rm -r .venv)
	rm -rf _build .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find book scbtheory tests -name __pycache__ -prune -exec rm -rf {} +

$(READY): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or newer is needed, and $(PYTHON) is not: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) lacks the venv module (on Debian and Ubuntu: apt install python3-venv)"; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
	@echo "installing what constraints.txt pins into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt flit_core
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  --no-build-isolation --editable ".[dev]"
	@touch $@
