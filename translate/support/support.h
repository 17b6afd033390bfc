/* support.h - what the files of the support library share. They are compiled to PTX and linked into modules that need them. */
#ifndef HG_SUPPORT_H
#define HG_SUPPORT_H

typedef unsigned int u32;
typedef unsigned long long u64;

/* clang 19 has no ordered atomics for this target: relaxed ones, and fences. */
static inline u64 load64(const u64 *p)
{
	return *(const volatile u64 *)p;
}

static inline u64 swap_if(u64 *p, u64 is, u64 to)	/* what was there */
{
	return (u64)__nvvm_atom_cas_gen_ll((long long *)p, (long long)is, (long long)to);
}

static inline void fence(void)
{
	__nvvm_membar_gl();
}

/* The driver's: ends the launch with this message. */
void __assertfail(const char *message, const char *file, u32 line, const char *function, u64 char_size);

/* Functions that stand for single instructions, in files expand_*.c; their parameters: expand_support in translate/expand_build.h. */
#define EXPANSION __attribute__((nvptx_kernel)) void

void *malloc(u64 size);
void free(void *p);

#endif
