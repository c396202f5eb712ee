# Two commands to know: `make demo` and `make test`. Both install what they need into .venv, pinned and hashed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed
NATIVE := $(VENV)/.native-fold
PEERS  := benchmarks/.venv-peers/.installed
# pip and uv show their progress in a terminal; a log gets one line for each step instead.
QUIET  := $(shell test -t 2 || echo --quiet)
SEEDS  ?= 1
MINUTES ?= 30

.DEFAULT_GOAL := help
.PHONY: help install demo test soak check lint types arrows manifests bench bench-check peers readme lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(NATIVE) ## create .venv from constraints.txt (pinned, hashed); build the native fold where rustc is on the PATH

$(READY): constraints.txt bootstrap.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("replayer needs Python 3.11 or newer; this is %s. Say make PYTHON=python3.11" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@echo "$(VENV), 1 of 3: the installer"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install $(QUIET) --disable-pip-version-check --require-hashes --no-deps -r bootstrap.txt
	@echo "$(VENV), 2 of 3: what constraints.txt pins (the first time takes a minute)"
	@$(BIN)/uv pip sync $(QUIET) --python $(BIN)/python --require-hashes constraints.txt
	@echo "$(VENV), 3 of 3: replayer"
	@$(BIN)/uv pip install $(QUIET) --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

# Without rustc, or with one that does not take the sources, Python folds: one line says so.
$(NATIVE): $(READY) $(wildcard replayer/native/src/*.rs)
	@$(BIN)/python -m replayer.native.build || true
	@touch $@

demo: $(NATIVE) ## broker, worker, investigator, a workload, one timeline, one investigation; stays up until Ctrl-C (DEMO_EXIT=1 ends by itself)
	@$(BIN)/replayer demo

test: $(NATIVE) ## the whole suite, real Kafka included
	@$(BIN)/python -m pytest -n 2 --dist loadfile

soak: $(NATIVE) ## every chaos recipe in each guarantee, half an hour or more for one seed: make soak SEEDS="1 2"
	@$(BIN)/python -m tests.chaos.soak --minutes $(MINUTES) --seeds $(SEEDS)

check: lint types arrows manifests test ## what a change must pass: ruff, mypy --strict, arrows, manifests, tests

lint: $(READY) ## ruff
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(READY) ## mypy --strict
	@$(BIN)/mypy

arrows: $(READY) ## who may import whom
	@$(BIN)/lint-imports

manifests: $(READY) ## k8s manifests and Dockerfile, offline
	@$(BIN)/python -m pytest -q tests/k8s

bench: $(NATIVE) $(PEERS) ## every figure and its peers, about an hour and a half on 2 cores; writes benchmarks/results.json and RESULTS.md
	@$(BIN)/python -m benchmarks.run

bench-check: $(NATIVE) $(PEERS) ## a small run, about six minutes: fails where a ratio is a third below benchmarks/results.json
	@$(BIN)/python -m benchmarks.check

peers: $(PEERS) ## what `make bench` compares with, in an environment of its own (benchmarks/peers.txt)

$(PEERS): benchmarks/peers.txt $(READY)
	@echo "benchmarks/.venv-peers: what benchmarks/peers.txt pins (the first time takes a minute)"
	@$(BIN)/python -m venv benchmarks/.venv-peers
	@$(BIN)/uv pip sync $(QUIET) --python benchmarks/.venv-peers/bin/python --require-hashes benchmarks/peers.txt
	@touch $@

readme: $(READY) ## write the README's tables anew
	@$(BIN)/python -m tests.readme_tables

lock: $(READY) ## resolve constraints.txt, bootstrap.txt and benchmarks/peers.txt anew
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --extra dev pyproject.toml -o constraints.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate benchmarks/peers.in -o benchmarks/peers.txt
	@echo uv | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate - -o bootstrap.txt

clean: ## remove .venv and local data
	rm -rf $(VENV) benchmarks/.venv-peers .data build dist
