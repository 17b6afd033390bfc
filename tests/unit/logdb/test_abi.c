/* test_abi.c - every row has exactly the prototype that cuda.h gives its symbol. */
#define __CUDA_API_VERSION_INTERNAL
#include <criterion/criterion.h>
#include <cuda.h>

#include "logdb/call.h"

/* A wrong parameter list does not compile: redeclaring a function with another type is an error. */
#define HG_CALL(id, op, sym, params, args, sig) extern CUresult CUDAAPI sym params;
#include "logdb/calls.def"

/* Arguments of a regular row are names of its parameters, in order: this would not compile otherwise. */
#define HG_CALL_X(id, op, sym, params, args, sig)
#define HG_CALL(id, op, sym, params, args, sig) \
	static inline __attribute__((unused)) CUresult apply_##sym params { CUresult (*f) params = 0; return f args; }
#include "logdb/calls.def"

Test(abi, every_id_is_used_once_and_below_the_limit)
{
	static const unsigned int id[] = {
#define HG_CALL(id_, op, sym, params, args, sig) id_,
#include "logdb/calls.def"
	};
	static unsigned char seen[HG_CALL_ID_LIMIT];

	for (size_t i = 0; i < sizeof(id) / sizeof(id[0]); i++) {
		cr_assert_lt(id[i], HG_CALL_ID_LIMIT);
		cr_assert(!seen[id[i]]++, "id %u has two rows", id[i]);
	}
}
