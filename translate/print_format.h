/*
 * print_format.h - what a conversion of device printf is. Freestanding: the code that formats on the host (replay/device_print.c)
 * and the code that gathers the arguments on a device (translate/support/print.c) must see the same ones.
 */
#ifndef HG_TRANSLATE_PRINT_FORMAT_H
#define HG_TRANSLATE_PRINT_FORMAT_H

#define HG_CONVERSION_MAX 64	/* characters, from flags to length modifiers */

enum hg_conversion_kind { HG_CONVERT_INT, HG_CONVERT_LONG, HG_CONVERT_DOUBLE, HG_CONVERT_POINTER, HG_CONVERT_STRING };

struct hg_conversion {
	unsigned int size;		/* characters behind the '%' */
	unsigned int plain;		/* …of them flags, width and precision */
	unsigned int nr_stars;		/* int arguments before the value: 0 to 2 */
	unsigned int nr_h;		/* h modifiers */
	enum hg_conversion_kind kind;	/* an int takes 4 bytes of the arguments, the others 8 */
	char letter;
	_Bool is_cut;			/* a precision is given: a string ends there at the latest, */
	_Bool is_star_cut;		/* …it is the last star's value (negative: none) */
	unsigned int precision;		/* …else this */
};

static inline _Bool hg_conversion_is_plain(char c)
{
	return (c >= '0' && c <= '9') || c == '#' || c == ' ' || c == '+' || c == '-' || c == '.' || c == '*';
}

/*
 * The conversion that begins behind a '%', which is at p[-1]: flags, width, precision, h l ll, and one of CUDA's letters.
 * False for what CUDA's printf does not know, which is then printed as it stands; "%%" is for the caller.
 */
static inline _Bool hg_conversion_read(const char *p, struct hg_conversion *out)
{
	struct hg_conversion c = { 0 };
	unsigned int n = 0, longs = 0, digits = 0;	/* digits: where the precision's next one would be; 0: no precision yet */
	_Bool is_negative = 0;

	for (; hg_conversion_is_plain(p[n]) && n < HG_CONVERSION_MAX - 1; n++) {
		if (p[n] == '.') {
			if (digits)
				return 0;
			digits = n + 1;
		} else if (p[n] == '*') {
			if (c.nr_stars == 2)
				return 0;
			c.nr_stars++;
			c.is_star_cut |= digits && digits == n;
		} else if (digits && digits == n && p[n] >= '0' && p[n] <= '9') {
			if (c.precision < 100000000)
				c.precision = c.precision * 10 + (unsigned int)(p[n] - '0');
			digits++;
		} else if (digits && digits == n && p[n] == '-') {
			is_negative = 1;	/* none at all */
		}
	}
	c.plain = n;
	c.is_cut = digits && !is_negative;
	for (; p[n] == 'h' || p[n] == 'l'; n++) {
		if (n >= HG_CONVERSION_MAX)
			return 0;
		longs += p[n] == 'l';
		c.nr_h += p[n] == 'h';
	}
	c.letter = p[n];
	c.size = n + 1;
	switch (p[n]) {
	case 'c':
		c.kind = HG_CONVERT_INT;
		break;
	case 'd': case 'i': case 'o': case 'u': case 'x': case 'X':
		c.kind = longs ? HG_CONVERT_LONG : HG_CONVERT_INT;
		break;
	case 'a': case 'A': case 'e': case 'E': case 'f': case 'F': case 'g': case 'G':
		c.kind = HG_CONVERT_DOUBLE;
		break;
	case 'p':
		c.kind = HG_CONVERT_POINTER;
		break;
	case 's':
		c.kind = HG_CONVERT_STRING;
		break;
	default:
		return 0;
	}
	*out = c;
	return 1;
}

#endif
