# Two commands set everything up on a machine with Python 3.11+ and make: `make demo` and `make test`.
# `make install` is the set-up alone, `make check` what a change is looked at with while it is made.
PYTHON ?= python3
BIN := .venv/bin
PRODUCT := .venv/.product
STAMP := .venv/.installed
AXE := node_modules/axe-core/axe.min.js
# Rooms whose tests load no model and start no server.
PURE := $(addprefix tests/,clinical storage imaging report evaluate lint score/test_debate.py score/test_weights.py)

.PHONY: install demo check test test-long lint bench bench-gpu clean

install: $(STAMP)  ## The set-up alone.

demo: $(PRODUCT)  ## The whole loop on the embedded default; ends with a table and the path of report.html.
	$(BIN)/mmedpo demo

test: $(STAMP) lint  ## Style, types, import rules, tests.
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(STAMP) lint  ## Style, types, import rules, and the tests that load no model: under 90 seconds.
	$(BIN)/python -m pytest -n 2 --dist worksteal -q $(PURE)

test-long: $(STAMP) $(AXE)  ## The tests that take minutes.
	$(BIN)/python -m pytest -m long

# With it the pages are looked at in a browser; where npm or the network is missing those tests are skipped, and say so.
$(AXE):
	-npm install --silent --no-save --no-package-lock axe-core@4.14.1

lint: $(STAMP)
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check src tests bench
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## Throughput against TRL: bench/RESULTS.md, and how cost grows: docs/engine-growth.md; answers: bench/GENERATION.md.
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev,bench]"
	$(BIN)/python -m bench.throughput
	$(BIN)/python -m bench.throughput --growth --rounds 1 --steps 2
	$(BIN)/python -m bench.generation
	$(BIN)/python -m bench.generation_growth

bench-gpu: $(STAMP)  ## One CUDA device, at most nine minutes at a time; goes on where it ended: bench/GPU.md.
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev,bench,qlora]"
	$(BIN)/python -m bench.gpu

# The build backend is installed first, so that building the package itself fetches nothing more.
$(PRODUCT): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $$($(PYTHON) --version) is too old, 3.11 or newer is needed; try: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $(PRODUCT)

# And what the tests need.
$(STAMP): $(PRODUCT)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	@touch $(STAMP)

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
