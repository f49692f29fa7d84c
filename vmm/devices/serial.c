/* SPDX-License-Identifier: MIT */
/*
 * serial.c - see serial.h.
 *
 * Registers are accessed on vCPU threads; the descriptors become ready on the loop's thread. One lock
 * protects all. The line is edge-triggered: it is pulled whenever a cause of an interrupt appears.
 */
#include "devices/serial.h"

#include <errno.h>
#include <platform.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RX_BYTES 1024
#define TX_BYTES 65536
#define FLUSH_MS 200 /* what serial_destroy() waits for a reader, in all */

enum { /* registers */
       REG_DATA,
       REG_IER,
       REG_IIR_FCR,
       REG_LCR,
       REG_MCR,
       REG_LSR,
       REG_MSR,
       REG_SCR,
       REG_COUNT,
};

#define IER_RX       0x01
#define IER_TX       0x02
#define IER_MASK     0x0f
#define IIR_NONE     0x01
#define IIR_TX       0x02
#define IIR_RX       0x04
#define IIR_FIFO     0xc0
#define FCR_ENABLE   0x01
#define FCR_CLEAR_RX 0x02
#define LCR_DLAB     0x80
#define MCR_MASK     0x1f
#define MCR_OUT1     0x04
#define MCR_OUT2     0x08
#define MCR_RTS      0x02
#define MCR_DTR      0x01
#define MCR_LOOP     0x10
#define LSR_DATA     0x01
#define LSR_THRE     0x20
#define LSR_TEMT     0x40
#define MSR_CTS      0x10
#define MSR_DSR      0x20
#define MSR_RI       0x40
#define MSR_DCD      0x80

#define ESCAPE 0x01 /* Ctrl-A */

/* Bytes first in, first out. */
struct fifo {
	unsigned char *bytes;
	size_t size, head, count;
};

struct serial {
	struct serial_config config;
	struct loop *loop;
	pthread_mutex_t lock;
	int irq;
	struct loop_source *in;
	struct loop_source *out;
	bool in_full;   /* the loop does not watch `in`, since there is no room */
	bool out_waits; /* the loop watches `out` */
	bool after_escape;
	struct fifo rx, tx;
	uint8_t ier, lcr, mcr, scr, dll, dlm;
	bool fifos;
	bool tx_cause; /* "transmitter holding register empty" has not been read yet */
	bool pulled;   /* some cause was there when we last looked */
	unsigned char rx_bytes[RX_BYTES];
	unsigned char tx_bytes[TX_BYTES];
};

static bool fifo_put(struct fifo *f, unsigned char byte)
{
	if (f->count == f->size)
		return false;
	f->bytes[(f->head + f->count++) % f->size] = byte;
	return true;
}

static unsigned char fifo_get(struct fifo *f)
{
	unsigned char byte = f->bytes[f->head];
	f->head = (f->head + 1) % f->size;
	f->count--;
	return byte;
}

/* The oldest bytes that lie in one piece. */
static size_t fifo_piece(const struct fifo *f, const unsigned char **at)
{
	*at = f->bytes + f->head;
	return f->count < f->size - f->head ? f->count : f->size - f->head;
}

static void fifo_drop(struct fifo *f, size_t count)
{
	f->head = (f->head + count) % f->size;
	f->count -= count;
}

/* ---- interrupts: all with the lock held --------------------------------------------------------------- */

static uint8_t cause(const struct serial *s)
{
	if ((s->ier & IER_RX) && s->rx.count > 0)
		return IIR_RX;
	if ((s->ier & IER_TX) && s->tx_cause)
		return IIR_TX;
	return IIR_NONE;
}

/* Pulls the line if a cause is there that was not, or if a new one came to one that is still there. */
static void update_line(struct serial *s, bool anew)
{
	bool any = cause(s) != IIR_NONE;
	uint64_t one = 1;
	if (any && (anew || !s->pulled)) {
		/* the eventfd cannot be full: KVM empties it */
		if (write(s->irq, &one, sizeof(one)) < 0)
			any = false;
	}
	s->pulled = any;
}

/* ---- output ----------------------------------------------------------------------------------------- */

/* Writes what can be written without waiting. False: the reader is slow. */
static bool flush_out(struct serial *s)
{
	while (s->tx.count > 0) {
		const unsigned char *at;
		size_t n = fifo_piece(&s->tx, &at);
		ssize_t done = write(s->config.out, at, n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && errno == EAGAIN)
			return false;
		/* nobody will ever read it */
		fifo_drop(&s->tx, done < 0 ? s->tx.count : (size_t)done);
	}
	return true;
}

