/* helper.c - a library that is found through a program's own search path only. */
int spell_answer(void);
int spell_answer(void)
{
	return 42;
}
