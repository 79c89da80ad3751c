# Evenkeel. `make help` lists the targets; site settings (compiler, modules, flags) go into config.mk.
MODE ?= release
-include config.mk

BUILD   := build/$(if $(filter release,$(MODE)),,$(MODE)/)
CC      := $(if $(filter default,$(origin CC)),mpicc,$(CC))
MPIRUN  ?= mpirun
ARCH    ?= -march=native
PKG     ?= PETSc hdf5-openmpi fftw3f scalapack-openmpi lapack blas libcjson
PKGTEST ?= cmocka
export PKG_CONFIG_PATH := $(PKG_CONFIG_PATH)$(if $(PKG_CONFIG_PATH),:)$(wildcard /usr/lib/*/pkgconfig)
PETSC_PC ?= PETSc

OPT_release := -O3 $(ARCH)
OPT_debug   := -O0 -g3
OPT_asan    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
WARN    := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror=implicit-function-declaration
CFLAGS  ?=
ALLCFLAGS = -std=gnu11 $(OPT_$(MODE)) -fopenmp-simd -ffp-contract=fast -fno-math-errno $(WARN) -Iinclude -D_GNU_SOURCE \
            $(shell pkg-config --cflags-only-I $(PKG) | sed 's/-I/-isystem /g') $(CFLAGS)
LDLIBS  = $(shell pkg-config --libs $(PKG)) -lm

SRC     := $(sort $(wildcard src/*/*.c))
OBJ     := $(SRC:%.c=$(BUILD)obj/%.o)
TESTS   := $(sort $(wildcard tests/test_*.c))
TESTBIN := $(TESTS:tests/%.c=$(BUILD)tests/%)
BENCH   := $(sort $(wildcard tests/bench/*.c))
Q       := $(if $(V),,@)
PYTHON  ?= $(shell for p in python3 /usr/bin/python3; do $$p -c 'import numpy, h5py, scipy, matplotlib' 2>/dev/null && echo $$p && break; done)
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
export OMPI_MCA_btl_base_warn_component_unused=0 HWLOC_HIDE_ERRORS=1
export MODE BUILD MPIRUN PYTHON

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

tests: $(TESTBIN) ## build the unit tests
print-%: ; @echo '$* = $($*)'
.PHONY: all tests
.SECONDARY:
# Updates must not depend on where a slice of the arena begins: vector body and scalar rest have to round alike.
$(BUILD)obj/src/optim/optim.o: CFLAGS += -ffp-contract=off
$(BUILD)obj/src/base/provenance.o: CFLAGS += -DEK_GIT_VERSION='"$(shell git describe --always --dirty 2>/dev/null)"' -DEK_BUILD_FLAGS='"$(MODE) $(OPT_$(MODE))"'
-include $(OBJ:.o=.d) $(TESTBIN:=.d) $(BUILD)obj/src/main.d
