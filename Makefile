# Two commands on a fresh machine (python3 3.11+, make): `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
# Test processes: more than cores, since many tests wait for a server of their own.
JOBS   ?= 3

.PHONY: help setup demo test lint bench bench-full load-smoke load-morning load-crisis load-release soak docs schema lock clean
help:            ## this list
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

setup: $(STAMP)  ## build .venv with the hash-locked dependencies

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("ent_notify needs Python 3.11 or newer; this is %d.%d (set PYTHON=...)" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP)   ## the main job on the embedded database, then a page to open (make demo ARGS="--people 5000")
	$(BIN)/ent-notify demo $(ARGS)

test: $(STAMP)   ## lint, types, floors and every test
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

lint: $(STAMP)   ## ruff, mypy strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## a short run of every benchmark, with a table of ratios against targets
	$(BIN)/python -m benchmarks $(ARGS)

bench-full: $(STAMP)  ## the long run
	$(BIN)/python -m benchmarks --full $(ARGS)

load-smoke: $(STAMP)  ## every load test once, small: who missed, doubled or disordered anything fails it
	$(BIN)/python -m loadtests smoke $(ARGS)

load-morning: $(STAMP)  ## 20,000 more readers within ten minutes
	$(BIN)/python -m loadtests morning $(ARGS)

load-crisis: $(STAMP)  ## everybody at once, slow and half-open readers, gateways killed (ARGS="--readers 100000")
	$(BIN)/python -m loadtests crisis $(ARGS)

load-release: $(STAMP)  ## 07:00: what the pause held is let go, while people read
	$(BIN)/python -m loadtests release $(ARGS)

soak: $(STAMP)   ## 200,000 pushes through each channel and through trouble: no leak, one verdict for each
	$(BIN)/python -m benchmarks.push_soak --sends 200000 $(ARGS)

docs: $(STAMP)   ## the documentation site, strict
	$(BIN)/mkdocs build --strict

schema: $(STAMP) ## write src/ent_notify/store/schema.sql from the migrations
	$(BIN)/python .ci/dump_schema.py

lock:            ## resolve the dependencies again (needs uv)
	uv pip compile pyproject.toml --extra api --extra nats --extra push --extra embedded --extra otel --extra testing --group dev --group bench --group load --group docs --group audit \
	  --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -q -o requirements.lock

clean:           ## remove what was built
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
