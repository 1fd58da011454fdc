# make demo | test | up | down | psql | dsn | bench | lint: each does whatever set-up is missing and can be run twice.
# As root, or as a user with sudo (asked for system packages and the extension's files only).

PYTHON ?= /usr/bin/python3
TESTS ?= tests
PARTS ?= 10000
RESULTS ?= bench
STATE := .pgcad
TORCHVISION := torchvision==0.16.2

BIN := .venv/bin
# As root, the encoder service runs as postgres, which must be able to read what pip installs.
PIP := umask 022 && $(BIN)/pip
SAY := >&2 echo "make:"
# The code is installed as a copy where the checkout cannot be reached (see docker/make-folders.sh), else as it lies.
LINKED := $(shell test -L .venv && echo yes)
CODE := $(if $(LINKED),$(shell find python_udfs loaders -type f -not -name '*.pyc' -not -path '*.egg-info/*'))

.DEFAULT_GOAL := help
.NOTPARALLEL: # two steps at once would both hold apt, or the environment
.PHONY: help demo test up down psql dsn bench eval lint install lock clean system extension

help:  ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /make \1\t/p' Makefile | expand -t 16

demo: up  ## load the sample corpus and show a page of search results
	@$(BIN)/pgcad demo --state $(STATE) --samples samples

test: .venv/development system  ## run the tests (TESTS=path for some of them)
	@$(BIN)/pytest --numprocesses 2 --dist loadfile $(TESTS)

up: install  ## start a local PostgreSQL and the encoder service (STATE=folder for another one than .pgcad)
	@$(BIN)/pgcad up --state $(STATE)

down:  ## stop both; the data stays
	@test ! -x $(BIN)/pgcad || $(BIN)/pgcad down --state $(STATE)

psql:  ## psql in the local database
	@$(MAKE) --no-print-directory up >&2
	@$(BIN)/pgcad psql --state $(STATE)

dsn:  ## print the connection string of the local database and nothing else
	@$(MAKE) --no-print-directory up >&2
	@$(BIN)/pgcad dsn --state $(STATE)

bench: up .venv/development  ## measure the local server, which is restarted, beside others (PARTS=10000, into RESULTS=bench)
	@mkdir -p $(RESULTS)
	@for measure in cancel_latency search_latency; do \
	    $(BIN)/python tests/bench/$$measure.py --dsn "$$($(BIN)/pgcad dsn --state $(STATE))" \
	        --output $(RESULTS)/$$measure.json || exit 1; \
	done
	@for measure in index_curve search_engine; do \
	    $(BIN)/python tests/bench/$$measure.py --dsn "$$($(BIN)/pgcad dsn --state $(STATE))" --parts $(PARTS) \
	        --output $(RESULTS)/$$measure || exit 1; \
	done
	@$(BIN)/python tests/bench/side_by_side.py --state $(STATE) --parts $(PARTS) --output $(RESULTS)/side_by_side

eval: .venv/development  ## measure the encoders on all KiCad models (fetched when they are not there; takes half an hour)
	@$(BIN)/pgcad eval

lint: .venv/development extension  ## check every language of the repository
	@tests/lint/run

install: .venv/package extension  ## system packages, Python environment, extension files

clean: down  ## remove the local database, the environment and everything built
	rm -rf "$$(readlink -f $(STATE))" "$$(readlink -f .venv)" $(STATE) .venv build extensions/pgcad--*.sql

# --- set-up ---------------------------------------------------------------------------------------------------------

system:
	@docker/install-system.sh

.venv/bin/pip:
	@$(MAKE) --no-print-directory system
	@docker/make-folders.sh $(PYTHON)

.venv/runtime: requirements.txt | .venv/bin/pip
	@$(SAY) "installing Python packages"
	@$(PIP) install --quiet --requirement requirements.txt
	@touch $@

.venv/development: requirements-dev.txt .venv/package
	@$(SAY) "installing development tools"
	@$(PIP) install --quiet --no-deps --requirement requirements-dev.txt # all of it is there, see docs/dependencies.md
	@touch $@

.venv/package: pyproject.toml .venv/runtime $(CODE)
	@rm -rf build
	@$(PIP) install --quiet --no-deps $$(test -L .venv || echo --editable) .
	@touch $@

extension: .venv/package system
	@$(BIN)/python extensions/build.py --install >/dev/null

# --- maintenance ----------------------------------------------------------------------------------------------------

lock:  ## renew requirements*.txt from pyproject.toml
	@$(PYTHON) -m venv --clear build/lock
	@for kind in "" "[dev,bench,train,openclip]"; do \
	    build/lock/bin/pip install --quiet ".$$kind" && \
	    { test -z "$$kind" || build/lock/bin/pip install --quiet --no-deps $(TORCHVISION); } && \
	    build/lock/bin/pip freeze --exclude pgcad | sed 's/+cpu$$//' \
	        >requirements$$(test -z "$$kind" || echo -dev).txt || exit 1; \
	done
