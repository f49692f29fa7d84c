/* SPDX-License-Identifier: MIT */
/* sched.c - see sched.h. x86-64 only: the switch of stacks is six pushes and pops. */
#include "sched.h"

#include <stdarg.h>
#include <string.h>

#define STACK_BYTES (64u * 1024)
#define NEVER       UINT32_MAX
#define PATIENCE    2u

/* One scheduler a process: the core's hooks have no argument to tell several apart. */
static struct {
	struct sched_plan plan;
	sched_fn *fn;
	void *arg;
	bool running;
	bool failed; /* a message waits to be asked for */
	bool point_failed;
	bool died; /* the victim was killed */
	unsigned current;
	uint32_t alive;  /* a mask of threads */
	uint32_t others; /* alive, less the current one */
	uint32_t step;
	uint32_t due;  /* the step of the next switch */
	uint32_t next; /* the step at which to look closer: due, or each one when traced */
	unsigned used; /* switches of the plan that were done */
	uint32_t points;
	uint32_t pauses;
	unsigned patience; /* waits of the current thread that are left before another one runs */
	uint64_t random;
	void *sp[SCHED_THREADS];
	void *main_sp;
	char message[512];
	uint8_t could[SCHED_MAX_STEPS];
	_Alignas(64) unsigned char stack[SCHED_THREADS][STACK_BYTES];
} S;

void mbc_atomic_yield(void);
int mbc_test_point(int point);
void sched_swap(void **save, void *load);

__asm__(".text\n"
	".globl sched_swap\n"
	".type sched_swap, @function\n"
	"sched_swap:\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n"
	".size sched_swap, . - sched_swap\n");

uint64_t sched_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * UINT64_C(2685821657736338717);
}

static void to_main(void)
{
	void *lost;

	S.running = false;
	sched_swap(&lost, S.main_sp);
}

void sched_fail(const char *format, ...)
{
	va_list ap;

	if (!S.failed) {
		va_start(ap, format);
		vsnprintf(S.message, sizeof(S.message), format, ap);
		va_end(ap);
	}
	S.failed = true;
	if (S.running)
		to_main();
}

const char *sched_failure(void)
{
	bool failed = S.failed;

	S.failed = false;
	return failed ? S.message : NULL;
}

static void go_to(unsigned thread)
{
	unsigned from = S.current;

	if (thread == from)
		return;
	S.current = thread;
	S.others = S.alive & ~(1u << thread);
	S.patience = PATIENCE;
	sched_swap(&S.sp[from], S.sp[thread]);
}

/* The next one that is alive, after the current one. */
static unsigned next_thread(void)
{
	unsigned t = S.current;

	do
		t = (t + 1) % SCHED_THREADS;
	while (!(S.alive >> t & 1));
	return t;
}

static unsigned random_thread(void)
{
	unsigned n = (unsigned)(sched_random(&S.random) % (unsigned)__builtin_popcount(S.alive));
	uint32_t left = S.alive;

	while (n--)
		left &= left - 1;
	return (unsigned)__builtin_ctz(left);
}

/* When is the next switch due? */
static void look_ahead(void)
{
	if (S.step >= S.due || !S.step) {
		if (S.plan.seed)
			S.due = S.step + (uint32_t)(sched_random(&S.random) % S.plan.gap);
		else
			S.due = S.used < S.plan.switches ? S.plan.at[S.used].step : NEVER;
	}
	S.next = S.plan.trace ? S.step : S.due;
	if (S.plan.death > S.step && S.plan.death < S.next)
		S.next = S.plan.death;
	if (S.next >= SCHED_MAX_STEPS)
		S.next = SCHED_MAX_STEPS - 1;
}

static void trace_step(const void *from)
{
	extern const char __executable_start[];

	fprintf(S.plan.trace, "%u thread %u %#zx\n", S.step, S.current,
		(size_t)((const char *)from - __executable_start));
}

/* The victim never comes back from where it stands, before its next step. */
static void kill_victim(void)
{
	unsigned v = S.plan.victim;

	if (!(S.alive >> v & 1))
		return;
	S.died = true;
	S.alive &= ~(1u << v);
	S.others &= ~(1u << v);
	look_ahead();
	if (!S.alive)
		to_main();
	if (S.current == v)
		go_to(S.plan.seed ? random_thread() : S.alive >> S.plan.heir & 1 ? S.plan.heir : next_thread());
}

