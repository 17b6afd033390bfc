/* alien.c - stands for a CUDA driver that a process reached past hgshim. It does nothing. */
int cuInit(unsigned int flags);
int cuInit(unsigned int flags)
{
	(void)flags;
	return 100;
}
