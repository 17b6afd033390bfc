/* test_plan.c - where the lanes of a warp are known to be together, and where not. */
#include "tests/unit/translate/code_util.h"
#include "translate/gpu_plan.h"

static struct gpu_plan plan_of_ir(const struct ir_module *ir)
{
	struct gpu_plan plan;

	cr_assert_eq(gpu_plan_make(&ir->func[0], &plan), HG_OK);
	/* what holds of any launch holds of those with rows; what holds of pairs holds of each warp */
	cr_expect(!plan.direct || plan.rows);
	cr_expect(!plan.direct_pair || plan.rows_pair);
	cr_expect(!plan.direct_pair || plan.direct);
	cr_expect_eq(!plan.why, plan.direct && plan.direct_pair);
	return plan;
}

static struct gpu_plan plan_of(const char *body)
{
	char text[8192];
	struct hg_module *m = load_text(kernel_around("", body, "", text, sizeof(text)));
	struct gpu_plan plan;

	cr_assert_eq(hg_module_kernel(m, 0)->refused, NULL, "%s", hg_module_kernel(m, 0)->refused);
	plan = plan_of_ir(hg_module_ir(m));
	hg_module_free(m);
	return plan;
}

/* What is to be proven: of any launch, of those where blocks are rows. A warp in any launch is one in rows too. */
enum proof { NOTHING, ROWS = 1, WARP = 3, ROWS_PAIR = 5, WARP_ROWS_PAIR = 7, PAIR = 15 };

static void expect(enum proof what, const char *body)
{
	struct gpu_plan p = plan_of(body);
	unsigned int is = (p.rows ? 1 : 0) | (p.direct ? 2 : 0) | (p.rows_pair ? 4 : 0) | (p.direct_pair ? 8 : 0);

	cr_expect_eq(is, what, "%x instead of %x, line %u %s: %s", is, what, p.line, p.why, body);
}

#define TID "mov.u32 %r1, %tid.x; "
#define SHFL "shfl.sync.bfly.b32 %r0, %r8, 1, 31, 0xffffffff; "
#define OUT "st.global.u32 [%rd1], %r0; "

Test(plan, lanes_that_return_early_do_not_count)
{
	expect(PAIR, TID "setp.ge.u32 %p1, %r1, %r2; @%p1 bra END; " SHFL OUT "END: ret;");
	expect(PAIR, TID "setp.ge.u32 %p1, %r1, %r2; @%p1 bra END; bar.sync 0; " OUT "END: ret;");
	/* whose last work is not seen by the others, even if it is long */
	expect(PAIR, TID "setp.ge.u32 %p1, %r1, %r2; @%p1 bra LAST; " SHFL OUT "ret; LAST: st.global.u32 [%rd2], %r1; ret;");
	/* in a loop that other lanes stay in, or that never ends for them */
	expect(PAIR, TID "LOOP: " SHFL "add.u32 %r1, %r1, %r0; setp.lt.u32 %p1, %r1, 100; @!%p1 bra END; "
	       "add.u32 %r3, %r3, 1; setp.lt.u32 %p2, %r3, 10; @%p2 bra LOOP; END: ret;");
	expect(PAIR, TID "LOOP: bar.sync 0; add.u32 %r1, %r1, 1; setp.lt.u32 %p1, %r1, 100; @%p1 bra LOOP; ret;");
	expect(PAIR, TID "setp.eq.u32 %p1, %r1, 7; @%p1 trap; " SHFL OUT);
}

Test(plan, what_a_lane_does_before_it_exits_is_done_when_the_others_have_passed_a_barrier)
{
	expect(NOTHING, TID "setp.eq.u32 %p1, %r1, 0; @%p1 bra LAST; bar.sync 0; ld.shared.u32 %r0, [%r4]; " OUT
	       "ret; LAST: st.shared.u32 [%r4], 5; ret;");
	/* its own window is its own affair */
	expect(PAIR, TID "setp.eq.u32 %p1, %r1, 0; @%p1 bra LAST; bar.sync 0; ld.shared.u32 %r0, [%r4]; " OUT
	       "ret; LAST: st.local.u32 [%r4], 5; ret;");
}

