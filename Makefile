# make demo   set up, train LeJEPA on Fashion-MNIST, probe it, write a report (2 cores: 10 minutes in bf16, else up to 30)
# make test   set up, then linter, formatter, type checker and tests
# make docs   the documentation as a site, in build/site
#
# All set-up goes into .venv. PYTHON=… picks the interpreter it is made from, TESTS=… what `make test` runs.

VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
TESTS ?= tests
DEMO := runs/demo

# OpenMP threads that spin while they wait lose up to 7x on a busy machine.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format types docs browser clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(VENV)/.core ## make .venv with the package and its core dependencies

demo: setup ## train, probe and report on Fashion-MNIST
	rm -rf $(DEMO)
	$(BIN)/openjepa train lejepa --preset tiny --data fashion-mnist --steps 5000 --out $(DEMO)
	$(BIN)/openjepa probe $(DEMO) --data fashion-mnist --labelled 2000 --few-label 10
	$(BIN)/openjepa report $(DEMO)

test: lint types browser ## everything that must pass before a commit
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(TESTS)

lint: $(VENV)/.dev ## linter and formatter, changing nothing
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.dev ## type checker
	$(BIN)/ty check

format: $(VENV)/.dev ## mend what linter and formatter can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.dev ## the documentation as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

browser: ## a Chromium for the report's test, where one can be had
	@scripts/install_browser.sh

clean: ## remove the environment, caches and the demo's run
	rm -rf $(VENV) $(DEMO) build/site .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is as old as the set-up that it stands for, so a change of what is asked for repeats it.
$(VENV)/.core: pyproject.toml constraints.txt scripts/make_venv.sh
	scripts/make_venv.sh $(VENV) .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt scripts/make_venv.sh
	scripts/make_venv.sh $(VENV) '.[dev]'
	@touch $@ $(VENV)/.core
