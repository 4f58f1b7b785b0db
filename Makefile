# Everything a person or CI does with this tree. It needs python3 (3.11 or newer) and make; each target makes its own .venv.

PYTHON ?= python3
WORKERS ?= 3
TIMES ?= 20
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help up demo test test-again properties check format bench constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: $(READY) ## start everything on this machine
	@$(BIN)/dure up

demo: $(READY) ## the scripted tour
	@$(BIN)/dure demo

# Playwright's synchronous fixtures break asynchronous tests of the same process, so browser tests have processes of
# their own. Memory is not watched for changes in a process that maps an io_uring, as uvloop makes one, so tests of
# snapshots keep away from the servers' processes.
# Tests that share an outside thing (a PostgreSQL server, say) carry @pytest.mark.xdist_group and stay in one process;
# those of a browser share what their file starts, and the files that take longest come first. Servers, kernels and
# jobs are waited for half of the time, so there are more processes than two cores; browsers keep theirs busy.
test: $(READY) ## all tests
	@failed=0; \
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup tests \
		--ignore=tests/e2e --ignore=tests/portal --ignore=tests/state || failed=1; \
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup tests/state || failed=1; \
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests/e2e tests/portal || failed=1; \
	exit $$failed

# A test of real servers may meet a taken port on a busy machine; what fails a second time, alone, is a defect.
test-again: $(READY) ## only what failed in the last `make test`, once more
	@failed=0; known=.pytest_cache/v/cache/lastfailed; \
	if grep -q '"tests/\(portal\|e2e\)' $$known; then \
		$(BIN)/python -m pytest --last-failed tests/e2e tests/portal || failed=1; \
	fi; \
	if grep '"tests/' $$known | grep -qv '"tests/\(portal\|e2e\)'; then \
		$(BIN)/python -m pytest --last-failed tests --ignore=tests/e2e --ignore=tests/portal || failed=1; \
	fi; \
	exit $$failed

# `make test` looks at the same examples each time, so that it fails for what was changed and not by chance. This looks
# further; an example that fails here belongs into its test, as @example.
properties: $(READY) ## property tests on TIMES=20 times as many examples, new ones each time
	@failed=0; export DURE_EXAMPLES=$(TIMES); \
	$(BIN)/python -m pytest -m hypothesis --timeout 0 -n $(WORKERS) --dist loadgroup tests --ignore=tests/state || failed=1; \
	$(BIN)/python -m pytest -m hypothesis --timeout 0 -n $(WORKERS) --dist loadgroup tests/state || failed=1; \
	exit $$failed

check: $(READY) ## lint, format, types, layers, sizes: under a minute
	@failed=0; \
	$(BIN)/ruff check . || failed=1; \
	$(BIN)/ruff format --check . || failed=1; \
	$(BIN)/mypy || failed=1; \
	$(BIN)/lint-imports || failed=1; \
	$(BIN)/python -m pytest -q tests/architecture || failed=1; \
	exit $$failed

format: $(READY) ## mend what a program can mend
	@$(BIN)/ruff check --fix-only --quiet .; $(BIN)/ruff format .

bench: $(READY) ## the benchmarks, each beside a peer measured in the same run
	@$(BIN)/python -m benchmarks.cells
	@$(BIN)/python -m benchmarks.control

constraints: $(READY) ## write the versions of this .venv to constraints.txt
	@$(BIN)/pip freeze --quiet --exclude-editable --exclude dure > constraints.txt
	@! grep -nE '@|://|^(torch|nvidia-cu)' constraints.txt || { echo "constraints.txt holds what must not be pinned."; exit 1; }
	@touch $(READY); wc -l < constraints.txt | xargs printf '%s versions pinned in constraints.txt\n'

clean: ## remove what make made; data that Dure wrote stays
	@rm -rf $(VENV) .bench-venv build dist test-results .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .grimp_cache .hypothesis
	@rm -rf src/dure/portal/static/vendor
	@find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(READY): pyproject.toml constraints.txt hatch_build.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Dure needs Python 3.11 or newer: install it, or say where it is with 'make PYTHON=/path/to/python3'."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "This Python cannot make virtual environments: install its venv package (Debian: apt-get install python3-venv)."; exit 1; }
	@echo "Installing Dure and what it needs into $(VENV): this takes a minute or two …"
	@$(BIN)/python -c '' 2>/dev/null || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }
	@$(BIN)/pip install -qq -e '.[server,hub,demo,dev]' -c constraints.txt
	@touch $@