Test(plan, lanes_meet_behind_branches_and_loops)
{
	expect(PAIR, TID "setp.lt.u32 %p1, %r1, 7; @%p1 bra SIDE; mov.u32 %r8, 1; bra JOIN; SIDE: mov.u32 %r8, 2; JOIN: " SHFL OUT);
	/* a grid-stride loop, a reduction of the warp, one of the block */
	expect(PAIR, TID "LOOP: ld.global.u32 %r7, [%rd1]; add.u32 %r8, %r8, %r7; add.u32 %r1, %r1, %r3; setp.lt.u32 %p1, %r1, %r2; "
	       "@%p1 bra LOOP; mov.u32 %r5, 16; "
	       "STEP: shfl.sync.down.b32 %r0, %r8, %r5, 31, 0xffffffff; add.u32 %r8, %r8, %r0; shr.u32 %r5, %r5, 1; "
	       "setp.ne.u32 %p2, %r5, 0; @%p2 bra STEP; bar.sync 0; st.global.u32 [%rd1], %r8;");
	/* tiles: a loop that all go round alike */
	expect(PAIR, TID "ld.param.u32 %r2, [n]; LOOP: st.shared.u32 [%r1], %r3; bar.sync 0; ld.shared.u32 %r7, [%r4]; bar.sync 0; "
	       "add.u32 %r3, %r3, 1; setp.lt.u32 %p1, %r3, %r2; @%p1 bra LOOP; st.global.u32 [%rd1], %r7;");
	/* a number of rounds that memory says, the same for all; and one that each lane finds for itself */
	expect(PAIR, "ld.global.u32 %r2, [%rd1]; LOOP: " SHFL "add.u32 %r3, %r3, 1; setp.lt.u32 %p1, %r3, %r2; @%p1 bra LOOP; " OUT);
	expect(NOTHING, TID "ld.shared.u32 %r2, [%r1]; LOOP: " SHFL "add.u32 %r3, %r3, 1; setp.lt.u32 %p1, %r3, %r2; @%p1 bra LOOP; "
	       OUT "bar.sync 0;");
	/* …unless those that leave have nothing to do with the others any more */
	expect(PAIR, TID "ld.shared.u32 %r2, [%r1]; LOOP: " SHFL "add.u32 %r3, %r3, 1; setp.lt.u32 %p1, %r3, %r2; @%p1 bra LOOP; " OUT);
}

Test(plan, an_operation_on_one_side_of_a_branch_is_not_reached_by_all)
{
	expect(NOTHING, TID "setp.lt.u32 %p1, %r1, 7; @%p1 bra SIDE; bra JOIN; SIDE: " SHFL "JOIN: bar.sync 0; " OUT);
	expect(NOTHING, TID "setp.lt.u32 %p1, %r1, 7; @%p1 bra SIDE; bar.sync 0; bra JOIN; SIDE: bar.sync 0; JOIN: " SHFL OUT);
	expect(NOTHING, TID "and.b32 %r5, %r1, 1; LOOP: " SHFL "add.u32 %r5, %r5, 1; setp.lt.u32 %p1, %r5, 7; @%p1 bra LOOP; bar.sync 0;");
	/* the index in a table of targets */
	expect(NOTHING, TID "and.b32 %r5, %r1, 1; T: .branchtargets A, B; brx.idx %r5, T; A: " SHFL "B: bar.sync 0; " OUT);
	/* what was written by some lanes only differs from then on: the loop's counter, behind it */
	expect(NOTHING, TID "LOOP: add.u32 %r5, %r5, 1; add.u32 %r1, %r1, %r3; setp.lt.u32 %p1, %r1, %r2; @%p1 bra LOOP; "
	       "setp.lt.u32 %p2, %r5, 3; @%p2 bra SIDE; bra JOIN; SIDE: " SHFL "JOIN: bar.sync 0; " OUT);
}

