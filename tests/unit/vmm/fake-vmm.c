/* SPDX-License-Identifier: MIT */
/*
 * fake-vmm.c - the fake VM as a program, to try a client by hand: fake-vmm SOCKET [MIB [STEP_MIB [FLOOR_MIB
 * [CEILING_MIB [DISCREPANCIES]]]]].
 */
#include "fake-vm.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t number(int argc, char **argv, int i, uint64_t otherwise)
{
	return i < argc ? strtoull(argv[i], NULL, 0) : otherwise;
}

int main(int argc, char **argv)
{
	struct fake_config config = {
	    .maximum = number(argc, argv, 2, 1024) << 20,
	    .step = number(argc, argv, 3, 4) << 20,
	    .floor = number(argc, argv, 4, 0) << 20,
	    .ceiling = number(argc, argv, 5, 0) << 20,
	    .discrepancies = (unsigned)number(argc, argv, 6, 0),
	};
	struct fake_vm *f;

	if (argc < 2) {
		fprintf(stderr,
			"usage: fake-vmm SOCKET [MIB [STEP_MIB [FLOOR_MIB [CEILING_MIB [DISCREPANCIES]]]]]\n");
		return 1;
	}
	f = fake_start(&config, argv[1]);
	if (!f)
		return 1;
	fake_wait(f);
	fake_stop(f);
	return 0;
}
