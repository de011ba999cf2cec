/*
 * A preload for user-mode Linux whose clocks run SPEED times as fast as the host's.
 *
 * User-mode Linux takes its time from clock_gettime and its ticks from a timer of the
 * host. Both are scaled here by the same factor, so that in the guest all clocks agree:
 * the kernel's, its timers', and those of the programs in it. A wait of seven minutes
 * takes less than two. The guest's processor seems slower by that factor.
 *
 * Freestanding but for dlsym, so that any C compiler without headers can build it.
 */
#ifndef SPEED
#error "SPEED is the factor"
#endif
#define NSEC 1000000000LL
#define RTLD_NEXT ((void *)-1L)

struct timespec {
	long sec, nsec;
};

struct itimerspec {
	struct timespec interval, value;
};

extern void *dlsym(void *handle, const char *name);

static long long nanos(struct timespec t) { return t.sec * NSEC + t.nsec; }

static struct timespec spec(long long n)
{
	struct timespec t = { n / NSEC, n % NSEC };

	return t;
}

/* A time that is not zero must not become zero, which would stop the timer. */
static struct timespec shorter(struct timespec t)
{
	long long n = nanos(t);

	return spec(n > 0 && n < SPEED ? 1 : n / SPEED);
}

/* The clocks of user-mode Linux: real time (0) and monotonic (1). */
static long long start[2];

int clock_gettime(int clock, struct timespec *t)
{
	long ret;
	long long now;

	__asm__ volatile("syscall" : "=a"(ret) : "0"(228L), "D"((long)clock), "S"(t) : "rcx", "r11", "memory");
	if (ret != 0 || clock < 0 || clock > 1)
		return ret == 0 ? 0 : -1;
	now = nanos(*t);
	if (start[clock] == 0)
		start[clock] = now;
	*t = spec(start[clock] + (now - start[clock]) * SPEED);
	return 0;
}

int timer_settime(void *id, int flags, const struct itimerspec *set, struct itimerspec *old)
{
	static int (*real)(void *, int, const struct itimerspec *, struct itimerspec *);
	struct itimerspec scaled = { shorter(set->interval), shorter(set->value) };

	if (!real)
		real = dlsym(RTLD_NEXT, "timer_settime");
	return real(id, flags, &scaled, old);
}

int timer_gettime(void *id, struct itimerspec *left)
{
	static int (*real)(void *, struct itimerspec *);
	int ret;

	if (!real)
		real = dlsym(RTLD_NEXT, "timer_gettime");
	ret = real(id, left);
	left->interval = spec(nanos(left->interval) * SPEED);
	left->value = spec(nanos(left->value) * SPEED);
	return ret;
}