Test(plan, all_lanes_learn_the_same_from_a_vote)
{
	expect(WARP, TID "setp.lt.u32 %p1, %r1, %r2; vote.sync.any.pred %p2, %p1, 0xffffffff; @%p2 bra SIDE; bra JOIN; SIDE: " SHFL
	       "JOIN: bar.warp.sync 0xffffffff; " OUT);
	expect(WARP, TID "LOOP: add.u32 %r1, %r1, 5; setp.lt.u32 %p1, %r1, %r2; vote.sync.ballot.b32 %r5, %p1, 0xffffffff; " SHFL
	       "setp.ne.u32 %p2, %r5, 0; @%p2 bra LOOP; " OUT "bar.sync 0;");
	/* of masks that differ, they need not be the same */
	expect(NOTHING, TID "setp.lt.u32 %p1, %r1, %r2; vote.sync.any.pred %p2, %p1, %r1; @%p2 bra SIDE; bra JOIN; SIDE: " SHFL
	       "JOIN: bar.warp.sync 0xffffffff; " OUT);
	/* work that one lane fetches for all */
	expect(WARP, TID "LOOP: setp.eq.u32 %p1, %r1, 0; @%p1 atom.global.add.u32 %r8, [%rd1], 1; "
	       "shfl.sync.idx.b32 %r0, %r8, 0, 31, 0xffffffff; setp.lt.u32 %p2, %r0, %r2; @%p2 bra LOOP; " OUT);
	expect(NOTHING, TID "LOOP: setp.eq.u32 %p1, %r1, 0; @%p1 atom.global.add.u32 %r8, [%rd1], 1; "
	       "shfl.sync.idx.b32 %r0, %r8, %r1, 31, 0xffffffff; setp.lt.u32 %p2, %r0, %r2; @%p2 bra LOOP; " OUT);
	/* a block's vote is that of both warps in a wave */
	expect(PAIR, TID "setp.lt.u32 %p1, %r1, %r2; bar.red.or.pred %p2, 0, %p1; @%p2 bra SIDE; bra JOIN; SIDE: " SHFL
	       "JOIN: bar.sync 0; " OUT);
}

#define RANK "mov.u32 %r1, %tid.x; mov.u32 %r2, %tid.y; mov.u32 %r3, %tid.z; mov.u32 %r4, %ntid.x; mov.u32 %r5, %ntid.y; " \
	"mad.lo.s32 %r6, %r3, %r5, %r2; mad.lo.s32 %r7, %r6, %r4, %r1; "

Test(plan, a_warp_has_one_number_and_one_row_if_blocks_are_rows)
{
	expect(ROWS, TID "setp.gt.u32 %p1, %r1, 31; @%p1 bra JOIN; " SHFL "JOIN: bar.sync 0; " OUT);
	expect(ROWS, TID "shr.u32 %r5, %r1, 5; setp.ne.u32 %p1, %r5, 3; @%p1 bra JOIN; " SHFL "JOIN: bar.sync 0; " OUT);
	expect(ROWS, TID "and.b32 %r5, %r1, 992; setp.ne.u32 %p1, %r5, 64; @%p1 bra JOIN; " SHFL "JOIN: bar.sync 0; " OUT);
	expect(ROWS_PAIR, "mov.u32 %r1, %tid.y; setp.ne.u32 %p1, %r1, 0; @%p1 bra JOIN; vote.sync.all.pred %p2, %p3, -1; "
	       "JOIN: add.u32 %r0, %r1, 1; " OUT "bar.sync 1, 64;");
	expect(NOTHING, TID "setp.gt.u32 %p1, %r1, 30; @%p1 bra JOIN; " SHFL "JOIN: bar.sync 0; " OUT);
	/* a thread's number is its warp's times 32 and its lane's, whatever shape the block has */
	expect(WARP, RANK "shr.u32 %r8, %r7, 5; setp.ne.u32 %p1, %r8, 0; @%p1 bra JOIN; " SHFL "JOIN: bar.sync 0; " OUT);
	expect(PAIR, RANK "shr.u32 %r8, %r7, 6; setp.ne.u32 %p1, %r8, 0; @%p1 bra JOIN; " SHFL "JOIN: bar.sync 0; " OUT);
	expect(NOTHING, RANK "shr.u32 %r8, %r7, 4; setp.ne.u32 %p1, %r8, 0; @%p1 bra JOIN; " SHFL "JOIN: bar.sync 0; " OUT);
	/* …but not of 8 bits of where it is in x */
	expect(NOTHING, "mov.u32 %r1, %tid.x; mov.u32 %r2, %tid.y; mov.u32 %r3, %tid.z; mov.u32 %r4, %ntid.x; mov.u32 %r5, %ntid.y; "
	       "mad.lo.s32 %r6, %r3, %r5, %r2; cvt.u32.u8 %r0, %r1; mad.lo.s32 %r7, %r6, %r4, %r0; shr.u32 %r8, %r7, 5; "
	       "setp.ne.u32 %p1, %r8, 0; @%p1 bra JOIN; vote.sync.all.pred %p2, %p3, -1; JOIN: bar.sync 0; " OUT);
	expect(WARP, "mov.u32 %r1, %warpid; setp.ne.u32 %p1, %r1, 0; @%p1 bra JOIN; " SHFL "JOIN: bar.sync 0; " OUT);
}

