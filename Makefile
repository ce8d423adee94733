# The two commands of a new user are `make up` and `make test`. `make` alone prints what else there is.
PYTHON ?= python3
BIN := .venv/bin
CENTRAL := $(BIN)/central
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.PHONY: help up down test lint bench lock venv dev clean

help: ## print this
	@echo "central-mcp: a private MCP cloud; git push deploys MCP servers"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 16
	@echo "  CENTRAL_PORT=3001 make up takes another port than 3000"

up: export CENTRAL_STARTED := $(shell date +%s)
up: ## start the cloud on this machine and push the example fleet to it
	@$(PYTHON) scripts/bootstrap.py --port
	@$(CENTRAL) up

down: ## stop all that `make up` started
	@if [ -x $(CENTRAL) ]; then $(CENTRAL) down; else echo "nothing runs here: there is no .venv"; fi

venv: ## make .venv from the locks in requirements/
	@$(PYTHON) scripts/bootstrap.py

dev: ## the same, with what the tests and linters need
	@$(PYTHON) scripts/bootstrap.py --dev

test: dev ## run the tests, one process a core (arguments: make test ARGS="-k names")
	@$(BIN)/python -m pytest -n auto --dist loadscope --no-loadscope-reorder $(ARGS)

lint: dev ## ruff, mypy --strict, ansible-lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline

bench: dev ## measure; prints a table, writes bench/results.json
	@$(BIN)/python bench/run.py $(ARGS)

lock: dev ## resolve requirements/*.txt anew, with hashes and no index address
	@$(COMPILE) --upgrade --group build pyproject.toml -o requirements/vm.txt
	@$(COMPILE) --upgrade -c requirements/vm.txt bridge/pyproject.toml -o requirements/bridge.txt
	@$(COMPILE) --upgrade --group node -o requirements/node.txt
	@$(COMPILE) --upgrade -c requirements/vm.txt -c requirements/bridge.txt --group dev -o requirements/dev.txt

clean: ## remove caches (the cloud in .central and .venv stay)
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .ansible build dist
	@find . -name __pycache__ -not -path './.venv/*' -not -path './.central/*' -prune -exec rm -rf {} +
