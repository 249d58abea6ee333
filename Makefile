.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := runs/benchmarks/quickstart

.PHONY: test-exhaustive help install demo test lint format speed

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## create .venv with the package and its development dependencies

$(INSTALLED): pyproject.toml
	@echo "Making $(VENV) with $$($(PYTHON) --version); torch is large, so this takes a few minutes the first time."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --disable-pip-version-check --editable ".[dev]"
	@touch $@

demo: $(INSTALLED) ## train and compare seven methods on generated pictures, write a report, and index the pictures
	@$(BIN)/python -m cmr_lightning benchmark --config experiments/benchmarks/quickstart.yaml --jobs 2
	@$(BIN)/python -m cmr_lightning index $(DEMO)/shapes/daml/seed0 --part test --output $(DEMO)/index
	@echo "Search the pictures with words of your own, and look at page.html:"
	@echo '  $(BIN)/python -m cmr_lightning search $(DEMO)/index "a large red circle" --html page.html'

test: $(INSTALLED) ## run the tests of continuous integration, which need no GPU
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not gpu and not exhaustive"

test-exhaustive: $(INSTALLED) ## run all tests that need no GPU
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not gpu"

lint: $(INSTALLED) ## check format, style and types
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

format: $(INSTALLED) ## format the code and apply the automatic fixes
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

speed: $(INSTALLED) ## measure time and memory, relative to the work that cannot be avoided
	@$(BIN)/python -m tests.benchmarks
