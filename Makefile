# Each target makes .venv first; a second run finds it ready.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo lab test check docs clean
.DELETE_ON_ERROR:

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## a snapshot from archive to answers, in the terminal
	@$(BIN)/snapkit demo

lab: $(READY) ## the notebooks, in JupyterLab
	@$(BIN)/snapkit lab

test: $(READY) ## the notebooks against their stored outputs, and the tests; what takes longest begins first
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder \
	  --nbval --nbval-sanitize-with tests/nbval-sanitize.cfg notebooks tests

check: $(READY) ## lint, format, types, layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict snapkit $(wildcard bench tests)
	$(BIN)/lint-imports

docs: $(READY) ## the documentation as pages, in build/docs
	$(BIN)/python -m sphinx -W -q docs build/docs
	@echo "build/docs/index.html"

clean: ## remove .venv and all that was built
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name .git -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "snapkit needs Python 3.11 or newer, and '$(PYTHON)' is not: name one, as in 'make PYTHON=python3.12 ...'." >&2; exit 1; }
	@echo "Setting up $(VENV): about a minute or two, once." >&2
	@rm -f $@
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	@touch $@
