/* amd_llvm.cpp - lld as a library, the list of chips, and atomic scopes. In C++ because these have no other interface; nothing else is in here. */
#include "translate/amd_llvm.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

#include <lld/Common/CommonLinkerContext.h>
#include <lld/Common/Driver.h>
#include <llvm/ADT/SmallVector.h>
#include <llvm/IR/Instructions.h>
#include <llvm/IR/LLVMContext.h>
#include <llvm/Passes/PassPlugin.h>
#include <llvm/Support/FileOutputBuffer.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/TargetParser/TargetParser.h>

#include "translate/llvm_start.h"

LLD_HAS_DRIVER(elf)

/*
 * lld makes all targets known that LLVM was built with. Those that nobody here asks for stay out of the program: their places are
 * taken by functions that do nothing. The two that are used keep their own, without assemblers: no code has any text in it.
 */
#define LLVMInitializeX86Target hg_unused_x86_target
#define LLVMInitializeX86TargetInfo hg_unused_x86_info
#define LLVMInitializeX86TargetMC hg_unused_x86_mc
#define LLVMInitializeX86AsmPrinter hg_unused_x86_printer
#define LLVMInitializeAMDGPUTarget hg_unused_amd_target
#define LLVMInitializeAMDGPUTargetInfo hg_unused_amd_info
#define LLVMInitializeAMDGPUTargetMC hg_unused_amd_mc
#define LLVMInitializeAMDGPUAsmPrinter hg_unused_amd_printer
#define LLVM_TARGET(t)							\
	extern "C" void LLVMInitialize##t##Target(void) {}		\
	extern "C" void LLVMInitialize##t##TargetInfo(void) {}		\
	extern "C" void LLVMInitialize##t##TargetMC(void) {}		\
	extern "C" void LLVMInitialize##t##AsmPrinter(void) {}		\
	extern "C" void LLVMInitialize##t##AsmParser(void) {}
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-declarations"
#include <llvm/Config/Targets.def>
#pragma GCC diagnostic pop

/* What distributions add to link-time optimisation, which does not happen here. */
llvm::PassPluginLibraryInfo getPollyPluginInfo();
llvm::PassPluginLibraryInfo getPollyPluginInfo()
{
	return { LLVM_PLUGIN_API_VERSION, "none", "", [](llvm::PassBuilder &) {} };
}

namespace {

/* The link that runs, on this thread. */
struct job {
	std::string text;		/* what lld says */
	std::unique_ptr<uint8_t[]> bytes;
	size_t size = 0;
};
thread_local struct job *job;

/* What lld writes into. */
class output : public llvm::FileOutputBuffer {
	std::unique_ptr<uint8_t[]> bytes;
	size_t size;

public:
	output(llvm::StringRef path, size_t n) : FileOutputBuffer(path), bytes(new uint8_t[n ? n : 1]()), size(n) {}
	uint8_t *getBufferStart() const override { return bytes.get(); }
	uint8_t *getBufferEnd() const override { return bytes.get() + size; }
	size_t getBufferSize() const override { return size; }
	llvm::Error commit() override
	{
		job->bytes = std::move(bytes);
		job->size = size;
		return llvm::Error::success();
	}
};

/* A file without a name, for lld to map. */
int make_input(const void *object, size_t size)
{
	const char *p = static_cast<const char *>(object);
	int fd = memfd_create("hgshim-object", MFD_CLOEXEC);

	while (fd >= 0 && size) {
		ssize_t n = write(fd, p, size);

		if (n <= 0 && errno != EINTR) {
			close(fd);
			return -1;
		}
		if (n > 0) {
			p += n;
			size -= static_cast<size_t>(n);
		}
	}
	return fd;
}

/* One line of what lld said, without its own name. */
std::string first_line(const std::string &text)
{
	static const char prefix[] = "ld.lld: error: ";
	size_t at = text.find(prefix);

	at = at == std::string::npos ? 0 : at + sizeof(prefix) - 1;
	return text.substr(at, text.find('\n', at) - at);
}

} // namespace

