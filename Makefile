# hgshim: build, test, measure. `make help` lists the targets.
#
#   O=DIR      build folder (default: build)          V=1         show commands
#   SAN=LIST   sanitizers, e.g. address,undefined     COVERAGE=1  gcov
#   CC=clang   the other compiler                     WERROR=1    warnings are errors
#   CUDA_HOME  a CUDA 13 toolkit                      FUZZ_TIME=S seconds for each fuzzer

O ?= build
V ?= 0
ifeq ($(V),0)
Q := @
say = @printf '  %-7s %s\n' $(1) $(2)
endif
comma := ,

LLVM_CONFIG ?= $(firstword $(foreach v,19 20 21,$(shell command -v llvm-config-$(v) 2>/dev/null)))
CLANG ?= $(firstword $(foreach v,19 20 21,$(shell command -v clang-$(v) 2>/dev/null)) clang)

# A toolkit if there is one, else the PyPI wheels that `make deps` unpacks.
override CUDA_HOME := $(shell tools/deps.sh --cuda $(O) $(CUDA_HOME))
NVCC ?= $(CUDA_HOME)/bin/nvcc

CFLAGS ?= -O2 -g
warnings := -Wall -Wextra -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wshadow \
	-Wpointer-arith -Wvla -Wundef -Wsizeof-pointer-memaccess
ifeq ($(WERROR),1)
warnings += -Werror
endif
cflags := -std=gnu17 $(warnings) -fno-common -fvisibility=hidden -fPIC -pthread -I. -isystem $(CUDA_HOME)/include
ldflags := -pthread
so_ldflags := -Wl,-z,defs
ifneq ($(SAN),)
cflags += -fsanitize=$(SAN) -fno-omit-frame-pointer $(if $(findstring undefined,$(SAN)),-fno-sanitize-recover=undefined)
ldflags += -fsanitize=$(SAN)
# clang leaves a sanitizer's runtime out of shared libraries
so_ldflags :=
endif
ifeq ($(COVERAGE),1)
cflags += --coverage
ldflags += --coverage
endif

