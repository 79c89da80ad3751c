# Evenkeel. `make help` lists the targets; site settings (compiler, modules, flags) go into config.mk.
MODE ?= release
-include config.mk

BUILD   := build/$(if $(filter release,$(MODE)),,$(MODE)/)
CC      := $(if $(filter default,$(origin CC)),mpicc,$(CC))
MPIRUN  ?= mpirun
ARCH    ?= -march=native
PKG     ?= PETSc hdf5-openmpi fftw3f scalapack-openmpi lapack blas libcjson
PKGTEST ?= cmocka
ONEDNN  ?= -ldnnl
export PKG_CONFIG_PATH := $(PKG_CONFIG_PATH)$(if $(PKG_CONFIG_PATH),:)$(wildcard /usr/lib/*/pkgconfig)

# -fno-trapping-math: nobody looks at floating-point exceptions, and without it GCC makes no vectors of loops with a choice between values (GELU).
# -fno-split-loops: GCC 12 splits loops over `i < n ? x[i] : 0` wrongly once they are vectorised for AVX-512.
# asan: with the instructions of release; without fused multiply-adds sums round otherwise, and Adam makes steps of that.
OPT_release := -O3 $(ARCH) -fno-split-loops
OPT_debug   := -O0 -g3
OPT_asan    := -O2 -g $(ARCH) -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
WARN    := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror=implicit-function-declaration
CFLAGS  ?=
ALLCFLAGS = -std=gnu11 $(OPT_$(MODE)) -fopenmp-simd -ffp-contract=fast -fno-math-errno -fno-trapping-math $(WARN) -Iinclude -D_GNU_SOURCE \
            $(shell pkg-config --cflags-only-I $(PKG) | sed 's/-I/-isystem /g') $(CFLAGS)
# oneDNN comes without a pkg-config file; its threads are OpenMP's.
LDLIBS  = $(shell pkg-config --libs $(PKG)) $(ONEDNN) -lgomp -lm

SRC     := $(sort $(wildcard src/*/*.c))
OBJ     := $(SRC:%.c=$(BUILD)obj/%.o)
TESTS   := $(sort $(wildcard tests/test_*.c))
TESTBIN := $(TESTS:tests/%.c=$(BUILD)tests/%)
SCALING := describe skeleton $(if $(shell command -v smpicc),skeleton_sim)
BENCH   := $(sort $(wildcard tests/bench/*.c))
Q       := $(if $(V),,@)
export OMPI_ALLOW_RUN_AS_ROOT := 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM := 1
export OPENBLAS_NUM_THREADS := 1
export OMP_NUM_THREADS := 1
export OMPI_MCA_btl_base_warn_component_unused := 0
export HWLOC_HIDE_ERRORS := 1
export MODE BUILD MPIRUN

.DEFAULT_GOAL := all
all: $(BUILD)evenkeel ## build the program

$(BUILD)evenkeel: $(OBJ) $(BUILD)obj/src/main.o
	@echo "  LINK $@"; mkdir -p $(@D)
	$(Q)$(CC) $(OPT_$(MODE)) -o $@ $^ $(LDLIBS)

$(BUILD)libevenkeel.a: $(OBJ)
	$(Q)rm -f $@; ar rcs $@ $^

$(BUILD)obj/%.o: %.c
	@echo "  CC   $<"; mkdir -p $(@D)
	$(Q)$(CC) $(ALLCFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)tests/%: tests/%.c $(BUILD)libevenkeel.a
	@echo "  TEST $<"; mkdir -p $(@D)
	$(Q)$(CC) $(ALLCFLAGS) -Itests $(shell pkg-config --cflags $(PKGTEST)) -MMD -MP -o $@ $< $(BUILD)libevenkeel.a $(LDLIBS) $(shell pkg-config --libs $(PKGTEST))

$(BUILD)bench/%: tests/bench/%.c $(BUILD)libevenkeel.a
	@echo "  BENCH $<"; mkdir -p $(@D)
	$(Q)$(CC) $(ALLCFLAGS) -MMD -MP -o $@ $< $(BUILD)libevenkeel.a $(LDLIBS)

# The skeleton is plain MPI; smpicc compiles it for SimGrid.
$(BUILD)scaling/skeleton: tests/scaling/skeleton.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 -O2 $(WARN) -o $@ $<

$(BUILD)scaling/skeleton_sim: tests/scaling/skeleton.c
	@mkdir -p $(@D)
	$(Q)smpicc -DSIMULATED -std=gnu11 -O2 -o $@ $<

$(BUILD)scaling/describe: tests/scaling/describe.c tests/scaling/shares.c tests/scaling/shares.h $(BUILD)libevenkeel.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALLCFLAGS) -o $@ $(filter %.c %.a,$^) $(LDLIBS)

tests: $(TESTBIN) $(SCALING:%=$(BUILD)scaling/%) ## build the unit tests and what they run
bench-programs: $(BENCH:tests/bench/%.c=$(BUILD)bench/%)
scaling-programs: all $(BUILD)bench/bench_balance $(BUILD)bench/bench_step $(SCALING:%=$(BUILD)scaling/%) ## what jobscripts/scaling.sh runs

# ---- what a user calls -------------------------------------------------------------------------------------

DEBIAN  := gcc make pkg-config openmpi-bin libopenmpi-dev libpetsc-real-dev libhdf5-openmpi-dev libfftw3-dev libscalapack-openmpi-dev \
           libopenblas-dev libdnnl-dev libcjson-dev libcmocka-dev python3-numpy python3-h5py python3-scipy python3-matplotlib python3-yaml
SUDO    := $(if $(filter 0,$(shell id -u)),,sudo -n)
HAVE     = command -v $(MPIRUN) >/dev/null && command -v $(CC) >/dev/null && pkg-config --exists $(PKG) $(PKGTEST) 2>/dev/null && $(HAVEDNN) && test -n "$$($(FINDPY))"
HAVEDNN  = echo 'int main(void) {return 0;}' | $(CC) -include dnnl.h -x c - -o /dev/null $(ONEDNN) 2>/dev/null
FINDPY  := for p in python3 /usr/bin/python3; do $$p -c 'import numpy, h5py, scipy, matplotlib, yaml' 2>/dev/null && echo $$p && break; done

setup: ## find what is missing and install it (Debian), or say what to do
	@if $(HAVE); then exit 0; fi; \
	if command -v apt-get >/dev/null && $(SUDO) true 2>/dev/null; then \
	  echo "  SETUP installing the libraries"; \
	  { $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(DEBIAN); } >build-setup.log 2>&1 || { tail -5 build-setup.log; exit 1; }; \
	  rm -f build-setup.log; \
	fi; \
	if $(HAVE); then exit 0; fi; \
	for p in $(PKG) $(PKGTEST); do pkg-config --exists $$p 2>/dev/null || echo "missing: $$p (pkg-config)"; done; \
	$(HAVEDNN) || echo "missing: oneDNN (dnnl.h, $(ONEDNN))"; \
	for c in $(CC) $(MPIRUN) pkg-config; do command -v $$c >/dev/null || echo "missing: $$c"; done; \
	test -n "$$($(FINDPY))" || echo "missing: a python3 with numpy, h5py, scipy, matplotlib, yaml"; \
	echo "On Debian or Ubuntu: apt-get install $(DEBIAN)"; \
	echo "On a cluster: load its modules (MPI, PETSc, parallel HDF5, FFTW, ScaLAPACK, cJSON) and write config.mk, for example"; \
	echo "  CC = mpicc"; echo "  PKG = petsc hdf5 fftw3f libcjson      # names for pkg-config"; echo "  LDLIBS = ... -lscalapack -lopenblas -lm   # what pkg-config does not know"; exit 1

NP      ?= 2
SEEDS   ?= 2024 2023 2022
RULES   ?= none tb_sigmoid
DEMO    := runs/demo
RUN      = $(MPIRUN) --oversubscribe -n $(NP)

run: setup ## the main job: data, a plain and a balanced FNO with three seeds, a table, pictures
	$(Q)$(MAKE) --no-print-directory all
	$(Q)rm -rf $(DEMO)
	$(Q)test -f runs/data/cfd2d_rand.hdf5 || $(RUN) $(BUILD)evenkeel generate inputs/cfd2d_rand.yaml
	$(Q)for seed in $(SEEDS); do for rule in $(RULES); do \
	  echo "--- $$rule, seed $$seed"; \
	  $(RUN) $(BUILD)evenkeel train inputs/fno_cfd2d.yaml -balance_rule $$rule -train_seed $$seed -out_dir $(DEMO)/$$rule-$$seed || exit 1; \
	done; done
	$(Q)py=$$($(FINDPY)); $$py postproc/report.py $(DEMO)/*-* --group balance_rule --out $(DEMO)/report && $$py postproc/report.py $(DEMO)/$(lastword $(RULES))-$(firstword $(SEEDS))
	@echo "pictures and tables: $(DEMO)/report, $(DEMO)/$(lastword $(RULES))-$(firstword $(SEEDS))/report"

check: setup ## unit tests, run-level tests, post-processing tests
	$(Q)$(MAKE) --no-print-directory all tests
	$(Q)PYTHON=$$($(FINDPY)) tests/run.sh

check-slurm: setup ## the job scripts on a SLURM cluster of seven pretended nodes; as root
	$(Q)$(MAKE) --no-print-directory all scaling-programs
	$(Q)PYTHON=$$($(FINDPY)) tests/slurm/run.sh

bench: setup ## the speed table: bench.json and a copy on the screen
	$(Q)$(MAKE) --no-print-directory all bench-programs
	$(Q)PYTHON=$$($(FINDPY)) tests/bench/run.sh

check-scaling: setup ## predicted against real training steps on 1, 2 and 4 ranks; fails beyond TOLERANCE=30 %
	$(Q)$(MAKE) --no-print-directory scaling-programs
	$(Q)PYTHON=$$($(FINDPY)) tests/scaling/check.sh

lint: ## layers, long lines and files, forbidden words
	$(Q)tests/lint.sh

format: ## clang-format everything
	$(Q)clang-format -i $$(git ls-files '*.c' '*.h')

clean: ## remove what was built
	$(Q)rm -rf build

info: ## compiler, flags, libraries
	@echo "MODE     $(MODE)"; echo "CC       $(CC)"; echo "CFLAGS   $(ALLCFLAGS)"; echo "LDLIBS   $(LDLIBS)"; echo "PYTHON   $$($(FINDPY))"

help: ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

print-%: ; @echo '$* = $($*)'
.PHONY: all tests bench-programs scaling-programs setup run check check-slurm check-scaling bench lint format clean info help
.SECONDARY:
# Updates must not depend on where a slice of the arena begins: vector body and scalar rest have to round alike.
$(BUILD)obj/src/optim/%.o: CFLAGS += -ffp-contract=off
$(BUILD)obj/src/base/provenance.o: CFLAGS += -DEK_GIT_VERSION='"$(shell git describe --always --dirty 2>/dev/null)"' -DEK_BUILD_FLAGS='"$(MODE) $(OPT_$(MODE))"'
-include $(OBJ:.o=.d) $(TESTBIN:=.d) $(BENCH:tests/bench/%.c=$(BUILD)bench/%.d) $(BUILD)obj/src/main.d
