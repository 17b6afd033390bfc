/* gpu_memory.c - what a target for GPUs knows of memory. */
#define _GNU_SOURCE
#include "replay/gpu_memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void gpu_memory_init(struct gpu_memory *m)
{
	pthread_mutex_init(&m->lock, NULL);
}

void gpu_memory_fini(struct gpu_memory *m)
{
	hg_ivmap_release(&m->maps);
	hg_ivmap_release(&m->pinned);
	pthread_mutex_destroy(&m->lock);
}

/* Up to its end when the address is in it, else up to its beginning. */
static bool look_in(const struct hg_ivmap *m, uint64_t addr, uint64_t *len)
{
	struct hg_iv iv;
	uint64_t to;

	if (!hg_ivmap_from(m, addr, &iv))
		return false;
	to = iv.start <= addr ? iv.start + iv.size : iv.start;
	if (to - addr < *len)
		*len = to - addr;
	return iv.start <= addr;
}

enum gpu_place gpu_memory_look(struct gpu_memory *m, uint64_t addr, uint64_t size, uint64_t *len)
{
	enum gpu_place place = GPU_PAGEABLE;

	*len = size;
	pthread_mutex_lock(&m->lock);
	if (look_in(&m->maps, addr, len))
		place = GPU_DEVICE;
	else if (look_in(&m->pinned, addr, len))
		place = GPU_PINNED;
	pthread_mutex_unlock(&m->lock);
	return place;
}

void *gpu_spare_take(struct gpu_memory *m, size_t size, unsigned int kind)
{
	struct gpu_spare **link, *found;
	void *mem;

	pthread_mutex_lock(&m->lock);
	for (link = &m->spare; *link && ((*link)->size != size || (*link)->kind != kind); link = &(*link)->next)
		;
	found = *link;
	if (found)
		*link = found->next;
	pthread_mutex_unlock(&m->lock);
	mem = found ? found->mem : NULL;
	free(found);
	return mem;
}

void *gpu_spare_any(struct gpu_memory *m, unsigned int *kind)
{
	const struct gpu_spare *s = m->spare;

	if (!s)
		return NULL;
	*kind = s->kind;
	return gpu_spare_take(m, s->size, s->kind);
}

bool gpu_spare_give(struct gpu_memory *m, void *mem, size_t size, unsigned int kind)
{
	struct gpu_spare *spare = malloc(sizeof(*spare));

	if (!spare)
		return false;
	pthread_mutex_lock(&m->lock);
	*spare = (struct gpu_spare){ m->spare, mem, size, kind };
	m->spare = spare;
	pthread_mutex_unlock(&m->lock);
	return true;
}

void gpu_in_the_way(uint64_t addr, uint64_t size, char *out, size_t out_size)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];

	out[0] = '\0';
	while (f && fgets(line, sizeof(line), f)) {
		uint64_t start, end;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end) != 2 || start >= addr + size || addr >= end)
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(out, out_size, "%s", line);
		break;
	}
	if (f)
		fclose(f);
}

void gpu_hold_again(uint64_t addr, uint64_t size)
{
	void *p = mmap((void *)addr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	if (p != MAP_FAILED && p != (void *)addr)
		munmap(p, size);
}
