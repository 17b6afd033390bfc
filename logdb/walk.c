/* walk.c - is a file something that LMDB can read without harm? */
#include "logdb/walk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/msg.h"

/* The file format of LMDB 0.9 on 64-bit little-endian machines. */
#define META_MAGIC 0xbeefc0deu
#define META_VERSION 1
#define NO_PAGE UINT64_MAX
#define PAGE_HEADER 16
#define NODE_HEADER 8
#define MAX_DEPTH 30
#define MOST_UNWRITTEN (1u << 17)	/* pages at the end that a transaction took and did not use: LMDB's limit for dirty ones */

enum page_flags { P_BRANCH = 1, P_LEAF = 2, P_OVERFLOW = 4, P_META = 8 };
enum node_flags { F_BIGDATA = 1, F_SUBDATA = 2 };
enum db_flags { INTEGERKEY = 8 };

struct page_header {
	uint64_t pgno;
	uint16_t pad, flags;
	union {
		struct {
			uint16_t lower, upper;
		};
		uint32_t pages;		/* of an overflow run */
	};
};
_Static_assert(sizeof(struct page_header) == PAGE_HEADER, "LMDB's page header");

struct db {
	uint32_t pad;
	uint16_t flags, depth;
	uint64_t branch_pages, leaf_pages, overflow_pages, entries, root;
};
_Static_assert(sizeof(struct db) == 48, "LMDB's tree header");

struct meta {
	struct page_header page;
	uint32_t magic, version;
	uint64_t address, mapsize;
	struct db free, main;
	uint64_t last_page, txnid;
};

struct walk {
	int fd;
	const char *path;
	uint64_t page_size, nr_pages;	/* that are in the file and in the state */
	unsigned char *seen;		/* bit per page */
};

static enum hg_status damaged(const struct walk *w, const char *what)
{
	pr_err("the log '%s' is damaged: %s", w->path, what);
	return HG_ERR_CORRUPT;
}

static enum hg_status read_at(const struct walk *w, void *out, size_t size, uint64_t at)
{
	unsigned char *p = out;

	while (size) {
		ssize_t n = pread(w->fd, p, size, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			pr_err("cannot read '%s': %s", w->path, strerror(errno));
			return HG_ERR_IO;
		}
		if (!n)
			return damaged(w, "it is cut short");
		p += n;
		at += (uint64_t)n;
		size -= (size_t)n;
	}
	return HG_OK;
}

static enum hg_status claim(struct walk *w, uint64_t page, uint64_t count)
{
	if (page < 2 || page >= w->nr_pages || count > w->nr_pages - page)
		return damaged(w, "it is cut short, or a page number is wrong");
	for (uint64_t i = page; i < page + count; i++) {
		if (w->seen[i / 8] >> (i % 8) & 1)
			return damaged(w, "a page is used twice");
		w->seen[i / 8] |= (unsigned char)(1 << (i % 8));
	}
	return HG_OK;
}

static enum hg_status walk_tree(struct walk *w, const struct db *db, bool is_main);

static enum hg_status check_big(struct walk *w, uint64_t page, uint64_t size)
{
	uint64_t count = (PAGE_HEADER - 1 + size) / w->page_size + 1;
	struct page_header h;
	enum hg_status st;

	st = claim(w, page, count);
	if (!st)
		st = read_at(w, &h, sizeof(h), page * w->page_size);
	if (!st && (!(h.flags & P_OVERFLOW) || h.pages < count))
		st = damaged(w, "a long value has no pages of its own");
	return st;
}

/* One leaf node; `room` bytes from its start to the page's end. */
static enum hg_status check_leaf(struct walk *w, const unsigned char *node, size_t room, const struct db *db,
				 bool is_main)
{
	uint16_t half[4];
	uint64_t size, big, data_at;
	struct db sub;

	memcpy(half, node, sizeof(half));
	size = half[0] | (uint64_t)half[1] << 16;
	data_at = NODE_HEADER + half[3];
	if ((db->flags & INTEGERKEY && half[3] != 8) || !half[3] || half[3] > 511)
		return damaged(w, "a key has the wrong length");
	if (half[2] & ~(F_BIGDATA | F_SUBDATA) || (half[2] & F_SUBDATA && !is_main))
		return damaged(w, "a value of an unknown kind");
	if (half[2] & F_BIGDATA) {
		if (half[2] & F_SUBDATA || data_at + 8 > room)
			return damaged(w, "a value lies outside its page");
		memcpy(&big, node + data_at, sizeof(big));
		return check_big(w, big, size);
	}
	if (data_at + size > room)
		return damaged(w, "a value lies outside its page");
	if (!(half[2] & F_SUBDATA))
		return HG_OK;
	if (size != sizeof(sub))
		return damaged(w, "a table's header has the wrong size");
	memcpy(&sub, node + data_at, sizeof(sub));
	return walk_tree(w, &sub, false);
}

