# RTL targets, included by the top Makefile, which sets PY and VENV (and STAMP, the file that tells of a finished set-up).
#
#   make rtl TRACE=dir [LAYER=name] [SEED=n] [STALLS=1] [WAVES=1]   replay a trace bundle on the Verilated core
#   make rtl-test                                                   every bench in tb/
#   make rtl-lint                                                   Verilator, verible and slang, no warning allowed

PY ?= $(VENV)/bin/python
VENV ?= .venv

.PHONY: rtl rtl-test rtl-lint rtl-clean

rtl: $(STAMP)
	@test -n "$(TRACE)" || { echo "error: which bundle? make rtl TRACE=directory" >&2; exit 2; }
	@$(if $(SEED),SEED=$(SEED)) $(if $(WAVES),WAVES=$(WAVES)) $(PY) tb/run_trace.py "$(TRACE)" \
		$(if $(LAYER),--layer "$(LAYER)") $(if $(STALLS),--stalls)

rtl-test: $(STAMP)
	$(PY) -m pytest -q tb

rtl-lint: $(STAMP)
	@$(PY) rtl/lint.py

rtl-clean:
	rm -rf build/rtl

lint: rtl-lint
