/* cxx.c - what a C++ compiler other than nvcc calls from device code: new, delete, a pure virtual function. */
#include "translate/support/support.h"

void *_Znwm(u64 size) { return malloc(size); }
void *_Znam(u64 size) { return malloc(size); }
void _ZdlPv(void *p) { free(p); }
void _ZdaPv(void *p) { free(p); }
void _ZdlPvm(void *p, u64 size) { (void)size; free(p); }
void _ZdaPvm(void *p, u64 size) { (void)size; free(p); }

void __cxa_pure_virtual(void)
{
	__assertfail("a pure virtual function was called", "device code", 0, "__cxa_pure_virtual", 1);
}

void __cxa_deleted_virtual(void)
{
	__assertfail("a deleted virtual function was called", "device code", 0, "__cxa_deleted_virtual", 1);
}
