# What a person does with this project, one word each. Recipes that think stand in tools/.

PYTHON ?= python3
PYTEST_ARGS ?=
JOBS ?= 2
COVERAGE ?=
NAME ?=
RUNS ?= 5
SECONDS ?= 600
TARGETS ?=
PARTS ?=
UPGRADE ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

PROTOS := $(shell find proto -name '*.proto')
DESCRIPTORS := envoy/waypost.pb
# By files: what a file's tests share, such as a mesh, is made once for each job that runs one of them.
PARALLEL := -n $(JOBS) --dist loadfile

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^## /{printf "\n%s\n", substr($$0, 4)} /^[a-z][a-z-]*:.*## /{printf "  %-16s %s\n", $$1, $$2}' Makefile

## Use

.PHONY: setup
setup: venv $(DESCRIPTORS) ## Make .venv with everything locked, and what is built (PYTHON=python3)

# The script keeps a stamp of its own by content, so that switching branches and copying folders come out right.
.PHONY: venv
venv:
	@PYTHON='$(PYTHON)' exec bash tools/setup.sh

# The lock decides which google/*.proto land in it.
$(DESCRIPTORS): $(PROTOS) tools/build_descriptors.py requirements/dev.txt | venv
	@.venv/bin/python tools/build_descriptors.py $@

# exec: one process less between a signal to make and the supervisor. Ctrl-C reaches both; make waits in silence as long
# as the supervisor ends with 0.
.PHONY: run
run: setup ## Start Waypost on this machine; Ctrl-C stops it
	@exec .venv/bin/waypost up

## Test

.PHONY: test-servers
test-servers: setup ## Install the servers that only tests need, where that may be done
	@bash tools/test_servers.sh

.PHONY: test
test: test-servers ## Run all tests but the nightly ones (PYTEST_ARGS="-k word", JOBS=2, COVERAGE=1)
	PARALLEL="$(PARALLEL)" bash tools/$(if $(COVERAGE),coverage,tests).sh $(PYTEST_ARGS)

.PHONY: test-quick
test-quick: test-servers ## Run the tests that take less than ten seconds each
	.venv/bin/pytest -m "not slow and not nightly" $(PARALLEL) $(PYTEST_ARGS)

.PHONY: test-nightly
test-nightly: test-servers ## Run the tests that take minutes
	.venv/bin/pytest -m nightly $(PYTEST_ARGS)

.PHONY: test-sanitize
test-sanitize: test-servers ## Run the hot port's tests under the sanitizers of clang (addresses, behaviour, threads)
	bash tools/sanitize.sh $(PYTEST_ARGS)

.PHONY: fuzz
fuzz: test-servers ## Feed the hot port with what nobody would send (SECONDS=600 for each target, TARGETS=all)
	bash tools/fuzz.sh $(SECONDS) $(TARGETS)

.PHONY: conformance
conformance: test-servers ## Hold the hot port to h2spec, and to gRPC clients in Go and Node (release check)
	bash tools/conformance.sh

.PHONY: coverage
coverage: test-servers ## Run the tests and keep a report in coverage/; fails below the floor in pyproject.toml
	PARALLEL="$(PARALLEL)" bash tools/coverage.sh $(PYTEST_ARGS)

.PHONY: ci-integration
ci-integration: test-servers ## Run integration, fault and end-to-end tests; what is missing fails instead of being skipped
	CI=true .venv/bin/pytest -m "not nightly" $(PARALLEL) tests/integration tests/faults tests/e2e $(PYTEST_ARGS)

## Measure

.PHONY: bench
bench: setup ## Measure what is hot and its peers and write docs/benchmarks.md (RUNS=5, PARTS=some of them, a quiet machine)
	.venv/bin/python -m bench $(PARTS) --runs $(RUNS)

## Change

.PHONY: format
format: setup ## Format the code and mend what can be mended
	.venv/bin/ruff check --fix --exit-zero --quiet .
	.venv/bin/ruff format .

.PHONY: lint
lint: setup ## Check style, types, walls, the contract, and that generated files are fresh
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/python tools/proto.py --check
	.venv/bin/python tools/env_example.py --check
	.venv/bin/python tools/schema_docs.py --check
	.venv/bin/python tools/openapi.py --check
	.venv/bin/python tools/buf_check.py
	.venv/bin/lint-imports --no-logo
	.venv/bin/mypy

.PHONY: proto
proto: setup ## Generate waypost/api/v1 from proto/ anew
	.venv/bin/python tools/proto.py

.PHONY: proto-check
proto-check: setup ## Check that waypost/api/v1 is what proto/ generates, and the contract's style and history
	.venv/bin/python tools/proto.py --check
	.venv/bin/python tools/buf_check.py

.PHONY: proto-release
proto-release: setup ## Promise today's contract: from now on `make lint` refuses what breaks it
	.venv/bin/python tools/buf_check.py --release

.PHONY: openapi
openapi: setup ## Write gateway/static/openapi.json from proto/ and tools/openapi/edge.yaml (needs Go)
	.venv/bin/python tools/openapi.py

.PHONY: settings
settings: setup ## Write .env.example and waypost/setting_names.py from the settings classes
	.venv/bin/python tools/env_example.py

.PHONY: new-service
new-service: setup ## Begin a service of the usual shape (NAME=word)
	.venv/bin/python tools/new_service.py $(NAME)

.PHONY: lock
lock: ## Compile requirements/*.in to pinned, hashed *.txt (UPGRADE=1 for newer versions)
	PYTHON='$(PYTHON)' bash tools/lock.sh $(if $(UPGRADE),--upgrade)

.PHONY: clean
clean: ## Remove what was built and cached; .venv stays
	rm -rf build dist coverage .coverage .coverage.* *.egg-info $(DESCRIPTORS)
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -path ./.venv -prune -o -path ./.git -prune -o -type d -name __pycache__ -exec rm -rf {} +
