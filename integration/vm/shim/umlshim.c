/*
 * A preload for user-mode Linux 6.1 on processors with AMX.
 *
 * User-mode Linux sets its processes' vector registers by
 * PTRACE_SETREGSET(NT_X86_XSTATE) with a buffer of 2696 bytes, which is the
 * whole XSAVE area of a processor with AVX-512. Linux takes only a buffer of
 * exactly the host's size (EFAULT otherwise), and with AMX that is 11008
 * bytes: the first process of the guest dies with "ptrace set fp regs failed,
 * errno = 14". Here the buffer is filled up with zeros, and the components
 * that lie beyond what user-mode Linux saved are marked as being in their
 * initial state, which they are: nobody in the guest may ask for AMX.
 *
 * Freestanding, so that any C compiler without headers can build it.
 */
#define SETREGSET 0x4205
#define GETREGSET 0x4204
#define NT_X86_XSTATE 0x202
#define XSTATE_BV 512         /* offset of the header's first field */
#define KNOWN_COMPONENTS 0x2ffUL /* x87 ... AVX-512 (0-7) and PKRU (9): all below 2696 */
#define MAX_XSTATE 65536UL

struct vec {
	void *base;
	unsigned long len;
};

extern int *__errno_location(void);

static unsigned char full[MAX_XSTATE] __attribute__((aligned(64)));
static unsigned long host_len; /* the host's size, learnt at the first use */

static long raw_ptrace(long request, long pid, void *addr, void *data)
{
	long ret;
	register void *data_r10 __asm__("r10") = data;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"(101L), "D"(request), "S"(pid), "d"(addr), "r"(data_r10)
			 : "rcx", "r11", "memory");
	return ret;
}

static void learn_host_len(long pid)
{
	struct vec v = { full, MAX_XSTATE };
	unsigned long i;

	if (raw_ptrace(GETREGSET, pid, (void *)NT_X86_XSTATE, &v) != 0)
		return;
	for (i = 0; i < v.len; i++)
		full[i] = 0;
	host_len = v.len;
}

static long set_xstate(long pid, struct vec *v)
{
	struct vec wide = { full, 0 };
	unsigned long i;

	if (host_len == 0)
		learn_host_len(pid);
	if (host_len <= v->len || v->len < XSTATE_BV + 8)
		return raw_ptrace(SETREGSET, pid, (void *)NT_X86_XSTATE, v);
	for (i = 0; i < v->len / 8; i++)
		((unsigned long *)full)[i] = ((unsigned long *)v->base)[i];
	*(unsigned long *)(full + XSTATE_BV) &= KNOWN_COMPONENTS;
	wide.len = host_len;
	return raw_ptrace(SETREGSET, pid, (void *)NT_X86_XSTATE, &wide);
}

/*
 * ptrace as the C library has it, for the requests that user-mode Linux makes
 * (it uses no PEEK request by its return value except PEEKUSER, treated below).
 */
long ptrace(long request, long pid, void *addr, void *data)
{
	long ret, word;

	request &= 0xffffffffL;
	pid = (int)pid;
	if (request >= 1 && request <= 3) { /* PEEKTEXT, PEEKDATA, PEEKUSER: the word is the result */
		ret = raw_ptrace(request, pid, addr, &word);
		if (ret == 0) {
			*__errno_location() = 0;
			return word;
		}
	} else if (request == SETREGSET && addr == (void *)NT_X86_XSTATE) {
		ret = set_xstate(pid, data);
	} else {
		ret = raw_ptrace(request, pid, addr, data);
	}
	if (ret < 0) {
		*__errno_location() = (int)-ret;
		return -1;
	}
	return ret;
}
