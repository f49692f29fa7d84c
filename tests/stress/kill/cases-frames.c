/* SPDX-License-Identifier: MIT */
/* cases-frames.c - frames are allocated, taken and freed. See cases.h. Frames that a case needs are noted in sh->note. */
#include "cases.h"

#define V (w->sh->victim)
#define L (w->sh->living)

static uint64_t *note(struct world *w)
{
	return w->sh->note;
}

/* ---- allocating ------------------------------------------------------------------------------------- */

static void alloc_huge(struct world *w)
{
	uint64_t frame;

	(void)get(w, V, WHO_VICTIM, MB_HUGE, &frame);
}

static void alloc_giant(struct world *w)
{
	uint64_t frame;

	(void)get(w, V, WHO_VICTIM, MB_GIANT, &frame);
}

/* The victim holds a line. */
void prepare_held(struct world *w)
{
	(void)get(w, V, WHO_VICTIM, MB_HUGE, &note(w)[0]);
}

/* The word that the victim holds is used up. */
static void prepare_word_end(struct world *w)
{
	mb_frame out[64];

	(void)get_batch(w, V, WHO_VICTIM, MB_HUGE, out, 64);
}

/* All is taken; the victim remembers one line, with one free frame. */
static void prepare_ring(struct world *w)
{
	uint64_t frame;

	while (get(w, L, WHO_LIVING, MB_HUGE, &frame))
		note(w)[0] = frame;
	(void)put(w, V, MB_HUGE, 5 * HUGE);
}

/* The same, with lines of all three giant frames free in part, so that its ring is full. */
void prepare_rings(struct world *w)
{
	uint64_t frame;

	while (get(w, L, WHO_LIVING, MB_HUGE, &frame))
		note(w)[0] = frame;
	for (uint64_t g = 0; g < GIANTS; g++)
		for (uint64_t n = 0; n < 40; n++)
			(void)put(w, V, MB_HUGE, g * GIANT + n * 3 * HUGE);
}

/* A line that is nobody's has free frames, and nothing else has. */
static void prepare_part(struct world *w)
{
	uint64_t frame;

	while (get(w, w->sh->third, WHO_LIVING, MB_HUGE, &frame))
		note(w)[0] = frame;
	(void)put(w, w->sh->third, MB_HUGE, GIANT + 7 * HUGE);
	(void)put(w, w->sh->third, MB_HUGE, GIANT + 8 * HUGE);
	mb_slot_close(w->f, w->sh->third);
	(void)!mb_slot_open_at(w->f, w->sh->third);
}

/* What is free lies in a line that the living holds. */
static void prepare_others(struct world *w)
{
	uint64_t frame;

	(void)get(w, L, WHO_LIVING, MB_HUGE, &frame);
	while (get(w, V, WHO_LIVING, MB_GIANT, &frame))
		note(w)[0] = frame;
}

/* The victim holds an almost empty line, and will split for another. */
static void prepare_move(struct world *w)
{
	mb_frame out[64];

	for (unsigned n = 0; n < 512;)
		n += get_batch(w, V, WHO_VICTIM, MB_HUGE, out, 64);
	(void)put(w, L, MB_HUGE, 3 * HUGE);
}

/* No giant frame is whole but for lines that slots hold. */
static void prepare_collect(struct world *w)
{
	uint64_t frame, more;

	(void)get(w, L, WHO_LIVING, MB_HUGE, &frame);
	while (get(w, w->sh->third, WHO_THIRD, MB_GIANT, &more))
		note(w)[0] = more;
	(void)put(w, L, MB_HUGE, frame);
}

static void alloc_batch(struct world *w)
{
	mb_frame out[100];

	(void)get_batch(w, V, WHO_VICTIM, MB_HUGE, out, 100);
}

static void alloc_batch_giant(struct world *w)
{
	mb_frame out[2];

	(void)get_batch(w, V, WHO_VICTIM, MB_GIANT, out, 2);
}

/* ---- taking ----------------------------------------------------------------------------------------- */

static void take_huge(struct world *w)
{
	(void)get_this(w, V, WHO_VICTIM, MB_HUGE, 9 * HUGE);
}

static void take_giant(struct world *w)
{
	(void)get_this(w, V, WHO_VICTIM, MB_GIANT, 0);
}

/* Giant frame 0 is free in pieces, in a line that the living holds. */
void prepare_pieces(struct world *w)
{
	uint64_t frame = 0;

	(void)get(w, L, WHO_LIVING, MB_HUGE, &frame);
	(void)put(w, L, MB_HUGE, frame);
}

/* ---- freeing ---------------------------------------------------------------------------------------- */

