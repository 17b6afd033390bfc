/* mdb.c - LMDB, opened at run time, behind hg_status. */
#include "logdb/mdb.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "common/fault.h"
#include "common/msg.h"

static struct hg_mdb table;
static enum hg_status load_status;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load(void)
{
	void *lib = hg_fault("mdb.load") ? NULL : dlopen("liblmdb.so.0", RTLD_NOW | RTLD_LOCAL);
	const char *missing = NULL;

	load_status = HG_ERR_UNAVAILABLE;
	if (!lib) {
		const char *why = dlerror();

		pr_err("cannot open 'liblmdb.so.0': %s", why ? why : "a test forbids it");
		return;
	}
#define X(name)                                                                                    \
	*(void **)&table.name = dlsym(lib, "mdb_" #name);                                          \
	if (!table.name)                                                                           \
		missing = "mdb_" #name;
	HG_MDB_FUNCTIONS(X)
#undef X
	if (missing) {
		pr_err("liblmdb.so.0 has no '%s'", missing);
		return;
	}
	load_status = HG_OK;
}

enum hg_status hg_mdb_load(const struct hg_mdb **out)
{
	pthread_once(&once, load);
	if (load_status)
		return load_status;
	*out = &table;
	return HG_OK;
}

enum hg_status hg_from_mdb(int rc, const char *doing)
{
	switch (rc) {
	case MDB_SUCCESS:
		return HG_OK;
	case MDB_NOTFOUND:
		return HG_ERR_NOTFOUND;
	case MDB_MAP_FULL:
		return HG_ERR_NOSPC;
	case ENOMEM:
		return HG_ERR_NOMEM;
	}
	/* a library with its own copy of this file may read a log that another one opened */
	if (table.strerror)
		pr_err("cannot %s: %s", doing, table.strerror(rc));
	else
		pr_err("cannot %s: %s", doing, rc > 0 ? strerror(rc) : "LMDB refuses");
	switch (rc) {
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INVALID:
	case MDB_BAD_TXN:
		return HG_ERR_CORRUPT;
	case MDB_VERSION_MISMATCH:
		return HG_ERR_VERSION;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return HG_ERR_NOSPC;
	default:
		return HG_ERR_IO;
	}
}
