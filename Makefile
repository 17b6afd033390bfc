# hgshim: build, test, measure. `make help` lists the targets.
#
#   O=DIR      build folder (default: build)          V=1         show commands
#   SAN=LIST   sanitizers, e.g. address,undefined     COVERAGE=1  gcov
#   CC=clang   the other compiler                     WERROR=1    warnings are errors

O ?= build
V ?= 0
ifeq ($(V),0)
Q := @
say = @printf '  %-7s %s\n' $(1) $(2)
endif

LLVM_CONFIG ?= $(firstword $(foreach v,19 20 21,$(shell command -v llvm-config-$(v) 2>/dev/null)))
CLANG ?= $(firstword $(foreach v,19 20 21,$(shell command -v clang-$(v) 2>/dev/null)) clang)

# A toolkit if there is one, else the PyPI wheels that `make deps` unpacks.
CUDA_HOME ?= $(firstword $(wildcard /usr/local/cuda) $(wildcard $(O)/cuda))
NVCC ?= $(CUDA_HOME)/bin/nvcc

CFLAGS ?= -O2 -g
warnings := -Wall -Wextra -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wshadow \
	-Wpointer-arith -Wvla -Wundef -Wsizeof-pointer-memaccess
ifeq ($(WERROR),1)
warnings += -Werror
endif
cflags := -std=gnu17 $(warnings) -fno-common -fvisibility=hidden -fPIC -pthread -I. -isystem $(CUDA_HOME)/include
ldflags := -Wl,-z,defs -pthread
ifneq ($(SAN),)
cflags += -fsanitize=$(SAN) -fno-omit-frame-pointer
ldflags += -fsanitize=$(SAN)
endif
ifeq ($(COVERAGE),1)
cflags += --coverage
ldflags += --coverage
endif

rooms := common logdb translate replay intercept
$(foreach r,$(rooms),$(eval $(r)_obj := $(patsubst %.c,$(O)/%.o,$(sort $(wildcard $(r)/*.c)))))
tools := $(patsubst tools/%.c,%,$(wildcard tools/hgshim-*.c))
tool_obj := $(patsubst %.c,$(O)/%.o,$(filter-out $(wildcard tools/hgshim-*.c),$(wildcard tools/*.c)))

# LLVM is linked statically into the engine and the tools: an application's own LLVM cannot get in the way.
llvm_libs = $(shell $(LLVM_CONFIG) --link-static --ldflags --libs orcjit x86 passes analysis bitwriter irreader) \
	$(shell $(LLVM_CONFIG) --link-static --system-libs) -lstdc++ -lm
llvm_cflags = -isystem $(shell $(LLVM_CONFIG) --includedir)
engine_libs = -llz4 -lzstd $(llvm_libs)

.PHONY: all
all: $(O)/libhgshim.so $(O)/libhgshim-engine.so $(addprefix $(O)/,$(tools)) ## build everything (default)

$(O)/translate/%.o $(O)/replay/%.o $(O)/tests/unit/translate/%.o $(O)/tools/%.o: cflags += $(llvm_cflags)

$(O)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(cflags) $(CFLAGS) -MMD -MP -c -o $@ $<

# What enters the application: intercept + logdb + common, linked to libc alone.
$(O)/libhgshim.so: $(intercept_obj) $(logdb_obj) $(common_obj) $(wildcard intercept/*.map)
	$(call say,LD,$@)
	$(Q)$(CC) -shared -o $@ $(filter %.o,$^) $(ldflags) -Wl,-soname,libcuda.so.1 \
		$(addprefix -Wl$(comma)--version-script=,$(wildcard intercept/*.map))
comma := ,

# The portable executor, opened lazily; exports one entry.
$(O)/libhgshim-engine.so: $(replay_obj) $(translate_obj) $(logdb_obj) $(common_obj)
	$(call say,LD,$@)
	$(Q)$(CC) -shared -o $@ $(filter %.o,$^) $(ldflags) -Wl,--exclude-libs,ALL -Wl,-Bsymbolic $(engine_libs)

$(O)/hgshim-%: $(O)/tools/hgshim-%.o $(tool_obj) $(replay_obj) $(translate_obj) $(logdb_obj) $(common_obj)
	$(call say,LD,$@)
	$(Q)$(CC) -o $@ $^ $(ldflags) $(tool_libs) -ljansson
$(O)/hgshim-replay $(O)/hgshim-ptx: tool_libs = $(engine_libs)
# These two need no engine.
$(O)/hgshim-ckpt $(O)/hgshim-log: $(O)/hgshim-%: $(O)/tools/hgshim-%.o $(tool_obj) $(logdb_obj) $(common_obj)
	$(call say,LD,$@)
	$(Q)$(CC) -o $@ $^ $(ldflags) -ljansson

# Unit tests: one Criterion program for each room, from tests/unit/<room>/*.c.
unit_rooms := $(notdir $(patsubst %/,%,$(dir $(wildcard tests/unit/*/.))))
unit_common = $(common_obj)
unit_logdb = $(logdb_obj) $(common_obj)
unit_translate = $(translate_obj) $(logdb_obj) $(common_obj)
unit_replay = $(replay_obj) $(translate_obj) $(logdb_obj) $(common_obj)
unit_intercept = $(intercept_obj) $(logdb_obj) $(common_obj)
define unit_rule
$(O)/unit-$(1): $(patsubst %.c,$(O)/%.o,$(wildcard tests/unit/$(1)/*.c)) $(unit_$(1))
	$$(call say,LD,$$@)
	$$(Q)$$(CC) -o $$@ $$^ $$(ldflags) $(if $(filter translate replay,$(1)),$$(engine_libs)) -lcriterion -lm
endef
$(foreach r,common logdb translate replay intercept,$(eval $(call unit_rule,$(r))))

.PHONY: clean
clean: ## remove the build folder
	rm -rf $(O)

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 16

-include $(shell find $(O) -name '*.d' 2>/dev/null)