void prepare_two(struct world *w)
{
	(void)get(w, V, WHO_VICTIM, MB_HUGE, &note(w)[0]);
	(void)get(w, V, WHO_VICTIM, MB_HUGE, &note(w)[1]);
}

void free_huge(struct world *w)
{
	(void)put(w, V, MB_HUGE, note(w)[0]);
}

/* The last frame in use of a line that nobody holds. */
static void prepare_last(struct world *w)
{
	(void)get(w, w->sh->third, WHO_VICTIM, MB_HUGE, &note(w)[0]);
	mb_slot_close(w->f, w->sh->third);
	(void)!mb_slot_open_at(w->f, w->sh->third);
}

/* The first free frame of a line that is full. */
static void prepare_full(struct world *w)
{
	uint64_t frame;

	while (get(w, w->sh->third, WHO_VICTIM, MB_HUGE, &frame))
		note(w)[0] = frame;
}

/* The same, and the victim's ring is full of others. */
static void prepare_full_ring(struct world *w)
{
	prepare_full(w);
	for (uint64_t g = 0; g < GIANTS; g++)
		(void)put(w, V, MB_HUGE, g * GIANT + 4 * HUGE);
	note(w)[0] = GIANT;
}

void prepare_giant(struct world *w)
{
	(void)get(w, V, WHO_VICTIM, MB_GIANT, &note(w)[0]);
}

void free_giant(struct world *w)
{
	(void)put(w, V, MB_GIANT, note(w)[0]);
}

/* A giant frame that was taken as huge ones goes as a giant one. */
static void prepare_as_huge(struct world *w)
{
	note(w)[0] = GIANT;
	for (uint64_t n = 0; n < 512; n++)
		(void)get_this(w, V, WHO_VICTIM, MB_HUGE, GIANT + n * HUGE);
}

static void free_as_huge(struct world *w)
{
	if (put(w, V, MB_GIANT, GIANT))
		return;
	/* some of them; the others are in the dead one's hand then */
	for (uint64_t n = 0; n < 3; n++)
		(void)!mb_frame_free(w->f, V, MB_HUGE, (mb_frame){GIANT + n * HUGE});
}

static void free_batch(struct world *w)
{
	const mb_frame frames[] = {{note(w)[0]}, {note(w)[1]}};

	for (unsigned n = 0; n < 2; n++) {
		(void)!mb_slot_intend_free(w->f, V, MB_HUGE, frames[n]);
		record(w, WHO_NOBODY, MB_HUGE, frames[n].n);
		(void)!mb_frame_free_batch(w->f, V, MB_HUGE, &frames[n], 1);
	}
}

const struct kill_case kill_cases_frames[] = {
    {"alloc by splitting", NULL, alloc_huge, NULL, 0, false},
    {"alloc from the held word", prepare_held, alloc_huge, NULL, 0, false},
    {"alloc from the next word", prepare_word_end, alloc_huge, NULL, 0, false},
    {"alloc from the ring", prepare_ring, alloc_huge, NULL, 0, false},
    {"alloc by holding a line of the ring", prepare_rings, alloc_huge, NULL, 0, false},
    {"alloc from a line that is nobody's", prepare_part, alloc_huge, NULL, 0, false},
    {"alloc from another's line", prepare_others, alloc_huge, NULL, 0, false},
    {"alloc, leaving a line", prepare_move, alloc_huge, NULL, 0, true},
    {"alloc giant", NULL, alloc_giant, NULL, 0, false},
    {"alloc giant by collecting", prepare_collect, alloc_giant, NULL, 0, true},
    {"alloc batch", NULL, alloc_batch, NULL, 0, false},
    {"alloc batch of the held word", prepare_held, alloc_batch, NULL, 0, false},
    {"alloc batch, giant", NULL, alloc_batch_giant, NULL, 0, false},
    {"take by splitting", NULL, take_huge, NULL, 0, true},
    {"take", prepare_held, take_huge, NULL, 0, false},
    {"take giant", NULL, take_giant, NULL, 0, false},
    {"take giant of pieces", prepare_pieces, take_giant, NULL, 0, false},
    {"free", prepare_two, free_huge, NULL, 0, false},
    {"free, and merge", prepare_last, free_huge, NULL, 0, true},
    {"free into a full line", prepare_full, free_huge, NULL, 0, false},
    {"free, and forget a line of the ring", prepare_full_ring, free_huge, NULL, 0, false},
    {"free giant", prepare_giant, free_giant, NULL, 0, false},
    {"free giant as huge ones", prepare_as_huge, free_as_huge, NULL, 0, false},
    {"free batch", prepare_two, free_batch, NULL, 0, false},
    {0},
};
