/* test_buf.c - bounded reading, growing writing. */
#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

#include "common/buf.h"

Test(buf, reader_stops_at_the_end)
{
	static const unsigned char data[] = { 1, 0, 0, 0, 9, 9 };
	struct hg_reader r;

	hg_reader_init(&r, data, sizeof(data));
	cr_assert_eq(hg_read_u32(&r), 1);
	cr_assert(!r.failed);
	cr_assert_eq(hg_read_u32(&r), 0);
	cr_assert(r.failed);
	cr_assert_eq(hg_reader_left(&r), 0);
}

Test(buf, reader_refuses_a_length_that_would_wrap)
{
	struct hg_reader r;

	hg_reader_init(&r, "abcd", 4);
	cr_assert_null(hg_read_bytes(&r, SIZE_MAX));
	cr_assert(r.failed);
}

Test(buf, reader_stays_failed)
{
	struct hg_reader r;

	hg_reader_init(&r, "abcd", 4);
	cr_assert_eq(hg_read_u64(&r), 0);
	cr_assert_eq(hg_read_u8(&r), 0);
	cr_assert(r.failed);
}

Test(buf, string_without_end_is_refused)
{
	static const unsigned char no_end[] = { 2, 0, 0, 0, 'a', 'b', 'c' };
	static const unsigned char early_end[] = { 2, 0, 0, 0, 'a', 0, 0 };
	static const unsigned char huge[] = { 0xff, 0xff, 0xff, 0xff, 'a', 0 };
	struct hg_reader r;

	hg_reader_init(&r, no_end, sizeof(no_end));
	cr_assert_null(hg_read_str(&r));
	hg_reader_init(&r, early_end, sizeof(early_end));
	cr_assert_null(hg_read_str(&r));
	hg_reader_init(&r, huge, sizeof(huge));
	cr_assert_null(hg_read_str(&r));
	cr_assert(r.failed);
}

Test(buf, what_is_written_is_read_back)
{
	struct hg_writer w = { 0 };
	struct hg_reader r;

	hg_write_u8(&w, 0x12);
	hg_write_u16(&w, 0x3456);
	hg_write_u32(&w, 0x789abcde);
	hg_write_u64(&w, UINT64_C(0xf0e1d2c3b4a59687));
	hg_write_str(&w, "");
	hg_write_str(&w, "kernel");
	for (int i = 0; i < 1000; i++)
		hg_write_bytes(&w, "0123456789", 10);
	cr_assert(!w.failed);
	/* the format is little-endian whatever the machine */
	cr_assert_eq(memcmp(w.data + 1, "\x56\x34\xde\xbc\x9a\x78", 6), 0);

	hg_reader_init(&r, w.data, w.size);
	cr_assert_eq(hg_read_u8(&r), 0x12);
	cr_assert_eq(hg_read_u16(&r), 0x3456);
	cr_assert_eq(hg_read_u32(&r), 0x789abcde);
	cr_assert_eq(hg_read_u64(&r), UINT64_C(0xf0e1d2c3b4a59687));
	cr_assert_str_eq(hg_read_str(&r), "");
	cr_assert_str_eq(hg_read_str(&r), "kernel");
	cr_assert_eq(hg_reader_left(&r), 10000);
	cr_assert(!r.failed);
	hg_writer_release(&w);
	cr_assert_null(w.data);
}

Test(buf, writer_that_cannot_grow_fails_and_keeps_what_it_has)
{
	struct hg_writer w = { 0 };

	hg_write_u32(&w, 7);
	hg_write_bytes(&w, NULL, SIZE_MAX - 100);
	cr_assert(w.failed);
	hg_write_u32(&w, 8);
	cr_assert_eq(w.size, 4);
	hg_writer_release(&w);
}

Test(buf, nothing_is_read_from_nowhere)
{
	struct hg_reader r;

	hg_reader_init(&r, NULL, 0);
	cr_expect_eq(hg_reader_left(&r), 0);
	cr_expect_null(hg_read_bytes(&r, 0));
	cr_expect_not(r.failed);
	cr_expect_eq(hg_read_u8(&r), 0);
	cr_expect(r.failed);
}
