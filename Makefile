.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help install demo test lint format

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## make .venv with the package and everything its development needs

$(INSTALLED): pyproject.toml
	@echo "Making $(VENV) with $$($(PYTHON) --version); torch is large, so this takes a few minutes the first time."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --disable-pip-version-check --editable ".[dev]"
	@touch $@

demo: $(INSTALLED) ## train DAML and Triplet on the embedded pictures, test them, and show what they retrieve
	@for method in daml triplet random; do \
		echo "--- $$method"; \
		$(BIN)/python -m cmr_lightning fit --config experiments/shapes/$$method.yaml --run_dir runs/demo/$$method --overwrite=true $(DEMO_ARGS) && \
		$(BIN)/python -m cmr_lightning test --config runs/demo/$$method/config.yaml || exit 1; \
	done
	@$(BIN)/python -m cmr_lightning report runs/demo/daml runs/demo/triplet runs/demo/random --output runs/demo/report
	@echo "Open runs/demo/report/report.html; galleries: runs/demo/daml/gallery.png and runs/demo/triplet/gallery.png"

test: $(INSTALLED) ## run all tests that need no GPU
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not gpu"

lint: $(INSTALLED) ## check format, style and types
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

format: $(INSTALLED) ## format the code and mend what can be mended by itself
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .
