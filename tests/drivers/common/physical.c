/* physical.c - physical memory and addresses of a double's devices. */
#define _GNU_SOURCE
#include "tests/drivers/common/physical.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/msg.h"

/* ---- physical memory ---- */

static int file = -1;
static struct extent {			/* free parts of the file, ascending; then all behind file_end */
	uint64_t offset, size;
	struct extent *next;
} *free_extents;
static uint64_t file_end;

static bool file_open(void)
{
	if (file < 0)
		file = memfd_create("fake-device-memory", MFD_CLOEXEC);
	if (file < 0)
		pr_err("cannot make device memory: %m");
	return file >= 0;
}

/* Parts given back come first, with what was written to them. */
static bool take(uint64_t size, uint64_t *offset, bool *fresh)
{
	for (struct extent **e = &free_extents; *e; e = &(*e)->next) {
		struct extent *found = *e;

		if (found->size < size)
			continue;
		*offset = found->offset;
		*fresh = false;
		found->offset += size;
		found->size -= size;
		if (!found->size) {
			*e = found->next;
			free(found);
		}
		return true;
	}
	if (ftruncate(file, (off_t)(file_end + size)))
		return false;
	*offset = file_end;
	*fresh = true;
	file_end += size;
	return true;
}

void fake_physical_give_back(uint64_t offset, uint64_t size)
{
	struct extent **e = &free_extents, *new;

	while (*e && (*e)->offset + (*e)->size < offset)
		e = &(*e)->next;
	if (*e && (*e)->offset + (*e)->size == offset) {
		(*e)->size += size;
		new = (*e)->next;
		if (new && new->offset == (*e)->offset + (*e)->size) {
			(*e)->size += new->size;
			(*e)->next = new->next;
			free(new);
		}
		return;
	}
	if (*e && (*e)->offset == offset + size) {
		(*e)->offset = offset;
		(*e)->size += size;
		return;
	}
	new = calloc(1, sizeof(*new));
	if (!new)
		return;		/* that part is lost */
	*new = (struct extent){ offset, size, *e };
	*e = new;
}

static void fill(uint64_t offset, uint64_t size, int pattern)
{
	void *p;

	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, (off_t)offset);
	if (p == MAP_FAILED)
		return;
	memset(p, pattern, size);
	munmap(p, size);
}

bool fake_physical_take(uint64_t size, int pattern, uint64_t *offset)
{
	bool fresh;

	if (!file_open() || !take(size, offset, &fresh))
		return false;
	if (fresh && pattern >= 0)
		fill(*offset, size, pattern);
	return true;
}

int fake_physical_file(void)
{
	return file;
}

/* ---- addresses ---- */

uint64_t fake_reserve(uint64_t hint, uint64_t size, uint64_t align)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	uint64_t start, p;
	void *addr;

	if (hint && !(hint % align)) {
		addr = mmap((void *)(uintptr_t)hint, size, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);
		if (addr == (void *)(uintptr_t)hint)
			return hint;
		if (addr != MAP_FAILED)
			munmap(addr, size);	/* a kernel that takes it for a hint */
	}
	addr = mmap(NULL, size + align, PROT_NONE, flags, -1, 0);
	if (addr == MAP_FAILED)
		return 0;
	p = (uint64_t)(uintptr_t)addr;
	start = (p + align - 1) & -align;
	if (start > p)
		munmap(addr, start - p);
	munmap((void *)(uintptr_t)(start + size), p + align - start);
	return start;
}
