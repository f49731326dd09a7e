# Every target sets up what it needs, once: `make demo` and `make test` work on a fresh machine
# that has python3 (3.11 or newer) with venv. No root needed.

PYTHON ?= python3
BIN    := .venv/bin
READY  := .venv/.ready

.PHONY: help setup demo test check bench lock clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

# Installs again only when the lock or the project's own metadata changed.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "chainlab needs Python 3.11 or newer, this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	@echo "setup: installing the locked dependencies into .venv"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(READY) ## make .venv and install what the lock names

demo: $(READY) ## start the chain, show one request, load every back end, swapping under load
	@echo "demo: the chain on real traffic"
	@$(BIN)/lab demo

test: $(READY) ## run the whole test suite
	@echo "test: the whole suite; what this machine lacks is skipped with its reason"
	@$(BIN)/pytest -n auto

check: $(READY) ## ruff, mypy --strict, then the tests
	@echo "check: style, types, tests"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/pytest -n auto

bench: $(READY) ## CPU microseconds per request beside the real peers, interleaved
	@echo "bench: gateway beside nginx, worker beside php-fpm"
	@$(BIN)/lab bench

lock: ## resolve the dependencies anew (needs uv)
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras \
		--no-emit-index-url --no-annotate --no-header --upgrade pyproject.toml -o requirements.lock

clean: ## remove what the other targets made
	@echo "clean: removing .venv and caches"
	@rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -prune -exec rm -rf {} +