static __attribute__((noinline)) void decide(const void *from)
{
	unsigned to = S.current;

	if (S.step >= SCHED_MAX_STEPS - 1)
		sched_fail("livelock: more than %u steps", SCHED_MAX_STEPS);
	if (S.plan.death && S.step == S.plan.death && !S.died)
		kill_victim();
	if (S.step == S.due)
		to = S.plan.seed ? random_thread() : S.plan.at[S.used++].thread;
	if (!(S.alive >> to & 1))
		sched_fail("the schedule switches to a thread that has ended");
	if (S.plan.trace)
		trace_step(from);
	S.step++;
	look_ahead();
	go_to(to);
}

void mbc_atomic_yield(void)
{
	if (!S.running)
		return;
	S.could[S.step] = (uint8_t)S.others;
	if (S.step == S.next)
		decide(__builtin_return_address(0));
	else
		S.step++;
}

void sched_go(unsigned thread)
{
	if (S.running && S.alive >> thread & 1)
		go_to(thread);
}

void sched_step(void)
{
	mbc_atomic_yield();
}

void sched_pause(void)
{
	if (!S.running)
		return;
	if (S.pauses++ > SCHED_MAX_STEPS / 8)
		sched_fail("livelock: waits without end");
	/* not at once: a wait that ends by itself shall not hide the schedules that go on here */
	if (S.patience)
		S.patience--;
	else
		go_to(next_thread());
}

int mbc_test_point(int point)
{
	(void)point;
	if (!S.running || ++S.points != S.plan.fail_point)
		return 0;
	S.point_failed = true;
	return 1;
}

static void thread_main(void)
{
	void *lost;

	S.fn(S.arg, S.current);
	S.alive &= ~(1u << S.current);
	if (!S.alive)
		to_main();
	/* the thread that began less late than others goes on */
	S.current = next_thread();
	S.others = S.alive & ~(1u << S.current);
	sched_swap(&lost, S.sp[S.current]);
}

#if defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER 1
#endif
#endif

#ifdef ADDRESS_SANITIZER
void __asan_unpoison_memory_region(void const volatile *at, size_t bytes);
#endif

/* Who was killed, or in whose middle a run failed, has left marks on its stack. */
static void clear_stack(unsigned t)
{
#ifdef ADDRESS_SANITIZER
	__asan_unpoison_memory_region(S.stack[t], STACK_BYTES);
#else
	(void)t;
#endif
}

static void make_stack(unsigned t)
{
	uintptr_t top = (uintptr_t)S.stack[t] + STACK_BYTES;
	uintptr_t entry = (uintptr_t)thread_main;

	clear_stack(t);
	/* as after a call: the stack is 8 off a multiple of 16 when thread_main begins; six registers below */
	top -= 16;
	memcpy((void *)top, &entry, sizeof(entry));
	memset((void *)(top - 48), 0, 48);
	S.sp[t] = (void *)(top - 48);
}

const char *sched_run(const struct sched_plan *plan, sched_fn *fn, void *arg)
{
	S.plan = *plan;
	S.fn = fn;
	S.arg = arg;
	S.failed = S.point_failed = S.died = false;
	S.step = S.points = S.pauses = 0;
	S.used = 0;
	S.random = plan->seed;
	S.alive = (1u << plan->threads) - 1;
	S.current = plan->first;
	S.patience = PATIENCE;
	S.others = S.alive & ~(1u << S.current);
	for (unsigned t = 0; t < plan->threads; t++)
		make_stack(t);
	S.due = 0;
	look_ahead();
	S.running = true;
	sched_swap(&S.main_sp, S.sp[S.current]);
	return sched_failure();
}

uint32_t sched_steps(void)
{
	return S.step;
}

uint32_t sched_others(uint32_t step)
{
	return S.could[step];
}

uint32_t sched_points(void)
{
	return S.points;
}

bool sched_point_failed(void)
{
	return S.point_failed;
}

bool sched_is_dead(unsigned thread)
{
	return S.died && thread == S.plan.victim;
}

bool sched_has_ended(unsigned thread)
{
	return !(S.alive >> thread & 1) && !sched_is_dead(thread);
}

bool sched_is_running(void)
{
	return S.running;
}
