/* amd_chip.c - AMD's GPUs by their names: what they have, and what kernels ask too much of them. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/msg.h"
#include "translate/amd_comgr.h"
#include "translate/amd_compile.h"
#include "translate/amd_llvm.h"
#include "translate/amdgcn.h"

const char *const amd_tested_chips[] = { "gfx906", "gfx90a", "gfx942", "gfx1030", "gfx1100", "gfx1201", NULL };

/* What all chips of this line have. Double precision is one of it. */
#define LDS_BYTES 65536
#define MAX_WORK_ITEMS 1024

static bool is_tested(const char *name)
{
	for (const char *const *t = amd_tested_chips; *t; t++)
		if (!strcmp(*t, name))
			return true;
	return false;
}

/*
 * A chip of tomorrow, for comgr: its code is made as for the last one of its line that is known here. LLVM's names are
 * major version in decimal, then minor and stepping, a digit each.
 */
static bool find_by_comgr(struct hg_amd_chip *chip, struct amd_llvm_chip *has)
{
	static const struct { const char *prefix, *like; } line[] = { { "gfx9", "gfx942" }, { "gfx10", "gfx1030" }, { "gfx11", "gfx1100" }, { "gfx1", "gfx1201" } };
	size_t i = 0, n = strlen(chip->name);

	if (n < 6 || !amd_comgr_knows(chip->name))
		return false;
	while (i < sizeof(line) / sizeof(line[0]) && strncmp(chip->name, line[i].prefix, strlen(line[i].prefix)) != 0)
		i++;
	if (i == sizeof(line) / sizeof(line[0]))
		return false;
	snprintf(chip->like, sizeof(chip->like), "%s", line[i].like);
	/* comgr says whether it has what its name ends with */
	if (!amd_llvm_chip_find(chip->like, has))
		return false;
	has->has_sramecc = has->has_xnack = true;
	return true;
}

/* ":sramecc+:xnack-" as "+sramecc,-xnack". */
static bool take_features(const char *text, const char *whole, const struct amd_llvm_chip *has, char *out, size_t room)
{
	size_t used = 0;

	out[0] = 0;
	while (*text) {
		size_t n = strcspn(++text, ":");
		char sign = n ? text[n - 1] : 0;
		bool known = (n == 8 && !strncmp(text, "sramecc", 7) && has->has_sramecc) ||
			     (n == 6 && !strncmp(text, "xnack", 5) && has->has_xnack);

		if (!known || (sign != '+' && sign != '-')) {
			pr_err("chip '%s': no feature '%.*s'", whole, (int)n, text);
			return false;
		}
		if (used + n + 2 > room)
			return false;
		used += (size_t)snprintf(out + used, room - used, "%s%c%.*s", used ? "," : "", sign, (int)n - 1, text);
		text += n;
	}
	return true;
}

enum hg_status hg_amd_chip_find(const char *gcn_arch_name, struct hg_amd_chip *out)
{
	size_t n = strcspn(gcn_arch_name, ":");
	struct hg_amd_chip chip = { .lds_bytes = LDS_BYTES, .max_work_items = MAX_WORK_ITEMS };
	struct amd_llvm_chip has;

	if (n && n < sizeof(chip.name))
		memcpy(chip.name, gcn_arch_name, n);
	if (!amd_llvm_chip_find(chip.name, &has) && !find_by_comgr(&chip, &has)) {
		char tested[100] = "";

		for (const char *const *t = amd_tested_chips; *t; t++)
			snprintf(tested + strlen(tested), sizeof(tested) - strlen(tested), " %s", *t);
		pr_err("chip '%.100s' is not known; those that are tested:%s", gcn_arch_name, tested);
		return HG_ERR_UNSUPPORTED;
	}
	if (!take_features(gcn_arch_name + n, gcn_arch_name, &has, chip.features, sizeof(chip.features)))
		return HG_ERR_UNSUPPORTED;
	chip.is_tested = is_tested(chip.name);
	chip.has_wave32 = has.has_wave32;
	*out = chip;
	return HG_OK;
}

void hg_amd_block(const struct hg_amd_code *c, const uint32_t block[3], uint32_t out[3])
{
	uint32_t threads = block[0] * block[1] * block[2];

	memcpy(out, block, 3 * sizeof(*out));
	if (c->layout == HG_GPU_HALF) {
		out[0] = (threads + 31) / 32 * 64;
		out[1] = out[2] = 1;
	}
}

/* Local memory that a lane can have, in bytes. */
static uint32_t max_local(const struct hg_amd_chip *chip)
{
	/* a wave's scratch is given in units of 1 KiB, in 13 bits, by the chips that have the least */
	return 8191 * 1024 / (chip->has_wave32 ? 32 : 64) / 16 * 16;
}

bool amd_fits(const struct hg_amd_chip *chip, const char *kernel, uint64_t shared, uint64_t threads, uint64_t local, char *why, size_t why_size)
{
	if (shared > chip->lds_bytes)
		snprintf(why, why_size, "kernel '%s' needs %" PRIu64 " bytes of shared memory, and a block has %u on %s", kernel, shared,
			 chip->lds_bytes, chip->name);
	else if (threads > chip->max_work_items)
		snprintf(why, why_size, "kernel '%s' needs blocks of %" PRIu64 " threads, and they have %u at most on %s", kernel, threads,
			 chip->max_work_items, chip->name);
	else if (local > max_local(chip))
		snprintf(why, why_size, "kernel '%s' needs %" PRIu64 " bytes of local memory for a thread, which has %u at most on %s", kernel,
			 local, max_local(chip), chip->name);
	else
		return true;
	return false;
}

bool hg_amd_fits(const struct hg_amd_chip *chip, const struct hg_kernel_info *k, char *why, size_t why_size)
{
	if (k->refused) {
		snprintf(why, why_size, "%s", k->refused);
		return false;
	}
	return amd_fits(chip, k->name, k->shared_bytes, (uint64_t)k->req_threads[0] * k->req_threads[1] * k->req_threads[2], k->local_bytes,
			why, why_size);
}
