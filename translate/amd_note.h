/* amd_note.h - what a code object of AMD's says of its kernels. Private to translate/. */
#ifndef HG_TRANSLATE_AMD_NOTE_H
#define HG_TRANSLATE_AMD_NOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A kernel's entry in the metadata (NT_AMDGPU_METADATA, AMDGPU usage of LLVM, code object V5); what is not there is 0. */
struct amd_note {
	char target[64];		/* "amdgcn-amd-amdhsa--gfx1100" */
	uint32_t nr_kernels;		/* of the whole object; what follows is the first one's */
	char name[256], symbol[264];	/* cut to fit; symbol: of the descriptor, "name.kd" */
	uint32_t kernarg_bytes, kernarg_align, group_bytes, private_bytes, wave_size, max_work_items;
	uint32_t vgprs, agprs, sgprs, vgpr_spills, sgpr_spills;
	bool has_dynamic_stack;
	uint32_t nr_hidden_args;	/* that the runtime would have to fill in */
};

/* From `size` bytes that nobody vouches for. False: no such object, or no metadata in it that can be read. */
bool amd_note_read(const void *elf, size_t size, struct amd_note *out);

#endif
