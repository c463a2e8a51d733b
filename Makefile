# `make` lists the targets. Needs GNU make, git and Python 3.11 or newer with venv; everything else goes into .venv.

SHELL = /bin/sh
BIN = .venv/bin
READY = .venv/.installed
PEERS = $(patsubst benchmarks/peers/environments/%.txt,.venv-peers/%/.installed,$(wildcard benchmarks/peers/environments/*.txt))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help quickstart test lint types pytest format peers constraints clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

quickstart: $(READY) ## Install into .venv; convert real data, train on both layouts, report
	@$(BIN)/maelio flow run pipeline

test: lint types pytest ## All that CI runs: lint, types, tests, in this order

lint: $(READY) ## Check format and style (ruff)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: $(READY) ## Check types (mypy, strict)
	@$(BIN)/mypy

pytest: $(READY) ## Run the tests; choose with ARGS="tests/maelio -k ledger"
	@$(BIN)/pytest $(ARGS)

format: $(READY) ## Format, and mend what ruff can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

peers: $(READY) $(PEERS) ## Install what maelio is compared with and that needs other versions, into .venv-peers

constraints: $(READY) ## Pin what .venv holds now; constraints.txt says when
	@{ sed -n '/^#/p' constraints.txt; \
	   $(BIN)/pip freeze --all --exclude pip --exclude-editable | sed 's/^\(torch==[^+]*\)+.*/\1/' | LC_ALL=C sort -f; \
	} > constraints.txt.part
	@mv constraints.txt.part constraints.txt
	@touch $(READY)

clean: ## Remove .venv, caches and what the quick start wrote
	rm -rf .venv .venv-peers quickstart build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  "$$python" -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "maelio: $$python has no venv; on Debian: apt-get install python3-venv" >&2; exit 1; }; \
	  $(BIN)/python -c '' 2>/dev/null || "$$python" -m venv --clear .venv || exit 1; \
	  echo "Installing into .venv (2 GB; minutes the first time)"; \
	  $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all,dev]' || exit 1; \
	  touch $@; exit 0; \
	done; \
	echo "maelio: no Python 3.11 or newer found; on Debian: apt-get install python3 python3-venv" >&2; exit 1

.venv-peers/%/.installed: benchmarks/peers/environments/%.txt
	@wanted=$$(sed -n 's/^# python 3\.//p' $<); \
	for python in $(BIN)/python $(PYTHON) python3.14 python3.13 python3.12; do \
	  "$$python" -c "import sys, venv; sys.exit(sys.version_info < (3, $${wanted:-11}))" 2>/dev/null || continue; \
	  echo "Installing into .venv-peers/$*"; \
	  "$$python" -m venv --clear .venv-peers/$* || exit 1; \
	  .venv-peers/$*/bin/python -m pip install --quiet -r $< || exit 1; \
	  touch $@; exit 0; \
	done; \
	echo "maelio: no Python 3.$$wanted or newer for .venv-peers/$*, which is left out"