Test(plan, warps_that_go_to_different_barriers_cannot_share_a_wave)
{
	expect(WARP, "mov.u32 %r1, %warpid; setp.ne.u32 %p1, %r1, 0; @%p1 bra OTHER; bar.sync 1, 64; bra JOIN; OTHER: bar.arrive 1, 64; "
	       "JOIN: bar.sync 0; " OUT);
	expect(WARP, "mov.u32 %r1, %warpid; bar.sync %r1, 32; " OUT);
	expect(NOTHING, "mov.u32 %r1, %laneid; bar.sync %r1, 32; " OUT);
	expect(PAIR, "bar.sync 3, 64; " OUT);
}

Test(plan, a_lane_that_waits_for_its_neighbour_must_not_keep_it_from_running)
{
	/* a lock that lanes take one after the other */
	expect(NOTHING, "TAKE: atom.global.cas.b32 %r1, [%rd1], 0, 1; setp.ne.u32 %p1, %r1, 0; @%p1 bra TAKE; "
	       "ld.global.u32 %r2, [%rd2]; add.u32 %r2, %r2, 1; st.global.u32 [%rd2], %r2; atom.global.exch.b32 %r3, [%rd1], 0;");
	/* …also where the one that has it does all in the loop: a compiler may move that out */
	expect(NOTHING, "mov.u32 %r4, 0; TAKE: atom.global.cas.b32 %r1, [%rd1], 0, 1; setp.ne.u32 %p1, %r1, 0; @%p1 bra NEXT; "
	       "st.global.u32 [%rd2], %r2; mov.u32 %r4, 1; atom.global.exch.b32 %r3, [%rd1], 0; "
	       "NEXT: setp.eq.u32 %p2, %r4, 0; @%p2 bra TAKE;");
	/* a flag that another lane sets */
	expect(NOTHING, TID "setp.eq.u32 %p1, %r1, 0; @%p1 bra SET; WAIT: ld.volatile.global.u32 %r2, [%rd1]; setp.eq.u32 %p2, %r2, 0; "
	       "@%p2 bra WAIT; bra JOIN; SET: st.volatile.global.u32 [%rd1], 1; JOIN: st.global.u32 [%rd2], %r1;");
	/* …or another warp: two in a wave wait for ever */
	expect(WARP, "mov.u32 %r1, %warpid; setp.eq.u32 %p1, %r1, 0; @%p1 bra SET; WAIT: ld.volatile.global.u32 %r2, [%rd1]; "
	       "setp.eq.u32 %p2, %r2, 0; @%p2 bra WAIT; bra JOIN; SET: st.volatile.global.u32 [%rd1], 1; "
	       "JOIN: st.global.u32 [%rd2], %r1;");
	/* a bit of a word as a lock: what is compared with is not what was seen */
	expect(NOTHING, "ld.volatile.global.u32 %r2, [%rd1]; TAKE: and.b32 %r3, %r2, -2; or.b32 %r4, %r2, 1; "
	       "atom.global.cas.b32 %r2, [%rd1], %r3, %r4; setp.ne.u32 %p1, %r2, %r3; @%p1 bra TAKE; "
	       "st.global.u32 [%rd2], %r2; st.global.u32 [%rd1], %r3;");
	/* a lock that is looked at before */
	expect(NOTHING, "TAKE: ld.volatile.global.u32 %r2, [%rd1]; setp.ne.u32 %p2, %r2, 0; @%p2 bra TAKE; "
	       "atom.global.cas.b32 %r3, [%rd1], %r2, 1; setp.ne.u32 %p1, %r3, %r2; @%p1 bra TAKE; "
	       "st.global.u32 [%rd2], %r2; st.global.u32 [%rd1], 0;");
}

