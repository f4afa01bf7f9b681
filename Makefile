# Every target sets itself up: a virtual environment in .venv, filled from the package index alone. A stamp file says what
# is installed, so a second call starts at once.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint format bench clean

# The interpreter that the environment is made with: the first here that runs and is new enough.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

help: ## Show this text
	@echo 'Usage: make TARGET [PYTHON=/path/to/python3]'
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-10s %s\n", $$1, $$2 }'

demo: .venv/.demo ## Synthesize pairs from real photographs into demo-output/, with a picture of them
	$(BIN)/degrade-kit demo --out demo-output

test: lint ## Check format, lint rules and types, then run all tests that need no GPU
	$(BIN)/python -m pytest -m 'not gpu'

lint: .venv/.dev ## Check format, lint rules and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: .venv/.dev ## Format the code and mend what the linter can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.dev ## Measure every hot path against other implementations or the naive way
	$(BIN)/python -m benchmarks.degrade
	$(BIN)/python -m benchmarks.synth
	$(BIN)/python -m benchmarks.read
	$(BIN)/python -m benchmarks.png
	$(BIN)/python -m benchmarks.features
	$(BIN)/python -m benchmarks.flipnet

clean: ## Remove everything that these targets made
	rm -rf .venv demo-output build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.demo: .venv/.created pyproject.toml
	$(PIP) install --editable '.[ray,demo,flipnet]'
	@$(check_opencv)
	@touch $@

.venv/.dev: .venv/.created pyproject.toml
	$(PIP) install --editable '.[dev,demo]'
	@$(check_opencv)
	@touch $@

# pip before 21.3 cannot install an editable project that has no setup.py.
.venv/.created:
	@$(check_python)
	$(PYTHON) -m venv .venv
	@$(BIN)/python -c 'import pip, sys; sys.exit([int(n) for n in pip.__version__.split(".")[:2]] < [21, 3])' \
		|| $(PIP) install --upgrade pip
	@touch $@

define check_python
if test -z '$(PYTHON)'; then \
	echo 'error: found no Python 3.10 or newer. Install one, or name it: make PYTHON=/path/to/python3' >&2; exit 1; fi; \
if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then \
	echo 'error: $(PYTHON) is not Python 3.10 or newer. Name one that is: make PYTHON=/path/to/python3' >&2; exit 1; fi; \
if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	echo 'error: $(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; fi
endef

define check_opencv
if ! $(BIN)/python -c 'import cv2'; then \
	echo 'error: OpenCV lacks a system library. On Debian and Ubuntu: apt-get install libgl1 libglib2.0-0' >&2; exit 1; fi
endef
