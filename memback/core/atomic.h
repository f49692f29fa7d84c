/* SPDX-License-Identifier: MIT */
/*
 * atomic.h - every access of the core to shared words goes through here, with its memory order in its name.
 *
 * The words are wrapped so that no plain access slips in. A test build defines MBC_ATOMIC_YIELD and supplies
 * mbc_atomic_yield(), which is called before each operation: a scheduler can then interleave threads at will.
 *
 * relaxed  nothing else is read or written on the strength of it
 * acquire  what the writer of this value did before is visible
 * release  what we did before is visible to whoever acquires this value
 * seq      as both, and in one order with all other seq operations: for "store mine, then load yours"
 */
#ifndef MBC_ATOMIC_H
#define MBC_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mbc_a64 {
	uint64_t raw;
} mbc_a64;

typedef struct mbc_a32 {
	uint32_t raw;
} mbc_a32;

#ifdef MBC_ATOMIC_YIELD
void mbc_atomic_yield(void);
#else
static inline void mbc_atomic_yield(void)
{
}
#endif

static inline uint64_t mbc_load_relaxed(const mbc_a64 *a)
{
	mbc_atomic_yield();
	return __atomic_load_n(&a->raw, __ATOMIC_RELAXED);
}

static inline uint64_t mbc_load_acquire(const mbc_a64 *a)
{
	mbc_atomic_yield();
	return __atomic_load_n(&a->raw, __ATOMIC_ACQUIRE);
}

static inline uint64_t mbc_load_seq(const mbc_a64 *a)
{
	mbc_atomic_yield();
	return __atomic_load_n(&a->raw, __ATOMIC_SEQ_CST);
}

static inline void mbc_store_relaxed(mbc_a64 *a, uint64_t v)
{
	mbc_atomic_yield();
	__atomic_store_n(&a->raw, v, __ATOMIC_RELAXED);
}

static inline void mbc_store_release(mbc_a64 *a, uint64_t v)
{
	mbc_atomic_yield();
	__atomic_store_n(&a->raw, v, __ATOMIC_RELEASE);
}

static inline uint64_t mbc_swap_seq(mbc_a64 *a, uint64_t v)
{
	mbc_atomic_yield();
	return __atomic_exchange_n(&a->raw, v, __ATOMIC_SEQ_CST);
}

static inline uint64_t mbc_or_seq(mbc_a64 *a, uint64_t v)
{
	mbc_atomic_yield();
	return __atomic_fetch_or(&a->raw, v, __ATOMIC_SEQ_CST);
}

static inline uint64_t mbc_and_seq(mbc_a64 *a, uint64_t v)
{
	mbc_atomic_yield();
	return __atomic_fetch_and(&a->raw, v, __ATOMIC_SEQ_CST);
}

static inline uint64_t mbc_add_seq(mbc_a64 *a, uint64_t v)
{
	mbc_atomic_yield();
	return __atomic_fetch_add(&a->raw, v, __ATOMIC_SEQ_CST);
}

/* On failure *old is what was found. */
static inline bool mbc_cas_acquire(mbc_a64 *a, uint64_t *old, uint64_t v)
{
	mbc_atomic_yield();
	return __atomic_compare_exchange_n(&a->raw, old, v, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static inline bool mbc_cas_seq(mbc_a64 *a, uint64_t *old, uint64_t v)
{
	mbc_atomic_yield();
	return __atomic_compare_exchange_n(&a->raw, old, v, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

static inline uint32_t mbc_load32_relaxed(const mbc_a32 *a)
{
	mbc_atomic_yield();
	return __atomic_load_n(&a->raw, __ATOMIC_RELAXED);
}

static inline uint32_t mbc_load32_acquire(const mbc_a32 *a)
{
	mbc_atomic_yield();
	return __atomic_load_n(&a->raw, __ATOMIC_ACQUIRE);
}

static inline uint32_t mbc_load32_seq(const mbc_a32 *a)
{
	mbc_atomic_yield();
	return __atomic_load_n(&a->raw, __ATOMIC_SEQ_CST);
}

static inline void mbc_store32_relaxed(mbc_a32 *a, uint32_t v)
{
	mbc_atomic_yield();
	__atomic_store_n(&a->raw, v, __ATOMIC_RELAXED);
}

static inline void mbc_store32_release(mbc_a32 *a, uint32_t v)
{
	mbc_atomic_yield();
	__atomic_store_n(&a->raw, v, __ATOMIC_RELEASE);
}

/*
 * What only the calling thread writes, and others read, or compare and find different: a plain access, which the
 * compiler may make part of another instruction. A thread sanitizer takes a comparison that fails for a write.
 */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MBC_OWN_IS_ATOMIC 1
#endif
#endif
#if defined(__SANITIZE_THREAD__) || defined(MBC_OWN_IS_ATOMIC)
static inline uint32_t mbc_own32(const mbc_a32 *a)
{
	return mbc_load32_relaxed(a);
}

static inline uint64_t mbc_own64(const mbc_a64 *a)
{
	return mbc_load_relaxed(a);
}
#else
static inline uint32_t mbc_own32(const mbc_a32 *a)
{
	return a->raw;
}

static inline uint64_t mbc_own64(const mbc_a64 *a)
{
	return a->raw;
}
#endif

static inline uint32_t mbc_swap32_seq(mbc_a32 *a, uint32_t v)
{
	mbc_atomic_yield();
	return __atomic_exchange_n(&a->raw, v, __ATOMIC_SEQ_CST);
}

static inline bool mbc_cas32_seq(mbc_a32 *a, uint32_t *old, uint32_t v)
{
	mbc_atomic_yield();
	return __atomic_compare_exchange_n(&a->raw, old, v, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

#endif
