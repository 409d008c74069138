# `make` lists what there is. Everything runs in .venv, which is made on first use.
PYTHON ?= python3
BIN := .venv/bin
TORCH := $(shell grep '^torch==' constraints.txt)

.DEFAULT_GOAL := help
.PHONY: help setup train test test-slow gpu lint format docs hashes clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready  ## make the environment (.venv)

# torch first, by its exact version: a CPU-only wheel that is at hand is then kept
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Triad needs Python 3.11 or newer: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

train: .venv/ready  ## train on your Python's own source code, with the recipe of docs/speedrun.md (for five minutes)
	$(BIN)/python train.py experiment=speedrun

test: .venv/ready lint  ## run the tests and the linters (some 19 minutes on two cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: .venv/ready  ## run the tests that take longer than a minute, too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'slow or not slow'

gpu:  ## check what only a GPU decides, in eight minutes, with $(PYTHON) as it is (DEVICE=cpu tries it out)
	$(or $(if $(filter file,$(origin PYTHON)),$(wildcard $(BIN)/python)),$(PYTHON)) -m benchmarks.gpu device=$(or $(DEVICE),auto)

lint: .venv/ready  ## check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ty check

format: .venv/ready  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/ready  ## write the tables of README.md and docs/ that follow from the code
	$(BIN)/python docs/generate.py

# of every file that the index has of each release, for every system and Python: uv resolves for all of them
hashes: .venv/ready  ## write hashes.txt anew, after constraints.txt or pyproject.toml has changed
	$(BIN)/pip install --quiet uv==0.13.9
	UV_CUSTOM_COMPILE_COMMAND='make hashes' $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-annotate --extra dev --constraint constraints.txt pyproject.toml --output-file hashes.txt

clean:  ## remove the environment and caches (runs stay)
	rm -rf .venv .pytest_cache .ruff_cache
