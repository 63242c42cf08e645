# RTL targets, included by the top Makefile, which sets PY and VENV (and STAMP, the file that tells of a finished set-up).
#
#   make rtl TRACE=dir [LAYER=name] [SEED=n] [STALLS=1] [WAVES=1]   replay a trace bundle on the Verilated core;
#                                                                   DENSE=1: on its dense rival
#   make rtl-bench TRACE=dir [OUT=file.json]                        the core against its dense rival on a trace bundle
#   make synth [TRACE=dir] [SYNTH="--design NAME"]                  area, clock and energy of both, see docs/synthesis.md
#   make fpga [FPGA="--seeds 3"]                                    both on an FPGA (ECP5): LUTs and clock
#   make rtl-test                                                   every bench in tb/
#   make rtl-prove                                                  proofs of the modules, see docs/verification.md
#   make rtl-full [FULL="--seeds 5"]                                 the whole campaign with coverage, proofs and faults: an hour
#   make rtl-lint                                                   Verilator, verible and slang, no warning allowed

PY ?= $(VENV)/bin/python
VENV ?= .venv

.PHONY: rtl rtl-bench synth fpga rtl-test rtl-prove rtl-full rtl-lint rtl-clean

rtl: $(STAMP)
	@test -n "$(TRACE)" || { echo "error: which bundle? make rtl TRACE=directory" >&2; exit 2; }
	@$(if $(SEED),SEED=$(SEED)) $(if $(WAVES),WAVES=$(WAVES)) $(PY) tb/run_trace.py "$(TRACE)" \
		$(if $(LAYER),--layer "$(LAYER)") $(if $(STALLS),--stalls) $(if $(DENSE),--dense)

rtl-bench: $(STAMP)
	@test -n "$(TRACE)" || { echo "error: which bundle? make rtl-bench TRACE=directory OUT=file.json" >&2; exit 2; }
	@$(PY) tb/run_bench.py "$(TRACE)" $(if $(filter command%,$(origin OUT)),--out "$(OUT)") $(BENCH)

synth: $(STAMP)
	@$(PY) rtl/synth/synth.py $(if $(TRACE),$(addprefix --trace ,$(TRACE))) $(SYNTH)

fpga: $(STAMP)
	@$(PY) rtl/synth/fpga.py $(FPGA)

rtl-test: $(STAMP)
	$(or $(PYTEST),$(PY) -m pytest) -q tb

rtl-prove: $(STAMP)
	@$(PY) tb/formal/prove.py

rtl-full: $(STAMP)
	@$(PY) tb/full.py $(FULL)

rtl-lint: $(STAMP)
	@$(PY) rtl/lint.py

rtl-clean:
	rm -rf build/rtl

lint: rtl-lint
