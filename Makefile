# Every target sets itself up: a virtual environment in .venv, filled from the package index alone, at the versions that
# constraints.txt names. A stamp file says what is installed, so a second call starts at once.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo demo-flipnet check test test-all test-latest chaos lint format bench docs lock clean fuzz

# The interpreter that the environment is made with: the first here that runs and is new enough.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
PIP := -m pip --disable-pip-version-check
# By variables and not by -c: older releases of pip take no constraint for the build backend from the command line, and
# newer ones take it from the second variable alone.
PINNED_PIP := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt $(BIN)/python $(PIP)
# It finds in seconds which releases fit together, for which pip takes half an hour where nothing is pinned.
UV := uv==0.13.9
FORMATTED := $(BIN)/ruff format --check . && $(BIN)/ruff check .
TYPED := $(BIN)/pyright --pythonpath $(BIN)/python
# One thread in each process of the tests: more would wait for each other. And Python keeps what it compiled, also where a
# container's environment says otherwise: the tests start hundreds of processes.
PARALLEL = env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=8 --dist=loadfile

help: ## Show this text
	@echo 'Usage: make TARGET [PYTHON=/path/to/python3]'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-15s %s\n", $$1, $$2 }'

demo: .venv/.demo ## Synthesize pairs from real photographs into demo-output/, with a picture of them
	$(demonstrate)

demo-flipnet: .venv/.flipnet ## The same, and what the FlipNet that ships makes of them; installs PyTorch
	$(demonstrate)

# By a type checker that takes seconds where the other takes minutes, and knows less.
check: .venv/.dev ## Check format, lint rules and types, and run the fast tests with fewer examples, on all cores
	$(FORMATTED)
	$(BIN)/pyrefly check --python-interpreter-path $(BIN)/python --output-format min-text --min-severity error
	$(PARALLEL) -m 'not slow and not long and not gpu' --hypothesis-profile=quick

# Types are checked beside the tests, since the type checker uses one core.
test: .venv/.dev ## Check format, lint rules and types, and run all tests but the longest
	$(FORMATTED)
	@echo '$(TYPED) &'; log=$$(mktemp); $(TYPED) >"$$log" & types=$$!; \
	$(PARALLEL) -m 'not gpu and not long'; tests=$$?; \
	wait $$types; types=$$?; cat "$$log"; rm "$$log"; [ $$tests = 0 ] && [ $$types = 0 ]

test-all: .venv/.dev ## Run all tests that need no GPU; before a release, or after a change of trainings or kills
	$(PARALLEL) -m 'not gpu' --hypothesis-profile=thorough

test-latest: BIN := .venv-latest/bin
test-latest: ## Run all tests on the newest release of every dependency, in .venv-latest
	@$(check_python)
	test -d .venv-latest || $(PYTHON) -m venv .venv-latest
	$(BIN)/python $(PIP) install --quiet $(UV)
	$(BIN)/uv pip install --python $(BIN)/python --upgrade --editable '.[dev,demo]'
	$(PARALLEL) -m 'not gpu'

# By file and not by test: all tests of a file share what they work on.
chaos: .venv/.dev ## Stop every long command at 50 random moments (MOMENTS=50), rerun, compare; counts go to docs/
	DEGRADE_KIT_CHAOS=$(or $(MOMENTS),50) OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/pipelines/test_chaos.py
	$(BIN)/python docs/generate_reliability.py

fuzz: .venv/.dev ## Hand damaged files to all readers: FUZZ_SECONDS for each, 60 if not given
	FUZZ_SECONDS=$${FUZZ_SECONDS:-60} OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/fuzz; \
	tests=$$?; $(BIN)/python docs/generate_reliability.py; exit $$tests

lint: .venv/.dev ## Check format, lint rules and types
	$(FORMATTED)
	$(TYPED)

format: .venv/.dev ## Format the code and fix what the linter can fix by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/.dev ## Build the documentation as a site in build/site; each warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: .venv/.dev ## Measure every hot path against other implementations or the naive way
	$(BIN)/python -m benchmarks.degrade
	$(BIN)/python -m benchmarks.steps
	$(BIN)/python -m benchmarks.synth
	$(BIN)/python -m benchmarks.read
	$(BIN)/python -m benchmarks.png
	$(BIN)/python -m benchmarks.features
	$(BIN)/python -m benchmarks.judging
	$(BIN)/python -m benchmarks.flipnet

# Not with the other tools of the extra `dev`: that one cannot be installed while constraints.txt contradicts it.
lock: .venv/.created ## Pin what pyproject.toml asks for in constraints.txt; UPGRADE=1 for the newest releases
	$(BIN)/python $(PIP) install --quiet $(UV)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-python-downloads --extra dev --extra all \
		$(if $(UPGRADE),--upgrade) --no-annotate --custom-compile-command 'make lock' \
		--output-file constraints.txt pyproject.toml

clean: ## Remove everything that these targets made
	rm -rf .venv .venv-latest demo-output build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.demo: .venv/.created pyproject.toml constraints.txt
	$(PINNED_PIP) install --editable '.[demo]'
	@touch $@

.venv/.flipnet: .venv/.created pyproject.toml constraints.txt
	$(PINNED_PIP) install --editable '.[demo,flipnet]'
	@touch $@

.venv/.dev: .venv/.created pyproject.toml constraints.txt
	$(PINNED_PIP) install --editable '.[dev,demo]'
	@touch $@

# pip before 21.3 cannot install an editable project that has no setup.py.
.venv/.created:
	@$(check_python)
	$(PYTHON) -m venv .venv
	@$(BIN)/python -c 'import pip, sys; sys.exit([int(n) for n in pip.__version__.split(".")[:2]] < [21, 3])' \
		|| $(BIN)/python $(PIP) install pip==26.3
	@touch $@

define demonstrate
$(BIN)/degrade-kit demo --out demo-output
@echo 'The command is $(BIN)/degrade-kit; `. $(BIN)/activate` puts it on the path of this shell.'
endef

define check_python
if test -z '$(PYTHON)'; then \
	echo 'error: found no Python 3.10 or newer. Install one, or name it: make PYTHON=/path/to/python3' >&2; exit 1; fi; \
if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then \
	echo 'error: $(PYTHON) is not Python 3.10 or newer. Name one that is: make PYTHON=/path/to/python3' >&2; exit 1; fi; \
if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	echo 'error: $(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; fi
endef