static void watch_out(void *arg)
{
	struct serial *s = arg;
	if (s->out != NULL)
		loop_set_events(s->out, POLLOUT);
}

/* The descriptor takes more (loop's thread). */
static void on_writable(void *arg, int fd, uint32_t events)
{
	struct serial *s = arg;
	(void)fd;
	pthread_mutex_lock(&s->lock);
	bool was_full = s->tx.count == s->tx.size;
	if (events & (POLLERR | POLLNVAL))
		fifo_drop(&s->tx, s->tx.count);
	if (flush_out(s)) {
		s->out_waits = false;
		loop_set_events(s->out, 0);
	}
	if (was_full && s->tx.count < s->tx.size) {
		s->tx_cause = true;
		update_line(s, true);
	}
	pthread_mutex_unlock(&s->lock);
}

static void send_byte(struct serial *s, unsigned char byte)
{
	if (s->config.out < 0)
		return;
	fifo_put(&s->tx, byte);
	if (s->out_waits || flush_out(s))
		return;
	s->out_waits = true;
	if (loop_post(s->loop, watch_out, s) != 0)
		s->out_waits = false; /* the next byte tries again */
}

/* ---- input ------------------------------------------------------------------------------------------ */

static void say(struct serial *s, const char *text)
{
	for (; *text != '\0'; text++)
		send_byte(s, (unsigned char)*text);
}

/* A byte that was typed; true: it ends the VM. */
static bool type_byte(struct serial *s, unsigned char byte)
{
	if (s->config.escape && s->after_escape) {
		s->after_escape = false;
		if (byte == 'x' || byte == 'X')
			return true;
		if (byte == 'h' || byte == '?') {
			say(s, "\r\nCtrl-A x: end the VM; Ctrl-A Ctrl-A: send Ctrl-A; Ctrl-A h: this help\r\n");
			return false;
		}
		if (byte != ESCAPE)
			return false;
	} else if (s->config.escape && byte == ESCAPE) {
		s->after_escape = true;
		return false;
	}
	fifo_put(&s->rx, byte);
	return false;
}

static void watch_in(void *arg)
{
	struct serial *s = arg;
	if (s->in != NULL)
		loop_set_events(s->in, POLLIN);
}

/* Something was typed (loop's thread). */
static void on_readable(void *arg, int fd, uint32_t events)
{
	struct serial *s = arg;
	unsigned char bytes[256];
	bool ends = false;
	(void)events;
	pthread_mutex_lock(&s->lock);
	size_t room = s->rx.size - s->rx.count;
	ssize_t n = room == 0 ? 0 : read(fd, bytes, room < sizeof(bytes) ? room : sizeof(bytes));
	if (room == 0) {
		s->in_full = true;
		loop_set_events(s->in, 0);
	} else if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		/* nothing more will come */
		loop_remove(s->in);
		s->in = NULL;
	}
	for (ssize_t i = 0; i < n && !ends; i++)
		ends = type_byte(s, bytes[i]);
	if (n > 0)
		update_line(s, true);
	pthread_mutex_unlock(&s->lock);
	if (ends)
		s->config.on_escape(s->config.arg);
}

/* Bytes were taken out: the loop watches `in` again once there is room for many. */
static void make_room(struct serial *s)
{
	if (s->in_full && s->rx.count < s->rx.size / 2 && loop_post(s->loop, watch_in, s) == 0)
		s->in_full = false;
}

static uint8_t receive_byte(struct serial *s)
{
	if (s->rx.count == 0)
		return 0;
	uint8_t byte = fifo_get(&s->rx);
	make_room(s);
	return byte;
}

/* ---- registers -------------------------------------------------------------------------------------- */

