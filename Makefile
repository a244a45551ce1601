# Two commands are the whole story: `make serve` and `make test`.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
# What the tests need; all of them need more: EXTRAS=test,train,clients,load,browser,docs,ray.
EXTRAS ?= test
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# COVER=1 measures what the tests cover, in the processes that they start, too: twice the computing.
RUN := $(if $(COVER),$(BIN)/coverage run,$(BIN)/python)
PYTEST := -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(if $(COVER),--cover-children)
LLAMA := $(shell sed -n 's/.*"\(llama-cpp-python==[^"]*\)".*/\1/p' pyproject.toml)
ZENSICAL := $(shell sed -n 's/.*"\(zensical[^"]*\)".*/\1/p' pyproject.toml)
COMMA := ,

# Hundreds of processes start in the tests: whatever the environment says, each source is compiled once.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help serve doctor check test test-slow test-all coverage bench docs lint clean

help:
	@echo "make serve   set everything up and serve the embedded model; ARGS=\"--port 0\" passes options"
	@echo "make doctor  what this machine lacks for that, and what to do; also before anything is set up"
	@echo "make check   ruff, mypy and the unit tests: two minutes"
	@echo "make test    the same and real servers: what a change must pass"
	@echo "make test-all  everything: kills, benches, browsers, clients, the trainer; .ci/run installs what it needs"
	@echo "make bench   threads, event loop and processes, measured: bench/results/concurrency.md; ARGS=--quick"
	@echo "make docs    the documentation as a site: site/index.html"
	@echo "make clean   remove the virtual environment and caches"

serve: $(VENV)/.core
	@exec $(BIN)/forge serve $(ARGS)

# Without the virtual environment, too: then it says what setting one up takes.
doctor:
	@exec $(if $(wildcard $(VENV)/.core),$(BIN)/python,$(PYTHON)) -m gateway.cli doctor $(ARGS)

# The tiers of the tests are unit, server and slow: see tests/tiers.py.
check: lint
	$(BIN)/python $(PYTEST) -m unit $(ARGS)

test: lint
	$(if $(COVER),$(BIN)/coverage erase)
	$(RUN) $(PYTEST) -m "unit or server" $(ARGS)

test-slow: $(VENV)/.extras-$(subst $(COMMA),-,$(EXTRAS))
	$(RUN) $(PYTEST) -m slow $(ARGS)

test-all:
	$(MAKE) --no-print-directory test COVER=1 EXTRAS=test,train,clients,load,browser,docs,ray
	$(MAKE) --no-print-directory test-slow COVER=1 EXTRAS=test,train,clients,load,browser,docs,ray
	$(MAKE) --no-print-directory coverage

# Of make test-all. `make test` measures nothing: it is what a change must pass, and has to be quick.
coverage:
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

bench: $(VENV)/.extras-bench
	$(BIN)/python -m bench.concurrency $(ARGS)

# By itself, without llama.cpp, which a site does not need.
docs: $(VENV)/.venv
	$(PIP) install -q -c constraints.txt "$(ZENSICAL)"
	$(BIN)/python -m deploy.docs_site

lint: $(VENV)/.extras-$(subst $(COMMA),-,$(EXTRAS))
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A stamp: venv leaves bin/python behind even when it fails for want of ensurepip.
$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Forge needs Python 3.11 or later; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# llama.cpp first and by itself, because it is compiled here and that takes a while. The compiler's
# lines go to a log, its progress to the terminal.
$(VENV)/.llama: $(VENV)/.venv pyproject.toml constraints.txt
	@set -eu -o pipefail; if ! $(PIP) freeze 2>/dev/null | grep -qx "$(LLAMA)"; then \
	    command -v c++ >/dev/null || { echo "Forge needs a C/C++ compiler to build llama.cpp (Debian: apt-get install build-essential; macOS: xcode-select --install)"; exit 1; }; \
	    echo "Installing $(LLAMA). llama.cpp is compiled once for this machine: several minutes, unless pip has it cached."; \
	    log=$(VENV)/llama-build.log; \
	    $(PIP) install -v -c constraints.txt "$(LLAMA)" 2>&1 | tee $$log \
	      | awk '/^ *\[ *[0-9]+(\/[0-9]+|%)\]/ { sub(/^ */, ""); sub(/\].*/, "]"); printf "\r  compiling llama.cpp %s   ", $$0; fflush(); n++ } END { if (n) print "" }' \
	      || { tail -n 40 $$log; echo "building llama.cpp failed; the whole log is in $$log"; exit 1; }; \
	fi
	@touch $@

$(VENV)/.core: $(VENV)/.llama
	$(PIP) install -q -c constraints.txt -e ".[chat]"
	@touch $@

$(VENV)/.extras-%: $(VENV)/.core
	$(PIP) install -q -c constraints.txt -e ".[$(subst -,$(COMMA),$*)]"
	@touch $@

clean:
	rm -rf $(VENV) build site *.egg-info .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
