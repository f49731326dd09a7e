# Every target first installs what it needs: `make demo` and `make test` work on a fresh machine
# with python3 (3.11 or newer) and venv, without root.

PYTHON ?= python3
BIN    := .venv/bin
READY  := .venv/.ready
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
SELF   := $(PIP) --no-deps --no-build-isolation --editable .
PYTEST := $(BIN)/pytest -n $(shell expr 2 \* $$(nproc))   # twice the cores: many tests mostly wait

.PHONY: help setup demo test test-all lint check bench trials standings lock clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

# Reinstalls only if a lock file, pyproject.toml or the C extension has changed.
$(READY): requirements.lock requirements-otlp.lock requirements-bjoern.lock pyproject.toml $(wildcard servers/c_extension/*.[ch])
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "chainlab needs Python 3.11 or newer, this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	@echo "setup: installing the locked dependencies into .venv"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --require-hashes -r requirements-otlp.lock
	@$(SELF)
	@touch $@

setup: $(READY) ## create .venv with the locked dependencies, build the C and Go programs
	@! command -v cc >/dev/null || ls servers/c_extension/*.so >/dev/null 2>&1 || $(SELF)
	@if ! command -v cc >/dev/null || [ ! -e /usr/include/ev.h ]; then echo "setup: without bjoern, which needs gcc and libev-dev"; \
		elif ! $(BIN)/python -c 'import bjoern' 2>/dev/null; then $(PIP) --no-build-isolation --require-hashes -r requirements-bjoern.lock; fi
	@$(BIN)/python -m servers.build

demo: setup ## start the chain, show one request, swap through the back ends under load
	@echo "demo: the chain under real traffic"
	@$(BIN)/lab demo

test: setup ## run the essential tests of every folder
	@echo "test: the essential tests; a test that needs a missing program is skipped with the reason"
	@$(PYTEST) -m "not long"

test-all: setup ## run every test: all architectures, chains, containers, comparisons
	@echo "test-all: every test; a test that needs a missing program is skipped with the reason"
	@$(PYTEST)

lint: setup ## run ruff and mypy --strict
	@echo "lint: style and types"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

check: lint test ## lint, then run the essential tests

bench: setup ## measure CPU per request against the real peers, interleaved
	@echo "bench: gateway against nginx, worker against php-fpm, every architecture against the baseline"
	@$(BIN)/lab bench

trials: setup ## put gateway and worker through ordinary life: slow peers, full disks, crashes
	@echo "trials: about ten minutes; ARGS=\"--only crashes --seconds 20\" chooses and shortens"
	@$(BIN)/python -m lab.trials $(ARGS)

NAMES ?= all
standings: setup ## run ten quick comparisons (of NAMES, default all): does the order change?
	@rm -rf build/standings && mkdir -p build/standings
	@for run in 0 1 2 3 4 5 6 7 8 9; do \
		echo "standings: comparison $$((run + 1)) of 10"; \
		$(BIN)/lab compare $(NAMES) --quick --json build/standings/$$run.json >/dev/null || exit 1; done
	@$(BIN)/lab standings build/standings/*.json

lock: ## update all lock files (needs uv)
	@for lock in "--extra lab --extra dev -o requirements.lock" "--extra bjoern -o requirements-bjoern.lock" \
		"--extra otlp --constraint requirements.lock -o requirements-otlp.lock"; do \
		uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
			--no-annotate --no-header --upgrade pyproject.toml $$lock; done
	@for image in servers load; do \
		uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
			--no-annotate --no-header --constraint requirements.lock docker/$$image.in -o docker/$$image.lock; done

clean: ## remove everything that the other targets created
	@echo "clean: removing .venv and caches"
	@rm -rf .venv build dist servers/go/bin servers/c_extension/*.so *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -prune -exec rm -rf {} +
