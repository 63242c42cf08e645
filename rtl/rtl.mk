# RTL targets, included by the top Makefile, which sets PY and VENV, and RTL_TOOLS, VERIFY_TOOLS and TEST_PACKAGES:
# files that tell of finished set-ups.
#
#   make rtl TRACE=dir [LAYER=name] [SEED=n] [STALLS=1] [WAVES=1]   replay a trace bundle on the Verilated core;
#                                                                   DENSE=1: on its dense baseline; WIDTH=64: streams of
#                                                                   that many bits; MEMORY=single_port: see rtl/variants;
#                                                                   TUSER=1: T of a row beside the data
#   make rtl-library [LIBRARY="--columns 32 …"]                     the core as a library beside the package, for
#                                                                   load(path, backend="rtl"); see docs/rtl_backend.md
#   make rtl-bench TRACE=dir [OUT=file.json]                        event core, dense baseline, group core on a trace bundle
#   make synth [TRACE=dir] [SYNTH="--design NAME"]                  area, clock and energy of both, see docs/synthesis.md;
#              [LIBERTY="a.lib b.lib.gz"] [DESCRIPTION=file.json]   in a cell library of yours
#   make ladder [LIBERTY="a.lib b.lib.gz"] [LADDER="--rung NAME"]   arrays from FP16 to spikes in a cell library
#   make fpga [FPGA="--seeds 3"]                                    both on an FPGA (ECP5): LUTs and clock
#   make rtl-estimate                                               the cycle model of `spike-compressor estimate` held against
#                                                                   the cores, and fitted; half an hour
#   make rtl-test                                                   every bench in tb/
#   make rtl-prove                                                  proofs of the modules, see docs/verification.md
#   make rtl-full [FULL="--seeds 5"]                                 the whole campaign with coverage, proofs and faults: an hour;
#                                                                   --core group: of the group core alone
#   make rtl-lint                                                   Verilator, verible and slang, no warning allowed
#   make registers                                                  C header, map and page of the registers, from SystemRDL
#   make rtl-setup, make verify-setup                               what these targets install first: simulator and linters;
#                                                                   FuseSoC, Yosys, nextpnr and the solver too

PY ?= $(VENV)/bin/python
VENV ?= .venv

.PHONY: rtl rtl-library rtl-bench rtl-estimate synth ladder fpga rtl-test rtl-prove rtl-full rtl-lint rtl-clean rtl-setup verify-setup registers

# `verilator` and `yosys` out of Python packages, ready to be called: by users, and by FuseSoC
VERILATOR_READY := $(READY)-verilator
YOSYS_READY     := $(READY)-yosys

$(VERILATOR_READY): tb/toolchain.py | $(RTL_TOOLS)
	$(PY) tb/toolchain.py
	touch $@

$(YOSYS_READY): tb/yosys_tcl.py | $(VERIFY_TOOLS)
	$(PY) tb/yosys_tcl.py --install
	touch $@

rtl-setup: $(RTL_TOOLS) $(VERILATOR_READY)

verify-setup: $(VERIFY_TOOLS) $(VERILATOR_READY) $(YOSYS_READY)

rtl: $(RTL_TOOLS)
	@test -n "$(TRACE)" || { echo "error: which bundle? make rtl TRACE=directory" >&2; exit 2; }
	@$(if $(SEED),SEED=$(SEED)) $(if $(WAVES),WAVES=$(WAVES)) $(PY) tb/run_trace.py "$(TRACE)" \
		$(if $(LAYER),--layer "$(LAYER)") $(if $(STALLS),--stalls) $(if $(DENSE),--dense) \
		$(if $(WIDTH),--stream-width $(WIDTH)) $(if $(MEMORY),--memory $(MEMORY)) \
		$(if $(TUSER),--user-timesteps)

# compiled once for these sources and sizes, whatever make thinks
rtl-library: $(RTL_TOOLS)
	@$(PY) tb/library.py $(LIBRARY)

rtl-bench: $(RTL_TOOLS)
	@test -n "$(TRACE)" || { echo "error: which bundle? make rtl-bench TRACE=directory OUT=file.json" >&2; exit 2; }
	@$(PY) tb/run_bench.py "$(TRACE)" $(if $(filter command%,$(origin OUT)),--out "$(OUT)") $(BENCH)

# The embedded model's layers, rotated and not, of one row (as while text is written), one row tile, and five.
ESTIMATED := $(foreach recipe,quip_gptq rtn,$(foreach rows,1 8 40,out/traces/estimate/$(recipe)_$(rows)))

$(ESTIMATED): | $(PACKAGE) $(KERNELS)
	$(PY) benchmarks/traces.py embedded --recipe $(patsubst %_$(lastword $(subst _, ,$@)),%,$(notdir $@))_w4_channel \
	  --rows $(lastword $(subst _, ,$@)) --out $@

rtl-estimate: $(RTL_TOOLS) $(ESTIMATED)
	@$(PY) tb/estimate_cycles.py $(ESTIMATED)

CELLS = $(if $(LIBERTY),--liberty $(LIBERTY)) $(if $(DESCRIPTION),--description "$(DESCRIPTION)")

synth: $(VERIFY_TOOLS)
	@$(PY) rtl/synth/synth.py $(CELLS) $(if $(TRACE),$(addprefix --trace ,$(TRACE))) $(SYNTH)

ladder: $(VERIFY_TOOLS)
	@$(PY) rtl/synth/ladder.py $(CELLS) $(LADDER)

fpga: $(VERIFY_TOOLS)
	@$(PY) rtl/synth/fpga.py $(FPGA)

rtl-test: $(TEST_PACKAGES)
	$(or $(PYTEST),$(PY) -m pytest) -q tb

rtl-prove: $(VERIFY_TOOLS)
	@$(PY) tb/formal/prove.py

rtl-full: $(VERIFY_TOOLS)
	@$(PY) tb/full.py $(FULL)

registers: $(VERIFY_TOOLS)
	@$(PY) rtl/registers/export.py

rtl-lint: $(RTL_TOOLS)
	@$(PY) rtl/lint.py

rtl-clean:
	rm -rf build/rtl

lint: rtl-lint
