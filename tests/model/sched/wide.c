/* SPDX-License-Identifier: MIT */
/* wide.c - large scenarios, for schedules at random: programs that act at random, too. */
#include "explore.h"

const struct scenario scenarios_wide[] = {
    {0},
};