Test(plan, a_loop_that_waits_for_no_neighbour_may_go_round)
{
	/* a compare-and-swap that fails because another one succeeded */
	expect(PAIR, "ld.global.u32 %r2, [%rd1]; AGAIN: add.u32 %r3, %r2, 5; atom.global.cas.b32 %r4, [%rd1], %r2, %r3; "
	       "setp.eq.s32 %p1, %r2, %r4; mov.u32 %r2, %r4; @!%p1 bra AGAIN;");
	expect(PAIR, "AGAIN: ld.global.u32 %r2, [%rd1]; max.u32 %r3, %r2, %r5; setp.eq.u32 %p2, %r3, %r2; @%p2 bra DONE; "
	       "atom.global.cas.b32 %r4, [%rd1], %r2, %r3; setp.ne.s32 %p1, %r4, %r2; @%p1 bra AGAIN; DONE: ret;");
	/* …in a loop of its own that counts */
	expect(PAIR, TID "NEXT: ld.global.u32 %r2, [%rd1]; AGAIN: add.u32 %r3, %r2, 5; atom.global.cas.b32 %r4, [%rd1], %r2, %r3; "
	       "setp.ne.s32 %p1, %r2, %r4; mov.u32 %r2, %r4; @%p1 bra AGAIN; add.u32 %r5, %r5, 1; setp.lt.u32 %p2, %r5, %r1; @%p2 bra NEXT;");
	/* all lanes wait together, for another block */
	expect(PAIR, "WAIT: ld.acquire.gpu.global.u32 %r2, [%rd1]; setp.eq.u32 %p2, %r2, 0; @%p2 bra WAIT; st.global.u32 [%rd2], %r2;");
	/* one waits, and the others for it */
	expect(PAIR, TID "bar.sync 0; setp.ne.u32 %p1, %r1, 0; @%p1 bra JOIN; atom.global.add.u32 %r3, [%rd1], 1; "
	       "WAIT: ld.acquire.gpu.global.u32 %r2, [%rd1]; xor.b32 %r2, %r2, %r3; setp.gt.s32 %p2, %r2, -1; @%p2 bra WAIT; "
	       "JOIN: bar.sync 0; st.global.u32 [%rd2], %r2;");
	/* …but not when one of them does something meanwhile */
	expect(NOTHING, TID "bar.sync 0; setp.ne.u32 %p1, %r1, 0; @%p1 bra JOIN; "
	       "WAIT: ld.acquire.gpu.global.u32 %r2, [%rd1]; xor.b32 %r2, %r2, %r3; setp.gt.s32 %p2, %r2, -1; @%p2 bra WAIT; "
	       "JOIN: st.global.u32 [%rd2], %r2; bar.sync 0;");
}

Test(plan, what_a_kernel_has_is_told_with_the_first_doubt)
{
	struct gpu_plan p = plan_of(TID "activemask.b32 %r0; " OUT);

	cr_expect(p.direct && p.direct_pair && p.uses_lanes && !p.uses_barriers);
	p = plan_of(OUT);
	cr_expect(!p.uses_lanes && !p.uses_barriers && !p.uses_named_barriers);
	p = plan_of("bar.sync 0;");
	cr_expect(p.uses_barriers && !p.uses_named_barriers);
	p = plan_of("bar.sync 0, 64;");
	cr_expect(p.uses_barriers && p.uses_named_barriers);
	p = plan_of(TID "setp.lt.u32 %p1, %r1, 7;\n@%p1 bra SIDE;\nbra JOIN;\nSIDE:\n" SHFL "\nJOIN: bar.sync 0; " OUT);
	cr_expect_str_eq(p.why, "an operation of a warp's lanes where they may be apart");
	cr_expect_gt(p.line, 0);
}

