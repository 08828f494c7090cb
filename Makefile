# One short target per thing a person does; `make` alone lists them.
#
#   PROFILE=tiny|laptop|paper   the size of every live run (tiny: built-in data, no download)
#   DATA=...                    the data set instead of the profile's own: a name, or a folder of images
#   BACKEND=tensorflow|gpu|jax  Keras' backend: TensorFlow, TensorFlow with CUDA, or JAX
#   PYTHON=python3.12           the Python that .venv is made from

SHELL := bash
.SHELLFLAGS := -eo pipefail -c
.DEFAULT_GOAL := help

PROFILE ?= tiny
PYTHON ?= python3
BACKEND ?= tensorflow
CELL_TIMEOUT ?= 600
SLOWEST ?= 30
FUZZ ?= 20

export EMBSEL_PROFILE := $(PROFILE)
ifneq ($(DATA),)
export EMBSEL_DATA := $(DATA)
endif
export KERAS_BACKEND := $(if $(filter jax,$(BACKEND)),jax,tensorflow)

# Every tool, and every kernel that a tool starts, comes from .venv and from nowhere else.
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)
export VIRTUAL_ENV := $(CURDIR)/.venv
export JUPYTER_PREFER_ENV_PATH := 1
export PYTHONNOUSERSITE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport JUPYTER_PATH PYTHONHOME PYTHONPATH

VENV := .venv/ready-$(BACKEND)
EXTRAS := book,test
ifneq ($(BACKEND),tensorflow)
EXTRAS := $(BACKEND),$(EXTRAS)
endif
HTML := _build/html/index.html
QUICK := tests/test_pairs.py tests/test_repository.py

.PHONY: help book test check units chapters test-long bench notebooks record try links clean

help: ## list the targets
	@echo "make TARGET [PROFILE=tiny|laptop|paper] [DATA=...] [BACKEND=tensorflow|gpu|jax]"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' Makefile

# At `tiny` a run is as fast on one core as on two, so the chapters go side by side; where a run is large, or there is
# one GPU, they go one after the other.
ifeq ($(PROFILE),tiny)
SIDE_BY_SIDE := -n 2 --dist loadscope
EXECUTOR := local-parallel
book chapters: export OMP_NUM_THREADS := 1
book chapters: export TF_NUM_INTRAOP_THREADS := 1
else
EXECUTOR := local-serial
endif

book: export JUPYTERCACHE := $(CURDIR)/_build/.jupyter_cache
book: $(VENV) ## build the book and run every chapter live; any failure or warning fails the build
	@echo "Building the book ($(PROFILE) profile): every chapter runs, five minutes in all at tiny."
	@rm -rf _build
	@echo y | $(BIN)/jcache notebook add notebooks/*.ipynb > /dev/null
	@$(BIN)/jcache project execute --executor $(EXECUTOR) --timeout $(CELL_TIMEOUT)
	@$(BIN)/jupyter-book build . -W -n --keep-going
	@test -f $(HTML)
	@echo "The book: $(CURDIR)/$(HTML)"

test: check units chapters ## all the checks that CI makes
	@echo "All checks passed."

check: $(VENV) ## quick checks: ruff, codespell, notebook pairs, the repository's own rules
	@echo "Quick checks."
	@$(BIN)/ruff check .
	@$(BIN)/codespell
	@$(BIN)/pytest -q $(QUICK)

units: $(VENV) ## the tests of embsel and of the book's pages, in random order, two at a time, and what they cover
	@echo "Unit tests."
	@$(BIN)/pytest tests $(QUICK:%=--ignore=%) -m "not long" -n 2 --dist loadscope --durations=5 --cov --cov-fail-under=95 \
	    --slowest=$(SLOWEST)

chapters: $(VENV) ## run every notebook and compare the outputs marked for it
	@echo "Running the notebooks ($(PROFILE) profile)."
	@$(BIN)/pytest notebooks -p no:randomly --nbval-lax --nbval-current-env --nbval-cell-timeout=$(CELL_TIMEOUT) --durations=10 \
	    $(SIDE_BY_SIDE)

test-long: $(VENV) ## what is worth its minutes, but not each time: other processors, long fuzzing, many kills
	@echo "The long tests."
	@$(BIN)/pytest tests -m long -n 2 --dist loadscope --durations=10
	@EMBSEL_FUZZ=$(FUZZ) $(BIN)/pytest tests/test_fuzz.py tests/sources/test_archives.py --durations=5

bench: $(VENV) ## measure the code beside what bounds it, in ten to twenty-five minutes; OUT=FILE keeps what was measured
	@echo "Measuring side by side: nothing else should be at work on this machine."
	@EMBSEL_BENCH=full EMBSEL_BENCH_OUT="$(OUT)" $(BIN)/pytest tests/benchmarks -p no:randomly

notebooks: $(VENV) ## bring each .ipynb up to its .md and run it, replacing its outputs
	@echo "Running the notebooks ($(PROFILE) profile) and writing their outputs."
	@$(BIN)/python notebooks/refresh.py

record: $(VENV) ## make the recorded runs that are missing: make record ARGS="--suite NAME"
	@$(BIN)/python -m embsel record $(ARGS)

try: $(VENV) ## is selection worth it on your data? make try DATA=folder [ARGS="--keep 0.2 --seeds 5"]
	@test -n "$$EMBSEL_DATA" || { echo "Say what to try it on: make try DATA=path/to/a/folder/of/images"; exit 2; }
	@$(BIN)/python -m embsel try "$$EMBSEL_DATA" $(ARGS)

links: $(VENV) ## check the addresses that the book cites (needs the network)
	@$(BIN)/jupyter-book build . --builder linkcheck --keep-going

clean: ## remove the built book, caches and .venv
	rm -rf _build .venv .pytest_cache .ruff_cache .hypothesis .coverage build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV): pyproject.toml
	@version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])') || \
	    { echo "There is no working Python named '$(PYTHON)': name one with make PYTHON=/path/to/python3.12"; exit 1; }; \
	case $$version in 3.11|3.12|3.13) ;; *) \
	    echo "This needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is $$version: name another with make PYTHON=..."; exit 1;; esac
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	    { rm -rf .venv; echo "$(PYTHON) cannot make virtual environments (on Debian and Ubuntu: apt install python3-venv)"; exit 1; }
	@echo "Installing what pyproject.toml asks for into .venv: this takes a minute or two."
	@$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]' || \
	    { echo "The installation failed: the lines above say why."; exit 1; }
	@rm -f .venv/ready-* && touch $@
