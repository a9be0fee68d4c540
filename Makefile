# One command per habit. The first call of any of them makes .venv from requirements.lock.
# PYTHON=python3.12 chooses the interpreter; ARGS="..." is passed on to `make demo` and `make test`.

SHELL := /bin/sh
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow notebooks docs lint format types audit lock ci clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## make .venv: the locked packages, then the project itself (editable)
	@:

$(STAMP): requirements.lock pyproject.toml .ci/setup
	@PYTHON="$(PYTHON)" .ci/setup
	@touch $@

demo: $(STAMP) ## the main job: real backend and model, compared (about 5 minutes)
	@$(BIN)/feedtwin demo --force $(ARGS)

test: $(STAMP) ## the whole test suite
	@$(BIN)/python -m pytest $(ARGS)

test-slow: $(STAMP) ## the tests that take minutes (the coverage of intervals), which `make test` leaves out
	@$(BIN)/python -m pytest -m slow $(ARGS)

notebooks: $(STAMP) ## run the notebooks; copies with their output go to out/notebooks
	@rm -rf out/notebooks && mkdir -p out/notebooks
	@$(BIN)/jupytext --quiet --to ../out/notebooks//ipynb notebooks/*.py
	@$(BIN)/python -m pytest --nbmake --overwrite --nbmake-timeout 600 --timeout 1200 -W default out/notebooks

docs: $(STAMP) ## write what is derived from the code into docs/
	@$(BIN)/python docs/generate.py

lint: $(STAMP) ## ruff, import contracts, declared dependencies, dead code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/vulture

format: $(STAMP) ## let ruff rewrite what `make lint` complains about
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

audit: $(STAMP) ## known vulnerabilities in the locked packages (asks the network)
	$(BIN)/pip-audit --disable-pip --require-hashes -r requirements.lock

lock: $(STAMP) ## remake requirements.lock from pyproject.toml (UPGRADE=--upgrade takes newer versions)
	$(BIN)/uv pip compile $(UPGRADE) --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
		--all-extras --python-version 3.11 --custom-compile-command 'make lock' \
		--quiet --output-file requirements.lock pyproject.toml

ci: ## what CI runs
	@.ci/run

clean: ## remove .venv, results and caches
	rm -rf .venv out dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