static void expect_whole(bool what, const char *body)
{
	struct gpu_plan p = plan_of(body);

	cr_expect_eq(p.whole, what, "%d instead of %d: %s", p.whole, what, body);
}

#define BAR "bar.sync 0; "

Test(plan, a_barrier_that_no_thread_of_the_block_misses)
{
	expect_whole(true, TID BAR OUT);
	/* behind what all decide together, or have left again */
	expect_whole(true, TID "setp.ge.u32 %p1, %r8, 5; @%p1 bra END; " BAR OUT "END: ret;");
	expect_whole(true, TID "setp.ge.u32 %p1, %r1, %r2; @%p1 bra ON; st.shared.u32 [%r4], %r1; ON: " BAR OUT);
	expect_whole(true, TID "LOOP: " BAR "shr.u32 %r2, %r2, 1; setp.gt.u32 %p1, %r1, %r2; @%p1 bra ON; " OUT "ON: " BAR
		     "add.u32 %r3, %r3, 1; setp.lt.u32 %p2, %r3, 10; @%p2 bra LOOP; ret;");
	/* what all load from one place */
	expect_whole(true, BAR "ld.shared.u32 %r0, [%r4]; setp.eq.u32 %p1, %r0, 0; @%p1 bra END; " BAR OUT "END: ret;");
	/* threads that end when there is none ahead */
	expect_whole(true, TID BAR "setp.ge.u32 %p1, %r1, %r2; @%p1 bra END; " OUT "END: ret;");
	expect_whole(true, TID BAR "setp.ge.u32 %p1, %r1, %r2; @%p1 trap; " OUT);
	/* no barrier can be asked about */
	expect_whole(false, TID OUT);
}

Test(plan, a_barrier_that_a_thread_of_the_block_may_miss)
{
	expect_whole(false, TID "setp.ge.u32 %p1, %r1, %r2; @%p1 bra END; " BAR OUT "END: ret;");
	/* whole warps */
	expect_whole(false, "mov.u32 %r1, %warpid; setp.ge.u32 %p1, %r1, 3; @%p1 bra END; " BAR OUT "END: ret;");
	expect_whole(false, TID "shr.u32 %r1, %r1, 5; setp.ge.u32 %p1, %r1, 3; @%p1 bra END; " BAR OUT "END: ret;");
	expect_whole(false, TID "vote.sync.any.pred %p1, %p2, 0xffffffff; @%p1 bra END; " BAR OUT "END: ret;");
	/* thread 128's number is negative there */
	expect_whole(false, TID "cvt.s32.s8 %r2, %r1; setp.lt.s32 %p1, %r2, 0; @%p1 bra END; " BAR OUT "END: ret;");
	expect_whole(false, TID "cvt.s8.u32 %r2, %r1; setp.lt.s32 %p1, %r2, 0; @%p1 bra END; " BAR OUT "END: ret;");
	expect_whole(false, TID "LOOP: " BAR "add.u32 %r1, %r1, 1; setp.lt.u32 %p1, %r1, 100; @%p1 bra LOOP; ret;");
	/* what is changed meanwhile may be seen by some alone */
	expect_whole(false, BAR "ld.volatile.shared.u32 %r0, [%r4]; setp.eq.u32 %p1, %r0, 0; @%p1 bra END; " BAR OUT "END: ret;");
	expect_whole(false, BAR "atom.shared.add.u32 %r0, [%r4], 1; setp.eq.u32 %p1, %r0, 0; @%p1 bra END; " BAR OUT "END: ret;");
	/* threads that fail end */
	expect_whole(false, TID "setp.ge.u32 %p1, %r1, %r2; @%p1 trap; " BAR OUT);
	/* and those that wait for others, when these have failed */
	expect_whole(false, "WAIT: ld.volatile.global.u32 %r0, [%rd1]; setp.eq.u32 %p1, %r0, 0; @%p1 bra WAIT; " BAR OUT);
	/* other barriers */
	expect_whole(false, TID BAR "bar.sync 1, 64; " OUT);
}
