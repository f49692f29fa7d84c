/* SPDX-License-Identifier: MIT */
/*
 * point.h - the steps of multi-step operations, as places where a test may look in or force a failure.
 *
 * In the library mbc_point() is the constant 0. A test build defines MBC_TEST_POINTS and supplies
 * mbc_test_point(), which may block (to hold an operation open) or return non-zero: the step then fails as if
 * it had lost its race, and the operation rolls back.
 */
#ifndef MBC_POINT_H
#define MBC_POINT_H

enum mbc_point {
	MBC_POINT_SPLIT_OPEN,  /* the frame is ours, its line not yet valid */
	MBC_POINT_SPLIT_FILL,  /* the line is valid, its ones not yet stored */
	MBC_POINT_MERGE_WORD,  /* about to take a word of the line */
	MBC_POINT_VANISH_WORD, /* about to take a word of the line that hosts an in-band block */
	MBC_POINT_VANISH_DONE, /* all words are taken, the block is not yet given back */
	MBC_POINT_BLOCK_MAKE,  /* about to make an in-band block */
	MBC_POINT_TAKE_SPLIT,  /* a larger frame is ours, about to split it for the one that is wanted */
	MBC_POINT_REMOVE_TAKE, /* about to take the next piece of a range that is to be removed */
	MBC_POINT_HOLES_APPLY, /* about to change the holes of the next line */
	MBC_POINTS
};

#ifdef MBC_TEST_POINTS
int mbc_test_point(enum mbc_point point);
static inline int mbc_point(enum mbc_point point)
{
	return mbc_test_point(point);
}
#else
static inline int mbc_point(enum mbc_point point)
{
	(void)point;
	return 0;
}
#endif

#endif