/*
 * In the place of LLVM's own, which makes a file: nobody else in the program asks for one, or the linker would find this twice.
 */
llvm::Expected<std::unique_ptr<llvm::FileOutputBuffer>> llvm::FileOutputBuffer::create(StringRef path, size_t size, unsigned)
{
	if (!job)
		return errorCodeToError(std::make_error_code(std::errc::not_supported));
	return std::make_unique<output>(path, size);
}

/* The linker gives us the calls of llvm::sys::Process::Exit (Makefile): nothing in here may end the application. */
extern "C" [[noreturn]] void __wrap__ZN4llvm3sys7Process4ExitEib(int code, bool no_cleanup);
extern "C" [[noreturn]] void __real__ZN4llvm3sys7Process4ExitEib(int code, bool no_cleanup);
extern "C" void __wrap__ZN4llvm3sys7Process4ExitEib(int code, bool no_cleanup)
{
	llvm_leave(job ? first_line(job->text).c_str() : "LLVM would have ended the process");
	__real__ZN4llvm3sys7Process4ExitEib(code, no_cleanup);
}

bool amd_llvm_chip_find(const char *name, struct amd_llvm_chip *out)
{
	llvm::AMDGPU::GPUKind kind = llvm::AMDGPU::parseArchAMDGCN(name);
	unsigned has;

	/* older chips have other names as well ("kaveri"): HIP uses these */
	if (kind == llvm::AMDGPU::GK_NONE || llvm::AMDGPU::getArchNameAMDGCN(kind) != name)
		return false;
	has = llvm::AMDGPU::getArchAttrAMDGCN(kind);
	*out = { .has_wave32 = (has & llvm::AMDGPU::FEATURE_WAVE32) != 0, .has_sramecc = (has & llvm::AMDGPU::FEATURE_SRAMECC) != 0,
		 .has_xnack = (has & llvm::AMDGPU::FEATURE_XNACK) != 0 };
	return true;
}

void amd_llvm_scope(LLVMValueRef insn, char *name, size_t size)
{
	const llvm::Instruction *i = llvm::unwrap<llvm::Instruction>(insn);
	std::optional<llvm::SyncScope::ID> id = llvm::getAtomicSyncScopeID(i);
	llvm::SmallVector<llvm::StringRef, 8> names;

	i->getContext().getSyncScopeNames(names);
	snprintf(name, size, "%s", id && *id < names.size() ? names[*id].str().c_str() : "");
}

bool amd_llvm_link(const void *object, size_t size, void **out, size_t *out_size, char *why, size_t why_size)
{
	struct job mine;
	llvm::raw_string_ostream said(mine.text);
	char input[40];
	bool linked;
	int fd = make_input(object, size);

	if (fd < 0) {
		snprintf(why, why_size, "no memory for the linker's input: %s", strerror(errno));
		return false;
	}
	/* the thread's own: threads of hgshim do not share the application's descriptors */
	snprintf(input, sizeof(input), "/proc/thread-self/fd/%d", fd);
	/* lld sets all of LLVM's options back before it reads its own: those of the process go with it */
	const char *const args[] = { "ld.lld", "-shared", "--threads=1", "--no-color-diagnostics", "--build-id=none", "-mllvm", HG_LLVM_OPTION,
				     "-o", "code-object", input };

	job = &mine;
	linked = lld::elf::link(args, said, said, false, false);
	lld::CommonLinkerContext::destroy();
	job = nullptr;
	close(fd);
	if (!linked || !mine.bytes) {
		snprintf(why, why_size, "%s", first_line(mine.text).c_str());
		return false;
	}
	*out = malloc(mine.size ? mine.size : 1);
	if (!*out) {
		snprintf(why, why_size, "no memory");
		return false;
	}
	memcpy(*out, mine.bytes.get(), mine.size);
	*out_size = mine.size;
	return true;
}