rooms := common logdb translate replay intercept
$(foreach r,$(rooms),$(eval $(r)_obj := $(patsubst %.c,$(O)/%.o,$(sort $(wildcard $(r)/*.c)))))
translate_obj += $(O)/translate/amd_llvm.o
tools := $(patsubst tools/%.c,%,$(wildcard tools/hgshim-*.c))
tool_obj := $(patsubst %.c,$(O)/%.o,$(filter-out $(wildcard tools/hgshim-*.c),$(wildcard tools/*.c)))

# LLVM is linked statically into the engine and the tools: an application's own LLVM cannot get in the way.
llvm_libs = $(shell $(LLVM_CONFIG) --link-static --ldflags --libs orcjit x86 amdgpu passes analysis bitwriter irreader) \
	$(shell $(LLVM_CONFIG) --link-static --system-libs) -lstdc++ -lm
llvm_cflags = -isystem $(shell $(LLVM_CONFIG) --includedir)
# lld with what it wants of link-time optimisation; distributions add an optimiser of loops there, which translate/amd_llvm.cpp stands for.
lld_libs = -L$(shell $(LLVM_CONFIG) --libdir) -llldELF -llldCommon \
	$(filter-out -lPolly -lPollyISL -lLLVMExtensions,$(shell $(LLVM_CONFIG) --link-static --libs option lto))
engine_libs = -Wl,--wrap=_ZN4llvm3sys7Process4ExitEib $(lld_libs) -llz4 -lzstd $(llvm_libs)

# Objects are kept, also those that make finds by itself on its way to a program.
.SECONDARY:

# What the doubles' reader of SPIR-V made is kept here.
export HGSHIM_SIMT_CACHE ?= $(abspath $(O))/simt-spirv

.PHONY: all
all: $(O)/libhgshim.so $(O)/libhgshim-engine.so $(addprefix $(O)/,$(tools)) ## build everything (default)

$(O)/translate/%.o $(O)/replay/%.o $(O)/tests/unit/translate/%.o $(O)/tests/unit/replay/%.o $(O)/tools/%.o: cflags += $(llvm_cflags)

# What runs kernels in the test doubles. Its approximations promise bits.
simt_obj := $(patsubst %.c,$(O)/%.o,$(sort $(wildcard tests/drivers/simt/*.c)))
$(O)/tests/drivers/%.o $(O)/tests/unit/simt/%.o: cflags += $(llvm_cflags)
$(O)/tests/drivers/simt/%.o: cflags += -ffp-contract=off

# Sampling gives the same bits on every target.
$(O)/translate/texture.o: cflags += -ffp-contract=off

# A mistake of ours must not end the application.
$(O)/intercept/%.o: cflags += -DNDEBUG

$(O)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(cflags) $(CFLAGS) -MMD -MP -c -o $@ $<

# The one file of C++, for lld. (A compiler that is named by CC has the other language under a name of its own.)
CXX := $(if $(findstring clang,$(CC)),$(subst clang,clang++,$(CC)),g++)
# LLVM knows nothing of its objects' types at run time, so that a sanitizer cannot ask.
$(O)/translate/amd_llvm.o: translate/amd_llvm.cpp Makefile
	@mkdir -p $(@D)
	$(call say,CXX,$<)
	$(Q)$(CXX) $(filter-out -std=% -Wstrict-prototypes -Wmissing-prototypes,$(cflags)) -std=c++17 -fno-exceptions -fno-sanitize=vptr $(CFLAGS) -MMD -MP -c -o $@ $<

# Device functions of hgshim's own: C, to PTX, into translate/support.o.
support_ptx := $(patsubst translate/support/%.c,$(O)/support/%.ptx,$(sort $(wildcard translate/support/*.c)))
$(O)/support/%.ptx: translate/support/%.c translate/support/support.h Makefile
	@mkdir -p $(@D)
	$(call say,PTX,$<)
	$(Q)$(CLANG) --target=nvptx64-nvidia-cuda -march=sm_70 -O2 -ffreestanding -fno-builtin -Wall -Wextra -I. $(support_cflags) -S -o $@ $<
# As translate/texture.o, and short.
$(O)/support/expand_texture.ptx: support_cflags = -Os -ffp-contract=off
$(O)/support/expand_texture.ptx: translate/support/gpu.h translate/texture.c translate/texture.h translate/gpu_abi.h
$(O)/support/expand_print.ptx: translate/support/gpu.h translate/gpu_abi.h translate/print_format.h
$(O)/support/expand_arith.ptx $(O)/support/expand_f64.ptx: translate/support/f64.h
$(O)/translate/support.o: $(support_ptx)
$(O)/translate/support.o: cflags += -DHG_SUPPORT_DIR='"$(O)/support"'

# What enters the application: intercept + logdb + common, linked to libc alone.
$(O)/libhgshim.so: $(intercept_obj) $(logdb_obj) $(common_obj) $(wildcard intercept/*.map)
	$(call say,LD,$@)
	$(Q)$(CC) -shared -o $@ $(filter %.o,$^) $(ldflags) $(so_ldflags) -Wl,-soname,libcuda.so.1 \
		$(addprefix -Wl$(comma)--version-script=,$(wildcard intercept/*.map))

# The portable executor, opened lazily; exports one entry.
$(O)/libhgshim-engine.so: $(replay_obj) $(translate_obj) $(logdb_obj) $(common_obj)
	$(call say,LD,$@)
	$(Q)$(CC) -shared -o $@ $(filter %.o,$^) $(ldflags) $(so_ldflags) -Wl,--exclude-libs,ALL -Wl,-Bsymbolic $(engine_libs)

$(O)/hgshim-%: $(O)/tools/hgshim-%.o $(tool_obj) $(replay_obj) $(translate_obj) $(logdb_obj) $(common_obj)
	$(call say,LD,$@)
	$(Q)$(CC) -o $@ $^ $(ldflags) $(tool_libs) -ljansson
$(O)/hgshim-replay $(O)/hgshim-ptx $(O)/hgshim-log: tool_libs = $(engine_libs)
# This one needs no engine.
$(O)/hgshim-ckpt: $(O)/replay/target_names.o
$(O)/hgshim-ckpt: $(O)/hgshim-%: $(O)/tools/hgshim-%.o $(O)/tools/progress.o $(logdb_obj) $(common_obj)
	$(call say,LD,$@)
	$(Q)$(CC) -o $@ $^ $(ldflags) -ljansson

# Test drivers: tests/drivers. Doubles of vendors' drivers, for machines without the hardware; they say what they are. They
# take images in with the product's front end, and run kernels with an executor of their own (simt).
front_obj := $(patsubst %.c,$(O)/%.o,$(sort $(wildcard $(addprefix translate/,fatbin.c cubin.c index.c module.c ptx_*.c \
	lower*.c support.c ir.c ir_*.c texture.c))))

# The name that the loader looks for: programs find it by LD_LIBRARY_PATH, hgshim by HGSHIM_DRIVER.
fake_cuda_obj := $(patsubst %.c,$(O)/%.o,$(sort $(wildcard tests/drivers/common/*.c tests/drivers/cuda/*.c)))
$(O)/drivers/cuda/libcuda.so.1: $(fake_cuda_obj) $(simt_obj) $(front_obj) $(common_obj) $(O)/intercept/handshake.o
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -shared -o $@ $^ $(ldflags) $(so_ldflags) -Wl,-soname,libcuda.so.1 -Wl,-Bsymbolic -Wl,--exclude-libs,ALL \
		-llz4 -lzstd $(llvm_libs)
test_drivers := $(O)/drivers/cuda/libcuda.so.1
# AMD's: found by HGSHIM_HIP. The front end is there for the other forms of code that simt runs.
fake_hip_obj := $(patsubst %.c,$(O)/%.o,$(sort $(wildcard tests/drivers/common/*.c tests/drivers/hip/*.c)))
$(O)/drivers/hip/libamdhip64.so.6: $(fake_hip_obj) $(simt_obj) $(front_obj) $(common_obj)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -shared -o $@ $^ $(ldflags) $(so_ldflags) -Wl,-soname,libamdhip64.so.6 -Wl,-Bsymbolic -Wl,--exclude-libs,ALL \
		$(engine_libs)
test_drivers += $(O)/drivers/hip/libamdhip64.so.6
# A driver for Level Zero's loader: ZE_ENABLE_ALT_DRIVERS. It stays loaded, as its threads do.
fake_ze_obj := $(patsubst %.c,$(O)/%.o,$(sort $(wildcard tests/drivers/common/*.c tests/drivers/ze/*.c)))
$(O)/drivers/ze/libze_hgshim_test.so: $(fake_ze_obj) $(simt_obj) $(front_obj) $(common_obj)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -shared -o $@ $^ $(ldflags) $(so_ldflags) -Wl,-z,nodelete -Wl,-Bsymbolic -Wl,--exclude-libs,ALL -lSPIRV-Tools $(engine_libs)
test_drivers += $(O)/drivers/ze/libze_hgshim_test.so
.PHONY: test-drivers
test-drivers: $(test_drivers)

# Unit tests: one Criterion program for each room, from tests/unit/<room>/*.c.
unit_rooms := $(foreach r,$(rooms) simt,$(if $(wildcard tests/unit/$(r)/*.c),$(r)))
unit_common = $(common_obj)
unit_logdb = $(logdb_obj) $(common_obj)
unit_translate = $(translate_obj) $(logdb_obj) $(common_obj)
unit_replay = $(replay_obj) $(translate_obj) $(logdb_obj) $(common_obj)
unit_intercept = $(intercept_obj) $(logdb_obj) $(common_obj)
unit_simt = $(simt_obj) $(replay_obj) $(translate_obj) $(logdb_obj) $(common_obj)
define unit_rule
$(O)/unit-$(1): $(patsubst %.c,$(O)/%.o,$(wildcard tests/unit/$(1)/*.c)) $(unit_$(1))
	$$(call say,LD,$$@)
	$$(Q)$$(CC) -o $$@ $$^ $$(ldflags) $(if $(filter translate replay simt,$(1)),$$(engine_libs)) -lcriterion -lm
endef
$(foreach r,$(rooms) simt,$(eval $(call unit_rule,$(r))))
# Kernels for the executor of amdgcn, as bitcode for chips with waves of 32 and of 64 lanes.
amdgcn_bc := $(O)/amdgcn/gfx1100.bc $(O)/amdgcn/gfx90a.bc
$(O)/amdgcn/%.bc: tests/unit/simt/amdgcn/kernels.c Makefile
	@mkdir -p $(@D)
	$(call say,BC,$@)
	$(Q)$(CLANG) --target=amdgcn-amd-amdhsa -mcpu=$* -nogpulib -O2 -ffreestanding -Wall -Wextra -emit-llvm -c -o $@ $<
$(O)/tests/unit/simt/test_amdgcn.o: $(amdgcn_bc)
$(O)/tests/unit/simt/test_amdgcn.o: cflags += -DHG_AMDGCN_DIR='"$(O)/amdgcn"'
# And for the executor of SPIR-V.
test_spv := $(O)/spirv/kernels.spv $(O)/spirv/contract.spv
$(O)/spirv/%.spv: tests/unit/simt/spirv/%.spvasm
	@mkdir -p $(@D)
	$(call say,SPV,$@)
	$(Q)spirv-as --target-env spv1.3 -o $@ $< && spirv-val --target-env spv1.3 $@
$(O)/tests/unit/simt/test_spirv.o: $(test_spv)
$(O)/tests/unit/simt/test_spirv.o: cflags += -DHG_SPIRV_DIR='"$(O)/spirv"'

# The doubles are tested as well; this one as a program sees it, through dlopen.
$(O)/unit-fakecuda: $(patsubst %.c,$(O)/%.o,$(wildcard tests/unit/fakecuda/*.c)) | $(O)/drivers/cuda/libcuda.so.1
	$(call say,LD,$@)
	$(Q)$(CC) -o $@ $^ $(ldflags) -lcriterion -lm
unit_rooms += fakecuda
# Code objects as AMD's compiler makes them; with their LLVM IR, which the double runs.
fake_hip_chips := gfx1100 gfx90a
fake_hip_code := $(foreach c,$(fake_hip_chips),$(O)/tests/unit/fakehip/$(c).co) $(O)/tests/unit/fakehip/no-ir.co
$(fake_hip_code): $(O)/tests/unit/fakehip/%.co: tests/unit/fakehip/kernels.h
	@mkdir -p $(@D)
	$(call say,CO,$@)
	$(Q)$(CLANG) -x c --target=amdgcn-amd-amdhsa -mcpu=$(or $(filter $*,$(fake_hip_chips)),gfx1100) -mcode-object-version=5 -nogpulib \
		-ffreestanding -O2 $(if $(filter $*,$(fake_hip_chips)),-Xclang -fembed-bitcode=all) -o $@ $<
$(O)/unit-fakehip: $(patsubst %.c,$(O)/%.o,$(wildcard tests/unit/fakehip/*.c) tests/drivers/hip/code_object.c tests/drivers/hip/msgpack.c) \
		| $(O)/drivers/hip/libamdhip64.so.6 $(fake_hip_code)
	$(call say,LD,$@)
	$(Q)$(CC) -o $@ $^ $(ldflags) -lcriterion -lm
unit_rooms += fakehip
# With the real loader and its validation layer, opened as a program does.
fake_ze_code := $(O)/spirv/fakeze.spv
$(fake_ze_code): tests/unit/fakeze/kernels.spvasm
	@mkdir -p $(@D)
	$(call say,SPV,$@)
	$(Q)spirv-as --target-env spv1.2 -o $@ $< && spirv-val --target-env opencl2.2 $@
$(O)/unit-fakeze: $(patsubst %.c,$(O)/%.o,$(wildcard tests/unit/fakeze/*.c)) $(O)/tests/drivers/ze/spirv.o \
		| $(O)/drivers/ze/libze_hgshim_test.so $(fake_ze_code)
	$(call say,LD,$@)
	$(Q)$(CC) -o $@ $^ $(ldflags) -lcriterion -lm
unit_rooms += fakeze
units := $(addprefix $(O)/unit-,$(unit_rooms))

# Acceptance programs: built as anyone builds them, with nvcc's defaults (static runtime, default architecture).
apps_shared := histogram scan		# …these with the shared runtime
apps_cu := $(patsubst tests/apps/%.cu,%,$(wildcard tests/apps/*.cu))
apps_c := $(patsubst tests/apps/%.c,%,$(wildcard tests/apps/*.c))
apps := $(addprefix $(O)/apps/,$(apps_cu) $(apps_c))
$(addprefix $(O)/apps/,$(apps_shared)): nvcc_flags = -cudart shared -Xlinker -rpath,$(abspath $(CUDA_HOME))/lib64
# Copies are asynchronous, and barriers those of the hardware, from some architecture on.
$(O)/apps/pipeline: nvcc_flags = -arch=sm_90
$(addprefix $(O)/apps/,$(apps_cu)): $(O)/apps/%: tests/apps/%.cu tests/apps/app.h
	@mkdir -p $(@D)
	$(call say,NVCC,$<)
	$(Q)$(NVCC) -O2 $(nvcc_flags) -o $@ $<
# The toolkit's stub stands for the driver when a program is linked; the wheels have none, but our library is one.
stubs := $(firstword $(wildcard $(CUDA_HOME)/lib64/stubs) $(O)/stubs)
$(addprefix $(O)/apps/,$(apps_c)): $(O)/apps/%: tests/apps/%.c tests/apps/app.h | $(filter $(O)/%,$(stubs)/libcuda.so)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -O2 -Wall -Wextra -isystem $(CUDA_HOME)/include -o $@ $< -L$(stubs) -lcuda -lm
$(O)/stubs/libcuda.so: | $(O)/libhgshim.so
	@mkdir -p $(@D)
	$(Q)ln -sf ../libhgshim.so $@
.PHONY: apps
apps: $(apps)

# Programs of single tests, built in the same way.
e2e_apps := $(addprefix $(O)/e2e-apps/,contexts keeper lasting limits prints reference stranger switch warps)
$(O)/e2e-apps/lasting: $(wildcard tests/e2e/apps/lasting*) tests/apps/app.h
	@mkdir -p $(@D)
	$(call say,NVCC,$<)
	$(Q)$(NVCC) -O2 -I. -o $@ $(filter %.cu,$^)
# Some of the instructions of warps are new with this architecture.
$(O)/e2e-apps/prints $(O)/e2e-apps/warps: $(O)/e2e-apps/%: tests/e2e/apps/%.cu tests/apps/app.h
	@mkdir -p $(@D)
	$(call say,NVCC,$<)
	$(Q)$(NVCC) -O2 -I. -arch=sm_90 -o $@ $<
$(O)/e2e-apps/%: tests/e2e/apps/%.c tests/apps/app.h | $(filter $(O)/%,$(stubs)/libcuda.so)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -O2 -Wall -Wextra -I. -isystem $(CUDA_HOME)/include -o $@ $< -L$(stubs) $(e2e_libs)
$(O)/e2e-apps/contexts $(O)/e2e-apps/limits $(O)/e2e-apps/reference $(O)/e2e-apps/stranger $(O)/e2e-apps/switch: e2e_libs = -lcuda -lm -pthread

# Programs of the toolkit's libraries, of those that are installed.
libraries := $(foreach l,cublas:cublas_v2 cufft:cufft curand:curand cusparse:cusparse cusolver:cusolverDn,$(if \
	$(and $(wildcard $(CUDA_HOME)/include/$(lastword $(subst :, ,$l)).h),$(wildcard $(CUDA_HOME)/lib64/lib$(firstword $(subst :, ,$l)).so)),\
	$(O)/libraries/$(firstword $(subst :, ,$l))))
$(O)/libraries/%: tests/libraries/%.cu tests/apps/app.h
	@mkdir -p $(@D)
	$(call say,NVCC,$<)
	$(Q)$(NVCC) -O2 -std=c++17 -o $@ $< -l$* -Xlinker -rpath,$(abspath $(CUDA_HOME))/lib64

# What `make check-gpu` asks the driver. Linked to nothing of CUDA.
$(O)/gpu-probe: $(O)/tests/gpu/probe.o $(O)/intercept/handshake.o
	$(call say,LD,$@)
	$(Q)$(CC) -o $@ $^ $(ldflags)

# The conformance suite of PTX: as a CUDA program, and in process in all ways of the CPU target.
conform_obj := $(patsubst %.c,$(O)/%.o,$(filter-out %/run_grid.c %/run_driver.c,$(sort $(wildcard tests/ptx/conform/*.c))))
$(O)/conform: $(conform_obj) $(O)/tests/ptx/conform/run_driver.o $(O)/translate/ptx_forms.o $(O)/translate/ptx_words.o \
		| $(filter $(O)/%,$(stubs)/libcuda.so)
	$(call say,LD,$@)
	$(Q)$(CC) -o $@ $^ $(ldflags) -L$(stubs) -lcuda -lm
$(O)/conform-ways: $(conform_obj) $(O)/tests/ptx/conform/run_grid.o $(unit_replay)
	$(call say,LD,$@)
	$(Q)$(CC) -o $@ $^ $(ldflags) $(engine_libs) -lm

# What the tests need to know of this build.
test_env = HG_BUILD=$(abspath $(O)) CUDA_HOME=$(abspath $(CUDA_HOME)) NVCC=$(NVCC) CC="$(CC)" CLANG="$(CLANG)" SAN="$(SAN)"

.PHONY: deps
deps: ## install what is missing: packages, CUDA headers and nvcc (root or sudo)
	$(Q)tools/deps.sh $(O) $(CUDA_HOME)

.PHONY: demo demo-run
demo: deps ## train a network under the shim, checkpoint it, kill it, replay its GPU state, on several targets side by side
	$(Q)+$(MAKE) --no-print-directory demo-run
demo-run: all $(O)/apps/train $(test_drivers)
	$(Q)$(test_env) tests/e2e/demo

.PHONY: check check-run check-long check-long-run test-programs
check: deps ## all tests that need no GPU
	$(Q)+$(MAKE) --no-print-directory check-run
check-run: all test-programs
	$(Q)$(test_env) tests/run.py --units "$(unit_rooms)"
check-long: deps ## the same with large samples: 100 kills, every cut of a log
	$(Q)+$(MAKE) --no-print-directory check-long-run
check-long-run: all test-programs
	$(Q)$(test_env) HG_LONG=1 tests/run.py --units "$(unit_rooms)"
test-programs: $(units) $(apps) $(e2e_apps) $(libraries) $(O)/gpu-probe $(test_drivers) $(O)/conform $(O)/conform-ways

# Python programs with tinygrad, CuPy and the like, which come from PyPI: tests/python.
.PHONY: deps-python check-python check-python-run
deps-python: ## make the Python environment that check-python needs, from PyPI, in the build folder
	$(Q)tools/deps.sh --python $(O) $(CUDA_HOME)
check-python: deps ## Python programs under the shim: a training with tinygrad, CuPy, cuda.bindings, numba
	$(Q)+$(MAKE) --no-print-directory check-python-run
check-python-run: all $(test_drivers) deps-python
	$(Q)$(test_env) tests/run.py --python

# ThreadSanitizer is in `make check` already: tests/e2e/test_safety_threads.
.PHONY: check-san check-san-run units-run
check-san: deps ## the unit tests with ASan and UBSan
	$(Q)+$(MAKE) --no-print-directory check-san-run
check-san-run:
	$(Q)+LSAN_OPTIONS=suppressions=$(CURDIR)/tests/lsan.supp:print_suppressions=0 \
		$(MAKE) --no-print-directory O=$(O)/asan CUDA_HOME=$(CUDA_HOME) SAN=address,undefined units-run
units-run: $(units)
	$(Q)$(test_env) tests/run.py --units "$(unit_rooms)" --only '^unit'

.PHONY: check-gpu check-gpu-run
check-gpu: ## on an NVIDIA GPU: programs recorded, replayed and moved to cpu; what only hardware can answer
	$(Q)+tests/gpu/check --present && $(MAKE) --no-print-directory deps && $(MAKE) --no-print-directory check-gpu-run || \
		{ status=$$?; tests/gpu/check --present >/dev/null && exit $$status; true; }
check-gpu-run: all $(apps) $(e2e_apps) $(O)/gpu-probe $(O)/conform
	$(Q)$(test_env) tests/gpu/check

# Benchmarks: tests/bench/bench_*.c, linked to the rooms they measure.
benches := $(patsubst tests/bench/%.c,$(O)/%,$(wildcard tests/bench/bench_*.c))
$(O)/tests/bench/%.o: cflags += $(llvm_cflags)
$(O)/bench_%: $(O)/tests/bench/bench_%.o $(replay_obj) $(translate_obj) $(logdb_obj) $(common_obj)
	$(call say,LD,$@)
	$(Q)$(CC) -o $@ $^ $(ldflags) $(engine_libs)
.PHONY: bench bench-run
bench: deps ## measure, each number as a ratio or ns with its spread
	$(Q)+$(MAKE) --no-print-directory bench-run
bench-run: all $(benches) $(apps) $(test_drivers)
	$(Q)$(test_env) tests/bench/run

# Compiling, next to ptxas. Files are taken apart as hgshim-ptx does it.
$(O)/translate_cost: $(O)/tests/bench/translate_cost.o $(O)/tools/ptx_file.o $(translate_obj) $(logdb_obj) $(common_obj)
	$(call say,LD,$@)
	$(Q)$(CC) -o $@ $^ $(ldflags) $(engine_libs)
.PHONY: bench-translate bench-translate-run
bench-translate: deps ## time to compile for the CPU target, over that of ptxas -O3
	$(Q)+$(MAKE) --no-print-directory bench-translate-run
bench-translate-run: $(O)/translate_cost $(apps)
	$(Q)$(test_env) tests/bench/translate

# Kernels on the CPU target against the same text on PoCL, which runs in a process of its own. Its packages are wanted here alone.
kernels_obj := $(O)/tests/bench/kernels/main.o $(O)/tests/bench/kernels/cases.o
$(O)/bench-kernels: $(kernels_obj) $(replay_obj) $(translate_obj) $(logdb_obj) $(common_obj)
	$(call say,LD,$@)
	$(Q)$(CC) -o $@ $^ $(ldflags) $(engine_libs)
$(O)/bench-kernels-pocl: $(O)/tests/bench/kernels/pocl.o $(O)/tests/bench/kernels/cases.o
	$(call say,LD,$@)
	$(Q)$(CC) -o $@ $^ $(ldflags) -lOpenCL -lm
$(O)/bench-kernels.ptx: tests/bench/kernels/kernels.cu
	$(call say,NVCC,$<)
	$(Q)$(NVCC) -O3 -ptx -o $@ $<
.PHONY: bench-kernels bench-kernels-run
bench-kernels: deps ## kernels on the CPU target against the same ones on PoCL
	$(Q)tools/deps.sh --pocl $(O)
	$(Q)+$(MAKE) --no-print-directory bench-kernels-run
bench-kernels-run: $(O)/bench-kernels $(O)/bench-kernels.ptx $(if $(wildcard /usr/include/CL/cl.h),$(O)/bench-kernels-pocl)
	$(Q)tests/bench/kernels/run $(O)

# Fuzzers: tests/fuzz/*.c, everything they call compiled with clang's coverage and sanitizers.
FUZZ_TIME ?= 60
fuzzers := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c))
.PHONY: fuzz fuzz-run
fuzz: deps ## run each fuzzer for FUZZ_TIME seconds
	$(Q)+$(MAKE) --no-print-directory O=$(O)/fuzz CUDA_HOME=$(CUDA_HOME) CC=$(CLANG) \
		SAN=fuzzer-no-link,address,undefined fuzz-run
$(O)/tests/fuzz/%.o: cflags += $(llvm_cflags)
$(addprefix $(O)/,$(fuzzers)): $(O)/%: $(O)/tests/fuzz/%.o $(translate_obj) $(logdb_obj) $(common_obj)
	$(call say,LD,$@)
	$(Q)$(CC) -o $@ $^ -pthread -fsanitize=fuzzer,address,undefined -lSPIRV-Tools $(engine_libs)
fuzz-run: $(addprefix $(O)/,$(fuzzers))
	$(Q)tests/fuzz/run $(O) $(FUZZ_TIME) $(fuzzers)

# What is made of tables, and checked in; lint looks whether it is current.
docs/translation.md: replay/rocm_api.def replay/ze_api.def tools/gen-translation.py
	$(call say,GEN,$@)
	$(Q)tools/gen-translation.py $(filter %.def,$^) > $@.new && mv $@.new $@

.PHONY: lint
lint: ## format, spelling, and the rules that a grep can keep
	$(Q)$(test_env) CFLAGS_LINT="$(cflags) $(llvm_cflags)" tests/lint

.PHONY: corpus corpus-amd corpus-spirv
# the sample of `make corpus`; CORPUS_EACH=1: all kernels, which takes hours
CORPUS_EACH ?= 150
corpus-amd: $(O)/hgshim-ptx ## the same, a sample made into code objects for each tested AMD chip (CORPUS_EACH=N: about every N-th)
	$(Q)$(test_env) tests/corpus --chips gfx906,gfx90a,gfx942,gfx1030,gfx1100,gfx1201 --compile $(CORPUS_EACH) --json $(O)/corpus-amd.json
corpus-spirv: $(O)/hgshim-ptx ## the same, as SPIR-V modules, each through spirv-val
	$(Q)$(test_env) tests/corpus --chips spirv --compile $(CORPUS_EACH) --json $(O)/corpus-spirv.json
corpus: $(O)/hgshim-ptx ## all PTX of the installed CUDA libraries through parser, lowering and verifier
	$(Q)$(test_env) tests/corpus

PREFIX ?= /usr/local
.PHONY: install
install: all ## install to DESTDIR/PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/hgshim $(DESTDIR)$(PREFIX)/share/doc/hgshim
	install $(addprefix $(O)/,$(tools)) $(DESTDIR)$(PREFIX)/bin
	# In a folder of its own: ldconfig would make a library named libcuda.so.1 the system's driver.
	install -m 644 $(O)/libhgshim.so $(O)/libhgshim-engine.so $(DESTDIR)$(PREFIX)/lib/hgshim
	install -m 644 README.md $(wildcard docs/*.md) $(DESTDIR)$(PREFIX)/share/doc/hgshim

.PHONY: clean
clean: ## remove the build folder
	rm -rf $(O)

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 16

-include $(shell find $(O) -name '*.d' -not -path '$(O)/fuzz/*' -not -path '$(O)/asan/*' 2>/dev/null)
