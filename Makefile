# Everything here needs Python 3.11 or newer and make, nothing else: no root, no Node, no Docker, no running server.
# The tests of the console's pages also need Chromium, and are skipped without it.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_NO_INPUT = 1
# Else every process that the tests and the demo start would compile the whole engine anew, a third of its time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo replay assets screenshots up bench test lint constraints clean

help: ## list these targets
	@echo 'make TARGET [MEMBERS=…] [PLAN=…] [WORKERS=…] [PORT=…] [REPORT=…] [PYTHON=…]'
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 16

demo: MEMBERS ?= 1000000
demo: PLAN ?= xianghubao
demo: REPORT ?= .fentan/demo.json
demo: $(READY) ## a share run from passed notice to sealed ledger, 1,000,000 members unless MEMBERS says otherwise
	@$(BIN)/fentan demo --members $(MEMBERS) --plan $(PLAN) $(if $(WORKERS),--workers $(WORKERS)) --report $(REPORT)

replay: REPORT ?= .fentan/replay.json
replay: $(READY) ## the run that 相互宝 published on 21 January 2019: 23,000,000 members, two cases
	@$(BIN)/fentan demo --replay $(if $(WORKERS),--workers $(WORKERS)) --report $(REPORT)

# What it makes is in no package's way: `demo` and `replay` never ask for it. Nothing is done where no source changed.
assets: $(READY) ## the console's script and style, with Node and npm packages of their own
	@$(BIN)/python engine/console/web/hatch_build.py

# On a world of its own, whose clock stands on one day: what did not change looks the same again.
screenshots: assets ## a picture of every page of the console into docs/screenshots; needs Chromium, takes minutes
	@$(BIN)/python -m tests.screenshots

up: assets ## servers, the API with the console, workers and sweeper in the foreground, until Ctrl-C; prints an admin's token
	@exec $(BIN)/fentan up $(if $(WORKERS),--workers $(WORKERS)) $(if $(PORT),--port $(PORT))

bench: MEMBERS ?= 20000000
bench: REPORT ?= .fentan/bench.json
bench: $(READY) ## ours against row tables and joins on one server, 20,000,000 members unless MEMBERS says otherwise
	@$(BIN)/fentan bench --members $(MEMBERS) --report $(REPORT)

# One file stays on one process: its servers and its event loop are made once. Three of them keep two cores busy: what
# tests of faults do most is wait.
test: $(READY) ## every test but the benchmarks, on real PostgreSQL and Valkey
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: $(READY) ## style, format, types, floors
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

# Run by hand after a change of dependencies, with the oldest supported Python.
constraints: $(READY) ## pin every dependency, with hashes, into constraints.txt
	@$(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb")); \
	    print(*p["project"]["dependencies"], *p["dependency-groups"]["dev"], sep="\n")' \
	  | env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null CUSTOM_COMPILE_COMMAND='make constraints' \
	    $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-emit-options \
	      --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --output-file constraints.txt -

# The environment stays: it holds nothing but what constraints.txt names, and making it again needs the network.
# Where root may not run PostgreSQL in .fentan, .fentan/postgres is the launcher's link to a folder of its own.
clean: ## stop what runs, remove data, caches and build products (not the environment)
	-@test ! -d .fentan || test ! -x $(BIN)/python || \
	  $(BIN)/python -c 'from pathlib import Path; from engine.store.embedded import stop; stop(Path(".fentan"))'
	@case $$(readlink .fentan/postgres) in */fentan-*) rm -rf -- "$$(readlink .fentan/postgres)" ;; esac
	@rm -rf .fentan build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@rm -rf engine/console/static engine/console/web/node_modules
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(READY): constraints.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo 'make: $(PYTHON) is not here; name one: make PYTHON=python3.12 …' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: Fentan needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V 2>&1); try make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo 'make: $(PYTHON) has no venv module (on Debian it is the package python3-venv)' >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo 'Making $(VENV) …'; $(PYTHON) -m venv --clear $(VENV); }
	@$(BIN)/python -m pip install --quiet --require-hashes -r constraints.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@