static enum hg_status walk_page(struct walk *w, uint64_t number, const struct db *db, unsigned int depth, bool is_main)
{
	bool is_leaf = depth == db->depth;
	struct page_header h;
	unsigned char *page;
	enum hg_status st;
	unsigned int n;

	st = claim(w, number, 1);
	if (st)
		return st;
	page = malloc(w->page_size);
	if (!page)
		return HG_ERR_NOMEM;
	st = read_at(w, page, w->page_size, number * w->page_size);
	if (st)
		goto out;
	memcpy(&h, page, sizeof(h));
	n = h.lower < PAGE_HEADER ? 0 : (h.lower - PAGE_HEADER) / 2u;
	st = HG_ERR_CORRUPT;
	if ((h.flags & (P_BRANCH | P_LEAF | P_OVERFLOW | P_META | 0x60)) != (is_leaf ? P_LEAF : P_BRANCH)) {
		st = damaged(w, "a page is of the wrong kind");
		goto out;
	}
	if (h.pgno != number || h.lower & 1 || h.upper < h.lower || h.upper > w->page_size || n < (is_leaf ? 1 : 2)) {
		st = damaged(w, "a page's header is wrong");
		goto out;
	}
	for (unsigned int i = 0; i < n; i++) {
		uint16_t at, half[4];

		memcpy(&at, page + PAGE_HEADER + 2 * i, sizeof(at));
		if (at < h.upper || at & 1 || at > w->page_size - NODE_HEADER) {
			st = damaged(w, "an entry lies outside its page");
			goto out;
		}
		if (is_leaf) {
			st = check_leaf(w, page + at, w->page_size - at, db, is_main);
		} else {
			memcpy(half, page + at, sizeof(half));
			/* the first key of a branch page is never looked at */
			if (NODE_HEADER + (uint64_t)half[3] > w->page_size - at || (i && db->flags & INTEGERKEY && half[3] != 8))
				st = damaged(w, "an entry lies outside its page");
			else
				st = walk_page(w, half[0] | (uint64_t)half[1] << 16 | (uint64_t)half[2] << 32, db,
					       depth + 1, is_main);
		}
		if (st)
			goto out;
	}
	st = HG_OK;
out:
	free(page);
	return st;
}

static enum hg_status walk_tree(struct walk *w, const struct db *db, bool is_main)
{
	if (db->root == NO_PAGE)
		return HG_OK;
	if (db->flags & ~INTEGERKEY || (is_main && db->flags) || !db->depth || db->depth > MAX_DEPTH)
		return damaged(w, "a table's header is wrong");
	return walk_page(w, db->root, db, 1, is_main);
}

static bool is_meta(const struct meta *m)
{
	return m->page.flags & P_META && m->magic == META_MAGIC && m->version == META_VERSION;
}

enum hg_status hg_mdb_walk(int fd, const char *path, uint64_t txnid)
{
	struct walk w = { .fd = fd, .path = path };
	struct meta meta[2], *m;
	struct stat s;
	enum hg_status st;

	if (fstat(fd, &s)) {
		pr_err("cannot read '%s': %s", path, strerror(errno));
		return HG_ERR_IO;
	}
	st = read_at(&w, &meta[0], sizeof(meta[0]), 0);
	if (st)
		return st;
	/* the page size stands where the table of free pages would have its padding */
	w.page_size = meta[0].free.pad;
	if (!is_meta(&meta[0]) || w.page_size < 4096 || w.page_size > 65536 || w.page_size & (w.page_size - 1))
		return damaged(&w, "its first page is not one of a log");
	st = read_at(&w, &meta[1], sizeof(meta[1]), w.page_size);
	if (st)
		return st;
	if (!is_meta(&meta[1]) || meta[1].free.pad != w.page_size)
		return damaged(&w, "its second page is not one of a log");

	m = &meta[meta[0].txnid < meta[1].txnid];
	if (txnid && m->txnid != txnid)
		m = &meta[m == &meta[0]];
	/* a live log has moved on: what is pinned cannot be found any more, and needs no check either */
	if (txnid && m->txnid != txnid)
		return HG_OK;
	if (m->mapsize > UINT64_C(1) << 46 || m->last_page >= UINT64_C(1) << 36)
		return damaged(&w, "its size is impossible");
	w.nr_pages = (uint64_t)s.st_size / w.page_size;
	if (m->last_page > w.nr_pages + MOST_UNWRITTEN)
		return damaged(&w, "it is cut short");
	if (w.nr_pages > m->last_page + 1)
		w.nr_pages = m->last_page + 1;
	w.seen = calloc(1, (size_t)(w.nr_pages / 8 + 1));
	if (!w.seen)
		return HG_ERR_NOMEM;
	st = walk_tree(&w, &m->main, true);
	free(w.seen);
	return st;
}
