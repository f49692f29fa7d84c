/* SPDX-License-Identifier: MIT */
/*
 * platform.h - what a guest and the VMM share: where the devices are and which lines they pull.
 *
 * The places are those of QEMU's microvm machine, so that one guest image runs on either. Included by
 * guests (freestanding) and by the VMM; assembler may include it too.
 */
#ifndef MEMBACK_PLATFORM_H
#define MEMBACK_PLATFORM_H

/* 8250 serial port (port I/O), and its line. */
#define PLATFORM_SERIAL_PORT 0x3f8
#define PLATFORM_SERIAL_GSI  4

/*
 * A write of any size ends the VM; the low 8 bits become the exit status of the VMM. (QEMU's
 * isa-debug-exit at this place ends with (value << 1) | 1.)
 */
#define PLATFORM_EXIT_PORT 0xf4

/* Channel 2 of the interval timer, the timer's control word after it, and the port that gates the channel. */
#define PLATFORM_PIT_PORT 0x42
#define PLATFORM_PIT_GATE 0x61

/*
 * Power, as our ACPI tables describe it (hardware-reduced ACPI 6.5, 4.8.3.7): the sleep control register, the
 * sleep status register after it, and the reset register; the line that the power button pulls. A write of
 * 0xfe to the keyboard controller's port resets, too.
 */
#define PLATFORM_SLEEP_PORT    0x600
#define PLATFORM_SLEEP_S5      5 /* the sleep type that is power-off */
#define PLATFORM_RESET_PORT    0x602
#define PLATFORM_RESET_VALUE   1
#define PLATFORM_KEYBOARD_PORT 0x64
#define PLATFORM_POWER_GSI     13

/* pvpanic, at QEMU's place: a write with bit 0 set says that the guest's kernel has panicked. */
#define PLATFORM_PANIC_PORT 0x505

/* The 32-bit MMIO hole: no RAM in [HOLE, 4 GiB); what does not fit below goes on at 4 GiB. */
#define PLATFORM_HOLE_START 0xc0000000
#define PLATFORM_HOLE_END   0x100000000

/*
 * virtio-mmio transports: number i at BASE + i * STRIDE, line GSI + i (edge-triggered). They are also named
 * on the kernel command line, as virtio_mmio.device=512@0xfeb00000:5.
 */
#define PLATFORM_VIRTIO_BASE   0xfeb00000
#define PLATFORM_VIRTIO_STRIDE 0x200
#define PLATFORM_VIRTIO_COUNT  8
#define PLATFORM_VIRTIO_GSI    5

#endif