static uint8_t modem_status(const struct serial *s)
{
	if (!(s->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (uint8_t)((s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
			 (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static uint8_t read_register(struct serial *s, unsigned reg)
{
	uint8_t value;
	switch (reg) {
	case REG_DATA:
		return s->lcr & LCR_DLAB ? s->dll : receive_byte(s);
	case REG_IER:
		return s->lcr & LCR_DLAB ? s->dlm : s->ier;
	case REG_IIR_FCR:
		value = cause(s);
		if (value == IIR_TX)
			s->tx_cause = false;
		return value | (s->fifos ? IIR_FIFO : 0);
	case REG_LCR:
		return s->lcr;
	case REG_MCR:
		return s->mcr;
	case REG_LSR:
		value = s->rx.count > 0 ? LSR_DATA : 0;
		return s->tx.count < s->tx.size ? value | LSR_THRE | LSR_TEMT : value;
	case REG_MSR:
		return modem_status(s);
	default:
		return s->scr;
	}
}

static void write_data(struct serial *s, uint8_t value)
{
	if (s->lcr & LCR_DLAB) {
		s->dll = value;
		return;
	}
	if (s->mcr & MCR_LOOP)
		fifo_put(&s->rx, value);
	else
		send_byte(s, value);
	/* it is gone at once, unless the reader is slow */
	s->tx_cause = s->tx.count < s->tx.size;
	update_line(s, true);
}

static void write_register(struct serial *s, unsigned reg, uint8_t value)
{
	switch (reg) {
	case REG_DATA:
		write_data(s, value);
		break;
	case REG_IER:
		if (s->lcr & LCR_DLAB) {
			s->dlm = value;
			break;
		}
		if (!(s->ier & IER_TX) && (value & IER_TX))
			s->tx_cause = s->tx.count < s->tx.size;
		s->ier = value & IER_MASK;
		update_line(s, true);
		break;
	case REG_IIR_FCR:
		s->fifos = value & FCR_ENABLE;
		/* before DTR is up the other side has not sent yet: what was piped in early waits for the guest
		 */
		if ((value & FCR_CLEAR_RX) && (s->mcr & MCR_DTR)) {
			fifo_drop(&s->rx, s->rx.count);
			make_room(s);
		}
		break;
	case REG_LCR:
		s->lcr = value;
		break;
	case REG_MCR:
		s->mcr = value & MCR_MASK;
		break;
	case REG_SCR:
		s->scr = value;
		break;
	}
}

/* Registers are bytes; a wider access is as many of them in a row. */
static void bus_read_serial(void *dev, uint64_t offset, void *data, unsigned len)
{
	struct serial *s = dev;
	uint8_t *bytes = data;
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < len && offset + i < REG_COUNT; i++)
		bytes[i] = read_register(s, (unsigned)offset + i);
	update_line(s, false);
	pthread_mutex_unlock(&s->lock);
}

static void bus_write_serial(void *dev, uint64_t offset, const void *data, unsigned len)
{
	struct serial *s = dev;
	const uint8_t *bytes = data;
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < len && offset + i < REG_COUNT; i++)
		write_register(s, (unsigned)offset + i, bytes[i]);
	pthread_mutex_unlock(&s->lock);
}

static const struct bus_ops ops = {.read = bus_read_serial, .write = bus_write_serial};

int serial_create(const struct device_host *host, const struct serial_config *config, struct serial **out)
{
	struct serial *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	s->config = *config;
	s->loop = host->loop;
	s->irq = -1;
	s->rx = (struct fifo){.bytes = s->rx_bytes, .size = RX_BYTES};
	s->tx = (struct fifo){.bytes = s->tx_bytes, .size = TX_BYTES};
	s->dll = 1; /* 115200 baud, not that it matters */
	s->lcr = 3;
	pthread_mutex_init(&s->lock, NULL);
	int rc = host->irqfd(host->machine, PLATFORM_SERIAL_GSI, &s->irq);
	if (rc == 0 && config->in >= 0)
		rc = loop_add_fd(host->loop, config->in, POLLIN, on_readable, s, &s->in);
	if (rc == 0 && config->out >= 0)
		rc = loop_add_fd(host->loop, config->out, 0, on_writable, s, &s->out);
	if (rc == 0)
		rc = bus_add(host->bus, BUS_PIO, PLATFORM_SERIAL_PORT, REG_COUNT, &ops, s, "serial");
	if (rc != 0) {
		serial_destroy(s);
		return rc;
	}
	*out = s;
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Writes out what is left; a reader that takes it bit by bit does not hold us either. */
static void drain_out(struct serial *s)
{
	struct pollfd p = {.fd = s->config.out, .events = POLLOUT};
	int64_t left, end = now_ms() + FLUSH_MS;
	while (!flush_out(s) && (left = end - now_ms()) > 0 && poll(&p, 1, (int)left) == 1)
		continue;
}

void serial_destroy(struct serial *s)
{
	if (s == NULL)
		return;
	if (s->config.out >= 0)
		drain_out(s);
	if (s->in != NULL)
		loop_remove(s->in);
	if (s->out != NULL)
		loop_remove(s->out);
	if (s->irq >= 0)
		close(s->irq);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
