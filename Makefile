# The project's commands. `make` alone lists them; each sets up what it needs.

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
# Python keeps what it compiled: else every process of the tests, Ray's workers too, compiles all that it imports.
export PYTHONDONTWRITEBYTECODE :=
# How often the tests of kills do it; CI is content with 2.
LEEROO_KILL_SEEDS ?= 10
# Two processes; tests of one cluster or one module's engines stay together (tests/conftest.py).
TOGETHER := -n 2 --no-loadscope-reorder

# A benchmark is offered once its module is there.
BENCHES := $(patsubst bench/%.py,bench-%,$(wildcard $(patsubst %,bench/%.py,routing universe answer explore serve usable traffic paper scale forge))) \
	$(patsubst bench/%/__main__.py,bench-%,$(wildcard bench/gateway/__main__.py)) \
	$(patsubst bench/off_policy.py,bench-off-policy,$(wildcard bench/off_policy.py)) \
	$(patsubst bench/gate.py,bench-gate,$(wildcard bench/gate.py)) \
	$(patsubst bench/ledger.py,bench-ledger,$(wildcard bench/ledger.py))

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-cluster test-demo test-fast test-kills test-clients lint format docs doctor serve ui bench $(BENCHES) clean clean-all

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@$(foreach target,$(BENCHES),printf '  make %-12s %s\n' '$(target)' 'run bench/$(target:bench-%=%)$(if $(wildcard $(target:bench-%=bench/%.py)),.py) alone';)
	@echo '  Options for a command go into ARGS: make test ARGS="-k routing", make serve ARGS="--port 8001".'

setup: ## create .venv with everything (one to four minutes; the second time it is a no-op)
	@$(PYTHON) infra/setup_env.py

demo: setup ## the whole loop with small real models: ask, learn, choose, evaluate, report
	@$(BIN)/leeroo demo $(ARGS)

test: setup ## every test but those named test-*, real engines included
	@$(BIN)/python -m pytest -m "not cluster and not kills and not demo" $(TOGETHER) $(ARGS)

test-cluster: setup ## the tests of Ray jobs, several nodes and object stores
	@$(BIN)/python -m pytest -m cluster $(ARGS)

test-demo: setup ## `make demo` with fewer questions, and its report (six minutes)
	@$(BIN)/python -m pytest -m demo $(ARGS)

test-fast: setup ## the tests that start no engine
	@$(BIN)/python -m pytest -m "not e2e and not cluster and not kills and not demo" $(TOGETHER) $(ARGS)

test-kills: setup ## rounds and runs whose processes are killed at random moments, ten of each (an hour)
	@LEEROO_KILL_SEEDS=$(LEEROO_KILL_SEEDS) $(BIN)/python -m pytest -m kills -s $(ARGS)

test-clients: setup ## clients of other projects by one endpoint; writes docs/clients.md (minutes and 1.4 GB the first time)
	@LEEROO_TEST_CLIENTS=1 $(BIN)/python -m pytest -n 0 tests/clients/test_client_matrix.py $(ARGS)

lint: setup ## formatting, style, types, and known vulnerabilities where the advisories can be reached
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python infra/audit.py

format: setup ## put the code into the project's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: setup ## the documentation as a site in build/site, its reference made from the code
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet $(ARGS)
	@echo 'Open build/site/index.html; its search needs a server: python3 -m http.server --directory build/site'

doctor: setup ## what is installed, what this machine can run, and what to do about the rest
	@$(BIN)/leeroo doctor $(ARGS)

bench: $(BENCHES) ## every benchmark

$(BENCHES): bench-%: setup
	@$(BIN)/python -m bench.$(subst -,_,$*) $(ARGS)

serve: setup ## the OpenAI-compatible endpoint on 127.0.0.1
	@$(BIN)/leeroo serve $(ARGS)

ui: setup ## MLflow's pages: rounds, router versions, figures
	@$(BIN)/leeroo ui $(ARGS)

# Only the default places: a home or cache that was chosen by LEEROO_HOME or LEEROO_CACHE is left alone.
clean: ## remove the default home (.leeroo) and the tools' caches; keep .venv and the converted models
	rm -rf .leeroo .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

clean-all: clean ## remove .venv and the converted models (~/.cache/leeroo) as well
	rm -rf .venv "$(HOME)/.cache/leeroo"
