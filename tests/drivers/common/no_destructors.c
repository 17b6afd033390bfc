/* no_destructors.c - a double's C++ library stays usable until the process is gone. */

/*
 * The static objects of the LLVM that is linked in are not destroyed when the process exits: a stream's thread may be
 * compiling a kernel, and crashed. This name, hidden, is the one that everything linked with this file finds.
 */
int __cxa_atexit(void (*fn)(void *), void *arg, void *dso);

__attribute__((visibility("hidden"))) int __cxa_atexit(void (*fn)(void *), void *arg, void *dso)
{
	(void)fn;
	(void)arg;
	(void)dso;
	return 0;
}
