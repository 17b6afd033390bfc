/* simt_fibre.c - stacks, and switching between them. x86-64. */
#define _GNU_SOURCE
#include "tests/drivers/simt/simt_fibre.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif

#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#define GUARD 4096
#define MAX_GUARDS 8192		/* of a process: each is a mapping, and those have a limit */

static _Atomic unsigned int nr_guards;

/* simt_jump(save, to): keeps what a call keeps on this stack, leaves its top in *save, goes on at `to`. */
void simt_jump(void **save, void *to) __attribute__((visibility("hidden")));
void simt_first(void) __attribute__((visibility("hidden")));

__asm__(
	".pushsection .text\n"
	".hidden simt_jump\n"
	".globl simt_jump\n"
	".type simt_jump, @function\n"
	"simt_jump:\n"
	"	.cfi_startproc\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size simt_jump, .-simt_jump\n"
	/* where a new fibre begins: its function is in r12, the argument in r13; there is no caller */
	".hidden simt_first\n"
	".globl simt_first\n"
	".type simt_first, @function\n"
	"simt_first:\n"
	"	.cfi_startproc\n"
	"	.cfi_undefined rip\n"
	"	xorl %ebp, %ebp\n"
	"	movq %r13, %rdi\n"
	"	call *%r12\n"
	"	ud2\n"
	"	.cfi_endproc\n"
	".size simt_first, .-simt_first\n"
	".popsection\n");

void simt_fibre_forget(const struct simt_fibre *f)
{
#ifdef WITH_ASAN
	ASAN_UNPOISON_MEMORY_REGION(f->bottom, f->size);
#endif
	(void)f;
}

void simt_fibre_start(struct simt_fibre *f, size_t colour, void (*fn)(void *), void *arg)
{
	/* stacks begin at different lines of the cache: their tops would all fall into one set */
	uintptr_t top = (uintptr_t)f->bottom + f->size - colour % 32 * 128;
	void **sp = (void **)top;

	simt_fibre_forget(f);
	/* as simt_jump leaves a stack: six registers, then where to go on; the stack is aligned there */
	*--sp = NULL;
	*--sp = NULL;
	*--sp = (void *)simt_first;
	*--sp = NULL;		/* rbp */
	*--sp = NULL;		/* rbx */
	*--sp = (void *)fn;	/* r12 */
	*--sp = arg;		/* r13 */
	*--sp = NULL;		/* r14 */
	*--sp = NULL;		/* r15 */
	f->sp = sp;
	f->fake = NULL;
}

#ifdef WITH_ASAN
static __thread struct { const void *bottom; size_t size; } thread_stack;

void simt_fibre_entered(void)
{
	const void *bottom;
	size_t size;

	__sanitizer_finish_switch_fiber(NULL, &bottom, &size);
	if (!thread_stack.bottom) {
		thread_stack.bottom = bottom;
		thread_stack.size = size;
	}
}

void simt_fibre_switch(struct simt_fibre *from, struct simt_fibre *to)
{
	__sanitizer_start_switch_fiber(&from->fake, to->bottom ? to->bottom : thread_stack.bottom,
				       to->bottom ? to->size : thread_stack.size);
	simt_jump(&from->sp, to->sp);
	__sanitizer_finish_switch_fiber(from->fake, NULL, NULL);
}
#else
void simt_fibre_entered(void)
{
}

void simt_fibre_switch(struct simt_fibre *from, struct simt_fibre *to)
{
	simt_jump(&from->sp, to->sp);
}
#endif

enum hg_status simt_stacks_need(struct simt_stacks *s, size_t nr)
{
	const size_t one = SIMT_STACK + GUARD;

	while (s->nr < nr) {
		char **list = realloc(s->chunk, (s->nr_chunks + 1) * sizeof(*list)), *p;

		if (!list)
			return HG_ERR_NOMEM;
		s->chunk = list;
		p = mmap(NULL, one * SIMT_CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED)
			return HG_ERR_NOMEM;
		for (size_t i = 0; i < SIMT_CHUNK && nr_guards++ < MAX_GUARDS; i++)
			if (mprotect(p + i * one, GUARD, PROT_NONE))
				break;
		s->chunk[s->nr_chunks++] = p;
		s->nr += SIMT_CHUNK;
	}
	return HG_OK;
}

char *simt_stack(const struct simt_stacks *s, size_t i)
{
	return s->chunk[i / SIMT_CHUNK] + i % SIMT_CHUNK * (SIMT_STACK + GUARD) + GUARD;
}

void simt_stacks_free(struct simt_stacks *s)
{
	for (size_t i = 0; i < s->nr_chunks; i++)
		munmap(s->chunk[i], (size_t)(SIMT_STACK + GUARD) * SIMT_CHUNK);
	free(s->chunk);
	memset(s, 0, sizeof(*s));
}
